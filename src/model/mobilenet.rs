//! MobileNetV2 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks"), with the names of
//! `torchvision.models.mobilenet_v2`.
//!
//! ```text
//!  images ─▶ conv 3×3/2 32 ─▶ 17 blocks of 16 … 320 channels ─▶ conv 1×1 1280 ─▶ mean ─▶ dropout ─▶ linear ─▶ logits
//!  224²      112²             112² … 7²
//!
//!  block:  x ─┬─ conv 1×1, 6 times the channels ─ depthwise 3×3 ─ conv 1×1 ─ bn ─┬─ add ─▶
//!             └──────────────────── if the shapes are equal ─────────────────────┘
//!  a batch norm and ReLU6 follow every convolution but a block's last one, which has the batch norm only
//! ```

use super::Model;
use super::builder::{Builder, Conv, Task, classifier, kaiming_normal_out};
use super::resnet::COLOURS;
use crate::error::Error;
use crate::graph::{ConvOptions, Graph, Value};
use crate::nn::Form;
use crate::ops::Init;
use crate::types::Padding;

/// MobileNetV2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MobileNetV2 {
    /// Classes to tell apart.
    pub classes: usize,
    /// Rows and columns of an image.
    pub size: usize,
    /// Factor of all channels, rounded to multiples of 8; the last convolution never has fewer than 1280.
    pub width: f64,
}

impl Default for MobileNetV2 {
    /// For 1000 classes of 224 × 224 pixels, full width.
    fn default() -> Self {
        MobileNetV2 { classes: 1000, size: 224, width: 1.0 }
    }
}

impl Model for MobileNetV2 {
    fn training(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, true)
    }
    fn evaluation(&self, batch: usize) -> Result<Graph, Error> {
        self.build(batch, false)
    }
}

/// Expansion, channels, blocks and first stride of each group of blocks: table 2 of the paper.
const GROUPS: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];

impl MobileNetV2 {
    fn build(&self, batch: usize, training: bool) -> Result<Graph, Error> {
        if !(0.01..=100.0).contains(&self.width) {
            let reason = format!("a factor from 0.01 to 100, got {}", self.width);
            return Err(Error::Option { option: "width".to_string(), reason });
        }
        let task = Task {
            name: "mobilenet_v2".to_string(),
            batch,
            image: [self.size, self.size, COLOURS],
            classes: self.classes,
            training,
            form: Form::Torch,
        };
        classifier(&task, |builder, images| {
            let stem = Unit { outputs: channels(32, self.width), kernel: 3, stride: 2, depthwise: false };
            let mut x = stem.add(builder, images, ["features.0.0", "features.0.1"], true)?;
            let mut layer = 1;
            for [expansion, outputs, blocks, stride] in GROUPS {
                for block in 0..blocks {
                    let stride = if block == 0 { stride } else { 1 };
                    let path = format!("features.{layer}");
                    x = inverted_residual(builder, x, &path, [expansion, channels(outputs, self.width), stride])?;
                    layer += 1;
                }
            }
            let last = Unit { outputs: channels(1280, self.width.max(1.0)), kernel: 1, stride: 1, depthwise: false };
            let x = last.add(builder, x, ["features.18.0", "features.18.1"], true)?;
            let x = builder.graph.global_avg_pool(x)?;
            let x = builder.dropout(x, "classifier.0", 0.2)?;
            builder.linear(x, "classifier.1", self.classes, [Init::Normal(0.01), Init::ZEROS])
        })
    }
}

/// `channels · width` as the nearest multiple of 8 that is not more than 10 % smaller (torchvision's
/// `_make_divisible`).
fn channels(channels: usize, width: f64) -> usize {
    let wanted = channels as f64 * width;
    let nearest = ((wanted + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * wanted { nearest + 8 } else { nearest }
}

fn inverted_residual(
    builder: &mut Builder<'_>,
    x: Value,
    path: &str,
    [expansion, outputs, stride]: [usize; 3],
) -> Result<Value, Error> {
    let inputs = builder.channels(x, path)?;
    let hidden = inputs * expansion;
    let mut y = x;
    let mut layer = 0;
    if expansion != 1 {
        let names = [&*format!("{path}.conv.0.0"), &*format!("{path}.conv.0.1")];
        y = Unit { outputs: hidden, kernel: 1, stride: 1, depthwise: false }.add(builder, y, names, true)?;
        layer = 1;
    }
    let names = [&*format!("{path}.conv.{layer}.0"), &*format!("{path}.conv.{layer}.1")];
    y = Unit { outputs: hidden, kernel: 3, stride, depthwise: true }.add(builder, y, names, true)?;
    let names = [&*format!("{path}.conv.{}", layer + 1), &*format!("{path}.conv.{}", layer + 2)];
    y = Unit { outputs, kernel: 1, stride: 1, depthwise: false }.add(builder, y, names, false)?;
    if stride == 1 && inputs == outputs { builder.graph.scope(path, |g| g.add_values(x, y)) } else { Ok(y) }
}

/// A convolution with its batch norm.
struct Unit {
    outputs: usize,
    kernel: usize,
    stride: usize,
    /// A group for each channel.
    depthwise: bool,
}

impl Unit {
    /// Adds it to `x`, with ReLU6 if `activate`; `names` are those of convolution and batch norm.
    fn add(self, builder: &mut Builder<'_>, x: Value, names: [&str; 2], activate: bool) -> Result<Value, Error> {
        let Unit { outputs, kernel, stride, depthwise } = self;
        let options = ConvOptions {
            stride: [stride; 2],
            padding: Padding::all(kernel / 2),
            groups: if depthwise { outputs } else { 1 },
            ..ConvOptions::default()
        };
        let weight = kaiming_normal_out(kernel, outputs);
        let y = builder.conv(x, names[0], Conv { outputs, kernel, options, weight, bias: None })?;
        let y = builder.norm(y, names[1])?;
        if activate { builder.graph.scope(names[1], |g| g.clamp(y, 0.0, 6.0)) } else { Ok(y) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_torchvisions() {
        // mobilenet_v2(width_mult=0.5) and 0.35
        assert_eq!([32, 16, 24, 96, 320].map(|c| channels(c, 0.5)), [16, 8, 16, 48, 160]);
        assert_eq!([32, 16, 24, 64, 96].map(|c| channels(c, 0.35)), [16, 8, 8, 24, 32]);
    }

    #[test]
    fn a_width_that_makes_no_network_is_refused() {
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = MobileNetV2 { width, ..MobileNetV2::default() }.training(1).unwrap_err();
            assert!(matches!(&error, Error::Option { option, .. } if option == "width"), "{error}");
        }
    }
}
