//! Reading an architecture that anyone may have written: every entry is checked before it is used, and an error names its
//! place, `calls[3]`.

use std::collections::{HashMap, HashSet};
use std::panic::Location;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{CallEntry, Document, FORMAT, LayerEntry, VERSION, misfit};
use crate::error::{Error, nearest};
use crate::nn::kind::Kind;
use crate::nn::layer::Definition;
use crate::nn::module::Paths;
use crate::nn::network::Network;
use crate::nn::symbol::{Context, Input, Symbol, unique};

/// The largest number among options and extents. No layer of use has more channels, rows or pixels.
const MOST: u64 = 1 << 28;
/// The most elements of a sample's tensor.
const MOST_ELEMENTS: usize = 1 << 31;
/// The most axes of an input.
const MOST_AXES: usize = 8;

pub(super) fn network(text: &str) -> Result<Network, Error> {
    let whole: Value =
        serde_json::from_str(text).map_err(|error| misfit("architecture", format!("no JSON: {error}")))?;
    version(&whole)?;
    let document: Document = entry(whole, "architecture")?;
    let definitions = definitions(&document.layers)?;
    let mut symbols: Vec<Symbol> = Vec::with_capacity(document.calls.len());
    let mut called = HashSet::new();
    for (at, value) in document.calls.iter().enumerate() {
        let place = format!("calls[{at}]");
        check_numbers(value, &place)?;
        let before = |index: usize| {
            let reason = || format!("reads calls[{index}]; a call reads calls before it");
            symbols.get(index).cloned().ok_or_else(|| misfit(&place, reason()))
        };
        let symbol = match entry(value.clone(), &place)? {
            CallEntry::Input { name, dtype, shape } => {
                if shape.len() > MOST_AXES {
                    return Err(misfit(place, format!("has {} axes; an input has at most {MOST_AXES}", shape.len())));
                }
                Input::of(&name, dtype, shape, Context { form: document.form, paths: Paths::default() })
            }
            CallEntry::Layer { name, operands, listed } => {
                let definition = definitions.get(&name).ok_or_else(|| unknown(&place, &name, &definitions))?;
                called.insert(name);
                let operands = operands.into_iter().map(before).collect::<Result<Vec<_>, _>>()?;
                if operands.is_empty() {
                    return Err(misfit(place, "a layer reads at least one call"));
                }
                let made = Symbol::made_by(definition.clone(), operands, listed, Location::caller());
                made.map_err(|error| at_place(error, &place))?
            }
            CallEntry::Module { class, operand } => {
                let operand = before(operand)?;
                operand.clone().of_module(class, Paths::default(), &operand)
            }
        };
        check_size(&symbol, &place)?;
        symbols.push(symbol);
    }
    if let Some(at) = document.layers.iter().position(|layer| !called.contains(layer["name"].as_str().unwrap_or(""))) {
        return Err(misfit(format!("layers[{at}]"), "is never called"));
    }
    let listed = |places: &[usize], what: &str| -> Result<Vec<Symbol>, Error> {
        let one = |(at, &index): (usize, &usize)| {
            let reason = || format!("is calls[{index}]; there are {}", symbols.len());
            symbols.get(index).cloned().ok_or_else(|| misfit(format!("{what}[{at}]"), reason()))
        };
        places.iter().enumerate().map(one).collect()
    };
    let (inputs, outputs) = (listed(&document.inputs, "inputs")?, listed(&document.outputs, "outputs")?);
    let mut network = Network::new(&document.name, &inputs, &outputs)?;
    if network.calls().len() != symbols.len() {
        let used: HashSet<u64> = network.calls().iter().map(|call| call.0.order).collect();
        let idle = symbols.iter().position(|symbol| !used.contains(&symbol.0.order)).unwrap_or(0);
        return Err(misfit(format!("calls[{idle}]"), "no output depends on it"));
    }
    for (at, name) in document.frozen.iter().enumerate() {
        if !network.freeze_layer(name) {
            return Err(misfit(format!("frozen[{at}]"), format!("there is no layer \"{name}\"")));
        }
    }
    Ok(network)
}

