//! Rules about shapes.

use super::{Rewriter, Rule};
use crate::error::Error;
use crate::graph::{NodeId, Value};
use crate::ops::{Binary, Op, Pool, Reduce, ReduceKind};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "it changes nothing", apply: no_change },
    Rule { name: "reshape of reshape", apply: reshape_of_reshape },
    Rule { name: "transpose of transpose", apply: transpose_of_transpose },
    Rule { name: "transpose that moves only extents of 1 is a reshape", apply: transpose_of_ones },
    Rule { name: "broadcast of broadcast", apply: broadcast_of_broadcast },
    Rule { name: "reduction over extents of 1 is a reshape", apply: reduce_ones },
    Rule { name: "average of all pixels is a mean", apply: pool_of_all },
    Rule { name: "gradient of the average of all pixels is a broadcast", apply: pool_of_all_grad },
    Rule { name: "an operand need not be stretched before", apply: stretched_operand },
    Rule { name: "an operand needs no leading extents of 1", apply: leading_ones },
];

fn no_change(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let node = r.graph.node(id);
    let same = match &node.op {
        Op::Reshape(_) | Op::Broadcast(_) | Op::Pad(_) => r.graph.ty(node.operands[0]) == &node.results[0],
        Op::Cast(to) => r.graph.ty(node.operands[0]).dtype == *to,
        Op::Transpose(permutation) => permutation.is_sorted(),
        // without axes even a mean is of one element
        Op::Reduce(reduce) => reduce.axes.is_empty(),
        // the same extents leave no room for another start or step
        Op::Slice(_) => r.graph.ty(node.operands[0]) == &node.results[0],
        Op::Concat(_) => node.operands.len() == 1,
        _ => false,
    };
    Ok(same.then(|| r.operand(id, 0)))
}

fn reshape_of_reshape(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Op::Reshape(shape) = r.op(id).clone() else { return Ok(None) };
    let inner = r.operand(id, 0);
    if !matches!(r.maker(inner), Op::Reshape(_)) {
        return Ok(None);
    }
    let x = r.operand(inner.node, 0);
    r.add(id, Op::Reshape(shape), &[x]).map(Some)
}

fn transpose_of_transpose(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Op::Transpose(outer) = r.op(id) else { return Ok(None) };
    let inner = r.operand(id, 0);
    let Op::Transpose(first) = r.maker(inner) else { return Ok(None) };
    let both = outer.iter().map(|&axis| first[axis]).collect();
    let x = r.operand(inner.node, 0);
    r.add(id, Op::Transpose(both), &[x]).map(Some)
}

fn transpose_of_ones(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Op::Transpose(permutation) = r.op(id) else { return Ok(None) };
    let x = r.operand(id, 0);
    let moved = permutation.iter().filter(|&&axis| r.shape(x).0[axis] != 1);
    if permutation.is_sorted() || !moved.is_sorted() {
        return Ok(None);
    }
    let shape = r.graph.node(id).results[0].shape.clone();
    r.add(id, Op::Reshape(shape), &[x]).map(Some)
}

fn broadcast_of_broadcast(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Op::Broadcast(shape) = r.op(id).clone() else { return Ok(None) };
    let inner = r.operand(id, 0);
    if !matches!(r.maker(inner), Op::Broadcast(_)) {
        return Ok(None);
    }
    let x = r.operand(inner.node, 0);
    r.add(id, Op::Broadcast(shape), &[x]).map(Some)
}

fn reduce_ones(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Op::Reduce(Reduce { axes, .. }) = r.op(id) else { return Ok(None) };
    let x = r.operand(id, 0);
    if axes.is_empty() || axes.iter().any(|&axis| r.shape(x).0[axis] != 1) {
        return Ok(None);
    }
    let shape = r.graph.node(id).results[0].shape.clone();
    r.add(id, Op::Reshape(shape), &[x]).map(Some)
}

/// Whether the one window is the image.
fn covers(pool: &Pool, x: &Shape) -> bool {
    pool.padding == [[0, 0]; 2] && x.rank() == 4 && pool.size == [x.0[1], x.0[2]]
}

