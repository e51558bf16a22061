//! A planned step becomes one or more kernels with their arguments.

use super::algorithm::{self, Convolution, Settings};
use super::coefficients::ChannelKernel;
use super::conv::{Bound, Geometry, PANEL, padded};
use super::conv_backward::Backward;
use super::conv_forward::Forward;
use super::half::Element;
use super::isa::Isa;
use super::lower_map::{lower_map, one_step};
use super::map::{Map, Maps};
use super::matmul::Product;
use super::nest::Nest;
use super::nest_ops;
use super::pack::rounded;
use super::region::operands_of;
use super::rows::RowSum;
use super::tile::Tile;
use super::winograd_backward::WinogradBackward;
use super::winograd_forward::WinogradForward;
use super::winograd_grid::Grid;
use super::winograd_weight::WeightTransform;
use crate::error::Error;
use crate::ops::fused::chunks_for;
use crate::ops::{Anchor, Fused, Op, Program, Reduce, ReduceKind, Step};
use crate::plan::{Place, Placed, PlannedStep};
use crate::types::{DType, Precision, Shape, TensorType};

/// What is compiled; equal values are one function.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kernel {
    Nest(Nest),
    Map(Map),
    Maps(Maps),
    Rows(RowSum),
    Forward(Forward),
    Backward(Backward),
    WinogradForward(WinogradForward),
    WinogradBackward(WinogradBackward),
    WeightTransform(WeightTransform),
    Product(Product),
    Channels(ChannelKernel),
}

impl Kernel {
    /// Tiles that the kernel calls.
    pub(super) fn tiles(&self) -> Vec<Tile> {
        match self {
            Kernel::Forward(f) => f.tiles().list(),
            Kernel::Backward(b) => b.tiles(),
            Kernel::WinogradForward(f) => f.tiles(),
            Kernel::WinogradBackward(b) => b.tiles(),
            Kernel::Product(p) => p.tiles(),
            Kernel::Nest(_)
            | Kernel::Map(_)
            | Kernel::Maps(_)
            | Kernel::Rows(_)
            | Kernel::WeightTransform(_)
            | Kernel::Channels(_) => Vec::new(),
        }
    }
    /// Worker scratch in bytes.
    pub(super) fn scratch(&self) -> usize {
        match self {
            Kernel::Forward(f) => f.scratch(),
            Kernel::Backward(b) => b.scratch(),
            Kernel::WinogradForward(f) => f.scratch(),
            Kernel::WinogradBackward(b) => b.scratch(),
            Kernel::Product(p) => p.scratch(),
            Kernel::Nest(_)
            | Kernel::Map(_)
            | Kernel::Maps(_)
            | Kernel::Rows(_)
            | Kernel::WeightTransform(_)
            | Kernel::Channels(_) => 0,
        }
    }
}

/// Where an argument lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentPlace {
    /// Where the plan put it.
    Planned(Place),
    /// In memory that only this step's kernels use, at this byte offset.
    Step(usize),
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KernelArgument {
    pub(super) place: ArgumentPlace,
    pub(super) bytes: usize,
    pub(super) write: bool,
    pub(super) float: bool,
}

/// One call of a kernel a chunk.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) kernel: Kernel,
    pub(super) arguments: Vec<KernelArgument>,
    pub(super) chunks: usize,
    pub(super) flops: u64,
    pub(super) kind: &'static str,
}

/// The kernels of a step, in order, and the bytes they share.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    /// Copies of weights in panels, which run before the calls.
    pub(super) packs: Vec<Call>,
    pub(super) calls: Vec<Call>,
    pub(super) step_bytes: usize,
}

fn argument(placed: &Placed, write: bool) -> KernelArgument {
    KernelArgument {
        place: ArgumentPlace::Planned(placed.place),
        bytes: placed.ty.bytes(),
        write,
        float: placed.ty.dtype == DType::F32,
    }
}

/// Operands, then results.
pub(super) fn arguments(step: &PlannedStep) -> Vec<KernelArgument> {
    let operands = step.operands.iter().map(|p| argument(p, false));
    operands.chain(step.results.iter().map(|p| argument(p, true))).collect()
}

/// Most scratch that a kernel may ask of each worker, in bytes.
const MOST_SCRATCH: usize = 1 << 30;

