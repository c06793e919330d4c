//! The outer loop of meta-reinforcement learning.
//!
//! ```text
//! for iteration:
//!     for task in meta-batch:                                                  in parallel
//!         for each inner step: trajectories with φ_k; φ_{k+1} = φ_k − α M ∇L_k(φ_k)
//!         trajectories with φ_K; g_t = Jᵀ ∇L_Q(φ_K)
//!     g = mean over tasks, in task order
//!     θ ← TRPO, PPO or an optimizer
//! ```

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use innerloop_engine::{Dtype, Key, Params, Tensor};
use innerloop_meta::outer::{Optimizer, OptimizerState};
use rayon::ThreadPool;

use crate::adaptation::{Shared, Task, Worker};
use crate::crew::Crew;
use crate::programs::{Programs, StepPrograms};
use crate::{Advantage, InnerLoop, MakeEnvironment, Method, Policy, Rollouts, Trpo};

/// How θ moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outer {
    /// Within a trust region of the adapted policies.
    Trpo(Trpo),
    /// Several steps on the clipped surrogate of the same trajectories, each going through the inner loop anew:
    /// Schulman et al. 2017, arXiv 1707.06347, with the adapted policy in place of the policy.
    Ppo {
        /// ε.
        clip: f64,
        /// Steps on the same trajectories.
        epochs: usize,
        /// The optimizer that takes them.
        optimizer: Optimizer,
        /// Their rate.
        rate: f64,
    },
    /// One step along the meta-gradient.
    Plain {
        /// The optimizer that takes it.
        optimizer: Optimizer,
        /// Its rate.
        rate: f64,
    },
}

/// Everything that determines the results of a run, apart from environment and policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Source of all random numbers.
    pub seed: u64,
    /// Element type of parameters and programs.
    pub dtype: Dtype,
    /// Tasks per outer step.
    pub meta_batch_size: usize,
    /// Episodes per task for each inner step, and for the outer step.
    pub trajectories: usize,
    /// Returns and advantages.
    pub advantage: Advantage,
    /// The inner loop.
    pub inner: InnerLoop,
    /// The outer step.
    pub outer: Outer,
}

/// What one outer iteration measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Iterations done, this one included.
    pub iteration: u64,
    /// Mean return over tasks, first before any inner gradient, then after each.
    pub returns: Vec<f64>,
    /// Steps acted in environments.
    pub environment_steps: usize,
    /// Norm of the meta-gradient.
    pub gradient_norm: f64,
    /// What TRPO did, if it takes the outer step.
    pub trust: Option<Trust>,
}

/// A step within a trust region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trust {
    /// Surrogate loss of the adapted policies before and after.
    pub losses: [f64; 2],
    /// Mean divergence of the adapted policies after it from those before.
    pub divergence: f64,
    /// Fraction of the full step that the line search took; 0 where θ stayed.
    pub share: f64,
}

/// What went wrong in an iteration; θ is unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Diverged {
    /// What stopped being finite.
    pub what: &'static str,
    /// Its value.
    pub value: f64,
}

/// A run in memory.
pub struct MetaRl {
    settings: Settings,
    policy: Policy,
    /// Initial parameters θ of the policy.
    pub theta: Params<Tensor>,
    /// State of the outer optimizer, if there is one.
    pub optimizer: OptimizerState,
    /// Iterations done.
    pub iteration: u64,
    shared: Shared,
    crew: Crew,
}

