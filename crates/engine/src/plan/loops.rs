//! Elementwise loops: one pass over a domain, tile by tile, with everything in between kept in registers of one tile
//! each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::pattern::{self, Pattern};
use super::{Kind, Planner, Reach, Slot};
use crate::graph::{Binary, NodeId, Op, Unary};

/// Elements of a register: 2 KiB in single precision, so that a dozen stay in the first-level cache.
pub(crate) const TILE: usize = 512;

/// A value of this many elements has left the second-level cache when it is read again: a megabyte in single precision.
const FAR: usize = 1 << 18;

/// Where the tile lies that an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Register(usize),
    /// The arena at this place plus the tile's position.
    Memory(Slot),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Instr {
    Unary(Unary, Place, Place),
    Binary(Binary, Place, Place, Place),
    /// `a · b + c`.
    MulAdd([Place; 3], Place),
}

/// When a repeated value has to be laid out in its register again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    Once,
    PerGroup,
    PerTile,
}

/// A register that holds a constant or a smaller value repeated over the tile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    Constant(f64, usize),
    Repeat { from: Slot, strides: [usize; 3], register: usize, timing: Timing },
}

/// A loaded register that is written to memory as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    pub(crate) from: usize,
    pub(crate) to: Slot,
}

/// A sum over the axes whose stride is zero, gathered in double precision from `acc` on. Sums over the batch are
/// complete at the end of the sweep, the rest with every chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    pub(crate) from: Place,
    pub(crate) to: Slot,
    pub(crate) strides: [usize; 3],
    pub(crate) acc: usize,
    /// Sums gathered at a time.
    pub(crate) len: usize,
    /// Whether squared deviations from the mean are summed instead of the values.
    pub(crate) deviation: bool,
}

/// A loop over `[groups, rows, columns]`; a tile is some whole rows, or a part of one row.
#[derive(Clone, Debug)]
pub(crate) struct LoopPlan {
    pub(crate) dims: [usize; 3],
    /// Items of the batch; each is a part of the domain that ends where a row ends.
    pub(crate) items: usize,
    pub(crate) tile_rows: usize,
    pub(crate) tile_columns: usize,
    pub(crate) loads: Vec<Load>,
    pub(crate) instrs: Vec<Instr>,
    pub(crate) stores: Vec<Store>,
    pub(crate) sums: Vec<Sum>,
    pub(crate) registers: usize,
    /// Values over the domain that are too large for the second-level cache: their next tile is prefetched while one is
    /// being worked on.
    pub(crate) far: Vec<Slot>,
    /// Values read from and written to memory per element of the domain.
    pub(crate) traffic: usize,
}

/// How many instructions an elementwise function counts as.
pub(super) fn weight(kind: Unary) -> usize {
    match kind {
        Unary::Neg | Unary::Relu | Unary::Step | Unary::Sign => 1,
        Unary::Sqrt | Unary::Recip => 4,
        Unary::Exp | Unary::Log | Unary::Tanh | Unary::Sin | Unary::Cos => 10,
    }
}

/// A loop under construction.
pub(super) struct Builder {
    pub(super) volume: usize,
    pub(super) cuts: Vec<usize>,
    inside: BTreeSet<NodeId>,
    stored: BTreeSet<NodeId>,
    sums: BTreeSet<NodeId>,
}

impl Builder {
    pub(super) fn new(volume: usize, cuts: Vec<usize>) -> Builder {
        Builder {
            volume,
            cuts,
            inside: BTreeSet::new(),
            stored: BTreeSet::new(),
            sums: BTreeSet::new(),
        }
    }

    pub(super) fn work(&self) -> usize {
        self.inside.len() + self.sums.len()
    }

    /// Adds a root with the nodes it is made of.
    pub(super) fn take(&mut self, root: NodeId, inside: &BTreeSet<NodeId>, is_sum: bool) {
        self.inside.extend(inside);
        if is_sum {
            self.sums.insert(root)
        } else {
            self.stored.insert(root)
        };
    }

    /// Values written: stored ones and sums.
    pub(super) fn results(&self) -> impl Iterator<Item = NodeId> {
        self.stored.iter().chain(&self.sums).copied()
    }

    /// Stored values this loop reads from memory, each with whether it lies over the loop's domain (and
    /// is not repeated over it).
    pub(super) fn reads(&self, planner: &Planner<'_>) -> BTreeSet<(NodeId, bool)> {
        let mut reads = BTreeSet::new();
        for &id in self.inside.iter().chain(&self.sums) {
            let op = &planner.nodes[id as usize].op;
            let repeated = matches!(op, Op::Expand(_)) && self.inside.contains(&id);
            op.for_operands(|x| {
                let x = planner.base_of(x);
                if repeated || !self.inside.contains(&x) {
                    reads.insert((x, !repeated));
                }
            });
        }
        reads
    }

