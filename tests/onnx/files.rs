//! Files for `tests/onnx/check`: with `OUTRIGGER_ONNX_FILES=DIR` in the environment, every case of the operation suite and
//! every network with what goes in and what must come out.
//!
//! ```text
//!  DIR/NAME/model.onnx, in.INPUT.npy, out.OUTPUT.npy, check.json
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger::data::{Split, sample};
use outrigger::export::onnx::{DataFormat, OnnxOptions, export};
use outrigger::graph::{ConvOptions, Graph};
use outrigger::models::{self, Classifier};
use outrigger::ops::{MatMul, Op, ReduceKind};
use outrigger::reference::RefTensor;
use outrigger::tensor::Data;
use outrigger::{DType, Error, Options, Store, Team, Tensor, compile};
use serde_json::json;

use crate::common::build::{Build, Fill};
use crate::common::cases;
use crate::common::executors::{Executor, Reference};
use crate::common::rng::Rng;
use crate::errors::portable;

/// Images of a network's batch: the first half random, the others from the sample of CIFAR-10.
const BATCH: usize = 4;

fn directory(part: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("OUTRIGGER_ONNX_FILES").map(|dir| Path::new(&dir).join(part));
    if dir.is_none() {
        println!("skipped: tests/onnx/check runs this with a directory in OUTRIGGER_ONNX_FILES");
    }
    dir
}

/// An array in NumPy's format; `descr` names its elements.
fn write_npy(path: &Path, descr: &str, shape: &[usize], bytes: &[u8]) {
    let extents: String = shape.iter().map(|e| format!("{e},")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    // magic, version and length take ten bytes; the data begin at a multiple of 64
    header += &" ".repeat(63 - (10 + header.len()) % 64);
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    fs::write(path, [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), bytes].concat()).unwrap();
}

