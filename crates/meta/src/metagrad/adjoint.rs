//! The adjoint recursion: snapshots of the trajectory, and one small program run once per step.
//!
//! With `S` the inner step, `u_K = ∇_φ L_Q(φ_K)` and
//! `u_k = (∂S/∂φ)ᵀ u_{k+1} + H(φ_k) ḡ_k`, `ḡ_k = (∂S/∂g)ᵀ u_{k+1}`: for plain gradient descent `ḡ = −α u`
//! and `u_k = u_{k+1} − α H(φ_k) u_{k+1}`. The gradient of what the inner loop does not move (a frozen
//! body, learned rates) adds `(∂S/∂η)ᵀ u_{k+1} + [∂g/∂η]ᵀ ḡ_k` at every step; both second-order products
//! come from one forward-over-reverse sweep.

use innerloop_engine::{
    Cost, Dtype, Graph, Tensor, Unmappable, Workspace, grad, grad_params, hvp, vjp,
};

use super::buffers::{Buffers, bytes_of, read_all, spread, take};
use super::structure::{Compiled, Scope, Sources, Structure, wants_final_loss, workspace};
use super::{MetaState, Setup, TaskData, TaskResult};
use crate::{Algorithm, MetaGradient, Problem};

/// Programs: a step forward, a step back, the query loss with its gradient.
pub(super) struct Adjoint {
    step: Compiled,
    back: Option<Compiled>,
    query: Option<Compiled>,
    final_loss: bool,
}

pub(super) struct Memory {
    /// All programs run in the same memory, one after another.
    workspace: Workspace,
    /// φ_0 … φ_K.
    trajectory: Vec<Vec<Tensor>>,
    state: Vec<Tensor>,
    cotangent: Vec<Tensor>,
    totals: Vec<Tensor>,
    loss: Tensor,
    output: Tensor,
}

impl Adjoint {
    pub(super) fn new(
        structure: &Structure,
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        setup: Setup,
    ) -> Result<Adjoint, Unmappable> {
        let exact = structure.kind == MetaGradient::Exact && structure.steps > 0;
        let query = structure.kind != MetaGradient::Displacement;
        Ok(Adjoint {
            step: step_program(structure, problem, algorithm)?,
            back: exact.then(|| back_program(structure, problem, algorithm)).transpose()?,
            query: query.then(|| query_program(structure, problem)).transpose()?,
            final_loss: wants_final_loss(setup),
        })
    }

    pub(super) fn costs(&self, structure: &Structure) -> Vec<(&'static str, Cost, usize)> {
        let mut costs = vec![("step", *self.step.program.cost(), structure.steps)];
        if let Some(back) = &self.back {
            costs.push(("step back", *back.program.cost(), structure.steps));
        }
        if let Some(query) = &self.query {
            costs.push(("query", *query.program.cost(), 1));
        }
        costs
    }

    pub(super) fn graphs(&self) -> Vec<(&'static str, &str)> {
        let mut graphs = vec![("step", self.step.text.as_str())];
        graphs.extend(self.back.iter().map(|back| ("step back", back.text.as_str())));
        graphs.extend(self.query.iter().map(|query| ("query", query.text.as_str())));
        graphs
    }

