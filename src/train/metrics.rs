//! Metrics: what a model is measured by, over any number of batches.
//!
//! Each keeps counts or sums and divides once, when it is asked for its value: a smaller last batch weighs as much as
//! it has samples, and an epoch gives the same whatever its batches. Predictions are `[n, classes]` scores (logits or
//! probabilities) with i32 labels `[n]` or one-hot rows; for two classes also one score a sample, `[n]` or `[n, 1]`.
//! Axes between these, such as the words of a text or the pixels of an image, make as many samples.
//!
//! ```
//! use outrigger::Tensor;
//! use outrigger::train::metrics::{Accuracy, Average, Metric, precision};
//!
//! # fn main() -> Result<(), outrigger::Error> {
//! let mut metrics: Vec<Box<dyn Metric>> = vec![Box::new(Accuracy::new()), Box::new(precision(3, Average::Macro))];
//! let scores = Tensor::f32([2, 3], vec![0.1, 0.7, 0.2, 0.8, 0.1, 0.1])?;
//! let labels = Tensor::i32([2], vec![1, 2])?;
//! for metric in &mut metrics {
//!     metric.update(&scores, &labels)?;
//! }
//! assert_eq!(metrics[0].value(), 0.5);
//! # Ok(())
//! # }
//! ```

mod classes;
mod curve;

pub use classes::{Average, ClassScore, ConfusionMatrix, f1, precision, recall};
pub use curve::Auc;

use std::borrow::Cow;

use crate::error::Error;
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// Something that is measured batch by batch. A model keeps a copy for training and one for testing, so one that goes with
/// [`Model::compile`](super::Model::compile) is `Clone`.
pub trait Metric {
    /// Its name in logs: `accuracy`, `top_5_accuracy`.
    fn name(&self) -> String;
    /// Adds a batch.
    ///
    /// # Errors
    /// [`Error::Type`] when prediction and target do not fit together, [`Error::Label`] for a label that is no class;
    /// the metric is then as before.
    fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<(), Error>;
    /// The value of all batches since the last reset; NaN without any, unless it says otherwise.
    fn value(&self) -> f64;
    /// Forgets all batches.
    fn reset(&mut self);
}

/// A mean whose parts weigh what they count: of the losses of batches.
///
/// ```
/// let mut loss = outrigger::train::metrics::Mean::default();
/// // a batch of three and one of one
/// loss.add(2.0, 3);
/// loss.add(6.0, 1);
/// assert_eq!(loss.value(), 3.0);
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    /// Adds the mean of `samples` samples.
    pub fn add(&mut self, mean: f64, samples: usize) {
        self.sum += mean * samples as f64;
        self.weight += samples as f64;
    }
    /// The mean of all samples; NaN without any.
    pub fn value(&self) -> f64 {
        self.sum / self.weight
    }
    /// Forgets all samples.
    pub fn reset(&mut self) {
        *self = Mean::default();
    }
}

/// Share of the samples whose label is among the `k` largest scores. Of equal scores the first counts as the largest.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::{Metric, TopK};
///
/// let mut top2 = TopK::new(2);
/// let scores = Tensor::f32([2, 3], vec![0.2, 0.7, 0.1, 0.2, 0.7, 0.1])?;
/// top2.update(&scores, &Tensor::i32([2], vec![0, 2])?)?;
/// assert_eq!((top2.name().as_str(), top2.value()), ("top_2_accuracy", 0.5));
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopK {
    k: usize,
    hits: u64,
    samples: u64,
}

impl TopK {
    /// Among the `k` largest.
    pub fn new(k: usize) -> Self {
        TopK { k, hits: 0, samples: 0 }
    }
}

impl Metric for TopK {
    fn name(&self) -> String {
        format!("top_{}_accuracy", self.k)
    }
    fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<(), Error> {
        let batch = Batch::new(prediction, target)?;
        if batch.width == 1 {
            return Err(unfit("prediction", TensorType::f32([batch.labels.len(), 2]), prediction));
        }
        let hit = |(row, &label): (&[f32], &i32)| rank(row, label as usize) < self.k;
        self.hits += batch.rows().zip(batch.labels.iter()).filter(|&pair| hit(pair)).count() as u64;
        self.samples += batch.labels.len() as u64;
        Ok(())
    }
    fn value(&self) -> f64 {
        self.hits as f64 / self.samples as f64
    }
    fn reset(&mut self) {
        (self.hits, self.samples) = (0, 0);
    }
}

/// Share of the samples whose predicted class is their label. With one score a sample the class is 1 above a threshold.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::{Accuracy, Metric};
///
/// let mut accuracy = Accuracy::new();
/// let scores = Tensor::f32([2, 2], vec![0.9, 0.1, 0.8, 0.2])?;
/// accuracy.update(&scores, &Tensor::i32([2], vec![0, 1])?)?;
/// assert_eq!(accuracy.value(), 0.5);
/// // one logit a sample: above 0 is class 1
/// let mut accuracy = Accuracy::new().with_threshold(0.0);
/// accuracy.update(&Tensor::f32([2, 1], vec![0.3, -4.0])?, &Tensor::i32([2], vec![1, 0])?)?;
/// assert_eq!(accuracy.value(), 1.0);
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    threshold: f32,
    correct: u64,
    samples: u64,
}