fn write_tensor(path: &Path, tensor: &Tensor) {
    let (descr, bytes) = match tensor.data() {
        Data::F32(v) => ("<f4", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::I32(v) => ("<i4", v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Data::U8(v) => ("|u1", v.clone()),
    };
    write_npy(path, descr, &tensor.shape().0, &bytes);
}

/// What must come out, in f64.
fn write_exact(path: &Path, tensor: &RefTensor) {
    let bytes: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    write_npy(path, "<f8", &tensor.ty.shape.0, &bytes);
}

fn set_all(store: &Store, state: &HashMap<String, Tensor>) {
    state.iter().for_each(|(name, tensor)| store.set(name, tensor).unwrap());
}

#[test]
fn operations() {
    let Some(dir) = directory("ops") else { return };
    for case in cases::all() {
        for seed in 0..3 {
            let b = case.build(seed);
            if !b.g.nodes().all(|id| portable(&b.g.get(id).unwrap().op)) {
                continue;
            }
            let want = Reference.run(&b.g, &b.inputs, &b.state).unwrap();
            let store = Store::new(&b.g, 0).unwrap();
            set_all(&store, &b.state);
            let names: Vec<&str> = b.g.outputs().iter().map(|(name, _)| name.as_str()).collect();
            for (variant, fused, data_format) in
                [("plain", false, DataFormat::ChannelsLast), ("fused", true, DataFormat::ChannelsFirst)]
            {
                let dir = dir.join(format!("{}_{seed}_{variant}", case.name.replace('/', "_")));
                fs::create_dir_all(&dir).unwrap();
                let options = OnnxOptions { fused, data_format, ..OnnxOptions::default() };
                export(&b.g, &store, &names, &options, &dir.join("model.onnx")).unwrap();
                b.inputs.iter().for_each(|(name, t)| write_tensor(&dir.join(format!("in.{name}.npy")), t));
                let mut limits = serde_json::Map::new();
                for &name in &names {
                    write_exact(&dir.join(format!("out.{name}.npy")), &want[name]);
                    let largest =
                        want[name].data.iter().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
                    let float = want[name].ty.dtype == DType::F32;
                    limits.insert(name.to_string(), json!(if float { case.limit(&b, largest) } else { 0.0 }));
                }
                let first = data_format == DataFormat::ChannelsFirst;
                let about = json!({"case": case.name, "channels_first": first, "limits": limits});
                fs::write(dir.join("check.json"), about.to_string()).unwrap();
            }
        }
    }
}

/// Random weights as `Store` draws them; scales and shifts of batch norms that are not those of an untouched one; and
/// running statistics of `images`, so that activations keep their size through all layers.
fn trained(model: &dyn Classifier, images: &Tensor, team: &Arc<Team>) -> Store {
    let graph = model.training(BATCH).unwrap();
    let store = Store::new(&graph, 5).unwrap();
    if !graph.nodes().any(|id| matches!(graph.get(id).unwrap().op, Op::BatchNorm(_))) {
        return store;
    }
    let mut rng = Rng::new(5);
    for (name, ty) in store.entries().iter().filter(|(_, ty)| ty.shape.rank() == 1) {
        let range = match name.rsplit('.').next() {
            Some("bias") => (-0.5, 0.5),
            Some("weight") => (0.5, 1.5),
            // that of the batch is added, a tenth in each run: nothing must be left of a variance that is too large
            Some("running_var") => (0.0, 0.0),
            _ => continue,
        };
        let values = (0..ty.shape.elements()).map(|_| rng.uniform(range.0, range.1) as f32).collect();
        store.set(name, &Tensor::f32(ty.shape.clone(), values).unwrap()).unwrap();
    }
    let mut session = compile(&graph, &Options::default()).unwrap().session(&store, team).unwrap();
    session.set("images", images).unwrap();
    session.set_i32("labels", &[0; BATCH]).unwrap();
    (0..16).for_each(|_| session.run().unwrap());
    store
}

/// A batch for a network with this input.
fn images(shape: &[usize], data: &Split) -> Tensor {
    let [batch, rows, columns, channels] = shape else { panic!("no images: {shape:?}") };
    let mut rng = Rng::new(9);
    let mut values = Vec::new();
    for image in 0..*batch {
        let pixels = data.test.image(image).unwrap();
        for (y, x, c) in
            (0..rows * columns * channels).map(|at| (at / channels / columns, at / channels % columns, at % channels))
        {
            let pixel = pixels[(y * 32 / rows * 32 + x * 32 / columns) * 3 + c];
            values.push(if image < batch / 2 { rng.uniform(-2.0, 2.0) as f32 } else { f32::from(pixel) / 64.0 - 2.0 });
        }
    }
    Tensor::f32(shape.to_vec(), values).unwrap()
}

/// A network that takes any batch, in both variants: unfused and channels last from the graph of the whole batch, in one
/// file; fused and channels first from that of a single image, with more than a megabyte of weights in a second file.
fn write_network(
    dir: &Path,
    name: &str,
    graph: impl Fn(usize) -> Graph,
    store: &Store,
    input: (&str, &Tensor),
    logits: &Tensor,
    relative: f64,
) {
    let unfused = OnnxOptions { fused: false, dynamic_batch: true, ..OnnxOptions::default() };
    let data_format = DataFormat::ChannelsFirst;
    let fused = OnnxOptions { fused: true, data_format, dynamic_batch: true, largest_file: 1_000_000 };
    for (variant, batch, options) in [("unfused", BATCH, unfused), ("fused", 1, fused)] {
        let dir = dir.join(format!("{name}_{variant}"));
        fs::create_dir_all(&dir).unwrap();
        export(&graph(batch), store, &["logits"], &options, &dir.join("model.onnx")).unwrap();
        write_tensor(&dir.join(format!("in.{}.npy", input.0)), input.1);
        write_tensor(&dir.join("out.logits.npy"), logits);
        let first = options.data_format == DataFormat::ChannelsFirst;
        let about = json!({"case": name, "channels_first": first, "relative": relative, "batch": true});
        fs::write(dir.join("check.json"), about.to_string()).unwrap();
    }
}

#[test]
fn networks() {
    let Some(dir) = directory("networks") else { return };
    let (data, team) = (sample().unwrap(), Arc::new(Team::new(2).unwrap()));
    for name in models::names() {
        let model = models::by_name(name).unwrap();
        let graph = model.evaluation(BATCH).unwrap();
        let shape = graph.value_type(graph.source("images").unwrap()).unwrap().shape.clone();
        let images = images(&shape.0, &data);
        let store = trained(&model, &images, &team);
        let mut session = compile(&graph, &Options::default()).unwrap().session(&store, &team).unwrap();
        session.set("images", &images).unwrap();
        session.set_i32("labels", &[0; BATCH]).unwrap();
        session.run().unwrap();
        let logits = session.get("logits").unwrap();
        let graph = |batch| model.evaluation(batch).unwrap();
        write_network(&dir, name, graph, &store, ("images", &images), &logits, 1e-4);
    }
}

/// Graphs in which the batch has to find its way through reshapes, transposes and what stretches.
#[test]
fn open_batches() {
    let Some(dir) = directory("networks") else { return };
    type Make = fn(usize) -> Result<Build, Error>;
    for (name, make) in [("attention", attention as Make), ("rows", rows)] {
        let b = make(BATCH).unwrap();
        let want = Reference.run(&b.g, &b.inputs, &b.state).unwrap()["logits"].to_tensor().unwrap();
        let store = Store::new(&b.g, 0).unwrap();
        set_all(&store, &b.state);
        write_network(&dir, name, |batch| make(batch).unwrap().g, &store, ("x1", &b.inputs["x1"]), &want, 1e-5);
    }
}

/// Attention over six places, then a layer that sees places as rows.
fn attention(batch: usize) -> Result<Build, Error> {
    let mut b = Build::new("attention", 3);
    let (places, features, heads) = (6, 8, 2);
    let x = b.x([batch, places, features], Fill::Signed);
    let w = b.w([features, 3 * features], Fill::Signed);
    let mixed = b.g.matmul(x, w, MatMul::default())?;
    let mut parts = Vec::new();
    for start in [0, features, 2 * features] {
        let part = b.g.slice(mixed, &[0, 0, start], &[batch, places, start + features], &[1, 1, 1])?;
        let part = b.g.reshape(part, [batch, places, heads, features / heads])?;
        parts.push(b.g.transpose(part, &[0, 2, 1, 3])?);
    }
    let scores = b.g.matmul(parts[0], parts[1], MatMul { trans_b: true, ..MatMul::default() })?;
    let weights = b.g.softmax(scores, 3)?;
    let y = b.g.matmul(weights, parts[2], MatMul::default())?;
    let y = b.g.transpose(y, &[0, 2, 1, 3])?;
    let y = b.g.reshape(y, [batch, places, features])?;
    let mean = b.g.reduce(ReduceKind::Mean, y, &[2], true)?;
    let mean = b.g.broadcast(mean, [batch, places, features])?;
    let y = b.g.sub(y, mean)?;
    let y = b.g.concat(&[x, y], 2)?;
    let rows = b.g.reshape(y, [batch * places, 2 * features])?;
    let (w, bias) = (b.w([2 * features, features], Fill::Signed), b.w([features], Fill::Signed));
    let rows = b.g.linear(rows, w, Some(bias))?;
    let rows = b.g.gelu(rows)?;
    let y = b.g.reshape(rows, [batch, places, features])?;
    let y = b.g.mean(y, &[1])?;
    b.g.set_output("logits", y)?;
    Ok(b)
}

/// Convolutions along one axis, as images of one row, and a gate of each channel: axes of extent 1 come and go.
fn rows(batch: usize) -> Result<Build, Error> {
    let mut b = Build::new("rows", 4);
    let mut x = b.x([batch, 9, 3], Fill::Signed);
    for (inputs, outputs) in [(3, 5), (5, 4)] {
        let length = b.shape(x).0[1];
        let row = b.g.reshape(x, [batch, 1, length, inputs])?;
        let (w, bias) = (b.w([3, inputs, outputs], Fill::Signed), b.w([outputs], Fill::Signed));
        let w = b.g.reshape(w, [1, 3, inputs, outputs])?;
        let y = b.g.conv2d(row, w, Some(bias), ConvOptions::default())?;
        let scale = b.w([outputs], Fill::Positive);
        let y = b.g.reshape(y, [batch, length - 2, outputs])?;
        let y = b.g.mul(y, scale)?;
        x = b.g.leaky_relu(y, 0.1)?;
    }
    let image = b.g.reshape(x, [batch, 5, 1, 4])?;
    let mean = b.g.reduce(ReduceKind::Mean, image, &[1, 2], true)?;
    let vector = b.g.reshape(mean, [batch, 4])?;
    let w = b.w([4, 4], Fill::Signed);
    let gate = b.g.linear(vector, w, None)?;
    let gate = b.g.sigmoid(gate)?;
    let gate = b.g.reshape(gate, [batch, 1, 1, 4])?;
    let gated = b.g.mul(image, gate)?;
    let logits = b.g.flatten(gated)?;
    b.g.set_output("logits", logits)?;
    Ok(b)
}
