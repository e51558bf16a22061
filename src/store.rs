//! The state tensors of a model: parameters, running statistics, optimizer moments.

use std::sync::Arc;

use crate::error::{Error, nearest};
use crate::graph::Graph;
use crate::ops::Op;
use crate::tensor::Tensor;
use crate::types::TensorType;
use outrigger_runtime::State;

mod initial;

use initial::initial;

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
    /// [`Error::Runtime`] when memory cannot be had; [`Error::Operands`] for an initialiser that does not fit its tensor.
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
