//! Gradients that do not exist are errors that name the node.

use outrigger::autodiff::gradients;
use outrigger::graph::Graph;
use outrigger::ops::{BatchNorm, Init, MatMul, Op, Unary};
use outrigger::{DType, Error, Value};

fn parameter(g: &mut Graph, name: &str, shape: &[usize]) -> Value {
    g.parameter(name, shape, Init::ONES).unwrap()
}

/// The path and reason of the error.
fn refused(g: &mut Graph, loss: Value, wrt: &[Value]) -> (String, String) {
    match gradients(g, loss, wrt) {
        Err(Error::Gradient { path, reason }) => (path, reason),
        other => panic!("expected Error::Gradient, got {other:?}"),
    }
}

#[test]
fn the_loss_is_a_scalar() {
    for shape in [vec![1], vec![2, 3]] {
        let mut g = Graph::new("g");
        let x = parameter(&mut g, "x", &shape);
        let y = g.scope("head", |g| g.exp(x)).unwrap();
        let (path, reason) = refused(&mut g, y, &[x]);
        assert_eq!(path, "head.exp");
        assert!(reason.contains(&g.value_type(y).unwrap().to_string()), "{reason}");
    }
    let mut g = Graph::new("g");
    let (x, n) = (parameter(&mut g, "x", &[]), g.input("n", DType::I32, []).unwrap());
    assert!(refused(&mut g, n, &[x]).1.contains("i32[]"));
    let (path, reason) = refused(&mut g, x, &[n]);
    assert!(path == "n" && reason.contains("i32[]"), "{reason}");
}

#[test]
fn the_loss_depends_on_it() {
    let mut g = Graph::new("g");
    let (x, lonely) = (parameter(&mut g, "x", &[3]), parameter(&mut g, "fc.bias", &[3]));
    let loss = g.mean_all(x).unwrap();
    g.exp(lonely).unwrap();
    let (path, reason) = refused(&mut g, loss, &[x, lonely]);
    assert_eq!(path, "fc.bias");
    assert!(reason.contains("does not depend on it") && reason.contains("reduce_mean"), "{reason}");
}

#[test]
fn a_step_function_in_between_is_named() {
    let mut g = Graph::new("g");
    let x = parameter(&mut g, "x", &[3]);
    let y = g.scope("gate", |g| g.unary(Unary::Sign, x)).unwrap();
    let loss = g.mean_all(y).unwrap();
    let (path, reason) = refused(&mut g, loss, &[x]);
    assert_eq!(path, "x");
    assert!(reason.contains("gate.sign (sign)"), "{reason}");
}

#[test]
fn integers_have_no_derivative() {
    let mut g = Graph::new("g");
    let x = parameter(&mut g, "x", &[3]);
    let labels = g.cast(x, DType::I32).unwrap();
    let hot = g.scope("target", |g| g.one_hot(labels, 5)).unwrap();
    let a = g.mean_all(hot).unwrap();
    let b = g.mean_all(x).unwrap();
    let loss = g.add_values(a, b).unwrap();
    let (path, reason) = refused(&mut g, loss, &[x]);
    assert_eq!(path, "target.one_hot");
    assert!(reason.contains("one_hot(i32[3])"), "{reason}");

    let back = g.scope("back", |g| g.cast(labels, DType::F32)).unwrap();
    let loss = g.mean_all(back).unwrap();
    let (path, reason) = refused(&mut g, loss, &[x]);
    assert_eq!(path, "back.cast");
    assert!(reason.contains("cast(i32[3])"), "{reason}");
}

fn batch_norm(g: &mut Graph, x: Value) -> outrigger::graph::Normalized {
    let (gamma, beta) = (parameter(g, "gamma", &[3]), parameter(g, "beta", &[3]));
    let mean = g.buffer("mean", DType::F32, [3], Init::ZEROS).unwrap();
    let var = g.buffer("var", DType::F32, [3], Init::ONES).unwrap();
    let attributes = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    g.scope("layer1", |g| g.batch_norm(x, gamma, beta, [mean, var], attributes)).unwrap()
}

#[test]
fn statistics_of_batch_norm() {
    for port in 1..5 {
        let mut g = Graph::new("g");
        let x = parameter(&mut g, "x", &[4, 3]);
        let bn = batch_norm(&mut g, x);
        let statistic = [bn.y, bn.mean, bn.rstd, bn.running_mean, bn.running_var][port];
        let sum = g.add_values(bn.y, statistic).unwrap();
        let loss = g.mean_all(sum).unwrap();
        let (path, reason) = refused(&mut g, loss, &[x]);
        assert_eq!(path, "layer1.batch_norm");
        let name = ["y", "mean", "rstd", "new running mean", "new running variance"][port];
        assert!(reason.contains(&format!("its {name},")), "{reason}");
    }
    // unused or not on the path, they do no harm
    let mut g = Graph::new("g");
    let x = parameter(&mut g, "x", &[4, 3]);
    let y = batch_norm(&mut g, x).y;
    let loss = g.mean_all(y).unwrap();
    gradients(&mut g, loss, &[x]).unwrap();
}

#[test]
fn second_derivative_of_batch_norm() {
    let mut g = Graph::new("g");
    let x = parameter(&mut g, "x", &[4, 3]);
    let y = batch_norm(&mut g, x).y;
    let square = g.mul(y, y).unwrap();
    let loss = g.mean_all(square).unwrap();
    let dx = gradients(&mut g, loss, &[x]).unwrap()[0];
    let penalty = g.mean_all(dx).unwrap();
    let (path, reason) = refused(&mut g, penalty, &[x]);
    assert_eq!(path, "layer1.batch_norm.grad");
    assert!(reason.contains("batch_norm_grad(") && reason.contains("second derivatives"), "{reason}");
}

#[test]
fn fused_kernels_come_after() {
    use outrigger::ops::{Anchor, Fused, Output, Program, Step};
    let mut g = Graph::new("g");
    let x = parameter(&mut g, "x", &[4, 3]);
    let result = Program { steps: vec![Step::Operand(0)], value: 0, outputs: vec![Output::Full(0)] };
    let unused = Program::default();
    let map = Fused {
        anchor: Anchor::Map([4, 3].into()),
        chunks: 1,
        precision: Default::default(),
        source: unused.clone(),
        gradient: unused,
        result,
    };
    let y = g.scope("chain", |g| g.op(Op::Fused(Box::new(map)), &[x])).unwrap();
    let loss = g.mean_all(y).unwrap();
    let (path, reason) = refused(&mut g, loss, &[x]);
    assert_eq!(path, "chain.map");
    assert!(reason.contains("before the graph is lowered and fused"), "{reason}");
}

#[test]
fn values_of_another_graph() {
    let mut big = Graph::new("big");
    let mut value = parameter(&mut big, "x", &[2, 2]);
    for _ in 0..3 {
        value = big.matmul(value, value, MatMul::default()).unwrap();
    }
    let mut g = Graph::new("small");
    let x = parameter(&mut g, "x", &[]);
    assert!(matches!(gradients(&mut g, value, &[x]), Err(Error::UnknownValue { .. })));
    assert!(matches!(gradients(&mut g, x, &[value]), Err(Error::UnknownValue { .. })));
}
