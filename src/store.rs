//! The state tensors of a model: parameters, running statistics, optimizer moments.

use std::sync::Arc;

use outrigger_runtime::State;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use sha2::{Digest, Sha256};

use crate::error::{Error, nearest};
use crate::graph::Graph;
use crate::ops::{Init, Op, Random};
use crate::tensor::{Data, Tensor};
use crate::types::{DType, TensorType};

/// Names of the `f32[]` buffers that hold Adam's `1 - beta1^t` and `1 - beta2^t`.
pub const BIAS_CORRECTIONS: [&str; 2] = ["adam.bias_correction1", "adam.bias_correction2"];
/// Name of the `f32[]` buffer that holds SGD's `1 - dampening` after the first step.
pub(crate) const SGD_GAIN: &str = "sgd.gain";
/// Name of the `i32[]` buffer that counts the steps of Adagrad with a learning rate that decays.
pub(crate) const ADAGRAD_STEP: &str = "adagrad.step";
/// Name of the `f32[]` buffer that holds the decay of averaged weights, 0 in the first step.
pub(crate) const EMA_DECAY: &str = "ema.decay";

/// Last parts of the names of buffers that are kept for a parameter: `<parameter>.exp_avg`.
const OF_PARAMETERS: [&str; 8] =
    ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "square_sum", "ema"];
/// Names of states that are kept once.
const SHARED: [&str; 6] = [BIAS_CORRECTIONS[0], BIAS_CORRECTIONS[1], SGD_GAIN, ADAGRAD_STEP, EMA_DECAY, Random::STEP];

/// The parameter that the state `name` is kept for: `fc.weight` for `fc.weight.exp_avg`.
pub(crate) fn kept_for(name: &str) -> Option<&str> {
    name.rsplit_once('.').filter(|(_, last)| OF_PARAMETERS.contains(last)).map(|(parameter, _)| parameter)
}

/// Whether the state `name` belongs to training and not to the model: moments, averages, bias corrections, counters.
/// A model runs without it, and continues training only with it.
pub fn is_training_state(name: &str) -> bool {
    kept_for(name).is_some() || SHARED.contains(&name)
}

/// State shared by the programs that train and evaluate a model. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    entries: Arc<Vec<(String, TensorType)>>,
    pub(crate) state: Arc<State>,
}

impl Store {
    /// State for every parameter and buffer of `graph`, initialised from `seed`: each random tensor
    /// depends on the seed and its name only.
    ///
    /// # Errors
    /// [`Error::Runtime`] when memory cannot be had.
    pub fn new(graph: &Graph, seed: u64) -> Result<Store, Error> {
        let mut entries = Vec::new();
        let mut values = Vec::new();
        for node in graph.states().filter_map(|id| graph.get(id)) {
            if let Op::Parameter(ty, init) | Op::Buffer(ty, init) = &node.op {
                entries.push((node.name.clone(), ty.clone()));
                values.push(initial(ty, *init, seed, &node.name)?);
            }
        }
        let slots: Vec<(&str, usize)> = entries.iter().map(|(n, ty)| (n.as_str(), ty.bytes())).collect();
        let store = Store { state: Arc::new(State::new(&slots)?), entries: Arc::new(entries) };
        for ((name, _), value) in store.entries.iter().zip(&values) {
            store.set(name, value)?;
        }
        Ok(store)
    }

    /// Names and types in the graph's order.
    pub fn entries(&self) -> &[(String, TensorType)] {
        &self.entries
    }

    pub(crate) fn ty(&self, name: &str) -> Result<&TensorType, Error> {
        let found = self.entries.iter().find(|(n, _)| n == name);
        found.map(|(_, ty)| ty).ok_or_else(|| Error::UnknownName {
            what: "state",
            name: name.to_string(),
            near: nearest(name, self.entries.iter().map(|(n, _)| n.as_str())),
        })
    }

    /// A copy of a state tensor.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    pub fn get(&self, name: &str) -> Result<Tensor, Error> {
        let ty = self.ty(name)?;
        Tensor::from_bytes(ty, &self.state.read(name)?)
    }

    /// Replaces a state tensor.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Type`].
    pub fn set(&self, name: &str, value: &Tensor) -> Result<(), Error> {
        let ty = self.ty(name)?;
        if *ty != value.ty() {
            return Err(Error::Type { name: name.to_string(), expected: ty.clone(), got: value.ty() });
        }
        Ok(self.state.write(name, &value.to_bytes())?)
    }
}

/// The first value of a state tensor.
fn initial(ty: &TensorType, init: Init, seed: u64, name: &str) -> Result<Tensor, Error> {
    let n = ty.shape.elements();
    // a generator of its own for each tensor: its key is a hash of the seed and the name
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(hash.finalize().into());
    let mut unit = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    let values: Vec<f32> = match init {
        Init::Constant(c) => vec![c; n],
        Init::Uniform(bound) => (0..n).map(|_| ((2.0 * unit() - 1.0) * f64::from(bound)) as f32).collect(),
        // Box & Muller
        Init::Normal(deviation) => (0..n)
            .map(|_| {
                let (u, v) = (unit(), unit());
                let radius = (-2.0 * u.ln()).sqrt();
                (radius * (std::f64::consts::TAU * v).cos() * f64::from(deviation)) as f32
            })
            .collect(),
    };
    let data = match ty.dtype {
        DType::F32 | DType::Bf16 => Data::F32(values),
        DType::I32 => Data::I32(values.iter().map(|&v| v as i32).collect()),
        DType::U8 => Data::U8(values.iter().map(|&v| v as u8).collect()),
    };
    Tensor::new(ty.shape.clone(), data)
}
