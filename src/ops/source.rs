//! Where values come from: inputs, state, constants, random numbers. First values of state are in `init.rs`.

use serde::{Deserialize, Serialize};

use super::Mismatch;
use crate::types::{DType, Shape, TensorType};

/// Uniform f32 numbers in [0, 1), a pure function of `(seed, step, stream, element index)`:
/// `u = mix(mix(mix(seed ^ stream·0x9E3779B9) ^ step) ^ index) >> 8 · 2⁻²⁴` with the 32-bit
/// mixer `triple32` of C. Wellons' hash-prospector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Random {
    /// Result shape.
    pub shape: Shape,
    /// Tells apart several random tensors of a graph.
    pub stream: u32,
}

/// Rounds of the mixer `triple32`: `x ^= x >> shift; x *= factor` (no product in the last round).
pub const TRIPLE32: [(i64, u32); 4] = [(17, 0xed5a_d4bb), (11, 0xac4c_1b51), (15, 0x3184_8bab), (14, 0)];

/// The mixer of [`Random`]: `triple32`, a bijection of 32-bit words.
pub fn triple32(word: u32) -> u32 {
    TRIPLE32.iter().fold(word, |x, &(shift, factor)| {
        let x = x ^ (x >> shift);
        if factor == 0 { x } else { x.wrapping_mul(factor) }
    })
}

impl Random {
    /// Name of the `i32[]` buffer that counts training steps (see [`crate::Graph::random_step`]).
    pub const STEP: &'static str = "rng.step";

    /// The number at `index` for a seed and a step.
    pub fn value(&self, seed: i32, step: i32, index: usize) -> f32 {
        let key = triple32(triple32(seed as u32 ^ self.stream.wrapping_mul(0x9E37_79B9)) ^ step as u32);
        (triple32(key ^ index as u32) >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    pub(super) fn infer(&self, seed: &TensorType, step: &TensorType) -> Result<TensorType, Mismatch> {
        let scalar = TensorType::new(DType::I32, Shape::scalar());
        if seed != &scalar || step != &scalar {
            return Err(Mismatch::new(format!("takes a seed and a step of type {scalar}, got {seed} and {step}")));
        }
        Ok(TensorType::f32(self.shape.clone()))
    }
}

/// Every tensor has at least one element and is addressed with 31-bit byte offsets.
pub(super) fn check_type(ty: &TensorType) -> Result<(), Mismatch> {
    let bytes = ty.shape.0.iter().try_fold(ty.dtype.bytes(), |n, &e| n.checked_mul(e));
    match bytes {
        Some(0) => Err(Mismatch::new(format!("{ty} has no elements; every extent must be at least 1"))),
        Some(n) if n <= i32::MAX as usize => Ok(()),
        _ => Err(Mismatch::new(format!("{ty} is larger than 2 GiB; split it"))),
    }
}
