//! The general loop nest: output loops, optional reduction loops, a body of loads at affine positions.
//!
//! ```text
//!  for each output index (last axis in vectors where every load allows it)
//!    for each reduction index: run `steps`, combine
//!    run `finish` on the reduced values, store
//! ```
//!
//! It covers every operation that is not worth a register tile: movement, pooling, reductions,
//! grouped convolutions, packing of weights, and element-wise kernels with arbitrary broadcasting.

use crate::ops::{Binary, Unary};
use crate::types::DType;

/// One coordinate of a load: `c = Σ coefficient·loop + offset`; with a guard the load is only valid if
/// `divisor` divides `c` and `0 <= c/divisor < extent`. Adds `c/divisor·stride` elements to the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Coordinate {
    /// (loop, coefficient); loops are the output axes, then the reduction axes.
    pub(super) terms: Vec<(usize, i64)>,
    pub(super) offset: i64,
    pub(super) divisor: i64,
    /// `Some` when the coordinate can leave the tensor.
    pub(super) extent: Option<usize>,
    pub(super) stride: i64,
}

/// A load from argument `arg`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) arg: usize,
    pub(super) dtype: DType,
    pub(super) coordinates: Vec<Coordinate>,
    /// The value where a guard fails.
    pub(super) otherwise: f32,
}

/// A step of the body; operands are indices of earlier steps of the same list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NestStep {
    /// Reads memory.
    Load(usize),
    /// A float.
    Constant(f32),
    /// The linear index `Σ stride·output loop` as i32.
    Index(Vec<(usize, i64)>),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Select(usize, usize, usize),
    Cast(DType, usize),
    /// A counter-based random number: seed, step, index; the stream.
    Random(u32, usize, usize, usize),
    /// Reduced value `i` (in `finish` only).
    Reduced(usize),
}

/// How values are combined over the reduction loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combine {
    Sum,
    Max,
    Min,
}

/// A loop nest. Arguments: the operands, then the results.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Nest {
    /// Output loops.
    pub(super) extents: Vec<usize>,
    /// Reduction loops.
    pub(super) reduce: Vec<usize>,
    pub(super) loads: Vec<Load>,
    pub(super) steps: Vec<NestStep>,
    pub(super) reductions: Vec<(Combine, usize)>,
    pub(super) finish: Vec<NestStep>,
    /// (step of `finish`, or of `steps` without reductions; argument; element type), stored row-major.
    pub(super) outputs: Vec<(usize, usize, DType)>,
    /// Strides and offset (elements) of the stores; `None` is row-major.
    pub(super) placement: Option<(Vec<i64>, i64)>,
    /// The outermost loop is cut into this many chunks.
    pub(super) chunks: usize,
}

impl Load {
    /// A load whose address moves with `loops` by row-major `strides`, always valid.
    pub(super) fn strided(arg: usize, dtype: DType, strides: &[(usize, i64)], offset: i64) -> Load {
        let terms = strides.iter().filter(|(_, s)| *s != 0).copied().collect();
        let coordinate = Coordinate { terms, offset, divisor: 1, extent: None, stride: 1 };
        Load { arg, dtype, coordinates: vec![coordinate], otherwise: 0.0 }
    }

    /// Elements from one index of `axis` to the next, or `None` when a guard or a division depends on it.
    pub(super) fn stride_along(&self, axis: usize) -> Option<i64> {
        let mut stride = 0;
        for c in &self.coordinates {
            for &(l, coefficient) in &c.terms {
                if l == axis && coefficient != 0 {
                    if c.extent.is_some() || c.divisor != 1 {
                        return None;
                    }
                    stride += coefficient * c.stride;
                }
            }
        }
        Some(stride)
    }
}

