//! Convolutions along one axis, a channel at a time, and transposed ones.

use outrigger::graph::{Conv1dOptions, ConvOptions, ConvTranspose1dOptions, ConvTransposeOptions};
use outrigger::types::{Padding, Padding1d};

use super::Case;
use crate::common::build::Fill;

const TRANSPOSED: [(&str, [usize; 2], ConvTransposeOptions); 7] = [
    ("plain", [3, 3], transposed([1, 1], Padding::Valid, [0, 0], [1, 1], 1)),
    ("doubling", [2, 2], transposed([2, 2], Padding::Valid, [0, 0], [1, 1], 1)),
    ("torch", [3, 3], transposed([2, 2], Padding::Explicit([[1, 1], [1, 1]]), [1, 1], [1, 1], 1)),
    ("same", [3, 4], transposed([2, 3], Padding::Same, [0, 0], [1, 1], 1)),
    ("gaps", [1, 2], transposed([3, 3], Padding::Valid, [2, 0], [1, 1], 1)),
    ("dilated", [3, 2], transposed([1, 2], Padding::Explicit([[0, 1], [2, 0]]), [0, 1], [2, 3], 1)),
    ("groups", [3, 3], transposed([2, 1], Padding::Explicit([[1, 1], [1, 1]]), [1, 0], [1, 1], 2)),
];

const fn transposed(
    stride: [usize; 2],
    padding: Padding,
    output_padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> ConvTransposeOptions {
    ConvTransposeOptions { stride, padding, output_padding, dilation, groups }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, kernel, options) in TRANSPOSED {
        cases.push(Case::new(format!("conv_transpose2d/{name}"), move |b| {
            let (groups, each) = (options.groups, b.channels());
            let (of, pixels) = (b.channels() * groups, [b.rng.within(2, 5), b.rng.within(2, 5)]);
            let n = b.rng.within(1, 3);
            b.is_sum_of(kernel[0] * kernel[1] * of * n * pixels[0]);
            let x = b.x([n, pixels[0], pixels[1], of], Fill::Signed);
            let w = b.w([kernel[0], kernel[1], each, of], Fill::Signed);
            let bias = b.w([each * groups], Fill::Signed);
            let y = b.g.conv_transpose2d(x, w, Some(bias), options)?;
            b.out(y);
            Ok(())
        }));
    }
    let paddings = [
        ("valid", Padding1d::Valid),
        ("same", Padding1d::Same),
        ("causal", Padding1d::Causal),
        ("explicit", Padding1d::Explicit([2, 1])),
    ];
    for (name, padding) in paddings {
        cases.push(Case::new(format!("conv1d/{name}"), move |b| {
            let (stride, dilation, groups) = (b.rng.within(1, 2), b.rng.within(1, 2), b.rng.within(1, 2));
            let ([each, out], taps) = ([b.channels(), b.channels()], b.rng.within(1, 3));
            let (n, length) = (b.rng.within(1, 3), b.rng.within(7, 12));
            b.is_sum_of(taps * each * n * length);
            let x = b.x([n, length, each * groups], Fill::Signed);
            let w = b.w([taps, each, out * groups], Fill::Signed);
            let bias = b.w([out * groups], Fill::Signed);
            let y = b.g.conv1d(x, w, Some(bias), Conv1dOptions { stride, padding, dilation, groups })?;
            b.out(y);
            Ok(())
        }));
    }
    cases.push(Case::new("conv_transpose1d/torch", |b| {
        let ([of, out], n, length) = ([b.channels(), b.channels()], b.rng.within(1, 3), b.rng.within(2, 9));
        b.is_sum_of(3 * of * n * length);
        let (x, w) = (b.x([n, length, of], Fill::Signed), b.w([3, out, of], Fill::Signed));
        let options = ConvTranspose1dOptions {
            stride: 2,
            padding: Padding1d::all(1),
            output_padding: 1,
            ..ConvTranspose1dOptions::default()
        };
        let y = b.g.conv_transpose1d(x, w, None, options)?;
        b.out(y);
        Ok(())
    }));
    cases.push(Case::new("conv2d/depthwise_multiplied", |b| {
        let (channels, each, n) = (b.channels(), b.rng.within(1, 3), b.rng.within(1, 3));
        b.is_sum_of(9 * 25 * n);
        let (x, w) = (b.x([n, 5, 6, channels], Fill::Signed), b.w([3, 3, channels, each], Fill::Signed));
        let bias = b.w([channels * each], Fill::Signed);
        let options = ConvOptions { padding: Padding::Same, stride: [2, 1], ..ConvOptions::default() };
        let y = b.g.depthwise_conv2d(x, w, Some(bias), options)?;
        b.out(y);
        Ok(())
    }));
    cases
}
