//! Who uses a value: built once for a pass, since asking the graph node by node would walk it again and again.

use std::collections::HashSet;

use crate::graph::{Graph, NodeId, Value};

/// A use of a value as an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    /// The user.
    pub(super) node: NodeId,
    /// Which of its operands.
    pub(super) operand: usize,
}

/// All uses in a graph.
pub(super) struct Uses {
    by_node: Vec<Vec<(u32, Use)>>,
    pinned: HashSet<Value>,
}

impl Uses {
    pub(super) fn new(graph: &Graph) -> Self {
        let mut by_node = vec![Vec::new(); graph.len()];
        for node in graph.nodes() {
            for (operand, value) in graph.node(node).operands.iter().enumerate() {
                by_node[value.node.index()].push((value.port, Use { node, operand }));
            }
        }
        let pinned = graph.outputs().iter().map(|&(_, v)| v).chain(graph.updates().iter().map(|&(_, v)| v)).collect();
        Uses { by_node, pinned }
    }
    /// Uses of `value` as an operand, in the order of the nodes.
    pub(super) fn of(&self, value: Value) -> impl Iterator<Item = Use> + '_ {
        self.by_node[value.node.index()].iter().filter(move |(port, _)| *port == value.port).map(|&(_, u)| u)
    }
    /// Whether the value is an output of the graph or the new value of a state.
    pub(super) fn pinned(&self, value: Value) -> bool {
        self.pinned.contains(&value)
    }
    /// Whether `value` is used as one operand of one node and nowhere else.
    pub(super) fn single(&self, value: Value) -> bool {
        !self.pinned(value) && self.of(value).count() == 1
    }
    /// Names of the users other than `but`, for reports.
    pub(super) fn others(&self, graph: &Graph, value: Value, but: NodeId) -> String {
        let mut names: Vec<&str> =
            self.of(value).filter(|u| u.node != but).map(|u| graph.node(u.node).name.as_str()).collect();
        names.dedup();
        if self.pinned(value) {
            names.push("the graph's outputs or updates");
        }
        names.join(", ")
    }
}
