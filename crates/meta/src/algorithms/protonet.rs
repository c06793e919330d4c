//! Prototypical networks: Snell, Swersky, Zemel 2017, arXiv 1703.05175, Algorithm 1. No inner loop: a baseline.
//!
//! c_k = mean of f_θ(x) over the support examples x of class k
//! p(k | x) ∝ exp(−‖f_θ(x) − c_k‖²)               J = mean over the query set of −log p(y | x)
//! G = ∇_θ J                                      also through the c_k
//!
//! The problem's query loss, which sees the support set, contains means and distances; to the outer loop this is a
//! method that takes no step.
//!
//! The paper trains on tasks with more ways than it tests on, 60 on Omniglot: `tasks.train_ways`.

use innerloop_engine::{Params, Shape, Tensor};

use crate::{Algorithm, InnerStep, MetaGradient, Moved};

/// A learner that does not adapt.
pub struct Protonet;

impl Algorithm for Protonet {
    fn name(&self) -> &str {
        "protonet"
    }

    fn adapts(&self, _name: &str) -> bool {
        false
    }

    fn rates(&self, _adapted: &Params<Shape>, _steps: usize) -> Params<Tensor> {
        Params::new()
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        Moved { phi: step.phi.clone(), state: step.state.clone() }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::FirstOrder
    }
}
