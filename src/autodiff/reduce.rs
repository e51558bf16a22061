//! Derivatives of reductions and softmax.

use super::emit::{Emit, Site};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Binary, Reduce, ReduceKind, Unary};
use crate::types::Shape;

pub(super) fn reduce(e: &mut Emit, r: &Reduce, site: &Site, dy: Value) -> Result<Value, Error> {
    let x = site.operands[0];
    let shape = e.shape(x);
    // the result with the reduced axes at extent 1 lines up with the operand
    let kept: Vec<usize> =
        shape.0.iter().enumerate().map(|(axis, &extent)| if r.axes.contains(&axis) { 1 } else { extent }).collect();
    let kept = Shape(kept);
    let dy = e.reshape(dy, kept.clone())?;
    match r.kind {
        ReduceKind::Sum => e.broadcast(dy, shape),
        ReduceKind::Mean => {
            let count = shape.elements() / kept.elements();
            let count = e.scalar(count as f32)?;
            let share = e.binary(Binary::Div, dy, count)?;
            e.broadcast(share, shape)
        }
        // elements that attain the extremum share equally
        ReduceKind::Max | ReduceKind::Min => {
            let y = e.reshape(site.y(), kept)?;
            let attains = e.binary(Binary::Equal, x, y)?;
            let count = e.reduce_sum(attains, r.axes.clone(), true)?;
            let share = e.binary(Binary::Div, dy, count)?;
            e.keep_if(attains, share)
        }
    }
}

/// `dx = y·(dy - Σ dy·y)`
pub(super) fn softmax(e: &mut Emit, axis: usize, site: &Site, dy: Value) -> Result<Value, Error> {
    let product = e.mul(dy, site.y())?;
    let sum = e.reduce_sum(product, vec![axis], true)?;
    let rest = e.binary(Binary::Sub, dy, sum)?;
    e.mul(site.y(), rest)
}

/// `dx = dy - exp(y)·Σ dy`
pub(super) fn log_softmax(e: &mut Emit, axis: usize, site: &Site, dy: Value) -> Result<Value, Error> {
    let sum = e.reduce_sum(dy, vec![axis], true)?;
    let probability = e.unary(Unary::Exp, site.y())?;
    let product = e.mul(probability, sum)?;
    e.binary(Binary::Sub, dy, product)
}
