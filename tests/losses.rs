//! Losses: what PyTorch and Keras compute, the formulas in plain f64, and the edge: logits of -∞, by which classes
//! are masked.

mod common;

use common::executors::{Reference, Results, executors};
use outrigger::autodiff::gradients;
use outrigger::graph::{Loss, Reduction};
use outrigger::{DType, Error, Graph, Tensor};
use std::collections::HashMap;
use std::f64::consts::LN_2;

/// Results of the reference and of every way to compile.
fn results(g: &Graph, inputs: &HashMap<String, Tensor>) -> Vec<(String, Results)> {
    let mut all = executors();
    all.push(Box::new(Reference));
    all.iter().map(|e| (e.name(), e.run(g, inputs, &HashMap::new()).unwrap())).collect()
}

fn close(who: &str, got: &[f64], want: &[f64]) {
    let near = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 1e-6;
    assert!(got.len() == want.len() && got.iter().zip(want).all(near), "{who}: {got:?}, not {want:?}");
}

const NONE: f32 = f32::NEG_INFINITY;

/// Rows: one class left, two equal ones left, and the odds 1:3 without a mask.
fn logits() -> Tensor {
    Tensor::f32([3, 3], vec![0.0, NONE, NONE, NONE, 1.0, 1.0, 0.0, 3f32.ln(), NONE]).unwrap()
}

#[test]
fn masked_logits_with_integer_labels() {
    let mut g = Graph::new("masked");
    let x = g.input("logits", DType::F32, [3, 3]).unwrap();
    let labels = g.input("labels", DType::I32, [3]).unwrap();
    let loss = g.cross_entropy(x, labels).unwrap();
    let dx = gradients(&mut g, loss, &[x]).unwrap()[0];
    g.set_output("loss", loss).unwrap();
    g.set_output("dx", dx).unwrap();
    let labels = Tensor::i32([3], vec![0, 2, 0]).unwrap();
    let inputs = HashMap::from([("logits".to_string(), logits()), ("labels".to_string(), labels)]);
    let want = (2f64.ln() + 4f64.ln()) / 3.0;
    // (p - label) / 3
    let gradient = [0.0, 0.0, 0.0, 0.0, 0.5, -0.5, -0.75, 0.75, 0.0].map(|v| v / 3.0);
    for (who, got) in results(&g, &inputs) {
        close(&who, &got["loss"].data, &[want]);
        close(&who, &got["dx"].data, &gradient);
    }
}

#[test]
fn masked_logits_with_soft_labels() {
    let mut g = Graph::new("masked");
    let x = g.input("logits", DType::F32, [3, 3]).unwrap();
    let target = g.input("target", DType::F32, [3, 3]).unwrap();
    let loss = g.soft_cross_entropy(x, target).unwrap();
    let grads = gradients(&mut g, loss, &[x, target]).unwrap();
    for (name, value) in [("loss", loss), ("dx", grads[0]), ("dt", grads[1])] {
        g.set_output(name, value).unwrap();
    }
    let soft = Tensor::f32([3, 3], vec![1.0, 0.0, 0.0, 0.0, 0.25, 0.75, 1.0, 0.0, 0.0]).unwrap();
    let inputs = HashMap::from([("logits".to_string(), logits()), ("target".to_string(), soft)]);
    let want = (2f64.ln() + 4f64.ln()) / 3.0;
    let gradient = [0.0, 0.0, 0.0, 0.0, 0.25, -0.25, -0.75, 0.75, 0.0].map(|v| v / 3.0);
    for (who, got) in results(&g, &inputs) {
        close(&who, &got["loss"].data, &[want]);
        close(&who, &got["dx"].data, &gradient);
        // -log p / 3, also for a label of 0
        let dt = &got["dt"].data;
        close(
            &who,
            &[dt[0], dt[4], dt[5], dt[6], dt[7]],
            &[0.0, 2f64.ln() / 3.0, 2f64.ln() / 3.0, 4f64.ln() / 3.0, (4f64 / 3.0).ln() / 3.0],
        );
        assert!(dt.iter().all(|v| v.is_finite()), "{who}: {dt:?}");
    }
}

