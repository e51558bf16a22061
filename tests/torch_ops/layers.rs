//! Layers' operations and their gradients against PyTorch 2.15 in float64: `y` and the gradients of `(y * weights).sum()`
//! with respect to each operand, where operands and weights are `(7·i + start) mod 13` quarters around 0. The gradients of
//! `instance_norm` are those of its formula: PyTorch's own are wrong for a permuted gradient.

use outrigger::graph::{Conv1dOptions, ConvOptions, ConvTransposeOptions, Graph, Pool1dOptions, Value};
use outrigger::types::{Padding, Padding1d};
use outrigger::{Error, Tensor};

use crate::{close, run};

type Layer = fn(&mut Graph, &[Value]) -> Result<Value, Error>;

struct Published {
    /// The function of `torch.nn.functional`.
    name: &'static str,
    build: Layer,
    /// Shapes and the start of their values.
    operands: &'static [(&'static [usize], usize)],
    y: &'static [f64],
    gradients: &'static [&'static [f64]],
}

fn sequence(shape: &[usize], start: usize) -> Vec<f32> {
    (0..shape.iter().product()).map(|i: usize| ((i * 7 + start) % 13) as f32 / 4.0 - 1.5).collect()
}

fn conv_transpose_in_groups(g: &mut Graph, x: &[Value]) -> Result<Value, Error> {
    let options = ConvTransposeOptions {
        stride: [2, 1],
        padding: Padding::Explicit([[1, 1], [0, 0]]),
        output_padding: [1, 0],
        groups: 2,
        ..ConvTransposeOptions::default()
    };
    g.conv_transpose2d(x[0], x[1], Some(x[2]), options)
}

fn conv_transpose_dilated(g: &mut Graph, x: &[Value]) -> Result<Value, Error> {
    let options =
        ConvTransposeOptions { padding: Padding::all(1), dilation: [2, 2], ..ConvTransposeOptions::default() };
    g.conv_transpose2d(x[0], x[1], None, options)
}

fn avg_pool_of_three(g: &mut Graph, x: &[Value]) -> Result<Value, Error> {
    let options =
        Pool1dOptions { stride: Some(2), padding: Padding1d::all(1), count_padding: false, ..Pool1dOptions::new(3) };
    g.avg_pool1d(x[0], options)
}

fn embedding(g: &mut Graph, table: &[Value]) -> Result<Value, Error> {
    let ids = g.constant(Tensor::i32([2, 2], vec![3, 0, 3, 1])?)?;
    g.embedding(ids, table[0])
}

#[test]
fn values_and_gradients() {
    for layer in PUBLISHED {
        let operands: Vec<_> = layer.operands.iter().map(|&(shape, start)| (shape, sequence(shape, start))).collect();
        let (y, gradients) = run(&operands, layer.build, |shape| sequence(shape, 2));
        close(layer.name, &y, layer.y);
        for (at, (got, want)) in gradients.iter().zip(layer.gradients).enumerate() {
            close(&format!("{}, gradient {at}", layer.name), got, want);
        }
    }
}

