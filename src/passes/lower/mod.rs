//! Lowering: from portable operations to what kernels compute. Mandatory.
//!
//! ```text
//!  softmax, log-softmax          ──▶ maximum, subtract, exp, sum, …
//!  long sums and means (sums.rs) ──▶ partial sums ──▶ their sum
//!  batch norm (norm.rs)          ──▶ channel sums ──▶ coefficients ──▶ multiply, add with [C] vectors
//!  convolution                   ──▶ Fused with trivial programs, ready to absorb its neighbours
//! ```

use super::emit::Emit;
use super::report::Context;
use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::{
    Anchor, BatchNorm, Binary, Conv2d, Fused, MatMul, Op, Output, Pad, Pool, Program, Random, Reduce, ReduceKind,
    Slice, Step, Unary,
};
use crate::types::Shape;

mod norm;
mod sums;

pub(super) fn run(graph: &mut Graph, context: &mut Context<'_>) -> Result<(), Error> {
    let mut patch = Patch::new();
    for id in graph.nodes() {
        let Some(results) = lower(graph, id)? else { continue };
        let node = graph.node(id);
        context.done(format!("{}: {} lowered", node.name, node.op.kind()));
        for (port, result) in results.into_iter().enumerate() {
            patch.redirect(id.result(port), result);
        }
    }
    patch.apply(graph, context.pass)
}

/// The values that replace the node's results, or `None` when kernels compute it as it is.
fn lower(graph: &mut Graph, id: NodeId) -> Result<Option<Vec<Value>>, Error> {
    let node = graph.node(id).clone();
    let mut to = Emit::new(graph, &node.name);
    let x = &node.operands;
    Ok(Some(match &node.op {
        Op::Softmax(axis) => vec![to.softmax(x[0], *axis)?],
        Op::LogSoftmax(axis) => vec![to.log_softmax(x[0], *axis)?],
        Op::Reduce(Reduce { kind: ReduceKind::Mean, axes, keep_dims }) => {
            match to.long_mean(x[0], axes, *keep_dims)? {
                Some(mean) => vec![mean],
                None => return Ok(None),
            }
        }
        Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, keep_dims }) => {
            match to.long_sum(x[0], axes, *keep_dims, "")? {
                Some(sum) => vec![sum],
                None => return Ok(None),
            }
        }
        Op::BatchNorm(norm) => to.batch_norm(x, *norm)?,
        Op::BatchNormEval(epsilon) => vec![to.batch_norm_eval(x, *epsilon)?],
        Op::BatchNormGrad => to.batch_norm_grad(x)?,
        Op::Conv2d(conv) => vec![to.conv(x[0], x[1], conv)?],
        Op::Conv2dGradInput(conv, input) => vec![to.grad_input(x[0], x[1], conv, input)?],
        Op::Conv2dGradWeight(conv, weight) => vec![to.grad_weight(x[0], x[1], conv, weight)?],
        Op::Reduce(Reduce { kind: ReduceKind::Max | ReduceKind::Min, .. })
        | Op::Input(_)
        | Op::Parameter(..)
        | Op::Buffer(..)
        | Op::Constant(_)
        | Op::Random(Random { .. })
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Pad(Pad { .. })
        | Op::Slice(Slice { .. })
        | Op::Concat(_)
        | Op::OneHot(_)
        | Op::Gather
        | Op::ScatterAdd(_)
        | Op::MatMul(MatMul { .. })
        | Op::MaxPool(Pool { .. })
        | Op::MaxPoolIndex(_)
        | Op::MaxPoolGrad(..)
        | Op::AvgPool(_)
        | Op::AvgPoolGrad(..)
        | Op::Coefficients(_)
        | Op::GradCoefficients(_)
        | Op::Fused(_) => return Ok(None),
    }))
}

impl Emit<'_> {
    /// `x - max`, `exp` of it and its sum along `axis`: the stable form (Goodfellow et al. 2016, §4.1).
    fn shifted_exp(&mut self, x: Value, axis: usize) -> Result<[Value; 3], Error> {
        let reduce = |kind| Op::Reduce(Reduce { kind, axes: vec![axis], keep_dims: true });
        let max = self.value(reduce(ReduceKind::Max), &[x], "max")?;
        let shifted = self.binary(Binary::Sub, x, max, "shifted")?;
        let exp = self.unary(Unary::Exp, shifted, "exp")?;
        let sum = self.value(reduce(ReduceKind::Sum), &[exp], "sum")?;
        Ok([shifted, exp, sum])
    }
    fn softmax(&mut self, x: Value, axis: usize) -> Result<Value, Error> {
        let [_, exp, sum] = self.shifted_exp(x, axis)?;
        self.binary(Binary::Div, exp, sum, "")
    }
    fn log_softmax(&mut self, x: Value, axis: usize) -> Result<Value, Error> {
        let [shifted, _, sum] = self.shifted_exp(x, axis)?;
        let log = self.unary(Unary::Log, sum, "log_sum")?;
        self.binary(Binary::Sub, shifted, log, "")
    }

    /// Channel sums, per chunk, of some steps of a program over `shape`.
    fn sums(
        &mut self,
        shape: &Shape,
        steps: Vec<Step>,
        sums: &[usize],
        operands: &[Value],
        part: &str,
    ) -> Result<Vec<Value>, Error> {
        let outputs = sums.iter().map(|&s| Output::Sums(s)).collect();
        let result = Program { steps, value: 0, outputs };
        let fused = Fused { result, ..Fused::new(Anchor::Map(shape.clone())) };
        let id = self.add(Op::Fused(Box::new(fused)), operands, part)?;
        Ok((0..sums.len()).map(|port| id.result(port)).collect())
    }

    fn conv(&mut self, x: Value, w: Value, conv: &Conv2d) -> Result<Value, Error> {
        let (input, weight) = (self.shape(x), self.shape(w));
        let fused = Fused {
            source: Program::operand(1),
            result: Program::store_anchor(),
            ..Fused::new(Anchor::Conv2d { conv: *conv, input, weight })
        };
        self.value(Op::Fused(Box::new(fused)), &[w, x], "")
    }
    fn grad_input(&mut self, dy: Value, w: Value, conv: &Conv2d, input: &Shape) -> Result<Value, Error> {
        let weight = self.shape(w);
        let anchor = Anchor::ConvBackward { conv: *conv, input: input.clone(), weight, data: true, filter: false };
        let fused = Fused { gradient: Program::operand(1), result: Program::store_anchor(), ..Fused::new(anchor) };
        self.value(Op::Fused(Box::new(fused)), &[w, dy], "")
    }
    fn grad_weight(&mut self, x: Value, dy: Value, conv: &Conv2d, weight: &Shape) -> Result<Value, Error> {
        let input = self.shape(x);
        let anchor = Anchor::ConvBackward { conv: *conv, input, weight: weight.clone(), data: false, filter: true };
        let fused = Fused { source: Program::operand(0), gradient: Program::operand(1), ..Fused::new(anchor) };
        let partial = self.value(Op::Fused(Box::new(fused)), &[x, dy], "partial")?;
        let sum = Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: vec![0], keep_dims: false });
        self.value(sum, &[partial], "")
    }
}

fn join(part: &str, more: &str) -> String {
    if part.is_empty() { more.to_string() } else { format!("{part}.{more}") }
}
