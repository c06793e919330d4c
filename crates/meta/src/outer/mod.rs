//! The outer loop's step: clipping, a schedule, an optimizer.
//!
//! All three are plain functions of numbers; the state is named tensors, so that it is saved and restored
//! as it is.

mod clip;
mod optimizer;
mod schedule;

pub use clip::Clip;
pub use optimizer::{Optimizer, OptimizerState};
pub use schedule::{Schedule, Shape};

#[cfg(test)]
mod tests;
