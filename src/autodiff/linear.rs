//! Derivatives of what is linear in each operand: matrix products and convolutions. A convolution and
//! its two gradients are each other's derivatives, so that these may be differentiated any number of times.

use super::emit::{Emit, Site};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Conv2d, MatMul, Op};

/// For `Y = A·B`: `dA = dY·Bᵀ`, `dB = Aᵀ·dY`; the flags say how each is stored.
pub(super) fn matmul(e: &mut Emit, m: MatMul, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    let (a, b) = (site.operands[0], site.operands[1]);
    let left = if site.wanted[0] { Some(matmul_left(e, m, a, b, dy)?) } else { None };
    let right = if site.wanted[1] { Some(matmul_right(e, m, a, b, dy)?) } else { None };
    Ok(vec![left, right])
}

fn matmul_left(e: &mut Emit, m: MatMul, a: Value, b: Value, dy: Value) -> Result<Value, Error> {
    let da = if m.trans_a {
        // dAᵀ = B·dYᵀ
        e.op(Op::MatMul(MatMul { trans_a: m.trans_b, trans_b: true }), &[b, dy])?
    } else {
        e.op(Op::MatMul(MatMul { trans_a: false, trans_b: !m.trans_b }), &[dy, b])?
    };
    let shape = e.shape(a);
    e.unbroadcast(da, &shape)
}

fn matmul_right(e: &mut Emit, m: MatMul, a: Value, b: Value, dy: Value) -> Result<Value, Error> {
    let shared = e.shape(a).rank() > e.shape(b).rank();
    let (mut a, mut dy) = (a, dy);
    // batches that share `b` and hold rows of samples are one tall matrix
    if shared && !m.trans_a {
        for operand in [&mut a, &mut dy] {
            let shape = e.shape(*operand);
            *operand = e.reshape(*operand, [shape.elements() / shape.last(), shape.last()].into())?;
        }
    }
    let db = if m.trans_b {
        e.op(Op::MatMul(MatMul { trans_a: true, trans_b: m.trans_a }), &[dy, a])?
    } else {
        e.op(Op::MatMul(MatMul { trans_a: !m.trans_a, trans_b: false }), &[a, dy])?
    };
    let shape = e.shape(b);
    e.unbroadcast(db, &shape)
}

/// `(x, w)`
pub(super) fn conv2d(e: &mut Emit, c: Conv2d, site: &Site, dy: Value) -> Result<Vec<Option<Value>>, Error> {
    let (x, w) = (site.operands[0], site.operands[1]);
    let dx = if site.wanted[0] { Some(grad_input(e, c, dy, w, x)?) } else { None };
    let dw = if site.wanted[1] { Some(grad_weight(e, c, x, dy, w)?) } else { None };
    Ok(vec![dx, dw])
}

/// `(dy, w)`; what arrives is the gradient `g` of `dx`, a tensor like `x`.
pub(super) fn conv2d_grad_input(e: &mut Emit, c: Conv2d, site: &Site, g: Value) -> Result<Vec<Option<Value>>, Error> {
    let (dy, w) = (site.operands[0], site.operands[1]);
    let of_dy = if site.wanted[0] { Some(e.op(Op::Conv2d(c), &[g, w])?) } else { None };
    let of_w = if site.wanted[1] { Some(grad_weight(e, c, g, dy, w)?) } else { None };
    Ok(vec![of_dy, of_w])
}

/// `(x, dy)`; what arrives is the gradient `g` of `dw`, a tensor like `w`.
pub(super) fn conv2d_grad_weight(e: &mut Emit, c: Conv2d, site: &Site, g: Value) -> Result<Vec<Option<Value>>, Error> {
    let (x, dy) = (site.operands[0], site.operands[1]);
    let of_x = if site.wanted[0] { Some(grad_input(e, c, dy, g, x)?) } else { None };
    let of_dy = if site.wanted[1] { Some(e.op(Op::Conv2d(c), &[x, g])?) } else { None };
    Ok(vec![of_x, of_dy])
}

fn grad_input(e: &mut Emit, c: Conv2d, dy: Value, w: Value, x: Value) -> Result<Value, Error> {
    let shape = e.shape(x);
    e.op(Op::Conv2dGradInput(c, shape), &[dy, w])
}

fn grad_weight(e: &mut Emit, c: Conv2d, x: Value, dy: Value, w: Value) -> Result<Value, Error> {
    let shape = e.shape(w);
    e.op(Op::Conv2dGradWeight(c, shape), &[x, dy])
}
