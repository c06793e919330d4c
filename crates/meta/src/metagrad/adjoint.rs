//! The adjoint recursion: snapshots of the trajectory, and one small program run once per step.
//!
//! With `S` the inner step, `u_K = ∇_φ L_Q(φ_K)` and
//! `u_k = (∂S/∂φ)ᵀ u_{k+1} + H(φ_k) ḡ_k`, `ḡ_k = (∂S/∂g)ᵀ u_{k+1}`: for plain gradient descent `ḡ = −α u`
//! and `u_k = u_{k+1} − α H(φ_k) u_{k+1}`. The gradient of what the inner loop does not move (a frozen
//! body, learned rates) adds `(∂S/∂η)ᵀ u_{k+1} + [∂g/∂η]ᵀ ḡ_k` at every step; both second-order products
//! come from one forward-over-reverse sweep. An inner optimizer's state is moved beside φ.

use innerloop_engine::{Cost, Dtype, Graph, Tensor, Unmappable, Workspace, grad_params};

use super::backward::Backward;
use super::buffers::{Buffers, bytes_of, read_all, spread, take, take_all};
use super::path::Run;
use super::structure::{Compiled, Scope, Sources, Structure, wants_final_loss, workspace};
use super::{MetaState, Setup, TaskData, TaskResult};
use crate::{Algorithm, MetaGradient, Moved, Problem};

/// Programs: steps forward, steps back, the query loss with its gradient.
pub(super) struct Adjoint {
    step: Lengths,
    back: Lengths,
    query: Option<Compiled>,
    final_loss: bool,
}

/// One program for each number of steps that share a gradient.
struct Lengths(Vec<(usize, Compiled)>);

pub(super) struct Memory {
    /// All programs run in the same memory, one after another.
    workspace: Workspace,
    /// φ and the inner optimizer's state before each run of steps, and at the end.
    trajectory: Vec<Vec<Tensor>>,
    /// For each order: of φ and the state.
    cotangent: Vec<Tensor>,
    /// For each order: of what the inner loop does not move.
    totals: Vec<Tensor>,
    loss: Tensor,
    output: Tensor,
}

impl Lengths {
    /// A program for every length among the runs.
    fn new(
        runs: impl Iterator<Item = Run>,
        compile: impl Fn(usize) -> Result<Compiled, Unmappable>,
    ) -> Result<Lengths, Unmappable> {
        let mut lengths: Vec<usize> = runs.map(|run| run.length).collect();
        lengths.dedup();
        let programs = lengths.into_iter().map(|length| Ok((length, compile(length)?)));
        Ok(Lengths(programs.collect::<Result<_, _>>()?))
    }

    fn of(&self, length: usize) -> &Compiled {
        let fits = self.0.iter().find(|(of, _)| *of == length);
        &fits.expect("a program for every length").1
    }

    fn programs(&self) -> impl Iterator<Item = &Compiled> {
        self.0.iter().map(|(_, program)| program)
    }

    /// The work of each program and how many runs of steps it does.
    fn costs(&self, runs: impl Iterator<Item = Run> + Clone) -> Vec<(Cost, usize)> {
        let times = |length| runs.clone().filter(|run| run.length == length).count();
        self.0.iter().map(|(length, p)| (*p.program.cost(), times(*length))).collect()
    }
}

impl Adjoint {
    pub(super) fn new(
        structure: &Structure,
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        setup: Setup,
    ) -> Result<Adjoint, Unmappable> {
        let path = structure.path;
        let query = structure.kind != MetaGradient::Displacement;
        let final_loss = wants_final_loss(setup);
        // The loss after the last step is the first thing that one more step computes; without any step
        // there is that one nonetheless, for a learner has a program.
        let more = final_loss || path.steps == 0;
        let one_more = more.then_some(Run { first: path.steps, length: 1 });
        Ok(Adjoint {
            step: Lengths::new(path.forward().chain(one_more), |length| {
                step_program(structure, problem, algorithm, length)
            })?,
            back: Lengths::new(path.backward(structure.kind), |length| {
                back_program(structure, problem, algorithm, length)
            })?,
            query: query.then(|| query_program(structure, problem, algorithm)).transpose()?,
            final_loss,
        })
    }

    pub(super) fn costs(&self, structure: &Structure) -> Vec<(&'static str, Cost, usize)> {
        let path = structure.path;
        let named = |name, costs: Vec<_>| costs.into_iter().map(move |(c, n)| (name, c, n));
        let mut costs: Vec<_> = named("step", self.step.costs(path.forward())).collect();
        costs.extend(named("step back", self.back.costs(path.backward(structure.kind))));
        costs.extend(self.query.iter().map(|query| ("query", *query.program.cost(), 1)));
        costs
    }

