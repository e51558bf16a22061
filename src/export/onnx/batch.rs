//! Which axis of each value grows with the batch, so that a file may leave the batch open.
//!
//! ```text
//!  images [8*, 28, 28, 1] ─▶ reshape [8*, 784] ─▶ matmul [8*, 10]      * the batch: extent 8 in the graph, any in ONNX
//! ```
//!
//! The graph has one extent for the batch. An operation that would need to know it (a constant of the batch's extent, a
//! border around it, a reshape that moves it behind other axes) is refused by name.

use std::collections::HashMap;

use crate::error::Error;
use crate::graph::{Graph, NodeId, Value};
use crate::ops::{MatMul, Op};

/// An open batch; the default is a fixed one.
#[derive(Default)]
pub(super) struct Batch {
    /// Its extent in the graph.
    pub(super) extent: usize,
    axes: HashMap<Value, usize>,
}

impl Batch {
    /// The axis of `value` that grows with the batch.
    pub(super) fn axis(&self, value: Value) -> Option<usize> {
        self.axes.get(&value).copied()
    }
}

/// Follows the batch from the leading axes of the inputs. `nodes` are in topological order.
///
/// # Errors
/// [`Error::Export`] for inputs that do not share a leading extent, and for a node that needs to know the batch.
pub(super) fn open(graph: &Graph, nodes: &[NodeId]) -> Result<Batch, Error> {
    let refuse = |id: NodeId, reason: &str| Error::Export {
        path: graph.node(id).name.clone(),
        reason: format!("{reason}; export it with a fixed batch"),
    };
    let mut batch = None;
    let mut axes = HashMap::new();
    for &id in nodes {
        let node = graph.node(id);
        if let Op::Input(ty) = &node.op {
            match (batch, ty.shape.0.first()) {
                (_, None) => {}
                (Some(batch), Some(&extent)) if batch != extent => {
                    return Err(refuse(id, &format!("its leading axis is {extent}, that of another input {batch}")));
                }
                (_, Some(&extent)) => {
                    batch = Some(extent);
                    axes.insert(id.result(0), 0);
                }
            }
            continue;
        }
        let of = |operand: usize| node.operands.get(operand).and_then(|v| axes.get(v)).copied();
        if (0..node.operands.len()).all(|operand| of(operand).is_none()) {
            continue;
        }
        let found = Walk { graph, id, batch: batch.unwrap_or(1), of: &of }.result();
        // results share the batch's axis, or there is one result
        if let Some(axis) = found.map_err(|reason| refuse(id, &reason))? {
            axes.insert(id.result(0), axis);
        }
    }
    Ok(Batch { extent: batch.unwrap_or(1), axes })
}

/// A node at which some operand has a batch axis.
struct Walk<'a> {
    graph: &'a Graph,
    id: NodeId,
    batch: usize,
    of: &'a dyn Fn(usize) -> Option<usize>,
}

