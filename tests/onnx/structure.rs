//! What is in a file: layouts, names, transposes, what was folded.

use std::collections::BTreeSet;

use outrigger::export::onnx::{DataFormat, OnnxOptions, export, proto};
use outrigger::graph::{ConvOptions, Graph};
use outrigger::models::{self, Classifier, ResNetCifar};
use outrigger::ops::{Init, MatMul};
use outrigger::{DType, Store, Tensor};
use prost::Message;

use crate::parsed::{exported, extents, floats, initializer, kinds, node};

const FUSED: [bool; 2] = [true, false];

fn options(fused: bool, data_format: DataFormat) -> OnnxOptions {
    OnnxOptions { fused, data_format, ..OnnxOptions::default() }
}

#[test]
fn the_seed_network_is_transposed_at_its_border_only() {
    let graph = ResNetCifar::default().evaluation(2).unwrap();
    let store = Store::new(&graph, 1).unwrap();
    for fused in FUSED {
        let last = exported(&graph, &store, &["logits"], &options(fused, DataFormat::ChannelsLast)).unwrap();
        assert_eq!(kinds(&last)["Transpose"], 1);
        assert_eq!(extents(&last, "images"), ["2", "32", "32", "3"]);
        let first = exported(&graph, &store, &["logits"], &options(fused, DataFormat::ChannelsFirst)).unwrap();
        assert_eq!(kinds(&first).get("Transpose"), None);
        assert_eq!(extents(&first, "images"), ["2", "3", "32", "32"]);
        assert_eq!(extents(&first, "logits"), ["2", "10"]);
    }
}

#[test]
fn fused_has_no_batch_norm_and_unfused_has_all() {
    let graph = ResNetCifar::default().evaluation(1).unwrap();
    let store = Store::new(&graph, 1).unwrap();
    let fused = exported(&graph, &store, &["logits"], &options(true, DataFormat::ChannelsFirst)).unwrap();
    let unfused = exported(&graph, &store, &["logits"], &options(false, DataFormat::ChannelsFirst)).unwrap();
    // 6n + 2 with n = 2: convolutions in 3·2·2 blocks' halves and the stem, and two projections
    let counts = |kind: &str| (kinds(&fused).get(kind).copied(), kinds(&unfused).get(kind).copied());
    assert_eq!(counts("Conv"), (Some(15), Some(15)));
    assert_eq!(counts("BatchNormalization"), (None, Some(15)));
    assert_eq!(counts("Gemm"), (Some(1), Some(1)));
    // a sum for each of six blocks; the shift of a folded batch norm is the convolution's bias
    assert_eq!(counts("Add"), (Some(6), Some(6)));
    assert!(fused.node.iter().filter(|n| n.op_type.as_deref() == Some("Conv")).all(|n| n.input.len() == 3));
    // and besides the ReLUs only the average, the flattening and the classifier
    assert_eq!(kinds(&fused).values().sum::<usize>(), 15 + 13 + 6 + 3, "{:?}", kinds(&fused));
}

