//! Weight files of PyTorch, Keras and NumPy, as these programs wrote them: tensors, names and axes.
//!
//! `tests/fixtures/formats` holds the files and the scripts that made them. What other programs read of ours is checked
//! by `tests/fixtures/formats/check.py`, which needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger::data::{DataLoader, LoaderOptions, load_dir};
use outrigger::formats::{
    Convention, Layout, LoadOptions, Restore, WeightFile, convert, load_by_name, parse_weights, read_weights,
    write_weights,
};
use outrigger::graph::ConvOptions;
use outrigger::models::{Classifier, ResNetCifar};
use outrigger::nn::Form;
use outrigger::ops::Init;
use outrigger::{DType, Error, Graph, Options, Padding, Store, Team, Tensor, compile};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name)
}

/// Files that other frameworks made; not everyone has them.
fn shared(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = std::env::var_os("OUTRIGGER_SHARED").map_or_else(beside, PathBuf::from).join(path);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

fn names(file: &WeightFile) -> BTreeSet<String> {
    file.names().map(str::to_string).collect()
}

/// Both files have the same names and values; `ignored` says which types are not read as values.
fn assert_same(actual: &WeightFile, expected: &WeightFile, ignored: &[&str]) {
    assert_eq!(names(actual), names(expected));
    for name in expected.names() {
        assert_eq!(actual.shape(name).unwrap(), expected.shape(name).unwrap(), "{name}");
        if !ignored.contains(&name) {
            assert_eq!(actual.tensor(name).unwrap(), expected.tensor(name).unwrap(), "{name}");
        }
    }
}

/// Types of PyTorch that a model here never holds: they can be converted, not loaded.
const NO_TENSORS: [&str; 4] = ["i64", "i16", "i8", "bool"];

#[test]
fn pytorchs_views_and_element_types_are_read() {
    let expected = read_weights(fixture("torch_mixed.safetensors")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for protocol in [2, 4, 5] {
        let file = read_weights(fixture(&format!("torch_mixed.protocol{protocol}.pt"))).unwrap();
        assert_same(&file, &expected, &NO_TENSORS);
        // the types that are no tensors here: byte for byte in what is written
        let paths = [("file", &file), ("expected", &expected)].map(|(name, weights)| {
            let path = dir.path().join(format!("{name}.safetensors"));
            WeightFile::clone(weights).to_convention(Convention::Torch).unwrap().write(&path).unwrap();
            path
        });
        assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    }
}

#[test]
fn a_checkpoints_state_dict_is_found() {
    let file = read_weights(fixture("torch_net.ckpt")).unwrap();
    assert_same(&file, &read_weights(fixture("torch_net.safetensors")).unwrap(), &["bn.num_batches_tracked"]);
    assert_eq!(file.meta("note").unwrap(), "a checkpoint");
    assert_eq!(file.meta_as::<u32>("epoch").unwrap(), 3);
    assert_eq!(file.layout(), Some(Layout::Torch));
}

#[test]
fn kerass_files_are_read_under_the_layers_names() {
    let expected = read_weights(fixture("keras_net.safetensors")).unwrap();
    for name in ["keras_net.weights.h5", "keras_net.keras"] {
        let file = read_weights(fixture(name)).unwrap();
        assert_same(&file, &expected, &[]);
        assert_eq!(file.layout(), Some(Layout::Native));
    }
    let legacy = read_weights(fixture("keras_small.h5")).unwrap();
    assert_same(&legacy, &read_weights(fixture("keras_small.safetensors")).unwrap(), &[]);
}

/// Every format, from and to every other, gives the tensors back.
#[test]
fn conversions_are_undone_by_their_inverse() {
    let dir = tempfile::tempdir().unwrap();
    let ends = ["safetensors", "pt", "pth", "ckpt", "npz", "weights.h5"];
    for (source, convention) in [
        ("torch_net.ckpt", Convention::Torch),
        ("keras_net.weights.h5", Convention::Keras),
        ("keras_net.keras", Convention::Keras),
    ] {
        let original = read_weights(fixture(source)).unwrap();
        for first in ends {
            for second in ends {
                let (one, two) = (dir.path().join(format!("1.{first}")), dir.path().join(format!("2.{second}")));
                let back = dir.path().join("back.safetensors");
                convert(fixture(source), &one, None).unwrap();
                convert(&one, &two, None).unwrap();
                convert(&two, &back, Some(convention)).unwrap();
                let back = read_weights(&back).unwrap();
                for name in original.names() {
                    match (name, back.tensor(name)) {
                        // Keras has no such thing
                        ("bn.num_batches_tracked", _) => {}
                        // separable convolutions are layers of Keras alone; their kernels keep their names
                        (_, tensor) => assert_eq!(
                            tensor.unwrap(),
                            original.tensor(name).unwrap(),
                            "{source} {first} {second} {name}"
                        ),
                    }
                }
            }
        }
    }
}

#[test]
fn a_format_has_the_names_and_axes_of_its_framework() {
    let dir = tempfile::tempdir().unwrap();
    let (torch, keras) = (read_weights(fixture("torch_net.ckpt")).unwrap(), dir.path().join("net.weights.h5"));
    let keras = convert(fixture("torch_net.ckpt"), &keras, None).unwrap();
    let expected = [
        "bn/beta",
        "bn/gamma",
        "bn/moving_mean",
        "bn/moving_variance",
        "conv/kernel",
        "conv1d/bias",
        "conv1d/kernel",
        "depthwise/bias",
        "depthwise/kernel",
        "embedding/embeddings",
        "fc/bias",
        "fc/kernel",
        "norm/beta",
        "norm/gamma",
        "up/bias",
        "up/kernel",
    ];
    assert_eq!(keras.names().collect::<Vec<_>>(), expected);
    for (name, shape) in [
        ("conv/kernel", vec![3, 3, 3, 4]),
        ("depthwise/kernel", vec![3, 3, 1, 4]),
        ("up/kernel", vec![2, 2, 2, 4]),
        ("conv1d/kernel", vec![5, 2, 3]),
        ("embedding/embeddings", vec![6, 3]),
        ("fc/kernel", vec![3, 5]),
    ] {
        assert_eq!(keras.shape(name).unwrap().0, shape, "{name}");
    }
    // element [row 1, column 0, input 2, output 3] of the kernel
    let (there, here) = (torch.tensor("conv.weight").unwrap().to_f64(), keras.tensor("conv/kernel").unwrap().to_f64());
    assert_eq!(here[((3) * 3 + 2) * 4 + 3], there[((3 * 3 + 2) * 3 + 1) * 3]);

    let error = convert(fixture("torch_net.ckpt"), dir.path().join("x.pt"), Some(Convention::Keras)).unwrap_err();
    assert!(matches!(error, Error::Option { .. }), "{error}");
    let error = write_weights(dir.path().join("weights.bin"), &torch).unwrap_err();
    assert!(error.to_string().contains("weights.bin: its name does not say how"), "{error}");
}

/// The weights that Keras wrote are those of the golden file, and the network computes with them what Keras computed.
#[test]
fn kerass_own_weights_give_the_golden_output() {
    let Some(h5) = shared("golden/keras_resnet_adam.final.weights.h5") else { return };
    let golden = WeightFile::read(shared("golden/keras_resnet_adam.safetensors").unwrap()).unwrap();
    let weights = read_weights(&h5).unwrap();
    assert_same(&weights, &golden.section("final/"), &[]);

    let Some(data) = shared("cifar10/sample") else { return };
    let graph = ResNetCifar { form: Form::Keras, ..ResNetCifar::default() }.evaluation(100).unwrap();
    let store = Store::new(&graph, 0).unwrap();
    weights.restore(&store, weights.assumed_layout(), Restore::Model).unwrap();
    let options = LoaderOptions { batch_size: 100, shuffle: false, ..LoaderOptions::default() };
    let loader = DataLoader::new(Arc::new(load_dir(&data).unwrap().test), options).unwrap();
    let batch = loader.epoch(0).next().unwrap().unwrap();
    let mut session =
        compile(&graph, &Options::default()).unwrap().session(&store, &Arc::new(Team::new(2).unwrap())).unwrap();
    session.set_f32("images", &batch.inputs).unwrap();
    session.set_i32("labels", &batch.labels).unwrap();
    session.run().unwrap();
    let logits = session.get("logits").unwrap().to_f64();
    let evaluation = golden.section("eval/");
    let name = evaluation.names().next().unwrap();
    assert!(name.starts_with("softmax"), "{name}");
    let expected = evaluation.tensor(name).unwrap().to_f64();
    for (row, expected) in logits.chunks(10).zip(expected.chunks(10)) {
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
        for (x, p) in row.iter().zip(expected) {
            assert!(((x - largest).exp() / sum - p).abs() < 1e-4, "{x} {p}");
        }
    }
}

/// A network in miniature, in PyTorch's names.
fn store() -> Store {
    let mut g = Graph::new("new_head");
    g.parameter("conv.weight", [3, 3, 3, 4], Init::ZEROS).unwrap();
    g.parameter("fc.weight", [3, 5], Init::ZEROS).unwrap();
    g.parameter("head.bias", [7], Init::ZEROS).unwrap();
    g.parameter("fc.weight.exp_avg", [3, 5], Init::ZEROS).unwrap();
    Store::new(&g, 0).unwrap()
}

#[test]
fn weights_are_loaded_by_name_with_a_report() {
    let tensor = |shape: &[usize]| Tensor::f32(shape, vec![1.0; shape.iter().product()]).unwrap();
    let named = |tensors: &[(&str, &[usize])]| {
        WeightFile::new(tensors.iter().map(|(name, shape)| (name.to_string(), tensor(shape))), BTreeMap::new())
    };
    let file = named(&[
        ("module.conv.weight", &[4, 3, 3, 3]),
        ("module.fc.weight", &[6, 3]),
        ("module.heads.bias", &[9]),
        ("module.bn.num_batches_tracked", &[]),
    ]);
    let rename = vec![("module.".to_string(), String::new())];

    // a shape that differs is an error unless it may be skipped, and then nothing changes
    let (target, options) = (store(), LoadOptions { rename, ..LoadOptions::default() });
    let error = load_by_name(&file, &target, &options).unwrap_err().to_string();
    assert!(error.contains("\"fc.weight\" must be [5,3] (NCHW, conv OIHW), got [6,3]"), "{error}");
    assert_eq!(target.get("conv.weight").unwrap().to_f64()[0], 0.0);

    let skipping = LoadOptions { skip_mismatch: true, ..options.clone() };
    let report = load_by_name(&file, &target, &skipping).unwrap();
    assert_eq!(
        report.to_string(),
        "1 tensors loaded, 1 missing, 1 unexpected, 1 mismatched\n  \
         missing: \"head.bias\" (nearest: \"heads.bias\")\n  \
         unexpected: \"heads.bias\"\n  \
         mismatched: tensor \"fc.weight\" must be [5,3] (NCHW, conv OIHW), got [6,3]"
    );
    assert!(!report.is_complete());
    assert_eq!(target.get("conv.weight").unwrap().to_f64(), [1.0; 108]);
    assert_eq!(target.get("fc.weight").unwrap().to_f64(), [0.0; 15]);

    // strict: all of it in one error, and nothing changes
    let strict = LoadOptions { strict: true, ..options.clone() };
    let target = store();
    let error = load_by_name(&file, &target, &strict).unwrap_err().to_string();
    for part in [
        "no tensor \"head.bias\" (nearest: \"heads.bias\")",
        "\"fc.weight\" must be",
        "\"heads.bias\" that this model has not",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(target.get("conv.weight").unwrap().to_f64()[0], 0.0);

    // moments count only when they are asked for
    let whole = named(&[("conv.weight", &[4, 3, 3, 3]), ("fc.weight", &[5, 3]), ("head.bias", &[7])]);
    assert!(
        load_by_name(&whole, &store(), &LoadOptions { strict: true, ..LoadOptions::default() }).unwrap().is_complete()
    );
    let all = LoadOptions { training_state: true, ..LoadOptions::default() };
    assert_eq!(load_by_name(&whole, &store(), &all).unwrap().missing[0].name, "fc.weight.exp_avg");

    let twice = LoadOptions { rename: vec![("heads.".into(), "fc.".into())], ..LoadOptions::default() };
    let error = load_by_name(&named(&[("heads.weight", &[1]), ("fc.weight", &[1])]), &store(), &twice).unwrap_err();
    assert!(error.to_string().contains("would both be \"fc.weight\""), "{error}");
}

#[test]
fn what_is_no_state_dict_is_refused_with_a_reason() {
    for (name, parts) in [
        ("torch_module.pt", ["data.pkl: byte 2: ", "names `torch.nn.modules.linear.Linear`", "state_dict"]),
        ("torch_legacy.pt", ["torch_legacy.pt: ", "before 1.6", "again"]),
        ("make_torch.py", ["make_torch.py: ", "not a whole safetensors file", "bytes"]),
    ] {
        let error = read_weights(fixture(name)).unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(error.contains(part), "{error} has no {part}"));
    }
    assert!(matches!(read_weights(fixture("missing.pt")), Err(Error::Io { .. })));
    let error = parse_weights(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "a.zip").map(|f| f.names().count());
    assert!(matches!(error, Ok(0) | Err(Error::Checkpoint { .. })), "{error:?}");
}

/// What other programs are to read, left for `check.py`.
#[test]
fn files_for_other_programs_are_written() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("formats");
    std::fs::create_dir_all(&dir).unwrap();
    convert(fixture("torch_mixed.protocol2.pt"), dir.join("torch_mixed.pt"), None).unwrap();
    convert(fixture("torch_net.ckpt"), dir.join("torch_net.pt"), None).unwrap();
    convert(fixture("keras_net.keras"), dir.join("keras_net.npz"), None).unwrap();
    convert(fixture("keras_net.weights.h5"), dir.join("keras_net.weights.h5"), None).unwrap();
    // an archive of NumPy has no groups; the architecture has
    let architecture = std::fs::read_to_string(fixture("keras_net.json")).unwrap();
    let bare = read_weights(dir.join("keras_net.npz")).unwrap();
    let by_architecture = dir.join("keras_net_by_architecture.weights.h5");
    write_weights(&by_architecture, &bare.clone().with_keras_architecture(&architecture).unwrap()).unwrap();

    let original = read_weights(fixture("keras_net.weights.h5")).unwrap();
    for name in ["keras_net.weights.h5", "keras_net_by_architecture.weights.h5"] {
        let back = read_weights(dir.join(name)).unwrap();
        assert_same(&back, &original, &[]);
        assert_eq!(back.meta("keras_groups").unwrap(), original.meta("keras_groups").unwrap());
    }
    let error = bare.with_keras_architecture("{}").unwrap_err();
    assert!(error.to_string().contains("no \"config\""), "{error}");
}

/// `[rows, columns, 1, channels · multiplier]` is another form of a depthwise kernel, and of no other weight.
#[test]
fn other_kernels_with_as_many_elements_are_refused() {
    let store = |depthwise: bool, kernel: [usize; 4]| {
        let mut g = Graph::new("conv");
        let x = g.input("x", DType::F32, [1, 8, 9, if depthwise { kernel[2] } else { 4 }]).unwrap();
        let w = g.parameter("w", kernel, Init::ZEROS).unwrap();
        let options = ConvOptions { padding: Padding::Same, ..ConvOptions::default() };
        let y = if depthwise { g.depthwise_conv2d(x, w, None, options) } else { g.conv2d(x, w, None, options) };
        g.set_output("y", y.unwrap()).unwrap();
        Store::new(&g, 0).unwrap()
    };
    let load = |store: &Store, shape: [usize; 4], layout: Layout| {
        let tensor = Tensor::f32(shape, (0..shape.iter().product()).map(|i| i as f32).collect()).unwrap();
        let file = WeightFile::new([("w".to_string(), tensor)], BTreeMap::new());
        load_by_name(&file, store, &LoadOptions { layout: Some(layout), ..LoadOptions::default() }).map(drop)
    };
    let depthwise = store(true, [3, 3, 4, 2]);
    load(&depthwise, [3, 3, 1, 8], Layout::Native).unwrap();
    assert_eq!(depthwise.get("w").unwrap().to_f64(), (0..72).map(f64::from).collect::<Vec<_>>());
    load(&depthwise, [3, 3, 4, 2], Layout::Native).unwrap();
    let plain = store(false, [3, 3, 4, 8]);
    for (shape, layout) in [([3, 3, 1, 32], Layout::Native), ([8, 4, 1, 9], Layout::Torch)] {
        let error = load(&plain, shape, layout).unwrap_err().to_string();
        assert!(error.contains("must be") && error.contains("got"), "{error}");
    }
    assert!(load(&depthwise, [3, 1, 1, 24], Layout::Native).is_err());
}
