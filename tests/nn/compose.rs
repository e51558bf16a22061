//! Networks of networks: lists in structs, structs among called layers, shared weights, several ends.

use outrigger::prelude::*;

use crate::{close, interpret, output};

module! {
    struct Gate { inner: Sequential, scale: Option<Linear> }
}

impl Module for Gate {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let y = self.inner.call(x)?;
        match &self.scale {
            Some(scale) => scale.call(&y)?.mul(x),
            None => y.mul(x),
        }
    }
}

fn gate(scale: bool) -> Gate {
    let inner = Sequential::new().add(Linear::new(4)).named("act", Sigmoid::new());
    Gate { inner, scale: scale.then(|| Linear::new(4)) }
}

fn parameters(network: &Network) -> Vec<String> {
    let graph = network.graph(1, Mode::Train).unwrap();
    graph.parameters().map(|id| graph.get(id).unwrap().name.clone()).collect()
}

#[test]
fn modules_are_named_by_their_fields_or_by_their_class() {
    let x = Input::torch("x", [4]);
    // the module is the network
    let whole = Network::of(&gate(true), x.clone()).unwrap();
    assert_eq!(parameters(&whole), ["inner.0.weight", "inner.0.bias", "scale.weight", "scale.bias"]);
    // modules among called layers, numbered like layers
    let y = gate(false).call(&gate(false).call(&x).unwrap()).unwrap();
    let y = Linear::new(2).call(&y).unwrap();
    let names = parameters(&Network::new("n", &x, &y).unwrap());
    let expected = ["gate.inner.0.weight", "gate.inner.0.bias", "gate_1.inner.0.weight", "gate_1.inner.0.bias"];
    assert_eq!(names[..4], expected);
    assert_eq!(names[4..], ["dense.weight", "dense.bias"]);
    // a module in a list in a module
    let nested = Sequential::new().named("stem", Linear::new(4)).named("gates", Sequential::new().add(gate(false)));
    let names = parameters(&Network::of(&nested, x).unwrap());
    assert_eq!(names, ["stem.weight", "stem.bias", "gates.0.inner.0.weight", "gates.0.inner.0.bias"]);
}

#[test]
fn a_network_is_a_layer_with_its_own_weights() {
    let x = Input::torch("x", [4]);
    let tower = Network::new("tower", &x, &Linear::new(3).call(&x).unwrap()).unwrap();
    let (left, right) = (Input::torch("left", [4]), Input::torch("right", [4]));
    let both = [tower.call(&left).unwrap(), tower.call(&right).unwrap()];
    let difference = Subtract::new().call(&both[..]).unwrap();
    let twins = Network::new("twins", [&left, &right], &difference).unwrap();
    assert_eq!(parameters(&twins), ["tower.dense.weight", "tower.dense.bias"], "one set of weights");
    let sample: &[f32] = &[1.0, -2.0, 3.0, 0.5];
    close(&output(&twins, 1, &[sample, sample], &[]), &[0.0; 3], "equal inputs");
    let ones: &[(&str, &[f32])] = &[("tower.dense.weight", &[1.0; 12])];
    close(&output(&twins, 1, &[sample, &[0.0; 4]], ones), &[2.5; 3], "the sum of the difference");

    // a field of a struct; what was frozen stays so
    let mut frozen = tower.clone();
    assert_eq!(frozen.freeze("dense"), 1);
    let tuned = Sequential::new().named("backbone", frozen).named("head", Linear::new(2));
    let tuned = Network::of(&tuned, x.clone()).unwrap();
    assert_eq!(parameters(&tuned), ["head.weight", "head.bias"]);
    assert!(tuned.graph(1, Mode::Train).unwrap().source("backbone.dense.weight").is_ok());

    let error = tower.apply([&left, &right]).unwrap_err().to_string();
    assert!(error.contains("tower") && error.contains("takes 1 inputs, got 2"), "{error}");
    let wide = Input::torch("wide", [2, 4, 4]);
    let stem = Network::new("stem", &wide, &Conv2d::new(1, 3).call(&wide).unwrap()).unwrap();
    let error = stem.call(&x).unwrap_err().to_string();
    assert!(error.contains("stem.conv2d cannot be called on [4]"), "{error}");

    let error = Network::new("n", [&x, &x], &x.relu().unwrap()).err().unwrap().to_string();
    assert!(error.contains("\"x\" is listed twice"), "{error}");

    // a layer with a name of its own keeps it, so that files fit by name
    let named = Network::new("tower", &x, &Linear::new(3).name("fc").call(&x).unwrap()).unwrap();
    let around = Network::new("around", &left, &named.call(&left).unwrap()).unwrap();
    assert_eq!(parameters(&around), ["fc.weight", "fc.bias"]);
}

