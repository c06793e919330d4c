//! The outer gradient and the Fisher products, in double precision, against finite differences, against the
//! engine's derivative of the whole inner loop as one graph, and against each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use innerloop_engine::{Dtype, Graph, Key, Tensor, check, grad_params};
use innerloop_meta::outer::Optimizer;
use innerloop_nn::Activation;

use crate::adaptation::{Shared, Task, Worker};
use crate::programs::{Programs, StepPrograms};
use crate::trainer::{MetaRl, Outer, Settings};
use crate::{
    Advantage, Environment, EsMaml, EsTrainer, InnerLoop, MakeEnvironment, Method, Navigation2d,
    Observation, Policy, Space, Step, Trpo,
};

const EPISODES: usize = 3;
const ADVANTAGE: Advantage = Advantage { discount: 0.99, gae_lambda: 0.95 };

fn environment() -> MakeEnvironment {
    Box::new(|| Box::new(Navigation2d::new(Observation::State)))
}

/// A smooth policy, so that differences are accurate.
fn policy() -> Policy {
    Policy::new(2, &[5, 4], 2, Activation::Tanh)
}

struct Case {
    shared: Shared,
    worker: Worker,
    task: Task,
    theta: Vec<f64>,
}

fn case(method: Method, steps: usize) -> Case {
    let policy = policy();
    let step = StepPrograms { fisher: true, clip: Some(0.2) };
    let programs = Programs::new(&policy, EPISODES, step, Dtype::F64);
    let theta = policy.initial(Key::new(3), Dtype::F64);
    let inner = InnerLoop { method, rate: 0.4, steps };
    let mask =
        theta.iter().flat_map(|(name, t)| vec![f64::from(method.adapts(name)); t.len()]).collect();
    let rates = inner.training_rates();
    let shared = Shared { programs, advantage: ADVANTAGE, mask, rates, method };
    let mut worker = Worker::new(&environment(), &shared.programs);
    let task = shared.gather(&mut worker, &theta, Key::new(5).at(2, 1), EPISODES);
    Case { theta: shared.programs.flat(&theta), shared, worker, task }
}

impl Case {
    /// Surrogate loss or divergence at φ_K(θ + h v).
    fn moved(&mut self, v: &[f64], h: f64) -> [f64; 2] {
        let at: Vec<f64> = self.theta.iter().zip(v).map(|(t, v)| t + h * v).collect();
        let at = self.shared.programs.params(&at);
        self.task.evaluate(&self.shared, &mut self.worker.memory, &at)
    }

