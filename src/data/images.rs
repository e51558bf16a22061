//! Images and labels in memory, checked once when they are put together so that nothing after has to.

use std::path::Path;

use super::array::{Array, Sample, Target, Values, check_labels};
use super::dataset::Dataset;
use super::error::DataError;
use super::npy::read_npz;

/// Labelled images of one size: `u8` pixels in NHWC order and one class index an image.
///
/// `Images` that exist are consistent: there are as many labels as images, and every label names a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    images: Vec<u8>,
    labels: Vec<u8>,
    shape: [usize; 3],
    class_names: Vec<String>,
}

/// The two parts of a published data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What to train on: 50,000 images of CIFAR, 60,000 of MNIST.
    pub train: Images,
    /// What to test on: 10,000 images of either.
    pub test: Images,
}

impl Split {
    /// Reads a `.npz` file as Keras keeps its data sets: `x_train`, `x_test`, bytes of the shape [n, height, width] or
    /// [n, height, width, channels], and their classes `y_train`, `y_test`. The classes' names are their numbers.
    ///
    /// Errors: those of [`read_npz`]; an array that is not there or of another type or shape, a label that is no byte.
    pub fn read_npz(path: impl AsRef<Path>) -> Result<Split, DataError> {
        let file = path.as_ref().display().to_string();
        let bad = |reason: String| DataError::Format { file: file.clone(), reason };
        let mut arrays = read_npz(&path)?;
        let mut take = |name: &str| {
            let known = arrays.keys().cloned().collect::<Vec<_>>().join(", ");
            arrays.remove(name).ok_or_else(|| bad(format!("has no array \"{name}\"; it has {known}")))
        };
        let mut part = |name: &str| {
            let (images, labels) = (take(&format!("x_{name}"))?, take(&format!("y_{name}"))?);
            let labels = labels.into_labels()?.into_iter().map(|label| {
                u8::try_from(label).map_err(|_| bad(format!("y_{name} has the label {label}; 0 to 255 are read")))
            });
            Ok::<_, DataError>((images.into_array()?.into_parts(), labels.collect::<Result<Vec<u8>, _>>()?))
        };
        let parts = [part("train")?, part("test")?];
        let classes = parts.iter().flat_map(|(_, labels)| labels).max().map_or(0, |&most| usize::from(most) + 1);
        let [train, test] = parts.map(|((shape, values), labels)| {
            let size = match shape[..] {
                [_, rows, columns] => [rows, columns, 1],
                [_, rows, columns, channels] => [rows, columns, channels],
                _ => return Err(bad(format!("images have the shape [n, height, width, channels], found {shape:?}"))),
            };
            match values {
                Values::Bytes(pixels) => {
                    Images::new(pixels, labels, size, (0..classes).map(|class| class.to_string()).collect())
                }
                Values::Floats(_) => Err(bad("images are bytes from 0 to 255, found numbers of another type".into())),
            }
        });
        Ok(Split { train: train?, test: test? })
    }
}

impl Images {
    /// Puts images and labels together.
    ///
    /// `images` holds n×height×width×channels bytes for `shape` = [height, width, channels], `labels` n class
    /// indices, and `class_names` a name for each class. Errors: sizes that do not fit together, an empty shape or
    /// list of classes, a label without a class.
    pub fn new(
        images: Vec<u8>,
        labels: Vec<u8>,
        shape: [usize; 3],
        class_names: Vec<String>,
    ) -> Result<Images, DataError> {
        let bytes = shape.iter().try_fold(labels.len(), |n, &d| n.checked_mul(d).filter(|_| d > 0));
        if bytes != Some(images.len()) {
            return Err(DataError::Mismatch {
                what: "images of a data set",
                expected: format!("{} × {shape:?} bytes", labels.len()),
                found: format!("{} bytes", images.len()),
            });
        }
        if class_names.is_empty() {
            return Err(DataError::Mismatch {
                what: "classes of a data set",
                expected: "at least one".into(),
                found: "none".into(),
            });
        }
        check_labels(&labels, class_names.len(), "the data set")?;
        Ok(Images { images, labels, shape, class_names })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// [height, width, channels] of every image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// All pixels, n×height×width×channels.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// Pixels of image `index`, height×width×channels, or `None` beyond the last.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        let size = self.image_size();
        let start = index.checked_mul(size)?;
        self.images.get(start..start.checked_add(size)?)
    }