/// As in PyTorch: a label that cannot be costs infinitely much.
#[test]
fn a_masked_label_costs_infinity() {
    let mut g = Graph::new("masked");
    let x = g.input("logits", DType::F32, [3, 3]).unwrap();
    let labels = g.input("labels", DType::I32, [3]).unwrap();
    let loss = g.cross_entropy(x, labels).unwrap();
    g.set_output("loss", loss).unwrap();
    let labels = Tensor::i32([3], vec![1, 1, 1]).unwrap();
    let inputs = HashMap::from([("logits".to_string(), logits()), ("labels".to_string(), labels)]);
    for (who, got) in results(&g, &inputs) {
        assert_eq!(got["loss"].data, [f64::INFINITY], "{who}");
    }
}

/// A graph of one loss of a prediction and a target.
fn loss_graph(loss: Loss, prediction: &Tensor, target: &Tensor, reduction: Reduction) -> Result<Graph, Error> {
    let mut g = Graph::new("loss");
    let x = g.input("x", prediction.dtype(), prediction.shape().clone())?;
    let t = g.input("t", target.dtype(), target.shape().clone())?;
    let loss = g.loss(loss, x, t, reduction)?;
    g.set_output("loss", loss)?;
    Ok(g)
}

/// Every way to run a loss gives `rows`, their sum, and their sum divided by `count`.
fn check(loss: Loss, prediction: &Tensor, target: &Tensor, each: &[f64], count: f64) {
    let sum: f64 = each.iter().sum();
    let wanted = [(Reduction::None, each.to_vec()), (Reduction::Sum, vec![sum]), (Reduction::Mean, vec![sum / count])];
    for (reduction, want) in wanted {
        let g = loss_graph(loss, prediction, target, reduction).unwrap();
        let inputs = HashMap::from([("x".to_string(), prediction.clone()), ("t".to_string(), target.clone())]);
        for (who, got) in results(&g, &inputs) {
            let got = &got["loss"].data;
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
            let equal = got.len() == want.len() && got.iter().zip(&want).all(near);
            assert!(equal, "{who}: {loss:?}, {reduction:?}: {got:?}, not {want:?}");
        }
    }
}

fn rows(values: [f32; 6]) -> Tensor {
    Tensor::f32([2, 3], values.to_vec()).unwrap()
}

/// The numbers are those of `torch.nn.functional` 2.15 with `reduction="none"`, in float64.
#[test]
fn numbers_of_pytorch() {
    let x = rows([0.5, -1.0, 2.0, 1.5, 0.25, -0.75]);
    let y = rows([0.5, 1.25, -2.0, 0.0, -1.0, 0.5]);
    let labels = Tensor::i32([2], vec![2, 1]).unwrap();
    let soft = rows([0.25, 0.25, 0.5, 0.0, 1.0, 0.0]);
    let binary = rows([1.0, 0.0, 0.25, 0.0, 1.0, 1.0]);
    // the last two are certain, and the very last is certainly wrong
    let p = rows([0.75, 0.5, 0.125, 0.25, 1.0, 0.0]);
    let log_p = rows([0.5_f32, 0.25, 0.25, 0.125, 0.75, 0.125].map(f32::ln));
    let (plain, smooth) = (Loss::CrossEntropy { label_smoothing: 0.0 }, Loss::CrossEntropy { label_smoothing: 0.25 });
    check(plain, &x, &labels, &[0.241311296657, 1.58067260941], 2.0);
    check(smooth, &x, &labels, &[0.616311296657, 1.55983927607], 2.0);
    check(plain, &x, &soft, &[1.36631129666, 1.58067260941], 2.0);
    check(smooth, &x, &soft, &[1.46006129666, 1.55983927607], 2.0);
    check(Loss::Nll, &log_p, &labels, &[1.38629436112, 0.287682072452], 2.0);
    let each = [0.287682072452, LN_2, 0.620008929888, 0.287682072452, 0.0, 100.0];
    check(Loss::BinaryCrossEntropy, &p, &binary, &each, 6.0);
    let each = [0.47407698418, 0.313261687518, 1.62692801104, 1.70141327798, 0.575939419879, 1.13687100611];
    check(Loss::BinaryCrossEntropyWithLogits, &x, &binary, &each, 6.0);
    check(Loss::MeanSquaredError, &x, &y, &[0.0, 5.0625, 16.0, 2.25, 1.5625, 1.5625], 6.0);
    check(Loss::L1, &x, &y, &[0.0, 2.25, 4.0, 1.5, 1.25, 1.25], 6.0);
    check(Loss::Huber { delta: 0.75 }, &x, &y, &[0.0, 1.40625, 2.71875, 0.84375, 0.65625, 0.65625], 6.0);
    // sums over a row of [-0.17328679514, 0, 0.34657359028] and [0, 0.287682072452, 0], divided by 2: "batchmean"
    check(Loss::KlDivergence, &log_p, &soft, &[0.17328679514, 0.287682072452], 2.0);
}

