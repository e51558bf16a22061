//! What layers compute, against numbers worked out from their formulas.

use outrigger::prelude::*;

use crate::{close, interpret, output};

fn torch(shape: &[usize]) -> Symbol {
    Input::torch("x", shape)
}
fn keras(shape: &[usize]) -> Symbol {
    Input::keras("x", shape)
}

/// What `y` is for one sample of `x`, in the order of memory: an image's channels last.
fn one(x: &Symbol, y: Result<Symbol, Error>, sample: &[f32], state: &[(&str, &[f32])]) -> Vec<f64> {
    output(&Network::new("layer", x, &y.unwrap()).unwrap(), 1, &[sample], state)
}

#[test]
fn functions_have_their_published_values() {
    let e1 = (-1f64).exp() - 1.0;
    // x = -1 and 1; Φ(1) = 0.841344746…
    for (name, below, above) in [
        ("relu", 0.0, 1.0),
        ("relu6", 0.0, 1.0),
        ("leaky_relu", -0.2, 1.0),
        ("elu", e1, 1.0),
        ("selu", 1.0507009873554805 * 1.6732632423543772 * e1, 1.0507009873554805),
        ("gelu", -0.15865525393145707, 0.8413447460685429),
        ("gelu_tanh", -0.15880800939172324, 0.8411919906082768),
        ("silu", -0.2689414213699951, 0.7310585786300049),
        ("swish", -0.2689414213699951, 0.7310585786300049),
        ("hard_swish", -1.0 / 3.0, 2.0 / 3.0),
        ("hard_sigmoid", 1.0 / 3.0, 2.0 / 3.0),
        ("sigmoid", 0.2689414213699951, 0.7310585786300049),
        ("tanh", -0.7615941559557649, 0.7615941559557649),
        ("softplus", 0.31326168751822286, 1.3132616875182228),
        ("softsign", -0.5, 0.5),
        ("mish", -0.30340146137410895, 0.8650983882673103),
        ("softmax", 0.11920292202211755, 0.8807970779778824),
        ("log_softmax", -2.1269280110429727, -0.12692801104297252),
        ("linear", -1.0, 1.0),
        ("identity", -1.0, 1.0),
    ] {
        let function: Function = name.parse().unwrap();
        for x in [torch(&[2]), keras(&[2])] {
            close(&one(&x, Activation::new(function).call(&x), &[-1.0, 1.0], &[]), &[below, above], name);
        }
        assert_eq!(function.to_string().parse::<Function>().unwrap(), function, "{name}");
    }
    let x = torch(&[3]);
    close(&one(&x, ReLU6::new().call(&x), &[5.0, 6.0, 9.0], &[]), &[5.0, 6.0, 6.0], "relu6");
    close(&one(&x, ELU::new(2.0).call(&x), &[-1.0, 0.0, 2.0], &[]), &[2.0 * e1, 0.0, 2.0], "elu");
    close(&one(&x, LeakyReLU::new(0.1).call(&x), &[-1.0, 0.0, 2.0], &[]), &[-0.1, 0.0, 2.0], "leaky_relu");
}

#[test]
fn softmax_is_over_channels() {
    // two channels, two pixels; channels lie last in memory in both forms
    let expected = [0.5, 0.5, 1.0 / (1.0 + 1f64.exp()), 1.0 / (1.0 + (-1f64).exp())];
    for x in [torch(&[2, 1, 2]), keras(&[1, 2, 2])] {
        close(&one(&x, Softmax::new().call(&x), &[3.0, 3.0, 1.0, 2.0], &[]), &expected, "softmax");
    }
}