    pub(super) fn graphs(&self) -> Vec<(&'static str, &str)> {
        let step = self.step.programs().map(|p| ("step", p));
        let back = self.back.programs().map(|p| ("step back", p));
        let all = step.chain(back).chain(self.query.iter().map(|p| ("query", p)));
        all.map(|(name, program)| (name, program.text.as_str())).collect()
    }

    pub(super) fn memory(&self, structure: &Structure, dtype: Dtype) -> Memory {
        let all = self.step.programs().chain(self.back.programs()).chain(&self.query);
        let moving = structure.zeros(&structure.moving(), dtype);
        let places = structure.path.forward().count() + 1;
        let orders = structure.orders();
        Memory {
            workspace: workspace(all, dtype),
            cotangent: vec![moving.clone(); orders].concat(),
            totals: vec![structure.zeros(&structure.fixed, dtype); orders].concat(),
            trajectory: vec![moving; places],
            loss: Tensor::zeros(dtype, &structure.stacked(&[])),
            output: Tensor::zeros(dtype, &structure.stacked(&structure.output)),
        }
    }

    pub(super) fn run(
        &self,
        structure: &Structure,
        memory: &mut Memory,
        buffers: &mut Buffers,
        meta: &MetaState,
        tasks: &[TaskData<'_>],
        results: &mut [TaskResult],
    ) {
        self.forward(structure, memory, buffers, meta, tasks, results);
        let n = structure.adapted.len();
        let end = structure.path.place(structure.steps);
        for (member, result) in results.iter_mut().enumerate() {
            take_all(result.fast.values_mut(), &memory.trajectory[end][..n], member);
            take_all(result.inner_state.values_mut(), &memory.trajectory[end][n..], member);
        }
        let Some(query) = &self.query else {
            return results.iter_mut().for_each(|result| displacement(structure, meta, result));
        };
        let Memory { workspace, trajectory, cotangent, totals, loss, output } = memory;
        let step = structure.steps;
        let at = Sources::at(meta, tasks, buffers, (&trajectory[end], n), (step, 0));
        query.run(workspace, at);
        workspace.read(0, loss);
        workspace.read(1, output);
        let (moving, fixed) = (n + structure.state.len(), structure.fixed.len());
        let orders = structure.orders();
        for m in 0..orders {
            read_all(workspace, 2, &mut cotangent[m * moving..(m + 1) * moving]);
            read_all(workspace, 2 + moving, &mut totals[m * fixed..(m + 1) * fixed]);
        }
        read_all(workspace, 2 + moving + fixed, &mut buffers.statistics);
        buffers.hand_out_statistics(structure.steps, results);
        for Run { first, length } in structure.path.backward(structure.kind).rev() {
            let place = &trajectory[structure.path.place(first)];
            let at = Sources::at(meta, tasks, buffers, (place, n), (first, first));
            self.back.of(length).run(workspace, Sources { cotangent, totals, ..at });
            for m in 0..orders {
                let at = m * (moving + fixed);
                read_all(workspace, at, &mut cotangent[m * moving..(m + 1) * moving]);
                read_all(workspace, at + moving, &mut totals[m * fixed..(m + 1) * fixed]);
            }
        }
        let (cotangent, totals) =
            (&cotangent[(orders - 1) * moving..], &totals[(orders - 1) * fixed..]);
        for (member, result) in results.iter_mut().enumerate() {
            result.query_loss = loss.get(member);
            take(&mut result.output, output, member);
            let gradient = result.gradient.values_mut();
            for (from, at) in cotangent.iter().zip(structure.adapted_positions()) {
                take(&mut gradient[at], from, member);
            }
            for (from, at) in totals.iter().zip(structure.fixed_positions()) {
                take(&mut gradient[at], from, member);
            }
        }
    }

    /// The trajectory, with support losses and statistics on the way.
    fn forward(
        &self,
        structure: &Structure,
        memory: &mut Memory,
        buffers: &mut Buffers,
        meta: &MetaState,
        tasks: &[TaskData<'_>],
        results: &mut [TaskResult],
    ) {
        let Memory { workspace, trajectory, loss, .. } = memory;
        let n = structure.adapted.len();
        for (fast, name) in trajectory[0].iter_mut().zip(structure.adapted.names()) {
            spread(fast, &meta.omega[name]);
        }
        for (state, start) in trajectory[0][n..].iter_mut().zip(meta.inner_state.values()) {
            spread(state, start);
        }
        results.iter_mut().for_each(|result| result.support_losses.clear());
        let one_more = self.final_loss.then_some(Run { first: structure.steps, length: 1 });
        for (i, Run { first, length }) in structure.path.forward().chain(one_more).enumerate() {
            let k = structure.step_index(first);
            let at = Sources::at(meta, tasks, buffers, (&trajectory[i], n), (k, k));
            self.step.of(length).run(workspace, at);
            workspace.read(0, loss);
            for (result, loss) in results.iter_mut().zip(loss.iter()) {
                result.support_losses.extend(std::iter::repeat_n(loss, length));
            }
            if first == structure.steps {
                break;
            }
            read_all(workspace, 1, &mut trajectory[i + 1]);
            read_all(workspace, 1 + trajectory[i].len(), &mut buffers.statistics);
            (first..first + length).for_each(|k| buffers.hand_out_statistics(k, results));
        }
    }
}

impl Memory {
    pub(super) fn bytes(&self) -> usize {
        let tensors = self.trajectory.iter().flatten().chain([&self.loss, &self.output]);
        let tensors = tensors.chain(&self.cotangent).chain(&self.totals);
        self.workspace.bytes() + tensors.map(bytes_of).sum::<usize>()
    }
}

/// `θ − φ_K` for what the inner loop moves; the rest of the gradient stays zero.
fn displacement(structure: &Structure, meta: &MetaState, result: &mut TaskResult) {
    let TaskResult { gradient, fast, .. } = result;
    for (name, phi) in fast.iter() {
        let at = structure.learned.position(name).expect("θ is learned");
        let (theta, out) = (&meta.omega[name], &mut gradient.values_mut()[at]);
        match (theta.dtype(), phi.dtype()) {
            (Dtype::F32, Dtype::F32) => {
                let pairs = theta.as_f32().iter().zip(phi.as_f32());
                out.as_f32_mut().iter_mut().zip(pairs).for_each(|(out, (t, p))| *out = t - p);
            }
            (Dtype::F64, Dtype::F64) => {
                let pairs = theta.as_f64().iter().zip(phi.as_f64());
                out.as_f64_mut().iter_mut().zip(pairs).for_each(|(out, (t, p))| *out = t - p);
            }
            _ => (0..phi.len()).for_each(|i| out.set(i, theta.get(i) - phi.get(i))),
        }
    }
}

/// `(φ, state, ω, batch) → (L_S, φ', state', statistics)` for so many steps with one gradient.
pub(super) fn step_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
    length: usize,
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, steps) = (scope.omega(), scope.steps(length));
    let start = Moved { phi: scope.fast(), state: scope.state() };
    let at = scope.point(&omega, &start.phi, steps[0]);
    let loss = problem.support_loss(&at, &scope.batch(0));
    let gradient = grad_params(loss.value, &start.phi);
    let moved = scope.advance(algorithm, &omega, &start, &gradient, &steps);
    let mut outputs = vec![loss.value];
    outputs.extend(moved.phi.values());
    outputs.extend(moved.state.values());
    outputs.extend(loss.statistics.values());
    scope.compile(&outputs)
}

