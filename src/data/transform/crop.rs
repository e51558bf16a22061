//! Transforms that move pixels without changing them: padding, cropping, mirroring.
//!
//! ```text
//!   ┌───────────────┐ padded by 4: 40×40
//!   │ 0   ┌───────┐ │
//!   │   ┌─┼─────┐ │ │ image: 32×32      The padded image is never made: a row of the crop is a run of
//!   │   │ │     │ │ │                   zeros, a run of the image's row, and a run of zeros.
//!   │   │ └─────┼─┘ │ crop at (dy, dx)
//!   │   └───────┘   │
//!   └───────────────┘
//! ```
//!
//! Padding, a random crop and a flip are the usual augmentation for CIFAR-10 (He et al., "Deep Residual Learning for
//! Image Recognition", 2016, section 4.2).

use crate::data::array::{Array, MOST_VALUES, Values, to_byte};
use crate::data::error::DataError;
use crate::data::random::Random;

use super::{Transform, check_size, within};

/// What lies around an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PaddingMode {
    /// One value, in the image's own unit: 0 to 255 for bytes.
    Constant(f32),
    /// The nearest pixel: a a|a b c|c c.
    Edge,
    /// The mirrored image without its border: c b|a b c|b a. The padding is smaller than the image.
    Reflect,
    /// The mirrored image: b a|a b c|c b. The padding is at most as large as the image.
    Symmetric,
}

impl Default for PaddingMode {
    fn default() -> Self {
        PaddingMode::Constant(0.0)
    }
}

impl PaddingMode {
    /// Where the pixel at `at` is taken from in a row of `size`; `None` is the constant.
    pub(in crate::data) fn source(self, at: isize, size: usize) -> Option<usize> {
        let last = size as isize - 1;
        let at = match self {
            _ if (0..=last).contains(&at) => at,
            PaddingMode::Constant(_) => return None,
            PaddingMode::Edge => at.clamp(0, last),
            PaddingMode::Reflect if at < 0 => -at,
            PaddingMode::Reflect => 2 * last - at,
            PaddingMode::Symmetric if at < 0 => -1 - at,
            PaddingMode::Symmetric => 2 * last + 1 - at,
        };
        // beyond the mirror image, which only a rotation reaches, the last pixel goes on
        usize::try_from(at.clamp(0, last)).ok()
    }

    /// The constant; 0 where there is none.
    pub(in crate::data) fn fill(self) -> f32 {
        match self {
            PaddingMode::Constant(value) => value,
            PaddingMode::Edge | PaddingMode::Reflect | PaddingMode::Symmetric => 0.0,
        }
    }

    /// Errors unless `padding` pixels can be made around images of `shape`.
    fn check(self, padding: usize, [height, width, _]: [usize; 3]) -> Result<(), DataError> {
        let side = height.min(width);
        let most = match self {
            PaddingMode::Constant(_) | PaddingMode::Edge => MOST_VALUES,
            PaddingMode::Reflect => side - 1,
            PaddingMode::Symmetric => side,
        };
        if padding <= most {
            return Ok(());
        }
        let allowed = format!("at most {most} pixels around an image of {height}×{width}");
        Err(DataError::option("padding", padding, allowed))
    }
}

/// The `height`×`width` pixels from (`top`, `left`) on, which may lie outside of the image.
fn window(
    image: &Array,
    [top, left]: [isize; 2],
    [height, width]: [usize; 2],
    mode: PaddingMode,
) -> Result<Array, DataError> {
    let [rows, columns, channels] = image.image_shape()?;
    check_size([height, width], &[[height, width, channels]])?;
    let from_row: Vec<_> = (0..height).map(|y| mode.source(top + y as isize, rows)).collect();
    let from_column: Vec<_> = (0..width).map(|x| mode.source(left + x as isize, columns)).collect();
    let values = match image.values() {
        Values::Bytes(v) => Values::Bytes(take(v, columns, channels, &from_row, &from_column, to_byte(mode.fill()))),
        Values::Floats(v) => Values::Floats(take(v, columns, channels, &from_row, &from_column, mode.fill())),
    };
    Array::new([height, width, channels], values)
}

/// The pixels at all `rows` and `columns` of an image `width` wide, `fill` where there is none.
fn take<T: Copy>(
    values: &[T],
    width: usize,
    channels: usize,
    rows: &[Option<usize>],
    columns: &[Option<usize>],
    fill: T,
) -> Vec<T> {
    // neighbours that stay neighbours are copied at once
    let runs: Vec<&[Option<usize>]> =
        columns.chunk_by(|a, b| a.map_or(b.is_none(), |a| a.checked_add(1) == *b)).collect();
    let mut out = Vec::with_capacity(rows.len() * columns.len() * channels);
    for row in rows {
        let row = row.map(|row| &values[row * width * channels..][..width * channels]);
        for run in &runs {
            let size = run.len() * channels;
            match (row, run[0]) {
                (Some(row), Some(start)) => out.extend_from_slice(&row[start * channels..][..size]),
                _ => out.resize(out.len() + size, fill),
            }
        }
    }
    out
}

