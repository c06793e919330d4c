//! Runs small enough to take a fraction of a second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use innerloop_engine::{Dtype, Key, Params, Tensor};
use innerloop_lab::checkpoint::{self, Checkpoint};
use innerloop_lab::run_dir::RunDir;
use innerloop_lab::{
    Config, Error, ErrorKind, Event, Experiment, Outcome, Result, Session, Sink, train,
    train_experiment,
};
use innerloop_meta::{Grouping, Learner, Losses, MetaState, Setup, TaskData, TaskResult};
use innerloop_tasks::{Episode, EpisodeSpec, Split, TaskFamily, episode_key};
use serde_json::Value;

/// Ten tiny iterations, with validation in the middle and at the end.
const TINY: [&str; 11] = [
    "tasks.query=2",
    "tasks.train_query=2",
    "outer.meta_batch_size=3",
    "outer.iterations=10",
    "evaluation.tasks=4",
    "evaluation.validation_tasks=3",
    "evaluation.validate_every=5",
    "run.threads=2",
    "run.log_every=1",
    "run.checkpoint_every=3",
    "seed=5",
];

/// A preset with overrides.
pub(crate) fn load(preset: &str, sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    Config::load(preset, &sets).unwrap()
}

/// A preset reduced to [`TINY`] sizes, with overrides.
pub(crate) fn tiny(preset: &str, sets: &[&str]) -> Config {
    let mut all = TINY.to_vec();
    if !preset.ends_with("protonet") {
        all.push("evaluation.steps=3");
    }
    if !preset.ends_with("protonet") && !preset.ends_with("fine-tune") {
        all.push("algorithm.adaptation_steps=2");
    }
    if preset.starts_with("strokes") {
        all.extend(["tasks.ways=3", "model.filters=4"]);
    }
    all.extend(sets);
    load(preset, &all)
}

/// Records iterations, and stops the run after iteration `after`.
struct Stopper<'a> {
    stop: &'a AtomicBool,
    after: u64,
    steps: Vec<u64>,
}

impl Sink for Stopper<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Step(step) = event {
            self.steps.push(step.iteration);
            self.stop.store(step.iteration == self.after, Ordering::Relaxed);
        }
    }
}

/// Trains into a folder until `after` or the end; returns the iterations seen and the result.
fn run(config: &Config, out: &Path, resume: bool, after: u64) -> (Vec<u64>, Result<Outcome>) {
    let stop = AtomicBool::new(false);
    let mut sink = Stopper { stop: &stop, after, steps: Vec::new() };
    let outcome = train(config.clone(), out, resume, &stop, &mut sink);
    (sink.steps, outcome)
}

/// A run from its start to its end.
pub(crate) fn complete(config: &Config, out: &Path) -> Outcome {
    run(config, out, false, u64::MAX).1.unwrap()
}

/// A run from its start to the iteration `after`, where it is stopped.
pub(crate) fn stopped(config: &Config, out: &Path, after: u64) -> Error {
    let (steps, outcome) = run(config, out, false, after);
    assert_eq!(steps, (1..=after).collect::<Vec<_>>());
    outcome.unwrap_err()
}

/// Resumes a run in its folder; returns the iterations it takes as well.
pub(crate) fn resumed(config: &Config, out: &Path) -> (Vec<u64>, Result<Outcome>) {
    run(config, out, true, u64::MAX)
}

/// A run that is expected to fail by itself: the iterations done, and the error.
pub(crate) fn failing(config: &Config, out: &Path) -> (u64, Error) {
    let (steps, outcome) = run(config, out, false, u64::MAX);
    (steps.last().copied().unwrap_or(0), outcome.unwrap_err())
}

