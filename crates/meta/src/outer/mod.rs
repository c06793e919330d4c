//! The outer loop's step: clipping, a schedule, an optimizer.
//!
//! All three are plain functions of numbers; the state is a set of named tensors, so that it can be saved and restored
//! directly.

mod clip;
mod optimizer;
mod schedule;

pub use clip::{Clip, norm};
pub use optimizer::{Optimizer, OptimizerState};
pub use schedule::{Course, Schedule};

#[cfg(test)]
mod tests;

use innerloop_engine::{Dtype, Tensor};

/// An element type, for loops over slices in which arithmetic is in double precision.
trait Element: Copy {
    fn widen(self) -> f64;
    /// Rounds to the element type.
    fn narrow(value: f64) -> Self;
}

impl Element for f32 {
    fn widen(self) -> f64 {
        self.into()
    }

    fn narrow(value: f64) -> f32 {
        value as f32
    }
}

impl Element for f64 {
    fn widen(self) -> f64 {
        self
    }

    fn narrow(value: f64) -> f64 {
        value
    }
}

/// Replaces every element `x` by `f(x)`.
fn map_each(tensor: &mut Tensor, f: impl Fn(f64) -> f64) {
    fn all<T: Element>(x: &mut [T], f: impl Fn(f64) -> f64) {
        x.iter_mut().for_each(|x| *x = T::narrow(f(x.widen())));
    }
    match tensor.dtype() {
        Dtype::F32 => all(tensor.as_f32_mut(), f),
        Dtype::F64 => all(tensor.as_f64_mut(), f),
    }
}
