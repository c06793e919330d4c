//! First-order MAML: Finn, Abbeel, Levine 2017, arXiv 1703.03400, section 5.2.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)
//! G  = ∇L_Q(φ_K)                                 ∂φ_K/∂θ taken to be the identity

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// First-order MAML.
pub struct Fomaml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
}

impl Algorithm for Fomaml {
    fn name(&self) -> &str {
        "fomaml"
    }

    as_in_inner_loop! { adapts rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::FirstOrder
    }
}
