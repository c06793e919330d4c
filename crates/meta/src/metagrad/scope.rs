//! A program under construction: how its inputs are bound to values.

use std::cell::{OnceCell, RefCell};

use innerloop_engine::{
    Dtype, Graph, Isa, Params, Program, Shape, Tensor, Unmappable, Var, Workspace, vmap,
};

use super::backward::Cotangents;
use super::buffers::Buffers;
use super::path::Path;
use super::structure::{LOSS_WEIGHTS, Structure};
use super::{MetaState, TaskData};
use crate::{Algorithm, End, InnerStep, Moved, Point, Vars};

/// What an input of a program is bound to in every run.
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
    /// The one-hot row of the current step, or of the step this many after it.
    Step(usize),
    /// The whole support set's array.
    Support(usize),
    /// The array of the support examples of one inner step; the current one in step programs.
    Batch(usize, usize),
    Query(usize),
    Cotangent(usize),
    /// What joins a cotangent at the step this many after the current one.
    Between(usize, usize),
    Total(usize),
    /// The gradient of the step this many after the current one.
    Gradient(usize, usize),
}

impl Bind {
    /// Whether each task of a group has its own value.
    fn differs_by_task(self) -> bool {
        match self {
            Bind::Omega(_) | Bind::Carried(_) | Bind::Scheduled(_) => false,
            Bind::Start(_) | Bind::Step(_) => false,
            Bind::Fast(_) | Bind::Companion(_) | Bind::State(_) => true,
            Bind::Cotangent(_) | Bind::Between(..) | Bind::Total(_) | Bind::Gradient(..) => true,
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
    carried: OnceCell<Vars<'g>>,
}

impl<'g, 's> Scope<'g, 's> {
    pub(super) fn new(structure: &'s Structure, graph: &'g Graph) -> Scope<'g, 's> {
        Scope {
            graph,
            structure,
            binds: RefCell::new(Vec::new()),
            scheduled: OnceCell::new(),
            carried: OnceCell::new(),
        }
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

    /// Carried values, declared at first use and then shared.
    fn carried(&self) -> Vars<'g> {
        let declare = || self.inputs(&self.structure.carried, Bind::Carried);
        self.carried.get_or_init(declare).clone()
    }

    /// Values of the iteration, declared at first use and then shared.
    pub(super) fn scheduled(&self) -> Vars<'g> {
        let declare = || {
            let shapes = self.structure.scheduled.map(|value| value.shape().to_vec());
            self.inputs(&shapes, Bind::Scheduled)
        };
        self.scheduled.get_or_init(declare).clone()
    }

    /// A query loss at a step, multiplied by its weight if all steps have one.
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

    /// Cotangents of `n` orders, and the running totals of the gradient of what the inner loop does not move.
    pub(super) fn cotangents(&self, n: usize) -> Cotangents<'g> {
        let moving = self.structure.moving();
        let order = |m: usize| self.inputs(&moving, |i| Bind::Cotangent(m * moving.len() + i));
        let moving = (0..n).map(|m| order(m).values().to_vec()).collect();
        let totals = self.inputs(&self.structure.fixed, Bind::Total).values().to_vec();
        Cotangents { moving, totals }
    }

