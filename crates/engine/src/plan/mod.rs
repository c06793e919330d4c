//! From a graph to a list of sweeps over one arena. Everything here happens once, at compile time.
//!
//! - Elementwise values are not stored unless something other than an elementwise loop reads them, or
//!   recomputing them would cost more than storing (`RECOMPUTE_LIMIT`). Each loop computes a stored
//!   value or a sum together with everything elementwise it is made of, tile by tile.
//! - Steps that work image by image are gathered into sweeps over the batch (`sweeps.rs`): a few images at a time pass
//!   through all of a sweep's steps, so that intermediate values stay in the cache and need room for those few images
//!   only. Sums over the batch end a sweep: what depends on one is in a later sweep, which reads the values it needs
//!   from memory or recomputes the cheap ones.
//! - Every value gets a place in the arena that is reused after its last reader.

mod arena;
mod cost;
mod drafts;
mod loops;
mod pattern;
mod sweeps;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::graph::{Graph, Node, NodeId, Op, Var, live};
use crate::tensor::{Shape, volume};
pub use cost::Cost;
pub(crate) use loops::{Instr, Load, LoopPlan, Place, Sum, TILE, Timing};
use pattern::Pattern;
use sweeps::Group;

/// How a step reaches a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it at once.
    Whole,
    /// The current items of the batch, in an array that holds all items.
    Stored,
    /// The current items, in an array that holds no others.
    Local,
}

/// A value's place in the arena, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    /// Elements of the whole value, or of one item.
    pub(crate) len: usize,
    pub(crate) reach: Reach,
}

/// Items of the batch that a sweep is working on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Items {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl Slot {
    pub(crate) fn whole(offset: usize, len: usize) -> Slot {
        Slot { offset, len, reach: Reach::Whole }
    }

    /// Where the value, or its current items, lie in the arena.
    pub(crate) fn range(self, items: Items) -> Range<usize> {
        let (start, len) = match self.reach {
            Reach::Whole => (self.offset, self.len),
            Reach::Stored => (self.offset + items.first * self.len, items.count * self.len),
            Reach::Local => (self.offset, items.count * self.len),
        };
        start..start + len
    }

    /// Where element 0 of the whole value would lie, given where the current items lie.
    pub(crate) fn origin(self, items: Items) -> isize {
        match self.reach {
            Reach::Whole | Reach::Stored => self.offset as isize,
            Reach::Local => self.offset as isize - (items.first * self.len) as isize,
        }
    }
}

/// One operation that is not elementwise, with the places and shapes of its operands and result.
#[derive(Clone, Debug)]
pub(crate) struct KernelStep {
    pub(crate) op: Op,
    pub(crate) operands: Vec<(Slot, Shape)>,
    pub(crate) out: Slot,
    pub(crate) shape: Shape,
    /// Packed weights or sums that are kept for the whole sweep.
    pub(crate) kept: Slot,
    /// Whether positions in pooling windows are packed.
    pub(crate) packed: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Loop(LoopPlan),
    Kernel(KernelStep),
}

/// Steps that run one after another on a chunk of the batch, then on the next. A step that does not work item by item
/// is a sweep of one step over one item.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// Items of the batch, and how many make a chunk.
    pub(crate) items: usize,
    pub(crate) chunk: usize,
    pub(crate) steps: Vec<Step>,
}

/// Where inputs and outputs lie.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Place and shape of each declared input; no place if no output depends on it.
    pub(crate) inputs: Vec<(Option<Slot>, Shape)>,
    pub(crate) outputs: Vec<(Slot, Shape)>,
}

/// A compiled graph: what to run, and where every value lies.
pub struct Program {
    pub(crate) sweeps: Vec<Sweep>,
    pub(crate) tables: Arc<Tables>,
    /// Elements in the arena.
    pub(crate) arena: usize,
    /// Elements of double-precision accumulators.
    pub(crate) sums: usize,
    /// Elementwise registers, in tiles.
    pub(crate) registers: usize,
    cost: Cost,
}

/// An elementwise value with several readers is stored when recomputing it takes more instructions than this.
const RECOMPUTE_LIMIT: usize = 6;
/// Instructions a loop may grow to before another one is opened.
const LOOP_LIMIT: usize = 96;

