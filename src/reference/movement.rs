//! Operations that move elements, one-hot rows, and sums of rows.

use super::RefTensor;
use super::index::{broadcast_strides, gather, walk};
use crate::error::Error;
use crate::ops::{Pad, Slice};
use crate::types::{DType, Shape, TensorType};

pub(super) fn transpose(x: &RefTensor, permutation: &[usize], shape: &Shape) -> Vec<f64> {
    let own = x.ty.shape.strides();
    let strides: Vec<usize> = permutation.iter().map(|&axis| own[axis]).collect();
    gather(&x.data, shape, &strides, 0)
}

pub(super) fn broadcast(x: &RefTensor, shape: &Shape) -> Vec<f64> {
    gather(&x.data, shape, &broadcast_strides(&x.ty.shape, shape), 0)
}

pub(super) fn slice(x: &RefTensor, slice: &Slice, shape: &Shape) -> Vec<f64> {
    let own = x.ty.shape.strides();
    let start = slice.start.iter().zip(&own).map(|(i, s)| i * s).sum();
    let strides: Vec<usize> = slice.step.iter().zip(&own).map(|(i, s)| i * s).collect();
    gather(&x.data, shape, &strides, start)
}

/// The border of an integer tensor is the padding value cast to the tensor's type.
pub(super) fn pad(x: &RefTensor, pad: &Pad, ty: &TensorType) -> Vec<f64> {
    let border = match ty.dtype {
        DType::F32 | DType::Bf16 => f64::from(pad.value),
        DType::I32 => f64::from(pad.value as i32),
        DType::U8 => f64::from(pad.value as u8),
    };
    let strides = ty.shape.strides();
    let start = pad.low.iter().zip(&strides).map(|(i, s)| i * s).sum();
    let mut out = vec![border; ty.shape.elements()];
    let mut inside = x.data.iter();
    walk(&x.ty.shape, &strides, start, |offset| {
        if let Some(&v) = inside.next() {
            out[offset] = v;
        }
    });
    out
}

/// Behind each index of the axes before `axis`, every operand has one contiguous run.
pub(super) fn concat(operands: &[&RefTensor], axis: usize) -> Vec<f64> {
    let outer: usize = operands.first().map_or(0, |x| x.dims()[..axis].iter().product());
    let mut out = Vec::new();
    for row in 0..outer {
        for x in operands {
            let run = x.data.len() / outer;
            out.extend_from_slice(&x.data[row * run..(row + 1) * run]);
        }
    }
    out
}

pub(super) fn one_hot(labels: &RefTensor, classes: usize) -> Result<Vec<f64>, Error> {
    let mut out = vec![0.0; labels.data.len() * classes];
    for (row, label) in out.chunks_exact_mut(classes).zip(numbers(labels, classes)) {
        row[label?] = 1.0;
    }
    Ok(out)
}

pub(super) fn gather_rows(table: &RefTensor, ids: &RefTensor) -> Result<Vec<f64>, Error> {
    let (n, d) = (table.dims()[0], table.dims()[1]);
    let mut out = Vec::with_capacity(ids.data.len() * d);
    for id in numbers(ids, n) {
        let id = id?;
        out.extend_from_slice(&table.data[id * d..(id + 1) * d]);
    }
    Ok(out)
}

pub(super) fn scatter_add(rows: &RefTensor, ids: &RefTensor, n: usize) -> Result<Vec<f64>, Error> {
    let d = rows.ty.shape.last();
    let mut out = vec![0.0; n * d];
    for (row, id) in rows.data.chunks_exact(d).zip(numbers(ids, n)) {
        let id = id?;
        out[id * d..(id + 1) * d].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    Ok(out)
}

/// Labels or ids, each below `limit` or an error.
fn numbers(labels: &RefTensor, limit: usize) -> impl Iterator<Item = Result<usize, Error>> {
    labels.data.iter().enumerate().map(move |(index, &label)| {
        let label = label as i32;
        let refused = Error::Label { name: "labels".to_string(), index, label, classes: limit };
        usize::try_from(label).ok().filter(|&at| at < limit).ok_or(refused)
    })
}
