//! Where samples come from: anything that knows how many there are and can make each of them.

use std::sync::Arc;

use super::array::{Array, MOST_VALUES, Sample, Target, Values, check_labels};
use super::error::DataError;

/// Samples by their index, made on any thread and in any order.
pub trait Dataset: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`: the same each time, whatever was asked before.
    ///
    /// Errors name the file and the place.
    fn get(&self, index: usize) -> Result<Sample, DataError>;

    /// The name of every class, by its index; empty where there are none.
    fn class_names(&self) -> &[String] {
        &[]
    }

    /// Where sample `index` comes from, for the messages of errors: its file, or its number.
    fn origin(&self, index: usize) -> String {
        format!("sample {index}")
    }
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        (**self).get(index)
    }

    fn class_names(&self) -> &[String] {
        (**self).class_names()
    }

    fn origin(&self, index: usize) -> String {
        (**self).origin(index)
    }
}

/// Samples in memory, from any iterator: `Samples::collect(iterator)`.
///
/// ```
/// use outrigger::data::{Array, Dataset, Sample, Samples, Target};
///
/// let squares = (0..10).map(|x| {
///     let input = Array::new([1], vec![x as f32])?;
///     Ok(Sample { input, target: Target::Values(vec![(x * x) as f32]) })
/// });
/// assert_eq!(Samples::collect(squares)?.len(), 10);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Takes all samples of an iterator.
    ///
    /// Errors: the first of the iterator's.
    pub fn collect(samples: impl IntoIterator<Item = Result<Sample, DataError>>) -> Result<Samples, DataError> {
        samples.into_iter().collect::<Result<_, _>>().map(Samples)
    }
}

impl Dataset for Samples {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        self.0.get(index).cloned().ok_or_else(|| DataError::index(index, self.0.len()))
    }
}

/// Arrays in memory: the samples are the slices of an array along its first dimension, as in PyTorch's
/// `TensorDataset`.
///
/// ```
/// use outrigger::data::{Array, ArrayDataset, Dataset};
///
/// let inputs = Array::new([3, 2], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// let data = ArrayDataset::classes(inputs, vec![0, 1, 1], 2)?;
/// assert_eq!(data.get(1)?.input, Array::new([2], vec![2.0, 3.0])?);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayDataset {
    inputs: Array,
    targets: Targets,
    class_names: Vec<String>,
    len: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Targets {
    None,
    Classes(Vec<i32>),
    Values(Vec<f32>),
}

impl ArrayDataset {
    /// Inputs without targets, to predict from; the shape is [n, …].
    ///
    /// Errors: an array without dimensions, or of more samples than an array has values.
    pub fn unlabelled(inputs: Array) -> Result<ArrayDataset, DataError> {
        // a shape without values may name any n, and a loader lists all samples
        let most = inputs.values().len().max(MOST_VALUES);
        let Some(&len) = inputs.shape().first().filter(|&&n| n <= most) else {
            return Err(DataError::Mismatch {
                what: "inputs of a data set",
                expected: format!("the shape [n, …], n at most {most}"),
                found: format!("{:?}", inputs.shape()),
            });
        };
        Ok(ArrayDataset { inputs, targets: Targets::None, class_names: Vec::new(), len })
    }

    /// Inputs [n, …] and the class of each, one of `classes`.
    ///
    /// Errors: another number of labels than inputs, a label without a class.
    pub fn classes(inputs: Array, labels: Vec<i32>, classes: usize) -> Result<ArrayDataset, DataError> {
        let data = ArrayDataset::unlabelled(inputs)?;
        data.check_targets(labels.len())?;
        check_labels(&labels, classes, "the labels")?;
        let class_names = (0..classes).map(|class| class.to_string()).collect();
        Ok(ArrayDataset { targets: Targets::Classes(labels), class_names, ..data })
    }

    /// Inputs [n, …] and numbers [n, …] for each.
    ///
    /// Errors: another number of targets than inputs.
    pub fn values(inputs: Array, targets: Array) -> Result<ArrayDataset, DataError> {
        let data = ArrayDataset::unlabelled(inputs)?;
        data.check_targets(targets.shape().first().copied().unwrap_or(0))?;
        Ok(ArrayDataset { targets: Targets::Values(targets.into_floats()), ..data })
    }

    fn check_targets(&self, found: usize) -> Result<(), DataError> {
        if found == self.len {
            return Ok(());
        }
        Err(DataError::Mismatch {
            what: "targets of a data set",
            expected: format!("{}, as many as inputs", self.len),
            found: found.to_string(),
        })
    }
}

impl Dataset for ArrayDataset {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let len = self.len;
        if index >= len {
            return Err(DataError::index(index, len));
        }
        let values = match self.inputs.values() {
            Values::Bytes(values) => Values::Bytes(row(values, index, len).to_vec()),
            Values::Floats(values) => Values::Floats(row(values, index, len).to_vec()),
        };
        let target = match &self.targets {
            Targets::None => Target::None,
            Targets::Classes(labels) => Target::Class(labels[index]),
            Targets::Values(values) => Target::Values(row(values, index, len).to_vec()),
        };
        Ok(Sample { input: Array::new(&self.inputs.shape()[1..], values)?, target })
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

/// Slice `index` of `len` equal ones.
fn row<T>(values: &[T], index: usize, len: usize) -> &[T] {
    let size = values.len() / len;
    &values[index * size..][..size]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Array {
        Array::new(shape, (0..shape.iter().product()).map(|i: usize| i as f32).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn samples_are_slices_along_the_first_dimension() {
        let data = ArrayDataset::values(counting(&[4, 2, 3]), counting(&[4, 2])).unwrap();
        let sample = data.get(2).unwrap();
        assert_eq!(sample.input, Array::new([2, 3], vec![12., 13., 14., 15., 16., 17.]).unwrap());
        assert_eq!(sample.target, Target::Values(vec![4., 5.]));
        assert!(data.get(4).is_err());
        let data = ArrayDataset::unlabelled(Array::new([3, 0], vec![0u8; 0]).unwrap()).unwrap();
        assert_eq!(data.get(2).unwrap().input.shape(), [0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = |result: Result<ArrayDataset, DataError>| result.unwrap_err().to_string();
        assert!(message(ArrayDataset::unlabelled(counting(&[]))).starts_with("inputs of a data set"));
        assert!(message(ArrayDataset::classes(counting(&[3]), vec![0; 2], 1)).contains("expected 3"));
        assert!(message(ArrayDataset::classes(counting(&[2]), vec![0, 7], 5)).contains("record 1 has the label 7"));
        assert!(message(ArrayDataset::values(counting(&[3]), counting(&[4, 2]))).contains("found 4"));
        assert!(message(ArrayDataset::values(counting(&[3]), counting(&[]))).contains("found 0"));
    }
}
