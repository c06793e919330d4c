//! SHOT (suppressing the Hessian along the optimization trajectory): Lee, Yoo, Kwak 2023, arXiv 2310.02751, section 4,
//! wrapping another method: as a regularizer, SHOT_r, or before ordinary training, SHOT_p.
//!
//! φʳ: R steps from θ                    reference, held constant in the distance
//! φᵗ: T < R steps from θ                target, whose steps are R/T times as long as the reference's
//! J = L_Q(φ) + λ D(φᵗ, φʳ)              φ the base method's own fast weights: φʳ, or φᵗ
//! G = ∇_θ J                             in the base method's sense: exact, first order, …
//!
//! Both paths have the same length, and end at the same point if the gradient does not change on the way: at distance
//! zero the path is straight and the Hessian has no effect along it. The base method keeps its K steps at rate α, and the
//! rate of the other inner loop follows. In the paper the base is the reference, beside a target of one step at rate αK
//! ([`Role::Reference`]); a base of one step is the target, beside a reference of two; and "SHOT₆" is a target of three
//! steps beside a reference of six at α/2 ([`Role::Target`]). With momentum in the inner loop, equal lengths are those
//! along a constant gradient ([`Algorithm::reach`]).
//!
//! D is taken between outputs on the query set's inputs, without their labels, or between parameters. The paper writes
//! KL(target ‖ reference); its code, and the default here, computes KL(reference ‖ target). For regression the code, and
//! the default here, takes the mean squared difference of the outputs.
//!
//! SHOT_p: until a fraction of training is over, J = D(φᵗ, P φʳ), which needs no query label; then J as above, in the
//! paper with λ = 0. `P = W₂ ReLU(W₁ z + b₁) + b₂`, applied to the reference's outputs `z`, keeps target and reference
//! from agreeing trivially, by outputs that do not depend on the input.
//!
//! On Reptile, which has no query set and is no baseline of the paper, this is our definition:
//!
//! G = (θ − φ_K) + λ ∇_φᵗ D(φᵗ, φʳ)      D the distance of the parameters; φ_K is φʳ, or φᵗ
//!   = (θ − φ_K) + (2λ/√n) (φᵗ − φʳ)
//!
//! The target counts as θ plus a constant, as in first-order MAML. An outer step goes a share of the way G, a
//! displacement: λ = √n/2 adds all of `φᵗ − φʳ`, and the λ that suit query losses add next to nothing. The inner loop
//! takes plain gradient steps: Adam's are not in proportion to the gradient, so that fewer and longer ones end elsewhere
//! even on a straight path, and its state is passed on. SHOT_p is left out, because without its displacement a share of
//! the way has no meaning.
//!
//! Departures: in the paper a target of one step re-uses the first gradient of the reference; here it is recomputed
//! where steps run one by one, and shared where the whole is one graph. In SHOT_p, D is the chosen distance without λ; in
//! the code it is λ times the cross-entropy, whose gradient is that of KL(reference ‖ target). The weights of P stay as
//! they were drawn; in the code the reference's inner loop goes through P and moves them. The problem decides whether the
//! two branches see different views of the queries ([`crate::Problem::companion_query`]); starting ordinary training from
//! the weights that were best on validation, with a new outer optimizer, is the trainer's task.

use innerloop_engine::{Dtype, Key, Params, Shape, Tensor, Var, volume};
use rand::RngExt;

use crate::{Algorithm, Companion, End, InnerStep, MetaGradient, Moved, Outcome, Sharing, Vars};

/// How the distance between target and reference is measured.
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
    /// The reference: the target takes fewer and longer steps, and the distance is differentiated through them alone.
    Reference,
    /// The target: the reference takes more and shorter steps, and the distance is differentiated through the method's own.
    Target,
}

/// Another method with SHOT's regularizer.
pub struct Shot {
    /// The method that is regularized.
    base: Box<dyn Algorithm>,
    /// The base method's name combined with SHOT's.
    name: String,
    /// `λ` of the regularizer; during pre-training it plays no part.
    pub weight: f64,
    /// `D`.
    pub distance: Distance,
    /// What the base method's fast weights are.
    pub role: Role,
    /// Steps of the other inner loop.
    pub steps: usize,
    /// How far the other inner loop travels, as a multiple of the base's path; 1 in the paper.
    pub travel: f64,
    /// Settings of SHOT_p, in which only the distance counts at first.
    pub pretraining: Option<Pretraining>,
}

/// The phase before ordinary training in SHOT_p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pretraining {
    /// Fraction of training after which it is over.
    pub until: f64,
    /// The projector's number of outputs, with the key its weights are drawn from; `None` for no projector.
    pub projector: Option<(Key, usize)>,
}

/// 1 during pre-training, 0 afterwards.
const PRETRAINING: &str = "shot.pretraining";
/// Weights and biases of the projector's two layers.
const PROJECTOR: [&str; 4] = [
    "shot.projector.0.weight",
    "shot.projector.0.bias",
    "shot.projector.1.weight",
    "shot.projector.1.bias",
];

