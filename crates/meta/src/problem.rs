//! What is learned: a support loss and a query loss, traced at a point.

use innerloop_engine::{Params, Shape, Var};

use crate::Vars;

/// Where a loss is traced.
pub struct Point<'g> {
    /// All parameters of the learner: the fast weights where the inner loop moves them, θ elsewhere.
    pub params: Vars<'g>,
    /// Values carried along the run without being differentiated, such as running statistics.
    pub carried: Vars<'g>,
    /// Number of inner steps taken, as a one-hot row `[K + 1]`; the query set is at `K`.
    pub step: Var<'g>,
    /// Whether this is a support pass of one of the [`Problem::closing_steps`].
    pub closing: bool,
}

/// A traced loss.
pub struct Loss<'g> {
    /// The loss, a scalar.
    pub value: Var<'g>,
    /// The network's output, `[n, outputs]`: one row per example.
    pub output: Var<'g>,
    /// Statistics of this pass, under the names of [`Problem::statistics`].
    pub statistics: Vars<'g>,
}

/// A family of tasks joined with a learner: everything an algorithm gets to see.
///
/// The signatures ensure that adaptation cannot use the query set: the support loss has no such argument.
pub trait Problem: Send + Sync {
    /// Shapes of the learner's parameters θ.
    fn parameters(&self) -> Params<Shape>;

    /// Shapes of the values carried along the run; often there are none.
    fn carried(&self) -> Params<Shape>;

    /// The weight of the newest pass if adaptation gathers running averages of statistics into the carried values;
    /// `None` if it does not. The averages start afresh in each task, means at zero and variances at one, regardless of
    /// what the run carries, and have the names of the statistics. A learner ignores this, because it is given the
    /// run's values.
    fn gathers(&self) -> Option<f64> {
        None
    }

    /// Shapes of the statistics that a pass gives; often there are none.
    fn statistics(&self) -> Params<Shape>;

    /// Shapes of a support set's arrays for the given number of examples, the first axis counting them.
    fn support_shapes(&self, examples: usize) -> Vec<Shape>;

    /// Examples in a support set.
    fn support_examples(&self) -> usize;

    /// Shapes of a query set's arrays.
    fn query_shapes(&self) -> Vec<Shape>;

    /// The arrays for the query loss of a second inner loop, such as SHOT's: the query set's arrays, or a second view
    /// of the same examples if there is one among them.
    fn companion_query<'g>(&self, query: &[Var<'g>]) -> Vec<Var<'g>> {
        query.to_vec()
    }

    /// Number of last inner steps that descend a separate support loss, indicated by [`Point::closing`]; often zero.
    /// They share no gradient with the steps before.
    fn closing_steps(&self) -> usize {
        0
    }

    /// Mean loss over the support set, or a minibatch of it.
    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g>;

    /// Mean loss over the query set. The support inputs are available because some ways to normalise a batch need them.
    fn query_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g>;
}
