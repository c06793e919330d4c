//! What a learner is compiled for: steps, minibatches, the way of the meta-gradient, tasks that run together.

/// How an exact meta-gradient is computed. Both agree to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The whole inner loop and its derivative as one graph: the definition. Fastest for few steps;
    /// memory grows with every step.
    Unrolled,
    /// Snapshots φ_k and one program for a step's adjoint, run K times backwards:
    /// `u_k = u_{k+1} − α H(φ_k) u_{k+1}`. Memory grows by one parameter vector a step.
    Adjoint,
    /// Unrolled while its memory stays under [`Strategy::BUDGET`] for one worker, else adjoint. The
    /// choice depends on the configuration alone.
    Auto,
}

impl Strategy {
    /// Bytes of single-precision workspace up to which [`Strategy::Auto`] unrolls.
    pub const BUDGET: u64 = 48 << 20;
}

/// Which losses a [`crate::TaskResult`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// What falls out of training: the support loss before each step, and the query loss.
    Training,
    /// Also the support loss after the last step.
    All,
}

/// The inner loop's extent.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Inner steps `K`.
    pub steps: usize,
    /// Support examples per step; nothing for all of them.
    pub batch: Option<usize>,
    /// How the meta-gradient is computed.
    pub strategy: Strategy,
    /// Which losses to report.
    pub losses: Losses,
    /// Whether, and how many, tasks run together in one program.
    pub grouping: Grouping,
}

/// How many tasks run together. Results are those of one task after another, to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// One task after another.
    Single,
    /// Groups of this many, where the problem's operations can be computed for many tasks at once; else
    /// one task after another.
    Of(usize),
    /// Groups that suit a meta-batch of this many tasks, where small programs make it pay. The choice
    /// depends on the configuration alone.
    Auto(usize),
}

impl Grouping {
    /// Work of a program's step up to which [`Grouping::Auto`] groups: floating-point operations, those of
    /// products and elementwise ones together. Measured on perceptrons: at 7,000 groups save 15 % of
    /// the time, at 22,000 and at 71,000 nothing.
    pub const WORK_PER_STEP: u64 = 1 << 14;
    /// Tasks of a group at most: larger ones gain nothing, and leave too few for the threads to share.
    pub const MOST: usize = 13;
    /// Bytes of a group's single-precision values at most, about what stays in a core's cache.
    pub const BUDGET: u64 = 2 << 20;
}

impl Setup {
    /// `K` steps on the whole support set, one task after another.
    pub fn new(steps: usize) -> Setup {
        Setup {
            steps,
            batch: None,
            strategy: Strategy::Auto,
            losses: Losses::Training,
            grouping: Grouping::Single,
        }
    }
}
