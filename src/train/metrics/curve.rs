//! The area under the receiver operating characteristic.

use super::{Batch, Metric, unfit};
use crate::error::Error;
use crate::tensor::Tensor;
use crate::types::TensorType;

/// The chance that a sample of class 1 has a larger score than one of class 0, a tie counting half: the area under
/// the ROC curve (Hanley & McNeil 1982). Takes one score a sample, or two, of which the second minus the first
/// counts. It is exact and keeps every score, where Keras's goes by 200 thresholds. NaN while a class has no sample,
/// and when a score is.
///
/// ```
/// use outrigger::Tensor;
/// use outrigger::train::metrics::{Auc, Metric};
///
/// // of the four pairs of a one and a zero three are in order
/// let mut auc = Auc::new();
/// auc.update(&Tensor::f32([4, 1], vec![0.9, 0.4, 0.6, 0.1])?, &Tensor::i32([4], vec![1, 1, 0, 0])?)?;
/// assert_eq!(auc.value(), 0.75);
/// # Ok::<(), outrigger::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auc {
    scores: [Vec<f32>; 2],
}

impl Auc {
    /// Without samples.
    pub fn new() -> Self {
        Auc::default()
    }
}

impl Metric for Auc {
    fn name(&self) -> String {
        "auc".to_string()
    }
    fn update(&mut self, prediction: &Tensor, target: &Tensor) -> Result<(), Error> {
        let batch = Batch::new(prediction, target)?;
        if batch.width > 2 {
            return Err(unfit("prediction", TensorType::f32([batch.labels.len(), 2]), prediction));
        }
        for (row, &label) in batch.rows().zip(batch.labels.iter()) {
            let score = match row {
                [zero, one] => one - zero,
                _ => row[0],
            };
            self.scores[usize::from(label == 1)].push(score);
        }
        Ok(())
    }
    fn value(&self) -> f64 {
        let [zeros, ones] = &self.scores;
        if zeros.iter().chain(ones).any(|score| score.is_nan()) {
            return f64::NAN;
        }
        let mut all: Vec<(f32, bool)> = zeros.iter().map(|&score| (score, false)).collect();
        all.extend(ones.iter().map(|&score| (score, true)));
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        // twice the pairs in order: a pair counts 2, a tie 1; -0 and 0 are a tie, and neighbours in this order
        let (mut pairs, mut below) = (0_u128, 0_u128);
        for tied in all.chunk_by(|a, b| a.0 == b.0) {
            let positive = tied.iter().filter(|(_, one)| *one).count() as u128;
            let negative = tied.len() as u128 - positive;
            pairs += positive * (2 * below + negative);
            below += negative;
        }
        pairs as f64 / (2.0 * zeros.len() as f64 * ones.len() as f64)
    }
    fn reset(&mut self) {
        self.scores = Default::default();
    }
}
