//! From the values of a sweep to its steps: kernels, and as few elementwise loops as the dependences allow.

use std::collections::HashSet;

use super::pattern;
use super::sweeps::Group;
use super::{Draft, Kind, LOOP_LIMIT, Planner, loops};
use crate::graph::NodeId;
use crate::tensor::volume;

impl Planner<'_> {
    /// The steps of a sweep: kernels, and as few loops as the dependences allow.
    pub(super) fn drafts(&self, group: &Group) -> Vec<Draft> {
        let mut steps =
            Drafts { planner: self, group, drafts: Vec::new(), step_of: HashSet::new() };
        for &id in &group.roots {
            match self.kind[id as usize] {
                Kind::Kernel => steps.push(id, Draft::Kernel(id)),
                _ => steps.place_in_loop(id),
            }
        }
        steps.drafts.into_iter().map(|(draft, _)| draft).collect()
    }
}

/// Whether a part of `per_item` elements ends where a row of the loop ends (or a group, if it has several).
pub(super) fn aligned(dims: [usize; 3], per_item: usize) -> bool {
    match dims {
        [1, 1, _] => true,
        [1, _, columns] => per_item.is_multiple_of(columns),
        [_, rows, columns] => per_item.is_multiple_of(rows * columns),
    }
}

/// The steps of a sweep while they are being gathered, each with the values it computes.
struct Drafts<'a, 'b> {
    planner: &'a Planner<'b>,
    group: &'a Group,
    drafts: Vec<(Draft, Vec<NodeId>)>,
    step_of: HashSet<NodeId>,
}

impl Drafts<'_, '_> {
    fn push(&mut self, id: NodeId, draft: Draft) {
        self.step_of.insert(id);
        self.drafts.push((draft, vec![id]));
    }

    /// First step of the sweep at which a stored value may be read from memory.
    fn available(&self, id: NodeId) -> usize {
        if !self.step_of.contains(&id) {
            return 0;
        }
        let at = self.drafts.iter().position(|(_, values)| values.contains(&id));
        at.expect("computed values have a step") + 1
    }

    /// Puts a stored elementwise value or a sum into the first loop that can take it.
    fn place_in_loop(&mut self, id: NodeId) {
        let planner = self.planner;
        let is_sum = planner.kind[id as usize] == Kind::Reduce;
        let cone = planner.cone(id);
        let cuts = planner.cuts(id, &cone).expect("conflicts were split before");
        // Memory reads need an earlier step; values of the same domain may come from the same step.
        let after = cone.expands.iter().map(|&e| {
            let x = planner.base_of(planner.expanded(e));
            self.available(x)
        });
        let mut first = after.max().unwrap_or(0);
        for &leaf in &cone.leaves {
            let from_loop = planner.kind[leaf as usize] == Kind::Elementwise;
            let at = self.available(leaf);
            first = first.max(if from_loop { at.saturating_sub(1) } else { at });
        }
        let n = volume(planner.domain(id));
        for (draft, values) in &mut self.drafts[first..] {
            let Draft::Loop(builder) = draft else { continue };
            if builder.volume != n || builder.work() + cone.inside.len() > LOOP_LIMIT {
                continue;
            }
            let Some(joined) = pattern::union(&builder.cuts, &cuts) else { continue };
            if !aligned(pattern::dims(n, &joined), n / self.group.items) {
                continue;
            }
            builder.cuts = joined;
            builder.take(id, &cone.inside, is_sum);
            values.push(id);
            self.step_of.insert(id);
            return;
        }
        let mut builder = loops::Builder::new(n, cuts);
        builder.take(id, &cone.inside, is_sum);
        self.push(id, Draft::Loop(builder));
    }
}
