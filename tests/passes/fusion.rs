//! Fusion on hand-built graphs: what a kernel takes over, what it must not, and what is stored.

use outrigger::graph::{ConvOptions, PoolOptions, Value};
use outrigger::ops::{Conv2d, Init, Op, Output, Step, Unary};
use outrigger::passes::{PassOptions, optimise};
use outrigger::{DType, Error, Graph, Padding};

use crate::harness::{at, check, count, kernel, nodes, only, only_passes, output};

const IMAGE: [usize; 4] = [2, 5, 4, 3];

/// A graph with an image `x` and functions to add to it.
struct Net {
    g: Graph,
    x: Value,
    count: usize,
}

impl Net {
    fn new() -> Self {
        let mut g = Graph::new("net");
        let x = g.input("x", DType::F32, IMAGE).unwrap();
        Net { g, x, count: 0 }
    }
    fn image(&mut self) -> Value {
        self.count += 1;
        self.g.input(&format!("x{}", self.count), DType::F32, IMAGE).unwrap()
    }
    fn vector(&mut self) -> Value {
        self.count += 1;
        self.g.parameter(&format!("v{}", self.count), [3], Init::ONES).unwrap()
    }
    /// A convolution that keeps the shape, named `name.conv2d`.
    fn conv(&mut self, name: &str, x: Value) -> Value {
        let options = ConvOptions { padding: Padding::all(1), ..ConvOptions::default() };
        let build = |g: &mut Graph| {
            let w = g.parameter("w", [3, 3, 3, 3], Init::Normal(1.0))?;
            g.conv2d(x, w, None, options)
        };
        self.g.scope(name, build).unwrap()
    }
    /// An operation over windows that keeps the shape and that no kernel takes over.
    fn pool(&mut self, x: Value) -> Value {
        let options = PoolOptions { stride: Some([1, 1]), padding: Padding::all(1), ..PoolOptions::square(3) };
        self.g.max_pool(x, options).unwrap()
    }
    fn relu(&mut self, x: Value) -> Value {
        self.g.relu(x).unwrap()
    }
    fn add(&mut self, a: Value, b: Value) -> Value {
        self.g.add_values(a, b).unwrap()
    }
    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.g.mul(a, b).unwrap()
    }
    fn out(&mut self, name: &str, value: Value) {
        self.g.set_output(name, value).unwrap();
    }
}

#[test]
fn bias_residual_and_relu_go_into_the_epilogue() {
    let mut n = Net::new();
    let (skip, bias) = (n.image(), n.vector());
    let y = n.conv("a", n.x);
    let y = n.add(y, bias);
    let y = n.add(skip, y);
    let y = n.relu(y);
    n.out("y", y);
    let (optimised, report) = check(&n.g);
    let fused = kernel(&optimised, "fused_conv2d");
    assert_eq!(fused.result.outputs.len(), 1);
    assert_eq!(fused.result.steps.len(), 6, "{:?}", fused.result);
    // inputs, parameters and the kernel
    assert_eq!(optimised.len(), 5, "{optimised}");
    assert_eq!(
        report.pass("epilogue").unwrap().done,
        ["a.conv2d: with add + add_1 + relu; stores 1 tensors and 0 channel sums"]
    );
}

#[test]
fn an_operand_that_depends_on_the_convolution_ends_the_epilogue() {
    let mut n = Net::new();
    let y = n.conv("a", n.x);
    let e = n.g.exp(y).unwrap();
    let mean = n.g.mean(e, &[0, 1, 2]).unwrap();
    let scaled = n.mul(e, mean);
    n.out("y", scaled);
    let (optimised, report) = check(&n.g);
    let refused = &report.pass("epilogue").unwrap().refused;
    assert_eq!(refused, &["mul: not fused into a.conv2d: reduce_mean depends on the convolution"]);
    assert!(kernel(&optimised, "fused_conv2d").result.steps.contains(&Step::Unary(Unary::Exp, 0)));
}

#[test]
fn a_stretched_operand_ends_the_epilogue() {
    let mut n = Net::new();
    let gate = n.g.input("gate", DType::F32, [2, 1, 1, 3]).unwrap();
    let y = n.conv("a", n.x);
    let y = n.mul(y, gate);
    n.out("y", y);
    let (optimised, report) = check(&n.g);
    let refused = &report.pass("epilogue").unwrap().refused;
    let expected =
        "mul: not fused into a.conv2d: gate has shape [2,1,1,3]; a convolution reads [2,5,4,3], [3] or a scalar";
    assert_eq!(refused, &[expected]);
    assert_eq!(count(&optimised, "mul"), 1);
}

