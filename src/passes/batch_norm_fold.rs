//! Inference batch norm goes into the weight of the convolution before it.
//!
//! ```text
//!  conv(x, w) [+ bias] ─▶ batch norm      ──▶      conv(x, w·scale) + shift
//!  scale = gamma/√(var + ε)      shift = beta + (bias - mean)·scale
//! ```
//!
//! The new weight and the shift are computed in the graph from state only, so the plan runs them once and
//! again only when state changes.

use super::emit::Emit;
use super::report::Context;
use super::uses::Uses;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Binary, Conv2d, Op};

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let norms: Vec<(NodeId, f32)> = graph
        .nodes()
        .filter_map(|id| match graph.node(id).op {
            Op::BatchNormEval(epsilon) => Some((id, epsilon)),
            _ => None,
        })
        .collect();
    if norms.is_empty() {
        return Ok(());
    }
    let uses = Uses::new(graph);
    let mut patch = Patch::new();
    for (id, epsilon) in norms {
        let name = graph.node(id).name.clone();
        match find(graph, &uses, id) {
            Err(reason) => context.refused(&name, format!("not folded: {reason}")),
            Ok(before) => {
                if !context.allow() {
                    break;
                }
                context.done(format!("{name}: folded into {}", graph.node(before.id).name));
                let y = fold(graph, id, epsilon, &before)?;
                patch.redirect(id.result(0), y);
            }
        }
    }
    patch.apply(graph, context.pass)
}

/// The convolution before a batch norm.
struct Before {
    id: NodeId,
    conv: Conv2d,
    bias: Option<Value>,
}

/// The convolution whose result, with a bias or without, only `norm` uses.
fn find(graph: &Graph, uses: &Uses, norm: NodeId) -> Result<Before, String> {
    let x = graph.node(norm).operands[0];
    let alone = |value: Value, user: NodeId| {
        let of = || graph.node(value.node).name.as_str();
        if uses.single(value) {
            Ok(())
        } else {
            Err(format!("the value of {} is also used by {}", of(), uses.others(graph, value, user)))
        }
    };
    let producer = graph.node(x.node);
    let conv = |value: Value| match graph.node(value.node).op {
        Op::Conv2d(conv) => Some(conv),
        _ => None,
    };
    if let Some(conv) = conv(x) {
        alone(x, norm)?;
        return Ok(Before { id: x.node, conv, bias: None });
    }
    if let (Op::Binary(Binary::Add), &[a, b]) = (&producer.op, producer.operands.as_slice()) {
        for (y, bias) in [(a, b), (b, a)] {
            let shape = &graph.ty(bias).shape;
            let per_channel = shape.rank() == 0 || (shape.rank() == 1 && shape.last() == graph.ty(x).shape.last());
            if let Some(conv) = conv(y)
                && per_channel
            {
                alone(x, norm)?;
                alone(y, x.node)?;
                return Ok(Before { id: y.node, conv, bias: Some(bias) });
            }
        }
    }
    Err(format!("{} ({}) before it is no convolution", producer.name, producer.op.kind()))
}

fn fold(graph: &mut Graph, norm: NodeId, epsilon: f32, before: &Before) -> Result<Value, Error> {
    let node = graph.node(norm).clone();
    let conv = graph.node(before.id).clone();
    let mut e = Emit::new(graph, &node.name);
    let (&[_, gamma, beta, mean, var], &[x, w]) = (node.operands.as_slice(), conv.operands.as_slice()) else {
        return Err(e.wrong_operands());
    };
    let scale = e.batch_norm_scale(gamma, var, epsilon)?;
    // the last axis of the weight is the output channel, whatever the number of groups
    let weight = e.binary(Binary::Mul, w, scale, "weight")?;
    let shift = match before.bias {
        Some(bias) => {
            let centred = e.binary(Binary::Sub, bias, mean, "bias_mean")?;
            let scaled = e.binary(Binary::Mul, centred, scale, "mean_scale")?;
            e.binary(Binary::Add, beta, scaled, "shift")?
        }
        None => {
            let scaled = e.binary(Binary::Mul, mean, scale, "mean_scale")?;
            e.binary(Binary::Sub, beta, scaled, "shift")?
        }
    };
    let y = e.graph.insert(Op::Conv2d(before.conv), &[x, weight], conv.name)?.result(0);
    e.binary(Binary::Add, y, shift, "")
}
