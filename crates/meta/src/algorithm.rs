//! The seam: what a paper on gradient-based meta-learning defines.

use innerloop_engine::{Params, Shape, Tensor, Var};

use crate::Vars;

/// One inner step, from φ_k to φ_{k+1}.
pub struct InnerStep<'g> {
    /// Fast weights φ_k: the parameters the inner loop moves.
    pub phi: Vars<'g>,
    /// `g_k = ∇_φ L_S(φ_k)`.
    pub gradient: Vars<'g>,
    /// Meta-parameters other than θ: inner learning rates.
    pub rates: Vars<'g>,
    /// State of the inner optimizer, if it has one.
    pub state: Vars<'g>,
    /// `k` as a one-hot row.
    pub step: Var<'g>,
}

/// Where an inner step leads.
pub struct Moved<'g> {
    /// φ_{k+1}.
    pub phi: Vars<'g>,
    /// The inner optimizer's next state.
    pub state: Vars<'g>,
}

/// How the outer gradient follows from the inner trajectory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaGradient {
    /// `∇_ω L_Q(φ_K(ω))`, through all steps.
    Exact,
    /// `∇L_Q(φ_K)`: the steps are held to be independent of ω.
    FirstOrder,
    /// `θ − φ_K`: no query set.
    Displacement,
}

/// A gradient-based meta-learning algorithm.
///
/// The inner loop is `φ_0 = θ, φ_{k+1} = advance(φ_k, ∇L_S(φ_k))` over the parameters that
/// [`Algorithm::adapts`] names; the rest of θ stays. Both strategies of a [`crate::Learner`] follow from
/// these few definitions.
pub trait Algorithm: Send + Sync {
    /// Name in configurations and reports.
    fn name(&self) -> &str;

    /// Whether the inner loop moves the parameter of this name.
    fn adapts(&self, name: &str) -> bool;

    /// Meta-parameters besides θ with their initial values; `steps` is `K`.
    fn rates(&self, adapted: &Params<Shape>, steps: usize) -> Params<Tensor>;

    /// Whether the outer loop learns those too.
    fn learns_rates(&self) -> bool;

    /// Shapes of the inner optimizer's state; it starts at zero.
    fn state(&self, adapted: &Params<Shape>) -> Params<Shape>;

    /// One inner step.
    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g>;

    /// What the outer loop descends along.
    fn meta_gradient(&self) -> MetaGradient;
}