/// Of two values that each is a function of the other and of vectors, the later is not stored.
#[test]
fn one_tensor_is_stored_for_what_can_be_computed_from_it() {
    let mut n = Net::new();
    let bias = n.vector();
    let y = n.conv("a", n.x);
    let y = n.add(y, bias);
    let r = n.g.silu(y).unwrap();
    let z = n.conv("b", r);
    // the derivative of the first part needs y
    let d = n.g.sigmoid(y).unwrap();
    let d = n.mul(d, z);
    n.out("d", d);
    let (optimised, report) = check(&n.g);
    let line = "a.conv2d: with add + silu + sigmoid; stores 1 tensors and 0 channel sums";
    assert!(report.pass("epilogue").unwrap().done.contains(&line.to_string()), "{report}");
    assert_eq!(count(&optimised, "fused_conv2d"), 2);
    assert_eq!(nodes(&optimised).filter(|n| n.op.kind() == "map" || n.op.kind() == "mul").count(), 0, "{optimised}");
    // without prologues the next convolution could not compute it
    let (optimised, _) = optimise(&n.g, &PassOptions::without(&["prologue"]).unwrap()).unwrap();
    let stored = nodes(&optimised).filter(|n| n.op.kind() == "fused_conv2d").map(|n| n.results.len());
    assert_eq!(stored.sum::<usize>(), 3, "{optimised}");
}

#[test]
fn where_two_convolutions_meet_one_takes_the_sum() {
    let mut n = Net::new();
    let (a, b) = (n.conv("a", n.x), n.image());
    let b = n.conv("b", b);
    let sum = n.add(a, b);
    let y = n.relu(sum);
    n.out("y", y);
    let (optimised, _) = check(&n.g);
    assert_eq!(count(&optimised, "fused_conv2d"), 2);
    assert_eq!(optimised.len(), 6, "{optimised}");
}

/// Each sum could go into its own convolution, but both together would wait for each other.
#[test]
fn kernels_never_wait_for_each_other() {
    let mut n = Net::new();
    let other = n.image();
    let (a, b) = (n.conv("a", n.x), n.conv("b", other));
    let (pa, pb) = (n.pool(a), n.pool(b));
    let (p, q) = (n.add(a, pb), n.add(b, pa));
    n.out("p", p);
    n.out("q", q);
    let (optimised, report) = check(&n.g);
    let epilogue = report.pass("epilogue").unwrap();
    assert_eq!((epilogue.done.len(), epilogue.refused.len()), (1, 1), "{report}");
    assert!(epilogue.refused[0].contains("depends on the convolution"), "{report}");
    assert_eq!(optimised.topological().len(), optimised.len());
}

/// The same for element-wise kernels: `a` and `b` share an operand, but `b` needs the sum of `a`.
#[test]
fn element_wise_kernels_never_wait_for_themselves() {
    let mut n = Net::new();
    let other = n.image();
    let a = n.mul(n.x, other);
    let total = n.g.sum(a, &[3]).unwrap();
    let total = n.g.reshape(total, [2, 5, 4, 1]).unwrap();
    let b = n.mul(other, total);
    n.out("a", a);
    n.out("b", b);
    let (optimised, _) = check(&n.g);
    assert_eq!(count(&optimised, "mul"), 2);
}

#[test]
fn an_expression_of_one_tensor_is_computed_by_each_reader() {
    let mut n = Net::new();
    let (scale, shift) = (n.vector(), n.vector());
    let stored = n.pool(n.x);
    let y = n.mul(stored, scale);
    let y = n.add(y, shift);
    let y = n.relu(y);
    let (a, b) = (n.conv("a", y), n.conv("b", y));
    n.out("a", a);
    n.out("b", b);
    let (optimised, _) = check(&n.g);
    for node in nodes(&optimised).filter(|n| n.op.kind() == "fused_conv2d") {
        let Op::Fused(fused) = &node.op else { panic!() };
        assert_eq!(fused.source.steps.len(), 6, "{:?}", fused.source);
        // it reads what was stored before
        assert!(node.operands.iter().any(|v| *v == only_value(&optimised, "max_pool")));
    }
    assert_eq!(count(&optimised, "map"), 0);
}

fn only_value(graph: &Graph, kind: &str) -> Value {
    let id = graph.nodes().find(|&id| graph.get(id).unwrap().op.kind() == kind).unwrap();
    id.result(0)
}

