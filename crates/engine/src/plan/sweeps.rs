//! Which steps share a sweep over the batch.
//!
//! Steps are taken in order, and each joins the first sweep it can: not before any value it needs item by item, and
//! after any value it needs as a whole. A value needed in a later sweep than its own is kept in memory, or recomputed
//! there if it is cheap and needs less memory that way: the convolution of an image with few channels, gradients put
//! back into pooling windows, elementwise values.

use std::collections::HashSet;

use super::drafts::aligned;
use super::pattern::{self, Pattern};
use super::{Cone, Kind, Planner, loops};
use crate::graph::{NodeId, Op};
use crate::tensor::volume;

/// Multiply-adds per element up to which a convolution is cheaper to repeat than to keep.
const CHEAP_DEPTH: usize = 32;
/// Elements up to which even a cheap convolution is kept: they stay in the third-level cache.
const SMALL: usize = 3 << 19;
/// Instructions per element up to which an elementwise value is cheaper to repeat than to keep.
const CHEAP_WORK: usize = 12;
/// Values examined to find the cost of a recomputation; long chains of cheap values are not cheap.
const AGAIN_LIMIT: usize = 32;

/// The values one sweep computes, in order.
pub(super) struct Group {
    /// Items of its batch; 1 for steps that do not work item by item.
    pub(super) items: usize,
    pub(super) roots: Vec<NodeId>,
    /// The same values as a set.
    pub(super) members: HashSet<NodeId>,
}

impl Group {
    fn add(&mut self, id: NodeId) {
        self.roots.push(id);
        self.members.insert(id);
    }

    fn remove(&mut self, id: NodeId) {
        if self.members.remove(&id) {
            self.roots.retain(|&root| root != id);
        }
    }
}

/// A stored value that a step reads, and whether the current items suffice.
#[derive(Clone, Copy)]
struct Need {
    value: NodeId,
    by_item: bool,
}

