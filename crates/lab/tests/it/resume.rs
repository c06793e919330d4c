//! Stopping, resuming, diverging: what is on disk is always valid, and no bit depends on when or by how many threads it
//! was computed.

use innerloop_lab::config::presets;
use innerloop_lab::run_dir::RunDir;
use innerloop_lab::{ErrorKind, Experiment, Kept, Trainer, Which, open};

use crate::runs::{
    check_refused, check_same_bits, check_same_run, complete, failing, resumed, stopped, tiny,
};

/// Ten uninterrupted iterations leave the same as four, a stop, and six more.
#[track_caller]
fn check_resumes(preset: &str, sets: &[&str]) {
    let config = tiny(preset, sets);
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let outcome = complete(&config, &whole);

    let error = stopped(&config, &parts, 4);
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
    assert!(error.to_string().contains("stopped after iteration 4 of 10"), "{error}");
    assert_eq!(open(&parts, Which::Last).unwrap().iteration, 4);
    let (steps, again) = resumed(&config, &parts);
    let again = again.unwrap();
    assert_eq!(steps, [5, 6, 7, 8, 9, 10]);

    check_same_run(&whole, &parts);
    assert_eq!((&again.test, &again.untrained), (&outcome.test, &outcome.untrained));
    assert_eq!(again.evaluated_iteration, outcome.evaluated_iteration);
    assert!(again.seconds > 0.0 && outcome.seconds > 0.0);
}

#[test]
fn learned_rates_and_a_schedule_resume() {
    let sets = [
        "algorithm.learn_inner_lr=true",
        "outer.optimizer=adamw",
        "outer.schedule=cosine",
        "outer.warmup=3",
        "run.dtype=f64",
    ];
    check_resumes("sinusoid-maml", &sets);
}

#[test]
fn reptile_carries_the_inner_optimizer_on() {
    let sets = ["tasks.train_shots=3", "algorithm.inner_batch=4", "algorithm.adaptation_steps=3"];
    check_resumes("strokes-reptile", &sets);
}

/// Every method on drawn characters: a schedule, a velocity or a second inner loop is not affected by a stop.
#[test]
fn every_method_resumes() {
    let mut seen = 0;
    for preset in presets::all().filter(|preset| preset.name.starts_with("strokes")) {
        check_resumes(preset.name, &[]);
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} methods");
    check_resumes("strokes-multi-step", &["algorithm.inner_momentum=0.5", "algorithm.window=2"]);
}

#[test]
fn running_statistics_resume() {
    check_resumes("strokes-maml", &["model.batch_norm=running", "model.batch_norm_momentum=0.5"]);
}

#[test]
fn statistics_per_step_resume() {
    check_resumes("strokes-fomaml", &["model.batch_norm=per_step"]);
}

#[test]
fn an_ensemble_resumes() {
    let sets = ["evaluation.ensemble=2", "evaluation.validate_every=2"];
    check_resumes("strokes-maml", &sets);
    let folder = tempfile::tempdir().unwrap();
    let outcome = complete(&tiny("strokes-maml", &sets), folder.path());
    let dir = RunDir::open(folder.path()).unwrap();
    let mut members = outcome.ensemble.clone();
    assert_eq!((members.len(), members[0]), (2, outcome.evaluated_iteration), "the best is first");
    members.sort_unstable();
    assert_eq!(dir.members().unwrap(), members, "the others are gone");
    let lines = dir.metrics().unwrap();
    let score = |at: u64| {
        let of =
            |line: &&serde_json::Value| line["kind"] == "validation" && line["iteration"] == at;
        lines.iter().find(of).unwrap()["scores"][3]["mean"].as_f64().unwrap()
    };
    let worst = score(outcome.ensemble[1]);
    let others = [2, 4, 6, 8, 10].into_iter().filter(|at| !members.contains(at));
    assert!(others.map(score).all(|other| other <= worst));
}

/// A checkpoint beyond the end, as after an edit of the folder's configuration, is the end.
#[test]
fn a_run_past_its_end_is_over() {
    let folder = tempfile::tempdir().unwrap();
    complete(&tiny("sinusoid-maml", &[]), folder.path());
    let shorter = tiny("sinusoid-maml", &["outer.iterations=8"]);
    let config = RunDir::open(folder.path()).unwrap().config_path();
    std::fs::write(config, shorter.to_toml()).unwrap();
    let (steps, outcome) = resumed(&shorter, folder.path());
    assert_eq!((steps.len(), outcome.unwrap().iterations), (0, 10));
}

