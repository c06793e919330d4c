//! From an algorithm and a problem to programs, by one of two strategies, and from a task's data to its share of the
//! outer gradient.

mod adapter;
mod adjoint;
mod backward;
mod buffers;
mod loop_programs;
mod objective;
mod path;
mod scope;
mod setup;
mod state;
mod structure;
mod trace;
mod unrolled;

use innerloop_engine::{Cost, Dtype, Key, Params, Tensor, Unmappable};

use crate::{Algorithm, MetaGradient, Problem, Sharing};
pub use adapter::{AdaptWorker, Adapted, Adapter, StepLosses};
use buffers::Buffers;
pub use setup::{Grouping, Losses, Setup, Strategy};
pub use state::MetaState;
use structure::Structure;

/// One task's arrays. `key` determines its minibatches.
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
    /// Support loss before each step (and after the last with [`Losses::All`]); steps that share a gradient have that of
    /// the first of them.
    pub support_losses: Vec<f64>,
    /// Query loss at φ_K; NaN where the algorithm uses no query set.
    pub query_loss: f64,
    /// The network's output on the query set at φ_K, `[n, outputs]`, where it is used.
    pub output: Tensor,
    /// φ_K.
    pub fast: Params<Tensor>,
    /// Statistics of each pass: `K` support passes, then the query pass, along the first axis.
    pub statistics: Params<Tensor>,
    /// The inner optimizer's state after the last step.
    pub inner_state: Params<Tensor>,
}

/// Derivatives that a task's meta-gradient takes, step by step: with the multi-step loss while all losses count. A graph of
/// the whole inner loop may share some of them, such as the first gradient of SHOT's two paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derivatives {
    /// Gradients of the support loss and of the query loss.
    pub gradients: usize,
    /// Products of the support loss's Hessian with a vector.
    pub hessian_products: usize,
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

/// The memory that one thread needs to run a [`Learner`]; nothing is allocated after its creation.
pub struct Worker {
    buffers: Buffers,
    memory: Memory,
}

enum Memory {
    Unrolled(Box<unrolled::Memory>),
    Adjoint(Box<adjoint::Memory>),
}

/// Programs for one task contain only operations that can be compiled.
const ONE: &str = "a program for a single task always compiles";

impl Learner {
    /// Compiles the meta-gradient. Panics when an algorithm differentiates through an inner optimizer's state that
    /// outlives the task, which no rule here does.
    #[track_caller]
    pub fn new(problem: &dyn Problem, algorithm: &dyn Algorithm, setup: Setup) -> Learner {
        let mut structure = Structure::new(problem, algorithm, setup.steps, setup.batch);
        check_supported(&structure, algorithm);
        let compile = |structure: &Structure, strategy| {
            Programs::new(structure, problem, algorithm, Setup { strategy, ..setup })
        };
        let mut programs = compile(&structure, setup.strategy).expect(ONE);
        let group = programs.group(&structure, setup.grouping);
        if group > 1 {
            let mut grouped = structure.clone();
            grouped.group = group;
            if let Ok(together) = compile(&grouped, programs.strategy()) {
                (structure, programs) = (grouped, together);
            }
        }
        Learner { structure, programs }
    }

    /// The strategy in use: never [`Strategy::Auto`].
    pub fn strategy(&self) -> Strategy {
        self.programs.strategy()
    }

    /// Tasks that run together.
    pub fn group(&self) -> usize {
        self.structure.group
    }

    /// Names of the meta-parameters the outer loop learns, in the order of gradients.
    pub fn learned(&self) -> &[String] {
        self.structure.learned.names()
    }

    /// Programs by name, with the work of one run and the number of runs per task, or per group of tasks
    /// that run together.
    pub fn programs(&self) -> Vec<(&'static str, Cost, usize)> {
        self.programs.costs(&self.structure)
    }

