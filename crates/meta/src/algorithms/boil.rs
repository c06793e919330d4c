//! BOIL (body only update in inner loop): Oh, Yoo, Kim, Yun 2021, arXiv 2008.08882, section 3.
//!
//! φ₀ = θ_body     φ_{k+1} = φ_k − α ∇_φ L_S(φ_k, θ_head)        the head stays while adapting
//! G  = ∇_θ L_Q(φ_K, θ_head)                                     the outer loop learns all of θ

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// BOIL: MAML whose inner loop moves everything but the head.
pub struct Boil {
    /// Rates and further frozen parameters.
    pub inner: InnerLoop,
    /// Parameters whose names start with this prefix are the head.
    pub head: String,
}

impl Algorithm for Boil {
    fn name(&self) -> &str {
        "boil"
    }

    fn adapts(&self, name: &str) -> bool {
        !name.starts_with(&self.head) && self.inner.moves(name)
    }

    as_in_inner_loop! { rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}
