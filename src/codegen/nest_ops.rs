//! Operations as general loop nests.

use super::conv::{Geometry, padded};
use super::nest::{Combine, Coordinate, Load, Nest, NestStep};
use crate::ops::{Binary, Op, Pool, ReduceKind};
use crate::types::{DType, Shape, TensorType};

/// Row-major strides of `operand` under the axes of `shape` (NumPy's rule: stretched axes stand still).
pub(super) fn broadcast_strides(operand: &Shape, shape: &Shape) -> Vec<(usize, i64)> {
    let missing = shape.rank() - operand.rank();
    let strides = operand.strides();
    (0..operand.rank()).filter(|&a| operand.0[a] != 1).map(|a| (a + missing, strides[a] as i64)).collect()
}

fn identity(shape: &Shape) -> Vec<(usize, i64)> {
    shape.strides().iter().enumerate().map(|(a, &s)| (a, s as i64)).collect()
}

fn coordinate(terms: &[(usize, i64)], offset: i64, extent: Option<usize>, stride: usize) -> Coordinate {
    Coordinate { terms: terms.to_vec(), offset, divisor: 1, extent, stride: stride as i64 }
}

/// `step` applied to operands broadcast to the result's shape.
fn elementwise(operands: &[TensorType], result: &TensorType, step: NestStep) -> Nest {
    let load =
        |(arg, ty): (usize, &TensorType)| Load::strided(arg, ty.dtype, &broadcast_strides(&ty.shape, &result.shape), 0);
    let loads: Vec<Load> = operands.iter().enumerate().map(load).collect();
    let mut steps: Vec<NestStep> = (0..loads.len()).map(NestStep::Load).collect();
    steps.push(step);
    let output = (steps.len() - 1, operands.len(), result.dtype);
    Nest::map(&result.shape.0, loads, steps, vec![output])
}

/// One load moved to the result as it is.
fn gather(load: Load, result: &TensorType) -> Nest {
    Nest::map(&result.shape.0, vec![load], vec![NestStep::Load(0)], vec![(0, 1, result.dtype)])
}

/// A plain copy of a tensor's elements in order.
pub(super) fn copy(ty: &TensorType) -> Nest {
    let elements = ty.shape.elements();
    let inner = [1024, 64, 16, 4].into_iter().find(|w| elements.is_multiple_of(*w)).unwrap_or(1);
    let flat = TensorType::new(ty.dtype, [elements / inner, inner]);
    gather(Load::strided(0, ty.dtype, &identity(&flat.shape), 0), &flat)
}

