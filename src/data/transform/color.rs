//! Random brightness, contrast, saturation and hue.

use crate::data::array::Array;
use crate::data::error::DataError;
use crate::data::random::Random;

use super::{Transform, within};

/// Changes the colours of an image of one or three channels, with values from 0 to 1 (or bytes).
///
/// A strength s draws a factor from max(0, 1 − s) to 1 + s; a hue of h turns the colours by −h to h of a full circle.
/// The four come in a random order. Grey images keep hue and saturation. Default: nothing changes.
///
/// ```
/// use outrigger::data::{Array, ColorJitter, Random, Transform};
///
/// // all values are scaled by one factor from 0.5 to 1.5
/// let jitter = ColorJitter { brightness: 0.5, ..ColorJitter::default() };
/// let pixel = Array::new([1, 1, 3], vec![0.2f32, 0.4, 0.6])?;
/// let bright = jitter.apply(pixel, &mut Random::new(7))?.into_floats();
/// assert!((0.1..=0.3).contains(&bright[0]) && (bright[1] - 2.0 * bright[0]).abs() < 1e-6);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ColorJitter {
    /// Each value times the factor.
    pub brightness: f64,
    /// The distance from the mean grey times the factor.
    pub contrast: f64,
    /// The distance from the pixel's own grey times the factor.
    pub saturation: f64,
    /// From 0 to 0.5.
    pub hue: f64,
}

impl Transform for ColorJitter {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        let [_, _, channels] = input.image_shape()?;
        if channels != 1 && channels != 3 {
            return Err(DataError::Mismatch {
                what: "channels of an image to colour",
                expected: "1 or 3".into(),
                found: channels.to_string(),
            });
        }
        for (option, strength) in
            [("brightness", self.brightness), ("contrast", self.contrast), ("saturation", self.saturation)]
        {
            within(option, strength, 0.0, f64::INFINITY)?;
        }
        within("hue", self.hue, 0.0, 0.5)?;
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        let mut factor = |strength: f64| random.uniform((1.0 - strength).max(0.0), 1.0 + strength) as f32;
        let (brightness, contrast, saturation) =
            (factor(self.brightness), factor(self.contrast), factor(self.saturation));
        let hue = random.uniform(-self.hue, self.hue) as f32;
        Ok(input.map_floats(|values| {
            for change in order {
                match change {
                    0 if self.brightness > 0.0 => blend(values, brightness, |_| 0.0, channels),
                    1 if self.contrast > 0.0 => {
                        let sum: f64 = values.chunks_exact(channels).map(|pixel| f64::from(grey(pixel))).sum();
                        let mean = (sum / (values.len() / channels) as f64) as f32;
                        blend(values, contrast, |_| mean, channels);
                    }
                    2 if self.saturation > 0.0 && channels == 3 => blend(values, saturation, grey, channels),
                    3 if self.hue > 0.0 && channels == 3 => {
                        values.chunks_exact_mut(3).for_each(|pixel| turn_hue(pixel, hue));
                    }
                    // a strength of 0
                    _ => (),
                }
            }
        }))
    }
}

/// Brightness of a pixel (ITU-R BT.601, with torchvision's digits).
fn grey(pixel: &[f32]) -> f32 {
    match pixel {
        [r, g, b] => 0.2989 * r + 0.587 * g + 0.114 * b,
        _ => pixel[0],
    }
}

/// factor·pixel + (1 − factor)·base, clamped to 0 to 1.
fn blend(values: &mut [f32], factor: f32, base: impl Fn(&[f32]) -> f32, channels: usize) {
    for pixel in values.chunks_exact_mut(channels) {
        let base = base(pixel);
        pixel.iter_mut().for_each(|v| *v = (factor * *v + (1.0 - factor) * base).clamp(0.0, 1.0));
    }
}

/// Turns a pixel's hue by a part of the circle, at the same value and saturation of the HSV model.
fn turn_hue(pixel: &mut [f32], turn: f32) {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]];
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = high - low;
    if chroma <= 0.0 {
        return;
    }
    let sixth = if high == r {
        (g - b) / chroma
    } else if high == g {
        2.0 + (b - r) / chroma
    } else {
        4.0 + (r - g) / chroma
    };
    let sixth = (sixth + 6.0 * turn).rem_euclid(6.0);
    for (value, offset) in pixel.iter_mut().zip([5.0, 3.0, 1.0]) {
        let k = (offset + sixth) % 6.0;
        *value = high - chroma * k.min(4.0 - k).clamp(0.0, 1.0);
    }
}
