//! Truncated MAML: Shaban, Cheng, Hatch, Boots 2019, arXiv 1810.10667, section 3, on MAML's inner loop.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α ∇L_S(φ_k)                       K steps, as MAML
//! G  = (I − αH_{K−L}) … (I − αH_{K−1}) ∇L_Q(φ_K)                through the last L of them
//!
//! L = 0 is first-order MAML, L ≥ K is MAML.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// MAML differentiated through its last inner steps only.
pub struct TruncatedMaml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Number of steps: `L`.
    pub last: usize,
}

impl Algorithm for TruncatedMaml {
    fn name(&self) -> &str {
        "truncated_maml"
    }

    as_in_inner_loop! { adapts rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Truncated { last: self.last }
    }
}