#[test]
fn names_are_those_of_the_graph() {
    for name in models::names().filter(|&name| name != "vgg16") {
        let graph = models::by_name(name).unwrap().evaluation(1).unwrap();
        let store = Store::new(&graph, 1).unwrap();
        let paths: BTreeSet<&str> = graph.nodes().map(|id| graph.get(id).unwrap().name.as_str()).collect();
        let states: BTreeSet<&str> = store.entries().iter().map(|(name, _)| name.as_str()).collect();
        let shapes = |names: &[String]| names.to_vec();
        let unfused = exported(&graph, &store, &["logits"], &options(false, DataFormat::ChannelsFirst)).unwrap();
        let written: BTreeSet<&str> = unfused.initializer.iter().map(|t| t.name.as_deref().unwrap()).collect();
        assert!(written.is_superset(&states), "{name}: {:?} are missing", states.difference(&written));
        let fused = exported(&graph, &store, &["logits"], &options(true, DataFormat::ChannelsFirst)).unwrap();
        for file in [&unfused, &fused] {
            assert_eq!(file.input.len(), 1, "{name}");
            assert_eq!(shapes(&extents(file, "logits")), ["1".to_string(), extents(file, "logits")[1].clone()]);
            for node in &file.node {
                let path = node.name.as_deref().unwrap();
                // parts that nodes of ONNX need are called after the node
                let known = paths.contains(path) || path.rsplit_once('.').is_some_and(|(node, _)| paths.contains(node));
                assert!(known, "{name}: no node of the graph is called {path}");
            }
        }
        let fused: BTreeSet<&str> = fused.initializer.iter().map(|t| t.name.as_deref().unwrap()).collect();
        for tensor in &fused {
            let part_of = paths.iter().any(|path| tensor.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')));
            // what is left of a batch norm is the bias of the convolution before it
            let beside =
                |end: &str| tensor.strip_suffix("bias").is_some_and(|stem| states.contains(&*format!("{stem}{end}")));
            let known =
                states.contains(tensor) || paths.contains(tensor) || part_of || beside("weight") || beside("kernel");
            assert!(known, "{name}: {tensor} is the name of no parameter and no constant");
        }
    }
}

#[test]
fn weights_are_written_as_onnx_has_them() {
    let mut g = Graph::new("layouts");
    let x = g.input("x", DType::F32, [1, 4, 4, 4]).unwrap();
    let w = g.parameter("w", [2, 1, 2, 6], Init::Normal(1.0)).unwrap();
    let grouped = ConvOptions { groups: 2, ..ConvOptions::default() };
    let y = g.conv2d(x, w, None, grouped).unwrap();
    g.set_output("y", y).unwrap();
    let store = Store::new(&g, 0).unwrap();
    let values = store.get("w").unwrap();
    let values = values.as_f32().unwrap();
    let file = exported(&g, &store, &["y"], &options(false, DataFormat::ChannelsFirst)).unwrap();
    let tensor = initializer(&file, "w");
    assert_eq!(tensor.dims, [6, 2, 2, 1]);
    let written = floats(tensor);
    for (o, i, ky) in (0..6).flat_map(|o| (0..2).flat_map(move |i| (0..2).map(move |ky| (o, i, ky)))) {
        assert_eq!(written[(o * 2 + i) * 2 + ky], values[(ky * 2 + i) * 6 + o]);
    }
    let group = node(&file, "conv2d").attribute.iter().find(|a| a.name.as_deref() == Some("group")).unwrap();
    assert_eq!(group.i, Some(2));
}

/// A transposition renames axes; it is written where a reshape needs the elements in order.
#[test]
fn transposes_meet_and_vanish() {
    let mut g = Graph::new("flatten");
    let x = g.input("x", DType::F32, [2, 3, 3, 4]).unwrap();
    let w = g.parameter("w", [1, 1, 4, 5], Init::Normal(1.0)).unwrap();
    let y = g.conv2d(x, w, None, ConvOptions::default()).unwrap();
    let torch = g.transpose(y, &[0, 3, 1, 2]).unwrap();
    let torch = g.flatten(torch).unwrap();
    let keras = g.flatten(y).unwrap();
    let weight = g.parameter("fc", [7, 45], Init::Normal(1.0)).unwrap();
    let both = g.add_values(torch, keras).unwrap();
    let z = g.matmul(both, weight, MatMul { trans_b: true, ..MatMul::default() }).unwrap();
    g.set_output("z", z).unwrap();
    let store = Store::new(&g, 0).unwrap();
    let file = exported(&g, &store, &["z"], &options(false, DataFormat::ChannelsFirst)).unwrap();
    // that of `keras`; `torch` has the elements as the convolution makes them
    assert_eq!(kinds(&file)["Transpose"], 1);
    assert_eq!(initializer(&file, "fc").dims, [7, 45]);
}

#[test]
fn axes_of_extent_1_come_and_go_without_a_transpose() {
    let mut g = Graph::new("rows");
    let x = g.input("x", DType::F32, [2, 1, 9, 3]).unwrap();
    let mut y = x;
    for (name, outputs) in [("a", 5), ("b", 4)] {
        let shape = g.value_type(y).unwrap().shape.clone();
        let w = g.parameter(name, [3, shape.last(), outputs], Init::Normal(1.0)).unwrap();
        let w = g.reshape(w, [1, 3, shape.last(), outputs]).unwrap();
        let row = g.reshape(y, [2, 1, shape.0[shape.rank() - 2], shape.last()]).unwrap();
        let convolved = g.conv2d(row, w, None, ConvOptions::default()).unwrap();
        let length = g.value_type(convolved).unwrap().shape.0[2];
        y = g.reshape(convolved, [2, length, outputs]).unwrap();
        y = g.relu(y).unwrap();
    }
    let image = g.reshape(y, [2, 1, 5, 4]).unwrap();
    g.set_output("y", image).unwrap();
    let store = Store::new(&g, 0).unwrap();
    for fused in FUSED {
        let file = exported(&g, &store, &["y"], &options(fused, DataFormat::ChannelsFirst)).unwrap();
        assert_eq!(kinds(&file).get("Transpose"), None, "{:?}", kinds(&file));
        // a reshaped weight is written as it is needed, under its name
        assert_eq!(initializer(&file, "a").dims, [5, 3, 1, 3]);
    }
}

#[test]
fn a_bias_behind_other_axes_is_stretched_along_channels() {
    let mut g = Graph::new("scale");
    let x = g.input("x", DType::F32, [1, 3, 3, 4]).unwrap();
    let scale = g.parameter("scale", [4], Init::Normal(1.0)).unwrap();
    let y = g.mul(x, scale).unwrap();
    g.set_output("y", y).unwrap();
    let store = Store::new(&g, 0).unwrap();
    let file = exported(&g, &store, &["y"], &options(false, DataFormat::ChannelsFirst)).unwrap();
    assert_eq!(initializer(&file, "scale").dims, [1, 4, 1, 1]);
    assert_eq!(kinds(&file).get("Transpose"), None);
}

#[test]
fn the_batch_can_be_left_open() {
    let open = OnnxOptions { dynamic_batch: true, ..OnnxOptions::default() };
    for name in models::names().filter(|&name| name != "vgg16") {
        for batch in [1, 3] {
            let graph = models::by_name(name).unwrap().evaluation(batch).unwrap();
            let store = Store::new(&graph, 1).unwrap();
            let file = exported(&graph, &store, &["logits"], &open).unwrap();
            assert_eq!(extents(&file, "images")[0], "batch");
            assert_eq!(extents(&file, "logits")[0], "batch");
        }
    }
}

#[test]
fn outputs_can_be_inputs_weights_and_one_value_twice() {
    let mut g = Graph::new("aliases");
    let x = g.input("x", DType::F32, [2]).unwrap();
    let w = g.parameter("w", [2], Init::ONES).unwrap();
    let y = g.add_values(x, w).unwrap();
    let unused = g.parameter("unused", [2], Init::ONES).unwrap();
    for (name, value) in [("input", x), ("weight", w), ("sum", y), ("again", y), ("other", unused)] {
        g.set_output(name, value).unwrap();
    }
    let store = Store::new(&g, 0).unwrap();
    for fused in FUSED {
        let names = ["input", "weight", "sum", "again"];
        let file = exported(&g, &store, &names, &options(fused, DataFormat::ChannelsLast)).unwrap();
        assert_eq!(kinds(&file)["Identity"], 3);
        assert_eq!(file.initializer.len(), 1);
    }
}

#[test]
fn weights_fit_into_a_file_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lenet.onnx");
    let graph = models::by_name("lenet5").unwrap().evaluation(1).unwrap();
    let store = Store::new(&graph, 1).unwrap();
    let inline = exported(&graph, &store, &["logits"], &OnnxOptions::default()).unwrap();
    let small = OnnxOptions { largest_file: 100_000, ..OnnxOptions::default() };
    export(&graph, &store, &["logits"], &small, &path).unwrap();
    let file = proto::ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap().graph.unwrap();
    let data = std::fs::read(dir.path().join("lenet.onnx.data")).unwrap();
    let mut outside = 0;
    for (tensor, expected) in file.initializer.iter().zip(&inline.initializer) {
        assert_eq!((&tensor.name, &tensor.dims), (&expected.name, &expected.dims));
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|e| e.key.as_deref() == Some(key));
            found.and_then(|e| e.value.clone()).unwrap()
        };
        let raw = expected.raw_data.as_deref().unwrap();
        if tensor.raw_data.is_none() {
            outside += 1;
            let (offset, length): (usize, usize) = (entry("offset").parse().unwrap(), entry("length").parse().unwrap());
            assert_eq!(entry("location"), "lenet.onnx.data");
            assert_eq!(&data[offset..offset + length], raw);
            assert_eq!(offset % 4096, 0);
        } else {
            assert_eq!(tensor.raw_data.as_deref(), Some(raw));
        }
    }
    assert!(outside > 3);
}

#[test]
fn weights_are_folded_in_double_precision() {
    // (1 + 2⁻²⁴) - 1 is nothing in f32
    let mut g = Graph::new("fold");
    let x = g.input("x", DType::F32, [1]).unwrap();
    let one = g.parameter("one", [1], Init::ONES).unwrap();
    let tiny = g.constant(Tensor::f32([1], vec![f32::powi(2.0, -24)]).unwrap()).unwrap();
    let sum = g.add_values(one, tiny).unwrap();
    let rest = g.sub(sum, one).unwrap();
    let y = g.add_values(x, rest).unwrap();
    g.set_output("y", y).unwrap();
    let store = Store::new(&g, 0).unwrap();
    let file = exported(&g, &store, &["y"], &options(true, DataFormat::ChannelsLast)).unwrap();
    assert_eq!(file.initializer.len(), 1);
    assert_eq!(floats(&file.initializer[0]), [f32::powi(2.0, -24)]);
}
