//! Constructors of elementwise operations, and the folding that keeps graphs small. `shapes.rs` has those that move
//! elements, `products.rs` products and indexing, `pooling.rs` pooling.
//!
//! Folding assumes finite values: `x · 0` is the constant 0.

use super::{Binary, Op, Unary, Var};
use crate::tensor::Shape;

impl<'g> Var<'g> {
    #[track_caller]
    pub(super) fn assert_same_graph(self, other: Var<'g>) {
        assert!(
            std::ptr::eq(self.graph, other.graph),
            "{self:?} and {other:?} belong to two graphs"
        );
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

    /// Constants go right, other operands in order of their handles, so that `a + b` and `b + a` are one node.
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
        self.graph.node(Op::StopGradient(self.id, 0), self.shape())
    }

    /// The same value as a new variable: no derivative flows through it, and it is not shared with any other node, even
    /// of the same value. To be differentiated with respect to apart from those.
    pub fn new_variable(self) -> Var<'g> {
        let number = u32::try_from(self.graph.nodes().len()).expect("fewer than 2^32 nodes");
        self.graph.node(Op::StopGradient(self.id, number), self.shape())
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
            // Written so that NaN stays NaN.
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
