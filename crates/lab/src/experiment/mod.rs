//! From a configuration to the things it names: tasks (`data.rs`), network, algorithm, optimizer.

mod algorithm;
mod model;
mod outer;

use innerloop_engine::{Key, Params, Shape, Tensor, volume};
use innerloop_meta::{Algorithm, Grouping, Losses, MetaState, Problem, Setup};
use innerloop_nn::{self as nn, BatchNorm, Model, initialise};
use innerloop_tasks::{EpisodeSpec, Joint, Split, TaskFamily};

use crate::config::{self, Config, Method, Network, Regularizer};
use crate::data::family;
use crate::few_shot::{FewShot, Phase, Readout};
use crate::{Error, Result};
pub(crate) use algorithm::algorithm;
use model::{batch_norm, model, with_classifier};
pub use outer::Outer;

/// Everything a configuration names, built.
pub struct Experiment {
    /// The configuration.
    pub config: Config,
    /// The tasks.
    pub family: Box<dyn TaskFamily>,
    /// The learner on meta-training episodes.
    pub train: FewShot,
    /// The learner on evaluation episodes.
    pub evaluate: FewShot,
    /// The algorithm.
    pub algorithm: Box<dyn Algorithm>,
}

impl Experiment {
    /// Builds everything; reads the data set from disk if there is one. Fails when that is missing, damaged or too
    /// small for the tasks, or when the network cannot be built as configured.
    pub fn new(config: Config) -> Result<Experiment> {
        let family = family(&config)?;
        Experiment::with_family(config, family)
    }

    /// Builds everything around a custom family of tasks, which replaces `[tasks]`. Its episodes must fit the network.
    pub fn with_family(config: Config, family: Box<dyn TaskFamily>) -> Result<Experiment> {
        let algorithm = algorithm(&config, family.spec(Split::Train).outputs());
        Experiment::assemble(config, family, model, algorithm)
    }

    /// Builds everything around a custom network, made for the shapes of the training and evaluation episodes; both
    /// must have the same parameters. Only the batch-norm mode of `[model]` is used.
    pub fn with_model(
        config: Config,
        model: impl Fn(&EpisodeSpec) -> Box<dyn Model>,
    ) -> Result<Experiment> {
        let family = family(&config)?;
        let algorithm = algorithm(&config, family.spec(Split::Train).outputs());
        Experiment::assemble(config, family, |_, spec| Ok(model(spec)), algorithm)
    }

    /// Builds everything around a custom algorithm. Of `[algorithm]`, only the steps, the minibatch and the strategy
    /// are used.
    pub fn with_algorithm(config: Config, algorithm: Box<dyn Algorithm>) -> Result<Experiment> {
        let family = family(&config)?;
        Experiment::assemble(config, family, model, algorithm)
    }

    fn assemble(
        config: Config,
        family: Box<dyn TaskFamily>,
        model: impl Fn(&Config, &EpisodeSpec) -> Result<Box<dyn Model>>,
        algorithm: Box<dyn Algorithm>,
    ) -> Result<Experiment> {
        let pretrains = config.algorithm.method == Method::FineTune;
        let family = if pretrains { Box::new(Joint::new(family)?) } else { family };
        let model = |spec: &EpisodeSpec, phase: Phase| match pretrains {
            false => model(&config, spec),
            true => {
                let of_tasks = model(&config, &family.spec(Split::Test))?;
                with_classifier(of_tasks, family.spec(Split::Train).outputs(), phase)
            }
        };
        let problem = |split, phase| -> Result<FewShot> {
            let spec = family.spec(split);
            Ok(FewShot {
                model: model(&spec, phase)?,
                spec,
                batch_norm: batch_norm(&config),
                momentum: match &config.model.network {
                    Network::Conv4(conv4) => conv4.batch_norm_momentum,
                    Network::Mlp(_) => 1.0,
                },
                phase,
                steps: config.algorithm.adaptation_steps,
                readout: match config.algorithm.method {
                    Method::Protonet => Readout::Prototypes,
                    Method::FineTune if phase == Phase::Train => Readout::Minibatch,
                    _ => Readout::Output,
                },
                views: phase == Phase::Train && shot(&config).is_some_and(|shot| shot.views),
            })
        };
        if config.evaluation.validate_every > 0 {
            family.check(Split::Validation).map_err(|error| {
                Error::from(error)
                    .context("validation (evaluation.validate_every = 0 leaves it out)")
            })?;
        }
        let train = problem(Split::Train, Phase::Train)?;
        check_size(&train)?;
        if train.views && train.spec.x.len() != 3 {
            return Err(Error::config(format!(
                "algorithm.shot_views is true and an example has shape {:?}, expected images [h, w, c]; set it to false",
                train.spec.x
            )));
        }
        let evaluate = problem(Split::Test, Phase::Evaluate)?;
        check_size(&evaluate)?;
        check_names(&config, &train, algorithm.as_ref())?;
        Ok(Experiment { train, evaluate, algorithm, family, config })
    }

