//! The outer step that a configuration names.

use innerloop_meta::outer::{self, Clip, Optimizer, Schedule};

use crate::config::{self, Config};

/// The outer step as configured.
pub struct Outer {
    /// Bounds on the gradient.
    pub clip: Clip,
    /// Rate over the iterations.
    pub schedule: Schedule,
    /// The step.
    pub optimizer: Optimizer,
}

impl Outer {
    /// From the configuration.
    pub fn new(config: &Config) -> Outer {
        let settings = &config.outer;
        let weight_decay = settings.weight_decay;
        let adam = |adam: &config::AdamConfig, decoupled| Optimizer::Adam {
            beta1: adam.beta1,
            beta2: adam.beta2,
            eps: adam.eps,
            weight_decay,
            decoupled,
        };
        let (course, end) = match settings.schedule {
            config::Schedule::Constant => (outer::Course::Constant, settings.lr),
            config::Schedule::Linear { final_lr } => (outer::Course::Linear, final_lr),
            config::Schedule::Cosine { final_lr } => (outer::Course::Cosine, final_lr),
            config::Schedule::Step { decay_every, decay_factor } => {
                let course =
                    outer::Course::Step { every: decay_every as u64, factor: decay_factor };
                (course, settings.lr)
            }
        };
        Outer {
            clip: Clip { value: settings.clip_value, norm: settings.clip_norm },
            schedule: Schedule {
                start: settings.lr,
                end,
                warmup: settings.warmup as u64,
                iterations: settings.iterations as u64,
                course,
            },
            optimizer: match &settings.optimizer {
                config::Optimizer::Sgd { momentum } => {
                    Optimizer::Sgd { momentum: *momentum, weight_decay }
                }
                config::Optimizer::Adam(of) => adam(of, false),
                config::Optimizer::AdamW(of) => adam(of, true),
            },
        }
    }
}
