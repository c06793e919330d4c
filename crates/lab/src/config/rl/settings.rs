//! A learner's settings from the keys, and the keys filled in with the defaults that were used.

use innerloop_engine::Dtype;
use innerloop_meta::outer::Optimizer;
use innerloop_rl::{Advantage, EsMaml, InnerLoop, Method, Outer, Settings, Trpo};

use super::RlConfig;
use super::keys::{AlgorithmSection, MethodName, OptimizerName, OuterName, OuterSection};

/// Everything that determines the results of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum LearnerConfig {
    /// A policy-gradient method.
    Gradient(Settings),
    /// ES-MAML; the seed is separate.
    Evolution(EsMaml),
}

impl RlConfig {
    /// Everything that determines the results of the run. The defaults of policy-gradient methods are those of the
    /// code of Finn et al. 2017.
    pub fn learner(&self) -> LearnerConfig {
        let RlConfig { rl, algorithm, outer, .. } = self;
        let (Some(method), Some(step)) = (algorithm.method(), outer.step(algorithm.name)) else {
            return LearnerConfig::Evolution(self.evolution());
        };
        LearnerConfig::Gradient(Settings {
            seed: self.seed,
            dtype: self.dtype(),
            meta_batch_size: outer.meta_batch_size.unwrap_or(40),
            trajectories: rl.trajectories.unwrap_or(20),
            advantage: Advantage {
                discount: rl.discount.unwrap_or(0.99),
                gae_lambda: rl.gae_lambda.unwrap_or(1.0),
            },
            inner: InnerLoop {
                method,
                rate: algorithm.inner_lr,
                steps: algorithm.adaptation_steps,
            },
            outer: step,
        })
    }

    fn evolution(&self) -> EsMaml {
        let default = EsMaml::default();
        EsMaml {
            sigma: self.algorithm.sigma.unwrap_or(default.sigma),
            queries: self.algorithm.queries.unwrap_or(default.queries),
            inner_rate: self.algorithm.inner_lr,
            perturbations: self.outer.perturbations.unwrap_or(default.perturbations),
            outer_rate: self.outer.lr.unwrap_or(default.outer_rate),
            steps: self.algorithm.adaptation_steps,
            dtype: self.dtype(),
        }
    }

    /// Episodes per test task and step.
    pub fn test_trajectories(&self) -> usize {
        match self.algorithm.name {
            MethodName::EsMaml => 1,
            _ => self.evaluation.trajectories.unwrap_or(40),
        }
    }

    /// Element type of parameters and programs.
    pub fn dtype(&self) -> Dtype {
        self.run.dtype
    }

    /// Fills in the defaults that depend on other keys.
    pub(super) fn fill(&mut self) {
        let (learner, test_trajectories) = (self.learner(), self.test_trajectories());
        let RlConfig { rl, algorithm, outer, evaluation, .. } = self;
        match learner {
            LearnerConfig::Gradient(settings) => {
                rl.trajectories = Some(settings.trajectories);
                rl.discount = Some(settings.advantage.discount);
                rl.gae_lambda = Some(settings.advantage.gae_lambda);
                evaluation.trajectories = Some(test_trajectories);
                outer.meta_batch_size = Some(settings.meta_batch_size);
                if let Method::MultiStep { window } = settings.inner.method {
                    algorithm.window = Some(window);
                }
                outer.fill(settings.outer);
            }
            LearnerConfig::Evolution(es) => {
                algorithm.sigma = Some(es.sigma);
                algorithm.queries = Some(es.queries);
                outer.perturbations = Some(es.perturbations);
                outer.lr = Some(es.outer_rate);
            }
        }
    }
}

impl AlgorithmSection {
    /// The policy-gradient method; evolution strategies have none.
    fn method(&self) -> Option<Method> {
        Some(match self.name {
            MethodName::Maml => Method::Maml,
            MethodName::Fomaml => Method::Fomaml,
            MethodName::Anil => Method::Anil,
            MethodName::Reptile => Method::Reptile,
            MethodName::MultiStep => Method::MultiStep { window: self.window.unwrap_or(2) },
            MethodName::EsMaml => return None,
        })
    }
}

impl OuterSection {
    /// The outer step along a gradient; evolution strategies have none.
    fn step(&self, algorithm: MethodName) -> Option<Outer> {
        let default = Trpo::default();
        let name = self.optimizer.unwrap_or(match algorithm {
            MethodName::Reptile => OptimizerName::Sgd,
            _ => OptimizerName::Adam,
        });
        let (optimizer, default_rate) = match name {
            OptimizerName::Adam => (
                Optimizer::Adam {
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    weight_decay: 0.0,
                    decoupled: false,
                },
                0.01,
            ),
            OptimizerName::Sgd => (Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 }, 1.0),
        };
        let rate = self.lr.unwrap_or(default_rate);
        Some(match self.method {
            OuterName::Trpo => Outer::Trpo(Trpo {
                max_kl: self.max_kl.unwrap_or(default.max_kl),
                cg_steps: self.cg_steps.unwrap_or(default.cg_steps),
                damping: self.cg_damping.unwrap_or(default.damping),
                backtrack_factor: self.backtrack_factor.unwrap_or(default.backtrack_factor),
                line_search_steps: self.line_search_steps.unwrap_or(default.line_search_steps),
            }),
            OuterName::Ppo => Outer::Ppo {
                clip: self.clip.unwrap_or(0.2),
                epochs: self.epochs.unwrap_or(5),
                optimizer,
                rate,
            },
            OuterName::Plain => Outer::Plain { optimizer, rate },
            OuterName::Es => return None,
        })
    }

    /// The keys that [`OuterSection::step`] reads.
    fn fill(&mut self, step: Outer) {
        match step {
            Outer::Trpo(trpo) => {
                self.max_kl = Some(trpo.max_kl);
                self.cg_steps = Some(trpo.cg_steps);
                self.cg_damping = Some(trpo.damping);
                self.backtrack_factor = Some(trpo.backtrack_factor);
                self.line_search_steps = Some(trpo.line_search_steps);
            }
            Outer::Ppo { optimizer, rate, .. } | Outer::Plain { optimizer, rate } => {
                if let Outer::Ppo { clip, epochs, .. } = step {
                    (self.clip, self.epochs) = (Some(clip), Some(epochs));
                }
                self.lr = Some(rate);
                self.optimizer = Some(match optimizer {
                    Optimizer::Sgd { .. } => OptimizerName::Sgd,
                    Optimizer::Adam { .. } => OptimizerName::Adam,
                });
            }
        }
    }
}
