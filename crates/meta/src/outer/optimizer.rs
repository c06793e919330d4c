//! Outer optimizers, as PyTorch defines them.

use innerloop_engine::{Dtype, Params, Tensor};

use super::Element;

/// Turns a meta-gradient `g` into a step of the meta-parameters `ω`, with rate `η`.
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
    /// A fresh state.
    pub fn new(learned: &Params<Tensor>) -> OptimizerState {
        let zeros = || learned.map(|t| Tensor::zeros(t.dtype(), t.shape()));
        OptimizerState { first: zeros(), second: zeros(), steps: 0 }
    }
}

impl Optimizer {
    /// Moves the learned part of `omega`, in place. Arithmetic is in double precision; moments and parameters are
    /// rounded to their element type, which is also that of the gradient.
    #[track_caller]
    pub fn step(
        self,
        omega: &mut Params<Tensor>,
        gradient: &Params<Tensor>,
        rate: f64,
        state: &mut OptimizerState,
    ) {
        state.steps += 1;
        for (index, (name, g)) in gradient.iter().enumerate() {
            let at =
                omega.position(name).unwrap_or_else(|| panic!("no meta-parameter is named {name}"));
            let w = &mut omega.values_mut()[at];
            let first = &mut state.first.values_mut()[index];
            let second = &mut state.second.values_mut()[index];
            match w.dtype() {
                Dtype::F32 => {
                    let moments = (first.as_f32_mut(), second.as_f32_mut());
                    self.move_all(w.as_f32_mut(), g.as_f32(), moments, rate, state.steps);
                }
                Dtype::F64 => {
                    let moments = (first.as_f64_mut(), second.as_f64_mut());
                    self.move_all(w.as_f64_mut(), g.as_f64(), moments, rate, state.steps);
                }
            }
        }
    }

    /// One tensor's step, the `t`-th.
    fn move_all<T: Element>(
        self,
        w: &mut [T],
        g: &[T],
        (first, second): (&mut [T], &mut [T]),
        rate: f64,
        t: u64,
    ) {
        let elements = w.iter_mut().zip(g).map(|(w, g)| (w, g.widen()));
        match self {
            Optimizer::Sgd { momentum, weight_decay } => {
                for ((w, g), first) in elements.zip(first) {
                    let x = w.widen();
                    let v = momentum * first.widen() + g + weight_decay * x;
                    *first = T::narrow(v);
                    *w = T::narrow(x - rate * v);
                }
            }
            Optimizer::Adam { beta1, beta2, eps, weight_decay, decoupled } => {
                // One division and one root per element.
                let of_m = rate / (1.0 - beta1.powi(t as i32));
                let of_v = 1.0 / (1.0 - beta2.powi(t as i32));
                for (((w, g), first), second) in elements.zip(first).zip(second) {
                    let x = w.widen();
                    let (g, x) = if decoupled {
                        (g, x - rate * weight_decay * x)
                    } else {
                        (g + weight_decay * x, x)
                    };
                    let m = beta1 * first.widen() + (1.0 - beta1) * g;
                    let v = beta2 * second.widen() + (1.0 - beta2) * g * g;
                    *first = T::narrow(m);
                    *second = T::narrow(v);
                    *w = T::narrow(x - of_m * m / ((v * of_v).sqrt() + eps));
                }
            }
        }
    }
}
