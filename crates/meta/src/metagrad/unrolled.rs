//! The whole inner loop and its derivative as one graph: the definition of every algorithm's meta-gradient.

use innerloop_engine::{Cost, Dtype, Graph, Tensor, Unmappable, Var, Workspace, grad, grad_params};

use super::buffers::{Buffers, bytes_of, read_all, take};
use super::structure::{Compiled, Scope, Sources, Structure, wants_final_loss};
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
    /// Outputs of several tasks on their way to the results: one tensor for each shape there is.
    outputs: Vec<Tensor>,
}

impl Unrolled {
    pub(super) fn new(
        structure: &Structure,
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        setup: Setup,
    ) -> Result<Unrolled, Unmappable> {
        let graph = Graph::new();
        let scope = Scope::new(structure, &graph);
        let omega = scope.omega();
        let support = scope.support();
        let batches: Vec<_> = match structure.batch {
            Some(_) => (0..structure.steps.max(1)).map(|k| scope.batch(k)).collect(),
            None => vec![support.clone(); structure.steps.max(1)],
        };
        let theta = structure.adapted.map_named(|name, _| omega[name]);
        let mut state = scope.start_state();
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
        Ok(Unrolled { program: scope.compile(&outputs)?, losses: n_losses, query })
    }

    pub(super) fn cost(&self) -> &Cost {
        self.program.program.cost()
    }

    pub(super) fn graph(&self) -> &str {
        &self.program.text
    }

    pub(super) fn memory(&self, structure: &Structure, dtype: Dtype) -> Memory {
        let workspace = self.program.program.workspace(dtype);
        let mut outputs: Vec<Tensor> = Vec::new();
        if structure.group > 1 {
            for output in 0..self.program.program.n_outputs() {
                let shape = workspace.output_shape(output);
                if !outputs.iter().any(|known| known.shape() == shape) {
                    outputs.push(Tensor::zeros(dtype, shape));
                }
            }
        }
        Memory { workspace, outputs }
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
        let sources = Sources {
            meta,
            tasks,
            buffers,
            fast: &[],
            state: &[],
            cotangent: &[],
            totals: &[],
            step: 0,
            k: 0,
        };
        self.program.run(&mut memory.workspace, sources);
        results.iter_mut().for_each(|result| result.support_losses.clear());
        for i in 0..self.losses {
            memory.scalars(i, results, |result, loss| result.support_losses.push(loss));
        }
        let mut at = self.losses;
        at += memory.tensors(at, results, |result| result.fast.values_mut());
        at += memory.tensors(at, results, |result| result.inner_state.values_mut());
        if self.query {
            memory.scalars(at, results, |result, loss| result.query_loss = loss);
            at += 1;
            at += memory.tensors(at, results, |result| std::slice::from_mut(&mut result.output));
        }
        at += memory.tensors(at, results, |result| result.gradient.values_mut());
        for pass in 0..structure.steps + usize::from(self.query) {
            read_all(&memory.workspace, at, &mut buffers.statistics);
            at += buffers.statistics.len();
            buffers.hand_out_statistics(pass, results);
        }
    }
}

impl Memory {
    /// Reads consecutive outputs from `first` on into the results' tensors; returns their number.
    fn tensors(
        &mut self,
        first: usize,
        results: &mut [TaskResult],
        of: impl Fn(&mut TaskResult) -> &mut [Tensor],
    ) -> usize {
        let n = of(&mut results[0]).len();
        for i in 0..n {
            match self.room(first + i) {
                None => self.workspace.read(first + i, &mut of(&mut results[0])[i]),
                Some(room) => {
                    self.workspace.read(first + i, &mut self.outputs[room]);
                    for (member, result) in results.iter_mut().enumerate() {
                        take(&mut of(result)[i], &self.outputs[room], member);
                    }
                }
            }
        }
        n
    }

    /// Reads an output that is a number for each task.
    fn scalars(
        &mut self,
        output: usize,
        results: &mut [TaskResult],
        to: impl Fn(&mut TaskResult, f64),
    ) {
        match self.room(output) {
            None => to(&mut results[0], self.workspace.read_scalar(output)),
            Some(room) => {
                self.workspace.read(output, &mut self.outputs[room]);
                let all = results.iter_mut().zip(self.outputs[room].iter());
                all.for_each(|(result, value)| to(result, value));
            }
        }
    }

    /// Which tensor an output of several tasks is read into.
    fn room(&self, output: usize) -> Option<usize> {
        let shape = self.workspace.output_shape(output);
        self.outputs.iter().position(|room| room.shape() == shape)
    }

    pub(super) fn bytes(&self) -> usize {
        self.workspace.bytes() + self.outputs.iter().map(bytes_of).sum::<usize>()
    }
}
