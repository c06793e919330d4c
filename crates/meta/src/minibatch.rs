//! Minibatches of a support set.

use innerloop_engine::Key;
use rand::seq::SliceRandom;

/// Indices of the examples of inner step `step` when steps take `batch` of `examples` examples: the
/// support set is gone through without replacement, in a fresh order on every pass, and a pass's
/// remainder is completed from the next pass (Reptile's cycling).
pub fn minibatch(key: Key, examples: usize, batch: usize, step: usize) -> Vec<usize> {
    let key = key.with_stream("minibatch");
    let order = |pass: usize| {
        let mut order: Vec<usize> = (0..examples).collect();
        let stream = key.with_stream(&pass.to_string());
        order.shuffle(&mut stream.rng());
        order
    };
    let first = step * batch;
    let passes: Vec<Vec<usize>> =
        (first / examples..=(first + batch - 1) / examples).map(order).collect();
    (first..first + batch).map(|i| passes[i / examples - first / examples][i % examples]).collect()
}