    /// Bytes in one image: height×width×channels.
    pub fn image_size(&self) -> usize {
        self.shape.iter().product()
    }

    /// The class index of every image.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The name of every class, by its index.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The images at `indices`, in that order: a split, or a few to overfit on.
    ///
    /// Errors: an index beyond the last image.
    pub fn select(&self, indices: &[usize]) -> Result<Images, DataError> {
        let mut images = Vec::with_capacity(indices.len().saturating_mul(self.image_size()));
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let (Some(image), Some(&label)) = (self.image(index), self.labels.get(index)) else {
                return Err(DataError::index(index, self.len()));
            };
            images.extend_from_slice(image);
            labels.push(label);
        }
        Images::new(images, labels, self.shape, self.class_names.clone())
    }

    /// Adds the images of `other` after these.
    ///
    /// Errors: another image shape, or other classes.
    pub fn append(&mut self, other: &Images) -> Result<(), DataError> {
        if self.shape != other.shape {
            return Err(DataError::Mismatch {
                what: "image shape of an appended data set",
                expected: format!("{:?}", self.shape),
                found: format!("{:?}", other.shape),
            });
        }
        if self.class_names != other.class_names {
            return Err(DataError::Mismatch {
                what: "classes of an appended data set",
                expected: self.class_names.join(", "),
                found: other.class_names.join(", "),
            });
        }
        // Exactly: the usual doubling would take another 150 MB for CIFAR-10.
        self.images.reserve_exact(other.images.len());
        self.images.extend_from_slice(&other.images);
        self.labels.extend_from_slice(&other.labels);
        Ok(())
    }
}

impl Dataset for Images {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        match (self.image(index), self.labels.get(index)) {
            (Some(image), Some(&label)) => Ok(Sample {
                input: Array::new(self.shape, Values::Bytes(image.to_vec()))?,
                target: Target::Class(label.into()),
            }),
            _ => Err(DataError::index(index, self.len())),
        }
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| i.to_string()).collect()
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let new = |images: usize, labels: &[u8], shape, classes| {
            Images::new(vec![0; images], labels.to_vec(), shape, names(classes))
        };
        assert!(new(12, &[0, 1], [2, 1, 3], 2).is_ok());
        assert!(matches!(new(11, &[0, 1], [2, 1, 3], 2), Err(DataError::Mismatch { .. })));
        assert!(matches!(new(0, &[0, 1], [0, 1, 3], 2), Err(DataError::Mismatch { .. })));
        assert!(matches!(new(0, &[0, 1], [usize::MAX, 2, 3], 2), Err(DataError::Mismatch { .. })));
        assert!(matches!(new(0, &[], [2, 1, 3], 0), Err(DataError::Mismatch { .. })));
        let error = new(12, &[0, 2], [2, 1, 3], 2).unwrap_err().to_string();
        assert_eq!(error, "the data set: record 1 has the label 2, but the 2 classes are numbered 0 to 1");
    }

    #[test]
    fn select_and_append_move_whole_images() {
        let all = Images::new((0..8).collect(), vec![0, 1, 2, 0], [1, 2, 1], names(3)).unwrap();
        let some = all.select(&[3, 1]).unwrap();
        assert_eq!((some.images(), some.labels()), (&[6, 7, 2, 3][..], &[0, 1][..]));
        assert!(all.select(&[4]).is_err());
        assert_eq!(all.image(4), None);
        assert_eq!(all.image(usize::MAX), None);

        let mut both = some.clone();
        both.append(&all).unwrap();
        assert_eq!(both.len(), 6);
        assert_eq!(both.image(2), all.image(0));
        let other = Images::new(vec![], vec![], [2, 1, 1], names(3)).unwrap();
        assert!(both.append(&other).is_err());
        let other = Images::new(vec![], vec![], [1, 2, 1], names(2)).unwrap();
        assert!(both.append(&other).is_err());
    }
}