impl Nest {
    /// A nest that stores one value per output index without reduction.
    pub(super) fn map(
        extents: &[usize],
        loads: Vec<Load>,
        steps: Vec<NestStep>,
        outputs: Vec<(usize, usize, DType)>,
    ) -> Nest {
        Nest {
            extents: extents.to_vec(),
            reduce: Vec::new(),
            loads,
            steps,
            reductions: Vec::new(),
            finish: Vec::new(),
            outputs,
            placement: None,
            chunks: 1,
        }
        .with_chunks()
    }
    /// A nest that combines `value` over `reduce` and applies `finish` (which starts from `Reduced(0)`).
    pub(super) fn reduction(
        extents: &[usize],
        reduce: &[usize],
        loads: Vec<Load>,
        steps: Vec<NestStep>,
        reductions: Vec<(Combine, usize)>,
        finish: Vec<NestStep>,
        output_arg: usize,
    ) -> Nest {
        let outputs = vec![(finish.len() - 1, output_arg, DType::F32)];
        Nest {
            extents: extents.to_vec(),
            reduce: reduce.to_vec(),
            loads,
            steps,
            reductions,
            finish,
            outputs,
            placement: None,
            chunks: 1,
        }
        .with_chunks()
    }

    /// Cuts the outermost loop when there is enough work to share.
    fn with_chunks(mut self) -> Nest {
        // an element-wise output without loops to share is one chunk; merge leading ones first
        let points: usize = self.extents.iter().product::<usize>() * self.reduce.iter().product::<usize>();
        if let Some(&outer) = self.extents.first()
            && self.extents.len() > 1
            && points >= 4096
        {
            self.chunks = crate::ops::fused::chunks_for(outer);
        }
        self
    }

    /// Lanes of the last output axis: 4 where every load is contiguous or constant along it.
    pub(super) fn lanes(&self) -> usize {
        let Some(axis) = self.extents.len().checked_sub(1) else { return 1 };
        let contiguous = self.loads.iter().all(|l| match (l.dtype, l.stride_along(axis)) {
            (DType::F32 | DType::I32, Some(0 | 1)) | (DType::Bf16, Some(1)) => true,
            (DType::F32 | DType::I32 | DType::Bf16 | DType::U8, _) => false,
        });
        let dense = self.placement.as_ref().is_none_or(|(strides, _)| strides[axis] == 1);
        let stores = dense && self.outputs.iter().all(|o| o.2 != DType::U8);
        let scalar_only = [&self.steps, &self.finish]
            .into_iter()
            .flat_map(|list| list.iter().map(move |s| (list, s)))
            .any(|(list, s)| match s {
                // integers have no vector division, and conversions to bytes are scalar
                NestStep::Binary(Binary::Div, a, _) => self.is_int(list, *a),
                NestStep::Cast(to, _) => *to == DType::U8,
                NestStep::Load(_)
                | NestStep::Constant(_)
                | NestStep::Index(_)
                | NestStep::Unary(..)
                | NestStep::Binary(..)
                | NestStep::Select(..)
                | NestStep::Random(..)
                | NestStep::Reduced(_) => false,
            });
        if contiguous && stores && !scalar_only && self.extents[axis] >= 4 { 4 } else { 1 }
    }

    /// Whether a step of `list` (`steps` or `finish`) is an integer.
    fn is_int(&self, list: &[NestStep], step: usize) -> bool {
        match &list[step] {
            NestStep::Load(l) => matches!(self.loads[*l].dtype, DType::I32 | DType::U8),
            NestStep::Index(_) => true,
            NestStep::Constant(_) | NestStep::Random(..) | NestStep::Reduced(_) => false,
            NestStep::Unary(_, a) | NestStep::Binary(_, a, _) => self.is_int(list, *a),
            NestStep::Select(_, a, _) => self.is_int(list, *a),
            NestStep::Cast(to, _) => matches!(to, DType::I32 | DType::U8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of maxima, divided as integers or as floats behind the reduction.
    fn lanes(finish: Vec<NestStep>) -> usize {
        let load = Load::strided(0, DType::F32, &[(0, 1), (1, 8)], 0);
        Nest::reduction(&[8], &[3], vec![load], vec![NestStep::Load(0)], vec![(Combine::Max, 0)], finish, 1).lanes()
    }

    #[test]
    fn a_division_behind_a_reduction_knows_its_own_steps() {
        let halved = |divided| {
            vec![
                NestStep::Reduced(0),
                NestStep::Cast(DType::I32, 0),
                NestStep::Constant(2.0),
                NestStep::Cast(DType::I32, 2),
                NestStep::Binary(Binary::Div, divided, divided + 2),
                NestStep::Cast(DType::F32, 4),
            ]
        };
        assert_eq!(lanes(halved(0)), 4);
        assert_eq!(lanes(halved(1)), 1);
    }
}
