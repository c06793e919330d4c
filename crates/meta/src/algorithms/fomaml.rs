//! First-order MAML: Finn, Abbeel, Levine 2017, arXiv 1703.03400, section 5.2.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)
//! G  = ∇L_Q(φ_K)                                 ∂φ_K/∂θ taken to be the identity

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use super::maml::gradient_step;
use crate::{Algorithm, InnerStep, MetaGradient, Moved};

/// First-order MAML.
pub struct Fomaml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
}

impl Algorithm for Fomaml {
    fn name(&self) -> &str {
        "fomaml"
    }

    fn adapts(&self, name: &str) -> bool {
        self.inner.moves(name)
    }

    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
        self.inner.rates.per_step(adapted, steps)
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        gradient_step(step)
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::FirstOrder
    }
}