/// The numbers are those of Keras 3.15 in float64. Its probabilities need not add up to 1, and none counts as 0.
#[test]
fn numbers_of_keras() {
    let p = rows([0.5, 0.25, 0.5, 0.125, 0.75, 0.0]);
    let soft = rows([0.25, 0.25, 0.5, 0.0, 0.0, 1.0]);
    let labels = Tensor::i32([2], vec![2, 1]).unwrap();
    for (label_smoothing, target, want) in
        [(0.0, &soft, 8.603836588986232), (0.25, &soft, 7.355384769073978), (0.0, &labels, 0.5352207629935606)]
    {
        let loss = Loss::CategoricalCrossEntropy { label_smoothing };
        let g = loss_graph(loss, &p, target, Reduction::Mean).unwrap();
        let inputs = HashMap::from([("x".to_string(), p.clone()), ("t".to_string(), target.clone())]);
        for (who, got) in results(&g, &inputs) {
            let got = got["loss"].data[0];
            assert!((got - want).abs() <= 1e-6 * want, "{who}: {loss:?}: {got}, not {want}");
        }
    }
}

/// Three axes, more rows than classes, and each loss written out in f64.
#[test]
fn formulas_on_random_numbers() {
    let mut rng = common::rng::Rng::new(4);
    for classes in [1_usize, 2, 5, 17] {
        let (n, m) = (3, 4);
        let count = n * m * classes;
        let mut draw = |low: f64, high: f64| -> Vec<f64> {
            (0..count).map(|_| f64::from(rng.uniform(low, high) as f32)).collect()
        };
        let (x, y, p, t) = (draw(-4.0, 4.0), draw(-4.0, 4.0), draw(0.01, 0.99), draw(0.01, 1.0));
        let tensor = |v: &[f64]| Tensor::f32([n, m, classes], v.iter().map(|&v| v as f32).collect()).unwrap();
        let by_row = |f: &dyn Fn(&[f64], &[f64]) -> f64, x: &[f64], t: &[f64]| -> Vec<f64> {
            x.chunks(classes).zip(t.chunks(classes)).map(|(x, t)| f(x, t)).collect()
        };
        let by_element = |f: &dyn Fn(f64, f64) -> f64, x: &[f64], t: &[f64]| -> Vec<f64> {
            x.iter().zip(t).map(|(&x, &t)| f(x, t)).collect()
        };
        let smoothing = 0.125;
        let cross = |log_p: &[f64], t: &[f64]| -> f64 {
            let spread = |t: f64| t * (1.0 - smoothing) + smoothing / classes as f64;
            -log_p.iter().zip(t).map(|(l, &t)| spread(t) * l).sum::<f64>()
        };
        let log_softmax = |x: &[f64]| -> Vec<f64> {
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            x.iter().map(|x| x - sum.ln()).collect()
        };
        let log_share = |p: &[f64]| -> Vec<f64> {
            let sum: f64 = p.iter().sum();
            p.iter().map(|p| (p / sum).clamp(1e-7, f64::from(1.0_f32 - 1e-7)).ln()).collect()
        };
        let rows = (n * m) as f64;
        let label_smoothing = smoothing as f32;
        let want = by_row(&|x, t| cross(&log_softmax(x), t), &x, &t);
        check(Loss::CrossEntropy { label_smoothing }, &tensor(&x), &tensor(&t), &want, rows);
        let want = by_row(&|p, t| cross(&log_share(p), t), &p, &t);
        check(Loss::CategoricalCrossEntropy { label_smoothing }, &tensor(&p), &tensor(&t), &want, rows);
        let nll = |x: &[f64], t: &[f64]| -x.iter().zip(t).map(|(x, t)| x * t).sum::<f64>();
        check(Loss::Nll, &tensor(&x), &tensor(&t), &by_row(&nll, &x, &t), rows);
        let kl = |x: &[f64], t: &[f64]| x.iter().zip(t).map(|(x, t)| t * (t.ln() - x)).sum::<f64>();
        check(Loss::KlDivergence, &tensor(&x), &tensor(&t), &by_row(&kl, &x, &t), rows);

        let all = count as f64;
        let bce = |p: f64, t: f64| -(t * p.ln() + (1.0 - t) * (1.0 - p).ln());
        check(Loss::BinaryCrossEntropy, &tensor(&p), &tensor(&t), &by_element(&bce, &p, &t), all);
        let with_logits = |x: f64, t: f64| bce(1.0 / (1.0 + (-x).exp()), t);
        let want = by_element(&with_logits, &x, &t);
        check(Loss::BinaryCrossEntropyWithLogits, &tensor(&x), &tensor(&t), &want, all);
        let want = by_element(&|x, y| (x - y).powi(2), &x, &y);
        check(Loss::MeanSquaredError, &tensor(&x), &tensor(&y), &want, all);
        check(Loss::L1, &tensor(&x), &tensor(&y), &by_element(&|x, y| (x - y).abs(), &x, &y), all);
        let huber = |x: f64, y: f64| {
            let d = (x - y).abs();
            if d <= 1.5 { d * d / 2.0 } else { 1.5 * (d - 0.75) }
        };
        check(Loss::Huber { delta: 1.5 }, &tensor(&x), &tensor(&y), &by_element(&huber, &x, &y), all);
    }
}

