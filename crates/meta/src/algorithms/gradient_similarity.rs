//! Gradient similarity loss, "approximate Hessian effect": Tak and Hong 2024, Electronics 13(3):535. A reconstruction:
//! only the paper's abstract and headings were available. They say that a loss of cosine similarity and squared error
//! modifies the gradient, with first-order computation and no inner solver, that the modification's magnitude is
//! adjusted, and that it is scheduled.
//!
//! φ₀ = θ      φ_{k+1} = φ_k − α g_k       g_k = ∇L_S(φ_k)      s = mean_k g_k, held constant
//! q  = ∇L_Q(φ_K)                          l(q) = λ_c (1 − cos(q, s)) + λ_2 ½ ‖q − s‖²
//! h  = −∂l/∂q = λ_c (s/‖s‖ − cos(q, s) q/‖q‖)/‖q‖ + λ_2 (s − q)
//! G  = q + γ ‖q‖ h/‖h‖                    γ constant, or decaying linearly to 0
//!
//! With a multi-step loss (MAML++) the correction is of the whole query gradient, `q = Σ_k w_k ∇L_Q(φ_k)`, and `s` stays
//! the mean over all K steps. This is our choice: what the outer loop descends along is corrected once, as a whole, and
//! with all weight on the last step G is the plain method's.
//!
//! MAML's second-order term moves θ to where the gradients of support and query set agree; here the query gradient
//! itself is moved towards the support gradient. Where single numbers are compared, or two vectors are parallel for
//! another reason, `h` is only the rounding error of cancelling terms; so its length is taken to be at least 10⁻⁴ of
//! theirs, and the correction vanishes.
//!
//! Departures are unknown. With γ = 0 this is first-order MAML. Of the variants, cosines tensor by tensor with γ = 0.5
//! trained best on Omniglot (docs/comparison.md); a γ of 1 trains worse than none.
//!
//! Compared with the exact gradient, as a mean over 40 tasks at initial weights: on regression by a smooth perceptron
//! the correction has a cosine of 0.01 to 0.52 with MAML's second-order term; on classification by a batch-normalised
//! Conv4 one of −0.38 to 0.07, mostly negative.

use innerloop_engine::{Dtype, Params, Shape, Tensor, Var};

use super::InnerLoop;
use crate::rates::gradient_step;
use crate::{Algorithm, End, InnerStep, MetaGradient, Moved, Vars};

/// How the strength of the correction changes during training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// It is constant.
    Constant,
    /// Linearly to zero at the end.
    Linear,
}

/// What is compared as one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// All adapted parameters.
    Whole,
    /// Each tensor separately.
    PerTensor,
    /// Each layer separately, weights and biases together: tensors whose names agree up to the last dot.
    PerLayer,
}

/// First-order MAML whose query gradient is moved towards the inner gradients.
pub struct GradientSimilarity {
    /// Rates and frozen parameters.
    pub inner: InnerLoop,
    /// `λ_c`, weight of the cosine; only the ratio of the two weights matters.
    pub cosine: f64,
    /// `λ_2`, weight of the squared distance.
    pub l2: f64,
    /// `γ` at the start: length of the correction relative to the query gradient.
    pub strength: f64,
    /// How γ changes.
    pub decay: Decay,
    /// What is compared as one vector.
    pub comparison: Comparison,
}

const STRENGTH: &str = "strength";

/// Length of the correction's direction, relative to the terms that cancel in it, below which it counts as noise.
const NOISE: f64 = 1e-4;
/// Added to squares under a root, so that zero has a reciprocal.
const TINY: f64 = 1e-30;

/// The sum of a tensor's inner gradients.
pub(crate) fn sum(name: &str) -> String {
    format!("gradient_sum.{name}")
}

impl Algorithm for GradientSimilarity {
    fn name(&self) -> &str {
        "gradient_similarity"
    }

    as_in_inner_loop! { adapts rates }

