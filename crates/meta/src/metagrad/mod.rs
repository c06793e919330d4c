//! From an algorithm and a problem to programs, by one of two strategies, and from a task's data to its
//! share of the outer gradient.

mod adapter;
mod adjoint;
mod backward;
mod buffers;
mod lane;
mod objective;
mod path;
mod scope;
mod structure;
mod unrolled;

use innerloop_engine::{Cost, Dtype, Key, Params, Tensor, Unmappable};

use crate::{Algorithm, MetaGradient, Problem, Sharing};
pub use adapter::{AdaptWorker, Adapted, Adapter, StepLosses};
use buffers::Buffers;
use structure::Structure;

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

/// The values a run carries: meta-parameters, and what is carried along without being differentiated.
#[derive(Clone, Debug)]
pub struct MetaState {
    /// θ, then the inner learning rates.
    pub omega: Params<Tensor>,
    /// The problem's carried values, such as running statistics.
    pub carried: Params<Tensor>,
    /// The inner optimizer's state that tasks start from.
    pub inner_state: Params<Tensor>,
    /// [`Algorithm::scheduled`] of the current iteration.
    pub scheduled: Params<Tensor>,
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
    /// The network's output on the query set at φ_K, `[n, outputs]`, where it is used.
    pub output: Tensor,
    /// φ_K.
    pub fast: Params<Tensor>,
    /// Statistics of each pass: `K` support passes, then the query pass, along the first axis.
    pub statistics: Params<Tensor>,
    /// The inner optimizer's state after the last step.
    pub inner_state: Params<Tensor>,
}

/// Derivatives that a task's meta-gradient takes.
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

/// The memory one thread needs to run a [`Learner`]; nothing is allocated after it is made.
pub struct Worker {
    buffers: Buffers,
    memory: Memory,
}

enum Memory {
    Unrolled(Box<unrolled::Memory>),
    Adjoint(Box<adjoint::Memory>),
}

/// Programs for one task contain nothing that cannot be compiled.
const ONE: &str = "a program for a single task always compiles";

impl Learner {
    /// Compiles the meta-gradient. Panics when an algorithm differentiates through an inner optimizer's
    /// state that outlives the task, which no rule here does.
    #[track_caller]
    pub fn new(problem: &dyn Problem, algorithm: &dyn Algorithm, setup: Setup) -> Learner {
        let mut structure = Structure::new(problem, algorithm, setup.steps, setup.batch);
        assert!(
            structure.path.backward(structure.kind).count() == 0 || !algorithm.keeps_state(),
            "{}: a meta-gradient through a state that outlives the task is not supported",
            algorithm.name()
        );
        assert!(
            structure.companion.is_none() || structure.kind != MetaGradient::Displacement,
            "{}: a method without a query set has no outer objective to add to",
            algorithm.name()
        );
        assert!(
            structure.companion.is_none()
                || !matches!(structure.kind, MetaGradient::Implicit { .. }),
            "{}: an implicit gradient holds at a minimum, which few steps do not reach",
            algorithm.name()
        );
        let shares = !matches!(
            structure.path.sharing,
            Sharing::None | Sharing::Forward(1) | Sharing::Backward(1)
        );
        assert!(
            !shares || structure.kind != MetaGradient::HeldGradients,
            "{}: a rule that is learned on the gradients of single steps shares none",
            algorithm.name()
        );
        if structure.weighs_steps() {
            let name = algorithm.name();
            let ends_alone = matches!(
                structure.kind,
                MetaGradient::Displacement | MetaGradient::Implicit { .. }
            );
            assert!(!ends_alone, "{name}: the steps before the last have no query loss");
            assert!(!shares, "{name}: steps that share a gradient have one query loss");
        }
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

    /// Room for one task's result.
    pub fn result(&self, dtype: Dtype) -> TaskResult {
        self.structure.result(dtype)
    }

    /// Runs one task; takes as long as a whole group where tasks run together. Panics when the worker
    /// belongs to another learner or the data has other shapes.
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

    /// Runs up to [`Learner::group`] tasks together. A task's result depends on its place in the group and
    /// on the other tasks by no more than rounding. Panics as [`Learner::run`] does, and when there are
    /// more tasks, none, or another number of results.
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
        assert_eq!(results.len(), n, "a result for every task");
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
            // Without second derivatives the step-by-step programs do no work twice.
            Strategy::Auto if structure.path.backward(structure.kind).count() == 0 => adjoint(),
            // An unrolled graph of many steps is not even worth building.
            Strategy::Auto if setup.steps > 10 => adjoint(),
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
        // As few groups as that allows, as even as they can be.
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

/// What a carried value starts from: variances at one.
fn carried_start(name: &str) -> f64 {
    if name.ends_with(".var") { 1.0 } else { 0.0 }
}

impl MetaState {
    /// θ with initial rates, everything carried at zero except that variances start at one.
    pub fn new(
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        steps: usize,
        theta: Params<Tensor>,
    ) -> MetaState {
        let structure = Structure::untraced(problem, algorithm, steps, None);
        let dtype = theta.values().first().map_or(Dtype::F32, Tensor::dtype);
        let rates = structure.rates.map(|rate| rate.cast(dtype));
        let carried = problem
            .carried()
            .map_named(|name, shape| Tensor::full(dtype, shape, carried_start(name)));
        MetaState {
            omega: theta.merge(&rates),
            carried,
            inner_state: structure.state.map(|shape| Tensor::zeros(dtype, shape)),
            scheduled: structure.scheduled.map(|value| value.cast(dtype)),
        }
    }

    /// Sets what the algorithm schedules to its values when a share `done` of training is over.
    pub fn schedule(&mut self, algorithm: &dyn Algorithm, done: f64) {
        let steps = structure::weighted_steps(&self.scheduled);
        let now = structure::scheduled(algorithm, steps, done);
        for (value, now) in self.scheduled.values_mut().iter_mut().zip(now.values()) {
            buffers::copy(value, now);
        }
    }
}