impl Program {
    /// Compiles the given outputs. Inputs keep the order in which the graph declares them.
    pub fn compile(graph: &Graph, outputs: &[Var<'_>]) -> Program {
        let nodes = graph.nodes();
        let ids: Vec<NodeId> = outputs.iter().map(|v| v.id).collect();
        let planner = Planner::new(&nodes, &ids);
        planner.finish(&ids, graph.input_names().len())
    }

    /// Work and memory of one run.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Number of outputs.
    pub fn n_outputs(&self) -> usize {
        self.tables.outputs.len()
    }

    /// Number of steps: loops and kernels.
    pub fn n_steps(&self) -> usize {
        self.sweeps.iter().map(|sweep| sweep.steps.len()).sum()
    }
}

/// What becomes of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Shares the place of another node.
    Alias,
    /// Computed inside loops.
    Elementwise,
    /// Summed at the end of a loop.
    Reduce,
    /// A step of its own.
    Kernel,
    /// Supplied from outside.
    Input,
}

enum Draft {
    Loop(loops::Builder),
    Kernel(NodeId),
}

struct Planner<'a> {
    nodes: &'a [Node],
    order: Vec<NodeId>,
    kind: Vec<Kind>,
    /// The node whose storage a node shares.
    base: Vec<NodeId>,
    stored: Vec<bool>,
    /// Items of the batch that a stored value is computed in, one item after another; 1 if all at once.
    items: Vec<usize>,
    /// Items of the sweep a stored value is computed in; unlike `items`, also set for a sum over the batch.
    batch: Vec<usize>,
    /// Whether a value computed item by item outlives its sweep.
    kept: Vec<bool>,
    /// Whether a value holds positions in pooling windows that nothing but poolings reads; four of them are packed into
    /// one number.
    packed: Vec<bool>,
    groups: Vec<Group>,
    /// The group in which a stored value is first computed.
    home: Vec<Option<usize>>,
}

