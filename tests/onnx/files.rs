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
use outrigger::model::{self, Model};
use outrigger::ops::{MatMul, Op, ReduceKind};
use outrigger::reference::RefTensor;
use outrigger::tensor::Data;
use outrigger::{DType, Options, Store, Team, Tensor, compile};
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
fn trained(model: &dyn Model, images: &Tensor, team: &Arc<Team>) -> Store {
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
            _ => continue,
        };
        let values = (0..ty.shape.elements()).map(|_| rng.uniform(range.0, range.1) as f32).collect();
        store.set(name, &Tensor::f32(ty.shape.clone(), values).unwrap()).unwrap();
    }
    let mut session = compile(&graph, &Options::default()).unwrap().session(&store, team).unwrap();
    session.set("images", images).unwrap();
    session.set_i32("labels", &[0; BATCH]).unwrap();
    // each takes a tenth of the batch's statistics: two thirds in all
    (0..10).for_each(|_| session.run().unwrap());
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

/// Attention over six places, then a layer that sees places as rows: what reshapes, transposes, stretches and joins axes
/// while the batch stays open. The script runs it on half the batch, too.
#[test]
fn attention() {
    let Some(dir) = directory("networks") else { return };
    let mut b = Build::new("attention", 3);
    let (batch, places, features, heads) = (BATCH, 6, 8, 2);
    let x = b.x([batch, places, features], Fill::Signed);
    let w = b.w([features, 3 * features], Fill::Signed);
    let mixed = b.g.matmul(x, w, MatMul::default()).unwrap();
    let [q, k, v] = [0, 1, 2].map(|part| {
        let (start, stop) = (part * features, (part + 1) * features);
        let part = b.g.slice(mixed, &[0, 0, start], &[batch, places, stop], &[1, 1, 1]).unwrap();
        let part = b.g.reshape(part, [batch, places, heads, features / heads]).unwrap();
        b.g.transpose(part, &[0, 2, 1, 3]).unwrap()
    });
    let scores = b.g.matmul(q, k, MatMul { trans_b: true, ..MatMul::default() }).unwrap();
    let weights = b.g.softmax(scores, 3).unwrap();
    let y = b.g.matmul(weights, v, MatMul::default()).unwrap();
    let y = b.g.transpose(y, &[0, 2, 1, 3]).unwrap();
    let y = b.g.reshape(y, [batch, places, features]).unwrap();
    let mean = b.g.reduce(ReduceKind::Mean, y, &[2], true).unwrap();
    let mean = b.g.broadcast(mean, [batch, places, features]).unwrap();
    let y = b.g.sub(y, mean).unwrap();
    let y = b.g.concat(&[x, y], 2).unwrap();
    let rows = b.g.reshape(y, [batch * places, 2 * features]).unwrap();
    let (w, bias) = (b.w([2 * features, features], Fill::Signed), b.w([features], Fill::Signed));
    let rows = b.g.linear(rows, w, Some(bias)).unwrap();
    let rows = b.g.gelu(rows).unwrap();
    let y = b.g.reshape(rows, [batch, places, features]).unwrap();
    let y = b.g.mean(y, &[1]).unwrap();
    b.g.set_output("logits", y).unwrap();
    let want = Reference.run(&b.g, &b.inputs, &b.state).unwrap();
    let store = Store::new(&b.g, 0).unwrap();
    set_all(&store, &b.state);
    for (variant, fused) in [("unfused", false), ("fused", true)] {
        let dir = dir.join(format!("attention_{variant}"));
        fs::create_dir_all(&dir).unwrap();
        let options = OnnxOptions { fused, dynamic_batch: true, ..OnnxOptions::default() };
        export(&b.g, &store, &["logits"], &options, &dir.join("model.onnx")).unwrap();
        b.inputs.iter().for_each(|(name, t)| write_tensor(&dir.join(format!("in.{name}.npy")), t));
        write_exact(&dir.join("out.logits.npy"), &want["logits"]);
        let about = json!({"case": "attention", "channels_first": false, "relative": 1e-5, "batch": true});
        fs::write(dir.join("check.json"), about.to_string()).unwrap();
    }
}

#[test]
fn networks() {
    let Some(dir) = directory("networks") else { return };
    let (data, team) = (sample().unwrap(), Arc::new(Team::new(2).unwrap()));
    for name in model::names() {
        let model = model::by_name(name).unwrap();
        let graph = model.evaluation(BATCH).unwrap();
        let shape = graph.value_type(graph.source("images").unwrap()).unwrap().shape.clone();
        let images = images(&shape.0, &data);
        let store = trained(&model, &images, &team);
        let mut session = compile(&graph, &Options::default()).unwrap().session(&store, &team).unwrap();
        session.set("images", &images).unwrap();
        session.set_i32("labels", &[0; BATCH]).unwrap();
        session.run().unwrap();
        let logits = session.get("logits").unwrap();
        for (variant, fused, data_format) in
            [("unfused", false, DataFormat::ChannelsLast), ("fused", true, DataFormat::ChannelsFirst)]
        {
            let dir = dir.join(format!("{name}_{variant}"));
            fs::create_dir_all(&dir).unwrap();
            let options = OnnxOptions { fused, data_format, dynamic_batch: true, ..OnnxOptions::default() };
            export(&graph, &store, &["logits"], &options, &dir.join("model.onnx")).unwrap();
            write_tensor(&dir.join("in.images.npy"), &images);
            write_tensor(&dir.join("out.logits.npy"), &logits);
            let first = data_format == DataFormat::ChannelsFirst;
            let about = json!({"case": name, "channels_first": first, "relative": 1e-4, "batch": true});
            fs::write(dir.join("check.json"), about.to_string()).unwrap();
        }
    }
}
