//! How a large image goes through the gradients of a direct convolution: in bands of output rows.
//!
//! ```text
//!   dy   ░░░░                     x   ░░░░
//!        ▒▒▒▒ ┐ band                  ▒▒▒▒ ┐ rows that its windows read ─▶ weight gradient
//!        ▒▒▒▒ ┘                       ▒▒▒▒ ┘
//!                                 dx  ▒▒▒▒ ─ rows that no later dy reaches ─▶ stored
//! ```
//!
//! So dy and x are made once, and what their programs wrote and read is still in the second-level cache when it is
//! multiplied and when the result program reads it again. Bands follow from the shape and from what is multiplied: pairs of
//! bf16 have one.

use std::ops::Range;

use cranelift_codegen::ir::Value;

use super::conv::{Bound, F, padded};
use super::conv_backward::Backward;
use super::conv_filter::filter_rows;
use super::conv_pass::{LARGE, MOST_BANDS, Window};

/// Rows that are done together.
pub(super) struct Band {
    /// Output rows, whose products the weight gradient sums.
    pub(super) rows: Range<usize>,
    /// Rows of the zero-padded dy that must be there.
    pub(super) gradient: Range<usize>,
    /// Rows of the zero-padded x that must be there.
    pub(super) source: Range<usize>,
    /// For each phase of input rows, those that can be made: `i` is row `phase + i * stride`.
    pub(super) result: Vec<Range<usize>>,
}

impl Backward {
    /// Output rows of a band.
    fn band_rows(&self) -> usize {
        let g = &self.geometry;
        let [rows, columns] = g.output;
        let stride = g.conv.stride[0];
        let row = (stride * g.block()[1] * g.ci + columns * padded(g.co)) * F as usize;
        if self.on_pairs() || rows * row <= LARGE {
            return rows.max(1);
        }
        let run = filter_rows(g);
        // rows that the next band needs too are moved: there should be fewer of them than of others
        let kept = ((g.kernel[0] - 1) * g.conv.dilation[0]).div_ceil(stride);
        (LARGE / 2 / row).max(kept).max(rows.div_ceil(MOST_BANDS)).next_multiple_of(run)
    }

    /// The bands of an image, in order.
    pub(super) fn bands(&self) -> Vec<Band> {
        let g = &self.geometry;
        let (rows, stride, [low, high]) = (g.output[0], g.conv.stride[0], self.margin(0));
        let reach = (g.kernel[0] - 1) * g.conv.dilation[0] + 1;
        let phases: Vec<usize> = if self.result.is_some() { (0..stride.min(g.size[0])).collect() } else { Vec::new() };
        let band = self.band_rows();
        let mut done = vec![0; phases.len()];
        let mut bands = Vec::new();
        for first in (0..rows).step_by(band) {
            let end = rows.min(first + band);
            let last = end == rows;
            let mut start = first as i64;
            let mut result = Vec::new();
            for (&phase, done) in phases.iter().zip(&mut done) {
                let taps = self.taps(0, phase);
                let all = (g.size[0] - phase).div_ceil(stride);
                let reached = if taps.count == 0 { 0 } else { (end as i64 - taps.start).max(0) as usize };
                let until = if last { all } else { reached.clamp(*done, all) };
                if taps.count > 0 && *done < all {
                    start = start.min(taps.start + *done as i64 - taps.back * (taps.count as i64 - 1));
                }
                result.push(*done..until);
                *done = until;
            }
            let of_dy = if last { low + rows + high } else { low + end };
            // rows between two windows have to be made too
            let of_x = if last { g.block()[0] } else { ((end - 1) * stride + reach).max(end * stride) };
            // all rows of dx need those above the first band
            let from = if first == 0 { 0 } else { (start + low as i64) as usize };
            bands.push(Band { rows: first..end, gradient: from..of_dy, source: first * stride..of_x, result });
        }
        bands
    }

    /// The most rows of dy and of x that are held at a time.
    pub(super) fn held_rows(&self) -> [usize; 2] {
        let bands = self.bands();
        let most = |rows: fn(&Band) -> &Range<usize>| bands.iter().map(|band| rows(band).len()).max().unwrap_or(0);
        [most(|band| &band.gradient), most(|band| &band.source)]
    }

