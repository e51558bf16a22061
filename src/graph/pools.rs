//! Building a graph: pools along one axis, over all pixels, and to a given number of pixels.
//!
//! ```text
//!  adaptive, 5 pixels to 3     window i is floor(i·5/3) .. ceil((i + 1)·5/3)
//!    ▓▓░░░                     so that all pixels are in a window, and neighbours may share one;
//!    ░▓▓▓░                     as a product with a constant matrix of 1/length
//!    ░░░▓▓
//! ```

use super::resample::Weights;
use super::{Graph, PoolOptions, Value};
use crate::error::Error;
use crate::ops::ReduceKind;
use crate::types::{Padding1d, Window};

/// How a pooling window along one axis is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool1dOptions {
    /// Elements of the window.
    pub size: usize,
    /// Distance of windows; `None` is the window's size, as in PyTorch and Keras.
    pub stride: Option<usize>,
    /// Border handling.
    pub padding: Padding1d,
    /// Whether an average counts padded zeros (see [`crate::ops::Pool::count_padding`]).
    pub count_padding: bool,
    /// As [`PoolOptions::ceil_mode`].
    pub ceil_mode: bool,
}

impl Pool1dOptions {
    /// A window that steps by its size, without padding.
    pub fn new(size: usize) -> Self {
        Pool1dOptions { size, stride: None, padding: Padding1d::Valid, count_padding: true, ceil_mode: false }
    }
    fn of_row(self) -> PoolOptions {
        let window = Window { size: self.size, stride: 1, dilation: 1 };
        PoolOptions {
            size: [1, self.size],
            stride: Some([1, self.stride.unwrap_or(self.size)]),
            padding: self.padding.of_row(window),
            count_padding: self.count_padding,
            ceil_mode: self.ceil_mode,
        }
    }
}

/// Windows of an adaptive pool, as PyTorch cuts them: `(start, stop)` each.
fn windows(input: usize, output: usize) -> Vec<(usize, usize)> {
    (0..output).map(|i| (i * input / output, ((i + 1) * input).div_ceil(output))).collect()
}

impl Graph {
    /// Maximum over windows of `x [n, l, c]` along `l`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn max_pool1d(&mut self, x: Value, options: Pool1dOptions) -> Result<Value, Error> {
        let rows = self.one_row("max_pool1d", x)?;
        let y = self.max_pool(rows, options.of_row())?;
        self.without_row(y)
    }
    /// Mean over windows of `x [n, l, c]` along `l`.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn avg_pool1d(&mut self, x: Value, options: Pool1dOptions) -> Result<Value, Error> {
        let rows = self.one_row("avg_pool1d", x)?;
        let y = self.avg_pool(rows, options.of_row())?;
        self.without_row(y)
    }
    /// Maximum over all pixels: `[n, h, w, c] → [n, c]`. Pixels that share it share its gradient, as in Keras.
    ///
    /// # Errors
    /// [`Error::Operands`].
    pub fn global_max_pool(&mut self, x: Value) -> Result<Value, Error> {
        self.max(x, &[1, 2])
    }

    /// Mean over windows that give `size` (rows, columns) pixels, whatever the size of `x [n, h, w, c]`
    /// (`torch.nn.AdaptiveAvgPool2d`).
    ///
    /// # Errors
    /// [`Error::Operands`] for a size of 0, and when `x` has not 4 axes.
    pub fn adaptive_avg_pool(&mut self, x: Value, size: [usize; 2]) -> Result<Value, Error> {
        if let Some(options) = self.even_windows("adaptive_avg_pool", x, size)? {
            return self.avg_pool(x, options);
        }
        let mut y = x;
        for (axis, output) in size.into_iter().enumerate() {
            let input = self.ty(x).shape.0[axis + 1];
            if !Weights::are_held(output, input) {
                let reason = format!("windows that make {output} pixels of {input} are too many");
                return Err(self.refused("adaptive_avg_pool", &[x], reason));
            }
            let mut weights = Weights::new(output, input);
            for (to, (start, stop)) in windows(input, output).into_iter().enumerate() {
                (start..stop).for_each(|from| weights.add(to, from, 1.0 / (stop - start) as f32));
            }
            y = self.weighted_pixels(y, axis + 1, weights)?;
        }
        Ok(y)
    }
    /// Maximum over the windows of [`Graph::adaptive_avg_pool`] (`torch.nn.AdaptiveMaxPool2d`). Where windows are of
    /// unequal size, pixels that share a maximum share its gradient.
    ///
    /// # Errors
    /// As [`Graph::adaptive_avg_pool`].
    pub fn adaptive_max_pool(&mut self, x: Value, size: [usize; 2]) -> Result<Value, Error> {
        if let Some(options) = self.even_windows("adaptive_max_pool", x, size)? {
            return self.max_pool(x, options);
        }
        let mut y = x;
        for (axis, output) in size.into_iter().enumerate() {
            let extents = self.ty(y).shape.0.clone();
            let mut parts = Vec::with_capacity(output);
            for window in windows(extents[axis + 1], output) {
                let (mut start, mut stop) = (vec![0; 4], extents.clone());
                (start[axis + 1], stop[axis + 1]) = window;
                let part = self.slice(y, &start, &stop, &[1; 4])?;
                parts.push(self.reduce(ReduceKind::Max, part, &[axis + 1], true)?);
            }
            y = self.concat(&parts, axis + 1)?;
        }
        Ok(y)
    }

    /// The plain pool that an adaptive one is where all windows are of one size and meet without a gap.
    fn even_windows(&self, op: &str, x: Value, size: [usize; 2]) -> Result<Option<PoolOptions>, Error> {
        let ty = self.expect_type(x, op)?;
        let &[_, height, width, _] = ty.shape.0.as_slice() else {
            return Err(self.refused(op, &[x], "the input must have 4 axes (NHWC)".to_string()));
        };
        if size.contains(&0) {
            return Err(self.refused(op, &[x], format!("the result must have at least one pixel, asked for {size:?}")));
        }
        let even = height.is_multiple_of(size[0]) && width.is_multiple_of(size[1]);
        let window = [height / size[0], width / size[1]];
        Ok(even.then_some(PoolOptions { size: window, ..PoolOptions::square(1) }))
    }
}
