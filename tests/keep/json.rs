//! Architectures as JSON: there and back, and texts that are none.

use outrigger::models;
use outrigger::nn::{
    Add, BatchNorm2d, Concatenate, Conv2d, Embedding, Flatten, Form, Function, Input, Lambda, LeakyReLU, Linear,
    Network, Symbol,
};
use outrigger::ops::Initializer;
use outrigger::{DType, Error, Padding};

use crate::{refused, texts};

fn again(network: &Network) -> Network {
    Network::from_json(&network.to_json().unwrap()).unwrap()
}

#[test]
fn every_model_makes_the_same_graphs_again() {
    for name in models::names() {
        let network = models::by_name(name).unwrap();
        let json = network.to_json().unwrap();
        let again = Network::from_json(&json).unwrap();
        assert_eq!(texts(&again), texts(&network), "{name}");
        assert_eq!(again.to_json().unwrap(), json, "{name}: a text is a function of the network");
        let tables = [&network, &again].map(|network| network.summary().unwrap());
        assert_eq!(tables[0], tables[1], "{name}");
    }
    let keras = models::resnet_cifar([2, 1, 3]).form(Form::Keras).softmax(true).network().unwrap();
    assert_eq!(texts(&again(&keras)), texts(&keras));
    assert_eq!(again(&keras).summary().unwrap(), keras.summary().unwrap());
}

/// Two inputs of two types, of which the second is made late; a shared layer; options that are not the defaults.
fn odd() -> Result<Network, Error> {
    let images = Input::torch("images", [3, 8, 8]);
    let conv =
        Conv2d::new(4, [3, 1]).stride([2, 1]).padding(Padding::Same).l2(0.1).weight_init(Initializer::he_normal());
    let x = LeakyReLU::new(0.3).call(&BatchNorm2d::new().momentum(0.3).call(&conv.call(&images)?)?)?;
    let words = Input::typed(Form::Torch, "words", DType::I32, [5]);
    let y = Flatten::new().call(&Embedding::new(7, 4).trainable(false).call(&words)?)?;
    let shared = Linear::new(6).name("shared \"twice\"").activation(Function::Tanh);
    let x = Linear::new(20).call(&x.flatten()?)?;
    let both = Add::new().call([&shared.call(&x)?, &shared.call(&y)?])?;
    Network::new("odd", [&words, &images], [&both, &Concatenate::new().call([&both, &y])?])
}

#[test]
fn shared_layers_options_and_frozen_ones_survive() {
    let mut network = odd().unwrap();
    assert_eq!(network.freeze("shared*"), 1);
    let mut again = again(&network);
    assert_eq!(texts(&again), texts(&network));
    assert_eq!((again.input_names(), again.output_names()), (network.input_names(), network.output_names()));
    // what freeze took, unfreeze gives back; what the layer says of itself stays
    assert_eq!((again.unfreeze("*"), network.unfreeze("*")), (10, 10));
    assert_eq!(texts(&again), texts(&network));
    assert!(!texts(&network)[0].contains("parameter \"embedding.weight\""));
}

#[test]
fn a_lambda_is_named() {
    let x = Input::torch("x", [3]);
    let square: Symbol = Lambda::new(|g, x| g.mul(x[0], x[0])).name("square").call(&x).unwrap();
    let error = refused(Network::new("code", &x, &square).unwrap().to_json());
    assert!(error.contains("\"square\"") && error.contains("code"), "{error}");
}

