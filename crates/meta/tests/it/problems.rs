//! Small problems that the tests stand on, and the way from them and an algorithm to numbers.

use innerloop_engine::check::{assert_close, random};
use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var};

use innerloop_meta::{
    Algorithm, Learner, Loss, MetaState, Point, Problem, Setup, Strategy, TaskData, TaskResult,
    Worker,
};
use innerloop_nn::{
    Activation, Conv4, Downsampling, Head, Init, Mlp, Model, NormStatistics, initialise, loss,
};
use innerloop_tasks::Quadratic as Draw;

pub(crate) const STRATEGIES: [Strategy; 2] = [Strategy::Unrolled, Strategy::Adjoint];

/// A task's arrays.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) support: Vec<Tensor>,
    pub(crate) query: Vec<Tensor>,
    pub(crate) key: Key,
}

impl Task {
    /// Calls `f` with the task as a learner wants it.
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

/// A problem, a place to stand, a rate that suits it, and its tasks.
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

    /// The run's values at θ; what is carried is random, as after some training.
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

/// A setup that computes the meta-gradient in a certain way.
pub(crate) fn by(strategy: Strategy, steps: usize) -> Setup {
    Setup { strategy, ..Setup::new(steps) }
}

fn draw(stream: &str, name: &str, shape: &[usize], scale: f64) -> Tensor {
    random(Key::new(67).with_stream(stream).with_stream(name), shape, scale)
}

/// All elements in one row.
pub(crate) fn flat(params: &Params<Tensor>) -> Tensor {
    let all: Vec<f64> = params.values().iter().flat_map(Tensor::iter).collect();
    Tensor::from_f64(&[all.len()], all)
}

pub(crate) fn norm(params: &Params<Tensor>) -> f64 {
    flat(params).iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The relative error over all of `want` is within the tolerance, and so is that of every tensor that is
/// not tiny beside the rest.
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

/// Everything in two results is the same within the tolerance; values that are not finite never are.
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

/// What a quadratic problem's support loss is.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Support {
    Quadratic,
    /// Only the linear part: the Hessian is zero.
    Linear,
}

/// The mean of `½ φᵀAφ − bᵀφ` over examples `A` `[n, n]`, `b` `[n]`; φ is a body of 2 numbers and a head
/// of 3.
struct Quadratic {
    examples: usize,
    support: Support,
}

/// Unknowns of the quadratic problem.
pub(crate) const N: usize = 5;

impl Quadratic {
    fn shapes(examples: usize) -> Vec<Shape> {
        vec![vec![examples, N, N], vec![examples, N]]
    }

    fn loss<'g>(at: &Point<'g>, data: &[Var<'g>], kind: Support) -> Loss<'g> {
        let (a, b) = (data[0], data[1]);
        let phi = a.graph().concat(&[at.params["body"], at.params["head"]], 0);
        let mean = 1.0 / a.shape()[0] as f64;
        let a = a.sum_to(&[N, N]) * mean;
        let b = b.sum_to(&[N]) * mean;
        let curved = a.matmul(phi.reshape(&[N, 1])).reshape(&[N]);
        let value = match kind {
            Support::Quadratic => phi.dot(curved) * 0.5 - phi.dot(b),
            Support::Linear => -phi.dot(b),
        };
        Loss { value, output: phi.reshape(&[1, N]), statistics: Params::new() }
    }
}

impl Problem for Quadratic {
    fn parameters(&self) -> Params<Shape> {
        [("body".to_string(), vec![2]), ("head".to_string(), vec![3])].into_iter().collect()
    }

    fn carried(&self) -> Params<Shape> {
        Params::new()
    }

    fn statistics(&self) -> Params<Shape> {
        Params::new()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        Quadratic::shapes(examples)
    }

    fn support_examples(&self) -> usize {
        self.examples
    }

