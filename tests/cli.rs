//! The command line from outside: statuses, messages, JSON, and every form of a small trained network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use outrigger::Tensor;
use outrigger::data::{ImageFolder, Layout, sample};
use outrigger::export::inference::InferenceGraph;
use outrigger::formats::{WeightFile, read_weights, write_weights};
use outrigger::tensor::Data;
use serde_json::Value;

/// The program in `dir`, without anything downloaded before.
fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.current_dir(dir).env("OUTRIGGER_CACHE", dir.join("cache"));
    command
}

#[track_caller]
fn run(dir: &Path, words: &str) -> Output {
    program(dir).args(words.split_whitespace()).output().unwrap()
}

/// Standard output of a command that must go well and say nothing on standard error.
#[track_caller]
fn stdout(dir: &Path, words: &str) -> String {
    let output = run(dir, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{words}: {:?}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of JSON of a command that must go well.
#[track_caller]
fn json(dir: &Path, words: &str) -> Vec<Value> {
    let output = run(dir, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A directory with a few images in CIFAR-10's layout, a small network trained on them, and one of them as a file.
fn trained() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let data = sample().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let records = |images: &outrigger::data::Images, range: std::ops::Range<usize>| {
            range.flat_map(|i| record(images.labels()[i], images.image(i).unwrap())).collect::<Vec<u8>>()
        };
        for batch in 0..5 {
            let file = dir.path().join(format!("data/data_batch_{}.bin", batch + 1));
            fs::write(file, records(&data.train, batch * 8..batch * 8 + 8)).unwrap();
        }
        fs::write(dir.path().join("data/test_batch.bin"), records(&data.test, 0..25)).unwrap();
        let pixels = data.test.image(3).unwrap().to_vec();
        image::RgbImage::from_raw(32, 32, pixels).unwrap().save(dir.path().join("three.png")).unwrap();
        let said = stdout(dir.path(), "train --data data --layers 1,1,1 --batch 20 --epochs 2 --save w.safetensors");
        assert!(said.contains("epoch  2/2  loss ") && said.contains("weights: w.safetensors"), "{said}");
        dir
    })
    .path()
}

/// CIFAR-10's record of an image: a label, then planes of red, green and blue.
fn record(label: u8, pixels: &[u8]) -> Vec<u8> {
    let plane = |channel: usize| pixels.iter().skip(channel).step_by(3).copied();
    [label].into_iter().chain((0..3).flat_map(plane)).collect()
}

fn object<'v>(value: &'v Value, key: &str) -> &'v Value {
    value.get(key).unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[test]
