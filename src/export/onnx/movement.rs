//! Operations that move elements. A transposition costs nothing here: it renames axes, and is written only where
//! somebody needs the elements in that order.

use super::order::{Order, channels_first, identity, inverse, permuted};
use super::writer::{Writer, int};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Pad, Slice};
use crate::tensor::{Data, Tensor};
use crate::types::DType;

/// The same elements under another shape. Where axes of extent 1 come or go, the others stay in the order in which they
/// are at hand; else elements must lie in memory as the graph has them.
pub(super) fn reshape(w: &mut Writer<'_>, x: Value, y: Value, path: &str) -> Result<(), Error> {
    let (plain, held) = (identity(w.rank(x)), w.order(x));
    if w.shape(x) == w.shape(y) {
        return w.pass_on(y, x, &plain, <[usize]>::to_vec);
    }
    let (order, made) = match renamed(w, x, y, &held) {
        Some(made) => (held, made),
        None if in_order(&long_axes(w, x), &held) => (held, identity(w.rank(y))),
        None => (plain, identity(w.rank(y))),
    };
    let x = w.take(x, &order)?;
    let mut extents: Vec<i64> = w.shape(y).0.iter().map(|&e| e as i64).collect();
    if let Some(axis) = w.batch.axis(y) {
        extents[axis] = -1;
    }
    let extents = w.integers(&permuted(&extents, &made), &format!("{path}.shape"));
    let tensor = w.node("Reshape", &[x, extents], Vec::new(), path);
    w.set(y, made, tensor);
    Ok(())
}

/// Axes that have a place in memory: those of extent 1 may be anywhere.
fn long_axes(w: &Writer<'_>, value: Value) -> Vec<usize> {
    let shape = w.shape(value);
    let long = |&axis: &usize| shape.0[axis] > 1 || w.batch.axis(value) == Some(axis);
    (0..shape.rank()).filter(long).collect()
}

/// Whether `order` has the ascending `axes` in that order.
fn in_order(axes: &[usize], order: &[usize]) -> bool {
    order.iter().filter(|axis| axes.contains(axis)).is_sorted()
}

/// The order of `y`, if it is `x` in the order `held` with other axes of extent 1: channels first where that fits.
fn renamed(w: &Writer<'_>, x: Value, y: Value, held: &[usize]) -> Option<Order> {
    let (from, to) = (long_axes(w, x), long_axes(w, y));
    let extents = |value: Value, axes: &[usize]| permuted(&w.shape(value).0, axes);
    let batch = |value: Value, axes: &[usize]| axes.iter().position(|&axis| w.batch.axis(value) == Some(axis));
    if extents(x, &from) != extents(y, &to) || batch(x, &from) != batch(y, &to) {
        return None;
    }
    let memory: Order = held.iter().filter_map(|axis| from.iter().position(|a| a == axis)).map(|at| to[at]).collect();
    let rank = w.rank(y);
    let long = |order: &Order| order.iter().copied().filter(|axis| to.contains(axis)).collect::<Order>();
    let usual = [channels_first(rank), identity(rank)].into_iter().find(|order| long(order) == memory);
    Some(usual.unwrap_or_else(|| (0..rank).filter(|axis| !to.contains(axis)).chain(memory).collect()))
}

/// Axis `i` of the result is axis `permutation[i]` of the operand.
pub(super) fn transpose(w: &mut Writer<'_>, permutation: &[usize], x: Value, y: Value) -> Result<(), Error> {
    let at = inverse(permutation);
    w.pass_on(y, x, permutation, |order| permuted(&at, order))
}

/// Stretches axes of extent 1 and prepends axes.
pub(super) fn broadcast(w: &mut Writer<'_>, x: Value, y: Value, path: &str) -> Result<(), Error> {
    if w.shape(x) == w.shape(y) {
        let plain = identity(w.rank(x));
        return w.pass_on(y, x, &plain, <[usize]>::to_vec);
    }
    let order = if w.rank(x) == w.rank(y) { w.order(x) } else { identity(w.rank(y)) };
    let x = w.stretched(x, &order)?;
    let mut extents: Vec<i64> = w.shape(y).0.iter().map(|&e| e as i64).collect();
    if let Some(axis) = w.batch.axis(y) {
        // 1 leaves an axis as it is
        extents[axis] = 1;
    }
    let extents = w.integers(&permuted(&extents, &order), &format!("{path}.shape"));
    let tensor = w.node("Expand", &[x, extents], Vec::new(), path);
    w.set(y, order, tensor);
    Ok(())
}

