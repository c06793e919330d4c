//! What a run is made of, from its keys.

use innerloop_engine::Dtype;
use innerloop_meta::outer::Optimizer;
use innerloop_rl::{Advantage, EsMaml, InnerLoop, Method, Outer, Settings, Trpo};

use super::RlConfig;
use super::keys::{AlgorithmSection, MethodName, OptimizerName, OuterName, OuterSection};

/// Defaults of methods of policy gradients: those of the code of Finn et al. 2017.
const TRAJECTORIES: usize = 20;
const TEST_TRAJECTORIES: usize = 40;
const META_BATCH_SIZE: usize = 40;
const ADVANTAGE: Advantage = Advantage { discount: 0.99, gae_lambda: 1.0 };
const WINDOW: usize = 2;
/// Those of `ppo`.
const CLIP: f64 = 0.2;
const EPOCHS: usize = 5;

impl RlConfig {
    /// What fixes the numbers of the run.
    pub fn settings(&self) -> Settings {
        Settings {
            seed: self.seed,
            dtype: self.dtype(),
            meta_batch_size: self.outer.meta_batch_size.unwrap_or(META_BATCH_SIZE),
            trajectories: self.rl.trajectories.unwrap_or(TRAJECTORIES),
            advantage: Advantage {
                discount: self.rl.discount.unwrap_or(ADVANTAGE.discount),
                gae_lambda: self.rl.gae_lambda.unwrap_or(ADVANTAGE.gae_lambda),
            },
            inner: InnerLoop {
                method: self.algorithm.method(),
                rate: self.algorithm.inner_lr,
                steps: self.algorithm.adaptation_steps,
            },
            outer: self.outer.outer(self.algorithm.name),
        }
    }

    /// What fixes the numbers of ES-MAML, beside the seed.
    pub fn evolution(&self) -> EsMaml {
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

    /// Episodes of a test task for each step.
    pub fn test_trajectories(&self) -> usize {
        match self.algorithm.name {
            MethodName::EsMaml => 1,
            _ => self.evaluation.trajectories.unwrap_or(TEST_TRAJECTORIES),
        }
    }

    /// Element type of parameters and programs.
    pub fn dtype(&self) -> Dtype {
        self.run.dtype.into()
    }

    /// Writes the defaults that depend on choices.
    pub(super) fn fill(&mut self) {
        let RlConfig { rl, algorithm, outer, evaluation, .. } = self;
        if algorithm.name != MethodName::EsMaml {
            rl.trajectories.get_or_insert(TRAJECTORIES);
            rl.discount.get_or_insert(ADVANTAGE.discount);
            rl.gae_lambda.get_or_insert(ADVANTAGE.gae_lambda);
            outer.meta_batch_size.get_or_insert(META_BATCH_SIZE);
            evaluation.trajectories.get_or_insert(TEST_TRAJECTORIES);
        }
        if algorithm.name == MethodName::MultiStep {
            algorithm.window.get_or_insert(WINDOW);
        }
        match outer.method {
            OuterName::Trpo => {
                let trpo = Trpo::default();
                outer.max_divergence.get_or_insert(trpo.max_divergence);
                outer.cg_steps.get_or_insert(trpo.cg_steps);
                outer.cg_damping.get_or_insert(trpo.damping);
                outer.backtrack.get_or_insert(trpo.backtrack);
                outer.tries.get_or_insert(trpo.tries);
            }
            OuterName::Es => {
                let es = EsMaml::default();
                algorithm.sigma.get_or_insert(es.sigma);
                algorithm.queries.get_or_insert(es.queries);
                outer.perturbations.get_or_insert(es.perturbations);
                outer.lr.get_or_insert(es.outer_rate);
            }
            OuterName::Ppo | OuterName::Plain => {
                if outer.method == OuterName::Ppo {
                    outer.clip.get_or_insert(CLIP);
                    outer.epochs.get_or_insert(EPOCHS);
                }
                let (optimizer, lr) = outer.optimizer(algorithm.name);
                (outer.optimizer, outer.lr) = (Some(optimizer), Some(lr));
            }
        }
    }
}

impl AlgorithmSection {
    fn method(&self) -> Method {
        match self.name {
            // Evolution has no method of gradients; [`RlConfig::evolution`] is its own.
            MethodName::Maml | MethodName::EsMaml => Method::Maml,
            MethodName::Fomaml => Method::Fomaml,
            MethodName::Anil => Method::Anil,
            MethodName::Reptile => Method::Reptile,
            MethodName::MultiStep => Method::MultiStep { window: self.window.unwrap_or(WINDOW) },
        }
    }
}

impl OuterSection {
    /// What takes the step, and its size.
    fn optimizer(&self, algorithm: MethodName) -> (OptimizerName, f64) {
        let optimizer = self.optimizer.unwrap_or(match algorithm {
            MethodName::Reptile => OptimizerName::Sgd,
            _ => OptimizerName::Adam,
        });
        let lr = self.lr.unwrap_or(match optimizer {
            OptimizerName::Adam => 0.01,
            OptimizerName::Sgd => 1.0,
        });
        (optimizer, lr)
    }

    fn outer(&self, algorithm: MethodName) -> Outer {
        let default = Trpo::default();
        let (optimizer, rate) = self.optimizer(algorithm);
        let optimizer = match optimizer {
            OptimizerName::Adam => Optimizer::Adam {
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.0,
                decoupled: false,
            },
            OptimizerName::Sgd => Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 },
        };
        match self.method {
            OuterName::Trpo => Outer::Trpo(Trpo {
                max_divergence: self.max_divergence.unwrap_or(default.max_divergence),
                cg_steps: self.cg_steps.unwrap_or(default.cg_steps),
                damping: self.cg_damping.unwrap_or(default.damping),
                backtrack: self.backtrack.unwrap_or(default.backtrack),
                tries: self.tries.unwrap_or(default.tries),
            }),
            OuterName::Ppo => Outer::Ppo {
                clip: self.clip.unwrap_or(CLIP),
                epochs: self.epochs.unwrap_or(EPOCHS),
                optimizer,
                rate,
            },
            OuterName::Plain | OuterName::Es => Outer::Plain { optimizer, rate },
        }
    }
}
