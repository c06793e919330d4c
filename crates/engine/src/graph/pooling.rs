//! Max-pooling and the operations it commutes with.
//!
//! Choosing one pixel of each window commutes with every elementwise operation, and a sum over all pixels of what was
//! put back into windows is a sum over the windows. Building graphs this way moves work from the pixels of an image to
//! its windows, of which there are a quarter as many.

use std::collections::HashMap;

use super::{Binary, Graph, NodeId, Op, Unary, Var, Window};
use crate::tensor::{Shape, volume};

/// Elementwise operations that a choice moves through before it is made where it stands instead.
const MOST: usize = 32;

impl<'g> Var<'g> {
    /// Largest element of each window; among equals the first in row-major order gets the derivative.
    /// Padding never wins.
    #[track_caller]
    pub fn max_pool(self, window: Window) -> Var<'g> {
        self.pool_pick(self.pool_argmax(window), window)
    }

    /// Position of the first maximum in each window; its derivative is zero.
    ///
    /// A shift that is constant over a window does not move its maximum, and a scale only does so by its sign, so
    /// shifts and scales of whole channels are left out.
    #[track_caller]
    pub(crate) fn pool_argmax(self, window: Window) -> Var<'g> {
        let shape = self.pooled(window);
        let channels = shape[3];
        let (plain, sign) = self.without_channel_affine();
        let (x, by) = match sign {
            Some(sign) if is_of_channels(&sign.shape(), channels) => {
                (plain, sign.reshape(&[channels]))
            }
            Some(sign) => (plain * sign.expand(&self.shape()), self.graph.full(&[channels], 1.0)),
            None => (plain, self.graph.full(&[channels], 1.0)),
        };
        self.graph.node(Op::PoolArgmax { x: x.id, by: by.id, window }, shape)
    }

    /// The value before shifts and scales that are constant over a window, and the sign of the scales, which may be
    /// expanded to its shape.
    fn without_channel_affine(self) -> (Var<'g>, Option<Var<'g>>) {
        let var = |id: NodeId| Var { graph: self.graph, id };
        let by_channel = |id: NodeId| match var(id).op() {
            Op::Expand(x) => is_same_in_windows(&var(x).shape()).then_some(var(x)),
            _ => None,
        };
        match self.op() {
            Op::Binary(Binary::Add, a, b) if by_channel(a).is_some() => {
                var(b).without_channel_affine()
            }
            Op::Binary(Binary::Add | Binary::Sub, a, b) if by_channel(b).is_some() => {
                var(a).without_channel_affine()
            }
            Op::Binary(Binary::Mul, a, b) => {
                let (image, scale) = match (by_channel(a), by_channel(b)) {
                    (_, Some(scale)) => (var(a), scale),
                    (Some(scale), None) => (var(b), scale),
                    (None, None) => return (self, None),
                };
                let (plain, sign) = image.without_channel_affine();
                let signs = sign.into_iter().chain(scale.direction().map(Var::sign));
                (plain, signs.reduce(|a, b| a * b))
            }
            _ => (self, None),
        }
    }

    /// A value of the same sign, or `None` if all are positive, as reciprocals of roots (of variances) are. Without
    /// such factors, positions of maxima need not wait for statistics.
    fn direction(self) -> Option<Var<'g>> {
        let var = |id: NodeId| Var { graph: self.graph, id };
        match self.op() {
            Op::Unary(Unary::Recip, x) if matches!(var(x).op(), Op::Unary(Unary::Sqrt, _)) => None,
            Op::Binary(Binary::Mul, a, b) => {
                [a, b].into_iter().filter_map(|x| var(x).direction()).reduce(|a, b| a * b)
            }
            _ => Some(self),
        }
    }

    /// Mean over each window; padding counts as zeros.
    #[track_caller]
    pub fn avg_pool(self, window: Window) -> Var<'g> {
        self.pool_sum(window) * (1.0 / (window.size[0] * window.size[1]) as f64)
    }

    #[track_caller]
    fn pooled(self, window: Window) -> Shape {
        let x = self.shape();
        assert_eq!(x.len(), 4, "pooling of {x:?}");
        let [oh, ow] = window.output([x[1], x[2]]);
        vec![x[0], oh, ow, x[3]]
    }

    pub(crate) fn pool_pick(self, at: Var<'g>, window: Window) -> Var<'g> {
        let shape = self.pooled(window);
        // Only the positions of maxima are known to lie inside the image.
        if matches!(
            self.op(),
            Op::Unary(..) | Op::Binary(..) | Op::StopGradient(..) | Op::PoolPut { .. }
        ) && matches!(at.op(), Op::PoolArgmax { .. })
        {
            let mut choice = Choice { at, window, shape: shape.clone(), known: HashMap::new() };
            if let Some(picked) = choice.of(self) {
                return picked;
            }
        }
        self.bilinear(at.full_like(1.0), Op::PoolPick { x: self.id, at: at.id, window }, shape)
    }

    pub(crate) fn pool_put(self, at: Var<'g>, window: Window, input: [usize; 2]) -> Var<'g> {
        let g = self.shape();
        let shape = vec![g[0], input[0], input[1], g[3]];
        self.bilinear(at.full_like(1.0), Op::PoolPut { g: self.id, at: at.id, window }, shape)
    }

    pub(crate) fn pool_sum(self, window: Window) -> Var<'g> {
        let shape = self.pooled(window);
        self.graph.node(Op::PoolSum { x: self.id, window }, shape)
    }

    pub(crate) fn pool_spread(self, window: Window, input: [usize; 2]) -> Var<'g> {
        let g = self.shape();
        let shape = vec![g[0], input[0], input[1], g[3]];
        self.graph.node(Op::PoolSpread { g: self.id, window }, shape)
    }

    /// A value over windows whose sum over all of them equals the sum of this one over all pixels, if this one is zero
    /// except for what was put into windows: `Σ put(g)·y = Σ g·pick(y)`.
    pub(super) fn summed_in_windows(self) -> Option<Var<'g>> {
        self.in_windows().map(|(value, _)| value)
    }

    /// The same with the positions and windows it was put back by.
    fn in_windows(self) -> Option<(Var<'g>, (NodeId, Window))> {
        let var = |id: NodeId| Var { graph: self.graph, id };
        match self.op() {
            Op::PoolPut { g, at, window } if matches!(var(at).op(), Op::PoolArgmax { .. }) => {
                Some((var(g), (at, window)))
            }
            Op::Unary(Unary::Neg, x) => var(x).in_windows().map(|(x, by)| (-x, by)),
            Op::Binary(Binary::Mul, a, b) => {
                let (put, other) = match (var(a).in_windows(), var(b).in_windows()) {
                    (Some(a), _) => (a, var(b)),
                    (None, Some(b)) => (b, var(a)),
                    (None, None) => return None,
                };
                let (g, (at, window)) = put;
                Some((g * other.pool_pick(var(at), window), (at, window)))
            }
            _ => None,
        }
    }

    fn op(self) -> Op {
        self.graph.nodes()[self.id as usize].op.clone()
    }
}

