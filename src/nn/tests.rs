//! Networks against what the three styles, and the networks that were written as graphs, say.

use super::*;
use crate::error::Error;
use crate::types::Padding;

#[test]
fn a_wrong_call_is_named_with_its_place() {
    let x = Input::torch("images", [3, 8, 8]);
    let line = line!() + 1;
    let error = Conv2d::new(4, 11).name("stem").call(&x).unwrap_err();
    let Error::Layer { site, layer, operands, reason } = &error else { panic!("{error}") };
    assert!(site.contains("nn/tests.rs") && site.contains(&format!(":{line}:")), "{site}");
    assert_eq!((layer.as_str(), operands.as_str()), ("stem", "[3, 8, 8]"));
    assert!(reason.contains("11"), "{reason}");
}

#[test]
fn layers_in_lists_and_structs_say_where_they_were_called() {
    let layers = Sequential::new().add(Flatten::new()).add(MaxPool2d::new(2));
    let line = line!() + 1;
    let error = Network::of(&layers, Input::torch("images", [3, 8, 8])).err().unwrap().to_string();
    assert!(error.contains("1 cannot be called on [192]"), "{error} {line}");
}

#[test]
fn a_layer_called_twice_has_one_weight() {
    let x = Input::keras("x", [8]);
    let dense = Dense::new(8);
    let y = dense.call(&dense.call(&x).unwrap()).unwrap();
    let graph = Network::new("twice", &x, &y).unwrap().graph(2, Mode::Train).unwrap();
    assert_eq!(graph.parameters().count(), 2);
    let wider = Dense::new(4);
    let y = wider.call(&wider.call(&x).unwrap()).unwrap();
    let error = Network::new("twice", &x, &y).unwrap().graph(2, Mode::Train).unwrap_err().to_string();
    assert!(error.contains("dense/kernel") && error.contains("called several times"), "{error}");
}

#[test]
fn pytorch_shapes_have_channels_first_and_images_lie_channels_last() {
    let x = Input::torch("images", [3, 6, 4]);
    let y = Conv2d::new(5, 3).padding(1).call(&x).unwrap();
    assert_eq!(y.shape(), [5, 6, 4]);
    let network = Network::new("n", &x, &Flatten::new().call(&y).unwrap()).unwrap();
    let graph = network.graph(2, Mode::Evaluate).unwrap();
    assert_eq!(graph.ty(graph.source("images").unwrap()).shape.0, [2, 6, 4, 3]);
    // PyTorch's order, so that PyTorch's weights of the next layer fit
    assert!(graph.to_string().contains("transpose"));
}

#[test]
fn inputs_and_outputs_must_belong_together() {
    let (a, b) = (Input::torch("a", [4]), Input::torch("b", [4]));
    let y = Linear::new(2).call(&a).unwrap();
    for (error, part) in [
        (Network::new("n", &b, &y).err(), "\"b\""),
        (Network::new("n", [&a, &b], &y).err(), "no output depends on the input \"b\""),
        (Network::new("n", &y, &y).err(), "list what Input made"),
        (Network::new("n", &a, &Vec::new()).err(), "at least one output"),
    ] {
        let error = error.unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
    let keras = Input::keras("k", [4]);
    let error = Add::new().call([&a, &keras]).unwrap_err().to_string();
    assert!(error.contains("one form"), "{error}");
}

#[test]
fn frozen_layers_have_no_parameters_to_train() {
    let x = Input::keras("x", [8, 8, 3]);
    let y = Conv2D::new(4, 3).padding(Padding::Same).call(&x).unwrap();
    let y = BatchNormalization::new().call(&y).unwrap();
    let y = Dense::new(2).call(&Flatten::new().call(&y).unwrap()).unwrap();
    let mut network = Network::new("n", &x, &y).unwrap();
    assert_eq!(network.graph(1, Mode::Train).unwrap().parameters().count(), 6);
    assert_eq!(network.freeze("conv2d*") + network.freeze("batch*"), 2);
    let graph = network.graph(1, Mode::Train).unwrap();
    assert_eq!((graph.parameters().count(), graph.updates().len()), (2, 0));
    assert!(graph.to_string().contains("batch_norm_eval"));
    assert_eq!(network.unfreeze("*"), 4);
    assert_eq!(network.graph(1, Mode::Train).unwrap().parameters().count(), 6);
}
