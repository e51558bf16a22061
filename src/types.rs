//! Element types, shapes, and the arithmetic of windows and broadcasting.
//!
//! Everything here is a plain value. Activations are NHWC, convolution weights HWIO.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DType {
    /// 32-bit IEEE float: activations, weights, losses.
    F32,
    /// The upper half of an `F32`: how fused kernels hand tensors to each other at [`Precision::Bf16`]. Values of a
    /// graph that a user builds are never of this type.
    Bf16,
    /// 32-bit signed integer: labels, counters, seeds.
    I32,
    /// 8-bit unsigned integer: raw pixels.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::Bf16 => 2,
            DType::U8 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
            DType::U8 => "u8",
        })
    }
}

/// How exactly convolutions compute, and in which type kernels hand large tensors to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// 32-bit floats everywhere.
    #[default]
    F32,
    /// Mixed precision: what convolutions multiply, and the activations and gradients in memory, are rounded to
    /// bf16 (8 significant bits, the range of f32; to nearest, ties to even). Sums, statistics, the loss, master weights
    /// and the optimizer stay in f32.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = String;
    /// Reads `f32` or `bf16`.
    fn from_str(word: &str) -> Result<Self, String> {
        let all = [Precision::F32, Precision::Bf16];
        all.into_iter().find(|p| p.to_string() == word).ok_or_else(|| format!("\"{word}\" is not one of f32, bf16"))
    }
}

/// Static extents, outermost first. A scalar has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// The shape of a scalar.
    pub fn scalar() -> Self {
        Shape(Vec::new())
    }
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }
    /// Number of elements (1 for a scalar); saturates, so that a hostile shape is too large and not small.
    pub fn elements(&self) -> usize {
        self.0.iter().fold(1, |n: usize, &extent| n.saturating_mul(extent))
    }
    /// Extent of the last axis (1 for a scalar): the channels of an NHWC tensor.
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }
    /// Row-major strides in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis];
        }
        strides
    }
    /// The shape that both broadcast to under NumPy's rule: axes are aligned at the end, and an
    /// extent of 1 stretches. `None` when they do not fit.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let extent = |s: &Shape, axis: usize| {
            let missing = rank - s.rank();
            if axis < missing { 1 } else { s.0[axis - missing] }
        };
        (0..rank)
            .map(|axis| match (extent(self, axis), extent(other, axis)) {
                (a, b) if a == b => Some(a),
                (1, b) => Some(b),
                (a, 1) => Some(a),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Shape)
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Self {
        Shape(extents.to_vec())
    }
}
impl From<Vec<usize>> for Shape {
    fn from(extents: Vec<usize>) -> Self {
        Shape(extents)
    }
}
impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Self {
        Shape(extents.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, extent) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{extent}")?;
        }
        f.write_str("]")
    }
}

/// Element type and shape of one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
}

impl TensorType {
    /// A type of `dtype` and `shape`.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }
    /// A float type of `shape`.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        TensorType::new(DType::F32, shape)
    }
    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.shape.elements().saturating_mul(self.dtype.bytes())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// How a window is placed at the borders of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// No padding: the window stays inside.
    Valid,
    /// TensorFlow's `same`: the output has `ceil(input / stride)` pixels, and an odd pixel of
    /// padding goes after.
    Same,
    /// Rows before and after, then columns before and after.
    Explicit([[usize; 2]; 2]),
}

impl Padding {
    /// The same number of pixels on every side, as PyTorch's `padding=n`.
    pub fn all(pixels: usize) -> Self {
        Padding::Explicit([[pixels; 2]; 2])
    }
    /// Pixels before and after on the axis `axis` (0: rows, 1: columns).
    pub fn resolve(self, axis: usize, input: usize, window: Window) -> [usize; 2] {
        match self {
            Padding::Valid => [0, 0],
            Padding::Explicit(p) => p[axis],
            Padding::Same => {
                let output = input.div_ceil(window.stride.max(1));
                let reach = output.saturating_sub(1).saturating_mul(window.stride).saturating_add(window.span());
                let needed = reach.saturating_sub(input);
                [needed / 2, needed - needed / 2]
            }
        }
    }
}

