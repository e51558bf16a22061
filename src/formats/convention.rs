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
use super::hdf5::KERAS_ARCHITECTURE;
use super::layout::{Layout, inverse};
use crate::error::Error;
use crate::store::{Axes, Store, is_training_state};
use crate::types::TensorType;

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
        self.converted(convention, None)
    }
    /// [`WeightFile::to_convention`] of a file of the model of `store`, which knows its tables of embeddings whatever they
    /// are called.
    pub(crate) fn to_convention_of(&self, convention: Convention, store: &Store) -> Result<WeightFile, Error> {
        let plain = |(name, ty): &&(String, TensorType)| ty.shape.rank() > 1 && store.axes(name) == Axes::Plain;
        let tables = store.entries().iter().filter(plain).map(|(name, _)| dotted(split(name).0));
        self.converted(convention, Some(tables.collect()))
    }
    fn converted(&self, convention: Convention, tables: Option<BTreeSet<String>>) -> Result<WeightFile, Error> {
        let from = self.convention();
        let (here, there) = (self.assumed_layout(), convention.layout());
        let layers = Layers::of(self, tables);
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (name, entry) in self.entries.iter().filter(|(name, _)| !is_training_state(name)) {
            let Some(new) = layers.renamed(name, [from, convention]) else { continue };
            let (axes, rank) = (layers.axes(name), entry.shape.rank());
            let moved = entry.permuted(&inverse(&here.axes_in_file(axes, rank)));
            let moved = moved.permuted(&there.axes_in_file(axes, rank));
            if entries.insert(new.clone(), moved).is_some() {
                return Err(self.error(format!("tensor \"{name}\" and another would both be \"{new}\"")));
            }
        }
        let mut metadata = self.metadata().clone();
        metadata.insert("layout".to_string(), there.describe().to_string());
        if convention == Convention::Torch {
            metadata.remove(KERAS_ARCHITECTURE);
        }
        Ok(self.with_entries(entries, metadata))
    }
}

/// Which layers of a file are what, as far as the names of their tensors depend on it.
struct Layers<'f> {
    /// Of PyTorch's: those with running statistics, with a weight of one axis, or with a bias of more than one or without a weight.
    norms: BTreeSet<&'f str>,
    /// Those that are tables of embeddings, with dots, where that is known.
    tables: Option<BTreeSet<String>>,
}

/// A layer's name with PyTorch's separators.
fn dotted(layer: &str) -> String {
    layer.replace('/', ".")
}

/// Layer and last part of a name.
fn split(name: &str) -> (&str, &str) {
    match name.rfind(['.', '/']) {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => ("", name),
    }
}

fn is_weight(last: &str) -> bool {
    last.contains("weight") || last.contains("kernel")
}

impl<'f> Layers<'f> {
    fn of(file: &'f WeightFile, tables: Option<BTreeSet<String>>) -> Layers<'f> {
        let torch = file.convention() == Convention::Torch;
        let weights = file.names().map(split).filter(|(_, last)| is_weight(last));
        let weighted: BTreeSet<&str> = weights.map(|(layer, _)| layer).collect();
        let of_norm = |layer: &str, last: &str, entry: &Entry| match last {
            "running_mean" => true,
            "weight" => entry.shape.rank() == 1,
            "bias" => torch && (entry.shape.rank() > 1 || !weighted.contains(layer)),
            _ => false,
        };
        let layers = file.entries.iter().map(|(name, entry)| (split(name), entry));
        let norms = layers.filter(|((layer, last), entry)| of_norm(layer, last, entry)).map(|((layer, _), _)| layer);
        Layers { norms: norms.collect(), tables }
    }

    /// Whether a layer is a table of embeddings, by its name or its tensor's where nothing better is known:
    /// `embed_tokens.weight`, `tokens/embeddings`.
    fn is_table(&self, layer: &str, last: &str) -> bool {
        if let Some(tables) = &self.tables {
            return tables.contains(&dotted(layer));
        }
        let own = layer.rsplit(['.', '/']).next().unwrap_or("");
        let called = |part: &str| part.to_ascii_lowercase().contains("embed");
        called(own) || called(last)
    }
    /// What a tensor is: a kernel if it is a weight, unless its layer is a normalisation or a table of embeddings.
    fn axes(&self, name: &str) -> Axes {
        let (layer, last) = split(name);
        if is_weight(last) && !self.norms.contains(layer) && !self.is_table(layer, last) {
            Axes::Kernel
        } else {
            Axes::Plain
        }
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
            "weight" if self.is_table(layer, last) => "embeddings",
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
