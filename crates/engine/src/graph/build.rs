//! Constructors of the operations: shape rules, and the folding that keeps graphs small.
//!
//! Folding assumes finite values: `x · 0` is the constant 0.

use super::pooling::is_same_in_windows;
use super::{Binary, Graph, Op, Unary, Var, Window};
use crate::tensor::{Shape, volume};

impl Graph {
    /// Values behind one another along `axis`; all other extents are equal.
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
    #[track_caller]
    fn assert_same_graph(self, other: Var<'g>) {
        assert!(std::ptr::eq(self.graph, other.graph), "{self:?} and {other:?} are of two graphs");
    }

    #[track_caller]
    fn broadcast(self, other: Var<'g>) -> (Var<'g>, Var<'g>) {
        self.assert_same_graph(other);
        let (a, b) = (self.shape(), other.shape());
        if a == b {
            return (self, other);
        }
        let rank = a.len().max(b.len());
        let at = |s: &Shape, i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
        let shape: Shape = (0..rank).map(|i| at(&a, i).max(at(&b, i))).collect();
        (self.expand(&shape), other.expand(&shape))
    }

    fn binary(self, kind: Binary, other: Var<'g>) -> Var<'g> {
        self.graph.node(Op::Binary(kind, self.id, other.id), self.shape())
    }

    pub(super) fn constant(self) -> Option<f64> {
        self.graph.constant(self.id)
    }

    /// Constants go right, other operands in order of their handles, so that `a + b` is `b + a`.
    fn ordered(self, other: Var<'g>) -> (Var<'g>, Var<'g>) {
        let swap = match (self.constant().is_some(), other.constant().is_some()) {
            (false, true) => false,
            (true, false) => true,
            _ => self.id > other.id,
        };
        if swap { (other, self) } else { (self, other) }
    }

    #[track_caller]
    pub(super) fn build_add(self, other: Var<'g>) -> Var<'g> {
        let (a, b) = self.broadcast(other);
        let (a, b) = a.ordered(b);
        match (a.constant(), b.constant()) {
            (Some(x), Some(y)) => a.full_like(x + y),
            (_, Some(0.0)) => a,
            _ => a.binary(Binary::Add, b),
        }
    }

    #[track_caller]
    pub(super) fn build_sub(self, other: Var<'g>) -> Var<'g> {
        let (a, b) = self.broadcast(other);
        match (a.constant(), b.constant()) {
            (Some(x), Some(y)) => a.full_like(x - y),
            (_, Some(0.0)) => a,
            (Some(0.0), _) => -b,
            _ if a == b => a.full_like(0.0),
            _ => a.binary(Binary::Sub, b),
        }
    }

    #[track_caller]
    pub(super) fn build_mul(self, other: Var<'g>) -> Var<'g> {
        let (a, b) = self.broadcast(other);
        let (a, b) = a.ordered(b);
        match (a.constant(), b.constant()) {
            (Some(x), Some(y)) => a.full_like(x * y),
            (_, Some(0.0)) => b,
            (_, Some(1.0)) => a,
            (_, Some(-1.0)) => -a,
            (_, Some(y)) => match a.scaled() {
                Some((x, factor)) => x.build_mul(a.full_like(factor * y)),
                None => a.binary(Binary::Mul, b),
            },
            _ => a.binary(Binary::Mul, b),
        }
    }

    /// `(x, c)` if this is `x · c` with a constant `c`.
    fn scaled(self) -> Option<(Var<'g>, f64)> {
        let Op::Binary(Binary::Mul, x, c) = self.graph.nodes()[self.id as usize].op else {
            return None;
        };
        let factor = self.graph.constant(c)?;
        Some((Var { graph: self.graph, id: x }, factor))
    }

    #[track_caller]
    pub(super) fn build_div(self, other: Var<'g>) -> Var<'g> {
        self.build_mul(other.recip())
    }

    pub(super) fn build_neg(self) -> Var<'g> {
        if let Op::Unary(Unary::Neg, x) = self.graph.nodes()[self.id as usize].op {
            return Var { graph: self.graph, id: x };
        }
        self.unary(Unary::Neg)
    }

    pub(crate) fn unary(self, kind: Unary) -> Var<'g> {
        match self.constant() {
            Some(value) => self.full_like(kind.of(value)),
            None => self.graph.node(Op::Unary(kind, self.id), self.shape()),
        }
    }

    /// eˣ, elementwise.
    pub fn exp(self) -> Var<'g> {
        self.unary(Unary::Exp)
    }

    /// ln x, elementwise.
    pub fn log(self) -> Var<'g> {
        self.unary(Unary::Log)
    }

    /// √x, elementwise.
    pub fn sqrt(self) -> Var<'g> {
        self.unary(Unary::Sqrt)
    }

