//! What lies between inputs and outputs: calls of layers in the order in which they were made, with names.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::panic::Location;

use super::builder::{Builder, Mode, Placed};
use super::form::Form;
use super::function::Function;
use super::layer::Definition;
use super::module::{Children, Module, Paths, join};
use super::names::{definition, fits, names};
use super::symbol::{Context, Input, Maker, Symbol, Symbols};
use crate::error::Error;
use crate::graph::{Graph, Value};

/// Name of the output that a training graph with regularised weights has besides the network's: what to add to the
/// loss.
pub const PENALTY: &str = "regularization";

/// The architecture of a network, without weights and without a batch size.
#[derive(Clone)]
pub struct Network {
    name: String,
    inputs: Vec<Symbol>,
    outputs: Vec<Symbol>,
    /// All calls from inputs to outputs, in the order in which they were made.
    calls: Vec<Symbol>,
    /// Names of layers.
    names: HashMap<u64, String>,
    /// Layers that training leaves alone, besides those that say so themselves.
    frozen: HashSet<u64>,
}

impl Network {
    /// The network that makes `outputs` of `inputs`.
    ///
    /// # Errors
    /// [`Error::Network`] when an output depends on an input that is not listed, or a listed one is none;
    /// [`Error::DuplicateName`] for two layers of one name.
    pub fn new(name: &str, inputs: impl Symbols, outputs: impl Symbols) -> Result<Network, Error> {
        let (inputs, outputs) = (inputs.symbols(), outputs.symbols());
        let refuse = |reason: String| Err(Error::Network { name: name.to_string(), reason });
        if outputs.is_empty() {
            return refuse("a network has at least one output".to_string());
        }
        let calls = calls(&outputs);
        let form = outputs[0].form();
        if let Some(other) = outputs.iter().chain(&inputs).find(|symbol| symbol.form() != form) {
            return refuse(format!("one network has one form, got {form:?} and {:?}", other.form()));
        }
        let listed: HashSet<u64> = inputs.iter().map(|input| input.0.order).collect();
        for input in &inputs {
            let Maker::Input(name) = &input.0.maker else {
                return refuse(format!("{input:?} is made by a layer; list what Input made"));
            };
            if !calls.iter().any(|call| call.0.order == input.0.order) {
                return refuse(format!("no output depends on the input \"{name}\""));
            }
        }
        for call in &calls {
            if let Maker::Input(name) = &call.0.maker
                && !listed.contains(&call.0.order)
            {
                return refuse(format!("an output depends on the input \"{name}\", which is not listed"));
            }
        }
        let names = names(&inputs, &calls, form)?;
        Ok(Network { name: name.to_string(), inputs, outputs, calls, names, frozen: HashSet::new() })
    }

    /// The network of a module for one input. The module's fields name the layers.
    ///
    /// # Errors
    /// Those of the module's forward pass and of [`Network::new`].
    pub fn of(module: &(impl Module + ?Sized), input: Symbol) -> Result<Network, Error> {
        let Maker::Input(name) = &input.0.maker else {
            let reason = format!("{input:?} is made by a layer; give what Input made");
            return Err(Error::Network { name: module.class(), reason });
        };
        let context = Context { form: input.form(), paths: Paths::of(module, "") };
        let input = Input::of(name, input.dtype(), input.shape().to_vec(), context);
        let output = module.forward(&input)?;
        Network::new(&module.class(), &input, &output)
    }

    /// Calls the network on other symbols, as one calls a layer: its outputs for these inputs, with its own weights.
    ///
    /// ```
    /// use outrigger::nn::{Concatenate, Input, Linear, Network};
    ///
    /// let x = Input::torch("x", [8]);
    /// let tower = Network::new("tower", &x, &Linear::new(4).call(&x)?)?;
    /// let (left, right) = (Input::torch("left", [8]), Input::torch("right", [8]));
    /// let both = [tower.apply(&left)?, tower.apply(&right)?].concat();
    /// let twins = Network::new("twins", [&left, &right], &Concatenate::new().call(&both)?)?;
    /// assert_eq!(twins.graph(2, outrigger::nn::Mode::Train)?.parameters().count(), 2);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Network`] for another number of inputs; [`Error::Layer`] when a layer does not take them.
    #[track_caller]
    pub fn apply(&self, inputs: impl Symbols) -> Result<Vec<Symbol>, Error> {
        let inputs = inputs.symbols();
        if inputs.len() != self.inputs.len() {
            let reason = format!("takes {} inputs, got {}", self.inputs.len(), inputs.len());
            return Err(Error::Network { name: self.name.clone(), reason });
        }
        let site = Location::caller();
        let given = self.inputs.iter().map(|input| input.0.order).zip(inputs);
        let mut made: HashMap<u64, Symbol> = given.collect();
        for call in &self.calls {
            let operands: Vec<Symbol> =
                call.0.operands.iter().filter_map(|operand| made.get(&operand.0.order).cloned()).collect();
            let symbol = match (&call.0.maker, operands.first()) {
                (Maker::Layer { definition, listed }, _) => {
                    Symbol::made_by(self.settled(definition), operands, *listed, site)?
                }
                (Maker::Module { .. }, Some(value)) => value.clone(),
                (Maker::Input(_) | Maker::Module { .. }, _) => continue,
            };
            made.insert(call.0.order, symbol);
        }
        Ok(self.outputs.iter().filter_map(|output| made.get(&output.0.order).cloned()).collect())
    }

