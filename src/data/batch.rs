//! Samples of one step, side by side.

use super::array::{Sample, Target, extend};
use super::error::DataError;

/// Inputs and targets of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Shape of the inputs: [n, …], n×height×width×channels for images.
    pub shape: Vec<usize>,
    /// The inputs; pixels are divided by 255.
    pub inputs: Vec<f32>,
    /// Class index of each input: n, or none for a data set without classes.
    pub labels: Vec<i32>,
    /// Numbers for each input, n rows: the targets of a data set that has numbers, or each class's share after
    /// [`Mixup`](super::Mixup) or [`CutMix`](super::CutMix); else none.
    pub targets: Vec<f32>,
}

impl Batch {
    /// Number of samples, n.
    pub fn len(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Whether there is no sample: never so in a batch from a [`DataLoader`](super::DataLoader).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the samples and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.shape.clear();
        self.inputs.clear();
        self.labels.clear();
        self.targets.clear();
    }

    /// Adds a sample.
    ///
    /// Errors: an input of another shape than those before, a target of another kind or length.
    pub(super) fn push(&mut self, sample: Sample) -> Result<(), DataError> {
        let (n, shape) = (self.len(), sample.input.shape());
        if n == 0 {
            self.shape.extend([0].iter().chain(shape));
        } else if self.shape[1..] != *shape {
            return Err(DataError::Mismatch {
                what: "input of a batch (Resize and CenterCrop bring images to one size)",
                expected: format!("{:?}, as the batch's first", &self.shape[1..]),
                found: format!("{shape:?}"),
            });
        }
        let (labels, width) = match (n, &sample.target) {
            (0, Target::None) => (false, 0),
            (0, Target::Class(_)) => (true, 0),
            (0, Target::Values(values)) => (false, values.len()),
            _ => (!self.labels.is_empty(), self.targets.len() / n.max(1)),
        };
        match &sample.target {
            Target::None if !labels && width == 0 => (),
            Target::Class(label) if labels => self.labels.push(*label),
            Target::Values(values) if !labels && width == values.len() => self.targets.extend_from_slice(values),
            found => {
                return Err(DataError::Mismatch {
                    what: "target of a batch",
                    expected: if labels { "a class".to_string() } else { format!("{width} values") },
                    found: format!("{found:?}"),
                });
            }
        }
        extend(&mut self.inputs, sample.input.values());
        self.shape[0] = n + 1;
        Ok(())
    }
}
