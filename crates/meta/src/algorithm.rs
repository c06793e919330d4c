//! The interface that a paper on gradient-based meta-learning implements.

use innerloop_engine::{Params, Shape, Tensor, Var};

use crate::Vars;
use crate::rates::gradient_step;

/// One inner step, from φ_k to φ_{k+1}.
#[derive(Clone)]
pub struct InnerStep<'g> {
    /// Fast weights φ_k: the parameters the inner loop moves.
    pub phi: Vars<'g>,
    /// `g_k = ∇_φ L_S(φ_k)`.
    pub gradient: Vars<'g>,
    /// `L_S(φ_k)`, held constant.
    pub loss: Var<'g>,
    /// [`Algorithm::rates`]: meta-parameters other than θ.
    pub rates: Vars<'g>,
    /// State of the inner optimizer, if it has one.
    pub state: Vars<'g>,
    /// `k` as a one-hot row.
    pub step: Var<'g>,
    /// φ_0, held constant.
    pub start: Vars<'g>,
    /// [`Algorithm::scheduled`] of this iteration.
    pub scheduled: Vars<'g>,
}

/// The result of an inner step.
#[derive(Clone)]
pub struct Moved<'g> {
    /// φ_{k+1}.
    pub phi: Vars<'g>,
    /// The inner optimizer's next state.
    pub state: Vars<'g>,
}

/// The end point of a first-order method's inner loop.
pub struct End<'g> {
    /// `∇_φ L_Q(φ_K)`; with [`Algorithm::loss_weights`], `Σ_k w_k ∇_φ L_Q(φ_k)`.
    pub gradient: Vars<'g>,
    /// The inner optimizer's state.
    pub state: Vars<'g>,
    /// [`Algorithm::scheduled`] of this iteration.
    pub scheduled: Vars<'g>,
    /// `K`.
    pub steps: usize,
}

/// A second inner loop from θ on the same support set, in addition to adaptation's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Companion {
    /// Its steps; each has its own gradient.
    pub steps: usize,
    /// Factor of the inner rates.
    pub scale: f64,
    /// Whether the outer objective is differentiated with respect to its end point.
    pub differentiated: bool,
}

/// The end point of an inner loop, evaluated on the query set.
pub struct Outcome<'g> {
    /// Fast weights after the last step.
    pub phi: Vars<'g>,
    /// The query loss there; with [`Algorithm::loss_weights`], times the last weight.
    pub loss: Var<'g>,
    /// The network's output there, `[n, outputs]`: one row per example.
    pub output: Var<'g>,
    /// [`Algorithm::scheduled`] of this iteration.
    pub scheduled: Vars<'g>,
}

/// How the outer gradient follows from the inner trajectory.
///
/// With `v = ∇L_Q(φ_K)` and plain gradient descent in the inner loop, the exact one is
/// `(I − αH_0) (I − αH_1) … (I − αH_{K−1}) v`; the others omit factors or terms of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetaGradient {
    /// `∇_ω L_Q(φ_K(ω))`, through all steps.
    Exact,
    /// Through the last steps only: the φ before them is treated as θ plus a constant.
    Truncated {
        /// Number of steps.
        last: usize,
    },
    /// The terms with at most `degree` Hessians.
    Binomial {
        /// Largest number of Hessians.
        degree: usize,
    },
    /// Like `Exact`, with central differences of the inner gradient for `H u`.
    Differences {
        /// Distance from φ to the points where the gradient is taken.
        epsilon: f64,
    },
    /// `((1 + δ) I + H/λ)⁻¹ ∇L_Q` at φ_K, a minimum of `L_S(φ) + λ/2 ‖φ − θ‖²`.
    Implicit {
        /// `λ`.
        proximal: f64,
        /// Iterations of the conjugate gradient method.
        iterations: usize,
        /// `δ`.
        damping: f64,
    },
    /// Through all steps, with the inner gradients held constant: no second derivatives.
    HeldGradients,
    /// `∇L_Q(φ_K)`: the steps are treated as independent of ω.
    FirstOrder,
    /// `θ − φ_K`, plus the gradient of [`Algorithm::penalty`] if there is a second inner loop: no query set.
    Displacement,
}

