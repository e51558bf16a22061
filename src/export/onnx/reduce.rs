//! Reductions and softmax, over axes where the operand has them, and matrix products.

use super::order::{Order, identity, inverse, last_two_swapped};
use super::writer::{Writer, int, ints};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{MatMul, Reduce, ReduceKind};

/// Sum, mean, maximum or minimum.
pub(super) fn reduce(w: &mut Writer<'_>, reduce: &Reduce, x: Value, y: Value, path: &str) -> Result<(), Error> {
    if reduce.axes.is_empty() {
        // ONNX takes no axes for all axes
        let plain = identity(w.rank(x));
        return w.pass_on(y, x, &plain, <[usize]>::to_vec);
    }
    let order = w.order(x);
    let at = inverse(&order);
    let mut axes: Vec<usize> = reduce.axes.iter().map(|&axis| at[axis]).collect();
    axes.sort_unstable();
    let left = if reduce.keep_dims { order.clone() } else { without(&order, &reduce.axes) };
    let x = w.take(x, &order)?;
    let keep = int("keepdims", i64::from(reduce.keep_dims));
    let listed = |w: &mut Writer<'_>, kind: &str, x: String| {
        w.node(kind, &[x], vec![ints("axes", axes.iter().copied()), keep.clone()], path)
    };
    let tensor = match reduce.kind {
        // the sum alone takes its axes as an operand in opset 17
        ReduceKind::Sum => {
            let axes = w.integers(&axes.iter().map(|&a| a as i64).collect::<Vec<_>>(), &format!("{path}.axes"));
            w.node("ReduceSum", &[x, axes], vec![keep], path)
        }
        ReduceKind::Mean => listed(w, "ReduceMean", x),
        ReduceKind::Max => listed(w, "ReduceMax", x),
        ReduceKind::Min => listed(w, "ReduceMin", x),
    };
    w.set(y, left, tensor);
    Ok(())
}

/// An order without the axes `gone`, the others counted anew.
fn without(order: &[usize], gone: &[usize]) -> Order {
    let number = |axis: usize| axis - gone.iter().filter(|&&g| g < axis).count();
    order.iter().filter(|axis| !gone.contains(axis)).map(|&axis| number(axis)).collect()
}

/// `Softmax` or `LogSoftmax` along an axis.
pub(super) fn softmax(
    w: &mut Writer<'_>,
    kind: &str,
    axis: usize,
    x: Value,
    y: Value,
    path: &str,
) -> Result<(), Error> {
    let order = w.order(x);
    let x = w.take(x, &order)?;
    let tensor = w.node(kind, &[x], vec![int("axis", inverse(&order)[axis] as i64)], path);
    w.set(y, order, tensor);
    Ok(())
}

/// A matrix product: `Gemm` with its transposes and a bias for two matrices, else `MatMul`.
pub(super) fn matmul(
    w: &mut Writer<'_>,
    attributes: &MatMul,
    [a, b]: [Value; 2],
    bias: Option<Value>,
    y: Value,
    path: &str,
) -> Result<(), Error> {
    let flat = w.rank(a) == 2 && w.rank(b) == 2;
    let order = |rank: usize, swapped: bool| if swapped { last_two_swapped(rank) } else { identity(rank) };
    let (swap_a, swap_b) = (attributes.trans_a && !flat, attributes.trans_b && !flat);
    let mut operands = vec![w.take(a, &order(w.rank(a), swap_a))?, w.take(b, &order(w.rank(b), swap_b))?];
    let tensor = if flat {
        if let Some(bias) = bias {
            operands.push(w.take(bias, &[0])?);
        }
        let flags = [("transA", attributes.trans_a), ("transB", attributes.trans_b)];
        let attributes = flags.iter().filter(|(_, set)| *set).map(|(name, _)| int(name, 1)).collect();
        w.node("Gemm", &operands, attributes, path)
    } else {
        w.node("MatMul", &operands, Vec::new(), path)
    };
    w.set(y, identity(w.rank(y)), tensor);
    Ok(())
}
