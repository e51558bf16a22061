//! What an inference graph may hold: portable operations without gradients, batch statistics and random numbers.

use crate::error::Error;
use crate::graph::Graph;
use crate::ops::Op;

/// Checks every operation.
///
/// # Errors
/// [`Error::Operands`] naming a node that an inference graph cannot have, and what to export instead.
pub(super) fn expect_portable(graph: &Graph) -> Result<(), Error> {
    for id in graph.nodes() {
        let node = graph.node(id);
        let Some(reason) = foreign(&node.op) else { continue };
        let operands = node.operands.iter().map(|&v| graph.ty(v).to_string()).collect::<Vec<_>>().join(", ");
        let (path, op) = (node.name.clone(), node.op.kind().to_string());
        return Err(Error::Operands { path, op, operands, reason: reason.to_string() });
    }
    Ok(())
}

/// Why an inference graph does not have the operation.
fn foreign(op: &Op) -> Option<&'static str> {
    match op {
        Op::Random(_) => Some("draws random numbers; export the evaluation graph, which has no dropout"),
        Op::BatchNorm(_) => {
            Some("takes the statistics of its batch; export the evaluation graph, which has running ones")
        }
        Op::Conv2dGradWeight(..)
        | Op::ScatterAdd(_)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPoolGrad(..)
        | Op::BatchNormGrad => Some("belongs to training; export the evaluation graph"),
        Op::Fused(_) | Op::Coefficients(_) | Op::GradCoefficients(_) => {
            Some("is a kernel of one machine; export the graph as it was before the passes")
        }
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
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
        | Op::Gather
        | Op::Conv2d(_)
        // a transposed convolution
        | Op::Conv2dGradInput(..)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::BatchNormEval(_) => None,
    }
}