    pub(super) fn memory(&self, structure: &Structure, dtype: Dtype) -> Memory {
        let all = [Some(&self.step), self.back.as_ref(), self.query.as_ref()];
        Memory {
            workspace: workspace(all.into_iter().flatten(), dtype),
            trajectory: vec![structure.zeros(&structure.adapted, dtype); structure.steps + 1],
            state: structure.zeros(&structure.state, dtype),
            cotangent: structure.zeros(&structure.adapted, dtype),
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
        let Memory { workspace, trajectory, state, cotangent, totals, loss, output } = memory;
        for (fast, name) in trajectory[0].iter_mut().zip(structure.adapted.names()) {
            spread(fast, &meta.omega[name]);
        }
        for (state, start) in state.iter_mut().zip(meta.inner_state.values()) {
            spread(state, start);
        }
        results.iter_mut().for_each(|result| result.support_losses.clear());
        let n = structure.adapted.len();
        let n_state = structure.state.len();
        for k in 0..structure.steps + usize::from(self.final_loss) {
            let sources = Sources {
                meta,
                tasks,
                buffers,
                fast: &trajectory[k],
                state,
                cotangent: &[],
                totals: &[],
                step: structure.step_index(k),
                k: structure.step_index(k),
            };
            self.step.run(workspace, sources);
            workspace.read(0, loss);
            for (result, loss) in results.iter_mut().zip(loss.iter()) {
                result.support_losses.push(loss);
            }
            if k == structure.steps {
                break;
            }
            read_all(workspace, 1, &mut trajectory[k + 1]);
            read_all(workspace, 1 + n, state);
            read_all(workspace, 1 + n + n_state, &mut buffers.statistics);
            buffers.hand_out_statistics(k, results);
        }
        for (member, result) in results.iter_mut().enumerate() {
            take_all(result.fast.values_mut(), &trajectory[structure.steps], member);
            take_all(result.inner_state.values_mut(), state, member);
        }
        let Some(query) = &self.query else {
            return results.iter_mut().for_each(|result| displacement(structure, meta, result));
        };
        let at = Sources {
            meta,
            tasks,
            buffers,
            fast: &trajectory[structure.steps],
            state: &[],
            cotangent: &[],
            totals: &[],
            step: structure.steps,
            k: 0,
        };
        query.run(workspace, at);
        workspace.read(0, loss);
        workspace.read(1, output);
        read_all(workspace, 2, cotangent);
        read_all(workspace, 2 + n, totals);
        read_all(workspace, 2 + n + totals.len(), &mut buffers.statistics);
        buffers.hand_out_statistics(structure.steps, results);
        if let Some(back) = &self.back {
            for k in (0..structure.steps).rev() {
                let at = Sources {
                    meta,
                    tasks,
                    buffers,
                    fast: &trajectory[k],
                    state: &[],
                    cotangent,
                    totals,
                    step: structure.step_index(k),
                    k,
                };
                back.run(workspace, at);
                read_all(workspace, 0, cotangent);
                read_all(workspace, n, totals);
            }
        }
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
}

impl Memory {
    pub(super) fn bytes(&self) -> usize {
        let tensors = self.trajectory.iter().flatten().chain([&self.loss, &self.output]);
        let tensors = tensors.chain(&self.state).chain(&self.cotangent).chain(&self.totals);
        self.workspace.bytes() + tensors.map(bytes_of).sum::<usize>()
    }
}

/// One task's part of values of a group.
fn take_all(one: &mut [Tensor], group: &[Tensor], member: usize) {
    one.iter_mut().zip(group).for_each(|(one, group)| take(one, group, member));
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

/// `(φ, ω, batch) → (L_S, φ', state', statistics)`.
pub(super) fn step_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, phi, state, step) = (scope.omega(), scope.fast(), scope.state(), scope.step());
    let at = scope.point(&omega, &phi, step);
    let loss = problem.support_loss(&at, &scope.batch(0));
    let gradient = grad_params(loss.value, &phi);
    let moved = algorithm.advance(&scope.inner_step(&omega, phi, gradient, (state, step)));
    let mut outputs = vec![loss.value];
    outputs.extend(moved.phi.values());
    outputs.extend(moved.state.values());
    outputs.extend(loss.statistics.values());
    scope.compile(&outputs)
}

/// `(φ_k, ω, batch, u, totals) → (u', totals')`.
fn back_program(
    structure: &Structure,
    problem: &dyn Problem,
    algorithm: &dyn Algorithm,
) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, phi, step) = (scope.omega(), scope.fast(), scope.step());
    let (u, totals) = (scope.cotangent(), scope.totals());
    let at = scope.point(&omega, &phi, step);
    let loss = problem.support_loss(&at, &scope.batch(0)).value;
    // The step as a function of φ, ω and g, with g cut off from the φ it was computed at.
    let g = grad_params(loss, &phi).map(|g| g.stop_gradient());
    let inner = scope.inner_step(&omega, phi.clone(), g.clone(), (Default::default(), step));
    let moved = algorithm.advance(&inner);
    let fixed = totals.map_named(|name, _| omega[name]);
    let of: Vec<_> = phi.values().iter().chain(fixed.values()).copied().collect();
    let wrt: Vec<_> = of.iter().chain(g.values()).copied().collect();
    let direct = vjp(moved.phi.values(), u.values(), &wrt);
    let (direct, g_bar) = direct.split_at(of.len());
    let second = hvp(loss, phi.values(), g_bar, &of);
    let both = direct.iter().zip(&second).map(|(&a, &b)| a + b);
    let outputs: Vec<_> = both
        .enumerate()
        .map(|(i, x)| if i < phi.len() { x } else { totals.values()[i - phi.len()] + x })
        .collect();
    scope.compile(&outputs)
}

/// `(φ_K, ω, support, query) → (L_Q, output, ∇_φ L_Q, ∇_η L_Q, statistics)`.
fn query_program(structure: &Structure, problem: &dyn Problem) -> Result<Compiled, Unmappable> {
    let graph = Graph::new();
    let scope = Scope::new(structure, &graph);
    let (omega, phi, step) = (scope.omega(), scope.fast(), scope.step());
    let at = scope.point(&omega, &phi, step);
    let loss = problem.query_loss(&at, &scope.support(), &scope.query());
    let fixed = structure.fixed.map_named(|name, _| omega[name]);
    let wrt: Vec<_> = phi.values().iter().chain(fixed.values()).copied().collect();
    let mut outputs = vec![loss.value, loss.output];
    outputs.extend(grad(loss.value, &wrt));
    outputs.extend(loss.statistics.values());
    scope.compile(&outputs)
}
