//! Smaller copies of a graph: without what nothing needs, or only what some outputs need.
//!
//! ```text
//!   images ─▶ conv ─▶ logits ─▶ loss          cone(["logits"])      images ─▶ conv ─▶ logits
//!   labels ──────────────────────┘            ─────────────────▶
//! ```

use petgraph::graph::NodeIndex;

use super::{Graph, NodeId, Value};
use crate::error::Error;
use crate::ops::Op;

impl Graph {
    /// A copy without the nodes that no output or update needs, in topological order with fresh ids.
    /// Inputs and state stay, so that a program's interface does not depend on its optimisation.
    pub fn compact(&self) -> Graph {
        let updates = self.updates.iter().flat_map(|&(s, v)| [s, v.node]);
        let interface =
            self.nodes().filter(|&id| self.node(id).op.is_state() || matches!(self.node(id).op, Op::Input(_)));
        let roots = self.outputs.iter().map(|(_, v)| v.node).chain(updates).chain(interface).collect();
        self.copy(roots, &self.outputs, &self.updates)
    }

    /// A copy of what the named outputs need, in topological order with fresh ids: no other output, no update, and
    /// no input or state that only those need.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names; [`Error::DuplicateName`] for an output that is named twice.
    pub fn cone(&self, outputs: &[&str]) -> Result<Graph, Error> {
        if let Some((_, name)) = outputs.iter().enumerate().find(|(at, name)| outputs[..*at].contains(*name)) {
            return Err(Error::DuplicateName { what: "output", name: name.to_string() });
        }
        let named = |name: &&str| Ok((name.to_string(), self.output(name)?));
        let outputs: Vec<(String, Value)> = outputs.iter().map(named).collect::<Result<_, Error>>()?;
        Ok(self.copy(outputs.iter().map(|(_, v)| v.node).collect(), &outputs, &[]))
    }

    /// The nodes that `roots` need.
    fn copy(&self, roots: Vec<NodeId>, outputs: &[(String, Value)], updates: &[(NodeId, Value)]) -> Graph {
        let mut live = vec![false; self.len()];
        let mut stack = roots;
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut live[id.index()], true) {
                stack.extend(self.node(id).operands.iter().map(|v| v.node));
            }
        }
        let mut to = vec![NodeId(u32::MAX); self.len()];
        let mut graph = Graph { name: self.name.clone(), taken: self.taken.clone(), ..Graph::default() };
        for id in self.topological() {
            if !live[id.index()] {
                continue;
            }
            let mut node = self.node(id).clone();
            for operand in &mut node.operands {
                operand.node = to[operand.node.index()];
            }
            let operands = node.operands.clone();
            let new = graph.inner.add_node(node);
            for operand in operands {
                graph.inner.add_edge(NodeIndex::new(operand.node.index()), new, ());
            }
            to[id.index()] = NodeId(new.index() as u32);
        }
        let renamed = |v: Value| Value { node: to[v.node.index()], port: v.port };
        graph.outputs = outputs.iter().map(|(n, v)| (n.clone(), renamed(*v))).collect();
        graph.updates = updates.iter().map(|&(s, v)| (to[s.index()], renamed(v))).collect();
        graph
    }
}
