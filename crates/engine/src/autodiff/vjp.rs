//! The table of derivatives, reverse mode. One arm per operation. The right-hand sides are ordinary graph expressions,
//! which is all that higher orders need.

use crate::graph::{Binary, NodeId, Op, Unary, Var};

/// Calls `add(x, gx)` with the cotangent of each operand `x` of `y`, given the cotangent `g` of `y`.
pub(super) fn pull_back<'g>(y: Var<'g>, g: Var<'g>, mut add: impl FnMut(Var<'g>, Var<'g>)) {
    let graph = y.graph();
    let op = graph.nodes()[y.id as usize].op.clone();
    let v = |id: NodeId| Var { graph, id };
    let extents = |x: Var<'g>| -> [usize; 2] {
        let shape = x.shape();
        [shape[1], shape[2]]
    };
    match op {
        Op::Input(_) | Op::Const(_) | Op::StopGradient(..) => {}
        Op::PoolArgmax { .. } | Op::ArgMax(_) | Op::OneHot(_) => {}
        Op::Unary(kind, x) => {
            if let Some(slope) = slope(kind, v(x), y) {
                add(v(x), g * slope);
            }
        }
        Op::Binary(Binary::Add, a, b) => {
            add(v(a), g);
            add(v(b), g);
        }
        Op::Binary(Binary::Sub, a, b) => {
            add(v(a), g);
            add(v(b), -g);
        }
        Op::Binary(Binary::Mul, a, b) => {
            add(v(a), g * v(b));
            add(v(b), g * v(a));
        }
        Op::Reshape(x) => add(v(x), g.reshape(&v(x).shape())),
        Op::Transpose(x, order) => {
            let mut inverse = vec![0; order.len()];
            order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
            add(v(x), g.transpose(&inverse));
        }
        Op::Expand(x) => add(v(x), g.sum_to(&v(x).shape())),
        Op::SumTo(x) => add(v(x), g.expand(&v(x).shape())),
        // The derivative through the mean vanishes: Σ (x − x̄) = 0.
        Op::Deviation(x) => {
            let x = v(x);
            add(x, (x - x.mean_to(&y.shape())) * (g * 2.0));
        }
        Op::Slice(x, start) => add(v(x), g.pad(&start, &v(x).shape())),
        Op::Pad(x, start) => add(v(x), g.slice(&start, &v(x).shape())),
        Op::Concat(parts, axis) => {
            let mut start = vec![0; g.shape().len()];
            for part in parts {
                let shape = v(part).shape();
                add(v(part), g.slice(&start, &shape));
                start[axis] += shape[axis];
            }
        }
        // y = op(a) op(b): each transposition moves to the other side.
        Op::MatMul { a, b, ta, tb } => {
            let (a, b) = (v(a), v(b));
            add(a, if ta { b.matmul_with(g, tb, true) } else { g.matmul_with(b, false, !tb) });
            add(b, if tb { g.matmul_with(a, true, ta) } else { a.matmul_with(g, !ta, false) });
        }
        // The three convolutions are the partial derivatives of one trilinear form
        // t(x, w, g) = ⟨conv(x, w), g⟩, so each one's derivatives are the other two.
        Op::Conv { x, w, window } => {
            add(v(x), g.conv_input_grad(v(w), window, extents(v(x))));
            add(v(w), v(x).conv_weight_grad(g, window));
        }
        Op::ConvInputGrad { g: h, w, window } => {
            add(v(h), g.conv(v(w), window));
            add(v(w), g.conv_weight_grad(v(h), window));
        }
        Op::ConvWeightGrad { x, g: h, window } => {
            add(v(x), v(h).conv_input_grad(g, window, extents(v(x))));
            add(v(h), v(x).conv(g, window));
        }
        Op::PoolPick { x, at, window } => add(v(x), g.pool_put(v(at), window, extents(v(x)))),
        Op::PoolPut { g: h, at, window } => add(v(h), g.pool_pick(v(at), window)),
        Op::PoolSum { x, window } => add(v(x), g.pool_spread(window, extents(v(x)))),
        Op::PoolSpread { g: h, window } => add(v(h), g.pool_sum(window)),
    }
}

/// dy/dx of an elementwise `y = f(x)`, or `None` where it is zero everywhere.
pub(super) fn slope<'g>(kind: Unary, x: Var<'g>, y: Var<'g>) -> Option<Var<'g>> {
    Some(match kind {
        Unary::Neg => y.full_like(-1.0),
        Unary::Exp => y,
        Unary::Log => x.recip(),
        Unary::Sqrt => y.recip() * 0.5,
        Unary::Recip => -(y * y),
        Unary::Tanh => 1.0 - y * y,
        Unary::Sin => x.cos(),
        Unary::Cos => -x.sin(),
        // y is positive exactly where x is, and is available even where nothing else needs x.
        Unary::Relu => y.step(),
        Unary::Step | Unary::Sign => return None,
    })
}
