//! The verifier: what holds of every valid graph, as a list, and a check that collects every violation.
//!
//! 1. No node needs its own result: there is no cycle.
//! 2. Every operand is a result of a node of this graph.
//! 3. The result types are those that the operation infers from its operands' types.
//! 4. petgraph's edges are exactly the operands: one edge for each, from its node to the user.
//! 5. Inputs and state have unique names.
//! 6. Output names are unique, and every output is a value of this graph.
//! 7. An update gives a parameter or buffer a value of this graph and of the state's type, once a state.
//!
//! One broken thing may be reported under several invariants; nothing is left out because something else is
//! wrong too.

use std::collections::{HashMap, HashSet};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;

use super::{Graph, NodeId, Value};
use crate::error::Error;
use crate::types::TensorType;

impl Graph {
    /// Checks every invariant of the list at the top of `graph/verify.rs`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with one line a violation.
    pub fn verify(&self) -> Result<(), Error> {
        let mut violations = Vec::new();
        self.check_cycles(&mut violations);
        self.check_nodes(&mut violations);
        self.check_edges(&mut violations);
        self.check_names(&mut violations);
        self.check_outputs(&mut violations);
        self.check_updates(&mut violations);
        if violations.is_empty() { Ok(()) } else { Err(Error::Invalid { after: None, violations }) }
    }

    /// As [`Graph::verify`], naming the pass that has just changed the graph.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn verify_after(&self, pass: &str) -> Result<(), Error> {
        self.verify().map_err(|error| match error {
            Error::Invalid { violations, .. } => Error::Invalid { after: Some(pass.to_string()), violations },
            other => other,
        })
    }

    /// `%3 (layer1.relu)`
    fn described(&self, id: NodeId) -> String {
        match self.get(id) {
            Some(node) => format!("{id} ({})", node.name),
            None => format!("{id} (no node)"),
        }
    }

    /// Groups of nodes that need each other's results, each ascending.
    pub(super) fn cycles(&self) -> Vec<Vec<NodeId>> {
        // of petgraph's two algorithms this one does not recurse: a deep graph does not overflow the stack
        let mut cycles: Vec<Vec<NodeId>> = kosaraju_scc(&self.inner)
            .into_iter()
            // a component of one node is a cycle only with an edge to itself
            .filter(|component| component.len() > 1 || component.iter().any(|&n| self.inner.contains_edge(n, n)))
            .map(|component| {
                let mut ids: Vec<_> = component.into_iter().map(|n| NodeId(n.index() as u32)).collect();
                ids.sort_unstable();
                ids
            })
            .collect();
        cycles.sort();
        cycles
    }

    fn check_cycles(&self, violations: &mut Vec<String>) {
        for cycle in self.cycles() {
            let nodes: Vec<_> = cycle.iter().map(|&id| self.described(id)).collect();
            violations.push(format!("these nodes form a cycle: {}", nodes.join(", ")));
        }
    }

    fn check_nodes(&self, violations: &mut Vec<String>) {
        for id in self.nodes() {
            let node = self.node(id);
            let unknown: Vec<_> = node.operands.iter().filter(|&&v| self.value_type(v).is_none()).collect();
            for operand in &unknown {
                violations.push(format!("{}: operand {operand} does not exist", self.described(id)));
            }
            if !unknown.is_empty() {
                continue;
            }
            match self.infer(&node.op, &node.operands, &node.name) {
                Ok(results) if results == node.results => {}
                Ok(results) => violations.push(format!(
                    "{}: the results are typed {}, but {} gives {}",
                    self.described(id),
                    types(&node.results),
                    node.op.kind(),
                    types(&results)
                )),
                Err(error) => violations.push(format!("{id}: {error}")),
            }
        }
    }

    fn check_edges(&self, violations: &mut Vec<String>) {
        for id in self.nodes() {
            let node = self.node(id);
            let mut operands: Vec<u32> =
                node.operands.iter().map(|v| v.node.0).filter(|&n| (n as usize) < self.len()).collect();
            let incoming = self.inner.edges_directed(NodeIndex::new(id.index()), petgraph::Incoming);
            let mut edges: Vec<u32> = incoming.map(|e| e.source().index() as u32).collect();
            operands.sort_unstable();
            edges.sort_unstable();
            if operands != edges {
                let list = |ids: &[u32]| ids.iter().map(|n| format!("%{n}")).collect::<Vec<_>>().join(", ");
                violations.push(format!(
                    "{}: edges come from [{}], but its operands from [{}]",
                    self.described(id),
                    list(&edges),
                    list(&operands)
                ));
            }
        }
    }

    fn check_names(&self, violations: &mut Vec<String>) {
        let mut first: HashMap<&str, NodeId> = HashMap::new();
        for id in self.nodes().filter(|&id| self.node(id).op.has_unique_name()) {
            let name = self.node(id).name.as_str();
            if let Some(other) = first.get(name) {
                violations.push(format!("{other} and {id} are inputs or states of one name, \"{name}\""));
            } else {
                first.insert(name, id);
            }
        }
    }

    fn check_outputs(&self, violations: &mut Vec<String>) {
        let mut names = HashSet::new();
        for (name, value) in &self.outputs {
            if !names.insert(name) {
                violations.push(format!("there are two outputs named \"{name}\""));
            }
            if self.value_type(*value).is_none() {
                violations.push(format!("output \"{name}\" is {value}, which does not exist"));
            }
        }
    }

    fn check_updates(&self, violations: &mut Vec<String>) {
        let mut updated = HashSet::new();
        for &(state, value) in &self.updates {
            let what = self.described(state);
            if !updated.insert(state) {
                violations.push(format!("{what} is updated twice"));
            }
            let old = self.get(state).filter(|node| node.op.is_state()).and_then(|node| node.results.first());
            if old.is_none() {
                violations.push(format!("the update of {what} names no parameter or buffer"));
            }
            match (old, self.value_type(value)) {
                (_, None) => violations.push(format!("the update of {what} is {value}, which does not exist")),
                (Some(old), Some(new)) if old != new => {
                    violations
                        .push(format!("the update of {what}, {old}, is {} of type {new}", self.value_text(value)));
                }
                (None, Some(_)) | (Some(_), Some(_)) => {}
            }
        }
    }

    fn value_text(&self, value: Value) -> String {
        format!("{value} ({})", self.get(value.node).map_or("no node", |node| node.name.as_str()))
    }
}

