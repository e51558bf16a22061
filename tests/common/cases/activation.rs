//! Activations that the builder composes.

use outrigger::graph::{Graph, Value};
use outrigger::{Error, ops::Init};

use super::Case;
use crate::common::build::{Build, Fill};

type Activation = fn(&mut Graph, Value) -> Result<Value, Error>;

/// Each with values where it is smooth.
const ACTIVATIONS: [(&str, Activation, Fill); 18] = [
    ("elu", |g, x| g.elu(x, 0.7), Fill::Away(&[0.0])),
    ("celu", |g, x| g.celu(x, 0.7), Fill::Away(&[0.0])),
    ("selu", Graph::selu, Fill::Away(&[0.0])),
    ("hardtanh", |g, x| g.hardtanh(x, -1.0, 0.5), Fill::Away(&[-1.0, 0.5])),
    ("relu6", Graph::relu6, Fill::Away(&[0.0])),
    ("hardsigmoid", Graph::hardsigmoid, Fill::Signed),
    ("hardsigmoid_wide", Graph::hardsigmoid, Fill::Wide),
    ("hardswish", Graph::hardswish, Fill::Signed),
    ("hardswish_wide", Graph::hardswish, Fill::Wide),
    ("mish", Graph::mish, Fill::Wide),
    ("softsign", Graph::softsign, Fill::Away(&[0.0])),
    ("gelu_tanh", Graph::gelu_tanh, Fill::Signed),
    ("gelu_tanh_wide", Graph::gelu_tanh, Fill::Wide),
    ("log_sigmoid", Graph::log_sigmoid, Fill::Wide),
    ("hardshrink", |g, x| g.hardshrink(x, 0.5), Fill::Away(&[-0.5, 0.5])),
    ("softshrink", |g, x| g.softshrink(x, 0.5), Fill::Away(&[-0.5, 0.5])),
    ("tanhshrink", Graph::tanhshrink, Fill::Signed),
    ("threshold", |g, x| g.threshold(x, 0.25, 2.0), Fill::Away(&[0.25])),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, build, fill) in ACTIVATIONS {
        cases.push(Case::new(format!("activation/{name}"), move |b| {
            let dims = b.any_dims();
            let x = b.x(dims, fill);
            // differences of numbers of size 1, and of 12 where a tangent saturates
            let magnitude = if matches!(fill, Fill::Wide) { 12.0 } else { 1.0 };
            (b.magnitude, b.gradient_magnitude) = (magnitude, magnitude);
            if name == "gelu_tanh_wide" {
                // x·2z' of what a saturated sigmoid leaves of its derivative, z' = √(2/π)·(1 + 3·0.0447·x²)
                b.gradient_magnitude = 12.0 * 32.0;
            }
            let y = build(&mut b.g, x)?;
            b.out(y);
            Ok(())
        }));
    }
    cases.push(Case::new("activation/prelu", |b| {
        let dims = b.dims(4);
        // the slopes' gradients are sums
        b.stretches = true;
        let x = b.x(dims.clone(), Fill::Away(&[0.0]));
        for slopes in [1, dims[3]] {
            let weight = b.w([slopes], Fill::Signed);
            let y = b.g.prelu(x, weight)?;
            b.out(y);
        }
        Ok(())
    }));
    cases.push(Case::new("activation/glu", |b| {
        let mut dims = b.dims(3);
        let axis = b.rng.below(3);
        dims[axis] *= 2;
        let x = b.x(dims, Fill::Signed);
        let y = b.g.glu(x, axis)?;
        b.out(y);
        Ok(())
    }));
    cases.push(Case::new("activation/between_convolutions", between).flat());
    cases
}

/// Where a convolution's kernel can take them over.
fn between(b: &mut Build) -> Result<(), Error> {
    let x = b.plain([2, 6, 5, 3], Fill::Signed);
    let mut y = x;
    for (at, (_, build, _)) in ACTIVATIONS.into_iter().enumerate() {
        let w = b.g.parameter(&format!("conv{at}"), [1, 1, 3, 3], Init::ZEROS)?;
        let tensor = b.values(&[1, 1, 3, 3].into(), Fill::Signed);
        b.state.insert(format!("conv{at}"), tensor);
        y = b.g.conv2d(x, w, None, outrigger::graph::ConvOptions::default())?;
        y = build(&mut b.g, y)?;
        b.sums(9);
        b.magnitude = 12.0;
        b.also(y);
    }
    b.also(y);
    Ok(())
}
