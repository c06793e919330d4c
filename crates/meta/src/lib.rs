//! Gradient-based meta-learning: the field itself.
//!
//! A [`Problem`] gives two traced losses, one on a task's support set and one on its query set; this
//! crate never sees data, labels or a network. An [`Algorithm`] is one short file that reads like its
//! paper: how fast weights move, and what the outer gradient is. A [`Learner`] compiles both into
//! programs, by one of two strategies that agree to rounding, and runs them task by task; [`outer`]
//! turns meta-gradients into steps.
//!
//! Notation, as in the papers: `θ` meta-learned initial parameters, `ω` all meta-parameters (θ and, say,
//! inner learning rates), `φ_k` fast weights after `k` inner steps, `g_k = ∇L_S(φ_k)`, `K` the number of
//! steps, `L_S` and `L_Q` the mean losses of support and query set.

mod algorithm;
pub mod algorithms;
mod metagrad;
mod minibatch;
pub mod outer;
mod problem;
mod rates;

pub use algorithm::{Algorithm, InnerStep, MetaGradient, Moved};
pub use metagrad::{
    AdaptWorker, Adapted, Adapter, Evaluation, Learner, Losses, MetaState, Setup, Strategy,
    TaskData, TaskResult, Worker,
};
pub use minibatch::minibatch;
pub use problem::{Loss, Point, Problem};
pub use rates::{RATE_PREFIX, Rates, rate_name};

use innerloop_engine::{Params, Var};

/// Graph handles of named values.
pub type Vars<'g> = Params<Var<'g>>;
