//! Residual networks, forward and with a backward pass written out by hand.
//!
//! ```text
//!   x ─ conv ─ bn ─ relu ─ conv ─ bn ─ (+) ─ relu ─▶     backward: the same in reverse, reading each
//!   └───────────── (conv 1×1, bn) ──────┘                layer's input and statistics again
//! ```

use crate::error::Error;
use crate::graph::{ConvOptions, Graph, Normalized, Value};
use crate::ops::{BatchNorm, Init, MatMul, Op, Unary};
use crate::plan::{Planned, plan};
use crate::types::{DType, Padding, Shape};

use super::simulate::compare;

/// What the backward pass reads again.
enum Tape {
    Conv {
        x: Value,
        w: Value,
        y: Value,
    },
    Norm {
        x: Value,
        gamma: Value,
        beta: Value,
        made: Normalized,
    },
    Relu {
        y: Value,
    },
    /// Branches from the first value and joins again: its gradient is the sum of both.
    Branch {
        tape: Vec<Tape>,
        shortcut: Vec<Tape>,
    },
}

struct Net {
    graph: Graph,
    train: bool,
    count: usize,
    gradients: Vec<(Value, Value)>,
}

impl Net {
    fn parameter(&mut self, kind: &str, shape: &[usize]) -> Result<Value, Error> {
        self.count += 1;
        self.graph.parameter(&format!("{kind}{}", self.count), shape, Init::ONES)
    }

    fn conv_bn(
        &mut self,
        x: Value,
        out: usize,
        size: usize,
        stride: usize,
        tape: &mut Vec<Tape>,
    ) -> Result<Value, Error> {
        let channels = self.graph.ty(x).shape.last();
        let w = self.parameter("w", &[size, size, channels, out])?;
        let options = ConvOptions { stride: [stride; 2], padding: Padding::all(size / 2), ..ConvOptions::default() };
        let y = self.graph.conv2d(x, w, None, options)?;
        tape.push(Tape::Conv { x, w, y });
        let (gamma, beta) = (self.parameter("gamma", &[out])?, self.parameter("beta", &[out])?);
        let mean = self.graph.buffer(&format!("mean{}", self.count), DType::F32, [out], Init::ZEROS)?;
        let var = self.graph.buffer(&format!("var{}", self.count), DType::F32, [out], Init::ONES)?;
        if !self.train {
            return self.graph.batch_norm_eval(y, gamma, beta, [mean, var], 1e-5);
        }
        let norm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
        let made = self.graph.batch_norm(y, gamma, beta, [mean, var], norm)?;
        tape.push(Tape::Norm { x: y, gamma, beta, made });
        Ok(made.y)
    }

    fn block(&mut self, x: Value, out: usize, stride: usize, tape: &mut Vec<Tape>) -> Result<Value, Error> {
        let (mut main, mut shortcut) = (Vec::new(), Vec::new());
        let y = self.conv_bn(x, out, 3, stride, &mut main)?;
        let y = self.graph.relu(y)?;
        main.push(Tape::Relu { y });
        let y = self.conv_bn(y, out, 3, 1, &mut main)?;
        let same = self.graph.ty(x) == self.graph.ty(y);
        let side = if same { x } else { self.conv_bn(x, out, 1, stride, &mut shortcut)? };
        tape.push(Tape::Branch { tape: main, shortcut });
        let sum = self.graph.add_values(y, side)?;
        let y = self.graph.relu(sum)?;
        tape.push(Tape::Relu { y });
        Ok(y)
    }

    fn back(&mut self, tape: &[Tape], mut dy: Value) -> Result<Value, Error> {
        for entry in tape.iter().rev() {
            dy = match entry {
                Tape::Conv { x, w, y } => {
                    let Op::Conv2d(conv) = self.graph.node(y.node).op else { unreachable!() };
                    let (xs, ws) = (self.graph.ty(*x).shape.clone(), self.graph.ty(*w).shape.clone());
                    let dw = self.graph.op(Op::Conv2dGradWeight(conv, ws), &[*x, dy])?;
                    self.gradients.push((*w, dw));
                    self.graph.op(Op::Conv2dGradInput(conv, xs), &[dy, *w])?
                }
                Tape::Norm { x, gamma, beta, made } => {
                    let operands = [dy, *x, *gamma, made.mean, made.rstd];
                    let id = self.graph.add(Op::BatchNormGrad, &operands, "")?;
                    self.gradients.extend([(*gamma, id.result(1)), (*beta, id.result(2))]);
                    id.result(0)
                }
                Tape::Relu { y } => {
                    let zero = self.graph.scalar(0.0)?;
                    let mask = self.graph.greater(*y, zero)?;
                    self.graph.mul(dy, mask)?
                }
                Tape::Branch { tape, shortcut } => {
                    let side = self.back(shortcut, dy)?;
                    let main = self.back(tape, dy)?;
                    self.graph.add_values(main, side)?
                }
            };
        }
        Ok(dy)
    }
}