impl Accuracy {
    /// With the threshold 0.5, of probabilities.
    pub fn new() -> Self {
        Accuracy { threshold: 0.5, correct: 0, samples: 0 }
    }
    /// Another threshold: 0 for logits.
    pub fn with_threshold(self, threshold: f32) -> Self {
        Accuracy { threshold, ..self }
    }
}

impl Default for Accuracy {
    fn default() -> Self {
        Accuracy::new()
    }
}

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_string()
    }
    fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<(), Error> {
        let batch = Batch::new(prediction, target)?;
        self.correct += batch.predicted(self.threshold).filter(|&(class, label)| class == label).count() as u64;
        self.samples += batch.labels.len() as u64;
        Ok(())
    }
    fn value(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }
    fn reset(&mut self) {
        (self.correct, self.samples) = (0, 0);
    }
}

/// Mean of `|prediction - target|` over all elements, which are f32 and of one shape.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::{MeanAbsoluteError, Metric};
///
/// let mut error = MeanAbsoluteError::default();
/// error.update(&Tensor::f32([2, 1], vec![1.0, 5.0])?, &Tensor::f32([2, 1], vec![2.0, 2.0])?)?;
/// assert_eq!(error.value(), 2.0);
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanAbsoluteError {
    sum: f64,
    elements: u64,
}

impl Metric for MeanAbsoluteError {
    fn name(&self) -> String {
        "mean_absolute_error".to_string()
    }
    fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<(), Error> {
        let (p, t) = match (prediction.as_f32(), target.as_f32()) {
            (Some(p), Some(t)) if prediction.shape() == target.shape() => (p, t),
            (Some(_), _) => return Err(unfit("target", prediction.ty(), target)),
            (None, _) => return Err(unfit("prediction", TensorType::f32(prediction.shape().clone()), prediction)),
        };
        self.sum += p.iter().zip(t).map(|(p, t)| (f64::from(*p) - f64::from(*t)).abs()).sum::<f64>();
        self.elements += p.len() as u64;
        Ok(())
    }
    fn value(&self) -> f64 {
        self.sum / self.elements as f64
    }
    fn reset(&mut self) {
        *self = MeanAbsoluteError::default();
    }
}

/// Scores of a batch with its labels, which are classes.
struct Batch<'a> {
    scores: &'a [f32],
    /// Scores of a sample.
    width: usize,
    labels: Cow<'a, [i32]>,
}

impl<'a> Batch<'a> {
    fn new(prediction: &'a Tensor, target: &'a Tensor) -> Result<Self, Error> {
        let shape = prediction.shape();
        let Some(scores) = prediction.as_f32() else {
            return Err(unfit("prediction", TensorType::f32(shape.clone()), prediction));
        };
        let (of_labels, width) = match shape.0.as_slice() {
            [_] => (shape.0.as_slice(), 1),
            [before @ .., width] if *width > 0 => (before, *width),
            _ => return Err(unfit("prediction", TensorType::f32([1, 2]), prediction)),
        };
        let samples: usize = of_labels.iter().product();
        let labels = match (target.as_i32(), target.as_f32()) {
            (Some(labels), _) if labels.len() == samples => Cow::Borrowed(labels),
            // one-hot rows, or numbers for two classes
            (_, Some(rows)) if rows.len() == samples * width => {
                let class = |row: &[f32]| if width == 1 { i32::from(row[0] > 0.5) } else { argmax(row) as i32 };
                Cow::Owned(rows.chunks_exact(width).map(class).collect())
            }
            _ => return Err(unfit("target", TensorType::new(DType::I32, of_labels.to_vec()), target)),
        };
        let classes = width.max(2);
        let is_class = |label: i32| usize::try_from(label).is_ok_and(|label| label < classes);
        match labels.iter().position(|&label| !is_class(label)) {
            Some(index) => {
                let name = "target".to_string();
                Err(Error::Label { name, index, label: labels[index], classes })
            }
            None => Ok(Batch { scores, width, labels }),
        }
    }
    fn rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.scores.chunks_exact(self.width)
    }
    /// Predicted class and label of each sample.
    fn predicted(&self, threshold: f32) -> impl Iterator<Item = (usize, usize)> {
        let class = move |row: &[f32]| match row {
            [score] => usize::from(*score > threshold),
            _ => argmax(row),
        };
        self.rows().zip(self.labels.iter()).map(move |(row, &label)| (class(row), label as usize))
    }
}

fn unfit(name: &str, expected: TensorType, got: &Tensor) -> Error {
    Error::Type { name: name.to_string(), expected, got: got.ty() }
}

/// Index of the first largest element. One that is no number is never larger.
pub(super) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] || row[best].is_nan() {
            best = i;
        }
    }
    best
}

/// How many elements come before the one at `at`: larger ones, and equal ones before it. One that is no number comes
/// after all.
fn rank(row: &[f32], at: usize) -> usize {
    let score = row[at];
    if score.is_nan() {
        return row.len();
    }
    row.iter().enumerate().filter(|&(i, x)| *x > score || (*x == score && i < at)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correct_answers_are_the_first_largest_logits() {
        let logits = Tensor::f32([4, 3], vec![0., 2., 1., 5., 5., 1., -3., -2., -1., 0., 0., 9.]).unwrap();
        for (labels, share) in [(vec![1, 0, 2, 2], 1.0), (vec![0, 1, 2, 0], 0.25)] {
            let mut accuracy = Accuracy::new();
            accuracy.update(&logits, &Tensor::i32([4], labels).unwrap()).unwrap();
            assert_eq!(accuracy.value(), share);
        }
    }
}
