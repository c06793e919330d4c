//! The table of derivatives, forward mode.

use super::vjp::slope;
use crate::graph::{Binary, NodeId, Op, Var};

/// Tangent of `y` given the tangents of its operands; `None` stands for zero.
pub(super) fn push_forward<'g>(
    y: Var<'g>,
    tangent: impl Fn(Var<'g>) -> Option<Var<'g>>,
) -> Option<Var<'g>> {
    let graph = y.graph();
    let op = graph.nodes()[y.id as usize].op.clone();
    let v = |id: NodeId| Var { graph, id };
    let t = |id: NodeId| tangent(v(id));
    let sum = |a: Option<Var<'g>>, b: Option<Var<'g>>| match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    let y_extents = || {
        let shape = y.shape();
        [shape[1], shape[2]]
    };
    match op {
        Op::Input(_) | Op::Const(_) | Op::StopGradient(..) => None,
        Op::PoolArgmax { .. } | Op::ArgMax(_) | Op::OneHot(_) => None,
        Op::Unary(kind, x) => t(x).and_then(|dx| Some(dx * slope(kind, v(x), y)?)),
        Op::Binary(Binary::Add, a, b) => sum(t(a), t(b)),
        Op::Binary(Binary::Sub, a, b) => sum(t(a), t(b).map(|db| -db)),
        Op::Binary(Binary::Mul, a, b) => sum(t(a).map(|da| da * v(b)), t(b).map(|db| v(a) * db)),
        Op::Reshape(x) => t(x).map(|dx| dx.reshape(&y.shape())),
        Op::Transpose(x, order) => t(x).map(|dx| dx.transpose(&order)),
        Op::Expand(x) => t(x).map(|dx| dx.expand(&y.shape())),
        Op::SumTo(x) => t(x).map(|dx| dx.sum_to(&y.shape())),
        Op::Deviation(x) => t(x).map(|dx| {
            let x = v(x);
            ((x - x.mean_to(&y.shape())) * dx).sum_to(&y.shape()) * 2.0
        }),
        Op::Slice(x, start) => t(x).map(|dx| dx.slice(&start, &y.shape())),
        Op::Pad(x, start) => t(x).map(|dx| dx.pad(&start, &y.shape())),
        Op::Concat(parts, axis) => parts.iter().any(|&part| t(part).is_some()).then(|| {
            let tangents: Vec<Var<'g>> =
                parts.iter().map(|&part| t(part).unwrap_or(v(part).full_like(0.0))).collect();
            graph.concat(&tangents, axis)
        }),
        Op::MatMul { a, b, ta, tb } => sum(
            t(a).map(|da| da.matmul_with(v(b), ta, tb)),
            t(b).map(|db| v(a).matmul_with(db, ta, tb)),
        ),
        Op::Conv { x, w, window } => {
            sum(t(x).map(|dx| dx.conv(v(w), window)), t(w).map(|dw| v(x).conv(dw, window)))
        }
        Op::ConvInputGrad { g, w, window } => sum(
            t(g).map(|dg| dg.conv_input_grad(v(w), window, y_extents())),
            t(w).map(|dw| v(g).conv_input_grad(dw, window, y_extents())),
        ),
        Op::ConvWeightGrad { x, g, window } => sum(
            t(x).map(|dx| dx.conv_weight_grad(v(g), window)),
            t(g).map(|dg| v(x).conv_weight_grad(dg, window)),
        ),
        Op::PoolPick { x, at, window } => t(x).map(|dx| dx.pool_pick(v(at), window)),
        Op::PoolPut { g, at, window } => t(g).map(|dg| dg.pool_put(v(at), window, y_extents())),
        Op::PoolSum { x, window } => t(x).map(|dx| dx.pool_sum(window)),
        Op::PoolSpread { g, window } => t(g).map(|dg| dg.pool_spread(window, y_extents())),
    }
}
