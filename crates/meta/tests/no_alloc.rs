//! In the steady state a learner and an adapter allocate nothing. A counting allocator checks it, which is why this
//! test is a separate binary.

#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var, Window};
use innerloop_meta::algorithms::{
    Anil, BinomMaml, Boil, Cavia, Comparison, Decay, Distance, FineTune, Fomaml,
    GradientSimilarity, HfMaml, Imaml, InnerLoop, InnerOptimizer, LearnedRates, Lstm, Maml,
    MamlPlusPlus, MetaCurvature, MetaSgd, MultiStep, Protonet, Reptile, Role, Shot, SignMaml,
    TruncatedMaml,
};
use innerloop_meta::{
    Adapter, Algorithm, Grouping, Learner, Loss, Losses, MetaState, Point, Problem, Setup, Sharing,
    StepLosses, Strategy, TaskData,
};

thread_local! {
    /// Allocations of this thread; the test harness has threads of its own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; the counter is a constant-initialised
// thread-local without a destructor, so it does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above, which is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A convolution, batch norm, ReLU and pooling, and a convolution over the whole map as a head. It contains no matrix
/// product; the engine tests those.
struct Convolutions;

const WAYS: usize = 3;

impl Convolutions {
    fn shapes(examples: usize) -> Vec<Shape> {
        vec![vec![examples, 8, 8, 1], vec![examples]]
    }
}

impl Problem for Convolutions {
    fn parameters(&self) -> Params<Shape> {
        let shapes = [
            ("body.kernel", vec![3, 3, 1, 4]),
            ("body.gain", vec![4]),
            ("head.kernel", vec![4, 4, 4, WAYS]),
            ("head.bias", vec![WAYS]),
        ];
        shapes.into_iter().map(|(name, shape)| (name.to_string(), shape)).collect()
    }

    fn carried(&self) -> Params<Shape> {
        [("shift".to_string(), vec![4])].into_iter().collect()
    }

    fn statistics(&self) -> Params<Shape> {
        [("mean".to_string(), vec![4])].into_iter().collect()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        Convolutions::shapes(examples)
    }

    fn support_examples(&self) -> usize {
        6
    }

    fn query_shapes(&self) -> Vec<Shape> {
        Convolutions::shapes(9)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        let (p, examples) = (&at.params, support[1].shape()[0]);
        let maps = support[0].conv(p["body.kernel"], Window::square(3, 1, 1));
        let over = 1.0 / (examples * 64) as f64;
        let mean = maps.sum_to(&[4]) * over;
        let centred = maps - mean;
        let var = (centred * centred).sum_to(&[4]) * over;
        let normal = centred * (var + 1e-3).sqrt().recip() * p["body.gain"] + at.carried["shift"];
        let pooled = normal.relu().max_pool(Window::square(2, 2, 0));
        let logits = pooled.conv(p["head.kernel"], Window::square(4, 1, 0));
        let output = logits.reshape(&[examples, WAYS]) + p["head.bias"];
        let value = -(output.log_softmax() * support[1].one_hot(WAYS)).mean();
        let statistics = [("mean".to_string(), mean)].into_iter().collect();
        Loss { value, output, statistics }
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        self.support_loss(at, query)
    }
}

fn algorithms() -> Vec<Box<dyn Algorithm>> {
    let inner = || InnerLoop::new(0.1);
    let adam = InnerOptimizer::Adam { beta2: 0.9, eps: 1e-3 };
    vec![
        Box::new(Maml { inner: inner() }),
        Box::new(LearnedRates::new(Box::new(Maml { inner: inner() }))),
        Box::new(Fomaml { inner: inner() }),
        Box::new(Reptile { inner: inner(), optimizer: InnerOptimizer::Sgd }),
        Box::new(Reptile { inner: inner(), optimizer: adam }),
        Box::new(MetaSgd { inner: inner() }),
        Box::new(MetaCurvature { inner: inner() }),
        Box::new(LearnedRates::new(Box::new(Anil { inner: inner(), head: "head".into() }))),
        Box::new(MamlPlusPlus::new(
            Box::new(LearnedRates::new(Box::new(Maml { inner: inner() }))),
            0.5,
            0.5,
        )),
        Box::new(Boil { inner: inner(), head: "head".into() }),
        Box::new(MultiStep::new(Box::new(Maml { inner: inner() }), Sharing::Forward(2), 0.5)),
        Box::new(MultiStep::new(Box::new(MetaSgd { inner: inner() }), Sharing::Backward(2), 0.0)),
        Box::new(GradientSimilarity {
            inner: inner(),
            cosine: 1.0,
            l2: 1.0,
            strength: 0.2,
            decay: Decay::Linear,
            comparison: Comparison::Whole,
        }),
        Box::new(Shot::new(
            Box::new(LearnedRates::new(Box::new(Maml { inner: inner() }))),
            0.1,
            Distance::ReferenceToTarget,
            (Role::Reference, 1),
        )),
        Box::new(Shot::new(
            Box::new(Reptile { inner: inner(), optimizer: InnerOptimizer::Sgd }),
            0.1,
            Distance::Parameters,
            (Role::Reference, 1),
        )),
        Box::new(Imaml { inner: inner(), proximal: 2.0, iterations: 3, damping: 0.0 }),
        Box::new(SignMaml { inner: inner() }),
        Box::new(TruncatedMaml { inner: inner(), last: 2 }),
        Box::new(BinomMaml { inner: inner(), degree: 2 }),
        Box::new(HfMaml { inner: inner(), epsilon: 1e-2 }),
        Box::new(Lstm { frozen: Vec::new(), key: Key::new(92) }),
        Box::new(Cavia { inner: inner(), context: "head".into() }),
        Box::new(Protonet),
        Box::new(FineTune { inner: inner(), head: "head".into(), classifier: "none".into() }),
    ]
}

const STEPS: usize = 3;

/// Inner steps in training, and at test.
fn steps(algorithm: &dyn Algorithm) -> (usize, usize) {
    match algorithm.name() {
        "protonet" => (0, 0),
        "fine_tune" => (0, STEPS + 2),
        _ => (STEPS, STEPS + 2),
    }
}

fn value(i: u64, shape: &[usize], dtype: Dtype) -> Tensor {
    random(Key::new(91).at(0, i), shape, 0.5).cast(dtype)
}

fn meta(algorithm: &dyn Algorithm, dtype: Dtype) -> MetaState {
    let theta = Convolutions.parameters().map(|shape| value(shape.len() as u64, shape, dtype));
    MetaState::new(&Convolutions, algorithm, steps(algorithm).0, theta)
}

/// Calls `f` with a task whose data is allocated outside.
fn with_task(dtype: Dtype, f: impl FnOnce(TaskData<'_>)) {
    let arrays = |examples: usize, i| {
        let labels = (0..examples).map(|n| (n % WAYS) as f64).collect();
        let labels = Tensor::from_f64(&[examples], labels).cast(dtype);
        [value(i, &[examples, 8, 8, 1], dtype), labels]
    };
    let (support, query) = (arrays(6, 10), arrays(9, 11));
    let [support, query] = [&support, &query].map(|set| [&set[0], &set[1]]);
    f(TaskData { support: &support, query: &query, key: Key::new(1) });
}

/// Allocations of five calls, after a first one.
fn steady(mut call: impl FnMut()) -> usize {
    call();
    let before = ALLOCATIONS.get();
    (0..5).for_each(|_| call());
    ALLOCATIONS.get() - before
}

/// Steps on the whole support set, and on minibatches.
const BATCHES: [Option<usize>; 2] = [None, Some(3)];

#[test]
fn a_learner_allocates_nothing() {
    for algorithm in algorithms() {
        for strategy in [Strategy::Unrolled, Strategy::Adjoint] {
            for (dtype, batch) in cases() {
                let losses = Losses::All;
                let steps = steps(algorithm.as_ref()).0;
                let setup = Setup { strategy, losses, batch, ..Setup::new(steps) };
                let learner = Learner::new(&Convolutions, algorithm.as_ref(), setup);
                let meta = meta(algorithm.as_ref(), dtype);
                let mut worker = learner.worker(dtype);
                let mut result = learner.result(dtype);
                let name = algorithm.name();
                with_task(dtype, |task| {
                    let count = steady(|| learner.run(&mut worker, &meta, task, &mut result));
                    assert_eq!(count, 0, "{name}, {strategy:?}, {dtype}, minibatch {batch:?}");
                });
                let moved =
                    result.gradient.values().iter().flat_map(Tensor::iter).any(|x| x != 0.0);
                assert!(
                    moved && result.support_losses.iter().all(|loss| loss.is_finite()),
                    "{name}"
                );
            }
        }
    }
}

/// Element types with minibatches.
fn cases() -> impl Iterator<Item = (Dtype, Option<usize>)> {
    [Dtype::F32, Dtype::F64].into_iter().flat_map(|dtype| BATCHES.map(|batch| (dtype, batch)))
}

/// A linear map and its squared error: several tasks can run together.
struct Linear;

impl Problem for Linear {
    fn parameters(&self) -> Params<Shape> {
        let shapes = [("body", vec![2, 3]), ("head", vec![2])];
        shapes.into_iter().map(|(name, shape)| (name.to_string(), shape)).collect()
    }

    fn carried(&self) -> Params<Shape> {
        Params::new()
    }

    fn statistics(&self) -> Params<Shape> {
        Params::new()
    }

    fn support_shapes(&self, examples: usize) -> Vec<Shape> {
        vec![vec![examples, 3], vec![examples, 2]]
    }

    fn support_examples(&self) -> usize {
        4
    }

    fn query_shapes(&self) -> Vec<Shape> {
        self.support_shapes(5)
    }

    fn support_loss<'g>(&self, at: &Point<'g>, support: &[Var<'g>]) -> Loss<'g> {
        let output = support[0].matmul_t(at.params["body"]) + at.params["head"];
        let error = output - support[1];
        Loss { value: (error * error).mean(), output, statistics: Params::new() }
    }

    fn query_loss<'g>(&self, at: &Point<'g>, _: &[Var<'g>], query: &[Var<'g>]) -> Loss<'g> {
        self.support_loss(at, query)
    }
}

#[test]
fn a_group_of_tasks_allocates_nothing() {
    for algorithm in algorithms() {
        for strategy in [Strategy::Unrolled, Strategy::Adjoint] {
            for (dtype, batch) in cases() {
                let grouping = Grouping::Of(3);
                let steps = steps(algorithm.as_ref()).0;
                let setup = Setup { strategy, grouping, batch, ..Setup::new(steps) };
                let learner = Learner::new(&Linear, algorithm.as_ref(), setup);
                assert_eq!(learner.group(), 3);
                let theta = Linear.parameters().map(|shape| value(3, shape, dtype));
                let meta = MetaState::new(&Linear, algorithm.as_ref(), steps, theta);
                let arrays =
                    |examples| [value(4, &[examples, 3], dtype), value(5, &[examples, 2], dtype)];
                let (support, query) = (arrays(4), arrays(5));
                let [support, query] = [&support, &query].map(|set| [&set[0], &set[1]]);
                let task = TaskData { support: &support, query: &query, key: Key::new(1) };
                let mut worker = learner.worker(dtype);
                let mut results = vec![learner.result(dtype); 2];
                let count =
                    steady(|| learner.run_group(&mut worker, &meta, &[task; 2], &mut results));
                let name = algorithm.name();
                assert_eq!(count, 0, "{name}, {strategy:?}, {dtype}, minibatch {batch:?}");
                assert!(results[1].support_losses.iter().all(|loss| *loss > 0.0));
            }
        }
    }
}

#[test]
fn an_adapter_allocates_nothing() {
    for algorithm in algorithms() {
        for (dtype, batch) in cases() {
            let steps = steps(algorithm.as_ref());
            let adapter = Adapter::new(&Convolutions, algorithm.as_ref(), steps, batch);
            let meta = meta(algorithm.as_ref(), dtype);
            let mut worker = adapter.worker(dtype);
            let mut evaluation = StepLosses::default();
            let mut correct = 0.0;
            with_task(dtype, |task| {
                let count = steady(|| {
                    adapter.run(&mut worker, &meta, task, &mut evaluation, |at| {
                        correct += at.output.get(0);
                    });
                });
                assert_eq!(count, 0, "{}, {dtype}, minibatch {batch:?}", algorithm.name());
            });
            assert!(f64::is_finite(correct) && evaluation.query_losses.len() == steps.1 + 1);
        }
    }
}

/// The counter counts, or the tests above would pass whatever happens.
#[test]
fn the_counter_counts() {
    let count = steady(|| drop(std::hint::black_box(Box::new(1_u64))));
    assert_eq!(count, 5);
}