/// The image mirrored left to right.
fn flip_horizontal(image: Array) -> Result<Array, DataError> {
    fn flip<T: Copy>(values: &mut [T], width: usize, channels: usize) {
        for row in values.chunks_exact_mut(width * channels) {
            row.reverse();
            row.chunks_exact_mut(channels).for_each(<[T]>::reverse);
        }
    }
    let [_, width, channels] = image.image_shape()?;
    let (shape, mut values) = image.into_parts();
    match &mut values {
        Values::Bytes(values) => flip(values, width, channels),
        Values::Floats(values) => flip(values, width, channels),
    }
    Array::new(shape, values)
}

/// Adds pixels on every side.
///
/// ```
/// use outrigger::data::{Array, Pad, Random, Transform};
///
/// let image = Array::new([1, 3, 1], vec![1u8, 2, 3])?;
/// let padded = Pad::new(1).apply(image, &mut Random::new(7))?;
/// assert_eq!(padded, Array::new([3, 5, 1], vec![0u8, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0])?);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pad {
    /// Pixels on each side.
    pub padding: usize,
    /// What they are; zeros by default.
    pub mode: PaddingMode,
}

impl Pad {
    /// Pads with zeros.
    pub fn new(padding: usize) -> Pad {
        Pad { padding, mode: PaddingMode::default() }
    }
}

impl Transform for Pad {
    fn apply(&self, input: Array, _: &mut Random) -> Result<Array, DataError> {
        let shape = input.image_shape()?;
        self.mode.check(self.padding, shape)?;
        let start = -(self.padding as isize);
        window(&input, [start, start], [shape[0] + 2 * self.padding, shape[1] + 2 * self.padding], self.mode)
    }
}

/// A part of the image at a random place.
///
/// ```
/// use outrigger::data::{Array, Random, RandomCrop, Transform};
///
/// // shifted by up to 4 pixels, as is usual for CIFAR-10
/// let crop = RandomCrop { padding: 4, ..RandomCrop::new(32) };
/// let image = Array::new([32, 32, 3], vec![0u8; 3072])?;
/// assert_eq!(crop.apply(image, &mut Random::new(7))?.shape(), [32, 32, 3]);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomCrop {
    /// Height and width of the part, at most those of the padded image.
    pub size: [usize; 2],
    /// Pixels added on each side before; none by default.
    pub padding: usize,
    /// What they are; zeros by default.
    pub mode: PaddingMode,
}

impl RandomCrop {
    /// A square part of the image as it is.
    pub fn new(size: usize) -> RandomCrop {
        RandomCrop { size: [size, size], padding: 0, mode: PaddingMode::default() }
    }
}

impl Transform for RandomCrop {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        let shape = input.image_shape()?;
        self.mode.check(self.padding, shape)?;
        let mut start = [0; 2];
        for (axis, start) in start.iter_mut().enumerate() {
            let padded = shape[axis] + 2 * self.padding;
            let Some(room) = padded.checked_sub(self.size[axis]) else {
                let [height, width] = self.size;
                let allowed = format!("at most the image with its padding, {padded} pixels along axis {axis}");
                return Err(DataError::option("size", format!("{height}×{width}"), allowed));
            };
            *start = random.below(room + 1) as isize - self.padding as isize;
        }
        window(&input, start, self.size, self.mode)
    }
}

/// The middle of the image; an image that is smaller is padded with zeros.
///
/// ```
/// use outrigger::data::{Array, CenterCrop, Random, Transform};
///
/// let image = Array::new([1, 3, 1], vec![1u8, 2, 3])?;
/// let middle = CenterCrop::new(1).apply(image, &mut Random::new(7))?;
/// assert_eq!(middle, Array::new([1, 1, 1], vec![2u8])?);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CenterCrop {
    /// Height and width.
    pub size: [usize; 2],
}

impl CenterCrop {
    /// A square.
    pub fn new(size: usize) -> CenterCrop {
        CenterCrop { size: [size, size] }
    }
}

impl Transform for CenterCrop {
    fn apply(&self, input: Array, _: &mut Random) -> Result<Array, DataError> {
        let [height, width, _] = input.image_shape()?;
        let start = |extent: usize, size: usize| match extent.checked_sub(size) {
            // torchvision rounds half of an odd rest to even
            Some(rest) => (rest as f64 / 2.0).round_ties_even() as isize,
            // and puts the smaller half of the padding in front
            None => -(((size - extent) / 2).min(MOST_VALUES) as isize),
        };
        let start = [start(height, self.size[0]), start(width, self.size[1])];
        window(&input, start, self.size, PaddingMode::default())
    }
}

/// Mirrors the image left to right with a probability.
///
/// ```
/// use outrigger::data::{Array, Random, RandomHorizontalFlip, Transform};
///
/// let image = Array::new([1, 3, 1], vec![1u8, 2, 3])?;
/// let mirrored = RandomHorizontalFlip { p: 1.0 }.apply(image, &mut Random::new(7))?;
/// assert_eq!(mirrored, Array::new([1, 3, 1], vec![3u8, 2, 1])?);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomHorizontalFlip {
    /// The probability, 0.5 by default.
    pub p: f64,
}

impl Default for RandomHorizontalFlip {
    fn default() -> Self {
        RandomHorizontalFlip { p: 0.5 }
    }
}

impl Transform for RandomHorizontalFlip {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        within("p", self.p, 0.0, 1.0)?;
        if random.chance(self.p) { flip_horizontal(input) } else { Ok(input) }
    }
}
