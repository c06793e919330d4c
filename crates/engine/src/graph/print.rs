//! The printed form of a graph: one node per line, operands by number.

use super::{Graph, NodeId};
use std::fmt::Write;

impl Graph {
    /// The nodes that the outputs need, one per line: number, shape, operation, operands.
    pub fn print(&self, outputs: &[super::Var<'_>]) -> String {
        let nodes = self.nodes();
        let ids: Vec<NodeId> = outputs.iter().map(|v| v.id).collect();
        let mut text = String::new();
        for id in live(&nodes, &ids) {
            let node = &nodes[id as usize];
            let _ = write!(text, "%{id} {:?} = {}", node.shape, node.op.name());
            node.op.for_operands(|x| {
                let _ = write!(text, " %{x}");
            });
            text.push('\n');
        }
        let names: Vec<String> = ids.iter().map(|id| format!("%{id}")).collect();
        let _ = writeln!(text, "return {}", names.join(" "));
        text
    }
}

/// Nodes that the outputs depend on, in order of their handles: operands first.
pub(crate) fn live(nodes: &[super::Node], outputs: &[NodeId]) -> Vec<NodeId> {
    let mut needed = vec![false; nodes.len()];
    outputs.iter().for_each(|&id| needed[id as usize] = true);
    for id in (0..nodes.len()).rev() {
        if needed[id] {
            nodes[id].op.for_operands(|x| needed[x as usize] = true);
        }
    }
    (0..nodes.len() as NodeId).filter(|&id| needed[id as usize]).collect()
}