/// Lowers one step.
///
/// # Errors
/// [`Error::Codegen`] for an operation that has no kernel (it should have been lowered by a pass), and for one whose
/// padded images do not fit into a worker's scratch.
///
/// `images`: the step belongs to a group, whose chunks are so many images.
pub(super) fn lower(step: &PlannedStep, settings: Settings, images: Option<usize>) -> Result<Lowered, Error> {
    let mut lowered = kernels(step, settings)?;
    if let Some(images) = images {
        lowered.cut(images, &step.name)?;
    }
    match lowered.calls.iter().map(|call| call.kernel.scratch()).max() {
        Some(bytes) if bytes > MOST_SCRATCH => Err(Error::Codegen {
            path: step.name.clone(),
            reason: format!(
                "{} needs more than 1 GiB of scratch for a padded image; pad or dilate less, or use smaller images",
                step.op.kind()
            ),
        }),
        Some(_) | None => Ok(lowered),
    }
}

fn kernels(step: &PlannedStep, settings: Settings) -> Result<Lowered, Error> {
    let missing = || Error::Codegen {
        path: step.name.clone(),
        reason: format!("{} has no kernel; the lowering pass must rewrite it", step.op.kind()),
    };
    let types = |p: &[Placed]| p.iter().map(|p| p.ty.clone()).collect::<Vec<_>>();
    let (operands, results) = (types(&step.operands), types(&step.results));
    match &step.op {
        Op::Fused(fused) => lower_fused(step, fused, settings).ok_or_else(missing),
        Op::Unary(u) if floats(&results) => one_step(step, Step::Unary(*u, 0)).ok_or_else(missing),
        Op::Binary(b) if floats(&results) => one_step(step, Step::Binary(*b, 0, 1)).ok_or_else(missing),
        Op::Select if floats(&results) => one_step(step, Step::Select(0, 1, 2)).ok_or_else(missing),
        Op::Reduce(Reduce { kind: ReduceKind::Sum, axes, .. })
            if axes.as_slice() == [0] && results[0].shape.last() > 1 =>
        {
            let kernel = RowSum::new(operands[0].shape.0[0], results[0].shape.elements());
            let chunks = kernel.chunks;
            Ok(single(step, Kernel::Rows(kernel), chunks, 0))
        }
        Op::MatMul(m) => Ok(lower_matmul(step, *m, settings.isa.vectors())),
        Op::Coefficients(attributes) => {
            let shape = &operands[0].shape;
            let kernel = ChannelKernel::Forward { attributes: *attributes, partial: shape.0[0], channels: shape.0[1] };
            Ok(single(step, Kernel::Channels(kernel), 1, 0))
        }
        Op::GradCoefficients(attributes) => {
            let shape = &operands[0].shape;
            let kernel = ChannelKernel::Backward { count: attributes.count, partial: shape.0[0], channels: shape.0[1] };
            Ok(single(step, Kernel::Channels(kernel), 1, 0))
        }
        op => {
            let nests = nest_ops::nests(op, &operands, &results).ok_or_else(missing)?;
            let calls = nests
                .into_iter()
                .map(|nest| Call {
                    chunks: nest.chunks,
                    kernel: Kernel::Nest(nest),
                    arguments: arguments(step),
                    flops: 0,
                    kind: step.op.kind(),
                })
                .collect();
            Ok(Lowered { calls, ..Lowered::default() })
        }
    }
}

fn floats(results: &[TensorType]) -> bool {
    results.iter().all(|r| r.dtype == DType::F32)
}

fn single(step: &PlannedStep, kernel: Kernel, chunks: usize, flops: u64) -> Lowered {
    let call = Call { kernel, arguments: arguments(step), chunks, flops, kind: step.op.kind() };
    Lowered { calls: vec![call], ..Lowered::default() }
}

/// A program over `shape` bound to the step's operands; its outputs start at argument `first`.
/// `None` if an operand is neither full, per channel nor a scalar.
pub(super) fn bind(step: &PlannedStep, program: &Program, shape: &Shape, first: usize) -> Option<Bound> {
    let channel = Shape(vec![shape.last()]);
    let simple = |i: usize| {
        let s = &step.operands[i].ty.shape;
        s == shape || *s == channel || s.rank() == 0
    };
    if !operands_of(program).into_iter().all(simple) {
        return None;
    }
    Some(Bound {
        program: program.clone(),
        full: step.operands.iter().map(|p| p.ty.shape == *shape).collect(),
        scalar: step.operands.iter().map(|p| p.ty.shape.rank() == 0).collect(),
        elements: step.operands.iter().map(|p| Element::stored(p.ty.dtype)).collect(),
        outputs: (first..first + program.outputs.len()).collect(),
    })
}

