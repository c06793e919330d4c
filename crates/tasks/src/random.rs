//! Distributions that the families draw from.

use std::f64::consts::TAU;

use rand::{Rng, RngExt};

/// Uniform on `[low, high)`.
pub(crate) fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// Standard normal (Box and Muller 1958).
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    // 1 − u lies in (0, 1], so the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

/// A whole number below `n`.
pub(crate) fn below(rng: &mut impl Rng, n: usize) -> usize {
    rng.random_range(0..n)
}

/// The numbers below `n` in random order.
pub(crate) fn shuffled(rng: &mut impl Rng, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    shuffle(rng, &mut order);
    order
}

/// Brings the elements into random order.
pub(crate) fn shuffle(rng: &mut impl Rng, order: &mut [usize]) {
    for at in (1..order.len()).rev() {
        order.swap(at, below(rng, at + 1));
    }
}
