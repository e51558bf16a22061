//! Fused kernels with programs of every kind of step.

use outrigger::Error;
use outrigger::ops::{Anchor, Binary, Fused, Op, Output, Program, Step, Unary, fused};
use outrigger::types::Shape;

use super::Case;
use super::conv::{SETTINGS, Setting, resolved};
use crate::common::build::{Build, Fill};

/// `relu(x·scale + shift)` over operands `at`, `at + 1`, `at + 2`.
fn normalise(at: usize, outputs: Vec<Output>) -> Program {
    Program {
        steps: vec![
            Step::Operand(at),
            Step::Operand(at + 1),
            Step::Binary(Binary::Mul, 0, 1),
            Step::Operand(at + 2),
            Step::Binary(Binary::Add, 2, 3),
            Step::Unary(Unary::Relu, 4),
        ],
        value: 5,
        outputs,
    }
}

fn finish(b: &mut Build, fused: Fused, operands: &[outrigger::Value]) -> Result<(), Error> {
    let id = b.g.add(Op::Fused(Box::new(fused)), operands, "")?;
    let results = b.g.get(id).map_or(0, |node| node.results.len());
    (0..results).for_each(|port| b.also(id.result(port)));
    Ok(())
}

/// Operands of [`normalise`] for images of `shape`.
fn images(b: &mut Build, shape: [usize; 4]) -> [outrigger::Value; 3] {
    let channel = [shape[3]];
    [b.plain(shape, Fill::Signed), b.plain(channel, Fill::Positive), b.plain(channel, Fill::Signed)]
}

fn backward(b: &mut Build, make: fn(&mut Build) -> Setting, data: bool, filter: bool) -> Result<(), Error> {
    let setting = make(b);
    let (conv, y) = resolved(b, &setting)?;
    let x = images(b, setting.x);
    let dy = images(b, [y.0[0], y.0[1], y.0[2], y.0[3]]);
    let mut operands = Vec::new();
    if data {
        operands.push(b.plain(setting.w, Fill::Signed));
    }
    let first = operands.len();
    operands.extend(x);
    operands.extend(dy);
    // dx where the recomputed ReLU let x through, with the sums that batch norm's backward needs
    let result = Program {
        steps: vec![
            Step::Operand(first),
            Step::Constant(0.0),
            Step::Binary(Binary::Greater, 0, 1),
            Step::Anchor,
            Step::Select(2, 3, 1),
            Step::Binary(Binary::Mul, 4, 0),
        ],
        value: 4,
        outputs: vec![Output::Full(4), Output::Sums(4), Output::Sums(5)],
    };
    let unused = Program::default;
    let fused = Fused {
        anchor: Anchor::ConvBackward { conv, input: setting.x.into(), weight: setting.w.into(), data, filter },
        chunks: fused::chunks_for(setting.x[0]),
        precision: Default::default(),
        source: if filter { normalise(first, vec![Output::Full(5), Output::Sums(4)]) } else { unused() },
        gradient: normalise(first + 3, vec![Output::Full(5)]),
        result: if data { result } else { unused() },
    };
    finish(b, fused, &operands)
}

/// An element-wise program with these outputs besides its last value.
fn map(b: &mut Build, mut outputs: Vec<Output>) -> Result<(), Error> {
    let dims = b.dims(4);
    let shape = Shape(dims.clone());
    let rows = shape.elements() / shape.last();
    b.sums(rows);
    let sums = outputs.iter().any(|o| matches!(o, Output::Sums(_)));
    // without partial sums the operands broadcast in any way
    let other = if sums { vec![dims[3]] } else { vec![dims[1], 1, 1] };
    let operands = [
        b.plain(dims.clone(), Fill::Signed),
        b.plain([dims[3]], Fill::Signed),
        b.plain([], Fill::Signed),
        b.plain(other, Fill::Whole),
    ];
    let steps = vec![
        Step::Operand(0),
        Step::Operand(1),
        Step::Operand(2),
        Step::Operand(3),
        Step::Binary(Binary::Mul, 0, 1),
        Step::Binary(Binary::Max, 4, 2),
        Step::Select(3, 5, 0),
        Step::Constant(0.5),
        Step::Binary(Binary::Sub, 6, 7),
        Step::Unary(Unary::Tanh, 8),
        Step::Binary(Binary::Mul, 9, 9),
    ];
    outputs.push(Output::Full(9));
    let fused = Fused {
        anchor: Anchor::Map(shape),
        chunks: fused::chunks_for(rows),
        precision: Default::default(),
        source: Program::default(),
        gradient: Program::default(),
        result: Program { steps, value: 0, outputs },
    };
    finish(b, fused, &operands)
}