    /// The inner loop of meta-training, in groups that suit its meta-batch.
    pub fn setup(&self, losses: Losses) -> Setup {
        let algorithm = &self.config.algorithm;
        Setup {
            steps: algorithm.adaptation_steps,
            batch: self.batch(),
            strategy: algorithm.strategy,
            losses,
            grouping: Grouping::Auto(self.config.outer.meta_batch_size),
        }
    }

    /// A pre-trained network whose new last layer is replaced by the nearest class mean of its features: the baseline
    /// of Ravi and Larochelle 2017, section 5.1, with means in place of neighbours. `None` where no network is
    /// pre-trained, and for modes of batch norm in which support and query set are no single batch.
    pub(crate) fn features(&self) -> Result<Option<FewShot>> {
        let apart = matches!(self.evaluate.batch_norm, BatchNorm::WithSupport | BatchNorm::Episode);
        if self.config.algorithm.method != Method::FineTune || apart {
            return Ok(None);
        }
        let mut config = self.config.clone();
        config.algorithm.method = Method::Protonet;
        let FewShot { ref spec, batch_norm, momentum, steps, .. } = self.evaluate;
        let problem = FewShot {
            model: model(&config, spec)?,
            spec: spec.clone(),
            batch_norm,
            momentum,
            phase: Phase::Evaluate,
            steps,
            readout: Readout::Prototypes,
            views: false,
        };
        // A custom network has other parameters.
        let known = self.evaluate.parameters();
        let fits = |(name, shape): (&str, &Shape)| known.get(name) == Some(shape);
        Ok(problem.parameters().iter().all(fits).then_some(problem))
    }

    /// Iterations of SHOT_p's pre-training, at the start of training.
    pub fn pretraining(&self) -> u64 {
        pretraining(&self.config)
    }

    /// Support examples per inner step; `None` for all.
    pub fn batch(&self) -> Option<usize> {
        Some(self.config.algorithm.inner_batch).filter(|&batch| batch > 0)
    }

    /// The starting point of a run with this seed.
    pub fn initial_state(&self) -> MetaState {
        let key = Key::new(self.config.seed);
        let theta = initialise(self.train.model.parameters(), key, self.config.run.dtype);
        self.state(theta)
    }

    /// Meta-parameters around a given θ.
    pub fn state(&self, theta: Params<Tensor>) -> MetaState {
        let steps = self.config.algorithm.adaptation_steps;
        MetaState::new(&self.train, self.algorithm.as_ref(), steps, theta)
    }

    /// The same values in PyTorch's layouts. Names may carry a prefix before the parameter's.
    pub fn to_torch(&self, values: &Params<Tensor>) -> Params<Tensor> {
        converted(self.train.model.parameters(), values, true)
    }