fn training_writes_lines_of_json_and_goes_on() {
    let dir = trained();
    let epochs = json(dir, "train --data data --layers 1,1,1 --batch 20 --epochs 2 --json --threads 1");
    assert_eq!(epochs.iter().map(|e| object(e, "epoch").as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for name in ["loss", "train_acc", "test_acc", "seconds"] {
        assert!(object(&epochs[0], name).is_number(), "{name}");
    }
    // two epochs are one, broken off and resumed, bit for bit
    stdout(dir, "train --data data --layers 1,1,1 --batch 20 --epochs 1 --save one.safetensors --json one.jsonl");
    let said =
        stdout(dir, "train --data data --resume one.safetensors --epochs 2 --save two.safetensors --json one.jsonl");
    assert!(said.contains("after 1 epochs"), "{said}");
    assert_eq!(fs::read(dir.join("two.safetensors")).unwrap(), fs::read(dir.join("w.safetensors")).unwrap());
    let lines = fs::read_to_string(dir.join("one.jsonl")).unwrap();
    let resumed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let without_time =
        |epoch: &Value| ["epoch", "loss", "train_acc", "test_acc"].map(|name| object(epoch, name).clone());
    assert!(resumed.iter().map(without_time).eq(epochs.iter().map(without_time)));
}

/// What `eval` measures is what training said, also of the exported network; dumped classes are those it counted.
#[test]
fn evaluation_says_what_training_said() {
    let dir = trained();
    let trained = json(dir, "train --data data --layers 1,1,1 --batch 20 --epochs 2 --json");
    let found = &json(dir, "eval --data data --weights w.safetensors --batch 10 --dump dump --json")[0];
    assert_eq!(object(found, "images"), 25);
    assert_eq!(object(found, "accuracy"), object(&trained[1], "test_acc"));
    let classes = fs::read_to_string(dir.join("dump/classes")).unwrap();
    let labels = sample().unwrap().test.labels()[..25].to_vec();
    let right = classes.lines().zip(labels).filter(|(line, label)| line.parse() == Ok(*label)).count();
    assert_eq!(right as f64 / 25.0, object(found, "accuracy").as_f64().unwrap());
    assert_eq!(fs::metadata(dir.join("dump/images")).unwrap().len(), 25 * 3072 * 4);

    stdout(dir, "export --weights w.safetensors --format outrigger --out e.outrigger");
    let exported = &json(dir, "eval --data data --weights e.outrigger --json")[0];
    assert_eq!(object(exported, "accuracy"), object(found, "accuracy"));
    let [a, b] = [exported, found].map(|report| object(report, "loss").as_f64().unwrap());
    assert!((a - b).abs() < 1e-4 * b, "{a} {b}");
}

/// Images in folders, one a class, and arrays of NumPy are data like CIFAR's files; predictions have the folders' names.
#[test]
fn folders_of_images_and_arrays_are_data() {
    let dir = tempfile::tempdir().unwrap();
    let data = sample().unwrap();
    let classes = ["ant", "bee", "cow"];
    for (part, images) in [("train", &data.train), ("test", &data.test)] {
        for (class, name) in classes.iter().enumerate() {
            let folder = dir.path().join("photos").join(part).join(name);
            fs::create_dir_all(&folder).unwrap();
            let own = (0..images.len()).filter(|&i| usize::from(images.labels()[i]) == class).take(5);
            for (file, i) in own.enumerate() {
                let image = image::RgbImage::from_raw(32, 32, images.image(i).unwrap().to_vec()).unwrap();
                // of another size, but with the same pixels after it is resized
                let doubled = image::imageops::resize(&image, 64, 64, image::imageops::FilterType::Nearest);
                doubled.save(folder.join(format!("{file}.png"))).unwrap();
            }
        }
    }
    let said = stdout(dir.path(), "train --data photos --layers 1,1,1 --batch 5 --epochs 1 --save w.safetensors");
    assert!(said.contains("15 training and 15 test images"), "{said}");
    let found = json(dir.path(), "eval --weights w.safetensors --data photos --json");
    assert_eq!(object(&found[0], "images"), 15);
    assert_eq!(json(dir.path(), "eval --weights w.safetensors --data photos/test --json"), found);
    let guess = stdout(dir.path(), "predict --weights w.safetensors photos/test/bee/0.png --top 1");
    assert!(classes.iter().any(|name| guess.starts_with(&format!("photos/test/bee/0.png: {name} "))), "{guess}");

    // the same images as arrays
    let folders = ImageFolder::new(dir.path().join("photos/test")).unwrap().images([32, 32, 3]).unwrap();
    let arrays = ["train", "test"].iter().flat_map(|part| {
        let labels: Vec<i32> = folders.labels().iter().map(|&label| label.into()).collect();
        let pixels = Tensor::new([15, 32, 32, 3], Data::U8(folders.images().to_vec())).unwrap();
        [(format!("x_{part}"), pixels), (format!("y_{part}"), Tensor::i32([15], labels).unwrap())]
    });
    write_weights(dir.path().join("photos.npz"), &WeightFile::new(arrays, Default::default())).unwrap();
    assert_eq!(json(dir.path(), "eval --weights w.safetensors --data photos.npz --json"), found);

    let refused = |words: &str, part: &str| {
        let error = String::from_utf8(run(dir.path(), words).stderr).unwrap();
        assert!(error.contains(part) && error.lines().count() == 1, "{words}: {error}");
    };
    refused("eval --weights w.safetensors", "has 10 classes; resnet [1,1,1] tells 3 apart");
    refused("eval --weights w.safetensors --data photos/test/bee", "looked for CIFAR-10");
    refused("eval --weights w.safetensors --data w.safetensors", "w.safetensors");
    fs::remove_dir_all(dir.path().join("photos/test/bee")).unwrap();
    refused("train --data photos", "train/ has the classes ant, bee, cow, test/ has ant, cow");
}

/// A model of the library's own, saved whole, is evaluated and exported like others.
#[test]
fn a_saved_model_is_a_network() {
    use outrigger::nn::{Conv2d, Flatten, Input, Linear, ReLU, Sequential};
    use outrigger::train::Model;
    let dir = trained();
    let layers =
        Sequential::new().add(Conv2d::new(4, 3).stride(4)).add(ReLU::new()).add(Flatten::new()).add(Linear::new(10));
    let model = Model::from_module(&layers, Input::torch("pixels", [3, 32, 32])).unwrap();
    model.save(dir.join("own.safetensors")).unwrap();
    let own = &json(dir, "eval --data data --weights own.safetensors --json")[0];
    stdout(dir, "export --weights own.safetensors --format outrigger --out own.outrigger");
    let exported = &json(dir, "eval --data data --weights own.outrigger --json")[0];
    assert_eq!(object(own, "accuracy"), object(exported, "accuracy"));
    assert!(stdout(dir, "predict --weights own.safetensors three.png").starts_with("three.png: "));
}

/// A network of several inputs and outputs is looked at and exported under their names; it is no classifier.
#[test]
fn several_inputs_and_outputs_are_exported() {
    use outrigger::nn::{Add, Conv2d, Flatten, Input, Linear, Network};
    use outrigger::train::{Model, ModelOptions};
    let dir = tempfile::tempdir().unwrap();
    let network = || -> Result<Network, outrigger::Error> {
        let (image, hint) = (Input::torch("image", [3, 8, 8]), Input::torch("hint", [5]));
        let x = Flatten::new().call(&Conv2d::new(2, 3).call(&image)?)?;
        let sum = Add::new().call([&Linear::new(4).call(&x)?, &Linear::new(4).call(&hint)?])?;
        let (left, right) = (Linear::new(3).name("left").call(&sum)?, Linear::new(2).name("right").call(&sum)?);
        Network::new("fork", [&image, &hint], [&left, &right])
    };
    let model = Model::of(network().unwrap(), ModelOptions::default()).unwrap();
    model.save(dir.path().join("fork.safetensors")).unwrap();
    for file in ["fork.safetensors", "fork.outrigger"] {
        for format in ["outrigger", "object", "onnx", "svg", "safetensors"] {
            let end = if format == "object" { "a" } else { format };
            stdout(dir.path(), &format!("export --weights {file} --format {format} --out f_{format}.{end}"));
        }
        fs::rename(dir.path().join("f_outrigger.outrigger"), dir.path().join("fork.outrigger")).unwrap();
        let header = fs::read_to_string(dir.path().join("f_object.h")).unwrap();
        let parameters = "const float *in_image, const float *in_hint, float *out_left, float *out_right";
        assert!(header.contains(parameters), "{header}");
        let found = &json(dir.path(), &format!("summary {file} --json"))[0];
        let names =
            |key: &str| object(found, key).as_array().unwrap().iter().map(|p| p["name"].clone()).collect::<Vec<_>>();
        assert_eq!(
            (names("inputs"), names("outputs")),
            (vec!["image".into(), "hint".into()], vec!["left".into(), "right".into()])
        );
        stdout(dir.path(), &format!("inspect --weights {file} --kernels"));
        let output = run(dir.path(), &format!("eval --weights {file}"));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && error.contains("2 inputs and 2 outputs; this takes a classifier"),
            "{error}"
        );
    }
}

#[test]
fn predictions_have_names_and_probabilities() {
    let dir = trained();
    fs::write(dir.join("names"), (0..10).map(|n| format!("kind {n}\n")).collect::<String>()).unwrap();
    let found = json(dir, "predict --weights w.safetensors three.png three.png --json --top 10 --classes names");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], found[1]);
    let top = object(&found[0], "top").as_array().unwrap();
    let shares: Vec<f64> = top.iter().map(|guess| object(guess, "probability").as_f64().unwrap()).collect();
    assert!(shares.is_sorted_by(|a, b| a >= b) && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
    assert!(top.iter().all(|guess| object(guess, "name") == &format!("kind {}", object(guess, "class"))));
    // the same image in evaluation, where it is the fourth
    stdout(dir, "eval --data data --weights w.safetensors --dump dump2");
    let classes = fs::read_to_string(dir.join("dump2/classes")).unwrap();
    assert_eq!(classes.lines().nth(3).unwrap(), object(&top[0], "class").to_string());

    let line = stdout(dir, "predict --weights w.safetensors three.png");
    assert_eq!(line.matches('%').count(), 5, "{line}");
    assert!(
        Layout::Cifar10.class_names().iter().any(|name| line.starts_with(&format!("three.png: {name} "))),
        "{line}"
    );
    // larger, and not square
    image::RgbImage::new(90, 61).save(dir.join("wide.jpg")).unwrap();
    assert!(stdout(dir, "predict --weights w.safetensors wide.jpg").starts_with("wide.jpg: "));
}