    /// Gives the network another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Network {
        self.name = name.to_string();
        self
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Whose conventions it follows.
    pub fn form(&self) -> Form {
        self.outputs[0].form()
    }
    /// What is given at each run.
    pub fn inputs(&self) -> &[Symbol] {
        &self.inputs
    }
    /// What a run makes.
    pub fn outputs(&self) -> &[Symbol] {
        &self.outputs
    }
    /// Names of the inputs, in order.
    pub fn input_names(&self) -> Vec<&str> {
        self.inputs.iter().map(|input| self.name_of(input)).collect()
    }
    /// Names of the outputs, in order: each that of the layer that makes it.
    pub fn output_names(&self) -> Vec<&str> {
        self.outputs.iter().map(|output| self.name_of(output)).collect()
    }
    /// The symbol that a layer makes in its first call, to build on: `network.symbol("avg_pool")?`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest names.
    pub fn symbol(&self, layer: &str) -> Result<Symbol, Error> {
        let found = self.calls.iter().find(|call| self.name_of(call) == layer);
        found.cloned().ok_or_else(|| Error::UnknownName {
            what: "layer",
            name: layer.to_string(),
            near: crate::error::nearest(layer, self.calls.iter().map(|call| self.name_of(call))),
        })
    }

    /// Freezes the layers whose names `*` in `pattern` fits: training leaves them as they are. Returns how many.
    pub fn freeze(&mut self, pattern: &str) -> usize {
        let held = self.held(pattern);
        self.frozen.extend(&held);
        held.len()
    }
    /// Takes back [`Network::freeze`]. Returns how many layers are meant.
    pub fn unfreeze(&mut self, pattern: &str) -> usize {
        let held = self.held(pattern);
        self.frozen.retain(|id| !held.contains(id));
        held.len()
    }
    /// Freezes the layer of this name, whatever characters it has; whether there is one.
    pub(super) fn freeze_layer(&mut self, layer: &str) -> bool {
        let found = self.names.iter().find(|(_, name)| *name == layer).map(|(&id, _)| id);
        self.frozen.extend(found);
        found.is_some()
    }
    /// Names of the layers that are frozen, ascending.
    pub(super) fn frozen_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.frozen.iter().filter_map(|id| self.names.get(id)).cloned().collect();
        names.sort();
        names
    }
    fn held(&self, pattern: &str) -> Vec<u64> {
        self.names.iter().filter(|(_, name)| fits(pattern, name)).map(|(&id, _)| id).collect()
    }

    /// The forward pass for batches of `batch` samples: the network's inputs and outputs under their names, and in
    /// training with regularised weights the output [`PENALTY`]. Images lie channels last in memory, also where
    /// shapes have channels first.
    ///
    /// # Errors
    /// [`Error::Option`] for an empty batch; [`Error::DuplicateName`] for inputs or outputs of one name; those of the
    /// graph's methods, naming the layer.
    pub fn graph(&self, batch: usize, mode: Mode) -> Result<Graph, Error> {
        self.graph_with(batch, mode, mode == Mode::Train)
    }
    /// [`Network::graph`], with the output [`PENALTY`] if that is `penalised`, in whatever mode.
    pub(crate) fn graph_with(&self, batch: usize, mode: Mode, penalised: bool) -> Result<Graph, Error> {
        let purpose = if mode == Mode::Train { "train" } else { "eval" };
        let mut graph = Graph::new(format!("{}_{purpose}", self.name));
        let (outputs, penalty) = self.add_to(&mut graph, batch, mode, penalised)?;
        if let Some(penalty) = penalty {
            graph.set_output(PENALTY, penalty)?;
        }
        for (output, value) in self.outputs.iter().zip(outputs) {
            graph.set_output(self.name_of(output), value)?;
        }
        Ok(graph)
    }

    /// Adds the network to a graph: the values of its outputs, and what regularised weights add to the loss if that is
    /// `penalised`.
    ///
    /// # Errors
    /// Those of [`Network::graph`].
    pub(crate) fn add_to(
        &self,
        graph: &mut Graph,
        batch: usize,
        mode: Mode,
        penalised: bool,
    ) -> Result<(Vec<Value>, Option<Value>), Error> {
        if batch == 0 {
            let reason = "a batch holds at least one sample".to_string();
            return Err(Error::Option { option: "batch".to_string(), reason });
        }
        let mut builder = Builder::new(graph, self.form(), batch, mode);
        let mut values: HashMap<u64, Placed> = HashMap::new();
        for call in &self.calls {
            let operands: Vec<Placed> =
                call.0.operands.iter().filter_map(|operand| values.get(&operand.0.order).copied()).collect();
            let value = match &call.0.maker {
                Maker::Input(name) => builder.input(name, call)?,
                Maker::Layer { definition, .. } => {
                    builder.layer(&self.settled(definition), self.name_of(call), &operands)?
                }
                Maker::Module { .. } => match operands.first() {
                    Some(&value) => value,
                    None => continue,
                },
            };
            values.insert(call.0.order, value);
        }
        let penalty = if penalised { builder.penalty()? } else { None };
        let outputs = self.outputs.iter().filter_map(|output| values.get(&output.0.order));
        Ok((outputs.map(|placed| placed.value).collect(), penalty))
    }

    /// A layer with what [`Network::freeze`] said of it.
    fn settled(&self, definition: &Definition) -> Definition {
        let frozen = self.frozen.contains(&definition.id);
        Definition { trainable: definition.trainable && !frozen, ..definition.clone() }
    }

    /// Number of trained elements, as PyTorch's and Keras's summaries count them.
    ///
    /// # Errors
    /// Those of [`Network::graph`].
    pub fn parameter_count(&self) -> Result<usize, Error> {
        let graph = self.graph(1, Mode::Train)?;
        Ok(graph.parameters().filter_map(|id| graph.value_type(id.result(0))).map(|ty| ty.shape.elements()).sum())
    }
    /// Whether the first output is made by a softmax, and so holds probabilities.
    pub fn ends_in_softmax(&self) -> bool {
        definition(self.outputs[0].source()).is_some_and(|layer| layer.kind.function() == Some(Function::Softmax))
    }

    /// Name and class of each layer in the order of first calls, and the elements that its calls make of a sample.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&str, &'static str, usize)> {
        let mut layers: Vec<(&str, &'static str, usize)> = Vec::new();
        let mut places: HashMap<u64, usize> = HashMap::new();
        for call in &self.calls {
            let Some(layer) = definition(call) else { continue };
            let place = *places.entry(layer.id).or_insert(layers.len());
            if place == layers.len() {
                layers.push((self.name_of(call), layer.kind.class(self.form()), 0));
            }
            layers[place].2 += call.shape().iter().product::<usize>();
        }
        layers.into_iter()
    }

    /// The calls, for summaries and files.
    pub(crate) fn calls(&self) -> &[Symbol] {
        &self.calls
    }

    /// The name of what makes a symbol: an input's, a layer's, or that of a module's last layer.
    pub(crate) fn name_of<'a>(&'a self, call: &'a Symbol) -> &'a str {
        match &call.source().0.maker {
            Maker::Input(name) => name,
            Maker::Layer { definition, .. } => self.names.get(&definition.id).map_or("", String::as_str),
            Maker::Module { .. } => "",
        }
    }
}