/// A family that stops the run as the `at`-th task of a split is drawn.
struct Stopping {
    family: Box<dyn TaskFamily>,
    split: Split,
    at: usize,
    drawn: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl TaskFamily for Stopping {
    fn name(&self) -> &str {
        self.family.name()
    }

    fn spec(&self, split: Split) -> EpisodeSpec {
        self.family.spec(split)
    }

    fn sample_into(&self, split: Split, key: Key, episode: &mut Episode) {
        if split == self.split && self.drawn.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.family.sample_into(split, key, episode);
    }

    fn describe(&self) -> String {
        self.family.describe()
    }
}

/// A run that is stopped as it draws the `at`-th task of a split in this session: how many it drew, and the error.
pub(crate) fn stopped_at_task(
    config: &Config,
    out: &Path,
    resume: bool,
    (split, at): (Split, usize),
) -> (usize, Error) {
    let family = Experiment::new(config.clone()).unwrap().family;
    let (drawn, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let family = Stopping { family, split, at, drawn: drawn.clone(), stop: stop.clone() };
    let experiment = Experiment::with_family(config.clone(), Box::new(family)).unwrap();
    let session = Session { resume, budget: None, stop: &stop };
    let mut sink = Stopper { stop: &AtomicBool::new(false), after: u64::MAX, steps: Vec::new() };
    let error = train_experiment(experiment, out, session, &mut sink).unwrap_err();
    (drawn.load(Ordering::Relaxed), error)
}

/// Values as bits: equality distinguishes 0 from −0 and applies to NaN too.
pub(crate) fn bits(tensor: &Tensor) -> Vec<u64> {
    match tensor.dtype() {
        Dtype::F32 => tensor.as_f32().iter().map(|x| u64::from(x.to_bits())).collect(),
        Dtype::F64 => tensor.as_f64().iter().map(|x| x.to_bits()).collect(),
    }
}

#[track_caller]
pub(crate) fn check_same_bits(a: &Params<Tensor>, b: &Params<Tensor>) {
    assert_eq!(a.names(), b.names());
    for (name, value) in a.iter() {
        assert_eq!(value.shape(), b[name].shape(), "{name}");
        assert_eq!(bits(value), bits(&b[name]), "{name}");
    }
}

/// Checkpoints of two runs are equal except for the time they took.
#[track_caller]
fn check_same_checkpoint(a: &Path, b: &Path) {
    let (a, b): (Checkpoint, Checkpoint) =
        (checkpoint::load(a).unwrap(), checkpoint::load(b).unwrap());
    let names =
        |of: &Checkpoint| -> Vec<String> { of.groups.iter().map(|g| g.0.clone()).collect() };
    assert_eq!(names(&a), names(&b));
    for ((name, a), (_, b)) in a.groups.iter().zip(&b.groups) {
        assert_eq!(a.names(), b.names(), "{name}");
        check_same_bits(a, b);
    }
    let timeless = |of: &Checkpoint| {
        let mut metadata = of.metadata.clone();
        for clock in ["seconds", "training_seconds"] {
            metadata.remove(clock).expect("a checkpoint says how long it took");
        }
        metadata
    };
    assert_eq!(timeless(&a), timeless(&b));
}

/// Everything that two runs left behind is equal except for the time they took.
#[track_caller]
pub(crate) fn check_same_run(a: &Path, b: &Path) {
    let (a, b) = (RunDir::open(a).unwrap(), RunDir::open(b).unwrap());
    check_same_checkpoint(&a.last_path(), &b.last_path());
    if a.best_path().exists() {
        check_same_checkpoint(&a.best_path(), &b.best_path());
    }
    let snapshots = a.snapshots().unwrap();
    assert_eq!(snapshots, b.snapshots().unwrap());
    for at in snapshots {
        check_same_checkpoint(&a.snapshot_path(at), &b.snapshot_path(at));
    }
    let timeless = |dir: &RunDir| -> Vec<Value> {
        let mut lines = dir.metrics().unwrap();
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            line.remove("seconds").expect("a line says when it was written");
            line.remove("training_seconds");
        }
        lines
    };
    let lines = timeless(&a);
    assert!(lines.len() >= 2, "{lines:?}");
    assert_eq!(lines, timeless(&b));
}

#[track_caller]
pub(crate) fn check_refused<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = result else { panic!("accepted, expected an error that says {parts:?}") };
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    assert!(!message.ends_with('.'), "{message:?}");
}

/// The first training task of an experiment, at meta-parameters.
pub(crate) fn first_task(experiment: &Experiment) -> impl FnMut(&MetaState) -> TaskResult {
    let setup = Setup { grouping: Grouping::Single, ..experiment.setup(Losses::Training) };
    let learner = Learner::new(&experiment.train, experiment.algorithm.as_ref(), setup);
    let mut episode = Episode::zeros(&experiment.train.spec);
    let key = episode_key(1, Split::Train, 0, 0);
    experiment.family.sample_into(Split::Train, key, &mut episode);
    let mut worker = learner.worker(Dtype::F64);
    move |meta| {
        let data = TaskData {
            support: &[&episode.support_x, &episode.support_y],
            query: &[&episode.query_x, &episode.query_y],
            key,
        };
        let mut result = learner.result(Dtype::F64);
        learner.run(&mut worker, meta, data, &mut result);
        result
    }
}
