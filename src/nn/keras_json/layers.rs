//! Keras's layers as ours, one arm a class.

use serde_json::{Value, json};

use super::initializers::{initializer, weighted};
use super::options::Options;
use crate::error::Error;
use crate::nn::kind::Kind;
use crate::nn::layer::Layer;
use crate::nn::norm::Normalising;
use crate::nn::windows::{Pair, Single, Windowed};
use crate::nn::{
    Activation, AdaptiveAvgPool2d, Add, Average, AvgPool1d, AvgPool2d, BatchNorm2d, Concatenate, Conv1d, Conv2d,
    ConvTranspose2d, DepthwiseConv2d, Dropout, ELU, Embedding, Extents, Flatten, Function, GlobalAvgPool2d,
    GlobalMaxPool2d, GroupNorm, Identity, Interpolation, LayerNorm, LeakyReLU, Linear, MaxPool1d, MaxPool2d, Maximum,
    Multiply, PReLU, Permute, ReLU, ReLU6, Reshape, Softmax, Subtract, Upsample, ZeroPad2d,
};
use crate::ops::Initializer;
use crate::types::{Padding, Padding1d};

/// The layer of a class with its options.
pub(super) fn kind(class: &str, options: &Options<'_>) -> Result<Kind, Error> {
    let o = options;
    o.only("data_format", "channels_last")?;
    Ok(match class {
        "Conv2D" => {
            let layer = windowed(Conv2d::new(o.whole("filters", None)?, o.pair("kernel_size", None)?), o)?;
            let layer = layer.dilation(o.pair("dilation_rate", one())?).groups(o.whole("groups", Some(1))?);
            of(weighted(layer, o, "kernel")?)
        }
        "Conv1D" => {
            let layer = Conv1d::new(o.whole("filters", None)?, o.single("kernel_size", None)?);
            let layer = layer.stride(o.single("strides", Some(1))?).padding(o.padding1d()?);
            let layer = layer.dilation(o.single("dilation_rate", Some(1))?).groups(o.whole("groups", Some(1))?);
            of(weighted(layer, o, "kernel")?)
        }
        "DepthwiseConv2D" => {
            let layer = windowed(DepthwiseConv2d::new(o.pair("kernel_size", None)?), o)?;
            let layer =
                layer.multiplier(o.whole("depth_multiplier", Some(1))?).dilation(o.pair("dilation_rate", one())?);
            of(weighted(layer, o, "depthwise")?)
        }
        "Conv2DTranspose" => {
            let layer = windowed(ConvTranspose2d::new(o.whole("filters", None)?, o.pair("kernel_size", None)?), o)?;
            let mut layer = layer.dilation(o.pair("dilation_rate", one())?);
            if o.get("output_padding").is_some() {
                layer = layer.output_padding(o.pair("output_padding", None)?);
            }
            of(weighted(layer, o, "kernel")?)
        }
        "Dense" => of(weighted(Linear::new(o.whole("units", None)?), o, "kernel")?),
        "Embedding" => {
            o.only("mask_zero", false)?;
            let layer = Embedding::new(o.whole("input_dim", None)?, o.whole("output_dim", None)?);
            of(match initializer(o, "embeddings_initializer")? {
                Some(init) => layer.weight_init(init),
                None => layer,
            })
        }
        "BatchNormalization" => batch_norm(o)?,
        "LayerNormalization" => {
            last_axis(o)?;
            o.only("rms_scaling", false)?;
            of(normalising(LayerNorm::new(1).epsilon(o.number("epsilon", 1e-3)? as f32), o)?)
        }
        "GroupNormalization" => {
            last_axis(o)?;
            let layer = GroupNorm::new(o.whole("groups", Some(32))?).epsilon(o.number("epsilon", 1e-3)? as f32);
            of(normalising(layer, o)?)
        }
        "Dropout" => {
            o.only("noise_shape", Value::Null)?;
            of(Dropout::new(o.number("rate", 0.0)? as f32))
        }
        "MaxPooling2D" => of(windowed(MaxPool2d::new(o.pair("pool_size", Some(Pair([2; 2])))?), o)?),
        "AveragePooling2D" => of(windowed(AvgPool2d::new(o.pair("pool_size", Some(Pair([2; 2])))?), o)?),
        "MaxPooling1D" => of(windowed1d(MaxPool1d::new(o.single("pool_size", Some(2))?), o)?),
        "AveragePooling1D" => of(windowed1d(AvgPool1d::new(o.single("pool_size", Some(2))?), o)?),
        "GlobalAveragePooling2D" if o.flag("keepdims", false)? => of(AdaptiveAvgPool2d::new(1)),
        "GlobalAveragePooling2D" => of(GlobalAvgPool2d::new()),
        "GlobalMaxPooling2D" => {
            o.only("keepdims", false)?;
            of(GlobalMaxPool2d::new())
        }
        "Concatenate" => of(o.axis()?.map_or(Concatenate::new(), |axis| Concatenate::new().axis(axis))),
        "Flatten" => of(Flatten::new()),
        "Reshape" => of(Reshape::new(Extents(o.signed("target_shape")?))),
        "Permute" => of(Permute::new(o.wholes("dims")?)),
        "ZeroPadding2D" => of(ZeroPad2d::sides(borders(o)?)),
        "UpSampling2D" => {
            let interpolation = match o.text("interpolation", "nearest")? {
                "nearest" => Interpolation::Nearest,
                "bilinear" => Interpolation::Bilinear,
                _ => return Err(o.refuse("interpolation", "nearest and bilinear are supported")),
            };
            of(Upsample::new(o.pair("size", Some(Pair([2; 2])))?).interpolation(interpolation))
        }
        "Add" => of(Add::new()),
        "Subtract" => of(Subtract::new()),
        "Multiply" => of(Multiply::new()),
        "Average" => of(Average::new()),
        "Maximum" => of(Maximum::new()),
        _ => return activation(class, o),
    })
}

