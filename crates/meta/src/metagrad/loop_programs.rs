//! One inner loop in the adjoint recursion: its programs, forward steps that leave snapshots and backward steps that
//! pull cotangents back through them; and the memory that they run in.

use innerloop_engine::{Cost, Dtype, Graph, Tensor, Unmappable, Workspace, grad, grad_params};

use super::backward::Backward;
use super::buffers::{Buffers, add, bytes_of, read_all, spread, zero};
use super::path::{Orders, Path, Run};
use super::scope::{Compiled, Scope, Sources};
use super::structure::{Structure, loss_weight};
use super::{MetaState, TaskData, TaskResult};
use crate::{Algorithm, Moved, Point, Problem};

/// The compiled programs of one inner loop: its forward steps, and the backward steps of the adjoint recursion.
pub(super) struct LoopPrograms {
    path: Path,
    step: Kinds<StepKind>,
    back: Kinds<(StepKind, Orders)>,
    /// Adds the derivatives of intermediate query losses, if steps before the last one count.
    query: Option<Compiled>,
    final_loss: bool,
    /// Number of snapshots that are kept: those that the backward pass reads, or two in turn.
    snapshots: usize,
}

/// Name of the program that adds the derivatives of the query loss after a step that is not the last.
const ON_THE_WAY: &str = "query on the way";

/// One program for each kind of run.
struct Kinds<Kind>(Vec<(Kind, Compiled)>);

/// Number of steps that share a gradient, and whether they are closing ones, which have their own support loss.
type StepKind = (usize, bool);

impl Run {
    fn kind(self) -> StepKind {
        (self.length, self.closing)
    }
}

/// Kinds of the runs of the backward pass, which also differ in their cotangents.
fn kinds_back(
    structure: &Structure,
    path: Path,
) -> impl Iterator<Item = (StepKind, Orders)> + Clone + use<> {
    path.backward(structure.kind).map(|(run, orders)| (run.kind(), orders))
}

/// The values of one inner loop: the snapshots that its forward steps leave, and the cotangents that its backward steps
/// carry from φ_K to θ.
pub(super) struct LoopMemory {
    /// φ and the inner optimizer's state before each run of steps, or before each step, and at the end; if none of them
    /// is read again, only the last two.
    trajectory: Vec<Vec<Tensor>>,
    /// The gradient of each step that the backward pass reads; empty for a step that opens a window, whose gradient is
    /// recomputed together with its Hessian.
    gradients: Vec<Vec<Tensor>>,
    /// The derivatives of a step's own query loss, if the step is processed backwards together with those before it;
    /// empty for a step that opens a window.
    between: Vec<Vec<Tensor>>,
    /// Those of any step, followed by those of what the inner loop does not move; empty if only the last loss counts.
    slope: Vec<Tensor>,
    /// For each order, of which there are not equally many everywhere: cotangents of φ and the state.
    pub(super) cotangent: Vec<Tensor>,
    /// Index of the end in the trajectory.
    end: usize,
}

/// What programs run on.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) structure: &'a Structure,
    pub(super) meta: &'a MetaState,
    pub(super) tasks: &'a [TaskData<'a>],
}

impl<Kind: Copy + PartialEq> Kinds<Kind> {
    /// A program for every kind among those of the runs.
    fn new(
        runs: impl Iterator<Item = Kind>,
        compile: impl Fn(Kind) -> Result<Compiled, Unmappable>,
    ) -> Result<Kinds<Kind>, Unmappable> {
        let mut kinds: Vec<Kind> = runs.collect();
        kinds.dedup();
        let programs = kinds.into_iter().map(|kind| Ok((kind, compile(kind)?)));
        Ok(Kinds(programs.collect::<Result<_, _>>()?))
    }

    fn of(&self, kind: Kind) -> &Compiled {
        let fits = self.0.iter().find(|(other, _)| *other == kind);
        &fits.expect("a program for every kind").1
    }

