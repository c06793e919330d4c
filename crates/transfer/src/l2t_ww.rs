//! L2T-ww: Jang, Lee, Hwang, Shin 2019 (Learning What and Where to Transfer), arXiv 1905.05901, Algorithm 1.
//!
//! One iteration, on one batch:
//!
//! 1. the target takes a step on cross-entropy plus transfer loss, which is its actual training;
//! 2. from there, φ₀, it takes T steps on the transfer loss alone, then one on cross-entropy: φ_{T+1};
//! 3. G = ∇_η L_CE(φ_{T+1}), through all T + 1 steps, updates the meta-networks η;
//! 4. the target returns to φ₀, including velocity and statistics.
//!
//! A step is SGD with momentum μ and weight decay κ, as PyTorch defines it: `v ← μv + g + κφ, φ ← φ − αv`. Momentum and
//! decay are differentiated too: the velocity is inner state, which starts as the target's own.
//!
//! With multi-step estimation (Kim, Park, Choi 2020, arXiv 2006.04298; a reconstruction, see
//! [`innerloop_meta::algorithms::MultiStep`]) steps on the transfer loss share gradients in windows; the step on
//! cross-entropy has its own. Within a window, decay and velocity, which are linear, are followed step by step.
//!
//! If the inner gradients are held constant, they do not depend on η, and no meta-gradient remains:
//! [`MetaGradient::FirstOrder`] leaves `∂L_CE/∂η = 0`.

use innerloop_engine::{Dtype, Params, Shape, Tensor};
use innerloop_meta::{Algorithm, InnerStep, MetaGradient, Moved, Sharing};

use crate::META_PREFIX;

/// The inner loop's update rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L2tWw {
    /// Initial α; the current one is the meta-parameter [`L2tWw::RATE`].
    pub lr: f64,
    /// μ.
    pub momentum: f64,
    /// κ.
    pub weight_decay: f64,
    /// How steps share gradients.
    pub sharing: Sharing,
    /// What the meta-networks descend along.
    pub meta_gradient: MetaGradient,
}

impl L2tWw {
    /// Name of α among the meta-parameters; it follows a schedule, not a gradient.
    pub const RATE: &str = "inner_lr";
}

impl Algorithm for L2tWw {
    fn name(&self) -> &str {
        "l2t_ww"
    }

    fn adapts(&self, name: &str) -> bool {
        !name.starts_with(META_PREFIX)
    }

    fn learns(&self, name: &str) -> bool {
        name.starts_with(META_PREFIX)
    }

    fn rates(&self, _: &Params<Shape>, _: usize) -> Params<Tensor> {
        Params::from_iter([(L2tWw::RATE.to_string(), Tensor::scalar(Dtype::F64, self.lr))])
    }

    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        adapted.iter().map(|(name, shape)| (velocity(name), shape.clone())).collect()
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let rate = step.rates[L2tWw::RATE];
        let v = step.phi.map_named(|name, &phi| {
            let decayed = step.gradient[name] + phi * self.weight_decay;
            step.state[&velocity(name)] * self.momentum + decayed
        });
        let phi = step.phi.zip_map(&v, |&phi, &v| phi - rate * v);
        Moved { phi, state: v.iter().map(|(name, &v)| (velocity(name), v)).collect() }
    }

    fn meta_gradient(&self) -> MetaGradient {
        self.meta_gradient
    }
}

fn velocity(name: &str) -> String {
    format!("velocity.{name}")
}