#[test]
fn prelu_has_slopes_of_its_own() {
    let x = torch(&[2, 1, 1]);
    let one_slope = PReLU::new().name("p");
    close(&one(&x, one_slope.call(&x), &[-4.0, 2.0], &[]), &[-1.0, 2.0], "PyTorch starts at 0.25");
    let each = PReLU::new().per_channel(true).name("p");
    close(&one(&x, each.call(&x), &[-4.0, -2.0], &[("p.weight", &[0.5, 3.0])]), &[-2.0, -6.0], "per channel");
    let x = keras(&[1, 1, 2]);
    close(&one(&x, PReLU::new().name("p").call(&x), &[-4.0, 2.0], &[]), &[0.0, 2.0], "Keras starts at 0");
}

#[test]
fn convolutions_add_up_products() {
    let x = torch(&[1, 4]);
    let conv = Conv1d::new(1, 2).name("c");
    let state: &[(&str, &[f32])] = &[("c.weight", &[1.0, 10.0]), ("c.bias", &[0.5])];
    close(&one(&x, conv.call(&x), &[1.0, 2.0, 3.0, 4.0], state), &[21.5, 32.5, 43.5], "conv1d");
    let x = keras(&[4, 1]);
    let causal = Conv1D::new(1, 2).padding(Padding1d::Causal).bias(false).name("c");
    let y = one(&x, causal.call(&x), &[1.0, 2.0, 3.0, 4.0], &[("c/kernel", &[1.0, 10.0])]);
    close(&y, &[10.0, 21.0, 32.0, 43.0], "causal");

    // two channels of one pixel; each has two kernels of one tap
    let kernels: &[f32] = &[1.0, 10.0, 100.0, 1000.0];
    let depthwise = DepthwiseConv2d::new(1).multiplier(2).bias(false).name("d");
    for (x, name) in [(torch(&[2, 1, 1]), "d.weight"), (keras(&[1, 1, 2]), "d/kernel")] {
        let y = one(&x, depthwise.call(&x), &[2.0, 3.0], &[(name, kernels)]);
        close(&y, &[2.0, 20.0, 300.0, 3000.0], "depthwise");
    }

    // windows side by side: each pixel times the kernel
    let transposed = ConvTranspose2d::new(1, 2).stride(2).bias(false).name("t");
    let expected = [1.0, 2.0, 2.0, 4.0, 3.0, 4.0, 6.0, 8.0, 3.0, 6.0, 4.0, 8.0, 9.0, 12.0, 12.0, 16.0];
    for (x, name) in [(torch(&[1, 2, 2]), "t.weight"), (keras(&[2, 2, 1]), "t/kernel")] {
        let numbers: &[f32] = &[1.0, 2.0, 3.0, 4.0];
        close(&one(&x, transposed.call(&x), numbers, &[(name, numbers)]), &expected, "transposed");
    }

    let x = keras(&[2, 2, 1]);
    let conv = Conv2D::new(1, 2).name("c").activation(Function::Relu);
    let state: &[(&str, &[f32])] = &[("c/kernel", &[1.0, -1.0, 1.0, -2.0]), ("c/bias", &[0.0])];
    close(&one(&x, conv.call(&x), &[1.0, 2.0, 3.0, 4.0], state), &[0.0], "1 - 2 + 3 - 8 below zero");
}

#[test]
fn affine_maps_and_tables() {
    let x = torch(&[2]);
    let state: &[(&str, &[f32])] = &[("l.weight", &[1.0, 2.0, 3.0, 4.0]), ("l.bias", &[0.5, -0.5])];
    // the weight is [in, out]
    close(&one(&x, Linear::new(2).name("l").call(&x), &[1.0, 10.0], state), &[31.5, 41.5], "linear");
    for (form, name) in [(Form::Torch, "e.weight"), (Form::Keras, "e/embeddings")] {
        let x = Input::typed(form, "x", DType::I32, [3]);
        let y = Embedding::new(2, 2).name("e").call(&x);
        let y = one(&x, y, &[1.0, 0.0, 1.0], &[(name, &[1.0, 2.0, 3.0, 4.0])]);
        close(&y, &[3.0, 4.0, 1.0, 2.0, 3.0, 4.0], "embedding");
    }
}

