//! What may be exported: portable operations without gradients, batch statistics and random numbers.

use crate::error::Error;
use crate::graph::Graph;
use crate::ops::Op;

/// Checks every operation.
///
/// # Errors
/// [`Error::Export`] naming a node that belongs to training or to one machine, and what to export instead.
pub(super) fn expect_portable(graph: &Graph) -> Result<(), Error> {
    for node in graph.nodes().map(|id| graph.node(id)) {
        if let Some(reason) = foreign(&node.op) {
            return Err(Error::Export { path: node.name.clone(), reason });
        }
    }
    Ok(())
}

/// Why the operation is not exported.
fn foreign(op: &Op) -> Option<String> {
    let what = match op {
        Op::Random(_) => "random numbers (of dropout, say)",
        Op::BatchNorm(_) => "batch norm with the batch's own statistics",
        Op::Conv2dGradWeight(..)
        | Op::ScatterAdd(_)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPoolGrad(..)
        | Op::BatchNormGrad => op.kind(),
        Op::Fused(_) | Op::Coefficients(_) | Op::GradCoefficients(_) => {
            let reason = "is made for this machine by the compiler; export the graph that was given to it";
            return Some(format!("{} {reason}", op.kind()));
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
        | Op::BatchNormEval(_) => return None,
    };
    Some(format!("{what}: this belongs to training; export the graph of an evaluation (`Model::evaluation`)"))
}