impl Walk<'_> {
    fn shape(&self, operand: usize) -> &[usize] {
        &self.graph.ty(self.graph.node(self.id).operands[operand]).shape.0
    }
    fn made(&self) -> &[usize] {
        &self.graph.ty(self.id.result(0)).shape.0
    }

    /// The batch's axis of the result.
    fn result(&self) -> Result<Option<usize>, String> {
        let node = self.graph.node(self.id);
        let same = (self.of)(0);
        let at = same.unwrap_or(0);
        let untouched = |free: bool, what: &str| if free { Ok(same) } else { Err(format!("{what} the batch")) };
        match &node.op {
            Op::Unary(_) | Op::Cast(_) | Op::OneHot(_) | Op::Softmax(_) | Op::LogSoftmax(_) => Ok(same),
            Op::Binary(_) | Op::Select => self.stretched(),
            Op::Reshape(_) => self.reshaped(at).map(Some),
            Op::Transpose(permutation) => Ok(permutation.iter().position(|&axis| axis == at)),
            Op::Broadcast(shape) => {
                let axis = at + shape.rank() - self.shape(0).len();
                // an axis of extent 1 may be stretched to what the graph says, but then it is the batch no more
                if shape.0[axis] == self.shape(0)[at] { Ok(Some(axis)) } else { Err("stretches the batch".to_string()) }
            }
            Op::Pad(pad) => untouched((pad.low[at], pad.high[at]) == (0, 0), "puts a border around"),
            Op::Slice(slice) => untouched(
                (slice.start[at], slice.stop[at], slice.step[at]) == (0, self.shape(0)[at], 1),
                "takes a part of",
            ),
            Op::Concat(axis) => {
                let all = (0..node.operands.len()).all(|operand| (self.of)(operand) == Some(at));
                untouched(all && *axis != at, "joins values along, or to values without,")
            }
            Op::Gather if same.is_some() => Err("looks up rows of a table that grows with the batch".to_string()),
            Op::Gather => Ok((self.of)(1)),
            Op::Reduce(reduce) if reduce.axes.contains(&at) => Ok(None),
            Op::Reduce(reduce) if reduce.keep_dims => Ok(same),
            Op::Reduce(reduce) => Ok(Some(at - reduce.axes.iter().filter(|&&axis| axis < at).count())),
            Op::MatMul(matmul) => self.multiplied(matmul).map(Some),
            Op::Conv2d(_) | Op::Conv2dGradInput(..) | Op::MaxPool(_) | Op::AvgPool(_) => {
                untouched(same == Some(0) && (self.of)(1).is_none(), "slides a window over, or with,")
            }
            Op::BatchNormEval(_) => {
                let vectors = (1..node.operands.len()).any(|operand| (self.of)(operand).is_some());
                untouched(!vectors && at + 1 < self.shape(0).len(), "has channels that are")
            }
            // without operands, or refused by the writer in any case
            Op::Input(_)
            | Op::Parameter(..)
            | Op::Buffer(..)
            | Op::Constant(_)
            | Op::Random(_)
            | Op::ScatterAdd(_)
            | Op::Conv2dGradWeight(..)
            | Op::MaxPoolIndex(_)
            | Op::MaxPoolGrad(..)
            | Op::AvgPoolGrad(..)
            | Op::BatchNorm(_)
            | Op::BatchNormGrad
            | Op::Coefficients(_)
            | Op::GradCoefficients(_)
            | Op::Fused(_) => Ok(None),
        }
    }

    /// Operands are aligned at the end; who has no batch there must be 1 there.
    fn stretched(&self) -> Result<Option<usize>, String> {
        let rank = self.made().len();
        let operands = 0..self.graph.node(self.id).operands.len();
        let aligned = |operand: usize| (self.of)(operand).map(|axis| axis + rank - self.shape(operand).len());
        let Some(axis) = operands.clone().find_map(aligned) else { return Ok(None) };
        for operand in operands {
            let shape = self.shape(operand);
            let here = (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
            match aligned(operand) {
                Some(other) if other != axis => return Err("has the batch on different axes of its operands".into()),
                None if here != 1 => {
                    return Err(format!("has an operand {} of the batch's extent that is not the batch", operand + 1));
                }
                Some(_) | None => {}
            }
        }
        Ok(Some(axis))
    }

    /// The axis of the new shape that has as many elements before it and is a multiple of the batch.
    fn reshaped(&self, at: usize) -> Result<usize, String> {
        let (old, new) = (self.shape(0), self.made());
        let before: usize = old[..at].iter().product();
        let fits = |axis: &usize| new[..*axis].iter().product::<usize>() == before && new[*axis] % self.batch == 0;
        let mut candidates = Some(at).filter(|&at| at < new.len()).into_iter().chain(0..new.len());
        candidates.find(fits).ok_or_else(|| "moves the batch behind other axes".to_string())
    }

    fn multiplied(&self, matmul: &MatMul) -> Result<usize, String> {
        let (a, b, rank) = (self.shape(0).len(), self.shape(1).len(), self.made().len());
        let row = if matmul.trans_a { a - 1 } else { a - 2 };
        let column = if matmul.trans_b { b - 2 } else { b - 1 };
        match ((self.of)(0), (self.of)(1)) {
            (Some(axis), Some(other)) if axis < a - 2 && other == axis => Ok(axis),
            (Some(axis), None) if axis < a - 2 && b == 2 => Ok(axis),
            (None, Some(axis)) if axis < b - 2 && a == 2 => Ok(axis),
            (Some(axis), None) if axis == row && b == 2 => Ok(rank - 2),
            (None, Some(axis)) if axis == column && a == 2 => Ok(rank - 1),
            (Some(_), _) | (None, _) => Err("sums over the batch, or has it in one operand only".to_string()),
        }
    }
}
