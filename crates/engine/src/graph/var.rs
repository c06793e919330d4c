//! The handle that algorithms are written with.

use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{Graph, NodeId};
use crate::tensor::Shape;

/// A value of a [`Graph`]: a copyable handle. Operators and methods build new values.
#[derive(Clone, Copy)]
pub struct Var<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) id: NodeId,
}

impl<'g> Var<'g> {
    /// The graph this value belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Extents, outermost first.
    pub fn shape(self) -> Shape {
        self.graph.nodes()[self.id as usize].shape.clone()
    }

    /// A constant of the same shape.
    pub fn full_like(self, value: f64) -> Var<'g> {
        self.graph.full(&self.shape(), value)
    }
}

impl PartialEq for Var<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.graph, other.graph) && self.id == other.id
    }
}

impl fmt::Debug for Var<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{} {:?}", self.id, self.shape())
    }
}

/// Binary operators broadcast as NumPy does: shapes are aligned at the innermost axis, and axes of
/// extent one are repeated.
macro_rules! operator {
    ($trait:ident, $method:ident, $build:ident) => {
        impl<'g> $trait for Var<'g> {
            type Output = Var<'g>;
            #[track_caller]
            fn $method(self, other: Var<'g>) -> Var<'g> {
                self.$build(other)
            }
        }

        impl<'g> $trait<f64> for Var<'g> {
            type Output = Var<'g>;
            fn $method(self, other: f64) -> Var<'g> {
                self.$build(self.full_like(other))
            }
        }

        impl<'g> $trait<Var<'g>> for f64 {
            type Output = Var<'g>;
            fn $method(self, other: Var<'g>) -> Var<'g> {
                other.full_like(self).$build(other)
            }
        }
    };
}

operator!(Add, add, build_add);
operator!(Sub, sub, build_sub);
operator!(Mul, mul, build_mul);
operator!(Div, div, build_div);

impl<'g> Neg for Var<'g> {
    type Output = Var<'g>;
    fn neg(self) -> Var<'g> {
        self.build_neg()
    }
}
