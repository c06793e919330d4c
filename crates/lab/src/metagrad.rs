//! `innerloop metagrad`: the exact meta-gradient of given weights and one given episode.

use std::collections::BTreeMap;
use std::path::Path;

use innerloop_engine::{Dtype, Key, Params, Tensor};
use innerloop_meta::outer;
use innerloop_meta::{Grouping, Learner, Losses, MetaState, Setup, TaskData, is_of_inner_rule};
use innerloop_tasks::{Episode, EpisodeSpec, Split, Target, TaskFamily};

use crate::checkpoint::state::{INNER_STATE, number};
use crate::checkpoint::{self, tensors};
use crate::config;
use crate::{Config, Error, Experiment, Result};

/// What [`metagrad`] reports about its computation.
pub struct Computed {
    /// Support loss before each inner step and after the last.
    pub support_losses: Vec<f64>,
    /// Query loss after the last step.
    pub query_loss: f64,
    /// Norm of the meta-gradient.
    pub norm: f64,
}

/// Runs the configured algorithm's inner loop from the weights in `weights` on the episode in `episode`, and
/// writes the meta-gradient under the weights' names, with `support_losses` `[K + 1]` and `query_loss`, to
/// `out`.
///
/// Weights are in PyTorch's layouts under the parameters' names, or in a checkpoint (`omega/…`). What the algorithm
/// changes in the course of training is as at the checkpoint's iteration, and for plain weights as at the end. An episode
/// has `support_x`, `support_y`, `query_x`, `query_y`: images `[n, c, h, w]` or inputs `[n, d]`, labels `[n]` or targets
/// `[n, d]`. Fails when a file cannot be read or written, when weights or episode do not fit the configuration, and
/// when the inner loop diverges.
pub fn metagrad(
    config: Config,
    (weights, episode): (&Path, &Path),
    dtype: Dtype,
    out: &Path,
) -> Result<Computed> {
    let mut config = config;
    config.run.dtype = dtype;
    let given = Given::read(episode, &config)?;
    let arrays = given.arrays.clone();
    let experiment = Experiment::with_family(config, Box::new(given))?;
    let mut meta = read_weights(weights, &experiment)?;
    let done = progress(weights, &experiment, &mut meta)?;
    meta.schedule(experiment.algorithm.as_ref(), done);
    let setup = Setup { grouping: Grouping::Single, ..experiment.setup(Losses::All) };
    let learner = Learner::new(&experiment.train, experiment.algorithm.as_ref(), setup);
    let mut result = learner.result(dtype);
    let [support_x, support_y, query_x, query_y] = &arrays;
    let data = TaskData {
        support: &[support_x, support_y],
        query: &experiment.train.query(query_x, query_y),
        key: Key::new(experiment.config.seed),
    };
    learner.run(&mut learner.worker(dtype), &meta, data, &mut result);
    let norm = outer::norm(&result.gradient);
    let losses = result.support_losses.clone();
    if !norm.is_finite() || losses.iter().any(|loss| !loss.is_finite()) {
        return Err(Error::diverged(format!(
            "the inner loop diverged: support losses {losses:?}, gradient norm {norm}; lower algorithm.inner_lr"
        )));
    }
    let mut named = experiment.to_torch(&result.gradient);
    named.push("support_losses", Tensor::from_f64(&[losses.len()], losses.clone()));
    if result.query_loss.is_finite() {
        named.push("query_loss", Tensor::from_f64(&[], vec![result.query_loss]));
    }
    tensors::write(out, &named, &BTreeMap::new())?;
    Ok(Computed { support_losses: losses, query_loss: result.query_loss, norm })
}

/// The share of training that is over at a checkpoint, whose inner optimizer's state is taken too if the algorithm has
/// one; 1 for plain weights.
fn progress(path: &Path, experiment: &Experiment, meta: &mut MetaState) -> Result<f64> {
    let Ok(checkpoint) = checkpoint::load(path) else { return Ok(1.0) };
    let dtype = experiment.config.run.dtype;
    if let Some(state) = checkpoint.group(INNER_STATE) {
        for (name, value) in experiment.from_torch(&state.map(|value| value.cast(dtype))).iter() {
            let at = meta.inner_state.position(name);
            if let Some(own) = at.map(|at| &mut meta.inner_state.values_mut()[at])
                && own.shape() == value.shape()
            {
                *own = value.clone();
            }
        }
    }
    let iteration: u64 = number(&checkpoint, "iteration", path)?;
    Ok((iteration as f64 / experiment.config.outer.iterations as f64).min(1.0))
}

