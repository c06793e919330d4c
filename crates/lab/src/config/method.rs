//! The meta-learning method, and the keys of `[algorithm]` that belong to a single method.

use super::bounds::{Inapplicable, MOST};
use super::file::{AlgorithmFile, MethodName, NetworkName};
use super::layers::Layers;
use super::{Comparison, Decay};
use crate::Result;

/// The meta-learning method: `algorithm.name`, and the keys that go with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Finn et al. 2017: the exact gradient through the inner loop.
    Maml,
    /// The same without second derivatives.
    Fomaml,
    /// Antoniou et al. 2019: MAML with a learned rate for each tensor and step, and early in training a multi-step
    /// loss.
    MamlPlusPlus,
    /// Nichol et al. 2018: θ moves towards the adapted weights.
    Reptile,
    /// Raghu et al. 2020: MAML whose inner loop adapts only the head.
    Anil,
    /// Oh et al. 2021: MAML whose inner loop adapts everything but the head.
    Boil,
    /// Zintgraf et al. 2019: MAML whose inner loop adapts only context parameters of the network, starting from zero.
    Cavia {
        /// `context_parameters`: additional inputs of an `mlp`, default 5; with `conv4` the inputs from which scales
        /// and shifts of the third block's channels are computed, default 100.
        parameters: usize,
    },
    /// Li et al. 2017: MAML with a learned rate for each weight.
    MetaSgd,
    /// Rajeswaran et al. 2019: a proximal inner loop, and the implicit gradient at its end.
    Imaml {
        /// `proximal`, λ: strength of the proximal term that keeps the fast weights near θ. Default 2.
        proximal: f64,
        /// `cg_steps`: conjugate-gradient iterations. Default 5.
        iterations: usize,
        /// `cg_damping`: added to the identity in the linear system. Default 0.
        damping: f64,
    },
    /// Park and Oliva 2019: MAML with a learned multilinear transform of every gradient.
    MetaCurvature,
    /// Fan et al. 2021: inner steps along the sign of the gradient.
    SignMaml,
    /// Shaban et al. 2019: MAML differentiated through the last inner steps only.
    TruncatedMaml {
        /// `last_steps`: how many. Default 1.
        last_steps: usize,
    },
    /// Mountain et al. 2026: only the terms of MAML's gradient with few Hessians.
    BinomMaml {
        /// `degree`: largest number of Hessians in a term. Default 2.
        degree: usize,
    },
    /// Fallah et al. 2020: MAML with finite differences of gradients in place of Hessian-vector products.
    HfMaml {
        /// `epsilon`: length of the step of the finite difference. Default 0.01: much longer steps miss the local
        /// curvature, and much shorter ones drown in rounding in single precision. Batch-normalised networks need 1
        /// (docs/comparison.md), which the presets set.
        epsilon: f64,
    },
    /// MAML in windows of inner steps that share a gradient: see [`WindowConfig`](super::WindowConfig).
    MultiStep {
        /// `inner_momentum`: momentum of the inner loop, in [0, 1). Default 0.
        momentum: f64,
    },
    /// Tak and Hong 2024, reconstructed from its abstract: first-order MAML with its query gradient corrected
    /// towards the inner gradients.
    GradientSimilarity(SimilarityConfig),
    /// Ravi and Larochelle 2017: the inner update rule is a learned LSTM, applied to each coordinate.
    Lstm,
    /// Snell et al. 2017: no inner loop, but classification by the nearest class mean of the embeddings. A `conv4`
    /// has no linear layer; the embedding of an `mlp` is its last hidden layer.
    Protonet,
    /// Ravi and Larochelle 2017, Chen et al. 2019: training without an inner loop, on minibatches of all training
    /// classes (the first 1,000 of `strokes`); at test the whole network adapts with a new head, or only the head
    /// with `frozen = ["features."]`.
    FineTune,
}

