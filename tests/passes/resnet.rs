//! Residual networks, for training and for inference: which tensors are left in memory.

use outrigger::compile::{Options, compile};
use outrigger::graph::{ConvOptions, Value};
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::nn::Form;
use outrigger::ops::{Anchor, BatchNorm, Fused, Init, Op, Output, Step};
use outrigger::passes::{PassOptions, optimise};
use outrigger::plan::{Place, PlannedStep};
use outrigger::train::optimizer::{Adam, Optimizer, Sgd, training_graph};
use outrigger::{DType, Error, Graph, Padding, Shape};

use crate::harness::{check, count, nodes};

/// A convolution with batch norm, named `conv{name}` and `bn{name}`.
fn conv_norm(g: &mut Graph, x: Value, name: &str, out: usize, stride: usize, bias: bool) -> Result<Value, Error> {
    let channels = g.value_type(x).map_or(1, |t| t.shape.last());
    let y = g.scope(&format!("conv{name}"), |g| {
        let w = g.parameter("weight", [3, 3, channels, out], Init::kaiming_uniform(9 * channels))?;
        let bias = if bias { Some(g.parameter("bias", [out], Init::ZEROS)?) } else { None };
        let options = ConvOptions { stride: [stride; 2], padding: Padding::Same, ..ConvOptions::default() };
        g.conv2d(x, w, bias, options)
    })?;
    g.scope(&format!("bn{name}"), |g| {
        let gamma = g.parameter("weight", [out], Init::ONES)?;
        let beta = g.parameter("bias", [out], Init::ZEROS)?;
        let mean = g.buffer("running_mean", DType::F32, [out], Init::ZEROS)?;
        let var = g.buffer("running_var", DType::F32, [out], Init::ONES)?;
        let norm = BatchNorm { epsilon: 1e-3, momentum: 0.1, unbiased: true };
        g.batch_norm(y, gamma, beta, [mean, var], norm).map(|n| n.y)
    })
}

/// A stem and two residual blocks, the second with a convolution in its shortcut, trained by SGD.
fn small(bias: bool) -> Graph {
    let build = || -> Result<Graph, Error> {
        let mut g = Graph::new("small");
        let x = g.input("x", DType::F32, [3, 7, 7, 2])?;
        let labels = g.input("labels", DType::I32, [3])?;
        let stem = conv_norm(&mut g, x, "0", 4, 1, bias)?;
        let mut x = g.relu(stem)?;
        for (block, out, stride) in [(1, 4, 1), (2, 6, 2)] {
            let at = |n: usize| (3 * block - 2 + n).to_string();
            let y = conv_norm(&mut g, x, &at(0), out, stride, bias)?;
            let y = g.relu(y)?;
            let y = conv_norm(&mut g, y, &at(1), out, 1, bias)?;
            let shortcut = if stride == 1 { x } else { conv_norm(&mut g, x, &at(2), out, stride, bias)? };
            let sum = g.add_values(y, shortcut)?;
            x = g.relu(sum)?;
        }
        let features = g.global_avg_pool(x)?;
        let w = g.parameter("fc", [6, 3], Init::kaiming_uniform(6))?;
        let logits = g.linear(features, w, None)?;
        let loss = g.cross_entropy(logits, labels)?;
        g.set_output("logits", logits)?;
        let sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..Sgd::default() };
        training_graph(g, loss, &Optimizer::Sgd(sgd))
    };
    build().unwrap()
}

/// The small network without biases.
pub fn block() -> Graph {
    small(false)
}

fn training(form: Form, layers: [usize; 3], batch: usize) -> Graph {
    let forward = ResNetCifar { form, layers, ..ResNetCifar::default() }.training(batch).unwrap();
    let loss = forward.output("loss").unwrap();
    training_graph(forward, loss, &Optimizer::Adam(Adam::default())).unwrap()
}

#[test]
fn training_means_the_same() {
    for bias in [false, true] {
        check(&small(bias));
    }
    check(&training(Form::Torch, [1, 1, 1], 2));
    check(&training(Form::Keras, [1, 1, 1], 2));
}

#[test]
fn inference_means_the_same() {
    for form in [Form::Torch, Form::Keras] {
        check(&ResNetCifar { form, layers: [1, 1, 1], ..ResNetCifar::default() }.evaluation(2).unwrap());
    }
}

/// Whether a tensor is an activation or its gradient: images of the batch.
fn is_activation(shape: &Shape, batch: usize) -> bool {
    shape.rank() == 4 && shape.0[0] == batch && shape.0[1] > 1
}

/// Results that are activations or their gradients.
fn activations(graph: &Graph, batch: usize) -> Vec<String> {
    let mut found = Vec::new();
    for node in nodes(graph).filter(|n| !matches!(n.op, Op::Input(_))) {
        let full = node.results.iter().filter(|t| is_activation(&t.shape, batch));
        found.extend(full.map(|_| node.name.clone()));
    }
    found
}

fn kernels(graph: &Graph) -> Vec<(&str, &Fused)> {
    nodes(graph)
        .filter_map(|n| match &n.op {
            Op::Fused(fused) => Some((n.name.as_str(), fused.as_ref())),
            _ => None,
        })
        .collect()
}

/// Names of element-wise kernels and lone operations over whole activations.
fn elementwise(graph: &Graph, batch: usize) -> Vec<&str> {
    let over = |n: &&outrigger::graph::Node| match &n.op {
        Op::Fused(fused) => match &fused.anchor {
            Anchor::Map(shape) => is_activation(shape, batch),
            _ => false,
        },
        Op::Unary(_) | Op::Binary(_) | Op::Select => is_activation(&n.results[0].shape, batch),
        _ => false,
    };
    nodes(graph).filter(over).map(|n| n.name.as_str()).collect()
}