/// `(φ_k, state_k, ω, batch, u, totals) → (u', totals')` over so many steps with one gradient.
fn back_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
    length: usize,
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, steps) = (scope.omega(), scope.steps(length));
    let start = Moved { phi: scope.fast(), state: scope.state() };
    let later = scope.cotangents();
    let (at, batch) = (scope.point(&omega, &start.phi, steps[0]), scope.batch(0));
    let back = Backward {
        kind: structure.kind,
        fixed: scope.fixed(&omega),
        loss: &|phi| problem.support_loss(&scope.point_from(&at, phi, steps[0]), &batch).value,
        advance: &|start, g| scope.advance(algorithm, &omega, start, g, &steps),
        start,
    };
    let outputs = back.pull(&later).concat();
    scope.compile(&outputs)
}

/// `(φ_K, state, ω, support, query) → (L_Q, output, ∇_φ L_Q, zeros for the state, ∇_η L_Q, statistics)`; in
/// place of `∇_φ L_Q` what a first-order method makes of it.
fn query_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, phi, step) = (scope.omega(), scope.fast(), scope.step());
    let at = scope.point(&omega, &phi, step);
    let loss = problem.query_loss(&at, &scope.support(), &scope.query());
    let (state, fixed) = (scope.state(), scope.fixed(&omega));
    let gradient = grad_params(loss.value, &phi.merge(&state).merge(&fixed));
    let gradient = match structure.kind {
        MetaGradient::FirstOrder => {
            let of = phi.map_named(|name, _| gradient[name]);
            gradient.overlay(&algorithm.direction(&scope.end(of, state)))
        }
        _ => gradient,
    };
    let mut outputs = vec![loss.value, loss.output];
    outputs.extend(gradient.values());
    outputs.extend(loss.statistics.values());
    scope.compile(&outputs)
}