#[test]
fn every_form_is_exported() {
    let dir = trained();
    let export = |words: &str| -> Vec<PathBuf> {
        let said = &json(dir, &format!("export --json --weights w.safetensors {words}"))[0];
        assert_eq!(object(said, "certificate").is_null(), !words.contains("--format outrigger"));
        if let Some(found) = object(said, "certificate").get("comparison").filter(|found| !found.is_null()) {
            assert_eq!((object(found, "samples"), object(found, "same_class")), (&25.into(), &25.into()));
        }
        let files = object(said, "files").as_array().unwrap();
        let paths: Vec<PathBuf> = files.iter().map(|f| dir.join(object(f, "file").as_str().unwrap())).collect();
        for (path, file) in paths.iter().zip(files) {
            assert_eq!(fs::metadata(path).unwrap().len(), object(file, "bytes").as_u64().unwrap());
        }
        paths
    };
    let file = export("--format outrigger --out a.outrigger --storage f16 --certify --data data");
    let found = InferenceGraph::load(&file[0]).unwrap().certificate().comparison.clone().unwrap();
    assert_eq!((found.samples, found.same_class), (25, 25));
    let files = export("--format object --out native/small.a");
    assert!(fs::read_to_string(&files[1]).unwrap().contains("int small_run("));
    assert!(fs::read(&files[0]).unwrap().starts_with(b"!<arch>"));
    export("--format onnx --out a.onnx --channels-first");
    // trained weights go into other forms by way of an exported network, too
    json(dir, "export --json --weights a.outrigger --format onnx --out b.onnx");
    assert!(fs::read_to_string(&export("--format dot --out a.dot")[0]).unwrap().starts_with("digraph"));
    let svg = fs::read_to_string(&export("--format svg --out a.svg --scope layer2.0")[0]).unwrap();
    roxmltree::Document::parse(&svg).unwrap();
    let names: Vec<String> =
        export("--format svg --out pictures").iter().map(|p| p.file_name().unwrap().to_string_lossy().into()).collect();
    for name in ["inference.svg", "00-before.svg", "inference-arena.svg", "training-arena.svg"] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
    let weights = export("--format safetensors --out plain.safetensors");
    let (plain, trained) = (read_weights(&weights[0]).unwrap(), read_weights(dir.join("w.safetensors")).unwrap());
    assert!(plain.names().count() > 20);
    assert!(plain.names().all(|name| plain.tensor(name).unwrap() == trained.tensor(name).unwrap()));
}

