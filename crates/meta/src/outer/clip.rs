//! Bounds on a gradient.

use innerloop_engine::{Dtype, Params, Tensor};

use super::{Element, map_each};

/// How a meta-gradient is bounded before the optimizer sees it. Zero means no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Bound on every element's absolute value.
    pub value: f64,
    /// Bound on the norm over all elements, applied after clipping by value.
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
    let squares = |tensor: &Tensor| match tensor.dtype() {
        Dtype::F32 => sum_of_squares(tensor.as_f32()),
        Dtype::F64 => sum_of_squares(tensor.as_f64()),
    };
    gradient.values().iter().map(squares).sum::<f64>().sqrt()
}

/// In eight independent sums, none of which waits for the others.
fn sum_of_squares<T: Element>(elements: &[T]) -> f64 {
    let mut sums = [0.0; 8];
    for chunk in elements.chunks(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x.widen() * x.widen();
        }
    }
    sums.iter().sum()
}
