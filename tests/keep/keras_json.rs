//! Architectures that Keras 3 wrote.

use outrigger::models::resnet_cifar;
use outrigger::nn::{Form, Mode, Network};
use serde_json::{Value, json};

use crate::{refused, shared, texts};

#[test]
fn kerass_file_of_the_seeds_network_is_our_network() {
    let Some(path) = shared("golden/keras_resnet_adam.json") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let network = Network::from_keras_json(&text).unwrap();
    assert_eq!(network.name(), "keras_residual");
    let ours = resnet_cifar([2, 2, 2]).form(Form::Keras).softmax(true).network().unwrap();
    // the two inputs have names of their own
    let theirs = texts(&network.named(ours.name())).map(|text| text.replace("input_layer", "images"));
    assert_eq!(theirs, texts(&ours));
    // and ours reads what is made of it
    let network = Network::from_keras_json(&text).unwrap();
    assert_eq!(texts(&Network::from_json(&network.to_json().unwrap()).unwrap()), texts(&network));

    for (from, to, parts) in [
        ("\"dilation_rate\": [1, 1]", "\"dilation_rate\": [1]", ["\"conv2d\" (Conv2D)", "dilation_rate"]),
        ("\"class_name\": \"Conv2D\"", "\"class_name\": \"Conv5D\"", ["\"conv2d\"", "Conv5D"]),
        ("\"data_format\": \"channels_last\"", "\"data_format\": \"channels_first\"", ["\"conv2d\"", "channels_first"]),
        ("\"activation\": \"relu\"", "\"activation\": \"my_function\"", ["\"activation\"", "my_function"]),
        (
            "\"kernel_constraint\": null",
            "\"kernel_constraint\": {\"class_name\": \"MaxNorm\"}",
            ["\"conv2d\"", "MaxNorm"],
        ),
        ("\"GlorotUniform\"", "\"Magic\"", ["\"conv2d\"", "Magic"]),
        ("[\"conv2d\", 0, 0]", "[\"conv2d_99\", 0, 0]", ["conv2d_99", "not there"]),
        ("[\"batch_normalization\", 0, 0]", "[\"activation\", 0, 0]", ["\"activation\"", "itself"]),
        ("\"padding\": \"same\"", "\"padding\": \"sane\"", ["\"conv2d\"", "sane"]),
        ("\"filters\": 16", "\"filters\": 99999999999", ["\"conv2d\"", "99999999999"]),
        ("[null, 32, 32, 3]", "[null, null, null, 3]", ["\"input_layer\"", "must be known"]),
        ("\"axis\": -1", "\"axis\": 1", ["\"batch_normalization\"", "axis"]),
    ] {
        assert!(text.contains(from), "{from}");
        let error = refused(Network::from_keras_json(&text.replacen(from, to, 1)));
        assert!(parts.iter().all(|part| error.contains(part)), "{to}: {error}");
    }
    for end in (0..text.len()).step_by(997) {
        refused(Network::from_keras_json(&text[..end]));
    }
}

/// A sequential model of layers with these classes and options.
fn sequential(shape: Value, layers: &[(&str, Value)]) -> String {
    let mut all = vec![json!({"class_name": "InputLayer", "config": {"name": "x", "batch_shape": shape}})];
    for (at, (class, config)) in layers.iter().enumerate() {
        let mut config = config.clone();
        config["name"] = json!(format!("layer{at}"));
        all.push(json!({"class_name": class, "config": config}));
    }
    json!({"class_name": "Sequential", "config": {"name": "s", "layers": all}}).to_string()
}

