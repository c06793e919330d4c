//! Vectorisation as a graph transformation: a function of one example becomes a function of many.
//!
//! Every value that depends on a mapped input gets a leading axis with one entry per example; every other value stays
//! as it is and is computed once for all of them. Products of mapped rows with a shared matrix, and convolutions of
//! mapped images with a shared kernel, become one larger product over all rows or images.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use crate::graph::{Binary, Graph, Node, NodeId, Op, Var, live};
use crate::tensor::{MAX_AXES, Shape};

/// Why a computation has no vectorised form: running one of its operations on many examples at once would take an
/// operation that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmappable {
    /// Name of the operation.
    pub op: String,
}

impl fmt::Display for Unmappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be computed for many examples at once", self.op)
    }
}

impl std::error::Error for Unmappable {}

/// Builds, in the empty graph `to`, the computation of `outputs` for `extent` examples at once.
///
/// The inputs are those of the outputs' graph, in the same order. Where `mapped[i]` is set, input `i`
/// of shape `s` becomes one of shape `[extent, ..s]`; the others are shared by all examples. Every result
/// has a leading axis: entry `j` is the output for entry `j` of the mapped inputs.
///
/// Convolutions with a mapped kernel, and their gradients with respect to the kernel, have no such form; nor does a
/// graph with values that already have the largest number of axes.
///
/// ```
/// use innerloop_engine::{Dtype, Graph, Program, Tensor, vmap};
///
/// let one = Graph::new();
/// let (x, w) = (one.input("x", &[2]), one.input("w", &[2]));
/// let many = Graph::new();
/// let dots = vmap(&many, &[x.dot(w)], &[true, false], 3).unwrap();
/// let program = Program::compile(&many, &dots);
/// let mut workspace = program.workspace(Dtype::F64);
/// workspace.set(0, &Tensor::from_f64(&[3, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
/// workspace.set(1, &Tensor::from_f64(&[2], vec![10.0, 1.0]));
/// program.run(&mut workspace);
/// assert_eq!(workspace.output(0).as_f64(), [10.0, 1.0, 11.0]);
/// ```
#[track_caller]
pub fn vmap<'g>(
    to: &'g Graph,
    outputs: &[Var<'_>],
    mapped: &[bool],
    extent: usize,
) -> Result<Vec<Var<'g>>, Unmappable> {
    assert!(to.is_empty(), "vmap builds into an empty graph");
    let Some(first) = outputs.first() else { return Ok(Vec::new()) };
    let from = first.graph();
    let names = from.input_names();
    assert_eq!(names.len(), mapped.len(), "one flag per input");
    let nodes = from.nodes();
    if let Some(node) = nodes.iter().find(|node| node.shape.len() == MAX_AXES) {
        return Err(Unmappable { op: node.op.name() });
    }
    let mut mapper = Mapper { graph: to, nodes: &nodes, extent, values: vec![None; nodes.len()] };
    // Declared whether used or not, so that their numbers do not change.
    for (id, node) in nodes.iter().enumerate() {
        if let Op::Input(i) = node.op {
            let shape = mapper.shape(&node.shape, mapped[i]);
            let var = to.input(&names[i], &shape);
            mapper.values[id] = Some(Value { var, mapped: mapped[i] });
        }
    }
    let ids: Vec<NodeId> = outputs.iter().map(|output| output.id).collect();
    for id in live(&nodes, &ids) {
        if mapper.values[id as usize].is_none() {
            let value = mapper.value(&nodes[id as usize])?;
            mapper.values[id as usize] = Some(value);
        }
    }
    Ok(ids.iter().map(|&id| mapper.lifted(mapper.at(id))).collect())
}

/// What a node became.
#[derive(Clone, Copy)]
struct Value<'g> {
    var: Var<'g>,
    /// Whether it has the leading axis.
    mapped: bool,
}

struct Mapper<'a, 'g> {
    graph: &'g Graph,
    nodes: &'a [Node],
    extent: usize,
    values: Vec<Option<Value<'g>>>,
}

