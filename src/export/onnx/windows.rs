//! Convolution, pooling and batch norm, which ONNX knows with channels first only.

use super::order::{FILTER, channels_first};
use super::proto::AttributeProto;
use super::writer::{Writer, float, int, ints};
use crate::error::Error;
use crate::graph::Value;
use crate::ops::{Conv2d, Pool};

/// Before rows, before columns, after rows, after columns.
fn pads(padding: [[usize; 2]; 2]) -> AttributeProto {
    ints("pads", [padding[0][0], padding[1][0], padding[0][1], padding[1][1]])
}

fn attributes(w: &Writer<'_>, conv: &Conv2d, filter: Value) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", w.shape(filter).0.iter().take(2).copied()),
        ints("strides", conv.stride),
        pads(conv.padding),
        ints("dilations", conv.dilation),
        int("group", conv.groups as i64),
    ]
}

/// A convolution with a bias.
pub(super) fn conv2d(
    w: &mut Writer<'_>,
    conv: &Conv2d,
    [x, filter]: [Value; 2],
    bias: Option<Value>,
    y: Value,
    path: &str,
) -> Result<(), Error> {
    let attributes = attributes(w, conv, filter);
    operation(w, "Conv", attributes, [x, filter], bias, y, path)
}

/// The gradient of a convolution with respect to its input, which is a transposed convolution: ONNX has its weight as
/// `[in, out/groups, rows, columns]`, which is the convolution's own `[out, in/groups, rows, columns]`.
pub(super) fn conv2d_transposed(
    w: &mut Writer<'_>,
    conv: &Conv2d,
    [x, filter]: [Value; 2],
    bias: Option<Value>,
    y: Value,
    path: &str,
) -> Result<(), Error> {
    let mut attributes = attributes(w, conv, filter);
    // pixels behind the last window, which a stride above 1 leaves over
    let rest = [0, 1].map(|axis| {
        let window = conv.window(axis, w.shape(filter).0[axis]);
        let reached = (w.shape(x).0[axis + 1] - 1) * window.stride + window.span();
        (w.shape(y).0[axis + 1] + conv.padding[axis][0] + conv.padding[axis][1]).saturating_sub(reached)
    });
    attributes.push(ints("output_padding", rest));
    operation(w, "ConvTranspose", attributes, [x, filter], bias, y, path)
}

fn operation(
    w: &mut Writer<'_>,
    kind: &str,
    attributes: Vec<AttributeProto>,
    [x, filter]: [Value; 2],
    bias: Option<Value>,
    y: Value,
    path: &str,
) -> Result<(), Error> {
    let order = channels_first(4);
    let mut operands = vec![w.take(x, &order)?, w.take(filter, &FILTER)?];
    if let Some(bias) = bias {
        operands.push(w.take(bias, &[0])?);
    }
    let tensor = w.node(kind, &operands, attributes, path);
    w.set(y, order, tensor);
    Ok(())
}

fn window(pool: &Pool) -> Vec<AttributeProto> {
    vec![ints("kernel_shape", pool.size), ints("strides", pool.stride), pads(pool.padding)]
}

/// Maximum over windows.
pub(super) fn max_pool(w: &mut Writer<'_>, pool: &Pool, x: Value, y: Value, path: &str) -> Result<(), Error> {
    channelwise(w, "MaxPool", window(pool), &[x], y, path)
}

/// Mean over windows.
pub(super) fn avg_pool(w: &mut Writer<'_>, pool: &Pool, x: Value, y: Value, path: &str) -> Result<(), Error> {
    let mut attributes = window(pool);
    attributes.push(int("count_include_pad", i64::from(pool.count_padding)));
    channelwise(w, "AveragePool", attributes, &[x], y, path)
}

/// Inference batch norm: `(x, gamma, beta, mean, var)`.
pub(super) fn batch_norm(
    w: &mut Writer<'_>,
    epsilon: f32,
    operands: &[Value],
    y: Value,
    path: &str,
) -> Result<(), Error> {
    channelwise(w, "BatchNormalization", vec![float("epsilon", epsilon)], operands, y, path)
}

/// `kind(x, per channel…)`.
fn channelwise(
    w: &mut Writer<'_>,
    kind: &str,
    attributes: Vec<AttributeProto>,
    operands: &[Value],
    y: Value,
    path: &str,
) -> Result<(), Error> {
    // vectors have one order only
    let tensors = operands.iter().map(|&v| w.take(v, &channels_first(w.rank(v)))).collect::<Result<Vec<_>, _>>()?;
    let tensor = w.node(kind, &tensors, attributes, path);
    w.set(y, channels_first(w.rank(y)), tensor);
    Ok(())
}
