//! Learners of both kinds: by gradients, and by evolution.

use std::sync::atomic::AtomicBool;

use innerloop_engine::{Params, Tensor};
use innerloop_rl::{EsTrainer, MetaRl, Policy, Rollouts, Trust};

use super::environment::environments;
use crate::config::RlConfig;
use crate::config::rl::LearnerConfig;
use crate::trainer::thread_pool;
use crate::{Error, Result};

/// A learner in memory.
pub enum Learner {
    /// Policy gradients in the inner loop, TRPO, PPO or an optimizer in the outer one.
    Gradient(Box<MetaRl>),
    /// ES-MAML.
    Evolution(Box<EsTrainer>),
}

/// What an outer iteration measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Iterations done.
    pub iteration: u64,
    /// Mean return after every inner gradient; for evolution, only after adaptation.
    pub returns: Vec<f64>,
    /// Steps acted in environments.
    pub environment_steps: usize,
    /// Norm of the meta-gradient, if there is one.
    pub gradient_norm: Option<f64>,
    /// What TRPO did, if it took the step.
    pub trust: Option<Trust>,
}

impl Learner {
    /// A learner at the start of a run.
    pub fn new(config: &RlConfig) -> Result<Learner> {
        let make = environments(config)?;
        let environment = make();
        let policy = Policy::new(
            environment.observation_space().len(),
            &config.policy.hidden,
            environment.action_space().len(),
            config.policy.activation,
        );
        let pool = thread_pool(config.run.threads)?;
        Ok(match config.learner() {
            LearnerConfig::Evolution(es) => {
                Learner::Evolution(Box::new(EsTrainer::new(es, config.seed, policy, make, pool)))
            }
            LearnerConfig::Gradient(settings) => {
                Learner::Gradient(Box::new(MetaRl::new(settings, policy, make, pool)))
            }
        })
    }

    /// Iterations done.
    pub fn iteration(&self) -> u64 {
        match self {
            Learner::Gradient(learner) => learner.iteration,
            Learner::Evolution(learner) => learner.iteration,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        match self {
            Learner::Gradient(learner) => learner.policy(),
            Learner::Evolution(learner) => learner.policy(),
        }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        match self {
            Learner::Gradient(learner) => learner.threads(),
            Learner::Evolution(learner) => learner.threads(),
        }
    }

    /// Initial parameters of the policy.
    pub fn theta(&self) -> &Params<Tensor> {
        match self {
            Learner::Gradient(learner) => &learner.theta,
            Learner::Evolution(learner) => &learner.theta,
        }
    }

    /// Runs one outer iteration. On an error nothing has changed.
    pub(super) fn step(&mut self) -> Result<Progress> {
        match self {
            Learner::Gradient(learner) => {
                let report = learner.step().map_err(|found| {
                    Error::diverged(format!(
                        "training diverged at iteration {}: {} is {}, expected a finite number; lower \
                         algorithm.inner_lr or outer.lr; the last checkpoint is intact",
                        learner.iteration + 1,
                        found.what,
                        found.value
                    ))
                })?;
                Ok(Progress {
                    iteration: report.iteration,
                    returns: report.returns,
                    environment_steps: report.environment_steps,
                    gradient_norm: Some(report.gradient_norm),
                    trust: report.trust,
                })
            }
            Learner::Evolution(learner) => {
                let report = learner.step();
                Ok(Progress {
                    iteration: report.iteration,
                    returns: vec![report.adapted],
                    environment_steps: report.environment_steps,
                    gradient_norm: None,
                    trust: None,
                })
            }
        }
    }

    /// Mean return on test tasks after 0 to `steps` adaptation steps: one row per task. `None` when `stop` turns true
    /// before the last step has begun.
    pub(super) fn test(
        &self,
        [tasks, steps, trajectories]: [usize; 3],
        stop: &AtomicBool,
    ) -> Option<Vec<Vec<f64>>> {
        match self {
            Learner::Gradient(learner) => learner.test(tasks, steps, trajectories, stop),
            Learner::Evolution(learner) => learner.test(tasks, steps, stop),
        }
    }

    /// Episodes on a test task after 0 to `steps` adaptation steps; empty for evolution.
    pub(super) fn episodes(&self, task: usize, steps: usize, each: usize) -> Vec<Rollouts> {
        match self {
            Learner::Gradient(learner) => learner.episodes(task, steps, each),
            Learner::Evolution(_) => Vec::new(),
        }
    }
}