fn types(types: &[TensorType]) -> String {
    types.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;
    use crate::ops::{Init, Op, Unary};
    use crate::types::DType;

    /// `y = relu(x) + w`, and `w` becomes `y`.
    fn valid() -> (Graph, [Value; 4]) {
        let mut g = Graph::new("g");
        let x = g.input("x", DType::F32, [2]).unwrap();
        let w = g.parameter("w", [2], Init::ZEROS).unwrap();
        let a = g.relu(x).unwrap();
        let y = g.add_values(a, w).unwrap();
        g.set_output("y", y).unwrap();
        g.set_update(w, y).unwrap();
        (g, [x, w, a, y])
    }

    fn violations(g: &Graph) -> Vec<String> {
        match g.verify() {
            Ok(()) => Vec::new(),
            Err(Error::Invalid { after: None, violations }) => violations,
            Err(other) => panic!("{other}"),
        }
    }

    fn node_mut(g: &mut Graph, v: Value) -> &mut Node {
        &mut g.inner[NodeIndex::new(v.node.index())]
    }

    #[test]
    fn a_built_graph_is_valid() {
        assert_eq!(violations(&valid().0), Vec::<String>::new());
        assert_eq!(violations(&Graph::new("empty")), Vec::<String>::new());
    }

    #[test]
    fn cycles_name_their_nodes() {
        let (mut g, [x, _, a, y]) = valid();
        node_mut(&mut g, a).operands = vec![y];
        let edge = g.inner.find_edge(NodeIndex::new(x.node.index()), NodeIndex::new(a.node.index())).unwrap();
        g.inner.remove_edge(edge);
        g.inner.add_edge(NodeIndex::new(y.node.index()), NodeIndex::new(a.node.index()), ());
        assert_eq!(violations(&g), ["these nodes form a cycle: %2 (relu), %3 (add)"]);
        // a second cycle of one node is reported beside the first
        let b = g.neg(x).unwrap();
        let node = NodeIndex::new(b.node.index());
        node_mut(&mut g, b).operands = vec![b];
        let edge = g.inner.find_edge(NodeIndex::new(x.node.index()), node).unwrap();
        g.inner.remove_edge(edge);
        g.inner.add_edge(node, node, ());
        assert_eq!(
            violations(&g),
            ["these nodes form a cycle: %2 (relu), %3 (add)", "these nodes form a cycle: %4 (neg)"]
        );
    }

    #[test]
    fn operands_types_and_edges_are_checked_at_every_node() {
        let (mut g, [x, w, a, y]) = valid();
        node_mut(&mut g, a).operands = vec![NodeId(9).result(0)];
        node_mut(&mut g, y).operands = vec![w, x.node.result(1)];
        let b = g.neg(x).unwrap();
        node_mut(&mut g, b).results = vec![TensorType::f32([3])];
        let c = g.tanh(w).unwrap();
        node_mut(&mut g, c).op = Op::Select;
        let d = g.exp(w).unwrap();
        node_mut(&mut g, d).op = Op::Unary(Unary::Clamp(1.0, 0.0));
        assert_eq!(
            violations(&g),
            [
                "%2 (relu): operand %9 does not exist",
                "%3 (add): operand %0.1 does not exist",
                "%4 (neg): the results are typed f32[3], but neg gives f32[2]",
                "%5: tanh: select(f32[2]): takes 3 operands, got 1",
                "%6: exp: clamp(f32[2]): the lower limit 1 must not exceed the upper limit 0",
                "%2 (relu): edges come from [%0], but its operands from []",
                "%3 (add): edges come from [%1, %2], but its operands from [%0, %1]",
            ]
        );
    }

    #[test]
    fn an_edge_for_each_operand_even_of_one_node() {
        let mut g = Graph::new("g");
        let x = g.input("x", DType::F32, []).unwrap();
        let y = g.mul(x, x).unwrap();
        assert_eq!(violations(&g), Vec::<String>::new());
        let edge = g.inner.find_edge(NodeIndex::new(0), NodeIndex::new(y.node.index())).unwrap();
        g.inner.remove_edge(edge);
        assert_eq!(violations(&g), ["%1 (mul): edges come from [%0], but its operands from [%0, %0]"]);
    }

    #[test]
    fn names_outputs_and_updates() {
        let (mut g, [x, w, _, y]) = valid();
        node_mut(&mut g, w).name = "x".to_string();
        let scalar = g.scalar(1.0).unwrap();
        g.outputs.push(("y".to_string(), x));
        g.outputs.push(("z".to_string(), NodeId(7).result(2)));
        g.updates.push((w.node, scalar));
        g.updates.push((x.node, y));
        g.updates.push((NodeId(8), NodeId(9).result(0)));
        assert_eq!(
            violations(&g),
            [
                "%0 and %1 are inputs or states of one name, \"x\"",
                "there are two outputs named \"y\"",
                "output \"z\" is %7.2, which does not exist",
                "%1 (x) is updated twice",
                "the update of %1 (x), f32[2], is %4 (constant) of type f32[]",
                "the update of %0 (x) names no parameter or buffer",
                "the update of %8 (no node) names no parameter or buffer",
                "the update of %8 (no node) is %9, which does not exist",
            ]
        );
    }

    #[test]
    fn the_culprit_is_named() {
        let (mut g, [x, ..]) = valid();
        g.outputs.push(("y".to_string(), x));
        let text = g.verify_after("fold").unwrap_err().to_string();
        assert_eq!(text, "the graph after pass \"fold\" is invalid:\n  there are two outputs named \"y\"");
    }
}
