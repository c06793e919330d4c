//! What both strategies share: which parameters move and which are learned, how a program's inputs are
//! bound to values, and the buffers of one task.

use std::cell::RefCell;

use innerloop_engine::{Dtype, Graph, Params, Program, Shape, Tensor, Var, Workspace};

use super::{Losses, MetaState, Setup, TaskData, TaskResult};
use crate::{Algorithm, InnerStep, MetaGradient, Point, Problem, Vars, minibatch};

/// Names and shapes of everything, fixed by the algorithm, the problem and the number of steps.
pub(super) struct Structure {
    pub(super) kind: MetaGradient,
    pub(super) steps: usize,
    /// Support examples per step, if not all.
    pub(super) batch: Option<usize>,
    support_examples: usize,
    theta: Params<Shape>,
    /// The part of θ that the inner loop moves.
    pub(super) adapted: Params<Shape>,
    /// Initial rates.
    pub(super) rates: Params<Tensor>,
    /// Meta-parameters the outer loop learns: θ, and the rates if they are learned.
    pub(super) learned: Params<Shape>,
    /// Those of `learned` that the inner loop does not move.
    pub(super) fixed: Params<Shape>,
    pub(super) state: Params<Shape>,
    carried: Params<Shape>,
    pub(super) statistics: Params<Shape>,
    support: Vec<Shape>,
    step_support: Vec<Shape>,
    query: Vec<Shape>,
    output: Shape,
}

impl Structure {
    pub(super) fn new(
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        steps: usize,
        batch: Option<usize>,
    ) -> Structure {
        let theta = problem.parameters();
        let adapted = theta.filter(|name| algorithm.adapts(name));
        let rates = algorithm.rates(&adapted, steps);
        let mut learned = theta.clone();
        if algorithm.learns_rates() {
            learned = learned.merge(&rates.map(|rate| rate.shape().to_vec()));
        }
        let fixed = learned.filter(|name| adapted.get(name).is_none());
        let support_examples = problem.support_examples();
        let batch = batch.filter(|&batch| batch < support_examples);
        let support = problem.support_shapes(support_examples);
        let step_support = problem.support_shapes(batch.unwrap_or(support_examples));
        let mut structure = Structure {
            kind: algorithm.meta_gradient(),
            steps,
            batch,
            support_examples,
            state: algorithm.state(&adapted),
            theta,
            adapted,
            rates,
            learned,
            fixed,
            carried: problem.carried(),
            statistics: problem.statistics(),
            support,
            step_support,
            query: problem.query_shapes(),
            output: Vec::new(),
        };
        // The output's shape is what tracing says it is.
        let graph = Graph::new();
        let scope = Scope::new(&structure, &graph);
        let omega = scope.omega();
        let step = scope.step();
        let at = scope.point(&omega, &scope.fast(), step);
        let output = problem.query_loss(&at, &scope.support(), &scope.query()).output.shape();
        structure.output = output;
        structure
    }

    pub(super) fn result(&self, dtype: Dtype) -> TaskResult {
        let zeros = |shape: &Shape| Tensor::zeros(dtype, shape);
        TaskResult {
            gradient: self.learned.map(zeros),
            support_losses: Vec::with_capacity(self.steps + 1),
            query_loss: f64::NAN,
            output: zeros(&self.output),
            fast: self.adapted.map(zeros),
            statistics: self.statistics.map(|shape| {
                let rows = [&[self.steps + 1], shape.as_slice()].concat();
                Tensor::zeros(dtype, &rows)
            }),
            inner_state: self.state.map(zeros),
        }
    }

    /// Position among the learned meta-parameters of each that the inner loop moves, in order.
    pub(super) fn adapted_positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.adapted.names().iter().map(|name| self.learned.position(name).expect("θ is learned"))
    }

    /// Position among the learned meta-parameters of each that it does not, in order.
    pub(super) fn fixed_positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.fixed
            .names()
            .iter()
            .map(|name| self.learned.position(name).expect("a part of learned"))
    }

    /// Zero-based index on the one-hot step axis at which the support pass of inner step `k` stands:
    /// steps beyond those trained repeat the last one's.
    pub(super) fn step_index(&self, k: usize) -> usize {
        k.min(self.steps.saturating_sub(1))
    }
}

/// What an input of a program is bound to at every run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bind {
    Fast(usize),
    Omega(usize),
    Carried(usize),
    State(usize),
    Step,
    /// The whole support set's array.
    Support(usize),
    /// The array of the support examples of one inner step; the current one in step programs.
    Batch(usize, usize),
    Query(usize),
    Cotangent(usize),
    Total(usize),
}

/// A graph under construction whose inputs know what they will be bound to.
pub(super) struct Scope<'g, 's> {
    pub(super) graph: &'g Graph,
    structure: &'s Structure,
    binds: RefCell<Vec<Bind>>,
}

impl<'g, 's> Scope<'g, 's> {
    pub(super) fn new(structure: &'s Structure, graph: &'g Graph) -> Scope<'g, 's> {
        Scope { graph, structure, binds: RefCell::new(Vec::new()) }
    }

