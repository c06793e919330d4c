//! Time budgets whose iterations were mismeasured.

use super::*;

struct Told(Vec<usize>);

impl Sink for Told {
    fn event(&mut self, _: run::Event<'_>) {}
}

impl Watch for Told {
    fn compared(&mut self, event: Event<'_>) {
        if let Event::Again { iterations } = event {
            self.0.push(iterations);
        }
    }
}

/// Sinusoids at some ten microseconds per iteration: sixteen are far from filling a second on any machine.
fn small() -> Config {
    let sets = [
        "model.hidden=[4]",
        "outer.schedule=cosine",
        "outer.meta_batch_size=1",
        "evaluation.tasks=2",
        "evaluation.validation_tasks=2",
        "run.log_every=100",
        "run.snapshot_every=10000",
        "run.threads=1",
    ];
    Config::load("sinusoid-maml", &sets.map(str::to_string)).unwrap()
}

/// Rates and losses of the iterations that are logged.
fn steps(folder: &Path) -> Result<Vec<[f64; 2]>> {
    let metrics = RunDir::open(folder)?.metrics()?;
    let of = |line: &serde_json::Value| {
        [&line["rate"], &line["query_loss"]].map(|value| value.as_f64().unwrap())
    };
    Ok(metrics.iter().filter(|line| line["kind"] == "train").map(of).collect())
}

#[test]
fn a_length_that_was_measured_on_a_busy_machine_is_measured_again() {
    let folder = tempfile::tempdir().unwrap();
    let (out, plain) = (folder.path().join("c"), folder.path().join("plain"));
    let there = super::folder(&out, "maml", 1);
    let (config, budget) = (small(), Budget::Seconds(1.0));
    // As if 16 iterations had been found to take that long.
    let short = limited(&config, 16).unwrap();
    let stop = AtomicBool::new(false);
    let old = RunWriter::create(&there, &short).unwrap().snapshot_path(1).unwrap();
    std::fs::write(&old, "of the short run").unwrap();
    let mut watch = Told(Vec::new());
    let contestant =
        Contestant { name: "maml".into(), config: config.clone(), left_out: Vec::new() };
    let plan = Plan { contestants: vec![contestant], seeds: vec![1], budget };
    let table = compare(&plan, &out, &stop, &mut watch).unwrap();
    let iterations = *watch.0.last().expect("it begins anew");
    assert!(watch.0.len() <= FRESH_STARTS && watch.0[0] > 16, "{:?}", watch.0);
    let dir = RunDir::open(&there).unwrap();
    assert_eq!(dir.config().unwrap(), limited(&config, iterations).unwrap());
    let result = dir.result().unwrap().unwrap();
    assert_eq!(result["iterations_configured"], iterations as u64);
    // Nothing of the first attempt is left: the run equals one of this length from the start.
    assert!(!old.exists());
    let done = result["iterations"].as_u64().unwrap();
    let whole = Experiment::new(dir.config().unwrap()).unwrap();
    let session = Session { resume: false, budget: None, stop: &stop };
    run::train_experiment(whole, &plain, session, &mut Told(Vec::new())).unwrap();
    let (there, plain) = (steps(&there).unwrap(), steps(&plain).unwrap());
    let at_the_end = done == iterations as u64 && !done.is_multiple_of(100);
    assert_eq!(there.len() as u64, done / 100 + u64::from(at_the_end));
    assert_eq!(there, plain[..there.len()]);
    assert_eq!(table.rows[0].iterations, Some(done as f64));
    // A finished run stays when it is requested again.
    let mut again = Told(Vec::new());
    compare(&plan, &out, &stop, &mut again).unwrap();
    assert!(again.0.is_empty());
}

#[test]
fn rows_that_left_time_say_so() {
    let run = |seed, seconds: f64| Run {
        seed,
        status: Status::Finished,
        message: None,
        curve: Vec::new(),
        result: Some(json!({
            "iterations": 80, "iterations_configured": 80, "training_seconds": seconds,
            "test": { "scores": [{ "mean": 0.5, "ci95": 0.1 }] }, "untrained": { "scores": [] },
        })),
    };
    let contestant = Contestant { name: "maml".into(), config: small(), left_out: Vec::new() };
    let note = |budget, of: f64| {
        let plan = Plan { contestants: vec![contestant.clone()], seeds: vec![1, 2], budget };
        let seconds = |seed| if seed == 1 { of } else { 19.9 };
        Table::of(&plan, |_, seed| Ok(run(seed, seconds(seed)))).unwrap().rows[0].note()
    };
    assert_eq!(note(Budget::Seconds(20.0), 11.73), "seed 1: 11.7 of 20 s used");
    assert_eq!(note(Budget::Seconds(20.0), 19.01), "");
    // With equal iterations, no time is to be used up.
    assert_eq!(note(Budget::Iterations(80), 11.73), "");
    assert_eq!(note(Budget::Within(20.0), 11.73), "");
}