/// Whether this is a text of ours, and of a version that is read here.
fn version(whole: &Value) -> Result<(), Error> {
    match whole.get("format").and_then(Value::as_str) {
        Some(FORMAT) => {}
        Some(other) => return Err(misfit("format", format!("is \"{other}\"; \"{FORMAT}\" is read"))),
        None if whole.get("class_name").is_some() => {
            let reason = "this is an architecture of Keras: Network::from_keras_json reads it";
            return Err(misfit("class_name", reason));
        }
        None => return Err(misfit("format", format!("is missing; it must be \"{FORMAT}\""))),
    }
    match whole.get("version").and_then(Value::as_u64) {
        Some(VERSION) => Ok(()),
        Some(other) => Err(misfit("version", format!("is {other}; this program reads {VERSION}"))),
        None => Err(misfit("version", format!("is missing or no number; this program reads {VERSION}"))),
    }
}

/// A part of the text as what it must be.
fn entry<T: DeserializeOwned>(value: Value, place: &str) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| misfit(place, error.to_string()))
}

fn definitions(layers: &[Value]) -> Result<HashMap<String, Definition>, Error> {
    let mut definitions = HashMap::new();
    for (at, value) in layers.iter().enumerate() {
        let place = format!("layers[{at}]");
        check_numbers(value, &place)?;
        let LayerEntry { name, trainable, options } = entry::<LayerEntry<Value>>(value.clone(), &place)?;
        let place = format!("{place} \"{name}\"");
        let kind: Kind = entry(options.clone(), &place)?;
        let known = serde_json::to_value(&kind).map_err(|error| misfit(&place, error.to_string()))?;
        if let Some(option) = unread(&options, &known) {
            return Err(misfit(place, format!("has an option \"{option}\" that is not known")));
        }
        let definition = Definition { id: unique(), name: Some(name.clone()), trainable, kind };
        if definitions.insert(name, definition).is_some() {
            return Err(misfit(place, "there is a layer of this name before it"));
        }
    }
    Ok(definitions)
}

/// A key of `given` that did not become part of `known`.
fn unread(given: &Value, known: &Value) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(key, value)| match known.get(key) {
            Some(known) => unread(value, known),
            None => Some(key.clone()),
        }),
        _ => None,
    }
}

fn unknown(place: &str, name: &str, definitions: &HashMap<String, Definition>) -> Error {
    let near = nearest(name, definitions.keys().map(String::as_str).take(64));
    let near = near.first().map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    misfit(place, format!("calls the layer \"{name}\", which is not among the layers{near}"))
}

/// Says where in the text a layer was called that does not take its operands.
pub(in crate::nn) fn at_place(error: Error, place: &str) -> Error {
    match error {
        Error::Layer { layer, operands, reason, .. } => {
            Error::Layer { site: place.to_string(), layer, operands, reason }
        }
        other => misfit(place, other.to_string()),
    }
}

/// Refuses whole numbers that are beyond any use, before memory depends on them. JSON is at most 128 values deep.
pub(in crate::nn) fn check_numbers(value: &Value, place: &str) -> Result<(), Error> {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|n| n > MOST) => {
            Err(misfit(place, format!("has the number {number}; at most {MOST} is read")))
        }
        Value::Array(items) => items.iter().try_for_each(|item| check_numbers(item, place)),
        // Keras's addresses of objects in memory are no sizes
        Value::Object(fields) => {
            let mut sizes = fields.iter().filter(|(key, _)| *key != "shared_object_id");
            sizes.try_for_each(|(_, field)| check_numbers(field, place))
        }
        _ => Ok(()),
    }
}

/// Refuses a tensor that is beyond any use.
pub(in crate::nn) fn check_size(symbol: &Symbol, place: &str) -> Result<(), Error> {
    let elements = symbol.shape().iter().fold(1usize, |n, &extent| n.saturating_mul(extent));
    if elements <= MOST_ELEMENTS {
        return Ok(());
    }
    Err(misfit(place, format!("makes {:?}, more than {MOST_ELEMENTS} elements a sample", symbol.shape())))
}