/// Keys of `[algorithm]` that go with `name = "gradient_similarity"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimilarityConfig {
    /// Weight of the cosine in the similarity loss; only its ratio to `l2_weight` counts. Default 1.
    pub cosine_weight: f64,
    /// Weight of the squared distance; only its ratio to `cosine_weight` counts, and at most one of them is 0.
    /// Default 0.
    pub l2_weight: f64,
    /// Length of the correction relative to the query gradient at the start of training; 0 is first-order MAML.
    /// Default 0.5.
    pub strength: f64,
    /// `constant` (default) or `linear`.
    pub strength_schedule: Decay,
    /// `whole`, `per_tensor` (default) or `per_layer`.
    pub comparison: Comparison,
}

/// Keys that belong to a single method, with the reason why the others do not have them.
const KEYS: &[(MethodName, &str, &str)] = &[
    (
        MethodName::Protonet,
        "tasks.train_ways",
        "only protonet can train with other ways than it tests with: it has no output for each class",
    ),
    (MethodName::Cavia, "algorithm.context_parameters", "only cavia has context parameters"),
    (
        MethodName::TruncatedMaml,
        "algorithm.last_steps",
        "only truncated_maml truncates the gradient",
    ),
    (MethodName::BinomMaml, "algorithm.degree", "only binom_maml limits the number of Hessians"),
    (MethodName::HfMaml, "algorithm.epsilon", "only hf_maml uses finite differences"),
    (MethodName::Imaml, "algorithm.proximal", "only imaml has a proximal term"),
    (MethodName::Imaml, "algorithm.cg_steps", "only imaml solves a linear system"),
    (MethodName::Imaml, "algorithm.cg_damping", "only imaml solves a linear system"),
    (
        MethodName::MultiStep,
        "algorithm.inner_momentum",
        "only multi_step has momentum in the inner loop",
    ),
    (MethodName::GradientSimilarity, "algorithm.cosine_weight", NO_CORRECTION),
    (MethodName::GradientSimilarity, "algorithm.l2_weight", NO_CORRECTION),
    (MethodName::GradientSimilarity, "algorithm.strength", NO_CORRECTION),
    (MethodName::GradientSimilarity, "algorithm.strength_schedule", NO_CORRECTION),
    (MethodName::GradientSimilarity, "algorithm.comparison", NO_CORRECTION),
];
const NO_CORRECTION: &str = "only gradient_similarity corrects the query gradient";

const MULTI_STEP_LOSS: &str = "algorithm.multi_step_loss_until";
const SECOND_ORDER_FROM: &str = "algorithm.second_order_from";

const NO_INNER_LOOP: &str = "protonet has no inner loop";
const NONE_IN_TRAINING: &str = "fine_tune has no inner loop in training";
const OF_RATES: &[&str] =
    &["algorithm.inner_lr", "algorithm.inner_lr_of", "algorithm.learn_inner_lr"];
const OF_WINDOWS: &[&str] = &["algorithm.window", "algorithm.window_mode"];
const OF_TRAINED_INNER_LOOPS: &[&str] =
    &["algorithm.learn_inner_lr", "algorithm.adaptation_steps", "algorithm.strategy"];
const OF_INNER_LOOPS: &[&str] = &[
    "algorithm.inner_lr",
    "algorithm.inner_lr_of",
    "algorithm.learn_inner_lr",
    "algorithm.adaptation_steps",
    "algorithm.inner_batch",
    "algorithm.frozen",
    "algorithm.strategy",
    "evaluation.steps",
];

