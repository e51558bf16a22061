//! Shapes and names of every layer in both forms.

use outrigger::prelude::*;

/// A layer called on a tensor of `shape`: the shape it makes, and its tensors with their shapes.
fn describe(module: &dyn Module, input: Symbol) -> (Vec<usize>, String) {
    let y = module.call(&input).unwrap();
    let graph = Network::new("n", &input, &y).unwrap().graph(2, Mode::Train).unwrap();
    let states = graph.states().map(|id| {
        let node = graph.get(id).unwrap();
        let name = node.name.split(['.', '/']).next_back().unwrap();
        format!("{name}{}", graph.value_type(id.result(0)).unwrap().shape)
    });
    (y.shape().to_vec(), states.collect::<Vec<_>>().join(" "))
}

/// Module, PyTorch's input, output and tensors, Keras's.
type Row = (
    Box<dyn Module>,
    &'static [usize],
    &'static [usize],
    &'static str,
    &'static [usize],
    &'static [usize],
    &'static str,
);

fn row(
    module: impl Module + 'static,
    torch: (&'static [usize], &'static [usize], &'static str),
    keras: (&'static [usize], &'static [usize], &'static str),
) -> Row {
    (Box::new(module), torch.0, torch.1, torch.2, keras.0, keras.1, keras.2)
}

#[test]
fn layers_have_the_shapes_and_tensors_of_both_frameworks() {
    const CHW: &[usize] = &[4, 8, 6];
    const HWC: &[usize] = &[8, 6, 4];
    let rows = [
        row(
            Conv2d::new(6, 3).stride(2).padding(1).groups(2),
            (CHW, &[6, 4, 3], "weight[3,3,2,6] bias[6]"),
            (HWC, &[4, 3, 6], "kernel[3,3,2,6] bias[6]"),
        ),
        row(
            Conv2d::new(6, 3).padding(Padding::Same).dilation(2).bias(false),
            (CHW, &[6, 8, 6], "weight[3,3,4,6]"),
            (HWC, &[8, 6, 6], "kernel[3,3,4,6]"),
        ),
        row(
            Conv1d::new(5, 3).stride(2),
            (&[2, 9], &[5, 4], "weight[3,2,5] bias[5]"),
            (&[9, 2], &[4, 5], "kernel[3,2,5] bias[5]"),
        ),
        row(
            DepthwiseConv2d::new(3).multiplier(2).padding(1),
            (CHW, &[8, 8, 6], "weight[3,3,1,8] bias[8]"),
            (HWC, &[8, 6, 8], "kernel[3,3,4,2] bias[8]"),
        ),
        // a window smaller than the stride: Keras adds what is missing of the last one
        row(
            ConvTranspose2d::new(5, 2).stride(3),
            (CHW, &[5, 23, 17], "weight[2,2,5,4] bias[5]"),
            (HWC, &[24, 18, 5], "kernel[2,2,5,4] bias[5]"),
        ),
        row(
            ConvTranspose2d::new(6, 3).stride(2).padding(1).output_padding(1).groups(2),
            (CHW, &[6, 16, 12], "weight[3,3,3,4] bias[6]"),
            (HWC, &[16, 12, 6], "kernel[3,3,3,4] bias[6]"),
        ),
        row(Linear::new(3), (&[5], &[3], "weight[5,3] bias[3]"), (&[7, 5], &[7, 3], "kernel[5,3] bias[3]")),
        row(
            BatchNorm2d::new(),
            (CHW, CHW, "weight[4] bias[4] running_mean[4] running_var[4]"),
            (HWC, HWC, "gamma[4] beta[4] moving_mean[4] moving_variance[4]"),
        ),
        row(
            BatchNorm1d::new(),
            (&[4, 9], &[4, 9], "weight[4] bias[4] running_mean[4] running_var[4]"),
            (&[4], &[4], "gamma[4] beta[4] moving_mean[4] moving_variance[4]"),
        ),
        row(LayerNorm::new(3), (CHW, CHW, "weight[4,8,6] bias[4,8,6]"), (HWC, HWC, "gamma[8,6,4] beta[8,6,4]")),
        row(GroupNorm::new(2), (CHW, CHW, "weight[4] bias[4]"), (HWC, HWC, "gamma[4] beta[4]")),
        row(InstanceNorm2d::new().affine(true), (CHW, CHW, "weight[4] bias[4]"), (HWC, HWC, "gamma[4] beta[4]")),
        row(PReLU::new(), (CHW, CHW, "weight[1]"), (HWC, HWC, "alpha[8,6,4]")),
        row(PReLU::new().per_channel(true), (CHW, CHW, "weight[4]"), (HWC, HWC, "alpha[1,1,4]")),
        row(GELU::new(), (CHW, CHW, ""), (HWC, HWC, "")),
        row(MaxPool2d::new(3).stride(2).padding(1), (CHW, &[4, 4, 3], ""), (HWC, &[4, 3, 4], "")),
        row(AvgPool2d::new([2, 3]), (CHW, &[4, 4, 2], ""), (HWC, &[4, 2, 4], "")),
        row(MaxPool1d::new(2), (&[4, 9], &[4, 4], ""), (&[9, 4], &[4, 4], "")),
        row(AvgPool1d::new(3).padding(1), (&[4, 9], &[4, 3], ""), (&[9, 4], &[3, 4], "")),
        row(GlobalAvgPool2d::new(), (CHW, &[4], ""), (HWC, &[4], "")),
        row(GlobalMaxPool2d::new(), (CHW, &[4], ""), (HWC, &[4], "")),
        row(AdaptiveAvgPool2d::new([3, 4]), (CHW, &[4, 3, 4], ""), (HWC, &[3, 4, 4], "")),
        row(Flatten::new(), (CHW, &[192], ""), (HWC, &[192], "")),
        row(Reshape::new([2, 96]), (CHW, &[2, 96], ""), (HWC, &[2, 96], "")),
        row(Permute::new([3, 1, 2]), (CHW, &[6, 4, 8], ""), (HWC, &[4, 8, 6], "")),
        row(ZeroPad2d::sides([[1, 2], [0, 3]]), (CHW, &[4, 11, 9], ""), (HWC, &[11, 9, 4], "")),
        row(Upsample::new([2, 3]), (CHW, &[4, 16, 18], ""), (HWC, &[16, 18, 4], "")),
        row(Dropout::new(0.1), (CHW, CHW, "step[]"), (HWC, HWC, "step[]")),
    ];
    for (module, input, output, tensors, keras_input, keras_output, keras_tensors) in rows {
        let (shape, found) = describe(&*module, Input::torch("x", input));
        assert_eq!((&shape[..], found.as_str()), (output, tensors), "PyTorch's {}", module.class());
        let (shape, found) = describe(&*module, Input::keras("x", keras_input));
        assert_eq!((&shape[..], found.as_str()), (keras_output, keras_tensors), "Keras's {}", module.class());
    }
}

/// Keras 3 numbers layers of a class in the order of their calls, and writes `ReLU` as `re_lu`.
#[test]
fn keras_names_layers_by_their_class() {
    let x = Input::keras("x", [8, 8, 3]);
    let mut y = x.clone();
    for module in [
        Box::new(Conv2D::new(4, 3)) as Box<dyn Module>,
        Box::new(Activation::new(Function::Relu)),
        Box::new(ReLU::new()),
        Box::new(SiLU::new()),
        Box::new(MaxPooling2D::new(2)),
        Box::new(Conv2D::new(4, 3)),
        Box::new(LayerNormalization::new(1)),
        Box::new(GlobalAveragePooling2D::new()),
        Box::new(Dense::new(2)),
    ] {
        y = module.call(&y).unwrap();
    }
    let names = [
        "conv2d",
        "activation",
        "re_lu",
        "activation_1",
        "max_pooling2d",
        "conv2d_1",
        "layer_normalization",
        "global_average_pooling2d",
        "dense",
    ];
    let text = Network::new("n", &x, &y).unwrap().to_string();
    let found: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(found, names);
}

/// PyTorch's `kaiming_uniform(a=√5)` and Keras's `glorot_uniform` for the fans that the frameworks count.
#[test]
fn first_values_are_the_frameworks_own() {
    let bound = |module: &dyn Module, input: Symbol| {
        let y = module.call(&input).unwrap();
        let graph = Network::new("n", &input, &y).unwrap().graph(1, Mode::Train).unwrap();
        let text = graph.to_string();
        let found = text.split("Uniform(").nth(1).unwrap_or_else(|| panic!("{text}")).split(')').next().unwrap();
        found.parse::<f64>().unwrap()
    };
    for (module, torch, keras) in [
        // [fan_in of PyTorch], [fan_in, fan_out of Keras]
        (Box::new(Conv2d::new(8, 3).groups(2)) as Box<dyn Module>, 18, [18, 72]),
        (Box::new(DepthwiseConv2d::new(3).multiplier(2)), 9, [36, 18]),
        (Box::new(ConvTranspose2d::new(8, 3)), 72, [72, 36]),
    ] {
        let (x, k) = (Input::torch("x", [4, 8, 8]), Input::keras("x", [8, 8, 4]));
        let expected = 1.0 / f64::from(torch).sqrt();
        assert!((bound(&*module, x) - expected).abs() < 1e-6, "{torch}");
        let expected = (6.0 / f64::from(keras[0] + keras[1])).sqrt();
        assert!((bound(&*module, k) - expected).abs() < 1e-6, "{keras:?}");
    }
    let he = Conv2d::new(8, 3).weight_init(Initializer::xavier_uniform(1.0));
    let expected = (6.0 / (36.0 + 72.0f64)).sqrt();
    assert!((bound(&he, Input::torch("x", [4, 8, 8])) - expected).abs() < 1e-6);
}

/// The error says the place, the layer's path, both shapes, and what would fit.
#[test]
fn wrong_shapes_are_explained() {
    let image = Input::torch("x", [3, 8, 8]);
    let features = Input::torch("f", [10]);
    let keras = Input::keras("k", [8, 8, 3]);
    for (error, parts) in [
        (Conv2d::new(4, 3).call(&features).err(), &["Conv2d", "[10]", "[channels, height, width]"][..]),
        (Conv2d::new(4, 3).call(&Input::keras("k", [8])).err(), &["Conv2D", "[height, width, channels]"]),
        (Conv2d::new(4, 9).call(&image).err(), &["[3, 8, 8]", "9"]),
        (Conv2d::new(4, 3).groups(2).call(&image).err(), &["[3, 8, 8]", "group"]),
        (Conv1d::new(4, 3).call(&image).err(), &["Conv1d", "[channels, length]"]),
        (ConvTranspose2d::new(4, 3).output_padding(1).call(&image).err(), &["output padding 1", "stride 1"]),
        (BatchNorm2d::new().call(&features).err(), &["[channels, height, width]"]),
        (BatchNorm1d::new().call(&image).err(), &["[channels] or a sequence"]),
        (LayerNorm::new(4).call(&image).err(), &["1 to 3 axes", "asked for 4"]),
        (GroupNorm::new(2).call(&image).err(), &["3", "multiple of the 2 groups"]),
        (MaxPool2d::new(9).call(&image).err(), &["9", "8"]),
        (GlobalAvgPool2d::new().call(&features).err(), &["got 1 axes"]),
        (Reshape::new([5, 5]).call(&image).err(), &["192", "25"]),
        (Permute::new([1, 2]).call(&image).err(), &["from 1 to 3", "[1, 2]"]),
        (Embedding::new(5, 2).call(&features).err(), &["i32"]),
        (Add::new().call([&image, &features]).err(), &["[3, 8, 8], [10]"]),
        (Add::new().call(&image).err(), &["at least two tensors, got 1"]),
        (Subtract::new().call([&image, &image, &image]).err(), &["got 3"]),
        (Concatenate::new().call([&image, &Input::torch("y", [3, 4, 4])]).err(), &["[3, 8, 8], [3, 4, 4]"]),
        (ReLU::new().call([&image, &image]).err(), &["takes one input, got 2"]),
        (Dropout::new(1.0).call(&image).err(), &["at least 0 and below 1"]),
        (Add::new().call([&image, &keras]).err(), &["one form"]),
    ] {
        let error = error.unwrap();
        assert!(matches!(error, Error::Layer { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("tests/nn/forms.rs:") && parts.iter().all(|part| text.contains(part)),
            "{text} {parts:?}"
        );
    }
}