    /// Fixes registers and tile size for a batch of `items`, of which a chunk is processed at a time.
    pub(super) fn finish(
        &self,
        planner: &Planner<'_>,
        (items, chunk): (usize, usize),
        slot: impl Fn(NodeId, bool) -> Slot,
        acc: &mut usize,
    ) -> LoopPlan {
        let dims = pattern::dims(self.volume, &self.cuts);
        let tile_columns = dims[2].min(TILE);
        let tile_rows = if tile_columns == dims[2] { (TILE / dims[2]).max(1) } else { 1 };
        let mut plan = LoopPlan {
            dims,
            items,
            tile_rows,
            tile_columns,
            loads: Vec::new(),
            instrs: Vec::new(),
            stores: Vec::new(),
            sums: Vec::new(),
            registers: 0,
            far: Vec::new(),
            traffic: 0,
        };
        let last_use = self.last_uses(planner);
        let products = self.products(planner);
        let (at, free) = (HashMap::new(), Vec::new());
        let mut emit = Emit { planner, items, inside: &self.inside, products: &products, at, free };
        for &id in &self.inside {
            if products.contains_key(&id) {
                continue;
            }
            let to = self.stored.contains(&id).then(|| slot(id, true));
            emit.node(id, to, &mut plan, &slot);
            emit.release(id, &last_use);
        }
        for &id in &self.sums {
            let node = &planner.nodes[id as usize];
            let (Op::SumTo(x) | Op::Deviation(x)) = node.op else {
                unreachable!("only these reduce")
            };
            let deviation = matches!(node.op, Op::Deviation(_));
            let pattern = Pattern::new(&node.shape, &planner.nodes[x as usize].shape);
            let from = emit.source(planner.base_of(x), &slot);
            let to = slot(id, planner.items[id as usize] > 1);
            let len = if to.reach == Reach::Whole { to.len } else { to.len * chunk };
            let strides = pattern.strides(dims);
            plan.sums.push(Sum { from, to, strides, acc: *acc, len, deviation });
            *acc += if deviation { 3 * len } else { len };
        }
        let outside = |id: NodeId| slot(id, true).reach != Reach::Local;
        let over = self.reads(planner).into_iter().filter(|&(_, over)| over);
        let read: Vec<Slot> =
            over.filter(|&(x, _)| outside(x)).map(|(x, _)| slot(x, true)).collect();
        let far = |slot: &Slot| slot.reach == Reach::Stored && slot.len * items >= FAR;
        plan.far = read.iter().copied().filter(far).collect();
        plan.traffic = read.len() + self.stored.iter().filter(|&&id| outside(id)).count();
        plan
    }

    /// Products that are added to something by their only reader, and that reader: the two form one instruction.
    fn products(&self, planner: &Planner<'_>) -> HashMap<NodeId, NodeId> {
        let mut readers: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for &id in self.inside.iter().chain(&self.sums) {
            planner.nodes[id as usize].op.for_operands(|x| {
                readers.entry(planner.base_of(x)).or_default().push(id);
            });
        }
        let mut products = HashMap::new();
        for &id in &self.inside {
            let is_product = matches!(planner.nodes[id as usize].op, Op::Binary(Binary::Mul, ..));
            let Some(&[reader]) = readers.get(&id).map(Vec::as_slice) else { continue };
            let is_sum = matches!(planner.nodes[reader as usize].op, Op::Binary(Binary::Add, ..));
            // An addition can absorb only one product.
            let taken = products.values().any(|&other| other == reader);
            if is_product && is_sum && !taken && !self.stored.contains(&id) {
                products.insert(id, reader);
            }
        }
        products
    }

    /// For every node, the last one inside the loop that reads it; values summed at the end stay.
    fn last_uses(&self, planner: &Planner<'_>) -> BTreeMap<NodeId, NodeId> {
        let products = self.products(planner);
        let mut last: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for &id in &self.inside {
            let op = &planner.nodes[id as usize].op;
            if !matches!(op, Op::Expand(_)) {
                // The factors of a product are read when it is added to something.
                let reader = products.get(&id).copied().unwrap_or(id);
                op.for_operands(|x| {
                    let at = last.entry(planner.base_of(x)).or_insert(reader);
                    *at = reader.max(*at);
                });
            }
        }
        for &id in &self.sums {
            planner.nodes[id as usize].op.for_operands(|x| {
                last.insert(planner.base_of(x), NodeId::MAX);
            });
        }
        last
    }
}

