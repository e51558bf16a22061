//! Wrong input gets an error that says what is wrong, where, and what would be right; never a panic.
//!
//! What is asserted are the parts of a message that a reader needs: the path, the operation, both shapes, what
//! would fit. Data files, downloads and checkpoints have their own tests (`data`, `data_download`, `train`), gradients
//! that do not exist too (`gradients/errors`).

use std::sync::Arc;

use outrigger::codegen::{Convolution, Isa, Settings, generate};
use outrigger::graph::{ConvOptions, PoolOptions};
use outrigger::ops::{BatchNorm, Coefficients, Conv2d, GradCoefficients, Init, MatMul, Op, Pool, Slice};
use outrigger::passes::PassOptions;
use outrigger::plan::plan;
use outrigger::tensor::Data;
use outrigger::train::optimizer::{Adam, Optimizer, Sgd, training_graph};
use outrigger::{DType, Error, Graph, Options, Padding, Session, Store, Team, Tensor, Value, compile};

/// The error's message, which must hold every part.
fn says<T>(result: Result<T, Error>, parts: &[&str]) {
    let message = match result {
        Ok(_) => panic!("was accepted, expected an error with {parts:?}"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(message.contains(part), "\"{message}\" has no \"{part}\"");
    }
}

fn input(g: &mut Graph, name: &str, shape: &[usize]) -> Value {
    g.input(name, DType::F32, shape).unwrap()
}

fn weight(g: &mut Graph, name: &str, shape: &[usize]) -> Value {
    g.parameter(name, shape, Init::Uniform(0.1)).unwrap()
}

#[test]
fn convolutions_that_do_not_fit() {
    let mut g = Graph::new("net");
    g.enter("layer1");
    let x = input(&mut g, "x", &[8, 32, 32, 3]);
    let wrong = weight(&mut g, "wrong", &[3, 3, 16, 32]);
    let w = weight(&mut g, "w", &[3, 3, 3, 32]);
    let large = weight(&mut g, "large", &[40, 3, 3, 32]);
    let vector = weight(&mut g, "vector", &[31]);
    let plain = ConvOptions::default();
    let parts = ["layer1.conv2d", "f32[8,32,32,3], f32[3,3,16,32]", "has 3 channels", "takes 16", "[kh,kw,3,out]"];
    says(g.conv2d(x, wrong, None, plain), &parts);
    says(g.conv2d(x, w, None, ConvOptions { groups: 2, ..plain }), &["the 3 channels", "2 equal groups"]);
    says(g.conv2d(x, w, None, ConvOptions { groups: 0, ..plain }), &["0 equal groups"]);
    says(g.conv2d(x, w, None, ConvOptions { stride: [0, 1], ..plain }), &["stride must be at least 1", "0 rows"]);
    says(g.conv2d(x, w, None, ConvOptions { dilation: [1, 0], padding: Padding::Same, ..plain }), &["dilation must"]);
    says(g.conv2d(x, large, None, plain), &["window of 40", "32 padded pixels", "axis 1"]);
    says(g.conv2d(x, w, Some(vector), plain), &["add(f32[8,30,30,32], f32[31])", "equal or 1"]);
    says(g.conv2d(vector, w, None, plain), &["(NHWC) must have 4 axes", "f32[31]"]);
    let conv = Conv2d { stride: [1, 1], padding: [[0; 2]; 2], dilation: [1, 1], groups: 1 };
    says(g.op(Op::Conv2d(conv), &[x]), &["takes 2 operands, got 1"]);
    let options = PoolOptions { stride: Some([0, 0]), ..PoolOptions::square(2) };
    says(g.max_pool(x, options), &["max_pool", "at least 1 pixel"]);
    says(g.max_pool(x, PoolOptions::square(33)), &["window of [33, 33]", "[8,32,32,3]"]);
    let norm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    says(g.batch_norm(x, vector, vector, [vector; 2], norm), &["layer1.batch_norm", "must be [3], got f32[31]"]);
}

/// Extents whose products leave 64 bits: they must not wrap into a small buffer.
#[test]
fn convolutions_with_enormous_padding() {
    let mut g = Graph::new("net");
    let (x, w) = (input(&mut g, "x", &[1, 1, 1, 1]), weight(&mut g, "w", &[1, 1, 1, 1]));
    let padding = [[(1 << 33) - 1, 0], [(1 << 32) - 1, 0]];
    let wrapping = Conv2d { stride: [1 << 30, 1 << 30], padding, dilation: [1, 1], groups: 1 };
    let parts = ["[1,1,1,1]", "padding", "larger than 2 GiB", "pad less"];
    says(g.op(Op::Conv2d(wrapping), &[x, w]), &parts);
    says(g.op(Op::Conv2dGradInput(wrapping, [1, 1, 1, 1].into()), &[x, w]), &parts);
    says(g.op(Op::Conv2dGradWeight(wrapping, [1, 1, 1, 1].into()), &[x, x]), &parts);
    let endless = Conv2d { padding: [[usize::MAX, 1], [0, 0]], ..wrapping };
    says(g.op(Op::Conv2d(endless), &[x, w]), &parts);
    // fits into a tensor, but no worker has that much scratch
    let options = ConvOptions { padding: Padding::all(9000), stride: [9000, 9000], ..ConvOptions::default() };
    let y = g.conv2d(x, w, None, options).unwrap();
    g.set_output("y", y).unwrap();
    says(compile(&g, &Options::default()), &["1 GiB of scratch", "pad or dilate less"]);
    // so do the zeros around the gradient of a wide window
    let mut g = Graph::new("net");
    let (dy, w) = (input(&mut g, "dy", &[1, 1, 1, 1]), weight(&mut g, "w", &[2, 2, 1, 1]));
    let wide = Conv2d { stride: [1, 1], padding: [[0; 2]; 2], dilation: [2999, 2999], groups: 1 };
    let dx = g.op(Op::Conv2dGradInput(wide, [1, 3000, 3000, 1].into()), &[dy, w]).unwrap();
    g.set_output("dx", dx).unwrap();
    says(compile(&g, &Options::default()), &["1 GiB of scratch", "pad or dilate less"]);
}

#[test]
fn distances_of_more_than_31_bits() {
    let mut g = Graph::new("net");
    let (x, w) = (input(&mut g, "x", &[1, 3, 3, 1]), weight(&mut g, "w", &[1, 1, 1, 1]));
    let far = 1 << 62;
    let plain = Conv2d { stride: [1, 1], padding: [[0; 2]; 2], dilation: [1, 1], groups: 1 };
    says(g.op(Op::Conv2d(Conv2d { stride: [1, far], ..plain }), &[x, w]), &["stride must be less than 2³¹"]);
    says(g.op(Op::Conv2d(Conv2d { dilation: [far, 1], ..plain }), &[x, w]), &["dilation must be less than 2³¹"]);
    let pool = Pool { size: [1, 1], stride: [far, 1], padding: [[0; 2]; 2], count_padding: true };
    says(g.op(Op::MaxPool(pool), &[x]), &["stride must be less than 2³¹"]);
    let slice = Slice { start: vec![0; 4], stop: vec![1; 4], step: vec![1, far, 1, 1] };
    says(g.op(Op::Slice(slice), &[x]), &["step must be less than 2³¹"]);
}

/// Kernels of one group exist in fused form only, which the mandatory pass makes.
#[test]
fn convolutions_that_were_not_lowered() {
    let conv = Conv2d { stride: [1, 1], padding: [[0; 2]; 2], dilation: [1, 1], groups: 1 };
    for op in [Op::Conv2d(conv), Op::Conv2dGradInput(conv, [2, 3, 3, 1].into())] {
        let mut g = Graph::new("net");
        let (x, w) = (input(&mut g, "x", &[2, 3, 3, 1]), weight(&mut g, "w", &[1, 1, 1, 1]));
        let kind = op.kind();
        let y = g.op(op, &[x, w]).unwrap();
        g.set_output("y", y).unwrap();
        let settings = Settings { isa: Isa::Clif, convolution: Convolution::Auto, aligned: true };
        says(generate(&plan(&g).unwrap(), settings), &[kind, "no kernel", "the lowering pass must rewrite it"]);
    }
}

#[test]
fn coefficients_of_no_values() {
    let mut g = Graph::new("net");
    let (sums, vector) = (input(&mut g, "sums", &[2, 3]), input(&mut g, "vector", &[3]));
    let norm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    let forward = Op::Coefficients(Coefficients { norm, count: 0 });
    says(g.op(forward, &[sums, sums, vector, vector, vector, vector]), &["bn_coefficients", "count of 0"]);
    let backward = Op::GradCoefficients(GradCoefficients { count: 0 });
    says(g.op(backward, &[sums, sums, vector, vector, vector]), &["bn_grad_coefficients", "count of 0"]);
}

#[test]
fn operands_that_do_not_fit() {
    let mut g = Graph::new("net");
    let (a, b) = (input(&mut g, "a", &[8, 100]), input(&mut g, "b", &[99, 10]));
    let labels = g.input("labels", DType::I32, [8]).unwrap();
    says(g.matmul(a, b, MatMul::default()), &["matmul(f32[8,100], f32[99,10])", "100 and 99"]);
    says(g.add_values(a, b), &["add(f32[8,100], f32[99,10])", "equal or 1"]);
    says(g.add_values(a, labels), &["one element type", "f32[8,100] and i32[8]", "cast"]);
    says(g.exp(labels), &["exp(i32[8])", "must be f32", "cast"]);
    says(g.reshape(a, [8, 99]), &["800 elements", "[8,99] has 792"]);
    says(g.transpose(a, &[0, 0]), &["[0, 0]", "permutation of the 2 axes"]);
    says(g.slice(a, &[0, 0], &[9, 1], &[1, 1]), &["axis 0", "8 elements", "0..9"]);
    says(g.concat(&[a, b], 0), &["f32[8,100] and f32[99,10]", "every axis but 0"]);
    says(g.concat(&[], 0), &["at least one operand"]);
    says(g.sum(a, &[2]), &["[2]", "below 2"]);
    says(g.softmax(a, 2), &["axis 2 is out of range for f32[8,100]"]);
    says(g.global_avg_pool(a), &["[1, 2]", "f32[8,100]"]);
    says(g.clamp(a, 2.0, 1.0), &["lower limit 2", "upper limit 1"]);
    says(g.input("none", DType::F32, [0, 3]), &["f32[0,3]", "at least 1"]);
    says(g.input("huge", DType::F32, [1 << 40, 1 << 40]), &["2 GiB"]);
    let step = g.random_step().unwrap();
    says(g.scope("head", |g| g.dropout(a, 1.0, step, step)), &["head.dropout", "below 1, got 1"]);
}

#[test]
fn losses_broadcast_nothing() {
    let mut g = Graph::new("net");
    g.enter("head");
    let (column, row) = (input(&mut g, "column", &[8, 1]), input(&mut g, "row", &[8]));
    let parts = ["head.mean_squared_error", "f32[8,1], f32[8]", "must be f32[8,1]"];
    says(g.mean_squared_error(column, row), &parts);
    says(
        g.binary_cross_entropy_with_logits(column, row),
        &["head.binary_cross_entropy_with_logits", "f32[8,1], f32[8]"],
    );
    let logits = input(&mut g, "logits", &[8, 10]);
    let labels = g.input("labels", DType::I32, [7]).unwrap();
    says(g.cross_entropy(logits, labels), &["head.cross_entropy", "f32[8,10]", "f32[7,10]"]);
    says(g.cross_entropy(logits, row), &["labels must be i32", "f32[8]"]);
}

#[test]
fn names_that_are_unknown_or_taken() {
    let mut g = Graph::new("net");
    let x = g.scope("layer1.0", |g| g.input("x", DType::F32, [2])).unwrap();
    g.parameter("conv1.weight", [2], Init::ONES).unwrap();
    says(g.source("conv.weight"), &["no input or state named \"conv.weight\"", "did you mean \"conv1.weight\"?"]);
    says(g.output("loss"), &["no output named \"loss\"", "there are none"]);
    g.set_output("logits", x).unwrap();
    says(g.output("logit"), &["did you mean \"logits\"?"]);
    says(g.set_output("logits", x), &["output \"logits\" exists already"]);
    says(g.parameter("layer1.0.x", [1], Init::ONES), &["\"layer1.0.x\" exists already"]);
    let mut other = Graph::new("other");
    says(other.scope("deep", |g| g.relu(x)), &["deep.relu", "%0", "graph of 0 nodes"]);
    says(g.set_update(x, x), &["layer1.0.x", "only a parameter or a buffer"]);
    let (w, three) = (g.source("conv1.weight").unwrap(), g.constant(Tensor::full([3], 1.0)).unwrap());
    says(g.set_update(w, three), &["conv1.weight", "f32[2], f32[3]", "state's type"]);
    g.set_update(w, x).unwrap();
    says(g.set_update(w, x), &["update of a state \"conv1.weight\" exists already"]);
}

#[test]
fn tensors_that_contradict_themselves() {
    says(Tensor::f32([2, 3], vec![0.0; 5]), &["[2,3] has 6 elements, got 5"]);
    says(Tensor::new([1 << 40, 1 << 40], Data::U8(Vec::new())), &["got 0"]);
}

#[test]
fn gradients_and_optimizers_that_make_no_sense() {
    let net = |name: &str| {
        let mut g = Graph::new("net");
        let x = input(&mut g, "x", &[4]);
        let w = weight(&mut g, name, &[4]);
        let y = g.mul(x, w).unwrap();
        let loss = g.mean_all(y).unwrap();
        (g, w, y, loss)
    };
    let sgd = Optimizer::Sgd(Sgd::default());
    let (g, _, y, _) = net("w");
    says(training_graph(g, y, &sgd), &["mul", "scalar f32[]", "f32[4]"]);
    let (mut g, _, _, loss) = net("w");
    weight(&mut g, "fc.bias", &[3]);
    says(training_graph(g, loss, &sgd), &["fc.bias", "does not depend on it"]);
    let mut g = Graph::new("empty");
    let loss = g.scalar(1.0).unwrap();
    says(training_graph(g, loss, &sgd), &["empty", "no parameters"]);
    let (mut g, w, y, loss) = net("w");
    g.set_update(w, y).unwrap();
    says(training_graph(g, loss, &sgd), &["\"w\" exists already"]);
    let (g, _, _, loss) = net("lr");
    says(training_graph(g, loss, &sgd), &["\"lr\" exists already"]);
    let (g, _, _, loss) = net("w");
    let adam = Optimizer::Adam(Adam { beta1: 1.0, ..Adam::default() });
    says(training_graph(g, loss, &adam), &["beta1", "below 1, got 1"]);
}

#[test]
fn graph_texts_that_are_none() {
    for (text, parts) in [
        ("", &["line 1", "graph"] as &[&str]),
        ("all is well", &["line 1"]),
        ("graph \"g\" {\n  %0 = Nonsense () () \"x\" : f32[1]\n}", &["line 2"]),
        ("graph \"g\" {\n  %0 = Unary(Relu) (%7) \"y\" : f32[1]\n}", &["line 2", "%7"]),
        ("graph \"g\" {\n  %0 = Input((dtype:F32,shape:[1])) () \"x\" : f32[2]\n}", &["line 2", "f32[1]"]),
        ("graph \"g\" {\n  output \"y\" = %3\n}", &["line 2", "%3"]),
    ] {
        says(Graph::parse(text), parts);
    }
    says(Graph::parse("\u{0}\u{1F600}").map(|_| ()), &["line 1"]);
}

/// Softmax regression on labels below 3.
fn classifier() -> (Graph, Store) {
    let mut g = Graph::new("classifier");
    let x = input(&mut g, "images", &[4, 5]);
    let labels = g.input("labels", DType::I32, [4]).unwrap();
    let w = weight(&mut g, "weight", &[5, 3]);
    let logits = g.linear(x, w, None).unwrap();
    let loss = g.cross_entropy(logits, labels).unwrap();
    g.set_output("logits", logits).unwrap();
    g.set_output("loss", loss).unwrap();
    let store = Store::new(&g, 1).unwrap();
    (g, store)
}

fn session() -> Session {
    let (graph, store) = classifier();
    let team = Arc::new(Team::new(1).unwrap());
    compile(&graph, &Options::default()).unwrap().session(&store, &team).unwrap()
}

#[test]
fn inputs_of_a_run_that_do_not_fit() {
    let mut s = session();
    says(s.set("image", &Tensor::full([4, 5], 0.0)), &["no input named \"image\"", "did you mean \"images\"?"]);
    says(s.set("images", &Tensor::full([4, 6], 0.0)), &["\"images\" takes f32[4,5], got f32[4,6]"]);
    says(s.set("images", &Tensor::i32([4, 5], vec![0; 20]).unwrap()), &["takes f32[4,5], got i32[4,5]"]);
    says(s.set_f32("images", &[0.0; 19]), &["\"images\" takes f32[4,5], got f32[19]"]);
    says(s.set_f32("labels", &[0.0; 4]), &["\"labels\" takes i32[4], got f32[4]"]);
    says(s.set_i32("labels", &[0, 1, 3, 2]), &["\"labels\"[2] is 3", "0..3"]);
    says(s.set_i32("labels", &[0, -1, 2, 2]), &["\"labels\"[1] is -1", "0..3"]);
    says(s.set("labels", &Tensor::i32([4], vec![0, 1, 2, i32::MAX]).unwrap()), &["[3] is 2147483647"]);
}

/// Labels are checked also where they are moved on their way to the one-hot encoding.
#[test]
fn labels_behind_casts_and_moves() {
    let bytes_of = |values: [u8; 4]| Tensor::new([2, 2], Data::U8(values.to_vec())).unwrap();
    let mut g = Graph::new("classifier");
    let logits = input(&mut g, "logits", &[6, 3]);
    let bytes = g.input("bytes", DType::U8, [2, 2]).unwrap();
    let more = g.input("more", DType::I32, [2, 1]).unwrap();
    let mixed = g.input("mixed", DType::I32, [2, 6]).unwrap();
    let labels = g.cast(bytes, DType::I32).unwrap();
    let labels = g.transpose(labels, &[1, 0]).unwrap();
    let labels = g.concat(&[labels, more], 1).unwrap();
    let labels = g.reshape(labels, [6]).unwrap();
    let first = g.cross_entropy(logits, labels).unwrap();
    // only the first row of `mixed` holds labels
    let row = g.slice(mixed, &[0, 0], &[1, 6], &[1, 1]).unwrap();
    let row = g.reshape(row, [6]).unwrap();
    let second = g.cross_entropy(logits, row).unwrap();
    let loss = g.add_values(first, second).unwrap();
    g.set_output("loss", loss).unwrap();
    for passes in [PassOptions::default(), PassOptions::unfused()] {
        let store = Store::new(&g, 1).unwrap();
        let team = Arc::new(Team::new(1).unwrap());
        let program = compile(&g, &Options { passes, ..Options::default() }).unwrap();
        let mut s = program.session(&store, &team).unwrap();
        says(s.set("bytes", &bytes_of([0, 1, 7, 2])), &["\"bytes\"[2] is 7", "0..3"]);
        s.set("bytes", &bytes_of([0, 1, 2, 2])).unwrap();
        says(s.set_i32("more", &[-1, 0]), &["\"more\"[0] is -1", "0..3"]);
        s.set_i32("mixed", &[0, 1, 2, 0, 1, 2, 9, 9, 9, 9, 9, 9]).unwrap();
    }
}

#[test]
fn runs_out_of_order() {
    let mut s = session();
    says(s.get("loss"), &["output \"loss\"", "no value", "no run yet"]);
    s.set_f32("images", &[0.5; 20]).unwrap();
    says(s.run(), &["input \"labels\"", "no value yet", "i32[4]"]);
    s.set_i32("labels", &[0, 1, 2, 0]).unwrap();
    // a value that is refused leaves the one before in place
    says(s.set_i32("labels", &[9; 4]), &["0..3"]);
    s.run().unwrap();
    assert!(s.scalar("loss").unwrap() > 0.0);
    says(s.get("los"), &["no output named \"los\"", "did you mean \"loss\"?"]);
    says(s.scalar("logits"), &["\"logits\" takes f32[], got f32[4,3]"]);
}

#[test]
fn state_that_does_not_fit() {
    let (graph, store) = classifier();
    says(store.get("wait"), &["no state named \"wait\"", "did you mean \"weight\"?"]);
    says(store.set("weight", &Tensor::full([3, 5], 0.0)), &["\"weight\" takes f32[5,3], got f32[3,5]"]);
    let program = compile(&graph, &Options::default()).unwrap();
    let team = Arc::new(Team::new(1).unwrap());
    let empty = Store::new(&Graph::new("empty"), 1).unwrap();
    says(program.session(&empty, &team), &["no state named \"weight\"", "there are none"]);
    let mut other = Graph::new("other");
    weight(&mut other, "weight", &[5, 4]);
    let other = Store::new(&other, 1).unwrap();
    says(program.session(&other, &team), &["\"weight\" takes f32[5,3], got f32[5,4]"]);
}

#[test]
fn options_that_mean_nothing() {
    says(PassOptions::without(&["chain"]), &["\"chain\" does not exist", "chains"]);
    says(PassOptions::without(&["lower"]), &["\"lower\" is mandatory"]);
    says("avx1024".parse::<Isa>(), &["OUTRIGGER_ISA", "\"avx1024\"", "clif, avx2, avx512"]);
    says(Team::new(0).map_err(Error::from), &["at least one thread"]);
    for isa in [Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| !isa.available()) {
        says(compile(&classifier().0, &Options { isa: Some(isa), ..Options::default() }), &["cannot run", "widest"]);
    }
}