const PUBLISHED: [Published; 20] = [
    Published {
        name: "layer_norm",
        build: |g, x| g.layer_norm(x[0], &[1], Some(x[1]), Some(x[2]), 1e-5),
        operands: &[(&[2, 4], 0), (&[4], 3), (&[4], 5)],
        y: &[0.5985227, 2.3485227, 0.4242614, -0.0857955, 0.5985227, 2.3485227, 0.4242614, -0.0857955],
        gradients: &[
            &[0.2474822, -0.2474831, -0.2474885, 0.2474894, 0.2474749, -0.2474776, -0.2474939, 0.2474967],
            &[1.6970454, 1.6970454, 0.8485227, 2.828409],
            &[-1.5, 2.0, -1.0, 2.5],
        ],
    },
    Published {
        name: "group_norm",
        build: |g, x| g.group_norm(x[0], 2, Some(x[1]), Some(x[2]), 1e-5),
        operands: &[(&[1, 1, 3, 4], 0), (&[4], 3), (&[4], 5)],
        y: &[
            0.8180356, 1.8883766, 0.7120237, -1.0145293, 0.429659, 2.406212, 0.453106, -0.367235, 0.0412824, 2.9240475,
            0.1941883, 0.2800593,
        ],
        gradients: &[
            &[
                -0.0248254, 0.6383729, -0.1031797, 1.0030044, -0.2237168, 1.3456936, -0.3049625, 1.7074335, -0.4226081,
                -1.3129161, -0.5067454, -1.7955503,
            ],
            &[1.8771535, -0.7120237, 1.1974945, -0.0323647],
            &[-1.5, 0.5, -0.75, 1.25],
        ],
    },
    Published {
        name: "instance_norm",
        build: |g, x| g.instance_norm(x[0], Some(x[1]), Some(x[2]), 1e-5),
        operands: &[(&[1, 2, 2, 3], 0), (&[3], 3), (&[3], 5)],
        y: &[
            0.7155852, 1.8429939, 0.6437235, -0.6889024, 0.1280242, -0.2926016, 0.1889024, 2.8719758, 0.2926016,
            -1.2155852, 1.1570061, -0.6437235,
        ],
        gradients: &[
            &[
                0.3751715, 6.5e-06, 0.2501143, -1.000457, -2.58e-05, -0.6669713, -0.1406892, 2.58e-05, -0.0937928,
                0.7659747, -6.5e-06, 0.5106498,
            ],
            &[0.0877805, 2.9154485, 0.0877805],
            &[-1.75, 2.0, -0.75],
        ],
    },
    Published {
        name: "rms_norm",
        build: |g, x| g.rms_norm(x[0], &[1], Some(x[1]), 1e-3),
        operands: &[(&[2, 4], 1), (&[4], 3)],
        y: &[1.0200165, 0.5440088, 0.5440088, 1.0200165, 0.6120099, 1.0880175, 0.2720044, 1.7000274],
        gradients: &[
            &[0.8160132, 0.8160132, 0.4080066, 1.3600219, 1.1928668, 0.3135416, 0.6592424, 0.7319325],
            &[1.7680285, 1.7680285, 0.9520154, 2.8560461],
        ],
    },
    Published {
        name: "conv_transpose2d(stride=(2, 1), padding=(1, 0), output_padding=(1, 0), groups=2)",
        build: conv_transpose_in_groups,
        operands: &[(&[1, 2, 2, 2], 1), (&[3, 2, 1, 2], 2), (&[2], 3)],
        y: &[
            -0.125, 1.625, 0.0625, 2.6875, -0.5, 2.125, 0.0, 1.0, 0.0, 1.1875, -0.625, 1.3125, -0.375, 2.25, -0.3125,
            4.0625, -0.625, 2.875, -0.75, -0.5, -0.9375, -2.125, -0.875, -0.5625,
        ],
        gradients: &[
            &[0.6875, 2.0625, 0.5625, 6.9375, 0.1875, -2.375, -1.1875, -4.375],
            &[0.1875, -0.375, -0.125, -3.0625, 1.25, -0.8125, 0.375, 0.0625, -1.375, -0.625, -0.625, -1.375],
            &[1.25, -0.5],
        ],
    },
    Published {
        name: "conv_transpose2d(padding=1, dilation=2)",
        build: conv_transpose_dilated,
        operands: &[(&[1, 2, 3, 2], 1), (&[2, 2, 2, 2], 4)],
        y: &[2.0, 2.3125, -3.75, -3.9375, -2.25, -1.9375, -1.25, -1.3125, -2.875, -3.0, -1.375, -1.4375],
        gradients: &[
            &[-1.875, 0.375, -0.3125, -0.6875, -1.125, 1.125, 0.25, -0.125, 0.625, -0.9375, 0.125, 0.5625],
            &[
                0.25, -0.375, -0.1875, -0.375, 0.5, -1.6875, -0.8125, 3.125, 0.25, -0.1875, -0.375, -0.375, -0.25,
                0.1875, 3.125, -1.6875,
            ],
        ],
    },
    Published {
        name: "conv1d(stride=2, padding=1)",
        build: |g, x| {
            g.conv1d(
                x[0],
                x[1],
                None,
                Conv1dOptions { stride: 2, padding: Padding1d::all(1), ..Conv1dOptions::default() },
            )
        },
        operands: &[(&[1, 5, 2], 1), (&[2, 2, 3], 2)],
        y: &[-0.4375, -1.75, -0.625, 0.4375, -2.0, 0.4375, -0.4375, -1.0, 0.0625],
        gradients: &[
            &[1.375, 2.625, -2.3125, 2.8125, -1.0, -3.1875, 1.375, -1.0, 2.3125, 0.75],
            &[-0.875, -0.25, -1.25, 0.4375, 1.5, 0.9375, 0.5625, -0.9375, 0.0, 0.125, 2.125, 0.875],
        ],
    },
    Published {
        name: "conv2d(groups=2) of 4 channels",
        build: |g, x| g.depthwise_conv2d(x[0], x[1], None, ConvOptions::default()),
        operands: &[(&[1, 2, 3, 2], 1), (&[2, 2, 2, 2], 2)],
        y: &[1.625, -1.1875, 0.875, -1.0625, 1.375, -1.3125, -1.5625, 1.5],
        gradients: &[
            &[1.5625, 1.5625, 2.875, 3.375, 1.8125, 2.3125, -1.125, -1.4375, -3.125, -3.25, -1.5, -1.3125],
            &[
                1.75, -2.1875, -0.5625, 1.625, 1.375, -1.6875, -0.8125, 2.25, 0.625, -0.6875, -1.3125, 3.5, 0.25,
                -0.1875, -0.75, -0.75,
            ],
        ],
    },
    Published {
        name: "adaptive_avg_pool2d",
        build: |g, x| g.adaptive_avg_pool(x[0], [3, 2]),
        operands: &[(&[1, 5, 3, 1], 1)],
        y: &[-0.1875, -0.0625, 0.375, -0.0416667, 0.125, -0.5625],
        gradients: &[&[
            -0.25, -0.0625, 0.1875, -0.375, -0.0208333, 0.3541667, -0.125, 0.0416667, 0.1666667, -0.25, 0.2291667,
            0.4791667, -0.125, 0.1875, 0.3125,
        ]],
    },
    Published {
        name: "adaptive_max_pool2d",
        build: |g, x| g.adaptive_max_pool(x[0], [2, 1]),
        operands: &[(&[1, 3, 4, 1], 1)],
        y: &[1.25, 1.5],
        gradients: &[&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.75, 0.0, 0.0]],
    },
    Published {
        name: "avg_pool1d(3, 2, 1, count_include_pad=False)",
        build: avg_pool_of_three,
        operands: &[(&[1, 5, 2], 1)],
        y: &[-1.125, 0.625, -0.75, 1.0, -0.375, 1.375],
        gradients: &[&[-0.5, 0.375, -0.75, 0.7083333, -0.25, 0.3333333, -0.5, 0.9583333, -0.25, 0.625]],
    },
    Published {
        name: "interpolate(scale_factor=(1, 2))",
        build: |g, x| g.upsample_nearest(x[0], [1, 2]),
        operands: &[(&[1, 2, 3, 1], 1)],
        y: &[-1.25, -1.25, 0.5, 0.5, -1.0, -1.0, 0.75, 0.75, -0.75, -0.75, 1.0, 1.0],
        gradients: &[&[-0.25, 0.25, 0.75, 1.25, -1.5, -1.0]],
    },
    Published {
        name: "interpolate(scale_factor=(2, 3), mode=bilinear)",
        build: |g, x| g.upsample_bilinear(x[0], [2, 3], false),
        operands: &[(&[1, 2, 3, 1], 1)],
        y: &[
            -1.25, -1.25, -0.6666667, -0.0833333, 0.5, 0.0, -0.5, -1.0, -1.0, -0.75, -0.75, -0.4375, -0.125, 0.1875,
            -0.0416667, -0.2708333, -0.5, -0.5, 0.25, 0.25, 0.0208333, -0.2083333, -0.4375, -0.125, 0.1875, 0.5, 0.5,
            0.75, 0.75, 0.25, -0.25, -0.75, -0.1666667, 0.4166667, 1.0, 1.0,
        ],
        gradients: &[&[-1.3541667, -0.2708333, 1.625, 1.5208333, 0.4375, -1.4583333]],
    },
    Published {
        name: "interpolate(scale_factor=(2, 3), mode=bilinear, align_corners=True)",
        build: |g, x| g.upsample_bilinear(x[0], [2, 3], true),
        operands: &[(&[1, 2, 3, 1], 1)],
        y: &[
            -1.25, -0.8125, -0.375, 0.0625, 0.5, 0.125, -0.25, -0.625, -1.0, -0.5833333, -0.4166667, -0.25, -0.0833333,
            0.0833333, -0.0208333, -0.125, -0.2291667, -0.3333333, 0.0833333, -0.0208333, -0.125, -0.2291667,
            -0.3333333, -0.1666667, 0.0, 0.1666667, 0.3333333, 0.75, 0.375, 0.0, -0.375, -0.75, -0.3125, 0.125, 0.5625,
            1.0,
        ],
        gradients: &[&[-1.1666667, 0.375, 0.9583333, 1.1666667, 0.75, -1.5833333]],
    },
    Published {
        name: "pad(mode=reflect)",
        build: |g, x| g.reflection_pad2d(x[0], [[1, 0], [2, 1]]),
        operands: &[(&[1, 2, 3, 1], 1)],
        y: &[
            1.0, -0.75, 0.75, -0.75, 1.0, -0.75, -1.0, 0.5, -1.25, 0.5, -1.0, 0.5, 1.0, -0.75, 0.75, -0.75, 1.0, -0.75,
        ],
        gradients: &[&[0.0, -1.25, 0.0, 0.0, 0.75, 0.0]],
    },
    Published {
        name: "pad(mode=replicate)",
        build: |g, x| g.replication_pad2d(x[0], [[1, 0], [2, 1]]),
        operands: &[(&[1, 2, 3, 1], 1)],
        y: &[
            -1.25, -1.25, -1.25, 0.5, -1.0, -1.0, -1.25, -1.25, -1.25, 0.5, -1.0, -1.0, 0.75, 0.75, 0.75, -0.75, 1.0,
            1.0,
        ],
        gradients: &[&[0.25, -0.5, -0.25, 0.25, -0.75, 0.5]],
    },
    Published {
        name: "pixel_shuffle",
        build: |g, x| g.pixel_shuffle(x[0], 2),
        operands: &[(&[1, 1, 2, 8], 1)],
        y: &[-1.25, -0.75, 0.5, 1.0, -0.25, 0.25, 1.5, -1.25, -1.0, -0.5, 0.75, 1.25, 0.0, 0.5, -1.5, -1.0],
        gradients: &[&[-1.0, -0.75, 0.0, 0.25, 0.75, 1.0, -1.5, -1.25, -0.5, -0.25, 0.5, 0.75, 1.25, 1.5, -1.0, -0.75]],
    },
    Published {
        name: "pixel_unshuffle",
        build: |g, x| g.pixel_unshuffle(x[0], 2),
        operands: &[(&[1, 2, 4, 2], 1)],
        y: &[-1.25, -1.0, -0.25, 0.0, 0.5, 0.75, 1.5, -1.5, -0.75, -0.5, 0.25, 0.5, 1.0, 1.25, -1.25, -1.0],
        gradients: &[&[-1.0, -0.5, 0.75, 1.25, 0.0, 0.5, -1.5, -1.0, -0.75, -0.25, 1.0, 1.5, 0.25, 0.75, -1.25, -0.75]],
    },
    Published {
        name: "glu",
        build: |g, x| g.glu(x[0], 1),
        operands: &[(&[2, 4], 1)],
        y: &[-0.3361768, 0.3395893, -0.2831555, 0.7772999],
        gradients: &[&[-0.2689414, 0.509384, 0.2457649, 0.0817106, -0.2831555, 0.7772999, 0.1321896, 0.1731048]],
    },
    Published {
        name: "embedding",
        build: embedding,
        operands: &[(&[4, 2], 1)],
        y: &[-0.5, 1.25, -1.25, 0.5, -0.5, 1.25, -1.0, 0.75],
        gradients: &[&[-0.75, 1.0, -0.25, 1.5, 0.0, 0.0, -1.5, 2.0]],
    },
];
