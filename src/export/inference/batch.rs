//! The same graph for another number of samples.
//!
//! ```text
//!   images [1,32,32,3] ─▶ conv [1,32,32,16] ─▶ … ─▶ logits [1,10]        batch 1
//!   images [8,32,32,3] ─▶ conv [8,32,32,16] ─▶ … ─▶ logits [8,10]        with_batch(graph, 8)
//! ```
//!
//! The first axis of the first input is the batch. A value that depends on an input carries it as its first axis;
//! an operation that would move, cut, sum or mix that axis has no other batch size, and the error names it.

use std::collections::HashMap;

use crate::error::Error;
use crate::graph::{Graph, Node, Value};
use crate::ops::{MatMul, Op, Slice};
use crate::types::{Shape, TensorType};

/// The batch size of `graph`: the first extent of its first input that has axes, 1 without one.
pub(super) fn batch_of(graph: &Graph) -> usize {
    graph.inputs().find_map(|id| graph.node(id).results[0].shape.0.first().copied()).unwrap_or(1)
}

/// `graph` for `batch` samples.
///
/// # Errors
/// [`Error::Option`] for an empty batch; [`Error::Operands`] naming a node that treats the batch like any other axis.
pub(super) fn with_batch(graph: &Graph, batch: usize) -> Result<Graph, Error> {
    if batch == 0 {
        let reason = "a batch holds at least one sample".to_string();
        return Err(Error::Option { option: "batch".to_string(), reason });
    }
    let change = Change { graph, old: batch_of(graph), new: batch };
    if change.old == batch {
        return Ok(graph.clone());
    }
    let mut carries = vec![false; graph.len()];
    let mut to: HashMap<Value, Value> = HashMap::new();
    let mut made = Graph::new(graph.name());
    for id in graph.topological() {
        let node = graph.node(id);
        let carried: Vec<bool> = node.operands.iter().map(|v| carries[v.node.index()]).collect();
        let op = change.op(node, &carried).map_err(|reason| change.refuse(node, reason))?;
        carries[id.index()] = carried.contains(&true)
            || matches!((&node.op, node.results.first()), (Op::Input(_) | Op::Broadcast(_), Some(ty)) if change.leads(&ty.shape));
        let operands: Vec<Value> = node.operands.iter().map(|v| to[v]).collect();
        let new = made.insert(op, &operands, node.name.clone())?;
        for (port, ty) in node.results.iter().enumerate() {
            let expected = if carries[id.index()] { change.ty(ty) } else { ty.clone() };
            if *made.ty(new.result(port)) != expected {
                return Err(change.refuse(node, format!("would give {}, not {expected}", made.ty(new.result(port)))));
            }
            to.insert(id.result(port), new.result(port));
        }
    }
    for (name, value) in graph.outputs() {
        made.set_output(name, to[value])?;
    }
    Ok(made)
}

/// From one batch size to another.
struct Change<'g> {
    graph: &'g Graph,
    old: usize,
    new: usize,
}

