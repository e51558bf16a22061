//! Building a graph: images of another size, and borders.
//!
//! ```text
//!  nearest    [n, h, w, c] ─▶ [n, h, 1, w, 1, c] ─broadcast─▶ [n, h, s, w, s, c] ─▶ [n, h·s, w·s, c]
//!  bilinear   rows, then columns: each a product with a constant matrix that has two weights in a row
//!  reflect    c b │ a b c d │ c b         replicate  a a │ a b c d │ d d
//! ```

use super::{Graph, Value};
use crate::error::Error;
use crate::ops::MatMul;
use crate::tensor::Tensor;

/// A matrix `[to, from]` that makes each pixel of an axis from those of another.
pub(super) struct Weights {
    to: usize,
    from: usize,
    values: Vec<f32>,
}

impl Weights {
    /// Whether a matrix from `from` to `to` pixels has a size that memory is spent on: up to 2²⁶ numbers.
    pub(super) fn are_held(to: usize, from: usize) -> bool {
        to.saturating_mul(from) <= 1 << 26
    }
    /// All zeros.
    pub(super) fn new(to: usize, from: usize) -> Self {
        Weights { to, from, values: vec![0.0; to.saturating_mul(from)] }
    }
    pub(super) fn add(&mut self, to: usize, from: usize, weight: f32) {
        self.values[to * self.from + from] += weight;
    }
    /// Linear interpolation from `from` to `to` pixels. With `align_corners` the centres of the outermost pixels stay in
    /// place, else the image's borders do, and what lies beyond the outermost centres is a copy
    /// (`torch.nn.Upsample`; Keras's `UpSampling2D` is the second).
    fn bilinear(to: usize, from: usize, align_corners: bool) -> Self {
        let mut weights = Weights::new(to, from);
        for at in 0..to {
            let centre = match align_corners {
                true if to > 1 => at as f64 * (from - 1) as f64 / (to - 1) as f64,
                true => 0.0,
                false => ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0),
            };
            let low = (centre as usize).min(from - 1);
            let high = (low + 1).min(from - 1);
            let part = centre - low as f64;
            weights.add(at, low, (1.0 - part) as f32);
            weights.add(at, high, part as f32);
        }
        weights
    }
}

/// What a border of an image repeats.
#[derive(Clone, Copy)]
enum Border {
    /// The pixels before it in reverse order, without the outermost.
    Reflect,
    /// The outermost pixel.
    Replicate,
}

impl Graph {
    /// Each pixel of `x [n, h, w, c]` becomes `scale` (rows, columns) equal ones.
    ///
    /// # Errors
    /// [`Error::Operands`] for a scale of 0, and when `x` has not 4 axes.
    pub fn upsample_nearest(&mut self, x: Value, scale: [usize; 2]) -> Result<Value, Error> {
        let [n, h, w, c] = self.image("upsample_nearest", x)?;
        self.expect_scale("upsample_nearest", x, scale)?;
        let apart = self.reshape(x, [n, h, 1, w, 1, c])?;
        let repeated = self.broadcast(apart, [n, h, scale[0], w, scale[1], c])?;
        self.reshape(repeated, [n, h.saturating_mul(scale[0]), w.saturating_mul(scale[1]), c])
    }
    /// `x [n, h, w, c]` enlarged by `scale` (rows, columns) with linear interpolation. `align_corners` keeps the
    /// centres of the corner pixels in the corners, as PyTorch's option of this name; without it the result is also
    /// Keras's.
    ///
    /// # Errors
    /// As [`Graph::upsample_nearest`].
    pub fn upsample_bilinear(&mut self, x: Value, scale: [usize; 2], align_corners: bool) -> Result<Value, Error> {
        let [_, h, w, _] = self.image("upsample_bilinear", x)?;
        self.expect_scale("upsample_bilinear", x, scale)?;
        let size = [h.saturating_mul(scale[0]), w.saturating_mul(scale[1])];
        if size.iter().zip([h, w]).any(|(&to, from)| !Weights::are_held(to, from)) {
            return Err(self.refused("upsample_bilinear", &[x], format!("a scale of {scale:?} makes it too large")));
        }
        let rows = self.weighted_pixels(x, 1, Weights::bilinear(size[0], h, align_corners))?;
        self.weighted_pixels(rows, 2, Weights::bilinear(size[1], w, align_corners))
    }

    /// Adds zeros around the images of `x [n, h, w, c]`: rows before and after, then columns.
    ///
    /// # Errors
    /// [`Error::Operands`] when `x` has not 4 axes.
    pub fn zero_pad2d(&mut self, x: Value, padding: [[usize; 2]; 2]) -> Result<Value, Error> {
        self.image("zero_pad2d", x)?;
        let [rows, columns] = padding;
        self.pad(x, &[0, rows[0], columns[0], 0], &[0, rows[1], columns[1], 0], 0.0)
    }
    /// Adds a border that mirrors the images of `x [n, h, w, c]` at their outermost pixels
    /// (`torch.nn.ReflectionPad2d`).
    ///
    /// # Errors
    /// [`Error::Operands`] when `x` has not 4 axes, and for a border that is not smaller than the image.
    pub fn reflection_pad2d(&mut self, x: Value, padding: [[usize; 2]; 2]) -> Result<Value, Error> {
        self.bordered("reflection_pad2d", x, padding, Border::Reflect)
    }
    /// Adds a border that repeats the outermost pixels of `x [n, h, w, c]` (`torch.nn.ReplicationPad2d`).
    ///
    /// # Errors
    /// [`Error::Operands`] when `x` has not 4 axes.
    pub fn replication_pad2d(&mut self, x: Value, padding: [[usize; 2]; 2]) -> Result<Value, Error> {
        self.bordered("replication_pad2d", x, padding, Border::Replicate)
    }