#[test]
fn weights_survive_a_round_trip_of_formats() {
    let dir = trained();
    stdout(dir, "convert w.safetensors w.pt");
    stdout(dir, "convert w.pt w.weights.h5");
    stdout(dir, "convert w.weights.h5 w.npz");
    let said = &json(dir, "convert w.npz back.safetensors --names torch --json")[0];
    let [old, new] = ["w.safetensors", "back.safetensors"].map(|name| read_weights(dir.join(name)).unwrap());
    assert_eq!(object(said, "tensors"), new.names().count());
    assert!(new.names().count() > 20);
    for name in new.names() {
        assert_eq!(new.tensor(name).unwrap(), old.tensor(name).unwrap(), "{name}");
    }
}

#[test]
fn networks_are_summed_up() {
    let dir = trained();
    let found = &json(dir, "summary --json")[0];
    // the figures of the seed's own program
    assert_eq!(object(found, "parameters"), 195_738);
    assert_eq!(object(found, "outputs"), &serde_json::json!([{ "name": "logits", "shape": [10] }]));
    assert_eq!(object(&json(dir, "summary w.safetensors --json")[0], "epochs"), 2);
    stdout(dir, "convert w.safetensors unknown.pt");
    assert!(stdout(dir, "summary unknown.pt").contains("fc.weight [10, 64]"));
    assert!(stdout(dir, "summary lenet5 --form ours").contains("(Linear)"));
    assert!(stdout(dir, "summary lenet5").contains("Linear-"), "torchsummary's names");
    assert!(stdout(dir, "summary lenet5 --form keras").contains("Layer (type)"));
}

#[test]
fn kernels_are_shown_stage_by_stage() {
    let dir = trained();
    let all = stdout(dir, "inspect --weights w.safetensors --passes --plan --kernels --graph");
    assert!(all.contains("chains") && all.contains("logits"), "{all}");
    let found = &json(dir, "inspect --weights w.safetensors --json --isa clif --kernel fc --nest --clif --asm")[0];
    let kernel = object(found, "kernel");
    assert!(object(kernel, "nest").as_str().unwrap().starts_with("Product"), "{kernel}");
    assert!(object(kernel, "clif").as_str().unwrap().contains("function u0:"));
    let functions = object(kernel, "asm").as_array().unwrap();
    assert!(functions.len() > 1 && functions.iter().all(|f| object(f, "assembly").as_str().unwrap().contains("ret")));
    if cfg!(target_arch = "x86_64") && outrigger::codegen::Isa::Avx2.available() {
        let text = stdout(dir, "inspect --weights w.safetensors --isa avx2 --kernel conv --asm");
        assert!(text.contains("vfmadd231ps"), "{text}");
    }
    let training = &json(dir, "inspect --weights w.safetensors --training --batch 2 --json")[0];
    assert!(
        object(object(training, "sizes"), "kernels").as_u64()
            > object(&json(dir, "inspect --weights w.safetensors --json")[0], "sizes").get("kernels").unwrap().as_u64()
    );
}