impl MethodName {
    /// Keys that do not apply to the method, with the reasons.
    pub(super) fn inapplicable_keys(self) -> Inapplicable {
        let others = KEYS.iter().filter(|(of, ..)| *of != self);
        let mut inapplicable: Inapplicable =
            others.map(|&(_, key, why)| (key, why.to_string())).collect();
        let recipe =
            [(MULTI_STEP_LOSS, self.no_losses_between()), (SECOND_ORDER_FROM, self.no_order())];
        inapplicable
            .extend(recipe.into_iter().filter_map(|(key, why)| Some((key, why?.to_string()))));
        let of_inner_loops: &[(&'static [&'static str], &str)] = match self {
            MethodName::Protonet => &[(OF_INNER_LOOPS, NO_INNER_LOOP), (OF_WINDOWS, NO_INNER_LOOP)],
            MethodName::FineTune => {
                &[(OF_TRAINED_INNER_LOOPS, NONE_IN_TRAINING), (OF_WINDOWS, NONE_IN_TRAINING)]
            }
            MethodName::Lstm => &[(OF_RATES, "the LSTM learns its own step sizes")],
            MethodName::Reptile => &[(
                &["algorithm.frozen"],
                "Reptile learns what its inner loop moves, and the rest would stay as it was initialised",
            )],
            MethodName::Imaml => &[(
                &["algorithm.inner_batch"],
                "imaml's gradient is that at a minimum of the loss on the whole support set",
            )],
            _ => &[],
        };
        for (keys, why) in of_inner_loops {
            inapplicable.extend(keys.iter().map(|&key| (key, why.to_string())));
        }
        inapplicable
    }

    /// Why there can be no multi-step loss, if so.
    fn no_losses_between(self) -> Option<&'static str> {
        match self {
            MethodName::Reptile => Some("Reptile has no query set"),
            MethodName::Imaml => {
                Some("an implicit gradient uses the query loss at the end of the inner loop only")
            }
            MethodName::Protonet => Some(NO_INNER_LOOP),
            MethodName::FineTune => Some(NONE_IN_TRAINING),
            MethodName::Maml
            | MethodName::MamlPlusPlus
            | MethodName::Fomaml
            | MethodName::Anil
            | MethodName::Boil
            | MethodName::Cavia
            | MethodName::MetaSgd
            | MethodName::MetaCurvature
            | MethodName::SignMaml
            | MethodName::TruncatedMaml
            | MethodName::BinomMaml
            | MethodName::HfMaml
            | MethodName::MultiStep
            | MethodName::GradientSimilarity
            | MethodName::Lstm => None,
        }
    }

    /// Why the order of derivatives cannot change during training, if so.
    fn no_order(self) -> Option<&'static str> {
        match self {
            MethodName::Protonet => Some(NO_INNER_LOOP),
            MethodName::FineTune => Some(NONE_IN_TRAINING),
            MethodName::Imaml => Some("an implicit gradient does not go through the inner steps"),
            MethodName::Fomaml
            | MethodName::Reptile
            | MethodName::Lstm
            | MethodName::SignMaml
            | MethodName::GradientSimilarity => {
                Some("the method takes no second derivatives anyway")
            }
            MethodName::Maml
            | MethodName::MamlPlusPlus
            | MethodName::Anil
            | MethodName::Boil
            | MethodName::Cavia
            | MethodName::MetaSgd
            | MethodName::MetaCurvature
            | MethodName::TruncatedMaml
            | MethodName::BinomMaml
            | MethodName::HfMaml
            | MethodName::MultiStep => None,
        }
    }
}