/// One thread and several leave the same.
#[track_caller]
fn check_threads(preset: &str, sets: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let run = |threads: usize| {
        let threads_set = format!("run.threads={threads}");
        let sets = [&["outer.iterations=4", "outer.meta_batch_size=5"], sets, &[&threads_set]];
        let out = folder.path().join(threads.to_string());
        let outcome = complete(&tiny(preset, &sets.concat()), &out);
        let trainer = open(&out, Which::Last).unwrap();
        assert_eq!(trainer.pool().current_num_threads(), threads);
        assert_eq!(trainer.learner().group() > 1, preset.starts_with("sinusoid"), "{preset}");
        (trainer.meta, outcome)
    };
    let (one, first) = run(1);
    for threads in [2, 3] {
        let (other, outcome) = run(threads);
        check_same_bits(&one.omega, &other.omega);
        check_same_bits(&one.carried, &other.carried);
        check_same_bits(&one.inner_state, &other.inner_state);
        assert_eq!(outcome.test, first.test, "{preset} with {threads} threads");
        assert_eq!(outcome.untrained, first.untrained, "{preset} with {threads} threads");
    }
}

#[test]
fn threads_change_no_bit_of_any_method() {
    let mut seen = 0;
    let of = |name: &str| name.starts_with("strokes") || name.starts_with("sinusoid");
    for preset in presets::all().filter(|preset| of(preset.name)) {
        check_threads(preset.name, &[]);
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} presets");
}

#[test]
fn threads_change_no_bit() {
    check_threads("strokes-maml", &["model.batch_norm=running"]);
    check_threads("strokes-reptile", &["tasks.train_shots=3", "algorithm.inner_batch=4"]);
    check_threads("strokes-fine-tune", &["model.batch_norm=running"]);
    check_threads("sinusoid-maml", &["outer.clip_norm=0.5"]);
    // Several groups of tasks that run together, the last one smaller.
    let several = "outer.meta_batch_size=31";
    check_threads("sinusoid-maml", &[several]);
    check_threads("sinusoid-maml", &[several, "algorithm.strategy=adjoint"]);
}

#[test]
fn other_threads_may_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    complete(&tiny("sinusoid-maml", &["run.threads=1"]), &whole);
    stopped(&tiny("sinusoid-maml", &["run.threads=3"]), &parts, 7);
    resumed(&tiny("sinusoid-maml", &["run.threads=2"]), &parts).1.unwrap();
    check_same_run(&whole, &parts);
}

#[test]
fn a_finished_run_is_only_evaluated_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = tiny("sinusoid-maml", &[]);
    let first = complete(&config, folder.path());
    let (steps, again) = resumed(&config, folder.path());
    assert_eq!(steps, [0u64; 0]);
    assert_eq!(again.unwrap().test, first.test);
}

#[test]
fn a_diverging_inner_loop_is_an_error_and_changes_nothing() {
    let config = tiny("strokes-maml", &["algorithm.inner_lr=1e30"]);
    let mut trainer = Trainer::new(Experiment::new(config.clone()).unwrap()).unwrap();
    let before = trainer.meta.clone();
    check_refused(
        trainer.step(),
        ErrorKind::Diverged,
        &["diverged at iteration 1", "expected a finite number", "lower algorithm.inner_lr"],
    );
    check_same_bits(&trainer.meta.omega, &before.omega);
    assert_eq!((trainer.iteration, trainer.optimizer.steps), (0, 0));

    let folder = tempfile::tempdir().unwrap();
    let (done, error) = failing(&config, folder.path());
    assert_eq!((done, error.kind()), (0, ErrorKind::Diverged), "{error}");
    assert!(RunDir::open(folder.path()).unwrap().metrics().unwrap().is_empty());
    check_refused(open(folder.path(), Which::Best), ErrorKind::Checkpoint, &["there is no file"]);
}

#[test]
fn divergence_leaves_the_last_good_checkpoint() {
    // The rate rises until it is too high.
    let rate = ["outer.optimizer=sgd", "outer.lr=2", "outer.warmup=199", "outer.iterations=200"];
    let sets = [&rate[..], &["evaluation.validate_every=0", "run.checkpoint_every=1"]].concat();
    let config = tiny("sinusoid-maml", &sets);
    let folder = tempfile::tempdir().unwrap();
    let (done, error) = failing(&config, folder.path());
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
    assert!((2..200).contains(&done), "diverged at once or never, after {done} iterations");

    // The step that failed may itself have been taken; its result is then not saved.
    let trainer = open(folder.path(), Which::Last).unwrap();
    assert!((done - 1..=done).contains(&trainer.iteration), "{} of {done}", trainer.iteration);
    assert!(trainer.meta.omega.values().iter().all(innerloop_engine::Tensor::is_finite));
    let (_, again) = resumed(&config, folder.path());
    assert_eq!(again.unwrap_err().to_string(), error.to_string(), "the same happens again");
}
