//! Other networks, and graphs with ports of all kinds, as native code and by the JIT.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use outrigger::codegen::Isa;
use outrigger::export::{ObjectOptions, object};
use outrigger::model::{LeNet5, MobileNetV2, Model, ResNetCifar};
use outrigger::ops::{Binary, Init};
use outrigger::tensor::Data;
use outrigger::{DType, Graph, Options, Precision, Store, Team, Tensor, compile};

use super::{STRICT, available, has, run};

/// A C program that reads all inputs from the file `inputs`, one behind the other, runs each variant, and writes the
/// outputs of those that this CPU runs to `outputs`.
fn driver(inputs: &[(String, DType)], outputs: &[(String, DType)]) -> String {
    let mut text = "#include \"net.h\"\n#include <stdio.h>\n".to_string();
    text += "#ifdef __GNUC__\n__attribute__((aligned(NET_WORKSPACE_ALIGNMENT)))\n#endif\n";
    text += "static unsigned char workspace[NET_WORKSPACE_BYTES];\n";
    let (mut reads, mut writes, mut names) = (String::new(), String::new(), Vec::new());
    for (prefix, ports) in [("in", inputs), ("out", outputs)] {
        for (port, dtype) in ports {
            let ty = match dtype {
                DType::F32 => "float",
                DType::I32 => "int32_t",
                DType::U8 => "uint8_t",
                DType::Bf16 => unreachable!(),
            };
            let name = format!("{prefix}_{port}");
            writeln!(text, "static {ty} {name}[NET_{}_ELEMENTS];", name.to_uppercase()).unwrap();
            if prefix == "in" {
                writeln!(reads, "    if (fread({name}, sizeof {name}, 1, from) != 1) return 2;").unwrap();
            } else {
                writeln!(writes, "        fwrite({name}, sizeof {name}, 1, to);").unwrap();
            }
            names.push(name);
        }
    }
    let pointers = names.join(", ");
    write!(text, "int main(void) {{\n    FILE *from = fopen(\"inputs\", \"rb\"), *to = fopen(\"outputs\", \"wb\");\n")
        .unwrap();
    write!(text, "    if (!from || !to) return 2;\n{reads}").unwrap();
    for isa in available() {
        let call = format!("net_run_{isa}({pointers}, workspace)");
        // twice, since nothing may be left over from the first run
        write!(
            text,
            "    for (int i = 0; i < 2; i++)\n        if ({call} != NET_OK) return 3;\n    {{\n{writes}    }}\n"
        )
        .unwrap();
    }
    text + "    return fclose(to);\n}\n"
}

/// Every variant of the graph's native code gives what the JIT gives: bit for bit where both have a fused multiply-add.
#[track_caller]
fn check(graph: &Graph, inputs: &[(&str, Tensor)], options: Options, tolerance: f32) {
    if !has("gcc") {
        return;
    }
    let options = Options { isa: Some(Isa::detect().vectors()), ..options };
    let store = Store::new(graph, 5).unwrap();
    let mut session = compile(graph, &options).unwrap().session(&store, &Arc::new(Team::new(2).unwrap())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for (name, value) in inputs {
        session.set(name, value).unwrap();
        bytes.extend(value.to_bytes());
    }
    std::fs::write(dir.path().join("inputs"), bytes).unwrap();
    session.run().unwrap();
    let expected: Vec<Tensor> = graph.outputs().iter().map(|(name, _)| session.get(name).unwrap()).collect();

    let library = object(graph, &store, &ObjectOptions { compile: options, ..ObjectOptions::new("net") }).unwrap();
    library.write(dir.path()).unwrap();
    let ins: Vec<_> = inputs.iter().map(|(name, value)| (name.replace('.', "_"), value.ty().dtype)).collect();
    let outs: Vec<_> =
        graph.outputs().iter().zip(&expected).map(|((name, _), value)| (name.clone(), value.ty().dtype)).collect();
    std::fs::write(dir.path().join("main.c"), driver(&ins, &outs)).unwrap();
    run(dir.path(), "gcc", &[&STRICT[..], &["-std=c99", "main.c", "net.a", "-o", "main"]].concat());
    run(dir.path(), "./main", &[]);
    compare(dir.path(), &expected, tolerance);
}

#[track_caller]
fn compare(directory: &Path, expected: &[Tensor], tolerance: f32) {
    let bytes = std::fs::read(directory.join("outputs")).unwrap();
    let mut rest = bytes.as_slice();
    for isa in available() {
        for (output, expected) in expected.iter().enumerate() {
            let (these, others) = rest.split_at(expected.ty().bytes());
            rest = others;
            let actual = Tensor::from_bytes(&expected.ty(), these).unwrap();
            if *isa != Isa::Clif || !matches!(expected.data(), Data::F32(_)) {
                assert_eq!(these, expected.to_bytes(), "{isa}, output {output}");
            }
            for (a, e) in actual.to_f64().iter().zip(expected.to_f64()) {
                let error = (a - e).abs();
                assert!(error <= f64::from(tolerance) * e.abs().max(1.0), "{isa}, output {output}: {a} for {e}");
            }
        }
    }
    assert!(rest.is_empty());
}

/// Numbers in [-1, 1) without a pattern.
fn noise(elements: usize) -> Vec<f32> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..elements).map(|_| next()).collect()
}