/// A choice of one pixel in each window, on its way through elementwise operations.
struct Choice<'g> {
    at: Var<'g>,
    window: Window,
    shape: Shape,
    known: HashMap<NodeId, Var<'g>>,
}

impl<'g> Choice<'g> {
    /// The choice from a value, or `None` where that would take more operations than it saves.
    fn of(&mut self, x: Var<'g>) -> Option<Var<'g>> {
        if let Some(&known) = self.known.get(&x.id) {
            return Some(known);
        }
        if self.known.len() > MOST {
            return None;
        }
        let graph: &'g Graph = x.graph;
        let var = |id: NodeId| Var { graph, id };
        let chosen = match x.op() {
            Op::Const(bits) => graph.full(&self.shape, f64::from_bits(bits)),
            Op::StopGradient(y, _) => self.of(var(y))?.stop_gradient(),
            Op::Unary(kind, y) => self.of(var(y))?.unary(kind),
            Op::Binary(kind, a, b) => {
                let (a, b) = (self.of(var(a))?, self.of(var(b))?);
                match kind {
                    Binary::Add => a + b,
                    Binary::Sub => a - b,
                    Binary::Mul => a * b,
                }
            }
            Op::Expand(y) if is_same_in_windows(&var(y).shape()) => var(y).expand(&self.shape),
            // Where windows do not overlap, what was put into one is all there is at its position.
            Op::PoolPut { g, at, window }
                if at == self.at.id
                    && window == self.window
                    && (0..2).all(|axis| window.stride[axis] >= window.size[axis]) =>
            {
                var(g)
            }
            _ => {
                let (x, at, window) = (x.id, self.at.id, self.window);
                graph.node(Op::PoolPick { x, at, window }, self.shape.clone())
            }
        };
        self.known.insert(x.id, chosen);
        Some(chosen)
    }
}

/// Whether a value, aligned at the innermost axis with `[n, h, w, c]`, has one element per channel. With as many images
/// as channels, the number of elements alone does not tell.
fn is_of_channels(shape: &[usize], channels: usize) -> bool {
    volume(shape) == channels && shape.last().copied().unwrap_or(1) == channels
}

/// Whether a value, aligned at the innermost axis with `[n, h, w, c]`, does not vary over h and w.
pub(super) fn is_same_in_windows(shape: &[usize]) -> bool {
    shape.iter().rev().skip(1).take(2).all(|&extent| extent == 1)
}