#[test]
fn an_expression_of_two_tensors_is_computed_by_its_only_reader_or_stored_by_its_first() {
    for readers in [1, 2] {
        let mut n = Net::new();
        let other = n.image();
        let sum = n.add(n.x, other);
        let y = n.relu(sum);
        for reader in 0..readers {
            let z = n.conv(&format!("c{reader}"), y);
            n.out(&format!("z{reader}"), z);
        }
        let (optimised, report) = check(&n.g);
        let prologue = report.pass("prologue").unwrap();
        if readers == 1 {
            assert_eq!(kernel(&optimised, "fused_conv2d").source.steps.len(), 4);
            assert_eq!((prologue.done.len(), count(&optimised, "map")), (1, 0));
        } else {
            let why = "relu: not fused into c1.conv2d: several kernels use it and would each read 2 tensors for it";
            assert_eq!(prologue.refused, [why]);
            assert_eq!(
                (prologue.done.as_slice(), count(&optimised, "map")),
                (&["c0.conv2d: stores relu".to_string()][..], 0)
            );
            // c0 stores the ReLU while it reads the sum, and c1 reads that
            let first = nodes(&optimised).find(|n| n.name == "c0.conv2d").unwrap();
            let Op::Fused(fused) = &first.op else { panic!("{}", first.op.kind()) };
            assert_eq!(fused.source.outputs, [Output::Full(fused.source.value)]);
            let second = nodes(&optimised).find(|n| n.name == "c1.conv2d").unwrap();
            let stored = first_of(&optimised, "c0.conv2d");
            assert!(second.operands.contains(&stored), "{optimised}");
        }
    }
}

/// The first result of the node of this name.
fn first_of(graph: &Graph, name: &str) -> Value {
    graph.nodes().find(|&id| at(graph, id).name == name).unwrap().result(0)
}

/// A convolution that others read needs its input before it: no kernel waits for itself.
#[test]
fn a_value_is_stored_by_a_reader_that_needs_no_other_reader() {
    let mut n = Net::new();
    let other = n.image();
    let y = n.add(n.x, other);
    let a = n.conv("a", y);
    let pooled = n.pool(y);
    let scale = n.g.mean(pooled, &[0, 1, 2]).unwrap();
    let scaled = n.mul(y, scale);
    let b = n.conv("b", scaled);
    let sum = n.add(a, b);
    n.out("sum", sum);
    let (optimised, report) = check(&n.g);
    let stores: Vec<_> = report.pass("prologue").unwrap().done.iter().filter(|l| l.contains("stores add")).collect();
    assert_eq!(stores.len(), 1, "{report}");
    assert!(stores[0].starts_with("a.conv2d"), "{report}");
    assert!(optimised.verify().is_ok());
}

#[test]
fn a_value_that_another_kernel_reads_is_stored_by_the_convolution() {
    let mut n = Net::new();
    let y = n.relu(n.x);
    let pooled = n.pool(y);
    let z = n.conv("a", y);
    n.out("pooled", pooled);
    n.out("z", z);
    let (optimised, report) = check(&n.g);
    assert_eq!(report.pass("prologue").unwrap().done, ["a.conv2d: stores relu"]);
    assert_eq!(only(&optimised, "max_pool").operands, [first_of(&optimised, "a.conv2d")]);
}

/// A prologue reads what is full, per channel or a scalar: the product is stored, its ReLU computed.
#[test]
fn stretched_operands_end_the_prologue() {
    let mut n = Net::new();
    let gate = n.g.input("gate", DType::F32, [2, 1, 1, 3]).unwrap();
    let gated = n.mul(n.x, gate);
    let y = n.relu(gated);
    let z = n.conv("a", y);
    n.out("z", z);
    let (optimised, _) = check(&n.g);
    assert_eq!(kernel(&optimised, "fused_conv2d").source.steps, [Step::Operand(1), Step::Unary(Unary::Relu, 0)]);
    let z = n.conv("b", gated);
    n.out("z2", z);
    let (_, report) = check(&n.g);
    let why = "mul: not fused into b.conv2d: it has an operand that is neither full, per channel nor a scalar";
    assert_eq!(report.pass("prologue").unwrap().refused, [why]);
}

