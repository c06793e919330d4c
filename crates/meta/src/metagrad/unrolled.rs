//! The whole inner loop and its derivative as one graph: the definition of every algorithm's meta-gradient.

use innerloop_engine::{Cost, Dtype, Graph, Var, Workspace, grad, grad_params};

use super::structure::{
    Buffers, Compiled, Scope, Sources, Structure, read_all, store_row, wants_final_loss,
};
use super::{MetaState, Setup, TaskData, TaskResult};
use crate::{Algorithm, MetaGradient, Problem};

pub(super) struct Unrolled {
    program: Compiled,
    /// Support losses among the outputs: K, or K + 1.
    losses: usize,
    /// Whether the query set is used.
    query: bool,
}

pub(super) struct Memory {
    workspace: Workspace,
}

impl Unrolled {
    pub(super) fn new(
        structure: &Structure,
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        setup: Setup,
    ) -> Unrolled {
        let graph = Graph::new();
        let scope = Scope::new(structure, &graph);
        let omega = scope.omega();
        let support = scope.support();
        let batches: Vec<_> = match structure.batch {
            Some(_) => (0..structure.steps.max(1)).map(|k| scope.batch(k)).collect(),
            None => vec![support.clone(); structure.steps.max(1)],
        };
        let theta = structure.adapted.map_named(|name, _| omega[name]);
        let mut state = scope.state();
        let start = scope.point(&omega, &theta, scope.constant_step(0));
        let mut phi = theta.clone();
        let mut losses = Vec::new();
        let mut statistics: Vec<Var<'_>> = Vec::new();
        for (k, batch) in batches.iter().enumerate().take(structure.steps) {
            let step = scope.constant_step(k);
            let loss = problem.support_loss(&scope.point_from(&start, &phi, step), batch);
            let mut gradient = grad_params(loss.value, &phi);
            if structure.kind != MetaGradient::Exact {
                gradient = gradient.map(|g| g.stop_gradient());
            }
            let moved = algorithm.advance(&scope.inner_step(&omega, phi, gradient, (state, step)));
            (phi, state) = (moved.phi, moved.state);
            losses.push(loss.value);
            statistics.extend(loss.statistics.values());
        }
        if wants_final_loss(setup) {
            let last = structure.step_index(structure.steps);
            let at = scope.point_from(&start, &phi, scope.constant_step(last));
            losses.push(problem.support_loss(&at, &batches[last]).value);
        }
        let n_losses = losses.len();
        let mut outputs = losses;
        outputs.extend(phi.values());
        outputs.extend(state.values());
        let query = structure.kind != MetaGradient::Displacement;
        if query {
            let at = scope.point_from(&start, &phi, scope.constant_step(structure.steps));
            let loss = problem.query_loss(&at, &support, &scope.query());
            outputs.extend([loss.value, loss.output]);
            let learned = structure.learned.map_named(|name, _| omega[name]);
            outputs.extend(match structure.kind {
                MetaGradient::Exact => grad(loss.value, learned.values()),
                // What the inner loop moves stands at φ_K; the rest is differentiated where it is used.
                _ => grad(loss.value, learned.overlay(&phi).values()),
            });
            statistics.extend(loss.statistics.values());
        } else {
            outputs.extend(
                structure
                    .learned
                    .map_named(|name, shape| match phi.get(name) {
                        Some(&phi) => omega[name] - phi,
                        None => graph.full(shape, 0.0),
                    })
                    .values(),
            );
        }
        outputs.extend(statistics);
        Unrolled { program: scope.compile(&outputs), losses: n_losses, query }
    }

    pub(super) fn cost(&self) -> &Cost {
        self.program.program.cost()
    }

    pub(super) fn graph(&self) -> &str {
        &self.program.text
    }

    pub(super) fn memory(&self, _: &Structure, dtype: Dtype) -> Memory {
        Memory { workspace: self.program.program.workspace(dtype) }
    }

    pub(super) fn run(
        &self,
        structure: &Structure,
        memory: &mut Memory,
        buffers: &mut Buffers,
        meta: &MetaState,
        task: TaskData<'_>,
        result: &mut TaskResult,
    ) {
        let workspace = &mut memory.workspace;
        let sources = Sources {
            meta,
            task,
            buffers,
            fast: &[],
            state: meta.inner_state.values(),
            cotangent: &[],
            totals: &[],
            step: 0,
            k: 0,
        };
        self.program.run(workspace, sources);
        result.support_losses.clear();
        result.support_losses.extend((0..self.losses).map(|i| workspace.read_scalar(i)));
        let mut at = self.losses;
        read_all(workspace, at, result.fast.values_mut());
        at += result.fast.len();
        read_all(workspace, at, result.inner_state.values_mut());
        at += result.inner_state.len();
        if self.query {
            result.query_loss = workspace.read_scalar(at);
            workspace.read(at + 1, &mut result.output);
            at += 2;
        }
        read_all(workspace, at, result.gradient.values_mut());
        at += result.gradient.len();
        for pass in 0..structure.steps + usize::from(self.query) {
            read_all(workspace, at, &mut buffers.statistics);
            at += buffers.statistics.len();
            for (to, from) in result.statistics.values_mut().iter_mut().zip(&buffers.statistics) {
                store_row(to, pass, from);
            }
        }
    }
}

impl Memory {
    pub(super) fn bytes(&self) -> usize {
        self.workspace.bytes()
    }
}
