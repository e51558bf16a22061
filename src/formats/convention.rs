//! What the same tensor is called, and how it lies, in PyTorch and in Keras.
//!
//! ```text
//!                        PyTorch, layer1.0.conv1.…         Keras, layer1/0/conv1/…
//!   convolution, dense   weight [out, in, …], bias         kernel […, in, out], bias
//!   batch norm           weight, bias,                     gamma, beta,
//!                        running_mean, running_var         moving_mean, moving_variance
//!   layer, group norm    weight (one axis), bias           gamma, beta
//!   embedding            weight                            embeddings
//! ```
//!
//! Names of layers stay, but for the separator: which layer of one network is which of another, only a person knows.
//! Other last parts (`alpha`, `cls_token`) stay too. PyTorch's `num_batches_tracked` is left out for Keras, which has
//! none; PyTorch makes it anew.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{Entry, WeightFile};
use super::layout::{Layout, inverse, is_embedding};
use crate::error::Error;
use crate::store::is_training_state;

/// Whose names tensors have, and with them whose order of axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// `layer1.0.conv1.weight`, OIHW.
    Torch,
    /// `conv2d/kernel`, HWIO.
    Keras,
}

/// Last parts of names that both frameworks have, PyTorch's and Keras's.
const NORM: [[&str; 2]; 4] =
    [["weight", "gamma"], ["bias", "beta"], ["running_mean", "moving_mean"], ["running_var", "moving_variance"]];

impl Convention {
    /// The layout that goes with the names.
    pub fn layout(self) -> Layout {
        match self {
            Convention::Torch => Layout::Torch,
            Convention::Keras => Layout::Native,
        }
    }
}

impl WeightFile {
    /// Whose names the tensors have: Keras's as soon as one ends with `/kernel`, `/gamma` or another of its own.
    pub fn convention(&self) -> Convention {
        const KERAS: [&str; 6] = ["kernel", "gamma", "beta", "moving_mean", "moving_variance", "embeddings"];
        let keras = |name: &str| name.rsplit_once('/').is_some_and(|(_, last)| KERAS.contains(&last));
        if self.names().any(keras) { Convention::Keras } else { Convention::Torch }
    }

    /// The same tensors under the names and in the layout of `convention`. State of training is left out, since
    /// no other framework has it under these names.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use outrigger::Tensor;
    /// use outrigger::formats::{Convention, WeightFile};
    ///
    /// # fn main() -> Result<(), outrigger::Error> {
    /// let weight = Tensor::f32([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    /// let torch = WeightFile::new([("fc.weight".to_string(), weight)], BTreeMap::new());
    /// let keras = torch.to_convention(Convention::Keras)?;
    /// assert_eq!(keras.tensor("fc/kernel")?, Tensor::f32([3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0])?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when two tensors would get one name.
    pub fn to_convention(&self, convention: Convention) -> Result<WeightFile, Error> {
        let from = self.convention();
        let (here, there) = (self.assumed_layout(), convention.layout());
        let layers = Layers::of(self);
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (name, entry) in self.entries.iter().filter(|(name, _)| !is_training_state(name)) {
            let Some(new) = layers.renamed(name, [from, convention]) else { continue };
            let rank = entry.shape.rank();
            // an embedding is known by the name that says so, whichever it is
            let named = if is_embedding(name) { name } else { &new };
            let moved = entry.permuted(&inverse(&here.axes_in_file(named, rank)));
            let moved = moved.permuted(&there.axes_in_file(named, rank));
            if entries.insert(new.clone(), moved).is_some() {
                return Err(self.error(format!("tensor \"{name}\" and another would both be \"{new}\"")));
            }
        }
        let mut metadata = self.metadata().clone();
        metadata.insert("layout".to_string(), there.describe().to_string());
        Ok(self.with_entries(entries, metadata))
    }
}

/// Which layers of a file are what, as far as the names of their tensors depend on it.
struct Layers<'f> {
    /// Those with running statistics, or with a weight of one axis.
    norms: BTreeSet<&'f str>,
}

/// Layer and last part of a name.
fn split(name: &str) -> (&str, &str) {
    match name.rfind(['.', '/']) {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => ("", name),
    }
}

impl<'f> Layers<'f> {
    fn of(file: &'f WeightFile) -> Layers<'f> {
        let of_norm = |last: &str, entry: &Entry| match last {
            "running_mean" => true,
            "weight" => entry.shape.rank() == 1,
            _ => false,
        };
        let layers = file.entries.iter().map(|(name, entry)| (split(name), entry));
        let norms = layers.filter(|((_, last), entry)| of_norm(last, entry)).map(|((layer, _), _)| layer);
        Layers { norms: norms.collect() }
    }

    /// The name of a tensor in the second convention; `None` for one that it does not have.
    fn renamed(&self, name: &str, [from, to]: [Convention; 2]) -> Option<String> {
        let (layer, last) = split(name);
        let last = match (from, to) {
            _ if from == to => return Some(name.to_string()),
            (_, Convention::Keras) if last == "num_batches_tracked" => return None,
            (_, Convention::Keras) => self.keras_name(layer, last),
            (_, Convention::Torch) => torch_name(last),
        };
        let (old, new) = if to == Convention::Keras { (".", "/") } else { ("/", ".") };
        let layer = layer.replace(old, new);
        Some(if layer.is_empty() { last.to_string() } else { format!("{layer}{new}{last}") })
    }

    fn keras_name<'n>(&self, layer: &str, last: &'n str) -> &'n str {
        match last {
            _ if self.norms.contains(layer) => {
                NORM.iter().find(|[torch, _]| *torch == last).map_or(last, |[_, keras]| keras)
            }
            "weight" if is_embedding(&format!("{layer}.{last}")) => "embeddings",
            "weight" => "kernel",
            other => other,
        }
    }
}

fn torch_name(last: &str) -> &str {
    match last {
        "kernel" | "embeddings" => "weight",
        other => NORM.iter().find(|[_, keras]| *keras == other).map_or(other, |[torch, _]| torch),
    }
}