    fn query_shapes(&self) -> Vec<Shape> {
        Quadratic::shapes(1)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        Quadratic::loss(at, support, self.support)
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        Quadratic::loss(at, query, Support::Quadratic)
    }
}

pub(crate) fn quadratic(examples: usize, support: Support) -> Case {
    let arrays = |examples: usize, key: Key| {
        let drawn: Vec<Draw> =
            (0..examples).map(|i| Draw::draw(N, key.at(i as u64, key.task))).collect();
        let a = drawn.iter().flat_map(|q| q.a.iter().collect::<Vec<_>>()).collect();
        let b = drawn.iter().flat_map(|q| q.b.iter().collect::<Vec<_>>()).collect();
        vec![Tensor::from_f64(&[examples, N, N], a), Tensor::from_f64(&[examples, N], b)]
    };
    let problem = Quadratic { examples, support };
    Case {
        name: "quadratic",
        theta: problem.parameters().map_named(|name, shape| draw("theta", name, shape, 1.0)),
        problem: Box::new(problem),
        rate: 0.1,
        draw: Box::new(move |key| Task {
            support: arrays(examples, key.with_stream("support")),
            query: arrays(1, key.with_stream("query")),
            key,
        }),
    }
}

/// What a network's outputs are compared with.
#[derive(Clone, Copy)]
enum Fit {
    Values,
    Classes,
}

/// A network on labelled examples; batch statistics normalise and are reported.
struct Supervised {
    model: Box<dyn Model>,
    fit: Fit,
    x: Shape,
    support: usize,
    query: usize,
}

impl Supervised {
    fn shapes(&self, examples: usize) -> Vec<Shape> {
        let y = match self.fit {
            Fit::Values => vec![examples, 1],
            Fit::Classes => vec![examples],
        };
        vec![[&[examples], self.x.as_slice()].concat(), y]
    }
}

impl Problem for Supervised {
    fn parameters(&self) -> Params<Shape> {
        self.model.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect()
    }

    fn carried(&self) -> Params<Shape> {
        Params::new()
    }

    fn statistics(&self) -> Params<Shape> {
        self.model.statistics()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        self.shapes(examples)
    }

    fn support_examples(&self) -> usize {
        self.support
    }

    fn query_shapes(&self) -> Vec<Shape> {
        self.shapes(self.query)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        let norm = NormStatistics::Batch { groups: 1 };
        let forward = self.model.forward(&at.params, support[0], &norm);
        let value = match self.fit {
            Fit::Values => loss::mean_squared_error(forward.output, support[1]),
            Fit::Classes => loss::cross_entropy(forward.output, support[1]),
        };
        Loss { value, output: forward.output, statistics: forward.statistics }
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        self.support_loss(at, query)
    }
}

/// `n` points of the curve `a sin(x₁ + x₂ − p)` that the key names.
fn curve(key: Key, n: usize, set: &str) -> Vec<Tensor> {
    let shape = random(key.with_stream("curve"), &[2], 1.0);
    let (a, p) = (1.5 + 0.5 * shape.get(0).tanh(), shape.get(1));
    let x = random(key.with_stream(set), &[n, 2], 1.0);
    let y = (0..n).map(|i| a * (x.get(2 * i) + x.get(2 * i + 1) - p).sin()).collect();
    vec![x, Tensor::from_f64(&[n, 1], y)]
}

/// Regression of random curves by a smooth network: layers of 2, 6, 4 and 1 units.
pub(crate) fn mlp(support: usize, query: usize) -> Case {
    let model = Mlp::new(&[2, 6, 4, 1], Activation::Tanh, Init::Torch);
    let theta = initialise(model.parameters(), Key::new(71), Dtype::F64);
    let (fit, x) = (Fit::Values, vec![2]);
    Case {
        name: "mlp",
        problem: Box::new(Supervised { model: Box::new(model), fit, x, support, query }),
        theta,
        rate: 0.1,
        draw: Box::new(move |key| Task {
            support: curve(key, support, "support"),
            query: curve(key, query, "query"),
            key,
        }),
    }
}

/// Classification of noisy points in the plane into 3 classes by a smooth network.
pub(crate) fn classes() -> Case {
    let model = Mlp::new(&[2, 6, 3], Activation::Tanh, Init::Torch);
    let theta = initialise(model.parameters(), Key::new(79), Dtype::F64);
    let (fit, x, support, query) = (Fit::Classes, vec![2], 6, 9);
    let points = |key: Key, n: usize, set: &str| {
        let centres = random(key.with_stream("centres"), &[3, 2], 1.5);
        let noise = random(key.with_stream(set), &[n, 2], 0.5);
        let at = |i: usize| noise.get(i) + centres.get((i / 2 % 3) * 2 + i % 2);
        let x = Tensor::from_f64(&[n, 2], (0..2 * n).map(at).collect());
        vec![x, Tensor::from_f64(&[n], (0..n).map(|i| (i % 3) as f64).collect())]
    };
    Case {
        name: "classes",
        problem: Box::new(Supervised { model: Box::new(model), fit, x, support, query }),
        theta,
        rate: 0.3,
        draw: Box::new(move |key| Task {
            support: points(key, support, "support"),
            query: points(key, query, "query"),
            key,
        }),
    }
}

/// Classification of noisy images by four convolutional blocks with batch norm: 3 ways, 2 shots.
pub(crate) fn conv() -> Case {
    const WAYS: usize = 3;
    let options = (Downsampling::MaxPool, Head::Flatten);
    let model = Conv4::new([16, 16, 1], 4, WAYS, options, (Init::Xavier, 1e-3));
    let theta = initialise(model.parameters(), Key::new(73), Dtype::F64);
    let (fit, x, support, query) = (Fit::Classes, vec![16, 16, 1], 2 * WAYS, 3 * WAYS);
    let images = |key: Key, n: usize, set: &str| {
        let classes = random(key.with_stream("classes"), &[WAYS, 256], 1.0);
        let noise = random(key.with_stream(set), &[n, 256], 0.5);
        let pixel = |at: usize| noise.get(at) + classes.get((at / 256 % WAYS) * 256 + at % 256);
        let x = Tensor::from_f64(&[n, 16, 16, 1], (0..n * 256).map(pixel).collect());
        vec![x, Tensor::from_f64(&[n], (0..n).map(|i| (i % WAYS) as f64).collect())]
    };
    Case {
        name: "conv",
        problem: Box::new(Supervised { model: Box::new(model), fit, x, support, query }),
        theta,
        rate: 0.02,
        draw: Box::new(move |key| Task {
            support: images(key, support, "support"),
            query: images(key, query, "query"),
            key,
        }),
    }
}

/// A smooth body and head with all that a problem can have: queries are normalised by the support set's
/// statistics, which are reported, and a carried row that depends on the step is added.
struct Normalised {
    steps: usize,
    support: usize,
    query: usize,
}

const UNITS: usize = 4;

impl Normalised {
    /// The loss of `data`, normalised by the statistics of `reference`.
    fn loss<'g>(at: &Point<'g>, reference: Var<'g>, data: &[Var<'g>]) -> Loss<'g> {
        let p = &at.params;
        let units = |x: Var<'g>| x.matmul_t(p["body.weight"]);
        let over = 1.0 / reference.shape()[0] as f64;
        let mean = units(reference).sum_to(&[UNITS]) * over;
        let centred = units(reference) - mean;
        let var = (centred * centred).sum_to(&[UNITS]) * over;
        let shift = at.carried["shift"];
        let row = at.step.reshape(&[1, shift.shape()[0]]).matmul(shift).reshape(&[UNITS]);
        let normal = (units(data[0]) - mean) * (var + 0.1).sqrt().recip();
        let hidden = (normal * p["body.gain"] + row).tanh();
        let output = hidden.matmul_t(p["head.weight"]) + p["head.bias"];
        let statistics = [("body.mean".to_string(), mean), ("body.var".to_string(), var)];
        Loss {
            value: loss::mean_squared_error(output, data[1]),
            output,
            statistics: statistics.into_iter().collect(),
        }
    }
}

