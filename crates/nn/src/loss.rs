//! Losses: means over the examples of a batch.

use innerloop_engine::Var;

/// Mean cross-entropy of logits `[n, ways]` against class labels `[n]` (whole numbers).
#[track_caller]
pub fn cross_entropy<'g>(logits: Var<'g>, labels: Var<'g>) -> Var<'g> {
    let shape = logits.shape();
    assert!(shape.len() == 2 && labels.shape() == shape[..1], "logits {shape:?} and their labels");
    let picked = logits.log_softmax() * labels.one_hot(shape[1]);
    -picked.sum() * (1.0 / shape[0] as f64)
}

/// Mean squared error over all elements of `prediction` and `target`, both `[n, d]`.
#[track_caller]
pub fn mean_squared_error<'g>(prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
    assert_eq!(prediction.shape(), target.shape(), "prediction and target");
    let difference = prediction - target;
    (difference * difference).mean()
}