    /// Channels to pixels: `[n, h, w, c·r·r] → [n, h·r, w·r, c]` (Shi et al. 2016). Channel `c·r·r + i·r + j` becomes
    /// pixel `(i, j)` of its block in channel `c`, PyTorch's order.
    ///
    /// # Errors
    /// [`Error::Operands`] when `x` has not 4 axes or the channels are no multiple of `r·r`.
    pub fn pixel_shuffle(&mut self, x: Value, r: usize) -> Result<Value, Error> {
        let [n, h, w, c] = self.image("pixel_shuffle", x)?;
        let block = r.saturating_mul(r);
        if block == 0 || !c.is_multiple_of(block) {
            let reason = format!("the {c} channels must be a multiple of {r}·{r}, at least 1");
            return Err(self.refused("pixel_shuffle", &[x], reason));
        }
        let apart = self.reshape(x, [n, h, w, c / block, r, r])?;
        let moved = self.transpose(apart, &[0, 1, 4, 2, 5, 3])?;
        self.reshape(moved, [n, h * r, w * r, c / block])
    }
    /// Pixels to channels, the reverse of [`Graph::pixel_shuffle`]: `[n, h·r, w·r, c] → [n, h, w, c·r·r]`.
    ///
    /// # Errors
    /// [`Error::Operands`] when `x` has not 4 axes or its rows or columns are no multiple of `r`.
    pub fn pixel_unshuffle(&mut self, x: Value, r: usize) -> Result<Value, Error> {
        let [n, h, w, c] = self.image("pixel_unshuffle", x)?;
        if r == 0 || !h.is_multiple_of(r) || !w.is_multiple_of(r) {
            let reason = format!("{h} rows and {w} columns must be multiples of {r}, at least 1");
            return Err(self.refused("pixel_unshuffle", &[x], reason));
        }
        let apart = self.reshape(x, [n, h / r, r, w / r, r, c])?;
        let moved = self.transpose(apart, &[0, 1, 3, 5, 2, 4])?;
        self.reshape(moved, [n, h / r, w / r, c * r * r])
    }

    /// The pixels of `axis` (1: rows, 2: columns) of `x [n, h, w, c]` as weighted sums.
    pub(super) fn weighted_pixels(&mut self, x: Value, axis: usize, weights: Weights) -> Result<Value, Error> {
        let mut shape = self.ty(x).shape.clone();
        let before: usize = shape.0[..axis].iter().product();
        let behind: usize = shape.0[axis + 1..].iter().product();
        shape.0[axis] = weights.to;
        let matrix = self.constant(Tensor::f32([weights.to, weights.from], weights.values)?)?;
        let lines = self.reshape(x, [before, weights.from, behind])?;
        let mixed = self.matmul(matrix, lines, MatMul::default())?;
        self.reshape(mixed, shape)
    }

    fn bordered(&mut self, op: &str, x: Value, padding: [[usize; 2]; 2], border: Border) -> Result<Value, Error> {
        self.image(op, x)?;
        let mut y = x;
        for (axis, [before, after]) in [(1, padding[0]), (2, padding[1])] {
            let extents = self.ty(y).shape.0.clone();
            let last = extents[axis] - 1;
            let (low, high): (Vec<usize>, Vec<usize>) = match border {
                Border::Reflect if before.max(after) > last => {
                    let reason =
                        format!("a reflected border of {before} and {after} needs more than {} pixels", last + 1);
                    return Err(self.refused(op, &[x], reason));
                }
                Border::Reflect => ((1..=before).rev().collect(), (1..=after).map(|i| last - i).collect()),
                Border::Replicate => (vec![0; before], vec![last; after]),
            };
            let line = |graph: &mut Graph, at: usize| {
                let (mut start, mut stop) = (vec![0; 4], extents.clone());
                (start[axis], stop[axis]) = (at, at + 1);
                graph.slice(y, &start, &stop, &[1; 4])
            };
            let mut parts = Vec::with_capacity(before + 1 + after);
            for at in low {
                parts.push(line(self, at)?);
            }
            parts.push(y);
            for at in high {
                parts.push(line(self, at)?);
            }
            if parts.len() > 1 {
                y = self.concat(&parts, axis)?;
            }
        }
        Ok(y)
    }

    /// The extents of an NHWC tensor.
    fn image(&self, op: &str, x: Value) -> Result<[usize; 4], Error> {
        match *self.expect_type(x, op)?.shape.0.as_slice() {
            [n, h, w, c] => Ok([n, h, w, c]),
            _ => Err(self.refused(op, &[x], "the input must have 4 axes (NHWC)".to_string())),
        }
    }
    fn expect_scale(&self, op: &str, x: Value, scale: [usize; 2]) -> Result<(), Error> {
        if scale.contains(&0) {
            return Err(self.refused(op, &[x], format!("the scale must be at least 1, got {scale:?}")));
        }
        Ok(())
    }
}