/// What a kernel multiplies, and with which settings: bf16 in pairs where the CPU does so, else as f32. Winograd's transforms
/// know f32 only.
fn products(step: &PlannedStep, fused: &Fused, settings: Settings) -> (Settings, Element) {
    let (isa, element) = match fused.precision {
        Precision::F32 => (settings.isa.vectors(), Element::F32),
        Precision::Bf16 if settings.isa.multiplies_pairs() => (settings.isa, Element::Bf16),
        Precision::Bf16 => (settings.isa, Element::Rounded),
    };
    let narrow = |p: &Placed| p.ty.dtype == DType::Bf16;
    let wide = element == Element::F32 && !step.operands.iter().chain(&step.results).any(narrow);
    (Settings { isa, convolution: if wide { settings.convolution } else { Convolution::Direct } }, element)
}

fn lower_fused(step: &PlannedStep, fused: &Fused, settings: Settings) -> Option<Lowered> {
    let (settings, element) = products(step, fused, settings);
    let isa = settings.isa;
    let kind = fused.anchor.name();
    let mut next = step.operands.len();
    let mut bound = |program: &Program, shape: &Shape| {
        let b = bind(step, program, shape, next)?;
        next += program.outputs.len();
        Some(b)
    };
    let mut lowered = Lowered::default();
    let mut arguments = arguments(step);
    match &fused.anchor {
        Anchor::Map(shape) => {
            let call = lower_map(step, shape, &fused.result, fused.chunks)?;
            lowered.calls.push(Call { kind, ..call });
        }
        Anchor::Maps { segments, shared } => {
            let kernel = Maps::new(segments, *shared, &fused.result, step.operands.len());
            let chunks = kernel.chunks;
            lowered.calls.push(Call { kernel: Kernel::Maps(kernel), arguments, chunks, flops: 0, kind });
        }
        Anchor::Conv2d { conv, input, weight } => {
            let geometry = Geometry::new(*conv, input, weight)?;
            let output = Shape(vec![geometry.images, geometry.output[0], geometry.output[1], geometry.co]);
            let (source, result) = (bound(&fused.source, input)?, bound(&fused.result, &output)?);
            let chosen = algorithm::forward(&geometry, settings, fused.chunks);
            let floats = geometry.taps() * geometry.ci * padded(geometry.part_co());
            let at = if element == Element::Bf16 {
                let bytes = geometry.runs().bytes(isa);
                lowered.pack_pairs(vec![geometry.pack_pairs(isa)], &mut arguments, bytes)
            } else {
                let pack = match geometry.conv.groups {
                    1 if geometry.co.is_multiple_of(PANEL) && element == Element::F32 => None,
                    1 => Some(nest_ops::pack(geometry.taps() * geometry.ci, geometry.co, padded(geometry.co))),
                    _ if geometry.is_depthwise() => None,
                    _ => Some(nest_ops::pack_groups(&geometry, false)),
                };
                lowered.packed_weight(pack.map(|p| rounded(p, element)), &mut arguments, floats)
            };
            // partial sums fix the chunks; rows that two bands need must not be stored or summed twice
            let fixed = fused.result.has_sums() || !fused.source.outputs.is_empty() || chosen.is_some();
            let chunks = if fixed { fused.chunks } else { image_chunks(&geometry) };
            let flops = geometry.flops();
            let kernel = match chosen {
                None => Kernel::Forward(Forward { isa, geometry, chunks, element, source, result, weight: at }),
                Some(form) => {
                    let transform = WeightTransform::new(form, [geometry.ci, padded(geometry.co)], false);
                    let weight = lowered.transform(transform, &mut arguments, at);
                    let group = Grid::group(form, geometry.output, geometry.images.div_ceil(chunks));
                    let grid = Grid::new(isa, form, geometry.output, group);
                    let kernel = WinogradForward { geometry, grid, chunks, source, result, weight };
                    Kernel::WinogradForward(kernel)
                }
            };
            lowered.calls.push(Call { kernel, arguments, chunks, flops, kind });
        }
        Anchor::ConvBackward { conv, input, weight, data, filter } => {
            let geometry = Geometry::new(*conv, input, weight)?;
            let output = Shape(vec![geometry.images, geometry.output[0], geometry.output[1], geometry.co]);
            let source = if *filter { Some(bound(&fused.source, input)?) } else { None };
            let gradient = bound(&fused.gradient, &output)?;
            let result = if *data { Some(bound(&fused.result, input)?) } else { None };
            let partial = next;
            let chosen = algorithm::backward(&geometry, settings, (*data, *filter));
            let floats = geometry.taps() * geometry.co * padded(geometry.part_ci());
            let pack = match geometry.conv.groups {
                _ if !data || geometry.is_depthwise() => None,
                1 => {
                    let (ci, co) = (geometry.ci, geometry.co);
                    Some(nest_ops::pack_transposed(geometry.taps(), ci, co, padded(ci)))
                }
                _ => Some(nest_ops::pack_groups(&geometry, true)),
            };
            let pack = pack.filter(|_| element != Element::Bf16).map(|p| rounded(p, element));
            let mut at = lowered.packed_weight(pack, &mut arguments, floats);
            let chunks = fused.chunks;
            let flops = geometry.flops() * (u64::from(*data) + u64::from(*filter));
            let kernel = match chosen {
                None => {
                    let weight = at;
                    let mut kernel =
                        Backward { isa, geometry, chunks, element, source, gradient, result, weight, partial };
                    if *data && element == Element::Bf16 {
                        let bytes = kernel.weight_offset(None);
                        kernel.weight = lowered.pack_pairs(kernel.pack_phases(), &mut arguments, bytes);
                    }
                    Kernel::Backward(kernel)
                }
                Some(forms) => {
                    if *data {
                        let transform = WeightTransform::new(forms.data, [geometry.co, padded(geometry.ci)], true);
                        at = lowered.transform(transform, &mut arguments, at);
                    }
                    let (data, filter) = (result.map(|r| (r, at)), source.map(|s| (s, partial)));
                    Kernel::WinogradBackward(WinogradBackward { isa, geometry, forms, chunks, gradient, data, filter })
                }
            };
            lowered.calls.push(Call { kernel, arguments, chunks, flops, kind });
        }
    }
    Some(lowered)
}

