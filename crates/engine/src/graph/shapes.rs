//! Constructors of what moves, repeats, cuts out and sums elements: shape rules, and folding.

use super::pooling::is_same_in_windows;
use super::{Binary, Graph, Op, Unary, Var};
use crate::tensor::{Shape, volume};

impl Graph {
    /// Joins values along `axis`; all other extents are equal.
    #[track_caller]
    pub fn concat<'g>(&'g self, parts: &[Var<'g>], axis: usize) -> Var<'g> {
        let mut shape = parts.first().expect("concat of at least one value").shape();
        if let [only] = parts {
            return *only;
        }
        for part in &parts[1..] {
            part.assert_same_graph(parts[0]);
            let other = part.shape();
            let fits = other.len() == shape.len()
                && (0..shape.len()).all(|i| i == axis || other[i] == shape[i]);
            assert!(fits, "concat along axis {axis}: {shape:?} and {other:?}");
            shape[axis] += other[axis];
        }
        self.node(Op::Concat(parts.iter().map(|part| part.id).collect(), axis), shape)
    }
}

impl<'g> Var<'g> {
    /// Same elements in row-major order under another shape of the same volume.
    #[track_caller]
    pub fn reshape(self, shape: &[usize]) -> Var<'g> {
        let from = self.shape();
        assert_eq!(volume(&from), volume(shape), "cannot reshape {from:?} to {shape:?}");
        if from == shape {
            return self;
        }
        if let Some(value) = self.constant() {
            return self.graph.full(shape, value);
        }
        let inner = match self.graph.nodes()[self.id as usize].op {
            Op::Reshape(x) => Some(Var { graph: self.graph, id: x }),
            _ => None,
        };
        match inner {
            Some(x) => x.reshape(shape),
            None => self.graph.node(Op::Reshape(self.id), shape.to_vec()),
        }
    }

