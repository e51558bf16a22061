use outrigger::codegen::Isa;
use outrigger::graph::*;
use outrigger::ops::Program as P;
use outrigger::ops::*;
use outrigger::*;
use std::collections::HashMap;
use std::sync::Arc;

struct R(u64);
impl R {
    fn f(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / 16777216.0) * 2.0 - 1.0
    }
}

fn check(name: &str, g: &Graph, tol: f64) {
    let mut r = R(7);
    let mut inputs = HashMap::new();
    for id in g.inputs() {
        let n = g.get(id).unwrap();
        let ty = &n.results[0];
        let t = match ty.dtype {
            DType::F32 => Tensor::f32(ty.shape.clone(), (0..ty.shape.elements()).map(|_| r.f()).collect()).unwrap(),
            _ => Tensor::i32(ty.shape.clone(), (0..ty.shape.elements()).map(|_| (r.f().abs() * 3.0) as i32).collect())
                .unwrap(),
        };
        inputs.insert(n.name.clone(), t);
    }
    let store = Store::new(g, 1).unwrap();
    let state: HashMap<_, _> = store.entries().iter().map(|(n, _)| (n.clone(), store.get(n).unwrap())).collect();
    let want = outrigger::reference::run(g, &inputs, &state).unwrap();
    for isa in [Isa::Clif, Isa::Avx2, Isa::Avx512] {
        if !isa.available() {
            continue;
        }
        for threads in [1, 2] {
            let p = compile(g, &Options { isa: Some(isa), ..Options::default() }).unwrap();
            let team = Arc::new(Team::new(threads).unwrap());
            let store = Store::new(g, 1).unwrap();
            let mut s = p.session(&store, &team).unwrap();
            for (n, t) in &inputs {
                s.set(n, t).unwrap();
            }
            s.run().unwrap();
            for (n, w) in &want.outputs {
                let got = s.get(n).unwrap().to_f64();
                let scale = w.data.iter().fold(1e-6f64, |a, b| a.max(b.abs()));
                let bad = got
                    .iter()
                    .zip(&w.data)
                    .enumerate()
                    .map(|(i, (a, b))| (i, (a - b).abs() / scale))
                    .fold((0, 0.0), |m, x| if x.1 > m.1 || x.1.is_nan() { x } else { m });
                if !(bad.1 < tol) {
                    println!(
                        "FAIL {name} {isa} t{threads} output {n} {}: at {} rel {} got {} want {}",
                        w.ty, bad.0, bad.1, got[bad.0], w.data[bad.0]
                    );
                }
            }
        }
    }
    println!("done {name}");
}

