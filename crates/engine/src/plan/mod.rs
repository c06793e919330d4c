//! From a graph to a list of steps over one arena. Everything here happens once, at compile time.
//!
//! - Elementwise values are not stored unless something other than an elementwise loop reads them, or
//!   recomputing them would cost more than storing (`RECOMPUTE_LIMIT`). Each loop computes a stored
//!   value or a sum together with everything elementwise it is made of, tile by tile.
//! - Every stored value gets a place in the arena that is reused after its last reader.

mod arena;
mod cost;
mod loops;
mod pattern;

use std::collections::{BTreeSet, HashMap};

use crate::graph::{Graph, Node, NodeId, Op, Var, live};
use crate::tensor::{Shape, volume};
pub use cost::Cost;
pub(crate) use loops::{Instr, Load, LoopPlan, Source, Sum, TILE, Timing};
use pattern::Pattern;

/// A value's place in the arena, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

impl Slot {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// One operation that is not elementwise, with the places and shapes of its operands and result.
#[derive(Clone, Debug)]
pub(crate) struct KernelStep {
    pub(crate) op: Op,
    pub(crate) operands: Vec<(Slot, Shape)>,
    pub(crate) out: Slot,
    pub(crate) shape: Shape,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Loop(LoopPlan),
    Kernel(KernelStep),
}

/// A compiled graph: what to run, and where every value lies.
pub struct Program {
    pub(crate) steps: Vec<Step>,
    /// Place and shape of each declared input; nothing if no output depends on it.
    pub(crate) inputs: Vec<(Option<Slot>, Shape)>,
    pub(crate) outputs: Vec<(Slot, Shape)>,
    /// Elements in the arena.
    pub(crate) arena: usize,
    /// Elements of double-precision accumulators.
    pub(crate) sums: usize,
    /// Elementwise registers, in tiles.
    pub(crate) registers: usize,
    cost: Cost,
}

/// A multiply-used elementwise value is stored when recomputing it takes more instructions than this.
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
        self.outputs.len()
    }

    /// Number of steps: loops and kernels.
    pub fn n_steps(&self) -> usize {
        self.steps.len()
    }
}

/// What becomes of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lies where another node lies.
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
    drafts: Vec<Draft>,
    /// The step that computes a stored node; inputs have none.
    step_of: HashMap<NodeId, usize>,
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
            drafts: Vec::new(),
            step_of: HashMap::new(),
        };
        planner.classify();
        planner.choose_stored(outputs);
        for id in planner.order.clone() {
            match planner.kind[id as usize] {
                Kind::Kernel => planner.push_kernel(id),
                Kind::Reduce => planner.place_in_loop(id),
                Kind::Elementwise if planner.stored[id as usize] => planner.place_in_loop(id),
                Kind::Elementwise | Kind::Alias | Kind::Input => {}
            }
        }
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
                Op::Reshape(x) | Op::StopGradient(x) => {
                    self.base[id as usize] = self.base[*x as usize];
                    Kind::Alias
                }
                Op::Const(_) | Op::Unary(..) | Op::Binary(..) => Kind::Elementwise,
                Op::Expand(x) if fits(*x, &node.shape) => Kind::Elementwise,
                Op::SumTo(x)
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

    fn base_of(&self, id: NodeId) -> NodeId {
        self.base[id as usize]
    }

    /// First step at which a stored value may be read from memory.
    fn available(&self, id: NodeId) -> usize {
        self.step_of.get(&id).map_or(0, |step| step + 1)
    }

    fn push_kernel(&mut self, id: NodeId) {
        self.step_of.insert(id, self.drafts.len());
        self.drafts.push(Draft::Kernel(id));
    }

    /// Puts a stored elementwise value or a sum into the first loop that can take it.
    fn place_in_loop(&mut self, id: NodeId) {
        let node = &self.nodes[id as usize];
        let is_sum = self.kind[id as usize] == Kind::Reduce;
        let domain = match &node.op {
            Op::SumTo(x) => &self.nodes[*x as usize].shape,
            _ => &node.shape,
        };
        let mut cone = Cone::default();
        match &node.op {
            Op::SumTo(x) => self.collect(self.base_of(*x), &mut cone),
            _ => self.collect_inside(vec![id], &mut cone),
        }
        let mut cuts = Some(Vec::new());
        let mut add = |p: &Pattern| {
            cuts = cuts.take().and_then(|c| pattern::union(&c, &p.boundaries()));
        };
        if is_sum {
            add(&Pattern::new(&node.shape, domain));
        }
        for &expand in &cone.expands {
            let node = &self.nodes[expand as usize];
            let Op::Expand(x) = node.op else { unreachable!("only expansions are collected") };
            add(&Pattern::new(&self.nodes[x as usize].shape, &node.shape));
        }
        let Some(cuts) = cuts else {
            // Patterns that no loop can nest: compute the parts on their own first.
            return self.split(id, &cone);
        };
        // Memory reads need an earlier step; values of the same domain may come from the same step.
        let after = cone.expands.iter().map(|&e| {
            let Op::Expand(x) = self.nodes[e as usize].op else { unreachable!("collected above") };
            self.available(self.base_of(x))
        });
        let strict = after.max().unwrap_or(0);
        let mut first = strict;
        for &leaf in &cone.leaves {
            let from_loop = self.kind[leaf as usize] == Kind::Elementwise;
            let at = self.available(leaf);
            first = first.max(if from_loop { at.saturating_sub(1) } else { at });
        }
        let n = volume(domain);
        for at in first..self.drafts.len() {
            let Draft::Loop(builder) = &mut self.drafts[at] else { continue };
            if builder.volume != n || builder.work() + cone.inside.len() > LOOP_LIMIT {
                continue;
            }
            let Some(joined) = pattern::union(&builder.cuts, &cuts) else { continue };
            builder.cuts = joined;
            builder.take(id, &cone.inside, is_sum);
            self.step_of.insert(id, at);
            return;
        }
        let mut builder = loops::Builder::new(n, cuts);
        builder.take(id, &cone.inside, is_sum);
        self.step_of.insert(id, self.drafts.len());
        self.drafts.push(Draft::Loop(builder));
    }

    /// Stores the expansions of a cone whose patterns conflict, each by a step of its own, and tries
    /// again with those as plain values.
    fn split(&mut self, id: NodeId, cone: &Cone) {
        for &expand in &cone.expands {
            self.kind[expand as usize] = Kind::Kernel;
            self.stored[expand as usize] = true;
            self.push_kernel(expand);
        }
        self.place_in_loop(id);
    }

    /// Everything elementwise that `id` is made of, up to stored values.
    fn collect(&self, id: NodeId, cone: &mut Cone) {
        if self.stored[id as usize] {
            cone.leaves.insert(id);
        } else {
            self.collect_inside(vec![id], cone);
        }
    }

    /// The same for values that are computed inside; chains may be too long for recursion.
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
    /// Those of `inside` that are repeated smaller values.
    expands: BTreeSet<NodeId>,
}