    fn input(&self, name: &str, shape: &[usize], bind: Bind) -> Var<'g> {
        self.binds.borrow_mut().push(bind);
        self.graph.input(name, shape)
    }

    fn inputs(&self, shapes: &Params<Shape>, bind: impl Fn(usize) -> Bind) -> Vars<'g> {
        let mut i = 0;
        shapes.map_named(|name, shape| {
            i += 1;
            self.input(name, shape, bind(i - 1))
        })
    }

    fn arrays(&self, name: &str, shapes: &[Shape], bind: impl Fn(usize) -> Bind) -> Vec<Var<'g>> {
        shapes.iter().enumerate().map(|(i, shape)| self.input(name, shape, bind(i))).collect()
    }

    /// θ and the rates.
    pub(super) fn omega(&self) -> Vars<'g> {
        let rates = self.structure.rates.map(|rate| rate.shape().to_vec());
        self.inputs(&self.structure.theta.merge(&rates), Bind::Omega)
    }

    /// Fast weights φ as inputs.
    pub(super) fn fast(&self) -> Vars<'g> {
        self.inputs(&self.structure.adapted, Bind::Fast)
    }

    pub(super) fn carried(&self) -> Vars<'g> {
        self.inputs(&self.structure.carried, Bind::Carried)
    }

    pub(super) fn state(&self) -> Vars<'g> {
        self.inputs(&self.structure.state, Bind::State)
    }

    /// The current step as an input.
    pub(super) fn step(&self) -> Var<'g> {
        self.input("step", &[self.structure.steps + 1], Bind::Step)
    }

    /// A fixed step.
    pub(super) fn constant_step(&self, k: usize) -> Var<'g> {
        self.graph.scalar(k as f64).one_hot(self.structure.steps + 1)
    }

    pub(super) fn support(&self) -> Vec<Var<'g>> {
        self.arrays("support", &self.structure.support, Bind::Support)
    }

    /// Support examples of one inner step.
    pub(super) fn batch(&self, k: usize) -> Vec<Var<'g>> {
        self.arrays("batch", &self.structure.step_support, |i| Bind::Batch(k, i))
    }

    pub(super) fn query(&self) -> Vec<Var<'g>> {
        self.arrays("query", &self.structure.query, Bind::Query)
    }

    pub(super) fn cotangent(&self) -> Vars<'g> {
        self.inputs(&self.structure.adapted, Bind::Cotangent)
    }

    /// Running totals of the gradient of what the inner loop does not move.
    pub(super) fn totals(&self) -> Vars<'g> {
        self.inputs(&self.structure.fixed, Bind::Total)
    }

    /// All parameters with the fast weights in place.
    pub(super) fn point(&self, omega: &Vars<'g>, phi: &Vars<'g>, step: Var<'g>) -> Point<'g> {
        let theta = omega.filter(|name| self.structure.theta.get(name).is_some());
        Point { params: theta.overlay(phi), carried: self.carried_once(), step }
    }

    /// Carried values are declared at first use and shared after.
    fn carried_once(&self) -> Vars<'g> {
        let declared = self.binds.borrow().iter().any(|bind| matches!(bind, Bind::Carried(_)));
        assert!(
            !declared || self.structure.carried.is_empty(),
            "use with_carried for a second point"
        );
        self.carried()
    }

    /// Another point of the same graph.
    pub(super) fn point_from(&self, first: &Point<'g>, phi: &Vars<'g>, step: Var<'g>) -> Point<'g> {
        Point { params: first.params.overlay(phi), carried: first.carried.clone(), step }
    }

    /// The rates among the meta-parameters.
    pub(super) fn rates(&self, omega: &Vars<'g>) -> Vars<'g> {
        omega.filter(|name| self.structure.rates.get(name).is_some())
    }

    /// The inner step at a point whose support gradient is known.
    pub(super) fn inner_step(
        &self,
        omega: &Vars<'g>,
        phi: Vars<'g>,
        gradient: Vars<'g>,
        (state, step): (Vars<'g>, Var<'g>),
    ) -> InnerStep<'g> {
        InnerStep { phi, gradient, rates: self.rates(omega), state, step }
    }

    /// Compiles the outputs.
    pub(super) fn compile(self, outputs: &[Var<'g>]) -> Compiled {
        let program = Program::compile(self.graph, outputs);
        let text = self.graph.print(outputs);
        Compiled { program, binds: self.binds.into_inner(), text }
    }
}

/// A program with what its inputs are bound to.
pub(super) struct Compiled {
    pub(super) program: Program,
    binds: Vec<Bind>,
    pub(super) text: String,
}

/// The values inputs are bound to; arrays a program does not use may be empty.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) meta: &'a MetaState,
    pub(super) task: TaskData<'a>,
    pub(super) buffers: &'a Buffers,
    pub(super) fast: &'a [Tensor],
    pub(super) state: &'a [Tensor],
    pub(super) cotangent: &'a [Tensor],
    pub(super) totals: &'a [Tensor],
    /// Index on the one-hot step axis.
    pub(super) step: usize,
    /// The inner step whose minibatch is read.
    pub(super) k: usize,
}