/// Everything that `outputs` are made of, in the order of the calls.
fn calls(outputs: &[Symbol]) -> Vec<Symbol> {
    let mut found: HashMap<u64, Symbol> = HashMap::new();
    let mut open = outputs.to_vec();
    while let Some(symbol) = open.pop() {
        if found.insert(symbol.0.order, symbol.clone()).is_none() {
            open.extend(symbol.0.operands.iter().cloned());
        }
    }
    let mut calls: Vec<Symbol> = found.into_values().collect();
    calls.sort_by_key(|call| call.0.order);
    calls
}

impl Children for Network {
    fn paths(&self, path: &str, paths: &mut Paths) {
        self.names.iter().for_each(|(&id, name)| paths.insert(id, &join(path, name)));
    }
}

/// A network of one input and one output is a module of others: `network.call(&x)?`.
impl Module for Network {
    #[track_caller]
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        match &self.apply(x)?[..] {
            [output] => Ok(output.clone()),
            outputs => {
                let reason = format!("has {} outputs, a module one: use Network::apply", outputs.len());
                Err(Error::Network { name: self.name.clone(), reason })
            }
        }
    }
    fn class(&self) -> String {
        self.name.clone()
    }
}

impl fmt::Display for Network {
    /// A line a call: name, class, shape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for call in self.calls() {
            let class = match definition(call) {
                Some(definition) => definition.kind.class(self.form()),
                None => continue,
            };
            writeln!(f, "{} ({class}) {:?}", self.name_of(call), call.shape())?;
        }
        Ok(())
    }
}
