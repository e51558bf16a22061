//! Convolutions and their two gradients as operations of their own.

use outrigger::graph::{ConvOptions, PoolOptions, Value};
use outrigger::ops::{BatchNorm, Conv2d, Op};
use outrigger::types::Shape;
use outrigger::{Error, Padding};

use super::Case;
use crate::common::build::{Build, Fill};

/// A convolution's shapes and place.
pub struct Setting {
    pub x: [usize; 4],
    pub w: [usize; 4],
    pub options: ConvOptions,
}

type Make = fn(&mut Build) -> Setting;

fn setting(b: &mut Build, kernel: [usize; 2], options: ConvOptions) -> Setting {
    // the window fits also where there is no padding
    let side = |b: &mut Build, axis: usize| {
        let span = (kernel[axis] - 1) * options.dilation[axis] + 1;
        b.rng.within(span, span + 6)
    };
    let (height, width) = (side(b, 0), side(b, 1));
    let groups = options.groups;
    // few channels at once in many groups
    let (i, o) = if groups == 1 { (b.channels(), b.channels()) } else { (b.rng.within(1, 4), b.rng.within(1, 4)) };
    Setting { x: [b.rng.within(1, 3), height, width, i * groups], w: [kernel[0], kernel[1], i, o * groups], options }
}

/// Every way to place a convolution.
pub const SETTINGS: [(&str, Make); 17] = [
    ("3x3", |b| setting(b, [3, 3], ConvOptions { padding: Padding::all(1), ..ConvOptions::default() })),
    ("1x1", |b| setting(b, [1, 1], ConvOptions::default())),
    ("1x1_stride", |b| setting(b, [1, 1], ConvOptions { stride: [2, 2], ..ConvOptions::default() })),
    ("valid", |b| setting(b, [3, 3], ConvOptions::default())),
    ("same", |b| setting(b, [3, 3], ConvOptions { padding: Padding::Same, ..ConvOptions::default() })),
    ("same_stride", |b| {
        let options = ConvOptions { padding: Padding::Same, stride: [2, 2], ..ConvOptions::default() };
        setting(b, [3, 3], options)
    }),
    ("stride_padding", |b| {
        let options = ConvOptions { padding: Padding::all(1), stride: [2, 2], ..ConvOptions::default() };
        setting(b, [3, 3], options)
    }),
    ("rectangle", |b| {
        let padding = Padding::Explicit([[0, 2], [1, 0]]);
        setting(b, [5, 2], ConvOptions { padding, stride: [1, 3], ..ConvOptions::default() })
    }),
    ("skipping", |b| {
        // rows between the windows that no window reads
        setting(b, [2, 1], ConvOptions { stride: [3, 2], ..ConvOptions::default() })
    }),
    ("dilation", |b| {
        let options = ConvOptions { padding: Padding::all(2), dilation: [2, 3], ..ConvOptions::default() };
        setting(b, [3, 2], options)
    }),
    ("groups", |b| {
        let groups = b.rng.within(2, 4);
        let options = ConvOptions { padding: Padding::all(1), groups, ..ConvOptions::default() };
        setting(b, [3, 3], options)
    }),
    ("depthwise", |b| {
        let groups = b.channels();
        let options = ConvOptions { padding: Padding::Same, groups, ..ConvOptions::default() };
        let mut setting = setting(b, [3, 3], options);
        (setting.x[3], setting.w[2], setting.w[3]) = (groups, 1, groups);
        setting
    }),
    // groups that are whole panels by themselves, or some of them together
    ("groups_in_panels", |b| {
        let (groups, i, o) = b.rng.pick(&[(2, 16, 32), (4, 8, 16), (6, 8, 8), (8, 4, 4)]);
        let dilation = b.rng.pick(&[[1, 1], [2, 1], [1, 2]]);
        let options = ConvOptions { padding: Padding::Same, groups, dilation, ..ConvOptions::default() };
        let mut setting = setting(b, [3, 2], options);
        (setting.x[3], setting.w[2], setting.w[3]) = (i * groups, i, o * groups);
        setting
    }),
    ("groups_stride", |b| {
        let groups = b.rng.pick(&[2, 4]);
        let options = ConvOptions { padding: Padding::all(1), stride: [2, 3], groups, ..ConvOptions::default() };
        let mut setting = setting(b, [3, 3], options);
        (setting.x[3], setting.w[2], setting.w[3]) = (8 * groups, 8, 8 * groups);
        setting
    }),
    ("depthwise_stride", |b| {
        let groups = b.channels() + 1;
        let stride = b.rng.pick(&[[2, 2], [1, 2], [3, 1]]);
        let options = ConvOptions { padding: Padding::all(2), stride, dilation: [1, 2], groups };
        let mut setting = setting(b, [5, 3], options);
        (setting.x[3], setting.w[2], setting.w[3]) = (groups, 1, groups);
        setting
    }),
    ("far_apart", |b| {
        let options = ConvOptions { stride: [1 << 62, 1 << 31], dilation: [1, 1 << 62], ..ConvOptions::default() };
        setting(b, [3, 1], options)
    }),
    ("wide_padding", |b| setting(b, [3, 3], ConvOptions { padding: Padding::all(4), ..ConvOptions::default() })),
];

