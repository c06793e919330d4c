//! Bounds on a gradient.

use innerloop_engine::{Params, Tensor};

/// How a meta-gradient is bounded before the optimizer sees it. Zero means no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Every element to ±this.
    pub value: f64,
    /// The norm over all elements to this, after clipping by value.
    pub norm: f64,
}

impl Clip {
    /// Clips in place; returns the norm before.
    pub fn apply(self, gradient: &mut Params<Tensor>) -> f64 {
        let before = norm(gradient);
        if self.value > 0.0 {
            scale_each(gradient, |x| x.clamp(-self.value, self.value));
        }
        if self.norm > 0.0 {
            let now = norm(gradient);
            if now > self.norm {
                scale_each(gradient, |x| x * (self.norm / now));
            }
        }
        before
    }
}

fn scale_each(gradient: &mut Params<Tensor>, f: impl Fn(f64) -> f64) {
    for tensor in gradient.values_mut() {
        for i in 0..tensor.len() {
            tensor.set(i, f(tensor.get(i)));
        }
    }
}

/// Euclidean norm over all elements.
fn norm(gradient: &Params<Tensor>) -> f64 {
    gradient.values().iter().flat_map(Tensor::iter).map(|x| x * x).sum::<f64>().sqrt()
}
