//! Summaries against the seed's tables and Keras's own text, and what a model costs against counts by hand.

use std::path::Path;

use outrigger::graph::Loss;
use outrigger::models::resnet_cifar;
use outrigger::nn::{Add, Dense, Form, Input, Linear, Module, Network, ReLU, Residual, Sequential, SummaryRow};
use outrigger::train::Model;
use outrigger::train::optimizer::Adam;

use crate::shared;

/// Compares with a file in `tests/golden`; `OUTRIGGER_BLESS=1` writes it again.
fn golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        std::fs::write(&file, format!("{text}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    for (at, (got, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(got, expected, "{name}, line {}; OUTRIGGER_BLESS=1 accepts the new text", at + 1);
    }
    assert_eq!(format!("{text}\n"), golden);
}

/// The seed's text without what its web page put between its words.
fn seed() -> Option<String> {
    let path = shared("seed/000_7cf846a5ac2bad1a.txt")?;
    Some(std::fs::read_to_string(path).unwrap().split_whitespace().collect())
}

#[test]
fn pytorchs_table_of_the_seed() {
    let network = resnet_cifar([2, 2, 2]).network().unwrap();
    let summary = network.summary().unwrap();
    golden("summary_torch.txt", &summary.to_string());
    assert_eq!((summary.rows().len(), summary.parameters()), (51, 195_738));
    assert_eq!((summary.trainable(), summary.non_trainable()), (195_738, 0));
    assert_eq!(summary.rows()[9].name, "ResidualBlock-10");

    let Some(seed) = seed() else { return };
    // word for word; only how long the rules are is the page's
    let unruled = |text: &str| text.replace("----", "").replace("====", "");
    let words: String = summary.to_string().split_whitespace().collect();
    assert!(unruled(&seed).contains(&unruled(&words)), "{words}");
}

#[test]
fn frozen_layers_are_not_trainable() {
    let mut network = resnet_cifar([2, 2, 2]).network().unwrap();
    network.freeze("fc");
    let summary = network.summary().unwrap();
    assert_eq!((summary.trainable(), summary.non_trainable()), (195_088, 650));
    assert!(summary.to_string().contains("Non-trainable params: 650\n"));
}

#[test]
fn a_module_is_listed_when_its_forward_pass_ends() {
    let block = Residual::new(Sequential::new().add(Linear::new(4)).add(ReLU::new()));
    let layers = Sequential::new().add(block).add(Linear::new(2));
    let summary = Network::of(&layers, Input::torch("x", [4])).unwrap().summary().unwrap();
    let names: Vec<&str> = summary.rows().iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["Linear-1", "ReLU-2", "Residual-3", "Linear-4"]);
    assert_eq!(summary.parameters(), 20 + 10);
}

/// The seed's Keras table: its rows after the same renumbering of all layers.
#[test]
fn kerass_table_of_the_seed() {
    let network = resnet_cifar([2, 2, 2]).form(Form::Keras).network().unwrap();
    let summary = network.summary().unwrap();
    golden("summary_keras.txt", &summary.to_string());
    assert_eq!(summary.parameters(), 197_418);
    assert_eq!((summary.trainable(), summary.non_trainable()), (196_298, 1_120));

    let Some(seed) = seed() else { return };
    let mut rest = seed.split("kerasmodelsummary").nth(1).unwrap();
    for row in summary.rows() {
        let shape: Vec<String> = row.shape.iter().map(usize::to_string).collect();
        let connected: String = row.connected_to.iter().map(|name| in_the_seed(name)).collect();
        let name = in_the_seed(&row.name);
        // classes are cut off there
        let class: String = row.class.chars().take(5).collect();
        let cells = format!("(None,{}){}{connected}", shape.join(","), row.parameters);
        let at = rest.find(&format!("{name}({class}")).unwrap_or_else(|| panic!("{name} comes before"));
        rest = &rest[at..];
        let end = rest.find("____").unwrap_or(rest.len());
        assert!(
            rest[..end].ends_with(&cells) || rest[..end].contains(&format!("{cells}===")),
            "{cells} in {}",
            &rest[..end]
        );
    }
}

/// A layer's name as the seed's session had counted it.
fn in_the_seed(name: &str) -> String {
    let (layer, call) = name.split_once('[').map_or((name, String::new()), |(layer, call)| (layer, format!("[{call}")));
    if layer == "images" {
        return format!("input_26{call}");
    }
    let (class, number) = match layer.rsplit_once('_') {
        Some((class, number)) if number.parse::<usize>().is_ok() => (class, number.parse().unwrap()),
        _ => (layer, 0),
    };
    let first = match class {
        "conv2d" => 103,
        "batch_normalization" => 99,
        "activation" => 87,
        "add" => 34,
        _ => 2,
    };
    format!("{class}_{}{call}", first + number)
}

