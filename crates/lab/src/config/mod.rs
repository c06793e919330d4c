//! The configuration of a run.
//!
//! A configuration has two stages. As written, in a TOML file, any key may be missing. As run, in [`Config`],
//! nothing is optional and every combination is legal; a run's folder keeps this form.
//!
//! The source is a preset, or a file that may be based on one with `preset = "name"` at its top; `--set` overrides come
//! last:
//!
//! ```
//! use innerloop_lab::{Config, Kept};
//!
//! let sets = ["outer.lr=5e-4".to_string(), "algorithm.name=anil".to_string()];
//! let config = Config::load("strokes-maml", &sets)?;
//! assert_eq!(config.outer.lr, 5e-4);
//! let again = Config::parse(&config.to_toml(), "config.toml")?;
//! assert_eq!(again, config);
//! # Ok::<(), innerloop_lab::Error>(())
//! ```

#[macro_use]
mod section;
#[macro_use]
mod setting;
mod bounds;
mod families;
mod file;
mod kind;
mod layers;
mod method;
mod names;
pub mod presets;
mod regularizer;
pub mod rl;
pub mod suggest;
#[cfg(test)]
mod tests;
pub mod transfer;
mod valid;
mod window;
mod written;

use std::collections::BTreeMap;

use innerloop_engine::Dtype;
use serde::{Serialize, Serializer};

use crate::Result;
pub use bounds::MOST_THREADS;
pub use families::{
    CifarConfig, CurvesConfig, Family, ImagesConfig, MiniImagenetConfig, MultiMnistConfig,
    OmniglotConfig, SharesConfig,
};
pub use innerloop_meta::Strategy;
pub use innerloop_meta::algorithms::{Comparison, Decay, Distance, Role};
pub use innerloop_nn::{Activation, BatchNorm, Downsampling, Head};
pub use innerloop_tasks::Rotations;
pub use innerloop_tasks::omniglot::OmniglotSplit;
pub use kind::Kind;
use layers::Layers;
pub use method::{Method, SimilarityConfig};
pub use names::{Augment, Init, InnerOptimizer, Layout};
pub use regularizer::{Regularizer, ShotConfig};
pub use rl::RlConfig;
pub use transfer::TransferConfig;
pub use window::{WindowConfig, WindowMode};
use written::written;

/// A whole run. Made by [`Config::load`] and [`Kept::parse`], which check it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Source of all random numbers: 0 to 2⁶³ − 1. Default 1.
    pub seed: u64,
    /// `[tasks]`
    pub tasks: TasksConfig,
    /// `[model]`
    pub model: ModelConfig,
    /// `[algorithm]`
    pub algorithm: AlgorithmConfig,
    /// `[outer]`
    pub outer: OuterConfig,
    /// `[evaluation]`
    pub evaluation: EvaluationConfig,
    /// `[run]`
    pub run: RunConfig,
}

/// The tasks: `[tasks]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TasksConfig {
    /// `family`: `strokes` (default) or another one; see [`Family`].
    pub family: Family,
    /// Classes in a task, 2 or more. Default 5. 1 for regression, which has no classes.
    pub ways: usize,
    /// Support examples per class (in regression: points) at validation and test. Default 1.
    pub shots: usize,
    /// Query examples per class (in regression: points) at validation and test. Default 15.
    pub query: usize,
    /// `ways` in training, for prototypical networks only: a head has one output for every class of a task. Default:
    /// `ways`.
    pub train_ways: usize,
    /// `shots` in training. Default: `shots`.
    pub train_shots: usize,
    /// `query` in training. Default: `query`.
    pub train_query: usize,
    /// Random augmentations of training images, for images from files. Default none.
    pub augment: Vec<Augment>,
}

/// The network: `[model]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// `kind`: `conv4` (default for images) or `mlp` (default for regression).
    pub network: Network,
    /// Default `xavier` for `conv4` and `pytorch` for `mlp`. MAML's own code starts sinusoid networks with
    /// `truncated_normal`, which trains much more slowly at first.
    pub init: Init,
}

