//! The adjoint recursion: snapshots of the trajectory, and one small program run once per step.
//!
//! With `S` the inner step, `u_K = ∇_φ L_Q(φ_K)` and `u_k = (∂S/∂φ)ᵀ u_{k+1} + H(φ_k) ḡ_k`, `ḡ_k = (∂S/∂g)ᵀ u_{k+1}`:
//! for plain gradient descent `ḡ = −α u` and `u_k = u_{k+1} − α H(φ_k) u_{k+1}`. The gradient of what the inner loop
//! does not move (a frozen body, learned rates) adds `(∂S/∂η)ᵀ u_{k+1} + [∂g/∂η]ᵀ ḡ_k` at every step; both second-order
//! products come from one forward-over-reverse sweep. An inner optimizer's state is treated like φ.

use innerloop_engine::{Cost, Dtype, Graph, Tensor, Unmappable, Workspace, grad};

use super::buffers::{Buffers, add, bytes_of, read_all, take, take_all};
use super::loop_programs::{Job, LoopMemory, LoopPrograms};
use super::objective::{displacement, objective};
use super::scope::{Compiled, Scope, Sources, workspace};
use super::structure::{Structure, wants_final_loss};
use super::{MetaState, Setup, TaskData, TaskResult};
use crate::{Algorithm, MetaGradient, Problem, Vars};

/// Programs: the inner loops forward and back, and the outer objective with its gradient.
pub(super) struct Adjoint {
    base: LoopPrograms,
    companion: Option<LoopPrograms>,
    query: Option<Compiled>,
    /// Turns the query gradient into what a first-order method puts in its place, if it is another.
    direction: Option<Compiled>,
    /// The gradient of a method without a query set but with a second inner loop.
    displacement: Option<Compiled>,
}

pub(super) struct Memory {
    /// All programs run in the same memory, one after another.
    workspace: Workspace,
    base: LoopMemory,
    companion: Option<LoopMemory>,
    /// Derivatives with respect to what the inner loop does not move.
    totals: Vec<Tensor>,
    loss: Tensor,
    output: Tensor,
}

const BASE: [&str; 2] = ["step", "step back"];
const COMPANION: [&str; 2] = ["companion step", "companion step back"];

impl Adjoint {
    pub(super) fn new(
        structure: &Structure,
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        setup: Setup,
    ) -> Result<Adjoint, Unmappable> {
        let programs = |path, final_loss, weighs_steps| {
            LoopPrograms::new(structure, problem, algorithm, (path, final_loss, weighs_steps))
        };
        let query = structure.kind != MetaGradient::Displacement;
        Ok(Adjoint {
            base: programs(structure.path, wants_final_loss(setup), structure.weighs_steps())?,
            companion: structure.companion.map(|path| programs(path, false, false)).transpose()?,
            query: query.then(|| query_program(structure, problem, algorithm)).transpose()?,
            direction: direction_program(structure, algorithm)?,
            displacement: (!query && structure.companion.is_some())
                .then(|| displacement_program(structure, algorithm))
                .transpose()?,
        })
    }

    pub(super) fn costs(&self, structure: &Structure) -> Vec<(&'static str, Cost, usize)> {
        let mut costs = self.base.costs(structure, BASE);
        costs.extend(self.companion.iter().flat_map(|of| of.costs(structure, COMPANION)));
        costs.extend(self.at_the_end().map(|(name, program)| (name, *program.program.cost(), 1)));
        costs
    }

    pub(super) fn graphs(&self) -> Vec<(&'static str, &str)> {
        self.programs().map(|(name, program)| (name, program.text.as_str())).collect()
    }

    fn programs(&self) -> impl Iterator<Item = (&'static str, &Compiled)> {
        let companion = self.companion.iter().flat_map(|of| of.programs(COMPANION));
        self.base.programs(BASE).chain(companion).chain(self.at_the_end())
    }

    /// Programs that run once for a task.
    fn at_the_end(&self) -> impl Iterator<Item = (&'static str, &Compiled)> {
        let direction = self.direction.iter().map(|direction| ("direction", direction));
        let displacement = self.displacement.iter().map(|program| ("displacement", program));
        self.query.iter().map(|query| ("query", query)).chain(direction).chain(displacement)
    }

