//! Building a graph: activations that are composed of simpler operations, by PyTorch's definitions. Those with a kernel
//! of their own (`relu`, `sigmoid`, `gelu`, …) are in `build.rs`.
//!
//! ```text
//!      elu        hardtanh      softshrink      where pieces meet, the derivative is the one that PyTorch takes,
//!        ╱           ╭──               ╱        which decides how each is composed: at its limits `clamp` has the
//!  ─────╱          ╱               ───╱         derivative 1, and two selects have 0
//!  ╌╌╌╯         ──╯               ╱
//! ```
//!
//! All take f32 of any shape. Element-wise chains become one kernel, so a composition costs no more memory than an
//! operation would.

use super::{Graph, Value};
use crate::error::Error;

/// α of SELU (Klambauer et al. 2017), with PyTorch's digits.
const SELU_ALPHA: f32 = 1.673_263_2;
/// λ of SELU.
const SELU_SCALE: f32 = 1.050_701;

fn option(name: &str, reason: String) -> Error {
    Error::Option { option: name.to_string(), reason }
}

impl Graph {
    /// `x > 0 ? x : alpha·(eˣ - 1)` (Clevert et al. 2016). The derivative at 0 is `alpha`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn elu(&mut self, x: Value, alpha: f32) -> Result<Value, Error> {
        let positive = self.relu(x)?;
        let negative = self.exp_minus_one_below_zero(x, 1.0, alpha)?;
        self.add_values(positive, negative)
    }
    /// `max(x, 0) + min(alpha·(e^(x/alpha) - 1), 0)` (Barron 2017). The derivative at 0 is 1.
    ///
    /// # Errors
    /// [`Error::Operands`]; [`Error::Option`] unless alpha is positive.
    pub fn celu(&mut self, x: Value, alpha: f32) -> Result<Value, Error> {
        if !(alpha > 0.0 && alpha.is_finite()) {
            return Err(option("alpha", format!("must be finite and above 0, got {alpha}")));
        }
        let positive = self.relu(x)?;
        let negative = self.exp_minus_one_below_zero(x, 1.0 / alpha, alpha)?;
        self.add_values(positive, negative)
    }
    /// `1.0507·elu(x, 1.67326)` (Klambauer et al. 2017). The derivative at 0 is the product of both.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn selu(&mut self, x: Value) -> Result<Value, Error> {
        let y = self.elu(x, SELU_ALPHA)?;
        self.times(y, SELU_SCALE)
    }
    /// Limits to `[low, high]`. Unlike [`Graph::clamp`] it has the derivative 0 at the limits, as `torch.nn.Hardtanh`.
    ///
    /// # Errors
    /// [`Error::Operands`]; [`Error::Option`] unless `low < high`.
    pub fn hardtanh(&mut self, x: Value, low: f32, high: f32) -> Result<Value, Error> {
        if low >= high || low.is_nan() || high.is_nan() {
            return Err(option("hardtanh", format!("the lower limit {low} must be below the upper limit {high}")));
        }
        let (low, high) = (self.scalar(low)?, self.scalar(high)?);
        let below = self.greater_equal(low, x)?;
        let above = self.greater_equal(x, high)?;
        let y = self.select(below, low, x)?;
        self.select(above, high, y)
    }
    /// `min(max(x, 0), 6)`, with the derivative 0 at 0 and at 6.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn relu6(&mut self, x: Value) -> Result<Value, Error> {
        self.hardtanh(x, 0.0, 6.0)
    }
    /// `relu6(x + 3)/6`. The derivative at ±3 is 0.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn hardsigmoid(&mut self, x: Value) -> Result<Value, Error> {
        // limited first: x + 3 rounds, and would move the limit
        let x = self.hardtanh(x, -3.0, 3.0)?;
        let three = self.scalar(3.0)?;
        let y = self.add_values(x, three)?;
        self.times(y, 1.0 / 6.0)
    }
    /// `x·relu6(x + 3)/6` (Howard et al. 2019). The derivative is 0 at -3 and 1 at 3.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn hardswish(&mut self, x: Value) -> Result<Value, Error> {
        let gate = self.hardsigmoid(x)?;
        self.mul(x, gate)
    }
    /// `x·tanh(softplus(x))` (Misra 2019).
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn mish(&mut self, x: Value) -> Result<Value, Error> {
        let softplus = self.softplus(x)?;
        let gate = self.tanh(softplus)?;
        self.mul(x, gate)
    }
    /// `x/(1 + |x|)`
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn softsign(&mut self, x: Value) -> Result<Value, Error> {
        let (size, one) = (self.abs(x)?, self.scalar(1.0)?);
        let divisor = self.add_values(size, one)?;
        self.div(x, divisor)
    }
    /// GELU with the hyperbolic tangent in place of the error function, PyTorch's and Keras's `approximate` form
    /// (Hendrycks & Gimpel 2016): `x/2·(1 + tanh z)` with `z = √(2/π)·(x + 0.044715·x³)`, which is `x·sigmoid(2z)`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn gelu_tanh(&mut self, x: Value) -> Result<Value, Error> {
        let square = self.mul(x, x)?;
        let cube = self.mul(square, x)?;
        let cube = self.times(cube, 0.044_715)?;
        let inner = self.add_values(x, cube)?;
        let inner = self.times(inner, 2.0 * (2.0 / std::f32::consts::PI).sqrt())?;
        let gate = self.sigmoid(inner)?;
        self.mul(x, gate)
    }
    /// `x > 0 ? x : weight·x` with trained slopes (He et al. 2015): `weight` is `[1]`, or `[channels]` for `x` with
    /// the channels last. The derivative at 0 is the weight.
    ///
    /// # Errors
    /// [`Error::Operands`] when the weight does not stretch to `x`.
    pub fn prelu(&mut self, x: Value, weight: Value) -> Result<Value, Error> {
        let (ty, slopes) = (self.expect_type(x, "prelu")?, self.expect_type(weight, "prelu")?.shape);
        if slopes.broadcast(&ty.shape).as_ref() != Some(&ty.shape) {
            let reason = format!("the weight must be [1] or the channels [{}]", ty.shape.last());
            return Err(self.refused("prelu", &[x, weight], reason));
        }
        let zero = self.scalar(0.0)?;
        let positive = self.greater(x, zero)?;
        let scaled = self.mul(weight, x)?;
        self.select(positive, x, scaled)
    }
    /// `ln sigmoid(x)`, as `-softplus(-x)`, which no number overflows.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn log_sigmoid(&mut self, x: Value) -> Result<Value, Error> {
        let negative = self.neg(x)?;
        let softplus = self.softplus(negative)?;
        self.neg(softplus)
    }
    /// `x` where `|x| > lambda`, else 0.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn hardshrink(&mut self, x: Value, lambda: f32) -> Result<Value, Error> {
        let (size, limit, zero) = (self.abs(x)?, self.scalar(lambda)?, self.scalar(0.0)?);
        let outside = self.greater(size, limit)?;
        self.select(outside, x, zero)
    }
    /// `x` moved by `lambda` towards 0, and 0 where `|x| <= lambda`.
    ///
    /// # Errors
    /// [`Error::Operands`]; [`Error::Option`] for a negative lambda.
    pub fn softshrink(&mut self, x: Value, lambda: f32) -> Result<Value, Error> {
        if lambda < 0.0 || lambda.is_nan() {
            return Err(option("lambda", format!("must be at least 0, got {lambda}")));
        }
        let lambda = self.scalar(lambda)?;
        let (above, negative) = (self.sub(x, lambda)?, self.neg(x)?);
        let below = self.sub(negative, lambda)?;
        let (above, below) = (self.relu(above)?, self.relu(below)?);
        self.sub(above, below)
    }
    /// `x - tanh(x)`
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn tanhshrink(&mut self, x: Value) -> Result<Value, Error> {
        let tanh = self.tanh(x)?;
        self.sub(x, tanh)
    }
    /// `x > threshold ? x : value`
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn threshold(&mut self, x: Value, threshold: f32, value: f32) -> Result<Value, Error> {
        let (limit, value) = (self.scalar(threshold)?, self.scalar(value)?);
        let above = self.greater(x, limit)?;
        self.select(above, x, value)
    }
    /// Gated linear unit: `a·sigmoid(b)` for the halves `a` and `b` of an axis (Dauphin et al. 2017).
    ///
    /// # Errors
    /// [`Error::Operands`] unless the axis is there and even.
    pub fn glu(&mut self, x: Value, axis: usize) -> Result<Value, Error> {
        let ty = self.expect_type(x, "glu")?;
        let extents = ty.shape.0.clone();
        let half = match extents.get(axis) {
            Some(&extent) if extent.is_multiple_of(2) => extent / 2,
            Some(_) | None => {
                let reason = format!("axis {axis} of {ty} must have an even number of elements");
                return Err(self.refused("glu", &[x], reason));
            }
        };
        let (zeros, ones) = (vec![0; extents.len()], vec![1; extents.len()]);
        let (mut middle, mut second) = (extents.clone(), zeros.clone());
        (middle[axis], second[axis]) = (half, half);
        let a = self.slice(x, &zeros, &middle, &ones)?;
        let b = self.slice(x, &second, &extents, &ones)?;
        let gate = self.sigmoid(b)?;
        self.mul(a, gate)
    }

    /// `factor·(e^(scale·min(x, 0)) - 1)`, with the derivative at 0 from below.
    fn exp_minus_one_below_zero(&mut self, x: Value, scale: f32, factor: f32) -> Result<Value, Error> {
        let negative = self.clamp(x, f32::NEG_INFINITY, 0.0)?;
        let scaled = if scale == 1.0 { negative } else { self.times(negative, scale)? };
        let (exp, one) = (self.exp(scaled)?, self.scalar(1.0)?);
        let y = self.sub(exp, one)?;
        if factor == 1.0 { Ok(y) } else { self.times(y, factor) }
    }
}
