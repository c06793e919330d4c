//! Multi-step estimation: Kim, Park, Choi 2020, arXiv 2006.04298. A reconstruction: of the paper its
//! abstract alone was at hand, which says that a window of inner steps uses the same gradient, that this lowers
//! the number of second derivatives, and that the estimate is derived in the Lagrangian formalism.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α g_k      g_k = ∇L_S(φ_{jW}) for jW ≤ k < (j + 1)W
//! G  = Π_j (I − αW H_{jW}) ∇L_Q(φ_K)     K/W gradients and Hessian-vector products instead of K
//!
//! The stationary multipliers of `L_Q(φ_K) + Σ_k λ_{k+1}ᵀ(φ_k − α g_k − φ_{k+1})` are constant within a window
//! and take the factor `I − αW H_{jW}` at its start. Adaptation after training takes K steps with a gradient
//! each; W = 1 is MAML.
//!
//! [`Sharing::Backward`] keeps the K gradients on the way forward and takes the Hessian at the start of
//! each window for all of it: the exact trajectory, K/W Hessian-vector products.
//!
//! With momentum μ the inner loop is `w ← μw + g_k, φ ← φ − αw`, whose velocity starts at zero in each task and is
//! differentiated like φ.
//!
//! Departures: a last window may be shorter, where W does not divide K.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use super::maml::gradient_step;
use crate::{Algorithm, InnerStep, MetaGradient, Moved, Sharing};

/// MAML whose inner steps share gradients.
pub struct MultiStep {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Which steps share one.
    pub sharing: Sharing,
    /// `μ` in [0, 1); 0 is plain gradient descent.
    pub momentum: f64,
}

impl Algorithm for MultiStep {
    fn name(&self) -> &str {
        "multi_step"
    }

    fn adapts(&self, name: &str) -> bool {
        self.inner.moves(name)
    }

    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor> {
        self.inner.rates.per_step(adapted, steps)
    }

    /// The velocity `w` of every tensor.
    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        if self.momentum == 0.0 {
            return Params::new();
        }
        adapted.iter().map(|(name, shape)| (velocity(name), shape.clone())).collect()
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        if self.momentum == 0.0 {
            return gradient_step(step);
        }
        let w = step.gradient.map_named(|name, &g| step.state[&velocity(name)] * self.momentum + g);
        let Moved { phi, .. } = gradient_step(&InnerStep { gradient: w.clone(), ..step.clone() });
        Moved { phi, state: w.iter().map(|(name, &w)| (velocity(name), w)).collect() }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::Exact
    }
}

fn velocity(name: &str) -> String {
    format!("velocity.{name}")
}
