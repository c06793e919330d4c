//! Fine-tuning from pre-training, the baseline without meta-learning: "baseline-finetune" of Ravi, Larochelle 2017,
//! "Optimization as a model for few-shot learning", section 5.1; "Baseline" of Chen, Liu, Kira, Wang, Huang 2019, arXiv
//! 1904.04232, section 3.2.
//!
//! θ = (body f, classifier C of all training classes)       J(θ) = mean over a minibatch of −log softmax(C f(x))_y
//! G = ∇_θ J                                                 no inner step in training
//! φ₀ = (f, head 0)     φ_{k+1} = φ_k − α ∇_φ L_S(φ_k)       on a task; C is left behind
//!
//! The problem determines what a minibatch is and routes its loss through the classifier; to the outer loop this is a
//! method that takes no step. Ravi and Larochelle adapt the whole network, as here; Chen et al. adapt only the head,
//! which corresponds to a frozen body.
//!
//! Departures: a new head starts at zero, not at random; steps follow the gradient of the whole support set, without
//! momentum.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::{Algorithm, MetaGradient};

/// A network trained on all classes together, whose last layer is replaced in every task.
pub struct FineTune {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// Parameters whose names start with this prefix are a task's last layer, which is not learned.
    pub head: String,
    /// Parameters whose names start with this prefix are the last layer of training, which does not adapt.
    pub classifier: String,
}

impl Algorithm for FineTune {
    fn name(&self) -> &str {
        "fine_tune"
    }

    fn adapts(&self, name: &str) -> bool {
        !name.starts_with(&self.classifier) && self.inner.moves(name)
    }

    fn learns(&self, name: &str) -> bool {
        !name.starts_with(&self.head)
    }

    as_in_inner_loop! { rates }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::FirstOrder
    }
}
