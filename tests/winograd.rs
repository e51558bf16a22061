//! Winograd convolutions, forced wherever they are defined.
//!
//! ```text
//!   convolution ─┬─ reference, f64 ──────────────────────▶ ◀─┐
//!                ├─ F(2×2) ─┬─ clif, avx2, avx512 ─▶ bits ◀──┼─ close to the reference; bits equal
//!                └─ F(4×4) ─┘   × 1, 2, 3 threads            ┘  among instruction sets and threads
//! ```
//!
//! The tolerance is that of the suite of operations, a few roundings times the root of the length of a sum. F(2×2) sums
//! nine times fewer terms and adds two roundings of each transform. F(4×4) multiplies them by its matrices' numbers: its
//! error is about twice the direct kernel's in the mean, so it gets twice the tolerance.

mod common;

use std::collections::HashMap;

use common::build::{Build, Fill};
use common::cases::{self, Case, conv};
use common::executors::{Compiled, Executor, Reference, Results, difference};
use outrigger::autodiff::gradients;
use outrigger::codegen::{Convolution, Isa};
use outrigger::graph::ConvOptions;
use outrigger::ops::{BatchNorm, Op};
use outrigger::{DType, Graph, Options, Padding, Shape, compile};

/// The forms, and how many times the tolerance they get.
const FORMS: [(Convolution, f64); 2] = [(Convolution::Winograd2, 1.0), (Convolution::Winograd4, 2.0)];

fn isas() -> impl Iterator<Item = Isa> {
    [Isa::Clif, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.available())
}

fn run(b: &Build, graph: &Graph, isa: Isa, convolution: Convolution) -> Result<Results, String> {
    let options = Options { isa: Some(isa), convolution, ..Options::default() };
    Compiled::new(isa.to_string(), options).run(graph, &b.inputs, &b.state)
}

/// What differs from the reference by more than `limit`, and where instruction sets differ.
fn disagreements(b: &Build, graph: &Graph, limit: impl Fn(&str, f64) -> f64) -> Vec<String> {
    let want = Reference.run(graph, &b.inputs, &b.state).unwrap();
    let mut found = Vec::new();
    for (convolution, times) in FORMS {
        let mut first: Option<HashMap<String, Vec<u64>>> = None;
        for isa in isas() {
            let got = match run(b, graph, isa, convolution) {
                Ok(got) => got,
                Err(error) => {
                    found.push(format!("{convolution:?} for {isa}: {error}"));
                    continue;
                }
            };
            let far = difference(&got, &want, |name, largest| times * limit(name, largest));
            found.extend(far.map(|what| format!("{convolution:?} for {isa}: {what}")));
            let bits: HashMap<String, Vec<u64>> =
                got.into_iter().map(|(name, t)| (name, t.data.iter().map(|v| v.to_bits()).collect())).collect();
            match &first {
                None => first = Some(bits),
                Some(first) if *first != bits => found.push(format!("{convolution:?}: other bits for {isa}")),
                Some(_) => {}
            }
        }
    }
    found
}

