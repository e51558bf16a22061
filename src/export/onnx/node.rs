//! One node of the graph as nodes of the file.

use std::collections::{HashMap, HashSet};

use super::order::identity;
use super::writer::Writer;
use super::{elementwise, movement, reduce, windows};
use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::{Binary, Op};

/// What is added to the result of a convolution or of a product of matrices: those operators of ONNX take a bias.
///
/// ```text
///  conv2d ─▶ add(·, bias) ──▶ Conv(x, w, bias)      where nobody else reads the convolution
/// ```
pub(super) struct Biases {
    /// The operation → the addition that it takes over, and the bias.
    of: HashMap<NodeId, (NodeId, Value)>,
    /// Additions that are taken over → the value that stands for theirs.
    merged: HashMap<NodeId, Value>,
}

impl Biases {
    /// The biases among `nodes`, where `known` are the weights.
    pub(super) fn find(graph: &Graph, nodes: &[NodeId], known: impl Fn(Value) -> bool) -> Biases {
        let live: HashSet<NodeId> = nodes.iter().copied().collect();
        let mut found = Biases { of: HashMap::new(), merged: HashMap::new() };
        for &id in nodes {
            let node = graph.node(id);
            let result = id.result(0);
            let flat = node.operands.iter().all(|&v| graph.ty(v).shape.rank() == 2);
            let takes_bias = matches!(node.op, Op::Conv2d(_) | Op::Conv2dGradInput(..))
                || (matches!(node.op, Op::MatMul(_)) && flat);
            let users: Vec<NodeId> = graph.users(id).into_iter().filter(|user| live.contains(user)).collect();
            let [user] = users[..] else { continue };
            let (true, Op::Binary(Binary::Add), &[a, b]) =
                (takes_bias, &graph.node(user).op, graph.node(user).operands.as_slice())
            else {
                continue;
            };
            let bias = if a == result { b } else { a };
            let shape = &graph.ty(bias).shape;
            let per_channel = shape.rank() == 1 && shape.last() == graph.ty(result).shape.last();
            let is_output = graph.outputs().iter().any(|&(_, v)| v == result);
            if known(bias) && per_channel && !is_output {
                found.of.insert(id, (user, bias));
                found.merged.insert(user, result);
            }
        }
        found
    }

    fn bias(&self, id: NodeId) -> Option<Value> {
        self.of.get(&id).map(|&(_, bias)| bias)
    }
}

/// Writes the node `id`.
///
/// # Errors
/// [`Error::Export`] for an operation that an evaluation graph does not have; those of [`Writer::take`].
pub(super) fn write(w: &mut Writer<'_>, id: NodeId, biases: &Biases) -> Result<(), Error> {
    let y = id.result(0);
    if let Some(&sum) = biases.merged.get(&id) {
        return w.pass_on(y, sum, &identity(w.rank(sum)), <[usize]>::to_vec);
    }
    let node = w.graph.node(id);
    let (path, bias) = (node.name.as_str(), biases.bias(id));
    let wrong = || w.refuse(id, "has another number of operands than its operation");
    let one = || match node.operands[..] {
        [x] => Ok(x),
        _ => Err(wrong()),
    };
    let two = || <[Value; 2]>::try_from(node.operands.as_slice()).map_err(|_| wrong());
    let three = || <[Value; 3]>::try_from(node.operands.as_slice()).map_err(|_| wrong());
    match &node.op {
        // inputs have their form from the start, weights when they are taken
        Op::Input(_) | Op::Parameter(..) | Op::Buffer(..) | Op::Constant(_) => Ok(()),
        Op::Unary(op) => elementwise::unary(w, *op, one()?, y, path),
        Op::Binary(op) => elementwise::binary(w, *op, two()?, y, path),
        Op::Select => elementwise::select(w, three()?, y, path),
        Op::Cast(to) => elementwise::cast(w, *to, one()?, y, path),
        Op::OneHot(classes) => elementwise::one_hot(w, *classes, one()?, y, path),
        Op::Reshape(_) => movement::reshape(w, one()?, y, path),
        Op::Transpose(permutation) => movement::transpose(w, permutation, one()?, y),
        Op::Broadcast(_) => movement::broadcast(w, one()?, y, path),
        Op::Pad(pad) => movement::pad(w, pad, one()?, y, path),
        Op::Slice(slice) => movement::slice(w, slice, one()?, y, path),
        Op::Concat(axis) => movement::concat(w, *axis, &node.operands, y, path),
        Op::Gather => movement::gather(w, two()?, y, path),
        Op::Reduce(attributes) => reduce::reduce(w, attributes, one()?, y, path),
        Op::Softmax(axis) => reduce::softmax(w, "Softmax", *axis, one()?, y, path),
        Op::LogSoftmax(axis) => reduce::softmax(w, "LogSoftmax", *axis, one()?, y, path),
        Op::MatMul(matmul) => reduce::matmul(w, matmul, two()?, bias, y, path),
        Op::Conv2d(conv) => windows::conv2d(w, conv, two()?, bias, y, path),
        Op::Conv2dGradInput(conv, _) => windows::conv2d_transposed(w, conv, two()?, bias, y, path),
        Op::MaxPool(pool) => windows::max_pool(w, pool, one()?, y, path),
        Op::AvgPool(pool) => windows::avg_pool(w, pool, one()?, y, path),
        Op::BatchNormEval(epsilon) => windows::batch_norm(w, *epsilon, &node.operands, y, path),
        // refused before anything is written
        Op::BatchNorm(_)
        | Op::Random(_)
        | Op::ScatterAdd(_)
        | Op::Conv2dGradWeight(..)
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPoolGrad(..)
        | Op::BatchNormGrad
        | Op::Coefficients(_)
        | Op::GradCoefficients(_)
        | Op::Fused(_) => Err(w.refuse(id, format!("{} is not portable", node.op.kind()))),
    }
}
