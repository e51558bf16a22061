//! Pooling over windows of an NHWC tensor.

use serde::{Deserialize, Serialize};

use super::{Mismatch, expect_distance, expect_f32, expect_f32_of, expect_rank};
use crate::types::{Shape, TensorType, Window};

/// Attributes of a pooling window; pairs are (rows, columns).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pool {
    /// Taps.
    pub size: [usize; 2],
    /// Input pixels from one output pixel to the next.
    pub stride: [usize; 2],
    /// Pixels before and after, for rows and for columns.
    pub padding: [[usize; 2]; 2],
    /// Whether an average divides by the full window also at the borders (PyTorch's default) or by
    /// the pixels inside (Keras, and PyTorch's `count_include_pad=False`).
    pub count_padding: bool,
}

impl Pool {
    /// The window on `axis` (0: rows, 1: columns).
    pub fn window(&self, axis: usize) -> Window {
        Window { size: self.size[axis], stride: self.stride[axis], dilation: 1 }
    }

    fn output(&self, x: &Shape) -> Result<Shape, Mismatch> {
        // the position of a maximum is held in f32
        if self.size[0].saturating_mul(self.size[1]) > 1 << 24 {
            return Err(Mismatch::new(format!("a window of {:?} has more than 2²⁴ pixels", self.size)));
        }
        if self.size.contains(&0) || self.stride.contains(&0) {
            return Err(Mismatch::new(format!(
                "a window and its stride must be at least 1 pixel, got {:?} with stride {:?}",
                self.size, self.stride
            )));
        }
        expect_distance("stride", self.stride[0].max(self.stride[1]))?;
        let mut out = [0; 2];
        for (axis, size) in out.iter_mut().enumerate() {
            // a window that lies wholly in the padding would have no maximum
            if self.padding[axis].iter().any(|&p| p >= self.size[axis]) {
                return Err(Mismatch::new(format!(
                    "padding {:?} must be smaller than the window {:?}",
                    self.padding, self.size
                )));
            }
            *size = self.window(axis).output(x.0[axis + 1], self.padding[axis]).ok_or_else(|| {
                Mismatch::new(format!(
                    "a window of {:?} with stride {:?} does not fit into {x}",
                    self.size, self.stride
                ))
            })?;
        }
        Ok(Shape(vec![x.0[0], out[0], out[1], x.0[3]]))
    }

    pub(super) fn infer(&self, x: &TensorType) -> Result<TensorType, Mismatch> {
        expect_f32(x, "the input")?;
        expect_rank(x, 4, "the input (NHWC)")?;
        self.output(&x.shape).map(TensorType::f32)
    }

    pub(super) fn infer_index(&self, x: &TensorType, y: &TensorType) -> Result<TensorType, Mismatch> {
        let out = self.infer(x)?;
        expect_f32_of(y, &out.shape, "the pooled tensor")?;
        Ok(out)
    }

    pub(super) fn infer_grad(&self, operands: &[&TensorType], x: &Shape) -> Result<TensorType, Mismatch> {
        let x = TensorType::f32(x.clone());
        let out = self.infer(&x)?;
        for operand in operands {
            expect_f32_of(operand, &out.shape, "the operand")?;
        }
        Ok(x)
    }
}
