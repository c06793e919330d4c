//! What both strategies share: which parameters move and which are learned, how a program's inputs are
//! bound to values.

use std::cell::{OnceCell, RefCell};

use innerloop_engine::{
    Dtype, Graph, Isa, Params, Program, Shape, Tensor, Unmappable, Var, Workspace, vmap,
};

use super::buffers::{Buffers, read_all};
use super::path::Path;
use super::{Derivatives, Losses, MetaState, Setup, TaskData, TaskResult};
use crate::{Algorithm, End, InnerStep, MetaGradient, Moved, Point, Problem, Sharing, Vars};

/// Names and shapes of everything, fixed by the algorithm, the problem and the number of steps.
#[derive(Clone)]
pub(super) struct Structure {
    pub(super) kind: MetaGradient,
    pub(super) steps: usize,
    /// The inner loop.
    pub(super) path: Path,
    /// The second inner loop, if there is one.
    pub(super) companion: Option<Path>,
    /// Support examples per step, if not all.
    pub(super) batch: Option<usize>,
    /// Tasks that run together. Values of several tasks have a leading axis, one entry a task.
    pub(super) group: usize,
    pub(super) support_examples: usize,
    theta: Params<Shape>,
    /// The part of θ that the inner loop moves.
    pub(super) adapted: Params<Shape>,
    /// Initial rates.
    pub(super) rates: Params<Tensor>,
    /// Meta-parameters the outer loop learns: θ, and the rates if they are learned.
    pub(super) learned: Params<Shape>,
    /// What differentiation is with respect to: `learned`, and what the inner loop moves from a start that is
    /// not.
    pub(super) varied: Params<Shape>,
    /// Those of `learned` that the inner loop does not move.
    pub(super) fixed: Params<Shape>,
    pub(super) state: Params<Shape>,
    /// Values of the iteration, as training starts.
    pub(super) scheduled: Params<Tensor>,
    pub(super) carried: Params<Shape>,
    pub(super) statistics: Params<Shape>,
    pub(super) support: Vec<Shape>,
    pub(super) step_support: Vec<Shape>,
    pub(super) query: Vec<Shape>,
    pub(super) output: Shape,
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
        let mut varied = theta.filter(|name| algorithm.learns(name) || algorithm.adapts(name));
        if algorithm.learns_rates() {
            varied = varied.merge(&rates.map(|rate| rate.shape().to_vec()));
        }
        let learned = varied.filter(|name| algorithm.learns(name));
        let fixed = learned.filter(|name| adapted.get(name).is_none());
        let support_examples = problem.support_examples();
        let batch = batch.filter(|&batch| batch < support_examples);
        let support = problem.support_shapes(support_examples);
        let step_support = problem.support_shapes(batch.unwrap_or(support_examples));
        let mut structure = Structure {
            kind: algorithm.meta_gradient(),
            steps,
            path: Path { steps, sharing: algorithm.sharing(), scale: 1.0, differentiated: true },
            companion: algorithm.companion(steps).map(|beside| Path {
                steps: beside.steps,
                sharing: Sharing::None,
                scale: beside.scale,
                differentiated: beside.differentiated,
            }),
            batch,
            group: 1,
            support_examples,
            state: algorithm.state(&adapted),
            scheduled: scheduled(algorithm, steps, 0.0),
            theta,
            adapted,
            rates,
            learned,
            varied,
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

    /// The shape in which a value lies for all tasks of a group.
    pub(super) fn stacked(&self, one: &[usize]) -> Shape {
        if self.group > 1 { [&[self.group], one].concat() } else { one.to_vec() }
    }

    /// Room for values of all tasks of a group.
    pub(super) fn zeros(&self, shapes: &Params<Shape>, dtype: Dtype) -> Vec<Tensor> {
        shapes.values().iter().map(|shape| Tensor::zeros(dtype, &self.stacked(shape))).collect()
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

    /// Position among the learned meta-parameters of each that the inner loop moves, in order; nothing where
    /// its start is not learned.
    pub(super) fn adapted_positions(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.adapted.names().iter().map(|name| self.learned.position(name))
    }

    /// Position among the learned meta-parameters of each that it does not, in order.
    pub(super) fn fixed_positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.fixed
            .names()
            .iter()
            .map(|name| self.learned.position(name).expect("a part of learned"))
    }

    pub(super) fn derivatives(&self) -> Derivatives {
        let paths = || std::iter::once(self.path).chain(self.companion);
        let back = paths().map(|path| path.backward(self.kind).count()).sum::<usize>();
        let (differences, hessian_products) = match self.kind {
            MetaGradient::HeldGradients => (0, 0),
            MetaGradient::Differences { .. } => (2 * back, 0),
            MetaGradient::Binomial { .. } => (0, back * (self.orders() - 1)),
            MetaGradient::Implicit { iterations, .. } => {
                (0, iterations + usize::from(!self.fixed.is_empty()))
            }
            _ => (0, back),
        };
        let query = match self.kind {
            MetaGradient::Displacement => 0,
            _ if self.weighs_steps() => self.steps,
            _ => 1,
        };
        let forward = paths().map(|path| path.forward().count()).sum::<usize>();
        let gradients = forward + differences + query;
        Derivatives { gradients, hessian_products }
    }

    /// What inner steps move: the adapted part of θ, and the inner optimizer's state.
    pub(super) fn moving(&self) -> Params<Shape> {
        self.adapted.merge(&self.state)
    }

    /// Number of the values that inner steps move.
    pub(super) fn moves(&self) -> usize {
        self.adapted.len() + self.state.len()
    }

    /// Reads what the recursion backwards has come to from outputs that begin with `first`: for each order
    /// the cotangents of φ and the state, then the totals.
    pub(super) fn read_orders(
        &self,
        workspace: &Workspace,
        first: usize,
        cotangent: &mut [Tensor],
        totals: &mut [Tensor],
    ) {
        let (moving, fixed) = (self.moves(), self.fixed.len());
        for m in 0..self.orders() {
            let at = first + m * (moving + fixed);
            read_all(workspace, at, &mut cotangent[m * moving..(m + 1) * moving]);
            read_all(workspace, at + moving, &mut totals[m * fixed..(m + 1) * fixed]);
        }
    }

    /// Reads what every order of that recursion starts from.
    pub(super) fn read_start(
        &self,
        workspace: &Workspace,
        first: usize,
        cotangent: &mut [Tensor],
        totals: &mut [Tensor],
    ) {
        let (moving, fixed) = (self.moves(), self.fixed.len());
        cotangent.chunks_mut(moving.max(1)).for_each(|all| read_all(workspace, first, all));
        totals.chunks_mut(fixed.max(1)).for_each(|all| read_all(workspace, first + moving, all));
    }

    /// Inner steps of the longer inner loop.
    pub(super) fn most_steps(&self) -> usize {
        self.companion.map_or(self.steps, |path| path.steps.max(self.steps))
    }

    /// Cotangents that the recursion backwards carries: see [`super::backward::Backward::pull`].
    pub(super) fn orders(&self) -> usize {
        match self.kind {
            MetaGradient::Binomial { degree } => degree.min(self.steps) + 1,
            _ => 1,
        }
    }

    /// Whether query losses before that of the last step count.
    pub(super) fn weighs_steps(&self) -> bool {
        self.scheduled.get(LOSS_WEIGHTS).is_some()
    }

    /// Zero-based index on the one-hot step axis at which the support pass of inner step `k` stands:
    /// steps beyond those trained repeat the last one's.
    pub(super) fn step_index(&self, k: usize) -> usize {
        k.min(self.steps.saturating_sub(1))
    }
}

/// Name of [`Algorithm::loss_weights`] among the scheduled values.
const LOSS_WEIGHTS: &str = "loss_weights";

/// Values that change in the course of training, of the algorithm and of its objective.
pub(super) fn scheduled(algorithm: &dyn Algorithm, steps: usize, done: f64) -> Params<Tensor> {
    let mut values = algorithm.scheduled(done);
    if let Some(weights) = algorithm.loss_weights(steps, done).filter(|_| steps > 0) {
        assert_eq!(weights.len(), steps, "{}: a weight for every step", algorithm.name());
        values.push(LOSS_WEIGHTS, Tensor::from_f64(&[steps], weights));
    }
    values
}

/// Number of the steps whose query losses are weighted, among scheduled values.
pub(super) fn weighted_steps(scheduled: &Params<Tensor>) -> usize {
    scheduled.get(LOSS_WEIGHTS).map_or(0, Tensor::len)
}

/// The weight of the query loss after so many steps.
pub(super) fn loss_weight(scheduled: &Params<Tensor>, step: usize) -> f64 {
    scheduled.get(LOSS_WEIGHTS).map_or(0.0, |weights| weights.get(step - 1))
}

/// What an input of a program is bound to at every run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bind {
    Fast(usize),
    /// φ of the companion.
    Companion(usize),
    Omega(usize),
    Carried(usize),
    Scheduled(usize),
    /// The inner optimizer's state that every task starts from.
    Start(usize),
    /// The inner optimizer's current state.
    State(usize),
    /// The one-hot row of the current step, or of one so many after it.
    Step(usize),
    /// The whole support set's array.
    Support(usize),
    /// The array of the support examples of one inner step; the current one in step programs.
    Batch(usize, usize),
    Query(usize),
    Cotangent(usize),
    Total(usize),
}

