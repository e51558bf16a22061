//! Constant folding: what depends on constants only is computed now, by the reference interpreter.

use std::collections::HashMap;

use super::report::Context;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::Op;
use crate::reference::{RefTensor, evaluate};
use crate::types::TensorType;

/// Elements that a folded constant may have whatever it is made from.
const SMALL: usize = 1024;
/// Elements that a folded constant may have at most.
const LARGE: usize = 1 << 20;
/// Multiply-adds that folding may take.
const WORK: usize = 1 << 24;

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let mut patch = Patch::new();
    // results that are constants by now
    let mut known: HashMap<Value, Value> = HashMap::new();
    for id in graph.topological() {
        let node = graph.node(id);
        let operands: Vec<Value> = node.operands.iter().map(|v| known.get(v).copied().unwrap_or(*v)).collect();
        let constant = |v: &Value| matches!(graph.node(v.node).op, Op::Constant(_));
        if operands.is_empty() || !operands.iter().all(constant) || !can_fold(&node.op) {
            continue;
        }
        if let Err(reason) = affordable(graph, id) {
            context.refused(&node.name, reason);
            continue;
        }
        let node = node.clone();
        let results = match fold(graph, &node.op, &operands) {
            Ok(results) => results,
            // a label out of range, say: the run will tell
            Err(error) => {
                context.refused(&node.name, format!("not folded: {error}"));
                continue;
            }
        };
        if !context.allow() {
            break;
        }
        context.done(format!("{}: {} of constants", node.name, node.op.kind()));
        for (port, value) in results.iter().enumerate() {
            let new = graph.insert(Op::Constant(value.to_tensor()?), &[], node.name.clone())?.result(0);
            known.insert(id.result(port), new);
            patch.redirect(id.result(port), new);
        }
    }
    patch.apply(graph, context.pass)
}

/// Random numbers of a constant seed are no constants: the step may be one, too, in a test.
fn can_fold(op: &Op) -> bool {
    !op.is_source() && !matches!(op, Op::Random(_) | Op::Fused(_))
}

/// A constant that is larger than what it is made from costs memory instead of time.
fn affordable(graph: &Graph, id: NodeId) -> Result<(), String> {
    let node = graph.node(id);
    let size = |types: &mut dyn Iterator<Item = &TensorType>| types.map(|t| t.shape.elements()).sum::<usize>();
    let made = size(&mut node.results.iter());
    let from = size(&mut node.operands.iter().map(|&v| graph.ty(v)));
    if made > SMALL.max(2 * from) || made > LARGE {
        return Err(format!("not folded: {made} elements would be made from {from}"));
    }
    let inner = match &node.op {
        Op::MatMul(m) => m.extents(graph.ty(node.operands[0]), graph.ty(node.operands[1])).1,
        Op::Conv2d(_) | Op::Conv2dGradInput(..) | Op::Conv2dGradWeight(..) => from,
        _ => 1,
    };
    if made.saturating_mul(inner).max(from) > WORK {
        return Err("not folded: it would take too long".to_string());
    }
    Ok(())
}

fn fold(graph: &Graph, op: &Op, operands: &[Value]) -> Result<Vec<RefTensor>, Error> {
    let mut values = Vec::with_capacity(operands.len());
    for operand in operands {
        if let Op::Constant(tensor) = &graph.node(operand.node).op {
            values.push(RefTensor::from(tensor));
        }
    }
    evaluate(op, &values.iter().collect::<Vec<_>>())
}

/// The number that every element of a constant is.
pub(super) fn number(graph: &Graph, value: Value) -> Option<f32> {
    match &graph.node(value.node).op {
        Op::Constant(tensor) => {
            let (first, rest) = tensor.as_f32()?.split_first()?;
            rest.iter().all(|x| x.to_bits() == first.to_bits()).then_some(*first)
        }
        _ => None,
    }
}
