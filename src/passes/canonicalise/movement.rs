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
    Rule { name: "it is computed before it is stretched", apply: stretch_later },
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

/// What can stand for an operand of an element-wise operation.
enum Smaller {
    /// What was stretched to it.
    Source(Value),
    /// The number that all its elements are.
    Number(f32),
    /// The same elements under another shape.
    Reshaped(Shape),
}

impl Smaller {
    fn shape(&self, r: &Rewriter<'_>) -> Shape {
        match self {
            Smaller::Source(value) => r.shape(*value).clone(),
            Smaller::Number(_) => Shape::scalar(),
            Smaller::Reshaped(shape) => shape.clone(),
        }
    }
    fn make(self, r: &mut Rewriter<'_>, id: NodeId, of: Value) -> Result<Value, Error> {
        match self {
            Smaller::Source(value) => Ok(value),
            Smaller::Number(number) => r.add(id, Op::Constant(Tensor::scalar(number)), &[]),
            Smaller::Reshaped(shape) => match r.maker(of) {
                Op::Constant(tensor) => {
                    let same = Tensor::new(shape, tensor.data().clone())?;
                    r.add(id, Op::Constant(same), &[])
                }
                _ => r.add(id, Op::Reshape(shape), &[of]),
            },
        }
    }
}

/// Element-wise operations stretch their operands themselves: the node is made again with smaller operands
/// where they leave its result's shape alone.
fn with_smaller_operands(
    r: &mut Rewriter<'_>,
    id: NodeId,
    smaller: fn(&Rewriter<'_>, Value) -> Option<Smaller>,
) -> Result<Option<Value>, Error> {
    if !matches!(r.op(id), Op::Binary(_) | Op::Select) {
        return Ok(None);
    }
    let result = r.graph.node(id).results[0].shape.clone();
    let mut operands = r.operands(id);
    let mut changed = false;
    for index in 0..operands.len() {
        let Some(other) = smaller(r, operands[index]) else { continue };
        let mut rest = operands.iter().enumerate().filter(|&(i, _)| i != index);
        let all = rest.try_fold(other.shape(r), |all, (_, &v)| all.broadcast(r.shape(v)));
        if all.as_ref() == Some(&result) {
            operands[index] = other.make(r, id, operands[index])?;
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
    with_smaller_operands(r, id, |r, value| match r.maker(value) {
        Op::Broadcast(_) => Some(Smaller::Source(r.operand(value.node, 0))),
        Op::Constant(_) if r.shape(value).rank() > 0 => r.number(value).map(Smaller::Number),
        _ => None,
    })
}

/// `f(broadcast(x), s) → broadcast(f(x, s))` where all operands together are smaller than the result.
fn stretch_later(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    if !matches!(r.op(id), Op::Unary(_) | Op::Binary(_) | Op::Select) {
        return Ok(None);
    }
    let source = |value: Value| match r.maker(value) {
        Op::Broadcast(_) => r.operand(value.node, 0),
        _ => value,
    };
    let operands: Vec<Value> = r.operands(id).into_iter().map(source).collect();
    let shape = operands.iter().try_fold(Shape::scalar(), |all, &v| all.broadcast(r.shape(v)));
    let result = r.graph.node(id).results[0].shape.clone();
    if shape.is_none_or(|shape| shape.elements() == result.elements()) {
        return Ok(None);
    }
    let op = r.op(id).clone();
    let small = r.add(id, op, &operands)?;
    r.add(id, Op::Broadcast(result), &[small]).map(Some)
}

/// `[1,1,1,c] → [c]` and `[1,1] → []`: the shapes that every program reads.
fn leading_ones(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    with_smaller_operands(r, id, |r, value| {
        let shape = r.shape(value);
        let (rank, last) = (shape.rank(), shape.last());
        let ones = shape.0.iter().filter(|&&e| e == 1).count();
        if r.graph.ty(value).dtype != DType::F32 || rank == 0 {
            None
        } else if ones == rank {
            Some(Smaller::Reshaped(Shape::scalar()))
        } else if ones + 1 == rank && rank > 1 && last != 1 {
            Some(Smaller::Reshaped(Shape(vec![last])))
        } else {
            None
        }
    })
}
