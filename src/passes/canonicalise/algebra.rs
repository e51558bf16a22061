//! Rules about numbers.

use super::{Rewriter, Rule};
use crate::error::Error;
use crate::graph::{NodeId, Value};
use crate::ops::{Binary, Op, Unary};
use crate::tensor::Tensor;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "x + 0 is x", apply: add_zero },
    Rule { name: "x · 1 is x", apply: multiply_one },
    Rule { name: "--x is x", apply: double_negation },
    Rule { name: "a + -b is a - b", apply: add_negated },
    Rule { name: "division by a power of two is a product", apply: divide_by_power_of_two },
    Rule { name: "relu of what is never negative", apply: relu_of_positive },
    Rule { name: "both operands are the same", apply: same_operands },
    Rule { name: "the condition is constant", apply: constant_condition },
    Rule { name: "log of softmax is log-softmax", apply: log_of_softmax },
    Rule { name: "x > 0 is relu(x) > 0, which is there", apply: mask_of_relu },
];

fn binary(r: &Rewriter<'_>, id: NodeId) -> Option<(Binary, Value, Value)> {
    match *r.op(id) {
        Op::Binary(f) => Some((f, r.operand(id, 0), r.operand(id, 1))),
        _ => None,
    }
}

fn unary(r: &Rewriter<'_>, id: NodeId) -> Option<(Unary, Value)> {
    match *r.op(id) {
        Op::Unary(f) => Some((f, r.operand(id, 0))),
        _ => None,
    }
}

/// `x` of a value `-x`.
fn negated(r: &Rewriter<'_>, value: Value) -> Option<Value> {
    unary(r, value.node).filter(|(f, _)| *f == Unary::Neg).map(|(_, x)| x)
}

fn add_zero(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    Ok(match binary(r, id) {
        Some((Binary::Add | Binary::Sub, a, b)) if r.number(b) == Some(0.0) => Some(a),
        Some((Binary::Add, a, b)) if r.number(a) == Some(0.0) => Some(b),
        _ => None,
    })
}

fn multiply_one(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    Ok(match binary(r, id) {
        Some((Binary::Mul | Binary::Div, a, b)) if r.number(b) == Some(1.0) => Some(a),
        Some((Binary::Mul, a, b)) if r.number(a) == Some(1.0) => Some(b),
        _ => None,
    })
}

fn double_negation(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    Ok(negated(r, id.result(0)).and_then(|x| negated(r, x)))
}

fn add_negated(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let (f, a, b) = match binary(r, id) {
        Some((f @ (Binary::Add | Binary::Sub), a, b)) => (f, a, b),
        _ => return Ok(None),
    };
    let (f, a, b) = match (f, negated(r, a), negated(r, b)) {
        (Binary::Add, _, Some(b)) => (Binary::Sub, a, b),
        (Binary::Add, Some(a), None) => (Binary::Sub, b, a),
        (Binary::Sub, _, Some(b)) => (Binary::Add, a, b),
        _ => return Ok(None),
    };
    r.add(id, Op::Binary(f), &[a, b]).map(Some)
}

/// Exact: the reciprocal of a power of two is one, unless it leaves the normal numbers.
fn divide_by_power_of_two(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Some((Binary::Div, a, b)) = binary(r, id) else { return Ok(None) };
    let Some(divisor) = r.number(b) else { return Ok(None) };
    const MANTISSA: u32 = (1 << 23) - 1;
    let reciprocal = 1.0 / divisor;
    if divisor.to_bits() & MANTISSA != 0 || !divisor.is_normal() || !reciprocal.is_normal() || divisor == 1.0 {
        return Ok(None);
    }
    let shape = r.shape(b).clone();
    let factor = r.add(id, Op::Constant(Tensor::full(shape, reciprocal)), &[])?;
    r.add(id, Op::Binary(Binary::Mul), &[a, factor]).map(Some)
}

fn relu_of_positive(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Some((Unary::Relu, x)) = unary(r, id) else { return Ok(None) };
    let positive = match *r.maker(x) {
        Op::Unary(f) => match f {
            Unary::Relu | Unary::Abs | Unary::Exp | Unary::Sigmoid | Unary::Softplus | Unary::Sqrt => true,
            Unary::Clamp(low, _) => low >= 0.0,
            Unary::Neg
            | Unary::Sign
            | Unary::Log
            | Unary::Rsqrt
            | Unary::LeakyRelu(_)
            | Unary::Tanh
            | Unary::Erf
            | Unary::Gelu
            | Unary::Silu => false,
        },
        Op::Softmax(_) | Op::OneHot(_) | Op::Random(_) => true,
        _ => false,
    };
    Ok(positive.then_some(x))
}

fn same_operands(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    Ok(match r.op(id) {
        Op::Binary(Binary::Max | Binary::Min) if r.operand(id, 0) == r.operand(id, 1) => Some(r.operand(id, 0)),
        Op::Select if r.operand(id, 1) == r.operand(id, 2) => Some(r.operand(id, 1)),
        _ => None,
    })
}

fn constant_condition(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    if *r.op(id) != Op::Select {
        return Ok(None);
    }
    let Some(condition) = r.number(r.operand(id, 0)) else { return Ok(None) };
    let taken = r.operand(id, if condition != 0.0 { 1 } else { 2 });
    let shape = r.graph.node(id).results[0].shape.clone();
    if *r.shape(taken) == shape {
        return Ok(Some(taken));
    }
    r.add(id, Op::Broadcast(shape), &[taken]).map(Some)
}

fn log_of_softmax(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Some((Unary::Log, softmax)) = unary(r, id) else { return Ok(None) };
    let Op::Softmax(axis) = *r.maker(softmax) else { return Ok(None) };
    let x = r.operand(softmax.node, 0);
    r.add(id, Op::LogSoftmax(axis), &[x]).map(Some)
}

/// The derivative of a ReLU asks whether its operand is positive. Asked of the result, the operand need not
/// be kept in memory.
fn mask_of_relu(r: &mut Rewriter<'_>, id: NodeId) -> Result<Option<Value>, Error> {
    let Some((Binary::Greater, x, zero)) = binary(r, id) else { return Ok(None) };
    if r.number(zero) != Some(0.0) {
        return Ok(None);
    }
    match r.relu_of.get(&x).map(|&relu| r.resolve(relu)) {
        Some(relu) if relu != x => r.add(id, Op::Binary(Binary::Greater), &[relu, zero]).map(Some),
        _ => Ok(None),
    }
}