    pub(super) fn gradient_window(&self, base: Value) -> Window<'_> {
        let g = &self.geometry;
        let whole = self.band_rows() >= g.output[0];
        Window::new(&self.gradient, self.dy_block(base), g.output, g.co, self.reads_gradient(), whole)
    }

    pub(super) fn source_window<'p>(&self, program: &'p Bound, base: Value) -> Window<'p> {
        let g = &self.geometry;
        let (block, whole) = (g.input_block(base, self.element), self.band_rows() >= g.output[0]);
        Window::new(program, block, g.size, g.ci, self.reads_source(), whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::conv::Geometry;
    use crate::codegen::half::Element;
    use crate::codegen::isa::Isa;
    use crate::ops::{Conv2d, Program};
    use crate::types::Shape;

    fn bound() -> Bound {
        let program = Program::operand(0);
        Bound { program, full: vec![], scalar: vec![], elements: vec![], outputs: vec![], past_caches: false }
    }

    fn backward(rows: usize, kernel: usize, conv: Conv2d) -> Option<Backward> {
        let [ci, co] = [20, 70];
        let geometry = Geometry::new(conv, &Shape(vec![1, rows, 90, ci]), &Shape(vec![kernel, 1, ci, co]))?;
        Some(Backward {
            isa: Isa::Clif,
            geometry,
            chunks: 1,
            element: Element::F32,
            source: Some(bound()),
            gradient: bound(),
            result: Some(bound()),
            weight: 0,
            partial: 0,
        })
    }

    /// Every row of dx is made once, when all rows of dy that reach it are there; windows cover all rows and move down.
    #[test]
    fn rows_are_there_when_they_are_read() {
        let mut cut = 0;
        for (rows, kernel, stride, dilation) in [40, 61, 100].into_iter().flat_map(|rows| {
            let strides = [1, 2, 3].into_iter().flat_map(move |s| [1, 2, 5].map(move |d| (s, d)));
            strides.flat_map(move |(s, d)| [1, 2, 3, 7].map(move |k| (rows, k, s, d)))
        }) {
            for padding in [[0, 0], [1, 1], [0, 2], [3, 1]] {
                let conv =
                    Conv2d { stride: [stride, 1], padding: [padding, [0, 0]], dilation: [dilation, 1], groups: 1 };
                let Some(kernel) = backward(rows, kernel, conv) else { continue };
                let (g, bands, low) = (&kernel.geometry, kernel.bands(), kernel.margin(0)[0] as i64);
                cut += usize::from(bands.len() > 1);
                let mut made = vec![0; rows];
                let (mut of_dy, mut of_x, mut output) = (0..0, 0..0, 0);
                for band in &bands {
                    assert_eq!(band.rows.start, output);
                    output = band.rows.end;
                    for (held, next) in [(&mut of_dy, &band.gradient), (&mut of_x, &band.source)] {
                        assert!(held.start <= next.start && next.start <= held.end && held.end <= next.end, "{conv:?}");
                        *held = next.clone();
                    }
                    // the windows of the band's output rows
                    assert!(band.source.start <= band.rows.start * stride);
                    assert!((band.rows.end - 1) * stride + (g.kernel[0] - 1) * dilation < band.source.end);
                    for (phase, rows) in band.result.iter().enumerate() {
                        for row in rows.clone().map(|i| phase + i * stride) {
                            made[row] += 1;
                            // dy rows by the definition of the convolution
                            for tap in 0..g.kernel[0] {
                                let at = row as i64 + padding[0] as i64 - (tap * dilation) as i64;
                                let dy = at.div_euclid(stride as i64);
                                if at.rem_euclid(stride as i64) == 0 && (0..g.output[0] as i64).contains(&dy) {
                                    let there = band.gradient.start as i64..band.gradient.end as i64;
                                    assert!(there.contains(&(dy + low)), "{conv:?}: dx row {row} needs dy row {dy}");
                                }
                            }
                        }
                    }
                }
                assert_eq!((output, of_x.end), (g.output[0], g.block()[0]), "{conv:?}");
                assert!(made.iter().all(|&times| times == 1), "{conv:?}: {made:?}");
            }
        }
        assert!(cut > 100, "{cut} images were cut into bands");
    }
}
