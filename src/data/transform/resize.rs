//! Other sizes of an image, by the triangle filter with antialiasing, as PIL and torchvision do it.

use crate::data::array::{Array, MOST_VALUES, Values, elements, to_byte};
use crate::data::error::DataError;
use crate::data::random::Random;

use super::Transform;

/// To which size [`Resize`] brings an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeTo {
    /// Height and width.
    Exactly([usize; 2]),
    /// The shorter side has so many pixels, and the longer keeps the proportion.
    ShorterSide(usize),
}

/// Resizes an image, bilinearly; where it shrinks, each pixel is a mean over all that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// The size.
    pub to: ResizeTo,
}

impl Resize {
    /// Resizes to a height and a width.
    pub fn exactly(size: [usize; 2]) -> Resize {
        Resize { to: ResizeTo::Exactly(size) }
    }

    /// Resizes so that the shorter side has `size` pixels.
    pub fn shorter_side(size: usize) -> Resize {
        Resize { to: ResizeTo::ShorterSide(size) }
    }
}

impl Transform for Resize {
    fn apply(&self, input: Array, _: &mut Random) -> Result<Array, DataError> {
        let [height, width, channels] = input.image_shape()?;
        let longer = |long: usize, short: usize, size: usize| (size as u128 * long as u128 / short as u128) as usize;
        let [rows, columns] = match self.to {
            ResizeTo::Exactly(size) => size,
            ResizeTo::ShorterSide(size) if height <= width => [size, longer(width, height, size)],
            ResizeTo::ShorterSide(size) => [longer(height, width, size), size],
        };
        let fits = |shape: &[usize]| elements(shape).is_some_and(|n| (1..=MOST_VALUES).contains(&n));
        // the image between the two passes counts as well
        if !fits(&[rows, columns, channels]) || !fits(&[height, columns, channels]) {
            let allowed = format!("from 1 pixel to {MOST_VALUES} values, of {channels} channels");
            return Err(DataError::option("size", format!("{rows}×{columns}"), allowed));
        }
        if [rows, columns] == [height, width] {
            return Ok(input);
        }
        let values: Vec<f32> = match input.values() {
            Values::Bytes(bytes) => bytes.iter().map(|&pixel| pixel.into()).collect(),
            Values::Floats(floats) => floats.clone(),
        };
        let wide: Vec<f32> =
            values.chunks_exact(width * channels).flat_map(|row| stretch(row, width, columns, channels)).collect();
        let out = stretch(&wide, height, rows, columns * channels);
        let shape = [rows, columns, channels];
        match input.values() {
            Values::Bytes(_) => Array::new(shape, out.into_iter().map(to_byte).collect::<Vec<u8>>()),
            Values::Floats(_) => Array::new(shape, out),
        }
    }
}

/// `count` weighted means of the `size` blocks of `width` values.
fn stretch(values: &[f32], size: usize, count: usize, width: usize) -> Vec<f32> {
    let scale = size as f64 / count as f64;
    let radius = scale.max(1.0);
    let mut out = vec![0.0; count * width];
    for (i, block) in out.chunks_exact_mut(width).enumerate() {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - radius + 0.5).max(0.0) as usize;
        let last = ((centre + radius + 0.5) as usize).min(size);
        let weight = |j: usize| (1.0 - ((j as f64 + 0.5 - centre) / radius).abs()).max(0.0);
        let total: f64 = (first..last).map(weight).sum();
        for j in first..last {
            let weight = (weight(j) / total) as f32;
            for (value, from) in block.iter_mut().zip(&values[j * width..]) {
                *value += weight * from;
            }
        }
    }
    out
}
