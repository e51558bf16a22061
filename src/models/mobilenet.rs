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

use super::{COLOURS, images, kaiming_normal_out};
use crate::error::Error;
use crate::module;
use crate::nn::{
    BatchNorm2d, Conv2d, Dropout, Form, GlobalAvgPool2d, Linear, Module, Network, ReLU6, Sequential, Symbol, sum,
};
use crate::ops::Init;

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

/// Expansion, channels, blocks and first stride of each group of blocks: table 2 of the paper.
const GROUPS: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];

module! {
    /// A block; `shortcut` where input and output have one shape.
    struct InvertedResidual { conv: Sequential, shortcut: bool }
}

impl Module for InvertedResidual {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let y = self.conv.call(x)?;
        if self.shortcut { sum(&y, x) } else { Ok(y) }
    }
}

impl InvertedResidual {
    fn new(inputs: usize, [expansion, outputs, stride]: [usize; 3]) -> Self {
        let hidden = inputs.saturating_mul(expansion);
        let mut body = Sequential::new();
        if expansion != 1 {
            body = body.add(unit(hidden, 1, 1, 1));
        }
        let body = body.add(unit(hidden, 3, stride, hidden)).add(conv(outputs, 1, 1, 1)).add(BatchNorm2d::new());
        InvertedResidual { conv: body, shortcut: stride == 1 && inputs == outputs }
    }
}

fn conv(channels: usize, kernel: usize, stride: usize, groups: usize) -> Conv2d {
    let conv = Conv2d::new(channels, kernel).stride(stride).padding(kernel / 2).groups(groups).bias(false);
    conv.weight_init(kaiming_normal_out(kernel, channels))
}

/// A convolution with its batch norm and ReLU6.
fn unit(channels: usize, kernel: usize, stride: usize, groups: usize) -> Sequential {
    Sequential::new().add(conv(channels, kernel, stride, groups)).add(BatchNorm2d::new()).add(ReLU6::new())
}

impl MobileNetV2 {
    /// The network.
    ///
    /// # Errors
    /// [`Error::Option`] for sizes that make no network.
    pub fn network(&self) -> Result<Network, Error> {
        if !(0.01..=100.0).contains(&self.width) {
            let reason = format!("a factor from 0.01 to 100, got {}", self.width);
            return Err(Error::Option { option: "width".to_string(), reason });
        }
        let images = images(Form::Torch, self.size, COLOURS, self.classes)?;
        let mut inputs = channels(32, self.width);
        let mut features = Sequential::new().add(unit(inputs, 3, 2, 1));
        for [expansion, outputs, blocks, stride] in GROUPS {
            let outputs = channels(outputs, self.width);
            for block in 0..blocks {
                let stride = if block == 0 { stride } else { 1 };
                features = features.add(InvertedResidual::new(inputs, [expansion, outputs, stride]));
                inputs = outputs;
            }
        }
        let features = features.add(unit(channels(1280, self.width.max(1.0)), 1, 1, 1));
        let linear = Linear::new(self.classes).weight_init(Init::Normal(0.01)).bias_init(Init::ZEROS);
        let net = Sequential::new()
            .named("features", features)
            .named("avgpool", GlobalAvgPool2d::new())
            .named("classifier", Sequential::new().add(Dropout::new(0.2)).add(linear));
        Ok(Network::of(&net, images)?.named("mobilenet_v2"))
    }
}

/// `channels · width` as the nearest multiple of 8 that is not more than 10 % smaller (torchvision's
/// `_make_divisible`).
fn channels(channels: usize, width: f64) -> usize {
    let wanted = channels as f64 * width;
    let nearest = ((wanted + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * wanted { nearest + 8 } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Classifier;

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