impl<'a> Planner<'a> {
    fn new(nodes: &'a [Node], outputs: &[NodeId]) -> Planner<'a> {
        let order = live(nodes, outputs);
        let mut planner = Planner {
            nodes,
            order,
            kind: vec![Kind::Kernel; nodes.len()],
            base: (0..nodes.len() as NodeId).collect(),
            stored: vec![false; nodes.len()],
            items: vec![1; nodes.len()],
            batch: vec![1; nodes.len()],
            kept: vec![false; nodes.len()],
            packed: vec![false; nodes.len()],
            groups: Vec::new(),
            home: vec![None; nodes.len()],
        };
        planner.classify();
        planner.choose_stored(outputs);
        planner.split_conflicts();
        planner.pack_positions(outputs);
        planner.gather_sweeps(outputs);
        planner
    }

    fn classify(&mut self) {
        for &id in &self.order {
            let node = &self.nodes[id as usize];
            let fits = |small: NodeId, large: &Shape| {
                let small = &self.nodes[small as usize].shape;
                Pattern::new(small, large).boundaries().len() <= 2
            };
            let kind = match &node.op {
                Op::Input(_) => Kind::Input,
                Op::Reshape(x) | Op::StopGradient(x, _) => {
                    self.base[id as usize] = self.base[*x as usize];
                    Kind::Alias
                }
                Op::Const(_) | Op::Unary(..) | Op::Binary(..) => Kind::Elementwise,
                Op::Expand(x) if fits(*x, &node.shape) => Kind::Elementwise,
                Op::SumTo(x) | Op::Deviation(x)
                    if Pattern::new(&node.shape, &self.nodes[*x as usize].shape)
                        .boundaries()
                        .len()
                        <= 2 =>
                {
                    Kind::Reduce
                }
                _ => Kind::Kernel,
            };
            self.kind[id as usize] = kind;
        }
    }

    /// Decides which values get a place in the arena.
    fn choose_stored(&mut self, outputs: &[NodeId]) {
        let mut uses = vec![0_usize; self.nodes.len()];
        let base = &self.base;
        let stored = &mut self.stored;
        for &id in outputs {
            stored[base[id as usize] as usize] = true;
        }
        for &id in &self.order {
            let node = &self.nodes[id as usize];
            match self.kind[id as usize] {
                Kind::Input | Kind::Kernel | Kind::Reduce => stored[id as usize] = true,
                Kind::Alias | Kind::Elementwise => {}
            }
            let is_alias = self.kind[id as usize] == Kind::Alias;
            let reads_memory = match self.kind[id as usize] {
                Kind::Kernel => true,
                // A repeated value is read from memory; a reshape of a value is read as another domain.
                Kind::Elementwise => matches!(node.op, Op::Expand(_)),
                Kind::Alias => matches!(node.op, Op::Reshape(_)),
                Kind::Reduce | Kind::Input => false,
            };
            node.op.for_operands(|x| {
                let x = base[x as usize] as usize;
                uses[x] += usize::from(!is_alias);
                stored[x] |= reads_memory;
            });
        }
        let mut recompute = vec![0_usize; self.nodes.len()];
        for &id in &self.order {
            let at = id as usize;
            if self.kind[at] != Kind::Elementwise {
                continue;
            }
            let mut total = match &self.nodes[at].op {
                Op::Const(_) | Op::Expand(_) => 0,
                Op::Unary(kind, _) => loops::weight(*kind),
                _ => 1,
            };
            if !matches!(self.nodes[at].op, Op::Expand(_)) {
                self.nodes[at].op.for_operands(|x| {
                    let x = base[x as usize] as usize;
                    total += if stored[x] { 0 } else { recompute[x] };
                });
            }
            stored[at] |= uses[at] > 1 && total > RECOMPUTE_LIMIT;
            recompute[at] = total;
        }
    }

    fn pack_positions(&mut self, outputs: &[NodeId]) {
        for &id in &self.order {
            if let Op::PoolArgmax { window, .. } = &self.nodes[id as usize].op {
                let shape = &self.nodes[id as usize].shape;
                let fits = window.size[0] * window.size[1] <= 256 && shape[3].is_multiple_of(4);
                self.packed[id as usize] = fits && !outputs.contains(&id);
            }
        }
        for &id in &self.order {
            let op = &self.nodes[id as usize].op;
            op.for_operands(|x| {
                let read = match op {
                    Op::PoolPick { at, .. } | Op::PoolPut { at, .. } => *at == x,
                    _ => false,
                };
                self.packed[x as usize] &= read;
            });
        }
    }

    /// Elements that a stored value occupies.
    fn elements(&self, id: NodeId) -> usize {
        let n = volume(&self.nodes[id as usize].shape);
        if self.packed[id as usize] { n / 4 } else { n }
    }

    fn base_of(&self, id: NodeId) -> NodeId {
        self.base[id as usize]
    }

    /// Collects everything elementwise that `id` is made of, up to stored values.
    fn collect(&self, id: NodeId, cone: &mut Cone) {
        if self.stored[id as usize] {
            cone.leaves.insert(id);
        } else {
            self.collect_inside(vec![id], cone);
        }
    }

    /// The same for values computed inside; chains may be too long for recursion.
    fn collect_inside(&self, mut pending: Vec<NodeId>, cone: &mut Cone) {
        while let Some(id) = pending.pop() {
            if !cone.inside.insert(id) {
                continue;
            }
            match &self.nodes[id as usize].op {
                Op::Expand(_) => {
                    cone.expands.insert(id);
                }
                op => op.for_operands(|x| {
                    let x = self.base_of(x);
                    if self.stored[x as usize] {
                        cone.leaves.insert(x);
                    } else {
                        pending.push(x);
                    }
                }),
            }
        }
    }
}

/// The part of the graph that one loop root needs.
#[derive(Default)]
struct Cone {
    /// Elementwise nodes to compute, the root included if it is one.
    inside: BTreeSet<NodeId>,
    /// Stored values of the loop's domain that are read.
    leaves: BTreeSet<NodeId>,
    /// Those nodes of `inside` that repeat smaller values.
    expands: BTreeSet<NodeId>,
}