/// The nests of `op`, run in order, or `None` when the operation has no general form (it must have
/// been lowered or has a kernel of its own).
pub(super) fn nests(op: &Op, operands: &[TensorType], results: &[TensorType]) -> Option<Vec<Nest>> {
    let result = results.first()?;
    let nest = match op {
        Op::Unary(u) => elementwise(operands, result, NestStep::Unary(*u, 0)),
        Op::Binary(b) => elementwise(operands, result, NestStep::Binary(*b, 0, 1)),
        Op::Select => elementwise(operands, result, NestStep::Select(0, 1, 2)),
        Op::Cast(to) => elementwise(operands, result, NestStep::Cast(*to, 0)),
        Op::Reshape(_) => copy(result),
        Op::Broadcast(shape) => {
            gather(Load::strided(0, result.dtype, &broadcast_strides(&operands[0].shape, shape), 0), result)
        }
        Op::Transpose(permutation) => {
            let strides = operands[0].shape.strides();
            let moved: Vec<_> = permutation.iter().enumerate().map(|(to, &from)| (to, strides[from] as i64)).collect();
            gather(Load::strided(0, result.dtype, &moved, 0), result)
        }
        Op::Pad(pad) => {
            let input = &operands[0].shape;
            let strides = input.strides();
            let coordinates = (0..input.rank())
                .map(|a| {
                    let free = pad.low[a] == 0 && pad.high[a] == 0;
                    coordinate(&[(a, 1)], -(pad.low[a] as i64), (!free).then_some(input.0[a]), strides[a])
                })
                .collect();
            gather(Load { arg: 0, dtype: result.dtype, coordinates, otherwise: pad.value }, result)
        }
        Op::Slice(slice) => {
            let strides = operands[0].shape.strides();
            let axes = || (0..strides.len()).map(|a| (a, strides[a] as i64));
            let moved: Vec<_> = axes().map(|(a, s)| (a, s * slice.step[a] as i64)).collect();
            let offset = axes().map(|(a, s)| s * slice.start[a] as i64).sum();
            gather(Load::strided(0, result.dtype, &moved, offset), result)
        }
        Op::Concat(axis) => return Some(concat(*axis, operands, result)),
        Op::OneHot(_) => {
            let labels = &operands[0].shape;
            let load = Load::strided(0, DType::I32, &identity(labels), 0);
            let steps = vec![
                NestStep::Load(0),
                NestStep::Index(vec![(labels.rank(), 1)]),
                NestStep::Binary(Binary::Equal, 0, 1),
                NestStep::Cast(DType::F32, 2),
            ];
            Nest::map(&result.shape.0, vec![load], steps, vec![(3, 1, DType::F32)])
        }
        Op::Random(random) => {
            let scalar = |arg| Load::strided(arg, DType::I32, &[], 0);
            let steps = vec![
                NestStep::Load(0),
                NestStep::Load(1),
                NestStep::Index(identity(&random.shape)),
                NestStep::Random(random.stream, 0, 1, 2),
            ];
            Nest::map(&result.shape.0, vec![scalar(0), scalar(1)], steps, vec![(3, 2, DType::F32)])
        }
        Op::Reduce(reduce) => {
            let input = &operands[0].shape;
            let kept: Vec<usize> = (0..input.rank()).filter(|a| !reduce.axes.contains(a)).collect();
            let strides = input.strides();
            let order = kept.iter().chain(&reduce.axes);
            let moved: Vec<_> = order.enumerate().map(|(l, &a)| (l, strides[a] as i64)).collect();
            let extents = |axes: &[usize]| axes.iter().map(|&a| input.0[a]).collect::<Vec<_>>();
            let inner = extents(&reduce.axes);
            let (combine, scale) = match reduce.kind {
                ReduceKind::Sum => (Combine::Sum, 1.0),
                ReduceKind::Mean => (Combine::Sum, 1.0 / inner.iter().product::<usize>() as f32),
                ReduceKind::Max => (Combine::Max, 1.0),
                ReduceKind::Min => (Combine::Min, 1.0),
            };
            let load = Load::strided(0, DType::F32, &moved, 0);
            let finish = scaled(scale);
            Nest::reduction(&extents(&kept), &inner, vec![load], vec![NestStep::Load(0)], vec![(combine, 0)], finish, 1)
        }
        Op::MaxPool(pool) => {
            let load = window_load(0, pool, &operands[0].shape, f32::NEG_INFINITY);
            let steps = vec![NestStep::Load(0)];
            pooled(pool, result, vec![load], steps, Combine::Max, vec![NestStep::Reduced(0)], 1)
        }
        Op::MaxPoolIndex(pool) => max_pool_index(pool, operands, result),
        Op::MaxPoolGrad(pool, input) => max_pool_grad(pool, &operands[0].shape, input),
        Op::AvgPool(pool) => avg_pool(pool, &operands[0].shape, result),
        Op::AvgPoolGrad(pool, input) => avg_pool_grad(pool, &operands[0].shape, input),
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Gather
        | Op::ScatterAdd(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::MatMul(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradInput(..)
        | Op::Conv2dGradWeight(..)
        | Op::BatchNorm(_)
        | Op::BatchNormEval(_)
        | Op::BatchNormGrad
        | Op::Coefficients(_)
        | Op::GradCoefficients(_)
        | Op::Fused(_) => return None,
    };
    Some(vec![nest])
}

/// The reduced value times `factor`.
fn scaled(factor: f32) -> Vec<NestStep> {
    if factor == 1.0 {
        return vec![NestStep::Reduced(0)];
    }
    vec![NestStep::Reduced(0), NestStep::Constant(factor), NestStep::Binary(Binary::Mul, 0, 1)]
}

/// One nest an operand, each writing its box of the result.
fn concat(axis: usize, operands: &[TensorType], result: &TensorType) -> Vec<Nest> {
    let strides: Vec<i64> = result.shape.strides().iter().map(|&s| s as i64).collect();
    let mut before = 0;
    operands
        .iter()
        .enumerate()
        .map(|(arg, ty)| {
            let load = Load::strided(arg, ty.dtype, &identity(&ty.shape), 0);
            let output = (0, operands.len(), ty.dtype);
            let mut nest = Nest::map(&ty.shape.0, vec![load], vec![NestStep::Load(0)], vec![output]);
            nest.placement = Some((strides.clone(), before * strides[axis]));
            before += ty.shape.0[axis] as i64;
            nest
        })
        .collect()
}

/// `x[n, oy·s + ky - p, ox·s + kx - p, c]` under the loops n, oy, ox, c and ky, kx.
fn window_load(arg: usize, pool: &Pool, input: &Shape, otherwise: f32) -> Load {
    let strides = input.strides();
    let axis = |a: usize| {
        let terms = [(a + 1, pool.stride[a] as i64), (a + 4, 1)];
        coordinate(&terms, -(pool.padding[a][0] as i64), Some(input.0[a + 1]), strides[a + 1])
    };
    let coordinates =
        vec![coordinate(&[(0, 1)], 0, None, strides[0]), axis(0), axis(1), coordinate(&[(3, 1)], 0, None, 1)];
    Load { arg, dtype: DType::F32, coordinates, otherwise }
}

/// `y[n, (y + p - ky)/s, (x + p - kx)/s, c]` under the loops n, y, x, c and ky, kx.
fn unwindow_load(arg: usize, pool: &Pool, output: &Shape, otherwise: f32) -> Load {
    let strides = output.strides();
    let axis = |a: usize| Coordinate {
        terms: vec![(a + 1, 1), (a + 4, -1)],
        offset: pool.padding[a][0] as i64,
        divisor: pool.stride[a] as i64,
        extent: Some(output.0[a + 1]),
        stride: strides[a + 1] as i64,
    };
    let coordinates =
        vec![coordinate(&[(0, 1)], 0, None, strides[0]), axis(0), axis(1), coordinate(&[(3, 1)], 0, None, 1)];
    Load { arg, dtype: DType::F32, coordinates, otherwise }
}

fn pooled(
    pool: &Pool,
    result: &TensorType,
    loads: Vec<Load>,
    steps: Vec<NestStep>,
    combine: Combine,
    finish: Vec<NestStep>,
    output_arg: usize,
) -> Nest {
    let value = steps.len() - 1;
    Nest::reduction(&result.shape.0, &pool.size, loads, steps, vec![(combine, value)], finish, output_arg)
}

/// The position of a tap in its window, as a float.
fn tap_number(pool: &Pool, steps: &mut Vec<NestStep>) -> usize {
    steps.push(NestStep::Index(vec![(4, pool.size[1] as i64), (5, 1)]));
    steps.push(NestStep::Cast(DType::F32, steps.len() - 1));
    steps.len() - 1
}

fn max_pool_index(pool: &Pool, operands: &[TensorType], result: &TensorType) -> Nest {
    // outside is NaN, which equals no maximum, and 0 where a NaN is looked for
    let x = window_load(0, pool, &operands[0].shape, f32::NAN);
    let y = Load::strided(1, DType::F32, &identity(&result.shape), 0);
    let number = window_load(0, pool, &operands[0].shape, 0.0);
    let mut steps = vec![
        NestStep::Load(0),
        NestStep::Load(1),
        NestStep::Binary(Binary::Equal, 0, 1),
        NestStep::Load(2),
        NestStep::Binary(Binary::Equal, 3, 3),
        NestStep::Binary(Binary::Equal, 1, 1),
    ];
    let tap = tap_number(pool, &mut steps);
    steps.push(NestStep::Constant(f32::INFINITY));
    let never = tap + 1;
    // equal, or both NaN: the first NaN is the maximum of its window
    steps.push(NestStep::Select(4, never, tap));
    steps.push(NestStep::Select(5, never, tap + 2));
    steps.push(NestStep::Select(2, tap, tap + 3));
    pooled(pool, result, vec![x, y, number], steps, Combine::Min, vec![NestStep::Reduced(0)], 2)
}

fn max_pool_grad(pool: &Pool, output: &Shape, input: &Shape) -> Nest {
    let dy = unwindow_load(0, pool, output, 0.0);
    let index = unwindow_load(1, pool, output, -1.0);
    let mut steps = vec![NestStep::Load(0), NestStep::Load(1)];
    let tap = tap_number(pool, &mut steps);
    steps.push(NestStep::Binary(Binary::Equal, 1, tap));
    steps.push(NestStep::Binary(Binary::Mul, 0, tap + 1));
    let result = TensorType::f32(input.clone());
    pooled(pool, &result, vec![dy, index], steps, Combine::Sum, vec![NestStep::Reduced(0)], 2)
}

/// Appends the number of pixels of a window that lie inside the image, from the window's first
/// row and column, each `Σ coefficient·loop + offset`.
fn count_inside(pool: &Pool, input: &Shape, starts: [(Vec<(usize, i64)>, i64); 2], steps: &mut Vec<NestStep>) -> usize {
    let mut inside = [0; 2];
    for (axis, (terms, offset)) in starts.into_iter().enumerate() {
        let mut push = |step| {
            steps.push(step);
            steps.len() - 1
        };
        let index = push(NestStep::Index(terms));
        let index = push(NestStep::Cast(DType::F32, index));
        let offset = push(NestStep::Constant(offset as f32));
        let start = push(NestStep::Binary(Binary::Add, index, offset));
        let size = push(NestStep::Constant(pool.size[axis] as f32));
        let end = push(NestStep::Binary(Binary::Add, start, size));
        let extent = push(NestStep::Constant(input.0[axis + 1] as f32));
        let end = push(NestStep::Binary(Binary::Min, end, extent));
        let zero = push(NestStep::Constant(0.0));
        let start = push(NestStep::Binary(Binary::Max, start, zero));
        inside[axis] = push(NestStep::Binary(Binary::Sub, end, start));
    }
    steps.push(NestStep::Binary(Binary::Mul, inside[0], inside[1]));
    steps.len() - 1
}

fn avg_pool(pool: &Pool, input: &Shape, result: &TensorType) -> Nest {
    let load = window_load(0, pool, input, 0.0);
    let finish = if pool.count_padding {
        scaled(1.0 / (pool.size[0] * pool.size[1]) as f32)
    } else {
        let start = |a: usize| (vec![(a + 1, pool.stride[a] as i64)], -(pool.padding[a][0] as i64));
        let mut finish = vec![NestStep::Reduced(0)];
        let count = count_inside(pool, input, [start(0), start(1)], &mut finish);
        finish.push(NestStep::Binary(Binary::Div, 0, count));
        finish
    };
    pooled(pool, result, vec![load], vec![NestStep::Load(0)], Combine::Sum, finish, 1)
}

fn avg_pool_grad(pool: &Pool, output: &Shape, input: &Shape) -> Nest {
    let dy = unwindow_load(0, pool, output, 0.0);
    let mut steps = vec![NestStep::Load(0)];
    let mut finish = scaled(1.0 / (pool.size[0] * pool.size[1]) as f32);
    if !pool.count_padding {
        // where tap k of a window falls on pixel y, the window starts at y - k
        let start = |a: usize| (vec![(a + 1, 1), (a + 4, -1)], 0);
        let count = count_inside(pool, input, [start(0), start(1)], &mut steps);
        // off the windows the load gave 0 and the count may be 0 too
        steps.push(NestStep::Constant(1.0));
        steps.push(NestStep::Binary(Binary::Max, count, count + 1));
        steps.push(NestStep::Binary(Binary::Div, 0, count + 2));
        finish = vec![NestStep::Reduced(0)];
    }
    let result = TensorType::f32(input.clone());
    pooled(pool, &result, vec![dy], steps, Combine::Sum, finish, 1)
}

fn load(arg: usize, coordinates: Vec<Coordinate>) -> Load {
    Load { arg, dtype: DType::F32, coordinates, otherwise: 0.0 }
}

fn free(term: usize, stride: usize) -> Coordinate {
    coordinate(&[(term, 1)], 0, None, stride)
}

/// `[rows, columns] → [rows, whole panels]` with zeros, for weights whose last axis is ragged.
pub(super) fn pack(rows: usize, columns: usize, to: usize) -> Nest {
    let load = load(0, vec![free(0, columns), coordinate(&[(1, 1)], 0, Some(columns), 1)]);
    gather(load, &TensorType::f32([rows, to]))
}

/// Weights of a convolution of groups as the tiles of its parts read them: a part's groups are blocks on a diagonal
/// of zeros, in rows of whole panels. `transposed` swaps the channels of each block.
///
/// ```text
///   HWIO, 4 groups ▓ of 2×2      parts of 2 groups, for each tap
///   ▓▓▓▓▓▓▓▓                     ▓▓00  ▓▓00
///   ▓▓▓▓▓▓▓▓                     ▓▓00  ▓▓00
///                                00▓▓  00▓▓
///                                00▓▓  00▓▓
/// ```
pub(super) fn pack_groups(g: &Geometry, transposed: bool) -> Nest {
    let (ci, co) = (g.ci / g.conv.groups, g.co / g.conv.groups);
    let (rows, columns) = if transposed { (co, ci) } else { (ci, co) };
    // loops: part, tap, group of the row, row, group of the column, column
    let (group_i, i, group_o, o) = if transposed { (4, 5, 2, 3) } else { (2, 3, 4, 5) };
    let same = coordinate(&[(group_i, 1), (group_o, -1)], 0, Some(1), 0);
    let coordinates =
        vec![free(0, g.part_co()), free(1, ci * g.co), free(i, g.co), free(group_o, co), free(o, 1), same];
    let row = padded(g.merged * columns);
    let block = g.merged * rows * row;
    let strides = [g.taps() * block, block, rows * row, row, columns, 1].map(|s| s as i64).to_vec();
    let extents = [g.parts(), g.taps(), g.merged, rows, g.merged, columns];
    let mut nest = Nest::map(&extents, vec![load(0, coordinates)], vec![NestStep::Load(0)], vec![(0, 1, DType::F32)]);
    nest.placement = Some((strides, 0));
    nest
}

/// `[runs, k, columns] → [runs, pairs, to, 2]` in bf16: rows of weights in pairs, zeros behind a run and in the columns
/// beyond.
pub(super) fn pack_pairs(runs: usize, k: usize, columns: usize, [pairs, to]: [usize; 2]) -> Nest {
    let row = coordinate(&[(1, 2), (3, 1)], 0, Some(k), columns);
    let column = coordinate(&[(2, 1)], 0, Some(columns), 1);
    let load = load(0, vec![free(0, k * columns), row, column]);
    gather(load, &TensorType::new(DType::Bf16, [runs, pairs, to, 2]))
}

/// The taps of one axis, the last first.
pub(super) struct Reversed {
    pub(super) last: usize,
    pub(super) step: usize,
}

/// Transposed weights in pairs of output channels, bf16: `[taps y, taps x, pairs, to, 2]` from element `offset` on. Taps before
/// the first of a row, and channels and columns beyond the weight's, are zero.
pub(super) fn pack_taps(
    g: &Geometry,
    [y, x]: [Reversed; 2],
    taps: [usize; 2],
    [pairs, to]: [usize; 2],
    offset: i64,
) -> Nest {
    let row = g.kernel[1] * g.ci * g.co;
    let tap_y = coordinate(&[(0, -(y.step as i64))], y.last as i64, None, row);
    let tap_x = coordinate(&[(1, -(x.step as i64))], x.last as i64, Some(g.kernel[1]), g.ci * g.co);
    let channel = coordinate(&[(2, 2), (4, 1)], 0, Some(g.co), 1);
    let column = coordinate(&[(3, 1)], 0, Some(g.ci), g.co);
    let load = load(0, vec![tap_y, tap_x, channel, column]);
    let extents = Shape(vec![taps[0], taps[1], pairs, to, 2]);
    let strides = extents.strides().iter().map(|&s| s as i64).collect();
    Nest { placement: Some((strides, offset)), ..gather(load, &TensorType::new(DType::Bf16, extents)) }
}
