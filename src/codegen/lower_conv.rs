//! A planned convolution becomes its kernels: the algorithm, the copies of the weight, the chunks.

use super::algorithm::{self, BackwardForms, Convolution, Settings};
use super::conv::{Bound, Geometry, LINE, PANEL, padded};
use super::conv_backward::Backward;
use super::conv_forward::Forward;
use super::half::Element;
use super::lower::{Call, Kernel, Lowered, arguments, bind};
use super::nest_ops;
use super::pack::{Pack, rounded};
use super::transpose::Transposition;
use super::winograd_backward::WinogradBackward;
use super::winograd_cut::Cut;
use super::winograd_forward::{self, WinogradForward};
use super::winograd_weight::WeightTransform;
use crate::ops::fused::chunks_for;
use crate::ops::{Anchor, Fused, Program};
use crate::plan::{Place, Placed, PlannedStep};
use crate::types::{DType, Precision, Shape};

/// The kernels of a fused convolution or of its gradients. `images`: the step belongs to a group, whose chunks are so
/// many images. `None` if a program reads an operand that is neither full, per channel nor a scalar.
pub(super) fn lower(step: &PlannedStep, fused: &Fused, settings: Settings, images: Option<usize>) -> Option<Lowered> {
    match &fused.anchor {
        Anchor::Map(_) | Anchor::Maps { .. } => None,
        Anchor::Conv2d { conv, input, weight } => {
            forward(step, fused, settings, Geometry::new(*conv, input, weight)?, images)
        }
        Anchor::ConvBackward { conv, input, weight, data, filter } => {
            backward(step, fused, settings, Geometry::new(*conv, input, weight)?, [*data, *filter])
        }
    }
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
    let convolution = if wide { settings.convolution } else { Convolution::Direct };
    (Settings { isa, convolution, ..settings }, element)
}

/// Binds a program, which stores large results past the caches: the next kernel begins with another image, so it would find
/// nothing there, and a store to a line that is in no cache reads it first.
fn bound(step: &PlannedStep, program: &Program, shape: &Shape, first: usize, settings: Settings) -> Option<Bound> {
    /// Bytes of a result that caches do not keep until the next kernel.
    const PAST_CACHES: usize = 16 << 20;
    let bound = bind(step, program, shape, first)?;
    let results = first - step.operands.len()..;
    let streams = |placed: &Placed| {
        let in_place = step.operands.iter().any(|operand| operand.place == placed.place);
        placed.ty.bytes() >= PAST_CACHES && matches!(placed.place, Place::Work(_)) && !in_place
    };
    let full = program.outputs.iter().zip(results).filter(|(output, _)| output.is_full());
    // whole cache lines
    let lines = settings.aligned && shape.last().is_multiple_of(LINE);
    let past_caches = lines && full.map(|(_, result)| &step.results[result]).all(streams);
    Some(Bound { past_caches, ..bound })
}

/// Shapes of the input and of the output.
fn shapes(g: &Geometry) -> [Shape; 2] {
    [(g.size, g.ci), (g.output, g.co)].map(|([rows, columns], channels)| Shape(vec![g.images, rows, columns, channels]))
}

