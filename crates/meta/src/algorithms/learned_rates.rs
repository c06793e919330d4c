//! Learned inner rates, "LSLR": Antoniou, Edwards, Storkey 2019 (MAML++), arXiv 1810.09502, section 4, wrapping a method with
//! one rate per tensor and step.
//!
//! φ_{k+1} = φ_k − α_k ∘ g_k      α_k one number per tensor, meta-learned together with θ
//! ∂L_Q/∂α_k = −⟨g_k, ∂L_Q/∂φ_{k+1}⟩      tensor by tensor, in the base method's sense
//!
//! With a first-order method, derivatives go through the steps with their gradients held constant. θ then gets the
//! same gradient as before, `∇L_Q(φ_K)`, and the rates get theirs, `−⟨g_k, ∇L_Q(φ_K)⟩`, without a second derivative.
//! Rates of steps that a truncated method leaves out get none.

use innerloop_engine::{Params, Shape, Tensor, Var};

use crate::{Algorithm, Companion, End, InnerStep, MetaGradient, Moved, Outcome, Sharing, Vars};

/// Another method whose rates are learned.
pub struct LearnedRates {
    base: Box<dyn Algorithm>,
}

impl LearnedRates {
    /// Wraps a method whose rates are [`crate::Rates::per_step`] and whose meta-gradient either goes through its inner
    /// steps or is first-order with the default [`Algorithm::direction`].
    pub fn new(base: Box<dyn Algorithm>) -> LearnedRates {
        LearnedRates { base }
    }
}

impl Algorithm for LearnedRates {
    fn learns_rates(&self) -> bool {
        true
    }

    /// Fewer or more steps over the same distance use the mean of the rates, which are no longer equal.
    fn scaled<'g>(&self, rates: &Vars<'g>, by: f64) -> Vars<'g> {
        rates.map(|&rate| rate.mean().expand(&rate.shape()) * by)
    }

    fn meta_gradient(&self) -> MetaGradient {
        match self.base.meta_gradient() {
            MetaGradient::FirstOrder => MetaGradient::HeldGradients,
            other => other,
        }
    }

    as_in_base! {
        name adapts learns rates reach state keeps_state sharing advance scheduled loss_weights companion objective
        penalty direction
    }
}
