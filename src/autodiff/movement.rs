//! Derivatives of operations that move elements: the movement back.

use super::emit::{Emit, Site};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Op, Pad, Slice};

pub(super) fn reshape(e: &mut Emit, site: &Site, dy: Value) -> Result<Value, Error> {
    let shape = e.shape(site.operands[0]);
    e.reshape(dy, shape)
}

pub(super) fn transpose(e: &mut Emit, permutation: &[usize], dy: Value) -> Result<Value, Error> {
    let mut inverse = vec![0; permutation.len()];
    for (to, &from) in permutation.iter().enumerate() {
        inverse[from] = to;
    }
    e.op(Op::Transpose(inverse), &[dy])
}

pub(super) fn broadcast(e: &mut Emit, site: &Site, dy: Value) -> Result<Value, Error> {
    let shape = e.shape(site.operands[0]);
    e.unbroadcast(dy, &shape)
}

pub(super) fn pad(e: &mut Emit, pad: &Pad, site: &Site, dy: Value) -> Result<Value, Error> {
    let shape = e.shape(site.operands[0]);
    let stop = pad.low.iter().zip(&shape.0).map(|(low, extent)| low + extent).collect();
    e.op(Op::Slice(Slice { start: pad.low.clone(), stop, step: vec![1; shape.rank()] }), &[dy])
}

/// A box goes back between zeros. Steps first spread the elements, with `step - 1` zeros after each:
///
/// ```text
///  a b c ──reshape──▶ a│b│c ──pad──▶ a 0│b 0│c 0 ──reshape, cut──▶ a 0 b 0 c ──pad──▶ 0 a 0 b 0 c 0
/// ```
pub(super) fn slice(e: &mut Emit, slice: &Slice, site: &Site, dy: Value) -> Result<Value, Error> {
    let shape = e.shape(site.operands[0]).0;
    let rank = shape.len();
    let mut spread = dy;
    // a step beyond the end takes one element, whatever its length
    let steps: Vec<usize> = slice.step.iter().zip(&shape).map(|(&step, &extent)| step.min(extent)).collect();
    if steps.iter().any(|&step| step > 1) {
        let taken = e.shape(dy).0;
        let apart: Vec<usize> = taken.iter().flat_map(|&n| [n, 1]).collect();
        let high: Vec<usize> = steps.iter().flat_map(|&step| [0, step - 1]).collect();
        let together: Vec<usize> = taken.iter().zip(&steps).map(|(n, step)| n * step).collect();
        spread = e.reshape(spread, apart.into())?;
        spread = e.op(Op::Pad(Pad { low: vec![0; 2 * rank], high, value: 0.0 }), &[spread])?;
        spread = e.reshape(spread, together.clone().into())?;
        // the zeros after the last element may reach beyond the operand
        let stop: Vec<usize> = (0..rank).map(|axis| together[axis].min(shape[axis] - slice.start[axis])).collect();
        if stop != together {
            spread = e.op(Op::Slice(Slice { start: vec![0; rank], stop, step: vec![1; rank] }), &[spread])?;
        }
    }
    let held = e.shape(spread).0;
    let high = (0..rank).map(|axis| shape[axis] - slice.start[axis] - held[axis]).collect();
    e.op(Op::Pad(Pad { low: slice.start.clone(), high, value: 0.0 }), &[spread])
}

pub(super) fn concat(e: &mut Emit, axis: usize, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    let mut parts = Vec::with_capacity(site.operands.len());
    let mut from = 0;
    for (&operand, &wanted) in site.operands.iter().zip(&site.wanted) {
        let mut stop = e.shape(operand).0;
        let mut start = vec![0; stop.len()];
        start[axis] = from;
        stop[axis] += from;
        from = stop[axis];
        let step = vec![1; stop.len()];
        parts.push(if wanted { Some(e.op(Op::Slice(Slice { start, stop, step }), &[dy])?) } else { None });
    }
    Ok(parts)
}

/// `(table, ids)`: each row of the table gets the sum of what arrives where it was put.
pub(super) fn gather(e: &mut Emit, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    let n = e.shape(site.operands[0]).0[0];
    Ok(vec![Some(e.op(Op::ScatterAdd(n), &[dy, site.operands[1]])?), None])
}

/// `(rows, ids)`
pub(super) fn scatter_add(e: &mut Emit, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    Ok(vec![Some(e.op(Op::Gather, &[dy, site.operands[1]])?), None])
}
