//! HF-MAML (Hessian-free): Fallah, Mokhtari, Ozdaglar 2020, arXiv 1908.10400, Algorithm 3.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)
//! u_K = ∇L_Q(φ_K)     u_k = u_{k+1} − α Hu     Hu = [∇L_S(φ_k + δu_{k+1}) − ∇L_S(φ_k − δu_{k+1})] / 2δ
//! G  = u_0
//!
//! Departures: the paper takes one step; any number is allowed here, with a difference at each. Its δ is a constant;
//! here δ = ε/‖αu‖ and the difference is along αu, so that φ moves by ε whatever the size of u, and not at all at u =
//! 0. The error of a difference is of order ε².

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// MAML with differences of gradients for Hessian-vector products.
pub struct HfMaml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Distance from φ to the points where a gradient is taken: `ε`.
    pub epsilon: f64,
}

impl Algorithm for HfMaml {
    fn name(&self) -> &str {
        "hf_maml"
    }

    as_in_inner_loop! { adapts rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Differences { epsilon: self.epsilon }
    }
}
