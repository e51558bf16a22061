//! Parts of an image taken out.

use crate::data::array::{Array, Values, to_byte};
use crate::data::error::DataError;
use crate::data::random::Random;

use super::{Transform, within};

/// Fills a rectangle of random place, area and proportion with one value (Zhong et al., "Random Erasing Data
/// Augmentation", 2017).
///
/// ```
/// use outrigger::data::{Array, Random, RandomErasing, Transform};
///
/// let erasing = RandomErasing { p: 1.0, value: 9.0, ..RandomErasing::default() };
/// let erased = erasing.apply(Array::new([8, 8, 1], vec![1u8; 64])?, &mut Random::new(7))?;
/// let share = erased.into_floats().iter().filter(|&&x| x == 9.0 / 255.0).count() as f64 / 64.0;
/// assert!(share > 0.0 && share < 0.5);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomErasing {
    /// The probability, 0.5 by default.
    pub p: f64,
    /// The least and the largest share of the image's area; 0.02 to 0.33 by default.
    pub scale: [f64; 2],
    /// The least and the largest height/width; 0.3 to 3.3 by default.
    pub ratio: [f64; 2],
    /// The value, in the image's own unit; 0 by default.
    pub value: f32,
}

impl Default for RandomErasing {
    fn default() -> Self {
        RandomErasing { p: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], value: 0.0 }
    }
}

impl Transform for RandomErasing {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        let [height, width, _] = input.image_shape()?;
        within("p", self.p, 0.0, 1.0)?;
        within("scale", self.scale[0], 0.0, 1.0)?;
        within("scale", self.scale[1], self.scale[0], 1.0)?;
        within("ratio", self.ratio[0], 1e-6, 1e6)?;
        within("ratio", self.ratio[1], self.ratio[0], 1e6)?;
        if !random.chance(self.p) {
            return Ok(input);
        }
        // as torchvision: ten tries, then the image stays as it is
        for _ in 0..10 {
            let area = (height * width) as f64 * random.uniform(self.scale[0], self.scale[1]);
            let ratio = random.uniform(self.ratio[0].ln(), self.ratio[1].ln()).exp();
            let size = [(area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize];
            if size[0] < height && size[1] < width {
                let [top, left] = [random.below(height - size[0] + 1), random.below(width - size[1] + 1)];
                return fill(input, [top, top + size[0]], [left, left + size[1]], self.value);
            }
        }
        Ok(input)
    }
}

/// Fills a square around a random pixel with one value; where it reaches beyond the image it is cut (DeVries and
/// Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017).
///
/// ```
/// use outrigger::data::{Array, Cutout, Random, Transform};
///
/// let cut = Cutout::new(2).apply(Array::new([4, 4, 1], vec![1u8; 16])?, &mut Random::new(7))?;
/// // at most two by two, less at a border
/// let zeros = cut.into_floats().iter().filter(|&&x| x == 0.0).count();
/// assert!((1..=4).contains(&zeros));
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cutout {
    /// Squares.
    pub holes: usize,
    /// Side of a square.
    pub length: usize,
    /// The value, in the image's own unit.
    pub value: f32,
}

impl Cutout {
    /// One square of zeros.
    pub fn new(length: usize) -> Cutout {
        Cutout { holes: 1, length, value: 0.0 }
    }
}

impl Transform for Cutout {
    fn apply(&self, mut input: Array, random: &mut Random) -> Result<Array, DataError> {
        let [height, width, _] = input.image_shape()?;
        for _ in 0..self.holes {
            let [rows, columns] = [height, width].map(|extent| {
                let first = random.below(extent) as isize - (self.length / 2).min(extent) as isize;
                let end = first.saturating_add_unsigned(self.length).min(extent as isize);
                [first.max(0) as usize, end as usize]
            });
            input = fill(input, rows, columns, self.value)?;
        }
        Ok(input)
    }
}

/// Fills the rows and columns, each from the first number up to the second.
fn fill(image: Array, rows: [usize; 2], columns: [usize; 2], value: f32) -> Result<Array, DataError> {
    let [_, width, channels] = image.image_shape()?;
    let (shape, mut values) = image.into_parts();
    for y in rows[0]..rows[1] {
        let range = (y * width + columns[0]) * channels..(y * width + columns[1]) * channels;
        match &mut values {
            Values::Bytes(values) => values[range].fill(to_byte(value)),
            Values::Floats(values) => values[range].fill(value),
        }
    }
    Array::new(shape, values)
}