impl<'g> Mapper<'_, 'g> {
    fn at(&self, id: NodeId) -> Value<'g> {
        self.values[id as usize].expect("operands come before their users")
    }

    /// A shape of one example, with the leading axis if mapped.
    fn shape(&self, one: &[usize], mapped: bool) -> Shape {
        if mapped { [&[self.extent], one].concat() } else { one.to_vec() }
    }

    /// The value with the leading axis, repeated along it if it is shared.
    fn lifted(&self, value: Value<'g>) -> Var<'g> {
        match value.mapped {
            true => value.var,
            false => value.var.expand(&self.shape(&value.var.shape(), true)),
        }
    }

    /// Computes a node for all examples: one arm per operation.
    fn value(&self, node: &Node) -> Result<Value<'g>, Unmappable> {
        let unmappable = || Unmappable { op: node.op.name() };
        let mut any = false;
        node.op.for_operands(|x| any |= self.at(x).mapped);
        let v = |id: NodeId| self.at(id).var;
        let one = |id: NodeId| self.nodes[id as usize].shape.clone();
        // The node's shape, and its index or axis, shifted by the leading axis if there is one.
        let shape = self.shape(&node.shape, any);
        let lead = usize::from(any);
        let index = |of_one: &[usize]| [&[0][..lead], of_one].concat();
        let extents = [1, 2].map(|axis| node.shape.get(axis).copied().unwrap_or(1));
        let var = match &node.op {
            Op::Input(_) => unreachable!("inputs are declared first"),
            Op::Const(bits) => self.graph.full(&shape, f64::from_bits(*bits)),
            Op::StopGradient(x, _) => v(*x).stop_gradient(),
            Op::Unary(kind, x) => v(*x).unary(*kind),
            // Both operands have the node's shape, so a shared one is repeated along the leading axis.
            Op::Binary(Binary::Add, a, b) => v(*a) + v(*b),
            Op::Binary(Binary::Sub, a, b) => v(*a) - v(*b),
            Op::Binary(Binary::Mul, a, b) => v(*a) * v(*b),
            Op::Reshape(x) => v(*x).reshape(&shape),
            Op::Transpose(x, order) => {
                let behind = order.iter().map(|axis| axis + lead);
                v(*x).transpose(&(0..lead).chain(behind).collect::<Vec<_>>())
            }
            Op::Expand(x) => {
                v(*x).reshape(&self.aligned(&one(*x), &node.shape, any)).expand(&shape)
            }
            Op::Deviation(x) => {
                v(*x).deviation_to(&self.aligned(&node.shape, &one(*x), any)).reshape(&shape)
            }
            Op::SumTo(x) => v(*x).sum_to(&self.aligned(&node.shape, &one(*x), any)).reshape(&shape),
            Op::Slice(x, start) => v(*x).slice(&index(start), &shape),
            Op::Pad(x, start) => v(*x).pad(&index(start), &shape),
            Op::Concat(parts, axis) => {
                let part = |&id: &NodeId| if any { self.lifted(self.at(id)) } else { v(id) };
                self.graph.concat(&parts.iter().map(part).collect::<Vec<_>>(), axis + lead)
            }
            Op::MatMul { a, b, ta, tb } => self.matmul(self.at(*a), self.at(*b), (*ta, *tb)),
            Op::Conv { w, .. } | Op::ConvInputGrad { w, .. } if self.at(*w).mapped => {
                return Err(unmappable());
            }
            Op::Conv { x, w, window } => {
                self.over_images(any, &[*x], &shape, |x| x[0].conv(v(*w), *window))
            }
            Op::ConvInputGrad { g, w, window } => self
                .over_images(any, &[*g], &shape, |g| g[0].conv_input_grad(v(*w), *window, extents)),
            // A sum over the images: those of different examples must not be mixed.
            Op::ConvWeightGrad { .. } if any => return Err(unmappable()),
            Op::ConvWeightGrad { x, g, window } => v(*x).conv_weight_grad(v(*g), *window),
            Op::PoolArgmax { x, by, window } => {
                let x = if any { self.lifted(self.at(*x)) } else { v(*x) };
                let by = match self.at(*by).mapped {
                    true => v(*by).reshape(&[self.extent, 1, 1, 1, node.shape[3]]),
                    false => v(*by),
                };
                let x = x * by.expand(&x.shape());
                let x = if any { merged(x) } else { x };
                x.pool_argmax(*window).reshape(&shape)
            }
            Op::PoolPick { x, at, window } => {
                self.over_images(any, &[*x, *at], &shape, |x| x[0].pool_pick(x[1], *window))
            }
            Op::PoolPut { g, at, window } => {
                self.over_images(any, &[*g, *at], &shape, |g| g[0].pool_put(g[1], *window, extents))
            }
            Op::PoolSum { x, window } => {
                self.over_images(any, &[*x], &shape, |x| x[0].pool_sum(*window))
            }
            Op::PoolSpread { g, window } => {
                self.over_images(any, &[*g], &shape, |g| g[0].pool_spread(*window, extents))
            }
            Op::ArgMax(x) => v(*x).argmax(),
            Op::OneHot(at) => v(*at).one_hot(node.shape[node.shape.len() - 1]),
        };
        Ok(Value { var, mapped: any })
    }

    /// `small` in the form an expansion to `large` needs: with axes of extent one after the leading axis, so that the
    /// innermost axes still line up.
    fn aligned(&self, small: &[usize], large: &[usize], mapped: bool) -> Shape {
        if !mapped {
            return small.to_vec();
        }
        let ones = vec![1; large.len() - small.len()];
        self.shape(&[&ones, small].concat(), true)
    }

    /// Mapped rows `[e, m, k]` meet a shared matrix as `[e·m, k]`; otherwise a shared operand is repeated.
    fn matmul(&self, a: Value<'g>, b: Value<'g>, (ta, tb): (bool, bool)) -> Var<'g> {
        match (a.mapped, b.mapped) {
            (false, false) => a.var.matmul_with(b.var, ta, tb),
            (true, false) if !ta && b.var.shape().len() == 2 => {
                let shape = a.var.shape();
                let rows = a.var.reshape(&[shape[0] * shape[1], shape[2]]);
                let product = rows.matmul_with(b.var, false, tb);
                product.reshape(&[shape[0], shape[1], product.shape()[1]])
            }
            _ => self.lifted(a).matmul_with(self.lifted(b), ta, tb),
        }
    }

    /// An operation that treats every image of `[n, ..]` alike: one batch `[e·n, ..]` of the images of all examples.
    fn over_images(
        &self,
        mapped: bool,
        operands: &[NodeId],
        shape: &[usize],
        f: impl Fn(&[Var<'g>]) -> Var<'g>,
    ) -> Var<'g> {
        let operand = |&id: &NodeId| match mapped {
            true => merged(self.lifted(self.at(id))),
            false => self.at(id).var,
        };
        f(&operands.iter().map(operand).collect::<Vec<_>>()).reshape(shape)
    }
}

/// `[e, n, ..]` as `[e·n, ..]`.
fn merged(x: Var<'_>) -> Var<'_> {
    let shape = x.shape();
    x.reshape(&[&[shape[0] * shape[1]], &shape[2..]].concat())
}
