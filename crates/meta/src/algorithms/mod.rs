//! One file a paper.

mod anil;
mod fomaml;
mod maml;
mod meta_sgd;
mod reptile;

pub use anil::Anil;
pub use fomaml::Fomaml;
pub use maml::Maml;
pub use meta_sgd::MetaSgd;
pub use reptile::{InnerOptimizer, Reptile};

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
