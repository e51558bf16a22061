//! The state tensors of a model: parameters, running statistics, optimizer moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, nearest};
use crate::graph::{Graph, NodeId};
use crate::ops::{Op, Random};
use crate::tensor::Tensor;
use crate::types::TensorType;
use outrigger_runtime::State;

mod initial;

use initial::initial;

/// Names of the `f32[]` buffers that hold Adam's `1 - beta1^t` and `1 - beta2^t`.
pub const BIAS_CORRECTIONS: [&str; 2] = ["adam.bias_correction1", "adam.bias_correction2"];
/// Name of the `f32[]` buffer that holds SGD's `1 - dampening` after the first step.
pub(crate) const SGD_GAIN: &str = "sgd.gain";
/// Name of the `i32[]` buffer that counts the steps of Adagrad with a learning rate that decays.
pub(crate) const ADAGRAD_STEP: &str = "adagrad.step";
/// Name of the `f32[]` buffer that holds the decay of averaged weights, 0 in the first step.
pub(crate) const EMA_DECAY: &str = "ema.decay";

/// Last parts of the names of buffers that are kept for a parameter: `<parameter>.exp_avg`.
const OF_PARAMETERS: [&str; 9] = [
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "momentum_buffer",
    "square_avg",
    "grad_avg",
    "square_sum",
    "ema",
    GRADIENT,
];
/// Last part of the name of the buffer that sums a parameter's gradients.
pub const GRADIENT: &str = "grad";
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

/// What a tensor is to its graph, and so how its axes lie in files of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// The weight of a convolution or of a matrix product: PyTorch has its outputs first.
    Kernel,
    /// Keras's depthwise kernel `[rows, columns, channels, multiplier]`, which files also have as
    /// `[rows, columns, 1, channels · multiplier]`.
    Depthwise,
    /// Anything else, such as a table of embeddings or the scale of a normalisation: alike everywhere.
    Plain,
}

impl Axes {
    /// By what the graph does with the source `id`; a tensor that nothing uses counts as a kernel.
    pub(crate) fn of(graph: &Graph, id: NodeId) -> Axes {
        let (mut open, mut used, mut kernel) = (vec![id], false, false);
        while let Some(node) = open.pop() {
            for user in graph.users(node) {
                used = true;
                match graph.get(user).map(|node| &node.op) {
                    // a table, even if its transpose is a weight too
                    Some(Op::Gather) => return Axes::Plain,
                    Some(Op::MatMul(_) | Op::Conv2d(_) | Op::Conv2dGradInput(..)) => kernel = true,
                    Some(Op::Reshape(_)) if node == id && is_depthwise(graph, id, user) => return Axes::Depthwise,
                    Some(Op::Reshape(_) | Op::Transpose(_)) => open.push(user),
                    _ => {}
                }
            }
        }
        if kernel || !used { Axes::Kernel } else { Axes::Plain }
    }
}

/// Whether `reshaped` is the weight `[rows, columns, 1, channels · multiplier]` of a convolution in as many groups as the
/// parameter `id` has channels.
fn is_depthwise(graph: &Graph, id: NodeId, reshaped: NodeId) -> bool {
    let [from, to] = [id, reshaped].map(|node| &graph.ty(node.result(0)).shape.0[..]);
    let (&[rows, columns, channels, multiplier], &[r, c, 1, outputs]) = (from, to) else { return false };
    let groups = |user| match graph.get(user).map(|node| &node.op) {
        Some(Op::Conv2d(conv)) => conv.groups == channels,
        _ => false,
    };
    let same = [r, c, outputs] == [rows, columns, channels.saturating_mul(multiplier)];
    same && graph.users(reshaped).into_iter().any(groups)
}

/// State shared by the programs that train and evaluate a model. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    entries: Arc<Vec<(String, TensorType)>>,
    /// What the tensors are that are no [`Axes::Kernel`].
    axes: Arc<BTreeMap<String, Axes>>,
    pub(crate) state: Arc<State>,
}

