//! The usual CIFAR-10 augmentation: pad with zeros, crop at random, flip left to right at random
//! (He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2).
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

use rand_chacha::rand_core::RngCore;

use super::error::DataError;
use super::random::{Use, below, stream};

/// How images are varied for training. The default pads by 4 pixels and flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Augment {
    /// Pixels of zeros on every side, smaller than the image; 0 does not crop.
    pub pad: usize,
    /// Whether half of the images are flipped left to right.
    pub flip: bool,
}

impl Default for Augment {
    fn default() -> Self {
        Augment { pad: 4, flip: true }
    }
}

/// One choice of an [`Augment`]: where to crop, and whether to flip the crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draw {
    /// First row of the crop in the padded image, 0 to 2·pad; `pad` is the middle.
    pub dy: usize,
    /// First column of the crop in the padded image, 0 to 2·pad.
    pub dx: usize,
    /// Whether the crop is flipped left to right.
    pub flip: bool,
}

impl Augment {
    /// The choice for one image in one epoch: the same for the same numbers, always.
    pub fn draw(&self, seed: u64, epoch: u64, image: u64) -> Draw {
        let mut rng = stream(seed, epoch, Use::Augment, image);
        let places = (self.pad as u64).saturating_mul(2).saturating_add(1);
        Draw {
            dy: below(&mut rng, places) as usize,
            dx: below(&mut rng, places) as usize,
            flip: self.flip && rng.next_u32() >> 31 == 1,
        }
    }

    /// Writes the crop of `image` that `draw` names to `out`, scaled to pixel / 255.
    ///
    /// Both are height×width×channels for `shape` = [height, width, channels]. Errors: slices of another size, a
    /// padding as large as the image, a crop outside the padded image.
    pub fn apply(&self, draw: Draw, shape: [usize; 3], image: &[u8], out: &mut [f32]) -> Result<(), DataError> {
        self.check(shape)?;
        let size = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if size != Some(image.len()) || size != Some(out.len()) {
            return Err(DataError::Mismatch {
                what: "image to augment",
                expected: format!("{shape:?} pixels in and out"),
                found: format!("{} in and {} out", image.len(), out.len()),
            });
        }
        for (option, value) in [("dy", draw.dy), ("dx", draw.dx)] {
            if value > 2 * self.pad {
                return Err(DataError::Option {
                    option,
                    value,
                    allowed: format!("0 to {}, twice the padding", 2 * self.pad),
                });
            }
        }

        let [height, width, channels] = shape;
        let stride = width * channels;
        // The crop's own zeros, left and right of the image's pixels: at most one of the two is not 0.
        let left = self.pad.saturating_sub(draw.dx) * channels;
        let right = draw.dx.saturating_sub(self.pad) * channels;
        for (y, row) in out.chunks_exact_mut(stride).enumerate() {
            let Some(from) = (y + draw.dy).checked_sub(self.pad).filter(|&from| from < height) else {
                row.fill(0.0);
                continue;
            };
            let pixels = &image[from * stride..][right..stride - left];
            if draw.flip {
                row[..right].fill(0.0);
                flip(pixels, &mut row[right..stride - left], channels);
                row[stride - left..].fill(0.0);
            } else {
                row[..left].fill(0.0);
                scale(pixels, &mut row[left..stride - right]);
                row[stride - right..].fill(0.0);
            }
        }
        Ok(())
    }

    /// Errors unless images of `shape` can be augmented.
    pub(super) fn check(&self, shape: [usize; 3]) -> Result<(), DataError> {
        let side = shape[0].min(shape[1]);
        if self.pad < side && shape[2] > 0 {
            return Ok(());
        }
        Err(DataError::Option {
            option: "pad",
            value: self.pad,
            allowed: format!("the padding is smaller than the image, which is {shape:?}"),
        })
    }
}

/// Writes pixel / 255.
pub(super) fn scale(pixels: &[u8], out: &mut [f32]) {
    for (value, &pixel) in out.iter_mut().zip(pixels) {
        *value = f32::from(pixel) / 255.0;
    }
}