impl Bind {
    /// Whether each task of a group has a value of its own.
    fn differs_by_task(self) -> bool {
        match self {
            Bind::Omega(_) | Bind::Carried(_) | Bind::Scheduled(_) => false,
            Bind::Start(_) | Bind::Step(_) => false,
            Bind::Fast(_) | Bind::Companion(_) | Bind::State(_) => true,
            Bind::Cotangent(_) | Bind::Total(_) => true,
            Bind::Support(_) | Bind::Batch(..) | Bind::Query(_) => true,
        }
    }
}

/// A graph under construction whose inputs know what they will be bound to.
pub(super) struct Scope<'g, 's> {
    pub(super) graph: &'g Graph,
    structure: &'s Structure,
    binds: RefCell<Vec<Bind>>,
    scheduled: OnceCell<Vars<'g>>,
}

impl<'g, 's> Scope<'g, 's> {
    pub(super) fn new(structure: &'s Structure, graph: &'g Graph) -> Scope<'g, 's> {
        Scope { graph, structure, binds: RefCell::new(Vec::new()), scheduled: OnceCell::new() }
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

    /// Fast weights of the companion as inputs.
    pub(super) fn companion(&self) -> Vars<'g> {
        self.inputs(&self.structure.adapted, Bind::Companion)
    }

