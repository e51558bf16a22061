//! Tensors in host memory: constants, initial values, what goes into and comes out of a program.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::types::{DType, Shape, TensorType};

/// Elements of a tensor, row-major.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Data {
    /// Floats.
    F32(Vec<f32>),
    /// Integers.
    I32(Vec<i32>),
    /// Bytes.
    U8(Vec<u8>),
}

/// A shape and its elements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

/// A tensor as it is read from a text, whose data may not be of its shape.
#[derive(Deserialize)]
#[serde(rename = "Tensor")]
struct Unchecked {
    shape: Shape,
    data: Data,
}

impl TryFrom<Unchecked> for Tensor {
    type Error = Error;
    fn try_from(read: Unchecked) -> Result<Self, Error> {
        Tensor::new(read.shape, read.data)
    }
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// [`Error::Elements`] when the number of elements differs from the shape's.
    pub fn new(shape: impl Into<Shape>, data: Data) -> Result<Self, Error> {
        let shape = shape.into();
        let elements = match &data {
            Data::F32(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::U8(v) => v.len(),
        };
        if elements != shape.elements() {
            return Err(Error::Elements { shape, elements });
        }
        Ok(Tensor { shape, data })
    }
    /// A float tensor.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn f32(shape: impl Into<Shape>, values: Vec<f32>) -> Result<Self, Error> {
        Tensor::new(shape, Data::F32(values))
    }
    /// An integer tensor.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn i32(shape: impl Into<Shape>, values: Vec<i32>) -> Result<Self, Error> {
        Tensor::new(shape, Data::I32(values))
    }
    /// A float scalar.
    pub fn scalar(value: f32) -> Self {
        Tensor { shape: Shape::scalar(), data: Data::F32(vec![value]) }
    }
    /// A float tensor filled with `value`.
    pub fn full(shape: impl Into<Shape>, value: f32) -> Self {
        let shape = shape.into();
        let data = Data::F32(vec![value; shape.elements()]);
        Tensor { shape, data }
    }
    /// A tensor of type `ty` from its bytes in the machine's order; bf16 is widened to f32.
    ///
    /// # Errors
    /// [`Error::Elements`] when the number of bytes is not the type's.
    pub fn from_bytes(ty: &TensorType, bytes: &[u8]) -> Result<Self, Error> {
        let word = |c: &[u8]| [c[0], c[1], c[2], c[3]];
        let data = match ty.dtype {
            DType::F32 => Data::F32(bytes.chunks_exact(4).map(|c| f32::from_ne_bytes(word(c))).collect()),
            DType::I32 => Data::I32(bytes.chunks_exact(4).map(|c| i32::from_ne_bytes(word(c))).collect()),
            DType::Bf16 => {
                Data::F32(bytes.chunks_exact(2).map(|c| half::bf16::from_ne_bytes([c[0], c[1]]).to_f32()).collect())
            }
            DType::U8 => Data::U8(bytes.to_vec()),
        };
        Tensor::new(ty.shape.clone(), data)
    }
    /// The elements' bytes in the machine's order.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.data {
            Data::F32(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Data::I32(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Data::U8(v) => v.clone(),
        }
    }
    /// Rows of the first axis, in the order and as often as they are named.
    ///
    /// ```
    /// let x = outrigger::Tensor::i32([3, 2], vec![0, 1, 10, 11, 20, 21])?;
    /// assert_eq!(x.rows(&[2, 0])?.as_i32(), Some(&[20, 21, 0, 1][..]));
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a row that is not there, and for a scalar.
    pub fn rows(&self, rows: &[usize]) -> Result<Self, Error> {
        let count = self.shape.0.first().copied().unwrap_or(0);
        if let Some(row) = rows.iter().find(|&&row| row >= count) {
            let reason = format!("a tensor {} has no row {row}", self.ty());
            return Err(Error::Option { option: "rows".to_string(), reason });
        }
        let mut shape = self.shape.clone();
        if let Some(first) = shape.0.first_mut() {
            *first = rows.len();
        }
        let data = match &self.data {
            Data::F32(v) => Data::F32(gathered(v, count, rows)),
            Data::I32(v) => Data::I32(gathered(v, count, rows)),
            Data::U8(v) => Data::U8(gathered(v, count, rows)),
        };
        Tensor::new(shape, data)
    }
    /// Extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }
    /// Elements.
    pub fn data(&self) -> &Data {
        &self.data
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::I32(_) => DType::I32,
            Data::U8(_) => DType::U8,
        }
    }
    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        TensorType { dtype: self.dtype(), shape: self.shape.clone() }
    }
    /// The floats, or `None` for another element type.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            Data::I32(_) | Data::U8(_) => None,
        }
    }
    /// The integers, or `None` for another element type.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            Data::I32(v) => Some(v),
            Data::F32(_) | Data::U8(_) => None,
        }
    }
    /// Every element as f64, for the reference interpreter and for comparisons.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }
}

/// Some of `count` rows of equal size.
fn gathered<T: Copy>(values: &[T], count: usize, rows: &[usize]) -> Vec<T> {
    let size = values.len() / count.max(1);
    rows.iter().flat_map(|row| &values[row * size..(row + 1) * size]).copied().collect()
}
