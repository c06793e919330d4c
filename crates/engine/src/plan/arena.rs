//! Places for values: first come first served, best fit, reuse after the last reader.
//!
//! Values that outlive their sweep lie in the arena for as long as there are readers. What a sweep needs
//! only for the items in work lies in a region of its own, laid out the same way step by step, which is
//! given back when the sweep ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{
    Cost, Draft, KernelStep, LoopPlan, Planner, Program, Reach, Slot, Step, Sweep, Tables,
};
use crate::exec::kept_elements;
use crate::graph::{NodeId, Op};
use crate::tensor::volume;

/// Places start at multiples of this many elements: one cache line in single precision.
const ALIGN: usize = 16;

/// Free stretches of the arena, in order.
#[derive(Default)]
struct Free {
    stretches: Vec<(usize, usize)>,
    top: usize,
}

impl Free {
    fn take(&mut self, len: usize) -> usize {
        let len = len.next_multiple_of(ALIGN);
        let fits = self.stretches.iter().enumerate().filter(|(_, (_, free))| *free >= len);
        if let Some((i, &(offset, free))) = fits.min_by_key(|(_, (_, free))| *free) {
            if free == len {
                self.stretches.remove(i);
            } else {
                self.stretches[i] = (offset + len, free - len);
            }
            return offset;
        }
        // A free stretch at the very end grows instead of being left behind.
        if let Some(&(offset, free)) = self.stretches.last()
            && offset + free == self.top
        {
            self.stretches.pop();
            self.top = offset + len;
            return offset;
        }
        let offset = self.top;
        self.top += len;
        offset
    }

    fn give(&mut self, offset: usize, len: usize) {
        let len = len.next_multiple_of(ALIGN);
        if len == 0 {
            return;
        }
        let at = self.stretches.partition_point(|&(start, _)| start < offset);
        self.stretches.insert(at, (offset, len));
        if at + 1 < self.stretches.len() && offset + len == self.stretches[at + 1].0 {
            self.stretches[at].1 += self.stretches[at + 1].1;
            self.stretches.remove(at + 1);
        }
        if at > 0 && self.stretches[at - 1].0 + self.stretches[at - 1].1 == offset {
            self.stretches[at - 1].1 += self.stretches[at].1;
            self.stretches.remove(at);
        }
    }
}

/// Elements that pass through the cache with a chunk: half a megabyte in single precision, so that a chunk
/// stays in the second-level cache with room for packed weights.
const CHUNK_ELEMENTS: usize = 128 << 10;

/// Steps that run together: a sweep, or a single step that does not work item by item.
struct Unit {
    group: usize,
    items: usize,
    drafts: Vec<Draft>,
}

/// Where the values of a unit lie.
#[derive(Default)]
struct UnitPlaces {
    chunk: usize,
    /// Values that live for a chunk: first element.
    local: HashMap<NodeId, usize>,
    /// Per step, first element and length of what it keeps for the whole sweep.
    kept: Vec<(usize, usize)>,
}

struct Places {
    /// Values that outlive their unit: first element.
    shared: HashMap<NodeId, usize>,
    units: Vec<UnitPlaces>,
    top: usize,
}

/// What a step reads or writes.
#[derive(Clone, Copy)]
struct Access {
    value: NodeId,
    by_item: bool,
}

/// The results of steps, each with its step.
fn results(steps: &[(Vec<Access>, Vec<Access>)]) -> impl Iterator<Item = (usize, Access)> {
    steps.iter().enumerate().flat_map(|(at, (_, results))| results.iter().map(move |&a| (at, a)))
}

