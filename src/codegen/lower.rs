//! A planned step becomes one or more kernels with their arguments.

use super::algorithm::{Choice, Settings};
use super::coefficients::ChannelKernel;
use super::conv::Bound;
use super::conv_backward::Backward;
use super::conv_forward::Forward;
use super::fold::Fold;
use super::gather::{Direction, RowMove};
use super::half::Element;
use super::lower_conv;
use super::lower_map::{lower_map, one_step};
use super::map::{Map, Maps};
use super::matmul::Product;
use super::nest::Nest;
use super::nest_ops;
use super::pool::Pooling;
use super::region::operands_of;
use super::rows::RowSum;
use super::tile::Tile;
use super::transpose::Transposition;
use super::winograd_backward::WinogradBackward;
use super::winograd_cut::Cut;
use super::winograd_forward::WinogradForward;
use super::winograd_weight::WeightTransform;
use crate::error::Error;
use crate::ops::{Anchor, Fused, Op, Program, Reduce, ReduceKind, Step};
use crate::plan::{Place, Placed, PlannedStep};
use crate::types::{DType, Shape, TensorType};

/// What is compiled; equal values are one function.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kernel {
    Nest(Nest),
    Map(Map),
    Maps(Maps),
    Rows(RowSum),
    RowMove(RowMove),
    Fold(Fold),
    Pool(Pooling),
    Transpose(Transposition),
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
            | Kernel::RowMove(_)
            | Kernel::Fold(_)
            | Kernel::Pool(_)
            | Kernel::Transpose(_)
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
            | Kernel::RowMove(_)
            | Kernel::Fold(_)
            | Kernel::Pool(_)
            | Kernel::Transpose(_)
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
    /// The algorithm, if the step is a convolution.
    pub(super) choice: Option<Choice>,
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
    let mut lowered = kernels(step, settings, images)?;
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

fn kernels(step: &PlannedStep, settings: Settings, images: Option<usize>) -> Result<Lowered, Error> {
    let missing = || Error::Codegen {
        path: step.name.clone(),
        reason: format!("{} has no kernel; the lowering pass must rewrite it", step.op.kind()),
    };
    let types = |p: &[Placed]| p.iter().map(|p| p.ty.clone()).collect::<Vec<_>>();
    let (operands, results) = (types(&step.operands), types(&step.results));
    match &step.op {
        Op::Fused(fused) => lower_fused(step, fused, settings, images).ok_or_else(missing),
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
        Op::MatMul(m) => {
            let kernel = Product::new(settings.isa.vectors(), *m, &operands[0], &operands[1]);
            let (chunks, flops) = (kernel.chunks, kernel.flops());
            Ok(single(step, Kernel::Product(kernel), chunks, flops))
        }
        Op::Reduce(reduce) if folds(&operands[0].shape, &reduce.axes) => {
            let runs = results[0].shape.elements();
            let kernel = Fold::new(reduce.kind, runs, operands[0].shape.elements() / runs);
            let chunks = kernel.chunks;
            Ok(single(step, Kernel::Fold(kernel), chunks, 0))
        }
        Op::Gather => Ok(row_move(step, Direction::Gather, &operands[0].shape)),
        Op::ScatterAdd(_) => Ok(row_move(step, Direction::ScatterAdd, &results[0].shape)),
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
            if let Op::Transpose(permutation) = op
                && let Some(kernel) = Transposition::of_axes(permutation, &operands[0].shape)
                && matches!(results[0].dtype, DType::F32 | DType::I32)
            {
                let chunks = kernel.chunks;
                return Ok(single(step, Kernel::Transpose(kernel), chunks, 0));
            }
            if let Some(pooling) = Pooling::new(op, &operands, &results[0]) {
                let chunks = pooling.chunks;
                return Ok(single(step, Kernel::Pool(pooling), chunks, 0));
            }
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

/// Whether `axes` (ascending, distinct) are the last ones and hold a vector or more.
fn folds(shape: &Shape, axes: &[usize]) -> bool {
    let first = shape.rank() - axes.len();
    axes.first().is_some_and(|&axis| axis == first) && shape.0[first..].iter().product::<usize>() >= 4
}

fn row_move(step: &PlannedStep, direction: Direction, table: &Shape) -> Lowered {
    let ids = step.operands[1].ty.shape.elements();
    let kernel = RowMove::new(direction, ids, [table.0[0], table.0[1]]);
    let chunks = kernel.chunks;
    single(step, Kernel::RowMove(kernel), chunks, 0)
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
        past_caches: false,
    })
}

fn lower_fused(step: &PlannedStep, fused: &Fused, settings: Settings, images: Option<usize>) -> Option<Lowered> {
    let kind = fused.anchor.name();
    let mut lowered = Lowered::default();
    let arguments = arguments(step);
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
        Anchor::Conv2d { .. } | Anchor::ConvBackward { .. } => {
            return lower_conv::lower(step, fused, settings, images);
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
                // lowered with these chunks
                Kernel::Forward(forward) => [forward.geometry.images, forward.chunks] == [images; 2],
                Kernel::WinogradForward(forward) => {
                    forward.cut == Cut::by_images(images) && forward.geometry.images == images
                }
                Kernel::Map(map) => map.cut(images),
                Kernel::Fold(fold) => {
                    fold.chunks = images;
                    fold.runs.is_multiple_of(images)
                }
                Kernel::Pool(pooling) => pooling.cut(images),
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
                | Kernel::RowMove(_)
                | Kernel::Transpose(_)
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