/// What is left of the seed's network: see design.md §5.
#[test]
fn training_stores_convolutions_residual_sums_and_one_gradient_a_relu() {
    for form in [Form::Torch, Form::Keras] {
        let graph = training(form, [2, 2, 2], 100);
        let (optimised, report) = optimise(&graph, &PassOptions::default()).unwrap();
        // element-wise work on activations: the last residual sum, which no convolution reads, and where the
        // gradient enters: the mask of the last ReLU and the sums for the batch norm before it
        let elementwise = elementwise(&optimised, 100);
        assert_eq!(elementwise.len(), 3, "{elementwise:?}\n{report}");
        let last = if form == Form::Torch { "layer3.1.relu.relu_1" } else { "activation_12.relu" };
        assert_eq!(elementwise[..2], [last.to_string(), format!("{last}.grad")]);
        assert!(elementwise[2].ends_with("batch_norm.grad.sums"), "{elementwise:?}");

        // 15 convolutions, 6 residual sums, 13 gradients before a ReLU, 2 gradients of shortcuts
        let stored = activations(&optimised, 100);
        assert_eq!(stored.len(), 15 + 6 + 13 + 2, "{stored:?}");

        let (mut raw, mut residuals) = (Vec::new(), 0);
        for (name, fused) in kernels(&optimised) {
            let full = fused.result.outputs.iter().filter(|o| matches!(o, Output::Full(_))).count();
            match &fused.anchor {
                Anchor::Conv2d { .. } => {
                    residuals += fused.source.outputs.len();
                    // y, Σy, Σy²
                    assert_eq!((full, fused.result.outputs.len()), (1, 3), "{name}");
                }
                Anchor::ConvBackward { data, filter, .. } => {
                    assert!(*filter);
                    // a·dz + b·y + c is computed on the way in
                    assert!(fused.gradient.steps.len() >= 7, "{name}: {:?}", fused.gradient);
                    // with biases, their gradient is a by-product
                    assert_eq!(fused.gradient.outputs.len(), usize::from(form == Form::Keras), "{name}");
                    if *data {
                        assert_eq!(full, 1, "{name}");
                        let stored = fused.result.outputs.iter().any(|o| match *o {
                            Output::Full(s) | Output::Bf16(s) => fused.result.steps[s] == Step::Anchor,
                            Output::Sums(_) => false,
                        });
                        if stored {
                            raw.push(name);
                        }
                    }
                }
                Anchor::Map(_) | Anchor::Maps { .. } => {}
            }
        }
        assert_eq!(raw.len(), 2, "{raw:?}");
        // each of the others is stored by the first convolution that reads it
        assert_eq!(residuals, 5);
        // 14 of the 15 convolutions have a data gradient, and it comes with the weight gradient
        let pairs = ["fused_conv2d_backward", "fused_conv2d_grad_weight", "fused_conv2d_grad_input"];
        assert_eq!(pairs.map(|kind| count(&optimised, kind)), [14, 1, 0]);
        assert_eq!(count(&optimised, "fused_conv2d"), 15);
    }
}

/// Every result of every step is read by a later step, becomes a state, or is an output.
#[test]
fn training_writes_nothing_that_is_not_read() {
    let graph = training(Form::Torch, [2, 2, 2], 100);
    let program = compile(&graph, &Options::default()).unwrap();
    let plan = program.planned();
    let mut unread = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        for (port, result) in step.results.iter().enumerate() {
            let output = plan.outputs.iter().any(|o| o.placed.place == result.place);
            let reads = |later: &PlannedStep| later.operands.iter().any(|o| o.place == result.place);
            let writes = |later: &PlannedStep| later.results.iter().any(|r| r.place == result.place);
            // the first later step that touches the place reads it
            let touched = plan.steps[at + 1..].iter().find(|later| reads(later) || writes(later));
            let read = touched.is_some_and(reads);
            if !(read || output || matches!(result.place, Place::State(_))) {
                unread.push(format!("{} result {port}: {result}", step.name));
            }
        }
    }
    assert!(unread.is_empty(), "{}\n{plan}", unread.join("\n"));
}

/// All parameters are updated by one kernel; without the pass that joins them, each by one of its own.
#[test]
fn an_optimizer_step_is_one_kernel() {
    let graph = training(Form::Torch, [1, 1, 1], 4);
    let parameters = graph.parameters().count();
    for (options, kernels) in [(PassOptions::default(), 1), (PassOptions::without(&["updates"]).unwrap(), parameters)] {
        let (optimised, report) = optimise(&graph, &options).unwrap();
        let writes = |n: &&outrigger::graph::Node| {
            // parameter and both moments
            n.results.len() == 3 * parameters / kernels && n.name.contains("update")
        };
        assert_eq!(nodes(&optimised).filter(writes).count(), kernels, "{report}");
    }
}

/// A convolution's kernel ends where the next convolution begins.
#[test]
fn inference_stores_one_tensor_a_convolution() {
    for form in [Form::Torch, Form::Keras] {
        let graph = ResNetCifar { form, ..ResNetCifar::default() }.evaluation(8).unwrap();
        for without in [None, Some("fold-batch-norm")] {
            let options = without.map_or(PassOptions::default(), |name| PassOptions::without(&[name]).unwrap());
            let (optimised, report) = optimise(&graph, &options).unwrap();
            assert_eq!(elementwise(&optimised, 8), Vec::<&str>::new(), "{report}");
            assert_eq!(activations(&optimised, 8).len(), 15, "{report}");
            assert_eq!(count(&optimised, "fused_conv2d"), 15);
        }
    }
}
