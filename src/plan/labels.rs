//! Which inputs are labels or row numbers, so that a session can refuse those that name no class or row.
//!
//! ```text
//!  input u8[2,3] ──▶ cast i32 ──▶ reshape [6] ──▶ one-hot of 10 classes      every element: below 10
//!                                            └──▶ gather from a table of 7 rows               below 7
//! ```

use super::tasks::Tasks;
use crate::graph::{Graph, Node, Value};
use crate::ops::Op;
use crate::types::DType;

/// The operand whose elements must be below a number, and that number.
pub(super) fn limited(graph: &Graph, node: &Node) -> Option<(Value, usize)> {
    if let Op::OneHot(classes) = node.op {
        Some((node.operands[0], classes))
    } else if let Op::ScatterAdd(rows) = node.op {
        Some((node.operands[1], rows))
    } else if node.op == Op::Gather {
        Some((node.operands[1], graph.ty(node.operands[0]).shape.0[0]))
    } else {
        None
    }
}

impl Tasks {
    /// The inputs whose elements become such labels must be below `classes`.
    pub(super) fn limit_labels(&mut self, graph: &Graph, labels: Value, classes: usize, item_of: &[Vec<usize>]) {
        let (mut stack, mut seen) = (vec![labels], vec![false; graph.len()]);
        while let Some(value) = stack.pop() {
            if std::mem::replace(&mut seen[value.node.index()], true) {
                continue;
            }
            let node = graph.node(value.node);
            let item = item_of[value.node.index()][value.port as usize];
            if let Some(input) = self.inputs.iter_mut().find(|i| i.item == item) {
                input.classes = Some(input.classes.map_or(classes, |c| c.min(classes)));
            } else if keeps_labels(graph, node) {
                stack.extend(&node.operands);
            }
        }
    }
}

/// Whether the elements of a node's result are all of its operands' elements, moved or repeated. Not so for
/// a slice: the part that is left out may hold anything.
fn keeps_labels(graph: &Graph, node: &Node) -> bool {
    match &node.op {
        Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Concat(_) => true,
        Op::Cast(to) => {
            let integer = |dtype: DType| matches!(dtype, DType::I32 | DType::U8);
            node.operands.iter().all(|&v| graph.ty(v).dtype == *to || (integer(graph.ty(v).dtype) && *to == DType::I32))
        }
        Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Random(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Pad(_)
        | Op::Slice(_)
        | Op::OneHot(_)
        | Op::Gather
        | Op::ScatterAdd(_)
        | Op::Reduce(_)
        | Op::Softmax(_)
        | Op::LogSoftmax(_)
        | Op::MatMul(_)
        | Op::Conv2d(_)
        | Op::Conv2dGradInput(..)
        | Op::Conv2dGradWeight(..)
        | Op::MaxPool(_)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPool(_)
        | Op::AvgPoolGrad(..)
        | Op::BatchNorm(_)
        | Op::BatchNormEval(_)
        | Op::BatchNormGrad
        | Op::Coefficients(_)
        | Op::GradCoefficients(_)
        | Op::Fused(_) => false,
    }
}
