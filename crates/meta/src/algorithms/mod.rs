//! One file per paper.

/// Delegates the named methods of a wrapper to the method that it wraps, `self.base`.
macro_rules! as_in_base {
    ($($method:ident)*) => { $(as_in_base!(@ $method);)* };
    (@ name) => { fn name(&self) -> &str { self.base.name() } };
    (@ adapts) => { fn adapts(&self, name: &str) -> bool { self.base.adapts(name) } };
    (@ learns) => { fn learns(&self, name: &str) -> bool { self.base.learns(name) } };
    (@ rates) => {
        fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
            self.base.rates(adapted, steps)
        }
    };
    (@ learns_rates) => { fn learns_rates(&self) -> bool { self.base.learns_rates() } };
    (@ scaled) => {
        fn scaled<'g>(&self, rates: &Vars<'g>, by: f64) -> Vars<'g> { self.base.scaled(rates, by) }
    };
    (@ reach) => { fn reach(&self, steps: usize) -> f64 { self.base.reach(steps) } };
    (@ state) => {
        fn state(&self, adapted: &Params<Shape>) -> Params<Shape> { self.base.state(adapted) }
    };
    (@ keeps_state) => { fn keeps_state(&self) -> bool { self.base.keeps_state() } };
    (@ sharing) => { fn sharing(&self) -> Sharing { self.base.sharing() } };
    (@ advance) => {
        fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> { self.base.advance(step) }
    };
    (@ meta_gradient) => { fn meta_gradient(&self) -> MetaGradient { self.base.meta_gradient() } };
    (@ scheduled) => { fn scheduled(&self, done: f64) -> Params<Tensor> { self.base.scheduled(done) } };
    (@ loss_weights) => {
        fn loss_weights(&self, steps: usize, done: f64) -> Option<Vec<f64>> {
            self.base.loss_weights(steps, done)
        }
    };
    (@ companion) => {
        fn companion(&self, steps: usize) -> Option<Companion> { self.base.companion(steps) }
    };
    (@ objective) => {
        fn objective<'g>(&self, base: &Outcome<'g>, companion: &Outcome<'g>) -> Var<'g> {
            self.base.objective(base, companion)
        }
    };
    (@ penalty) => {
        fn penalty<'g>(&self, base: &Vars<'g>, companion: &Vars<'g>) -> Option<Var<'g>> {
            self.base.penalty(base, companion)
        }
    };
    (@ direction) => {
        fn direction<'g>(&self, end: &End<'g>) -> Vars<'g> { self.base.direction(end) }
    };
}

/// The methods of an algorithm with `self.inner` in which everything that is not frozen adapts, with one rate per tensor and step.
macro_rules! as_in_inner_loop {
    ($($method:ident)*) => { $(as_in_inner_loop!(@ $method);)* };
    (@ adapts) => { fn adapts(&self, name: &str) -> bool { self.inner.moves(name) } };
    (@ rates) => {
        fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
            self.inner.rates.per_step(adapted, steps)
        }
    };
}

mod anil;
mod binom_maml;
mod boil;
mod cavia;
mod fine_tune;
mod fomaml;
mod gradient_similarity;
mod hf_maml;
mod imaml;
mod learned_rates;
mod lstm;
mod maml;
mod maml_plus_plus;
mod meta_curvature;
mod meta_sgd;
mod multi_step;
mod protonet;
mod reptile;
mod shot;
mod sign_maml;
mod truncated_maml;

pub use anil::Anil;
pub use binom_maml::BinomMaml;
pub use boil::Boil;
pub use cavia::Cavia;
pub use fine_tune::FineTune;
pub use fomaml::Fomaml;
pub(crate) use gradient_similarity::sum as gradient_sum;
pub use gradient_similarity::{Comparison, Decay, GradientSimilarity};
pub use hf_maml::HfMaml;
pub use imaml::Imaml;
pub use learned_rates::LearnedRates;
pub use lstm::Lstm;
pub use maml::Maml;
pub use maml_plus_plus::MamlPlusPlus;
pub use meta_curvature::MetaCurvature;
pub use meta_sgd::MetaSgd;
pub use multi_step::MultiStep;
pub use protonet::Protonet;
pub use reptile::{InnerOptimizer, Reptile};
pub use shot::{Distance, Pretraining, Role, Shot};
pub use sign_maml::SignMaml;
pub use truncated_maml::TruncatedMaml;

/// The part of the learner that the inner loop moves, and how fast: shared by all these algorithms.
#[derive(Clone, Debug)]
pub struct InnerLoop {
    /// Inner learning rates (initial ones, where they are learned).
    pub rates: crate::Rates,
    /// Parameters whose names start with one of these prefixes stay at θ while adapting.
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
