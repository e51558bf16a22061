//! Element-wise operations. NaN goes through everything but comparisons, `Sign` and `Select`'s condition.

use super::RefTensor;
use super::index::{broadcast_strides, gather};
use super::math::{bf16, erf, gelu, sigmoid, softplus};
use crate::ops::{Binary, Unary};
use crate::types::{DType, Shape, TensorType};

/// One float through a unary function.
pub(super) fn unary_f64(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign => f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Relu => {
            if x <= 0.0 {
                0.0
            } else {
                x
            }
        }
        Unary::LeakyRelu(slope) => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Unary::Sigmoid => sigmoid(x),
        Unary::Tanh => x.tanh(),
        Unary::Erf => erf(x),
        Unary::Gelu => gelu(x),
        Unary::Silu => x * sigmoid(x),
        Unary::Softplus => softplus(x),
        Unary::Clamp(low, high) => {
            if x < f64::from(low) {
                f64::from(low)
            } else if x > f64::from(high) {
                f64::from(high)
            } else {
                x
            }
        }
    }
}

/// Two floats through a binary function.
pub(super) fn binary_f64(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Greater => f64::from(u8::from(a > b)),
        Binary::GreaterEqual => f64::from(u8::from(a >= b)),
        Binary::Equal => f64::from(u8::from(a == b)),
    }
}

/// Two integers: arithmetic wraps around, and a quotient by zero is zero.
fn binary_i32(op: Binary, a: i32, b: i32) -> i32 {
    match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Sub => a.wrapping_sub(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Div if b == 0 => 0,
        Binary::Div => a.wrapping_div(b),
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        Binary::Greater => i32::from(a > b),
        Binary::GreaterEqual => i32::from(a >= b),
        Binary::Equal => i32::from(a == b),
    }
}

pub(super) fn unary(op: Unary, x: &RefTensor) -> Vec<f64> {
    let integer = x.ty.dtype == DType::I32;
    // -(-2³¹) and |-2³¹| wrap around, as in a kernel
    let one = |v: f64| if integer { wrap(unary_f64(op, v)) } else { unary_f64(op, v) };
    x.data.iter().map(|&v| one(v)).collect()
}

fn wrap(x: f64) -> f64 {
    f64::from(x as i64 as i32)
}

fn stretched(x: &RefTensor, shape: &Shape) -> Vec<f64> {
    gather(&x.data, shape, &broadcast_strides(&x.ty.shape, shape), 0)
}

pub(super) fn binary(op: Binary, a: &RefTensor, b: &RefTensor, ty: &TensorType) -> Vec<f64> {
    let pairs = stretched(a, &ty.shape).into_iter().zip(stretched(b, &ty.shape));
    match ty.dtype {
        DType::F32 | DType::Bf16 => pairs.map(|(a, b)| binary_f64(op, a, b)).collect(),
        DType::I32 | DType::U8 => pairs.map(|(a, b)| f64::from(binary_i32(op, a as i32, b as i32))).collect(),
    }
}

pub(super) fn select(condition: &RefTensor, a: &RefTensor, b: &RefTensor, shape: &Shape) -> Vec<f64> {
    let branches = stretched(a, shape).into_iter().zip(stretched(b, shape));
    stretched(condition, shape).into_iter().zip(branches).map(|(c, (a, b))| if c != 0.0 { a } else { b }).collect()
}

/// Rust's `as`: towards zero, saturating, NaN to zero.
pub(super) fn cast(x: &RefTensor, to: DType) -> Vec<f64> {
    match to {
        DType::F32 => x.data.clone(),
        DType::Bf16 => x.data.iter().map(|&v| bf16(v)).collect(),
        DType::I32 => x.data.iter().map(|&v| f64::from(v as i32)).collect(),
        DType::U8 => x.data.iter().map(|&v| f64::from(v as u8)).collect(),
    }
}
