//! The whole inner loop and its derivative as one graph: the definition of every algorithm's meta-gradient.

use innerloop_engine::{Cost, Dtype, Graph, Tensor, Unmappable, Workspace};

use super::buffers::{Buffers, read_all};
use super::scope::{Compiled, Scope, Sources};
use super::structure::{Structure, wants_final_loss};
use super::trace::Trace;
use super::{MetaState, Setup, TaskData, TaskResult};
use crate::{Algorithm, MetaGradient, Problem};

pub(super) struct Unrolled {
    program: Compiled,
    /// Number of support losses among the outputs: K, or K + 1.
    losses: usize,
    /// Whether the query set is used.
    query: bool,
}

pub(super) struct Memory {
    workspace: Workspace,
    /// Whether outputs have one entry per task, for several tasks.
    grouped: bool,
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
        let trace = Trace::new(&scope, structure, problem, algorithm);
        let mut trajectory = trace.base();
        if wants_final_loss(setup) {
            let loss = trace.support_loss(
                structure.path,
                &trajectory.end().phi,
                structure.path.one_more(),
            );
            trajectory.losses.push(loss.value);
        }
        let query = structure.kind != MetaGradient::Displacement;
        let losses = trajectory.losses.len();
        let mut outputs = trajectory.losses.clone();
        outputs.extend(trajectory.end().phi.values());
        outputs.extend(trajectory.end().state.values());
        if query {
            let loss = trace.query_loss(&trajectory.end().phi, structure.steps);
            outputs.extend([loss.value, loss.output]);
            outputs.extend(trace.meta_gradient(&trajectory, &loss).values());
            trajectory.statistics.extend(loss.statistics.values());
        } else {
            outputs.extend(trace.displacement(&trajectory).values());
        }
        outputs.extend(trajectory.statistics);
        Ok(Unrolled { program: scope.compile(&outputs)?, losses, query })
    }

    pub(super) fn cost(&self) -> &Cost {
        self.program.program.cost()
    }

    pub(super) fn graph(&self) -> &str {
        &self.program.text
    }

    pub(super) fn memory(&self, structure: &Structure, dtype: Dtype) -> Memory {
        let workspace = self.program.program.workspace(dtype);
        Memory { workspace, grouped: structure.group > 1 }
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
            carried: meta.carried.values(),
            fast: &[],
            state: &[],
            cotangent: &[],
            between: &[],
            totals: &[],
            companion: &[],
            gradients: &[],
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
        &self,
        first: usize,
        results: &mut [TaskResult],
        of: impl Fn(&mut TaskResult) -> &mut [Tensor],
    ) -> usize {
        let n = of(&mut results[0]).len();
        for (member, result) in results.iter_mut().enumerate() {
            for (i, tensor) in of(result).iter_mut().enumerate() {
                if self.grouped {
                    self.workspace.read_entry(first + i, member, tensor);
                } else {
                    self.workspace.read(first + i, tensor);
                }
            }
        }
        n
    }

    /// Reads an output that is one number per task.
    fn scalars(
        &self,
        output: usize,
        results: &mut [TaskResult],
        to: impl Fn(&mut TaskResult, f64),
    ) {
        for (member, result) in results.iter_mut().enumerate() {
            let value = match self.grouped {
                true => self.workspace.read_number(output, member),
                false => self.workspace.read_scalar(output),
            };
            to(result, value);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.workspace.bytes()
    }
}
