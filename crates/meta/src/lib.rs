//! Gradient-based meta-learning.
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
//!
//! The gradient of MAML on the smallest problem there is: a task gives two numbers `a` and `b`, with
//! `L_S(θ) = ½ (θ − a)²` and `L_Q(θ) = ½ (θ − b)²`. One step leads to `φ₁ = θ − α (θ − a)`, and through it
//! `∇_θ L_Q(φ₁) = (1 − α) (φ₁ − b)`.
//!
//! ```
//! use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var};
//! use innerloop_meta::algorithms::{InnerLoop, Maml};
//! use innerloop_meta::{Learner, Loss, MetaState, Point, Problem, Setup, TaskData};
//!
//! struct Nearness;
//!
//! impl Nearness {
//!     fn loss<'g>(&self, at: &Point<'g>, goal: Var<'g>) -> Loss<'g> {
//!         let off = at.params["theta"] - goal;
//!         Loss { value: off.dot(off) * 0.5, output: off, statistics: Params::new() }
//!     }
//! }
//!
//! impl Problem for Nearness {
//!     fn parameters(&self) -> Params<Shape> {
//!         Params::from_iter([("theta".to_string(), vec![1])])
//!     }
//!     fn support_examples(&self) -> usize {
//!         1
//!     }
//!     fn support_shapes(&self, examples: usize) -> Vec<Shape> {
//!         vec![vec![examples]]
//!     }
//!     fn query_shapes(&self) -> Vec<Shape> {
//!         vec![vec![1]]
//!     }
//!     fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
//!         self.loss(at, support[0])
//!     }
//!     fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
//!         self.loss(at, query[0])
//!     }
//! #   fn carried(&self) -> Params<Shape> {
//! #       Params::new()
//! #   }
//! #   fn statistics(&self) -> Params<Shape> {
//! #       Params::new()
//! #   }
//!     // and two that return no names: `carried`, `statistics`
//! }
//!
//! let maml = Maml { inner: InnerLoop::new(0.1) };
//! let learner = Learner::new(&Nearness, &maml, Setup::new(1));
//!
//! let [theta, a, b] = [3.0, 1.0, 2.0].map(|x| Tensor::from_f64(&[1], vec![x]));
//! let start = Params::from_iter([("theta".to_string(), theta)]);
//! let meta = MetaState::new(&Nearness, &maml, 1, start);
//! let mut result = learner.result(Dtype::F64);
//! let task = TaskData { support: &[&a], query: &[&b], key: Key::new(0) };
//! learner.run(&mut learner.worker(Dtype::F64), &meta, task, &mut result);
//!
//! // φ₁ = 3 − 0.1 · 2 = 2.8, and the gradient is 0.9 · (2.8 − 2).
//! assert!((result.fast["theta"].get(0) - 2.8).abs() <= 1e-12);
//! assert!((result.gradient["theta"].get(0) - 0.72).abs() <= 1e-12);
//! ```

mod algorithm;
pub mod algorithms;
pub mod diagnostics;
mod metagrad;
mod minibatch;
pub mod outer;
mod problem;
mod rates;

pub use algorithm::{Algorithm, Companion, End, InnerStep, MetaGradient, Moved, Outcome, Sharing};
pub use metagrad::{
    AdaptWorker, Adapted, Adapter, Derivatives, Grouping, Learner, Losses, MetaState, Setup,
    StepLosses, Strategy, TaskData, TaskResult, Worker,
};
pub use minibatch::minibatch;
pub use problem::{Loss, Point, Problem};
pub use rates::{RATE_PREFIX, Rates, is_of_inner_rule, rate_name};

use innerloop_engine::{Params, Var};

/// Graph handles of named values.
pub type Vars<'g> = Params<Var<'g>>;
