//! Fused kernels: one anchor, and short element-wise programs on what it reads and writes.
//!
//! ```text
//!             operands                       operands
//!                │                               │
//!   source program (x)  ──▶ ┌────────┐ ──▶ result program ──▶ full tensors, per-channel partial sums
//!   gradient program (dy) ▶ │ anchor │
//!   operand 0: weight   ──▶ └────────┘ ──▶ partial weight gradients
//! ```
//!
//! A program is a straight line of steps in SSA form over f32; operands in bf16 are widened when they are read. Results, in this order: the source
//! program's outputs, the gradient program's, the result program's, then the partial weight gradients.

use serde::{Deserialize, Serialize};

use super::conv::Conv2d;
use super::{Binary, Mismatch, Unary, expect_f32, source};
use crate::types::{DType, Precision, Shape, TensorType};

/// The kernel that the programs surround.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Anchor {
    /// No anchor: an element-wise chain over this shape (only the result program is used). Its operands
    /// broadcast in any way if it makes no partial sums.
    Map(Shape),
    /// No anchor, and one element-wise chain over several shapes: the updates of all parameters, say. The
    /// operands are `shared` scalars, then the tensors of each segment; to the result program, which runs once
    /// for each segment, they are the scalars and the tensors of that segment alone. Results likewise lie
    /// segment by segment; there are no partial sums.
    Maps {
        /// Shape of each segment's tensors.
        segments: Vec<Shape>,
        /// Operands that every segment reads.
        shared: usize,
    },
    /// A convolution. The source program makes `x`; operand 0 is the weight.
    Conv2d {
        /// Attributes.
        conv: Conv2d,
        /// Shape of `x` (NHWC).
        input: Shape,
        /// Shape of the weight (HWIO).
        weight: Shape,
    },
    /// The gradients of a convolution. The gradient program makes `dy`; with `data` operand 0 is the
    /// weight and the result program receives `dx`; with `filter` the source program makes `x` and the
    /// last result is the weight gradient in partial sums, `[chunks, kh, kw, i, o]`.
    ConvBackward {
        /// Attributes of the forward convolution.
        conv: Conv2d,
        /// Shape of `x` (NHWC).
        input: Shape,
        /// Shape of the weight (HWIO).
        weight: Shape,
        /// Compute the data gradient.
        data: bool,
        /// Compute the weight gradient.
        filter: bool,
    },
}

impl Anchor {
    /// The name in texts and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Anchor::Map(_) => "map",
            Anchor::Maps { .. } => "maps",
            Anchor::Conv2d { .. } => "fused_conv2d",
            Anchor::ConvBackward { data: true, filter: true, .. } => "fused_conv2d_backward",
            Anchor::ConvBackward { data: true, .. } => "fused_conv2d_grad_input",
            Anchor::ConvBackward { .. } => "fused_conv2d_grad_weight",
        }
    }
}

/// One step of a program; operands are indices of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// The anchor's result (result programs of anchors other than `Map` only).
    Anchor,
    /// An operand of the node, broadcast to the program's shape.
    Operand(usize),
    /// A number.
    Constant(f32),
    /// `f(x)`
    Unary(Unary, usize),
    /// `f(a, b)`
    Binary(Binary, usize, usize),
    /// `condition != 0 ? a : b`
    Select(usize, usize, usize),
}

/// A result of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// The step's value, stored.
    Full(usize),
    /// The step's value, stored in bf16.
    Bf16(usize),
    /// The step's value summed over all axes but the last within each chunk: `[chunks, channels]`.
    Sums(usize),
}

impl Output {
    /// The step whose value it is.
    pub fn step(self) -> usize {
        match self {
            Output::Full(step) | Output::Bf16(step) | Output::Sums(step) => step,
        }
    }
    /// The same output of another step.
    pub fn of(self, step: usize) -> Output {
        match self {
            Output::Full(_) => Output::Full(step),
            Output::Bf16(_) => Output::Bf16(step),
            Output::Sums(_) => Output::Sums(step),
        }
    }
    /// Whether every element is stored.
    pub fn is_full(self) -> bool {
        match self {
            Output::Full(_) | Output::Bf16(_) => true,
            Output::Sums(_) => false,
        }
    }
}

