//! The closed set of operations.

/// Handle of a node within its graph; operands always have smaller handles than their users.
pub(crate) type NodeId = u32;

/// Elementwise functions of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// −x
    Neg,
    /// eˣ
    Exp,
    /// ln x
    Log,
    /// √x
    Sqrt,
    /// 1/x
    Recip,
    /// tanh x
    Tanh,
    /// sin x
    Sin,
    /// cos x
    Cos,
    /// max(x, 0); derivative 0 at 0
    Relu,
    /// 1 where x > 0, else 0; derivative 0 everywhere
    Step,
    /// −1, 0 or 1; derivative 0 everywhere
    Sign,
}

/// Elementwise functions of two arguments of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
}

/// Window of a convolution or a pooling: extents, step, and zero padding on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Height and width of the kernel.
    pub size: [usize; 2],
    /// Distance between neighbouring windows, vertically and horizontally.
    pub stride: [usize; 2],
    /// Rows of zeros above and below, and columns of zeros left and right: `[[top, bottom], [left, right]]`.
    pub pad: [[usize; 2]; 2],
}

impl Window {
    /// A square window with the same stride and padding in every direction.
    pub fn square(size: usize, stride: usize, pad: usize) -> Window {
        Window { size: [size; 2], stride: [stride; 2], pad: [[pad; 2]; 2] }
    }

    /// A square window padded as TensorFlow's SAME does: output extent ⌈input / stride⌉, the odd row of
    /// padding below and to the right.
    pub fn same(size: usize, stride: usize, input: [usize; 2]) -> Window {
        let pad = input.map(|extent| {
            let covered = (extent.div_ceil(stride) - 1) * stride + size;
            let total = covered.saturating_sub(extent);
            [total / 2, total - total / 2]
        });
        Window { size: [size; 2], stride: [stride; 2], pad }
    }

    /// Output extents for an input of the given height and width; an incomplete last window is dropped.
    ///
    /// Panics when the padded input is smaller than the window.
    #[track_caller]
    pub fn output(&self, input: [usize; 2]) -> [usize; 2] {
        std::array::from_fn(|axis| {
            let padded = input[axis] + self.pad[axis][0] + self.pad[axis][1];
            assert!(
                padded >= self.size[axis] && self.stride[axis] > 0,
                "{self:?} does not fit an input of {input:?}"
            );
            (padded - self.size[axis]) / self.stride[axis] + 1
        })
    }
}

/// One operation with its operands. The node that holds it also holds its output shape, so operations
/// that only change the shape (reshape, expand, sum-to) need no further fields.
///
/// Images are `[n, h, w, c]` and convolution kernels `[kh, kw, c_in, c_out]`: channels innermost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Value supplied at every run; the number is its position among the inputs.
    Input(usize),
    /// One number (its bits as f64) in every element.
    Const(u64),
    /// The operand; its derivative is zero. Nodes with different numbers are different variables.
    StopGradient(NodeId, u32),
    Unary(Unary, NodeId),
    Binary(Binary, NodeId, NodeId),
    /// Same elements in row-major order, another shape.
    Reshape(NodeId),
    /// Axes in the given order.
    Transpose(NodeId, Vec<usize>),
    /// Repeats axes of extent one, aligned at the innermost axis as in NumPy.
    Expand(NodeId),
    /// Sums to a shape that `Expand` could bring back: the adjoint of `Expand`.
    SumTo(NodeId),
    /// Sums the squared deviations from the mean, over the axes that `SumTo` would sum over.
    Deviation(NodeId),
    /// The box of the output shape that starts at the given index.
    Slice(NodeId, Vec<usize>),
    /// Zeros of the output shape with the operand put at the given index: the adjoint of `Slice`.
    Pad(NodeId, Vec<usize>),
    /// Operands joined along an axis.
    Concat(Vec<NodeId>, usize),
    /// `[.., m, k] · [.., k, n]`, each operand transposed first where flagged; batch axes are equal.
    MatMul {
        a: NodeId,
        b: NodeId,
        ta: bool,
        tb: bool,
    },
    /// Cross-correlation of an image with a kernel. With its two adjoints the family is bilinear and
    /// closed under differentiation.
    Conv {
        x: NodeId,
        w: NodeId,
        window: Window,
    },
    /// Adjoint of `Conv` in the image.
    ConvInputGrad {
        g: NodeId,
        w: NodeId,
        window: Window,
    },
    /// Adjoint of `Conv` in the kernel.
    ConvWeightGrad {
        x: NodeId,
        g: NodeId,
        window: Window,
    },
    /// Position (row-major in the window) of each window's first maximum of `x` times the channel's element
    /// of `by`, `[c]`; derivative zero.
    PoolArgmax {
        x: NodeId,
        by: NodeId,
        window: Window,
    },
    /// From each window of `x` the element at the position in `at`.
    PoolPick {
        x: NodeId,
        at: NodeId,
        window: Window,
    },
    /// Adjoint of `PoolPick` in `x`.
    PoolPut {
        g: NodeId,
        at: NodeId,
        window: Window,
    },
    /// Sum over each window.
    PoolSum {
        x: NodeId,
        window: Window,
    },
    /// Adjoint of `PoolSum`.
    PoolSpread {
        g: NodeId,
        window: Window,
    },
    /// Index of the first maximum along the last axis, `[.., n] -> [..]`; derivative zero.
    ArgMax(NodeId),
    /// `[..] -> [.., n]`: 1 at the index, else 0; derivative zero.
    OneHot(NodeId),
}

