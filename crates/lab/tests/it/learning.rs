//! Training works: short runs end clearly better than they began.

use std::path::Path;

use innerloop_lab::{Experiment, Outcome, Which, open};

use crate::runs::{complete, load, tiny};

/// Sixty iterations of a small network on drawn characters.
fn after_sixty(preset: &str, sets: &[&str], folder: &Path) -> Outcome {
    let small = [
        "tasks.query=10",
        "tasks.train_query=5",
        "model.filters=8",
        "outer.lr=0.02",
        "outer.meta_batch_size=4",
        "outer.iterations=60",
        "evaluation.tasks=60",
        "evaluation.validate_every=0",
    ];
    let outcome = complete(&load(preset, &[&small, sets].concat()), folder);
    assert_eq!(outcome.iterations, 60);
    outcome
}

#[test]
fn strokes_are_learned() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = after_sixty("strokes-maml", &[], folder.path());
    let (trained, untrained) = (outcome.test.last(), outcome.untrained.last());
    let chance = 0.2;
    assert!(trained.mean - trained.ci95 >= chance + 0.25, "{trained:?}");
    // Adapting random features is already well above chance.
    assert!(trained.mean >= untrained.mean + 0.1, "{trained:?} from {untrained:?}");
}

/// Running averages for the queries, from a support set of one example per class.
#[test]
fn strokes_are_learned_with_running_statistics() {
    for mode in ["running", "per_step"] {
        let folder = tempfile::tempdir().unwrap();
        let mode = format!("model.batch_norm={mode}");
        let outcome = after_sixty("strokes-maml", &[&mode], folder.path());
        let (trained, untrained) = (outcome.test.last(), outcome.untrained.last());
        let chance = 0.2;
        assert!(trained.mean - trained.ci95 >= chance + 0.15, "{mode}: {trained:?}");
        assert!(trained.mean >= untrained.mean + 0.1, "{mode}: {trained:?} from {untrained:?}");
    }
}

#[test]
fn sinusoids_are_learned() {
    let sets = [
        "outer.iterations=200",
        "outer.lr=0.005",
        "outer.meta_batch_size=10",
        "tasks.query=20",
        "tasks.train_query=10",
        "evaluation.tasks=100",
        "evaluation.validate_every=0",
    ];
    let folder = tempfile::tempdir().unwrap();
    let outcome = complete(&tiny("sinusoid-maml", &sets), folder.path());
    let (trained, untrained) = (outcome.test.last(), outcome.untrained.last());
    assert!(trained.mean <= 0.7 * untrained.mean, "{trained:?} from {untrained:?}");
}

#[test]
fn context_parameters_learn_sinusoids() {
    let sets = [
        "outer.iterations=200",
        "outer.lr=0.005",
        "outer.meta_batch_size=10",
        "algorithm.adaptation_steps=1",
        "tasks.query=20",
        "tasks.train_query=10",
        "evaluation.steps=1",
        "evaluation.tasks=100",
        "evaluation.validate_every=0",
    ];
    let folder = tempfile::tempdir().unwrap();
    let outcome = complete(&tiny("sinusoid-cavia", &sets), folder.path());
    let scores = &outcome.test.scores;
    assert!(scores[1].mean <= 0.7 * outcome.untrained.last().mean, "{scores:?}");
    // Context parameters start at zero after training too, and moving them helps.
    assert!(scores[1].mean <= 0.8 * scores[0].mean, "{scores:?}");
    let end = open(folder.path(), Which::Last).unwrap().meta;
    assert!(end.omega["context"].iter().all(|x| x == 0.0));
}

#[test]
fn prototypes_are_learned_without_an_inner_loop() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = after_sixty("strokes-protonet", &["run.threads=2"], folder.path());
    assert_eq!(outcome.test.scores.len(), 1, "there is no step");
    let (trained, untrained) = (outcome.test.last(), outcome.untrained.last());
    assert!(trained.mean >= untrained.mean + 0.1, "{trained:?} from {untrained:?}");
    assert_eq!(outcome.protocol.order, "first order");
    let end = open(folder.path(), Which::Last).unwrap().meta;
    assert!(end.omega.names().iter().all(|name| name.starts_with("features")));
}

#[test]
fn an_inner_rule_is_learned() {
    let sets = [
        "algorithm.name=lstm",
        "algorithm.adaptation_steps=3",
        "model.hidden=[10, 10]",
        "outer.iterations=150",
        "outer.lr=0.02",
        "outer.clip_norm=0.25",
        "outer.meta_batch_size=10",
        "tasks.query=20",
        "tasks.train_query=10",
        "evaluation.tasks=100",
        "evaluation.validate_every=0",
    ];
    let folder = tempfile::tempdir().unwrap();
    let config = tiny("sinusoid-cavia", &sets);
    let outcome = complete(&config, folder.path());
    let scores = &outcome.test.scores;
    assert!(scores[3].mean <= 0.7 * outcome.untrained.last().mean, "{scores:?}");
    assert_eq!(outcome.protocol.order, "first order through all steps");
    let start = Experiment::new(config).unwrap().initial_state().omega;
    let end = open(folder.path(), Which::Last).unwrap().meta.omega;
    let changed = |name: &&String| start[name.as_str()] != end[name.as_str()];
    assert!(start.names().iter().filter(|name| name.starts_with("lstm.")).all(|n| changed(&n)));
}