/// Which inner steps share a gradient in meta-training. Adaptation afterwards gives each step its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Every step has its own gradient and Hessian.
    None,
    /// This many consecutive steps use the gradient at the first of them, and so its Hessian.
    Forward(usize),
    /// Every step has its own gradient; in the backward pass, this many consecutive steps use the Hessian at the first.
    /// For inner rules that are linear in the gradient.
    Backward(usize),
}

/// A gradient-based meta-learning algorithm.
///
/// The inner loop is `φ_0 = θ, φ_{k+1} = advance(φ_k, ∇L_S(φ_k))` over the parameters that [`Algorithm::adapts`]
/// selects; the rest of θ stays. Both strategies of a [`crate::Learner`] are derived from these few methods; the
/// provided ones suit plain gradient descent in the inner loop.
pub trait Algorithm: Send + Sync {
    /// Name in configurations and reports.
    fn name(&self) -> &str;

    /// Whether the inner loop moves the parameter of this name.
    fn adapts(&self, name: &str) -> bool;

    /// Whether the outer loop learns the parameter of this name; the others keep their initial values.
    fn learns(&self, _name: &str) -> bool {
        true
    }

    /// Meta-parameters besides θ with their initial values: inner learning rates, named by [`crate::rate_name`], and
    /// anything else that an inner rule consists of, such as factors of a curvature or the weights of an LSTM, under a
    /// prefix of their own; `steps` is `K`.
    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor>;

    /// Whether the outer loop learns these too.
    fn learns_rates(&self) -> bool {
        false
    }

    /// Shapes of the inner optimizer's state; it starts at zero.
    fn state(&self, _adapted: &Params<Shape>) -> Params<Shape> {
        Params::new()
    }

    /// Whether that state outlives the task: the next tasks start from its mean over the current ones.
    fn keeps_state(&self) -> bool {
        false
    }

    /// The rates, scaled so that a step along a given gradient moves `by` times as far.
    fn scaled<'g>(&self, rates: &Vars<'g>, by: f64) -> Vars<'g> {
        rates.map(|&rate| rate * by)
    }

    /// How far `steps` inner steps move along one constant gradient, in units of a single step.
    fn reach(&self, steps: usize) -> f64 {
        steps as f64
    }

    /// Which inner steps share a gradient.
    fn sharing(&self) -> Sharing {
        Sharing::None
    }

    /// One inner step; by default `φ − α_k ∇L_S(φ)`, with a rate for each tensor and step ([`crate::Rates::per_step`]).
    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        gradient_step(step)
    }

    /// What the outer loop descends along.
    fn meta_gradient(&self) -> MetaGradient;

    /// Values that change during training, when a fraction `done` of it, in [0, 1], is over.
    fn scheduled(&self, _done: f64) -> Params<Tensor> {
        Params::new()
    }

    /// Weights `w_1 .. w_K` of the query losses after each of `steps` inner steps (multi-step loss), when a fraction
    /// `done` of training is over: instead of `L_Q(φ_K)` the outer loop descends `Σ_k w_k L_Q(φ_k)`. `None` if only the
    /// last one ever counts.
    fn loss_weights(&self, _steps: usize, _done: f64) -> Option<Vec<f64>> {
        None
    }

    /// The second inner loop, if the method has one; `steps` is `K`.
    fn companion(&self, _steps: usize) -> Option<Companion> {
        None
    }

    /// The outer objective at the end points of both inner loops, in place of the query loss of the first.
    fn objective<'g>(&self, base: &Outcome<'g>, _companion: &Outcome<'g>) -> Var<'g> {
        base.loss
    }

    /// What a [`MetaGradient::Displacement`] method with a second inner loop descends besides: a function of the end points
    /// of both, each of which counts as θ plus a constant. `None` if it cannot do without queries.
    fn penalty<'g>(&self, _base: &Vars<'g>, _companion: &Vars<'g>) -> Option<Var<'g>> {
        None
    }

    /// What replaces [`End::gradient`] in a [`MetaGradient::FirstOrder`] method.
    fn direction<'g>(&self, end: &End<'g>) -> Vars<'g> {
        end.gradient.clone()
    }
}
