//! Resizing of maps.

use innerloop_engine::{Graph, Var};

/// Bilinear interpolation of maps `[n, h, w, c]` to other extents, like PyTorch's `interpolate` without aligned
/// corners: position `i` of the result lies at `(i + ½) h / h' − ½`, clamped to the map. It is two products with
/// constant matrices, one per axis; maps that shrink are not averaged.
#[track_caller]
pub fn resize_bilinear<'g>(x: Var<'g>, extents: [usize; 2]) -> Var<'g> {
    let &[n, h, w, c] = x.shape().as_slice() else { panic!("maps are [n, h, w, c]: {x:?}") };
    let [rows, columns] = extents;
    if [h, w] == extents {
        return x;
    }
    let along = |x: Var<'g>, batch: usize, from: usize, to: usize| {
        interpolation(x.graph(), from, to).expand(&[batch, to, from]).matmul(x)
    };
    let x = along(x.reshape(&[n, h, w * c]), n, h, rows);
    let x = along(x.reshape(&[n * rows, w, c]), n * rows, w, columns);
    x.reshape(&[n, rows, columns, c])
}

/// The matrix `[1, to, from]` that interpolates along an axis.
fn interpolation(graph: &Graph, from: usize, to: usize) -> Var<'_> {
    let place = |i: usize| {
        let at = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        at.clamp(0.0, (from - 1) as f64)
    };
    let column = |f: &dyn Fn(f64) -> f64| {
        let values: Vec<_> = (0..to).map(|i| graph.full(&[1], f(place(i)))).collect();
        graph.concat(&values, 0)
    };
    let last = (from - 1) as f64;
    let below = column(&|at| at.floor()).one_hot(from);
    let above = column(&|at| (at.floor() + 1.0).min(last)).one_hot(from);
    let share = column(&|at| at - at.floor()).reshape(&[to, 1]);
    (below + (above - below) * share).reshape(&[1, to, from])
}