/// A network and its keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Network {
    /// Four blocks of convolution, batch norm and ReLU, then a linear layer.
    Conv4(Conv4Config),
    /// Linear layers with activations between them; images are flattened.
    Mlp(MlpConfig),
}

/// Keys of `[model]` that go with `kind = "conv4"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv4Config {
    /// Channels in every block. Default 64.
    pub filters: usize,
    /// How each block halves its input: `max_pool` (default) or `strided` convolutions.
    pub downsampling: Downsampling,
    /// What the linear layer sees: `flatten` (default with `max_pool`), all features, or `mean` (default with
    /// `strided`), their mean over pixels.
    pub head: Head,
    /// `transductive` (default), `with_support`, `running`, `per_step`, `per_step_batch` or `episode`.
    pub batch_norm: BatchNorm,
    /// Weight of the newest batch in running statistics, in (0, 1]. Default 0.1.
    pub batch_norm_momentum: f64,
    /// Added to the variance. Default 1e-5.
    pub batch_norm_eps: f64,
}

/// Keys of `[model]` that go with `kind = "mlp"`.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpConfig {
    /// Sizes of the hidden layers; [] gives a linear model. Default [40, 40].
    pub hidden: Vec<usize>,
    /// `relu` (default) or `tanh`.
    pub activation: Activation,
}

/// The method and its inner loop: `[algorithm]`. Losses are means, so a rate published for a loss summed over classes
/// must be multiplied by their number.
#[derive(Clone, Debug, PartialEq)]
pub struct AlgorithmConfig {
    /// `name`: `maml` (default), `maml_plus_plus`, `fomaml`, `reptile`, `anil`, `boil`, `cavia`, `meta_sgd`,
    /// `meta_curvature`, `sign_maml`, `truncated_maml`, `binom_maml`, `hf_maml`, `imaml`, `multi_step`,
    /// `gradient_similarity`, `lstm`, `protonet` or `fine_tune`.
    pub method: Method,
    /// Learning rate of the inner loop; the initial value if rates are learned. Default 0.001 with Adam, 1 for `cavia`,
    /// 0.0035 for `sign_maml` on images, else 0.01 for regression and 0.4 for images.
    pub inner_lr: f64,
    /// Different rates for individual tensors, by full name: `"head.weight" = 0.1`. Default none.
    pub inner_lr_of: BTreeMap<String, f64>,
    /// Learn a rate for each tensor and inner step. Default false; true for `maml_plus_plus`.
    pub learn_inner_lr: bool,
    /// Fraction of training until which there is a multi-step loss: the query losses after all inner steps count, with
    /// weights that shift to the last one; with 0 only the last ever counts. Default 0; 0.1 for `maml_plus_plus`.
    pub multi_step_loss_until: f64,
    /// Fraction of training from which second derivatives are used; until then inner gradients are held constant, as in
    /// first-order MAML. Default 0.
    pub second_order_from: f64,
    /// Inner steps in training; with 0 the network is trained on all tasks jointly, a baseline that is fine-tuned at
    /// evaluation. Default 1; 5 for `maml_plus_plus`, `reptile` and `lstm`; 16 for `imaml`; one more than
    /// `last_steps` or `degree`; or as many as `window`.
    pub adaptation_steps: usize,
    /// Support examples per inner step; 0, the default, means all of them. A smaller support set is used whole.
    pub inner_batch: usize,
    /// `window` and `window_mode`: inner steps that share a gradient.
    pub window: WindowConfig,
    /// Default `sgd`.
    pub inner_optimizer: InnerOptimizer,
    /// Prefixes of the names of tensors that the inner loop does not adapt, in addition to those that the method
    /// does not adapt. Default none.
    pub frozen: Vec<String>,
    /// `auto` (default), `unrolled` or `adjoint`.
    pub strategy: Strategy,
    /// `regularizer`: `none` (default) or `shot`.
    pub regularizer: Regularizer,
}