/// Writes pixel / 255, the last pixel first; the channels of a pixel stay in order.
fn flip(pixels: &[u8], out: &mut [f32], channels: usize) {
    if channels == 3 {
        // A constant width lets the compiler unroll the pixel: images of three channels are what there is.
        for (value, pixel) in out.chunks_exact_mut(3).zip(pixels.chunks_exact(3).rev()) {
            scale(pixel, value);
        }
    } else {
        for (value, pixel) in out.chunks_exact_mut(channels).zip(pixels.chunks_exact(channels).rev()) {
            scale(pixel, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word by word: a padded image, a crop of it, and a mirror.
    fn naive(augment: Augment, draw: Draw, [h, w, c]: [usize; 3], image: &[u8]) -> Vec<f32> {
        let pad = augment.pad;
        let mut padded = vec![vec![vec![0u8; c]; w + 2 * pad]; h + 2 * pad];
        for y in 0..h {
            for x in 0..w {
                for k in 0..c {
                    padded[y + pad][x + pad][k] = image[(y * w + x) * c + k];
                }
            }
        }
        let mut out = Vec::new();
        for y in 0..h {
            let mut row: Vec<Vec<u8>> = padded[draw.dy + y][draw.dx..draw.dx + w].to_vec();
            if draw.flip {
                row.reverse();
            }
            out.extend(row.concat().into_iter().map(|v| v as f32 / 255.0));
        }
        out
    }

    #[test]
    fn every_draw_equals_the_definition() {
        for shape in [[5, 7, 3], [6, 5, 1], [4, 4, 2]] {
            let image: Vec<u8> = (0..shape.iter().product()).map(|i: usize| (i * 37 + 11) as u8).collect();
            for pad in 0..4 {
                let augment = Augment { pad, flip: true };
                for dy in 0..=2 * pad {
                    for dx in 0..=2 * pad {
                        for flip in [false, true] {
                            let draw = Draw { dy, dx, flip };
                            let mut out = vec![f32::NAN; image.len()];
                            augment.apply(draw, shape, &image, &mut out).unwrap();
                            assert_eq!(out, naive(augment, draw, shape, &image), "{shape:?} {pad} {draw:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn draws_are_fixed_by_their_numbers_and_cover_every_place() {
        let augment = Augment::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut flips = 0;
        for image in 0..4_000 {
            let draw = augment.draw(3, 1, image);
            assert_eq!(draw, augment.draw(3, 1, image));
            seen.insert((draw.dy, draw.dx));
            flips += u32::from(draw.flip);
        }
        assert_eq!(seen.len(), 81);
        assert!(seen.iter().all(|&(dy, dx)| dy <= 8 && dx <= 8));
        assert!(flips.abs_diff(2_000) < 200, "{flips}");
        let still = Augment { pad: 0, flip: false };
        assert!((0..100).all(|i| still.draw(3, 1, i) == Draw { dy: 0, dx: 0, flip: false }));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let augment = Augment { pad: 2, flip: false };
        let draw = Draw { dy: 0, dx: 0, flip: false };
        let mut out = [0.0; 27];
        let mut apply =
            |augment: Augment, draw, shape, bytes: usize| augment.apply(draw, shape, &[0; 27][..bytes], &mut out);
        assert!(apply(augment, draw, [3, 3, 3], 27).is_ok());
        assert!(apply(augment, draw, [3, 3, 3], 26).is_err());
        assert!(apply(augment, draw, [3, 4, 3], 27).is_err());
        assert!(apply(augment, Draw { dx: 5, ..draw }, [3, 3, 3], 27).is_err());
        assert!(apply(augment, Draw { dy: 5, ..draw }, [3, 3, 3], 27).is_err());
        let error = apply(Augment { pad: 3, flip: false }, draw, [3, 3, 3], 27).unwrap_err();
        assert_eq!(error.to_string(), "pad = 3: the padding is smaller than the image, which is [3, 3, 3]");
        assert!(apply(Augment { pad: usize::MAX, flip: false }, draw, [3, 3, 3], 27).is_err());
        assert!(apply(Augment { pad: usize::MAX, flip: false }, draw, [usize::MAX, usize::MAX, 0], 0).is_err());
    }
}
