//! The interpreter against something else: literal formulas, hand-made numbers, identities.

use super::*;
use crate::graph::Graph;
use crate::ops::{
    Anchor, BatchNorm, Binary, Coefficients, Conv2d, Fused, GradCoefficients, MatMul, Output, Pad, Pool, Program,
    Random, Reduce, ReduceKind, Slice, Step, Unary,
};

/// Numbers without a pattern, in (-1, 1).
fn noise(shape: impl Into<Shape>, seed: u32) -> RefTensor {
    let shape = shape.into();
    let random = Random { shape: shape.clone(), stream: seed };
    let data = (0..shape.elements()).map(|i| f64::from(random.value(7, 1, i)) * 2.0 - 1.0).collect();
    RefTensor { ty: TensorType::f32(shape), data }
}

fn tensor(shape: impl Into<Shape>, data: &[f64]) -> RefTensor {
    RefTensor::f32(shape, data.to_vec()).unwrap()
}

fn integers(shape: impl Into<Shape>, data: &[f64]) -> RefTensor {
    RefTensor::new(TensorType::new(DType::I32, shape), data.to_vec()).unwrap()
}

fn one(op: Op, operands: &[&RefTensor]) -> RefTensor {
    let mut results = evaluate(&op, operands).unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= 1e-12 * (1.0 + a.abs()), "element {i}: {a} and {b}");
    }
}

fn dot(a: &RefTensor, b: &RefTensor) -> f64 {
    assert_eq!(a.ty, b.ty);
    a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum()
}