    pub(super) fn carried(&self) -> Vars<'g> {
        self.inputs(&self.structure.carried, Bind::Carried)
    }

    /// Values of the iteration, declared at first use and shared after.
    pub(super) fn scheduled(&self) -> Vars<'g> {
        let declare = || {
            let shapes = self.structure.scheduled.map(|value| value.shape().to_vec());
            self.inputs(&shapes, Bind::Scheduled)
        };
        self.scheduled.get_or_init(declare).clone()
    }

    /// A query loss at a step, times its weight where all steps have one.
    pub(super) fn weighted(&self, loss: Var<'g>, step: Var<'g>) -> Var<'g> {
        match self.scheduled().get(LOSS_WEIGHTS) {
            Some(weights) => loss * weights.dot(step.slice(&[1], &weights.shape())),
            None => loss,
        }
    }

    /// The state every task's inner optimizer starts from.
    pub(super) fn start_state(&self) -> Vars<'g> {
        self.inputs(&self.structure.state, Bind::Start)
    }

    pub(super) fn state(&self) -> Vars<'g> {
        self.inputs(&self.structure.state, Bind::State)
    }

    /// The current step as an input.
    pub(super) fn step(&self) -> Var<'g> {
        self.steps(1)[0]
    }

    /// The current step and those after it as inputs.
    pub(super) fn steps(&self, n: usize) -> Vec<Var<'g>> {
        let axis = [self.structure.steps + 1];
        (0..n).map(|after| self.input("step", &axis, Bind::Step(after))).collect()
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

    /// Every cotangent of φ and the inner optimizer's state, each followed by the running totals of the
    /// gradient of what the inner loop does not move.
    pub(super) fn cotangents(&self) -> Vec<Vec<Var<'g>>> {
        let (moving, fixed) = (self.structure.moving(), &self.structure.fixed);
        let one = |m: usize| {
            let moving = self.inputs(&moving, |i| Bind::Cotangent(m * moving.len() + i));
            let totals = self.inputs(fixed, |i| Bind::Total(m * fixed.len() + i));
            [moving.values(), totals.values()].concat()
        };
        (0..self.structure.orders()).map(one).collect()
    }

    /// Learned meta-parameters that the inner loop does not move.
    pub(super) fn fixed(&self, omega: &Vars<'g>) -> Vars<'g> {
        self.structure.fixed.map_named(|name, _| omega[name])
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

    /// The inner steps that share a support gradient.
    pub(super) fn advance(
        &self,
        algorithm: &dyn Algorithm,
        omega: &Vars<'g>,
        start: &Moved<'g>,
        (loss, gradient): (Var<'g>, &Vars<'g>),
        (path, steps): (Path, &[Var<'g>]),
    ) -> Moved<'g> {
        let rates = match path.scale {
            1.0 => self.rates(omega),
            scale => self.rates(omega).map(|&rate| rate * scale),
        };
        let theta = self.structure.adapted.map_named(|name, _| omega[name].stop_gradient());
        let one = |Moved { phi, state }, &step: &Var<'g>| {
            algorithm.advance(&InnerStep {
                phi,
                gradient: gradient.clone(),
                loss: loss.stop_gradient(),
                rates: rates.clone(),
                state,
                step,
                start: theta.clone(),
                scheduled: self.scheduled(),
            })
        };
        steps.iter().fold(start.clone(), one)
    }

    /// Where the inner loop ends, for a first-order method.
    pub(super) fn end(&self, gradient: Vars<'g>, state: Vars<'g>) -> End<'g> {
        End { gradient, state, scheduled: self.scheduled(), steps: self.structure.steps }
    }

    /// Compiles the outputs, for the tasks of a group at once if there are several: every output then has
    /// a leading axis.
    pub(super) fn compile(self, outputs: &[Var<'g>]) -> Result<Compiled, Unmappable> {
        let binds = self.binds.into_inner();
        let compiled = |graph: &Graph, outputs: &[Var<'_>], binds| {
            let text = graph.print(outputs);
            Compiled { program: Program::compile(graph, outputs), binds, text }
        };
        if self.structure.group == 1 {
            return Ok(compiled(self.graph, outputs, binds));
        }
        let many = Graph::new();
        let mapped: Vec<bool> = binds.iter().map(|bind| bind.differs_by_task()).collect();
        let outputs = vmap(&many, outputs, &mapped, self.structure.group)?;
        Ok(compiled(&many, &outputs, binds))
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
    pub(super) tasks: &'a [TaskData<'a>],
    pub(super) buffers: &'a Buffers,
    pub(super) carried: &'a [Tensor],
    pub(super) fast: &'a [Tensor],
    pub(super) state: &'a [Tensor],
    pub(super) cotangent: &'a [Tensor],
    pub(super) totals: &'a [Tensor],
    pub(super) companion: &'a [Tensor],
    /// Index on the one-hot step axis.
    pub(super) step: usize,
    /// The inner step whose minibatch is read.
    pub(super) k: usize,
}

impl<'a> Sources<'a> {
    /// At a place on the trajectory, φ and then the state from the `n`-th tensor on, and at a step; no
    /// cotangents.
    pub(super) fn at(
        meta: &'a MetaState,
        tasks: &'a [TaskData<'a>],
        buffers: &'a Buffers,
        (place, n): (&'a [Tensor], usize),
        (step, k): (usize, usize),
    ) -> Sources<'a> {
        let (fast, state) = place.split_at(n);
        let none: &[Tensor] = &[];
        let (cotangent, totals, companion) = (none, none, none);
        let carried = meta.carried.values();
        Sources {
            meta,
            tasks,
            buffers,
            carried,
            fast,
            state,
            cotangent,
            totals,
            companion,
            step,
            k,
        }
    }
}

