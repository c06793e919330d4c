//! From a configuration to the things it names: tasks, network, algorithm, optimizer.

use innerloop_engine::{Key, Params, Tensor};
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Cavia, Comparison, Decay, Distance, FineTune, Fomaml,
    GradientSimilarity, HfMaml, Imaml, InnerLoop, InnerOptimizer, Lstm, Maml, MamlPlusPlus,
    MetaCurvature, MetaSgd, MultiStep, Pretraining, Protonet, Reptile, Role, Shot, SignMaml,
    TruncatedMaml,
};
use innerloop_meta::outer::{self, Clip, Optimizer, Schedule};
use innerloop_meta::{
    Algorithm, Grouping, Losses, MetaState, Problem, Rates, Setup, Sharing, Strategy,
};
use innerloop_nn::{self as nn, Model, WithClassifier, initialise};
use innerloop_tasks::{self as tasks, EpisodeSpec, Joint, Split, TaskFamily};

use crate::config::{self, Config, Method, Network, Regularizer};
use crate::data::family;
use crate::few_shot::{FewShot, Phase, Readout};
use crate::{Error, Result};

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
    /// Builds everything; reads the data set from disk if there is one. Fails when that is missing, damaged or too small for
    /// the tasks, or when the network cannot be what the configuration says.
    pub fn new(config: Config) -> Result<Experiment> {
        let family = family(&config)?;
        Experiment::with_family(config, family)
    }

    /// Builds everything around a family of tasks of one's own, in place of `[tasks]`. Its episodes must fit
    /// the network.
    pub fn with_family(config: Config, family: Box<dyn TaskFamily>) -> Result<Experiment> {
        let algorithm = algorithm(&config, family.spec(Split::Train).outputs());
        Experiment::assemble(config, family, model, algorithm)
    }

    /// Builds everything around a network of one's own, made for the shapes of the training and of the
    /// evaluation episodes; both must have the same parameters. Of `[model]` only the batch-norm mode counts.
    pub fn with_model(
        config: Config,
        model: impl Fn(&EpisodeSpec) -> Box<dyn Model>,
    ) -> Result<Experiment> {
        let family = family(&config)?;
        let algorithm = algorithm(&config, family.spec(Split::Train).outputs());
        Experiment::assemble(config, family, |_, spec| Ok(model(spec)), algorithm)
    }

    /// Builds everything around an algorithm of one's own. Of `[algorithm]` the steps, the minibatch and the
    /// strategy count.
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
        let evaluate = problem(Split::Test, Phase::Evaluate)?;
        check_names(&config, &train, algorithm.as_ref())?;
        Ok(Experiment { train, evaluate, algorithm, family, config })
    }

    /// The inner loop of meta-training, in groups that suit its meta-batch.
    pub fn setup(&self, losses: Losses) -> Setup {
        let algorithm = &self.config.algorithm;
        Setup {
            steps: algorithm.adaptation_steps,
            batch: self.batch(),
            strategy: match algorithm.strategy {
                config::Strategy::Auto => Strategy::Auto,
                config::Strategy::Unrolled => Strategy::Unrolled,
                config::Strategy::Adjoint => Strategy::Adjoint,
            },
            losses,
            grouping: Grouping::Auto(self.config.outer.meta_batch_size),
        }
    }

    /// Iterations of SHOT_p's pre-training, at the start of training.
    pub fn pretraining(&self) -> u64 {
        let share = shot(&self.config).map_or(0.0, |shot| shot.pretraining);
        let all = self.config.outer.iterations as f64;
        // The algorithm is told `i / all`: rounding must not part the two.
        let first = (share * all).floor() as u64;
        (first..).find(|&i| i as f64 / all >= share).expect("the share is below one")
    }

    /// Support examples per inner step; nothing for all.
    pub fn batch(&self) -> Option<usize> {
        Some(self.config.algorithm.inner_batch).filter(|&batch| batch > 0)
    }

    /// Where a run of this seed starts.
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

