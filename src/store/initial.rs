//! The numbers of an [`Init`]: a generator of its own for each tensor, whose key is a hash of the seed and the name.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::ops::Init;
use crate::tensor::{Data, Tensor};
use crate::types::{DType, TensorType};

/// How often a number outside of its limits is drawn again. Limits that leave out 95 % of the distribution are missed
/// so often once in 10²² numbers; for what is beyond that the nearer limit stands.
const REDRAWS: usize = 1000;

/// The first value of a state tensor.
pub(super) fn initial(ty: &TensorType, init: Init, seed: u64, name: &str) -> Result<Tensor, Error> {
    let refuse = |reason: String| {
        let (path, operands) = (name.to_string(), ty.to_string());
        Err(Error::Operands { path, op: "initialiser".to_string(), operands, reason })
    };
    let n = ty.shape.elements();
    let mut draw = Draw::new(seed, name);
    let values: Vec<f32> = match init {
        Init::Constant(c) => vec![c; n],
        Init::Uniform(bound) => (0..n).map(|_| ((2.0 * draw.unit() - 1.0) * f64::from(bound)) as f32).collect(),
        Init::UniformBetween { low, high } => {
            (0..n).map(|_| (f64::from(low) + draw.unit() * (f64::from(high) - f64::from(low))) as f32).collect()
        }
        Init::Normal(std) => (0..n).map(|_| (draw.normal() * f64::from(std)) as f32).collect(),
        Init::TruncatedNormal { mean, std, low, high } => {
            if low > high || low.is_nan() || high.is_nan() {
                return refuse(format!("the lower limit {low} must not exceed the upper limit {high}"));
            }
            (0..n).map(|_| draw.within([mean, std, low, high])).collect()
        }
        Init::Orthogonal(gain) => {
            let columns = ty.shape.last();
            orthogonal(&mut draw, n / columns.max(1), columns, f64::from(gain))
        }
        Init::Identity(gain) => match *ty.shape.0.as_slice() {
            [_, columns] => (0..n).map(|i| if i / columns == i % columns { gain } else { 0.0 }).collect(),
            _ => return refuse("only a matrix can be the identity; it must have 2 axes".to_string()),
        },
    };
    let data = match ty.dtype {
        DType::F32 | DType::Bf16 => Data::F32(values),
        DType::I32 => Data::I32(values.iter().map(|&v| v as i32).collect()),
        DType::U8 => Data::U8(values.iter().map(|&v| v as u8).collect()),
    };
    Tensor::new(ty.shape.clone(), data)
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(name.as_bytes());
        Draw(ChaCha8Rng::from_seed(hash.finalize().into()))
    }
    /// In (0, 1).
    fn unit(&mut self) -> f64 {
        (f64::from(self.0.next_u32()) + 0.5) / 4_294_967_296.0
    }
    /// Box & Muller.
    fn normal(&mut self) -> f64 {
        let (u, v) = (self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
    fn within(&mut self, [mean, std, low, high]: [f32; 4]) -> f32 {
        let mut value = f64::from(mean);
        for _ in 0..REDRAWS {
            value = f64::from(mean) + self.normal() * f64::from(std);
            if (f64::from(low)..=f64::from(high)).contains(&value) {
                break;
            }
        }
        (value as f32).clamp(low, high)
    }
}

/// `[rows, columns]`: Gram & Schmidt on columns of normal numbers, twice each against rounding; the directions of such
/// columns are evenly distributed. A matrix that is wider than high is made lying.
fn orthogonal(draw: &mut Draw, rows: usize, columns: usize, gain: f64) -> Vec<f32> {
    let (length, count) = (rows.max(columns), rows.min(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut vector: Vec<f64> = (0..length).map(|_| draw.normal()).collect();
        for _ in 0..2 {
            for other in &basis {
                let along = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
            let size = dot(&vector, &vector).sqrt();
            vector.iter_mut().for_each(|x| *x /= size);
        }
        basis.push(vector);
    }
    let element = |i: usize| match (i / columns, i % columns) {
        (row, column) if rows >= columns => basis[column][row],
        (row, column) => basis[row][column],
    };
    (0..rows * columns).map(|i| (element(i) * gain) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
