//! Meta-SGD: Li, Zhou, Chen, Li 2017, arXiv 1707.09835, Algorithm 1.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∘ ∇L_S(φ_k)      α a learned tensor like θ; elements may turn negative
//! G  = ∇_{θ,α} L_Q(φ_K)
//!
//! Departures: the paper takes one step; any number is allowed here, all with the same α.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, InnerStep, MetaGradient, Moved, rate_name};

/// Meta-SGD: MAML with a learned rate for every parameter element.
pub struct MetaSgd {
    /// Initial rates, and frozen parameters.
    pub inner: InnerLoop,
}

impl Algorithm for MetaSgd {
    fn name(&self) -> &str {
        "meta_sgd"
    }

    fn adapts(&self, name: &str) -> bool {
        self.inner.moves(name)
    }

    fn rates(&self, adapted: &Params<Shape>, _: usize) -> Params<Tensor> {
        self.inner.rates.per_element(adapted)
    }

    fn learns_rates(&self) -> bool {
        true
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let update = step.gradient.map_named(|name, &g| step.rates[&rate_name(name)] * g);
        let phi = step.phi.zip_map(&update, |&phi, &update| phi - update);
        Moved { phi, state: Params::new() }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}
