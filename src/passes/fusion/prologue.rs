//! Convolutions compute the element-wise expressions that they read, and the channel sums of them.
//!
//! ```text
//!  y ─▶ ·scale + shift ─▶ relu ─▶ conv          y ─▶ [ ·scale + shift ▸ relu ] conv
//!  dz, y ─▶ a·dz + b·y + c ─┬─▶ backward   ──▶  dz, y ─▶ [ a·dz + b·y + c ▸ Σ ] backward
//!                           └─▶ Σ
//! ```
//!
//! [`super::storage`] says which values are worth it. The operands of result programs count too: a ReLU's
//! mask is computed again from what the forward pass stored.

use std::collections::HashMap;

use super::super::report::Context;
use super::super::uses::Uses;
use super::epilogue::replace;
use super::kernel::{Builder, Kernel, first_ports};
use super::reach::Reach;
use super::storage::{Choice, Readiness, Storage};
use super::{Fit, as_conv, as_map, fit, is_step, sums_are_free};
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Fused, Op, Output, Program, Step};
use crate::types::Shape;

/// Which program of a kernel takes a map's sums over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Gradient,
}

pub(in crate::passes) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let order = graph.topological();
    let kernels: Vec<NodeId> = order.iter().copied().filter(|&id| as_conv(graph, id).is_some()).collect();
    if kernels.is_empty() {
        return Ok(());
    }
    let uses = Uses::new(graph);
    let mut taken: HashMap<NodeId, NodeId> = HashMap::new();
    let mut sums: HashMap<NodeId, Vec<(NodeId, Side)>> = HashMap::new();
    let mut reach = Reach::new(graph, &order);
    for &kernel in &kernels {
        for (map, side) in takeable(graph, &uses, kernel) {
            if !taken.contains_key(&map) && !reach.depends(kernel, map) && !reach.depends(map, kernel) {
                reach.merge(kernel, map);
                taken.insert(map, kernel);
                sums.entry(kernel).or_default().push((map, side));
            }
        }
    }
    let ready = Readiness { convolutions: true, taken: &taken };
    let storage = Storage::new(graph, &order, &uses, &ready);
    let mut patch = Patch::new();
    for kernel in kernels {
        let sums = sums.remove(&kernel).unwrap_or_default();
        if !rewrite(graph, &uses, &storage, kernel, &sums, &mut patch, context)? {
            break;
        }
    }
    patch.apply(graph, context.pass)
}

/// Maps that only sum what the kernel's source or gradient program reads in full.
fn takeable(graph: &Graph, uses: &Uses, kernel: NodeId) -> Vec<(NodeId, Side)> {
    let mut found = Vec::new();
    let Some(fused) = as_conv(graph, kernel) else { return found };
    let operands = &graph.node(kernel).operands;
    let sides =
        [(fused.has_gradient(), &fused.gradient, Side::Gradient), (fused.has_source(), &fused.source, Side::Source)];
    for (_, program, side) in sides.into_iter().filter(|s| s.0) {
        let read = reads(program, operands);
        for &value in &read {
            for user in uses.of(value) {
                let Some((map, shape)) = as_map(graph, user.node) else { continue };
                let fits = |&v: &Value| match fit(graph, v, shape) {
                    Fit::Full => read.contains(&v),
                    Fit::Small => true,
                    Fit::Stretched => false,
                };
                let only_sums = map.result.outputs.iter().all(|o| matches!(o, Output::Sums(_)));
                if only_sums
                    && graph.ty(value).shape == *shape
                    && graph.node(user.node).operands.iter().all(fits)
                    && sums_are_free(graph, uses, user.node, &map.result.outputs).is_ok()
                {
                    found.push((user.node, side));
                }
            }
        }
    }
    found
}

/// Operands that a program reads.
fn reads(program: &Program, operands: &[Value]) -> Vec<Value> {
    let operand = |step: &Step| match *step {
        Step::Operand(i) => operands.get(i).copied(),
        Step::Anchor | Step::Constant(_) | Step::Unary(..) | Step::Binary(..) | Step::Select(..) => None,
    };
    program.steps.iter().filter_map(operand).collect()
}

/// Makes the kernel again with what it computes itself; `false` when no more rewrites are allowed.
fn rewrite(
    graph: &mut Graph,
    uses: &Uses,
    storage: &Storage,
    id: NodeId,
    sums: &[(NodeId, Side)],
    patch: &mut Patch,
    context: &mut Context<'_>,
) -> Result<bool, Error> {
    let node = graph.node(id).clone();
    let Op::Fused(old) = &node.op else { return Ok(true) };
    let mut computed: Vec<&str> = Vec::new();
    for &operand in &node.operands {
        let of = graph.node(operand.node);
        match storage.of(operand.node) {
            Choice::Recompute => computed.push(&of.name),
            Choice::Store(why) if is_step(graph, operand.node) && graph.ty(operand).shape.rank() > 1 => {
                context.refused(&of.name, format!("not fused into {}: {}", node.name, why.in_words(graph)));
            }
            Choice::Store(_) => {}
        }
    }
    let maps: Vec<&str> = sums.iter().map(|(map, _)| graph.node(*map).name.as_str()).collect();
    if computed.is_empty() && maps.is_empty() {
        return Ok(true);
    }
    if !context.allow() {
        return Ok(false);
    }
    let mut line = format!("{}: computes {}", node.name, computed.join(", "));
    if !maps.is_empty() {
        line += &format!(" and sums {}", maps.join(", "));
    }
    let expand = |value: Value, shape: &Shape| storage.recomputes(value) && graph.ty(value).shape == *shape;
    let mut kernel = Kernel::open(graph, old, &node.operands, &expand)?;
    kernel.keep_results();
    let mut places: Vec<(Value, Side, usize)> = Vec::new();
    for &(map, side) in sums {
        let Some((fused, _)) = as_map(graph, map) else { continue };
        let builder: &mut Builder = match side {
            Side::Source => &mut kernel.source,
            Side::Gradient => &mut kernel.gradient,
        };
        let inputs = &graph.node(map).operands;
        let to = builder.import(graph, &mut kernel.operands, (&fused.result, inputs), false, &expand);
        for (port, output) in fused.result.outputs.iter().enumerate() {
            places.push((map.result(port), side, builder.output(Output::Sums(to[output.step()]))));
        }
    }
    let (fused, operands) = kernel.finish();
    let (old_first, first) = (first_ports(old), first_ports(&fused));
    let new = graph.insert(Op::Fused(Box::new(fused)), &operands, node.name.clone())?;
    for port in 0..node.results.len() {
        let part = part_of(old, &old_first, port);
        patch.redirect(id.result(port), new.result(port - old_first[part] + first[part]));
    }
    let to: HashMap<Value, Value> = places
        .into_iter()
        .map(|(value, side, at)| {
            let part = match side {
                Side::Source => 0,
                Side::Gradient => 1,
            };
            (value, new.result(first[part] + at))
        })
        .collect();
    context.done(line);
    replace(graph, uses, &to, patch)?;
    Ok(true)
}

/// Which of the kernel's four groups of results `port` belongs to.
fn part_of(fused: &Fused, first: &[usize; 4], port: usize) -> usize {
    let used = [fused.has_source(), fused.has_gradient(), fused.has_result(), true];
    (0..4).rev().find(|&part| used[part] && port >= first[part]).unwrap_or(0)
}
