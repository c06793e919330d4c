//! Makes the Hessian visible: what an inner loop encounters along its path, and how close approximations come to the
//! exact meta-gradient.
//!
//! The quantities follow section 3 of SHOT (Lee, Yoo, Kwak 2023, arXiv 2310.02751), which measures cosines between the
//! inner loop's overall direction and its gradients, and the loss along the gradient and along a random direction;
//! norms and curvatures by Hessian-vector products and extreme eigenvalues are added to them.
//!
//! Everything refers to the parameters that the inner loop moves: `g_k = ∇L_S(φ_k)` and `H_k = ∇²L_S(φ_k)`, both over
//! the whole support set, even where inner steps take minibatches.

mod approximations;
mod lanczos;
mod probe;

use innerloop_engine::check::random;
use innerloop_engine::{Dtype, Key, Tensor};

use crate::{
    AdaptWorker, Adapter, Algorithm, Learner, Losses, MetaState, Problem, Setup, StepLosses,
    TaskData, TaskResult, Worker,
};
use approximations::Approximation;
pub use lanczos::{Extremes, extreme_eigenvalues};
use probe::{Probe, ProbeWorker};

/// What an inner loop encounters at φ_k.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDiagnosis {
    /// `L_S(φ_k)`
    pub support_loss: f64,
    /// `L_Q(φ_k)`
    pub query_loss: f64,
    /// `‖g_k‖`
    pub gradient_norm: f64,
    /// `‖H_k g_k‖`
    pub hessian_gradient_norm: f64,
    /// `g_kᵀ H_k g_k`
    pub gradient_hessian_gradient: f64,
    /// `g_kᵀ H_k g_k / ‖g_k‖²`: curvature along the gradient.
    pub curvature: f64,
    /// Largest eigenvalue of `H_k`, by Lanczos: a lower bound that a few steps bring close.
    pub top_eigenvalue: f64,
    /// Smallest eigenvalue of `H_k`, in the same way: an upper bound.
    pub bottom_eigenvalue: f64,
    /// `cos(g_k, g_0)`
    pub cosine_with_first: f64,
    /// `cos(θ − φ_K, g_k)`: 1 where the gradient points along the overall path.
    pub cosine_with_path: f64,
    /// `cos(∇L_S(φ_k), ∇L_Q(φ_k))`
    pub support_query_cosine: f64,
}

impl StepDiagnosis {
    /// Every quantity with its name.
    pub fn named(&self) -> [(&'static str, f64); 11] {
        [
            ("support_loss", self.support_loss),
            ("query_loss", self.query_loss),
            ("gradient_norm", self.gradient_norm),
            ("hessian_gradient_norm", self.hessian_gradient_norm),
            ("gradient_hessian_gradient", self.gradient_hessian_gradient),
            ("curvature", self.curvature),
            ("top_eigenvalue", self.top_eigenvalue),
            ("bottom_eigenvalue", self.bottom_eigenvalue),
            ("cosine_with_first", self.cosine_with_first),
            ("cosine_with_path", self.cosine_with_path),
            ("support_query_cosine", self.support_query_cosine),
        ]
    }
}

/// How close an approximation comes to the exact meta-gradient with respect to what is learned of θ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Cosine with the exact one.
    pub cosine: f64,
    /// Its norm over that of the exact one.
    pub ratio: f64,
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskDiagnosis {
    /// At `φ_0 … φ_K`.
    pub steps: Vec<StepDiagnosis>,
    /// `‖φ_K − θ‖`
    pub displacement: f64,
    /// `Σ ‖φ_{k+1} − φ_k‖`
    pub path_length: f64,
    /// Displacement divided by path length: 1 for a straight path.
    pub straightness: f64,
    /// Alignment of each approximation, in the order of [`Diagnostics::approximations`].
    pub alignments: Vec<Alignment>,
    /// Losses along lines from θ, at the points of [`LINE`]: support and query loss down the support gradient, then
    /// both along a random direction.
    pub lines: Vec<[f64; 4]>,
}

/// Points on the lines of [`TaskDiagnosis::lines`], as multiples of the length of the first inner step.
pub const LINE: [f64; 11] = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0];