/// Both gradients of two convolutions of one `dy`.
fn two_backwards() -> Result<(Graph, [Value; 2]), Error> {
    let mut g = Graph::new("backward");
    let conv = Conv2d { stride: [1, 1], padding: [[1, 1]; 2], dilation: [1, 1], groups: 1 };
    let dy = g.input("dy", DType::F32, IMAGE)?;
    let mut inputs = Vec::new();
    for at in 0..2 {
        let x = g.input(&format!("x{at}"), DType::F32, IMAGE)?;
        let w = g.parameter(&format!("w{at}"), [3, 3, 3, 3], Init::Normal(1.0))?;
        let y = g.op(Op::Conv2d(conv), &[x, w])?;
        g.set_output(&format!("y{at}"), y)?;
        inputs.push((x, w));
    }
    // weight gradients in the other order: each must find its own
    for (at, (x, _)) in inputs.iter().enumerate().rev() {
        let dw = g.op(Op::Conv2dGradWeight(conv, [3, 3, 3, 3].into()), &[*x, dy])?;
        g.set_output(&format!("dw{at}"), dw)?;
    }
    for (at, (_, w)) in inputs.iter().enumerate() {
        let dx = g.op(Op::Conv2dGradInput(conv, IMAGE.into()), &[dy, *w])?;
        g.set_output(&format!("dx{at}"), dx)?;
    }
    let xs = [inputs[0].0, inputs[1].0];
    Ok((g, xs))
}

#[test]
fn both_gradients_of_a_convolution_are_one_kernel() {
    let (g, xs) = two_backwards().unwrap();
    let (optimised, _) = check(&g);
    assert_eq!(count(&optimised, "fused_conv2d_backward"), 2);
    for (at, _) in xs.iter().enumerate() {
        let node = output(&optimised, &format!("dx{at}"));
        let x = optimised.source(&format!("x{at}")).unwrap();
        assert!(node.operands.contains(&x), "the data gradient {at} has another convolution's weight gradient");
    }
    let (optimised, _) = optimise(&g, &PassOptions::without(&["pair-backward"]).unwrap()).unwrap();
    assert_eq!(count(&optimised, "fused_conv2d_backward"), 0);
}

#[test]
fn a_weight_gradient_that_needs_the_data_gradient_is_a_kernel_of_its_own() {
    let mut g = Graph::new("second order");
    let conv = Conv2d { stride: [1, 1], padding: [[1, 1]; 2], dilation: [1, 1], groups: 1 };
    let dy = g.input("dy", DType::F32, IMAGE).unwrap();
    let w = g.parameter("w", [3, 3, 3, 3], Init::Normal(1.0)).unwrap();
    let dx = g.op(Op::Conv2dGradInput(conv, IMAGE.into()), &[dy, w]).unwrap();
    let x = g.tanh(dx).unwrap();
    let dw = g.op(Op::Conv2dGradWeight(conv, [3, 3, 3, 3].into()), &[x, dy]).unwrap();
    g.set_output("dw", dw).unwrap();
    let (optimised, report) = check(&g);
    assert_eq!(
        report.pass("pair-backward").unwrap().refused,
        ["conv2d_grad_input: conv2d_grad_weight.partial depends on it"]
    );
    assert_eq!(count(&optimised, "fused_conv2d_backward"), 0);
}

/// The sums of a batch norm's backward pass and of a bias gradient, whose only operand the kernel computes.
#[test]
fn channel_sums_of_a_gradient_are_made_where_it_is_computed() {
    let mut g = Graph::new("bias gradient");
    let shape = [16, 5, 4, 3];
    let conv = Conv2d { stride: [1, 1], padding: [[1, 1]; 2], dilation: [1, 1], groups: 1 };
    let dz = g.input("dz", DType::F32, shape).unwrap();
    let y = g.input("y", DType::F32, shape).unwrap();
    let w = g.parameter("w", [3, 3, 3, 3], Init::Normal(1.0)).unwrap();
    let dy = g.mul(dz, y).unwrap();
    let dx = g.op(Op::Conv2dGradInput(conv, shape.into()), &[dy, w]).unwrap();
    let db = g.sum(dy, &[0, 1, 2]).unwrap();
    g.set_output("dx", dx).unwrap();
    g.set_output("db", db).unwrap();
    let (optimised, report) = check(&g);
    let fused = kernel(&optimised, "fused_conv2d_grad_input");
    assert_eq!(fused.gradient.outputs, [Output::Sums(2)], "{report}");
    assert_eq!(count(&optimised, "map"), 0);
}

/// Partial sums that somebody looks at have the number of chunks they were given.
#[test]
fn partial_sums_in_sight_stay() {
    let mut n = Net::new();
    let y = n.conv("a", n.x);
    let rows: usize = IMAGE[..3].iter().product();
    let chunks = outrigger::ops::fused::chunks_for(rows);
    let sums = outrigger::ops::Fused {
        anchor: outrigger::ops::Anchor::Map(IMAGE.into()),
        chunks,
        precision: Default::default(),
        source: Default::default(),
        gradient: Default::default(),
        result: outrigger::ops::Program { steps: vec![Step::Operand(0)], value: 0, outputs: vec![Output::Sums(0)] },
    };
    let partial = n.g.op(Op::Fused(Box::new(sums)), &[y]).unwrap();
    n.out("partial", partial);
    let (_, report) = check(&n.g);
    assert_eq!(
        report.pass("epilogue").unwrap().refused,
        ["map: not fused into a.conv2d: its partial sums are an output of the graph"]
    );
}