impl Compiled {
    pub(super) fn run(&self, workspace: &mut Workspace, from: Sources<'_>) {
        for (input, bind) in self.binds.iter().enumerate() {
            let value = match *bind {
                Bind::Fast(i) => &from.fast[i],
                Bind::Omega(i) => &from.meta.omega.values()[i],
                Bind::Carried(i) => &from.meta.carried.values()[i],
                Bind::State(i) => &from.state[i],
                Bind::Step => &from.buffers.one_hot[from.step],
                Bind::Support(i) => from.task.support[i],
                Bind::Batch(step, i) => from.buffers.batch(from.task, from.k + step, i),
                Bind::Query(i) => from.task.query[i],
                Bind::Cotangent(i) => &from.cotangent[i],
                Bind::Total(i) => &from.totals[i],
            };
            workspace.set(input, value);
        }
        self.program.run(workspace);
    }
}

/// Buffers of one task that are not part of a program.
pub(super) struct Buffers {
    /// One-hot rows of every step.
    one_hot: Vec<Tensor>,
    /// Minibatches, per step and array; empty when steps take the whole support set.
    batches: Vec<Vec<Tensor>>,
    /// One pass's statistics.
    pub(super) statistics: Vec<Tensor>,
}

impl Buffers {
    pub(super) fn new(structure: &Structure, dtype: Dtype) -> Buffers {
        Buffers::with_steps(structure, dtype, structure.steps)
    }

    /// Buffers for an inner loop of another length than the trained one.
    pub(super) fn with_steps(structure: &Structure, dtype: Dtype, steps: usize) -> Buffers {
        let axis = structure.steps + 1;
        let one_hot = (0..axis).map(|k| {
            let mut row = Tensor::zeros(dtype, &[axis]);
            row.set(k, 1.0);
            row
        });
        let batches = match structure.batch {
            Some(_) => {
                vec![
                    structure.step_support.iter().map(|s| Tensor::zeros(Dtype::F32, s)).collect();
                    steps.max(1)
                ]
            }
            None => Vec::new(),
        };
        Buffers {
            one_hot: one_hot.collect(),
            batches,
            statistics: structure
                .statistics
                .values()
                .iter()
                .map(|s| Tensor::zeros(dtype, s))
                .collect(),
        }
    }

    fn batch<'a>(&'a self, task: TaskData<'a>, k: usize, array: usize) -> &'a Tensor {
        match self.batches.get(k) {
            Some(batch) => &batch[array],
            None => task.support[array],
        }
    }

    /// Copies the minibatches of a task.
    pub(super) fn gather(&mut self, structure: &Structure, task: TaskData<'_>) {
        let Some(batch) = structure.batch else { return };
        for (k, arrays) in self.batches.iter_mut().enumerate() {
            let rows = minibatch(task.key, structure.support_examples, batch, k);
            for (to, from) in arrays.iter_mut().zip(task.support) {
                if to.dtype() != from.dtype() {
                    *to = to.cast(from.dtype());
                }
                for (row, &index) in rows.iter().enumerate() {
                    copy_row(to, row, from, index);
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let tensors = self.batches.iter().flatten().chain(&self.one_hot).chain(&self.statistics);
        tensors.map(|t| t.len() * if t.dtype() == Dtype::F32 { 4 } else { 8 }).sum()
    }
}

/// Copies one entry along the first axis.
fn copy_row(to: &mut Tensor, row: usize, from: &Tensor, index: usize) {
    let n = from.len() / from.shape()[0];
    let (to_range, from_range) = (row * n..(row + 1) * n, index * n..(index + 1) * n);
    match from.dtype() {
        Dtype::F32 => to.as_f32_mut()[to_range].copy_from_slice(&from.as_f32()[from_range]),
        Dtype::F64 => to.as_f64_mut()[to_range].copy_from_slice(&from.as_f64()[from_range]),
    }
}

/// Copies a whole tensor into one entry along the first axis.
pub(super) fn store_row(to: &mut Tensor, row: usize, from: &Tensor) {
    let n = from.len();
    match from.dtype() {
        Dtype::F32 => to.as_f32_mut()[row * n..(row + 1) * n].copy_from_slice(from.as_f32()),
        Dtype::F64 => to.as_f64_mut()[row * n..(row + 1) * n].copy_from_slice(from.as_f64()),
    }
}

/// Copies numbers into a tensor of the same shape, whose memory and element type stay.
pub(super) fn copy(to: &mut Tensor, from: &Tensor) {
    assert_eq!(to.shape(), from.shape(), "copy of a tensor of another shape");
    if to.dtype() == from.dtype() {
        store_row(to, 0, from);
    } else {
        (0..from.len()).for_each(|i| to.set(i, from.get(i)));
    }
}

/// Reads consecutive outputs, from `first` on, into tensors.
pub(super) fn read_all(workspace: &Workspace, first: usize, into: &mut [Tensor]) {
    for (i, tensor) in into.iter_mut().enumerate() {
        workspace.read(first + i, tensor);
    }
}

/// Whether the support loss after the last step is asked for.
pub(super) fn wants_final_loss(setup: Setup) -> bool {
    setup.losses == Losses::All
}