impl Problem for Normalised {
    fn parameters(&self) -> Params<Shape> {
        let shapes = [
            ("body.weight", vec![UNITS, 2]),
            ("body.gain", vec![UNITS]),
            ("head.weight", vec![1, UNITS]),
            ("head.bias", vec![1]),
        ];
        shapes.into_iter().map(|(name, shape)| (name.to_string(), shape)).collect()
    }

    fn carried(&self) -> Params<Shape> {
        [("shift".to_string(), vec![self.steps + 1, UNITS])].into_iter().collect()
    }

    fn statistics(&self) -> Params<Shape> {
        ["body.mean", "body.var"].into_iter().map(|name| (name.to_string(), vec![UNITS])).collect()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        vec![vec![examples, 2], vec![examples, 1]]
    }

    fn support_examples(&self) -> usize {
        self.support
    }

    fn query_shapes(&self) -> Vec<Shape> {
        self.support_shapes(self.query)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        Normalised::loss(at, support[0], support)
    }

    fn query_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        Normalised::loss(at, support[0], query)
    }
}

/// Regression of random curves with statistics and with carried values for `steps` inner steps.
pub(crate) fn normalised(steps: usize) -> Case {
    let problem = Normalised { steps, support: 7, query: 5 };
    Case {
        name: "normalised",
        theta: problem.parameters().map_named(|name, shape| draw("theta", name, shape, 0.8)),
        problem: Box::new(problem),
        rate: 0.1,
        draw: Box::new(move |key| Task {
            support: curve(key, 7, "support"),
            query: curve(key, 5, "query"),
            key,
        }),
    }
}