    fn programs(&self) -> impl Iterator<Item = &Compiled> {
        self.0.iter().map(|(_, program)| program)
    }

    /// The cost of each program and the number of runs of steps it handles.
    fn costs(&self, runs: impl Iterator<Item = Kind> + Clone) -> Vec<(Cost, usize)> {
        let times = |kind| runs.clone().filter(|other| *other == kind).count();
        self.0.iter().map(|(kind, p)| (*p.program.cost(), times(*kind))).collect()
    }
}

impl LoopPrograms {
    pub(super) fn new(
        structure: &Structure,
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        (path, final_loss, weighs_steps): (Path, bool, bool),
    ) -> Result<LoopPrograms, Unmappable> {
        // The loss after the last step is the first thing that one more step computes. Without any steps that program
        // still exists, because a learner must have one.
        let more = final_loss || path.steps == 0;
        let one_more = more.then(|| path.one_more());
        let step = |kind| step_program(structure, problem, algorithm, (path, kind));
        let back = |kind| back_program(structure, problem, algorithm, (path, kind));
        let query = weighs_steps && path.steps > 1;
        let read_again =
            query || path.backward(structure.kind).any(|(run, _)| run.first < path.steps);
        Ok(LoopPrograms {
            path,
            step: Kinds::new(path.forward().chain(one_more).map(Run::kind), step)?,
            back: Kinds::new(kinds_back(structure, path), back)?,
            query: query.then(|| query_on_the_way(structure, problem)).transpose()?,
            final_loss,
            snapshots: if read_again { path.place(path.steps) + 1 } else { 2 },
        })
    }

    /// Index of the snapshot taken after `steps` steps.
    fn snapshot(&self, steps: usize) -> usize {
        self.path.place(steps) % self.snapshots
    }