    fn direction(&self, number: u64) -> Vec<f64> {
        let n = self.theta.len();
        check::random(Key::new(9).at(number, 0), &[n], 1.0).iter().collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[track_caller]
fn close(name: &str, got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance * want.abs(), "{name}: {got:e}, expected {want:e}");
    assert!(want.abs() >= 1e-6, "{name}: {want:e} is too near zero to test anything");
}

const DIFFERENTIATED: [(Method, usize); 5] = [
    (Method::Maml, 0),
    (Method::Maml, 1),
    (Method::Maml, 3),
    (Method::Anil, 2),
    (Method::MultiStep { window: 2 }, 3),
];

#[test]
fn the_outer_gradient_is_that_of_finite_differences() {
    for (method, steps) in DIFFERENTIATED {
        let mut case = case(method, steps);
        let gradient = case.task.gradient(&case.shared, &mut case.worker.memory);
        let v = case.direction(1);
        let h = 1e-4;
        let [a, b, c, d] = [h, -h, 2.0 * h, -2.0 * h].map(|h| case.moved(&v, h)[0]);
        let difference = (8.0 * (a - b) - (c - d)) / (12.0 * h);
        close(&format!("{method:?}, {steps} steps"), dot(&gradient, &v), difference, 1e-7);
    }
}

/// The whole inner loop as one graph of the engine: the definition.
#[test]
fn the_outer_gradient_is_that_of_the_unrolled_loop() {
    let mut case = case(Method::Maml, 2);
    let gradient = case.task.gradient(&case.shared, &mut case.worker.memory);
    let graph = Graph::new();
    let policy = policy();
    let theta = policy.parameters().map_named(|name, shape| graph.input(name, shape));
    let mut values: Vec<Tensor> = case.shared.programs.params(&case.theta).values().to_vec();
    let mut data = |array: &Tensor| {
        values.push(array.clone());
        graph.input("data", array.shape())
    };
    let mut phi = theta.clone();
    for (batch, &rate) in case.task.support.iter().zip(&case.shared.rates) {
        let mut total = None;
        for chunk in &batch.chunks {
            let [states, actions, advantages, ..] = chunk.arrays().map(&mut data);
            let density = policy.distribution(&phi, states).log_density(actions);
            let part = -(density * advantages).sum();
            total = Some(total.map_or(part, |total| total + part));
        }
        let g = grad_params(total.expect("a chunk at least"), &phi);
        phi = phi.zip_map(&g, |&phi, &g| phi - g * rate);
    }
    let query = case.task.query();
    let mut total = None;
    for chunk in &query.chunks {
        let [states, actions, advantages, _, mean] = chunk.arrays().map(&mut data);
        let log_std = data(&query.old_log_std);
        let old = crate::Gaussian { mean, log_std };
        let now = policy.distribution(&phi, states);
        let ratio = (now.log_density(actions) - old.log_density(actions)).exp();
        let part = -(ratio * advantages).sum();
        total = Some(total.map_or(part, |total| total + part));
    }
    let whole = grad_params(total.expect("a chunk at least"), &theta);
    let got: Vec<f64> = check::evaluate(&graph, whole.values(), &values)
        .iter()
        .flat_map(|t| t.iter().collect::<Vec<_>>())
        .collect();
    let tensor = |values: Vec<f64>| Tensor::from_f64(&[values.len()], values);
    check::assert_close("outer gradient", &tensor(gradient), &tensor(got), 1e-11);
}

#[test]
fn the_fisher_product_is_the_hessian_of_the_divergence() {
    for (method, steps) in DIFFERENTIATED {
        let mut case = case(method, steps);
        let (u, v) = (case.direction(1), case.direction(2));
        let Case { task, shared, worker, .. } = &mut case;
        let product = task.fisher_product(shared, &mut worker.memory, &v);
        let other = task.fisher_product(shared, &mut worker.memory, &u);
        let name = format!("{method:?}, {steps} steps");
        close(&format!("{name}, symmetry"), dot(&product, &u), dot(&other, &v), 1e-10);
        // The divergence and its gradient vanish at θ, so D(h v) + D(−h v) = h² vᵀ A v + O(h⁴).
        let h = 1e-3;
        let even = |case: &mut Case, h: f64| case.moved(&v, h)[1] + case.moved(&v, -h)[1];
        let (small, large) = (even(&mut case, h), even(&mut case, 2.0 * h));
        let difference = (16.0 * small - large) / (12.0 * h * h);
        close(&name, dot(&product, &v), difference, 1e-6);
    }
}

#[test]
fn a_wrong_product_is_noticed() {
    let mut case = case(Method::Maml, 1);
    let v = case.direction(2);
    // Without the derivative of the inner step, as in a first-order method.
    case.shared.method = Method::Fomaml;
    let Case { task, shared, worker, .. } = &mut case;
    let product = task.fisher_product(shared, &mut worker.memory, &v);
    let h = 1e-3;
    let difference = (case.moved(&v, h)[1] + case.moved(&v, -h)[1]) / (h * h);
    let error = (dot(&product, &v) - difference).abs();
    assert!(error > 1e-3 * difference, "{error:e} of {difference:e}");
}

#[test]
fn methods_agree_where_they_must() {
    let gradient = |method, steps| {
        let mut case = case(method, steps);
        case.task.gradient(&case.shared, &mut case.worker.memory)
    };
    assert_eq!(gradient(Method::Maml, 0), gradient(Method::Fomaml, 0));
    assert_eq!(gradient(Method::Maml, 2), gradient(Method::MultiStep { window: 1 }, 2));
    assert_ne!(gradient(Method::Maml, 1), gradient(Method::Fomaml, 1));
    assert_ne!(gradient(Method::Maml, 1), gradient(Method::Anil, 1));
    // θ − φ_1 = α g_0
    let mut case = case(Method::Reptile, 1);
    let way = case.task.displacement(&case.shared);
    let (programs, phi) = (&case.shared.programs, &case.task.phi[0]);
    let program = &programs.policy_gradient;
    let g = programs.vector(program, &mut case.worker.memory, [phi, phi], &case.task.support[0]);
    for (way, g) in way.iter().zip(g) {
        assert!((way - 0.4 * g).abs() <= 1e-15, "{way:e} and {g:e}");
    }
}

#[test]
fn ppo_starts_along_the_surrogate_and_stops_at_the_clip() {
    let mut case = case(Method::Maml, 1);
    let Case { task, shared, worker, theta } = &mut case;
    let at_start = task.gradient(shared, &mut worker.memory);
    let clipped = task.clipped_gradient(shared, &mut worker.memory);
    for (a, b) in at_start.iter().zip(&clipped) {
        assert!((a - b).abs() <= 1e-12, "{a:e} {b:e}");
    }
    // Far away, ratios are out of bounds on one side or the other.
    let far: Vec<f64> = theta.iter().map(|t| t + 0.5).collect();
    let far = shared.programs.params(&far);
    task.readapt(shared, &mut worker.memory, &far);
    let [free, clipped] = [
        task.gradient(shared, &mut worker.memory),
        task.clipped_gradient(shared, &mut worker.memory),
    ];
    assert!(free.iter().zip(&clipped).any(|(a, b)| (a - b).abs() > 1e-3 * a.abs()));
}

fn settings(method: Method, outer: Outer) -> Settings {
    Settings {
        seed: 4,
        dtype: Dtype::F32,
        meta_batch_size: 3,
        trajectories: 4,
        advantage: ADVANTAGE,
        inner: InnerLoop { method, rate: 0.5, steps: 1 },
        outer,
    }
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn run(settings: &Settings, threads: usize) -> MetaRl {
    MetaRl::new(settings.clone(), policy(), environment(), pool(threads))
}

const ADAM: Optimizer =
    Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let plain = Outer::Plain { optimizer: ADAM, rate: 0.01 };
    let ppo = Outer::Ppo { clip: 0.2, epochs: 3, optimizer: ADAM, rate: 0.01 };
    for (method, outer) in [
        (Method::Maml, Outer::Trpo(Trpo::default())),
        (Method::Fomaml, ppo),
        (Method::Anil, Outer::Trpo(Trpo::default())),
        (Method::Reptile, plain),
        (Method::MultiStep { window: 2 }, plain),
    ] {
        let settings = settings(method, outer);
        let [mut one, mut three] = [1, 3].map(|threads| run(&settings, threads));
        for _ in 0..2 {
            let (a, b) = (one.step().unwrap(), three.step().unwrap());
            assert_eq!(a, b, "{method:?}");
        }
        assert_eq!(one.theta.values(), three.theta.values(), "{method:?}");
        assert_ne!(one.theta.values(), run(&settings, 1).theta.values(), "{method:?} moved");
        let never = AtomicBool::new(false);
        let [one, three] = [one, three].map(|run| run.test(3, 2, 4, &never).unwrap());
        assert_eq!(one, three, "{method:?}");
    }
}

/// Navigation that sets `stop` as the `at`-th episode begins.
struct Stopping {
    point: Navigation2d,
    at: usize,
    begun: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Environment for Stopping {
    fn observation_space(&self) -> Space {
        self.point.observation_space()
    }

    fn action_space(&self) -> Space {
        self.point.action_space()
    }

    fn horizon(&self) -> usize {
        self.point.horizon()
    }

    fn set_task(&mut self, key: Key) {
        self.point.set_task(key);
    }

    fn reset(&mut self, key: Key, observation: &mut [f64]) {
        if self.begun.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.point.reset(key, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        self.point.step(action, observation)
    }
}

/// A test that is stopped as its `at`-th episode begins ends with the adaptation step that this episode belongs to.
/// Returns the number of episodes begun, and whether those were all. One thread, three tasks, two steps.
fn stopped_test(evolution: bool, at: usize) -> (usize, bool) {
    let (begun, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (episodes, heard) = (begun.clone(), stop.clone());
    let make: MakeEnvironment = Box::new(move || {
        let point = Navigation2d::new(Observation::State);
        Box::new(Stopping { point, at, begun: episodes.clone(), stop: heard.clone() })
    });
    let rows = if evolution {
        let settings = EsMaml { queries: 3, ..EsMaml::default() };
        EsTrainer::new(settings, 4, policy(), make, pool(1)).test(3, 2, &stop)
    } else {
        let settings = settings(Method::Maml, Outer::Trpo(Trpo::default()));
        MetaRl::new(settings, policy(), make, pool(1)).test(3, 2, 4, &stop)
    };
    assert!(rows.iter().flatten().all(|row| row.len() == 3), "{rows:?}");
    (begun.load(Ordering::Relaxed), rows.is_some_and(|rows| rows.len() == 3))
}

#[test]
fn a_test_stops_between_two_steps() {
    for evolution in [false, true] {
        // Four episodes per step, twelve per task.
        for (at, ends) in [(1, 4), (4, 4), (5, 8), (12, 12), (17, 20), (32, 32)] {
            assert_eq!(stopped_test(evolution, at), (ends, false), "evolution: {evolution}");
        }
        for at in [33, 36, 37] {
            assert_eq!(stopped_test(evolution, at), (36, true), "evolution: {evolution}");
        }
    }
}

#[test]
fn a_trust_region_step_helps_and_stays_inside() {
    let mut run = run(&settings(Method::Maml, Outer::Trpo(Trpo::default())), 1);
    let report = run.step().unwrap();
    let trust = report.trust.expect("TRPO's report");
    assert!(trust.share > 0.0, "{trust:?}");
    assert!(trust.losses[1] < trust.losses[0], "{trust:?}");
    assert!(trust.divergence > 0.0 && trust.divergence <= 0.01, "{trust:?}");
}

#[test]
fn a_run_that_diverges_says_so_and_stays() {
    let mut settings = settings(Method::Maml, Outer::Plain { optimizer: ADAM, rate: 0.01 });
    settings.inner.rate = 1e30;
    let mut run = run(&settings, 1);
    let before = run.theta.clone();
    let error = run.step().unwrap_err();
    assert!(!error.value.is_finite(), "{error:?}");
    assert_eq!((run.theta.values(), run.iteration), (before.values(), 0));
}
