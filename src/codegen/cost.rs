//! What a convolution's kernel is predicted to take: the cost model that chooses its algorithm.
//!
//! ```text
//!   direct     flops · direct + numbers of a large weight, for each row · STREAMED_FAR + moved numbers · MOVED
//!   Winograd   flops of the products · product + transformed numbers · transformed
//!              + numbers of weights and sums, for each batch of products · STREAMED  + moved numbers · MOVED
//! ```
//!
//! Times are those of one thread of the machine on which the constants were measured, a Xeon (Sapphire Rapids) whose
//! best is 4.8 ps a flop in AVX-512. Only their ratios decide anything. They were measured on 3×3 convolutions of 100
//! images, 16 channels at 32×32, 32 at 16×16 and 64 at 8×8, each kernel forced in turn with
//! [`Convolution`](super::Convolution): a profile by function (products, transforms, fills, results) gives the constants of
//! AVX-512; for the others the three totals are solved for them, since flops are the same in all three and the transformed
//! numbers halve from one to the next. `STREAMED` is what 64 channels at 8×8 take beyond that image by image, and
//! `STREAMED_FAR` what 128 channels at 28×28 do, and the direct kernel with 256 at 14×14.

use super::algorithm::BackwardForms;
use super::conv::{Geometry, padded};
use super::conv_filter::filter_rows;
use super::isa::Isa;
use super::winograd::Form;
use super::winograd_backward;
use super::winograd_cut::Cut;
use super::winograd_forward;
use super::winograd_grid::{CACHED, Grid};

/// Picoseconds of an instruction set.
struct Rates {
    /// A flop of the direct kernel.
    direct: f64,
    /// A flop of Winograd's products, which are short.
    product: f64,
    /// A number in Winograd's domain: its share of a transform, its storing and loading.
    transformed: f64,
}

fn rates(isa: Isa) -> Rates {
    match isa {
        Isa::Clif => Rates { direct: 21.5, product: 22.0, transformed: 350.0 },
        Isa::Avx2 => Rates { direct: 9.2, product: 7.5, transformed: 250.0 },
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => Rates { direct: 5.5, product: 6.2, transformed: 100.0 },
    }
}

/// A number of an activation that is read into a block or written from a row, in ps.
const MOVED: f64 = 150.0;
/// A number of a weight or a sum in Winograd's domain that a batch of products reads again, in ps.
const STREAMED: f64 = 70.0;
/// The same where all of them together do not stay in the second-level cache.
const STREAMED_FAR: f64 = 250.0;

/// Bits of a second: what follows is in nanoseconds.
const PS: f64 = 1e-3;

fn numbers(extents: &[usize]) -> f64 {
    extents.iter().map(|&extent| extent as f64).product()
}

/// Numbers of the input's and of the output's activations.
fn activations(g: &Geometry) -> [f64; 2] {
    [numbers(&[g.images, g.size[0], g.size[1], g.ci]), numbers(&[g.images, g.output[0], g.output[1], g.co])]
}

/// The direct kernel's time for the convolutions that are `wanted`: those with the weight (forward, or the data gradient),
/// and the weight gradient; in ns.
pub(super) fn direct(isa: Isa, g: &Geometry, wanted: [bool; 2]) -> f64 {
    let mut time = activations(g).iter().sum::<f64>() * MOVED;
    let used = padded(g.co) as f64 / g.co as f64;
    // every row of an image reads the weight; the weight gradient is added to after a run of rows
    let reads = [g.output[0], 2 * g.output[0].div_ceil(filter_rows(g))];
    for (_, reads) in wanted.into_iter().zip(reads).filter(|w| w.0) {
        time += g.flops() as f64 * used * rates(isa).direct;
        if g.weights() * 4 > CACHED {
            time += numbers(&[g.images, reads, g.weights()]) * STREAMED_FAR;
        }
    }
    time * PS
}

/// Winograd's products over a grid: `[tiles, a]` and `[tiles, b]` transformed, `flops` a tile's product of one plane.
fn domain(grid: &Grid, images: usize, transformed: usize, flops: usize) -> f64 {
    let rates = rates(grid.isa);
    let tiles = numbers(&[images, grid.image_tiles(), grid.form.products()]);
    tiles * (transformed as f64 * rates.transformed + flops as f64 * rates.product)
}

/// Weights or sums that every batch of products reads again.
fn streamed(grid: &Grid, images: usize, floats: usize) -> f64 {
    let planes = floats * grid.form.products();
    let batches = images.div_ceil(grid.group) * grid.tiles()[0].div_ceil(grid.band);
    batches as f64 * planes as f64 * if planes * 4 <= CACHED { STREAMED } else { STREAMED_FAR }
}

/// Winograd's time for a forward convolution, in ns. The weight is transformed once.
pub(super) fn forward(isa: Isa, g: &Geometry, form: Form, cut: Cut) -> f64 {
    let grid = winograd_forward::grid(isa, g, form, cut);
    let parts = cut.parts;
    let (ci, co) = (padded(g.ci), padded(g.co));
    let weight = numbers(&[form.products(), g.ci, co]) * rates(isa).transformed;
    // each part makes the tiles of the input anew
    let products = domain(&grid, g.images, ci * parts + co, 2 * g.ci * co);
    let [read, written] = activations(g);
    let moved = (read * parts as f64 + written) * MOVED;
    // the parts of a run read U once together, each run by itself
    let of_run = g.images.div_ceil(cut.runs);
    let streamed = cut.runs as f64 * streamed(&grid, of_run, g.ci * co);
    (weight + products + streamed + moved) * PS
}

/// Winograd's time for the gradients that are `wanted` (data, weight), in ns.
pub(super) fn backward(isa: Isa, g: &Geometry, forms: BackwardForms, wanted: [bool; 2], chunks: usize) -> f64 {
    let [data, filter] = winograd_backward::grids(isa, g, forms, wanted, chunks);
    let (ci, co) = (padded(g.ci), padded(g.co));
    let mut time = activations(g).iter().sum::<f64>() * MOVED;
    if wanted[0] {
        time += numbers(&[forms.data.products(), ci, g.co]) * rates(isa).transformed;
        time += domain(&data, g.images, ci + co, 2 * g.co * ci) + streamed(&data, g.images, g.co * ci);
    }
    if wanted[1] {
        // the sums are transformed once a chunk, and a batch reads and writes them
        time += numbers(&[chunks, forms.filter.products(), g.ci, co]) * rates(isa).transformed;
        time += domain(&filter, g.images, ci + co, 2 * g.ci * co) + 2.0 * streamed(&filter, g.images, g.ci * co);
    }
    time * PS
}
