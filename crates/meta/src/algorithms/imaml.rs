//! iMAML (implicit MAML): Rajeswaran, Finn, Kakade, Levine 2019, arXiv 1909.04630, Algorithms 1 and 2.
//!
//! φ* = argmin_φ L_S(φ) + λ/2 ‖φ − θ‖²
//! φ₀ = θ      φ_{k+1} = φ_k − α [∇L_S(φ_k) + λ (φ_k − θ)]       towards it in K steps
//! G  = (I + ∇²L_S(φ_K)/λ)⁻¹ ∇L_Q(φ_K)                           by conjugate gradients
//!
//! The memory does not grow with K, and G is exact once both loops have converged.
//!
//! Departures: the released code takes plain gradient steps and a single proximal one at the end, and solves
//! `(1 + 1) I + H/(λ + 10)`; here every step is proximal, and the damping `δ` of `(1 + δ) I + H/λ` is a setting that
//! defaults to zero. Conjugate gradients stop where the curvature is not positive.

use innerloop_engine::{Params, Shape, Tensor};

use super::InnerLoop;
use crate::rates::gradient_step;
use crate::{Algorithm, InnerStep, MetaGradient, Moved};

/// MAML with a proximal inner loop and the implicit gradient.
pub struct Imaml {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// `λ`, above 0: how strongly θ attracts the fast weights.
    pub proximal: f64,
    /// Iterations of the conjugate gradient method.
    pub iterations: usize,
    /// `δ`, 0 or more.
    pub damping: f64,
}

impl Algorithm for Imaml {
    fn name(&self) -> &str {
        "imaml"
    }

    as_in_inner_loop! { adapts rates }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let away = step.phi.zip_map(&step.start, |&phi, &theta| phi - theta);
        let gradient = step.gradient.zip_map(&away, |&g, &away| g + away * self.proximal);
        gradient_step(&InnerStep { gradient, ..step.clone() })
    }

    fn meta_gradient(&self) -> MetaGradient {
        let &Imaml { proximal, iterations, damping, .. } = self;
        MetaGradient::Implicit { proximal, iterations, damping }
    }
}
