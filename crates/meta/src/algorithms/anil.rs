//! ANIL (almost no inner loop): Raghu, Raghu, Bengio, Vinyals 2020, arXiv 1909.09157, section 4.
//!
//! φ₀ = θ_head     φ_{k+1} = φ_k − α ∇_φ L_S(θ_body, φ_k)        only the head adapts
//! G  = ∇_θ L_Q(θ_body, φ_K)                                     the outer loop learns all of θ

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// ANIL: MAML whose inner loop moves only the head.
pub struct Anil {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Parameters whose names start with this prefix are the head.
    pub head: String,
}

impl Algorithm for Anil {
    fn name(&self) -> &str {
        "anil"
    }

    fn adapts(&self, name: &str) -> bool {
        name.starts_with(&self.head) && self.inner.moves(name)
    }

    as_in_inner_loop! { rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}
