//! Element-wise operations with NumPy broadcasting.

use serde::{Deserialize, Serialize};

use super::{Mismatch, expect_f32};
use crate::types::{DType, TensorType};

/// Functions of one number. All but `Neg`, `Abs` and `Sign` take f32 only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Unary {
    /// `-x`
    Neg,
    /// `|x|`; its derivative is `Sign`.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// `eˣ`
    Exp,
    /// `ln x`
    Log,
    /// `√x`
    Sqrt,
    /// `1/√x`
    Rsqrt,
    /// `max(x, 0)`; its derivative at 0 is 0, as in PyTorch and Keras.
    Relu,
    /// `x > 0 ? x : slope·x`
    LeakyRelu(f32),
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Error function.
    Erf,
    /// `x·Φ(x)` with the exact normal distribution (Hendrycks & Gimpel 2016).
    Gelu,
    /// `x·sigmoid(x)` (Swish).
    Silu,
    /// `ln(1 + eˣ)`
    Softplus,
    /// Limits to `[low, high]`; the derivative is 1 inside and at the limits, 0 outside, as in PyTorch.
    Clamp(f32, f32),
}

impl Unary {
    /// The name in texts.
    pub fn name(&self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Abs => "abs",
            Unary::Sign => "sign",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Sqrt => "sqrt",
            Unary::Rsqrt => "rsqrt",
            Unary::Relu => "relu",
            Unary::LeakyRelu(_) => "leaky_relu",
            Unary::Sigmoid => "sigmoid",
            Unary::Tanh => "tanh",
            Unary::Erf => "erf",
            Unary::Gelu => "gelu",
            Unary::Silu => "silu",
            Unary::Softplus => "softplus",
            Unary::Clamp(..) => "clamp",
        }
    }

    pub(super) fn infer(&self, x: &TensorType) -> Result<TensorType, Mismatch> {
        let integer = matches!(self, Unary::Neg | Unary::Abs | Unary::Sign) && x.dtype == DType::I32;
        if !integer {
            expect_f32(x, "the operand")?;
        }
        if let Unary::Clamp(low, high) = self
            && (low > high || low.is_nan() || high.is_nan())
        {
            return Err(Mismatch::new(format!("the lower limit {low} must not exceed the upper limit {high}")));
        }
        Ok(x.clone())
    }
}

/// Functions of two numbers, on f32 or on i32 (not mixed). Comparisons give 1 or 0 in the operands' type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b` (f32 only in kernels; integers truncate)
    Div,
    /// The larger; the gradient goes to `a` on a tie half, to `b` half, as in PyTorch.
    Max,
    /// The smaller.
    Min,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterEqual,
    /// `a == b`
    Equal,
}

impl Binary {
    /// The name in texts.
    pub fn name(&self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Max => "max",
            Binary::Min => "min",
            Binary::Greater => "greater",
            Binary::GreaterEqual => "greater_equal",
            Binary::Equal => "equal",
        }
    }
}

pub(super) fn infer_binary(a: &TensorType, b: &TensorType) -> Result<TensorType, Mismatch> {
    if a.dtype != b.dtype {
        return Err(Mismatch::new(format!("both operands must have one element type, got {a} and {b}; cast one")));
    }
    if a.dtype == DType::U8 {
        return Err(Mismatch::new(format!("u8 has no arithmetic, got {a}; cast to f32 or i32 first")));
    }
    match a.shape.broadcast(&b.shape) {
        Some(shape) => Ok(TensorType::new(a.dtype, shape)),
        None => Err(Mismatch::new(format!(
            "shapes {} and {} do not broadcast: aligned at the end, each pair of extents must be equal or 1",
            a.shape, b.shape
        ))),
    }
}

pub(super) fn infer_select(c: &TensorType, a: &TensorType, b: &TensorType) -> Result<TensorType, Mismatch> {
    let ab = infer_binary(a, b)?;
    if c.dtype != ab.dtype {
        return Err(Mismatch::new(format!("the condition must have the operands' type, got {c} with {a} and {b}")));
    }
    match c.shape.broadcast(&ab.shape) {
        Some(shape) => Ok(TensorType::new(ab.dtype, shape)),
        None => Err(Mismatch::new(format!("the condition {c} does not broadcast with {ab}"))),
    }
}