    pub(super) fn memory(&self, structure: &Structure, dtype: Dtype) -> Memory {
        Memory {
            workspace: workspace(self.programs().map(|(_, program)| program), dtype),
            base: self.base.memory(structure, dtype),
            companion: self.companion.as_ref().map(|of| of.memory(structure, dtype)),
            totals: structure.zeros(&structure.fixed, dtype),
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
        let job = Job { structure, meta, tasks };
        let Memory { workspace, base, companion, totals, loss, output } = memory;
        results.iter_mut().for_each(|result| result.support_losses.clear());
        self.base.forward(job, (workspace, base, loss), buffers, Some(&mut *results));
        let n = structure.adapted.len();
        for (member, result) in results.iter_mut().enumerate() {
            take_all(result.fast.values_mut(), &base.end()[..n], member);
            take_all(result.inner_state.values_mut(), &base.end()[n..], member);
        }
        if let Some((programs, memory)) = self.companion.as_ref().zip(companion.as_mut()) {
            programs.forward(job, (workspace, memory, loss), buffers, None);
        }
        let at = Sources::at(meta, tasks, buffers, (base.end(), n), (structure.steps, 0));
        let beside = companion.as_ref().map_or(&[][..], |memory| &memory.end()[..n]);
        let at = Sources { companion: beside, ..at };
        let Some(query) = &self.query else {
            let Some(regularized) = &self.displacement else {
                return results.iter_mut().for_each(|result| displace(structure, meta, result));
            };
            regularized.run(workspace, at);
            read_all(workspace, 0, &mut base.cotangent[..n]);
            return hand_out(structure, (&base.cotangent, totals), results);
        };
        query.run(workspace, at);
        workspace.read(0, loss);
        workspace.read(1, output);
        let moves = structure.moves();
        read_all(workspace, 2, &mut base.cotangent[..moves]);
        read_all(workspace, 2 + moves, totals);
        let mut next = 2 + moves + totals.len();
        if let Some(memory) = companion {
            read_all(workspace, next, &mut memory.cotangent[..moves]);
            next += moves;
        }
        read_all(workspace, next, &mut buffers.statistics);
        buffers.hand_out_statistics(structure.steps, results);
        self.base.backward(job, (workspace, base, totals), buffers);
        if let Some((programs, memory)) = self.companion.as_ref().zip(companion.as_mut()) {
            programs.backward(job, (workspace, memory, totals), buffers);
            let pairs = base.cotangent.iter_mut().zip(&memory.cotangent).take(moves);
            pairs.for_each(|(sum, x)| add(sum, x));
        }
        if let Some(direction) = &self.direction {
            let at = Sources::at(meta, tasks, buffers, (base.end(), n), (structure.steps, 0));
            direction.run(workspace, Sources { cotangent: &base.cotangent, totals, ..at });
            read_all(workspace, 0, &mut base.cotangent[..n]);
        }
        for (member, result) in results.iter_mut().enumerate() {
            result.query_loss = loss.get(member);
            take(&mut result.output, output, member);
        }
        hand_out(structure, (&base.cotangent, totals), results);
    }
}

/// Copies derivatives with respect to θ, and to what the inner loop does not move, to each task's gradient.
fn hand_out(
    structure: &Structure,
    (cotangent, totals): (&[Tensor], &[Tensor]),
    results: &mut [TaskResult],
) {
    for (member, result) in results.iter_mut().enumerate() {
        let gradient = result.gradient.values_mut();
        for (from, at) in cotangent.iter().zip(structure.adapted_positions()) {
            if let Some(at) = at {
                take(&mut gradient[at], from, member);
            }
        }
        for (from, at) in totals.iter().zip(structure.fixed_positions()) {
            take(&mut gradient[at], from, member);
        }
    }
}

impl Memory {
    pub(super) fn bytes(&self) -> usize {
        let loops = std::iter::once(&self.base).chain(&self.companion).map(LoopMemory::bytes);
        let tensors = self.totals.iter().chain([&self.loss, &self.output]).map(bytes_of);
        self.workspace.bytes() + loops.chain(tensors).sum::<usize>()
    }
}

/// `θ − φ_K` for what the inner loop moves; the rest of the gradient stays zero.
fn displace(structure: &Structure, meta: &MetaState, result: &mut TaskResult) {
    let TaskResult { gradient, fast, .. } = result;
    for (name, phi) in fast.iter() {
        let Some(at) = structure.learned.position(name) else { continue };
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

/// `(φ_K, state, φ of the companion, ω, support, query) → (L_Q, output, ∇_φ J, zeros for the state, ∇_η J, the same two
/// for the companion, statistics)` with the outer objective `J`.
fn query_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, phi, step) = (scope.omega(), scope.fast(), scope.step());
    let (state, fixed) = (scope.state(), scope.fixed(&omega));
    let (support, query) = (scope.support(), scope.query());
    let at = scope.point(&omega, &phi, step);
    let loss = problem.query_loss(&at, &support, &query);
    let beside = structure.companion.map(|_| {
        let phi = scope.companion();
        let there = scope.point_from(&at, &phi, step);
        (problem.query_loss(&there, &support, &problem.companion_query(&query)), phi)
    });
    let ends = beside.as_ref().map(|(loss, phi)| (loss, phi));
    let last = scope.weighted(loss.value, step);
    let objective = objective(algorithm, (last, loss.output, &phi), ends, scope.scheduled());
    let moving = phi.merge(&state);
    let of_companion = beside.map_or_else(Vec::new, |(_, phi)| phi.values().to_vec());
    let wrt = [moving.values(), fixed.values(), &of_companion].concat();
    let gradient = grad(objective, &wrt);
    let (base, beside) = gradient.split_at(moving.len() + fixed.len());
    let mut beside = beside.to_vec();
    if structure.companion.is_some() {
        beside.extend(state.values().iter().map(|x| x.full_like(0.0)));
    }
    let mut outputs = vec![loss.value, loss.output];
    outputs.extend(base);
    outputs.extend(beside);
    outputs.extend(loss.statistics.values());
    scope.compile(&outputs)
}

/// `(∇_φ of the whole outer objective, state) → direction` for a first-order method, unless its direction is that
/// gradient itself.
fn direction_program(
    structure: &Structure,
    algorithm: &dyn Algorithm,
) -> Result<Option<Compiled>, Unmappable> {
    if structure.kind != MetaGradient::FirstOrder {
        return Ok(None);
    }
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let moving = scope.cotangents(1).moving.remove(0);
    let names = structure.adapted.names().iter().cloned();
    let gradient: Vars<'_> = names.zip(moving).collect();
    let direction = algorithm.direction(&scope.end(gradient.clone(), scope.state()));
    if direction.values() == gradient.values() {
        return Ok(None);
    }
    scope.compile(gradient.overlay(&direction).values()).map(Some)
}

/// `(θ, φ_K, φ of the companion) → θ − φ_K`, with the gradient of the penalty, of what the inner loop moves.
fn displacement_program(
    structure: &Structure,
    algorithm: &dyn Algorithm,
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, phi, other) = (scope.omega(), scope.fast(), scope.companion());
    let theta = phi.map_named(|name, _| omega[name]);
    scope.compile(displacement(algorithm, (&theta, &phi), Some(&other)).values())
}
