//! Common subexpressions: equal operations on equal operands are computed once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::report::Context;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Binary, Op};
use crate::tensor::{Data, Tensor};

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let mut patch = Patch::new();
    // first node of each expression; operands are compared after what was found equal so far
    let mut moved: HashMap<Value, Value> = HashMap::new();
    let mut first: HashMap<u64, Vec<(NodeId, Vec<Value>)>> = HashMap::new();
    for id in graph.topological() {
        let node = graph.node(id);
        if node.op.is_state() || matches!(node.op, Op::Input(_)) {
            continue;
        }
        let mut operands: Vec<Value> = node.operands.iter().map(|v| moved.get(v).copied().unwrap_or(*v)).collect();
        if commutes(&node.op) {
            operands.sort_unstable();
        }
        let same = first.entry(hash(&node.op, &operands)).or_default();
        let equal = same.iter().find(|(other, inputs)| *inputs == operands && equal(&graph.node(*other).op, &node.op));
        match equal {
            Some(&(other, _)) => {
                if !context.allow() {
                    break;
                }
                context.done(format!("{}: is {}", node.name, graph.node(other).name));
                for port in 0..node.results.len() {
                    moved.insert(id.result(port), other.result(port));
                    patch.redirect(id.result(port), other.result(port));
                }
            }
            None => same.push((id, operands)),
        }
    }
    patch.apply(graph, context.pass)
}

/// Operations whose operands may change places without any change of the result.
fn commutes(op: &Op) -> bool {
    matches!(op, Op::Binary(Binary::Add | Binary::Mul | Binary::Equal))
}

/// Equal operations have equal hashes; attributes are left to [`equal`], but for constants, which would
/// all collide.
fn hash(op: &Op, operands: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    op.kind().hash(&mut hasher);
    operands.hash(&mut hasher);
    if let Op::Constant(tensor) = op {
        tensor.shape().hash(&mut hasher);
        if let Some(bits) = bits(tensor) {
            bits.take(16).for_each(|b| b.hash(&mut hasher));
        }
    }
    hasher.finish()
}

/// Equality of attributes; of constants bit by bit, since 0 and -0 compare equal and are not.
fn equal(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Constant(a), Op::Constant(b)) => match (bits(a), bits(b)) {
            (Some(x), Some(y)) => a.shape() == b.shape() && x.eq(y),
            _ => a == b,
        },
        _ => a == b,
    }
}

/// The bits of a float tensor; other element types compare as they are.
fn bits(tensor: &Tensor) -> Option<impl Iterator<Item = u32> + '_> {
    match tensor.data() {
        Data::F32(v) => Some(v.iter().map(|x| x.to_bits())),
        Data::I32(_) | Data::U8(_) => None,
    }
}
