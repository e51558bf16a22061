//! The derivative table: for each operation, which operands carry a gradient and what it is.
//!
//! A rule maps the gradients that arrive at the results (`None`: the loss does not depend on that
//! result) to one contribution for each wanted operand. It writes nothing for the others.

use super::emit::{Emit, Site};
use super::{elementwise, linear, movement, norm, pool, reduce};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Binary, Op, Unary};
use crate::types::DType;

/// Whether a gradient flows from the operation to its operand `at`. Where it does not, the result is a
/// step function of the operand (zero derivative wherever there is one), or does not depend on it.
/// Operations without a derivative do carry: they are an error in [`derivative`].
pub(super) fn flows(op: &Op, at: usize) -> bool {
    match op {
        Op::Unary(u) => !matches!(u, Unary::Sign),
        Op::Binary(b) => !matches!(b, Binary::Greater | Binary::GreaterEqual | Binary::Equal),
        Op::Select => at != 0,
        Op::MaxPoolIndex(_) => false,
        Op::MaxPoolGrad(..) => at == 0,
        // y does not depend on the running statistics
        Op::BatchNorm(_) => at < 3,
        // ids are integers
        Op::Gather | Op::ScatterAdd(_) => at == 0,
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Random(_)
        | Op::Cast(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::OneHot(_)
        | Op::Reduce(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::MatMul(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradInput(..)
        | Op::Conv2dGradWeight(..)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::AvgPoolGrad(..)
        | Op::BatchNormEval(_)
        | Op::BatchNormGrad
        | Op::Coefficients(_)
        | Op::GradCoefficients(_)
        | Op::Fused(_) => true,
    }
}

/// The contributions of a node to its operands' gradients, in the operands' order.
///
/// # Errors
/// [`Error::Gradient`] naming the node when its operation has no derivative.
pub(super) fn derivative(e: &mut Emit, site: &Site, arriving: &[Option<Value>]) -> Result<Vec<Option<Value>>, Error> {
    // only batch norm and machine-level operations have more than one result
    if let Op::BatchNorm(_) = site.op {
        return norm::batch_norm(e, site, arriving);
    }
    let Some(dy) = arriving.first().copied().flatten() else {
        return Err(e.no_derivative(site, "a gradient arrives at a result other than its first"));
    };
    // an integer on the path comes from a cast: the rule below is the operation that met it
    let integer = |at: usize| e.graph.ty(site.operands[at]).dtype != DType::F32;
    if (0..site.operands.len()).any(|at| site.wanted[at] && integer(at)) {
        return Err(e.no_derivative(site, "its operand is of integers, and a value that needs a gradient leads to it"));
    }
    let one = |r: Result<Value, Error>| r.map(|v| vec![Some(v)]);
    match &site.op {
        Op::Unary(f) => one(elementwise::unary(e, *f, site, dy)),
        Op::Binary(f) => elementwise::binary(e, *f, site, dy),
        Op::Select => elementwise::select(e, site, dy),
        Op::Cast(_) => one(Ok(dy)), // f32 to f32, as integers were refused above

        Op::Reshape(_) => one(movement::reshape(e, site, dy)),
        Op::Transpose(permutation) => one(movement::transpose(e, permutation, dy)),
        Op::Broadcast(_) => one(movement::broadcast(e, site, dy)),
        Op::Pad(pad) => one(movement::pad(e, pad, site, dy)),
        Op::Slice(slice) => one(movement::slice(e, slice, site, dy)),
        Op::Concat(axis) => movement::concat(e, *axis, site, dy),
        Op::Gather => movement::gather(e, site, dy),
        Op::ScatterAdd(_) => movement::scatter_add(e, site, dy),

        Op::Reduce(r) => one(reduce::reduce(e, r, site, dy)),
        Op::Softmax(axis) => one(reduce::softmax(e, *axis, site, dy)),
        Op::LogSoftmax(axis) => one(reduce::log_softmax(e, *axis, site, dy)),

        Op::MatMul(m) => linear::matmul(e, *m, site, dy),
        Op::Conv2d(c) => linear::conv2d(e, *c, site, dy),
        Op::Conv2dGradInput(c, _) => linear::conv2d_grad_input(e, *c, site, dy),
        Op::Conv2dGradWeight(c, _) => linear::conv2d_grad_weight(e, *c, site, dy),

        Op::MaxPool(p) => one(pool::max_pool(e, *p, site, dy)),
        Op::AvgPool(p) => one(pool::avg_pool(e, *p, site, dy)),
        Op::AvgPoolGrad(p, _) => one(pool::avg_pool_grad(e, *p, dy)),

        Op::BatchNormEval(epsilon) => norm::batch_norm_eval(e, *epsilon, site, dy),

        Op::BatchNorm(_) | Op::BatchNormGrad | Op::MaxPoolGrad(..) => {
            Err(e.no_derivative(site, "second derivatives of it are not supported"))
        }
        Op::Coefficients(_) | Op::GradCoefficients(_) | Op::Fused(_) => {
            Err(e.no_derivative(site, "differentiate before the graph is lowered and fused"))
        }
        Op::OneHot(_) | Op::Random(_) => Err(e.no_derivative(site, "its operands are integers")),
        Op::MaxPoolIndex(_) => Err(e.no_derivative(site, "it is a step function")),
        Op::Input(_) | Op::Parameter(..) | Op::Buffer(..) | Op::Constant(_) => Ok(Vec::new()),
    }
}
