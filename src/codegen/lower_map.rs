//! Element-wise steps as kernels: a [`Map`] where each operand is full, per channel or a scalar, else a general nest.

use super::lower::{Call, Kernel, Lowered, arguments, bind};
use super::map::Map;
use super::nest::{Load, Nest, NestStep};
use super::nest_ops;
use super::region::operands_of;
use crate::ops::fused::chunks_for;
use crate::ops::{Output, Program, Step};
use crate::plan::PlannedStep;
use crate::types::Shape;

/// A single element-wise operation as a map of one step.
pub(super) fn one_step(step: &PlannedStep, each: Step) -> Option<Lowered> {
    let mut steps: Vec<Step> = (0..step.operands.len()).map(Step::Operand).collect();
    steps.push(each);
    let last = steps.len() - 1;
    let program = Program { steps, value: last, outputs: vec![Output::Full(last)] };
    let call = lower_map(step, &step.results[0].ty.shape, &program, 0)?;
    Some(Lowered { calls: vec![call], ..Lowered::default() })
}

/// An element-wise program; `chunks` counts only if it has partial sums.
pub(super) fn lower_map(step: &PlannedStep, shape: &Shape, program: &Program, chunks: usize) -> Option<Call> {
    let first = step.operands.len();
    let sums = program.has_sums();
    let Some(bound) = bind(step, program, shape, first) else {
        return if sums { None } else { Some(nest_map(step, shape, program)) };
    };
    let per_channel = operands_of(program).into_iter().any(|i| !bound.full[i] && !bound.scalar[i]);
    let elements = shape.elements();
    let channels = if sums || per_channel {
        shape.last()
    } else {
        // no channel matters: take any width that makes whole vectors
        [64, 16, 4].into_iter().find(|w| elements.is_multiple_of(*w)).unwrap_or(shape.last())
    };
    let items = elements / channels;
    let chunks = if sums { chunks } else { map_chunks(items, channels) };
    let kernel = Kernel::Map(Map { items, channels, chunks, program: bound });
    Some(Call { kernel, arguments: arguments(step), chunks, flops: 0, kind: step.op.kind() })
}

/// An element-wise program with operands that broadcast in other ways.
fn nest_map(step: &PlannedStep, shape: &Shape, program: &Program) -> Call {
    let mut loads = Vec::new();
    let mut steps = Vec::new();
    for each in &program.steps {
        steps.push(match *each {
            // a map has no anchor
            Step::Anchor => NestStep::Constant(0.0),
            Step::Operand(i) => {
                let operand = &step.operands[i].ty;
                loads.push(Load::strided(i, operand.dtype, &nest_ops::broadcast_strides(&operand.shape, shape), 0));
                NestStep::Load(loads.len() - 1)
            }
            Step::Constant(c) => NestStep::Constant(c),
            Step::Unary(op, a) => NestStep::Unary(op, a),
            Step::Binary(op, a, b) => NestStep::Binary(op, a, b),
            Step::Select(c, a, b) => NestStep::Select(c, a, b),
        });
    }
    let outputs = program
        .outputs
        .iter()
        .enumerate()
        .map(|(i, &o)| (o.step(), step.operands.len() + i, step.results[i].ty.dtype))
        .collect();
    let nest = Nest::map(&shape.0, loads, steps, outputs);
    Call { chunks: nest.chunks, kernel: Kernel::Nest(nest), arguments: arguments(step), flops: 0, kind: step.op.kind() }
}

/// Chunks of an element-wise kernel over `items` rows of `channels`: small ones are not worth sharing.
pub(super) fn map_chunks(items: usize, channels: usize) -> usize {
    if items * channels < 8192 { 1 } else { chunks_for(items) }
}
