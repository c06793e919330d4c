//! MAML: Finn, Abbeel, Levine 2017, arXiv 1703.03400, Algorithm 2.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)        inner loop, K steps
//! G  = ∇_θ L_Q(φ_K)                              through all K steps

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// Exact MAML.
pub struct Maml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
}

impl Algorithm for Maml {
    fn name(&self) -> &str {
        "maml"
    }

    as_in_inner_loop! { adapts rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}
