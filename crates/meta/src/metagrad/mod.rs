//! From an algorithm and a problem to programs, by one of two strategies, and from a task's data to its
//! share of the outer gradient.

mod adapter;
mod adjoint;
mod structure;
mod unrolled;

use innerloop_engine::{Cost, Dtype, Key, Params, Tensor};

use crate::{Algorithm, MetaGradient, Problem};
pub use adapter::{AdaptWorker, Adapted, Adapter, Evaluation};
use structure::{Buffers, Structure};

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
    pub const BUDGET: u64 = 64 << 20;
}

/// Which losses a [`TaskResult`] holds.
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
}

impl Setup {
    /// `K` steps on the whole support set.
    pub fn new(steps: usize) -> Setup {
        Setup { steps, batch: None, strategy: Strategy::Auto, losses: Losses::Training }
    }
}

/// The values a run carries: meta-parameters, and what is carried along without being differentiated.
#[derive(Clone, Debug)]
pub struct MetaState {
    /// θ, then the inner learning rates.
    pub omega: Params<Tensor>,
    /// The problem's carried values, such as running statistics.
    pub carried: Params<Tensor>,
    /// The inner optimizer's state that tasks start from.
    pub inner_state: Params<Tensor>,
}

/// One task's arrays. `key` orders its minibatches.
#[derive(Clone, Copy)]
pub struct TaskData<'a> {
    /// Arrays of the support set, as [`Problem::support_shapes`].
    pub support: &'a [&'a Tensor],
    /// Arrays of the query set, as [`Problem::query_shapes`].
    pub query: &'a [&'a Tensor],
    /// Key of the task.
    pub key: Key,
}

/// What one task contributes.
#[derive(Clone, Debug)]
pub struct TaskResult {
    /// Outer gradient, under the names of the learned meta-parameters.
    pub gradient: Params<Tensor>,
    /// Support loss before each step (and after the last with [`Losses::All`]).
    pub support_losses: Vec<f64>,
    /// Query loss at φ_K; NaN where the algorithm uses no query set.
    pub query_loss: f64,
    /// The network's output on the query set at φ_K, where it is used.
    pub output: Tensor,
    /// φ_K.
    pub fast: Params<Tensor>,
    /// Statistics of each pass: `K` support passes, then the query pass, along the first axis.
    pub statistics: Params<Tensor>,
    /// The inner optimizer's state after the last step.
    pub inner_state: Params<Tensor>,
}

/// An algorithm on a problem, compiled.
pub struct Learner {
    structure: Structure,
    programs: Programs,
}

enum Programs {
    Unrolled(Box<unrolled::Unrolled>),
    Adjoint(Box<adjoint::Adjoint>),
}

/// The memory one thread needs to run a [`Learner`]; nothing is allocated after it is made.
pub struct Worker {
    buffers: Buffers,
    memory: Memory,
}

enum Memory {
    Unrolled(Box<unrolled::Memory>),
    Adjoint(Box<adjoint::Memory>),
}

impl Learner {
    /// Compiles the meta-gradient. Panics when an exact algorithm's inner optimizer has a state, which
    /// no rule here differentiates through.
    #[track_caller]
    pub fn new(problem: &dyn Problem, algorithm: &dyn Algorithm, setup: Setup) -> Learner {
        let structure = Structure::new(problem, algorithm, setup.steps, setup.batch);
        assert!(
            structure.kind != MetaGradient::Exact || structure.state.is_empty(),
            "{}: an exact meta-gradient through a stateful inner optimizer is not supported",
            algorithm.name()
        );
        let adjoint = || {
            let adjoint = adjoint::Adjoint::new(&structure, problem, algorithm, setup);
            Programs::Adjoint(Box::new(adjoint))
        };
        let unrolled = || Box::new(unrolled::Unrolled::new(&structure, problem, algorithm, setup));
        // Without second derivatives the step-by-step programs do no work twice.
        let programs = match setup.strategy {
            Strategy::Unrolled => Programs::Unrolled(unrolled()),
            Strategy::Adjoint => adjoint(),
            Strategy::Auto if structure.kind != MetaGradient::Exact => adjoint(),
            // An unrolled graph of many steps is not even worth building.
            Strategy::Auto if setup.steps > 10 => adjoint(),
            Strategy::Auto => {
                let unrolled = unrolled();
                if 4 * unrolled.cost().arena_elements <= Strategy::BUDGET {
                    Programs::Unrolled(unrolled)
                } else {
                    adjoint()
                }
            }
        };
        Learner { structure, programs }
    }