    /// 1/x, elementwise.
    pub fn recip(self) -> Var<'g> {
        self.unary(Unary::Recip)
    }

    /// tanh x, elementwise.
    pub fn tanh(self) -> Var<'g> {
        self.unary(Unary::Tanh)
    }

    /// sin x, elementwise.
    pub fn sin(self) -> Var<'g> {
        self.unary(Unary::Sin)
    }

    /// cos x, elementwise.
    pub fn cos(self) -> Var<'g> {
        self.unary(Unary::Cos)
    }

    /// max(x, 0), elementwise; its derivative at 0 is 0.
    pub fn relu(self) -> Var<'g> {
        self.unary(Unary::Relu)
    }

    /// 1 where x > 0, else 0; its derivative is 0.
    pub fn step(self) -> Var<'g> {
        self.unary(Unary::Step)
    }

    /// −1, 0 or 1; its derivative is 0.
    pub fn sign(self) -> Var<'g> {
        self.unary(Unary::Sign)
    }

    /// 1 / (1 + e⁻ˣ), elementwise.
    pub fn sigmoid(self) -> Var<'g> {
        ((self * 0.5).tanh() + 1.0) * 0.5
    }

    /// The same value, through which no derivative flows.
    pub fn stop_gradient(self) -> Var<'g> {
        self.graph.node(Op::StopGradient(self.id), self.shape())
    }

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
        // Repeating what is repeated already repeats the original.
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
        // What is the same for all that is summed goes outside: Σ a·b = b Σ a.
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

    /// Scalar product with a value of the same shape.
    #[track_caller]
    pub fn dot(self, other: Var<'g>) -> Var<'g> {
        assert_eq!(self.shape(), other.shape(), "dot of different shapes");
        (self * other).sum()
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

    /// Matrix product `[.., m, k] · [.., k, n] -> [.., m, n]`; batch axes are equal.
    #[track_caller]
    pub fn matmul(self, other: Var<'g>) -> Var<'g> {
        self.matmul_with(other, false, false)
    }

    /// Matrix product with the last two axes of the flagged operands exchanged first.
    #[track_caller]
    pub(crate) fn matmul_with(self, other: Var<'g>, ta: bool, tb: bool) -> Var<'g> {
        self.assert_same_graph(other);
        let (a, b) = (self.shape(), other.shape());
        let fits = a.len() == b.len() && a.len() >= 2 && a[..a.len() - 2] == b[..b.len() - 2];
        assert!(fits, "matmul of {a:?} and {b:?}");
        let last = |s: &Shape, t: bool| {
            let (p, q) = (s[s.len() - 2], s[s.len() - 1]);
            if t { (q, p) } else { (p, q) }
        };
        let ((m, k), (k2, n)) = (last(&a, ta), last(&b, tb));
        assert_eq!(k, k2, "matmul of {a:?} (transposed: {ta}) and {b:?} (transposed: {tb})");
        let mut shape = a[..a.len() - 2].to_vec();
        shape.extend([m, n]);
        if self.constant() == Some(0.0) || other.constant() == Some(0.0) {
            return self.graph.full(&shape, 0.0);
        }
        self.graph.node(Op::MatMul { a: self.id, b: other.id, ta, tb }, shape)
    }

    /// `self · otherᵀ`, for weights kept as `[out, in]`.
    #[track_caller]
    pub fn matmul_t(self, other: Var<'g>) -> Var<'g> {
        self.matmul_with(other, false, true)
    }

    /// Cross-correlation of images `[n, h, w, c]` with a kernel `[kh, kw, c, o]`: `[n, h', w', o]`.
    #[track_caller]
    pub fn conv(self, w: Var<'g>, window: Window) -> Var<'g> {
        let (x, k) = (self.shape(), w.shape());
        let fits = x.len() == 4 && k.len() == 4 && x[3] == k[2] && k[..2] == window.size;
        assert!(fits, "conv of {x:?} with {k:?} by {window:?}");
        let [oh, ow] = window.output([x[1], x[2]]);
        let shape = vec![x[0], oh, ow, k[3]];
        self.bilinear(w, Op::Conv { x: self.id, w: w.id, window }, shape)
    }

    /// Adjoint of [`Var::conv`] in the image, of extents `input`: `[n, h', w', o] -> [n, h, w, c]`.
    #[track_caller]
    pub(crate) fn conv_input_grad(self, w: Var<'g>, window: Window, input: [usize; 2]) -> Var<'g> {
        let (g, k) = (self.shape(), w.shape());
        let fits = g.len() == 4 && k.len() == 4 && g[3] == k[3] && k[..2] == window.size;
        assert!(fits && g[1..3] == window.output(input), "conv_input_grad of {g:?} with {k:?}");
        let shape = vec![g[0], input[0], input[1], k[2]];
        self.bilinear(w, Op::ConvInputGrad { g: self.id, w: w.id, window }, shape)
    }

    /// Adjoint of [`Var::conv`] in the kernel: image `[n, h, w, c]`, `g` `[n, h', w', o]`.
    #[track_caller]
    pub(crate) fn conv_weight_grad(self, g: Var<'g>, window: Window) -> Var<'g> {
        let (x, k) = (self.shape(), g.shape());
        let fits = x.len() == 4 && k.len() == 4 && x[0] == k[0];
        let fits = fits && k[1..3] == window.output([x[1], x[2]]);
        assert!(fits, "conv_weight_grad of {x:?} with {k:?}");
        let shape = vec![window.size[0], window.size[1], x[3], k[3]];
        self.bilinear(g, Op::ConvWeightGrad { x: self.id, g: g.id, window }, shape)
    }

    #[track_caller]
    pub(super) fn bilinear(self, other: Var<'g>, op: Op, shape: Shape) -> Var<'g> {
        self.assert_same_graph(other);
        if self.constant() == Some(0.0) || other.constant() == Some(0.0) {
            return self.graph.full(&shape, 0.0);
        }
        self.graph.node(op, shape)
    }

    /// Index of the first maximum along the last axis, `[.., n] -> [..]`; its derivative is 0.
    #[track_caller]
    pub fn argmax(self) -> Var<'g> {
        let mut shape = self.shape();
        shape.pop().expect("argmax of at least one axis");
        self.graph.node(Op::ArgMax(self.id), shape)
    }

    /// `[..] -> [.., n]`: 1 at the index this value holds, else 0. An index outside `0..n` gives zeros.
    pub fn one_hot(self, n: usize) -> Var<'g> {
        let mut shape = self.shape();
        shape.push(n);
        self.graph.node(Op::OneHot(self.id), shape)
    }

    /// Largest element along the last axis, which stays with extent one; the first among equals gets
    /// the derivative.
    #[track_caller]
    pub fn max_last(self) -> Var<'g> {
        let n = *self.shape().last().expect("max_last of at least one axis");
        (self * self.argmax().one_hot(n)).sum_last()
    }

    /// log softmax along the last axis, shifted by the maximum so that nothing overflows.
    #[track_caller]
    pub fn log_softmax(self) -> Var<'g> {
        // The shift cancels in the derivative of every order, so none flows through it.
        let shifted = self - self.max_last().stop_gradient();
        shifted - shifted.exp().sum_last().log()
    }
}

impl Unary {
    /// The function's value, in double precision.
    pub(crate) fn of(self, x: f64) -> f64 {
        match self {
            Unary::Neg => -x,
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Sqrt => x.sqrt(),
            Unary::Recip => 1.0 / x,
            Unary::Tanh => x.tanh(),
            Unary::Sin => x.sin(),
            Unary::Cos => x.cos(),
            // Written so that a NaN stays one.
            Unary::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Unary::Step => f64::from(x > 0.0),
            Unary::Sign => f64::from(x > 0.0) - f64::from(x < 0.0),
        }
    }
}

/// Whether axes of extent one can be repeated to turn `from` into `to`, aligned at the innermost axis.
fn expands_to(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len()
        && from.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1)
}
