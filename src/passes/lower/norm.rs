//! Batch norm in pieces: channel sums, per-channel coefficients, and one multiply-add on the tensor.
//!
//! ```text
//!  x ──▶ Σx, Σx² ──▶ coefficients(gamma, beta, running …) ──▶ scale, shift
//!  └──────────────────────────────────────────────────────▶ x·scale + shift
//! ```
//!
//! The pieces are apart so that the convolution before it can make the sums and the one behind it can
//! apply the multiply-add (Jung et al. 2018).

use super::{BatchNorm, Binary, Emit, Error, Op, Step, Value};
use crate::ops::{Coefficients, GradCoefficients};

impl Emit<'_> {
    fn rows(&self, x: Value) -> usize {
        let shape = self.shape(x);
        shape.elements() / shape.last()
    }

    /// `(x, gamma, beta, running_mean, running_var) → (y, mean, rstd, new_running_mean, new_running_var)`
    pub(super) fn batch_norm(&mut self, operands: &[Value], norm: BatchNorm) -> Result<Vec<Value>, Error> {
        let x = operands[0];
        let steps = vec![Step::Operand(0), Step::Binary(Binary::Mul, 0, 0)];
        let mut inputs = self.sums(&self.shape(x), steps, &[0, 1], &[x], "statistics")?;
        inputs.extend(&operands[1..]);
        let coefficients = Op::Coefficients(Coefficients { norm, count: self.rows(x) });
        let id = self.add(coefficients, &inputs, "coefficients")?;
        let scaled = self.binary(Binary::Mul, x, id.result(0), "scaled")?;
        let y = self.binary(Binary::Add, scaled, id.result(1), "")?;
        Ok(vec![y, id.result(2), id.result(3), id.result(4), id.result(5)])
    }

    /// `(dy, x, gamma, mean, rstd) → (dx, dgamma, dbeta)`
    pub(super) fn batch_norm_grad(&mut self, operands: &[Value]) -> Result<Vec<Value>, Error> {
        let &[dy, x, gamma, mean, rstd] = operands else {
            return Err(self.wrong_operands());
        };
        let steps = vec![
            Step::Operand(0),
            Step::Operand(1),
            Step::Operand(2),
            Step::Operand(3),
            Step::Binary(Binary::Sub, 1, 2),
            Step::Binary(Binary::Mul, 4, 3),
            Step::Binary(Binary::Mul, 0, 5),
        ];
        let sums = self.sums(&self.shape(x), steps, &[0, 6], &[dy, x, mean, rstd], "sums")?;
        let coefficients = Op::GradCoefficients(GradCoefficients { count: self.rows(x) });
        let id = self.add(coefficients, &[sums[0], sums[1], gamma, mean, rstd], "coefficients")?;
        let a_dy = self.binary(Binary::Mul, dy, id.result(0), "a_dy")?;
        let b_x = self.binary(Binary::Mul, x, id.result(1), "b_x")?;
        let both = self.binary(Binary::Add, a_dy, b_x, "a_dy_b_x")?;
        let dx = self.binary(Binary::Add, both, id.result(2), "")?;
        Ok(vec![dx, id.result(3), id.result(4)])
    }

    /// `(x, gamma, beta, mean, var) → y`, with vectors that depend on state only.
    pub(super) fn batch_norm_eval(&mut self, operands: &[Value], epsilon: f32) -> Result<Value, Error> {
        let &[x, gamma, beta, mean, var] = operands else {
            return Err(self.wrong_operands());
        };
        let scale = self.batch_norm_scale(gamma, var, epsilon)?;
        let mean_scale = self.binary(Binary::Mul, mean, scale, "mean_scale")?;
        let shift = self.binary(Binary::Sub, beta, mean_scale, "shift")?;
        let scaled = self.binary(Binary::Mul, x, scale, "scaled")?;
        self.binary(Binary::Add, scaled, shift, "")
    }
}