    pub(super) fn costs(
        &self,
        structure: &Structure,
        [step, back]: [&'static str; 2],
    ) -> Vec<(&'static str, Cost, usize)> {
        let named = |name, costs: Vec<_>| costs.into_iter().map(move |(c, n)| (name, c, n));
        let forward = named(step, self.step.costs(self.path.forward().map(Run::kind)));
        let query = |program: &Compiled| (ON_THE_WAY, *program.program.cost(), self.path.steps - 1);
        forward
            .chain(named(back, self.back.costs(kinds_back(structure, self.path))))
            .chain(self.query.iter().map(query))
            .collect()
    }

    pub(super) fn programs(
        &self,
        [step, back]: [&'static str; 2],
    ) -> impl Iterator<Item = (&'static str, &Compiled)> {
        let forward = self.step.programs().map(move |p| (step, p));
        let query = self.query.iter().map(|p| (ON_THE_WAY, p));
        forward.chain(self.back.programs().map(move |p| (back, p))).chain(query)
    }

    pub(super) fn memory(&self, structure: &Structure, dtype: Dtype) -> LoopMemory {
        let moving = structure.zeros(&structure.moving(), dtype);
        let cotangent = vec![moving.clone(); self.path.most_orders(structure.kind)].concat();
        let unless_opening = |keeps: bool, all: &[Tensor]| -> Vec<Vec<Tensor>> {
            let of = |step| if self.path.opens(step) { Vec::new() } else { all.to_vec() };
            (0..if keeps { self.path.steps } else { 0 }).map(of).collect()
        };
        let gradient = structure.zeros(&structure.adapted, dtype);
        LoopMemory {
            end: self.snapshot(self.path.steps),
            gradients: unless_opening(self.path.keeps_gradients, &gradient),
            between: unless_opening(self.query.is_some(), &moving),
            slope: match self.query {
                Some(_) => [moving.as_slice(), &structure.zeros(&structure.fixed, dtype)].concat(),
                None => Vec::new(),
            },
            trajectory: vec![moving; self.snapshots],
            cotangent,
        }
    }

    /// Computes the trajectory. With results, it also fills in those of adaptation's inner loop: support losses and
    /// statistics, φ_K and the state.
    pub(super) fn forward(
        &self,
        job: Job<'_>,
        (workspace, memory, loss): (&mut Workspace, &mut LoopMemory, &mut Tensor),
        buffers: &mut Buffers,
        mut results: Option<&mut [TaskResult]>,
    ) {
        let Job { structure, meta, tasks } = job;
        let (trajectory, n) = (&mut memory.trajectory, structure.adapted.len());
        for (fast, name) in trajectory[0].iter_mut().zip(structure.adapted.names()) {
            spread(fast, &meta.omega[name]);
        }
        for (state, start) in trajectory[0][n..].iter_mut().zip(meta.inner_state.values()) {
            spread(state, start);
        }
        let one_more = self.final_loss.then(|| self.path.one_more());
        for run in self.path.forward().chain(one_more) {
            let Run { first, length, .. } = run;
            let (step, k) = (structure.step_index(first), self.path.batch(first));
            let place = &trajectory[self.snapshot(first)];
            let at = Sources::at(meta, tasks, buffers, (place, n), (step, k));
            self.step.of(run.kind()).run(workspace, at);
            if let Some(results) = &mut results {
                workspace.read(0, loss);
                for (result, loss) in results.iter_mut().zip(loss.iter()) {
                    result.support_losses.extend(std::iter::repeat_n(loss, length));
                }
            }
            if first == self.path.steps {
                break;
            }
            let mut next = 1;
            for after in if self.path.keeps_steps { 1 } else { length }..=length {
                let place = &mut trajectory[self.snapshot(first + after)];
                read_all(workspace, next, place);
                next += place.len();
            }
            if let Some(gradient) = memory.gradients.get_mut(first) {
                read_all(workspace, next + structure.statistics.len(), gradient);
            }
            if let Some(results) = &mut results {
                read_all(workspace, next, &mut buffers.statistics);
                (first..first + length).for_each(|k| buffers.hand_out_statistics(k, results));
            }
        }
    }

    /// From the cotangents at the end to those at θ; the totals accumulate on the way.
    pub(super) fn backward(
        &self,
        job: Job<'_>,
        (workspace, memory, totals): (&mut Workspace, &mut LoopMemory, &mut [Tensor]),
        buffers: &Buffers,
    ) {
        let Job { structure, meta, tasks } = job;
        let LoopMemory { trajectory, gradients, between, slope, cotangent, .. } = memory;
        let moves = structure.moves();
        let mut runs = self.path.backward(structure.kind).peekable();
        // Number of cotangents.
        let mut number = 1;
        for first in (0..=self.path.steps).rev() {
            let place = (trajectory[self.snapshot(first)].as_slice(), structure.adapted.len());
            if let Some((run, orders)) = runs.next_if(|(run, _)| run.first == first) {
                let step = (structure.step_index(first), self.path.batch(first));
                let at = Sources::at(meta, tasks, buffers, place, step);
                let gradients = gradients.get(first..).unwrap_or(&[]);
                let between = between.get(first..).unwrap_or(&[]);
                let at = Sources { cotangent, between, totals, gradients, ..at };
                self.back.of((run.kind(), orders)).run(workspace, at);
                number = orders.before;
                read_all(workspace, 0, &mut cotangent[..number * moves]);
                read_all(workspace, number * moves, totals);
            }
            let Some(query) = self.query.as_ref().filter(|_| 0 < first && first < self.path.steps)
            else {
                continue;
            };
            // Within a run the loss waits until the run is processed backwards.
            let within = runs.peek().is_some_and(|(run, _)| first < run.first + run.length);
            let joined = match within {
                true => between[first].as_mut_slice(),
                false => &mut cotangent[..number * moves],
            };
            if within {
                joined.iter_mut().for_each(zero);
            }
            if loss_weight(&meta.scheduled, first) != 0.0 {
                query.run(workspace, Sources::at(meta, tasks, buffers, place, (first, 0)));
                read_all(workspace, 0, slope);
                let (moving, fixed) = slope.split_at(moves);
                let orders = joined.chunks_mut(moves.max(1)).map(|all| (all, moving));
                for (sums, parts) in orders.chain([(&mut *totals, fixed)]) {
                    sums.iter_mut().zip(parts).for_each(|(sum, x)| add(sum, x));
                }
            }
        }
    }
}

impl LoopMemory {
    /// φ and the state at the end.
    pub(super) fn end(&self) -> &[Tensor] {
        &self.trajectory[self.end]
    }

    pub(super) fn bytes(&self) -> usize {
        let kept = self.trajectory.iter().chain(&self.gradients).chain(&self.between).flatten();
        kept.chain(&self.slope).chain(&self.cotangent).map(bytes_of).sum()
    }
}

/// `(φ, state, ω, batch) → (L_S, φ', state', statistics)` for several steps with one gradient, which is also returned
/// if the backward pass reads it; with φ' and the state after each step if query losses count there.
pub(super) fn step_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
    (path, (length, closing)): (Path, StepKind),
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, steps) = (scope.omega(), scope.steps(length));
    let start = Moved { phi: scope.fast(), state: scope.state() };
    let at = Point { closing, ..scope.point(&omega, &start.phi, steps[0]) };
    let loss = problem.support_loss(&at, &scope.batch(0));
    let gradient = grad_params(loss.value, &start.phi);
    let slope = (loss.value, std::slice::from_ref(&gradient));
    let places = scope.advance(algorithm, &omega, &start, slope, (path, &steps));
    let mut outputs = vec![loss.value];
    for place in &places[if path.keeps_steps { 0 } else { length - 1 }..] {
        outputs.extend(place.phi.values());
        outputs.extend(place.state.values());
    }
    outputs.extend(loss.statistics.values());
    if path.keeps_gradients {
        outputs.extend(gradient.values());
    }
    scope.compile(&outputs)
}

