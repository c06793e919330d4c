//! Bounds on a gradient.

use innerloop_engine::{Dtype, Params, Tensor};

use super::map_each;

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
            let bounded = |x: f64| x.clamp(-self.value, self.value);
            gradient.values_mut().iter_mut().for_each(|tensor| map_each(tensor, bounded));
        }
        if self.norm > 0.0 {
            let now = norm(gradient);
            if now > self.norm {
                let scaled = |x: f64| x * (self.norm / now);
                gradient.values_mut().iter_mut().for_each(|tensor| map_each(tensor, scaled));
            }
        }
        before
    }
}

/// Euclidean norm over all elements, in double precision.
pub fn norm(gradient: &Params<Tensor>) -> f64 {
    let square = |x: f64| x * x;
    let add = |sum: f64, tensor: &Tensor| match tensor.dtype() {
        Dtype::F32 => tensor.as_f32().iter().fold(sum, |sum, &x| sum + square(x.into())),
        Dtype::F64 => tensor.as_f64().iter().fold(sum, |sum, &x| sum + square(x)),
    };
    gradient.values().iter().fold(0.0, add).sqrt()
}
