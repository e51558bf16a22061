//! From bytes to numbers, and to numbers of mean 0 and variance 1.

use crate::data::array::{Array, Values};
use crate::data::error::DataError;
use crate::data::random::Random;

use super::Transform;

/// Bytes from 0 to 255 become numbers from 0 to 1; numbers stay.
///
/// The layout stays height×width×channels, which is what the engine computes on; PyTorch's transform of this name
/// moves the channels to the front.
///
/// ```
/// use outrigger::data::{Array, Random, ToTensor, Transform};
///
/// let pixel = Array::new([1, 1, 1], vec![51u8])?;
/// let value = ToTensor.apply(pixel, &mut Random::new(7))?;
/// assert_eq!(value, Array::new([1, 1, 1], vec![0.2f32])?);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToTensor;

impl Transform for ToTensor {
    fn apply(&self, input: Array, _: &mut Random) -> Result<Array, DataError> {
        let shape = input.shape().to_vec();
        Array::new(shape, input.into_floats())
    }
}

/// (x − mean) / std for each channel, the last dimension. Bytes become numbers first, as by [`ToTensor`].
///
/// ```
/// use outrigger::data::{Array, Normalize, Random, Transform};
///
/// let pixel = Array::new([1, 1, 2], vec![0.75f32, 0.5])?;
/// let value = Normalize::new([0.5, 0.5], [0.25, 0.5]).apply(pixel, &mut Random::new(7))?;
/// assert_eq!(value, Array::new([1, 1, 2], vec![1.0f32, 0.0])?);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    /// The mean of each channel, of values from 0 to 1.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, not 0.
    pub std: Vec<f32>,
}

impl Normalize {
    /// Normalises with these means and standard deviations.
    pub fn new(mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Normalize {
        Normalize { mean: mean.into(), std: std.into() }
    }
}

impl Transform for Normalize {
    fn apply(&self, input: Array, _: &mut Random) -> Result<Array, DataError> {
        let shape = input.shape().to_vec();
        let channels = shape.last().copied().unwrap_or(0);
        if self.mean.len() != channels || self.std.len() != channels {
            return Err(DataError::Mismatch {
                what: "channels to normalise",
                expected: format!("{} means and {} standard deviations", self.mean.len(), self.std.len()),
                found: format!("{channels} channels in {shape:?}"),
            });
        }
        if let Some(std) = self.std.iter().find(|&&std| std == 0.0 || !std.is_finite()) {
            return Err(DataError::option("std", std, "a standard deviation is a number other than 0"));
        }
        let mut values = input.into_floats();
        for pixel in values.chunks_exact_mut(channels.max(1)) {
            for ((value, mean), std) in pixel.iter_mut().zip(&self.mean).zip(&self.std) {
                *value = (*value - mean) / std;
            }
        }
        Array::new(shape, Values::Floats(values))
    }
}