impl AlgorithmConfig {
    /// The paper of this method, or of a part of it, if the method was reconstructed from the paper's abstract.
    pub fn reconstruction(&self) -> Option<&'static str> {
        let shares = self.window.steps > 1 || matches!(self.method, Method::MultiStep { .. });
        match (self.method, shares) {
            (Method::GradientSimilarity(_), true) => Some(
                "Tak, Hong 2024, Electronics 13(3):535, and of Kim, Park, Choi 2020, arXiv 2006.04298",
            ),
            (Method::GradientSimilarity(_), false) => Some("Tak, Hong 2024, Electronics 13(3):535"),
            (_, true) => Some("Kim, Park, Choi 2020, arXiv 2006.04298"),
            (_, false) => None,
        }
    }
}

/// The outer loop: `[outer]`.
#[derive(Clone, Debug, PartialEq)]
pub struct OuterConfig {
    /// `optimizer`: `adam` (default), `adamw` or `sgd` (default for Reptile).
    pub optimizer: Optimizer,
    /// Learning rate after warm-up. Default 1e-3; 1 for Reptile with `sgd`, where it is the fraction of the way to the
    /// adapted weights.
    pub lr: f64,
    /// Coefficient of an L2 penalty for `sgd` and `adam`, of decoupled weight decay for `adamw`. Default 0.
    pub weight_decay: f64,
    /// Largest absolute value of an element of the meta-gradient; 0, the default, means no limit.
    pub clip_value: f64,
    /// Largest norm of the meta-gradient, after `clip_value`; 0, the default, means no limit.
    pub clip_norm: f64,
    /// `schedule`: `constant` (default), `linear` (default for Reptile with `sgd`), `cosine` or `step`.
    pub schedule: Schedule,
    /// Iterations over which the rate rises from 0 to `lr` at the start. Default 0.
    pub warmup: usize,
    /// Tasks per outer step. Default 25 for regression, 16 for images.
    pub meta_batch_size: usize,
    /// Outer steps. Default 10,000.
    pub iterations: usize,
}

/// The outer optimizer and its keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Gradient descent.
    Sgd {
        /// Heavy-ball momentum in [0, 1). Default 0.
        momentum: f64,
    },
    /// Kingma and Ba 2015.
    Adam(AdamConfig),
    /// Adam with decoupled weight decay: Loshchilov and Hutter 2019.
    AdamW(AdamConfig),
}

/// Keys of `[outer]` that go with `adam` and `adamw`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Decay rate of the mean of gradients, in [0, 1). Default 0.9.
    pub beta1: f64,
    /// Decay rate of the mean of squared gradients, in [0, 1). Default 0.999.
    pub beta2: f64,
    /// Added outside the square root. Default 1e-8.
    pub eps: f64,
}

/// How the outer rate changes after warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// It does not change.
    Constant,
    /// Linearly to `final_lr` at the last iteration.
    Linear {
        /// Default 0.
        final_lr: f64,
    },
    /// Along half a cosine to `final_lr` at the last iteration.
    Cosine {
        /// Default 0.
        final_lr: f64,
    },
    /// It is multiplied by `decay_factor` every `decay_every` iterations, counted from the end of warm-up.
    Step {
        /// 1 or more. Required.
        decay_every: usize,
        /// Above 0 and at most 1. Default 0.1.
        decay_factor: f64,
    },
}

/// How results are measured: `[evaluation]`.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationConfig {
    /// Inner steps at validation and test. Default 10; 0 with `protonet`.
    pub steps: usize,
    /// Test tasks. Default 600.
    pub tasks: usize,
    /// Validation tasks. Default 100.
    pub validation_tasks: usize,
    /// Iterations between validations; 0 means never. Default 500.
    pub validate_every: usize,
    /// Number of checkpoints, those with the best validation scores, that are tested as an ensemble: a prediction is
    /// the mean of their outputs, as in MAML++, which uses 5. Default 1.
    pub ensemble: usize,
}