    /// The strategy in use: never [`Strategy::Auto`].
    pub fn strategy(&self) -> Strategy {
        match self.programs {
            Programs::Unrolled(_) => Strategy::Unrolled,
            Programs::Adjoint(_) => Strategy::Adjoint,
        }
    }

    /// Names of the meta-parameters the outer loop learns, in the order of gradients.
    pub fn learned(&self) -> &[String] {
        self.structure.learned.names()
    }

    /// Programs by name, with the work of one run and the number of runs per task.
    pub fn programs(&self) -> Vec<(&'static str, Cost, usize)> {
        match &self.programs {
            Programs::Unrolled(unrolled) => vec![("unrolled", *unrolled.cost(), 1)],
            Programs::Adjoint(adjoint) => adjoint.costs(&self.structure),
        }
    }

    /// Printed graphs of the programs.
    pub fn graphs(&self) -> Vec<(&'static str, &str)> {
        match &self.programs {
            Programs::Unrolled(unrolled) => vec![("unrolled", unrolled.graph())],
            Programs::Adjoint(adjoint) => adjoint.graphs(),
        }
    }

    /// Memory for one thread.
    pub fn worker(&self, dtype: Dtype) -> Worker {
        let memory = match &self.programs {
            Programs::Unrolled(p) => Memory::Unrolled(Box::new(p.memory(&self.structure, dtype))),
            Programs::Adjoint(p) => Memory::Adjoint(Box::new(p.memory(&self.structure, dtype))),
        };
        Worker { buffers: Buffers::new(&self.structure, dtype), memory }
    }

    /// Room for one task's result.
    pub fn result(&self, dtype: Dtype) -> TaskResult {
        self.structure.result(dtype)
    }

    /// Runs one task. Panics when the worker belongs to another learner or the data has other shapes.
    #[track_caller]
    pub fn run(
        &self,
        worker: &mut Worker,
        meta: &MetaState,
        task: TaskData<'_>,
        result: &mut TaskResult,
    ) {
        let Worker { buffers, memory } = worker;
        buffers.gather(&self.structure, task);
        match (&self.programs, memory) {
            (Programs::Unrolled(p), Memory::Unrolled(m)) => {
                p.run(&self.structure, m, buffers, meta, task, result);
            }
            (Programs::Adjoint(p), Memory::Adjoint(m)) => {
                p.run(&self.structure, m, buffers, meta, task, result);
            }
            _ => panic!("this worker belongs to another learner"),
        }
    }
}

impl Worker {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let programs = match &self.memory {
            Memory::Unrolled(memory) => memory.bytes(),
            Memory::Adjoint(memory) => memory.bytes(),
        };
        programs + self.buffers.bytes()
    }
}

impl MetaState {
    /// θ with initial rates, everything carried at zero except that variances start at one.
    pub fn new(
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        steps: usize,
        theta: Params<Tensor>,
    ) -> MetaState {
        let structure = Structure::new(problem, algorithm, steps, None);
        let dtype = theta.values().first().map_or(Dtype::F32, Tensor::dtype);
        let rates = structure.rates.map(|rate| rate.cast(dtype));
        let carried = problem.carried().map_named(|name, shape| {
            Tensor::full(dtype, shape, if name.ends_with(".var") { 1.0 } else { 0.0 })
        });
        MetaState {
            omega: theta.merge(&rates),
            carried,
            inner_state: structure.state.map(|shape| Tensor::zeros(dtype, shape)),
        }
    }
}
