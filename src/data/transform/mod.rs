//! How samples are varied and brought into form, under torchvision's names.
//!
//! ```text
//!   sample ─▶ Compose [ RandomCrop ─▶ RandomHorizontalFlip ─▶ ToTensor ─▶ Normalize ] ─▶ batch ─▶ Mixup, CutMix
//!     u8                 bytes stay bytes                      f32, 0 to 1
//! ```
//!
//! A [`Transform`] changes one input, height×width×channels. What it draws comes from a [`Random`] that belongs to
//! (seed, epoch, sample), so the threads of a loader do not matter. A [`BatchTransform`] changes a whole batch.

pub(super) mod affine;
mod color;
pub(super) mod crop;
mod erase;
mod mix;
mod resize;
mod tensor;

pub use affine::{Interpolation, RandomRotation};
pub use color::ColorJitter;
pub use crop::{CenterCrop, Pad, PaddingMode, RandomCrop, RandomHorizontalFlip};
pub use erase::{Cutout, RandomErasing};
pub use mix::{CutMix, Mixup};
pub use resize::{Resize, ResizeTo};
pub use tensor::{Normalize, ToTensor};

use std::fmt;

use super::array::{Array, MOST_VALUES, elements};
use super::batch::Batch;
use super::error::DataError;
use super::random::Random;

/// Changes one input. A closure of the same form is a transform too.
pub trait Transform: Send + Sync {
    /// The changed input; all that is random is drawn from `random`.
    ///
    /// Errors: an input that it can't be applied to, an option outside its range.
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError>;
}

impl<F: Fn(Array, &mut Random) -> Result<Array, DataError> + Send + Sync> Transform for F {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        self(input, random)
    }
}

/// Changes a whole batch.
pub trait BatchTransform: Send + Sync {
    /// Changes `batch`; all that is random is drawn from `random`.
    ///
    /// Errors: a batch that it can't be applied to, an option outside its range.
    fn apply(&self, batch: &mut Batch, random: &mut Random) -> Result<(), DataError>;
}

/// Transforms one after the other.
///
/// ```
/// use outrigger::data::{Array, Compose, Normalize, Random, RandomCrop, RandomHorizontalFlip, ToTensor, Transform};
///
/// let transform = Compose::new()
///     .then(RandomCrop { padding: 4, ..RandomCrop::new(32) })
///     .then(RandomHorizontalFlip::default())
///     .then(ToTensor)
///     .then(Normalize::new([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]));
/// let image = Array::new([32, 32, 3], vec![128u8; 3072])?;
/// assert_eq!(transform.apply(image, &mut Random::new(7))?.shape(), [32, 32, 3]);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Default)]
pub struct Compose(Vec<Box<dyn Transform>>);

impl Compose {
    /// No transform yet.
    pub fn new() -> Compose {
        Compose::default()
    }

    /// Adds one at the end.
    pub fn then(mut self, transform: impl Transform + 'static) -> Compose {
        self.0.push(Box::new(transform));
        self
    }
}

impl Transform for Compose {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        self.0.iter().try_fold(input, |input, transform| transform.apply(input, random))
    }
}

impl fmt::Debug for Compose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compose of {} transforms", self.0.len())
    }
}

/// Errors unless `value` lies from `low` to `high`.
pub(super) fn within(option: &'static str, value: f64, low: f64, high: f64) -> Result<(), DataError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let allowed = if high == f64::INFINITY { format!("at least {low}") } else { format!("from {low} to {high}") };
    Err(DataError::option(option, value, allowed))
}

/// Errors unless each of `shapes`, on the way to an image of `height`×`width`, has values and fits into an array.
pub(super) fn check_size([height, width]: [usize; 2], shapes: &[[usize; 3]]) -> Result<(), DataError> {
    if shapes.iter().all(|shape| elements(shape).is_some_and(|n| n > 0)) {
        return Ok(());
    }
    let channels = shapes.first().map_or(0, |shape| shape[2]);
    let allowed = format!("from 1 pixel to {MOST_VALUES} values, of {channels} channels");
    Err(DataError::option("size", format!("{height}×{width}"), allowed))
}
