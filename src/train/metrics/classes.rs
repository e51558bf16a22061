//! The confusion matrix, and what is read from it: precision, recall, F1.

use super::{Batch, Metric, unfit};
use crate::error::Error;
use crate::tensor::Tensor;
use crate::types::TensorType;

/// How often each class was taken for each: `count(label, predicted)`.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::ConfusionMatrix;
///
/// // classes 0, 1, 1 and 0 are predicted
/// let scores = Tensor::f32([4, 2], vec![0.9, 0.1, 0.2, 0.8, 0.3, 0.7, 0.6, 0.4])?;
/// let labels = Tensor::i32([4], vec![0, 0, 1, 1])?;
/// let mut matrix = ConfusionMatrix::new(2);
/// matrix.update(&scores, &labels)?;
/// assert_eq!((matrix.row(0), matrix.row(1)), (&[1, 1][..], &[1, 1][..]));
/// assert_eq!((matrix.accuracy(), matrix.recall(1)), (0.5, 0.5));
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusionMatrix {
    classes: usize,
    threshold: f32,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// A matrix of zeros for `classes` classes, at least two. With one score a sample the class is 1 above 0.5.
    pub fn new(classes: usize) -> Self {
        let classes = classes.max(2);
        ConfusionMatrix { classes, threshold: 0.5, counts: vec![0; classes * classes] }
    }
    /// Another threshold for one score a sample: 0 for logits.
    pub fn with_threshold(self, threshold: f32) -> Self {
        ConfusionMatrix { threshold, ..self }
    }
    /// Samples of the class `label` for which `predicted` was predicted; 0 for what is no class.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        if predicted < self.classes { self.row(label).get(predicted).copied().unwrap_or(0) } else { 0 }
    }
    /// Samples of the class `label` by predicted class; empty for what is no class.
    pub fn row(&self, label: usize) -> &[u64] {
        self.counts.chunks_exact(self.classes).nth(label).unwrap_or_default()
    }
    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }
    /// Adds a batch.
    ///
    /// # Errors
    /// As [`Metric::update`]; also [`Error::Type`] for another number of scores.
    pub fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<(), Error> {
        let batch = Batch::new(prediction, target)?;
        if batch.width.max(2) != self.classes {
            let expected = TensorType::f32([batch.labels.len(), self.classes]);
            return Err(unfit("prediction", expected, prediction));
        }
        for (class, label) in batch.predicted(self.threshold) {
            self.counts[label * self.classes + class] += 1;
        }
        Ok(())
    }
    /// Forgets all batches.
    pub fn reset(&mut self) {
        self.counts.fill(0);
    }

    /// Share of samples on the diagonal; NaN without samples.
    pub fn accuracy(&self) -> f64 {
        let correct: u64 = (0..self.classes).map(|c| self.count(c, c)).sum();
        correct as f64 / self.counts.iter().sum::<u64>() as f64
    }
    /// Of the samples that were taken for `class`, the share that is of it; 0 without any.
    pub fn precision(&self, class: usize) -> f64 {
        ratio(self.count(class, class), self.predicted(class))
    }
    /// Of the samples of `class`, the share that was taken for it; 0 without any.
    pub fn recall(&self, class: usize) -> f64 {
        ratio(self.count(class, class), self.support(class))
    }
    /// The harmonic mean of precision and recall; 0 where both are.
    pub fn f1(&self, class: usize) -> f64 {
        ratio(2 * self.count(class, class), self.predicted(class) + self.support(class))
    }
    /// Samples of the class.
    pub fn support(&self, class: usize) -> u64 {
        self.row(class).iter().sum()
    }
    fn predicted(&self, class: usize) -> u64 {
        (0..self.classes).map(|label| self.count(label, class)).sum()
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// How the scores of classes become one, under scikit-learn's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The score of one class: 1 where there are two.
    Class(usize),
    /// The mean of all classes, each weighing the same.
    Macro,
    /// The mean of all classes, each weighing as much as it has samples.
    Weighted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Precision,
    Recall,
    F1,
}

