//! Fusion: kernels take over the element-wise operations around them (design.md §5).
//!
//! ```text
//!              prologue                    epilogue
//!  y ─▶ [ ·scale + shift ▸ relu ] ─▶ conv ─▶ [ Σ, Σ² ] ─▶ y', partial sums
//!
//!  dz, y ─▶ [ a·dz + b·y + c ] ─▶ conv backward ─▶ [ + residual ▸ mask ▸ Σ, Σ·x̂ ] ─▶ dz', partial sums
//!                                     └─▶ partial weight gradients
//! ```
//!
//! [`pair`] joins the two gradients of a convolution, [`epilogue`] lets convolutions absorb what follows
//! them, [`prologue`] what they read, and [`chains`] makes kernels of what is left, of which [`updates`] joins
//! those of the optimizer. Which values are kept in memory and which are computed again where they are needed is
//! decided in [`storage`].

use crate::graph::{Graph, NodeId, Value};
use crate::ops::{Anchor, Fused, Op, Output, Reduce, ReduceKind, Step};
use crate::types::{DType, Shape};

use super::uses::Uses;

pub(super) mod chains;
pub(super) mod epilogue;
mod kernel;
pub(super) mod pair;
pub(super) mod prologue;
mod reach;
mod storage;
pub(super) mod updates;

/// Steps that one program may have: beyond it a kernel spills more than it saves.
const MAX_STEPS: usize = 64;
/// Operands that one kernel may have.
const MAX_OPERANDS: usize = 24;

/// How an operand fits a program over a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// One element for each element.
    Full,
    /// One element for each channel, or one for all.
    Small,
    /// Stretched in another way, which only maps without sums can read.
    Stretched,
}

fn fit(graph: &Graph, value: Value, shape: &Shape) -> Fit {
    let of = &graph.ty(value).shape;
    if of == shape {
        Fit::Full
    } else if of.rank() == 0 || (of.rank() == 1 && of.last() == shape.last()) {
        Fit::Small
    } else {
        Fit::Stretched
    }
}

/// Whether the node is one step of a program: element-wise, on floats.
fn is_step(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Select) && node.results[0].dtype == DType::F32
}

/// The step that the node is, over steps that hold its operands.
fn as_step(op: &Op, operands: &[usize]) -> Option<Step> {
    match (op, operands) {
        (Op::Unary(f), &[a]) => Some(Step::Unary(*f, a)),
        (Op::Binary(f), &[a, b]) => Some(Step::Binary(*f, a, b)),
        (Op::Select, &[c, a, b]) => Some(Step::Select(c, a, b)),
        _ => None,
    }
}

/// The shape that the node's only result has.
fn shape_of(graph: &Graph, id: NodeId) -> &Shape {
    &graph.node(id).results[0].shape
}

/// The node's kernel, unless it rounds: to compute with what it would have rounded changes the result.
fn as_fused(graph: &Graph, id: NodeId) -> Option<&Fused> {
    match &graph.node(id).op {
        Op::Fused(fused) if !fused.rounds() => Some(fused),
        _ => None,
    }
}

/// The fused kernel of a node whose anchor is a convolution.
fn as_conv(graph: &Graph, id: NodeId) -> Option<&Fused> {
    as_fused(graph, id).filter(|f| matches!(f.anchor, Anchor::Conv2d { .. } | Anchor::ConvBackward { .. }))
}

/// The fused kernel of a node without an anchor, and the shape it works on.
fn as_map(graph: &Graph, id: NodeId) -> Option<(&Fused, &Shape)> {
    match as_fused(graph, id) {
        Some(fused) => match &fused.anchor {
            Anchor::Map(shape) => Some((fused, shape)),
            Anchor::Maps { .. } | Anchor::Conv2d { .. } | Anchor::ConvBackward { .. } => None,
        },
        None => None,
    }
}

/// Whether the partial sums among the node's results may have any number of chunks: each is only ever
/// added up over its chunks. `Err` names who looks at them otherwise.
fn sums_are_free(graph: &Graph, uses: &Uses, id: NodeId, outputs: &[Output]) -> Result<(), String> {
    for (port, output) in outputs.iter().enumerate() {
        let value = id.result(port);
        if output.is_full() {
            continue;
        }
        if uses.pinned(value) {
            return Err("its partial sums are an output of the graph".to_string());
        }
        for user in uses.of(value) {
            let node = graph.node(user.node);
            let free = match &node.op {
                // both partial sums change their number of chunks together
                Op::Coefficients(_) | Op::GradCoefficients(_) => {
                    user.operand < 2 && node.operands[..2].iter().all(|v| v.node == id)
                }
                Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, .. }) => axes.first() == Some(&0),
                _ => false,
            };
            if !free {
                return Err(format!("its partial sums are also used by {}", node.name));
            }
        }
    }
    Ok(())
}
