//! Matrix products.

use super::RefTensor;
use crate::ops::MatMul;

pub(super) fn matmul(a: &RefTensor, b: &RefTensor, attributes: &MatMul) -> Vec<f64> {
    let (m, k, n) = attributes.extents(&a.ty, &b.ty);
    let batch = |t: &RefTensor| t.dims()[..t.dims().len() - 2].iter().product::<usize>();
    let batch = batch(a).max(batch(b));
    let mut out = vec![0.0; batch * m * n];
    // a matrix without batch axes is multiplied with all of the other operand
    let shared = |t: &RefTensor| t.dims().len() == 2;
    let (shared_a, shared_b) = (shared(a), shared(b));
    for (item, y) in out.chunks_exact_mut(m * n).enumerate() {
        let a = if shared_a { &a.data[..] } else { &a.data[item * m * k..(item + 1) * m * k] };
        let b = if shared_b { &b.data[..] } else { &b.data[item * k * n..(item + 1) * k * n] };
        for (i, row) in y.chunks_exact_mut(n).enumerate() {
            for p in 0..k {
                let scale = if attributes.trans_a { a[p * m + i] } else { a[i * k + p] };
                if attributes.trans_b {
                    row.iter_mut().enumerate().for_each(|(j, y)| *y += scale * b[j * k + p]);
                } else {
                    row.iter_mut().zip(&b[p * n..(p + 1) * n]).for_each(|(y, b)| *y += scale * b);
                }
            }
        }
    }
    out
}
