//! How tensors lie in weight files: as they are here, or as PyTorch has them.
//!
//! ```text
//!                              here and Keras           PyTorch
//!   convolution                [kh, kw, in/g, out]      [out, in/g, kh, kw]
//!   transposed convolution     [kh, kw, out/g, in]      [in, out/g, kh, kw]
//!   convolution in one axis    [k, in/g, out]           [out, in/g, k]
//!   in three axes              [kd, kh, kw, in/g, out]  [out, in/g, kd, kh, kw]
//!   linear                     [in, out]                [out, in]
//!   embedding                  [rows, features]         the same
//!   anything else              the same
//! ```
//!
//! In `g` groups a kernel sees a g-th of the channels, the depthwise convolution one; the axes move alike in all of
//! them, also in a transposed convolution, since PyTorch stores the kernel of the convolution whose gradient it is.
//! Whether a tensor is a kernel its graph knows ([`Store::axes`](crate::Store::axes)), and of which kind the number of axes
//! tells. Optimizer moments have the shape of their parameter and follow it.

use crate::error::Error;
use crate::store::Axes;
use crate::tensor::{Data, Tensor};
use crate::types::Shape;

/// Axis order of weights in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Convolutions HWIO, linear layers `[in, out]`: ours and Keras's.
    Native,
    /// Convolutions OIHW, linear layers `[out, in]`.
    Torch,
}

impl Layout {
    /// The text under `layout` in a file's metadata.
    pub fn describe(self) -> &'static str {
        match self {
            Layout::Native => "NHWC, conv HWIO",
            Layout::Torch => "NCHW, conv OIHW",
        }
    }
    /// Reads the metadata's text.
    pub fn from_description(text: &str) -> Option<Layout> {
        let text = text.to_ascii_uppercase();
        match (text.contains("HWIO"), text.contains("OIHW")) {
            (true, false) => Some(Layout::Native),
            (false, true) => Some(Layout::Torch),
            _ => None,
        }
    }
    /// For a tensor of `rank` axes: axis `i` in the file is axis `result[i]` here.
    pub(super) fn axes_in_file(self, axes: Axes, rank: usize) -> Vec<usize> {
        match (self, axes, rank) {
            (Layout::Native, ..) | (_, Axes::Plain, _) | (_, _, 0 | 1 | 6..) => (0..rank).collect(),
            // the last two axes come first, swapped
            (Layout::Torch, Axes::Kernel | Axes::Depthwise, _) => {
                [rank - 1, rank - 2].into_iter().chain(0..rank - 2).collect()
            }
        }
    }
    /// The shape in the file of a tensor that has `shape` here.
    pub fn file_shape(self, axes: Axes, shape: &Shape) -> Shape {
        Shape(self.axes_in_file(axes, shape.rank()).iter().map(|&axis| shape.0[axis]).collect())
    }
    /// A tensor as the file has it.
    ///
    /// # Errors
    /// None in practice; the elements stay the same.
    pub fn to_file(self, axes: Axes, tensor: &Tensor) -> Result<Tensor, Error> {
        transpose(tensor, &self.axes_in_file(axes, tensor.shape().rank()))
    }
    /// A file's tensor as it is here.
    ///
    /// # Errors
    /// None in practice; the elements stay the same.
    pub fn from_file(self, axes: Axes, tensor: &Tensor) -> Result<Tensor, Error> {
        transpose(tensor, &inverse(&self.axes_in_file(axes, tensor.shape().rank())))
    }
}

/// The permutation that undoes `axes`.
pub(super) fn inverse(axes: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; axes.len()];
    axes.iter().enumerate().for_each(|(i, &axis)| inverse[axis] = i);
    inverse
}

