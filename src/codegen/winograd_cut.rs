//! How a forward Winograd convolution is cut into chunks.
//!
//! ```text
//!   runs of images          × blocks of channels, U large      or × bands of tile rows, few images
//!   ┌ img0 img1 img2 ┐        ┌──┬──┐                              ░░░░
//!   ├ img3 img4 img5 ┤        │U0│U1│  each block reads its part   ▒▒▒▒
//!   └ img6 img7      ┘        └──┴──┘  of U for all of a run       ▓▓▓▓
//! ```
//!
//! The cut follows from the shape alone, so partial sums do.

use cranelift_codegen::ir::Value;

use super::algorithm::DECIDES;
use super::conv::{Geometry, padded};
use super::conv_forward;
use super::cost;
use super::emit::{Count, Emit};
use super::winograd::Form;
use super::winograd_grid::CACHED;

/// Runs of images, and what each run is cut into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// Runs of images, one image each if `bands` is not 1.
    pub(super) runs: usize,
    /// Blocks of output channels. Each reads a part of U, and makes V anew.
    pub(super) parts: usize,
    /// Bands of an image's tile rows.
    pub(super) bands: usize,
}

impl Cut {
    /// `chunks` runs of images.
    pub(super) fn by_images(chunks: usize) -> Cut {
        Cut { runs: chunks, parts: 1, bands: 1 }
    }

    /// The cut that comes next to `wanted` chunks, and as many where `wanted` is not more than the images. Channels are cut
    /// only where U is large, so that it is read a few times and not for each image: among few images in place of bands,
    /// among many where the cost model predicts less.
    pub(super) fn new(g: &Geometry, form: Form, wanted: usize) -> Cut {
        let bands = conv_forward::bands(g.images, wanted);
        if bands > 1 {
            return Cut::of_few(g, form, bands);
        }
        /// The fewest channels of a block.
        const NARROWEST: usize = 32;
        let cuts = (1..=wanted.max(1)).filter(|&parts| {
            let runs = wanted / parts;
            // no run is empty
            let all = runs > 0 && (runs - 1) * g.images.div_ceil(runs) < g.images;
            let channels = is_large(g, form) && g.co.is_multiple_of(parts * NARROWEST);
            parts == 1 || (wanted.is_multiple_of(parts) && all && channels)
        });
        let cuts = cuts.map(|parts| Cut { runs: wanted / parts, parts, bands: 1 });
        let cost = |cut: &Cut| cost::forward(DECIDES, g, form, *cut);
        cuts.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Cut::by_images(wanted))
    }

    /// With fewer images than chunks: `bands` of an image, or fewer of whole tile rows, or blocks of channels.
    fn of_few(g: &Geometry, form: Form, bands: usize) -> Cut {
        let narrowest = if g.images == 1 { 64 } else { 128 };
        let [rows, columns] = g.output.map(|pixels| pixels.div_ceil(form.outputs()));
        // where an image has many tiles, V is larger than U
        if is_large(g, form) && rows * columns < g.co {
            let fits = |parts: &usize| g.co.is_multiple_of(parts * narrowest);
            let parts = (1..=bands.min(g.co / narrowest)).rev().find(fits).unwrap_or(1);
            if parts > 1 {
                return Cut { runs: g.images, parts, bands: 1 };
            }
        }
        let bands = (1..=bands.min(rows)).rev().find(|&bands| rows.is_multiple_of(bands)).unwrap_or(1);
        Cut { runs: g.images, parts: 1, bands }
    }

    pub(super) fn chunks(self) -> usize {
        self.runs * self.parts * self.bands
    }

    /// The chunk's first image, the number of its images, and its part or band.
    pub(super) fn share(self, e: &mut Emit<'_>, images: usize) -> (Value, Count, Value) {
        let (run, rest) = e.run_and_part(self.parts * self.bands);
        let (first, count) = e.range(run, images, self.runs);
        (first, count, rest)
    }
}

/// Whether U does not stay in the second-level cache.
fn is_large(g: &Geometry, form: Form) -> bool {
    form.products() * g.ci * padded(g.co) * 4 > CACHED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv2d;
    use crate::types::Shape;

    #[test]
    fn a_large_weight_is_cut_into_channels() {
        let cut = |images: usize, side: usize, channels: usize, wanted: usize| {
            let conv = Conv2d { stride: [1; 2], padding: [[1; 2]; 2], dilation: [1; 2], groups: 1 };
            let (input, weight) = (Shape(vec![images, side, side, channels]), Shape(vec![3, 3, channels, channels]));
            Cut::new(&Geometry::new(conv, &input, &weight).unwrap(), Form::Four, wanted)
        };
        // U of 36 MiB: read a few times, in as many chunks as were wanted
        for (images, wanted) in [(16, 16), (100, 20), (32, 32)] {
            let cut = cut(images, 7, 512, wanted);
            assert!(cut.parts > 1 && cut.chunks() == wanted, "{images}: {cut:?}");
        }
        assert_eq!(cut(100, 32, 16, 20), Cut::by_images(20));
        assert_eq!(cut(100, 8, 64, 20), Cut::by_images(20));
    }
}
