//! Rotation, and the general affine map that Keras's generator needs: for each pixel of the result, where in the
//! image it comes from.

use crate::data::array::Array;
use crate::data::error::DataError;
use crate::data::random::Random;

use super::crop::PaddingMode;
use super::{Transform, within};

/// How a value between pixels is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interpolation {
    /// The nearest pixel's.
    #[default]
    Nearest,
    /// The mean of the four pixels around it, by distance.
    Bilinear,
}

/// A map from a pixel (y, x) of the result to a place in the image: both relative to the image's middle,
/// [`matrix`](Affine::matrix)·(y, x) + [`shift`](Affine::shift).
#[derive(Debug, Clone, Copy)]
pub(in crate::data) struct Affine {
    pub matrix: [[f64; 2]; 2],
    pub shift: [f64; 2],
}

impl Affine {
    /// Samples `image`; what lies outside of it is as `mode` says.
    pub(in crate::data) fn sample(
        self,
        image: Array,
        how: Interpolation,
        mode: PaddingMode,
    ) -> Result<Array, DataError> {
        let [height, width, channels] = image.image_shape()?;
        let middle = [(height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0];
        let values = image.values().to_numbers();
        let at = |y: isize, x: isize, k: usize| {
            let (Some(y), Some(x)) = (mode.source(y, height), mode.source(x, width)) else { return mode.fill() };
            values[(y * width + x) * channels + k]
        };
        let mut out = Vec::with_capacity(height * width * channels);
        for y in 0..height {
            for x in 0..width {
                let (dy, dx) = (y as f64 - middle[0], x as f64 - middle[1]);
                let [y, x] = [0, 1].map(|axis| {
                    let [a, b] = self.matrix[axis];
                    a * dy + b * dx + self.shift[axis] + middle[axis]
                });
                for k in 0..channels {
                    out.push(match how {
                        Interpolation::Nearest => at(y.round_ties_even() as isize, x.round_ties_even() as isize, k),
                        Interpolation::Bilinear => {
                            let (top, left) = (y.floor(), x.floor());
                            let (fy, fx) = ((y - top) as f32, (x - left) as f32);
                            let (top, left) = (top as isize, left as isize);
                            let row = |y| at(y, left, k) * (1.0 - fx) + at(y, left.saturating_add(1), k) * fx;
                            row(top) * (1.0 - fy) + row(top.saturating_add(1)) * fy
                        }
                    });
                }
            }
        }
        Array::new([height, width, channels], image.values().like(out))
    }
}

/// Turns the image around its middle by a random angle.
///
/// ```
/// use outrigger::data::{Array, Random, RandomRotation, Transform};
///
/// // a turn by at most nothing
/// let image = Array::new([2, 2, 1], vec![1u8, 2, 3, 4])?;
/// let turned = RandomRotation::new(0.0).apply(image.clone(), &mut Random::new(7))?;
/// assert_eq!(turned, image);
/// let turned = RandomRotation { fill: 9.0, ..RandomRotation::new(180.0) }.apply(image, &mut Random::new(7))?;
/// assert_eq!(turned.shape(), [2, 2, 1]);
/// # Ok::<(), outrigger::data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomRotation {
    /// The angle is from −degrees to degrees; positive is counter-clockwise.
    pub degrees: f64,
    /// How pixels are made; the nearest by default.
    pub interpolation: Interpolation,
    /// What comes into the corners; 0 by default, in the image's own unit.
    pub fill: f32,
}

impl RandomRotation {
    /// Turns by at most `degrees`.
    pub fn new(degrees: f64) -> RandomRotation {
        RandomRotation { degrees, interpolation: Interpolation::default(), fill: 0.0 }
    }
}

impl Transform for RandomRotation {
    fn apply(&self, input: Array, random: &mut Random) -> Result<Array, DataError> {
        within("degrees", self.degrees, 0.0, 360.0)?;
        let angle = random.uniform(-self.degrees, self.degrees).to_radians();
        let (sin, cos) = angle.sin_cos();
        let map = Affine { matrix: [[cos, sin], [-sin, cos]], shift: [0.0; 2] };
        map.sample(input, self.interpolation, PaddingMode::Constant(self.fill))
    }
}
