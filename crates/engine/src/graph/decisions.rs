//! The branches a computation takes: which way each ReLU and each pooling window decides.

use super::{Graph, NodeId, Op, Unary, Var, live};

impl Graph {
    /// The decisions that `outputs` depend on, as values that differ where a decision differs.
    ///
    /// A gradient is continuous in the inputs except where one of these changes, which rounding in single precision
    /// occasionally causes. A ReLU gives 0 or 1; a pooling window the position of its maximum; a ReLU on top of a
    /// pooling both at once, and 0 when it is shut, whatever the position.
    pub fn decisions(&self, outputs: &[Var<'_>]) -> Vec<Var<'_>> {
        let nodes = self.nodes();
        let ids: Vec<NodeId> = outputs.iter().map(|v| v.id).collect();
        let var = |id: NodeId| Var { graph: self, id };
        let mut relus = Vec::new();
        let mut windows = Vec::new();
        for id in live(&nodes, &ids) {
            match nodes[id as usize].op {
                Op::Unary(Unary::Relu, x) => match nodes[x as usize].op {
                    Op::PoolPick { at, .. } => relus.push((x, Some(at))),
                    _ => relus.push((x, None)),
                },
                Op::PoolArgmax { .. } => windows.push(id),
                _ => {}
            }
        }
        drop(nodes);
        let under_relu = |id: &NodeId| relus.iter().any(|(_, at)| *at == Some(*id));
        let alone = windows.iter().filter(|id| !under_relu(id)).map(|&id| var(id));
        let relus = relus.iter().map(|&(x, at)| match at {
            Some(at) => var(x).step() * (var(at) + 1.0),
            None => var(x).step(),
        });
        relus.chain(alone).collect()
    }
}
