//! ES-MAML: Song et al. 2020, arXiv 1910.01215, Algorithms 2 and 3 (ES adaptation, antithetic).
//!
//! f(θ)   return of one episode of the deterministic policy `a = μ_θ(s)`
//! U(θ)   = θ + α/(n σ) Σ_{i≤n} (f(θ + σ g_i) − f(θ)) g_i        adaptation, g_i ~ N(0, I), n episodes
//! θ ← θ + η/(2 m σ) Σ_{i≤m} (F(θ + σ h_i) − F(θ − σ h_i)) h_i     F(θ) = f(U(θ)) on the perturbation's own task
//!
//! No derivative is taken, not even of the policy.
//!
//! Departures: the paper's code normalises returns; here the differences in a sum are divided by their standard
//! deviation, in both loops. A new task is drawn for every perturbation instead of one for all of them; the F values of
//! its two signs are on the same task.

use std::sync::atomic::{AtomicBool, Ordering};

use innerloop_engine::{Dtype, Graph, Key, Params, Program, Tensor, Workspace, vmap};
use rand_distr::{Distribution, StandardNormal};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::{Environment, MakeEnvironment, Policy, Space};

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EsMaml {
    /// σ of both loops.
    pub sigma: f64,
    /// n, the perturbations of an adaptation.
    pub queries: usize,
    /// α.
    pub inner_rate: f64,
    /// m, the antithetic pairs of an outer step.
    pub perturbations: usize,
    /// η.
    pub outer_rate: f64,
    /// Adaptation steps in training.
    pub steps: usize,
    /// Element type of parameters and policies. θ is updated in double precision and rounded to it after each step.
    pub dtype: Dtype,
}

impl Default for EsMaml {
    fn default() -> EsMaml {
        EsMaml {
            sigma: 0.1,
            queries: 20,
            inner_rate: 0.05,
            perturbations: 150,
            outer_rate: 0.01,
            steps: 1,
            dtype: Dtype::F32,
        }
    }
}

/// What one outer iteration measured.
#[derive(Clone, Debug, PartialEq)]
pub struct EsReport {
    /// Iterations done, this one included.
    pub iteration: u64,
    /// Mean return of the perturbed policies after adaptation.
    pub adapted: f64,
    /// Steps acted in environments.
    pub environment_steps: usize,
}

/// A run in memory.
pub struct EsTrainer {
    settings: EsMaml,
    seed: u64,
    policy: Policy,
    /// Initial parameters θ of the policy.
    pub theta: Params<Tensor>,
    /// Iterations done.
    pub iteration: u64,
    make: MakeEnvironment,
    mean: Program,
    pool: ThreadPool,
}

/// The resources of one thread: environments for `n + 1` policies that act side by side.
struct Arena {
    workspace: Workspace,
    environments: Vec<Box<dyn Environment>>,
    bounds: Space,
    steps: usize,
}

