//! The meta-learning method and the keys of `[algorithm]` that go with one alone.

use super::file::{AlgorithmFile, MethodName};
use super::layers::Layers;
use super::valid::MOST;
use crate::Result;

choices! {
    /// Where a window of inner steps shares a gradient.
    pub WindowMode {
        /// Forward and backward: fewer gradients and fewer Hessian-vector products.
        Forward = "forward",
        /// Backward only: every step has its gradient, a window one Hessian.
        Backward = "backward",
    }
}

/// The meta-learning method: `algorithm.name`, and the keys that go with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Finn et al. 2017: the exact gradient through the inner loop.
    Maml,
    /// The same without second derivatives.
    Fomaml,
    /// Nichol et al. 2018: towards the adapted weights.
    Reptile,
    /// Raghu et al. 2020: MAML whose inner loop moves only the head.
    Anil,
    /// Oh et al. 2021: MAML whose inner loop moves all but the head.
    Boil,
    /// Li et al. 2017: MAML with a learned rate for each weight.
    MetaSgd,
    /// Fan et al. 2021: inner steps along the sign of the gradient.
    SignMaml,
    /// Shaban et al. 2019: MAML differentiated through its last inner steps.
    TruncatedMaml {
        /// How many. Default 1.
        last_steps: usize,
    },
    /// Mountain et al. 2026: the terms of MAML's gradient with few Hessians.
    BinomMaml {
        /// Hessians in a term at most. Default 2.
        degree: usize,
    },
    /// Fallah et al. 2020: MAML with differences of gradients for Hessian-vector products.
    HfMaml {
        /// Length of the way from the fast weights to where a gradient is taken. Default 0.01: much longer
        /// ones miss curvature, in single precision much shorter ones drown in rounding.
        epsilon: f64,
    },
    /// Kim et al. 2020, reconstructed from its abstract: inner steps share gradients in training; adaptation
    /// afterwards does without.
    MultiStep {
        /// Steps that share one: 1 is MAML. Default 2.
        window: usize,
        /// `window_mode`. Default `forward`.
        mode: WindowMode,
        /// `inner_momentum` in [0, 1) of the inner loop. Default 0.
        momentum: f64,
    },
}

/// Keys of a method alone, with the reason why the others do not have it.
const KEYS: &[(MethodName, &str, &str)] = &[
    (MethodName::TruncatedMaml, "algorithm.last_steps", "only truncated_maml leaves steps out"),
    (MethodName::BinomMaml, "algorithm.degree", "only binom_maml counts Hessians"),
    (MethodName::HfMaml, "algorithm.epsilon", "only hf_maml takes differences of gradients"),
    (MethodName::MultiStep, "algorithm.window", "only multi_step shares gradients"),
    (MethodName::MultiStep, "algorithm.window_mode", "only multi_step shares gradients"),
    (MethodName::MultiStep, "algorithm.inner_momentum", "only multi_step has momentum inside"),
];

impl MethodName {
    /// Keys that do not go with the method, with the reasons.
    pub(super) fn strangers(self) -> Vec<(&'static str, &'static str)> {
        KEYS.iter().filter(|(of, ..)| *of != self).map(|&(_, key, why)| (key, why)).collect()
    }
}

impl Method {
    pub(super) fn check(at: &Layers, file: &AlgorithmFile) -> Result<Method> {
        let name = file.name.unwrap_or(MethodName::Maml);
        at.refuse(&name.strangers())?;
        Ok(match name {
            MethodName::Maml => Method::Maml,
            MethodName::Fomaml => Method::Fomaml,
            MethodName::Reptile => Method::Reptile,
            MethodName::Anil => Method::Anil,
            MethodName::Boil => Method::Boil,
            MethodName::MetaSgd => Method::MetaSgd,
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
            MethodName::MultiStep => Method::MultiStep {
                window: at.count("algorithm.window", file.window.unwrap_or(2), 1..=MOST)?,
                mode: file.window_mode.unwrap_or(WindowMode::Forward),
                momentum: at
                    .share("algorithm.inner_momentum", file.inner_momentum.unwrap_or(0.0))?,
            },
        })
    }

    /// The keys that [`Method::check`] reads.
    pub(super) fn write(&self, into: &mut AlgorithmFile) {
        into.name = Some(self.choice());
        match *self {
            Method::TruncatedMaml { last_steps } => into.last_steps = Some(last_steps),
            Method::BinomMaml { degree } => into.degree = Some(degree),
            Method::HfMaml { epsilon } => into.epsilon = Some(epsilon),
            Method::MultiStep { window, mode, momentum } => {
                into.window = Some(window);
                into.window_mode = Some(mode);
                into.inner_momentum = Some(momentum);
            }
            Method::Maml
            | Method::Fomaml
            | Method::Reptile
            | Method::Anil
            | Method::Boil
            | Method::MetaSgd
            | Method::SignMaml => {}
        }
    }

    /// Why the method has no learned rates for each tensor and step, if it has none.
    pub(super) fn learns_no_rates(&self) -> Option<&'static str> {
        match self {
            Method::Reptile => Some("Reptile has no gradient with respect to its rates"),
            Method::MetaSgd => Some("Meta-SGD learns a rate for each weight already"),
            Method::Maml | Method::Fomaml | Method::Anil => None,
            Method::Boil
            | Method::SignMaml
            | Method::TruncatedMaml { .. }
            | Method::BinomMaml { .. }
            | Method::HfMaml { .. }
            | Method::MultiStep { .. } => Some("the method is defined with rates that stay"),
        }
    }

    /// Whether no second derivative is taken.
    pub(super) fn is_first_order(&self) -> bool {
        matches!(self, Method::Fomaml | Method::Reptile | Method::SignMaml)
    }

    fn choice(&self) -> MethodName {
        match self {
            Method::Maml => MethodName::Maml,
            Method::Fomaml => MethodName::Fomaml,
            Method::Reptile => MethodName::Reptile,
            Method::Anil => MethodName::Anil,
            Method::Boil => MethodName::Boil,
            Method::MetaSgd => MethodName::MetaSgd,
            Method::SignMaml => MethodName::SignMaml,
            Method::TruncatedMaml { .. } => MethodName::TruncatedMaml,
            Method::BinomMaml { .. } => MethodName::BinomMaml,
            Method::HfMaml { .. } => MethodName::HfMaml,
            Method::MultiStep { .. } => MethodName::MultiStep,
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.choice().fmt(f)
    }
}
