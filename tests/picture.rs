//! Pictures: as blessed for a small network (`OUTRIGGER_BLESS=1 cargo test --test picture` after an intended change), and
//! for the seed network and its passes well-formed, without boxes that overlap or text that leaves its box.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use outrigger::export::picture::{Drawing, arena, stages};
use outrigger::graph::{ConvOptions, Graph, PoolOptions, Value};
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::ops::Init;
use outrigger::passes::{PassOptions, optimise};
use outrigger::plan::plan;
use outrigger::train::optimizer::{Adam, Optimizer, training_graph};
use outrigger::{DType, Error, Padding};

fn conv(g: &mut Graph, name: &str, x: Value, channels: [usize; 2]) -> Result<Value, Error> {
    g.scope(name, |g| {
        let w = g.parameter("weight", [3, 3, channels[0], channels[1]], Init::Normal(0.1))?;
        let b = g.parameter("bias", [channels[1]], Init::ZEROS)?;
        g.conv2d(x, w, Some(b), ConvOptions { padding: Padding::Same, ..ConvOptions::default() })
    })
}

/// One residual block, pooling, a linear layer.
fn small() -> Graph {
    let mut g = Graph::new("a <small> & \"residual\" network");
    let x = g.input("x", DType::F32, [1, 8, 8, 3]).unwrap();
    let stem = conv(&mut g, "stem", x, [3, 4]).unwrap();
    let stem = g.relu(stem).unwrap();
    let inner = conv(&mut g, "block", stem, [4, 4]).unwrap();
    let sum = g.add_values(inner, stem).unwrap();
    let y = g.relu(sum).unwrap();
    let y = g.max_pool(y, PoolOptions::square(2)).unwrap();
    let y = g.global_avg_pool(y).unwrap();
    let w = g.parameter("fc.weight", [4, 10], Init::ZEROS).unwrap();
    let logits = g.linear(y, w, None).unwrap();
    g.set_output("logits", logits).unwrap();
    g
}

fn blessed(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    for (at, (got, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, expected, "{name}, line {}; OUTRIGGER_BLESS=1 accepts the new text", at + 1);
    }
    assert_eq!(text, golden);
}

#[test]
fn a_small_network_looks_as_blessed() {
    let (fused, _) = optimise(&small(), &PassOptions::default()).unwrap();
    blessed("picture.dot", &Drawing::of(&fused).dot());
    blessed("picture.svg", &Drawing::of(&fused).svg());
    blessed("picture_arena.svg", &arena(&plan(&fused).unwrap()));
    for svg in [Drawing::of(&small()).svg(), Drawing::of(&fused).svg()] {
        check_svg(&svg);
    }
}

/// x, y, width, height of a rectangle.
type Rectangle = [f64; 4];

fn rectangle(node: roxmltree::Node) -> Rectangle {
    ["x", "y", "width", "height"].map(|name| node.attribute(name).unwrap().parse().unwrap())
}

fn overlap(a: &Rectangle, b: &Rectangle) -> bool {
    a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3]
}

/// Well-formed; boxes apart; text in its box, by the width of the widest common letters; edges from top to bottom.
fn check_svg(svg: &str) -> usize {
    let document = roxmltree::Document::parse(svg).unwrap();
    let root = document.root_element();
    let [width, height]: [f64; 2] = ["width", "height"].map(|name| root.attribute(name).unwrap().parse().unwrap());
    let titled = |n: &roxmltree::Node| n.has_tag_name("g") && n.children().any(|c| c.has_tag_name("title"));
    let blocks: Vec<_> = document.descendants().filter(titled).collect();
    let mut boxes = Vec::new();
    for block in &blocks {
        let own: Vec<_> = block.children().filter(|n| n.has_tag_name("rect")).map(rectangle).collect();
        let outer = own[0];
        assert!(outer[0] >= 0.0 && outer[1] >= 0.0 && outer[0] + outer[2] < width && outer[1] + outer[3] < height);
        for text in block.children().filter(|n| n.has_tag_name("text")) {
            let letters = text.text().unwrap_or_default().chars().count() as f64;
            let size = if text.attribute("class") == Some("op") { 12.0 } else { 10.5 };
            let y: f64 = text.attribute("y").unwrap().parse().unwrap();
            assert!(letters * size * 0.52 < outer[2], "{:?} leaves {outer:?}", text.text());
            assert!(y > outer[1] + 8.0 && y < outer[1] + outer[3] - 2.0, "{:?} leaves {outer:?}", text.text());
        }
        for parts in own[1..].windows(2) {
            assert!(!overlap(&parts[0], &parts[1]), "{parts:?}");
        }
        boxes.push(outer);
    }
    for (at, a) in boxes.iter().enumerate() {
        for b in &boxes[at + 1..] {
            assert!(!overlap(a, b), "{a:?} and {b:?}");
        }
    }
    blocks.len()
}

