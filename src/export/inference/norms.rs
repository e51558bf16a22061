//! A batch norm that no convolution can take in, as one multiply-add: `x·scale + shift`.

use crate::error::Error;
use crate::graph::{Graph, Patch, Value};
use crate::ops::{Binary, Op, Unary};
use crate::tensor::Tensor;

/// Replaces every inference batch norm of `graph`, with `scale = gamma/√(var + ε)` and `shift = beta - mean·scale`.
pub(super) fn split(graph: &mut Graph) -> Result<(), Error> {
    let mut patch = Patch::new();
    for id in graph.topological() {
        let node = graph.node(id).clone();
        let (Op::BatchNormEval(epsilon), &[x, gamma, beta, mean, var]) = (&node.op, node.operands.as_slice()) else {
            continue;
        };
        let mut add = |op: Op, operands: &[Value], part: &str| {
            graph.insert(op, operands, format!("{}.{part}", node.name)).map(|id| id.result(0))
        };
        let epsilon = add(Op::Constant(Tensor::scalar(*epsilon)), &[], "epsilon")?;
        let var = add(Op::Binary(Binary::Add), &[var, epsilon], "var_epsilon")?;
        let rstd = add(Op::Unary(Unary::Rsqrt), &[var], "rstd")?;
        let scale = add(Op::Binary(Binary::Mul), &[gamma, rstd], "scale")?;
        let mean_scale = add(Op::Binary(Binary::Mul), &[mean, scale], "mean_scale")?;
        let shift = add(Op::Binary(Binary::Sub), &[beta, mean_scale], "shift")?;
        let scaled = add(Op::Binary(Binary::Mul), &[x, scale], "scaled")?;
        let y = add(Op::Binary(Binary::Add), &[scaled, shift], "shifted")?;
        patch.redirect(id.result(0), y);
    }
    patch.apply(graph, "export")
}