impl Pretraining {
    /// U(±1/√n), like PyTorch's initial linear layers.
    fn projector(&self) -> Params<Tensor> {
        let Some((key, n)) = self.projector else { return Params::new() };
        let draw = |name: &str| {
            let shape = if name.ends_with("weight") { vec![n, n] } else { vec![n] };
            let mut rng = key.with_stream(name).rng();
            let mut one = || (2.0 * rng.random::<f64>() - 1.0) / (n as f64).sqrt();
            let values = (0..volume(&shape)).map(|_| f64::from(one() as f32)).collect();
            (name.to_string(), Tensor::from_f64(&shape, values))
        };
        PROJECTOR.into_iter().map(draw).collect()
    }
}

/// `P z`, or `z` without a projector.
fn projected<'g>(outcome: &Outcome<'g>) -> Var<'g> {
    let [w1, b1, w2, b2] = PROJECTOR.map(|name| outcome.scheduled.get(name).copied());
    let (Some(w1), Some(b1), Some(w2), Some(b2)) = (w1, b1, w2, b2) else { return outcome.output };
    (outcome.output.matmul_t(w1) + b1).relu().matmul_t(w2) + b2
}

impl Shot {
    /// Wraps a method with the regularizer, over a path of equal length.
    pub fn new(
        base: Box<dyn Algorithm>,
        weight: f64,
        distance: Distance,
        (role, steps): (Role, usize),
    ) -> Shot {
        let name = format!("{}+shot", base.name());
        Shot { base, name, weight, distance, role, steps, travel: 1.0, pretraining: None }
    }

    /// `D`, whose derivative with respect to the reference is zero; `output` is what is compared of the reference.
    fn apart<'g>(
        &self,
        target: &Outcome<'g>,
        reference: &Outcome<'g>,
        output: impl Fn(&Outcome<'g>) -> Var<'g>,
    ) -> Var<'g> {
        let held = output(reference).stop_gradient();
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
            Distance::Parameters => of_parameters(&target.phi, &reference.phi)
                .unwrap_or_else(|| target.loss.full_like(0.0)),
        }
    }

    /// Target and reference, in this order.
    fn roles<T>(&self, base: T, companion: T) -> (T, T) {
        match self.role {
            Role::Reference => (companion, base),
            Role::Target => (base, companion),
        }
    }
}

/// `‖φᵗ − φʳ‖² / √n`, or nothing if no parameter adapts.
fn of_parameters<'g>(target: &Vars<'g>, reference: &Vars<'g>) -> Option<Var<'g>> {
    let pairs = target.values().iter().zip(reference.values());
    let squares = pairs.map(|(t, r)| {
        let off = *t - r.stop_gradient();
        off.dot(off)
    });
    let n: usize = target.values().iter().map(|x| volume(&x.shape())).sum();
    squares.reduce(|a, b| a + b).map(|sum| sum * (1.0 / (n as f64).sqrt()))
}

impl Algorithm for Shot {
    fn name(&self) -> &str {
        &self.name
    }

    fn companion(&self, steps: usize) -> Option<Companion> {
        // Without a weight, or without steps to take differently, there is nothing to add.
        let counts = self.weight != 0.0 || self.pretraining.is_some();
        (counts && self.steps > 0).then(|| Companion {
            steps: self.steps,
            // So that along a constant gradient it goes `travel` times as far as the base's K steps.
            scale: self.travel * self.base.reach(steps) / self.base.reach(self.steps),
            // As the reference it is held constant.
            differentiated: self.role == Role::Reference,
        })
    }

    fn objective<'g>(&self, base: &Outcome<'g>, companion: &Outcome<'g>) -> Var<'g> {
        let (target, reference) = self.roles(base, companion);
        let plainly = |outcome: &Outcome<'g>| outcome.output;
        let ordinary = base.loss + self.apart(target, reference, plainly) * self.weight;
        match base.scheduled.get(PRETRAINING) {
            Some(&on) => self.apart(target, reference, projected) * on + ordinary * (1.0 - on),
            None => ordinary,
        }
    }

    fn penalty<'g>(&self, base: &Vars<'g>, companion: &Vars<'g>) -> Option<Var<'g>> {
        if self.distance != Distance::Parameters || self.pretraining.is_some() {
            return None;
        }
        let (target, reference) = self.roles(base, companion);
        of_parameters(target, reference).map(|distance| distance * self.weight)
    }

    fn scheduled(&self, done: f64) -> Params<Tensor> {
        let values = self.base.scheduled(done);
        let Some(pretraining) = self.pretraining else { return values };
        let on = if done < pretraining.until { 1.0 } else { 0.0 };
        let mut of_shot = pretraining.projector();
        of_shot.push(PRETRAINING, Tensor::scalar(Dtype::F64, on));
        values.merge(&of_shot)
    }

    fn loss_weights(&self, steps: usize, done: f64) -> Option<Vec<f64>> {
        let mut weights = self.base.loss_weights(steps, done)?;
        // Pre-training is on the distance alone: no query loss counts, at any step.
        if self.pretraining.is_some_and(|pretraining| done < pretraining.until) {
            weights.fill(0.0);
        }
        Some(weights)
    }

    as_in_base! {
        adapts learns rates learns_rates scaled reach state keeps_state sharing advance meta_gradient direction
    }
}