    /// The same values from PyTorch's layouts.
    pub fn from_torch(&self, values: &Params<Tensor>) -> Params<Tensor> {
        converted(self.train.model.parameters(), values, false)
    }
}

/// Iterations of SHOT_p's pre-training, at the start of training.
pub(crate) fn pretraining(config: &Config) -> u64 {
    let share = shot(config).map_or(0.0, |shot| shot.pretraining_until);
    let all = config.outer.iterations as f64;
    // The algorithm sees `i / all`: rounding must not make the two disagree.
    let first = (share * all).floor() as u64;
    (first..).find(|&i| i as f64 / all >= share).expect("the share is below one")
}

/// The same values converted to, or from, PyTorch's layouts. Names may carry a prefix before the parameter's.
pub(crate) fn converted(
    specs: &[nn::ParamSpec],
    values: &Params<Tensor>,
    to_torch: bool,
) -> Params<Tensor> {
    values.map_named(|name, value| {
        // A rate or a moment of a parameter ends with its name, and has its shape if it is per element.
        let ends = specs.iter().filter(|spec| name.ends_with(spec.name.as_str()));
        let spec = ends.max_by_key(|spec| spec.name.len());
        match spec {
            Some(spec) if to_torch && spec.shape == value.shape() => spec.to_torch(value),
            Some(spec) if !to_torch && spec.torch_shape() == value.shape() => {
                spec.from_torch(value)
            }
            _ => value.clone(),
        }
    })
}

/// The most numbers in a network or in an episode's inputs: 4 GiB in single precision, of which any run needs several.
const MOST_NUMBERS: usize = 1 << 30;

/// Refuses what no memory would hold, before it is asked for.
fn check_size(problem: &FewShot) -> Result<()> {
    let of_network = problem.model.parameters().iter().map(|spec| volume(&spec.shape)).sum();
    let examples = problem.spec.support.saturating_add(problem.spec.query);
    let of_inputs = examples.saturating_mul(volume(&problem.spec.x));
    for (what, found, advice) in [
        ("the network has", of_network, "lower model.filters, model.hidden or tasks.ways"),
        ("the inputs of a task are", of_inputs, "lower tasks.ways, tasks.shots or tasks.query"),
    ] {
        if found > MOST_NUMBERS {
            return Err(Error::config(format!(
                "{what} {found} numbers, expected at most {MOST_NUMBERS}; {advice}"
            )));
        }
    }
    Ok(())
}

/// Checks that names in the configuration are those of the network.
fn check_names(config: &Config, problem: &FewShot, algorithm: &dyn Algorithm) -> Result<()> {
    let parameters = problem.parameters();
    let names = parameters.names();
    let unknown = |key: &str, name: &str| {
        Error::config(format!(
            "{key} names {name:?}, which the network does not have; it has {names:?}"
        ))
    };
    for name in config.algorithm.inner_lr_of.keys() {
        if parameters.get(name).is_none() {
            return Err(unknown("algorithm.inner_lr_of", name));
        }
        if !algorithm.adapts(name) {
            return Err(Error::config(format!(
                "algorithm.inner_lr_of has a rate for {name:?}, which the inner loop of {} does not move; leave it out",
                algorithm.name()
            )));
        }
    }
    for prefix in &config.algorithm.frozen {
        if !names.iter().any(|name| name.starts_with(prefix.as_str())) {
            return Err(unknown("algorithm.frozen", prefix));
        }
    }
    let still = config.algorithm.method == Method::Protonet;
    if !still && !names.iter().any(|name| algorithm.adapts(name)) {
        return Err(Error::config(
            "algorithm.frozen leaves nothing for the inner loop to adapt; expected at least one parameter",
        ));
    }
    Ok(())
}

fn shot(config: &Config) -> Option<&config::ShotConfig> {
    match &config.algorithm.regularizer {
        Regularizer::Shot(shot) => Some(shot),
        Regularizer::None => None,
    }
}