struct Emit<'a, 'b> {
    planner: &'a Planner<'b>,
    items: usize,
    inside: &'a BTreeSet<NodeId>,
    products: &'a HashMap<NodeId, NodeId>,
    at: HashMap<NodeId, Place>,
    free: Vec<usize>,
}

impl Emit<'_, '_> {
    fn register(&mut self, plan: &mut LoopPlan) -> usize {
        self.free.pop().unwrap_or_else(|| {
            plan.registers += 1;
            plan.registers - 1
        })
    }

    fn source(&self, id: NodeId, slot: &impl Fn(NodeId, bool) -> Slot) -> Place {
        if self.inside.contains(&id) { self.at[&id] } else { Place::Memory(slot(id, true)) }
    }

    /// Emits a node; a stored one is computed straight into its place in memory.
    fn node(
        &mut self,
        id: NodeId,
        stored: Option<Slot>,
        plan: &mut LoopPlan,
        slot: &impl Fn(NodeId, bool) -> Slot,
    ) {
        let node = &self.planner.nodes[id as usize];
        let base = |x: NodeId| self.planner.base_of(x);
        let loaded = match &node.op {
            Op::Const(bits) => {
                // Laid out once before the first tile, so its register is never reused.
                plan.registers += 1;
                plan.loads.push(Load::Constant(f64::from_bits(*bits), plan.registers - 1));
                plan.registers - 1
            }
            Op::Expand(x) => {
                let pattern = Pattern::new(&self.planner.nodes[*x as usize].shape, &node.shape);
                let strides = pattern.strides(plan.dims);
                let moves_in_row = strides[2] != 0 && plan.tile_columns != plan.dims[2];
                let timing = match strides {
                    _ if moves_in_row => Timing::PerTile,
                    [_, rows, _] if rows != 0 => Timing::PerTile,
                    [groups, _, _] if groups != 0 => Timing::PerGroup,
                    _ => Timing::Once,
                };
                plan.registers += 1;
                let register = plan.registers - 1;
                let from = slot(base(*x), self.planner.expands_by_item(id, self.items));
                plan.loads.push(Load::Repeat { from, strides, register, timing });
                register
            }
            op => {
                let to = match stored {
                    Some(slot) => Place::Memory(slot),
                    None => Place::Register(self.register(plan)),
                };
                let source = |x: NodeId| self.source(base(x), slot);
                let product = |x: NodeId| match self.planner.nodes[base(x) as usize].op {
                    Op::Binary(_, p, q) if self.products.get(&base(x)) == Some(&id) => Some([p, q]),
                    _ => None,
                };
                plan.instrs.push(match op {
                    Op::Binary(Binary::Add, a, b)
                        if product(*a).is_some() || product(*b).is_some() =>
                    {
                        let (pair, other) = match product(*a) {
                            Some(pair) => (pair, *b),
                            None => (product(*b).expect("one of them is"), *a),
                        };
                        Instr::MulAdd([source(pair[0]), source(pair[1]), source(other)], to)
                    }
                    Op::Unary(kind, x) => Instr::Unary(*kind, source(*x), to),
                    Op::Binary(kind, a, b) => Instr::Binary(*kind, source(*a), source(*b), to),
                    op => unreachable!("{} is not elementwise", op.name()),
                });
                self.at.insert(id, to);
                return;
            }
        };
        self.at.insert(id, Place::Register(loaded));
        if let Some(to) = stored {
            plan.stores.push(Store { from: loaded, to });
        }
    }

    /// Frees the registers whose last reader was `id`.
    fn release(&mut self, id: NodeId, last_use: &BTreeMap<NodeId, NodeId>) {
        let op = &self.planner.nodes[id as usize].op;
        if matches!(op, Op::Expand(_)) {
            return;
        }
        let mut operands: Vec<NodeId> = Vec::new();
        for x in op.operands().into_iter().map(|x| self.planner.base_of(x)) {
            match self.products.get(&x) {
                Some(&reader) if reader == id => {
                    let factors = self.planner.nodes[x as usize].op.operands();
                    operands.extend(factors.into_iter().map(|x| self.planner.base_of(x)));
                }
                _ => operands.push(x),
            }
        }
        operands.sort_unstable();
        operands.dedup();
        for x in operands {
            let computed = self.planner.kind[x as usize] == Kind::Elementwise
                && !matches!(self.planner.nodes[x as usize].op, Op::Const(_) | Op::Expand(_));
            let done = last_use.get(&x) == Some(&id) && computed;
            if let (true, Some(Place::Register(register))) = (done, self.at.get(&x).copied()) {
                self.free.push(register);
                // Another alias of the same value may name it again: free only once.
                self.at.remove(&x);
            }
        }
    }
}