/// A straight line of element-wise steps over one shape: what a fused kernel does besides its anchor.
///
/// Not to be confused with the compiled program that `compile` returns and the crate re-exports as `Program`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// The step whose value goes to the anchor (source and gradient programs).
    pub value: usize,
    /// What is stored or summed.
    pub outputs: Vec<Output>,
}

impl Program {
    /// The program that passes operand `index` on unchanged.
    pub fn operand(index: usize) -> Self {
        Program { steps: vec![Step::Operand(index)], value: 0, outputs: Vec::new() }
    }
    /// The result program that stores the anchor's result unchanged.
    pub fn store_anchor() -> Self {
        Program { steps: vec![Step::Anchor], value: 0, outputs: vec![Output::Full(0)] }
    }
    /// Whether an output is a partial sum, which depends on how the items are cut into chunks.
    pub fn has_sums(&self) -> bool {
        self.outputs.iter().any(|o| matches!(o, Output::Sums(_)))
    }
    /// Whether the program is one operand, unchanged, with nothing stored on the way.
    pub fn is_operand(&self) -> Option<usize> {
        match (self.steps.get(self.value), self.outputs.is_empty()) {
            (Some(&Step::Operand(i)), true) => Some(i),
            _ => None,
        }
    }

    fn check(&self, shape: &Shape, inputs: &[&TensorType], anchor: bool, any_broadcast: bool) -> Result<(), Mismatch> {
        let channel = Shape(vec![shape.last()]);
        for (at, step) in self.steps.iter().enumerate() {
            let earlier = |uses: &[usize]| uses.iter().all(|&u| u < at);
            let fits = match *step {
                Step::Anchor => anchor,
                Step::Constant(_) => true,
                Step::Unary(f, a) => f.infer(&TensorType::f32(shape.clone())).map(|_| earlier(&[a]))?,
                Step::Binary(_, a, b) => earlier(&[a, b]),
                Step::Select(a, b, c) => earlier(&[a, b, c]),
                Step::Operand(i) => {
                    let Some(ty) = inputs.get(i) else {
                        return Err(Mismatch::new(format!("step {at} reads operand {i} of {}", inputs.len())));
                    };
                    if !(ty.dtype == DType::Bf16 && ty.shape == *shape) {
                        expect_f32(ty, "an operand of a program")?;
                    }
                    let simple = ty.shape == *shape || ty.shape == channel || ty.shape.rank() == 0;
                    let fits = simple || (any_broadcast && shape.broadcast(&ty.shape).as_ref() == Some(shape));
                    if !fits {
                        return Err(Mismatch::new(format!(
                            "operand {i} is {ty}; a program over {shape} takes {shape}, {channel} or a scalar"
                        )));
                    }
                    true
                }
            };
            if !fits {
                return Err(Mismatch::new(format!("step {at} ({step:?}) uses a value that does not exist there")));
            }
        }
        let known = |s: usize| s < self.steps.len();
        let outputs = self.outputs.iter().all(|o| known(o.step()));
        if !known(self.value) || !outputs {
            return Err(Mismatch::new("a program's value or output names a step that does not exist"));
        }
        Ok(())
    }

    fn results(&self, shape: &Shape, chunks: usize) -> impl Iterator<Item = TensorType> {
        self.outputs.iter().map(move |o| match o {
            Output::Full(_) => TensorType::f32(shape.clone()),
            Output::Bf16(_) => TensorType::new(DType::Bf16, shape.clone()),
            Output::Sums(_) => TensorType::f32([chunks, shape.last()]),
        })
    }
}

/// An anchor with its programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fused {
    /// The kernel in the middle.
    pub anchor: Anchor,
    /// Pieces the work is cut into; partial sums have one row for each. From [`chunks_for`], never from
    /// the number of threads.
    pub chunks: usize,
    /// With [`Precision::Bf16`] a convolution rounds what it multiplies (x, dy and the weight) to bf16; products are added
    /// in f32. Means nothing for `Map`.
    #[serde(default)]
    pub precision: Precision,
    /// Makes `x` (unused by `Map` and by a backward pass without `filter`).
    pub source: Program,
    /// Makes `dy` (backward only).
    pub gradient: Program,
    /// Works on the anchor's result (unused by a backward pass without `data`).
    pub result: Program,
}

