//! Matrix products.

use serde::{Deserialize, Serialize};

use super::{Mismatch, expect_f32};
use crate::types::TensorType;

/// `op(a) · op(b)` over the last two axes, `op` an optional transposition. Leading axes are batch axes; both have the
/// same ones, or one has none and its matrix is multiplied with all of the other's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatMul {
    /// `a` holds `[k, m]` instead of `[m, k]`.
    pub trans_a: bool,
    /// `b` holds `[n, k]` instead of `[k, n]`.
    pub trans_b: bool,
}

impl MatMul {
    /// `(m, k, n)` for operands of these types; both must have passed [`super::Op::infer`].
    pub fn extents(&self, a: &TensorType, b: &TensorType) -> (usize, usize, usize) {
        let (a0, a1) = last_two(a);
        let (b0, b1) = last_two(b);
        let (m, k) = if self.trans_a { (a1, a0) } else { (a0, a1) };
        (m, k, if self.trans_b { b0 } else { b1 })
    }

    pub(super) fn infer(&self, a: &TensorType, b: &TensorType) -> Result<TensorType, Mismatch> {
        expect_f32(a, "the left operand")?;
        expect_f32(b, "the right operand")?;
        if a.shape.rank() < 2 || b.shape.rank() < 2 {
            return Err(Mismatch::new(format!("both operands need at least two axes, got {a} and {b}")));
        }
        let (m, k, n) = self.extents(a, b);
        let kb = if self.trans_b { last_two(b).1 } else { last_two(b).0 };
        let batch = &a.shape.0[..a.shape.rank() - 2];
        let batch_b = &b.shape.0[..b.shape.rank() - 2];
        if k != kb {
            return Err(Mismatch::new(format!("the inner extents of {a} and {b} differ: {k} and {kb}")));
        }
        if !batch.is_empty() && !batch_b.is_empty() && batch != batch_b {
            return Err(Mismatch::new(format!("the batch axes of {a} and {b} must be equal, or one has none")));
        }
        let mut shape = if batch.is_empty() { batch_b } else { batch }.to_vec();
        shape.extend([m, n]);
        Ok(TensorType::f32(shape))
    }
}

fn last_two(t: &TensorType) -> (usize, usize) {
    let r = t.shape.rank();
    (t.shape.0[r - 2], t.shape.0[r - 1])
}
