//! Lowering: portable operations become what the code generator has kernels for.
//!
//! Batch norm is split (Jung et al. 2018): per-chunk sums → coefficients → `x·scale + shift`.

use crate::error::Error;
use crate::graph::{Graph, NodeId, Patch, Value};
use crate::ops::fused::chunks_for;
use crate::ops::{
    Anchor, BatchNorm, Binary, Coefficients, Conv2d, Fused, GradCoefficients, Op, Output, Program, Reduce, ReduceKind,
    Step, Unary,
};
use crate::tensor::Tensor;
use crate::types::Shape;

/// Sums over fewer items than this are one kernel.
const TWO_STAGES: usize = 256;

struct Lowering<'g> {
    graph: &'g mut Graph,
    path: String,
}

impl Lowering<'_> {
    fn node(&mut self, op: Op, operands: &[Value]) -> Result<NodeId, Error> {
        self.graph.insert(op, operands, self.path.clone())
    }
    fn value(&mut self, op: Op, operands: &[Value]) -> Result<Value, Error> {
        self.node(op, operands).map(|id| id.result(0))
    }
    fn binary(&mut self, op: Binary, a: Value, b: Value) -> Result<Value, Error> {
        self.value(Op::Binary(op), &[a, b])
    }
    fn scalar(&mut self, value: f32) -> Result<Value, Error> {
        self.value(Op::Constant(Tensor::scalar(value)), &[])
    }
    fn reduce(&mut self, kind: ReduceKind, x: Value, axes: Vec<usize>, keep_dims: bool) -> Result<Value, Error> {
        self.value(Op::Reduce(Reduce { kind, axes, keep_dims }), &[x])
    }

    /// `x - max`, and its exponential, along `axis`.
    fn shifted(&mut self, x: Value, axis: usize) -> Result<(Value, Value), Error> {
        let max = self.reduce(ReduceKind::Max, x, vec![axis], true)?;
        let shifted = self.binary(Binary::Sub, x, max)?;
        let exp = self.value(Op::Unary(Unary::Exp), &[shifted])?;
        Ok((shifted, exp))
    }
    fn softmax(&mut self, x: Value, axis: usize) -> Result<Value, Error> {
        let (_, exp) = self.shifted(x, axis)?;
        let sum = self.reduce(ReduceKind::Sum, exp, vec![axis], true)?;
        self.binary(Binary::Div, exp, sum)
    }
    fn log_softmax(&mut self, x: Value, axis: usize) -> Result<Value, Error> {
        let (shifted, exp) = self.shifted(x, axis)?;
        let sum = self.reduce(ReduceKind::Sum, exp, vec![axis], true)?;
        let log = self.value(Op::Unary(Unary::Log), &[sum])?;
        self.binary(Binary::Sub, shifted, log)
    }

    /// Sums over all axes but the last, in chunks: a map kernel whose program ends in `Sums`.
    fn channel_sums(&mut self, operands: &[Value], steps: Vec<Step>, sums: &[usize]) -> Result<NodeId, Error> {
        let shape = self.graph.ty(operands[0]).shape.clone();
        let chunks = chunks_for(shape.elements() / shape.last());
        let outputs = sums.iter().map(|&s| Output::Sums(s)).collect();
        let result = Program { steps, value: 0, outputs };
        let fused = Fused {
            anchor: Anchor::Map(shape),
            chunks,
            source: Program::default(),
            gradient: Program::default(),
            result,
        };
        self.node(Op::Fused(Box::new(fused)), operands)
    }

    fn reduce_sum(&mut self, x: Value, reduce: &Reduce, result: Shape) -> Result<Option<Value>, Error> {
        let shape = self.graph.ty(x).shape.clone();
        let rank = shape.rank();
        let items = shape.elements() / shape.last();
        let leading = reduce.axes.len() + 1 == rank && !reduce.axes.contains(&(rank - 1));
        let all = reduce.axes.len() == rank;
        // the second stage must be smaller than the first, or this would never end
        if rank < 2 || !(leading || all) || items < TWO_STAGES {
            return Ok(None);
        }
        let partial = self.channel_sums(&[x], vec![Step::Operand(0)], &[0])?.result(0);
        let axes = if all { vec![0, 1] } else { vec![0] };
        let sum = self.reduce(ReduceKind::Sum, partial, axes, false)?;
        self.value(Op::Reshape(result), &[sum]).map(Some)
    }

    fn affine(&mut self, x: Value, scale: Value, shift: Value) -> Result<Value, Error> {
        let product = self.binary(Binary::Mul, x, scale)?;
        self.binary(Binary::Add, product, shift)
    }

    fn batch_norm(&mut self, v: &[Value], norm: BatchNorm) -> Result<Vec<Value>, Error> {
        let shape = &self.graph.ty(v[0]).shape;
        let count = shape.elements() / shape.last();
        let steps = vec![Step::Operand(0), Step::Binary(Binary::Mul, 0, 0)];
        let sums = self.channel_sums(&[v[0]], steps, &[0, 1])?;
        let operands = [sums.result(0), sums.result(1), v[1], v[2], v[3], v[4]];
        let c = self.node(Op::Coefficients(Coefficients { norm, count }), &operands)?;
        let y = self.affine(v[0], c.result(0), c.result(1))?;
        Ok(vec![y, c.result(2), c.result(3), c.result(4), c.result(5)])
    }

    fn batch_norm_eval(&mut self, v: &[Value], epsilon: f32) -> Result<Value, Error> {
        let epsilon = self.scalar(epsilon)?;
        let shifted = self.binary(Binary::Add, v[4], epsilon)?;
        let rstd = self.value(Op::Unary(Unary::Rsqrt), &[shifted])?;
        let scale = self.binary(Binary::Mul, v[1], rstd)?;
        let moved = self.binary(Binary::Mul, v[3], scale)?;
        let shift = self.binary(Binary::Sub, v[2], moved)?;
        self.affine(v[0], scale, shift)
    }

    fn batch_norm_grad(&mut self, v: &[Value]) -> Result<Vec<Value>, Error> {
        let (dy, x, gamma, mean, rstd) = (v[0], v[1], v[2], v[3], v[4]);
        let shape = &self.graph.ty(x).shape;
        let count = shape.elements() / shape.last();
        let steps = vec![
            Step::Operand(0),
            Step::Operand(1),
            Step::Operand(2),
            Step::Binary(Binary::Sub, 1, 2),
            Step::Operand(3),
            Step::Binary(Binary::Mul, 3, 4),
            Step::Binary(Binary::Mul, 0, 5),
        ];
        let sums = self.channel_sums(&[dy, x, mean, rstd], steps, &[0, 6])?;
        let operands = [sums.result(0), sums.result(1), gamma, mean, rstd];
        let c = self.node(Op::GradCoefficients(GradCoefficients { count }), &operands)?;
        let a = self.binary(Binary::Mul, dy, c.result(0))?;
        let b = self.binary(Binary::Mul, x, c.result(1))?;
        let ab = self.binary(Binary::Add, a, b)?;
        let dx = self.binary(Binary::Add, ab, c.result(2))?;
        Ok(vec![dx, c.result(3), c.result(4)])
    }

    fn grad_weight(&mut self, v: &[Value], conv: Conv2d, weight: &Shape) -> Result<Value, Error> {
        let input = self.graph.ty(v[0]).shape.clone();
        let fused = Fused {
            chunks: chunks_for(input.0[0]),
            anchor: Anchor::ConvBackward { conv, input, weight: weight.clone(), data: false, filter: true },
            source: Program::operand(0),
            gradient: Program::operand(1),
            result: Program::default(),
        };
        let partial = self.value(Op::Fused(Box::new(fused)), v)?;
        self.reduce(ReduceKind::Sum, partial, vec![0], false)
    }
}