/// Chunks for `items` (images, or rows of a map): at most 32, even where possible, all but the last of
/// equal size, so that sums do not depend on the number of threads and two to sixteen threads are busy.
pub fn chunks_for(items: usize) -> usize {
    let per = items.div_ceil(32).max(1);
    // an even count keeps two threads equally busy
    (per..per + per / 2 + 2)
        .map(|p| items.div_ceil(p))
        .find(|chunks| chunks % 2 == 0)
        .unwrap_or_else(|| items.div_ceil(per))
}

impl Fused {
    /// A kernel in f32 with empty programs, in [`chunks_for`] its items.
    pub(crate) fn new(anchor: Anchor) -> Fused {
        let mut fused = Fused {
            anchor,
            chunks: 1,
            precision: Precision::F32,
            source: Program::default(),
            gradient: Program::default(),
            result: Program::default(),
        };
        fused.chunks = chunks_for(fused.items());
        fused
    }
    /// Whether operand 0 is a convolution weight.
    pub fn has_weight(&self) -> bool {
        match self.anchor {
            Anchor::Map(_) | Anchor::Maps { .. } => false,
            Anchor::Conv2d { .. } => true,
            Anchor::ConvBackward { data, .. } => data,
        }
    }
    /// Whether the source program is in use.
    pub fn has_source(&self) -> bool {
        match self.anchor {
            Anchor::Map(_) | Anchor::Maps { .. } => false,
            Anchor::Conv2d { .. } => true,
            Anchor::ConvBackward { filter, .. } => filter,
        }
    }
    /// Whether the gradient program is in use.
    pub fn has_gradient(&self) -> bool {
        matches!(self.anchor, Anchor::ConvBackward { .. })
    }
    /// Whether the result program is in use.
    pub fn has_result(&self) -> bool {
        !matches!(self.anchor, Anchor::ConvBackward { data: false, .. })
    }
    /// The shapes that the source, gradient and result programs work on, or `None` if the anchor's window does not
    /// fit, or if there are several shapes.
    pub fn shapes(&self) -> Option<[Shape; 3]> {
        let (conv, input, weight) = match &self.anchor {
            Anchor::Map(shape) => return Some([shape.clone(), shape.clone(), shape.clone()]),
            Anchor::Maps { .. } => return None,
            Anchor::Conv2d { conv, input, weight } | Anchor::ConvBackward { conv, input, weight, .. } => {
                (conv, input, weight)
            }
        };
        let extent = |axis: usize| conv.window(axis, weight.0[axis]).output(input.0[axis + 1], conv.padding[axis]);
        let output = Shape(vec![input.0[0], extent(0)?, extent(1)?, weight.0[3]]);
        let result = if self.has_gradient() { input.clone() } else { output.clone() };
        Some([input.clone(), output, result])
    }
    /// Whether anything is rounded to bf16.
    pub fn rounds(&self) -> bool {
        let programs = [&self.source, &self.gradient, &self.result];
        self.precision == Precision::Bf16
            || programs.iter().any(|p| p.outputs.iter().any(|o| matches!(o, Output::Bf16(_))))
    }
    /// Items that are cut into chunks: images, or for a map the rows before the last axis, or the elements of
    /// all segments.
    pub fn items(&self) -> usize {
        match &self.anchor {
            Anchor::Map(shape) => shape.elements() / shape.last(),
            Anchor::Maps { segments, .. } => segments.iter().map(Shape::elements).sum(),
            Anchor::Conv2d { input, .. } | Anchor::ConvBackward { input, .. } => input.0[0],
        }
    }