/// A model's evaluation graph: two inputs, two outputs.
#[track_caller]
fn check_model(model: &dyn Model, batch: usize, options: Options, tolerance: f32) {
    let graph = model.evaluation(batch).unwrap();
    let shape = graph.value_type(graph.source("images").unwrap()).unwrap().shape.clone();
    let images = Tensor::f32(shape.clone(), noise(shape.elements())).unwrap();
    let labels = Tensor::i32([batch], (0..batch).map(|i| (i % 3) as i32).collect()).unwrap();
    check(&graph, &[("images", images), ("labels", labels)], options, tolerance);
}

#[test]
fn lenet() {
    check_model(&LeNet5 { classes: 7 }, 3, Options::default(), 1e-5);
}
/// Nine images: what groups make of one lies in memory that is addressed by image.
#[test]
fn residual_network_image_by_image() {
    let model = ResNetCifar { layers: [1, 1, 1], size: 11, ..ResNetCifar::default() };
    check_model(&model, 9, Options::default(), 1e-5);
}
#[test]
fn depthwise_network() {
    check_model(&MobileNetV2 { classes: 5, size: 40, width: 0.25 }, 1, Options::default(), 1e-4);
}
/// bf16 inside, f32 outside. A rounding apart is a bf16's.
#[test]
fn network_in_bf16() {
    let model = ResNetCifar { layers: [1, 1, 1], ..ResNetCifar::default() };
    check_model(&model, 2, Options { precision: Precision::Bf16, ..Options::default() }, 0.05);
}

/// Bytes, integers, scalars; an output that is an input, one that is known before the run, one of odd size.
#[test]
fn ports_of_all_kinds() {
    let mut g = Graph::new("ports");
    let pixels = g.input("pixels", DType::U8, [3, 7]).unwrap();
    let ids = g.input("some.ids", DType::I32, [5]).unwrap();
    let scale = g.input("scale", DType::F32, Vec::new()).unwrap();
    let w = g.parameter("w", [7, 5], Init::Normal(1.0)).unwrap();
    let b = g.parameter("b", [5], Init::Normal(1.0)).unwrap();
    let x = g.cast(pixels, DType::F32).unwrap();
    let x = g.mul(x, scale).unwrap();
    let x = g.linear(x, w, Some(b)).unwrap();
    let x = g.gelu(x).unwrap();
    let y = g.softmax(x, 1).unwrap();
    let doubled = g.binary(Binary::Add, ids, ids).unwrap();
    let known = g.exp(b).unwrap();
    for (name, value) in [("y", y), ("doubled", doubled), ("same", pixels), ("known", known), ("weight", w)] {
        g.set_output(name, value).unwrap();
    }
    let pixels = Tensor::new([3, 7], Data::U8((0..21).map(|i| i * 11).collect())).unwrap();
    let inputs = [
        ("pixels", pixels),
        ("some.ids", Tensor::i32([5], vec![1, -2, 3, 1 << 20, 0]).unwrap()),
        ("scale", Tensor::scalar(0.01)),
    ];
    check(&g, &inputs, Options::default(), 1e-5);
}
