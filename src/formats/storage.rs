//! Weights in half the bytes, and what a file says about its tensors.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::file::{Entry, WeightFile, words};
use super::safetensors::checksum;
use crate::error::Error;
use crate::types::{DType, TensorType};

/// Element type of weights in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// 32 bits: what is read back is what was written.
    #[default]
    F32,
    /// IEEE half precision: 11 significant bits, magnitudes up to 65504.
    F16,
    /// The upper half of an f32: 8 significant bits, all magnitudes of f32.
    Bf16,
}

impl Storage {
    /// All of them.
    pub const ALL: [Storage; 3] = [Storage::F32, Storage::F16, Storage::Bf16];

    /// The largest relative change of a weight: half a unit in the last place. f16 has a smallest magnitude, too:
    /// below 6.1e-5 the change is up to 3e-8 whatever the weight.
    pub fn rounding(self) -> f32 {
        match self {
            Storage::F32 => 0.0,
            Storage::F16 => 1.0 / 2048.0,
            Storage::Bf16 => 1.0 / 256.0,
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Storage::F32 => "f32",
            Storage::F16 => "f16",
            Storage::Bf16 => "bf16",
        })
    }
}

impl FromStr for Storage {
    type Err = String;
    /// Reads `f32`, `f16` or `bf16`.
    fn from_str(word: &str) -> Result<Self, String> {
        let found = Storage::ALL.into_iter().find(|storage| storage.to_string() == word);
        found.ok_or_else(|| format!("\"{word}\" is not one of f32, f16, bf16"))
    }
}

impl WeightFile {
    /// SHA-256 over names, types and elements of all tensors, in hexadecimal; the metadata does not enter.
    pub fn tensors_sha256(&self) -> String {
        checksum(&self.entries, &BTreeMap::new())
    }

    /// The type that [`WeightFile::tensor`] gives a tensor, without reading it; `None` when there is none of this name or
    /// of an element type that is not read.
    pub fn ty(&self, name: &str) -> Option<TensorType> {
        let entry = self.entries.get(name)?;
        let dtype = match entry.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => DType::F32,
            Dtype::I32 => DType::I32,
            Dtype::U8 => DType::U8,
            _ => return None,
        };
        Some(TensorType::new(dtype, entry.shape.clone()))
    }
    /// How a tensor of floats is stored, if it is one of those ways.
    pub fn storage(&self, name: &str) -> Option<Storage> {
        match self.entries.get(name)?.dtype {
            Dtype::F32 => Some(Storage::F32),
            Dtype::F16 => Some(Storage::F16),
            Dtype::BF16 => Some(Storage::Bf16),
            _ => None,
        }
    }

    /// The same file with its f32 tensors of two axes and more rounded to `storage`, to nearest, ties to even. Vectors
    /// stay f32: biases and statistics are few bytes, and their errors reach every pixel of a channel.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming a tensor with a finite element that f16 cannot hold.
    pub fn stored_as(mut self, storage: Storage) -> Result<Self, Error> {
        let dtype = match storage {
            Storage::F32 => return Ok(self),
            Storage::F16 => Dtype::F16,
            Storage::Bf16 => Dtype::BF16,
        };
        let mut large = None;
        for (name, entry) in self.entries.iter_mut().filter(|(_, e)| e.dtype == Dtype::F32 && e.shape.rank() >= 2) {
            let values = words(&entry.bytes, f32::from_le_bytes);
            let lost = |x: &&f32| x.is_finite() && storage == Storage::F16 && f16::from_f32(**x).is_infinite();
            if let Some(x) = values.iter().find(lost) {
                large = Some(format!("tensor \"{name}\" holds {x}, which is too large for f16; use bf16"));
                break;
            }
            let narrow = |x: f32| match storage {
                Storage::F16 => f16::from_f32(x).to_le_bytes(),
                Storage::F32 | Storage::Bf16 => bf16::from_f32(x).to_le_bytes(),
            };
            let bytes = values.into_iter().flat_map(narrow).collect();
            *entry = Entry { dtype, shape: entry.shape.clone(), bytes };
        }
        large.map_or(Ok(()), |reason| Err(self.error(reason)))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn matrices_are_rounded_and_vectors_are_not() {
        let values = vec![1.0, -1.0 / 3.0, 1e-3, 300.7];
        let tensors = [
            ("w".to_string(), Tensor::f32([2, 2], values.clone()).unwrap()),
            ("b".to_string(), Tensor::f32([4], values.clone()).unwrap()),
        ];
        let file = WeightFile::new(tensors, BTreeMap::new());
        for storage in Storage::ALL {
            let bytes = file.clone().stored_as(storage).unwrap().to_bytes().unwrap();
            let back = WeightFile::parse(&bytes, "w").unwrap();
            let (w, b) = (back.tensor("w").unwrap(), back.tensor("b").unwrap());
            assert_eq!(b.as_f32().unwrap(), values);
            for (&got, &x) in w.as_f32().unwrap().iter().zip(&values) {
                assert!((got - x).abs() <= storage.rounding() * x.abs(), "{storage}: {x} became {got}");
            }
            assert_eq!(w.as_f32().unwrap() == values, storage == Storage::F32);
            assert_eq!(storage.to_string().parse::<Storage>(), Ok(storage));
        }
    }

    #[test]
    fn what_half_precision_cannot_hold_is_refused() {
        let of = |x: f32| WeightFile::new([("w".to_string(), Tensor::f32([1, 1], vec![x]).unwrap())], BTreeMap::new());
        let error = of(7e4).stored_as(Storage::F16).unwrap_err().to_string();
        assert!(error.contains("\"w\" holds 70000"), "{error}");
        of(7e4).stored_as(Storage::Bf16).unwrap();
        of(f32::INFINITY).stored_as(Storage::F16).unwrap();
    }
}
