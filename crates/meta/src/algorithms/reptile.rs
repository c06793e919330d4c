//! Reptile: Nichol, Achiam, Schulman 2018, arXiv 1803.02999, Algorithm 1 (batched version).
//!
//! φ₀ = θ      φ_{k+1} = one step of SGD, or of Adam with β₁ = 0, on L_S
//! θ ← θ + ε mean_i (φ_K,i − θ)                   so the outer "gradient" is θ − φ_K
//!
//! Departures: the reference code keeps one Adam second-moment state that each task takes over from the previous one;
//! here all tasks of a meta-batch start from the same state, and its mean over the tasks is carried on, so that the
//! result does not depend on the order in which tasks run.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::rates::all_at_step;
use crate::rates::gradient_step;
use crate::{Algorithm, InnerStep, MetaGradient, Moved};

/// The optimizer of the inner steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InnerOptimizer {
    /// Plain gradient descent.
    Sgd,
    /// Adam with β₁ = 0 (Kingma and Ba 2015): no momentum, gradients scaled by their running size.
    Adam {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        eps: f64,
    },
}

/// Reptile.
pub struct Reptile {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// The optimizer of the inner steps.
    pub optimizer: InnerOptimizer,
}

/// Name of a tensor's second moment.
fn moment(name: &str) -> String {
    format!("second_moment.{name}")
}

/// Name of the divisor `1 − β₂ᵗ` of Adam's bias correction.
const BIAS_CORRECTION: &str = "decay";

/// Far below the square of any gradient that `eps` lets count.
const TINY: f64 = 1e-30;

impl Algorithm for Reptile {
    fn name(&self) -> &str {
        "reptile"
    }

    as_in_inner_loop! { adapts rates }

    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        match self.optimizer {
            InnerOptimizer::Sgd => Params::new(),
            InnerOptimizer::Adam { .. } => {
                let mut state: Params<Shape> =
                    adapted.iter().map(|(name, shape)| (moment(name), shape.clone())).collect();
                state.push(BIAS_CORRECTION, vec![]);
                state
            }
        }
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let InnerOptimizer::Adam { beta2, eps } = self.optimizer else {
            return gradient_step(step);
        };
        // v ← β₂ v + (1 − β₂) g²     φ ← φ − α g / (√(v / (1 − β₂ᵗ)) + ε)
        // The state starts at zero, so `decay` holds 1 − β₂ᵗ: d ← β₂ d + (1 − β₂).
        let alpha = all_at_step(&step.phi, &step.rates, step.step);
        let decay = step.state[BIAS_CORRECTION] * beta2 + (1.0 - beta2);
        let v = step
            .gradient
            .map_named(|name, &g| step.state[&moment(name)] * beta2 + g * g * (1.0 - beta2));
        // The root has a derivative, which diagnostics take, also where no gradient ever came.
        let update = step
            .gradient
            .map_named(|name, &g| alpha[name] * g / ((v[name] / decay + TINY).sqrt() + eps));
        let mut state: Params<_> = v.iter().map(|(name, &v)| (moment(name), v)).collect();
        state.push(BIAS_CORRECTION, decay);
        Moved { phi: step.phi.zip_map(&update, |&phi, &update| phi - update), state }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Displacement
    }
}