#[test]
fn convs() {
    for (n, h, w, ci, co, k, s, p, d) in [
        (2, 8, 8, 16, 16, 3, 1, 1, 1),
        (3, 9, 7, 5, 10, 3, 1, 1, 1),
        (1, 8, 8, 3, 16, 3, 1, 1, 1),
        (5, 16, 16, 32, 64, 3, 2, 1, 1),
        (2, 9, 11, 16, 33, 3, 2, 0, 1),
        (2, 12, 12, 17, 16, 3, 2, 1, 2),
        (2, 10, 10, 16, 32, 1, 1, 0, 1),
        (2, 10, 10, 8, 48, 1, 2, 0, 1),
        (1, 13, 9, 4, 7, 5, 3, 2, 1),
        (33, 4, 4, 16, 16, 3, 1, 1, 1),
    ] {
        let mut g = Graph::new("c");
        let x = g.input("x", DType::F32, [n, h, w, ci]).unwrap();
        let wt = g.parameter("w", [k, k, ci, co], Init::Uniform(0.3)).unwrap();
        let y = g
            .conv2d(x, wt, None, ConvOptions { stride: [s, s], padding: Padding::all(p), dilation: [d, d], groups: 1 })
            .unwrap();
        let ysh = g.value_type(y).unwrap().shape.clone();
        let dy = g.input("dy", DType::F32, ysh.clone()).unwrap();
        let Op::Conv2d(c) = g.get(y.node).unwrap().op.clone() else { panic!() };
        let dx = g.op(Op::Conv2dGradInput(c, Shape(vec![n, h, w, ci])), &[dy, wt]).unwrap();
        let chunks = outrigger::ops::fused::chunks_for(n);
        let f = g
            .add(
                Op::Fused(Box::new(Fused {
                    anchor: Anchor::ConvBackward {
                        conv: c,
                        input: Shape(vec![n, h, w, ci]),
                        weight: Shape(vec![k, k, ci, co]),
                        data: true,
                        filter: true,
                    },
                    chunks,
                    source: P::operand(1),
                    gradient: P::operand(2),
                    result: P {
                        steps: vec![Step::Anchor, Step::Operand(1), Step::Binary(Binary::Mul, 0, 1)],
                        value: 0,
                        outputs: vec![Output::Full(0), Output::Full(2), Output::Sums(2)],
                    },
                })),
                &[wt, x, dy],
                "b",
            )
            .unwrap();
        let scale = g.input("scale", DType::F32, [ci]).unwrap();
        let f2 = g
            .add(
                Op::Fused(Box::new(Fused {
                    anchor: Anchor::Conv2d {
                        conv: c,
                        input: Shape(vec![n, h, w, ci]),
                        weight: Shape(vec![k, k, ci, co]),
                    },
                    chunks,
                    source: P {
                        steps: vec![
                            Step::Operand(1),
                            Step::Operand(2),
                            Step::Binary(Binary::Mul, 0, 1),
                            Step::Unary(Unary::Relu, 2),
                        ],
                        value: 3,
                        outputs: vec![Output::Full(2), Output::Sums(3)],
                    },
                    gradient: P::default(),
                    result: P {
                        steps: vec![
                            Step::Anchor,
                            Step::Operand(3),
                            Step::Binary(Binary::Add, 0, 1),
                            Step::Binary(Binary::Mul, 0, 0),
                        ],
                        value: 0,
                        outputs: vec![Output::Full(2), Output::Sums(0), Output::Sums(3)],
                    },
                })),
                &[wt, x, scale, dy],
                "f",
            )
            .unwrap();
        g.set_output("y", y).unwrap();
        g.set_output("dx", dx).unwrap();
        for i in 0..4 {
            g.set_output(&format!("b{i}"), f.result(i)).unwrap();
        }
        for i in 0..5 {
            g.set_output(&format!("f{i}"), f2.result(i)).unwrap();
        }
        check(&format!("conv {n} {h}x{w} {ci}->{co} k{k} s{s} p{p} d{d}"), &g, 2e-6);
    }
}
#[test]
fn misc() {
    for (m, k, n) in [(7, 5, 3), (64, 100, 10), (33, 17, 48), (100, 64, 10), (1, 9, 64)] {
        for ta in [false, true] {
            for tb in [false, true] {
                for batch in [None, Some(3)] {
                    let mut g = Graph::new("m");
                    let sh = |a: usize, b: usize| {
                        let mut v = vec![];
                        if let Some(x) = batch {
                            v.push(x)
                        }
                        v.push(a);
                        v.push(b);
                        v
                    };
                    let a = g.input("a", DType::F32, if ta { sh(k, m) } else { sh(m, k) }).unwrap();
                    let b = g.input("b", DType::F32, if tb { sh(n, k) } else { sh(k, n) }).unwrap();
                    let c = g.matmul(a, b, MatMul { trans_a: ta, trans_b: tb }).unwrap();
                    g.set_output("c", c).unwrap();
                    check(&format!("matmul {m} {k} {n} {ta} {tb}"), &g, 1e-6);
                }
            }
        }
    }
    let mut g = Graph::new("u");
    let x = g.input("x", DType::F32, [37, 9]).unwrap();
    let four = g.scalar(6.0).unwrap();
    let x4 = g.mul(x, four).unwrap();
    let pos = g.abs(x4).unwrap();
    for (i, u) in [
        Unary::Exp,
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Erf,
        Unary::Gelu,
        Unary::Silu,
        Unary::Softplus,
        Unary::Relu,
        Unary::Sign,
        Unary::LeakyRelu(0.1),
        Unary::Clamp(-1.0, 2.0),
    ]
    .into_iter()
    .enumerate()
    {
        let y = g.unary(u, x4).unwrap();
        g.set_output(&format!("{}{i}", u.name()), y).unwrap();
    }
    for u in [Unary::Log, Unary::Sqrt, Unary::Rsqrt] {
        let y = g.unary(u, pos).unwrap();
        g.set_output(u.name(), y).unwrap();
    }
    check("unary", &g, 1e-6);
}
