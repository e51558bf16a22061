//! Keras's `ImageDataGenerator`: random affine maps, shifts of colour, and scaling, as one transform, and batches of
//! them without end.

use super::array::Array;
use super::batch::Batch;
use super::dataset::Dataset;
use super::error::DataError;
use super::loader::{DataLoader, Epoch, LoaderOptions};
use super::random::Random;
use super::transform::affine::{Affine, Interpolation};
use super::transform::crop::{PaddingMode, RandomHorizontalFlip};
use super::transform::{Transform, within};

/// Keras's options under Keras's names. Default: images as they are, with values from 0 to 255 unless
/// [`rescale`](ImageDataGenerator::rescale) changes them.
///
/// ```
/// use outrigger::data::{self, ImageDataGenerator, LoaderOptions};
///
/// let generator = ImageDataGenerator {
///     width_shift_range: 0.1,
///     height_shift_range: 0.1,
///     horizontal_flip: true,
///     rescale: 1.0 / 255.0,
///     ..ImageDataGenerator::default()
/// };
/// let options = LoaderOptions { batch_size: 128, ..LoaderOptions::default() };
/// for batch in generator.flow(data::sample()?.train, options)?.take(2) {
///     assert_eq!(batch?.shape, [128, 32, 32, 3]);
/// }
/// # Ok::<(), data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageDataGenerator {
    /// Turns by at most so many degrees either way.
    pub rotation_range: f64,
    /// Shifts left or right by at most this share of the width.
    pub width_shift_range: f64,
    /// Shifts up or down by at most this share of the height.
    pub height_shift_range: f64,
    /// Shears by at most so many degrees either way: rows are shifted against each other.
    pub shear_range: f64,
    /// Zooms each axis by 1 − zoom to 1 + zoom, less than 1.
    pub zoom_range: f64,
    /// Adds to each channel a number of at most this size either way, in units of 0 to 255.
    pub channel_shift_range: f64,
    /// Mirrors half of the images left to right.
    pub horizontal_flip: bool,
    /// Mirrors half of the images top to bottom.
    pub vertical_flip: bool,
    /// What comes in from outside; the nearest pixel by default.
    pub fill_mode: PaddingMode,
    /// What every value is multiplied with at last; 1 by default.
    pub rescale: f32,
    /// Subtracts each image's own mean.
    pub samplewise_center: bool,
    /// Divides by each image's own standard deviation.
    pub samplewise_std_normalization: bool,
}

impl Default for ImageDataGenerator {
    fn default() -> Self {
        ImageDataGenerator {
            rotation_range: 0.0,
            width_shift_range: 0.0,
            height_shift_range: 0.0,
            shear_range: 0.0,
            zoom_range: 0.0,
            channel_shift_range: 0.0,
            horizontal_flip: false,
            vertical_flip: false,
            fill_mode: PaddingMode::Edge,
            rescale: 1.0,
            samplewise_center: false,
            samplewise_std_normalization: false,
        }
    }
}

impl ImageDataGenerator {
    /// Batches of epoch 0, then of epoch 1, and so on without end.
    ///
    /// Errors: as [`DataLoader::new`].
    pub fn flow(&self, data: impl Dataset + 'static, options: LoaderOptions) -> Result<Flow, DataError> {
        let loader = DataLoader::new(data, options)?.transform(*self);
        Ok(Flow { items: loader.epoch(0), epoch: 0, loader, failed: false })
    }

    fn check(&self) -> Result<(), DataError> {
        within("rotation_range", self.rotation_range, 0.0, 360.0)?;
        within("width_shift_range", self.width_shift_range, 0.0, 1.0)?;
        within("height_shift_range", self.height_shift_range, 0.0, 1.0)?;
        within("shear_range", self.shear_range, 0.0, 89.0)?;
        within("zoom_range", self.zoom_range, 0.0, 0.99)?;
        within("channel_shift_range", self.channel_shift_range, 0.0, f64::from(f32::MAX))
    }
}

impl Transform for ImageDataGenerator {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        self.check()?;
        let [height, width, channels] = input.image_shape()?;
        // Keras computes on numbers from 0 to 255
        let mut image = Array::new(input.shape(), input.values().to_numbers())?;

        let mut draw = |range: f64| random.uniform(-range, range);
        let (sin, cos) = draw(self.rotation_range).to_radians().sin_cos();
        let shift = [draw(self.height_shift_range) * height as f64, draw(self.width_shift_range) * width as f64];
        let shear = draw(self.shear_range).to_radians();
        let zoom = [1.0 + draw(self.zoom_range), 1.0 + draw(self.zoom_range)];
        let added = draw(self.channel_shift_range) as f32;
        let flips = [self.horizontal_flip, self.vertical_flip].map(|flip| flip && random.chance(0.5));

        // rotation · shift · shear · zoom, as Keras 3's apply_affine_transform has them for (x, y), here for (y, x)
        let product =
            |a: [[f64; 2]; 2], b: [[f64; 2]; 2]| [0, 1].map(|i| [0, 1].map(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]));
        let rotation = [[cos, sin], [-sin, cos]];
        let sheared = product([[shear.cos(), 0.0], [-shear.sin(), 1.0]], [[zoom[0], 0.0], [0.0, zoom[1]]]);
        let matrix = product(rotation, sheared);
        let shift = rotation.map(|[a, b]| a * shift[0] + b * shift[1]);
        if (matrix, shift) != ([[1.0, 0.0], [0.0, 1.0]], [0.0; 2]) {
            image = Affine { matrix, shift }.sample(image, Interpolation::Bilinear, self.fill_mode)?;
        }
        if flips[0] {
            image = RandomHorizontalFlip { p: 1.0 }.apply(image, random)?;
        }
        let shape = image.shape().to_vec();
        let mut values = image.into_floats();
        if flips[1] {
            let row = width * channels;
            values = values.chunks_exact(row).rev().flatten().copied().collect();
        }
        if self.channel_shift_range > 0.0 {
            // clamped to what the image had before
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            values.iter_mut().for_each(|v| *v = (*v + added).max(low).min(high));
        }
        values.iter_mut().for_each(|v| *v *= self.rescale);
        self.standardise(&mut values);
        Array::new(shape, values)
    }
}

impl ImageDataGenerator {
    fn standardise(&self, values: &mut [f32]) {
        let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        if self.samplewise_center {
            let mean = mean(values) as f32;
            values.iter_mut().for_each(|v| *v -= mean);
        }
        if self.samplewise_std_normalization {
            let mean = mean(values);
            let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
            // 1e-6 as in Keras
            let std = (variance.sqrt() + 1e-6) as f32;
            values.iter_mut().for_each(|v| *v /= std);
        }
    }
}

/// Batches without end; after an error it ends.
#[derive(Debug)]
pub struct Flow {
    loader: DataLoader,
    items: Epoch,
    epoch: u64,
    failed: bool,
}

impl Flow {
    /// What makes the batches.
    pub fn loader(&self) -> &DataLoader {
        &self.loader
    }
}

impl Iterator for Flow {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.items.next().or_else(|| {
            self.epoch = self.epoch.wrapping_add(1);
            self.items = self.loader.epoch(self.epoch);
            self.items.next()
        });
        self.failed = !matches!(item, Some(Ok(_)));
        item
    }
}
