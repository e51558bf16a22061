//! In which order a tensor of the file has the axes of a value of the graph.
//!
//! ```text
//!  graph value  [n, h, w, c]   axes 0 1 2 3
//!  ONNX tensor  [n, c, h, w]   order [0, 3, 1, 2]: its axis i is axis order[i] of the value
//! ```

/// Axis `i` of a tensor is axis `order[i]` of the value.
pub(super) type Order = Vec<usize>;

/// The graph's own order.
pub(super) fn identity(rank: usize) -> Order {
    (0..rank).collect()
}

/// Channels, the value's last axis, behind the batch: NHWC as NCHW.
pub(super) fn channels_first(rank: usize) -> Order {
    match rank {
        0 | 1 => identity(rank),
        _ => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
    }
}

/// The last two axes exchanged.
pub(super) fn last_two_swapped(rank: usize) -> Order {
    let mut order = identity(rank);
    if rank >= 2 {
        order.swap(rank - 2, rank - 1);
    }
    order
}

/// HWIO as OIHW.
pub(super) const FILTER: [usize; 4] = [3, 2, 0, 1];

/// Where each axis is: `inverse(order)[order[i]] == i`.
pub(super) fn inverse(order: &[usize]) -> Order {
    let mut inverse = vec![0; order.len()];
    for (at, &axis) in order.iter().enumerate() {
        inverse[axis] = at;
    }
    inverse
}

/// One entry an axis of the value, as entries of the tensor.
pub(super) fn permuted<T: Clone>(entries: &[T], order: &[usize]) -> Vec<T> {
    order.iter().map(|&axis| entries[axis].clone()).collect()
}

/// The elements of a value of `shape`, `bytes` each, in another order of axes.
pub(super) fn reordered(data: &[u8], bytes: usize, shape: &[usize], order: &[usize]) -> Vec<u8> {
    let mut strides = vec![bytes; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let (extents, strides) = (permuted(shape, order), permuted(&strides, order));
    let mut index = vec![0; extents.len()];
    let mut from = 0;
    let mut out = Vec::with_capacity(data.len());
    while out.len() < data.len() {
        out.extend_from_slice(&data[from..from + bytes]);
        // the next element: the innermost axis that is not at its end goes on
        for axis in (0..extents.len()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < extents[axis] {
                break;
            }
            from -= strides[axis] * extents[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nhwc_as_nchw() {
        assert_eq!(channels_first(4), [0, 3, 1, 2]);
        assert_eq!(channels_first(2), [0, 1]);
        assert_eq!(inverse(&[0, 3, 1, 2]), [0, 2, 3, 1]);
        // [1, 1, 2, 3]: pixels then channels become channels then pixels
        assert_eq!(reordered(&[0, 1, 2, 3, 4, 5], 1, &[1, 1, 2, 3], &[0, 3, 1, 2]), [0, 3, 1, 4, 2, 5]);
    }
}