impl Store {
    /// State for every parameter and buffer of `graph`, initialised from `seed`: each random tensor
    /// depends on the seed and its name only.
    ///
    /// # Errors
    /// [`Error::Runtime`] when memory cannot be had; [`Error::Operands`] for an initialiser that does not fit its tensor.
    pub fn new(graph: &Graph, seed: u64) -> Result<Store, Error> {
        let mut entries = Vec::new();
        let mut values = Vec::new();
        let mut known = BTreeMap::new();
        for (id, node) in graph.states().filter_map(|id| Some((id, graph.get(id)?))) {
            if let Op::Parameter(ty, init) | Op::Buffer(ty, init) = &node.op {
                let axes = if ty.shape.rank() > 1 { Axes::of(graph, id) } else { Axes::Kernel };
                if axes != Axes::Kernel {
                    known.insert(node.name.clone(), axes);
                }
                entries.push((node.name.clone(), ty.clone()));
                values.push(initial(ty, *init, seed, &node.name)?);
            }
        }
        let slots: Vec<(&str, usize)> = entries.iter().map(|(n, ty)| (n.as_str(), ty.bytes())).collect();
        let store = Store { state: Arc::new(State::new(&slots)?), entries: Arc::new(entries), axes: Arc::new(known) };
        for ((name, _), value) in store.entries.iter().zip(&values) {
            store.set(name, value)?;
        }
        Ok(store)
    }

    /// A store that also has what `graph` needs and this one lacks, with initial values; the tensors there are keep their
    /// values. `None` when nothing is lacking.
    ///
    /// # Errors
    /// [`Error::Type`] for a tensor of another type; [`Error::Runtime`] when memory cannot be had.
    pub(crate) fn with(&self, graph: &Graph, seed: u64) -> Result<Option<Store>, Error> {
        let new = Store::new(graph, seed)?;
        let missing = |name: &str| !self.entries.iter().any(|(known, _)| known == name);
        let added: Vec<(String, TensorType)> = new.entries.iter().filter(|(name, _)| missing(name)).cloned().collect();
        if added.is_empty() {
            return Ok(None);
        }
        let entries = self.entries.iter().cloned().chain(added).collect();
        // an update alone does not say what its parameter is
        let added = new.axes.iter().filter(|(name, _)| missing(name));
        let axes = added.chain(self.axes.iter()).map(|(name, &axes)| (name.clone(), axes)).collect();
        Store::filled(entries, Arc::new(axes), |name| if missing(name) { new.get(name) } else { self.get(name) })
            .map(Some)
    }
    /// A store of the tensors whose names `gone` does not hold.
    ///
    /// # Errors
    /// [`Error::Runtime`] when memory cannot be had.
    pub(crate) fn without(&self, gone: impl Fn(&str) -> bool) -> Result<Store, Error> {
        let entries = self.entries.iter().filter(|(name, _)| !gone(name)).cloned().collect();
        Store::filled(entries, self.axes.clone(), |name| self.get(name))
    }
    fn filled(
        entries: Vec<(String, TensorType)>,
        axes: Arc<BTreeMap<String, Axes>>,
        value: impl Fn(&str) -> Result<Tensor, Error>,
    ) -> Result<Store, Error> {
        let slots: Vec<(&str, usize)> = entries.iter().map(|(n, ty)| (n.as_str(), ty.bytes())).collect();
        let store = Store { state: Arc::new(State::new(&slots)?), entries: Arc::new(entries), axes };
        for (name, _) in store.entries.iter() {
            store.set(name, &value(name)?)?;
        }
        Ok(store)
    }

    /// Names and types in the graph's order.
    pub fn entries(&self) -> &[(String, TensorType)] {
        &self.entries
    }

    /// How a tensor's axes lie in files; what training keeps for a parameter is as the parameter.
    pub fn axes(&self, name: &str) -> Axes {
        self.axes.get(kept_for(name).unwrap_or(name)).copied().unwrap_or(Axes::Kernel)
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
