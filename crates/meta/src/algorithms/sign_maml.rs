//! Sign-MAML: Fan, Ram, Liu 2021, arXiv 2109.07497, section 3.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α sign(∇L_S(φ_k))
//! G  = ∇L_Q(φ_K)                                 exact: the sign's derivative is zero almost everywhere

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::rates::gradient_step;
use crate::{Algorithm, InnerStep, MetaGradient, Moved};

/// Sign-MAML: every inner step moves each weight by its rate.
pub struct SignMaml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
}

impl Algorithm for SignMaml {
    fn name(&self) -> &str {
        "sign_maml"
    }

    as_in_inner_loop! { adapts rates }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        gradient_step(&InnerStep { gradient: step.gradient.map(|g| g.sign()), ..step.clone() })
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::FirstOrder
    }
}