#[test]
fn inputs_outputs_and_branches_are_as_many_as_wanted() {
    let (a, b) = (Input::keras("a", [2]), Input::keras("b", [2]));
    let shared = Dense::new(2).weight_init(Init::Identity(1.0)).name("shared");
    let (x, y) = (shared.call(&a).unwrap(), shared.call(&b).unwrap());
    let sum = Add::new().name("sum").call([&x, &y]).unwrap();
    let product = Multiply::new().name("product").call([&x, &y]).unwrap();
    let network = Network::new("n", [&a, &b], [&sum, &product]).unwrap();
    assert_eq!((network.input_names(), network.output_names()), (vec!["a", "b"], vec!["sum", "product"]));
    let run = interpret(&network.graph(1, Mode::Evaluate).unwrap(), &[&[1.0, 2.0], &[3.0, 4.0]], &[]);
    close(&run.output("sum").unwrap().data, &[4.0, 6.0], "sum");
    close(&run.output("product").unwrap().data, &[3.0, 8.0], "product");
    // Keras's way to go on from the middle of a network
    let head = Dense::new(1).name("head").call(&network.symbol("product").unwrap()).unwrap();
    assert_eq!(parameters(&Network::new("tuned", [&a, &b], &head).unwrap()).len(), 4);
    assert!(network.symbol("prodct").unwrap_err().to_string().contains("\"product\""));
}

module! {
    struct Tower { blocks: Vec<Conv2d>, last: Option<Conv2d> }
}

impl Module for Tower {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let mut x = x.clone();
        for block in self.blocks.iter().chain(&self.last) {
            x = block.call(&x)?;
        }
        Ok(x)
    }
}

/// Errors name a layer by the fields that lead to it, in a module of its own and in one among called layers.
#[test]
fn errors_say_which_layer_of_which_module() {
    let x = Input::torch("x", [3, 8, 8]);
    let tower = |kernel: usize, last: usize| Tower {
        blocks: vec![Conv2d::new(4, 3), Conv2d::new(4, kernel)],
        last: Some(Conv2d::new(4, last)),
    };
    let net = Sequential::new().named("stem", Conv2d::new(4, 1)).named("tower", tower(7, 1));
    let error = Network::of(&net, x.clone()).err().unwrap().to_string();
    assert!(
        error.contains("tests/nn/compose.rs:") && error.contains("tower.blocks.1 cannot be called on [4, 6, 6]"),
        "{error}"
    );
    let error = tower(3, 5).call(&x).unwrap_err().to_string();
    assert!(error.contains("tower.last cannot be called on [4, 4, 4]"), "{error}");
    // a list has no lines of its own: the line is that of the network
    let (line, error) = (line!(), Network::of(&Sequential::new().add(Conv2d::new(4, 9)), x.clone()).err().unwrap());
    assert!(error.to_string().contains(&format!("tests/nn/compose.rs:{line}:")), "{error}");
    // behind the module its names are over
    let y = tower(3, 3).call(&x).unwrap();
    let error = Conv2d::new(4, 9).call(&y).unwrap_err().to_string();
    assert!(error.contains("Conv2d cannot be called on [4, 2, 2]"), "{error}");
}