impl MetaRl {
    /// A run at its start. Panics when the environment's spaces do not match the policy's.
    #[track_caller]
    pub fn new(
        settings: Settings,
        policy: Policy,
        make: MakeEnvironment,
        pool: ThreadPool,
    ) -> MetaRl {
        let environment = make();
        let spaces = [environment.observation_space().len(), environment.action_space().len()];
        assert_eq!(
            spaces,
            [policy.observations(), policy.actions()],
            "spaces differ from the policy's"
        );
        let step = match settings.outer {
            Outer::Trpo(_) => StepPrograms { fisher: true, clip: None },
            Outer::Ppo { clip, .. } => StepPrograms { fisher: false, clip: Some(clip) },
            Outer::Plain { .. } => StepPrograms { fisher: false, clip: None },
        };
        let programs = Programs::new(&policy, settings.trajectories, step, settings.dtype);
        let theta = policy.initial(Key::new(settings.seed), settings.dtype);
        let of = |name: &str| f64::from(settings.inner.method.adapts(name));
        let mask = theta.iter().flat_map(|(name, t)| std::iter::repeat_n(of(name), t.len()));
        let shared = Shared {
            mask: mask.collect(),
            advantage: settings.advantage,
            rates: settings.inner.training_rates(),
            method: settings.inner.method,
            programs,
        };
        MetaRl {
            crew: Crew::new(pool, || Worker::new(&make, &shared.programs)),
            optimizer: OptimizerState::new(&theta),
            iteration: 0,
            settings,
            policy,
            theta,
            shared,
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.crew.threads()
    }

    /// Runs one outer iteration. On an error nothing has changed.
    pub fn step(&mut self) -> Result<Report, Diverged> {
        let mut tasks = self.gather();
        let n = tasks.len() as f64;
        let stages = tasks[0].returns.len();
        let mean = |k: usize| tasks.iter().map(|task| task.returns[k]).sum::<f64>() / n;
        let mut report = Report {
            iteration: self.iteration + 1,
            returns: (0..stages).map(mean).collect(),
            environment_steps: tasks.iter().map(|task| task.steps).sum(),
            gradient_norm: 0.0,
            trust: None,
        };
        for &value in &report.returns {
            check("a return", value)?;
        }
        let gradient = self.gradient(&mut tasks);
        report.gradient_norm = crate::trpo::dot(&gradient, &gradient).sqrt();
        check("the norm of the meta-gradient", report.gradient_norm)?;
        let before = (self.theta.clone(), self.optimizer.clone());
        match self.settings.outer {
            Outer::Trpo(trpo) => report.trust = Some(self.trust(trpo, &mut tasks, &gradient)),
            Outer::Ppo { epochs, optimizer, rate, .. } => {
                for epoch in 0..epochs {
                    if epoch > 0 {
                        self.readapt(&mut tasks);
                    }
                    let clipped = |worker: &mut Worker, task: &mut Task| {
                        task.clipped_gradient(&self.shared, &mut worker.memory)
                    };
                    let gradient = self.mean(&mut tasks, clipped);
                    self.descend(optimizer, &gradient, rate);
                }
            }
            Outer::Plain { optimizer, rate } => self.descend(optimizer, &gradient, rate),
        }
        if !self.theta.values().iter().all(Tensor::is_finite) {
            (self.theta, self.optimizer) = before;
            return Err(Diverged { what: "a parameter after the outer step", value: f64::NAN });
        }
        self.iteration += 1;
        Ok(report)
    }

    /// Moves θ within a trust region.
    fn trust(&mut self, trpo: Trpo, tasks: &mut [Task], gradient: &[f64]) -> Trust {
        let theta = self.shared.programs.flat(&self.theta);
        let [loss, _] = self.evaluate(tasks, &self.theta);
        let tasks = RefCell::new(tasks);
        let step = trpo.step(
            &theta,
            (loss, gradient),
            |v| self.fisher_product(&mut tasks.borrow_mut(), v),
            |at| self.evaluate(&mut tasks.borrow_mut(), &self.shared.programs.params(at)),
        );
        self.theta = self.shared.programs.params(&step.theta);
        Trust { losses: [loss, step.loss], divergence: step.divergence, share: step.share }
    }

    /// The tasks of the current iteration, sampled and adapted.
    fn gather(&self) -> Vec<Task> {
        let key = Key::new(self.settings.seed).with_stream("train");
        let mut tasks: Vec<Task> = Vec::new();
        tasks.resize_with(self.settings.meta_batch_size, Task::default);
        self.crew.map(&mut tasks, |i, worker, task| {
            let key = key.at(self.iteration, i as u64);
            *task = self.shared.gather(worker, &self.theta, key, self.settings.trajectories);
        });
        tasks
    }

    /// Mean over tasks of a vector, in task order.
    fn mean(
        &self,
        tasks: &mut [Task],
        f: impl Fn(&mut Worker, &mut Task) -> Vec<f64> + Sync,
    ) -> Vec<f64> {
        let n = tasks.len() as f64;
        let all = self.crew.map(tasks, |_, worker, task| f(worker, task));
        let mut mean = vec![0.0; self.shared.mask.len()];
        for vector in &all {
            mean.iter_mut().zip(vector).for_each(|(mean, x)| *mean += x);
        }
        mean.iter_mut().for_each(|mean| *mean /= n);
        mean
    }

    fn gradient(&self, tasks: &mut [Task]) -> Vec<f64> {
        let shared = &self.shared;
        self.mean(tasks, |worker, task| match shared.method {
            Method::Reptile => task.displacement(shared),
            Method::Maml | Method::Fomaml | Method::Anil | Method::MultiStep { .. } => {
                task.gradient(shared, &mut worker.memory)
            }
        })
    }

    fn fisher_product(&self, tasks: &mut [Task], v: &[f64]) -> Vec<f64> {
        self.mean(tasks, |worker, task| task.fisher_product(&self.shared, &mut worker.memory, v))
    }

    /// Mean surrogate loss and divergence over tasks at another θ.
    fn evaluate(&self, tasks: &mut [Task], theta: &Params<Tensor>) -> [f64; 2] {
        let all = self
            .crew
            .map(tasks, |_, worker, task| task.evaluate(&self.shared, &mut worker.memory, theta));
        let n = all.len() as f64;
        [0, 1].map(|i| all.iter().map(|values| values[i]).sum::<f64>() / n)
    }

    fn readapt(&self, tasks: &mut [Task]) {
        let (shared, theta) = (&self.shared, &self.theta);
        self.crew.map(tasks, |_, worker, task| task.readapt(shared, &mut worker.memory, theta));
    }

    fn descend(&mut self, optimizer: Optimizer, gradient: &[f64], rate: f64) {
        let gradient = self.shared.programs.params(gradient);
        optimizer.step(&mut self.theta, &gradient, rate, &mut self.optimizer);
    }

    /// Mean return on tasks that training has not seen, after 0 to `steps` policy-gradient steps on `trajectories`
    /// episodes each: one row per task. `None` when `stop` turns true before the last step of the last task has begun.
    pub fn test(
        &self,
        tasks: usize,
        steps: usize,
        trajectories: usize,
        stop: &AtomicBool,
    ) -> Option<Vec<Vec<f64>>> {
        let mut rows = vec![Vec::new(); tasks];
        self.crew.map(&mut rows, |i, worker, row: &mut Vec<f64>| {
            let key = MetaRl::test_key(self.settings.seed, i);
            let each = |rollouts: &Rollouts| row.push(rollouts.mean_return());
            self.adapt(worker, key, (steps, trajectories), stop, each);
        });
        rows.iter().all(|row| row.len() == steps + 1).then_some(rows)
    }

    /// Key of a test task: the tasks are the same whatever is trained.
    pub fn test_key(seed: u64, task: usize) -> Key {
        Key::new(seed).with_stream("test").at(0, task as u64)
    }

    /// Episodes on a test task after 0 to `steps` inner steps.
    pub fn episodes(&self, task: usize, steps: usize, trajectories: usize) -> Vec<Rollouts> {
        let mut all = [Vec::new()];
        self.crew.map(&mut all, |_, worker, all: &mut Vec<Rollouts>| {
            let key = MetaRl::test_key(self.settings.seed, task);
            let each = |rollouts: &Rollouts| all.push(rollouts.clone());
            self.adapt(worker, key, (steps, trajectories), &AtomicBool::new(false), each);
        });
        let [all] = all;
        all
    }

    /// Adaptation after training: every step has its own trajectories and gradient. No step begins once `stop` is true.
    fn adapt(
        &self,
        worker: &mut Worker,
        key: Key,
        (steps, trajectories): (usize, usize),
        stop: &AtomicBool,
        mut each: impl FnMut(&Rollouts),
    ) {
        let shared = &self.shared;
        let mut phi = self.theta.clone();
        for step in 0..=steps {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let rollouts = shared.episodes(worker, &phi, (key, step), trajectories);
            each(&rollouts);
            if step < steps {
                let batch = crate::Batch::new(&rollouts, shared.advantage, self.settings.dtype);
                let rate = self.settings.inner.test_rate(step);
                phi = shared.step(&mut worker.memory, &phi, &batch, rate);
            }
        }
    }
}

fn check(what: &'static str, value: f64) -> Result<(), Diverged> {
    if value.is_finite() { Ok(()) } else { Err(Diverged { what, value }) }
}
