//! One sample: an array with its shape, and what a network shall say to it.
//!
//! Bytes stay bytes, 0 to 255, as they lie in files, until numbers are needed; they then become pixel / 255, in a
//! [`ToTensor`](super::ToTensor) or at the latest in a batch.

use super::error::DataError;

/// The most numbers in one array: 1 GiB as f32. A slip in a size, or a damaged file, does not ask for all memory.
pub(super) const MOST_VALUES: usize = 1 << 28;

/// What an [`Array`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Pixels from 0 to 255, which stand for 0 to 1.
    Bytes(Vec<u8>),
    /// Numbers as they are.
    Floats(Vec<f32>),
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Values::Bytes(values) => values.len(),
            Values::Floats(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As numbers in their own unit: bytes from 0 to 255.
    pub(super) fn to_numbers(&self) -> Vec<f32> {
        match self {
            Values::Bytes(bytes) => bytes.iter().map(|&pixel| pixel.into()).collect(),
            Values::Floats(floats) => floats.clone(),
        }
    }

    /// Numbers in their own unit as values of this kind: rounded where these are bytes.
    pub(super) fn like(&self, numbers: Vec<f32>) -> Values {
        match self {
            Values::Bytes(_) => numbers.into_iter().map(to_byte).collect::<Vec<u8>>().into(),
            Values::Floats(_) => numbers.into(),
        }
    }
}

impl From<Vec<u8>> for Values {
    fn from(values: Vec<u8>) -> Values {
        Values::Bytes(values)
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Values {
        Values::Floats(values)
    }
}

/// Values and their shape, row-major; an image is [height, width, channels].
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    values: Values,
}

impl Array {
    /// Puts values and their shape together.
    ///
    /// Errors: another number of values than the shape has.
    pub fn new(shape: impl Into<Vec<usize>>, values: impl Into<Values>) -> Result<Array, DataError> {
        let (shape, values) = (shape.into(), values.into());
        if product(&shape) == Some(values.len()) {
            return Ok(Array { shape, values });
        }
        Err(DataError::Mismatch {
            what: "values of an array",
            expected: format!("those of the shape {shape:?}"),
            found: format!("{} values", values.len()),
        })
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, row-major.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Takes the array apart.
    pub fn into_parts(self) -> (Vec<usize>, Values) {
        (self.shape, self.values)
    }

    /// The values as numbers: bytes divided by 255.
    pub fn into_floats(self) -> Vec<f32> {
        match self.values {
            Values::Bytes(bytes) => {
                let mut floats = Vec::new();
                extend(&mut floats, &Values::Bytes(bytes));
                floats
            }
            Values::Floats(floats) => floats,
        }
    }

    /// [height, width, channels].
    ///
    /// Errors: an array that is no image, or an empty one.
    pub fn image_shape(&self) -> Result<[usize; 3], DataError> {
        match self.shape[..] {
            [height, width, channels] if height > 0 && width > 0 && channels > 0 => Ok([height, width, channels]),
            _ => Err(DataError::Mismatch {
                what: "image to transform",
                expected: "the shape [height, width, channels]".into(),
                found: format!("{:?}", self.shape),
            }),
        }
    }

    /// Applies `change` to the values as numbers; bytes come as pixel / 255 and are bytes again after it.
    pub(super) fn map_floats(self, change: impl FnOnce(&mut [f32])) -> Array {
        let bytes = matches!(self.values, Values::Bytes(_));
        let shape = self.shape.clone();
        let mut floats = self.into_floats();
        change(&mut floats);
        let values =
            if bytes { floats.iter().map(|&v| to_byte(v * 255.0)).collect::<Vec<u8>>().into() } else { floats.into() };
        Array { shape, values }
    }
}

/// A pixel of 0 to 255, rounded and clamped.
pub(super) fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Appends values as numbers: bytes divided by 255.
pub(super) fn extend(out: &mut Vec<f32>, values: &Values) {
    match values {
        Values::Bytes(bytes) => out.extend(bytes.iter().map(|&pixel| f32::from(pixel) / 255.0)),
        Values::Floats(floats) => out.extend_from_slice(floats),
    }
}

/// The product of `shape`, unless it is more than a `usize`.
fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// The product of `shape`, unless it is more than [`MOST_VALUES`].
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    product(shape).filter(|&n| n <= MOST_VALUES)
}

/// What a network shall say to an input.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Nothing is known.
    None,
    /// The index of a class.
    Class(i32),
    /// Numbers: a regression's values, or a share for each class.
    Values(Vec<f32>),
}

/// An input and its target.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What goes into a network.
    pub input: Array,
    /// What shall come out.
    pub target: Target,
}

/// A row of zeros and a one for each label, as Keras's function of this name: n×`classes`.
///
/// ```
/// let rows = outrigger::data::to_categorical(&[1, 0], 3)?;
/// assert_eq!(rows, [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
///
/// Errors: a label that names no class, with its place.
pub fn to_categorical(labels: &[i32], classes: usize) -> Result<Vec<f32>, DataError> {
    if elements(&[labels.len(), classes]).is_none() {
        let allowed = format!("{} labels of so many classes do not fit into memory", labels.len());
        return Err(DataError::option("classes", classes, allowed));
    }
    let mut rows = vec![0.0; labels.len() * classes];
    for (record, &label) in labels.iter().enumerate() {
        let class = check_class(label.into(), classes, record, || "to_categorical".to_string())?;
        rows[record * classes + class] = 1.0;
    }
    Ok(rows)
}

/// The label as an index of one of `classes` classes; `origin` and `record` say where it stands.
pub(super) fn check_class(
    label: i64,
    classes: usize,
    record: usize,
    origin: impl FnOnce() -> String,
) -> Result<usize, DataError> {
    match usize::try_from(label) {
        Ok(class) if class < classes => Ok(class),
        _ => Err(DataError::Label { origin: origin(), record, label, classes }),
    }
}

/// Errors with the first label that names none of `classes` classes.
pub(super) fn check_labels<L: Copy + Into<i64>>(labels: &[L], classes: usize, origin: &str) -> Result<(), DataError> {
    labels
        .iter()
        .enumerate()
        .try_for_each(|(record, &label)| check_class(label.into(), classes, record, || origin.to_string()).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_values_agree() {
        assert!(Array::new([2, 3], vec![0u8; 6]).is_ok());
        assert!(Array::new([2, 3], vec![0u8; 5]).is_err());
        assert!(Array::new([usize::MAX, 2], vec![0f32; 0]).is_err());
        assert!(Array::new([2, 3], vec![0u8; 6]).unwrap().image_shape().is_err());
        assert!(Array::new([0, 3, 1], vec![0u8; 0]).unwrap().image_shape().is_err());
    }

    #[test]
    fn bytes_stay_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let array = Array::new([256], bytes.clone()).unwrap();
        assert_eq!(array.clone().map_floats(|_| ()).values(), &Values::Bytes(bytes));
        let more = array.map_floats(|values| values.iter_mut().for_each(|v| *v += 1.0));
        assert_eq!(more.values(), &Values::Bytes(vec![255; 256]));
    }

    #[test]
    fn labels_without_a_class_are_named() {
        assert!(to_categorical(&[], 3).unwrap().is_empty());
        for bad in [-1, 3] {
            let error = to_categorical(&[0, bad], 3).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("to_categorical: record 1 has the label {bad}, but the 3 classes are numbered 0 to 2")
            );
        }
        assert!(to_categorical(&[0], 0).is_err());
        assert!(to_categorical(&[0, 0], usize::MAX).is_err());
    }
}