#[test]
fn long_networks_are_taken_apart_without_recursion() {
    let x = Input::keras("x", [1]);
    let y = (0..20_000).try_fold(x, |y, _| y.relu()).unwrap();
    drop(y);
}

/// A network that is called on other symbols shows what it shows by itself, and that it was called.
#[test]
fn modules_within_a_called_network_stay_in_the_table() {
    let rows = |network: &Network| -> Vec<String> {
        network.summary().unwrap().rows().iter().map(|row| row.class.clone()).collect()
    };
    let x = Input::torch("x", [4]);
    let alone = Network::of(&Sequential::new().add(gate(true)).add(Linear::new(2)), x.clone()).unwrap().named("Gated");
    assert_eq!(rows(&alone), ["Linear", "Sigmoid", "Linear", "Gate", "Linear"]);
    let y = Linear::new(4).call(&x).unwrap();
    for called in [alone.call(&y).unwrap(), alone.apply(&y).unwrap().remove(0)] {
        let network = Network::new("n", &x, &called).unwrap();
        assert_eq!(rows(&network), ["Linear", "Linear", "Sigmoid", "Linear", "Gate", "Linear", "Gated"]);
        assert_eq!(parameters(&network)[2..4], ["gated.0.inner.0.weight", "gated.0.inner.0.bias"]);
        assert_eq!(parameters(&network).last().unwrap(), "gated.1.bias");
    }
}

/// A batch norm that is called twice, as in a network with two equal branches, takes up the one batch after the other.
#[test]
fn a_shared_norm_sees_both_of_its_inputs() {
    for (form, share) in [(Form::Torch, 0.1), (Form::Keras, 0.01)] {
        let input = |name: &str| Input::typed(form, name, DType::F32, [1]);
        let (a, b) = (input("a"), input("b"));
        let norm = BatchNormalization::new().name("bn");
        let norm1d = BatchNorm1d::new().name("bn");
        let call = |x: &Symbol| if form == Form::Torch { norm1d.call(x).unwrap() } else { norm.call(x).unwrap() };
        let network = Network::new("twins", [&a, &b], &Subtract::new().call([&call(&a), &call(&b)]).unwrap()).unwrap();
        let graph = network.graph(2, Mode::Train).unwrap();
        graph.verify().unwrap();
        // means 2 and 10; of two samples the variance is 1 and 9, unbiased 2 and 18
        let run = interpret(&graph, &[&[1.0, 3.0], &[7.0, 13.0]], &[]);
        let [mean, variance] = match form {
            Form::Torch => ["bn.running_mean", "bn.running_var"],
            Form::Keras => ["bn/moving_mean", "bn/moving_variance"],
        };
        let second =
            |start: f64, [one, two]: [f64; 2]| (start * (1.0 - share) + share * one) * (1.0 - share) + share * two;
        let variances = if form == Form::Torch { [2.0, 18.0] } else { [1.0, 9.0] };
        close(&run.updates[mean].data, &[second(0.0, [2.0, 10.0])], "mean");
        close(&run.updates[variance].data, &[second(1.0, variances)], "variance");
        // compiled, it is the same
        let mut model = Model::of(network, ModelOptions::default()).unwrap();
        model.compile(Sgd::default().lr(0.0), Loss::MeanSquaredError, ()).unwrap();
        let column = |values: [f32; 2]| Tensor::f32([2, 1], values.to_vec()).unwrap();
        model.train_on_batch(&[column([1.0, 3.0]), column([7.0, 13.0])], &[column([0.0; 2])]).unwrap();
        close(&model.store().get(mean).unwrap().to_f64(), &[second(0.0, [2.0, 10.0])], "compiled mean");
        close(&model.store().get(variance).unwrap().to_f64(), &[second(1.0, variances)], "compiled variance");
    }
}