/// Precision, recall or F1; see [`precision()`], [`recall`], [`f1`]. 0 where a class has no samples.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassScore {
    kind: Kind,
    average: Average,
    matrix: ConfusionMatrix,
}

/// Of the samples that were taken for a class, the share that is of it.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::{Average, Metric, precision};
///
/// // three are taken for class 1, and two of them are
/// let scores = Tensor::f32([4, 1], vec![0.9, 0.8, 0.7, 0.1])?;
/// let labels = Tensor::i32([4], vec![1, 1, 0, 1])?;
/// let mut metric = precision(2, Average::Class(1));
/// metric.update(&scores, &labels)?;
/// assert_eq!(metric.value(), 2.0 / 3.0);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub fn precision(classes: usize, average: Average) -> ClassScore {
    ClassScore { kind: Kind::Precision, average, matrix: ConfusionMatrix::new(classes) }
}
/// Of the samples of a class, the share that was taken for it.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::{Average, Metric, recall};
///
/// // one of three is found
/// let scores = Tensor::f32([4, 1], vec![0.9, 0.2, 0.3, 0.1])?;
/// let labels = Tensor::i32([4], vec![1, 1, 0, 1])?;
/// let mut metric = recall(2, Average::Class(1));
/// metric.update(&scores, &labels)?;
/// assert_eq!(metric.value(), 1.0 / 3.0);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub fn recall(classes: usize, average: Average) -> ClassScore {
    ClassScore { kind: Kind::Recall, average, matrix: ConfusionMatrix::new(classes) }
}
/// The harmonic mean of precision and recall.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::{Average, Metric, f1};
///
/// // a precision of 1, a recall of a third
/// let scores = Tensor::f32([4, 1], vec![0.9, 0.2, 0.3, 0.1])?;
/// let labels = Tensor::i32([4], vec![1, 1, 0, 1])?;
/// let mut metric = f1(2, Average::Class(1));
/// metric.update(&scores, &labels)?;
/// assert_eq!(metric.value(), 0.5);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub fn f1(classes: usize, average: Average) -> ClassScore {
    ClassScore { kind: Kind::F1, average, matrix: ConfusionMatrix::new(classes) }
}

impl ClassScore {
    /// Another threshold for one score a sample: 0 for logits.
    pub fn with_threshold(self, threshold: f32) -> Self {
        ClassScore { matrix: self.matrix.with_threshold(threshold), ..self }
    }
}

impl Metric for ClassScore {
    fn name(&self) -> String {
        match self.kind {
            Kind::Precision => "precision",
            Kind::Recall => "recall",
            Kind::F1 => "f1_score",
        }
        .to_string()
    }
    fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<(), Error> {
        match self.average {
            Average::Class(class) if class >= self.matrix.classes => {
                let reason = format!("the {} classes are numbered from 0, got class {class}", self.matrix.classes);
                Err(Error::Option { option: "average".to_string(), reason })
            }
            Average::Class(_) | Average::Macro | Average::Weighted => self.matrix.update(prediction, target),
        }
    }
    fn value(&self) -> f64 {
        let matrix = &self.matrix;
        let score = |class| match self.kind {
            Kind::Precision => matrix.precision(class),
            Kind::Recall => matrix.recall(class),
            Kind::F1 => matrix.f1(class),
        };
        let classes = 0..matrix.classes;
        match self.average {
            Average::Class(class) => score(class),
            Average::Macro => classes.map(score).sum::<f64>() / matrix.classes as f64,
            Average::Weighted => {
                let samples = matrix.counts.iter().sum::<u64>().max(1);
                classes.map(|class| score(class) * matrix.support(class) as f64).sum::<f64>() / samples as f64
            }
        }
    }
    fn reset(&mut self) {
        self.matrix.reset();
    }
}
