use outrigger::codegen::Isa;
use outrigger::graph::*;
use outrigger::ops::Program as P;
use outrigger::ops::*;
use outrigger::*;
use std::sync::Arc;
fn main() {
    let threads: usize = std::env::args().nth(1).map_or(1, |a| a.parse().unwrap());
    let peak = outrigger_runtime::peak_gflops(threads);
    println!("peak {peak:.0}");
    for isa in [Isa::Clif, Isa::Avx2, Isa::Avx512] {
        for (n, h, ci, co, s) in [
            (100, 32, 3, 16, 1),
            (100, 32, 16, 16, 1),
            (100, 32, 16, 32, 2),
            (100, 16, 32, 32, 1),
            (100, 16, 32, 64, 2),
            (100, 8, 64, 64, 1),
        ] {
            let mut g = Graph::new("c");
            let x = g.input("x", DType::F32, [n, h, h, ci]).unwrap();
            let wt = g.parameter("w", [3, 3, ci, co], Init::Uniform(0.3)).unwrap();
            let y0 = g
                .conv2d(
                    x,
                    wt,
                    None,
                    ConvOptions { stride: [s, s], padding: Padding::all(1), dilation: [1, 1], groups: 1 },
                )
                .unwrap();
            let ysh = g.value_type(y0).unwrap().shape.clone();
            let Op::Conv2d(c) = g.get(y0.node).unwrap().op.clone() else { panic!() };
            let dy = g.input("dy", DType::F32, ysh.clone()).unwrap();
            let (vi, vo) = (g.input("vi", DType::F32, [ci]).unwrap(), g.input("vo", DType::F32, [co]).unwrap());
            let chunks = outrigger::ops::fused::chunks_for(n);
            let (input, weight) = (Shape(vec![n, h, h, ci]), Shape(vec![3, 3, ci, co]));
            let f = |data, filter| {
                Op::Fused(Box::new(Fused {
                    anchor: Anchor::ConvBackward {
                        conv: c,
                        input: input.clone(),
                        weight: weight.clone(),
                        data,
                        filter,
                    },
                    chunks,
                    source: P {
                        steps: vec![
                            Step::Operand(1),
                            Step::Operand(3),
                            Step::Binary(Binary::Mul, 0, 1),
                            Step::Binary(Binary::Add, 2, 1),
                            Step::Unary(Unary::Relu, 3),
                        ],
                        value: 4,
                        outputs: vec![],
                    },
                    gradient: P {
                        steps: vec![
                            Step::Operand(2),
                            Step::Operand(4),
                            Step::Binary(Binary::Mul, 0, 1),
                            Step::Binary(Binary::Add, 2, 1),
                        ],
                        value: 3,
                        outputs: vec![],
                    },
                    result: P {
                        steps: vec![
                            Step::Anchor,
                            Step::Operand(1),
                            Step::Constant(0.0),
                            Step::Binary(Binary::Greater, 1, 2),
                            Step::Select(3, 0, 2),
                        ],
                        value: 0,
                        outputs: vec![Output::Full(4), Output::Sums(0), Output::Sums(4)],
                    },
                }))
            };
            let both = g.add(f(true, true), &[wt, x, dy, vi, vo], "both").unwrap();
            let data = g.add(f(true, false), &[wt, x, dy, vi, vo], "data").unwrap();
            let filter = g.add(f(false, true), &[wt, x, dy, vi, vo], "filter").unwrap();
            let fw = g
                .add(
                    Op::Fused(Box::new(Fused {
                        anchor: Anchor::Conv2d { conv: c, input: input.clone(), weight: weight.clone() },
                        chunks,
                        source: P {
                            steps: vec![
                                Step::Operand(1),
                                Step::Operand(2),
                                Step::Binary(Binary::Mul, 0, 1),
                                Step::Binary(Binary::Add, 2, 1),
                                Step::Unary(Unary::Relu, 3),
                            ],
                            value: 4,
                            outputs: vec![],
                        },
                        gradient: P::default(),
                        result: P {
                            steps: vec![Step::Anchor, Step::Binary(Binary::Mul, 0, 0)],
                            value: 0,
                            outputs: vec![Output::Full(0), Output::Sums(0), Output::Sums(1)],
                        },
                    })),
                    &[wt, x, vi],
                    "fwd",
                )
                .unwrap();
            g.set_output("y", y0).unwrap();
            for (i, id) in [both, data, filter, fw].into_iter().enumerate() {
                g.set_output(&format!("o{i}"), id.result(0)).unwrap();
            }
            let p = compile(&g, &Options { isa: Some(isa), ..Options::default() }).unwrap();
            let store = Store::new(&g, 1).unwrap();
            let team = Arc::new(Team::new(threads).unwrap());
            let mut s_ = p.session(&store, &team).unwrap();
            for (n, v) in [("x", n * h * h * ci), ("dy", ysh.elements()), ("vi", ci), ("vo", co)] {
                s_.set_f32(n, &vec![0.5; v]).unwrap();
            }
            let mut best: std::collections::BTreeMap<String, f64> = Default::default();
            for _ in 0..15 {
                let pr = s_.run_profiled().unwrap();
                for st in &pr.steps {
                    let k = format!("{}/{}", st.name, st.kind);
                    if st.flops > 0 {
                        let v = st.flops as f64 / st.total_ns as f64;
                        let e = best.entry(k).or_default();
                        if v > *e {
                            *e = v
                        }
                    } else {
                        let e = best.entry(format!("{k} us")).or_insert(1e9);
                        let v = st.total_ns as f64 / 1e3;
                        if v < *e {
                            *e = v
                        }
                    }
                }
            }
            print!("{isa} C{ci}->{co}@{h} s{s}: ");
            for (k, v) in &best {
                if k.ends_with("us") {
                    print!("{k} {v:.0}; ")
                } else {
                    print!("{k} {v:.0} ({:.0}%); ", 100.0 * v / peak)
                }
            }
            println!();
        }
    }
}
