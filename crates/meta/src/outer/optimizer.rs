//! Outer optimizers, as PyTorch defines them.

use innerloop_engine::{Params, Tensor};

/// What turns a meta-gradient `g` into a step of the meta-parameters `ω`, with rate `η`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// `v ← μ v + g + λ ω;  ω ← ω − η v`. With Reptile, `η` is the paper's ε.
    Sgd {
        /// μ.
        momentum: f64,
        /// λ.
        weight_decay: f64,
    },
    /// Kingma and Ba 2015, arXiv 1412.6980:
    /// `m ← β₁ m + (1−β₁) g;  v ← β₂ v + (1−β₂) g²;  ω ← ω − η m̂ / (√v̂ + ε)` with the bias corrections
    /// `m̂ = m / (1−β₁ᵗ)`, `v̂ = v / (1−β₂ᵗ)`. Decoupled decay subtracts `η λ ω` first (AdamW, Loshchilov
    /// and Hutter 2019, arXiv 1711.05101); coupled decay adds `λ ω` to `g`.
    Adam {
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// ε, outside the root.
        eps: f64,
        /// λ.
        weight_decay: f64,
        /// Whether the decay is decoupled.
        decoupled: bool,
    },
}

/// Moments of the optimizer, under the names of the learned meta-parameters, and the number of steps
/// taken.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    /// Momentum, or first moment.
    pub first: Params<Tensor>,
    /// Second moment; stays zero for SGD.
    pub second: Params<Tensor>,
    /// Steps taken.
    pub steps: u64,
}

impl OptimizerState {
    /// Nothing seen yet.
    pub fn new(learned: &Params<Tensor>) -> OptimizerState {
        let zeros = || learned.map(|t| Tensor::zeros(t.dtype(), t.shape()));
        OptimizerState { first: zeros(), second: zeros(), steps: 0 }
    }
}

impl Optimizer {
    /// Moves the learned part of `omega`, in place. Arithmetic is in double precision; moments and
    /// parameters are rounded to their element type.
    #[track_caller]
    pub fn step(
        self,
        omega: &mut Params<Tensor>,
        gradient: &Params<Tensor>,
        rate: f64,
        state: &mut OptimizerState,
    ) {
        state.steps += 1;
        let t = state.steps as i32;
        for (index, (name, g)) in gradient.iter().enumerate() {
            let at =
                omega.position(name).unwrap_or_else(|| panic!("no meta-parameter is named {name}"));
            let w = &mut omega.values_mut()[at];
            let first = &mut state.first.values_mut()[index];
            let second = &mut state.second.values_mut()[index];
            for i in 0..g.len() {
                let (g, x) = (g.get(i), w.get(i));
                let moved = match self {
                    Optimizer::Sgd { momentum, weight_decay } => {
                        let v = momentum * first.get(i) + g + weight_decay * x;
                        first.set(i, v);
                        x - rate * v
                    }
                    Optimizer::Adam { beta1, beta2, eps, weight_decay, decoupled } => {
                        let (g, x) = if decoupled {
                            (g, x - rate * weight_decay * x)
                        } else {
                            (g + weight_decay * x, x)
                        };
                        let m = beta1 * first.get(i) + (1.0 - beta1) * g;
                        let v = beta2 * second.get(i) + (1.0 - beta2) * g * g;
                        first.set(i, m);
                        second.set(i, v);
                        let m = m / (1.0 - beta1.powi(t));
                        let v = v / (1.0 - beta2.powi(t));
                        x - rate * m / (v.sqrt() + eps)
                    }
                };
                w.set(i, moved);
            }
        }
    }
}