impl Method {
    pub(super) fn check(at: &Layers, file: &AlgorithmFile) -> Result<Method> {
        let name = at.file.method();
        at.refuse(&name.inapplicable_keys())?;
        Ok(match name {
            MethodName::Maml => Method::Maml,
            MethodName::MamlPlusPlus => Method::MamlPlusPlus,
            MethodName::Fomaml => Method::Fomaml,
            MethodName::Reptile => Method::Reptile,
            MethodName::Anil => Method::Anil,
            MethodName::Boil => Method::Boil,
            MethodName::Cavia => {
                let default = if at.file.network() == NetworkName::Mlp { 5 } else { 100 };
                let parameters = file.context_parameters.unwrap_or(default);
                Method::Cavia {
                    parameters: at.count("algorithm.context_parameters", parameters, 1..=MOST)?,
                }
            }
            MethodName::Lstm => Method::Lstm,
            MethodName::Protonet => Method::Protonet,
            MethodName::FineTune => Method::FineTune,
            MethodName::MetaSgd => Method::MetaSgd,
            MethodName::MetaCurvature => Method::MetaCurvature,
            MethodName::SignMaml => Method::SignMaml,
            MethodName::TruncatedMaml => {
                let last_steps = file.last_steps.unwrap_or(1);
                Method::TruncatedMaml {
                    last_steps: at.count("algorithm.last_steps", last_steps, 0..=MOST)?,
                }
            }
            MethodName::BinomMaml => {
                let degree = file.degree.unwrap_or(2);
                Method::BinomMaml { degree: at.count("algorithm.degree", degree, 0..=MOST)? }
            }
            MethodName::HfMaml => {
                let epsilon = file.epsilon.unwrap_or(0.01);
                Method::HfMaml { epsilon: at.above_zero("algorithm.epsilon", epsilon)? }
            }
            MethodName::Imaml => Method::Imaml {
                proximal: at.above_zero("algorithm.proximal", file.proximal.unwrap_or(2.0))?,
                iterations: at.count("algorithm.cg_steps", file.cg_steps.unwrap_or(5), 1..=1000)?,
                damping: at.not_negative("algorithm.cg_damping", file.cg_damping.unwrap_or(0.0))?,
            },
            MethodName::MultiStep => Method::MultiStep {
                momentum: at
                    .share("algorithm.inner_momentum", file.inner_momentum.unwrap_or(0.0))?,
            },
            MethodName::GradientSimilarity => {
                Method::GradientSimilarity(SimilarityConfig::check(at, file)?)
            }
        })
    }

    /// Writes the keys that [`Method::check`] reads.
    pub(super) fn write(&self, into: &mut AlgorithmFile) {
        into.name = Some(self.choice());
        match *self {
            Method::Cavia { parameters } => into.context_parameters = Some(parameters),
            Method::TruncatedMaml { last_steps } => into.last_steps = Some(last_steps),
            Method::BinomMaml { degree } => into.degree = Some(degree),
            Method::HfMaml { epsilon } => into.epsilon = Some(epsilon),
            Method::Imaml { proximal, iterations, damping } => {
                into.proximal = Some(proximal);
                into.cg_steps = Some(iterations);
                into.cg_damping = Some(damping);
            }
            Method::MultiStep { momentum } => into.inner_momentum = Some(momentum),
            Method::GradientSimilarity(of) => {
                into.cosine_weight = Some(of.cosine_weight);
                into.l2_weight = Some(of.l2_weight);
                into.strength = Some(of.strength);
                into.strength_schedule = Some(of.strength_schedule);
                into.comparison = Some(of.comparison);
            }
            Method::Maml
            | Method::MamlPlusPlus
            | Method::Fomaml
            | Method::Reptile
            | Method::Anil
            | Method::Boil
            | Method::MetaSgd
            | Method::MetaCurvature
            | Method::SignMaml
            | Method::Lstm
            | Method::Protonet
            | Method::FineTune => {}
        }
    }

