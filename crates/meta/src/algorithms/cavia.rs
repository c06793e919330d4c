//! CAVIA (fast context adaptation via meta-learning): Zintgraf, Shiarlis, Kurin, Hofmann, Whiteson 2019,
//! arXiv 1810.03642, Algorithm 1.
//!
//! c₀ = 0      c_{k+1} = c_k − α ∇_c L_S(θ, c_k)        only the context parameters adapt
//! G  = ∇_θ L_Q(θ, c_K)                                 through all K steps; c₀ is not learned
//!
//! The network determines what the context parameters do: additional inputs, or scales and shifts of channels.
//!
//! Departures: the authors' code for regression bounds the gradient of each task; here `outer.clip_value` bounds their
//! mean.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// CAVIA: MAML whose inner loop moves only context parameters, always from their initial values.
pub struct Cavia {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Parameters whose names start with this prefix are the context.
    pub context: String,
}

impl Algorithm for Cavia {
    fn name(&self) -> &str {
        "cavia"
    }

    fn adapts(&self, name: &str) -> bool {
        name.starts_with(&self.context) && self.inner.moves(name)
    }

    fn learns(&self, name: &str) -> bool {
        !name.starts_with(&self.context)
    }

    as_in_inner_loop! { rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}
