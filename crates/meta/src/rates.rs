//! Inner learning rates: constant or learned, per tensor and step or per element; and the names of what an inner rule
//! learns.

use innerloop_engine::{Dtype, Params, Shape, Tensor, Var};

use crate::{InnerStep, Moved, Vars};

/// Prefix of the learning rates' names: a rate is a meta-parameter named after the tensor it moves.
pub const RATE_PREFIX: &str = "inner_lr.";
/// Prefix of the names of Meta-Curvature's factors.
pub(crate) const CURVATURE_PREFIX: &str = "curvature.";
/// Prefix of the names of the LSTM meta-learner's weights.
pub(crate) const LSTM_PREFIX: &str = "lstm.";

/// Whether a meta-parameter of this name belongs to the inner rule ([`crate::Algorithm::rates`]) and not to θ.
pub fn is_of_inner_rule(name: &str) -> bool {
    [RATE_PREFIX, CURVATURE_PREFIX, LSTM_PREFIX].iter().any(|prefix| name.starts_with(prefix))
}

/// Name of the rate that moves a tensor.
pub fn rate_name(tensor: &str) -> String {
    format!("{RATE_PREFIX}{tensor}")
}

/// Initial inner learning rates.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Rate of every tensor that has no rate of its own.
    pub default: f64,
    /// Rates of single tensors, by name.
    pub of: Vec<(String, f64)>,
}

impl Rates {
    /// One rate for all.
    pub fn uniform(rate: f64) -> Rates {
        Rates { default: rate, of: Vec::new() }
    }

    pub(crate) fn get(&self, tensor: &str) -> f64 {
        self.of.iter().find(|(name, _)| name == tensor).map_or(self.default, |(_, rate)| *rate)
    }

    /// One rate per tensor and step: `[K]` per tensor, `[1]` when `K` is 0, for steps taken later.
    pub fn per_step(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
        let rate = |name: &str| Tensor::full(Dtype::F64, &[steps.max(1)], self.get(name));
        adapted.names().iter().map(|name| (rate_name(name), rate(name))).collect()
    }

    /// One rate per element: the shape of its tensor.
    pub fn per_element(&self, adapted: &Params<Shape>) -> Params<Tensor> {
        let rate = |name: &str, shape: &Shape| Tensor::full(Dtype::F64, shape, self.get(name));
        adapted.iter().map(|(name, shape)| (rate_name(name), rate(name, shape))).collect()
    }
}

/// The rate `[K]` of the current step, a scalar.
pub(crate) fn at_step<'g>(rates: Var<'g>, step: Var<'g>) -> Var<'g> {
    let steps = rates.shape();
    rates.dot(step.slice(&[0], &steps))
}

/// `α_k` of every adapted tensor at the current step.
pub(crate) fn all_at_step<'g>(adapted: &Vars<'g>, rates: &Vars<'g>, step: Var<'g>) -> Vars<'g> {
    adapted.map_named(|name, _| at_step(rates[&rate_name(name)], step))
}

/// `φ − α_k ∇L_S(φ)`, with a rate for each tensor and step.
pub(crate) fn gradient_step<'g>(step: &InnerStep<'g>) -> Moved<'g> {
    let alpha = all_at_step(&step.phi, &step.rates, step.step);
    let update = step.gradient.zip_map(&alpha, |&g, &alpha| alpha * g);
    let phi = step.phi.zip_map(&update, |&phi, &update| phi - update);
    Moved { phi, state: Params::new() }
}
