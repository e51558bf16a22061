//! The updates of all parameters become one kernel.
//!
//! ```text
//!   g₁, m₁, p₁ ─▶ [update] ─▶ m₁', p₁'           lr ─┐
//!   g₂, m₂, p₂ ─▶ [update] ─▶ m₂', p₂'    ──▶     g₁, m₁, p₁ │ g₂, m₂, p₂ │ … ─▶ [updates] ─▶ m₁', p₁' │ m₂', p₂' │ …
//! ```
//!
//! A network has few large and many small parameters. One kernel shares all their elements evenly among the threads,
//! which meet once instead of once a parameter. The price is that gradients live until the last of them is there; so
//! a parameter that keeps the threads busy by itself is left alone.

use super::super::report::Context;
use super::super::uses::Uses;
use super::as_map;
use super::reach::Reach;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Anchor, Fused, Op, Program, Step};
use crate::types::Shape;

/// Elements of a parameter whose update stays a kernel of its own: 4 MB take a thousand times as long as a barrier.
const LARGE: usize = 1 << 20;

/// An update of one parameter: an element-wise kernel whose results all become values of states.
struct Update {
    id: NodeId,
    shape: Shape,
    /// The kernel's program; its operands are the scalars, then the tensors.
    program: Program,
    scalars: Vec<Value>,
    tensors: Vec<Value>,
}

pub(in crate::passes) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let order = graph.topological();
    let uses = Uses::new(graph);
    let mut reach = Reach::new(graph, &order);
    let mut groups: Vec<Vec<Update>> = Vec::new();
    for update in order.iter().filter_map(|&id| Update::new(graph, &uses, id)) {
        let same = groups.iter_mut().find(|group| {
            let first = &group[0];
            first.program == update.program
                && first.scalars == update.scalars
                && !reach.depends(first.id, update.id)
                && !reach.depends(update.id, first.id)
        });
        match same {
            Some(group) => {
                reach.merge(group[0].id, update.id);
                group.push(update);
            }
            None => groups.push(vec![update]),
        }
    }
    let mut patch = Patch::new();
    for group in groups.into_iter().filter(|g| g.len() > 1) {
        if !context.allow() {
            break;
        }
        join(graph, group, &mut patch, context)?;
    }
    patch.apply(graph, context.pass)
}

impl Update {
    fn new(graph: &Graph, uses: &Uses, id: NodeId) -> Option<Update> {
        let (map, shape) = as_map(graph, id)?;
        let node = graph.node(id);
        let updates = (0..node.results.len()).all(|port| {
            let value = id.result(port);
            uses.of(value).next().is_none() && graph.updates().iter().any(|&(_, new)| new == value)
        });
        if !updates || map.result.has_sums() || shape.elements() >= LARGE {
            return None;
        }
        let (tensors, scalars): (Vec<Value>, Vec<Value>) =
            node.operands.iter().partition(|&&v| graph.ty(v).shape == *shape);
        if scalars.iter().any(|&v| graph.ty(v).shape.rank() != 0) {
            return None;
        }
        let place = |index: usize| {
            let value = node.operands[index];
            let tensor = tensors.iter().position(|&v| v == value).map(|at| scalars.len() + at);
            tensor.or_else(|| scalars.iter().position(|&v| v == value)).unwrap_or(index)
        };
        let mut program = map.result.clone();
        for step in &mut program.steps {
            if let Step::Operand(index) = step {
                *index = place(*index);
            }
        }
        Some(Update { id, shape: shape.clone(), program, scalars, tensors })
    }
}

/// Adds the kernel of `group`, whose programs and scalars are the same.
fn join(graph: &mut Graph, group: Vec<Update>, patch: &mut Patch, context: &mut Context<'_>) -> Result<(), Error> {
    let Some(first) = group.first() else { return Ok(()) };
    let mut operands = first.scalars.clone();
    operands.extend(group.iter().flat_map(|u| &u.tensors));
    let segments = group.iter().map(|u| u.shape.clone()).collect();
    let anchor = Anchor::Maps { segments, shared: first.scalars.len() };
    let fused = Fused { result: first.program.clone(), ..Fused::new(anchor) };
    let (outputs, elements) = (fused.result.outputs.len(), fused.items());
    context.done(format!("updates: {} parameters with {elements} elements", group.len()));
    let id = graph.insert(Op::Fused(Box::new(fused)), &operands, "updates".to_string())?;
    for (index, update) in group.iter().enumerate() {
        for port in 0..outputs {
            patch.redirect(update.id.result(port), id.result(index * outputs + port));
        }
    }
    Ok(())
}
