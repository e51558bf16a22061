//! Convolution and its gradients. The three share one list of pixel pairs and differ in what they do with
//! each, so a gradient is the adjoint by construction:
//!
//! ```text
//!  for every output pixel and tap that meets an input pixel, for every group, i and o:
//!     forward       y[o]   += x[i]  · w[i,o]
//!     grad input    dx[i]  += dy[o] · w[i,o]
//!     grad weight   dw[i,o] += x[i] · dy[o]
//! ```

use super::RefTensor;
use crate::ops::Conv2d;
use crate::types::Shape;

/// Calls `f(x, y, w)` with the offsets of the first channels of every input pixel, output pixel and
/// tap that meet.
fn meetings(conv: &Conv2d, x: &[usize], y: &[usize], w: &[usize], mut f: impl FnMut(usize, usize, usize)) {
    let meet = |axis: usize, out: usize, tap: usize| {
        (out * conv.stride[axis] + tap * conv.dilation[axis])
            .checked_sub(conv.padding[axis][0])
            .filter(|&at| at < x[axis + 1])
    };
    for n in 0..y[0] {
        for (oy, ky) in pairs(y[1], w[0]) {
            let Some(iy) = meet(0, oy, ky) else { continue };
            for (ox, kx) in pairs(y[2], w[1]) {
                let Some(ix) = meet(1, ox, kx) else { continue };
                f(
                    ((n * x[1] + iy) * x[2] + ix) * x[3],
                    ((n * y[1] + oy) * y[2] + ox) * y[3],
                    (ky * w[1] + kx) * w[2] * w[3],
                );
            }
        }
    }
}

fn pairs(outputs: usize, taps: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..outputs).flat_map(move |o| (0..taps).map(move |k| (o, k)))
}

/// Channels of one group: inputs and outputs.
fn group(conv: &Conv2d, w: &[usize]) -> (usize, usize) {
    (w[2], w[3] / conv.groups)
}

pub(super) fn forward(conv: &Conv2d, x: &RefTensor, w: &RefTensor, shape: &Shape) -> Vec<f64> {
    let mut out = vec![0.0; shape.elements()];
    let outputs = w.dims()[3];
    let (inner, outer) = group(conv, w.dims());
    meetings(conv, x.dims(), &shape.0, w.dims(), |px, py, pw| {
        for g in 0..conv.groups {
            let y = &mut out[py + g * outer..][..outer];
            for (i, &v) in x.data[px + g * inner..][..inner].iter().enumerate() {
                let row = &w.data[pw + i * outputs + g * outer..][..outer];
                y.iter_mut().zip(row).for_each(|(y, w)| *y += v * w);
            }
        }
    });
    out
}

pub(super) fn grad_input(conv: &Conv2d, dy: &RefTensor, w: &RefTensor, shape: &Shape) -> Vec<f64> {
    let mut out = vec![0.0; shape.elements()];
    let outputs = w.dims()[3];
    let (inner, outer) = group(conv, w.dims());
    meetings(conv, &shape.0, dy.dims(), w.dims(), |px, py, pw| {
        for g in 0..conv.groups {
            let dy = &dy.data[py + g * outer..][..outer];
            for (i, dx) in out[px + g * inner..][..inner].iter_mut().enumerate() {
                let row = &w.data[pw + i * outputs + g * outer..][..outer];
                *dx += dy.iter().zip(row).map(|(dy, w)| dy * w).sum::<f64>();
            }
        }
    });
    out
}

pub(super) fn grad_weight(conv: &Conv2d, x: &RefTensor, dy: &RefTensor, shape: &Shape) -> Vec<f64> {
    let mut out = vec![0.0; shape.elements()];
    let outputs = shape.0[3];
    let (inner, outer) = group(conv, &shape.0);
    meetings(conv, x.dims(), dy.dims(), &shape.0, |px, py, pw| {
        for g in 0..conv.groups {
            let dy = &dy.data[py + g * outer..][..outer];
            for (i, &v) in x.data[px + g * inner..][..inner].iter().enumerate() {
                let row = &mut out[pw + i * outputs + g * outer..][..outer];
                row.iter_mut().zip(dy).for_each(|(dw, dy)| *dw += v * dy);
            }
        }
    });
    out
}