/// Whether Graphviz reads the text; true where it is not installed.
fn dot_parses(text: &str) -> bool {
    let dot = Command::new("dot").arg("-Tcanon").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let Ok(mut dot) = dot else {
        eprintln!("not checked: Graphviz is not installed");
        return true;
    };
    dot.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    dot.wait().unwrap().success()
}

#[test]
fn every_stage_of_the_seed_network_is_readable() {
    let model = ResNetCifar::default();
    let graph = model.evaluation(1).unwrap().cone(&["logits"]).unwrap();
    let stages = stages(&graph, &PassOptions::default()).unwrap();
    let names: Vec<_> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!((names[0], names[5], *names.last().unwrap()), ("before", "fold-batch-norm", "updates"));
    let blocks: Vec<usize> = stages.iter().map(|(_, graph)| check_svg(&Drawing::of(graph).svg())).collect();
    // 15 convolutions with batch norm, 13 ReLU, 6 sums, the mean and its flattening, the linear layer's two, input and output
    assert_eq!((blocks[0], *blocks.last().unwrap()), (15 * 2 + 13 + 6 + 6, 15 + 6));
    for (name, graph) in [&stages[0], stages.last().unwrap()] {
        assert!(dot_parses(&Drawing::of(graph).titled(*name).dot()));
    }
    assert!(dot_parses(&Drawing::of(&small()).dot()), "quotes in names are escaped");

    let training = model.training(2).unwrap();
    let loss = training.output("loss").unwrap();
    let training = training_graph(training, loss, &Optimizer::Adam(Adam::default())).unwrap();
    let (fused, _) = optimise(&training, &PassOptions::default()).unwrap();
    for graph in [&training, &fused] {
        check_svg(&Drawing::of(graph).svg());
    }
    roxmltree::Document::parse(&arena(&plan(&fused).unwrap())).unwrap();
}

#[test]
fn a_scope_is_drawn_with_its_neighbours() {
    let graph = ResNetCifar::default().evaluation(1).unwrap();
    let (fused, _) = optimise(&graph, &PassOptions::default()).unwrap();
    let drawing = Drawing::of(&fused);
    let block = drawing.scope("layer2.0").unwrap();
    let svg = block.svg();
    assert_eq!(check_svg(&svg), 3 + 1 + 2);
    for name in ["from layer1.1.conv2.conv2d", "to layer2.1.conv1.conv2d", "layer2.0.downsample.0.conv2d"] {
        assert!(svg.contains(name), "{name}");
    }
    let error = drawing.scope("layer4").unwrap_err().to_string();
    assert!(error.starts_with("no scope named \"layer4\"; did you mean"), "{error}");
}

/// The drawn buffers are the planner's: none overlap while they live, in the arena and in the memory for an image.
#[test]
fn the_arena_is_that_of_the_plan() {
    let model = ResNetCifar::default();
    let training = model.training(2).unwrap();
    let loss = training.output("loss").unwrap();
    let training = training_graph(training, loss, &Optimizer::Adam(Adam::default())).unwrap();
    for graph in [training, model.evaluation(16).unwrap()] {
        let (fused, _) = optimise(&graph, &PassOptions::default()).unwrap();
        let svg = arena(&plan(&fused).unwrap());
        let document = roxmltree::Document::parse(&svg).unwrap();
        let plots: Vec<_> = document.root_element().children().filter(|n| n.has_tag_name("g")).collect();
        assert_eq!(plots.len(), if graph.updates().is_empty() { 2 } else { 1 });
        for plot in plots {
            let of_buffer = |n: &roxmltree::Node| n.children().any(|c| c.has_tag_name("title"));
            let shrunk = |[x, y, w, h]: Rectangle| [x + 0.15, y + 0.15, w - 0.3, h - 0.3];
            let buffers: Vec<_> = plot.children().filter(of_buffer).map(rectangle).map(shrunk).collect();
            assert!(buffers.len() >= 5, "{}", buffers.len());
            for (at, a) in buffers.iter().enumerate().filter(|(_, a)| a[3] > 0.0) {
                for b in buffers[at + 1..].iter().filter(|b| b[3] > 0.0) {
                    assert!(!overlap(a, b), "{a:?} and {b:?}");
                }
            }
        }
    }
}
