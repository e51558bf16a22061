//! Reductions and softmax. A NaN makes the result NaN, in maxima and minima too.

use super::RefTensor;
use super::index::walk;
use crate::ops::{Reduce, ReduceKind};
use crate::types::Shape;

pub(super) fn reduce(x: &RefTensor, attributes: &Reduce) -> Vec<f64> {
    let shape = &x.ty.shape;
    let reduced = |axis: usize| attributes.axes.contains(&axis);
    // the result with its reduced axes kept at extent 1, read with stride 0 along them
    let kept = Shape((0..shape.rank()).map(|a| if reduced(a) { 1 } else { shape.0[a] }).collect());
    let strides: Vec<usize> = kept.strides().iter().enumerate().map(|(a, &s)| if reduced(a) { 0 } else { s }).collect();
    let start = match attributes.kind {
        ReduceKind::Sum | ReduceKind::Mean => 0.0,
        ReduceKind::Max => f64::NEG_INFINITY,
        ReduceKind::Min => f64::INFINITY,
    };
    let mut out = vec![start; kept.elements()];
    let mut elements = x.data.iter();
    walk(shape, &strides, 0, |offset| {
        let Some(&v) = elements.next() else { return };
        let old = out[offset];
        out[offset] = match attributes.kind {
            ReduceKind::Sum | ReduceKind::Mean => old + v,
            ReduceKind::Max | ReduceKind::Min if old.is_nan() || v.is_nan() => f64::NAN,
            ReduceKind::Max => old.max(v),
            ReduceKind::Min => old.min(v),
        };
    });
    if attributes.kind == ReduceKind::Mean {
        let count = (x.data.len() / out.len()) as f64;
        out.iter_mut().for_each(|v| *v /= count);
    }
    out
}

/// Replaces every line of `x` along `axis` by `f(line)`.
fn lines(x: &RefTensor, axis: usize, f: impl Fn(&mut [f64])) -> Vec<f64> {
    let extent = x.dims()[axis];
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let mut out = x.data.clone();
    let mut line = vec![0.0; extent];
    for block in out.chunks_exact_mut(extent * inner) {
        for i in 0..inner {
            for (to, from) in line.iter_mut().zip(block[i..].iter().step_by(inner)) {
                *to = *from;
            }
            f(&mut line);
            for (to, from) in block[i..].iter_mut().step_by(inner).zip(&line) {
                *to = *from;
            }
        }
    }
    out
}

/// The maximum is taken off first, so that nothing overflows; it cancels.
fn log_sum_exp(line: &[f64]) -> f64 {
    let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + line.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
}

pub(super) fn softmax(x: &RefTensor, axis: usize) -> Vec<f64> {
    lines(x, axis, |line| {
        let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        line.iter_mut().for_each(|v| *v = (*v - max).exp());
        let sum: f64 = line.iter().sum();
        line.iter_mut().for_each(|v| *v /= sum);
    })
}

pub(super) fn log_softmax(x: &RefTensor, axis: usize) -> Vec<f64> {
    lines(x, axis, |line| {
        let total = log_sum_exp(line);
        line.iter_mut().for_each(|v| *v -= total);
    })
}