#[test]
fn errors_name_the_place() {
    let json = odd().unwrap().to_json().unwrap();
    let changed = |from: &str, to: &str| {
        assert!(json.contains(from), "{from} in {json}");
        refused(Network::from_json(&json.replacen(from, to, 1)))
    };
    for (from, to, parts) in [
        ("\"version\":1", "\"version\":2", ["version", "reads 1"]),
        ("\"version\":1", "\"version\":\"1\"", ["version", "no number"]),
        ("outrigger.network", "onnx", ["format", "onnx"]),
        ("\"form\":\"torch\"", "\"form\":\"jax\"", ["architecture", "jax"]),
        ("\"kind\":\"conv2d\"", "\"kind\":\"conv4d\"", ["layers[0]", "conv4d"]),
        ("\"kind\":\"conv2d\"", "\"kind\":\"conv2d\",\"colour\":1", ["layers[0]", "colour"]),
        ("\"kind\":\"conv2d\"", "\"kind\":\"lambda\"", ["layers[0]", "Lambda"]),
        ("\"filters\":4", "\"filters\":-4", ["layers[0]", "-4"]),
        ("\"filters\":4", "\"filters\":4000000000", ["layers[0]", "4000000000"]),
        ("\"filters\":4", "\"filters\":0", ["calls[1]", "0"]),
        ("\"size\":[3,1]", "\"size\":[3,100000000]", ["calls[1]", "100000000"]),
        ("\"shape\":[3,8,8]", "\"shape\":[3,8]", ["calls[1]", "[3, 8]"]),
        ("\"shape\":[3,8,8]", "\"shape\":[268435456,268435456,8]", ["calls[0]", "elements"]),
        ("\"operands\":[0]", "\"operands\":[9]", ["calls[1]", "calls[9]"]),
        ("\"operands\":[0]", "\"operands\":[1]", ["calls[1]", "calls[1]"]),
        ("\"operands\":[0]", "\"operands\":[]", ["calls[1]", "at least one"]),
        (
            "\"layer\":{\"listed\":true,\"name\":\"conv2d\"",
            "\"layer\":{\"listed\":true,\"name\":\"conv3d\"",
            ["calls[1]", "did you mean \"conv2d\""],
        ),
        ("\"inputs\":[", "\"inputs\":[77,", ["inputs[0]", "calls[77]"]),
        ("\"frozen\":[]", "\"frozen\":[\"head\"]", ["frozen[0]", "head"]),
    ] {
        let error = changed(from, to);
        assert!(parts.iter().all(|part| error.contains(part)), "{to}: {error}");
    }
    for text in ["", "[]", "null", "{\"class_name\": \"Functional\"}", "{\"format\": 3}", "{\"a\": \"\\ud800\"}"] {
        refused(Network::from_json(text));
    }
    // deeper than any stack
    refused(Network::from_json(&format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000))));
}

/// Long chains of modules and of calls, as no one writes them by hand, take no stack.
#[test]
fn a_long_chain_is_read() {
    let modules: Vec<String> =
        (0..50_000).map(|at| format!("{{\"module\":{{\"class\":\"M\",\"operand\":{at}}}}}")).collect();
    let json = format!(
        "{{\"format\":\"outrigger.network\",\"version\":1,\"name\":\"long\",\"form\":\"torch\",\"layers\":[],\"frozen\":[],\
         \"calls\":[{{\"input\":{{\"name\":\"x\",\"dtype\":\"F32\",\"shape\":[2]}}}},{}],\"inputs\":[0],\"outputs\":[50000]}}",
        modules.join(",")
    );
    let network = Network::from_json(&json).unwrap();
    assert_eq!(network.output_names(), ["x"]);
    assert_eq!(network.summary().unwrap().rows().len(), 50_000);
    assert_eq!(network.summary_as(Form::Keras).unwrap().rows().len(), 1);
}

/// Every byte of a text changed in several ways, and every beginning of it: an error or a network, and neither a panic nor
/// memory without bounds.
#[test]
fn no_changed_text_is_worse_than_an_error() {
    let json = odd().unwrap().to_json().unwrap();
    for end in (0..json.len()).step_by(7) {
        refused(Network::from_json(&json[..end]));
    }
    let bytes = json.as_bytes();
    for (at, replacement) in (0..bytes.len()).flat_map(|at| [b'9', b'0', b'-', b'"', b'e'].map(|new| (at, new))) {
        if !bytes[at].is_ascii_digit() && at % 5 != 0 {
            continue;
        }
        let mut changed = bytes.to_vec();
        changed[at] = replacement;
        if let Ok(network) = Network::from_json(std::str::from_utf8(&changed).unwrap()) {
            let _ = network.graph(1, outrigger::nn::Mode::Train);
        }
    }
    // each number blown up
    for at in (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit() && !bytes[at - 1].is_ascii_digit()) {
        for number in ["268435456", "18446744073709551615", "1e300", "65536"] {
            let end = (at..bytes.len()).find(|&end| !bytes[end].is_ascii_digit()).unwrap();
            let changed = format!("{}{number}{}", &json[..at], &json[end..]);
            if let Ok(network) = Network::from_json(&changed) {
                let _ = network.graph(1, outrigger::nn::Mode::Train);
            }
        }
    }
}
