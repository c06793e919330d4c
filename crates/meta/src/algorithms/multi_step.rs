//! Multi-step estimation: Kim, Park, Choi 2020, arXiv 2006.04298, wrapping another method, which in the paper is MAML.
//! A reconstruction: only the paper's abstract was available, which says that a window of inner steps uses the same
//! gradient, that this lowers the number of second derivatives, and that the estimate is derived in the Lagrangian
//! formalism.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α g_k      g_k = ∇L_S(φ_{jW}) for jW ≤ k < (j + 1)W
//! G  = Π_j (I − αW H_{jW}) ∇L_Q(φ_K)     K/W gradients and Hessian-vector products instead of K
//!
//! The stationary multipliers of `L_Q(φ_K) + Σ_k λ_{k+1}ᵀ(φ_k − α g_k − φ_{k+1})` are constant within a window and take
//! the factor `I − αW H_{jW}` at its start. Adaptation after training takes K steps with a gradient each; W = 1 is the
//! plain method.
//!
//! [`Sharing::Backward`] keeps the K gradients in the forward pass and uses the Hessian at the start of each window for
//! all of it: the exact trajectory, K/W Hessian-vector products. Learned rates meet the gradient of their own step,
//! `∂L_Q/∂α_k = −g_kᵀ λ_{k+1}`.
//!
//! Another inner rule `φ_{k+1} = S_k(φ_k, g_k)` is followed step by step within a window; what is shared is g.
//!
//! With momentum μ the rule receives `w` in place of g, `w ← μw + g_k`, a velocity that starts at zero in each task and
//! is differentiated like φ. With a multi-step loss (MAML++), query losses within a window are taken at the end point
//! of each of its steps.
//!
//! Departures: the last window may be shorter, where W does not divide K. The paper covers MAML's inner loop only.

use innerloop_engine::{Params, Shape, Tensor, Var};

use crate::{Algorithm, Companion, End, InnerStep, MetaGradient, Moved, Outcome, Sharing, Vars};

/// Another method whose inner steps share gradients or Hessians.
pub struct MultiStep {
    base: Box<dyn Algorithm>,
    name: String,
    /// Which steps share one.
    pub sharing: Sharing,
    /// `μ` in [0, 1); 0 means none.
    pub momentum: f64,
}

impl MultiStep {
    /// Wraps `base`. [`Sharing::Backward`] requires a method whose inner steps are linear in the gradient;
    /// [`Sharing::Forward`] does not.
    pub fn new(base: Box<dyn Algorithm>, sharing: Sharing, momentum: f64) -> MultiStep {
        let name = match base.name() {
            "maml" => "multi_step".to_string(),
            other => format!("{other}+window"),
        };
        MultiStep { base, name, sharing, momentum }
    }
}

impl Algorithm for MultiStep {
    fn name(&self) -> &str {
        &self.name
    }

    /// The base's state, then the velocity `w` of every tensor.
    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        let own = self.base.state(adapted);
        if self.momentum == 0.0 {
            return own;
        }
        let velocities = adapted.iter().map(|(name, shape)| (velocity(name), shape.clone()));
        own.merge(&velocities.collect())
    }

    /// `Σ_{k=1..n} (1 − μᵏ) / (1 − μ)`, because the velocity builds up.
    fn reach(&self, steps: usize) -> f64 {
        let velocities = (0..steps).scan(0.0, |w, _| {
            *w = self.momentum * *w + 1.0;
            Some(*w)
        });
        velocities.sum()
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        if self.momentum == 0.0 {
            return self.base.advance(step);
        }
        let w = step.gradient.map_named(|name, &g| step.state[&velocity(name)] * self.momentum + g);
        let velocities: Vars<'g> = w.iter().map(|(name, &w)| (velocity(name), w)).collect();
        let state = step.state.filter(|name| velocities.get(name).is_none());
        let moved = self.base.advance(&InnerStep { gradient: w, state, ..step.clone() });
        Moved { phi: moved.phi, state: moved.state.merge(&velocities) }
    }

    as_in_base! {
        adapts learns rates learns_rates scaled keeps_state meta_gradient scheduled loss_weights companion objective
        penalty direction
    }
}

fn velocity(name: &str) -> String {
    format!("velocity.{name}")
}