#[test]
fn operations_that_read_the_same_tensors_share_a_kernel() {
    let mut n = Net::new();
    let (g, v) = (n.image(), n.image());
    let a = n.mul(n.x, g);
    let b = n.mul(g, g);
    let b = n.add(v, b);
    let c = n.g.sqrt(b).unwrap();
    let c = n.g.div(a, c).unwrap();
    for (name, value) in [("a", a), ("b", b), ("c", c)] {
        n.out(name, value);
    }
    let (optimised, _) = check(&n.g);
    let map = only(&optimised, "map");
    assert_eq!((map.operands.len(), map.results.len()), (3, 3));
    assert_eq!(optimised.len(), 4);
}

/// What reads nothing in common stays apart, so that it can run at another time.
#[test]
fn unrelated_operations_stay_apart() {
    let mut n = Net::new();
    let other = n.image();
    let (a, b) = (n.g.exp(n.x).unwrap(), n.g.exp(other).unwrap());
    n.out("a", a);
    n.out("b", b);
    let (optimised, _) = check(&n.g);
    assert_eq!(count(&optimised, "exp"), 2);
}

/// The code generator sums only over operands that are full, per channel or scalars.
#[test]
fn sums_and_stretched_operands_are_different_kernels() {
    let mut g = Graph::new("sums");
    let x = g.input("x", DType::F32, [16, 5, 4, 3]).unwrap();
    let gate = g.input("gate", DType::F32, [16, 1, 1, 3]).unwrap();
    let y = g.mul(x, gate).unwrap();
    let sum = g.sum(y, &[0, 1, 2]).unwrap();
    g.set_output("y", y).unwrap();
    g.set_output("sum", sum).unwrap();
    let (optimised, _) = check(&g);
    assert_eq!((count(&optimised, "mul"), count(&optimised, "map")), (1, 1));
}

#[test]
fn a_value_and_its_channel_sums_are_one_kernel() {
    let mut g = Graph::new("sums");
    let x = g.input("x", DType::F32, [16, 5, 4, 3]).unwrap();
    let y = g.exp(x).unwrap();
    let sum = g.sum(y, &[0, 1, 2]).unwrap();
    g.set_output("y", y).unwrap();
    g.set_output("sum", sum).unwrap();
    let (optimised, _) = check(&g);
    assert_eq!(only(&optimised, "map").results.len(), 2);
    assert_eq!(count(&optimised, "exp"), 0);
}

/// Three hundred operations in a row: kernels have a limit, and their number is no more than needed.
#[test]
fn long_chains_are_cut() {
    let mut n = Net::new();
    let mut y = n.x;
    for _ in 0..150 {
        y = n.g.tanh(y).unwrap();
        y = n.add(y, n.x);
    }
    n.out("y", y);
    let (optimised, report) = check(&n.g);
    let maps = count(&optimised, "map");
    assert!((5..=12).contains(&maps), "{maps} kernels\n{report}");
    let longest = nodes(&optimised).filter_map(|n| match &n.op {
        Op::Fused(fused) => Some(fused.result.steps.len()),
        _ => None,
    });
    assert!(longest.max() <= Some(64));
}

/// Exponentially many paths lead from `y` to `x`; every step is made once.
#[test]
fn shared_operands_are_expanded_once() {
    let mut n = Net::new();
    let mut y = n.x;
    for _ in 0..40 {
        let scaled = n.g.tanh(y).unwrap();
        y = n.add(y, scaled);
    }
    n.out("y", y);
    let (optimised, report) = check(&n.g);
    assert!(count(&optimised, "map") <= 4, "{report}");
}

#[test]
fn without_passes_every_node_is_itself() {
    let mut n = Net::new();
    let y = n.conv("a", n.x);
    let y = n.relu(y);
    n.out("y", y);
    let (optimised, report) = optimise(&n.g, &PassOptions::unfused()).unwrap();
    assert_eq!((count(&optimised, "fused_conv2d"), count(&optimised, "relu")), (1, 1));
    assert_eq!(report.passes.len(), 2);
    let (optimised, _) = only_passes(&n.g, &["epilogue"]);
    assert_eq!(count(&optimised, "relu"), 0);
}