/// A border of one value.
pub(super) fn pad(w: &mut Writer<'_>, pad: &Pad, x: Value, y: Value, path: &str) -> Result<(), Error> {
    let order = w.order(x);
    let dtype = w.graph.ty(x).dtype;
    let x = w.take(x, &order)?;
    let sides = [permuted(&pad.low, &order), permuted(&pad.high, &order)].concat();
    let sides = w.integers(&signed(&sides), &format!("{path}.pads"));
    let value = match dtype {
        DType::F32 | DType::Bf16 => Data::F32(vec![pad.value]),
        DType::I32 => Data::I32(vec![pad.value as i32]),
        DType::U8 => Data::U8(vec![pad.value as u8]),
    };
    let value = w.constant(&Tensor::new([], value)?, &format!("{path}.value"));
    let tensor = w.node("Pad", &[x, sides, value], Vec::new(), path);
    w.set(y, order, tensor);
    Ok(())
}

/// A box of the operand: only axes that are cut are named, so that the batch's may have any extent.
pub(super) fn slice(w: &mut Writer<'_>, slice: &Slice, x: Value, y: Value, path: &str) -> Result<(), Error> {
    let order = w.order(x);
    let shape = &w.shape(x).0;
    let whole = |axis: usize| (slice.start[axis], slice.stop[axis], slice.step[axis]) == (0, shape[axis], 1);
    // (axis of the tensor, axis of the value)
    let cut: Vec<(usize, usize)> = order.iter().copied().enumerate().filter(|&(_, axis)| !whole(axis)).collect();
    if cut.is_empty() {
        let plain = identity(w.rank(x));
        return w.pass_on(y, x, &plain, <[usize]>::to_vec);
    }
    let x = w.take(x, &order)?;
    let mut list = |entry: &dyn Fn((usize, usize)) -> usize, name: &str| {
        let entries: Vec<usize> = cut.iter().map(|&at| entry(at)).collect();
        w.integers(&signed(&entries), &format!("{path}.{name}"))
    };
    let operands = [
        x,
        list(&|(_, axis)| slice.start[axis], "starts"),
        list(&|(_, axis)| slice.stop[axis], "ends"),
        list(&|(at, _)| at, "axes"),
        list(&|(_, axis)| slice.step[axis], "steps"),
    ];
    let tensor = w.node("Slice", &operands, Vec::new(), path);
    w.set(y, order, tensor);
    Ok(())
}

/// Joins operands along an axis, in the order of the first that is not in the graph's own.
pub(super) fn concat(w: &mut Writer<'_>, axis: usize, operands: &[Value], y: Value, path: &str) -> Result<(), Error> {
    let mut orders = operands.iter().filter_map(|&v| w.held(v));
    let order: Order = orders.find(|order| !order.is_sorted()).cloned().unwrap_or_else(|| identity(w.rank(y)));
    let tensors = operands.iter().map(|&v| w.take(v, &order)).collect::<Result<Vec<_>, _>>()?;
    let tensor = w.node("Concat", &tensors, vec![int("axis", inverse(&order)[axis] as i64)], path);
    w.set(y, order, tensor);
    Ok(())
}

/// Rows of a table by their numbers.
pub(super) fn gather(w: &mut Writer<'_>, [table, ids]: [Value; 2], y: Value, path: &str) -> Result<(), Error> {
    let operands = [w.take(table, &[0, 1])?, w.take(ids, &identity(w.rank(ids)))?];
    let tensor = w.node("Gather", &operands, vec![int("axis", 0)], path);
    w.set(y, identity(w.rank(y)), tensor);
    Ok(())
}

fn signed(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&v| v as i64).collect()
}