/// A program over tensors of several sizes, from one element to what several threads share.
fn maps(b: &mut Build) -> Result<(), Error> {
    let mut segments: Vec<Shape> = [vec![1], vec![16], vec![3, 5, 333], vec![7], vec![64, 80]].map(Shape).to_vec();
    segments.push(Shape(b.dims(4)));
    let mut operands = vec![b.plain([], Fill::Signed), b.plain([], Fill::Positive)];
    for shape in &segments {
        operands.push(b.plain(shape.clone(), Fill::Signed));
        operands.push(b.plain(shape.clone(), Fill::Signed));
    }
    let steps = vec![
        Step::Operand(0),
        Step::Operand(1),
        Step::Operand(2),
        Step::Operand(3),
        Step::Binary(Binary::Mul, 2, 0),
        Step::Binary(Binary::Add, 4, 3),
        Step::Binary(Binary::Div, 5, 1),
        Step::Unary(Unary::Abs, 6),
    ];
    let fused = Fused {
        chunks: fused::chunks_for(segments.iter().map(Shape::elements).sum()),
        precision: Default::default(),
        anchor: Anchor::Maps { segments, shared: 2 },
        source: Program::default(),
        gradient: Program::default(),
        result: Program { steps, value: 0, outputs: vec![Output::Full(7), Output::Full(5)] },
    };
    finish(b, fused, &operands)
}

/// A kernel hands a tensor to another in bf16; the operand beside it is stretched over rows, or over all but the channels.
fn narrow(b: &mut Build, stretched: bool) -> Result<(), Error> {
    let dims = vec![b.rng.within(1, 3), b.rng.within(1, 5), b.rng.within(1, 5), b.rng.pick(&[3, 16, 21])];
    let beside = if stretched { vec![dims[1], 1, 1] } else { vec![dims[3]] };
    let (x, y) = (b.plain(dims.clone(), Fill::Signed), b.plain(beside, Fill::Signed));
    let kernel = |output: fn(usize) -> Output| Fused {
        anchor: Anchor::Map(dims.clone().into()),
        chunks: fused::chunks_for(dims[0] * dims[1] * dims[2]),
        precision: Default::default(),
        source: Program::default(),
        gradient: Program::default(),
        result: Program {
            steps: vec![Step::Operand(0), Step::Operand(1), Step::Binary(Binary::Mul, 0, 1)],
            value: 0,
            outputs: vec![output(2)],
        },
    };
    let id = b.g.add(Op::Fused(Box::new(kernel(Output::Bf16))), &[x, y], "")?;
    finish(b, kernel(Output::Full), &[id.result(0), y])
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("fused/bf16", |b| narrow(b, false)).flat(),
        Case::new("fused/bf16_broadcast", |b| narrow(b, true)).flat(),
        Case::new("fused/maps", maps).flat(),
        Case::new("fused/map_sums", |b| map(b, vec![Output::Sums(9), Output::Full(4), Output::Sums(10)])).flat(),
        Case::new("fused/map_broadcast", |b| map(b, vec![Output::Full(4)])).flat(),
    ];
    for (name, make) in SETTINGS {
        cases.push(
            Case::new(format!("fused/conv2d_{name}"), move |b| {
                let setting = make(b);
                let (conv, y) = resolved(b, &setting)?;
                let w = b.plain(setting.w, Fill::Signed);
                let [x, scale, shift] = images(b, setting.x);
                let residual = b.plain(y, Fill::Signed);
                let result = Program {
                    steps: vec![
                        Step::Anchor,
                        Step::Operand(4),
                        Step::Binary(Binary::Add, 0, 1),
                        Step::Binary(Binary::Mul, 2, 2),
                    ],
                    value: 0,
                    outputs: vec![Output::Full(2), Output::Sums(2), Output::Sums(3)],
                };
                let fused = Fused {
                    anchor: Anchor::Conv2d { conv, input: setting.x.into(), weight: setting.w.into() },
                    chunks: fused::chunks_for(setting.x[0]),
                    precision: Default::default(),
                    source: normalise(1, vec![Output::Full(5)]),
                    gradient: Program::default(),
                    result,
                };
                finish(b, fused, &[w, x, scale, shift, residual])
            })
            .flat(),
        );
    }
    for (name, make) in SETTINGS {
        for (what, data, filter) in [("both", true, true), ("data", true, false), ("filter", false, true)] {
            let name = format!("fused/backward_{what}_{name}");
            cases.push(Case::new(name, move |b| backward(b, make, data, filter)).flat());
        }
    }
    cases
}
