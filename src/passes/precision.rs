//! Mixed precision: convolutions multiply bf16, and kernels hand activations and gradients to each other in bf16.
//!
//! ```text
//!   f32 weight ─▶ ┌──────┐ y    bf16 ┌──────┐ z    bf16 ┌──────┐
//!   images f32 ─▶ │ conv │──────────▶│ map  │──────────▶│ conv │─▶ …      sums, coefficients, weight gradients: f32
//!                 └──┬───┘           └──────┘           └──────┘
//!                    └─ Σ, Σ² (of what was not rounded) ─▶ scale, shift
//! ```
//!
//! Values of a program are f32 in registers: an operand is widened when it is read, a result is rounded when it is
//! stored. So only the tensors in memory and the factors of products lose digits. A value is stored in bf16 if
//! a convolution's kernel makes or reads it, element by element, and all who read it are fused kernels that do so;
//! what leaves the program, per-channel vectors, weights and the optimizer's tensors never are.

use std::collections::HashMap;

use super::report::{PassReport, Report};
use super::uses::Uses;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{Anchor, Fused, Op, Output, Program, Step};
use crate::types::{DType, Precision, Shape};

/// The name in reports.
const NAME: &str = "precision";

/// Brings the kernels of an optimised graph to `precision`. With [`Precision::F32`] the graph stays as it is.
///
/// # Errors
/// [`Error::Patch`], [`Error::Invalid`] when an invariant of this pass is broken.
pub fn at_precision(mut graph: Graph, precision: Precision, report: &mut Report) -> Result<Graph, Error> {
    if precision == Precision::F32 {
        return Ok(graph);
    }
    let own = super::apply(&mut graph, NAME, true, round)?;
    report.after = graph.len();
    report.time += own.time;
    report.passes.push(own);
    Ok(graph)
}

/// Replaces every kernel that rounds or reads what is rounded. A value of another type cannot take the place of the old one,
/// so the readers of those values are made anew with their makers; all other uses are redirected.
fn round(graph: &mut Graph, report: &mut PassReport) -> Result<(), Error> {
    let uses = Uses::new(graph);
    let mut moved: HashMap<Value, Value> = HashMap::new();
    let mut patch = Patch::new();
    for id in graph.topological() {
        let node = graph.node(id).clone();
        let Op::Fused(fused) = &node.op else { continue };
        let stored: Vec<bool> = (0..node.results.len()).map(|port| is_exchanged(graph, &uses, id, port)).collect();
        let rounded = rounded(fused, &stored);
        let operands: Vec<Value> = node.operands.iter().map(|v| moved.get(v).copied().unwrap_or(*v)).collect();
        let reads = operands.iter().filter(|&&v| graph.ty(v).dtype == DType::Bf16).count();
        if rounded == **fused && reads == 0 {
            continue;
        }
        let stores = stored.iter().filter(|&&s| s).count();
        report.done.push(format!("{}: {reads} operands and {stores} results in bf16", node.name));
        let new = graph.insert(Op::Fused(Box::new(rounded)), &operands, node.name)?;
        for (port, &stored) in stored.iter().enumerate() {
            moved.insert(id.result(port), new.result(port));
            if !stored {
                patch.redirect(id.result(port), new.result(port));
            }
        }
    }
    patch.apply(graph, NAME)
}

/// The kernel that stores the results `stored` in bf16, and multiplies in bf16.
fn rounded(fused: &Fused, stored: &[bool]) -> Fused {
    let mut stored = stored.iter();
    let mut narrow = |used: bool, program: &Program| {
        let mut program = program.clone();
        if used {
            for (output, &stored) in program.outputs.iter_mut().zip(stored.by_ref()) {
                if stored {
                    *output = Output::Bf16(output.step());
                }
            }
        }
        program
    };
    Fused {
        source: narrow(fused.has_source(), &fused.source),
        gradient: narrow(fused.has_gradient(), &fused.gradient),
        result: narrow(fused.has_result(), &fused.result),
        precision: product(fused),
        anchor: fused.anchor.clone(),
        chunks: fused.chunks,
    }
}

/// Products of several groups stay f32: their time goes into memory.
fn product(fused: &Fused) -> Precision {
    match &fused.anchor {
        Anchor::Conv2d { conv, .. } | Anchor::ConvBackward { conv, .. } if conv.groups == 1 => Precision::Bf16,
        Anchor::Map(_) | Anchor::Maps { .. } | Anchor::Conv2d { .. } | Anchor::ConvBackward { .. } => fused.precision,
    }
}

fn is_conv(fused: &Fused) -> bool {
    match fused.anchor {
        Anchor::Map(_) | Anchor::Maps { .. } => false,
        Anchor::Conv2d { .. } | Anchor::ConvBackward { .. } => true,
    }
}

/// Whether kernels may hand the value to each other in bf16, and a convolution's kernel is among them.
fn is_exchanged(graph: &Graph, uses: &Uses, id: NodeId, port: usize) -> bool {
    let value = id.result(port);
    let node = graph.node(id);
    let shape = &node.results[port].shape;
    let Op::Fused(maker) = &node.op else { return false };
    // sums have two axes, partial weight gradients five
    if shape.rank() != 4 || matches!(maker.anchor, Anchor::Maps { .. }) || uses.pinned(value) {
        return false;
    }
    let mut of_convolution = is_conv(maker);
    for user in uses.of(value) {
        let Op::Fused(reader) = &graph.node(user.node).op else { return false };
        if !reads_full(reader, user.operand, shape) {
            return false;
        }
        of_convolution |= is_conv(reader);
    }
    of_convolution
}

/// Whether every program that reads operand `at`, of shape `shape`, reads it element by element, and none as a weight.
fn reads_full(fused: &Fused, at: usize, shape: &Shape) -> bool {
    if fused.has_weight() && at == 0 {
        return false;
    }
    let reads = |program: &Program| program.steps.contains(&Step::Operand(at));
    let Some([source, gradient, result]) = fused.shapes() else { return false };
    let fits = |used: bool, program: &Program, of: &Shape| !used || !reads(program) || of == shape;
    fits(fused.has_source(), &fused.source, &source)
        && fits(fused.has_gradient(), &fused.gradient, &gradient)
        && fits(fused.has_result(), &fused.result, &result)
}