impl Planner<'_> {
    pub(super) fn is_root(&self, id: NodeId) -> bool {
        match self.kind[id as usize] {
            Kind::Kernel | Kind::Reduce => true,
            Kind::Elementwise => self.stored[id as usize],
            Kind::Alias | Kind::Input => false,
        }
    }

    /// Turns expansions that no loop can nest into steps of their own.
    pub(super) fn split_conflicts(&mut self) {
        for id in self.order.clone() {
            if !self.is_root(id) || self.kind[id as usize] == Kind::Kernel {
                continue;
            }
            let cone = self.cone(id);
            if self.cuts(id, &cone).is_none() {
                for &expand in &cone.expands {
                    self.kind[expand as usize] = Kind::Kernel;
                    self.stored[expand as usize] = true;
                }
            }
        }
    }

    /// The part of the graph that a loop root is computed from.
    pub(super) fn cone(&self, id: NodeId) -> Cone {
        let mut cone = Cone::default();
        match self.reduced(id) {
            Some(x) => self.collect(self.base_of(x), &mut cone),
            None => self.collect_inside(vec![id], &mut cone),
        }
        cone
    }

    /// The operand of a sum.
    fn reduced(&self, id: NodeId) -> Option<NodeId> {
        match (self.kind[id as usize], &self.nodes[id as usize].op) {
            (Kind::Reduce, Op::SumTo(x) | Op::Deviation(x)) => Some(*x),
            _ => None,
        }
    }

    /// Shape of the loop that computes a root.
    pub(super) fn domain(&self, id: NodeId) -> &[usize] {
        &self.nodes[self.reduced(id).unwrap_or(id) as usize].shape
    }

    /// Where the loop of a root is cut, or `None` if its patterns do not nest.
    pub(super) fn cuts(&self, id: NodeId, cone: &Cone) -> Option<Vec<usize>> {
        let mut cuts = match self.reduced(id) {
            Some(_) => Pattern::new(&self.nodes[id as usize].shape, self.domain(id)).boundaries(),
            None => Vec::new(),
        };
        for &expand in &cone.expands {
            cuts = pattern::union(&cuts, &self.expansion(expand).boundaries())?;
        }
        Some(cuts)
    }

    /// How the operand of an expansion lies in its result.
    fn expansion(&self, expand: NodeId) -> Pattern {
        let node = &self.nodes[expand as usize];
        Pattern::new(&self.nodes[self.expanded(expand) as usize].shape, &node.shape)
    }

    pub(super) fn expanded(&self, expand: NodeId) -> NodeId {
        let Op::Expand(x) = self.nodes[expand as usize].op else {
            unreachable!("only expansions are collected")
        };
        x
    }

    /// Items of the batch that a root can be computed by; 1 if none.
    fn batch_of(&self, id: NodeId, cone: &Cone) -> usize {
        let shape = |x: NodeId| &self.nodes[x as usize].shape;
        if self.kind[id as usize] == Kind::Kernel {
            return match &self.nodes[id as usize].op {
                Op::Conv { x, .. }
                | Op::ConvInputGrad { g: x, .. }
                | Op::ConvWeightGrad { x, .. }
                | Op::PoolArgmax { x, .. }
                | Op::PoolPick { x, .. }
                | Op::PoolPut { g: x, .. }
                | Op::PoolSum { x, .. }
                | Op::PoolSpread { g: x, .. } => shape(*x)[0],
                _ => 1,
            };
        }
        // A loop takes its batch from the images it reads.
        let mut items = 1;
        for &leaf in &cone.leaves {
            match (items, self.items[leaf as usize]) {
                (_, 1) => {}
                (1, n) => items = n,
                (m, n) if m == n => {}
                _ => return 1,
            }
        }
        let n = volume(self.domain(id));
        let cuts = self.cuts(id, cone).expect("conflicts were split before");
        let fits = n.is_multiple_of(items) && aligned(pattern::dims(n, &cuts), n / items);
        if fits { items } else { 1 }
    }

    /// The stored values that a root is computed from, in a sweep over that many items.
    fn needs(&self, id: NodeId, cone: &Cone, items: usize) -> Vec<Need> {
        let need = |x: NodeId, by_item: bool| Need {
            value: self.base_of(x),
            by_item: by_item && items > 1,
        };
        if self.kind[id as usize] == Kind::Kernel {
            let op = &self.nodes[id as usize].op;
            let operands = op.operands().into_iter().enumerate();
            return operands.map(|(i, x)| need(x, !(op.shares_second() && i == 1))).collect();
        }
        let leaves = cone.leaves.iter().map(|&leaf| need(leaf, true));
        let expands = cone
            .expands
            .iter()
            .map(|&expand| need(self.expanded(expand), self.expansion(expand).splits_into(items)));
        leaves.chain(expands).collect()
    }

    /// Whether a step of a sweep over `items` items reads the operand of an expansion item by item.
    pub(super) fn expands_by_item(&self, expand: NodeId, items: usize) -> bool {
        items > 1 && self.expansion(expand).splits_into(items)
    }

    /// Whether a root in a sweep over that many items is complete only at its end.
    fn sums_over_batch(&self, id: NodeId, items: usize) -> bool {
        match &self.nodes[id as usize].op {
            Op::ConvWeightGrad { .. } => true,
            _ if self.reduced(id).is_some() => {
                let pattern = Pattern::new(&self.nodes[id as usize].shape, self.domain(id));
                !pattern.splits_into(items)
            }
            _ => false,
        }
    }

    pub(super) fn gather_sweeps(&mut self, outputs: &[NodeId]) {
        // Steps with small inputs only, such as signs of scales, come before the first sweep.
        self.groups.push(Group { items: 1, roots: Vec::new(), members: HashSet::new() });
        for id in self.order.clone() {
            if !self.is_root(id) {
                continue;
            }
            let cone = if self.kind[id as usize] == Kind::Kernel {
                Cone::default()
            } else {
                self.cone(id)
            };
            let items = self.batch_of(id, &cone);
            self.batch[id as usize] = items;
            if items > 1 && !self.sums_over_batch(id, items) {
                self.items[id as usize] = items;
            }
            let needs = self.needs(id, &cone, items);
            let earliest = |need: &Need| match self.home[need.value as usize] {
                None => 0,
                Some(group) => {
                    let same = self.groups[group].items == items;
                    let ready = if items == 1 {
                        true
                    } else {
                        need.by_item && self.items[need.value as usize] == items
                    };
                    if same && ready { group } else { group + 1 }
                }
            };
            let first = needs.iter().map(earliest).max().unwrap_or(0);
            let joins = |at: &usize| self.groups[*at].items == items;
            let group = (first..self.groups.len()).find(joins).unwrap_or(self.groups.len());
            if group == self.groups.len() {
                self.groups.push(Group { items, roots: Vec::new(), members: HashSet::new() });
            }
            needs.into_iter().for_each(|need| self.provide(need, group));
            self.groups[group].add(id);
            self.home[id as usize] = Some(group);
        }
        for &id in outputs {
            let base = self.base_of(id);
            self.kept[base as usize] = true;
        }
        (0..self.groups.len()).for_each(|group| self.prune(group));
    }

    /// Removes from a sweep the values that no step of it reads and no later sweep finds in memory, because all readers
    /// recompute them.
    fn prune(&mut self, group: usize) {
        let mut read = HashSet::new();
        for id in self.groups[group].roots.clone().into_iter().rev() {
            let at = id as usize;
            let outlives = self.items[at] == 1 || self.kept[at] && self.home[at] == Some(group);
            if outlives || read.contains(&id) {
                read.extend(self.needs_again(id).1.iter().map(|need| need.value));
            } else {
                self.groups[group].remove(id);
            }
        }
    }

    /// Makes a value readable in a sweep.
    fn provide(&mut self, need: Need, group: usize) {
        let value = need.value;
        let at = value as usize;
        if self.items[at] == 1 {
            return;
        }
        if !need.by_item || self.items[at] != self.groups[group].items {
            self.kept[at] = true;
            // A recomputed value exists for a chunk only: everything in the sweep reads memory now.
            if self.home[at] != Some(group) {
                self.groups[group].remove(value);
            }
        } else if !self.kept[at] && !self.groups[group].members.contains(&value) {
            match self.cost_again(value, group, &mut { AGAIN_LIMIT }) {
                Some(memory) if memory <= self.elements(value) => self.again(value, group),
                _ => self.kept[at] = true,
            }
        }
    }

    /// Elements that would have to be kept in order to recompute a value, or `None` if that is not cheap: it takes more
    /// than the given number of values, which is counted down.
    fn cost_again(&self, id: NodeId, group: usize, limit: &mut usize) -> Option<usize> {
        *limit = limit.checked_sub(1)?;
        let (cone, needs) = self.needs_again(id);
        match &self.nodes[id as usize].op {
            Op::Conv { w, .. } => {
                let w = &self.nodes[*w as usize].shape;
                if volume(&w[..3]) > CHEAP_DEPTH || self.elements(id) <= SMALL {
                    return None;
                }
            }
            Op::PoolPut { .. } | Op::PoolSpread { .. } => {}
            _ if self.kind[id as usize] == Kind::Elementwise => {
                let work = |&x: &NodeId| match &self.nodes[x as usize].op {
                    Op::Unary(kind, _) => loops::weight(*kind),
                    _ => 1,
                };
                if cone.inside.iter().map(work).sum::<usize>() > CHEAP_WORK {
                    return None;
                }
            }
            _ => return None,
        }
        let mut memory = 0;
        for need in needs.iter().filter(|need| need.by_item) {
            let at = need.value as usize;
            if self.items[at] > 1
                && !self.kept[at]
                && !self.groups[group].members.contains(&need.value)
            {
                let kept = self.elements(need.value);
                let again = self.cost_again(need.value, group, limit);
                memory += again.map_or(kept, |again| again.min(kept));
            }
        }
        Some(memory)
    }

    fn needs_again(&self, id: NodeId) -> (Cone, Vec<Need>) {
        let cone =
            if self.kind[id as usize] == Kind::Kernel { Cone::default() } else { self.cone(id) };
        let needs = self.needs(id, &cone, self.batch[id as usize]);
        (cone, needs)
    }

    fn again(&mut self, id: NodeId, group: usize) {
        let (_, needs) = self.needs_again(id);
        needs.into_iter().for_each(|need| self.provide(need, group));
        self.groups[group].add(id);
    }
}