impl From<usize> for Padding {
    fn from(pixels: usize) -> Self {
        Padding::all(pixels)
    }
}

impl From<[usize; 2]> for Padding {
    /// So many pixels above and below, and left and right, as PyTorch's `padding=(rows, columns)`.
    fn from([rows, columns]: [usize; 2]) -> Self {
        Padding::Explicit([[rows; 2], [columns; 2]])
    }
}

/// How a window is placed at the borders of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding1d {
    /// No padding: the window stays inside.
    Valid,
    /// As [`Padding::Same`].
    Same,
    /// All padding before, as much as the window reaches back: no output looks ahead (Keras's `causal`).
    Causal,
    /// Elements before and after.
    Explicit([usize; 2]),
}

impl Padding1d {
    /// The same number of elements on both sides, as PyTorch's `padding=n`.
    pub fn all(elements: usize) -> Self {
        Padding1d::Explicit([elements; 2])
    }
    /// The padding of the sequence as an image of one row, under a window of these columns.
    pub(crate) fn of_row(self, window: Window) -> Padding {
        match self {
            Padding1d::Valid => Padding::Valid,
            Padding1d::Same => Padding::Same,
            Padding1d::Causal => Padding::Explicit([[0, 0], [window.span().saturating_sub(1), 0]]),
            Padding1d::Explicit(elements) => Padding::Explicit([[0, 0], elements]),
        }
    }
}

impl From<usize> for Padding1d {
    fn from(elements: usize) -> Self {
        Padding1d::all(elements)
    }
}

/// One axis of a convolution or pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub size: usize,
    /// Input pixels from one output pixel to the next.
    pub stride: usize,
    /// Input pixels from one tap to the next.
    pub dilation: usize,
}

impl Window {
    /// Input pixels from the first to behind the last tap.
    pub fn span(&self) -> usize {
        self.size.saturating_sub(1).saturating_mul(self.dilation).saturating_add(1)
    }
    /// Output pixels over `input` pixels with `padding` before and after, or `None` when the
    /// window does not fit once.
    pub fn output(&self, input: usize, padding: [usize; 2]) -> Option<usize> {
        let padded = input.saturating_add(padding[0]).saturating_add(padding[1]);
        if self.size == 0 || self.stride == 0 || self.dilation == 0 {
            return None;
        }
        padded.checked_sub(self.span()).map(|room| room / self.stride + 1)
    }
    /// How far the last window ends behind the padding when it only has to begin before the padding after `input`:
    /// PyTorch's `ceil_mode`. The window must then fit into what is padded so much more.
    pub fn overhang(&self, input: usize, padding: [usize; 2]) -> usize {
        let (before, span) = (input.saturating_add(padding[0]), self.span());
        let padded = before.saturating_add(padding[1]);
        // windows that are begun: one at the start and one for each whole or broken stride of the room behind it
        let begun = match padded.checked_sub(span) {
            Some(room) => room.div_ceil(self.stride.max(1)),
            None if span - padded < self.stride => 0,
            None => return 0,
        };
        let last = begun.saturating_mul(self.stride);
        let start = if last >= before { last.saturating_sub(self.stride) } else { last };
        start.saturating_add(span).saturating_sub(padded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_pixel_after() {
        let w = Window { size: 3, stride: 2, dilation: 1 };
        assert_eq!(Padding::Same.resolve(0, 32, w), [0, 1]);
        assert_eq!(w.output(32, [0, 1]), Some(16));
        let w = Window { size: 3, stride: 1, dilation: 2 };
        assert_eq!(Padding::Same.resolve(1, 7, w), [2, 2]);
    }

    #[test]
    fn broadcast_follows_numpy() {
        let s = |v: &[usize]| Shape::from(v);
        assert_eq!(s(&[2, 3, 4]).broadcast(&s(&[3, 1])), Some(s(&[2, 3, 4])));
        assert_eq!(s(&[]).broadcast(&s(&[5])), Some(s(&[5])));
        assert_eq!(s(&[2, 3]).broadcast(&s(&[2])), None);
    }
}