#[test]
fn norms_take_mean_and_deviation_away() {
    for (x, names, epsilon) in [
        (torch(&[1]), ["n.weight", "n.bias", "n.running_mean", "n.running_var"], 1e-5f32),
        (keras(&[1]), ["n/gamma", "n/beta", "n/moving_mean", "n/moving_variance"], 1e-3),
    ] {
        let y = BatchNorm1d::new().name("n").call(&x).unwrap();
        let network = Network::new("norm", &x, &y).unwrap();
        let state: &[(&str, &[f32])] =
            &[(names[0], &[2.0]), (names[1], &[1.0]), (names[2], &[1.0]), (names[3], &[3.0])];
        let expected = 2.0 * 4.0 / (3.0 + f64::from(epsilon)).sqrt() + 1.0;
        close(&output(&network, 1, &[&[5.0]], state), &[expected], "running statistics");
        // mean 2, variance 4; the running mean goes towards it by a tenth, or by a hundredth
        let graph = network.graph(2, Mode::Train).unwrap();
        let run = interpret(&graph, &[&[0.0, 4.0]], &[]);
        let unit = 2.0 / (4.0 + f64::from(epsilon)).sqrt();
        close(&run.output("n").unwrap().data, &[-unit, unit], "batch statistics");
        let share = f64::from(if epsilon == 1e-5 { 0.1f32 } else { 0.01 });
        close(&run.updates[names[2]].data, &[2.0 * share], "running mean");
    }
    let x = torch(&[4]);
    let unit = |difference: f64, variance: f64| difference / (variance + f64::from(1e-5f32)).sqrt();
    let expected = [-1.5, -0.5, 0.5, 1.5].map(|d| unit(d, 1.25));
    close(&one(&x, LayerNorm::new(1).call(&x), &[1.0, 2.0, 3.0, 4.0], &[]), &expected, "layer norm");
    let expected = [unit(-1.0, 1.0), unit(1.0, 1.0), unit(-2.0, 4.0), unit(2.0, 4.0)];
    close(&one(&x, GroupNorm::new(2).call(&x), &[0.0, 2.0, 10.0, 14.0], &[]), &expected, "group norm");
    // two channels of two pixels, channels last in memory
    let x = torch(&[2, 1, 2]);
    let expected = [unit(-1.0, 1.0), unit(-2.0, 4.0), unit(1.0, 1.0), unit(2.0, 4.0)];
    close(&one(&x, InstanceNorm2d::new().call(&x), &[0.0, 10.0, 2.0, 14.0], &[]), &expected, "instance norm");
    // the axes of PyTorch's shape: the two pixels of a channel
    let scaled = LayerNorm::new(1).name("n").call(&x);
    let state: &[(&str, &[f32])] = &[("n.weight", &[1.0, 3.0])];
    let expected = [unit(-1.0, 1.0), 3.0 * unit(1.0, 1.0), unit(-2.0, 4.0), 3.0 * unit(2.0, 4.0)];
    // what it makes has the shape's own order
    let flat = Flatten::new().call(&scaled.unwrap());
    close(&one(&x, flat, &[0.0, 10.0, 2.0, 14.0], state), &expected, "layer norm over columns");
}