/// The same values in, or from, PyTorch's layouts. Names may carry a prefix before the parameter's.
pub(crate) fn converted(
    specs: &[nn::ParamSpec],
    values: &Params<Tensor>,
    to_torch: bool,
) -> Params<Tensor> {
    values.map_named(|name, value| {
        // A rate or a moment of a parameter has its name at the end, and its shape if it is per element.
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

impl From<tasks::Error> for Error {
    fn from(error: tasks::Error) -> Error {
        match error.kind() {
            tasks::ErrorKind::Unknown => Error::config(error.to_string()),
            tasks::ErrorKind::Io => Error::new(crate::ErrorKind::Io, error.to_string()),
            _ => Error::data(error.to_string()),
        }
    }
}

fn model(config: &Config, spec: &EpisodeSpec) -> Result<Box<dyn Model>> {
    let outputs = spec.outputs();
    let embeds = config.algorithm.method == Method::Protonet;
    let weights = match config.model.init {
        config::Init::He => nn::Init::He,
        config::Init::Xavier => nn::Init::Xavier,
        config::Init::PyTorch => nn::Init::Torch,
        config::Init::TruncatedNormal => nn::Init::TruncatedNormal(0.01),
    };
    let context = match config.algorithm.method {
        Method::Cavia { parameters } => Some(parameters),
        _ => None,
    };
    match &config.model.network {
        Network::Mlp(mlp) => {
            let mut sizes = vec![spec.x.iter().product()];
            sizes.extend(&mlp.hidden);
            if !embeds {
                sizes.push(outputs);
            }
            let activation = match mlp.activation {
                config::Activation::Relu => nn::Activation::Relu,
                config::Activation::Tanh => nn::Activation::Tanh,
            };
            let mlp = nn::Mlp::new(&sizes, activation, weights);
            Ok(Box::new(match context {
                Some(parameters) => mlp.with_context(parameters),
                None => mlp,
            }))
        }
        Network::Conv4(conv4) => {
            let downsampling = match conv4.variant {
                config::Variant::MaxPool => nn::Downsampling::MaxPool,
                config::Variant::Strided => nn::Downsampling::Strided,
            };
            let head = match conv4.head {
                config::Head::Flatten => nn::Head::Flatten,
                config::Head::Mean => nn::Head::Mean,
            };
            let image: [usize; 3] = spec.x.as_slice().try_into().map_err(|_| {
                Error::config(format!(
                    "model.kind is \"conv4\" and an example has shape {:?}, expected images [h, w, c]; \
                     set model.kind = \"mlp\"",
                    spec.x
                ))
            })?;
            if downsampling == nn::Downsampling::MaxPool && image[..2].iter().any(|&e| e < 16) {
                return Err(Error::config(format!(
                    "images are {}×{}, conv4 halves four times and needs 16×16; set \
                     model.variant = \"strided\"",
                    image[0], image[1]
                )));
            }
            let with = (weights, conv4.batch_norm_eps);
            let (shape, filters) = ((downsampling, head), conv4.filters);
            let mut conv4 = nn::Conv4::new(image, filters, outputs, shape, with);
            if batch_norm(config).has_steps() {
                conv4 = conv4.with_norms(config.algorithm.adaptation_steps + 1);
            }
            Ok(Box::new(match context {
                Some(parameters) => conv4.with_context(parameters),
                None if embeds => conv4.without_head(),
                None => conv4,
            }))
        }
    }
}

/// The network with a classifier of all training classes, in use in training.
fn with_classifier(model: Box<dyn Model>, classes: usize, phase: Phase) -> Result<Box<dyn Model>> {
    let names: Vec<String> = model.parameters().iter().map(|spec| spec.name.clone()).collect();
    match WithClassifier::new(model, classes, phase == Phase::Train) {
        Some(model) => Ok(Box::new(model)),
        None => Err(Error::config(format!(
            "fine_tune replaces the last layer, \"head.weight\" and what else begins with \"head.\", and the network has \
             only {names:?}; call it so"
        ))),
    }
}

fn shot(config: &Config) -> Option<&config::ShotConfig> {
    match &config.algorithm.regularizer {
        Regularizer::Shot(shot) => Some(shot),
        Regularizer::None => None,
    }
}

fn batch_norm(config: &Config) -> nn::BatchNorm {
    match &config.model.network {
        Network::Mlp(_) => nn::BatchNorm::Transductive,
        Network::Conv4(conv4) => match conv4.batch_norm {
            config::BatchNorm::Transductive => nn::BatchNorm::Transductive,
            config::BatchNorm::WithSupport => nn::BatchNorm::WithSupport,
            config::BatchNorm::Running => nn::BatchNorm::Running,
            config::BatchNorm::PerStep => nn::BatchNorm::PerStep,
            config::BatchNorm::PerStepBatch => nn::BatchNorm::PerStepBatch,
            config::BatchNorm::Episode => nn::BatchNorm::Episode,
        },
    }
}

/// The algorithm a configuration names, for a network of so many outputs.
pub(crate) fn algorithm(config: &Config, outputs: usize) -> Box<dyn Algorithm> {
    let settings = &config.algorithm;
    let of = settings.inner_lr_of.iter().map(|(name, &rate)| (name.clone(), rate)).collect();
    let rates = Rates { default: settings.inner_lr, of };
    let mut frozen = settings.frozen.clone();
    // One of a step would be moved by that step, and read by the next one no more.
    if batch_norm(config).has_steps() {
        frozen.extend(nn::Conv4::NORMS.map(String::from));
    }
    let inner = InnerLoop { rates, frozen };
    let learn_rates = settings.learn_inner_lr;
    let method: Box<dyn Algorithm> = match settings.method {
        Method::Maml | Method::MamlPlusPlus | Method::MultiStep { .. } => {
            Box::new(Maml { inner, learn_rates })
        }
        Method::Fomaml => Box::new(Fomaml { inner }),
        Method::Anil => Box::new(Anil { inner, head: nn::HEAD.into(), learn_rates }),
        Method::Boil => Box::new(Boil { inner, head: nn::HEAD.into() }),
        Method::Cavia { .. } => Box::new(Cavia { inner, context: nn::CONTEXT.into() }),
        Method::MetaSgd => Box::new(MetaSgd { inner }),
        Method::Imaml { proximal, iterations, damping } => {
            Box::new(Imaml { inner, proximal, iterations, damping })
        }
        Method::MetaCurvature => Box::new(MetaCurvature { inner }),
        Method::SignMaml => Box::new(SignMaml { inner }),
        Method::TruncatedMaml { last_steps } => Box::new(TruncatedMaml { inner, last: last_steps }),
        Method::BinomMaml { degree } => Box::new(BinomMaml { inner, degree }),
        Method::GradientSimilarity(of) => Box::new(GradientSimilarity {
            inner,
            cosine: of.cosine_weight,
            l2: of.l2_weight,
            strength: of.strength,
            decay: match of.strength_schedule {
                config::StrengthSchedule::Constant => Decay::Constant,
                config::StrengthSchedule::Linear => Decay::Linear,
            },
            comparison: match of.comparison {
                config::Comparison::Whole => Comparison::Whole,
                config::Comparison::PerLayer => Comparison::PerLayer,
                config::Comparison::PerTensor => Comparison::PerTensor,
            },
        }),
        Method::Lstm => Box::new(Lstm { frozen: inner.frozen, key: Key::new(config.seed) }),
        Method::Protonet => Box::new(Protonet),
        Method::FineTune => {
            Box::new(FineTune { inner, head: nn::HEAD.into(), classifier: nn::CLASSIFIER.into() })
        }
        Method::HfMaml { epsilon } => Box::new(HfMaml { inner, epsilon }),
        Method::Reptile => Box::new(Reptile {
            inner,
            optimizer: match settings.inner_optimizer {
                config::InnerOptimizer::Sgd => InnerOptimizer::Sgd,
                config::InnerOptimizer::Adam => InnerOptimizer::Adam { beta2: 0.999, eps: 1e-8 },
            },
        }),
    };
    let method = in_windows(config, method);
    let (losses_until, second_order_from) = (settings.multi_step_loss, settings.second_order_from);
    let plus_plus = settings.method == Method::MamlPlusPlus;
    let method: Box<dyn Algorithm> = match plus_plus || losses_until + second_order_from > 0.0 {
        true => Box::new(MamlPlusPlus::new(method, losses_until, second_order_from)),
        false => method,
    };
    match settings.regularizer {
        Regularizer::None => method,
        Regularizer::Shot(shot) => {
            let distance = match shot.distance {
                config::ShotDistance::ReferenceToTarget => Distance::ReferenceToTarget,
                config::ShotDistance::TargetToReference => Distance::TargetToReference,
                config::ShotDistance::CrossEntropy => Distance::CrossEntropy,
                config::ShotDistance::Outputs => Distance::Outputs,
                config::ShotDistance::Parameters => Distance::Parameters,
            };
            let role = match shot.base {
                config::ShotBase::Reference => Role::Reference,
                config::ShotBase::Target => Role::Target,
            };
            let mut regularized = Shot::new(method, shot.weight, distance, (role, shot.steps));
            regularized.travel = shot.travel;
            let key = Key::new(config.seed);
            regularized.pretraining = (shot.pretraining > 0.0).then(|| Pretraining {
                until: shot.pretraining,
                projector: shot.projector.then_some((key, outputs)),
            });
            Box::new(regularized)
        }
    }
}

/// The method in windows of inner steps that share a gradient, if they do.
fn in_windows(config: &Config, method: Box<dyn Algorithm>) -> Box<dyn Algorithm> {
    let sharing = config.algorithm.window.sharing();
    match config.algorithm.method {
        Method::MultiStep { momentum } => Box::new(MultiStep::new(method, sharing, momentum)),
        _ if sharing != Sharing::None => Box::new(MultiStep::new(method, sharing, 0.0)),
        _ => method,
    }
}

/// Names in the configuration must be those of the network.
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

/// The outer step as configured.
pub struct Outer {
    /// Bounds on the gradient.
    pub clip: Clip,
    /// Rate over the iterations.
    pub schedule: Schedule,
    /// The step.
    pub optimizer: Optimizer,
}

impl Outer {
    /// From the configuration.
    pub fn new(config: &Config) -> Outer {
        let settings = &config.outer;
        let weight_decay = settings.weight_decay;
        let adam = |adam: &config::AdamConfig, decoupled| Optimizer::Adam {
            beta1: adam.beta1,
            beta2: adam.beta2,
            eps: adam.eps,
            weight_decay,
            decoupled,
        };
        let (course, end) = match settings.schedule {
            config::Schedule::Constant => (outer::Course::Constant, settings.lr),
            config::Schedule::Linear { final_lr } => (outer::Course::Linear, final_lr),
            config::Schedule::Cosine { final_lr } => (outer::Course::Cosine, final_lr),
        };
        Outer {
            clip: Clip { value: settings.clip_value, norm: settings.clip_norm },
            schedule: Schedule {
                start: settings.lr,
                end,
                warmup: settings.warmup as u64,
                iterations: settings.iterations as u64,
                course,
            },
            optimizer: match &settings.optimizer {
                config::Optimizer::Sgd { momentum } => {
                    Optimizer::Sgd { momentum: *momentum, weight_decay }
                }
                config::Optimizer::Adam(of) => adam(of, false),
                config::Optimizer::AdamW(of) => adam(of, true),
            },
        }
    }
}