/// `(φ_k, state_k, ω, support, query) → (w_k ∇_φ L_Q, zeros for the state, w_k ∇_η L_Q)`.
fn query_on_the_way(structure: &Structure, problem: &dyn Problem) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, phi, step) = (scope.omega(), scope.fast(), scope.step());
    let at = scope.point(&omega, &phi, step);
    let loss = problem.query_loss(&at, &scope.support(), &scope.query());
    let wrt = phi.merge(&scope.state()).merge(&scope.fixed(&omega));
    let gradient = grad(scope.weighted(loss.value, step), wrt.values());
    scope.compile(&gradient)
}

/// `(φ_k, state_k, ω, batch, gradients after the first, u, cotangents between, totals) → (u', totals')` over several
/// steps with one gradient, or one Hessian.
fn back_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
    (path, ((length, closing), orders)): (Path, (StepKind, Orders)),
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, steps) = (scope.omega(), scope.steps(length));
    let start = Moved { phi: scope.fast(), state: scope.state() };
    let later = scope.cotangents(orders.after);
    let between = scope.cotangents_between(if path.keeps_steps { length - 1 } else { 0 });
    let at = Point { closing, ..scope.point(&omega, &start.phi, steps[0]) };
    let batch = scope.batch(0);
    let back = Backward {
        kind: structure.kind,
        orders,
        fixed: scope.fixed(&omega),
        own: scope.later_gradients(if path.keeps_gradients { length - 1 } else { 0 }),
        loss: &|phi| problem.support_loss(&scope.point_from(&at, phi, steps[0]), &batch).value,
        advance: &|start, slope| scope.advance(algorithm, &omega, start, slope, (path, &steps)),
        start,
    };
    let outputs = back.pull(&later, &between).into_values();
    scope.compile(&outputs)
}
