//! Random graphs: plans must verify, and compute what their graphs mean.

use proptest::prelude::*;

use super::simulate::compare;
use crate::graph::{Graph, Value};
use crate::ops::{
    Anchor, BatchNorm, Binary, Coefficients, Conv2d, Fused, Init, MatMul, Op, Output, Program, ReduceKind, Step, Unary,
    fused::chunks_for,
};
use crate::plan::plan;
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// A choice: what to add, and which values to add it to.
type Choice = (u8, u16, u16, u16);

fn conv() -> Conv2d {
    Conv2d { stride: [1, 1], padding: [[1, 1], [1, 1]], dilation: [1, 1], groups: 1 }
}

/// Random programs over operands of a shape; every operand is full.
fn map(shape: &Shape, operands: usize, pick: u16) -> Op {
    let mut steps: Vec<Step> = (0..operands).map(Step::Operand).collect();
    steps.push(Step::Binary(Binary::Add, 0, operands - 1));
    steps.push(Step::Unary(Unary::Relu, operands));
    let items = shape.elements() / shape.last();
    let mut outputs = vec![Output::Full(operands + 1)];
    if pick % 2 == 1 {
        outputs.push(Output::Full(operands));
    }
    if pick % 3 == 1 {
        outputs.insert(0, Output::Sums(0));
    }
    let result = Program { steps, value: 0, outputs };
    let (source, gradient) = (Program::default(), Program::default());
    Op::Fused(Box::new(Fused {
        anchor: Anchor::Map(shape.clone()),
        chunks: chunks_for(items),
        precision: Default::default(),
        source,
        gradient,
        result,
    }))
}

/// `relu(conv(x·scale) + residual)` with sums: operands weight, x, scale, residual.
fn fused_conv(input: &Shape, weight: &Shape, pick: u16) -> Op {
    let source = Program {
        steps: vec![Step::Operand(1), Step::Operand(2), Step::Binary(Binary::Mul, 0, 1)],
        value: 2,
        outputs: if pick % 2 == 1 { vec![Output::Full(2)] } else { Vec::new() },
    };
    let result = Program {
        steps: vec![Step::Anchor, Step::Operand(3), Step::Binary(Binary::Add, 0, 1), Step::Unary(Unary::Relu, 2)],
        value: 0,
        outputs: vec![Output::Full(3), Output::Sums(3)],
    };
    let anchor = Anchor::Conv2d { conv: conv(), input: input.clone(), weight: weight.clone() };
    let chunks = chunks_for(input.0[0]);
    Op::Fused(Box::new(Fused {
        anchor,
        chunks,
        precision: Default::default(),
        source,
        gradient: Program::default(),
        result,
    }))
}

/// Both gradients of a convolution: operands weight, dy, x, added to dx.
fn fused_backward(input: &Shape, weight: &Shape) -> Op {
    let result = Program {
        steps: vec![Step::Anchor, Step::Operand(3), Step::Binary(Binary::Add, 0, 1)],
        value: 0,
        outputs: vec![Output::Full(2)],
    };
    let anchor =
        Anchor::ConvBackward { conv: conv(), input: input.clone(), weight: weight.clone(), data: true, filter: true };
    let chunks = chunks_for(input.0[0]);
    let (source, gradient) = (Program::operand(2), Program::operand(1));
    Op::Fused(Box::new(Fused { anchor, chunks, precision: Default::default(), source, gradient, result }))
}

struct Maker {
    graph: Graph,
    pool: Vec<Value>,
}

impl Maker {
    fn any(&self, pick: u16) -> Value {
        // recent values more often than old ones
        let n = self.pool.len();
        let back = (pick as usize % 64) * n / 96;
        self.pool[n - 1 - back.min(n - 1)]
    }
    fn like(&self, ty: &TensorType, pick: u16) -> Option<Value> {
        let fit: Vec<Value> = self.pool.iter().copied().filter(|v| self.graph.ty(*v) == ty).collect();
        (!fit.is_empty()).then(|| fit[fit.len() - 1 - pick as usize % fit.len()])
    }
    fn f32(&self, shape: &[usize], pick: u16) -> Option<Value> {
        self.like(&TensorType::f32(shape), pick)
    }

