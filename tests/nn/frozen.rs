//! What training leaves alone costs no backward pass.

use outrigger::models::{self, Classifier};
use outrigger::nn::Network;
use outrigger::ops::{Anchor, Op};
use outrigger::train::optimizer::{Optimizer, Sgd, training_graph};
use outrigger::{Options, compile};

/// Data and weight gradients of convolutions in the compiled training program, and buffers that it updates.
fn backward(network: &Network) -> [usize; 3] {
    let forward = network.training(4).unwrap();
    let updates = forward.updates().len();
    let loss = forward.output("loss").unwrap();
    let graph = training_graph(forward, loss, &Optimizer::Sgd(Sgd::default())).unwrap();
    let program = compile(&graph, &Options::default()).unwrap();
    let mut found = [0, 0, updates];
    for step in &program.planned().steps {
        if let Op::Fused(fused) = &step.op
            && let Anchor::ConvBackward { data, filter, .. } = fused.anchor
        {
            found[0] += usize::from(data);
            found[1] += usize::from(filter);
        }
    }
    found
}

/// Of 15 convolutions the first has no data gradient, since images are not trained.
#[test]
fn frozen_layers_have_no_gradient_kernels() {
    let mut network = models::resnet_cifar([2, 2, 2]).network().unwrap();
    assert_eq!(backward(&network), [14, 15, 30]);
    // all but the last stage: its five convolutions, and no gradient of what comes into it
    for pattern in ["conv", "bn", "layer1.*", "layer2.*"] {
        assert!(network.freeze(pattern) > 0, "{pattern}");
    }
    let [data, filter, updates] = backward(&network);
    assert_eq!((filter, updates), (5, 10));
    assert_eq!(data, 3, "the first block's two convolutions of the frozen input need none");
    // only the classifier
    network.freeze("layer3.*");
    assert_eq!(backward(&network), [0, 0, 0]);
    network.unfreeze("*");
    assert_eq!(backward(&network), [14, 15, 30]);
}
