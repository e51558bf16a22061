//! Matrix products.

use super::RefTensor;
use crate::ops::MatMul;

pub(super) fn matmul(a: &RefTensor, b: &RefTensor, attributes: &MatMul) -> Vec<f64> {
    let (m, k, n) = attributes.extents(&a.ty, &b.ty);
    let batch: usize = a.dims()[..a.dims().len() - 2].iter().product();
    let mut out = vec![0.0; batch * m * n];
    // b without batch axes is shared by all matrices of a
    let shared = b.dims().len() == 2;
    for (item, y) in out.chunks_exact_mut(m * n).enumerate() {
        let a = &a.data[item * m * k..(item + 1) * m * k];
        let b = if shared { &b.data[..] } else { &b.data[item * k * n..(item + 1) * k * n] };
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
