//! Adaptation and prediction without an outer gradient, for evaluation and use.

use innerloop_engine::{Cost, Dtype, Graph, Tensor, Workspace};

use super::buffers::{Buffers, copy, read_all};
use super::loop_programs::step_program;
use super::path::Path;
use super::scope::{Compiled, Scope, Sources, workspace};
use super::state::carried_start;
use super::structure::Structure;
use super::{MetaState, ONE, TaskData};
use crate::{Algorithm, Problem};

/// An algorithm's inner loop on a problem, compiled for any number of steps.
pub struct Adapter {
    structure: Structure,
    step: Compiled,
    predict: Compiled,
    steps: usize,
    /// [`Problem::gathers`].
    gathers: Option<f64>,
}

/// Memory of one thread for an [`Adapter`].
pub struct AdaptWorker {
    buffers: Buffers,
    workspace: Workspace,
    fast: Vec<Tensor>,
    state: Vec<Tensor>,
    output: Tensor,
    /// This task's averages, if adaptation gathers them.
    carried: Vec<Tensor>,
}

/// The state of the inner loop after some steps.
pub struct Adapted<'a> {
    /// Steps taken.
    pub k: usize,
    /// The network's output on the query set, `[n, outputs]`.
    pub output: &'a Tensor,
    /// Fast weights φ_k, in the order of the parameters the inner loop moves.
    pub fast: &'a [Tensor],
}

/// Losses along the inner loop: entry `k` is after `k` steps.
#[derive(Clone, Debug, Default)]
pub struct StepLosses {
    /// Support loss after each number of steps; the last step's is not computed.
    pub support_losses: Vec<f64>,
    /// Query loss after each number of steps.
    pub query_losses: Vec<f64>,
}

impl Adapter {
    /// Compiles the inner loop, as trained with `trained_steps`, for `steps` steps. The problem must not have closing
    /// steps.
    pub fn new(
        problem: &dyn Problem,
        algorithm: &dyn Algorithm,
        (trained_steps, steps): (usize, usize),
        batch: Option<usize>,
    ) -> Adapter {
        assert_eq!(
            problem.closing_steps(),
            0,
            "adaptation for any number of steps cannot have closing steps"
        );
        let structure = Structure::new(problem, algorithm, trained_steps, batch);
        let path = Path { keeps_gradients: false, ..structure.path };
        let step = step_program(&structure, problem, algorithm, (path, (1, false))).expect(ONE);
        let graph = Graph::new();
        let scope = Scope::new(&structure, &graph);
        let (omega, phi, at_step) = (scope.omega(), scope.fast(), scope.step());
        let at = scope.point(&omega, &phi, at_step);
        let loss = problem.query_loss(&at, &scope.support(), &scope.query());
        let predict = scope.compile(&[loss.value, loss.output]).expect(ONE);
        Adapter { structure, step, predict, steps, gathers: problem.gathers() }
    }

    /// Programs by name, with the work of one run and the number of runs per task.
    pub fn programs(&self) -> Vec<(&'static str, Cost, usize)> {
        let (step, predict) = (*self.step.program.cost(), *self.predict.program.cost());
        vec![("step", step, self.steps), ("predict", predict, self.steps + 1)]
    }

    /// Memory for one thread.
    pub fn worker(&self, dtype: Dtype) -> AdaptWorker {
        let room = self.structure.result(dtype);
        AdaptWorker {
            buffers: Buffers::with_steps(&self.structure, dtype, self.steps),
            workspace: workspace([&self.step, &self.predict].into_iter(), dtype),
            fast: room.fast.values().to_vec(),
            state: room.inner_state.values().to_vec(),
            output: room.output,
            carried: self.structure.zeros(&self.structure.carried, dtype),
        }
    }

    /// Adapts to a task and predicts its query set after each number of steps, including 0; `visit` sees each
    /// prediction. Panics when the worker belongs to another adapter or the data has other shapes.
    pub fn run(
        &self,
        worker: &mut AdaptWorker,
        meta: &MetaState,
        task: TaskData<'_>,
        evaluation: &mut StepLosses,
        mut visit: impl FnMut(Adapted<'_>),
    ) {
        let AdaptWorker { buffers, workspace, fast, state, output, carried } = worker;
        let tasks = &[task];
        buffers.gather(&self.structure, tasks);
        for (fast, name) in fast.iter_mut().zip(self.structure.adapted.names()) {
            copy(fast, &meta.omega[name]);
        }
        for (state, start) in state.iter_mut().zip(meta.inner_state.values()) {
            copy(state, start);
        }
        if self.gathers.is_some() {
            for (name, average) in self.structure.carried.names().iter().zip(&mut *carried) {
                let start = carried_start(name);
                (0..average.len()).for_each(|i| average.set(i, start));
            }
        }
        evaluation.support_losses.clear();
        evaluation.query_losses.clear();
        for k in 0..=self.steps {
            let sources = |step| Sources {
                meta,
                tasks,
                buffers: &*buffers,
                carried: if self.gathers.is_some() { carried } else { meta.carried.values() },
                fast,
                state,
                cotangent: &[],
                totals: &[],
                companion: &[],
                between: &[],
                gradients: &[],
                step,
                k,
            };
            self.predict.run(workspace, sources(k.min(self.structure.steps)));
            evaluation.query_losses.push(workspace.read_scalar(0));
            workspace.read(1, output);
            visit(Adapted { k, output, fast });
            if k < self.steps {
                self.step.run(workspace, sources(self.structure.step_index(k)));
                evaluation.support_losses.push(workspace.read_scalar(0));
                read_all(workspace, 1, fast);
                read_all(workspace, 1 + self.structure.adapted.len(), state);
                if let Some(newest) = self.gathers {
                    read_all(workspace, 1 + self.structure.moves(), &mut buffers.statistics);
                    for (average, x) in carried.iter_mut().zip(&buffers.statistics) {
                        for i in 0..x.len() {
                            average.set(i, (1.0 - newest) * average.get(i) + newest * x.get(i));
                        }
                    }
                }
            }
        }
    }
}