#[test]
fn pools_look_at_windows() {
    let x = torch(&[1, 4]);
    close(&one(&x, MaxPool1d::new(2).call(&x), &[1.0, 3.0, 2.0, 5.0], &[]), &[3.0, 5.0], "max 1d");
    close(&one(&x, AvgPool1d::new(2).stride(1).call(&x), &[1.0, 3.0, 2.0, 5.0], &[]), &[2.0, 2.5, 3.5], "mean 1d");
    let x = torch(&[1, 2, 2]);
    close(&one(&x, MaxPool2d::new(2).call(&x), &[-1.0, -3.0, -2.0, -5.0], &[]), &[-1.0], "max");
    close(&one(&x, GlobalAvgPool2d::new().call(&x), &[1.0, 3.0, 2.0, 6.0], &[]), &[3.0], "global mean");
    close(&one(&x, GlobalMaxPool2d::new().call(&x), &[1.0, 3.0, 2.0, 6.0], &[]), &[6.0], "global max");
    // a padded zero counts in PyTorch and does not in Keras
    let x = torch(&[1, 1, 1]);
    close(&one(&x, AvgPool2d::new(3).padding(1).call(&x), &[9.0], &[]), &[1.0], "padding counts");
    let x = keras(&[1, 1, 1]);
    close(&one(&x, AvgPool2d::new(3).padding(Padding::Same).call(&x), &[9.0], &[]), &[9.0], "padding does not");
    // PyTorch's windows overlap where sizes do not divide: 0..2 and 1..3
    let x = torch(&[1, 1, 3]);
    close(&one(&x, AdaptiveAvgPool2d::new([1, 2]).call(&x), &[1.0, 2.0, 6.0], &[]), &[1.5, 4.0], "adaptive");
}

#[test]
fn movements_follow_the_shape_of_the_form() {
    // channel 0 is 1 2, channel 1 is 3 4; in memory channels lie last
    let image: &[f32] = &[1.0, 3.0, 2.0, 4.0];
    let x = torch(&[2, 1, 2]);
    close(&one(&x, Flatten::new().call(&x), image, &[]), &[1.0, 2.0, 3.0, 4.0], "PyTorch's order");
    close(&one(&x, Reshape::new([4]).call(&x), image, &[]), &[1.0, 2.0, 3.0, 4.0], "reshape");
    close(&one(&x, Permute::new([2, 3, 1]).call(&x), image, &[]), &[1.0, 3.0, 2.0, 4.0], "permute");
    let x = keras(&[1, 2, 2]);
    close(&one(&x, Flatten::new().call(&x), image, &[]), &[1.0, 3.0, 2.0, 4.0], "Keras's order");
    let x = keras(&[1, 1, 1]);
    let sides = ZeroPad2d::sides([[0, 1], [1, 0]]).call(&x);
    close(&one(&x, sides, &[7.0], &[]), &[0.0, 7.0, 0.0, 0.0], "borders");
    let x = torch(&[1, 1, 2]);
    let nearest = Upsample::new([2, 2]).call(&x);
    close(&one(&x, nearest, &[1.0, 2.0], &[]), &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0], "nearest");
    let linear = Upsample::new([1, 2]).interpolation(Interpolation::Bilinear).call(&x);
    close(&one(&x, linear, &[0.0, 4.0], &[]), &[0.0, 1.0, 3.0, 4.0], "bilinear");
}

#[test]
fn merges_join_operands() {
    let (a, b) = (Input::torch("a", [2]), Input::torch("b", [2]));
    let pair = [&a, &b];
    for (y, expected) in [
        (Add::new().call(pair), [4.0, 9.0]),
        (Subtract::new().call(pair), [-2.0, -1.0]),
        (Multiply::new().call(pair), [3.0, 20.0]),
        (Average::new().call(pair), [2.0, 4.5]),
        (Maximum::new().call(pair), [3.0, 5.0]),
        (Lambda::new(|g, x| g.sub(x[1], x[0])).call(pair), [2.0, 1.0]),
    ] {
        let network = Network::new("merge", pair, &y.unwrap()).unwrap();
        close(&output(&network, 1, &[&[1.0, 4.0], &[3.0, 5.0]], &[]), &expected, network.output_names()[0]);
    }
    let (a, b) = (Input::torch("a", [1, 1, 2]), Input::torch("b", [2, 1, 2]));
    let network = Network::new("concat", [&a, &b], &Concatenate::new().call([&a, &b]).unwrap()).unwrap();
    let y = output(&network, 1, &[&[1.0, 2.0], &[3.0, 5.0, 4.0, 6.0]], &[]);
    close(&y, &[1.0, 3.0, 5.0, 2.0, 4.0, 6.0], "channels side by side");
}

