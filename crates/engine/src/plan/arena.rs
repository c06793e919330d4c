//! Places for values: first come, best fit, reuse after the last reader.

use std::collections::HashMap;

use super::{Cost, Draft, KernelStep, LoopPlan, Planner, Program, Slot, Step};
use crate::graph::{NodeId, Op};
use crate::tensor::volume;

/// Places start at multiples of this many elements: a cache line in single precision.
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

    fn give(&mut self, slot: Slot) {
        let len = slot.len.next_multiple_of(ALIGN);
        let at = self.stretches.partition_point(|&(offset, _)| offset < slot.offset);
        self.stretches.insert(at, (slot.offset, len));
        if at + 1 < self.stretches.len() && slot.offset + len == self.stretches[at + 1].0 {
            self.stretches[at].1 += self.stretches[at + 1].1;
            self.stretches.remove(at + 1);
        }
        if at > 0 && self.stretches[at - 1].0 + self.stretches[at - 1].1 == slot.offset {
            self.stretches[at - 1].1 += self.stretches[at].1;
            self.stretches.remove(at);
        }
    }
}

impl Planner<'_> {
    /// Gives every stored value its place and writes the steps down.
    pub(super) fn finish(self, outputs: &[NodeId], n_inputs: usize) -> Program {
        let slots = self.place(outputs);
        let slot = |id: NodeId| slots.0[&self.base_of(id)];
        let mut sums = 0;
        let steps: Vec<Step> = self
            .drafts
            .iter()
            .map(|draft| match draft {
                Draft::Loop(builder) => Step::Loop(builder.finish(&self, slot, &mut sums)),
                Draft::Kernel(id) => Step::Kernel(self.kernel(*id, slot)),
            })
            .collect();
        let mut inputs = vec![(None, Vec::new()); n_inputs];
        for (id, node) in self.nodes.iter().enumerate() {
            if let Op::Input(index) = node.op {
                inputs[index] = (slots.0.get(&(id as NodeId)).copied(), node.shape.clone());
            }
        }
        let outputs =
            outputs.iter().map(|&id| (slot(id), self.nodes[id as usize].shape.clone())).collect();
        let registers = steps.iter().map(|step| match step {
            Step::Loop(LoopPlan { registers, .. }) => *registers,
            Step::Kernel(_) => 0,
        });
        let registers = registers.max().unwrap_or(0);
        let cost = Cost::of(&steps, slots.1);
        Program { inputs, outputs, arena: slots.1, sums, registers, cost, steps }
    }

    fn kernel(&self, id: NodeId, slot: impl Fn(NodeId) -> Slot) -> KernelStep {
        let node = &self.nodes[id as usize];
        let operand = |x: NodeId| (slot(x), self.nodes[x as usize].shape.clone());
        KernelStep {
            op: node.op.clone(),
            operands: node.op.operands().into_iter().map(operand).collect(),
            out: slot(id),
            shape: node.shape.clone(),
        }
    }

    /// Values a step reads and writes, as stored nodes.
    fn touched(&self, draft: &Draft) -> (Vec<NodeId>, Vec<NodeId>) {
        match draft {
            Draft::Loop(builder) => {
                (builder.reads(self).into_iter().collect(), builder.results().collect())
            }
            Draft::Kernel(id) => {
                let operands = self.nodes[*id as usize].op.operands();
                (operands.into_iter().map(|x| self.base_of(x)).collect(), vec![*id])
            }
        }
    }

    fn place(&self, outputs: &[NodeId]) -> (HashMap<NodeId, Slot>, usize) {
        const END: usize = usize::MAX;
        let touched: Vec<_> = self.drafts.iter().map(|draft| self.touched(draft)).collect();
        let mut last: HashMap<NodeId, usize> = HashMap::new();
        for (step, (reads, results)) in touched.iter().enumerate() {
            for &x in results.iter().chain(reads) {
                last.insert(x, step);
            }
        }
        for &id in outputs {
            last.insert(self.base_of(id), END);
        }
        let mut free = Free::default();
        let mut slots: HashMap<NodeId, Slot> = HashMap::new();
        let take = |id: NodeId, free: &mut Free, slots: &mut HashMap<NodeId, Slot>| {
            let len = volume(&self.nodes[id as usize].shape);
            slots.insert(id, Slot { offset: free.take(len), len });
        };
        // Inputs are supplied before the first step and give way after their last reader.
        for &id in &self.order {
            if matches!(self.nodes[id as usize].op, Op::Input(_)) {
                take(id, &mut free, &mut slots);
            }
        }
        for (step, (reads, results)) in touched.iter().enumerate() {
            for &id in results {
                take(id, &mut free, &mut slots);
            }
            let mut done: Vec<NodeId> =
                reads.iter().chain(results).copied().filter(|x| last[x] == step).collect();
            done.sort_unstable();
            done.dedup();
            done.into_iter().for_each(|x| free.give(slots[&x]));
        }
        (slots, free.top)
    }
}