    /// Derivatives that a task's meta-gradient takes.
    pub fn derivatives(&self) -> Derivatives {
        self.structure.derivatives()
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

    /// Storage for one task's result.
    pub fn result(&self, dtype: Dtype) -> TaskResult {
        self.structure.result(dtype)
    }

    /// Runs one task; where tasks run together this takes as long as a whole group. Panics when the worker belongs to
    /// another learner or the data has other shapes.
    #[track_caller]
    pub fn run(
        &self,
        worker: &mut Worker,
        meta: &MetaState,
        task: TaskData<'_>,
        result: &mut TaskResult,
    ) {
        self.run_group(worker, meta, &[task], std::slice::from_mut(result));
    }

    /// Runs up to [`Learner::group`] tasks together. A task's result depends on its place in the group and on the other
    /// tasks by no more than rounding. Panics as [`Learner::run`] does, and when there are too many tasks, none, or a
    /// different number of results.
    #[track_caller]
    pub fn run_group(
        &self,
        worker: &mut Worker,
        meta: &MetaState,
        tasks: &[TaskData<'_>],
        results: &mut [TaskResult],
    ) {
        let n = tasks.len();
        assert!((1..=self.group()).contains(&n), "{n} tasks for groups of {}", self.group());
        assert_eq!(results.len(), n, "one result per task");
        let Worker { buffers, memory } = worker;
        buffers.gather(&self.structure, tasks);
        match (&self.programs, memory) {
            (Programs::Unrolled(p), Memory::Unrolled(m)) => {
                p.run(&self.structure, m, buffers, meta, tasks, results);
            }
            (Programs::Adjoint(p), Memory::Adjoint(m)) => {
                p.run(&self.structure, m, buffers, meta, tasks, results);
            }
            _ => panic!("this worker belongs to another learner"),
        }
    }
}

/// Panics on combinations that have no meta-gradient here.
#[track_caller]
fn check_supported(structure: &Structure, algorithm: &dyn Algorithm) {
    assert!(
        structure.path.backward(structure.kind).count() == 0 || !algorithm.keeps_state(),
        "{}: a meta-gradient through a state that outlives the task is not supported",
        algorithm.name()
    );
    assert!(
        structure.companion.is_none() || structure.state.is_empty() || !algorithm.keeps_state(),
        "{}: a second inner loop has no part in a state that outlives the task",
        algorithm.name()
    );
    assert!(
        structure.companion.is_none() || !matches!(structure.kind, MetaGradient::Implicit { .. }),
        "{}: an implicit gradient holds at a minimum, which few steps do not reach",
        algorithm.name()
    );
    let sharing = structure.path.sharing;
    assert!(
        !matches!(sharing, Sharing::Backward(window) if window > 1)
            || structure.kind != MetaGradient::HeldGradients,
        "{}: gradients that are held constant have no Hessian to share",
        algorithm.name()
    );
    if structure.weighs_steps() {
        let name = algorithm.name();
        let ends_alone =
            matches!(structure.kind, MetaGradient::Displacement | MetaGradient::Implicit { .. });
        assert!(!ends_alone, "{name}: the steps before the last have no query loss");
    }
}

impl Programs {
    fn new(
        structure: &Structure,
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        setup: Setup,
    ) -> Result<Programs, Unmappable> {
        let adjoint = || {
            let adjoint = adjoint::Adjoint::new(structure, problem, algorithm, setup)?;
            Ok(Programs::Adjoint(Box::new(adjoint)))
        };
        let unrolled = || unrolled::Unrolled::new(structure, problem, algorithm, setup);
        match setup.strategy {
            Strategy::Unrolled => Ok(Programs::Unrolled(Box::new(unrolled()?))),
            Strategy::Adjoint => adjoint(),
            // Without second derivatives the step-by-step programs repeat no work.
            Strategy::Auto if structure.path.backward(structure.kind).count() == 0 => adjoint(),
            // Building an unrolled graph of many steps is not worthwhile.
            Strategy::Auto if structure.most_steps() > 10 => adjoint(),
            Strategy::Auto => {
                let unrolled = unrolled()?;
                if 4 * unrolled.cost().arena_elements <= Strategy::BUDGET {
                    Ok(Programs::Unrolled(Box::new(unrolled)))
                } else {
                    adjoint()
                }
            }
        }
    }

    fn strategy(&self) -> Strategy {
        match self {
            Programs::Unrolled(_) => Strategy::Unrolled,
            Programs::Adjoint(_) => Strategy::Adjoint,
        }
    }

    fn costs(&self, structure: &Structure) -> Vec<(&'static str, Cost, usize)> {
        match self {
            Programs::Unrolled(unrolled) => vec![("unrolled", *unrolled.cost(), 1)],
            Programs::Adjoint(adjoint) => adjoint.costs(structure),
        }
    }

    /// Tasks of a group, given the programs of a single task.
    fn group(&self, structure: &Structure, grouping: Grouping) -> usize {
        let tasks = match grouping {
            Grouping::Single => return 1,
            Grouping::Of(tasks) => return tasks,
            Grouping::Auto(tasks) => tasks,
        };
        let costs = self.costs(structure);
        let total = |f: fn(&Cost) -> u64| costs.iter().map(|(_, cost, _)| f(cost)).sum::<u64>();
        let work = total(|cost| cost.product_flops + cost.elementwise_ops);
        if work > Grouping::WORK_PER_STEP * total(|cost| cost.steps) {
            return 1;
        }
        let fit = Grouping::BUDGET / (4 * total(|cost| cost.arena_elements)).max(1);
        let most = Grouping::MOST.min(fit as usize).max(1);
        // As few groups as that allows, of sizes as equal as possible.
        tasks.div_ceil(tasks.div_ceil(most))
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
