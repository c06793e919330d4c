//! MAML: Finn, Abbeel, Levine 2017, arXiv 1703.03400, Algorithm 2.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)        inner loop, K steps
//! G  = ∇_θ L_Q(φ_K)                              through all K steps
//!
//! With `learn_rates` every tensor and step has a rate of its own that is meta-learned beside θ, as in
//! MAML++ (Antoniou et al. 2019, arXiv 1810.09502).

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::rates::all_at_step;
use crate::{Algorithm, InnerStep, MetaGradient, Moved};

/// Exact MAML.
pub struct Maml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Whether the rates are learned, per tensor and step.
    pub learn_rates: bool,
}

impl Algorithm for Maml {
    fn name(&self) -> &str {
        "maml"
    }

    fn adapts(&self, name: &str) -> bool {
        self.inner.moves(name)
    }

    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
        self.inner.rates.per_step(adapted, steps)
    }

    fn learns_rates(&self) -> bool {
        self.learn_rates
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        gradient_step(step)
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}

/// `φ − α_k ∇L_S(φ)`, with a rate per tensor and step.
pub(super) fn gradient_step<'g>(step: &InnerStep<'g>) -> Moved<'g> {
    let alpha = all_at_step(&step.phi, &step.rates, step.step);
    let update = step.gradient.zip_map(&alpha, |&g, &alpha| alpha * g);
    let phi = step.phi.zip_map(&update, |&phi, &update| phi - update);
    Moved { phi, state: Params::new() }
}
