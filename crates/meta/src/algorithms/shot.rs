//! SHOT_r (suppressing the Hessian along the optimization trajectory): Lee, Yoo, Kwak 2023, arXiv 2310.02751,
//! section 4, as a regularizer of another method.
//!
//! φʳ: R steps from θ at rate α          reference, held constant in the distance
//! φᵗ: T < R steps from θ at rate αR/T   target, which travels as far if the gradient stays
//! J = L_Q(φ) + λ D(φᵗ, φʳ)              φ the base method's own fast weights: φʳ, or φᵗ
//! G = ∇_θ J                             in the base method's sense: exact, first order, …
//!
//! The distance is taken on the query set's inputs, or between the parameters; at zero the path is straight
//! and the Hessian has no effect along it. The paper writes KL(target ‖ reference); its code, and the default here,
//! computes KL(reference ‖ target).
//!
//! Departures: in the code a target of one step re-uses the first gradient of the reference; here it is
//! computed again where steps run one by one, and shared where the whole is one graph.

use innerloop_engine::{Params, Shape, Tensor, Var};

use crate::{Algorithm, Companion, End, InnerStep, MetaGradient, Moved, Outcome, Sharing, Vars};

/// How far apart target and reference are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// Mean over query examples of KL(reference ‖ target), outputs being logits.
    ReferenceToTarget,
    /// KL(target ‖ reference).
    TargetToReference,
    /// Cross-entropy of the target's probabilities under those of the reference.
    CrossEntropy,
    /// Mean squared difference of the outputs.
    Outputs,
    /// `‖φᵗ − φʳ‖² / √n` over the n adapted parameters.
    Parameters,
}

/// Which of the two the base method's fast weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The reference: the target takes other steps, fewer of them.
    Reference,
    /// The target: the reference takes other steps, more of them.
    Target,
}

/// Another method with SHOT's regularizer.
pub struct Shot {
    /// The method that is regularized.
    base: Box<dyn Algorithm>,
    /// Its name and SHOT's.
    name: String,
    /// `λ`.
    pub weight: f64,
    /// `D`.
    pub distance: Distance,
    /// What the base method's fast weights are.
    pub role: Role,
    /// Steps of the other inner loop.
    pub steps: usize,
    /// How far the other inner loop travels, as a multiple of the base's way; 1 in the paper.
    pub travel: f64,
}

impl Shot {
    /// The regularizer around a method, over the same way.
    pub fn new(
        base: Box<dyn Algorithm>,
        weight: f64,
        distance: Distance,
        (role, steps): (Role, usize),
    ) -> Shot {
        let name = format!("{}+shot", base.name());
        Shot { base, name, weight, distance, role, steps, travel: 1.0 }
    }

    /// `D`, whose derivative with respect to the reference is zero.
    fn apart<'g>(&self, target: &Outcome<'g>, reference: &Outcome<'g>) -> Var<'g> {
        let held = reference.output.stop_gradient();
        let examples = 1.0 / held.shape()[0] as f64;
        let (t, r) = (target.output.log_softmax(), held.log_softmax());
        match self.distance {
            Distance::ReferenceToTarget => (r.exp() * (r - t)).sum() * examples,
            Distance::TargetToReference => (t.exp() * (t - r)).sum() * examples,
            Distance::CrossEntropy => -(r.exp() * t).sum() * examples,
            Distance::Outputs => {
                let off = target.output - held;
                (off * off).mean()
            }
            Distance::Parameters => {
                let pairs = target.phi.values().iter().zip(reference.phi.values());
                let squares = pairs.map(|(t, r)| {
                    let off = *t - r.stop_gradient();
                    off.dot(off)
                });
                let n: usize =
                    target.phi.values().iter().map(|x| x.shape().iter().product::<usize>()).sum();
                let sum = squares.reduce(|a, b| a + b).unwrap_or(target.loss.full_like(0.0));
                sum * (1.0 / (n.max(1) as f64).sqrt())
            }
        }
    }
}

impl Algorithm for Shot {
    fn name(&self) -> &str {
        &self.name
    }

    fn companion(&self, steps: usize) -> Option<Companion> {
        // Without weight, or without a step to take elsewhere, there is nothing to add.
        (self.weight != 0.0 && self.steps > 0).then(|| Companion {
            steps: self.steps,
            scale: self.travel * steps as f64 / self.steps as f64,
            differentiated: self.role == Role::Reference,
        })
    }

    fn objective<'g>(&self, base: &Outcome<'g>, companion: &Outcome<'g>) -> Var<'g> {
        let apart = match self.role {
            Role::Reference => self.apart(companion, base),
            Role::Target => self.apart(base, companion),
        };
        base.loss + apart * self.weight
    }

    as_in_base! {
        adapts learns rates learns_rates state keeps_state sharing advance meta_gradient scheduled loss_weights
        direction
    }
}
