//! BinomMAML: Mountain, Zhang, Li, Giannakis 2026, arXiv 2604.13263.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)                       K steps, as MAML
//! G  = [I + Σ_{1≤l≤L} Σ_{k₁<…<k_l} (−αH_{k₁}) … (−αH_{k_l})] ∇L_Q(φ_K)
//!
//! the terms of MAML's product with at most L Hessians: L = 0 is first-order MAML, L ≥ K is MAML. They
//! follow from L + 1 adjoint recursions, `u_k⁽ᵐ⁾ = u_{k+1}⁽ᵐ⁾ − αH_k u_{k+1}⁽ᵐ⁻¹⁾` with `u_K⁽ᵐ⁾ = ∇L_Q(φ_K)`, whose
//! result is `u_0⁽ᴸ⁾`. At k, K − k steps are done and k are left, so only the orders from L − k to K − k matter: those
//! above are equal to the highest of these, and those below no longer reach L. Together they take L (K − L + 1) Hessian
//! products; in the paper, a depth of L and a width of K − L + 1.
//!
//! Departures: the released code multiplies the rate within each factor by L/K; here, as in the formula, it is not. The
//! paper runs the Hessian products of a degree in parallel; here a task runs on one thread, where for 1 < L < K they
//! make this more expensive than MAML with its K products.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// MAML with only the terms of few Hessians.
pub struct BinomMaml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Largest number of Hessians in a term: `L`.
    pub degree: usize,
}

impl Algorithm for BinomMaml {
    fn name(&self) -> &str {
        "binom_maml"
    }

    as_in_inner_loop! { adapts rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Binomial { degree: self.degree }
    }
}