/// Where a probability is 0 or 1 the logarithm is limited, and the gradient is no NaN.
#[test]
fn certain_probabilities_have_finite_gradients() {
    let mut g = Graph::new("certain");
    let p = g.input("p", DType::F32, [4]).unwrap();
    let t = g.input("t", DType::F32, [4]).unwrap();
    let loss = g.loss(Loss::BinaryCrossEntropy, p, t, Reduction::Sum).unwrap();
    let dp = gradients(&mut g, loss, &[p]).unwrap()[0];
    g.set_output("dp", dp).unwrap();
    let tensor = |v: [f32; 4]| Tensor::f32([4], v.to_vec()).unwrap();
    let inputs = [("p", tensor([0.0, 1.0, 0.0, 0.5])), ("t", tensor([0.0, 1.0, 1.0, 1.0]))];
    let inputs = inputs.map(|(name, value)| (name.to_string(), value)).into();
    for (who, got) in results(&g, &inputs) {
        // right and certain: the other logarithm is ln 1, whose slope remains
        close(&who, &got["dp"].data, &[1.0, -1.0, 0.0, -2.0]);
    }
}

#[test]
fn targets_and_options_that_do_not_fit() {
    let (x, column) = (rows([0.5; 6]), Tensor::f32([2, 1], vec![0.0; 2]).unwrap());
    let all = [
        Loss::CrossEntropy { label_smoothing: 0.0 },
        Loss::CategoricalCrossEntropy { label_smoothing: 0.0 },
        Loss::Nll,
        Loss::BinaryCrossEntropy,
        Loss::BinaryCrossEntropyWithLogits,
        Loss::MeanSquaredError,
        Loss::L1,
        Loss::Huber { delta: 1.0 },
        Loss::KlDivergence,
    ];
    for loss in all {
        match loss_graph(loss, &x, &column, Reduction::Mean) {
            Err(Error::Operands { operands, .. }) => assert_eq!(operands, "f32[2,3], f32[2,1]"),
            other => panic!("{loss:?}: {other:?}"),
        }
    }
    for (name, loss) in [
        ("label_smoothing", Loss::CrossEntropy { label_smoothing: -0.5 }),
        ("label_smoothing", Loss::CategoricalCrossEntropy { label_smoothing: 1.5 }),
        ("delta", Loss::Huber { delta: 0.0 }),
        ("delta", Loss::Huber { delta: f32::NAN }),
    ] {
        match loss_graph(loss, &x, &x, Reduction::Mean) {
            Err(Error::Option { option, .. }) => assert_eq!(option, name),
            other => panic!("{loss:?}: {other:?}"),
        }
    }
}
