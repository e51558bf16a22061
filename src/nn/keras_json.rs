//! Reading the architectures that Keras 3 writes: `model.to_json()`, and `config.json` in a `.keras` file.
//!
//! ```text
//!   { "class_name": "Functional", "config": { "name": …, "input_layers": …, "output_layers": …, "layers": [
//!       { "class_name": "Conv2D", "name": "conv2d", "config": {…}, "inbound_nodes": [ one for each call ] } ] } }
//!                     │                              │                    │
//!                     └────────── layers.rs ─────────┘                    └─ ["input_layer", 0, 0]: layer, call, output
//!                                options.rs: options that were not looked at are refused
//! ```
//!
//! What a layer of ours cannot do as Keras does it is an error that names the layer and the option, never left out.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::Location;

use serde_json::{Map, Value};

use super::form::Form;
use super::layer::Definition;
use super::module::Paths;
use super::network::Network;
use super::schema::{at_place, check_numbers, check_size, misfit};
use super::symbol::{Context, Input, Symbol, unique};
use crate::error::Error;
use crate::types::DType;

mod initializers;
mod layers;
mod options;

use layers::kind;
use options::Options;

impl Network {
    /// The network of an architecture that Keras 3 wrote: the text of `model.to_json()`, or `config.json` out of a
    /// `.keras` file. Functional and sequential models of the layers that there are here, and of such models; layers keep
    /// their names, so that weights fit by name. Data types are ignored, since all is computed in f32, and so is how the model was
    /// compiled.
    ///
    /// ```
    /// use outrigger::nn::Network;
    ///
    /// let text = r#"{"class_name": "Sequential", "config": {"name": "small", "layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 8], "dtype": "float32"}},
    ///     {"class_name": "Dense", "config": {"name": "fc", "units": 3, "activation": "softmax"}}]}}"#;
    /// let network = Network::from_keras_json(text)?;
    /// assert_eq!((network.name(), network.outputs()[0].shape()), ("small", &[3][..]));
    ///
    /// let error = Network::from_keras_json(&text.replace("Dense", "EinsumDense")).err().unwrap();
    /// assert!(error.to_string().contains("\"fc\"") && error.to_string().contains("EinsumDense"));
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Architecture`] naming the layer, for classes and options that are not supported here, and for what is no
    /// architecture of Keras 3; [`Error::Layer`] for shapes that do not fit; those of [`Network::new`].
    pub fn from_keras_json(text: &str) -> Result<Network, Error> {
        let whole: Value =
            serde_json::from_str(text).map_err(|error| misfit("architecture", format!("no JSON: {error}")))?;
        let config = object(&whole, "config", "architecture")?;
        match whole.get("class_name").and_then(Value::as_str) {
            Some(class) if is_model(class) => {
                // a model that is called twice by one that is called twice, and so on, is short to write
                let within = Within { prefix: String::new(), left: &Cell::new(text.len()) };
                model(class, config, &within)
            }
            Some(other) => Err(misfit("class_name", format!("is \"{other}\"; Functional and Sequential are read"))),
            None => Err(misfit("class_name", "is missing: this is no architecture of Keras")),
        }
    }
}

fn is_model(class: &str) -> bool {
    matches!(class, "Functional" | "Model" | "Sequential")
}

/// Where a model is.
struct Within<'l> {
    /// What the names of its layers begin with.
    prefix: String,
    /// How many layers models may still call.
    left: &'l Cell<usize>,
}

fn model(class: &str, config: &Map<String, Value>, within: &Within<'_>) -> Result<Network, Error> {
    let name = config.get("name").and_then(Value::as_str).unwrap_or("model");
    if class == "Sequential" { sequential(name, config, within) } else { functional(name, config, within) }
}

fn object<'v>(value: &'v Value, key: &str, place: &str) -> Result<&'v Map<String, Value>, Error> {
    value.get(key).and_then(Value::as_object).ok_or_else(|| misfit(place, format!("has no object \"{key}\"")))
}
fn list<'v>(fields: &'v Map<String, Value>, key: &str, place: &str) -> Result<&'v [Value], Error> {
    let items = fields.get(key).and_then(Value::as_array);
    items.map(Vec::as_slice).ok_or_else(|| misfit(place, format!("has no list \"{key}\"")))
}

/// A layer of the text.
struct Entry<'v> {
    name: String,
    place: String,
    class: &'v str,
    config: &'v Map<String, Value>,
    value: &'v Value,
}

impl<'v> Entry<'v> {
    fn of(at: usize, value: &'v Value) -> Result<Entry<'v>, Error> {
        let place = format!("layers[{at}]");
        let class = value.get("class_name").and_then(Value::as_str);
        let class = class.ok_or_else(|| misfit(&place, "has no \"class_name\""))?;
        let config = object(value, "config", &place)?;
        let name = value.get("name").or_else(|| config.get("name")).and_then(Value::as_str);
        let name = name.ok_or_else(|| misfit(&place, "has no \"name\""))?.to_string();
        let place = format!("{place} \"{name}\" ({class})");
        check_numbers(value.get("config").unwrap_or(&Value::Null), &place)?;
        Ok(Entry { name, place, class, config, value })
    }

    fn input(&self) -> Result<Symbol, Error> {
        let shape = match self.config.get("batch_shape").or_else(|| self.config.get("batch_input_shape")) {
            Some(Value::Array(shape)) => shape.as_slice(),
            _ => return Err(misfit(&self.place, "has no list \"batch_shape\"")),
        };
        input(&self.name, shape, self.config.get("dtype"), &self.place)
    }
    /// The layer, or the model, whose layers have its name before their own, as in Keras's files of weights.
    fn part<'l>(&self, within: &Within<'l>) -> Result<Part<'l>, Error> {
        let options = Options::new(&self.place, self.config);
        let trainable = options.flag("trainable", true)?;
        let name = format!("{}{}", within.prefix, self.name);
        if is_model(self.class) {
            let inner = Within { prefix: format!("{name}/"), left: within.left };
            let network = model(self.class, self.config, &inner);
            let mut network = network.map_err(|error| at_place(error, &self.place))?;
            if !trainable {
                network.freeze("*");
            }
            return Ok(Part::Model(network, within.left));
        }
        let kind = kind(self.class, &options)?;
        options.finish()?;
        Ok(Part::Layer(Definition { id: unique(), name: Some(name), trainable, kind }))
    }
}

/// What is called in a model.
enum Part<'l> {
    Input,
    Layer(Definition),
    Model(Network, &'l Cell<usize>),
}

impl Part<'_> {
    fn call(&self, operands: Vec<Symbol>, place: &str) -> Result<Symbol, Error> {
        let made = match self {
            Part::Input => return Err(misfit(place, "is an input and is called")),
            Part::Layer(definition) => Symbol::made_by(definition.clone(), operands, true, Location::caller()),
            Part::Model(network, left) => {
                let rest = left.get().checked_sub(network.calls().len());
                left.set(rest.ok_or_else(|| misfit(place, "makes more calls of layers than its text has characters"))?);
                network.only_output(operands, Location::caller())
            }
        };
        let made = made.map_err(|error| at_place(error, place))?;
        check_size(&made, place)?;
        Ok(made)
    }
}

fn input(name: &str, shape: &[Value], dtype: Option<&Value>, place: &str) -> Result<Symbol, Error> {
    let extent = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let extents: Option<Vec<usize>> = shape.iter().skip(1).map(extent).collect();
    let extents = extents.ok_or_else(|| {
        let reason = format!("has the shape {}; all but the batch must be known", Value::from(shape.to_vec()));
        misfit(place, reason)
    })?;
    let dtype = match dtype.and_then(Value::as_str) {
        Some(name) if name.starts_with("int") => DType::I32,
        _ => DType::F32,
    };
    let symbol = Input::of(name, dtype, extents, Context { form: Form::Keras, paths: Paths::default() });
    check_size(&symbol, place)?;
    Ok(symbol)
}

/// Layers one after the other.
fn sequential(name: &str, config: &Map<String, Value>, within: &Within<'_>) -> Result<Network, Error> {
    let mut first: Option<Symbol> = None;
    let mut last: Option<Symbol> = None;
    for (at, value) in list(config, "layers", "config")?.iter().enumerate() {
        let entry = Entry::of(at, value)?;
        if entry.class == "InputLayer" {
            if last.is_some() {
                return Err(misfit(entry.place, "is an input behind other layers"));
            }
            last = Some(entry.input()?);
            first = last.clone();
            continue;
        }
        let operand = match last.take() {
            Some(operand) => operand,
            None => {
                let shape = config.get("build_input_shape").and_then(Value::as_array);
                let shape =
                    shape.ok_or_else(|| misfit("config", "has neither an InputLayer nor \"build_input_shape\""))?;
                input("input_layer", shape, None, "build_input_shape")?
            }
        };
        first.get_or_insert_with(|| operand.clone());
        last = Some(entry.part(within)?.call(vec![operand], &entry.place)?);
    }
    match (first, last) {
        (Some(first), Some(last)) => Network::new(name, &first, &last),
        _ => Err(misfit("layers", "are none")),
    }
}

/// A tensor by the layer that makes it and the number of the layer's call.
type Tensor = (String, usize);

/// A call in the text.
struct Call<'v> {
    entry: usize,
    operands: Vec<Tensor>,
    place: &'v str,
}

fn functional(name: &str, config: &Map<String, Value>, within: &Within<'_>) -> Result<Network, Error> {
    let values = list(config, "layers", "config")?;
    let entries = values.iter().enumerate().map(|(at, value)| Entry::of(at, value)).collect::<Result<Vec<_>, _>>()?;
    let mut calls: HashMap<Tensor, Call<'_>> = HashMap::new();
    let mut made: HashMap<Tensor, Symbol> = HashMap::new();
    let mut parts: Vec<Part<'_>> = Vec::with_capacity(entries.len());
    let mut seen = HashSet::new();
    for (at, entry) in entries.iter().enumerate() {
        if !seen.insert(&entry.name) {
            return Err(misfit(&entry.place, "there is a layer of this name before it"));
        }
        if entry.class == "InputLayer" {
            parts.push(Part::Input);
            made.insert((entry.name.clone(), 0), entry.input()?);
            continue;
        }
        parts.push(entry.part(within)?);
        for (number, node) in
            list(entry.value.as_object().unwrap_or(config), "inbound_nodes", &entry.place)?.iter().enumerate()
        {
            let operands = operands(node, &entry.place)?;
            calls.insert((entry.name.clone(), number), Call { entry: at, operands, place: &entry.place });
        }
    }
    let ends = |key: &str| tensors(config.get(key).unwrap_or(&Value::Null), key);
    let (inputs, outputs) = (ends("input_layers")?, ends("output_layers")?);
    for output in &outputs {
        make(output, &calls, &parts, &mut made)?;
    }
    let found = |what: &str, all: &[Tensor]| -> Result<Vec<Symbol>, Error> {
        let one = |tensor: &Tensor| made.get(tensor).cloned().ok_or_else(|| misfit(what, absent(tensor)));
        all.iter().map(one).collect()
    };
    let (inputs, outputs) = (found("input_layers", &inputs)?, found("output_layers", &outputs)?);
    Network::new(name, &inputs, &outputs)
}

fn absent((layer, number): &Tensor) -> String {
    format!("names call {number} of the layer \"{layer}\", which is not there")
}

/// Makes a tensor and all before it. Of several operands the last comes first: in `add([shortcut, body])` the body is
/// what people write first.
fn make(
    output: &Tensor,
    calls: &HashMap<Tensor, Call<'_>>,
    parts: &[Part<'_>],
    made: &mut HashMap<Tensor, Symbol>,
) -> Result<(), Error> {
    let mut open = vec![output.clone()];
    let mut begun: HashSet<Tensor> = HashSet::new();
    while let Some(tensor) = open.last().cloned() {
        if made.contains_key(&tensor) {
            open.pop();
            continue;
        }
        let call = calls.get(&tensor).ok_or_else(|| misfit("inbound_nodes", absent(&tensor)))?;
        let missing = call.operands.iter().filter(|&operand| !made.contains_key(operand));
        let missing: Vec<Tensor> = missing.cloned().collect();
        if missing.is_empty() {
            let operands = call.operands.iter().filter_map(|operand| made.get(operand).cloned()).collect();
            let symbol = parts.get(call.entry).unwrap_or(&Part::Input).call(operands, call.place)?;
            made.insert(tensor, symbol);
            open.pop();
        } else if begun.insert(tensor) {
            open.extend(missing);
        } else {
            return Err(misfit(call.place, "depends on itself"));
        }
    }
    Ok(())
}

/// What a call reads: `{"args": [tensor]}`, or `{"args": [[tensor, tensor]]}` where it joins them.
fn operands(node: &Value, place: &str) -> Result<Vec<Tensor>, Error> {
    let Some(args) = node.get("args").and_then(Value::as_array) else {
        return Err(misfit(place, "has a call without \"args\", as Keras 2 writes it; Keras 3's are read"));
    };
    let mut tensors = Vec::new();
    for arg in args {
        match arg {
            Value::Array(items) => tensors.extend(items),
            other => tensors.push(other),
        }
    }
    let operands: Vec<Tensor> = tensors
        .into_iter()
        .map(|tensor| {
            let history = tensor.get("config").and_then(|config| config.get("keras_history"));
            history.and_then(tensor_of).ok_or_else(|| misfit(place, "is called on what is no tensor of a layer"))
        })
        .collect::<Result<_, _>>()?;
    if operands.is_empty() {
        return Err(misfit(place, "is called on nothing"));
    }
    Ok(operands)
}

/// `["conv2d", 0, 0]`: layer, call, output.
fn tensor_of(history: &Value) -> Option<Tensor> {
    match history.as_array()?.as_slice() {
        [layer, number, output] if output.as_u64() == Some(0) => {
            Some((layer.as_str()?.to_string(), usize::try_from(number.as_u64()?).ok()?))
        }
        _ => None,
    }
}

/// One tensor, or a list of them.
fn tensors(value: &Value, place: &str) -> Result<Vec<Tensor>, Error> {
    if let Some(tensor) = tensor_of(value) {
        return Ok(vec![tensor]);
    }
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let all: Option<Vec<Tensor>> = items.iter().map(tensor_of).collect();
    all.filter(|all| !all.is_empty()).ok_or_else(|| misfit(place, "must be [layer, call, output], or a list of these"))
}