impl Lowered {
    /// Makes every chunk of the calls one image.
    ///
    /// # Errors
    /// [`Error::Codegen`] for a kernel that cannot be cut so: the plan should not have put it into a group.
    fn cut(&mut self, images: usize, path: &str) -> Result<(), Error> {
        for call in &mut self.calls {
            let fits = match &mut call.kernel {
                Kernel::Forward(forward) => {
                    forward.chunks = images;
                    forward.geometry.images == images
                }
                Kernel::WinogradForward(forward) => forward.cut(images),
                Kernel::Map(map) => map.cut(images),
                Kernel::Nest(nest) => {
                    nest.chunks = images;
                    nest.extents.len() > 1 && nest.extents[0] == images
                }
                Kernel::Backward(_)
                | Kernel::WinogradBackward(_)
                | Kernel::WeightTransform(_)
                | Kernel::Product(_)
                | Kernel::Maps(_)
                | Kernel::Rows(_)
                | Kernel::Channels(_) => false,
            };
            if !fits {
                let reason = format!("{} cannot be cut into {images} images", call.kind);
                return Err(Error::Codegen { path: path.to_string(), reason });
            }
            call.chunks = images;
        }
        Ok(())
    }
    /// All calls in order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Call> {
        self.packs.iter().chain(&self.calls)
    }
}

/// Chunks of a convolution without partial sums: images, or equal bands of the rows of each if there are few. A band
/// has work for at least some microseconds, far more than handing it out costs.
fn image_chunks(geometry: &Geometry) -> usize {
    const IMAGES: usize = 16;
    const BAND_FLOPS: u64 = 1 << 20;
    let images = geometry.images;
    if images == 0 || images >= IMAGES {
        return chunks_for(images);
    }
    let rows = geometry.output[0];
    let most = ((geometry.flops() / images as u64) / BAND_FLOPS) as usize;
    let wanted = most.min(2 * IMAGES / images).clamp(1, rows.max(1));
    // as many bands as there are when each but the last has the same number of rows
    images * rows.div_ceil(rows.div_ceil(wanted).max(1)).max(1)
}

fn lower_matmul(step: &PlannedStep, attributes: crate::ops::MatMul, isa: Isa) -> Lowered {
    let (a, b): (&TensorType, &TensorType) = (&step.operands[0].ty, &step.operands[1].ty);
    let (m, k, n) = attributes.extents(a, b);
    let batch = a.shape.elements() / (m * k);
    let batched_b = b.shape.rank() > 2;
    let matrices = if batched_b { batch } else { 1 };
    let mut lowered = Lowered::default();
    let mut arguments = arguments(step);
    let mut at = 1;
    if attributes.trans_b || !n.is_multiple_of(PANEL) {
        let floats = matrices * k * padded(n);
        let pack = if attributes.trans_b {
            nest_ops::pack_transposed(matrices, n, k, padded(n))
        } else {
            nest_ops::pack(matrices * k, n, padded(n))
        };
        at = lowered.pack(pack, &mut arguments, 1, floats);
    }
    let mut product = Product { isa, batch, m, k, n, trans_a: attributes.trans_a, batched_b, b: at, chunks: 1 };
    product.chunks = product.natural_chunks();
    let chunks = product.chunks;
    let flops = 2 * (batch * m * k * n) as u64;
    lowered.calls.push(Call { kernel: Kernel::Product(product), arguments, chunks, flops, kind: "matmul" });
    lowered
}
