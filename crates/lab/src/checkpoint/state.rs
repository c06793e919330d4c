//! The state of a run in its checkpoints: the groups of tensors, reading them back, and selecting a checkpoint.

use std::path::Path;

use innerloop_engine::{Params, Tensor};
use innerloop_meta::MetaState;

use super::Checkpoint;
use crate::evaluation::Measure;
use crate::run::best_validations;
use crate::run_dir::RunDir;
use crate::{Error, Experiment, Result, Trainer};

pub(crate) const OMEGA: &str = "omega";
pub(crate) const CARRIED: &str = "carried";
pub(crate) const INNER_STATE: &str = "inner_state";
pub(crate) const FIRST: &str = "optimizer.first";
pub(crate) const SECOND: &str = "optimizer.second";

/// Which checkpoint of a run to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The best on validation; the newest if nothing was validated.
    Best,
    /// The newest.
    Last,
    /// The start of the run, which needs no file.
    Start,
    /// One of the snapshots taken every `run.snapshot_every` iterations.
    Snapshot(u64),
}

/// A trainer restored from a checkpoint of a run: for evaluation and use. Fails when the folder holds no run, when its
/// data set no longer exists, or when the checkpoint is missing, damaged or belongs to another configuration.
pub fn open(folder: &Path, which: Which) -> Result<Trainer> {
    open_with(folder, which, None)
}

/// The same with another number of threads than the run's, 0 for one per core: no result depends on it.
pub fn open_with(folder: &Path, which: Which, threads: Option<usize>) -> Result<Trainer> {
    let dir = RunDir::open(folder)?;
    let mut config = dir.config()?;
    config.run.threads = threads.unwrap_or(config.run.threads);
    let mut trainer = Trainer::new(Experiment::new(config)?)?;
    (trainer.meta, trainer.iteration) = state(&dir, &trainer.experiment, which)?;
    Ok(trainer)
}

/// Meta-parameters of the ensemble that a run with `evaluation.ensemble` is tested as, with their iterations, the best
/// first; none for other runs.
pub fn ensemble(folder: &Path, experiment: &Experiment) -> Result<Vec<(u64, MetaState)>> {
    let dir = RunDir::open(folder)?;
    if experiment.config.evaluation.ensemble == 1 {
        return Ok(Vec::new());
    }
    let there = dir.members()?;
    let measure = Measure::of(experiment.evaluate.spec.target);
    let mut order = best_validations(&dir.metrics()?, measure, (0, usize::MAX));
    // The run may have resumed from before a replacement of its worst member, and ended before repeating it.
    order.retain(|at| there.contains(at));
    let one = |at| Ok((at, state_at(experiment, &dir.member_path(at))?.0));
    order.into_iter().map(one).collect()
}

/// A run's meta-parameters at one of its checkpoints, and the iteration of that checkpoint.
pub(crate) fn state(
    dir: &RunDir,
    experiment: &Experiment,
    which: Which,
) -> Result<(MetaState, u64)> {
    let best = dir.best_path();
    let path = match which {
        Which::Start => return Ok((experiment.initial_state(), 0)),
        Which::Best if best.exists() => best,
        Which::Best | Which::Last => dir.last_path(),
        Which::Snapshot(iteration) => dir.snapshot_path(iteration),
    };
    state_at(experiment, &path)
}

/// Meta-parameters in a checkpoint, and its iteration.
pub(crate) fn state_at(experiment: &Experiment, path: &Path) -> Result<(MetaState, u64)> {
    let mut meta = experiment.initial_state();
    let checkpoint = super::load(path)?;
    load_meta((experiment, &mut meta), &checkpoint, path)?;
    Ok((meta, number(&checkpoint, "iteration", path)?))
}

pub(crate) fn load_meta(
    (experiment, meta): (&Experiment, &mut MetaState),
    checkpoint: &Checkpoint,
    path: &Path,
) -> Result<()> {
    take(experiment, checkpoint, OMEGA, &mut meta.omega, path)?;
    take(experiment, checkpoint, CARRIED, &mut meta.carried, path)?;
    take(experiment, checkpoint, INNER_STATE, &mut meta.inner_state, path)
}

/// Replaces values with those of a checkpoint's group, if names, shapes and types agree.
pub(crate) fn take(
    experiment: &Experiment,
    checkpoint: &Checkpoint,
    group: &str,
    into: &mut Params<Tensor>,
    path: &Path,
) -> Result<()> {
    // Shapes are compared in PyTorch's layouts, for which the conversion back is defined.
    let found = same_shapes(checkpoint, group, &experiment.to_torch(into), path)?;
    *into = experiment.from_torch(&found);
    Ok(())
}

/// A checkpoint's group, in the order of `expected`, if names, shapes and types agree.
pub(crate) fn same_shapes(
    checkpoint: &Checkpoint,
    group: &str,
    expected: &Params<Tensor>,
    path: &Path,
) -> Result<Params<Tensor>> {
    let bad = |what: String| {
        Error::checkpoint(format!(
            "{}: {what}; this checkpoint belongs to another configuration",
            path.display()
        ))
    };
    let found = checkpoint.group(group).ok_or_else(|| bad(format!("it has no group {group:?}")))?;
    for (name, value) in expected.iter() {
        let other =
            found.get(name).ok_or_else(|| bad(format!("{group} has no tensor {name:?}")))?;
        if (other.shape(), other.dtype()) != (value.shape(), value.dtype()) {
            return Err(bad(format!(
                "{group}/{name} is {} {:?}, expected {} {:?}",
                other.dtype(),
                other.shape(),
                value.dtype(),
                value.shape()
            )));
        }
    }
    if found.len() != expected.len() {
        return Err(bad(format!(
            "{group} has {} tensors, expected {}",
            found.len(),
            expected.len()
        )));
    }
    Ok(expected.map_named(|name, _| found[name].clone()))
}

pub(crate) fn number<T: std::str::FromStr>(
    checkpoint: &Checkpoint,
    key: &str,
    path: &Path,
) -> Result<T> {
    let found = checkpoint.metadata.get(key);
    found.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::checkpoint(format!(
            "{}: metadata {key} is {found:?}, expected a number",
            path.display()
        ))
    })
}
