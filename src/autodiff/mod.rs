//! Reverse-mode differentiation, graph → graph: the backward pass is ordinary operations in the same
//! graph, so that everything after (fusion, planning, kernels) treats both alike.
//!
//! ```text
//!  wrt ──▶ a ──▶ b ──▶ loss        nodes on a path from `wrt` to the loss, and only those,
//!   ◀── a.grad ◀── b.grad ◀── 1    are walked backwards; `table` says what each contributes
//! ```
//!
//! A value with several uses gets the sum of their contributions, the last use first. Nodes are named
//! after the forward node (`layer1.0.conv1.grad`).
//!
//! Architecture invariant: no gradient is silently missing. An operation without a derivative on the
//! path is an error that names it. Step functions (comparisons, sign, the condition of a select) have
//! the derivative zero, as in every framework: nothing flows through them.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::types::{DType, TensorType};

mod elementwise;
mod emit;
mod linear;
mod movement;
mod norm;
mod pool;
mod reduce;
mod table;

use emit::{Emit, Site};

/// Adds the gradients of `loss` with respect to `wrt` to the graph and returns them in `wrt`'s order,
/// each of its value's type. Nothing is computed for values that lead to none of `wrt`: the first
/// convolution of a network gets no gradient of its input.
///
/// # Errors
/// [`Error::Gradient`], naming the node: when `loss` is no f32 scalar, when one of `wrt` is not f32 or the
/// loss does not depend on it (or only through step functions), when an operation on the path has no
/// derivative. The graph may then hold nodes that nothing uses.
pub fn gradients(graph: &mut Graph, loss: Value, wrt: &[Value]) -> Result<Vec<Value>, Error> {
    let ty = graph.expect_type(loss, "loss")?;
    if ty != TensorType::f32([]) {
        return Err(refuse(graph, loss.node, format!("the loss must be a scalar f32[], got {ty}; reduce it to one")));
    }
    for &value in wrt {
        let ty = graph.expect_type(value, "gradient")?;
        if ty.dtype != DType::F32 {
            return Err(refuse(graph, value.node, format!("only f32 values have gradients, got {ty}")));
        }
    }
    let order = graph.topological();
    let active = reached(graph, &order, wrt);
    let feeding = feeding(graph, loss);
    if let Some(&value) = wrt.iter().find(|value| !feeding.contains(value)) {
        return Err(refuse(graph, value.node, unreached(graph, value, loss)));
    }

    let mut emit = Emit::new(graph);
    let one = emit.scalar(1.0)?;
    let mut parts: HashMap<Value, Vec<Value>> = HashMap::from([(loss, vec![one])]);
    let mut complete: HashMap<Value, Value> = HashMap::new();
    for &id in order.iter().rev() {
        let results = emit.graph.node(id).results.len();
        let mut arriving = Vec::with_capacity(results);
        for value in (0..results).map(|port| id.result(port)) {
            let gradient = match parts.remove(&value) {
                Some(parts) => Some(emit.sum(id, &parts)?),
                None => None,
            };
            complete.extend(gradient.map(|g| (value, g)));
            arriving.push(gradient);
        }
        let node = emit.graph.node(id);
        let wanted: Vec<bool> =
            node.operands.iter().enumerate().map(|(at, v)| active.contains(v) && table::flows(&node.op, at)).collect();
        if arriving.iter().all(Option::is_none) || !wanted.contains(&true) {
            continue;
        }
        let site = Site { id, op: node.op.clone(), operands: node.operands.clone(), wanted };
        emit.at(id);
        let contributions = table::derivative(&mut emit, &site, &arriving)?;
        for ((&operand, wanted), part) in site.operands.iter().zip(&site.wanted).zip(contributions) {
            match (wanted, part) {
                (true, Some(part)) => {
                    emit.expect_gradient_type(operand, part)?;
                    parts.entry(operand).or_default().push(part);
                }
                (true, None) => {
                    let reason = format!("{} gives no gradient for its operand {operand}", site.op.kind());
                    return Err(refuse(emit.graph, id, reason));
                }
                (false, _) => {}
            }
        }
    }
    wrt.iter()
        .map(|value| {
            complete
                .get(value)
                .copied()
                .ok_or_else(|| refuse(emit.graph, value.node, "no gradient reached it".to_string()))
        })
        .collect()
}

/// Whether a node of this path was added by [`gradients`], or made of such a node by a pass: a part of the path is
/// `grad`, as in `layer1.0.conv1.grad` or `bn.batch_norm.grad.sums`.
pub fn is_gradient(path: &str) -> bool {
    path.split('.').any(|part| part == "grad")
}

/// Values that depend on `wrt` through edges that carry a gradient.
fn reached(graph: &Graph, order: &[NodeId], wrt: &[Value]) -> HashSet<Value> {
    let mut active: HashSet<Value> = wrt.iter().copied().collect();
    for &id in order {
        let node = graph.node(id);
        if node.operands.iter().enumerate().any(|(at, v)| active.contains(v) && table::flows(&node.op, at)) {
            active.extend((0..node.results.len()).map(|port| id.result(port)));
        }
    }
    active
}

/// Values that a gradient of `loss` gets back to.
fn feeding(graph: &Graph, loss: Value) -> HashSet<Value> {
    let mut seen = HashSet::from([loss]);
    let mut stack = vec![loss];
    while let Some(value) = stack.pop() {
        let node = graph.node(value.node);
        for (at, &operand) in node.operands.iter().enumerate() {
            if table::flows(&node.op, at) && seen.insert(operand) {
                stack.push(operand);
            }
        }
    }
    seen
}

/// Why no gradient gets from the loss to `value`: no path at all, or a step function that blocks it.
fn unreached(graph: &Graph, value: Value, loss: Value) -> String {
    let loss_path = &graph.node(loss.node).name;
    let mut before = HashSet::from([loss.node]);
    let mut stack = vec![loss.node];
    while let Some(id) = stack.pop() {
        stack.extend(graph.node(id).operands.iter().map(|v| v.node).filter(|&id| before.insert(id)));
    }
    // from `value` towards the loss, breadth first, so that the block found is the nearest
    let mut seen = HashSet::from([value.node]);
    let mut queue = VecDeque::from([value.node]);
    while let Some(id) = queue.pop_front() {
        for user in graph.users(id).into_iter().filter(|user| before.contains(user)) {
            let node = graph.node(user);
            let mut uses = node.operands.iter().enumerate().filter(|(_, v)| v.node == id);
            if uses.all(|(at, _)| !table::flows(&node.op, at)) {
                let op = node.op.kind();
                return format!(
                    "the loss ({loss_path}) depends on it only through {} ({op}), which passes no gradient on",
                    node.name
                );
            }
            if seen.insert(user) {
                queue.push_back(user);
            }
        }
    }
    format!("the loss ({loss_path}) does not depend on it")
}

fn refuse(graph: &Graph, id: NodeId, reason: String) -> Error {
    Error::Gradient { path: graph.node(id).name.clone(), reason }
}
