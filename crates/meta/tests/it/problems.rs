//! Small problems that the tests stand on, every algorithm there is, and the way from both to numbers.

use innerloop_engine::check::{assert_close, random};
use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var};
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Cavia, Comparison, Decay, Distance, FineTune, Fomaml,
    GradientSimilarity, HfMaml, Imaml, InnerLoop, InnerOptimizer, Lstm, Maml, MamlPlusPlus,
    MetaCurvature, MetaSgd, MultiStep, Pretraining, Protonet, Reptile, Role, Shot, SignMaml,
    TruncatedMaml,
};
use innerloop_meta::{
    Algorithm, Learner, Loss, MetaState, Point, Problem, Rates, Setup, Sharing, Strategy, TaskData,
    TaskResult, Worker,
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

/// Every algorithm under a name of its own: a newcomer is added here, once.
pub(crate) fn algorithms(rate: f64) -> Vec<(&'static str, Box<dyn Algorithm>)> {
    let inner = || InnerLoop::new(rate);
    let partly = || InnerLoop { frozen: vec!["features.0.b".into(), "body".into()], ..inner() };
    let uneven = || InnerLoop {
        rates: Rates { default: rate, of: vec![("head.weight".into(), 0.5 * rate)] },
        ..inner()
    };
    let adam = InnerOptimizer::Adam { beta2: 0.9, eps: 1e-3 };
    vec![
        ("maml", Box::new(Maml { inner: uneven(), learn_rates: false })),
        ("maml, learned rates", Box::new(Maml { inner: inner(), learn_rates: true })),
        ("maml, partly frozen", Box::new(Maml { inner: partly(), learn_rates: true })),
        ("fomaml", Box::new(Fomaml { inner: inner() })),
        ("fomaml, partly frozen", Box::new(Fomaml { inner: partly() })),
        ("reptile", Box::new(Reptile { inner: inner(), optimizer: InnerOptimizer::Sgd })),
        ("reptile, adam", Box::new(Reptile { inner: partly(), optimizer: adam })),
        ("meta-sgd", Box::new(MetaSgd { inner: uneven() })),
        ("meta-curvature", Box::new(MetaCurvature { inner: uneven() })),
        ("meta-curvature, partly frozen", Box::new(MetaCurvature { inner: partly() })),
        ("imaml", Box::new(imaml(uneven()))),
        ("imaml, partly frozen", Box::new(Imaml { damping: 0.5, ..imaml(partly()) })),
        ("anil", Box::new(Anil { inner: inner(), head: "head".into(), learn_rates: false })),
        (
            "anil, learned rates",
            Box::new(Anil { inner: inner(), head: "head".into(), learn_rates: true }),
        ),
        ("maml++", plus_plus(Maml { inner: partly(), learn_rates: true })),
        ("fomaml++", plus_plus(Fomaml { inner: partly() })),
        ("truncated maml++", plus_plus(TruncatedMaml { inner: partly(), last: 2 })),
        ("binom-maml++", plus_plus(BinomMaml { inner: partly(), degree: 1 })),
        ("hf-maml++", plus_plus(HfMaml { inner: inner(), epsilon: 1e-2 })),
        ("gradient similarity++", plus_plus(similarity(inner()))),
        ("momentum++", plus_plus(multi_step(inner(), Sharing::None, 0.5))),
        (
            "shot on maml++",
            shot(
                plus_plus(Maml { inner: uneven(), learn_rates: true }),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        (
            "annealed maml",
            Box::new(MamlPlusPlus::new(
                Box::new(Maml { inner: inner(), learn_rates: true }),
                0.0,
                0.5,
            )),
        ),
        ("protonet", Box::new(Protonet)),
        (
            "fine tuning",
            Box::new(FineTune { inner: uneven(), head: "head".into(), classifier: "none".into() }),
        ),
        ("lstm", Box::new(lstm(&[]))),
        ("lstm, partly frozen", Box::new(lstm(&["features.0.b", "body"]))),
        ("lstm++", plus_plus(lstm(&[]))),
        ("cavia", Box::new(Cavia { inner: inner(), context: "head".into() })),
        ("cavia++", plus_plus(Cavia { inner: inner(), context: "head".into() })),
        (
            "shot on cavia",
            shot(
                Box::new(Cavia { inner: inner(), context: "head".into() }),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        ("boil", Box::new(Boil { inner: inner(), head: "head".into() })),
        ("gradient similarity", Box::new(similarity(uneven()))),
        (
            "gradient similarity, per tensor",
            Box::new(GradientSimilarity {
                l2: 0.7,
                comparison: Comparison::PerTensor,
                ..similarity(partly())
            }),
        ),
        ("multi-step", Box::new(multi_step(uneven(), Sharing::Forward(2), 0.0))),
        ("multi-step, partly frozen", Box::new(multi_step(partly(), Sharing::Forward(3), 0.0))),
        ("multi-step, backward", Box::new(multi_step(uneven(), Sharing::Backward(2), 0.0))),
        ("multi-step, momentum", Box::new(multi_step(partly(), Sharing::Forward(2), 0.5))),
        (
            "multi-step, backward, momentum",
            Box::new(multi_step(inner(), Sharing::Backward(3), 0.5)),
        ),
        (
            "multi-step, learned rates",
            windowed(Box::new(Maml { inner: partly(), learn_rates: true }), Sharing::Forward(2)),
        ),
        (
            "multi-step, backward, learned rates",
            windowed(Box::new(Maml { inner: partly(), learn_rates: true }), Sharing::Backward(2)),
        ),
        (
            "anil in windows",
            windowed(
                Box::new(Anil { inner: inner(), head: "head".into(), learn_rates: true }),
                Sharing::Forward(2),
            ),
        ),
        (
            "boil in windows, backward",
            windowed(Box::new(Boil { inner: inner(), head: "head".into() }), Sharing::Backward(2)),
        ),
        (
            "cavia in windows",
            windowed(
                Box::new(Cavia { inner: inner(), context: "head".into() }),
                Sharing::Forward(2),
            ),
        ),
        (
            "meta-curvature in windows",
            windowed(Box::new(MetaCurvature { inner: partly() }), Sharing::Forward(2)),
        ),
        ("fomaml in windows", windowed(Box::new(Fomaml { inner: partly() }), Sharing::Forward(2))),
        (
            "truncated maml in windows, backward",
            windowed(Box::new(TruncatedMaml { inner: partly(), last: 3 }), Sharing::Backward(2)),
        ),
        (
            "shot on meta-sgd in windows, backward",
            shot(
                windowed(Box::new(MetaSgd { inner: uneven() }), Sharing::Backward(2)),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        (
            "shot on maml",
            shot(
                Box::new(Maml { inner: uneven(), learn_rates: true }),
                Distance::ReferenceToTarget,
                Role::Reference,
            ),
        ),
        (
            "shot on fomaml",
            shot(Box::new(Fomaml { inner: partly() }), Distance::Parameters, Role::Reference),
        ),
        (
            "shot on anil",
            shot(
                Box::new(Anil { inner: inner(), head: "head".into(), learn_rates: false }),
                Distance::Outputs,
                Role::Target,
            ),
        ),
        (
            "shot on boil",
            shot(
                Box::new(Boil { inner: inner(), head: "head".into() }),
                Distance::Parameters,
                Role::Reference,
            ),
        ),
        (
            "shot on binom-maml",
            shot(
                Box::new(BinomMaml { inner: partly(), degree: 1 }),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        (
            "shot on momentum",
            shot(
                Box::new(multi_step(inner(), Sharing::Forward(2), 0.5)),
                Distance::Outputs,
                Role::Reference,
            ),
        ),
        ("shot before maml", {
            let base = Box::new(Maml { inner: partly(), learn_rates: true });
            let mut shot = Shot::new(base, 0.0, Distance::Outputs, (Role::Reference, 1));
            shot.pretraining = Some(Pretraining { until: 0.0, projector: None });
            Box::new(shot)
        }),
        ("sign-maml", Box::new(SignMaml { inner: InnerLoop::new(0.1 * rate) })),
        ("truncated maml", Box::new(TruncatedMaml { inner: uneven(), last: 2 })),
        ("truncated maml, partly frozen", Box::new(TruncatedMaml { inner: partly(), last: 1 })),
        ("binom-maml", Box::new(BinomMaml { inner: uneven(), degree: 2 })),
        ("binom-maml, partly frozen", Box::new(BinomMaml { inner: partly(), degree: 1 })),
        ("hf-maml", Box::new(HfMaml { inner: uneven(), epsilon: 1e-2 })),
        ("hf-maml, partly frozen", Box::new(HfMaml { inner: partly(), epsilon: 1e-2 })),
    ]
}

/// The LSTM meta-learner as it starts.
pub(crate) fn lstm(frozen: &[&str]) -> Lstm {
    Lstm { frozen: frozen.iter().map(ToString::to_string).collect(), key: Key::new(97) }
}

/// MAML++'s multi-step loss over the whole of training around another method.
pub(crate) fn plus_plus(base: impl Algorithm + 'static) -> Box<dyn Algorithm> {
    Box::new(MamlPlusPlus::new(Box::new(base), 1.0, 0.0))
}

pub(crate) fn multi_step(inner: InnerLoop, sharing: Sharing, momentum: f64) -> MultiStep {
    MultiStep::new(Box::new(Maml { inner, learn_rates: false }), sharing, momentum)
}

/// Another method in windows.
pub(crate) fn windowed(base: Box<dyn Algorithm>, sharing: Sharing) -> Box<dyn Algorithm> {
    Box::new(MultiStep::new(base, sharing, 0.0))
}

/// SHOT with a target of one step, or a reference of four.
pub(crate) fn shot(base: Box<dyn Algorithm>, distance: Distance, role: Role) -> Box<dyn Algorithm> {
    let steps = if role == Role::Reference { 1 } else { 4 };
    Box::new(Shot::new(base, 0.5, distance, (role, steps)))
}

pub(crate) fn imaml(inner: InnerLoop) -> Imaml {
    Imaml { inner, proximal: 2.0, iterations: 4, damping: 0.0 }
}

pub(crate) fn similarity(inner: InnerLoop) -> GradientSimilarity {
    GradientSimilarity {
        inner,
        cosine: 1.0,
        l2: 0.0,
        magnitude: 1.0,
        strength: 0.2,
        decay: Decay::Constant,
        comparison: Comparison::Whole,
    }
}

/// Whether the inner loop of training is that of adaptation.
pub(crate) fn adapts_as_trained(algorithm: &dyn Algorithm) -> bool {
    !matches!(algorithm.sharing(), Sharing::Forward(window) if window > 1)
}

pub(crate) fn maml(rate: f64) -> Maml {
    Maml { inner: InnerLoop::new(rate), learn_rates: false }
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
