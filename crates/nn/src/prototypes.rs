//! Classification by class means of embeddings.

use innerloop_engine::Var;

/// Logits `−‖z − c_k‖²` `[m, ways]` of query embeddings `z` `[m, d]`, where `c_k` is the mean of the support
/// embeddings `[n, d]` with label `k` (`[n]`, whole numbers; each class has at least one): Snell, Swersky, Zemel 2017,
/// arXiv 1703.05175, equations 1 and 2.
#[track_caller]
pub fn prototype_logits<'g>(
    support: Var<'g>,
    labels: Var<'g>,
    query: Var<'g>,
    ways: usize,
) -> Var<'g> {
    let (n, m) = (support.shape()[0], query.shape()[0]);
    assert_eq!(labels.shape(), [n], "one label per support embedding");
    let members = labels.one_hot(ways).transpose(&[1, 0]);
    let counts = members.sum_to(&[ways, 1]);
    let means = members.matmul(support) * counts.recip();
    let square = |x: Var<'g>, rows: usize| (x * x).sum_to(&[rows, 1]);
    let products = query.matmul_t(means);
    products * 2.0 - square(query, m) - square(means, ways).reshape(&[1, ways])
}
