//! The values a run carries from one iteration to the next.

use innerloop_engine::{Dtype, Params, Tensor};

use super::buffers;
use super::structure::{self, Structure};
use crate::{Algorithm, Problem};

/// The values a run carries: meta-parameters, and values that are carried along without being differentiated.
#[derive(Clone, Debug)]
pub struct MetaState {
    /// θ, then the inner learning rates.
    pub omega: Params<Tensor>,
    /// The problem's carried values, such as running statistics.
    pub carried: Params<Tensor>,
    /// The inner optimizer's state that tasks start from.
    pub inner_state: Params<Tensor>,
    /// [`Algorithm::scheduled`] of the current iteration.
    pub scheduled: Params<Tensor>,
}

/// The starting value of a carried value: one for variances, else zero.
pub(super) fn carried_start(name: &str) -> f64 {
    if name.ends_with(".var") { 1.0 } else { 0.0 }
}

impl MetaState {
    /// θ with initial rates, everything carried at zero except that variances start at one.
    pub fn new(
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        steps: usize,
        theta: Params<Tensor>,
    ) -> MetaState {
        let structure = Structure::untraced(problem, algorithm, steps, None);
        let dtype = theta.values().first().map_or(Dtype::F32, Tensor::dtype);
        let rates = structure.rates.map(|rate| rate.cast(dtype));
        let carried = problem
            .carried()
            .map_named(|name, shape| Tensor::full(dtype, shape, carried_start(name)));
        MetaState {
            omega: theta.merge(&rates),
            carried,
            inner_state: structure.state.map(|shape| Tensor::zeros(dtype, shape)),
            scheduled: structure.scheduled.map(|value| value.cast(dtype)),
        }
    }

    /// Sets scheduled values to those at a fraction `done` of training.
    pub fn schedule(&mut self, algorithm: &dyn Algorithm, done: f64) {
        if self.scheduled.is_empty() {
            return;
        }
        let steps = structure::weighted_steps(&self.scheduled);
        let now = structure::scheduled(algorithm, steps, done);
        for (value, now) in self.scheduled.values_mut().iter_mut().zip(now.values()) {
            buffers::copy(value, now);
        }
    }
}
