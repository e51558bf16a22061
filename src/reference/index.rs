//! Walking the elements of a tensor in row-major order while keeping an offset into another one.

use crate::types::Shape;

/// Calls `f(offset)` for every index of `shape` in row-major order, where an index `(i0, i1, …)` has the
/// offset `start + i0·strides[0] + i1·strides[1] + …` in some other tensor.
pub(super) fn walk(shape: &Shape, strides: &[usize], start: usize, mut f: impl FnMut(usize)) {
    let rank = shape.rank();
    let mut index = vec![0; rank];
    let mut offset = start;
    for _ in 0..shape.elements() {
        f(offset);
        // the odometer: the last axis turns fastest
        for axis in (0..rank).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape.0[axis] {
                break;
            }
            offset -= strides[axis] * shape.0[axis];
            index[axis] = 0;
        }
    }
}

/// The elements of `data` that [`walk`] visits.
pub(super) fn gather(data: &[f64], shape: &Shape, strides: &[usize], start: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(shape.elements());
    walk(shape, strides, start, |offset| out.push(data[offset]));
    out
}

/// The strides with which a tensor of `from` is read as one of `to` that it broadcasts to: zero on axes
/// that are stretched or missing.
pub(super) fn broadcast_strides(from: &Shape, to: &Shape) -> Vec<usize> {
    let missing = to.rank() - from.rank();
    let own = from.strides();
    (0..to.rank())
        .map(|axis| if axis < missing || from.0[axis - missing] == 1 { 0 } else { own[axis - missing] })
        .collect()
}