/// Everything with a convolution in the suite of operations: alone, fused, in small networks.
#[test]
fn the_suite() {
    let with_convolutions = |case: &Case| {
        case.build(0).g.nodes().any(|id| case.build(0).g.get(id).is_some_and(|n| n.op.kind().contains("conv2d")))
    };
    let mut failures = Vec::new();
    for case in cases::all().into_iter().filter(with_convolutions) {
        for seed in 0..3 {
            let mut b = case.build(seed);
            let mut graph = b.g.clone();
            if case.differentiable {
                let loss = b.loss();
                let leaves = b.leaves.clone();
                for (at, gradient) in gradients(&mut b.g, loss, &leaves).unwrap().into_iter().enumerate() {
                    b.g.set_output(&format!("gradient {at}"), gradient).unwrap();
                }
                graph = b.g.clone();
            }
            let elements = graph.nodes().filter_map(|id| graph.get(id)).flat_map(|n| &n.results);
            let elements = elements.map(|t| t.shape.elements()).max().unwrap_or(1);
            let found = disagreements(&b, &graph, |name, largest| {
                match name.strip_prefix("gradient ").and_then(|at| at.parse().ok()) {
                    Some(at) => case.gradient_limit(&b, at, elements, largest),
                    None => case.limit(&b, largest),
                }
            });
            failures.extend(found.into_iter().map(|what| format!("{}, seed {seed}: {what}", case.name)));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// A convolution and both of its gradients, alone and in one kernel.
fn convolution(seed: u64, x: [usize; 4], channels: usize, padding: [[usize; 2]; 2]) -> (Build, [usize; 3]) {
    let mut b = Build::new("sizes", seed);
    let setting = conv::Setting {
        x,
        w: [3, 3, x[3], channels],
        options: ConvOptions { padding: Padding::Explicit(padding), ..ConvOptions::default() },
    };
    let (attributes, y) = conv::resolved(&mut b, &setting).unwrap();
    let (x, w) = (b.x(setting.x, Fill::Signed), b.w(setting.w, Fill::Signed));
    let dy = b.x(y.clone(), Fill::Signed);
    let terms = [9 * setting.x[3], 9 * channels, y.elements() / channels];
    let value = b.g.op(Op::Conv2d(attributes), &[x, w]).unwrap();
    let dx = b.g.op(Op::Conv2dGradInput(attributes, Shape::from(setting.x)), &[dy, w]).unwrap();
    let dw = b.g.op(Op::Conv2dGradWeight(attributes, Shape::from(setting.w)), &[x, dy]).unwrap();
    for (name, value) in [("y", value), ("dx", dx), ("dw", dw)] {
        b.g.set_output(name, value).unwrap();
    }
    (b, terms)
}

/// Every side from 1 to 20, other columns than rows, ragged channels, uneven padding (Keras's `same` with an even side
/// has it), one image and more than there are chunks.
#[test]
fn sizes() {
    let mut failures = Vec::new();
    for side in 1..=20usize {
        let paddings = [[[1, 1], [1, 1]], [[0, 1], [1, 0]], [[2, 2], [2, 1]], [[0, 0], [0, 0]]];
        for (k, padding) in paddings.into_iter().enumerate() {
            let other = (side * 7 + k * 3) % 20 + 1;
            if side + padding[0][0] + padding[0][1] < 3 || other + padding[1][0] + padding[1][1] < 3 {
                continue;
            }
            let images = if side < 5 && k == 0 { 67 } else { (side * 5 + k) % 4 + 1 };
            let ci = [3, 16, 5, 33, 20][(side + k) % 5];
            let co = [16, 7, 32, 1, 48, 17][(side + 2 * k) % 6];
            let (b, terms) = convolution(side as u64, [images, side, other, ci], co, padding);
            // as the suite has it: 8 roundings, of random signs
            let limit = |name: &str, largest: f64| {
                let terms = terms[["y", "dx", "dw"].iter().position(|n| *n == name).unwrap()];
                8.0 * f64::powi(2.0, -24) * (terms as f64).sqrt() * largest
            };
            let found = disagreements(&b, &b.g, limit);
            let shape = format!("{images}×{side}×{other}×{ci}→{co}, padding {padding:?}");
            failures.extend(found.into_iter().map(|what| format!("{shape}: {what}")));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// One image of a size that is cut into bands, whole tile rows or not.
#[test]
fn bands_of_one_image() {
    for [height, width] in [[32, 32], [30, 17], [23, 40]] {
        let (b, terms) = convolution(1, [1, height, width, 32], 32, [[1, 1], [1, 1]]);
        let limit = |_: &str, largest: f64| {
            8.0 * f64::powi(2.0, -24) * (terms.into_iter().max().unwrap() as f64).sqrt() * largest
        };
        let found = disagreements(&b, &b.g, limit);
        assert!(found.is_empty(), "{height}×{width}: {}", found.join("\n"));
    }
}

/// A weight that is too large for a cache: blocks of output channels, among few images in place of bands, among many of
/// some images at a time.
#[test]
fn blocks_of_channels() {
    for [images, side, ci] in [[1, 19, 96], [2, 14, 96], [16, 7, 40], [20, 3, 96], [50, 2, 40]] {
        let (b, terms) = convolution(2, [images, side, side, ci], 256, [[1, 1], [1, 1]]);
        let limit = |_: &str, largest: f64| {
            8.0 * f64::powi(2.0, -24) * (terms.into_iter().max().unwrap() as f64).sqrt() * largest
        };
        let found = disagreements(&b, &b.g, limit);
        assert!(found.is_empty(), "{images}×{side}×{side}: {}", found.join("\n"));
    }
}

/// Batch statistics of such blocks: each chunk sums its images and channels, and the others' are zeros.
#[test]
fn statistics_of_blocks() {
    let (mut b, terms) = convolution(3, [16, 7, 7, 40], 256, [[1, 1], [1, 1]]);
    let y = b.g.output("y").unwrap();
    let (gamma, beta) = (b.w([256], Fill::Positive), b.w([256], Fill::Signed));
    let running = [Fill::Signed, Fill::Positive].map(|fill| {
        let tensor = b.values(&[256].into(), fill);
        b.buffer(tensor)
    });
    let attributes = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    let normal = b.g.batch_norm(y, gamma, beta, running, attributes).unwrap();
    b.g.set_output("normal", normal.y).unwrap();
    let limit =
        |_: &str, largest: f64| 8.0 * f64::powi(2.0, -24) * (terms.into_iter().max().unwrap() as f64).sqrt() * largest;
    let found = disagreements(&b, &b.g, limit);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Once more with poisoned and guarded memory, in a process of its own (the variable is read once).
#[test]
fn poisoned_and_guarded() {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sizes", "bands_of_one_image", "blocks_of_channels", "statistics_of_blocks"])
        .env("OUTRIGGER_DEBUG", "poison,bounds")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("4 passed"), "{}: {said}", run.status);
}

/// The algorithm of the only convolution of a program, and its predicted and its direct time.
fn chosen(
    images: usize,
    side: usize,
    channels: [usize; 2],
    kernel: usize,
    convolution: Convolution,
) -> (String, f64, f64) {
    let mut g = Graph::new("choice");
    let [ci, co] = channels;
    let x = g.input("x", DType::F32, [images, side, side, ci]).unwrap();
    let w = g.input("w", DType::F32, [kernel, kernel, ci, co]).unwrap();
    let options = ConvOptions { padding: Padding::all(kernel / 2), ..ConvOptions::default() };
    let y = g.conv2d(x, w, None, options).unwrap();
    g.set_output("y", y).unwrap();
    let program = compile(&g, &Options { convolution, ..Options::default() }).unwrap();
    let [choice] = program.convolutions() else { panic!("{:?}", program.convolutions()) };
    assert!(choice.to_string().contains(&choice.algorithm) && choice.to_string().contains("predicted"));
    (choice.algorithm.clone(), choice.predicted_ns, choice.direct_ns)
}

#[test]
fn the_report_names_the_algorithm() {
    let (algorithm, predicted, direct) = chosen(100, 32, [16, 16], 3, Convolution::Auto);
    assert_eq!(algorithm, "winograd F(4×4)");
    assert!(predicted < direct);
    let forced = chosen(100, 32, [16, 16], 3, Convolution::Direct);
    assert_eq!((forced.0.as_str(), forced.1), ("direct", direct));
    assert_eq!(chosen(100, 32, [16, 16], 3, Convolution::Winograd2).0, "winograd F(2×2)");
    // no other kernel has these transforms, forced or not
    assert_eq!(chosen(100, 32, [16, 16], 1, Convolution::Winograd4).0, "direct");
    // padding three channels to sixteen costs more than the products save
    assert_eq!(chosen(100, 32, [3, 16], 3, Convolution::Auto).0, "direct");
}