/// Shapes as Keras's documentation gives them for these options.
#[test]
fn layers_of_keras_have_kerass_shapes() {
    let image = json!([null, 9, 8, 4]);
    let sequence = json!([null, 10, 4]);
    for (shape, class, config, expected) in [
        (
            &image,
            "Conv2D",
            json!({"filters": 6, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}),
            vec![5, 4, 6],
        ),
        (&image, "DepthwiseConv2D", json!({"kernel_size": 3, "depth_multiplier": 2}), vec![7, 6, 8]),
        (&image, "Conv2DTranspose", json!({"filters": 3, "kernel_size": 2, "strides": 2}), vec![18, 16, 3]),
        (&image, "MaxPooling2D", json!({"pool_size": [2, 2], "strides": null, "padding": "same"}), vec![5, 4, 4]),
        (&image, "AveragePooling2D", json!({"pool_size": [3, 2], "strides": [1, 2]}), vec![7, 4, 4]),
        (&image, "GlobalAveragePooling2D", json!({"keepdims": false}), vec![4]),
        (&image, "GlobalMaxPooling2D", json!({}), vec![4]),
        (&image, "ZeroPadding2D", json!({"padding": [[1, 0], [2, 3]]}), vec![10, 13, 4]),
        (&image, "UpSampling2D", json!({"size": [2, 3], "interpolation": "bilinear"}), vec![18, 24, 4]),
        (&image, "Flatten", json!({"data_format": "channels_last"}), vec![288]),
        (&image, "Reshape", json!({"target_shape": [72, 4]}), vec![72, 4]),
        (&image, "Permute", json!({"dims": [3, 1, 2]}), vec![4, 9, 8]),
        (&image, "BatchNormalization", json!({"axis": [3], "momentum": 0.9, "epsilon": 1e-4}), vec![9, 8, 4]),
        (&image, "GroupNormalization", json!({"groups": 2, "axis": -1}), vec![9, 8, 4]),
        (&image, "LayerNormalization", json!({"axis": [3]}), vec![9, 8, 4]),
        (&image, "Dropout", json!({"rate": 0.5, "seed": 3, "noise_shape": null}), vec![9, 8, 4]),
        (
            &image,
            "Dense",
            json!({"units": 5, "activation": "relu", "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.01}}}),
            vec![9, 8, 5],
        ),
        (&image, "ReLU", json!({"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}), vec![9, 8, 4]),
        (&image, "LeakyReLU", json!({"negative_slope": 0.1}), vec![9, 8, 4]),
        (&image, "ELU", json!({"alpha": 1.0}), vec![9, 8, 4]),
        (
            &image,
            "PReLU",
            json!({"shared_axes": [1, 2], "alpha_initializer": {"class_name": "Zeros", "config": {}}}),
            vec![9, 8, 4],
        ),
        (&image, "Softmax", json!({"axis": [1]}), vec![9, 8, 4]),
        (&image, "Activation", json!({"activation": "linear"}), vec![9, 8, 4]),
        (&image, "Reshape", json!({"target_shape": [-1, 6]}), vec![48, 6]),
        (&image, "BatchNormalization", json!({"scale": false, "axis": [-1]}), vec![9, 8, 4]),
        (&image, "GlobalAveragePooling2D", json!({"keepdims": true}), vec![1, 1, 4]),
        (
            &sequence,
            "Conv1D",
            json!({"filters": 3, "kernel_size": [3], "strides": [1], "padding": "causal", "dilation_rate": [2]}),
            vec![10, 3],
        ),
        (&sequence, "MaxPooling1D", json!({"pool_size": [2], "strides": [2]}), vec![5, 4]),
        (&sequence, "AveragePooling1D", json!({"pool_size": 3, "strides": 1, "padding": "same"}), vec![10, 4]),
    ] {
        let network = Network::from_keras_json(&sequential(shape.clone(), &[(class, config)])).unwrap();
        assert_eq!(network.outputs()[0].shape(), expected, "{class}");
        network.graph(2, Mode::Train).unwrap();
    }
}

#[test]
fn options_without_a_meaning_here_are_refused() {
    for (class, config, part) in [
        ("Dense", json!({"units": 2, "colour": 1}), "colour"),
        ("Dense", json!({"units": 2, "activity_regularizer": {"class_name": "L2"}}), "activity_regularizer"),
        ("Dense", json!({"units": "two"}), "units"),
        ("Dense", json!({}), "units"),
        ("ReLU", json!({"threshold": 1.0}), "threshold"),
        ("ReLU", json!({"max_value": 4.0}), "max_value"),
        ("BatchNormalization", json!({"renorm": true}), "renorm"),
        ("Softmax", json!({"axis": [1, 2]}), "axis"),
        ("Concatenate", json!({"axis": 0}), "at least two"),
        ("Rescaling", json!({"scale": 0.1}), "Rescaling"),
        ("Add", json!({}), "at least two"),
    ] {
        let error = refused(Network::from_keras_json(&sequential(json!([null, 8]), &[(class, config)])));
        assert!(error.contains(part) && error.contains("layer0"), "{error}");
    }
}

/// A model called twice by one that is called twice, and so on: a short text of a thousand million calls.
#[test]
fn models_within_models_are_as_many_as_their_text_is_long() {
    let tensor = |layer: &str, call: usize| json!({"args": [{"config": {"keras_history": [layer, call, 0]}}]});
    let input = json!({"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [null, 4]}});
    let doubled = |depth: usize| {
        let mut layer = json!({"class_name": "ReLU", "name": "m0", "config": {"name": "m0"}});
        for level in 1..=depth {
            let (inner, name) = (format!("m{}", level - 1), format!("m{level}"));
            layer["inbound_nodes"] = json!([tensor("x", 0), tensor(&inner, 0)]);
            layer = json!({"class_name": "Functional", "name": name, "config": {
                "name": name, "layers": [input, layer], "input_layers": [["x", 0, 0]], "output_layers": [[inner, 1, 0]]}});
        }
        layer.to_string()
    };
    let network = Network::from_keras_json(&doubled(3)).unwrap();
    assert_eq!(network.summary_as(Form::Torch).unwrap().rows().len(), 8);
    let error = refused(Network::from_keras_json(&doubled(28)));
    assert!(error.contains("more calls of layers"), "{error}");
}
