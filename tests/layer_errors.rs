//! What the operations that layers are made of refuse, and ids that name no row.

use std::sync::Arc;

use outrigger::autodiff::gradients;
use outrigger::graph::{
    Conv1dOptions, ConvOptions, ConvTranspose1dOptions, ConvTransposeOptions, Pool1dOptions, PoolOptions,
};
use outrigger::ops::{Init, MatMul, Op};
use outrigger::types::{Padding, Padding1d};
use outrigger::{DType, Error, Graph, Options, Store, Team, Tensor, Value, compile};

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

fn inputs<const N: usize>(g: &mut Graph, shapes: [&[usize]; N]) -> [Value; N] {
    let count = g.len();
    let mut at = 0;
    shapes.map(|shape| {
        at += 1;
        g.input(&format!("x{}", count + at), DType::F32, shape).unwrap()
    })
}

#[test]
fn activations() {
    let mut g = Graph::new("net");
    g.enter("block");
    let [x, slopes] = inputs(&mut g, [&[2, 5, 3], &[4]]);
    let labels = g.input("labels", DType::I32, [3]).unwrap();
    says(g.hardtanh(x, 1.0, 1.0), &["hardtanh", "lower limit 1", "below the upper limit 1"]);
    says(g.hardtanh(x, f32::NAN, 1.0), &["NaN"]);
    says(g.celu(x, 0.0), &["alpha", "above 0", "got 0"]);
    says(g.softshrink(x, -1.0), &["lambda", "at least 0", "got -1"]);
    says(g.prelu(x, slopes), &["block.prelu", "f32[2,5,3], f32[4]", "[1] or the channels [3]"]);
    says(g.glu(x, 1), &["block.glu", "axis 1 of f32[2,5,3]", "even number"]);
    says(g.glu(x, 3), &["axis 3 of f32[2,5,3]"]);
    says(g.elu(labels, 1.0), &["must be f32", "i32[3]", "cast"]);
}

#[test]
fn norms() {
    let mut g = Graph::new("net");
    g.enter("block");
    let [x, three, six] = inputs(&mut g, [&[2, 5, 6], &[3], &[6]]);
    says(g.layer_norm(x, &[], None, None, 1e-5), &["block.layer_norm", "at least one axis"]);
    says(g.layer_norm(x, &[3], None, None, 1e-5), &["axes [3]", "below 3"]);
    says(g.layer_norm(x, &[2, 2], None, None, 1e-5), &["axes [2, 2]", "distinct"]);
    says(g.layer_norm(x, &[2], Some(three), None, 1e-5), &["block.layer_norm", "f32[3]", "gamma must be f32[6]"]);
    says(g.layer_norm(x, &[1, 2], None, Some(six), 1e-5), &["beta must be f32[5,6]"]);
    says(g.group_norm(x, 4, None, None, 1e-5), &["block.group_norm", "f32[2,5,6]", "multiple of the 4 groups"]);
    says(g.group_norm(x, 0, None, None, 1e-5), &["the 0 groups"]);
    says(g.group_norm(six, 2, None, None, 1e-5), &["f32[6]"]);
    says(g.group_norm(x, 2, Some(three), None, 1e-5), &["gamma must be f32[6]"]);
    says(g.instance_norm(x, None, Some(three), 1e-5), &["beta must be f32[6]"]);
    says(g.rms_norm(x, &[2], Some(three), 1e-5), &["block.rms_norm", "gamma must be f32[6]"]);
}

#[test]
fn convolutions() {
    let mut g = Graph::new("net");
    g.enter("block");
    let [x, w, row, taps] = inputs(&mut g, [&[2, 5, 5, 6], &[3, 3, 4, 6], &[2, 9, 6], &[3, 6, 4]]);
    let plain = ConvTransposeOptions::default();
    let said = ["block.conv_transpose2d", "f32[2,5,5,6], f32[3,3,4,6]"];
    let refused = |g: &mut Graph, options, parts: &[&str]| {
        let result = g.conv_transpose2d(x, w, None, options);
        says(result, &[&said[..], parts].concat());
    };
    refused(&mut g, ConvTransposeOptions { groups: 4, ..plain }, &["6 channels", "4 groups", "[kh,kw,out/groups,6]"]);
    refused(&mut g, ConvTransposeOptions { groups: 0, ..plain }, &["0 groups"]);
    let options = ConvTransposeOptions { output_padding: [2, 0], stride: [2, 2], ..plain };
    refused(&mut g, options, &["output padding 2", "less than the stride 2"]);
    refused(
        &mut g,
        ConvTransposeOptions { padding: Padding::all(4), ..plain },
        &["nothing is left of 7 pixels", "[4, 4]"],
    );
    let same = ConvTransposeOptions { padding: Padding::Same, stride: [2, 2], output_padding: [1, 1], ..plain };
    refused(&mut g, same, &["output padding says nothing", "Same"]);
    let [other] = inputs(&mut g, [&[3, 3, 6, 4]]);
    says(g.conv_transpose2d(x, other, None, plain), &["f32[3,3,6,4]", "[kh,kw,out/groups,6]"]);
    says(g.conv_transpose2d(row, w, None, plain), &["[n,h,w,in]", "f32[2,9,6]"]);
    says(
        g.conv_transpose2d(x, w, None, ConvTransposeOptions { stride: [0, 1], ..plain }),
        &["stride must be at least 1"],
    );
    let far = ConvTransposeOptions { stride: [usize::MAX, 1], ..plain };
    assert!(g.conv_transpose2d(x, w, None, far).is_err());
    says(g.conv_transpose1d(x, taps, None, ConvTranspose1dOptions::default()), &["3 axes, [n,length,channels]"]);
    says(g.conv1d(x, taps, None, Conv1dOptions::default()), &["block.conv1d", "3 axes, [n,length,channels]"]);
    says(g.conv1d(row, w, None, Conv1dOptions::default()), &["the weight must have 3 axes"]);
    let causal = Conv1dOptions { padding: Padding1d::Causal, dilation: usize::MAX, ..Conv1dOptions::default() };
    assert!(g.conv1d(row, taps, None, causal).is_err());
    says(g.depthwise_conv2d(x, w, None, ConvOptions::default()), &["block.depthwise_conv2d", "[kh,kw,6,m]"]);
    says(g.depthwise_conv2d(x, row, None, ConvOptions::default()), &["4 axes, [kh,kw,channels,multiplier]"]);
}