    fn state(&self, adapted: &Params<Shape>) -> Params<Shape> {
        adapted.iter().map(|(name, shape)| (sum(name), shape.clone())).collect()
    }

    fn scheduled(&self, done: f64) -> Params<Tensor> {
        let strength = match self.decay {
            Decay::Constant => self.strength,
            Decay::Linear => self.strength * (1.0 - done),
        };
        Params::from_iter([(STRENGTH.to_string(), Tensor::scalar(Dtype::F64, strength))])
    }

    fn advance<'g>(&self, step: &InnerStep<'g>) -> Moved<'g> {
        let add = |(name, &g): (&str, &Var<'g>)| (sum(name), step.state[&sum(name)] + g);
        Moved { state: step.gradient.iter().map(add).collect(), ..gradient_step(step) }
    }

    fn meta_gradient(&self) -> MetaGradient {
        MetaGradient::FirstOrder
    }

    fn direction<'g>(&self, end: &End<'g>) -> Vars<'g> {
        let q = &end.gradient;
        if self.strength == 0.0 || end.steps == 0 || q.is_empty() {
            return q.clone();
        }
        let mean = 1.0 / end.steps as f64;
        let s = q.map_named(|name, _| end.state[&sum(name)] * mean);
        let length = end.scheduled[STRENGTH];
        let mut corrected = q.clone();
        for alike in self.comparison.groups(q.names()) {
            let of = |all: &Vars<'g>| alike.iter().map(|&at| all.values()[at]).collect();
            let (q, s): (Vec<Var<'g>>, Vec<Var<'g>>) = (of(q), of(&s));
            for (&at, new) in alike.iter().zip(self.corrected(&q, &s, length)) {
                corrected.values_mut()[at] = new;
            }
        }
        corrected
    }
}

impl Comparison {
    /// Positions of the tensors that are compared together.
    fn groups(self, names: &[String]) -> Vec<Vec<usize>> {
        let layer = |name: &str| name.rsplit_once('.').map_or(name, |(layer, _)| layer).to_string();
        let named = |name: &String| match self {
            Comparison::Whole => String::new(),
            Comparison::PerTensor => name.clone(),
            Comparison::PerLayer => layer(name),
        };
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match groups.iter_mut().find(|(of, _)| *of == named(name)) {
                Some((_, tensors)) => tensors.push(at),
                None => groups.push((named(name), vec![at])),
            }
        }
        groups.into_iter().map(|(_, tensors)| tensors).collect()
    }
}

impl GradientSimilarity {
    /// `q + γ ‖q‖ h/‖h‖`.
    fn corrected<'g>(&self, q: &[Var<'g>], s: &[Var<'g>], length: Var<'g>) -> Vec<Var<'g>> {
        let (q_norm, s_norm) = (norm(q), norm(s));
        let (over_q, over_s) = (q_norm.recip(), s_norm.recip());
        let cosine = dot(q, s) * over_q * over_s;
        let h: Vec<_> = q
            .iter()
            .zip(s)
            .map(|(&q, &s)| {
                let turn = (s * over_s - q * (cosine * over_q)) * over_q;
                turn * self.cosine + (s - q) * self.l2
            })
            .collect();
        let cancels = over_q * self.cosine + (q_norm + s_norm) * self.l2;
        let noise = cancels * NOISE;
        let scale = length * q_norm * (dot(&h, &h) + noise * noise + TINY).sqrt().recip();
        q.iter().zip(&h).map(|(&q, &h)| q + h * scale).collect()
    }
}

fn dot<'g>(a: &[Var<'g>], b: &[Var<'g>]) -> Var<'g> {
    let products = a.iter().zip(b).map(|(&a, &b)| a.dot(b));
    products.reduce(|a, b| a + b).expect("something adapts")
}

/// `‖a‖`, or a tiny value where that is zero.
fn norm<'g>(a: &[Var<'g>]) -> Var<'g> {
    (dot(a, a) + TINY).sqrt()
}