/// Rewrites every node that has no kernel of its own; returns how many.
pub fn lower(graph: &mut Graph) -> Result<usize, Error> {
    let mut patch = Patch::new();
    let mut count = 0;
    for id in graph.topological() {
        let node = graph.node(id).clone();
        let v = &node.operands;
        let mut l = Lowering { graph, path: node.name.clone() };
        let new = match &node.op {
            Op::Softmax(axis) => vec![l.softmax(v[0], *axis)?],
            Op::LogSoftmax(axis) => vec![l.log_softmax(v[0], *axis)?],
            Op::Reduce(reduce) if reduce.kind == ReduceKind::Sum => {
                match l.reduce_sum(v[0], reduce, node.results[0].shape.clone())? {
                    Some(value) => vec![value],
                    None => continue,
                }
            }
            Op::BatchNorm(norm) => l.batch_norm(v, *norm)?,
            Op::BatchNormEval(epsilon) => vec![l.batch_norm_eval(v, *epsilon)?],
            Op::BatchNormGrad => l.batch_norm_grad(v)?,
            Op::Conv2dGradWeight(conv, weight) if conv.groups == 1 => vec![l.grad_weight(v, *conv, weight)?],
            _ => continue,
        };
        count += 1;
        for (port, value) in new.into_iter().enumerate() {
            patch.redirect(id.result(port), value);
        }
    }
    patch.apply(graph, "lower")?;
    Ok(count)
}
