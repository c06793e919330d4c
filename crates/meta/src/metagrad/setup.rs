//! What a learner is compiled for: steps, minibatches, the strategy of the meta-gradient, tasks that run together.

/// How an exact meta-gradient is computed. Both agree to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The whole inner loop and its derivative as one graph: the definition. Fastest for few steps; memory grows with
    /// every step.
    Unrolled,
    /// Snapshots φ_k and one program for a step's adjoint, run K times backwards: `u_k = u_{k+1} − α H(φ_k) u_{k+1}`.
    /// Memory grows by one parameter vector per step.
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
    /// Those that training computes anyway: the support loss before each step, and the query loss.
    Training,
    /// Also the support loss after the last step.
    All,
}

/// The shape of the inner loop, and how to compile it.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Inner steps `K`.
    pub steps: usize,
    /// Support examples per step; `None` for all of them.
    pub batch: Option<usize>,
    /// How the meta-gradient is computed.
    pub strategy: Strategy,
    /// Which losses to report.
    pub losses: Losses,
    /// Whether tasks run together in one program, and how many.
    pub grouping: Grouping,
}

/// How many tasks run together. Results equal those of one task after another, up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// One task after another.
    Single,
    /// Groups of this many, where the problem's operations can be computed for many tasks at once; otherwise one task
    /// after another.
    Of(usize),
    /// Groups that suit a meta-batch of this many tasks, if programs are small enough for it to pay off. The choice
    /// depends on the configuration alone.
    Auto(usize),
}

impl Grouping {
    /// Work per step of a program up to which [`Grouping::Auto`] groups: floating-point operations of products and
    /// elementwise ones together. Measured on perceptrons: at 7,000 groups save 15 % of the time, at 22,000 and at
    /// 71,000 nothing.
    pub const WORK_PER_STEP: u64 = 1 << 14;
    /// The most tasks in a group: larger ones gain nothing, and leave too few groups for the threads to share.
    pub const MOST: usize = 13;
    /// The most bytes of a group's single-precision values, about what stays in a core's cache.
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