impl Change<'_> {
    fn leads(&self, shape: &Shape) -> bool {
        shape.0.first() == Some(&self.old)
    }
    fn shape(&self, shape: &Shape) -> Shape {
        let mut shape = shape.clone();
        shape.0.iter_mut().take(1).for_each(|extent| *extent = self.new);
        shape
    }
    fn ty(&self, ty: &TensorType) -> TensorType {
        TensorType { dtype: ty.dtype, shape: self.shape(&ty.shape) }
    }
    fn refuse(&self, node: &Node, reason: String) -> Error {
        Error::Operands {
            path: node.name.clone(),
            op: node.op.kind().to_string(),
            operands: node.operands.iter().map(|&v| self.graph.ty(v).to_string()).collect::<Vec<_>>().join(", "),
            reason: format!("has no form for a batch of {} instead of {}: it {reason}", self.new, self.old),
        }
    }

    /// The operation of `node` for the new batch size; `carried` says which operands have the batch as first axis.
    fn op(&self, node: &Node, carried: &[bool]) -> Result<Op, String> {
        let ty = |at: usize| self.graph.ty(node.operands[at]);
        let any = carried.contains(&true);
        let same = || Ok(node.op.clone());
        let only_first = || if carried[1..].contains(&true) { Err("computes its weights".to_string()) } else { same() };
        let axis = |axis: usize, does: &str| if any && axis == 0 { Err(format!("{does} the batch")) } else { same() };
        match &node.op {
            Op::Input(of) => Ok(Op::Input(if self.leads(&of.shape) { self.ty(of) } else { of.clone() })),
            Op::Parameter(..) | Op::Buffer(..) | Op::Constant(_) | Op::Unary(_) | Op::Cast(_) => same(),
            Op::Binary(_) | Op::Select => self.aligned(node, carried).and_then(|()| same()),
            Op::Reshape(shape) if any && !self.leads(shape) => Err("moves samples into another axis".to_string()),
            Op::Reshape(shape) if any => Ok(Op::Reshape(self.shape(shape))),
            Op::Transpose(order) if any && order.first() != Some(&0) => Err("moves the batch".to_string()),
            Op::Broadcast(shape) if any && shape.rank() != ty(0).shape.rank() => Err("moves the batch".to_string()),
            Op::Broadcast(shape) if self.leads(shape) => Ok(Op::Broadcast(self.shape(shape))),
            Op::Pad(pad) if any && (pad.low[0], pad.high[0]) != (0, 0) => Err("pads the batch".to_string()),
            Op::Slice(slice) if any => self.slice(slice),
            Op::Concat(0) if any => Err("joins batches".to_string()),
            Op::Concat(_) if any && carried.contains(&false) => Err("joins samples with weights".to_string()),
            Op::Reduce(reduce) if any && reduce.axes.contains(&0) => Err("reduces the batch".to_string()),
            Op::Softmax(at) | Op::LogSoftmax(at) => axis(*at, "normalises over"),
            Op::MatMul(matmul) if any => self.matmul(matmul, [ty(0), ty(1)], carried).and_then(|()| same()),
            Op::Conv2d(_) | Op::BatchNormEval(_) => only_first(),
            // a transposed convolution
            Op::Conv2dGradInput(conv, shape) if any => {
                only_first().map(|_| Op::Conv2dGradInput(*conv, self.shape(shape)))
            }
            Op::Gather if carried[0] => Err("computes its table".to_string()),
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Pad(_) | Op::Slice(_) | Op::Concat(_) => same(),
            Op::Reduce(_) | Op::MatMul(_) | Op::OneHot(_) | Op::MaxPool(_) | Op::AvgPool(_) => same(),
            Op::Gather | Op::Conv2dGradInput(..) => same(),
            Op::Random(_)
            | Op::ScatterAdd(_)
            | Op::Conv2dGradWeight(..)
            | Op::MaxPoolIndex(_)
            | Op::MaxPoolGrad(..)
            | Op::AvgPoolGrad(..)
            | Op::BatchNorm(_)
            | Op::BatchNormGrad
            | Op::Coefficients(_)
            | Op::GradCoefficients(_)
            | Op::Fused(_) => Err("belongs to training or to one machine".to_string()),
        }
    }

    /// Under NumPy's rule axes are aligned at the end: the batch stays the first axis if whoever carries it has all axes.
    fn aligned(&self, node: &Node, carried: &[bool]) -> Result<(), String> {
        let rank = node.results[0].shape.rank();
        for (&operand, &carries) in node.operands.iter().zip(carried) {
            let shape = &self.graph.ty(operand).shape;
            if carries && shape.rank() < rank {
                return Err("moves the batch".to_string());
            }
            let table = !carries && shape.rank() == rank && shape.0.first().is_some_and(|&extent| extent != 1);
            if table && carried.contains(&true) {
                return Err("has numbers for each sample of its batch".to_string());
            }
        }
        Ok(())
    }

    fn slice(&self, slice: &Slice) -> Result<Op, String> {
        if (slice.start[0], slice.stop[0], slice.step[0]) != (0, self.old, 1) {
            return Err("takes some of the samples".to_string());
        }
        let mut slice = slice.clone();
        slice.stop[0] = self.new;
        Ok(Op::Slice(slice))
    }

    fn matmul(&self, matmul: &MatMul, types: [&TensorType; 2], carried: &[bool]) -> Result<(), String> {
        let [a, b] = types.map(|ty| ty.shape.rank());
        if !carried[0] || (a == 2 && matmul.trans_a) || (carried[1] && b == 2) {
            return Err("multiplies along the batch".to_string());
        }
        if b > 2 && !carried[1] {
            return Err("has weights for each sample of its batch".to_string());
        }
        Ok(())
    }
}