fn pool_of_all(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Op::AvgPool(pool) = *r.op(id) else { return Ok(None) };
    let x = r.operand(id, 0);
    if !covers(&pool, r.shape(x)) {
        return Ok(None);
    }
    let mean = Op::Reduce(Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: true });
    r.add(id, mean, &[x]).map(Some)
}

fn pool_of_all_grad(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Op::AvgPoolGrad(pool, shape) = r.op(id).clone() else { return Ok(None) };
    if !covers(&pool, &shape) {
        return Ok(None);
    }
    let dy = r.operand(id, 0);
    let count = r.add(id, Op::Constant(Tensor::scalar((pool.size[0] * pool.size[1]) as f32)), &[])?;
    let each = r.add(id, Op::Binary(Binary::Div), &[dy, count])?;
    r.add(id, Op::Broadcast(shape), &[each]).map(Some)
}

/// Makes another operand of the given shape for node `id`, if it can.
type Change = fn(&mut Rewriter<'_>, NodeId, Value, &Shape) -> Result<Option<Value>, Error>;

/// Element-wise operations stretch their operands themselves. `change` offers another operand of a smaller
/// shape for operand `index`; the node is made again with those that leave its result's shape alone.
fn with_operands(
    r: &mut Rewriter<'_>,
    id: NodeId,
    change: Change,
    smaller: fn(&Rewriter<'_>, Value) -> Option<Shape>,
) -> Result<Option<Value>, Error> {
    if !matches!(r.op(id), Op::Binary(_) | Op::Select) {
        return Ok(None);
    }
    let result = r.graph.node(id).results[0].shape.clone();
    let mut operands = r.operands(id);
    let mut changed = false;
    for index in 0..operands.len() {
        let Some(shape) = smaller(r, operands[index]) else { continue };
        let mut others = operands.iter().enumerate().filter(|&(i, _)| i != index);
        let all = others.try_fold(shape.clone(), |all, (_, &v)| all.broadcast(r.shape(v)));
        if all.as_ref() != Some(&result) {
            continue;
        }
        if let Some(value) = change(r, id, operands[index], &shape)? {
            operands[index] = value;
            changed = true;
        }
    }
    if !changed {
        return Ok(None);
    }
    let op = r.op(id).clone();
    r.add(id, op, &operands).map(Some)
}

fn stretched_operand(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let smaller = |r: &Rewriter<'_>, value: Value| match r.maker(value) {
        Op::Broadcast(_) => Some(r.shape(r.operand(value.node, 0)).clone()),
        Op::Constant(_) if r.shape(value).rank() > 0 => r.number(value).map(|_| Shape::scalar()),
        _ => None,
    };
    with_operands(
        r,
        id,
        |r, id, value, _| match r.number(value) {
            Some(number) => r.add(id, Op::Constant(Tensor::scalar(number)), &[]).map(Some),
            None => Ok(Some(r.operand(value.node, 0))),
        },
        smaller,
    )
}

/// `[1,1,1,c] → [c]` and `[1,1] → []`: the shapes that every program reads.
fn leading_ones(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let smaller = |r: &Rewriter<'_>, value: Value| {
        let shape = r.shape(value);
        let rank = shape.rank();
        let ones = shape.0.iter().filter(|&&e| e == 1).count();
        match (r.graph.ty(value).dtype, ones) {
            (DType::F32, ones) if rank > 0 && ones == rank => Some(Shape::scalar()),
            (DType::F32, ones) if rank > 1 && ones + 1 == rank && shape.last() != 1 => Some(Shape(vec![shape.last()])),
            _ => None,
        }
    };
    with_operands(
        r,
        id,
        |r, id, value, shape| {
            if let Op::Constant(tensor) = r.maker(value) {
                let same = Tensor::new(shape.clone(), tensor.data().clone())?;
                return r.add(id, Op::Constant(same), &[]).map(Some);
            }
            r.add(id, Op::Reshape(shape.clone()), &[value]).map(Some)
        },
        smaller,
    )
}
