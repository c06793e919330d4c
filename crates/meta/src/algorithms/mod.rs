//! One file a paper.

mod anil;
mod binom_maml;
mod boil;
mod fomaml;
mod gradient_similarity;
mod hf_maml;
mod imaml;
mod maml;
mod meta_curvature;
mod meta_sgd;
mod multi_step;
mod reptile;
mod shot;
mod sign_maml;
mod truncated_maml;

pub use anil::Anil;
pub use binom_maml::BinomMaml;
pub use boil::Boil;
pub use fomaml::Fomaml;
pub(crate) use gradient_similarity::sum as gradient_sum;
pub use gradient_similarity::{Comparison, Decay, GradientSimilarity};
pub use hf_maml::HfMaml;
pub use imaml::Imaml;
pub use maml::Maml;
pub use meta_curvature::MetaCurvature;
pub use meta_sgd::MetaSgd;
pub use multi_step::MultiStep;
pub use reptile::{InnerOptimizer, Reptile};
pub use shot::{Distance, Role, Shot};
pub use sign_maml::SignMaml;
pub use truncated_maml::TruncatedMaml;

/// The part of the learner that the inner loop moves, and how fast: what all these algorithms share.
#[derive(Clone, Debug)]
pub struct InnerLoop {
    /// Inner learning rates (initial ones, where they are learned).
    pub rates: crate::Rates,
    /// Parameters whose names start with one of these stay at θ while adapting.
    pub frozen: Vec<String>,
}

impl InnerLoop {
    /// One rate for all parameters, none frozen.
    pub fn new(rate: f64) -> InnerLoop {
        InnerLoop { rates: crate::Rates::uniform(rate), frozen: Vec::new() }
    }

    fn moves(&self, name: &str) -> bool {
        !self.frozen.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}