#[test]
fn a_small_bench_is_one_line() {
    let dir = trained();
    let found = json(dir, "bench --layers 1,1,1 --batch 4 --steps 2 --threads 1 --json");
    assert_eq!(found.len(), 1);
    for name in ["first_step_ms", "train_step_ms", "infer1_ms", "infer_batch_ms", "peak_gflops", "arena_mb"] {
        assert!(object(&found[0], name).as_f64().unwrap() > 0.0, "{name}");
    }
}

#[test]
fn shells_get_completions() {
    let dir = trained();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(dir, &format!("completions {shell}"));
        assert!(script.contains("outrigger") && script.contains("predict"), "{shell}");
    }
    assert!(object(&json(dir, "completions bash --json")[0], "script").is_string());
}

/// Every command has help with examples.
#[test]
fn help_has_examples() {
    let dir = trained();
    let all = stdout(dir, "--help");
    for command in ["train", "eval", "predict", "summary", "bench", "inspect", "export", "convert", "completions"] {
        assert!(all.contains(&format!("\n  {command} ")), "{command} is not in\n{all}");
        let help = stdout(dir, &format!("{command} --help"));
        assert!(help.contains("Examples:\n") && help.contains("--json"), "{help}");
    }
    assert!(stdout(dir, "--version").starts_with("outrigger "));
}

/// A mistake is one line on standard error, and the status says whose it is.
#[test]
fn mistakes_are_one_line() {
    let dir = trained();
    let usage = [
        ("", "command is needed"),
        ("trian", "unrecognized subcommand 'trian'"),
        ("train --epochs none", "--epochs"),
        ("train --layers 2,2", "three numbers"),
        ("train --model resnet15", "6n+2"),
        ("train --plot run.gif", ".svg or .png"),
        ("predict --weights w.safetensors", "IMAGE"),
        ("eval", "needs trained weights"),
        ("summary resnet15", "known are resnet14"),
        ("export --format onnx --certify", "--certify"),
        ("export --format object --out x.so", "NAME.a"),
        ("export --format onnx --data data", "--certify"),
        ("export --format onnx --precision bf16", "--precision: is not for --format onnx"),
        ("export --format object --isa avx2", "--isa"),
        ("inspect --nest", "--kernel"),
        ("bench --sweep --json", "--json"),
        ("inspect --isa sse", "sse"),
        ("convert w.safetensors w.pt --names keras", "--names"),
    ];
    let failures = [
        ("eval --weights missing.safetensors", "missing.safetensors"),
        ("predict --weights w.safetensors missing.png", "missing.png"),
        ("predict --weights w.safetensors w.safetensors", "w.safetensors"),
        ("train --data missing", "missing"),
        ("train --save nowhere/w.safetensors", "nowhere/w.safetensors"),
        ("train --data data --resume w.safetensors --epochs 3 --seed 5", "--seed"),
        ("eval --weights data/test_batch.bin", "test_batch.bin"),
        ("eval --weights w.safetensors --model lenet5", "w.safetensors"),
        ("convert w.safetensors w.docx", ".npz"),
        ("inspect --weights w.safetensors --kernel nothing", "did you mean"),
        ("export --weights w.safetensors --format svg --out a.svg --scope layer9", "layer9"),
    ];
    let cases = usage.iter().map(|case| (2, case)).chain(failures.iter().map(|case| (1, case)));
    for (status, (words, part)) in cases {
        let output = run(dir, words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{words}: {error}");
        assert!(error.starts_with("error: ") && error.lines().count() == 1, "{words}: {error}");
        assert!(error.contains(part) && !error.contains("panicked"), "{words}: {error}");
        assert!(output.stdout.is_empty(), "{words}");
    }
}

/// A reader that goes away is no failure.
#[test]
fn a_closed_pipe_is_quiet() {
    let dir = trained();
    let mut child = program(dir)
        .args(["inspect", "--weights", "w.safetensors", "--plan"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
