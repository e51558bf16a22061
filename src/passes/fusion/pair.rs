//! Both gradients of a convolution in one kernel, so that `dy` is computed and read once.
//!
//! ```text
//!  dy, w ─▶ grad_input  ─▶ dx                dy, w, x ─▶ backward ─▶ dx
//!  x, dy ─▶ grad_weight ─▶ partial dw   ──▶                 └─▶ partial dw
//! ```

use std::collections::{HashMap, HashSet};

use super::super::report::Context;
use super::as_fused;
use super::reach::Reach;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Anchor, Conv2d, Fused, Op, Program};
use crate::types::Shape;

/// What both gradients of one convolution have in common.
type Key = (Value, Conv2d, Shape, Shape);

pub(in crate::passes) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let order = graph.topological();
    let (data, mut filter, forward) = candidates(graph, &order);
    if data.is_empty() {
        return Ok(());
    }
    let mut reach = Reach::new(graph, &order);
    let mut patch = Patch::new();
    for (key, id, weight) in data {
        let name = graph.node(id).name.clone();
        let dy = key.0;
        let choices = filter.entry(key).or_default();
        // several convolutions may share a gradient: take the one that has this weight
        let own = choices.iter().position(|&(_, x)| forward.contains(&(x, weight)));
        let Some(at) = own.or((!choices.is_empty()).then_some(0)) else {
            context.refused(&name, "there is no weight gradient of the same convolution");
            continue;
        };
        let (other, x) = choices[at];
        if reach.depends(other, id) || reach.depends(id, other) {
            context.refused(&name, format!("{} depends on it", graph.node(other).name));
            continue;
        }
        if !context.allow() {
            break;
        }
        choices.remove(at);
        reach.merge(id, other);
        let Some(fused) = paired(graph, id) else { continue };
        context.done(format!("{name}: with {}", graph.node(other).name));
        let pair = graph.insert(Op::Fused(Box::new(fused)), &[weight, dy, x], name)?;
        patch.redirect(id.result(0), pair.result(0));
        patch.redirect(other.result(0), pair.result(1));
    }
    patch.apply(graph, context.pass)
}

type Filters = HashMap<Key, Vec<(NodeId, Value)>>;
type Candidates = (Vec<(Key, NodeId, Value)>, Filters, HashSet<(Value, Value)>);

/// Data gradients with their weights, weight gradients with their inputs, and the `(x, w)` of all
/// convolutions; only those that have absorbed nothing yet.
fn candidates(graph: &Graph, order: &[NodeId]) -> Candidates {
    let (mut data, mut filters, mut forward) = (Vec::new(), Filters::new(), HashSet::new());
    for &id in order {
        let node = graph.node(id);
        let Some(fused) = as_fused(graph, id) else { continue };
        let operand = |program: &Program| program.is_operand().map(|i| node.operands[i]);
        match &fused.anchor {
            Anchor::Map(_) | Anchor::Maps { .. } => {}
            Anchor::Conv2d { .. } => {
                if let Some(x) = operand(&fused.source) {
                    forward.insert((x, node.operands[0]));
                }
            }
            Anchor::ConvBackward { conv, input, weight, data: has_data, filter } => {
                let Some(dy) = operand(&fused.gradient) else { continue };
                let key = (dy, *conv, input.clone(), weight.clone());
                match (has_data, filter) {
                    (true, false) if fused.result == Program::store_anchor() => data.push((key, id, node.operands[0])),
                    (false, true) => {
                        if let Some(x) = operand(&fused.source) {
                            filters.entry(key).or_default().push((id, x));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    (data, filters, forward)
}

/// The kernel of a data gradient with a weight gradient added: operands `(w, dy, x)`.
fn paired(graph: &Graph, data: NodeId) -> Option<Fused> {
    let Op::Fused(fused) = &graph.node(data).op else { return None };
    let Anchor::ConvBackward { conv, input, weight, .. } = &fused.anchor else { return None };
    Some(Fused {
        anchor: Anchor::ConvBackward {
            conv: *conv,
            input: input.clone(),
            weight: weight.clone(),
            data: true,
            filter: true,
        },
        chunks: fused.chunks,
        precision: fused.precision,
        source: Program::operand(2),
        gradient: Program::operand(1),
        result: Program::store_anchor(),
    })
}
