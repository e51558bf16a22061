//! Architectures as JSON: a network without its weights.
//!
//! ```text
//!   { "format": "outrigger.network", "version": 1, "name": …, "form": "torch",
//!     "layers":  [ { "name": "conv1", "trainable": true, "options": { "kind": "conv2d", "filters": 16, … } }, … ],
//!     "frozen":  [ "conv1" ],
//!     "calls":   [ 0: { "input":  { "name": "images", "dtype": "F32", "shape": [3, 32, 32] } },
//!                  1: { "layer":  { "name": "conv1", "operands": [0], "listed": true } },
//!                  2: { "module": { "class": "Block", "operand": 1 } }, … ],
//!     "inputs":  [0], "outputs": [2] }
//! ```
//!
//! A call is known by its place in the list and reads only calls before it, so that there are no cycles. Shapes follow
//! from the inputs and are not written. `read.rs` is for all that others may have put into such a text.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::form::Form;
use super::kind::Kind;
use super::network::Network;
use super::symbol::{Maker, Symbol};
use crate::error::Error;
use crate::types::DType;

mod read;

pub(super) use read::{at_place, check_numbers, check_size};

/// What the text is.
const FORMAT: &str = "outrigger.network";
/// Version of its form.
const VERSION: u64 = 1;

/// The whole text, but for what says which version it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u64,
    name: String,
    form: Form,
    layers: Vec<Value>,
    /// Names of layers that [`Network::freeze`] holds.
    frozen: Vec<String>,
    calls: Vec<Value>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerEntry<K> {
    name: String,
    trainable: bool,
    options: K,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum CallEntry {
    Input { name: String, dtype: DType, shape: Vec<usize> },
    Layer { name: String, operands: Vec<usize>, listed: bool },
    Module { class: String, operand: usize },
}

/// An error in an architecture's text.
pub(super) fn misfit(place: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Architecture { place: place.into(), reason: reason.into() }
}

impl Network {
    /// The architecture as JSON: layers with their options, calls, names, what is frozen; no weights. Keras's
    /// `model.to_json()`. [`Network::from_json`] reads it.
    ///
    /// # Errors
    /// [`Error::Network`] for a network with a [`Lambda`](super::Lambda), which is code; it names the layer.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut layers: Vec<Value> = Vec::new();
        let mut written: HashSet<u64> = HashSet::new();
        let mut calls = Vec::with_capacity(self.calls().len());
        // calls are sorted by their order
        let place = |symbol: &Symbol| self.calls().partition_point(|call| call.0.order < symbol.0.order);
        let refuse = |layer: &str, error: serde_json::Error| {
            let reason = format!("layer \"{layer}\" cannot be written: {error}");
            Error::Network { name: self.name().to_string(), reason }
        };
        for call in self.calls() {
            let entry = match &call.0.maker {
                Maker::Input(name) => {
                    CallEntry::Input { name: name.clone(), dtype: call.dtype(), shape: call.shape().to_vec() }
                }
                Maker::Layer { definition, listed } => {
                    let name = self.name_of(call).to_string();
                    if written.insert(definition.id) {
                        let (trainable, options) = (definition.trainable, &definition.kind);
                        let entry = LayerEntry::<&Kind> { name: name.clone(), trainable, options };
                        layers.push(serde_json::to_value(entry).map_err(|error| refuse(&name, error))?);
                    }
                    let operands = call.0.operands.iter().map(place).collect();
                    CallEntry::Layer { name, operands, listed: *listed }
                }
                Maker::Module { class, .. } => {
                    let operand = call.0.operands.first().map_or(0, place);
                    CallEntry::Module { class: class.clone(), operand }
                }
            };
            calls.push(serde_json::to_value(entry).map_err(|error| refuse("", error))?);
        }
        let document = Document {
            format: FORMAT.to_string(),
            version: VERSION,
            name: self.name().to_string(),
            form: self.form(),
            layers,
            frozen: self.frozen_names(),
            calls,
            inputs: self.inputs().iter().map(place).collect(),
            outputs: self.outputs().iter().map(place).collect(),
        };
        serde_json::to_string(&document).map_err(|error| refuse("", error))
    }

    /// The network of a text that [`Network::to_json`] wrote. It makes the same graphs.
    ///
    /// ```
    /// use outrigger::nn::{Input, Linear, Mode, Network};
    ///
    /// let x = Input::torch("x", [8]);
    /// let network = Network::new("small", &x, &Linear::new(4).call(&x)?)?;
    /// let again = Network::from_json(&network.to_json()?)?;
    /// assert_eq!(again.graph(2, Mode::Train)?.to_string(), network.graph(2, Mode::Train)?.to_string());
    ///
    /// let error = Network::from_json(&network.to_json()?.replace("linear", "quadratic")).err().unwrap();
    /// assert!(error.to_string().starts_with("layers[0]"), "{error}");
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Architecture`] with the place in the text: no JSON, another version, a kind of layer or an option that is
    /// not known, a call of what is not there or comes later, sizes beyond any use; [`Error::Layer`] for shapes that do
    /// not fit, with the place of the call; those of [`Network::new`].
    pub fn from_json(text: &str) -> Result<Network, Error> {
        read::network(text)
    }
}