impl Compiled {
    pub(super) fn run(&self, workspace: &mut Workspace, from: Sources<'_>) {
        workspace.enter(&self.program);
        for (input, bind) in self.binds.iter().enumerate() {
            let value = match *bind {
                Bind::Fast(i) => &from.fast[i],
                Bind::Companion(i) => &from.companion[i],
                Bind::Omega(i) => &from.meta.omega.values()[i],
                Bind::Carried(i) => &from.carried[i],
                Bind::Scheduled(i) => &from.meta.scheduled.values()[i],
                Bind::Start(i) => &from.meta.inner_state.values()[i],
                Bind::State(i) => &from.state[i],
                Bind::Step(after) => &from.buffers.one_hot[from.step + after],
                Bind::Support(i) => from.buffers.support(from.tasks, i),
                Bind::Batch(step, i) => from.buffers.batch(from.tasks, from.k + step, i),
                Bind::Query(i) => from.buffers.query(from.tasks, i),
                Bind::Cotangent(i) => &from.cotangent[i],
                Bind::Total(i) => &from.totals[i],
            };
            workspace.set(input, value);
        }
        self.program.run(workspace);
    }
}

/// Memory in which the programs run one after another.
pub(super) fn workspace<'a>(
    programs: impl Iterator<Item = &'a Compiled>,
    dtype: Dtype,
) -> Workspace {
    let programs: Vec<_> = programs.map(|compiled| &compiled.program).collect();
    Workspace::new(&programs, dtype, Isa::detect())
}

/// Whether the support loss after the last step is asked for.
pub(super) fn wants_final_loss(setup: Setup) -> bool {
    setup.losses == Losses::All
}