    /// Why the method cannot learn a rate for each tensor and step, if so.
    pub(super) fn learns_no_rates(&self) -> Option<&'static str> {
        match self {
            Method::Reptile => Some("Reptile has no gradient with respect to its rates"),
            Method::MetaSgd => Some("Meta-SGD already learns a rate for each weight"),
            Method::MetaCurvature => {
                Some("Meta-Curvature's learned factors already include a rate")
            }
            Method::Lstm => Some("the LSTM learns its own step sizes"),
            Method::Protonet => Some(NO_INNER_LOOP),
            Method::FineTune => Some(NONE_IN_TRAINING),
            Method::Imaml { .. } => {
                Some("an implicit gradient does not depend on the steps that lead to the minimum")
            }
            Method::GradientSimilarity(_) => Some(
                "the correction is defined for the query gradient of the weights, not for gradients of rates",
            ),
            Method::Maml
            | Method::MamlPlusPlus
            | Method::Fomaml
            | Method::Anil
            | Method::Boil
            | Method::Cavia { .. }
            | Method::SignMaml
            | Method::TruncatedMaml { .. }
            | Method::BinomMaml { .. }
            | Method::HfMaml { .. }
            | Method::MultiStep { .. } => None,
        }
    }

    /// Why a window of inner steps cannot share a Hessian, if so.
    pub(super) fn has_no_hessians(&self) -> Option<&'static str> {
        match self {
            Method::SignMaml => {
                Some("the derivative of a sign is zero, so no step has a Hessian to share")
            }
            Method::Imaml { .. } => Some(
                "an implicit gradient uses the Hessian at the end of the inner loop, not those of its steps",
            ),
            Method::Lstm => {
                Some("its inner gradients are held constant, so no step has a Hessian to share")
            }
            _ if self.is_first_order() => Some("no step has a Hessian to share"),
            _ => None,
        }
    }

    /// The default number of inner steps: the paper's, or the smallest at which the method differs from another one.
    pub(super) fn default_steps(&self, window: usize) -> usize {
        match *self {
            Method::Protonet | Method::FineTune => 0,
            Method::MamlPlusPlus | Method::Reptile | Method::Lstm => 5,
            Method::Imaml { .. } => 16,
            Method::TruncatedMaml { last_steps } => last_steps + 1,
            Method::BinomMaml { degree } => degree + 1,
            Method::MultiStep { momentum } if momentum > 0.0 => window.max(2),
            _ => window,
        }
    }

    /// Whether no second derivative is taken.
    pub(super) fn is_first_order(&self) -> bool {
        matches!(
            self,
            Method::Fomaml
                | Method::Reptile
                | Method::SignMaml
                | Method::GradientSimilarity(_)
                | Method::Protonet
                | Method::FineTune
        )
    }

    /// Keys that do not apply to the method, with the reasons.
    pub(super) fn inapplicable_keys(&self) -> Inapplicable {
        self.choice().inapplicable_keys()
    }

    fn choice(&self) -> MethodName {
        match self {
            Method::Maml => MethodName::Maml,
            Method::MamlPlusPlus => MethodName::MamlPlusPlus,
            Method::Fomaml => MethodName::Fomaml,
            Method::Reptile => MethodName::Reptile,
            Method::Anil => MethodName::Anil,
            Method::Boil => MethodName::Boil,
            Method::Cavia { .. } => MethodName::Cavia,
            Method::MetaSgd => MethodName::MetaSgd,
            Method::MetaCurvature => MethodName::MetaCurvature,
            Method::SignMaml => MethodName::SignMaml,
            Method::TruncatedMaml { .. } => MethodName::TruncatedMaml,
            Method::BinomMaml { .. } => MethodName::BinomMaml,
            Method::HfMaml { .. } => MethodName::HfMaml,
            Method::Imaml { .. } => MethodName::Imaml,
            Method::Lstm => MethodName::Lstm,
            Method::Protonet => MethodName::Protonet,
            Method::FineTune => MethodName::FineTune,
            Method::MultiStep { .. } => MethodName::MultiStep,
            Method::GradientSimilarity(_) => MethodName::GradientSimilarity,
        }
    }
}

impl SimilarityConfig {
    fn check(at: &Layers, file: &AlgorithmFile) -> Result<SimilarityConfig> {
        let not_negative = |key: &str, found: Option<f64>, default| {
            at.not_negative(&format!("algorithm.{key}"), found.unwrap_or(default))
        };
        let of = SimilarityConfig {
            cosine_weight: not_negative("cosine_weight", file.cosine_weight, 1.0)?,
            l2_weight: not_negative("l2_weight", file.l2_weight, 0.0)?,
            strength: not_negative("strength", file.strength, 0.5)?,
            strength_schedule: file.strength_schedule.unwrap_or(Decay::Constant),
            comparison: file.comparison.unwrap_or(Comparison::PerTensor),
        };
        if of.cosine_weight == 0.0 && of.l2_weight == 0.0 {
            let expected = "a number above 0 when algorithm.l2_weight is 0: with both at 0 there is no correction; \
                            to turn it off, set algorithm.strength = 0";
            return Err(at.bad("algorithm.cosine_weight", 0.0, expected));
        }
        Ok(of)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.choice().fmt(f)
    }
}