    /// Adds what the choice says; what does not fit together is left out.
    fn add(&mut self, (kind, a, b, c): Choice) -> Option<()> {
        let x = self.any(a);
        let ty = self.graph.ty(x).clone();
        let (shape, rank) = (ty.shape.clone(), ty.shape.rank());
        let (op, operands) = match kind % 20 {
            0..=2 => (Op::Unary(Unary::Relu), vec![x]),
            3..=5 => (Op::Binary(Binary::Add), vec![x, self.like(&ty, b)?]),
            6 => (Op::Binary(Binary::Mul), vec![x, self.any(b)]),
            7 => (Op::Select, vec![x, self.any(b), self.like(&ty, c)?]),
            8 => (Op::Reshape(Shape(vec![shape.elements()])), vec![x]),
            9 => (Op::Reshape(Shape(vec![1, shape.elements() / shape.last(), shape.last()])), vec![x]),
            10 => (Op::Transpose((0..rank).rev().collect()), vec![x]),
            11 => (Op::Broadcast(Shape([&[1 + b as usize % 2], &shape.0[..]].concat())), vec![x]),
            12 => (Op::Cast([DType::F32, DType::I32, DType::U8][b as usize % 3]), vec![x]),
            13 => (Op::Softmax(rank.checked_sub(1)?), vec![x]),
            14 => {
                let value = self.graph.reduce(ReduceKind::Sum, x, &[b as usize % rank.max(1)], c % 2 == 0).ok()?;
                self.pool.push(value);
                return Some(());
            }
            15 => (Op::MatMul(MatMul { trans_a: false, trans_b: true }), vec![x, self.like(&ty, b)?]),
            16 | 17 => {
                let mut operands = vec![x, self.like(&ty, b)?, self.like(&ty, c)?];
                operands.truncate(1 + b as usize % 3);
                (map(&shape, operands.len(), c), operands)
            }
            18 if c % 3 == 0 => {
                let shapes: [&[usize]; 6] = [&[2, 2], &[2, 2], &[2], &[2], &[2], &[2]];
                let picks = [a, b, c, a, b, c];
                let operands = shapes.iter().zip(picks).map(|(s, p)| self.f32(s, p)).collect::<Option<Vec<_>>>()?;
                let norm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
                (Op::Coefficients(Coefficients { norm, count: 8 }), operands)
            }
            18 => {
                let norm = self.f32(&[2, 4, 4, 2], a)?;
                let vectors = [b, c, a, b].map(|p| self.f32(&[2], p));
                let vectors = vectors.into_iter().collect::<Option<Vec<_>>>()?;
                (Op::BatchNormEval(1e-5), [&[norm], &vectors[..]].concat())
            }
            _ => {
                let (image, weight) = (Shape::from([2, 4, 4, 2]), Shape::from([3, 3, 2, 2]));
                let (w, x) = (self.f32(&weight.0, a)?, self.f32(&image.0, b)?);
                let (scale, y) = (self.f32(&[2], b)?, self.f32(&image.0, c)?);
                match c % 4 {
                    0 => (Op::Conv2d(conv()), vec![x, w]),
                    1 => (fused_backward(&image, &weight), vec![w, y, x, self.f32(&image.0, a)?]),
                    _ => (fused_conv(&image, &weight, a), vec![w, x, scale, y]),
                }
            }
        };
        let small = self.graph.add(op, &operands, "").ok()?;
        let results = self.graph.node(small).results.len();
        self.pool.extend((0..results).map(|port| small.result(port)));
        Some(())
    }
}

/// States `s0…`, inputs `x0…`, constants; then the choices; then outputs and, if any, updates.
fn make(choices: &[Choice], outputs: &[u16], updates: &[(u16, u16)]) -> Graph {
    let mut m = Maker { graph: Graph::new("random"), pool: Vec::new() };
    let shapes: [&[usize]; 5] = [&[2, 4, 4, 2], &[4, 6], &[2], &[3, 3, 2, 2], &[6]];
    for (i, shape) in shapes.iter().enumerate() {
        m.pool.push(m.graph.constant(Tensor::full(*shape, i as f32)).unwrap());
        m.pool.push(m.graph.input(&format!("x{i}"), DType::F32, *shape).unwrap());
        m.pool.push(m.graph.parameter(&format!("s{i}"), *shape, Init::ZEROS).unwrap());
        m.pool.push(m.graph.buffer(&format!("t{i}"), DType::F32, *shape, Init::ZEROS).unwrap());
    }
    m.pool.push(m.graph.input("label", DType::I32, [5]).unwrap());
    m.pool.push(m.graph.parameter("sums", [2, 2], Init::ZEROS).unwrap());
    for &choice in choices {
        m.add(choice);
    }
    for (i, &pick) in outputs.iter().enumerate() {
        m.graph.set_output(&format!("y{i}"), m.any(pick)).unwrap();
    }
    let states: Vec<Value> = m.graph.states().map(|id| id.result(0)).collect();
    for &(state, pick) in updates {
        let state = states[state as usize % states.len()];
        let ty = m.graph.ty(state).clone();
        if let Some(value) = m.like(&ty, pick) {
            // a second update of one state is refused, which is fine here
            let _ = m.graph.set_update(state, value);
        }
    }
    m.graph
}

fn graphs() -> impl Strategy<Value = Graph> {
    let choices = prop::collection::vec(any::<Choice>(), 0..40);
    let outputs = prop::collection::vec(any::<u16>(), 0..4);
    let updates = prop::collection::vec((any::<u16>(), any::<u16>()), 0..10);
    (choices, outputs, prop_oneof![1 => Just(Vec::new()), 2 => updates]).prop_map(|(c, o, u)| make(&c, &o, &u))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn plans_compute_what_graphs_mean(graph in graphs()) {
        let plan = plan(&graph).unwrap();
        plan.verify().unwrap();
        if let Err(difference) = compare(&graph, &plan) {
            prop_assert!(false, "{}\n{}", difference, plan);
        }
        prop_assert_eq!(plan.to_string(), crate::plan::plan(&graph).unwrap().to_string());
        prop_assert_eq!(plan.live_per_step().into_iter().max().unwrap_or(plan.live_bytes), plan.live_bytes);
    }
}