    /// Axes in another order: axis `i` of the result is axis `order[i]` of the operand.
    #[track_caller]
    pub fn transpose(self, order: &[usize]) -> Var<'g> {
        let from = self.shape();
        let mut seen = order.to_vec();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..from.len()), "transpose of {from:?} by {order:?}");
        if order.iter().copied().eq(0..from.len()) {
            return self;
        }
        let shape: Shape = order.iter().map(|&axis| from[axis]).collect();
        if let Some(value) = self.constant() {
            return self.graph.full(&shape, value);
        }
        self.graph.node(Op::Transpose(self.id, order.to_vec()), shape)
    }

    /// Repeats axes of extent one to reach `shape`; axes are aligned at the innermost, as in NumPy.
    #[track_caller]
    pub fn expand(self, shape: &[usize]) -> Var<'g> {
        let from = self.shape();
        assert!(expands_to(&from, shape), "cannot expand {from:?} to {shape:?}");
        if from == shape {
            return self;
        }
        if let Some(value) = self.constant() {
            return self.graph.full(shape, value);
        }
        if volume(&from) == volume(shape) {
            return self.reshape(shape);
        }
        // Repeating a repeated value repeats the original.
        let original = match self.graph.nodes()[self.id as usize].op {
            Op::Expand(x) => x,
            _ => self.id,
        };
        self.graph.node(Op::Expand(original), shape.to_vec())
    }

    /// Sums over the axes that [`Var::expand`] would have repeated: its adjoint.
    #[track_caller]
    pub fn sum_to(self, shape: &[usize]) -> Var<'g> {
        let from = self.shape();
        assert!(expands_to(shape, &from), "cannot sum {from:?} to {shape:?}");
        if volume(&from) == volume(shape) {
            return self.reshape(shape);
        }
        if let Some(value) = self.constant() {
            return self.graph.full(shape, value * (volume(&from) / volume(shape)) as f64);
        }
        // Factors that are the same for everything summed go outside: Σ a·b = b Σ a.
        let op = self.graph.nodes()[self.id as usize].op.clone();
        let var = |id| Var { graph: self.graph, id };
        match op {
            Op::Unary(Unary::Neg, x) => return -var(x).sum_to(shape),
            Op::Binary(Binary::Mul, a, b) => {
                if let Some(b) = var(b).repeated_from(shape) {
                    return var(a).sum_to(shape) * b;
                }
                if let Some(a) = var(a).repeated_from(shape) {
                    return var(b).sum_to(shape) * a;
                }
            }
            _ => {}
        }
        if from.len() == 4
            && is_same_in_windows(shape)
            && let Some(windows) = self.summed_in_windows()
        {
            return windows.sum_to(shape);
        }
        self.graph.node(Op::SumTo(self.id), shape.to_vec())
    }

    /// Mean over the axes that [`Var::expand`] would have repeated.
    #[track_caller]
    pub fn mean_to(self, shape: &[usize]) -> Var<'g> {
        self.sum_to(shape) * (volume(shape) as f64 / volume(&self.shape()) as f64)
    }

    /// `Σ (x − x̄)²` over the axes that [`Var::expand`] would have repeated, with `x̄` the mean over them.
    /// One pass over the data gives it together with the sum, without the cancellation of `Σx² − n x̄²`.
    #[track_caller]
    pub fn deviation_to(self, shape: &[usize]) -> Var<'g> {
        let from = self.shape();
        assert!(expands_to(shape, &from), "cannot sum {from:?} to {shape:?}");
        if volume(&from) == volume(shape) || self.constant().is_some() {
            return self.graph.full(shape, 0.0);
        }
        self.graph.node(Op::Deviation(self.id), shape.to_vec())
    }

    /// The value of the given shape that this one repeats, if it does.
    fn repeated_from(self, shape: &[usize]) -> Option<Var<'g>> {
        let op = self.graph.nodes()[self.id as usize].op.clone();
        match op {
            Op::Const(bits) => Some(self.graph.full(shape, f64::from_bits(bits))),
            Op::Expand(x) => {
                let x = Var { graph: self.graph, id: x };
                expands_to(&x.shape(), shape).then(|| x.expand(shape))
            }
            _ => None,
        }
    }

    /// Sum of all elements, a scalar.
    pub fn sum(self) -> Var<'g> {
        self.sum_to(&[])
    }

    /// Mean of all elements, a scalar.
    pub fn mean(self) -> Var<'g> {
        self.sum() * (1.0 / volume(&self.shape()) as f64)
    }

    /// Sum over the last axis, which stays with extent one.
    #[track_caller]
    pub fn sum_last(self) -> Var<'g> {
        let mut shape = self.shape();
        *shape.last_mut().expect("sum_last of at least one axis") = 1;
        self.sum_to(&shape)
    }

    /// The box of the given extents starting at the given index.
    #[track_caller]
    pub fn slice(self, start: &[usize], shape: &[usize]) -> Var<'g> {
        let from = self.shape();
        let fits = start.len() == from.len()
            && shape.len() == from.len()
            && (0..from.len()).all(|i| start[i] + shape[i] <= from[i]);
        assert!(fits, "slice of {shape:?} at {start:?} from {from:?}");
        if from == shape {
            return self;
        }
        if let Some(value) = self.constant() {
            return self.graph.full(shape, value);
        }
        self.graph.node(Op::Slice(self.id, start.to_vec()), shape.to_vec())
    }

    /// Zeros of the given shape with this value put at the given index: the adjoint of slicing.
    #[track_caller]
    pub fn pad(self, start: &[usize], shape: &[usize]) -> Var<'g> {
        let from = self.shape();
        let fits = start.len() == from.len()
            && shape.len() == from.len()
            && (0..from.len()).all(|i| start[i] + from[i] <= shape[i]);
        assert!(fits, "pad of {from:?} at {start:?} to {shape:?}");
        if from == shape {
            return self;
        }
        if self.constant() == Some(0.0) {
            return self.graph.full(shape, 0.0);
        }
        self.graph.node(Op::Pad(self.id, start.to_vec()), shape.to_vec())
    }
}

/// Whether axes of extent one can be repeated to turn `from` into `to`, aligned at the innermost axis.
fn expands_to(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len()
        && from.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1)
}