impl Op {
    /// Calls `f` with each operand, in order.
    pub(crate) fn for_operands(&self, mut f: impl FnMut(NodeId)) {
        match self {
            Op::Input(_) | Op::Const(_) => {}
            Op::StopGradient(x, _)
            | Op::Unary(_, x)
            | Op::Reshape(x)
            | Op::Transpose(x, _)
            | Op::Expand(x)
            | Op::SumTo(x)
            | Op::Deviation(x)
            | Op::Slice(x, _)
            | Op::Pad(x, _)
            | Op::PoolSum { x, .. }
            | Op::PoolSpread { g: x, .. }
            | Op::ArgMax(x)
            | Op::OneHot(x) => f(*x),
            Op::Binary(_, a, b)
            | Op::MatMul { a, b, .. }
            | Op::Conv { x: a, w: b, .. }
            | Op::ConvInputGrad { g: a, w: b, .. }
            | Op::ConvWeightGrad { x: a, g: b, .. }
            | Op::PoolArgmax { x: a, by: b, .. }
            | Op::PoolPick { x: a, at: b, .. }
            | Op::PoolPut { g: a, at: b, .. } => {
                f(*a);
                f(*b);
            }
            Op::Concat(parts, _) => parts.iter().for_each(|&part| f(part)),
        }
    }

    /// Operands in order.
    pub(crate) fn operands(&self) -> Vec<NodeId> {
        let mut all = Vec::new();
        self.for_operands(|x| all.push(x));
        all
    }

    /// Whether a step that works image by image reads all of its second operand: weights, or channel factors.
    pub(crate) fn shares_second(&self) -> bool {
        matches!(self, Op::Conv { .. } | Op::ConvInputGrad { .. } | Op::PoolArgmax { .. })
    }

    /// Short name for printing.
    pub(crate) fn name(&self) -> String {
        match self {
            Op::Input(i) => format!("input#{i}"),
            Op::Const(bits) => format!("const {}", f64::from_bits(*bits)),
            Op::StopGradient(..) => "stop_gradient".into(),
            Op::Unary(u, _) => format!("{u:?}").to_lowercase(),
            Op::Binary(b, ..) => format!("{b:?}").to_lowercase(),
            Op::Reshape(_) => "reshape".into(),
            Op::Transpose(_, order) => format!("transpose{order:?}"),
            Op::Expand(_) => "expand".into(),
            Op::SumTo(_) => "sum_to".into(),
            Op::Deviation(_) => "deviation".into(),
            Op::Slice(_, start) => format!("slice{start:?}"),
            Op::Pad(_, start) => format!("pad{start:?}"),
            Op::Concat(_, axis) => format!("concat[{axis}]"),
            Op::MatMul { ta, tb, .. } => {
                format!("matmul{}{}", if *ta { "_ta" } else { "" }, if *tb { "_tb" } else { "" })
            }
            Op::Conv { .. } => "conv".into(),
            Op::ConvInputGrad { .. } => "conv_input_grad".into(),
            Op::ConvWeightGrad { .. } => "conv_weight_grad".into(),
            Op::PoolArgmax { .. } => "pool_argmax".into(),
            Op::PoolPick { .. } => "pool_pick".into(),
            Op::PoolPut { .. } => "pool_put".into(),
            Op::PoolSum { .. } => "pool_sum".into(),
            Op::PoolSpread { .. } => "pool_spread".into(),
            Op::ArgMax(_) => "argmax".into(),
            Op::OneHot(_) => "one_hot".into(),
        }
    }
}