/// Keras 3 printed its table into 80 columns: ours begins with it, line by line.
#[test]
fn kerass_own_text_is_the_beginning_of_every_line() {
    let Some(json) = shared("golden/keras_resnet_adam.json") else { return };
    let network = Network::from_keras_json(&std::fs::read_to_string(json).unwrap()).unwrap();
    let summary = network.summary().unwrap();
    let golden = std::fs::read_to_string(shared("golden/keras_resnet_adam.summary.txt").unwrap()).unwrap();
    let text = summary.to_string();
    let table = text.lines().take_while(|line| !line.starts_with(" Total"));
    let mut lines = golden.lines();
    for line in table {
        let start: String = line.chars().take(80).collect();
        assert_eq!(start.trim_end(), lines.next().unwrap().trim_end());
    }
    // there in f64 and with the optimizer's tensors
    assert!(lines.next().unwrap().starts_with(" Total params"));
    for line in text.lines().skip_while(|line| !line.starts_with(" Trainable")) {
        let count = line.split(" (").next().unwrap();
        assert_eq!(lines.next().unwrap().split(" (").next().unwrap(), count);
    }
}

/// A layer called twice is one row, as deep as its deepest call, and its calls are told apart by numbers.
#[test]
fn a_shared_layer_is_one_row_of_kerass_table() {
    let (a, b) = (Input::keras("a", [3]), Input::keras("b", [3]));
    let shared = Dense::new(3).name("shared");
    let (x, y) = (shared.call(&a).unwrap(), shared.call(&b).unwrap());
    let z = shared.call(&y).unwrap();
    let sum = Add::new().call([&x, &z]).unwrap();
    let summary = Network::new("twice", [&a, &b], &sum).unwrap().summary().unwrap();
    let row = |name: &str| summary.rows().iter().find(|row| row.name == name).unwrap().clone();
    assert_eq!(row("shared").connected_to, ["a[0][0]", "b[0][0]", "shared[1][0]"]);
    assert_eq!(row("add").connected_to, ["shared[0][0]", "shared[2][0]"]);
    assert_eq!((summary.parameters(), row("shared").parameters), (12, 12));
    let expected = SummaryRow {
        name: "a".into(),
        class: "InputLayer".into(),
        shape: vec![3],
        parameters: 0,
        connected_to: vec![],
    };
    assert_eq!(row("a"), expected);
}

/// He et al.'s network makes 41 million multiply-adds an image in this form: the sum over its convolutions by hand.
#[test]
fn costs_are_those_of_the_plan() {
    let network = resnet_cifar([2, 2, 2]).network().unwrap();
    let mut model = Model::of(network, Default::default()).unwrap();
    let conv = |pixels: u64, from: u64, to: u64| pixels * 9 * from * to;
    let stage = |pixels: u64, c: u64| 2 * conv(pixels, c / 2, c) + 3 * conv(pixels, c, c);
    let expected = conv(1024, 3, 16) + 4 * conv(1024, 16, 16) + stage(256, 32) + stage(64, 64) + 640;
    let cost = model.cost(4).unwrap();
    assert_eq!(cost.inference.multiply_adds, 4 * expected);
    assert_eq!(cost.layers.iter().map(|layer| layer.multiply_adds).sum::<u64>(), 4 * expected);
    let first = &cost.layers[0];
    assert_eq!((first.name.as_str(), first.class.as_str(), first.parameters), ("conv", "Conv2d", 432));
    assert_eq!(first.activation_bytes, 4 * 16 * 1024 * 4);
    assert!(cost.inference.fused_kernels > 0 && cost.inference.fused_kernels <= cost.inference.kernels);
    assert_eq!(cost.training, None);

    model.compile(Adam::default().lr(1e-3), Loss::CrossEntropy { label_smoothing: 0.0 }, ()).unwrap();
    let training = model.cost(4).unwrap().training.unwrap();
    // backward passes are twice the forward pass but for the images' gradient; Winograd's count as the sums they replace
    let most = 3 * cost.inference.multiply_adds;
    assert!((most * 9 / 10..=most).contains(&training.multiply_adds), "{} of {most}", training.multiply_adds);
    // parameters, two moments, statistics, two corrections
    assert_eq!(training.state_bytes, 4 * (3 * 195_738 + 1_120 + 2));
    assert!(training.memory_bytes() > cost.inference.memory_bytes());
    let text = model.cost(4).unwrap().to_string();
    assert!(text.contains("layer2.0.conv1 (Conv2d)") && text.contains("\nTraining of 4: "), "{text}");
}

/// Modules name themselves; a network is one too.
#[test]
fn both_looks_are_there_for_either_form() {
    let network = resnet_cifar([1, 1, 1]).form(Form::Keras).network().unwrap();
    assert_eq!(network.class(), "resnet_keras");
    let torch = network.summary_as(Form::Torch).unwrap();
    assert!(torch.to_string().contains("Conv2d-1"));
    // statistics are no parameters there
    assert_eq!(torch.parameters(), network.summary().unwrap().trainable());
}