fn of<K: Clone + Into<Kind>>(layer: Layer<K>) -> Kind {
    layer.definition().kind
}

fn one() -> Option<Pair> {
    Some(Pair([1; 2]))
}

/// Stride and padding; without `strides` the layer's own default.
fn windowed<K>(layer: Layer<K>, o: &Options<'_>) -> Result<Layer<K>, Error>
where
    K: Windowed<Extent = Pair, Padding = Padding>,
{
    let layer = layer.padding(o.padding()?);
    Ok(if o.get("strides").is_some() { layer.stride(o.pair("strides", None)?) } else { layer })
}
fn windowed1d<K>(layer: Layer<K>, o: &Options<'_>) -> Result<Layer<K>, Error>
where
    K: Windowed<Extent = Single, Padding = Padding1d>,
{
    let layer = layer.padding(o.padding1d()?);
    Ok(if o.get("strides").is_some() { layer.stride(o.single("strides", None)?) } else { layer })
}

/// Above and below, left and right: `2`, `[1, 2]` or `[[0, 1], [0, 1]]`.
fn borders(o: &Options<'_>) -> Result<[[usize; 2]; 2], Error> {
    let sides = |value: &Value| serde_json::from_value(value.clone()).ok();
    match o.get("padding").and_then(sides) {
        Some(sides) => Ok(sides),
        None => o.pair("padding", Some(Pair([1; 2]))).map(|Pair([rows, columns])| [[rows; 2], [columns; 2]]),
    }
}

/// Which tensors a normalisation has; they start from ones and zeros.
fn normalising<K: Normalising>(layer: Layer<K>, o: &Options<'_>) -> Result<Layer<K>, Error> {
    for (option, class) in [
        ("gamma_initializer", "Ones"),
        ("beta_initializer", "Zeros"),
        ("moving_mean_initializer", "Zeros"),
        ("moving_variance_initializer", "Ones"),
    ] {
        if let Some(init) = o.get(option)
            && init.get("class_name").and_then(Value::as_str) != Some(class)
        {
            return Err(o.refuse(option, format!("only {class} is supported")));
        }
    }
    Ok(layer.scale(o.flag("scale", true)?).center(o.flag("center", true)?))
}

/// The channels, which Keras counts from the back, or as the last of an image's axes.
fn last_axis(o: &Options<'_>) -> Result<(), Error> {
    match o.get("axis") {
        Some(axis) if ![json!(-1), json!([-1]), json!(3), json!([3])].contains(axis) => {
            Err(o.refuse("axis", "only the last axis, -1, is supported"))
        }
        _ => Ok(()),
    }
}

fn batch_norm(o: &Options<'_>) -> Result<Kind, Error> {
    last_axis(o)?;
    o.only("renorm", false)?;
    o.only("renorm_clipping", Value::Null)?;
    o.number("renorm_momentum", 0.99)?;
    let (epsilon, momentum) = (o.number("epsilon", 1e-3)?, o.number("momentum", 0.99)?);
    let mut layer = BatchNorm2d::new();
    // the form's own defaults, which are exact where one minus a momentum is not
    if epsilon != 1e-3 {
        layer = layer.epsilon(epsilon as f32);
    }
    if momentum != 0.99 {
        layer = layer.momentum(momentum as f32);
    }
    Ok(of(normalising(layer, o)?))
}

/// Layers that are functions.
fn activation(class: &str, o: &Options<'_>) -> Result<Kind, Error> {
    Ok(match class {
        "Activation" => match o.function()? {
            Some(function) => of(Activation::new(function)),
            None => of(Activation::new(Function::Identity)),
        },
        "Identity" => of(Identity::new()),
        "ReLU" => {
            o.only("threshold", 0.0).or_else(|_| o.only("threshold", 0))?;
            let slope = o.number("negative_slope", 0.0)?;
            match (o.get("max_value").map(Value::as_f64), slope) {
                (None, 0.0) => of(ReLU::new()),
                (None, slope) => of(LeakyReLU::new(slope as f32)),
                (Some(Some(6.0)), 0.0) => of(ReLU6::new()),
                _ => return Err(o.refuse("max_value", "only 6 without a negative slope, or none, is supported")),
            }
        }
        "LeakyReLU" => of(LeakyReLU::new(o.number("negative_slope", 0.3)? as f32)),
        "ELU" => of(ELU::new(o.number("alpha", 1.0)? as f32)),
        "Softmax" => of(o.axis()?.map_or(Softmax::new(), |axis| Softmax::new().axis(axis))),
        "PReLU" => {
            if let Some(init) = initializer(o, "alpha_initializer")?
                && init != Initializer::zeros()
            {
                return Err(o.refuse("alpha_initializer", "only Zeros is supported"));
            }
            match o.get("shared_axes") {
                None => of(PReLU::new()),
                Some(axes) if *axes == json!([1, 2]) => of(PReLU::new().per_channel(true)),
                Some(_) => return Err(o.refuse("shared_axes", "only [1, 2] or none is supported")),
            }
        }
        _ => return Err(o.unsupported(class)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions that Keras calls by name are known.
    #[test]
    fn functions_are_read_by_keras_names() {
        for name in ["relu", "relu6", "elu", "selu", "gelu", "silu", "hard_sigmoid", "tanh", "softplus", "softmax"] {
            let config = json!({ "activation": name });
            let options = Options::new("layer", config.as_object().unwrap());
            let kind = activation("Activation", &options).unwrap();
            assert_eq!(kind.function(), Some(name.parse::<Function>().unwrap()));
        }
    }
}
