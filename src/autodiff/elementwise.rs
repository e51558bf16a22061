//! Derivatives of element-wise operations. Those of broadcast operands are summed over the stretched axes.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::emit::{Emit, Site};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Binary, Op, Unary};

/// `dy·f'(x)`. Where it is cheaper, `f'` is written with the result `y`, which exists already.
pub(super) fn unary(e: &mut Emit, f: Unary, site: &Site, dy: Value) -> Result<Value, Error> {
    let (x, y) = (site.operands[0], site.y());
    match f {
        Unary::Neg => e.unary(Unary::Neg, dy),
        Unary::Abs => {
            let sign = e.unary(Unary::Sign, x)?;
            e.mul(dy, sign)
        }
        Unary::Sign => e.scale(dy, 0.0),
        Unary::Exp => e.mul(dy, y),
        Unary::Log => e.binary(Binary::Div, dy, x),
        // (√x)' = 1/(2√x)
        Unary::Sqrt => {
            let half = e.scale(dy, 0.5)?;
            e.binary(Binary::Div, half, y)
        }
        // (x^-½)' = -½·x^-³ᐟ²
        Unary::Rsqrt => {
            let square = e.mul(y, y)?;
            let cube = e.mul(square, y)?;
            let slope = e.scale(cube, -0.5)?;
            e.mul(dy, slope)
        }
        Unary::Relu => {
            let positive = greater_zero(e, x)?;
            e.keep_if(positive, dy)
        }
        Unary::LeakyRelu(slope) => {
            let positive = greater_zero(e, x)?;
            let scaled = e.scale(dy, slope)?;
            e.op(Op::Select, &[positive, dy, scaled])
        }
        // y' = y·(1 - y)
        Unary::Sigmoid => {
            let rest = e.rsub(1.0, y)?;
            let slope = e.mul(y, rest)?;
            e.mul(dy, slope)
        }
        // y' = 1 - y²
        Unary::Tanh => {
            let square = e.mul(y, y)?;
            let slope = e.rsub(1.0, square)?;
            e.mul(dy, slope)
        }
        // erf' = 2/√π·exp(-x²)
        Unary::Erf => {
            let bell = gauss(e, x, -1.0)?;
            let slope = e.scale(bell, FRAC_2_SQRT_PI)?;
            e.mul(dy, slope)
        }
        // (x·Φ)' = Φ + x·φ, with Φ = ½(1 + erf(x/√2)) and φ = exp(-x²/2)/√(2π)
        Unary::Gelu => {
            let scaled = e.scale(x, FRAC_1_SQRT_2)?;
            let erf = e.unary(Unary::Erf, scaled)?;
            let half_erf = e.scale(erf, 0.5)?;
            let half = e.scalar(0.5)?;
            let cdf = e.binary(Binary::Add, half_erf, half)?;
            let bell = gauss(e, x, -0.5)?;
            let density = e.scale(bell, 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI)?;
            let product = e.mul(x, density)?;
            let slope = e.binary(Binary::Add, cdf, product)?;
            e.mul(dy, slope)
        }
        // (x·s)' = s·(1 + x·(1 - s)) with s = sigmoid(x)
        Unary::Silu => {
            let s = e.unary(Unary::Sigmoid, x)?;
            let rest = e.rsub(1.0, s)?;
            let product = e.mul(x, rest)?;
            let one = e.scalar(1.0)?;
            let sum = e.binary(Binary::Add, product, one)?;
            let slope = e.mul(s, sum)?;
            e.mul(dy, slope)
        }
        Unary::Softplus => {
            let s = e.unary(Unary::Sigmoid, x)?;
            e.mul(dy, s)
        }
        Unary::Clamp(low, high) => {
            let (low, high) = (e.scalar(low)?, e.scalar(high)?);
            let above = e.binary(Binary::GreaterEqual, x, low)?;
            let below = e.binary(Binary::GreaterEqual, high, x)?;
            let inside = e.mul(above, below)?;
            e.keep_if(inside, dy)
        }
    }
}

fn greater_zero(e: &mut Emit, x: Value) -> Result<Value, Error> {
    let zero = e.scalar(0.0)?;
    e.binary(Binary::Greater, x, zero)
}

/// `exp(factor·x²)`
fn gauss(e: &mut Emit, x: Value, factor: f32) -> Result<Value, Error> {
    let square = e.mul(x, x)?;
    let exponent = e.scale(square, factor)?;
    e.unary(Unary::Exp, exponent)
}

/// Both partial derivatives, each summed to its operand's shape.
pub(super) fn binary(e: &mut Emit, f: Binary, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    let mut parts = Vec::with_capacity(2);
    for at in 0..2 {
        parts.push(if site.wanted[at] {
            let part = partial(e, f, site, dy, at)?;
            let shape = e.shape(site.operands[at]);
            Some(e.unbroadcast(part, &shape)?)
        } else {
            None
        });
    }
    Ok(parts)
}

/// `dy·∂f/∂(operand at)` in the result's shape.
fn partial(e: &mut Emit, f: Binary, site: &Site, dy: Value, at: usize) -> Result<Value, Error> {
    let (this, other) = (site.operands[at], site.operands[1 - at]);
    match (f, at) {
        (Binary::Add, _) | (Binary::Sub, 0) => Ok(dy),
        (Binary::Sub, _) => e.unary(Unary::Neg, dy),
        (Binary::Mul, _) => e.mul(dy, other),
        (Binary::Div, 0) => e.binary(Binary::Div, dy, other),
        // ∂(a/b)/∂b = -(a/b)/b
        (Binary::Div, _) => {
            let product = e.mul(dy, site.y())?;
            let quotient = e.binary(Binary::Div, product, this)?;
            e.unary(Unary::Neg, quotient)
        }
        (Binary::Max, _) => winner(e, this, other, this, other, dy),
        (Binary::Min, _) => winner(e, other, this, this, other, dy),
        (Binary::Greater | Binary::GreaterEqual | Binary::Equal, _) => e.scale(dy, 0.0),
    }
}

/// `dy` where `larger > smaller`, half of it where both operands are equal, else 0.
fn winner(e: &mut Emit, larger: Value, smaller: Value, a: Value, b: Value, dy: Value) -> Result<Value, Error> {
    let tie = e.binary(Binary::Equal, a, b)?;
    let half = e.scale(dy, 0.5)?;
    let shared = e.keep_if(tie, half)?;
    let wins = e.binary(Binary::Greater, larger, smaller)?;
    e.op(Op::Select, &[wins, dy, shared])
}

/// `(condition, a, b)`: the gradient goes to the side taken.
pub(super) fn select(e: &mut Emit, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    let condition = site.operands[0];
    let mut parts = vec![None];
    for at in 1..3 {
        parts.push(if site.wanted[at] {
            let zero = e.scalar(0.0)?;
            let sides = if at == 1 { [condition, dy, zero] } else { [condition, zero, dy] };
            let part = e.op(Op::Select, &sides)?;
            let shape = e.shape(site.operands[at]);
            Some(e.unbroadcast(part, &shape)?)
        } else {
            None
        });
    }
    Ok(parts)
}