/// The formula of `ops/conv.rs`, one result at a time, in signed coordinates.
fn literal_convolution(conv: &Conv2d, x: &RefTensor, w: &RefTensor, shape: &Shape) -> Vec<f64> {
    let at = |t: &RefTensor, index: [usize; 4]| {
        t.data[index.iter().zip(t.ty.shape.strides()).map(|(i, s)| i * s).sum::<usize>()]
    };
    let (xs, ws) = (x.dims(), w.dims());
    let mut y = Vec::new();
    for n in 0..shape.0[0] {
        for oy in 0..shape.0[1] {
            for ox in 0..shape.0[2] {
                for o in 0..shape.0[3] {
                    let g = o / (ws[3] / conv.groups);
                    let mut sum = 0.0;
                    for ky in 0..ws[0] {
                        for kx in 0..ws[1] {
                            let iy = (oy * conv.stride[0] + ky * conv.dilation[0]) as i64 - conv.padding[0][0] as i64;
                            let ix = (ox * conv.stride[1] + kx * conv.dilation[1]) as i64 - conv.padding[1][0] as i64;
                            if iy < 0 || ix < 0 || iy >= xs[1] as i64 || ix >= xs[2] as i64 {
                                continue;
                            }
                            for i in 0..ws[2] {
                                sum += at(x, [n, iy as usize, ix as usize, g * ws[2] + i]) * at(w, [ky, kx, i, o]);
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

fn convolutions() -> Vec<(Conv2d, [usize; 4], [usize; 4])> {
    let plain = Conv2d { stride: [1, 1], padding: [[1, 1], [1, 1]], dilation: [1, 1], groups: 1 };
    vec![
        (plain, [2, 5, 4, 3], [3, 3, 3, 5]),
        (Conv2d { stride: [2, 3], padding: [[0, 1], [2, 0]], ..plain }, [1, 7, 8, 1], [3, 2, 1, 4]),
        (Conv2d { dilation: [2, 3], groups: 2, ..plain }, [2, 6, 7, 4], [2, 3, 2, 6]),
        (Conv2d { groups: 3, padding: [[0, 0], [0, 0]], ..plain }, [1, 3, 3, 3], [1, 1, 1, 3]),
    ]
}

#[test]
fn convolution_is_its_formula_and_its_gradients_are_adjoints() {
    for (conv, x, w) in convolutions() {
        let (x, w) = (noise(x, 1), noise(w, 2));
        let y = one(Op::Conv2d(conv), &[&x, &w]);
        close(&y.data, &literal_convolution(&conv, &x, &w, &y.ty.shape));
        // y is linear in x and in w, so ⟨y, dy⟩ = ⟨x, dx⟩ = ⟨w, dw⟩ for every dy
        let dy = noise(y.ty.shape.clone(), 3);
        let dx = one(Op::Conv2dGradInput(conv, x.ty.shape.clone()), &[&dy, &w]);
        let dw = one(Op::Conv2dGradWeight(conv, w.ty.shape.clone()), &[&x, &dy]);
        close(&[dot(&x, &dx), dot(&w, &dw)], &[dot(&y, &dy); 2]);
        // and not only for this x and w
        let (x2, w2) = (noise(x.ty.shape.clone(), 4), noise(w.ty.shape.clone(), 5));
        close(&[dot(&x2, &dx)], &[dot(&one(Op::Conv2d(conv), &[&x2, &w]), &dy)]);
        close(&[dot(&w2, &dw)], &[dot(&one(Op::Conv2d(conv), &[&x, &w2]), &dy)]);
    }
}

#[test]
fn matmul_knows_batches_and_transposes() {
    let a = tensor([2, 2, 3], &[1., 2., 3., 4., 5., 6., -1., 0., 1., 2., -2., 0.]);
    let b = tensor([3, 2], &[1., 2., 3., 4., 5., 6.]);
    let y = one(Op::MatMul(MatMul::default()), &[&a, &b]);
    assert_eq!(y.data, [22., 28., 49., 64., 4., 4., -4., -4.]);
    let at = one(Op::Transpose(vec![0, 2, 1]), &[&a]);
    let bt = one(Op::Transpose(vec![1, 0]), &[&b]);
    assert_eq!(bt.data, [1., 3., 5., 2., 4., 6.]);
    assert_eq!(one(Op::MatMul(MatMul { trans_a: true, trans_b: true }), &[&at, &bt]), y);
    let own = tensor([2, 3, 1], &[1., 0., 0., 0., 1., 0.]);
    assert_eq!(one(Op::MatMul(MatMul::default()), &[&a, &own]).data, [1., 4., 0., -2.]);
}

#[test]
fn elements_broadcast_and_integers_stay_integers() {
    let a = tensor([2, 1], &[1., 2.]);
    let b = tensor([3], &[10., 20., 30.]);
    assert_eq!(one(Op::Binary(Binary::Add), &[&a, &b]).data, [11., 21., 31., 12., 22., 32.]);
    let (i, j) = (integers([4], &[7., -7., 2_147_483_647., 3.]), integers([4], &[2., 2., 1., 0.]));
    assert_eq!(one(Op::Binary(Binary::Div), &[&i, &j]).data, [3., -3., 2_147_483_647., 0.]);
    assert_eq!(one(Op::Binary(Binary::Add), &[&i, &j]).data, [9., -5., -2_147_483_648., 3.]);
    assert_eq!(one(Op::Binary(Binary::Greater), &[&i, &j]).data, [1., 0., 1., 1.]);
    let c = tensor([3], &[0., 1., -2.]);
    assert_eq!(one(Op::Select, &[&c, &b, &tensor([], &[5.])]).data, [5., 20., 30.]);
}

#[test]
fn casts_truncate_and_saturate() {
    let x = tensor([6], &[-1.9, 1.9, 300.5, 3e9, -3e9, f64::NAN]);
    let i = one(Op::Cast(DType::I32), &[&x]);
    assert_eq!(i.data, [-1., 1., 300., 2_147_483_647., -2_147_483_648., 0.]);
    assert_eq!(one(Op::Cast(DType::U8), &[&x]).data, [0., 1., 255., 255., 0., 0.]);
    assert_eq!(one(Op::Cast(DType::U8), &[&i]).data, [0., 1., 255., 255., 0., 0.]);
}

#[test]
fn unary_values() {
    let at = |u: Unary, x: f64| one(Op::Unary(u), &[&tensor([], &[x])]).data[0];
    // from the definitions, by calculator
    close(&[at(Unary::Gelu, 1.0), at(Unary::Silu, 1.0)], &[0.841_344_746_068_542_9, 0.731_058_578_630_004_9]);
    close(&[at(Unary::Softplus, 1.0), at(Unary::Tanh, 0.5)], &[1.313_261_687_518_222_8, 0.462_117_157_260_009_75]);
    close(&[at(Unary::Rsqrt, 4.0), at(Unary::Log, 1.0), at(Unary::Exp, 0.0)], &[0.5, 0.0, 1.0]);
    assert_eq!([-2.0, 0.0, 3.0].map(|x| at(Unary::Sign, x)), [-1.0, 0.0, 1.0]);
    assert_eq!([-2.0, 0.0, 3.0].map(|x| at(Unary::LeakyRelu(0.5), x)), [-1.0, 0.0, 3.0]);
    assert_eq!([-2.0, 0.5, 3.0].map(|x| at(Unary::Clamp(-1.0, 1.0), x)), [-1.0, 0.5, 1.0]);
    for u in [Unary::Relu, Unary::LeakyRelu(0.1), Unary::Clamp(-1.0, 1.0), Unary::Abs, Unary::Gelu] {
        assert!(at(u, f64::NAN).is_nan(), "{u:?} must not hide a NaN");
    }
}

#[test]
fn movement() {
    let x = tensor([2, 3], &[1., 2., 3., 4., 5., 6.]);
    let slice = Slice { start: vec![0, 0], stop: vec![2, 3], step: vec![1, 2] };
    assert_eq!(one(Op::Slice(slice), &[&x]).data, [1., 3., 4., 6.]);
    let slice = Slice { start: vec![1, 1], stop: vec![2, 3], step: vec![1, 1] };
    assert_eq!(one(Op::Slice(slice), &[&x]).data, [5., 6.]);
    let pad = Pad { low: vec![0, 1], high: vec![1, 0], value: 9.0 };
    assert_eq!(one(Op::Pad(pad), &[&x]).data, [9., 1., 2., 3., 9., 4., 5., 6., 9., 9., 9., 9.]);
    let y = tensor([2, 1], &[7., 8.]);
    assert_eq!(one(Op::Concat(1), &[&x, &y, &y]).data, [1., 2., 3., 7., 7., 4., 5., 6., 8., 8.]);
    assert_eq!(one(Op::Concat(0), &[&y, &y]).data, [7., 8., 7., 8.]);
    assert_eq!(one(Op::Broadcast(Shape::from([2, 2, 2])), &[&y]).data, [7., 7., 8., 8., 7., 7., 8., 8.]);
    let cube = tensor([1, 2, 3], &x.data);
    assert_eq!(one(Op::Transpose(vec![2, 0, 1]), &[&cube]).data, [1., 4., 2., 5., 3., 6.]);
    assert_eq!(one(Op::OneHot(3), &[&integers([2], &[2., 0.])]).data, [0., 0., 1., 1., 0., 0.]);
    for bad in [3.0, -1.0] {
        let error = evaluate(&Op::OneHot(3), &[&integers([2], &[0., bad])]).unwrap_err();
        assert!(matches!(error, Error::Label { index: 1, classes: 3, .. }), "{error}");
    }
}

#[test]
fn reductions() {
    let x = tensor([2, 2, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
    let of = |kind, axes: &[usize]| one(Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep_dims: false }), &[&x]).data;
    assert_eq!(of(ReduceKind::Sum, &[0, 2]), [14., 22.]);
    assert_eq!(of(ReduceKind::Mean, &[1]), [2., 3., 6., 7.]);
    assert_eq!(of(ReduceKind::Max, &[0, 1, 2]), [8.]);
    assert_eq!(of(ReduceKind::Min, &[2]), [1., 3., 5., 7.]);
    assert_eq!(of(ReduceKind::Sum, &[]), x.data);
    let s = one(Op::Softmax(1), &[&x]);
    close(
        &s.data[..4],
        &[0.119_202_922_022_117_57, 0.119_202_922_022_117_57, 0.880_797_077_977_882_5, 0.880_797_077_977_882_5],
    );
    let log = one(Op::Unary(Unary::Log), &[&s]);
    close(&one(Op::LogSoftmax(1), &[&x]).data, &log.data);
    let big = one(Op::LogSoftmax(0), &[&tensor([2], &[1000., 0.])]);
    close(&big.data, &[0.0, -1000.0]);
}

#[test]
fn pooling() {
    let x = tensor([1, 3, 3, 1], &[1., 2., 3., 4., 5., 6., 7., 8., 9.]);
    let pool = Pool { size: [2, 2], stride: [2, 2], padding: [[1, 0], [1, 0]], count_padding: false };
    let y = one(Op::MaxPool(pool), &[&x]);
    assert_eq!(y.data, [1., 3., 7., 9.]);
    let index = one(Op::MaxPoolIndex(pool), &[&x, &y]);
    assert_eq!(index.data, [3., 3., 3., 3.]);
    let dy = tensor([1, 2, 2, 1], &[10., 20., 30., 40.]);
    let dx = one(Op::MaxPoolGrad(pool, x.ty.shape.clone()), &[&dy, &index]);
    assert_eq!(dx.data, [10., 0., 20., 0., 0., 0., 30., 0., 40.]);
    assert_eq!(one(Op::AvgPool(pool), &[&x]).data, [1., 2.5, 5.5, 7.]);
    let counted = Pool { count_padding: true, ..pool };
    assert_eq!(one(Op::AvgPool(counted), &[&x]).data, [0.25, 1.25, 2.75, 7.]);
    // the first of equal maxima, and overlapping windows add up
    let flat = tensor([1, 3, 3, 1], &[1.; 9]);
    let overlap = Pool { size: [2, 2], stride: [1, 1], padding: [[0, 0]; 2], count_padding: true };
    let y = one(Op::MaxPool(overlap), &[&flat]);
    assert_eq!(one(Op::MaxPoolIndex(overlap), &[&flat, &y]).data, [0.; 4]);
    for pool in [pool, counted, overlap] {
        let (x, y) = (noise([2, 3, 3, 3], 1), one(Op::AvgPool(pool), &[&noise([2, 3, 3, 3], 1)]));
        let dy = noise(y.ty.shape.clone(), 2);
        let dx = one(Op::AvgPoolGrad(pool, x.ty.shape.clone()), &[&dy]);
        close(&[dot(&x, &dx)], &[dot(&y, &dy)]);
    }
}

/// Operands of a training batch norm over `[2,3,3,5]`.
fn normalized() -> Vec<RefTensor> {
    let mut operands = vec![noise([2, 3, 3, 5], 1)];
    operands.extend((2..6).map(|seed| noise([5], seed)));
    operands
}

const BN: BatchNorm = BatchNorm { epsilon: 1e-3, momentum: 0.25, unbiased: true };

#[test]
fn batch_norm_normalizes_and_keeps_running_statistics() {
    let x = tensor([4, 1], &[1., 2., 3., 6.]);
    let vector = |v| tensor([1], &[v]);
    let operands = [x, vector(2.0), vector(10.0), vector(4.0), vector(8.0)];
    let operands: Vec<&RefTensor> = operands.iter().collect();
    let bn = BatchNorm { epsilon: 0.5, momentum: 0.25, unbiased: true };
    let results = evaluate(&Op::BatchNorm(bn), &operands).unwrap();
    // mean 3, variance 14/4, unbiased 14/3, rstd 1/√4
    assert_eq!(results[0].data, [8., 9., 10., 13.]);
    assert_eq!([results[1].data[0], results[2].data[0], results[3].data[0]], [3.0, 0.5, 3.75]);
    close(&results[4].data, &[0.75 * 8.0 + 0.25 * 14.0 / 3.0]);
    let biased = evaluate(&Op::BatchNorm(BatchNorm { unbiased: false, ..bn }), &operands).unwrap();
    close(&biased[4].data, &[0.75 * 8.0 + 0.25 * 3.5]);
    let variance = tensor([1], &[3.5]);
    let eval = one(Op::BatchNormEval(0.5), &[operands[0], operands[1], operands[2], &results[1], &variance]);
    close(&eval.data, &results[0].data);
}

#[test]
fn batch_norm_gradient_is_the_slope() {
    let operands = normalized();
    let dy = noise([2, 3, 3, 5], 9);
    let forward = |operands: &[RefTensor]| evaluate(&Op::BatchNorm(BN), &operands.iter().collect::<Vec<_>>()).unwrap();
    let results = forward(&operands);
    let grads = evaluate(&Op::BatchNormGrad, &[&dy, &operands[0], &operands[1], &results[1], &results[2]]).unwrap();
    for (operand, grad) in grads.iter().enumerate() {
        for at in 0..grad.data.len() {
            let shifted = |h: f64| {
                let mut moved = operands.clone();
                moved[operand].data[at] += h;
                dot(&forward(&moved)[0], &dy)
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((slope - grad.data[at]).abs() < 1e-7, "operand {operand}[{at}]: {slope} {}", grad.data[at]);
        }
    }
}

#[test]
fn coefficients_are_batch_norm_in_pieces() {
    let operands = normalized();
    let (x, dy) = (&operands[0], noise([2, 3, 3, 5], 9));
    let results = evaluate(&Op::BatchNorm(BN), &operands.iter().collect::<Vec<_>>()).unwrap();
    let grads = evaluate(&Op::BatchNormGrad, &[&dy, x, &operands[1], &results[1], &results[2]]).unwrap();
    // partial sums: one row an image
    let partial = |f: &dyn Fn(usize) -> f64| {
        let mut sums = vec![0.0; 10];
        (0..90).for_each(|at| sums[at / 45 * 5 + at % 5] += f(at));
        tensor([2, 5], &sums)
    };
    let (sums, squares) = (partial(&|at| x.data[at]), partial(&|at| x.data[at].powi(2)));
    let op = Op::Coefficients(Coefficients { norm: BN, count: 18 });
    let c = evaluate(&op, &[&sums, &squares, &operands[1], &operands[2], &operands[3], &operands[4]]).unwrap();
    let y: Vec<f64> = (0..90).map(|at| x.data[at] * c[0].data[at % 5] + c[1].data[at % 5]).collect();
    close(&y, &results[0].data);
    (1..5).for_each(|i| close(&c[i + 1].data, &results[i].data));
    let (mean, rstd) = (&results[1].data, &results[2].data);
    let sum_dy = partial(&|at| dy.data[at]);
    let sum_dy_xhat = partial(&|at| dy.data[at] * (x.data[at] - mean[at % 5]) * rstd[at % 5]);
    let op = Op::GradCoefficients(GradCoefficients { count: 18 });
    let g = evaluate(&op, &[&sum_dy, &sum_dy_xhat, &operands[1], &results[1], &results[2]]).unwrap();
    let dx: Vec<f64> = (0..90)
        .map(|at| g[0].data[at % 5] * dy.data[at] + g[1].data[at % 5] * x.data[at] + g[2].data[at % 5])
        .collect();
    close(&dx, &grads[0].data);
    close(&g[3].data, &grads[1].data);
    close(&g[4].data, &grads[2].data);
}

/// `relu(x·scale + shift)`, stored, on the way into the anchor.
fn scaled(x: usize, scale: usize, shift: usize) -> Program {
    Program {
        steps: vec![
            Step::Operand(x),
            Step::Operand(scale),
            Step::Binary(Binary::Mul, 0, 1),
            Step::Operand(shift),
            Step::Binary(Binary::Add, 2, 3),
            Step::Unary(Unary::Relu, 4),
        ],
        value: 5,
        outputs: vec![Output::Full(5)],
    }
}

#[test]
fn fused_convolution_is_its_parts() {
    let conv = Conv2d { stride: [1, 1], padding: [[1, 1], [1, 1]], dilation: [1, 1], groups: 1 };
    let (w, x, scale, shift) = (noise([3, 3, 3, 5], 1), noise([3, 4, 4, 3], 2), noise([3], 3), noise([3], 4));
    let result = Program {
        steps: vec![Step::Anchor, Step::Binary(Binary::Mul, 0, 0)],
        value: 0,
        outputs: vec![Output::Full(0), Output::Sums(0), Output::Sums(1)],
    };
    let anchor = Anchor::Conv2d { conv, input: x.ty.shape.clone(), weight: w.ty.shape.clone() };
    let op = Op::Fused(Box::new(Fused {
        anchor,
        chunks: 2,
        precision: Default::default(),
        source: scaled(1, 2, 3),
        gradient: Program::default(),
        result,
    }));
    let results = evaluate(&op, &[&w, &x, &scale, &shift]).unwrap();
    let product = one(Op::Binary(Binary::Mul), &[&x, &scale]);
    let sum = one(Op::Binary(Binary::Add), &[&product, &shift]);
    let input = one(Op::Unary(Unary::Relu), &[&sum]);
    let y = one(Op::Conv2d(conv), &[&input, &w]);
    assert_eq!(results[0], input);
    assert_eq!(results[1], y);
    // chunks of two images and of one
    let mut sums = vec![0.0; 10];
    y.data.iter().enumerate().for_each(|(at, v)| sums[at / 160 * 5 + at % 5] += v);
    assert_eq!(results[2].ty.shape, Shape::from([2, 5]));
    close(&results[2].data, &sums);
    close(&[results[3].data.iter().sum()], &[dot(&y, &y)]);
}

#[test]
fn fused_backward_is_its_parts() {
    let conv = Conv2d { stride: [2, 2], padding: [[0, 1], [0, 1]], dilation: [1, 1], groups: 1 };
    let (w, x) = (noise([3, 3, 3, 5], 1), noise([5, 4, 4, 3], 2));
    let (scale, shift) = (noise([3], 3), noise([3], 4));
    let (dy, half) = (noise([5, 2, 2, 5], 5), noise([5], 6));
    let gradient = Program {
        steps: vec![Step::Operand(4), Step::Operand(5), Step::Binary(Binary::Mul, 0, 1)],
        value: 2,
        outputs: vec![],
    };
    let result = Program {
        steps: vec![Step::Anchor, Step::Operand(1), Step::Binary(Binary::Add, 0, 1)],
        value: 2,
        outputs: vec![Output::Full(2), Output::Sums(0)],
    };
    let fused = Fused {
        anchor: Anchor::ConvBackward {
            conv,
            input: x.ty.shape.clone(),
            weight: w.ty.shape.clone(),
            data: true,
            filter: true,
        },
        chunks: 3,
        precision: Default::default(),
        source: scaled(1, 2, 3),
        gradient,
        result,
    };
    let results = evaluate(&Op::Fused(Box::new(fused)), &[&w, &x, &scale, &shift, &dy, &half]).unwrap();
    let product = one(Op::Binary(Binary::Mul), &[&x, &scale]);
    let sum = one(Op::Binary(Binary::Add), &[&product, &shift]);
    let input = one(Op::Unary(Unary::Relu), &[&sum]);
    let dy = one(Op::Binary(Binary::Mul), &[&dy, &half]);
    let dx = one(Op::Conv2dGradInput(conv, x.ty.shape.clone()), &[&dy, &w]);
    let dw = one(Op::Conv2dGradWeight(conv, w.ty.shape.clone()), &[&input, &dy]);
    assert_eq!(results[0], input);
    assert_eq!(results[1], one(Op::Binary(Binary::Add), &[&dx, &x]));
    assert_eq!(results[2].ty.shape, Shape::from([3, 3]));
    let over = |t: &RefTensor, axes: &[usize]| {
        one(Op::Reduce(Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep_dims: false }), &[t]).data
    };
    close(&over(&results[2], &[0]), &over(&dx, &[0, 1, 2]));
    assert_eq!(results[3].ty.shape, Shape::from([3, 3, 3, 3, 5]));
    close(&over(&results[3], &[0]), &dw.data);
    // the last chunk is the fifth image alone
    let last = tensor([1, 4, 4, 3], &input.data[4 * 48..]);
    let last_dy = tensor([1, 2, 2, 5], &dy.data[4 * 20..]);
    let alone = one(Op::Conv2dGradWeight(conv, w.ty.shape.clone()), &[&last, &last_dy]);
    close(&results[3].data[2 * 135..], &alone.data);
}

#[test]
fn a_run_names_what_is_wrong() {
    let mut g = Graph::new("test");
    let x = g.input("x", DType::F32, [2]).unwrap();
    let labels = g.input("labels", DType::I32, [2]).unwrap();
    let count = g.buffer("count", DType::I32, [], crate::ops::Init::ZEROS).unwrap();
    let one = g.constant(Tensor::i32([], vec![1]).unwrap()).unwrap();
    let next = g.add_values(count, one).unwrap();
    g.set_update(count, next).unwrap();
    let rows = g.one_hot(labels, 3).unwrap();
    let y = g.neg(x).unwrap();
    g.set_output("rows", rows).unwrap();
    g.set_output("y", y).unwrap();
    let state = HashMap::from([("count".to_string(), Tensor::i32([], vec![4]).unwrap())]);
    let inputs = |labels: Vec<i32>| {
        HashMap::from([
            ("x".to_string(), Tensor::f32([2], vec![1.0, -2.0]).unwrap()),
            ("labels".to_string(), Tensor::i32([2], labels).unwrap()),
        ])
    };
    let outcome = run(&g, &inputs(vec![2, 1]), &state).unwrap();
    assert_eq!(outcome.output("y").unwrap().data, [-1.0, 2.0]);
    assert_eq!(outcome.updates["count"].data, [5.0]);
    assert_eq!(outcome.values[&rows].data, [0., 0., 1., 0., 1., 0.]);
    assert!(matches!(outcome.output("z"), Err(Error::UnknownName { what: "output", .. })));
    let error = run(&g, &inputs(vec![0, 3]), &state).unwrap_err();
    assert_eq!(error.to_string(), "\"labels\"[1] is 3, but labels must be in 0..3");
    let error = run(&g, &inputs(vec![0, 1]), &HashMap::new()).unwrap_err();
    assert!(matches!(error, Error::UnknownName { what: "state", .. }), "{error}");
    let mut wrong = inputs(vec![0, 1]);
    wrong.insert("x".to_string(), Tensor::scalar(1.0));
    assert!(matches!(run(&g, &wrong, &state), Err(Error::Type { .. })));
}
