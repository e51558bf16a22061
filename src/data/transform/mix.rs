//! Batches in which each image is mixed with the one before it, the first with the last, as torchvision does it.

use crate::data::array::to_categorical;
use crate::data::batch::Batch;
use crate::data::error::DataError;
use crate::data::random::Random;

use super::{BatchTransform, within};

/// λ·image + (1 − λ)·other image, and the same for the targets, with λ from Beta(α, α) (Zhang et al., "mixup: Beyond
/// Empirical Risk Minimization", 2017).
///
/// [`Batch::targets`] holds each class's share afterwards, n×classes; [`Batch::labels`] stay those of the images.
///
/// ```
/// use outrigger::data::{Batch, BatchTransform, Mixup, Random};
///
/// // two images of one value each, of two classes
/// let (shape, inputs, labels) = (vec![2, 4, 4, 1], [[1.0; 16], [0.0; 16]].concat(), vec![0, 1]);
/// let mut batch = Batch { shape, inputs, labels, ..Batch::default() };
/// Mixup::new(2).apply(&mut batch, &mut Random::new(7))?;
/// // the first image has a share of the second, and so has its target
/// let share = batch.inputs[..16].iter().sum::<f32>() / 16.0;
/// assert!((batch.targets[0] - share).abs() < 1e-6 && (batch.targets[0] + batch.targets[1] - 1.0).abs() < 1e-6);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixup {
    /// Number of classes; not used for targets that are numbers already.
    pub classes: usize,
    /// α of the distribution, from 1e-3 to 1e3.
    pub alpha: f64,
}

impl Mixup {
    /// With α = 1: every λ is equally likely.
    pub fn new(classes: usize) -> Mixup {
        Mixup { classes, alpha: 1.0 }
    }
}

impl BatchTransform for Mixup {
    fn apply(&self, batch: &mut Batch, random: &mut Random) -> Result<(), DataError> {
        within("alpha", self.alpha, 1e-3, 1e3)?;
        let lambda = random.beta(self.alpha) as f32;
        let n = batch.len();
        mix_targets(batch, self.classes, lambda)?;
        mix(&mut batch.inputs, n, lambda);
        Ok(())
    }
}

/// A rectangle of another image in place of the image's own, and the targets mixed by area (Yun et al., "CutMix",
/// 2019): the rectangle has the share 1 − λ of the area before it is cut at the border, λ from Beta(α, α).
///
/// Targets are as after [`Mixup`].
///
/// ```
/// use outrigger::data::{Batch, BatchTransform, CutMix, Random};
///
/// // two images of one value each, of two classes
/// let (shape, inputs, labels) = (vec![2, 4, 4, 1], [[1.0; 16], [0.0; 16]].concat(), vec![0, 1]);
/// let mut batch = Batch { shape, inputs, labels, ..Batch::default() };
/// CutMix::new(2).apply(&mut batch, &mut Random::new(7))?;
/// // the first image has a share of the second, and so has its target
/// let share = batch.inputs[..16].iter().sum::<f32>() / 16.0;
/// assert!((batch.targets[0] - share).abs() < 1e-6 && (batch.targets[0] + batch.targets[1] - 1.0).abs() < 1e-6);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CutMix {
    /// Number of classes; not used for targets that are numbers already.
    pub classes: usize,
    /// α of the distribution, from 1e-3 to 1e3.
    pub alpha: f64,
}

impl CutMix {
    /// With α = 1: every λ is equally likely.
    pub fn new(classes: usize) -> CutMix {
        CutMix { classes, alpha: 1.0 }
    }
}

impl BatchTransform for CutMix {
    fn apply(&self, batch: &mut Batch, random: &mut Random) -> Result<(), DataError> {
        within("alpha", self.alpha, 1e-3, 1e3)?;
        let [_, height, width, channels] = batch.shape[..] else {
            return Err(DataError::Mismatch {
                what: "batch to cut and mix",
                expected: "the shape [n, height, width, channels]".into(),
                found: format!("{:?}", batch.shape),
            });
        };
        let half = 0.5 * (1.0 - random.beta(self.alpha)).sqrt();
        let [rows, columns] = [height, width].map(|extent| {
            let (centre, half) = (random.below(extent), (half * extent as f64) as usize);
            [centre.saturating_sub(half), (centre + half).min(extent)]
        });
        let area = (rows[1] - rows[0]) * (columns[1] - columns[0]);
        let lambda = 1.0 - area as f64 / (height * width).max(1) as f64;
        mix_targets(batch, self.classes, lambda as f32)?;

        let size = height * width * channels;
        let last = batch.inputs.len().saturating_sub(size);
        let end = batch.inputs[last..].to_vec();
        // from the last image on, so that the one before it is still whole
        for image in (0..batch.shape[0]).rev() {
            for y in rows[0]..rows[1] {
                let range = (y * width + columns[0]) * channels..(y * width + columns[1]) * channels;
                let to = image * size + range.start;
                match image.checked_sub(1) {
                    Some(before) => {
                        let from = before * size;
                        batch.inputs.copy_within(from + range.start..from + range.end, to);
                    }
                    None => batch.inputs[to..to + range.len()].copy_from_slice(&end[range]),
                }
            }
        }
        Ok(())
    }
}

fn mix_targets(batch: &mut Batch, classes: usize, lambda: f32) -> Result<(), DataError> {
    if batch.targets.is_empty() {
        batch.targets = to_categorical(&batch.labels, classes)?;
    }
    let n = batch.len();
    mix(&mut batch.targets, n, lambda);
    Ok(())
}

/// λ·row + (1 − λ)·the row before, of `n` rows.
fn mix(values: &mut [f32], n: usize, lambda: f32) {
    let size = values.len() / n.max(1);
    let last = values[values.len() - size..].to_vec();
    for row in (0..n).rev() {
        let (before, rest) = values.split_at_mut(row * size);
        let other = if row == 0 { &last[..] } else { &before[(row - 1) * size..] };
        for (value, other) in rest.iter_mut().zip(&other[..size]) {
            *value = lambda * *value + (1.0 - lambda) * other;
        }
    }
}
