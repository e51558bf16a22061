//! Other sizes of an image, by the triangle filter with antialiasing, as PIL and torchvision do it.

use crate::data::array::Array;
use crate::data::error::DataError;
use crate::data::random::Random;

use super::{Transform, check_size};

/// To which size [`Resize`] brings an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeTo {
    /// Height and width.
    Exactly([usize; 2]),
    /// The shorter side has so many pixels, and the longer keeps the proportion.
    ShorterSide(usize),
}

/// Resizes an image, bilinearly; where it shrinks, each pixel is a mean over all that it covers.
///
/// ```
/// use outrigger::data::{Array, Random, Resize, Transform};
///
/// let image = Array::new([2, 4, 1], vec![0u8, 0, 8, 8, 0, 0, 8, 8])?;
/// let small = Resize::shorter_side(1).apply(image, &mut Random::new(7))?;
/// assert_eq!(small.shape(), [1, 2, 1]);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
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
        // the image between the two passes counts as well
        check_size([rows, columns], &[[rows, columns, channels], [height, columns, channels]])?;
        if [rows, columns] == [height, width] {
            return Ok(input);
        }
        let wide = stretch(&input.values().to_numbers(), width, columns, channels);
        let out = stretch(&wide, height, rows, columns * channels);
        Array::new([rows, columns, channels], input.values().like(out))
    }
}

/// `count` weighted means for every `size` blocks of `width` values.
fn stretch(values: &[f32], size: usize, count: usize, width: usize) -> Vec<f32> {
    let scale = size as f64 / count as f64;
    let radius = scale.max(1.0);
    let taps = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - radius + 0.5).max(0.0) as usize;
        let last = ((centre + radius + 0.5) as usize).min(size);
        let weight = |j: usize| (1.0 - ((j as f64 + 0.5 - centre) / radius).abs()).max(0.0);
        let total: f64 = (first..last).map(weight).sum();
        (first, (first..last).map(|j| (weight(j) / total) as f32).collect::<Vec<_>>())
    };
    let taps: Vec<_> = (0..count).map(taps).collect();
    let mut out = vec![0.0; values.len() / size * count];
    for (from, to) in values.chunks_exact(size * width).zip(out.chunks_exact_mut(count * width)) {
        for ((first, weights), block) in taps.iter().zip(to.chunks_exact_mut(width)) {
            for (weight, from) in weights.iter().zip(from[first * width..].chunks_exact(width)) {
                for (value, from) in block.iter_mut().zip(from) {
                    *value += weight * from;
                }
            }
        }
    }
    out
}