/// Everything compiled, for the inner loop of an algorithm on a problem.
pub struct Diagnostics {
    probe: Probe,
    adapter: Adapter,
    exact: Option<(Approximation, Learner)>,
    others: Vec<(Approximation, Learner)>,
    steps: usize,
    lanczos: usize,
}

/// Memory of one thread for [`Diagnostics`].
pub struct DiagnosticsWorker {
    probe: ProbeWorker,
    adapter: AdaptWorker,
    exact: Option<(Worker, TaskResult)>,
    others: Vec<(Worker, TaskResult)>,
}

impl Diagnostics {
    /// For `K = setup.steps` inner steps; eigenvalues are found with `lanczos` Hessian-vector products.
    ///
    /// The exact meta-gradient is that of the query loss through the algorithm's own inner steps. An implicit gradient
    /// is compared with the same: proximal steps, also differentiated through their dependence on θ.
    pub fn new<'a>(
        problem: &dyn Problem,
        algorithm: impl Fn() -> Box<dyn Algorithm> + 'a,
        setup: Setup,
        lanczos: usize,
    ) -> Diagnostics {
        let setup = Setup {
            losses: Losses::Training,
            grouping: crate::Grouping::Single,
            strategy: crate::Strategy::Auto,
            ..setup
        };
        let compiled = |approximation: Approximation| {
            let learner = Learner::new(problem, &approximation, setup);
            (approximation, learner)
        };
        let base = algorithm();
        let (exact, others) = approximations::of(problem, &algorithm, setup.steps);
        Diagnostics {
            probe: Probe::new(problem, base.as_ref(), setup.steps),
            adapter: Adapter::new(problem, base.as_ref(), (setup.steps, setup.steps), setup.batch),
            exact: exact.map(compiled),
            others: others.into_iter().map(compiled).collect(),
            steps: setup.steps,
            lanczos,
        }
    }

    /// Names of the approximations that are compared with the exact meta-gradient.
    pub fn approximations(&self) -> Vec<&str> {
        self.others.iter().map(|(approximation, _)| approximation.label.as_str()).collect()
    }

    /// Memory for one thread.
    pub fn worker(&self, dtype: Dtype) -> DiagnosticsWorker {
        let room = |(_, learner): &(_, Learner)| (learner.worker(dtype), learner.result(dtype));
        DiagnosticsWorker {
            probe: self.probe.worker(dtype),
            adapter: self.adapter.worker(dtype),
            exact: self.exact.as_ref().map(room),
            others: self.others.iter().map(room).collect(),
        }
    }

    /// Diagnoses a task at some meta-parameters. Undefined quantities, such as the cosine of a zero vector, are NaN.
    pub fn run(
        &self,
        problem: &dyn Problem,
        worker: &mut DiagnosticsWorker,
        meta: &MetaState,
        task: TaskData<'_>,
    ) -> TaskDiagnosis {
        let mut path: Vec<Vec<f64>> = Vec::with_capacity(self.steps + 1);
        let mut losses = StepLosses::default();
        self.adapter.run(&mut worker.adapter, meta, task, &mut losses, |at| {
            path.push(at.fast.iter().flat_map(Tensor::iter).collect());
        });
        let (start, end) = (&path[0], &path[self.steps]);
        let way = minus(start, end);
        let mut first = Vec::new();
        let mut steps = Vec::with_capacity(self.steps + 1);
        for (k, phi) in path.iter().enumerate() {
            let mut at = self.probe.at(&mut worker.probe, meta, task, k);
            let (support_loss, g) = at.support(phi);
            let (query_loss, q) = at.query(phi);
            let hg = at.hessian_times(phi, &g);
            let key = task.key.with_stream("lanczos");
            let direction = random(key, &[phi.len()], 1.0);
            let eigenvalues = extreme_eigenvalues(
                |v| at.hessian_times(phi, v),
                &direction.iter().collect::<Vec<_>>(),
                self.lanczos,
            );
            if k == 0 {
                first = g.clone();
            }
            let ghg = dot(&g, &hg);
            steps.push(StepDiagnosis {
                support_loss,
                query_loss,
                gradient_norm: norm(&g),
                hessian_gradient_norm: norm(&hg),
                gradient_hessian_gradient: ghg,
                curvature: ghg / dot(&g, &g),
                top_eigenvalue: eigenvalues.largest,
                bottom_eigenvalue: eigenvalues.smallest,
                cosine_with_first: cosine(&g, &first),
                cosine_with_path: cosine(&way, &g),
                support_query_cosine: cosine(&g, &q),
            });
        }
        let path_length = path.windows(2).map(|pair| norm(&minus(&pair[1], &pair[0]))).sum::<f64>();
        let displacement = norm(&way);
        let step = path.get(1).map_or(0.0, |next| norm(&minus(next, start)));
        TaskDiagnosis {
            steps,
            displacement,
            path_length,
            straightness: straightness(displacement, path_length),
            alignments: self.alignments(problem, worker, meta, task),
            lines: self.lines((&mut worker.probe, meta, task), start, (&first, step)),
        }
    }

    fn alignments(
        &self,
        problem: &dyn Problem,
        worker: &mut DiagnosticsWorker,
        meta: &MetaState,
        task: TaskData<'_>,
    ) -> Vec<Alignment> {
        let gradient = |(of, learner): &(Approximation, Learner),
                        room: &mut (Worker, TaskResult)| {
            let meta = of.meta(problem, meta, self.steps);
            learner.run(&mut room.0, &meta, task, &mut room.1);
            let theta = problem.parameters();
            let of_theta = room.1.gradient.filter(|name| theta.get(name).is_some());
            of_theta.values().iter().flat_map(Tensor::iter).collect::<Vec<f64>>()
        };
        let (Some(exact), Some(room)) = (&self.exact, &mut worker.exact) else {
            return Vec::new();
        };
        let exact = gradient(exact, room);
        let compare = |(of, room)| {
            let g = gradient(of, room);
            Alignment { cosine: cosine(&g, &exact), ratio: norm(&g) / norm(&exact) }
        };
        self.others.iter().zip(&mut worker.others).map(compare).collect()
    }

    /// Losses at `θ − t s d` with `s` the length of the first step and `d` a unit vector.
    fn lines(
        &self,
        (worker, meta, task): (&mut ProbeWorker, &MetaState, TaskData<'_>),
        start: &[f64],
        (gradient, step): (&[f64], f64),
    ) -> Vec<[f64; 4]> {
        let key = Key::with_stream(task.key, "line");
        let random: Vec<f64> = random(key, &[start.len()], 1.0).iter().collect();
        let mut at = self.probe.at(worker, meta, task, 0);
        let mut losses = |t: f64, direction: &[f64]| {
            let size = norm(direction);
            let by = if size > 0.0 { t * step / size } else { 0.0 };
            let phi: Vec<f64> = start.iter().zip(direction).map(|(x, d)| x - by * d).collect();
            [at.support(&phi).0, at.query(&phi).0]
        };
        let both = |t| {
            let ([a, b], [c, d]) = (losses(t, gradient), losses(t, &random));
            [a, b, c, d]
        };
        LINE.into_iter().map(both).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (norm(a) * norm(b))
}

/// Displacement divided by path length; 1 where rounding makes it straighter than a line, NaN where one of them is not
/// a number or there is no path.
fn straightness(displacement: f64, path_length: f64) -> f64 {
    let straightness = displacement / path_length;
    if straightness > 1.0 && path_length > 0.0 { 1.0 } else { straightness }
}

#[cfg(test)]
mod tests {
    use super::straightness;

    #[test]
    fn what_is_undefined_is_no_straight_path() {
        assert_eq!(straightness(1.0, 2.0), 0.5);
        assert_eq!(straightness(1.0 + f64::EPSILON, 1.0), 1.0);
        let infinite = f64::INFINITY;
        for (displacement, path) in [(0.0, 0.0), (infinite, infinite), (f64::NAN, 1.0)] {
            assert!(straightness(displacement, path).is_nan(), "{displacement} of {path}");
        }
    }
}