    /// For each of the `n` steps after the current one, what joins the cotangents of φ and the state before it.
    pub(super) fn cotangents_between(&self, n: usize) -> Vec<Vec<Var<'g>>> {
        let moving = self.structure.moving();
        let one = |after| self.inputs(&moving, |i| Bind::Between(after, i)).values().to_vec();
        (1..=n).map(one).collect()
    }

    /// Gradients of the `n` steps after the current one as inputs.
    pub(super) fn later_gradients(&self, n: usize) -> Vec<Vars<'g>> {
        let adapted = &self.structure.adapted;
        (1..=n).map(|after| self.inputs(adapted, |i| Bind::Gradient(after, i))).collect()
    }

    /// Learned meta-parameters that the inner loop does not move.
    pub(super) fn fixed(&self, omega: &Vars<'g>) -> Vars<'g> {
        self.structure.fixed.map_named(|name, _| omega[name])
    }

    /// All parameters, with the fast weights in their places.
    pub(super) fn point(&self, omega: &Vars<'g>, phi: &Vars<'g>, step: Var<'g>) -> Point<'g> {
        let theta = omega.filter(|name| self.structure.theta.get(name).is_some());
        Point { params: theta.overlay(phi), carried: self.carried(), step, closing: false }
    }

    /// Another point of the same graph.
    pub(super) fn point_from(&self, first: &Point<'g>, phi: &Vars<'g>, step: Var<'g>) -> Point<'g> {
        let (params, carried) = (first.params.overlay(phi), first.carried.clone());
        Point { params, carried, step, closing: first.closing }
    }

    /// The rates among the meta-parameters.
    pub(super) fn rates(&self, omega: &Vars<'g>) -> Vars<'g> {
        omega.filter(|name| self.structure.rates.get(name).is_some())
    }

    /// The end point of each of several inner steps that share a support gradient, or have one each.
    pub(super) fn advance(
        &self,
        algorithm: &dyn Algorithm,
        omega: &Vars<'g>,
        start: &Moved<'g>,
        (loss, gradients): (Var<'g>, &[Vars<'g>]),
        (path, steps): (Path, &[Var<'g>]),
    ) -> Vec<Moved<'g>> {
        let rates = match path.scale {
            1.0 => self.rates(omega),
            scale => algorithm.scaled(&self.rates(omega), scale),
        };
        let theta = self.structure.adapted.map_named(|name, _| omega[name].stop_gradient());
        let mut at = start.clone();
        let one = |(i, &step): (usize, &Var<'g>)| {
            at = algorithm.advance(&InnerStep {
                phi: at.phi.clone(),
                gradient: gradients[i.min(gradients.len() - 1)].clone(),
                loss: loss.stop_gradient(),
                rates: rates.clone(),
                state: at.state.clone(),
                step,
                start: theta.clone(),
                scheduled: self.scheduled(),
            });
            at.clone()
        };
        steps.iter().enumerate().map(one).collect()
    }

    /// The end point of the inner loop, for a first-order method.
    pub(super) fn end(&self, gradient: Vars<'g>, state: Vars<'g>) -> End<'g> {
        End { gradient, state, scheduled: self.scheduled(), steps: self.structure.steps }
    }

    /// Compiles the outputs, for all tasks of a group at once if there are several: every output then has a leading
    /// axis.
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

/// A program with the bindings of its inputs.
pub(super) struct Compiled {
    pub(super) program: Program,
    binds: Vec<Bind>,
    pub(super) text: String,
}

/// The values that inputs are bound to; arrays that a program does not use may be empty.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) meta: &'a MetaState,
    pub(super) tasks: &'a [TaskData<'a>],
    pub(super) buffers: &'a Buffers,
    pub(super) carried: &'a [Tensor],
    pub(super) fast: &'a [Tensor],
    pub(super) state: &'a [Tensor],
    pub(super) cotangent: &'a [Tensor],
    /// Those of the steps after the current one.
    pub(super) between: &'a [Vec<Tensor>],
    pub(super) totals: &'a [Tensor],
    pub(super) companion: &'a [Tensor],
    /// Those of the steps after the current one.
    pub(super) gradients: &'a [Vec<Tensor>],
    /// Index on the one-hot step axis.
    pub(super) step: usize,
    /// The inner step whose minibatch is read.
    pub(super) k: usize,
}

impl<'a> Sources<'a> {
    /// At a point of the trajectory, with φ and then the state from the `n`-th tensor on, and at a step; no cotangents.
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
            between: &[],
            totals,
            companion,
            gradients: &[],
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
                Bind::Step(after) => {
                    workspace.set_one_hot(input, from.step + after);
                    continue;
                }
                Bind::Support(i) => from.buffers.support(from.tasks, i),
                Bind::Batch(step, i) => from.buffers.batch(from.tasks, from.k + step, i),
                Bind::Query(i) => from.buffers.query(from.tasks, i),
                Bind::Cotangent(i) => &from.cotangent[i],
                Bind::Between(after, i) => &from.between[after][i],
                Bind::Total(i) => &from.totals[i],
                Bind::Gradient(after, i) => &from.gradients[after][i],
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