/// The attributes of a setting and the shape of its result.
pub fn resolved(b: &mut Build, setting: &Setting) -> Result<(Conv2d, Shape), Error> {
    let mut graph = outrigger::Graph::new("shapes");
    let x = graph.input("x", outrigger::DType::F32, setting.x)?;
    let w = graph.input("w", outrigger::DType::F32, setting.w)?;
    let y = graph.conv2d(x, w, None, setting.options)?;
    let shape = graph.value_type(y).map(|ty| ty.shape.clone()).unwrap_or_default();
    // the longest sum of the three: over taps and channels forward, over the pixels of the batch backward
    let pixels = shape.elements() / shape.last();
    b.is_sum_of(setting.w[..3].iter().product::<usize>().max(pixels).max(setting.w[0] * setting.w[1] * setting.w[3]));
    match graph.get(y.node).map(|node| &node.op) {
        Some(Op::Conv2d(conv)) => Ok((*conv, shape)),
        other => panic!("conv2d built {other:?}"),
    }
}

fn finish(b: &mut Build, op: Op, operands: [Value; 2]) -> Result<(), Error> {
    let y = b.g.op(op, &operands)?;
    b.out(y);
    Ok(())
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, make) in SETTINGS {
        cases.push(Case::new(format!("conv2d/{name}"), move |b| {
            let setting = make(b);
            let (conv, _) = resolved(b, &setting)?;
            let operands = [b.x(setting.x, Fill::Signed), b.w(setting.w, Fill::Signed)];
            finish(b, Op::Conv2d(conv), operands)
        }));
        cases.push(Case::new(format!("conv2d_grad_input/{name}"), move |b| {
            let setting = make(b);
            let (conv, y) = resolved(b, &setting)?;
            let operands = [b.x(y, Fill::Signed), b.w(setting.w, Fill::Signed)];
            finish(b, Op::Conv2dGradInput(conv, Shape::from(setting.x)), operands)
        }));
        cases.push(Case::new(format!("conv2d_grad_weight/{name}"), move |b| {
            let setting = make(b);
            let (conv, y) = resolved(b, &setting)?;
            let operands = [b.x(setting.x, Fill::Signed), b.x(y, Fill::Signed)];
            finish(b, Op::Conv2dGradWeight(conv, Shape::from(setting.w)), operands)
        }));
    }
    // enough images that each goes through all layers by itself
    cases.push(
        Case::new("conv2d/image_by_image", |b| {
            let (images, side, channels) = (8 + b.rng.below(4), 5 + b.rng.below(5), 3 + b.rng.below(16));
            let same = ConvOptions { padding: Padding::Same, ..ConvOptions::default() };
            b.is_sum_of(9 * channels * 9 * channels);
            let x = b.x([images, side, side, channels], Fill::Signed);
            let w = [0, 1, 2].map(|_| b.w([3, 3, channels, channels], Fill::Signed));
            let bias = b.w([channels], Fill::Signed);
            let shallow = b.g.conv2d(x, w[0], Some(bias), same)?;
            let shallow = b.g.relu(shallow)?;
            let deep = b.g.conv2d(shallow, w[1], None, same)?;
            let joined = b.g.add_values(deep, shallow)?;
            let padding = b.rng.pick(&[Padding::Valid, Padding::Same]);
            let pooled =
                b.g.max_pool(joined, PoolOptions { padding, stride: Some([2, 2]), ..PoolOptions::square(3) })?;
            let last = b.g.conv2d(pooled, w[2], None, ConvOptions { stride: [2, 1], ..same })?;
            // an output is whole in memory; what only the next layer reads is there for one image at a time
            if b.rng.below(2) == 0 {
                b.also(joined);
            }
            let mean = b.g.mean(last, &[1, 2])?;
            b.out(mean);
            Ok(())
        })
        .flat(),
    );
    // few images with much work each: threads share the rows of an image
    cases.push(
        Case::new("conv2d/few_images", |b| {
            let (rows, columns) = (11 + b.rng.below(8), 13 + b.rng.below(8));
            let (images, channels) = (1 + b.rng.below(3), 13 + b.rng.below(20));
            let options = b.rng.pick(&[
                ConvOptions { padding: Padding::all(1), ..ConvOptions::default() },
                ConvOptions::default(),
                ConvOptions { padding: Padding::Same, stride: [2, 2], ..ConvOptions::default() },
                ConvOptions { padding: Padding::all(2), dilation: [2, 1], ..ConvOptions::default() },
            ]);
            let kernel = b.rng.pick(&[[3, 3], [1, 1], [5, 2]]);
            b.is_sum_of(kernel[0] * kernel[1] * channels);
            let x = b.x([images, rows, columns, channels], Fill::Signed);
            let (scale, w) = (b.w([channels], Fill::Signed), b.w([kernel[0], kernel[1], channels, 60], Fill::Signed));
            let scaled = b.g.mul(x, scale)?;
            let (x, bias) = (b.g.relu(scaled)?, b.w([60], Fill::Signed));
            let y = b.g.conv2d(x, w, Some(bias), options)?;
            let y = b.g.relu(y)?;
            b.out(y);
            Ok(())
        })
        .flat(),
    );
    // an image that passes through its block some rows at a time: sums over it keep it from being cut into chunks
    cases.push(
        Case::new("conv2d/large_image", |b| {
            let (rows, columns, channels) = (58 + b.rng.below(4), 150 + b.rng.below(9), 32);
            let depthwise = b.rng.once_in(3);
            let [i, o] = if depthwise { [1, channels] } else { [channels, 8] };
            let kernel = b.rng.pick(&[[3, 3], [1, 1], [5, 2]]);
            let options = ConvOptions {
                padding: b.rng.pick(&[Padding::Same, Padding::all(1), Padding::Valid]),
                stride: b.rng.pick(&[[1, 1], [2, 2], [3, 1]]),
                groups: if depthwise { channels } else { 1 },
                ..ConvOptions::default()
            };
            let x = b.x([1, rows, columns, channels], Fill::Signed);
            let (scale, w) = (b.w([channels], Fill::Signed), b.w([kernel[0], kernel[1], i, o], Fill::Signed));
            let scaled = b.g.mul(x, scale)?;
            let x = b.g.relu(scaled)?;
            let y = b.g.conv2d(x, w, None, options)?;
            b.is_sum_of(rows * columns);
            let (gamma, beta) = (b.w([o], Fill::Positive), b.w([o], Fill::Signed));
            let running = [Fill::Signed, Fill::Positive].map(|fill| {
                let tensor = b.values(&[o].into(), fill);
                b.buffer(tensor)
            });
            let attributes = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
            let normal = b.g.batch_norm(y, gamma, beta, running, attributes)?;
            b.out(normal.y);
            if b.rng.once_in(2) {
                b.also(x);
            }
            Ok(())
        })
        .flat(),
    );
    // its gradients, whose blocks are filled some rows at a time
    cases.push(
        Case::new("conv2d/gradients_of_large_image", |b| {
            let (rows, columns, channels) = (58 + b.rng.below(4), 150 + b.rng.below(9), 32);
            let depthwise = b.rng.once_in(2);
            let [i, o] = if depthwise { [1, channels] } else { [channels, b.rng.pick(&[8, 16, 33])] };
            let kernel = b.rng.pick(&[[3, 3], [1, 1], [5, 2], [2, 1]]);
            let options = ConvOptions {
                padding: b.rng.pick(&[Padding::Same, Padding::all(1), Padding::Valid]),
                stride: b.rng.pick(&[[1, 1], [2, 2], [3, 1]]),
                dilation: b.rng.pick(&[[1, 1], [1, 1], [4, 1]]),
                groups: if depthwise { channels } else { 1 },
            };
            let setting = Setting { x: [1, rows, columns, channels], w: [kernel[0], kernel[1], i, o], options };
            let (conv, y) = resolved(b, &setting)?;
            let (x, scale) = (b.x(setting.x, Fill::Signed), b.w([channels], Fill::Signed));
            let (dy, w) = (b.x(y, Fill::Signed), b.w(setting.w, Fill::Signed));
            let scaled = b.g.mul(x, scale)?;
            let x = b.g.relu(scaled)?;
            let [dw, dx] = [
                b.g.op(Op::Conv2dGradWeight(conv, Shape::from(setting.w)), &[x, dy])?,
                b.g.op(Op::Conv2dGradInput(conv, Shape::from(setting.x)), &[dy, w])?,
            ];
            match b.rng.below(4) {
                0 => b.out(dw),
                1 => b.out(dx),
                _ => {
                    b.out(dw);
                    b.also(dx);
                }
            }
            Ok(())
        })
        .flat(),
    );
    cases.push(Case::new("conv2d/bias", |b| {
        let setting = setting(b, [3, 3], ConvOptions { padding: Padding::Same, ..ConvOptions::default() });
        resolved(b, &setting)?;
        let (x, w) = (b.x(setting.x, Fill::Signed), b.w(setting.w, Fill::Signed));
        let bias = b.w([setting.w[3]], Fill::Signed);
        let y = b.g.conv2d(x, w, Some(bias), setting.options)?;
        b.out(y);
        Ok(())
    }));
    cases
}
