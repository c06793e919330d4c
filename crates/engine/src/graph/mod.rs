//! The graph: nodes of a closed op set with static shapes, shared as they are built.

mod build;
mod decisions;
mod op;
mod pooling;
mod print;
mod products;
mod shapes;
mod var;

pub(crate) use print::live;
use std::cell::{Ref, RefCell};
use std::collections::HashMap;

use crate::tensor::{MAX_AXES, Shape};
pub use op::{Binary, Unary, Window};
pub(crate) use op::{NodeId, Op};
pub use var::Var;

/// One value of the graph: what computes it, and its shape.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) shape: Shape,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Node>,
    /// Equal nodes are built once: common subexpressions are shared without a separate pass.
    known: HashMap<(Op, Shape), NodeId>,
    input_names: Vec<String>,
}

/// A computation under construction. Values are immutable; [`Var`]s are copyable handles to them.
///
/// A wrong shape is a bug of the caller and panics at the offending call.
///
/// ```
/// use innerloop_engine::{Dtype, Graph, Program, Tensor, grad};
///
/// let graph = Graph::new();
/// let x = graph.input("x", &[]);
/// let y = x * x * x;
/// let dy = grad(y, &[x])[0]; // 3x²: a gradient is an ordinary value …
/// let ddy = grad(dy, &[x])[0]; // … so this is 6x
/// let program = Program::compile(&graph, &[y, dy, ddy]);
/// let mut workspace = program.workspace(Dtype::F64);
/// workspace.set(0, &Tensor::scalar(Dtype::F64, 2.0));
/// program.run(&mut workspace);
/// assert_eq!(workspace.output(0).get(0), 8.0);
/// assert_eq!(workspace.output(1).get(0), 12.0);
/// assert_eq!(workspace.output(2).get(0), 12.0);
/// ```
#[derive(Default)]
pub struct Graph {
    inner: RefCell<Inner>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Declares a value that is supplied at every run. Inputs are numbered in order of declaration.
    #[track_caller]
    pub fn input(&self, name: &str, shape: &[usize]) -> Var<'_> {
        let index = {
            let mut inner = self.inner.borrow_mut();
            inner.input_names.push(name.to_string());
            inner.input_names.len() - 1
        };
        self.node(Op::Input(index), shape.to_vec())
    }

    /// A value whose elements all equal `value`.
    #[track_caller]
    pub fn full(&self, shape: &[usize], value: f64) -> Var<'_> {
        // One bit pattern for both zeros, so that they are shared.
        let value = if value == 0.0 { 0.0 } else { value };
        self.node(Op::Const(value.to_bits()), shape.to_vec())
    }

    /// A scalar constant.
    pub fn scalar(&self, value: f64) -> Var<'_> {
        self.full(&[], value)
    }

    /// Number of nodes built so far, used or not.
    pub fn len(&self) -> usize {
        self.inner.borrow().nodes.len()
    }

    /// True when nothing has been built.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the inputs in order of declaration.
    pub fn input_names(&self) -> Vec<String> {
        self.inner.borrow().input_names.clone()
    }

    pub(crate) fn nodes(&self) -> Ref<'_, Vec<Node>> {
        Ref::map(self.inner.borrow(), |inner| &inner.nodes)
    }

    /// The node with this op and shape, built only if no equal one exists.
    #[track_caller]
    fn node(&self, op: Op, shape: Shape) -> Var<'_> {
        assert!(
            !shape.contains(&0),
            "{} of shape {shape:?}: empty values are not supported",
            op.name()
        );
        assert!(
            shape.len() <= MAX_AXES,
            "{} of {} axes; at most {MAX_AXES}",
            op.name(),
            shape.len()
        );
        let mut inner = self.inner.borrow_mut();
        let next = NodeId::try_from(inner.nodes.len()).expect("fewer than 2^32 nodes");
        let id = *inner.known.entry((op.clone(), shape.clone())).or_insert(next);
        if id == next {
            inner.nodes.push(Node { op, shape });
        }
        Var { graph: self, id }
    }

    /// The value of a constant node.
    fn constant(&self, id: NodeId) -> Option<f64> {
        match self.inner.borrow().nodes[id as usize].op {
            Op::Const(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }
}