/// Meta-parameters from a file: θ, and what else the inner rule learns (rates, factors, weights), if the file has any of
/// it.
fn read_weights(path: &Path, experiment: &Experiment) -> Result<MetaState> {
    let bad = |what: String| Error::checkpoint(format!("{}: {what}", path.display()));
    let (file, _) = tensors::read(path)?;
    let mut all = Params::new();
    for (full, value) in file.iter() {
        let name = full.strip_prefix("omega/").unwrap_or(full);
        // The other groups of a checkpoint are not weights.
        if name.contains('/') {
            continue;
        }
        if all.get(name).is_some() {
            return Err(bad(format!("it has tensor {name:?} twice, with and without \"omega/\"")));
        }
        all.push(name, value.clone());
    }
    let dtype = experiment.config.run.dtype;
    let mut theta = Params::new();
    for spec in experiment.train.model.parameters() {
        let value = all.get(&spec.name).ok_or_else(|| {
            bad(format!("it has no tensor {:?}; it has {:?}", spec.name, all.names()))
        })?;
        if value.shape() != spec.torch_shape() {
            return Err(bad(format!(
                "{} has shape {:?}, expected {:?}",
                spec.name,
                value.shape(),
                spec.torch_shape()
            )));
        }
        if !value.is_finite() {
            return Err(bad(format!("{} holds a number that is not finite", spec.name)));
        }
        theta.push(spec.name.clone(), spec.from_torch(value).cast(dtype));
    }
    let known = experiment.state(theta.clone()).omega;
    let expected = experiment.to_torch(&known);
    let mut rule = Params::new();
    for (name, value) in all.iter().filter(|(name, _)| is_of_inner_rule(name)) {
        if !value.is_finite() {
            return Err(bad(format!("{name} holds a number that is not finite")));
        }
        match expected.get(name) {
            Some(known) if known.shape() == value.shape() => rule.push(name, value.cast(dtype)),
            Some(known) => {
                let (found, expected) = (value.shape(), known.shape());
                return Err(bad(format!("{name} has shape {found:?}, expected {expected:?}")));
            }
            None => {
                return Err(bad(format!(
                    "{name} is a meta-parameter this algorithm does not have"
                )));
            }
        }
    }
    let mut meta = experiment.state(theta);
    for (name, value) in experiment.from_torch(&rule).iter() {
        let at = meta.omega.position(name).expect("only known names are kept");
        meta.omega.values_mut()[at] = value.clone();
    }
    Ok(meta)
}

/// A family with one episode, read from a file.
struct Given {
    spec: EpisodeSpec,
    /// Support inputs and targets, query inputs and targets; images `[n, h, w, c]`.
    arrays: [Tensor; 4],
}

const NAMES: [&str; 4] = ["support_x", "support_y", "query_x", "query_y"];

impl Given {
    fn read(path: &Path, config: &Config) -> Result<Given> {
        let (all, _) = tensors::read(path)?;
        let bad = |what: String| Error::data(format!("{}: {what}", path.display()));
        let mut arrays = Vec::new();
        for name in NAMES {
            let value = all.get(name).ok_or_else(|| {
                bad(format!(
                    "it has no array {name:?}; expected {NAMES:?}, found {:?}",
                    all.names()
                ))
            })?;
            if value.shape().is_empty() {
                return Err(bad(format!(
                    "{name} has shape [], expected a first axis that counts examples"
                )));
            }
            if value.is_empty() || !value.is_finite() {
                let what = if value.is_empty() { "empty" } else { "not finite somewhere" };
                return Err(bad(format!("{name} is {what}, expected finite numbers")));
            }
            arrays.push(match value.shape() {
                [_, _, _, _] => value.permuted(&[0, 2, 3, 1]),
                _ => value.clone(),
            });
        }
        let arrays: [Tensor; 4] = arrays.try_into().expect("four arrays");
        let [support_x, support_y, query_x, query_y] = &arrays;
        let x = support_x.shape()[1..].to_vec();
        let classes = !config.tasks.family.is_regression();
        let target = match *support_y.shape() {
            [_] if classes => Target::Classes(config.tasks.train_ways),
            [_, d] if !classes => Target::Values(d),
            ref shape => {
                let expected = if classes { "labels [n]" } else { "targets [n, d]" };
                return Err(bad(format!("support_y has shape {shape:?}, expected {expected}")));
            }
        };
        let images = matches!(config.model.network, config::Network::Conv4(_));
        if images && x.len() != 3 {
            return Err(bad(format!(
                "support_x has shape {:?}, expected images [n, c, h, w] for conv4",
                support_x.shape()
            )));
        }
        let (support, query) = (support_x.shape()[0], query_x.shape()[0]);
        let spec = EpisodeSpec { x, target, support, query };
        for ((name, array), shape) in NAMES.iter().zip(&arrays).zip(spec.shapes()) {
            if array.shape() != shape {
                return Err(bad(format!(
                    "{name} has shape {:?} (channels last), expected {shape:?}, as support_x and the configuration say",
                    array.shape()
                )));
            }
        }
        if let Target::Classes(ways) = target {
            for (name, labels) in [("support_y", support_y), ("query_y", query_y)] {
                let wrong =
                    labels.iter().find(|&y| y < 0.0 || y >= ways as f64 || y.fract() != 0.0);
                if let Some(y) = wrong {
                    return Err(bad(format!("{name} holds label {y}, expected 0 to {}", ways - 1)));
                }
            }
        }
        Ok(Given { spec, arrays })
    }
}

impl TaskFamily for Given {
    fn name(&self) -> &str {
        "given episode"
    }

    fn spec(&self, _: Split) -> EpisodeSpec {
        self.spec.clone()
    }

    fn sample_into(&self, _: Split, _: Key, episode: &mut Episode) {
        let [support_x, support_y, query_x, query_y] = &self.arrays;
        *episode = Episode {
            support_x: support_x.cast(Dtype::F32),
            support_y: support_y.cast(Dtype::F32),
            query_x: query_x.cast(Dtype::F32),
            query_y: query_y.cast(Dtype::F32),
        };
    }

    fn describe(&self) -> String {
        "one given episode".into()
    }
}