impl EsTrainer {
    /// A run at its start. Panics when the environment's spaces do not match the policy's.
    #[track_caller]
    pub fn new(
        settings: EsMaml,
        seed: u64,
        policy: Policy,
        make: MakeEnvironment,
        pool: ThreadPool,
    ) -> EsTrainer {
        let environment = make();
        let spaces = [environment.observation_space().len(), environment.action_space().len()];
        assert_eq!(
            spaces,
            [policy.observations(), policy.actions()],
            "spaces differ from the policy's"
        );
        // Every policy has its own parameters, and a single state.
        let one = Graph::new();
        let params = policy.parameters().map_named(|name, shape| one.input(name, shape));
        let state = one.input("observation", &[1, policy.observations()]);
        let mean = policy.distribution(&params, state).mean;
        let many = Graph::new();
        let mapped = vec![true; params.len() + 1];
        let means = vmap(&many, &[mean], &mapped, settings.queries + 1)
            .expect("products and activations have vectorised forms");
        EsTrainer {
            theta: policy.initial(Key::new(seed), settings.dtype),
            mean: Program::compile(&many, &means),
            iteration: 0,
            settings,
            seed,
            policy,
            make,
            pool,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    fn arena(&self) -> Arena {
        let environments: Vec<_> = (0..=self.settings.queries).map(|_| (self.make)()).collect();
        Arena {
            workspace: self.mean.workspace(self.settings.dtype),
            bounds: environments[0].action_space(),
            environments,
            steps: 0,
        }
    }

    /// Returns of one episode under each of the policies, of which there are at most `n + 1`.
    fn returns(&self, arena: &mut Arena, policies: &[Vec<f64>], episode: Key) -> Vec<f64> {
        let Arena { workspace, environments, bounds, steps } = arena;
        let places = environments.len();
        let (seen, acted) = (self.policy.observations(), self.policy.actions());
        let stacked = self.stack(policies, places);
        let mut states = vec![0.0; places * seen];
        let mut live = vec![true; policies.len()];
        let mut sums = vec![0.0; policies.len()];
        for (i, environment) in environments.iter_mut().enumerate().take(policies.len()) {
            environment.reset(episode, &mut states[i * seen..][..seen]);
        }
        let mut action = vec![0.0; acted];
        while live.contains(&true) {
            for (i, value) in stacked.iter().enumerate() {
                workspace.set(i, value);
            }
            let observed = Tensor::from_f64(&[places, 1, seen], states.clone());
            workspace.set(stacked.len(), &observed);
            self.mean.run(workspace);
            let means = workspace.output(0);
            for i in (0..policies.len()).filter(|&i| live[i]).collect::<Vec<_>>() {
                for (j, action) in action.iter_mut().enumerate() {
                    *action = bounds.action(j, means.get(i * acted + j));
                }
                let step = environments[i].step(&action, &mut states[i * seen..][..seen]);
                sums[i] += step.reward;
                *steps += 1;
                live[i] = !(step.terminated || step.truncated);
            }
        }
        sums
    }

    /// Parameters of several policies, stacked tensor by tensor; the first policy fills the unused places.
    fn stack(&self, policies: &[Vec<f64>], places: usize) -> Vec<Tensor> {
        let mut first = 0;
        let one = |shape: &Vec<usize>| {
            let n: usize = shape.iter().product();
            let filled = policies.iter().chain(std::iter::repeat(&policies[0])).take(places);
            let values = filled.flat_map(|policy| &policy[first..first + n]).copied();
            let whole = [&[places], shape.as_slice()].concat();
            let tensor = Tensor::from_f64(&whole, values.collect()).cast(self.settings.dtype);
            first += n;
            tensor
        };
        self.policy.parameters().values().iter().map(one).collect()
    }

    /// `U(θ)`, and `f(θ)` before it.
    fn adapt(&self, arena: &mut Arena, theta: &[f64], key: Key) -> (Vec<f64>, f64) {
        let EsMaml { sigma, queries, inner_rate, .. } = self.settings;
        let noise = directions(key.with_stream("adaptation"), queries, theta.len());
        let mut policies = vec![theta.to_vec()];
        policies.extend(noise.iter().map(|g| moved(theta, sigma, g)));
        let returns = self.returns(arena, &policies, key);
        let differences: Vec<f64> = returns[1..].iter().map(|f| f - returns[0]).collect();
        let adapted = ascend(theta, &noise, &differences, inner_rate / (queries as f64 * sigma));
        (adapted, returns[0])
    }

    /// `U` as many times as in training, then f.
    fn adapted_return(&self, arena: &mut Arena, theta: &[f64], key: Key) -> f64 {
        let mut phi = theta.to_vec();
        for step in 0..self.settings.steps {
            (phi, _) = self.adapt(arena, &phi, key.with_stream(&format!("step {step}")));
        }
        self.returns(arena, &[phi], key)[0]
    }

    /// One outer iteration.
    pub fn step(&mut self) -> EsReport {
        let EsMaml { sigma, perturbations, outer_rate, .. } = self.settings;
        let theta = self.flat();
        let key = Key::new(self.seed).with_stream("evolution");
        let noise = directions(key.at(self.iteration, 0), perturbations, theta.len());
        let pair = |arena: &mut Arena, (i, h): (usize, &Vec<f64>)| {
            let task = key.with_stream("task").at(self.iteration, i as u64);
            arena.environments.iter_mut().for_each(|environment| environment.set_task(task));
            arena.steps = 0;
            let both =
                [sigma, -sigma].map(|way| self.adapted_return(arena, &moved(&theta, way, h), task));
            (both, arena.steps)
        };
        // Collected in order, so that it does not matter which thread took a pair.
        let pairs: Vec<([f64; 2], usize)> = self
            .pool
            .install(|| noise.par_iter().enumerate().map_init(|| self.arena(), pair).collect());
        let differences: Vec<f64> = pairs.iter().map(|([up, down], _)| up - down).collect();
        let scale = outer_rate / (2.0 * perturbations as f64 * sigma);
        let next = ascend(&theta, &noise, &differences, scale);
        self.theta = self.unflat(&next);
        self.iteration += 1;
        EsReport {
            iteration: self.iteration,
            adapted: pairs.iter().map(|([up, down], _)| 0.5 * (up + down)).sum::<f64>()
                / perturbations as f64,
            environment_steps: pairs.iter().map(|(_, steps)| steps).sum(),
        }
    }

    /// Return on test tasks after 0 to `steps` adaptations: one row per task. `None` when `stop` turns true before the
    /// last adaptation of the last task has begun.
    pub fn test(&self, tasks: usize, steps: usize, stop: &AtomicBool) -> Option<Vec<Vec<f64>>> {
        let theta = self.flat();
        let row = |arena: &mut Arena, task: usize| {
            let key = crate::MetaRl::test_key(self.seed, task);
            arena.environments.iter_mut().for_each(|environment| environment.set_task(key));
            let mut phi = theta.clone();
            let mut row = Vec::new();
            for step in 0..=steps {
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
                let key = key.with_stream(&format!("step {step}"));
                let (next, now) = self.adapt(arena, &phi, key);
                row.push(now);
                phi = next;
            }
            Some(row)
        };
        self.pool.install(|| (0..tasks).into_par_iter().map_init(|| self.arena(), row).collect())
    }

    fn flat(&self) -> Vec<f64> {
        self.theta.values().iter().flat_map(Tensor::iter).collect()
    }

    fn unflat(&self, flat: &[f64]) -> Params<Tensor> {
        let mut rest = flat;
        self.theta.map(|tensor| {
            let (own, behind) = rest.split_at(tensor.len());
            rest = behind;
            Tensor::from_f64(tensor.shape(), own.to_vec()).cast(self.settings.dtype)
        })
    }
}

/// `n` vectors from N(0, I).
fn directions(key: Key, n: usize, len: usize) -> Vec<Vec<f64>> {
    let mut rng = key.with_stream("directions").rng();
    let mut one = || (0..len).map(|_| StandardNormal.sample(&mut rng)).collect();
    (0..n).map(|_| one()).collect()
}

fn moved(theta: &[f64], way: f64, direction: &[f64]) -> Vec<f64> {
    theta.iter().zip(direction).map(|(t, d)| t + way * d).collect()
}

/// `θ + scale Σ w_i g_i`, with the differences divided by their standard deviation as weights.
fn ascend(theta: &[f64], directions: &[Vec<f64>], differences: &[f64], scale: f64) -> Vec<f64> {
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / n;
    let mut next = theta.to_vec();
    for (direction, difference) in directions.iter().zip(differences) {
        let weight = scale * difference / (variance.sqrt() + 1e-8);
        next.iter_mut().zip(direction).for_each(|(t, d)| *t += weight * d);
    }
    next
}

#[cfg(test)]
mod tests {
    use innerloop_nn::Activation;

    use super::*;
    use crate::{Navigation2d, Observation};

    fn trainer(threads: usize) -> EsTrainer {
        trainer_of(Dtype::F32, threads)
    }

    fn trainer_of(dtype: Dtype, threads: usize) -> EsTrainer {
        let settings = EsMaml { queries: 4, perturbations: 3, dtype, ..EsMaml::default() };
        let policy = Policy::new(2, &[], 2, Activation::Relu);
        let make: MakeEnvironment = Box::new(|| Box::new(Navigation2d::new(Observation::State)));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        EsTrainer::new(settings, 6, policy, make, pool)
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let [mut one, mut three] = [1, 3].map(trainer);
        for _ in 0..2 {
            assert_eq!(one.step(), three.step());
        }
        assert_eq!(one.theta.values(), three.theta.values());
        assert_ne!(one.theta.values(), trainer(1).theta.values());
        let never = AtomicBool::new(false);
        assert_eq!(one.test(3, 1, &never).unwrap(), three.test(3, 1, &never).unwrap());
    }

    #[test]
    fn either_precision_is_used() {
        let [mut single, mut double] = [Dtype::F32, Dtype::F64].map(|dtype| trainer_of(dtype, 1));
        let (single_report, double_report) = (single.step(), double.step());
        assert!(double.theta.values().iter().all(|tensor| tensor.dtype() == Dtype::F64));
        let difference = (single_report.adapted - double_report.adapted).abs();
        assert!(difference > 0.0 && difference <= 1e-2, "{single_report:?} {double_report:?}");
    }

    #[test]
    fn policies_side_by_side_act_as_alone() {
        let trainer = trainer(1);
        let mut arena = trainer.arena();
        let task = Key::new(8);
        arena.environments.iter_mut().for_each(|environment| environment.set_task(task));
        let policies: Vec<Vec<f64>> =
            (0..5).map(|i| moved(&trainer.flat(), 0.1 * f64::from(i), &[1.0; 8])).collect();
        let together = trainer.returns(&mut arena, &policies, task);
        for (policy, together) in policies.iter().zip(&together) {
            let alone = trainer.returns(&mut arena, std::slice::from_ref(policy), task);
            assert_eq!(alone, [*together]);
        }
        assert_ne!(together[0], together[1]);
    }

    #[test]
    fn the_estimate_climbs_a_slope() {
        // f(θ) = ⟨c, θ⟩: Σ ⟨c, g⟩ g points along c.
        let c = [1.0, -2.0, 0.5];
        let noise = directions(Key::new(1), 4000, 3);
        let differences: Vec<f64> =
            noise.iter().map(|g| g.iter().zip(c).map(|(g, c)| g * c).sum()).collect();
        let norm = c.iter().map(|c| c * c).sum::<f64>().sqrt();
        // Divided by the deviation |c|, the mean over directions is c / |c|.
        let way = ascend(&[0.0; 3], &noise, &differences, 1.0 / 4000.0);
        for (way, c) in way.iter().zip(c) {
            assert!((way - c / norm).abs() <= 0.06, "{way} beside {}", c / norm);
        }
    }
}
