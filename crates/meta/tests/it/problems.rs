//! Small problems for the tests, and the path from a problem and an algorithm to numbers.

mod networks;
mod quadratic;

use innerloop_engine::check::{assert_close, random};
use innerloop_engine::{Dtype, Key, Params, Tensor};
use innerloop_meta::{
    Algorithm, Learner, MetaState, Problem, Setup, Strategy, TaskData, TaskResult, Worker,
};

pub(crate) use networks::{classes, conv, mlp, normalised, ways};
pub(crate) use quadratic::{N, Support, quadratic};

pub(crate) const STRATEGIES: [Strategy; 2] = [Strategy::Unrolled, Strategy::Adjoint];

/// A task's arrays.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) support: Vec<Tensor>,
    pub(crate) query: Vec<Tensor>,
    pub(crate) key: Key,
}

impl Task {
    /// Calls `f` with the task in the form a learner takes.
    pub(crate) fn with<R>(&self, f: impl FnOnce(TaskData<'_>) -> R) -> R {
        let support: Vec<&Tensor> = self.support.iter().collect();
        let query: Vec<&Tensor> = self.query.iter().collect();
        f(TaskData { support: &support, query: &query, key: self.key })
    }

    /// The same task with every number transformed.
    pub(crate) fn map(&self, f: impl Fn(&Tensor) -> Tensor) -> Task {
        let all = |arrays: &[Tensor]| arrays.iter().map(&f).collect();
        Task { support: all(&self.support), query: all(&self.query), key: self.key }
    }
}

/// A problem, a point to evaluate it at, a suitable rate, and its tasks.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) problem: Box<dyn Problem>,
    pub(crate) theta: Params<Tensor>,
    pub(crate) rate: f64,
    draw: Box<dyn Fn(Key) -> Task>,
}

impl Case {
    /// Task number `i`.
    pub(crate) fn task(&self, i: u64) -> Task {
        (self.draw)(Key::new(61).at(0, i))
    }

    /// The run's values at θ; carried values are random, as after some training.
    pub(crate) fn meta(&self, algorithm: &dyn Algorithm, steps: usize) -> MetaState {
        let mut meta = MetaState::new(self.problem.as_ref(), algorithm, steps, self.theta.clone());
        meta.carried = meta.carried.map_named(|name, x| draw("carried", name, x.shape(), 0.3));
        meta
    }

    pub(crate) fn learner(&self, algorithm: &dyn Algorithm, setup: Setup) -> Learner {
        Learner::new(self.problem.as_ref(), algorithm, setup)
    }

    /// Task 0 from θ, in double precision.
    pub(crate) fn run(&self, algorithm: &dyn Algorithm, setup: Setup) -> TaskResult {
        let meta = self.meta(algorithm, setup.steps);
        run(&self.learner(algorithm, setup), &meta, &self.task(0))
    }
}

/// Runs a task with fresh memory, in double precision.
pub(crate) fn run(learner: &Learner, meta: &MetaState, task: &Task) -> TaskResult {
    run_in(learner, &mut learner.worker(Dtype::F64), meta, task, Dtype::F64)
}

/// Runs a task in a worker's memory.
pub(crate) fn run_in(
    learner: &Learner,
    worker: &mut Worker,
    meta: &MetaState,
    task: &Task,
    dtype: Dtype,
) -> TaskResult {
    let mut result = learner.result(dtype);
    task.with(|data| learner.run(worker, meta, data, &mut result));
    result
}

/// Runs tasks together in a worker's memory, in double precision.
pub(crate) fn run_group(
    learner: &Learner,
    worker: &mut Worker,
    meta: &MetaState,
    tasks: &[Task],
) -> Vec<TaskResult> {
    let arrays: Vec<[Vec<&Tensor>; 2]> =
        tasks.iter().map(|t| [&t.support, &t.query].map(|set| set.iter().collect())).collect();
    let of = tasks.iter().zip(&arrays);
    let data: Vec<TaskData<'_>> =
        of.map(|(task, [support, query])| TaskData { support, query, key: task.key }).collect();
    let mut results = vec![learner.result(Dtype::F64); tasks.len()];
    learner.run_group(worker, meta, &data, &mut results);
    results
}

/// A setup that computes the meta-gradient with the given strategy.
pub(crate) fn by(strategy: Strategy, steps: usize) -> Setup {
    Setup { strategy, ..Setup::new(steps) }
}

fn draw(stream: &str, name: &str, shape: &[usize], scale: f64) -> Tensor {
    random(Key::new(67).with_stream(stream).with_stream(name), shape, scale)
}

/// All elements in one vector.
pub(crate) fn flat(params: &Params<Tensor>) -> Tensor {
    let all: Vec<f64> = params.values().iter().flat_map(Tensor::iter).collect();
    Tensor::from_f64(&[all.len()], all)
}

pub(crate) fn norm(params: &Params<Tensor>) -> f64 {
    flat(params).iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Asserts that the relative error over all of `want` is within the tolerance, and so is that of every tensor that is
/// not tiny compared with the rest.
#[track_caller]
pub(crate) fn assert_same(name: &str, got: &Params<Tensor>, want: &Params<Tensor>, tolerance: f64) {
    assert_eq!(got.names(), want.names(), "{name}");
    assert_close(name, &flat(got), &flat(want), tolerance);
    let all = norm(want);
    for ((tensor, got), want) in got.iter().zip(want.values()) {
        let size = want.iter().map(|x| x * x).sum::<f64>().sqrt();
        if size > 1e-3 * all {
            assert_close(&format!("{name}: {tensor}"), got, want, tolerance);
        }
    }
}

/// Asserts that all values in two results agree within the tolerance; values that are not finite never do.
#[track_caller]
pub(crate) fn assert_results(name: &str, got: &TaskResult, want: &TaskResult, tolerance: f64) {
    let scalars = |r: &TaskResult| {
        // An algorithm that uses no query set has no query loss.
        let query = (!r.query_loss.is_nan()).then_some(r.query_loss);
        let all: Vec<f64> = r.support_losses.iter().copied().chain(query).collect();
        Tensor::from_f64(&[all.len()], all)
    };
    assert_close(&format!("{name}: losses"), &scalars(got), &scalars(want), tolerance);
    assert_close(&format!("{name}: output"), &got.output, &want.output, tolerance);
    assert_same(&format!("{name}: gradient"), &got.gradient, &want.gradient, tolerance);
    assert_same(&format!("{name}: fast"), &got.fast, &want.fast, tolerance);
    let of = |r: &TaskResult| r.statistics.merge(&r.inner_state);
    assert_same(&format!("{name}: statistics and state"), &of(got), &of(want), tolerance);
}
