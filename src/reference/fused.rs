//! Fused kernels, unfused again: each program runs step by step over whole tensors, and the anchor is the
//! plain operation of [`super::conv`].

use super::elementwise::{binary_f64, unary_f64};
use super::index::{broadcast_strides, gather};
use super::math::bf16;
use super::{RefTensor, conv};
use crate::error::Error;
use crate::ops::{Anchor, Fused, Output, Program, Step};
use crate::types::{Precision, Shape, TensorType};

/// Results in the order of [`crate::ops::fused`]: source, gradient, result program, partial weight gradients.
pub(super) fn fused(fused: &Fused, operands: &[&RefTensor]) -> Result<Vec<Vec<f64>>, Error> {
    let mut results = Vec::new();
    let mut program = |program: &Program, shape: &Shape, anchor: Option<RefTensor>| {
        let steps = run(program, shape, operands, anchor.as_ref())?;
        results.extend(program.outputs.iter().map(|output| match *output {
            Output::Full(step) => steps[step].clone(),
            Output::Bf16(step) => steps[step].iter().map(|&v| bf16(v)).collect(),
            Output::Sums(step) => chunk_sums(&steps[step], fused, shape.last()),
        }));
        let value = steps.into_iter().nth(program.value).unwrap_or_default();
        RefTensor::f32(shape.clone(), value)
    };
    // what the anchor multiplies
    let factor = |x: &RefTensor| match fused.precision {
        Precision::F32 => x.clone(),
        Precision::Bf16 => RefTensor { ty: x.ty.clone(), data: x.data.iter().map(|&v| bf16(v)).collect() },
    };
    match &fused.anchor {
        Anchor::Map(shape) => {
            program(&fused.result, shape, None)?;
        }
        Anchor::Maps { segments, shared } => {
            for (index, shape) in segments.iter().enumerate() {
                let own = Fused::segment_operands(operands, *shared, index, segments.len());
                let steps = run(&fused.result, shape, &own, None)?;
                // a kernel over several shapes makes no sums
                results.extend(fused.result.outputs.iter().map(|output| steps[output.step()].clone()));
            }
        }
        Anchor::Conv2d { conv, input, weight } => {
            let x = factor(&program(&fused.source, input, None)?);
            let shape = output_shape(conv, input, weight)?;
            let y = conv::forward(conv, &x, &factor(operands[0]), &shape);
            program(&fused.result, &shape, Some(RefTensor::f32(shape.clone(), y)?))?;
        }
        Anchor::ConvBackward { conv, input, weight, data, filter } => {
            let shape = output_shape(conv, input, weight)?;
            let x = filter.then(|| program(&fused.source, input, None)).transpose()?.as_ref().map(factor);
            let dy = factor(&program(&fused.gradient, &shape, None)?);
            if *data {
                let dx = conv::grad_input(conv, &dy, &factor(operands[0]), input);
                program(&fused.result, input, Some(RefTensor::f32(input.clone(), dx)?))?;
            }
            if let Some(x) = x {
                let mut partial = Vec::new();
                for (x, dy) in images(&x, fused)?.iter().zip(&images(&dy, fused)?) {
                    partial.extend(conv::grad_weight(conv, x, dy, weight));
                }
                results.push(partial);
            }
        }
    }
    Ok(results)
}

fn output_shape(conv: &crate::ops::Conv2d, input: &Shape, weight: &Shape) -> Result<Shape, Error> {
    let types = [TensorType::f32(input.clone()), TensorType::f32(weight.clone())];
    let inferred = crate::ops::Op::Conv2d(*conv).infer(&[&types[0], &types[1]]);
    let found = inferred.ok().and_then(|types| types.into_iter().next());
    found.map(|ty| ty.shape).ok_or_else(|| Error::Operands {
        path: "fused".to_string(),
        op: "conv2d".to_string(),
        operands: format!("{}, {}", types[0], types[1]),
        reason: "the anchor's own shapes do not fit".to_string(),
    })
}

/// The value of every step over all of `shape`.
fn run(
    program: &Program,
    shape: &Shape,
    operands: &[&RefTensor],
    anchor: Option<&RefTensor>,
) -> Result<Vec<Vec<f64>>, Error> {
    let mut values: Vec<Vec<f64>> = Vec::with_capacity(program.steps.len());
    for step in &program.steps {
        let value = match *step {
            Step::Anchor => anchor.map(|t| t.data.clone()).unwrap_or_default(),
            Step::Operand(i) => {
                let x = operands[i];
                gather(&x.data, shape, &broadcast_strides(&x.ty.shape, shape), 0)
            }
            Step::Constant(c) => vec![f64::from(c); shape.elements()],
            Step::Unary(op, a) => values[a].iter().map(|&v| unary_f64(op, v)).collect(),
            Step::Binary(op, a, b) => values[a].iter().zip(&values[b]).map(|(&a, &b)| binary_f64(op, a, b)).collect(),
            Step::Select(c, a, b) => {
                let branches = values[a].iter().zip(&values[b]);
                values[c].iter().zip(branches).map(|(&c, (&a, &b))| if c != 0.0 { a } else { b }).collect()
            }
        };
        values.push(value);
    }
    Ok(values)
}

/// Items of a chunk; only the last chunk may have fewer.
fn per_chunk(fused: &Fused) -> usize {
    fused.items().div_ceil(fused.chunks)
}

/// `[chunks, channels]`: the sums over all axes but the last of each chunk's items.
fn chunk_sums(value: &[f64], fused: &Fused, channels: usize) -> Vec<f64> {
    let mut sums = Vec::with_capacity(fused.chunks * channels);
    for chunk in value.chunks(per_chunk(fused) * (value.len() / fused.items())) {
        let mut row = vec![0.0; channels];
        for pixel in chunk.chunks_exact(channels) {
            row.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
        }
        sums.extend(row);
    }
    sums
}

/// A tensor cut into its chunks of images.
fn images(x: &RefTensor, fused: &Fused) -> Result<Vec<RefTensor>, Error> {
    let image: usize = x.dims()[1..].iter().product();
    x.data
        .chunks(per_chunk(fused) * image)
        .map(|data| {
            let mut shape = x.ty.shape.clone();
            shape.0[0] = data.len() / image;
            RefTensor::f32(shape, data.to_vec())
        })
        .collect()
}
