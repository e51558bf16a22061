//! The networks against what others have published about them.

use super::*;
use crate::graph::Graph;
use crate::types::TensorType;

/// Number of trained elements: what PyTorch's summaries count.
pub(super) fn parameters(graph: &Graph) -> usize {
    graph.parameters().map(|id| graph.ty(id.result(0)).shape.elements()).sum()
}

/// Name and type of every tensor that outlives a run.
pub(super) fn states(graph: &Graph) -> Vec<(String, TensorType)> {
    graph.states().map(|id| (graph.node(id).name.clone(), graph.ty(id.result(0)).clone())).collect()
}

/// Elements of He et al.'s CIFAR network of 6n+2 layers, whose shortcuts have no weights.
fn plain(n: usize) -> usize {
    let stage = |channels: usize| 2 * n * (9 * channels * channels + 2 * channels);
    // the first convolution of a stage reads half the channels
    let missing = 9 * (16 * 32 + 32 * 64);
    let (stem, classifier) = (9 * 3 * 16 + 2 * 16, 64 * 10 + 10);
    stem + stage(16) + stage(32) + stage(64) - missing + classifier
}

/// Torchvision's tables of weights (`num_params`), and the sums of PyTorch's tutorials. He et al. give 0.27 M for
/// ResNet-20 and 0.85 M for ResNet-56; our shortcuts add two convolutions of 3 × 3, each with a batch norm.
#[test]
fn parameter_counts_are_the_published_ones() {
    assert_eq!((plain(3), plain(9)), (269_722, 853_018));
    let shortcuts = 9 * (16 * 32 + 32 * 64) + 2 * (32 + 64);
    for (name, published) in [
        ("resnet14", 195_738),
        ("resnet20", plain(3) + shortcuts),
        ("resnet32", plain(5) + shortcuts),
        ("resnet44", plain(7) + shortcuts),
        ("resnet56", plain(9) + shortcuts),
        ("resnet110", plain(18) + shortcuts),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("vgg16", 138_357_544),
        // 13 convolutions as above, and linear layers of 512 → 512 → 512 → 10
        ("vgg16_cifar", 14_714_688 + 2 * (512 * 512 + 512) + 5130),
        ("mobilenet_v2", 3_504_872),
        ("lenet5", 61_706),
        ("mlp", 669_706),
    ] {
        assert_eq!(parameters(&by_name(name).unwrap().training(1).unwrap()), published, "{name}");
    }
    assert_eq!(names().count(), 13);
}

/// A tensor of each kind of layer as torchvision names it, with our shape (HWIO, `[in, out]`).
#[test]
fn tensors_have_torchvisions_names() {
    for (name, tensors) in [
        (
            "resnet18",
            &[
                ("conv1.weight", "[7,7,3,64]"),
                ("bn1.running_var", "[64]"),
                ("layer1.0.conv1.weight", "[3,3,64,64]"),
                ("layer2.0.downsample.0.weight", "[1,1,64,128]"),
                ("layer2.0.downsample.1.bias", "[128]"),
                ("layer4.1.bn2.running_mean", "[512]"),
                ("fc.weight", "[512,1000]"),
            ][..],
        ),
        (
            "vgg16",
            &[
                ("features.0.weight", "[3,3,3,64]"),
                ("features.10.bias", "[256]"),
                ("features.28.weight", "[3,3,512,512]"),
                ("classifier.0.weight", "[25088,4096]"),
                ("classifier.6.bias", "[1000]"),
            ],
        ),
        (
            "mobilenet_v2",
            &[
                ("features.0.0.weight", "[3,3,3,32]"),
                ("features.1.conv.0.0.weight", "[3,3,1,32]"),
                ("features.1.conv.1.weight", "[1,1,32,16]"),
                ("features.1.conv.2.weight", "[16]"),
                ("features.2.conv.0.0.weight", "[1,1,16,96]"),
                ("features.2.conv.1.0.weight", "[3,3,1,96]"),
                ("features.17.conv.3.running_mean", "[320]"),
                ("features.18.0.weight", "[1,1,320,1280]"),
                ("features.18.1.bias", "[1280]"),
                ("classifier.1.weight", "[1280,1000]"),
            ],
        ),
        ("lenet5", &[("conv2.weight", "[5,5,6,16]"), ("fc1.weight", "[400,120]"), ("fc3.bias", "[10]")]),
        ("mlp", &[("linear_relu_stack.0.weight", "[784,512]"), ("linear_relu_stack.4.bias", "[10]")]),
    ] {
        let graph = by_name(name).unwrap().evaluation(1).unwrap();
        let states = states(&graph);
        for (tensor, shape) in tensors {
            let (_, ty) = states.iter().find(|(name, _)| name == tensor).unwrap_or_else(|| panic!("{name}: {tensor}"));
            assert_eq!(ty.shape.to_string(), *shape, "{name}: {tensor}");
        }
    }
}

/// One store serves both graphs, and training adds to it only what training needs.
#[test]
fn evaluation_needs_no_state_that_training_lacks() {
    for name in names() {
        let model = by_name(name).unwrap();
        let (train, eval) = (states(&model.training(2).unwrap()), states(&model.evaluation(3).unwrap()));
        assert!(eval.iter().all(|state| train.contains(state)), "{name}");
        let only: Vec<_> = train.iter().filter(|state| !eval.contains(state)).map(|(name, _)| name.as_str()).collect();
        let dropout = matches!(name, "vgg16" | "vgg16_cifar" | "mobilenet_v2");
        assert_eq!(only, if dropout { vec![crate::ops::Random::STEP] } else { vec![] }, "{name}");
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let Err(error) = by_name("resnet50") else { panic!("there is none") };
    let text = error.to_string();
    assert!(text.contains("resnet50") && names().all(|name| text.contains(name)), "{text}");
}