/// How the run is executed and logged: `[run]`. The number of threads never changes a result.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// `f32` (default) or `f64`.
    pub dtype: Dtype,
    /// Worker threads; 0, the default, means one per core.
    pub threads: usize,
    /// Iterations between checkpoints. Default 500.
    pub checkpoint_every: usize,
    /// Iterations between checkpoints that are kept, in `snapshots/`; 0, the default, means none are.
    pub snapshot_every: usize,
    /// Wall-clock minutes after which training stops; 0, the default, means no limit.
    pub minutes: f64,
    /// Iterations between lines of `metrics.jsonl`. Default 10.
    pub log_every: usize,
}

/// Names of all methods, as in `algorithm.name`.
pub fn method_names() -> &'static [&'static str] {
    <file::MethodName as setting::Setting>::names()
}

/// A setting that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `section.key`
    pub key: String,
    /// Value in the first, as TOML; `not set` if the key does not apply.
    pub this: String,
    /// Value in the second.
    pub other: String,
}

/// A configuration as kept in a run's folder. It is serialised with every applicable key.
pub trait Kept: Sized + Serialize {
    /// Reads TOML text; `source` names it in messages.
    fn parse(text: &str, source: &str) -> Result<Self>;

    /// The whole configuration as TOML, with every applicable key; [`Kept::parse`] reads it back.
    fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is tables of plain values")
    }

    /// Settings that differ, sorted by key.
    fn differences(&self, other: &Self) -> Vec<Difference> {
        differences(&setting::flat(self), &setting::flat(other))
    }
}

/// An override that does not apply to a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// `section.key`
    pub key: String,
    /// Why.
    pub why: String,
}

impl Config {
    /// Reads a preset, or the TOML file at a path, then applies `section.key=value` overrides in order. A name that
    /// is both means the preset; write `./name` for the file. Values are TOML; a bare word is a string. Fails if
    /// there is neither, and at the first key or value that is not legal.
    pub fn load(preset_or_path: &str, sets: &[String]) -> Result<Config> {
        let mut layers = Layers::open(preset_or_path)?;
        for set in sets {
            layers.set(set)?;
        }
        valid::check(&layers)
    }

    /// As [`Config::load`], with further overrides that are meant for several configurations: those that do not
    /// apply to this one are left out, and returned with the reasons.
    pub fn load_shared(
        preset_or_path: &str,
        own: &[String],
        shared: &[String],
    ) -> Result<(Config, Vec<LeftOut>)> {
        let mut layers = Layers::open(preset_or_path)?;
        for set in own {
            layers.set(set)?;
        }
        let left_out = layers.set_shared(shared)?;
        Ok((valid::check(&layers)?, left_out))
    }

    /// This configuration with `section.key=value` overrides applied in order.
    pub fn with(&self, sets: &[String]) -> Result<Config> {
        let mut layers = Layers::parse(&self.to_toml(), "configuration")?;
        for set in sets {
            layers.set(set)?;
        }
        valid::check(&layers)
    }

    /// The defaults of a family of tasks with `section.key=value` overrides applied in order.
    pub fn of_family(name: &str, sets: &[String]) -> Result<Config> {
        let mut layers = Layers::parse(&format!("tasks.family = {name:?}"), "family")?;
        for set in sets {
            layers.set(set)?;
        }
        valid::check(&layers)
    }
}

impl Kept for Config {
    fn parse(text: &str, source: &str) -> Result<Config> {
        valid::check(&Layers::parse(text, source)?)
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        written(self).serialize(to)
    }
}

/// Keys whose values differ, sorted.
fn differences(
    these: &BTreeMap<String, String>,
    others: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut keys: Vec<&String> = these.keys().chain(others.keys()).collect();
    keys.sort();
    keys.dedup();
    let value =
        |of: &BTreeMap<String, String>, key| of.get(key).cloned().unwrap_or("not set".into());
    keys.into_iter()
        .filter(|&key| these.get(key) != others.get(key))
        .map(|key| Difference {
            key: key.clone(),
            this: value(these, key),
            other: value(others, key),
        })
        .collect()
}
