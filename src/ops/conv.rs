//! Two-dimensional convolution (cross-correlation, as every framework calls it) and its gradients.
//!
//! `y[n,oy,ox,o] = Σ x[n, oy·s + ky·d - p, ox·s + kx·d - p, g·I + i] · w[ky,kx,i,o]` with
//! `g = o / (O/groups)` and `I` the input channels of a group.

use serde::{Deserialize, Serialize};

use super::{Mismatch, expect_distance, expect_f32, expect_f32_of, expect_rank};
use crate::types::{DType, Shape, TensorType, Window};

/// Attributes of a convolution; pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv2d {
    /// Input pixels from one output pixel to the next.
    pub stride: [usize; 2],
    /// Zeros before and after, for rows and for columns.
    pub padding: [[usize; 2]; 2],
    /// Input pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Channels are cut into this many independent groups.
    pub groups: usize,
}

impl Conv2d {
    /// The window on `axis` (0: rows, 1: columns) for a kernel of `size` taps.
    pub fn window(&self, axis: usize, size: usize) -> Window {
        Window { size, stride: self.stride[axis], dilation: self.dilation[axis] }
    }

    fn output(&self, x: &Shape, w: &Shape) -> Result<Shape, Mismatch> {
        let mut out = [0; 2];
        for (axis, size) in out.iter_mut().enumerate() {
            let window = self.window(axis, w.0[axis]);
            *size = window.output(x.0[axis + 1], self.padding[axis]).ok_or_else(|| {
                Mismatch::new(format!(
                    "a window of {} pixels (kernel {w}, dilation {}, stride {}) does not fit into the {} padded pixels of {x} on axis {}",
                    window.span(),
                    window.dilation,
                    window.stride,
                    x.0[axis + 1].saturating_add(self.padding[axis][0]).saturating_add(self.padding[axis][1]),
                    axis + 1,
                ))
            })?;
        }
        // kernels hold an image between its zeros in one piece
        let border = |a: usize| [x.0[a + 1], self.padding[a][0], self.padding[a][1]];
        let extent = |a: usize| border(a).into_iter().try_fold(0usize, usize::checked_add);
        let bytes = [extent(0), extent(1), Some(x.0[3])]
            .into_iter()
            .try_fold(DType::F32.bytes(), |bytes, extent| bytes.checked_mul(extent?));
        if bytes.is_none_or(|bytes| bytes > i32::MAX as usize) {
            return Err(Mismatch::new(format!(
                "an image of the input {x} (NHWC) with padding {:?} is larger than 2 GiB; pad less",
                self.padding
            )));
        }
        Ok(Shape(vec![x.0[0], out[0], out[1], w.0[3]]))
    }

    fn check(&self, x: &Shape, w: &Shape) -> Result<Shape, Mismatch> {
        let (ci, wi, co) = (x.0[3], w.0[2], w.0[3]);
        for (what, [rows, columns]) in [("stride", self.stride), ("dilation", self.dilation)] {
            if rows == 0 || columns == 0 {
                return Err(Mismatch::new(format!(
                    "the {what} must be at least 1, got {rows} rows and {columns} columns"
                )));
            }
            expect_distance(what, rows.max(columns))?;
        }
        if self.groups == 0 || !ci.is_multiple_of(self.groups) {
            return Err(Mismatch::new(format!(
                "the {ci} channels of the input {x} (NHWC) cannot be cut into {} equal groups",
                self.groups
            )));
        }
        if wi.saturating_mul(self.groups) != ci || !co.is_multiple_of(self.groups) {
            return Err(Mismatch::new(format!(
                "input {x} has {ci} channels (NHWC) and the weight {w} takes {wi} (HWIO) in {} groups; \
                 the weight must be [kh,kw,{},out] with `out` a multiple of the groups",
                self.groups,
                ci / self.groups,
            )));
        }
        self.output(x, w)
    }

    pub(super) fn infer(&self, x: &TensorType, w: &TensorType) -> Result<TensorType, Mismatch> {
        expect_f32(x, "the input")?;
        expect_f32(w, "the weight")?;
        expect_rank(x, 4, "the input (NHWC)")?;
        expect_rank(w, 4, "the weight (HWIO)")?;
        self.check(&x.shape, &w.shape).map(TensorType::f32)
    }

    pub(super) fn infer_grad_input(&self, dy: &TensorType, w: &TensorType, x: &Shape) -> Result<TensorType, Mismatch> {
        expect_f32(w, "the weight")?;
        expect_rank(w, 4, "the weight (HWIO)")?;
        let x = TensorType::f32(x.clone());
        expect_rank(&x, 4, "the input (NHWC)")?;
        expect_f32_of(dy, &self.check(&x.shape, &w.shape)?, "the gradient")?;
        Ok(x)
    }

    pub(super) fn infer_grad_weight(&self, x: &TensorType, dy: &TensorType, w: &Shape) -> Result<TensorType, Mismatch> {
        expect_f32(x, "the input")?;
        expect_rank(x, 4, "the input (NHWC)")?;
        let w = TensorType::f32(w.clone());
        expect_rank(&w, 4, "the weight (HWIO)")?;
        expect_f32_of(dy, &self.check(&x.shape, &w.shape)?, "the gradient")?;
        Ok(w)
    }
}
