//! BinomMAML: Mountain, Zhang, Li, Giannakis 2026, arXiv 2604.13263.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)                       K steps, as MAML
//! G  = [I + Σ_{1≤l≤L} Σ_{k₁<…<k_l} (−αH_{k₁}) … (−αH_{k_l})] ∇L_Q(φ_K)
//!
//! the terms of MAML's product with at most L Hessians: L = 0 is first-order MAML, L ≥ K is MAML. They
//! follow from L + 1 adjoint recursions, `u_k⁽ᵐ⁾ = u_{k+1}⁽ᵐ⁾ − αH_k u_{k+1}⁽ᵐ⁻¹⁾` with `u_K⁽ᵐ⁾ = ∇L_Q(φ_K)`.
//!
//! Departures: the released code multiplies the rate within each factor by L/K; here, as in the formula, it is not. The
//! paper runs the Hessian products of a degree in parallel; here a task runs on one thread, where up to L products per
//! step make this more expensive than MAML.

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
