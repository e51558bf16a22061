//! A part of a graph: some of its outputs and what they need.

use std::collections::HashMap;

use crate::error::{Error, nearest};
use crate::graph::{Graph, NodeId, Value};

/// The graph that computes `outputs` of `graph`, and nothing else: inputs and state that only other outputs need are
/// gone. Without its loss, for instance, an evaluation graph takes images and gives logits.
///
/// # Errors
/// [`Error::UnknownName`] for a name that is no output.
pub fn subgraph(graph: &Graph, outputs: &[&str]) -> Result<Graph, Error> {
    let find = |name: &str| {
        let found = graph.outputs().iter().find(|(n, _)| n == name);
        found.map(|&(_, value)| value).ok_or_else(|| Error::UnknownName {
            what: "output",
            name: name.to_string(),
            near: nearest(name, graph.outputs().iter().map(|(n, _)| n.as_str())),
        })
    };
    let wanted = outputs.iter().map(|name| find(name)).collect::<Result<Vec<Value>, _>>()?;
    let mut needed = vec![false; graph.len()];
    let mut open: Vec<NodeId> = wanted.iter().map(|value| value.node).collect();
    while let Some(id) = open.pop() {
        if !std::mem::replace(&mut needed[id.index()], true) {
            open.extend(graph.node(id).operands.iter().map(|value| value.node));
        }
    }
    let mut part = Graph::new(graph.name());
    let mut became: HashMap<NodeId, NodeId> = HashMap::new();
    let renamed = |value: Value, became: &HashMap<NodeId, NodeId>| became[&value.node].result(value.port as usize);
    for id in graph.topological().into_iter().filter(|id| needed[id.index()]) {
        let node = graph.node(id);
        let operands: Vec<Value> = node.operands.iter().map(|&operand| renamed(operand, &became)).collect();
        became.insert(id, part.insert(node.op.clone(), &operands, node.name.clone())?);
    }
    for (name, value) in outputs.iter().zip(wanted) {
        part.set_output(name, renamed(value, &became))?;
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Init;
    use crate::types::DType;

    #[test]
    fn what_only_other_outputs_need_is_gone() {
        let mut g = Graph::new("g");
        let x = g.input("x", DType::F32, [2, 3]).unwrap();
        let t = g.input("t", DType::F32, [2, 4]).unwrap();
        let w = g.parameter("w", [3, 4], Init::ZEROS).unwrap();
        let s = g.parameter("s", [4], Init::ZEROS).unwrap();
        let y = g.linear(x, w, None).unwrap();
        let scaled = g.mul(t, s).unwrap();
        let other = g.sub(y, scaled).unwrap();
        g.set_output("y", y).unwrap();
        g.set_output("other", other).unwrap();

        let part = subgraph(&g, &["y"]).unwrap();
        let names: Vec<&str> = part.nodes().map(|id| part.node(id).name.as_str()).collect();
        assert_eq!(names, ["x", "w", "matmul"]);
        assert_eq!(part.outputs().len(), 1);
        assert_eq!(subgraph(&g, &["other", "y"]).unwrap().len(), g.len());
        let error = subgraph(&g, &["z"]).unwrap_err().to_string();
        assert!(error.contains("did you mean \"y\""), "{error}");
    }
}