/// Two layers zero different elements, another run of the same step the same ones.
#[test]
fn dropouts_differ_and_repeat() {
    let x = torch(&[64]);
    let (a, b) = (Dropout::new(0.5).call(&x).unwrap(), Dropout::new(0.5).call(&x).unwrap());
    let graph = Network::new("dropouts", &x, [&a, &b]).unwrap().graph(4, Mode::Train).unwrap();
    let ones = vec![1.0; 256];
    let run = || {
        let run = interpret(&graph, &[&ones], &[]);
        graph.outputs().iter().map(|(name, _)| run.output(name).unwrap().data.clone()).collect::<Vec<_>>()
    };
    let masks = run();
    assert!(masks.iter().flatten().all(|&x| x == 0.0 || x == 2.0));
    let kept = |mask: &[f64]| mask.iter().filter(|&&x| x > 0.0).count();
    assert!(masks.iter().all(|mask| (96..160).contains(&kept(mask))), "half of 256, four deviations each way");
    assert_ne!(masks[0], masks[1]);
    assert_eq!(masks, run());
    let quiet = Network::new("dropout", &x, &a).unwrap();
    close(&output(&quiet, 4, &[&ones], &[]), &[1.0; 256], "evaluation");
}

#[test]
fn regularised_weights_add_a_penalty() {
    let x = keras(&[2]);
    let init = Init::Constant(-0.5);
    let y = Dense::new(3).weight_init(init).l1(0.1).l2(0.2).call(&x).unwrap();
    let y = Dense::new(1).weight_init(init).l2(1.0).trainable(false).call(&y).unwrap();
    let network = Network::new("regularised", &x, &y).unwrap();
    let run = interpret(&network.graph(1, Mode::Train).unwrap(), &[&[1.0, 1.0]], &[]);
    let expected = f64::from(0.1f32) * 3.0 + f64::from(0.2f32) * 1.5;
    close(&run.output(PENALTY).unwrap().data, &[expected], "six weights of a half");
    assert!(network.graph(1, Mode::Evaluate).unwrap().output(PENALTY).is_err());
}

#[test]
fn normalisations_need_no_scale_or_shift() {
    let x = torch(&[2, 1, 2]);
    let sample: &[f32] = &[1.0, 5.0, 3.0, 9.0];
    // channel 0 is 1 and 3, channel 1 is 5 and 9: each pixel is one deviation from the mean
    let bare = GroupNorm::new(2).affine(false).epsilon(0.0);
    close(&one(&x, bare.call(&x), sample, &[]), &[-1.0, -1.0, 1.0, 1.0], "group norm");
    let bare = LayerNorm::new(2).affine(false).epsilon(0.0);
    close(&one(&x, bare.call(&x), sample, &[]), &[-1.0, 1.0, -1.0, 1.0], "layer norm");
    let scaled = GroupNorm::new(2).center(false).epsilon(0.0).name("g");
    close(&one(&x, scaled.call(&x), sample, &[("g.weight", &[2.0, 3.0])]), &[-2.0, -3.0, 2.0, 3.0], "scale");
    let statistics: &[(&str, &[f32])] = &[("b.running_mean", &[1.0, 5.0]), ("b.running_var", &[4.0, 1.0])];
    let bare = BatchNorm2d::new().affine(false).epsilon(0.0).name("b");
    close(&one(&x, bare.call(&x), sample, statistics), &[0.0, 0.0, 1.0, 4.0], "batch norm");
    let network = Network::new("n", &x, &bare.call(&x).unwrap()).unwrap();
    let trained = network.graph(2, Mode::Train).unwrap();
    let tensors: Vec<&str> = trained.states().map(|id| trained.get(id).unwrap().name.as_str()).collect();
    assert_eq!(tensors, ["b.running_mean", "b.running_var"]);
    assert_eq!(
        interpret(&trained, &[&[1.0, 5.0, 3.0, 9.0, 1.0, 5.0, 3.0, 9.0]], &[]).output("b").unwrap().data[..4],
        [-1.0, -1.0, 1.0, 1.0]
    );
}