    pub(super) fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, Mismatch> {
        let mut results = Vec::new();
        let (source, output) = match &self.anchor {
            Anchor::Map(shape) => {
                source::check_type(&TensorType::f32(shape.clone()))?;
                (shape.clone(), shape.clone())
            }
            Anchor::Maps { segments, shared } => return self.infer_segments(segments, *shared, inputs),
            Anchor::Conv2d { conv, input, weight } | Anchor::ConvBackward { conv, input, weight, .. } => {
                let (x, w) = (TensorType::f32(input.clone()), TensorType::f32(weight.clone()));
                source::check_type(&x).and(source::check_type(&w))?;
                let y = conv.infer(&x, &w)?;
                source::check_type(&y)?;
                if self.has_weight() && inputs.first().is_none_or(|w| **w != TensorType::f32(weight.clone())) {
                    return Err(Mismatch::new(format!("operand 0 must be the weight {weight}")));
                }
                (input.clone(), y.shape)
            }
        };
        let items = self.items();
        if self.chunks == 0 || items.div_ceil(items.div_ceil(self.chunks)) != self.chunks {
            return Err(Mismatch::new(format!("{items} items cannot be cut into {} equal chunks", self.chunks)));
        }
        if self.has_source() {
            self.source.check(&source, inputs, false, false)?;
            results.extend(self.source.results(&source, self.chunks));
        }
        if self.has_gradient() {
            self.gradient.check(&output, inputs, false, false)?;
            results.extend(self.gradient.results(&output, self.chunks));
        }
        if self.has_result() {
            let map = matches!(self.anchor, Anchor::Map(_));
            let shape = if self.has_gradient() { &source } else { &output };
            self.result.check(shape, inputs, !map, map && !self.result.has_sums())?;
            results.extend(self.result.results(shape, self.chunks));
        }
        if let Anchor::ConvBackward { weight, data, filter, .. } = &self.anchor {
            if !data && !filter {
                return Err(Mismatch::new("a convolution's backward kernel computes at least one gradient"));
            }
            if *filter {
                let mut shape = vec![self.chunks];
                shape.extend(&weight.0);
                results.push(TensorType::f32(shape));
            }
        }
        if results.is_empty() {
            return Err(Mismatch::new("a fused kernel must have at least one result"));
        }
        Ok(results)
    }

    /// The operands of [`Anchor::Maps`] that segment `index` of `count` reads, as its program numbers them.
    pub fn segment_operands<T: Clone>(operands: &[T], shared: usize, index: usize, count: usize) -> Vec<T> {
        let own = operands.len().saturating_sub(shared) / count.max(1);
        let first = shared + index * own;
        let mut all = operands.get(..shared).unwrap_or_default().to_vec();
        all.extend_from_slice(operands.get(first..first + own).unwrap_or_default());
        all
    }

    fn infer_segments(
        &self,
        segments: &[Shape],
        shared: usize,
        inputs: &[&TensorType],
    ) -> Result<Vec<TensorType>, Mismatch> {
        let count = segments.len();
        if count == 0 || inputs.len() < shared || !(inputs.len() - shared).is_multiple_of(count) {
            return Err(Mismatch::new(format!(
                "{} operands are not {shared} scalars and as many tensors for each of {count} segments",
                inputs.len()
            )));
        }
        if self.result.has_sums() || self.result.outputs.is_empty() {
            return Err(Mismatch::new("a kernel over several shapes stores at least one tensor, and sums none"));
        }
        if let Some(ty) = inputs[..shared].iter().find(|ty| ty.shape.rank() != 0) {
            return Err(Mismatch::new(format!("segments of different shapes share scalars, got {ty}")));
        }
        let mut results = Vec::new();
        for (index, shape) in segments.iter().enumerate() {
            source::check_type(&TensorType::f32(shape.clone()))?;
            let own = Fused::segment_operands(inputs, shared, index, count);
            if let Some(ty) = own[shared..].iter().find(|ty| ty.shape != *shape) {
                return Err(Mismatch::new(format!("segment {index} takes tensors of shape {shape}, got {ty}")));
            }
            self.result.check(shape, &own, false, false)?;
            results.extend(self.result.results(shape, self.chunks));
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_all_items_evenly() {
        for items in 1..2000 {
            let chunks = chunks_for(items);
            assert!((1..=32).contains(&chunks) && chunks <= items);
            assert_eq!(items.div_ceil(items.div_ceil(chunks)), chunks, "{items}");
        }
        assert_eq!(chunks_for(100), 20);
    }
}