/// The network of the task: three stages of `blocks` blocks with `width`, 2·`width`, 4·`width` channels.
pub fn resnet(train: bool, batch: usize, size: usize, width: usize, blocks: usize) -> Result<Graph, Error> {
    let mut net = Net { graph: Graph::new("resnet"), train, count: 0, gradients: Vec::new() };
    let x = net.graph.input("x", DType::F32, [batch, size, size, 3])?;
    let mut tape = Vec::new();
    let mut y = net.conv_bn(x, width, 3, 1, &mut tape)?;
    y = net.graph.relu(y)?;
    tape.push(Tape::Relu { y });
    for stage in 0..3 {
        for block in 0..blocks {
            y = net.block(y, width << stage, if stage > 0 && block == 0 { 2 } else { 1 }, &mut tape)?;
        }
    }
    let image = net.graph.ty(y).shape.clone();
    let pooled = net.graph.global_avg_pool(y)?;
    let w = net.parameter("w", &[image.last(), 10])?;
    let logits = net.graph.matmul(pooled, w, MatMul::default())?;
    if !train {
        net.graph.set_output("logits", logits)?;
        return Ok(net.graph);
    }
    let labels = net.graph.input("labels", DType::I32, [batch])?;
    let target = net.graph.one_hot(labels, 10)?;
    let loss = net.graph.soft_cross_entropy(logits, target)?;
    net.graph.set_output("loss", loss)?;
    let p = net.graph.softmax(logits, 1)?;
    let dlogits = net.graph.sub(p, target)?;
    let dw = net.graph.matmul(pooled, dlogits, MatMul { trans_a: true, trans_b: false })?;
    net.gradients.push((w, dw));
    let dpooled = net.graph.matmul(dlogits, w, MatMul { trans_a: false, trans_b: true })?;
    let corner = net.graph.reshape(dpooled, [batch, 1, 1, image.last()])?;
    let dy = net.graph.broadcast(corner, image)?;
    net.back(&tape, dy)?;
    let lr = net.graph.input("lr", DType::F32, Shape::scalar())?;
    for (parameter, gradient) in std::mem::take(&mut net.gradients) {
        let shape = net.graph.ty(parameter).shape.clone();
        let name = format!("{}.velocity", net.graph.node(parameter.node).name);
        let velocity = net.graph.buffer(&name, DType::F32, shape, Init::ZEROS)?;
        let momentum = net.graph.scalar(0.9)?;
        let kept = net.graph.mul(velocity, momentum)?;
        let new = net.graph.add_values(kept, gradient)?;
        let step = net.graph.mul(new, lr)?;
        let moved = net.graph.sub(parameter, step)?;
        net.graph.set_update(velocity, new)?;
        net.graph.set_update(parameter, moved)?;
    }
    Ok(net.graph)
}

fn within_a_tenth(plan: &Planned) {
    assert!(plan.work_bytes as f64 <= 1.10 * plan.live_bytes as f64, "{}", plan.memory_line());
}

#[test]
fn a_plan_is_near_its_largest_live_set() {
    for (train, batch) in [(false, 1), (false, 100), (true, 1), (true, 7), (true, 100)] {
        for blocks in [1, 2, 3] {
            within_a_tenth(&plan(&resnet(train, batch, 32, 16, blocks).unwrap()).unwrap());
        }
    }
}

#[test]
fn training_needs_little_more_than_what_the_backward_pass_reads_again() {
    let graph = resnet(true, 100, 32, 16, 2).unwrap();
    let plan = plan(&graph).unwrap();
    // convolution results and activations are all kept from the forward to the backward pass
    let kept = |op: &Op| matches!(op, Op::Conv2d(_)) || *op == Op::Unary(Unary::Relu);
    let stored: usize =
        graph.nodes().map(|id| graph.node(id)).filter(|n| kept(&n.op)).map(|n| n.results[0].bytes()).sum();
    assert!(plan.live_bytes < stored + stored / 5, "{} for {stored} stored", plan.memory_line());
    // every parameter and its velocity is written where it is; only running statistics are copied,
    // which `BatchNorm` reads as a whole
    let copies: Vec<&str> =
        plan.steps.iter().filter(|s| matches!(s.op, Op::Reshape(_))).map(|s| s.name.as_str()).collect();
    assert!(copies.iter().all(|c| c.starts_with("mean") || c.starts_with("var")), "{copies:?}");
    assert!(plan.writes_states && plan.prepare.is_empty());
}

#[test]
fn inference_needs_three_activations_and_relus_take_no_memory() {
    let plan = plan(&resnet(false, 100, 32, 16, 2).unwrap()).unwrap();
    let activation = 100 * 32 * 32 * 16 * 4;
    let input = 100 * 32 * 32 * 3 * 4;
    assert!(plan.live_bytes < 3 * activation + input + 100_000, "{}", plan.memory_line());
    let relus = plan.steps.iter().filter(|s| matches!(s.op, Op::Unary(_)));
    assert!(relus.clone().count() > 10);
    relus.for_each(|s| assert_eq!(s.operands[0].place, s.results[0].place, "{}", s.name));
}

#[test]
fn small_networks_compute_what_their_graphs_mean() {
    for train in [false, true] {
        let graph = resnet(train, 1, 4, 2, 1).unwrap();
        let plan = plan(&graph).unwrap();
        compare(&graph, &plan).unwrap_or_else(|e| panic!("{e}\n{plan}"));
    }
}
