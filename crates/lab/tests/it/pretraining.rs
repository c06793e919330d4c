//! SHOT's pre-training: two views of the queries while it lasts, and the starting point of ordinary training.

use innerloop_engine::Key;
use innerloop_lab::run_dir::RunDir;
use innerloop_lab::{Config, ErrorKind, Experiment, Trainer, Which, open};
use innerloop_tasks::{Episode, EpisodeSpec, Split, Target, TaskFamily};

use crate::runs::{
    check_refused, check_same_bits, check_same_run, complete, load, resumed, stopped, tiny,
};

/// Ten iterations, five of them pre-training; validations after 2, 4, 5, 6, 8 and 10.
fn half(sets: &[&str]) -> Config {
    let all =
        [&["algorithm.shot_pretraining_until=0.5", "evaluation.validate_every=2"], sets].concat();
    tiny("strokes-shot-pretrained", &all)
}

/// Ordinary training starts from the best validation of pre-training, with a fresh outer optimizer.
#[test]
fn ordinary_training_starts_from_the_best() {
    // At this rate, later iterations are not the better ones.
    let config = half(&["run.snapshot_every=1", "outer.lr=0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    complete(&config, &out);
    let metrics = RunDir::open(&out).unwrap().metrics().unwrap();
    let score = |at: u64| {
        let line =
            |line: &&serde_json::Value| line["kind"] == "validation" && line["iteration"] == at;
        let line = metrics.iter().find(line).unwrap_or_else(|| panic!("no validation at {at}"));
        line["scores"].as_array().unwrap().last().unwrap()["mean"].as_f64().unwrap()
    };
    let best =
        [2, 4, 5].into_iter().reduce(|a, b| if score(b) > score(a) { b } else { a }).unwrap();
    assert_ne!(best, 5, "the last is the best: nothing is seen of a return");
    let mut again = Trainer::new(Experiment::new(config).unwrap()).unwrap();
    again.restart(open(&out, Which::Snapshot(best)).unwrap().meta);
    again.iteration = 5;
    again.step().unwrap();
    check_same_bits(&again.meta.omega, &open(&out, Which::Snapshot(6)).unwrap().meta.omega);
}

/// Without validations it starts from the last meta-parameters, also with a fresh outer optimizer.
#[test]
fn ordinary_training_starts_anew_without_a_best() {
    let config = half(&["run.snapshot_every=1", "evaluation.validate_every=0"]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    complete(&config, &out);
    let mut again = Trainer::new(Experiment::new(config.clone()).unwrap()).unwrap();
    again.restart(open(&out, Which::Snapshot(5)).unwrap().meta);
    again.iteration = 5;
    again.step().unwrap();
    check_same_bits(&again.meta.omega, &open(&out, Which::Snapshot(6)).unwrap().meta.omega);
    let resumed_at = |at: u64| {
        let out = folder.path().join(format!("stopped-{at}"));
        stopped(&config, &out, at);
        resumed(&config, &out).1.unwrap();
        open(&out, Which::Last).unwrap().meta.omega
    };
    let end = open(&out, Which::Last).unwrap().meta.omega;
    for at in [4, 5, 6] {
        check_same_bits(&resumed_at(at), &end);
    }
}

/// The best weights of pre-training minimise another loss: they are no result.
#[test]
fn the_best_of_pretraining_is_forgotten() {
    let config = half(&["evaluation.validate_every=5"]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    stopped(&config, &out, 7);
    assert!(!RunDir::open(&out).unwrap().best_path().exists());
    // Until the next validation, the newest weights stand in for it.
    assert_eq!(open(&out, Which::Best).unwrap().iteration, 7);
}

/// Members of an ensemble come from ordinary training only, if there was any.
#[test]
fn an_ensemble_is_of_ordinary_training() {
    let config = half(&["evaluation.ensemble=5", "outer.lr=0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut members = complete(&config, &out).ensemble;
    members.sort_unstable();
    assert_eq!(members, [6, 8, 10]);
    assert_eq!(RunDir::open(&out).unwrap().members().unwrap(), members, "the others are gone");
    // During pre-training its weights are ranked with each other; the stop comes before the validation at its end.
    let out = folder.path().join("stopped");
    stopped(&config, &out, 5);
    assert_eq!(RunDir::open(&out).unwrap().members().unwrap(), [2, 4]);
    resumed(&config, &out).1.unwrap();
    assert_eq!(RunDir::open(&out).unwrap().members().unwrap(), members);
}

#[test]
fn the_return_resumes() {
    let config = half(&["outer.lr=0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    complete(&config, &whole);
    for after in 4..=7 {
        let parts = folder.path().join(after.to_string());
        stopped(&config, &parts, after);
        resumed(&config, &parts).1.unwrap();
        check_same_run(&whole, &parts);
    }
}

/// A custom family whose classes consist of points in a plane.
struct Points;

impl TaskFamily for Points {
    fn name(&self) -> &str {
        "points"
    }

    fn spec(&self, _: Split) -> EpisodeSpec {
        EpisodeSpec { x: vec![2], target: Target::Classes(3), support: 3, query: 6 }
    }

    fn sample_into(&self, _: Split, _: Key, _: &mut Episode) {}

    fn describe(&self) -> String {
        "points".into()
    }
}

#[test]
fn views_are_of_images() {
    let with = |views: bool| {
        let views = format!("algorithm.shot_views={views}");
        let shot = ["algorithm.regularizer=shot", "algorithm.shot_pretraining_until=0.5"];
        let config = load("strokes-maml", &["model.kind=mlp", shot[0], shot[1], &views]);
        Experiment::with_family(config, Box::new(Points))
    };
    check_refused(with(true), ErrorKind::Config, &["algorithm.shot_views is true", "[2]"]);
    with(false).unwrap();
}

/// The views matter in pre-training and not after it.
#[test]
fn views_are_of_pretraining_alone() {
    let step = |views: bool, iteration: u64| {
        let config = half(&[&format!("algorithm.shot_views={views}"), "algorithm.shot_weight=0.1"]);
        let mut trainer = Trainer::new(Experiment::new(config).unwrap()).unwrap();
        trainer.iteration = iteration;
        trainer.step().unwrap();
        trainer.meta.omega
    };
    check_same_bits(&step(true, 5), &step(false, 5));
    assert_ne!(step(true, 4), step(false, 4));
}