#[test]
fn pools_and_sizes() {
    let mut g = Graph::new("net");
    g.enter("block");
    let [x, row] = inputs(&mut g, [&[2, 5, 6, 3], &[2, 9, 6]]);
    says(g.max_pool1d(x, Pool1dOptions::new(2)), &["block.max_pool1d", "3 axes"]);
    says(g.avg_pool1d(row, Pool1dOptions::new(10)), &["does not fit"]);
    says(g.max_pool(row, PoolOptions::square(2)), &["4 axes"]);
    says(g.adaptive_avg_pool(x, [0, 2]), &["block.adaptive_avg_pool", "at least one pixel", "[0, 2]"]);
    says(g.adaptive_max_pool(row, [1, 2]), &["block.adaptive_max_pool", "4 axes (NHWC)", "f32[2,9,6]"]);
    says(g.upsample_nearest(x, [1, 0]), &["block.upsample_nearest", "scale must be at least 1"]);
    says(g.upsample_nearest(x, [usize::MAX, 2]), &["2 GiB"]);
    says(g.upsample_bilinear(x, [usize::MAX, 2], true), &["too large"]);
    says(g.upsample_bilinear(row, [2, 2], true), &["4 axes (NHWC)"]);
    says(g.zero_pad2d(row, [[1; 2]; 2]), &["block.zero_pad2d", "4 axes (NHWC)"]);
    says(g.reflection_pad2d(x, [[0, 5], [0, 0]]), &["border of 0 and 5", "more than 5 pixels"]);
    says(g.pixel_shuffle(x, 2), &["3 channels", "multiple of 2·2"]);
    says(g.pixel_unshuffle(x, 2), &["5 rows and 6 columns", "multiples of 2"]);
    says(g.pixel_shuffle(x, 0), &["at least 1"]);
    let [left, right] = inputs(&mut g, [&[2, 3, 4], &[5, 4, 3]]);
    says(g.matmul(left, right, MatMul::default()), &["batch axes", "or one has none"]);
}

#[test]
fn ids_that_name_no_row() {
    let mut g = Graph::new("net");
    let ids = g.input("ids", DType::U8, [4]).unwrap();
    let table = g.parameter("table", [3, 5], Init::ONES).unwrap();
    says(g.embedding(ids, table), &["gather", "f32[3,5], u8[4]", "ids must be i32", "cast"]);
    let ids = g.cast(ids, DType::I32).unwrap();
    let cube = g.parameter("cube", [3, 5, 2], Init::ONES).unwrap();
    says(g.embedding(ids, cube), &["table ([rows, d]) must have 2 axes"]);
    says(g.op(Op::ScatterAdd(3), &[table, ids]), &["scatter_add", "numbered by ids", "i32[4]"]);

    // ids of an input are checked when they are set, also behind a cast
    let y = g.embedding(ids, table).unwrap();
    // those that are computed are not: they read zeros, and are added to no row
    let one = g.constant(Tensor::i32([], vec![1]).unwrap()).unwrap();
    let next = g.add_values(ids, one).unwrap();
    let shifted = g.embedding(next, table).unwrap();
    let loss = g.sum(shifted, &[0, 1]).unwrap();
    let slope = gradients(&mut g, loss, &[table]).unwrap()[0];
    let outputs = [("y", y), ("shifted", shifted), ("slope", slope)];
    outputs.into_iter().for_each(|(name, value)| g.set_output(name, value).unwrap());
    let store = Store::new(&g, 0).unwrap();
    let team = Arc::new(Team::new(2).unwrap());
    let mut session = compile(&g, &Options::default()).unwrap().session(&store, &team).unwrap();
    let ids = |values: [u8; 4]| Tensor::new([4], outrigger::tensor::Data::U8(values.to_vec())).unwrap();
    says(session.set("ids", &ids([0, 2, 3, 1])), &["\"ids\"[2] is 3", "0..3"]);
    session.set("ids", &ids([0, 2, 1, 2])).unwrap();
    session.run().unwrap();
    let get = |name: &str| session.get(name).unwrap().as_f32().unwrap().to_vec();
    assert_eq!(get("y"), [1.0; 20]);
    assert_eq!(get("shifted"), [[1.0; 5], [0.0; 5], [1.0; 5], [0.0; 5]].concat());
    assert_eq!(get("slope"), [[0.0; 5], [1.0; 5], [1.0; 5]].concat());
}