/// The elements of a row-major tensor of `shape` in the order that they have when axis `i` of the result is axis
/// `axes[i]`.
pub(super) fn permutation(shape: &Shape, axes: &[usize]) -> Vec<usize> {
    let (strides, to) = (shape.strides(), permuted(shape, axes));
    let mut index = vec![0; to.rank()];
    let mut sources = Vec::with_capacity(to.elements());
    for _ in 0..to.elements() {
        sources.push(index.iter().zip(axes).map(|(i, &axis)| i * strides[axis]).sum::<usize>());
        for axis in (0..to.rank()).rev() {
            index[axis] += 1;
            if index[axis] < to.0[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    sources
}

/// The shape whose axis `i` is axis `axes[i]` of `shape`.
pub(super) fn permuted(shape: &Shape, axes: &[usize]) -> Shape {
    Shape(axes.iter().map(|&axis| shape.0[axis]).collect())
}

/// Axis `i` of the result is axis `axes[i]` of `tensor`.
fn transpose(tensor: &Tensor, axes: &[usize]) -> Result<Tensor, Error> {
    if axes.is_sorted() {
        return Ok(tensor.clone());
    }
    let sources = permutation(tensor.shape(), axes);
    let data = match tensor.data() {
        Data::F32(v) => Data::F32(sources.iter().map(|&s| v[s]).collect()),
        Data::I32(v) => Data::I32(sources.iter().map(|&s| v[s]).collect()),
        Data::U8(v) => Data::U8(sources.iter().map(|&s| v[s]).collect()),
    };
    Tensor::new(permuted(tensor.shape(), axes), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_moves_its_output_channels_first() {
        // element [y, x, i, o] is worth 1000y + 100x + 10i + o
        let (h, w, ci, co) = (2, 3, 4, 5);
        let value = |y, x, i, o| (1000 * y + 100 * x + 10 * i + o) as f32;
        let mut here = Vec::new();
        for y in 0..h {
            for x in 0..w {
                for i in 0..ci {
                    here.extend((0..co).map(|o| value(y, x, i, o)));
                }
            }
        }
        let here = Tensor::f32([h, w, ci, co], here).unwrap();
        let file = Layout::Torch.to_file(Axes::Kernel, &here).unwrap();
        assert_eq!(file.shape(), &Shape::from([co, ci, h, w]));
        assert_eq!(file.shape(), &Layout::Torch.file_shape(Axes::Kernel, here.shape()));
        let at = ((4 * ci + 2) * h + 1) * w + 2; // [o, i, y, x] = [4, 2, 1, 2]
        assert_eq!(file.as_f32().unwrap()[at], value(1, 2, 2, 4));
        assert_eq!(Layout::Torch.from_file(Axes::Kernel, &file).unwrap(), here);
        assert_eq!(Layout::Native.to_file(Axes::Kernel, &here).unwrap(), here);
    }

    #[test]
    fn a_linear_layer_is_transposed_and_a_vector_is_not() {
        let here = Tensor::f32([2, 3], vec![1., 2., 3., 4., 5., 6.]).unwrap();
        let file = Layout::Torch.to_file(Axes::Kernel, &here).unwrap();
        assert_eq!(file, Tensor::f32([3, 2], vec![1., 4., 2., 5., 3., 6.]).unwrap());
        let vector = Tensor::f32([3], vec![1., 2., 3.]).unwrap();
        assert_eq!(Layout::Torch.to_file(Axes::Kernel, &vector).unwrap(), vector);
        assert_eq!(Layout::Torch.to_file(Axes::Kernel, &Tensor::scalar(2.0)).unwrap(), Tensor::scalar(2.0));
    }

    #[test]
    fn every_kind_of_kernel_has_pytorchs_axes() {
        let cases: [(&str, Axes, &[usize], &[usize]); 5] = [
            ("depthwise", Axes::Kernel, &[3, 3, 1, 8], &[8, 1, 3, 3]),
            // 4 channels to 6 in two groups, transposed: [kh, kw, out/2, in]
            ("transposed", Axes::Kernel, &[2, 2, 3, 4], &[4, 3, 2, 2]),
            ("along a sequence", Axes::Kernel, &[5, 2, 7], &[7, 2, 5]),
            ("of volumes", Axes::Kernel, &[1, 2, 3, 4, 5], &[5, 4, 1, 2, 3]),
            ("a table", Axes::Plain, &[10, 4], &[10, 4]),
        ];
        for (name, axes, here, file) in cases {
            let here = Shape::from(here);
            assert_eq!(Layout::Torch.file_shape(axes, &here).0, file, "{name}");
            let tensor = Tensor::f32(here.clone(), (0..here.elements()).map(|x| x as f32).collect()).unwrap();
            let moved = Layout::Torch.to_file(axes, &tensor).unwrap();
            assert_eq!(Layout::Torch.from_file(axes, &moved).unwrap(), tensor, "{name}");
        }
    }

    #[test]
    fn descriptions_are_read_back() {
        for layout in [Layout::Native, Layout::Torch] {
            assert_eq!(Layout::from_description(layout.describe()), Some(layout));
        }
        assert_eq!(Layout::from_description("row-major"), None);
    }
}