impl Planner<'_> {
    /// Assigns every stored value its place and writes the steps down.
    pub(super) fn finish(self, outputs: &[NodeId], n_inputs: usize) -> Program {
        let units = self.units();
        let places = self.place(&units, outputs);
        let mut sums = 0;
        let sweeps: Vec<Sweep> = units
            .iter()
            .zip(&places.units)
            .map(|(unit, own)| self.sweep(unit, own, &places, &mut sums))
            .collect();
        let whole = |id: NodeId| {
            let offset = places.shared.get(&self.base_of(id))?;
            Some(Slot::whole(*offset, volume(&self.nodes[id as usize].shape)))
        };
        let mut inputs = vec![(None, Vec::new()); n_inputs];
        for (id, node) in self.nodes.iter().enumerate() {
            if let Op::Input(index) = node.op {
                inputs[index] = (whole(id as NodeId), node.shape.clone());
            }
        }
        let output = |&id: &NodeId| {
            (whole(id).expect("outputs are kept"), self.nodes[id as usize].shape.clone())
        };
        let outputs = outputs.iter().map(output).collect();
        let registers = sweeps.iter().flat_map(|sweep| &sweep.steps).map(|step| match step {
            Step::Loop(LoopPlan { registers, .. }) => *registers,
            Step::Kernel(_) => 0,
        });
        let registers = registers.max().unwrap_or(0);
        let cost = Cost::of(&sweeps, places.top);
        let tables = Arc::new(Tables { inputs, outputs });
        Program { tables, arena: places.top, sums, registers, cost, sweeps }
    }

    fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for (at, group) in self.groups.iter().enumerate() {
            let drafts = self.drafts(group);
            let unit = |drafts| Unit { group: at, items: group.items, drafts };
            if group.items > 1 {
                units.push(unit(drafts));
            } else {
                units.extend(drafts.into_iter().map(|draft| unit(vec![draft])));
            }
        }
        units
    }

    fn sweep(&self, unit: &Unit, own: &UnitPlaces, places: &Places, sums: &mut usize) -> Sweep {
        let slot = |id: NodeId, by_item: bool| {
            let id = self.base_of(id);
            let len = self.elements(id);
            match own.local.get(&id) {
                Some(&offset) => Slot { offset, len: len / unit.items, reach: Reach::Local },
                None if by_item && unit.items > 1 => {
                    let reach = Reach::Stored;
                    Slot { offset: places.shared[&id], len: len / unit.items, reach }
                }
                None => Slot::whole(places.shared[&id], len),
            }
        };
        let step = |(draft, &kept): (&Draft, &(usize, usize))| match draft {
            Draft::Loop(builder) => {
                Step::Loop(builder.finish(self, (unit.items, own.chunk), slot, sums))
            }
            Draft::Kernel(id) => {
                let node = &self.nodes[*id as usize];
                let operand = |access: Access| {
                    let shape = self.nodes[access.value as usize].shape.clone();
                    (slot(access.value, access.by_item), shape)
                };
                Step::Kernel(KernelStep {
                    op: node.op.clone(),
                    operands: self.operands(*id, unit.items).into_iter().map(operand).collect(),
                    out: slot(*id, self.items[*id as usize] > 1),
                    shape: node.shape.clone(),
                    kept: Slot::whole(kept.0, kept.1),
                    packed: match node.op {
                        Op::PoolArgmax { .. } => self.packed[*id as usize],
                        Op::PoolPick { at, .. } | Op::PoolPut { at, .. } => {
                            self.packed[at as usize]
                        }
                        _ => false,
                    },
                })
            }
        };
        let steps = unit.drafts.iter().zip(&own.kept).map(step).collect();
        Sweep { items: unit.items, chunk: own.chunk, steps }
    }

    /// Operands of a kernel as the graph names them, and which of them it reads item by item.
    fn operands(&self, id: NodeId, items: usize) -> Vec<Access> {
        let op = &self.nodes[id as usize].op;
        // The second one may be the image's value as well.
        let by_item = |i: usize| items > 1 && !(op.shares_second() && i == 1);
        let operands = op.operands().into_iter().enumerate();
        operands.map(|(i, value)| Access { value, by_item: by_item(i) }).collect()
    }

    /// Values a step reads, and those it writes.
    fn touched(&self, draft: &Draft, items: usize) -> (Vec<Access>, Vec<Access>) {
        let result = |id: NodeId| Access { value: id, by_item: self.items[id as usize] > 1 };
        match draft {
            Draft::Loop(builder) => {
                let reads = builder.reads(self).into_iter();
                let reads = reads.map(|(value, same_domain)| Access {
                    value,
                    by_item: items > 1 && same_domain,
                });
                (reads.collect(), builder.results().map(result).collect())
            }
            Draft::Kernel(id) => {
                let operands = self.operands(*id, items).into_iter();
                let based = operands.map(|a| Access { value: self.base_of(a.value), ..a });
                (based.collect(), vec![result(*id)])
            }
        }
    }

    /// Whether a value lives only for a chunk in a sweep: computed there and not kept, or recomputed there.
    fn is_local(&self, id: NodeId, unit: &Unit) -> bool {
        let at = id as usize;
        self.items[at] > 1
            && unit.items > 1
            && self.groups[unit.group].members.contains(&id)
            && (!self.kept[at] || self.home[at] != Some(unit.group))
    }

    fn place(&self, units: &[Unit], outputs: &[NodeId]) -> Places {
        const END: usize = usize::MAX;
        let touched: Vec<Vec<_>> = units
            .iter()
            .map(|unit| unit.drafts.iter().map(|d| self.touched(d, unit.items)).collect())
            .collect();
        // Shared values by the last unit that touches them.
        let mut last: HashMap<NodeId, usize> = HashMap::new();
        for (at, (unit, steps)) in units.iter().zip(&touched).enumerate() {
            for access in steps.iter().flat_map(|(reads, results)| reads.iter().chain(results)) {
                if !self.is_local(access.value, unit) {
                    last.insert(access.value, at);
                }
            }
        }
        for &id in outputs {
            last.insert(self.base_of(id), END);
        }
        let mut free = Free::default();
        let mut shared: HashMap<NodeId, usize> = HashMap::new();
        let size = |id: NodeId| self.elements(id);
        // Inputs are supplied before the first step and give way after their last reader.
        for &id in &self.order {
            if matches!(self.nodes[id as usize].op, Op::Input(_)) {
                shared.insert(id, free.take(size(id)));
            }
        }
        let mut places = Vec::with_capacity(units.len());
        for (at, (unit, steps)) in units.iter().zip(&touched).enumerate() {
            let mut handed_on = Vec::new();
            for (step, access) in results(steps) {
                if self.is_local(access.value, unit) {
                    continue;
                }
                // Item by item, a value may take the place of one that no later step needs.
                let dying = |x: &NodeId| {
                    last.get(x) == Some(&at)
                        && !handed_on.contains(x)
                        && shared.contains_key(x)
                        && size(*x) == size(access.value)
                };
                let before = access.by_item.then(|| self.read_before(unit, steps, step));
                match before.and_then(|values| values.into_iter().find(dying)) {
                    Some(old) => {
                        shared.insert(access.value, shared[&old]);
                        handed_on.push(old);
                    }
                    None => {
                        shared.insert(access.value, free.take(size(access.value)));
                    }
                }
            }
            let (own, region) = self.place_unit(unit, steps, &mut free);
            let mut done: Vec<NodeId> = steps
                .iter()
                .flat_map(|(reads, results)| reads.iter().chain(results))
                .map(|access| access.value)
                .filter(|x| last.get(x) == Some(&at))
                .collect();
            done.sort_unstable();
            done.dedup();
            for id in done {
                if let Some(&offset) = shared.get(&id)
                    && !self.is_local(id, unit)
                    && !handed_on.contains(&id)
                {
                    free.give(offset, size(id));
                }
            }
            own.kept.iter().for_each(|&(offset, len)| free.give(offset, len));
            free.give(region.0, region.1);
            places.push(own);
        }
        Places { shared, units: places, top: free.top }
    }

    /// Values that a sweep reads item by item, all of them before the given step.
    fn read_before(
        &self,
        unit: &Unit,
        steps: &[(Vec<Access>, Vec<Access>)],
        step: usize,
    ) -> Vec<NodeId> {
        let reads = |range: std::ops::Range<usize>| {
            steps[range].iter().flat_map(|(reads, results)| reads.iter().chain(results))
        };
        let later: Vec<NodeId> = reads(step..steps.len()).map(|access| access.value).collect();
        let by_item = |x: NodeId| reads(0..step).all(|a| a.value != x || a.by_item);
        let mut values: Vec<NodeId> = reads(0..step).map(|access| access.value).collect();
        values.retain(|&x| !self.is_local(x, unit) && by_item(x) && !later.contains(&x));
        values.sort_unstable();
        values.dedup();
        values
    }

    /// Lays out what a unit needs for itself. Also returns the region of its local values.
    fn place_unit(
        &self,
        unit: &Unit,
        steps: &[(Vec<Access>, Vec<Access>)],
        free: &mut Free,
    ) -> (UnitPlaces, (usize, usize)) {
        let per_item = |id: NodeId| self.elements(id) / unit.items;
        let mut last: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut streamed: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (at, (reads, results)) in steps.iter().enumerate() {
            for access in reads.iter().chain(results) {
                if self.is_local(access.value, unit) {
                    last.insert(access.value, at);
                } else if access.by_item {
                    streamed.insert(access.value, per_item(access.value));
                }
            }
        }
        // Offsets per item first: the chunk size follows from what an item needs.
        let mut items = Free::default();
        let mut local: HashMap<NodeId, usize> = HashMap::new();
        for (at, (reads, results)) in steps.iter().enumerate() {
            for id in results.iter().map(|access| access.value) {
                if last.contains_key(&id) {
                    local.insert(id, items.take(per_item(id)));
                }
            }
            let mut done: Vec<NodeId> =
                reads.iter().chain(results).map(|access| access.value).collect();
            done.sort_unstable();
            done.dedup();
            for id in done.into_iter().filter(|id| last.get(id) == Some(&at)) {
                items.give(local[&id], per_item(id));
            }
        }
        let passing = (items.top + streamed.values().sum::<usize>()).max(1);
        let most = (CHUNK_ELEMENTS / passing).clamp(1, unit.items);
        let chunk = unit.items.div_ceil(unit.items.div_ceil(most));
        let region = (free.take(items.top * chunk), items.top * chunk);
        local.values_mut().for_each(|offset| *offset = region.0 + *offset * chunk);
        let kept = unit.drafts.iter().map(|draft| match draft {
            Draft::Loop(_) => (0, 0),
            Draft::Kernel(id) => {
                let node = &self.nodes[*id as usize];
                let shape = |x: NodeId| self.nodes[x as usize].shape.as_slice();
                let shapes: Vec<_> = node.op.operands().into_iter().map(shape).collect();
                match kept_elements(&node.op, &shapes, &node.shape) {
                    0 => (0, 0),
                    len => (free.take(len), len),
                }
            }
        });
        let kept = kept.collect();
        (UnitPlaces { chunk, local, kept }, region)
    }
}