fn forward(
    step: &PlannedStep,
    fused: &Fused,
    settings: Settings,
    geometry: Geometry,
    images: Option<usize>,
) -> Option<Lowered> {
    let (settings, element) = products(step, fused, settings);
    let (isa, kind) = (settings.isa, fused.anchor.name());
    let mut lowered = Lowered::default();
    let mut arguments = arguments(step);
    let [input, output] = shapes(&geometry);
    let first = step.operands.len();
    let source = bound(step, &fused.source, &input, first, settings)?;
    let result = bound(step, &fused.result, &output, first + fused.source.outputs.len(), settings)?;
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
    let fixed = fused.result.has_sums() || !fused.source.outputs.is_empty();
    let alone = || if fixed { fused.chunks } else { image_chunks(&geometry) };
    let wanted = images.unwrap_or_else(alone);
    // each part of the channels runs the source program
    let once = images.is_some() || !fused.source.outputs.is_empty();
    let cut = |form| if once { Cut::by_images(wanted) } else { Cut::new(&geometry, form, wanted) };
    let chosen = algorithm::forward(&geometry, settings, cut);
    lowered.choice = chosen.report(&step.name, kind, &geometry, |(form, _)| form.to_string());
    let (kernel, chunks) = match chosen.winograd {
        None => {
            let chunks = wanted;
            (Kernel::Forward(Forward { isa, geometry, chunks, element, source, result, weight: at }), chunks)
        }
        Some((form, cut)) => {
            let transform = WeightTransform::new(form, [geometry.ci, padded(geometry.co)], false);
            let weight = lowered.transform(transform, &mut arguments, at);
            let grid = winograd_forward::grid(isa, &geometry, form, cut);
            let kernel = WinogradForward { geometry, grid, cut, source, result, weight };
            (Kernel::WinogradForward(kernel), cut.chunks())
        }
    };
    lowered.calls.push(Call { kernel, arguments, chunks, flops: geometry.flops(), kind });
    Some(lowered)
}

fn backward(
    step: &PlannedStep,
    fused: &Fused,
    settings: Settings,
    geometry: Geometry,
    [data, filter]: [bool; 2],
) -> Option<Lowered> {
    let (settings, element) = products(step, fused, settings);
    let (isa, kind) = (settings.isa, fused.anchor.name());
    let mut lowered = Lowered::default();
    let mut arguments = arguments(step);
    let [input, output] = shapes(&geometry);
    let mut next = step.operands.len();
    let mut bound = |program: &Program, shape: &Shape| {
        let bound = bound(step, program, shape, next, settings)?;
        next += program.outputs.len();
        Some(bound)
    };
    let source = if filter { Some(bound(&fused.source, &input)?) } else { None };
    let gradient = bound(&fused.gradient, &output)?;
    let result = if data { Some(bound(&fused.result, &input)?) } else { None };
    let partial = next;
    let floats = geometry.taps() * geometry.co * padded(geometry.part_ci());
    let pack = match geometry.conv.groups {
        _ if !data || geometry.is_depthwise() || element == Element::Bf16 => None,
        1 => {
            let (ci, co) = (geometry.ci, geometry.co);
            Some(Pack::Transposed(Transposition::new([geometry.taps(), ci, co], padded(ci), element)))
        }
        _ => Some(rounded(nest_ops::pack_groups(&geometry, true), element)),
    };
    let mut weight = lowered.packed_weight(pack, &mut arguments, floats);
    let chunks = fused.chunks;
    let chosen = algorithm::backward(&geometry, settings, [data, filter], chunks);
    lowered.choice = chosen.report(&step.name, kind, &geometry, BackwardForms::name);
    let kernel = match chosen.winograd {
        None => {
            let mut kernel = Backward { isa, geometry, chunks, element, source, gradient, result, weight, partial };
            if data && element == Element::Bf16 {
                let bytes = kernel.weight_offset(None);
                kernel.weight = lowered.pack_pairs(kernel.pack_phases(), &mut arguments, bytes);
            }
            Kernel::Backward(kernel)
        }
        Some(forms) => {
            if data {
                let transform = WeightTransform::new(forms.data, [geometry.co, padded(geometry.ci)], true);
                weight = lowered.transform(transform, &mut arguments, weight);
            }
            let (data, filter) = (result.map(|r| (r, weight)), source.map(|s| (s, partial)));
            Kernel::WinogradBackward(WinogradBackward { isa, geometry, forms, chunks, gradient, data, filter })
        }
    };
    let flops = geometry.flops() * (u64::from(data) + u64::from(filter));
    lowered.calls.push(Call { kernel, arguments, chunks, flops, kind });
    Some(lowered)
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
