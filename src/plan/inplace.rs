//! Which results may be computed in the place of an operand.
//!
//! ```text
//!   a: ▓▓▓▓▓▓▓▓            a, b: ░░░▓▓▓▓▓   element k of the result needs element k of a and nothing
//!   b: ░░░        becomes                   else of it, so it may be stored where a[k] was
//! ```
//!
//! The contract with the kernels: a kernel with a result in an operand's place reads all it needs of an
//! element (or vector of elements) before it stores there, handles each element once (tails by mask or
//! one by one, not by a vector that reaches back), and keeps no partial sums in that place. Elements are
//! divided among threads by index, so no other thread reads them.

use crate::ops::{Anchor, Fused, Op, Program, Step};
use crate::types::TensorType;

/// Whether `op` reads operand `operand` only at the index at which it writes result `result`, with
/// equal shape and element size, so that both may have one place.
pub(super) fn same_index(
    op: &Op,
    operands: &[&TensorType],
    operand: usize,
    results: &[&TensorType],
    result: usize,
) -> bool {
    let (Some(from), Some(to)) = (operands.get(operand), results.get(result)) else {
        return false;
    };
    if from.shape != to.shape || from.bytes() != to.bytes() {
        return false;
    }
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) => true,
        Op::Fused(fused) => fused_same_index(fused, operands.len(), operand, result),
        // the running statistics: channel by channel, old and new at one index
        Op::Coefficients(_) => operand == result && (operand == 4 || operand == 5),
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Random(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::OneHot(_)
        | Op::Gather
        | Op::ScatterAdd(_)
        | Op::Reduce(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::MatMul(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradInput(..)
        | Op::Conv2dGradWeight(..)
        | Op::MaxPool(_)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPool(_)
        | Op::AvgPoolGrad(..)
        | Op::BatchNorm(_)
        | Op::BatchNormEval(_)
        | Op::BatchNormGrad
        | Op::GradCoefficients(_) => false,
    }
}

/// A full result of the result program, and an operand that this program alone reads (a residual, say):
/// the other programs feed windows, and a weight is read as a whole. Sums are written after the last read
/// of a chunk and have another shape; they never share.
fn fused_same_index(fused: &Fused, operands: usize, operand: usize, result: usize) -> bool {
    if let Anchor::Maps { segments, shared } = &fused.anchor {
        // each segment's tensors only
        let own = (operands - shared) / segments.len();
        let segment = operand.checked_sub(*shared).map(|i| i / own);
        return segment == Some(result / fused.result.outputs.len());
    }
    let programs = [(fused.has_source(), &fused.source), (fused.has_gradient(), &fused.gradient)];
    let used = |program: &Program| program.steps.contains(&Step::Operand(operand));
    if (fused.has_weight() && operand == 0) || programs.iter().any(|&(on, p)| on && used(p)) {
        return false;
    }
    let before: usize = programs.iter().map(|&(on, p)| if on { p.outputs.len() } else { 0 }).sum();
    let output = result.checked_sub(before).and_then(|i| fused.result.outputs.get(i));
    fused.has_result() && output.is_some_and(|o| o.is_full())
}
