//! First values and penalties of a layer's tensors.

use serde_json::Value;

use super::options::Options;
use crate::error::Error;
use crate::nn::layer::Layer;
use crate::nn::weights::Weighted;
use crate::ops::{Distribution, FanMode, Initializer};

/// Bias, first values, penalties and function of a layer with a weight, whose options begin with `prefix`.
pub(super) fn weighted<K: Weighted>(layer: Layer<K>, options: &Options<'_>, prefix: &str) -> Result<Layer<K>, Error> {
    let mut layer = layer.bias(options.flag("use_bias", true)?);
    if let Some(init) = initializer(options, &format!("{prefix}_initializer"))? {
        layer = layer.weight_init(init);
    }
    if let Some(init) = initializer(options, "bias_initializer")? {
        layer = layer.bias_init(init);
    }
    let [l1, l2] = penalty(options, &format!("{prefix}_regularizer"))?;
    layer = layer.l1(l1).l2(l2);
    Ok(match options.function()? {
        Some(function) => layer.activation(function),
        None => layer,
    })
}

/// Class and options of an object of Keras: `{"class_name": "L2", "config": {"l2": 0.01}}`.
fn object<'v>(options: &Options<'v>, option: &str) -> Result<Option<(&'v str, &'v Value)>, Error> {
    let Some(value) = options.get(option) else { return Ok(None) };
    let parts = value.get("class_name").and_then(Value::as_str).zip(value.get("config"));
    parts.map(Some).ok_or_else(|| options.refuse(option, "must have a class_name and a config"))
}

/// `None` where the layer's own default is meant.
pub(super) fn initializer(options: &Options<'_>, option: &str) -> Result<Option<Initializer>, Error> {
    let Some((class, config)) = object(options, option)? else { return Ok(None) };
    let number = |key: &str, default: f64| match config.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_f64().ok_or_else(|| options.refuse(option, format!("{key} must be a number"))),
    };
    let single = |key: &str, default: f64| number(key, default).map(|x| x as f32);
    Ok(Some(match class {
        "Zeros" => Initializer::zeros(),
        "Ones" => Initializer::ones(),
        "Constant" => Initializer::constant(single("value", 0.0)?),
        "RandomUniform" => Initializer::uniform(single("minval", -0.05)?, single("maxval", 0.05)?),
        "RandomNormal" => Initializer::normal(single("mean", 0.0)?, single("stddev", 0.05)?),
        "TruncatedNormal" => Initializer::truncated_normal(single("mean", 0.0)?, single("stddev", 0.05)?),
        "GlorotUniform" => Initializer::glorot_uniform(),
        "GlorotNormal" => Initializer::glorot_normal(),
        "HeUniform" => Initializer::he_uniform(),
        "HeNormal" => Initializer::he_normal(),
        "LecunUniform" => Initializer::lecun_uniform(),
        "LecunNormal" => Initializer::lecun_normal(),
        "Orthogonal" | "OrthogonalInitializer" => Initializer::orthogonal(single("gain", 1.0)?),
        "Identity" | "IdentityInitializer" => Initializer::identity(single("gain", 1.0)?),
        "VarianceScaling" => {
            let word = |key: &str, default| config.get(key).and_then(Value::as_str).unwrap_or(default);
            let mode = match word("mode", "fan_in") {
                "fan_in" => FanMode::FanIn,
                "fan_out" => FanMode::FanOut,
                "fan_avg" => FanMode::FanAvg,
                other => return Err(options.refuse(option, format!("there is no mode {other}"))),
            };
            let distribution = match word("distribution", "truncated_normal") {
                "truncated_normal" | "normal" => Distribution::TruncatedNormal,
                "untruncated_normal" => Distribution::UntruncatedNormal,
                "uniform" => Distribution::Uniform,
                other => return Err(options.refuse(option, format!("there is no distribution {other}"))),
            };
            Initializer::variance_scaling(number("scale", 1.0)?, mode, distribution)
        }
        _ => return Err(options.refuse(option, "this initializer is not supported")),
    }))
}

/// Factors of `Σ |w|` and `Σ w²`.
fn penalty(options: &Options<'_>, option: &str) -> Result<[f32; 2], Error> {
    let Some((class, config)) = object(options, option)? else { return Ok([0.0; 2]) };
    let factor = |key: &str| config.get(key).and_then(Value::as_f64).unwrap_or(0.0) as f32;
    match class {
        "L1" | "L2" | "L1L2" => Ok([factor("l1"), factor("l2")]),
        _ => Err(options.refuse(option, "this regularizer is not supported")),
    }
}
