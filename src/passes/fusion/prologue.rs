//! Convolutions compute the element-wise expressions that they read, and the channel sums of them.
//!
//! ```text
//!  y ─▶ ·scale + shift ─▶ relu ─▶ conv          y ─▶ [ ·scale + shift ▸ relu ] conv
//!  dz, y ─▶ a·dz + b·y + c ─┬─▶ backward   ──▶  dz, y ─▶ [ a·dz + b·y + c ▸ Σ ] backward
//!                           └─▶ Σ
//! ```
//!
//! [`super::storage`] says which values are worth it. A value that several kernels need in memory, as a residual
//! sum, is computed by the first of them, which stores it for the others:
//!
//! ```text
//!  y, x ─▶ ·scale + shift + x ─┬─▶ conv          y, x ─▶ [ ·scale + shift + x ▸ store ] conv
//!                              └─▶ …      ──▶                              └─▶ …
//! ```
//!
//! The operands of result programs count too: a ReLU's
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
        let extra = Extra {
            sums: sums.remove(&kernel).unwrap_or_default(),
            stores: stores(graph, &uses, &storage, &mut reach, kernel),
        };
        if !rewrite(graph, &uses, &storage, kernel, &extra, &mut patch, context)? {
            break;
        }
    }
    patch.apply(graph, context.pass)
}

/// What a kernel takes over besides the expressions that it reads.
struct Extra {
    /// Maps that only sum what it reads.
    sums: Vec<(NodeId, Side)>,
    /// Values that it reads and stores for others.
    stores: Vec<(Value, Side)>,
}

/// The programs that make what the anchor reads.
fn programs(fused: &Fused) -> impl Iterator<Item = (&Program, Side)> {
    let sides =
        [(fused.has_gradient(), &fused.gradient, Side::Gradient), (fused.has_source(), &fused.source, Side::Source)];
    sides.into_iter().filter(|s| s.0).map(|(_, program, side)| (program, side))
}

/// Values that the kernel reads in full and may store for their other readers: all of them run after it.
fn stores(graph: &Graph, uses: &Uses, storage: &Storage, reach: &mut Reach, kernel: NodeId) -> Vec<(Value, Side)> {
    let mut found: Vec<(Value, Side)> = Vec::new();
    let Some(fused) = as_conv(graph, kernel) else { return found };
    for (program, side) in programs(fused) {
        for value in reads(program, &graph.node(kernel).operands) {
            let new = storage.serves_readers(value)
                && graph.ty(value).shape.rank() == 4
                && found.iter().all(|&(other, _)| other != value)
                && !reach.together(kernel, value.node);
            if new && uses.of(value).all(|user| !reach.depends(kernel, user.node)) {
                reach.merge(kernel, value.node);
                found.push((value, side));
            }
        }
    }
    found
}

/// Maps that only sum what the kernel's source or gradient program reads in full.
fn takeable(graph: &Graph, uses: &Uses, kernel: NodeId) -> Vec<(NodeId, Side)> {
    let mut found = Vec::new();
    let Some(fused) = as_conv(graph, kernel) else { return found };
    let operands = &graph.node(kernel).operands;
    for (program, side) in programs(fused) {
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
    extra: &Extra,
    patch: &mut Patch,
    context: &mut Context<'_>,
) -> Result<bool, Error> {
    let node = graph.node(id).clone();
    let Op::Fused(old) = &node.op else { return Ok(true) };
    let mut computed: Vec<&str> = Vec::new();
    for &operand in &node.operands {
        let of = graph.node(operand.node);
        if extra.stores.iter().any(|&(value, _)| value == operand) {
            continue;
        }
        match storage.of(operand.node) {
            Choice::Recompute => computed.push(&of.name),
            Choice::Store(why) if is_step(graph, operand.node) && graph.ty(operand).shape.rank() > 1 => {
                context.refused(&of.name, format!("not fused into {}: {}", node.name, why.in_words(graph)));
            }
            Choice::Store(_) => {}
        }
    }
    let maps: Vec<&str> = extra.sums.iter().map(|(map, _)| graph.node(*map).name.as_str()).collect();
    let stored: Vec<&str> = extra.stores.iter().map(|(value, _)| graph.node(value.node).name.as_str()).collect();
    if computed.is_empty() && maps.is_empty() && stored.is_empty() {
        return Ok(true);
    }
    if !context.allow() {
        return Ok(false);
    }
    let what = [("computes", computed), ("sums", maps), ("stores", stored)];
    let what =
        what.iter().filter(|(_, names)| !names.is_empty()).map(|(verb, names)| format!("{verb} {}", names.join(", ")));
    let line = format!("{}: {}", node.name, what.collect::<Vec<_>>().join(", "));
    let expand = |value: Value, shape: &Shape| {
        let made = storage.recomputes(value) || extra.stores.iter().any(|&(v, _)| v == value);
        made && graph.ty(value).shape == *shape
    };
    let mut kernel = Kernel::open(graph, old, &node.operands, &expand)?;
    kernel.keep_results();
    let mut places: Vec<(Value, Side, usize)> = Vec::new();
    for &(value, side) in &extra.stores {
        let (builder, operands) = kernel.side(side);
        let step = builder.value(graph, operands, value, &expand);
        places.push((value, side, builder.output(Output::Full(step))));
    }
    for &(map, side) in &extra.sums {
        let Some((fused, _)) = as_map(graph, map) else { continue };
        let (builder, operands) = kernel.side(side);
        let inputs = &graph.node(map).operands;
        let to = builder.import(graph, operands, (&fused.result, inputs), false, &expand);
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

impl Kernel {
    fn side(&mut self, side: Side) -> (&mut Builder, &mut Vec<Value>) {
        match side {
            Side::Source => (&mut self.source, &mut self.operands),
            Side::Gradient => (&mut self.gradient, &mut self.operands),
        }
    }
}

/// Which of the kernel's four groups of results `port` belongs to.
fn part_of(fused: &Fused, first: &[usize; 4], port: usize) -> usize {
    let used = [fused.has_source(), fused.has_gradient(), fused.has_result(), true];
    (0..4).rev().find(|&part| used[part] && port >= first[part]).unwrap_or(0)
}
