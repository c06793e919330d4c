//! Constructors of products and of indexing: shape rules, and folding.

use super::{Op, Var, Window};
use crate::tensor::Shape;

impl<'g> Var<'g> {
    /// Scalar product with a value of the same shape.
    #[track_caller]
    pub fn dot(self, other: Var<'g>) -> Var<'g> {
        assert_eq!(self.shape(), other.shape(), "dot of different shapes");
        (self * other).sum()
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
}
