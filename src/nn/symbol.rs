//! Symbolic tensors: what a layer will make, known by its shape before there is any number.
//!
//! ```text
//!   Input ──▶ Symbol ◀─ operand ─ Call { layer } ──▶ Symbol ◀─ operand ─ Call …
//! ```
//!
//! A symbol is an immutable node that shares the nodes before it, so that there is nothing to register a layer with.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::activation::ReLU;
use super::builder::{Builder, Mode};
use super::form::Form;
use super::layer::Definition;
use super::merge::{Add, Multiply};
use super::module::{Paths, join};
use super::names::snake;
use super::shape::Flatten;
use crate::error::Error;
use crate::graph::Graph;
use crate::types::DType;

/// A tensor of a network that is being described.
#[derive(Clone)]
pub struct Symbol(pub(super) Arc<Call>);

/// How a symbol is made.
#[derive(Clone)]
pub(super) struct Call {
    /// Calls are numbered as they are made: the order of layers in a network.
    pub(super) order: u64,
    pub(super) maker: Maker,
    pub(super) operands: Vec<Symbol>,
    /// Without the batch, as the user's framework writes it.
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
    /// Whether the tensor has channels last in memory though its shape has them first.
    pub(super) channels_first: bool,
    pub(super) context: Arc<Context>,
}

/// What makes a symbol.
#[derive(Clone)]
pub(super) enum Maker {
    /// It is given at each run.
    Input(String),
    /// A layer; `listed` where PyTorch would see a module in it and not a function.
    Layer { definition: Definition, listed: bool },
    /// The end of a module's forward pass: its operand is its value.
    Module { class: String, paths: Paths },
}

impl Drop for Call {
    /// One symbol after the other: a network of ten thousand layers would be as many calls deep.
    fn drop(&mut self) {
        let mut open = std::mem::take(&mut self.operands);
        while let Some(symbol) = open.pop() {
            if let Some(mut call) = Arc::into_inner(symbol.0) {
                open.append(&mut call.operands);
            }
        }
    }
}

/// What the symbols of one module's forward pass share.
pub(super) struct Context {
    pub(super) form: Form,
    /// Paths of layers: of the module that the network is made of, and of one that is being called.
    pub(super) paths: Paths,
}

/// A number that no other call or layer has.
pub(super) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Makes the symbols that a network starts from.
///
/// ```
/// use outrigger::nn::Input;
///
/// assert_eq!(Input::torch("images", [3, 32, 32]).shape(), [3, 32, 32]);
/// assert_eq!(Input::keras("images", [32, 32, 3]).shape(), [32, 32, 3]);
/// ```
pub struct Input;

impl Input {
    /// A float tensor of `shape`, without the batch, in a network of PyTorch's form: `[channels, height, width]` for
    /// images.
    pub fn torch(name: &str, shape: impl Into<Vec<usize>>) -> Symbol {
        Input::typed(Form::Torch, name, DType::F32, shape)
    }
    /// A float tensor of `shape`, without the batch, in a network of Keras's form: `[height, width, channels]` for
    /// images.
    pub fn keras(name: &str, shape: impl Into<Vec<usize>>) -> Symbol {
        Input::typed(Form::Keras, name, DType::F32, shape)
    }
    /// A tensor of any type: `i32` for what an embedding reads.
    pub fn typed(form: Form, name: &str, dtype: DType, shape: impl Into<Vec<usize>>) -> Symbol {
        Input::of(name, dtype, shape.into(), Context { form, paths: Paths::default() })
    }

    pub(super) fn of(name: &str, dtype: DType, shape: Vec<usize>, context: Context) -> Symbol {
        // images lie channels last in memory, as data sets make them
        let channels_first = context.form == Form::Torch && shape.len() == 3;
        Symbol(Arc::new(Call {
            order: unique(),
            maker: Maker::Input(name.to_string()),
            operands: Vec::new(),
            shape,
            dtype,
            channels_first,
            context: Arc::new(context),
        }))
    }
}

impl Symbol {
    /// Extents without the batch: `[channels, height, width]` in PyTorch's form, `[height, width, channels]` in
    /// Keras's.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    /// Whether the tensor lies channels last in memory though its shape has channels first.
    pub(crate) fn channels_last_in_memory(&self) -> bool {
        self.0.channels_first
    }
    /// Whose conventions the network follows.
    pub fn form(&self) -> Form {
        self.0.context.form
    }

    /// What makes it: a module's result is made by the last layer in the module.
    pub(super) fn source(&self) -> &Symbol {
        let mut symbol = self;
        while let (Maker::Module { .. }, Some(inner)) = (&symbol.0.maker, symbol.0.operands.first()) {
            symbol = inner;
        }
        symbol
    }

    /// The sum of two tensors, which broadcast.
    ///
    /// # Errors
    /// [`Error::Layer`].
    #[track_caller]
    pub fn add(&self, other: &Symbol) -> Result<Symbol, Error> {
        Add::new().apply(vec![self.clone(), other.clone()], false, Location::caller())
    }
    /// The product of two tensors, which broadcast.
    ///
    /// # Errors
    /// [`Error::Layer`].
    #[track_caller]
    pub fn mul(&self, other: &Symbol) -> Result<Symbol, Error> {
        Multiply::new().apply(vec![self.clone(), other.clone()], false, Location::caller())
    }
    /// `max(x, 0)`.
    ///
    /// # Errors
    /// [`Error::Layer`].
    #[track_caller]
    pub fn relu(&self) -> Result<Symbol, Error> {
        ReLU::new().apply(vec![self.clone()], false, Location::caller())
    }
    /// One row a sample, as [`Flatten`].
    ///
    /// # Errors
    /// [`Error::Layer`].
    #[track_caller]
    pub fn flatten(&self) -> Result<Symbol, Error> {
        Flatten::new().apply(vec![self.clone()], false, Location::caller())
    }

    /// What `definition` makes of `operands`.
    ///
    /// The rules for shapes are the graph's own: the layer is built once on a graph of its own, for a batch of one.
    pub(super) fn made_by(
        definition: Definition,
        operands: Vec<Symbol>,
        listed: bool,
        site: &Location<'_>,
    ) -> Result<Symbol, Error> {
        let context = match operands.first() {
            Some(first) => first.0.context.clone(),
            None => Arc::new(Context { form: Form::Torch, paths: Paths::default() }),
        };
        let named = definition.name.as_deref().or(context.paths.get(definition.id));
        let layer = named.map_or_else(|| definition.kind.class(context.form).to_string(), str::to_string);
        let refuse = |reason: String| Error::Layer {
            site: site.to_string(),
            layer: layer.clone(),
            operands: operands.iter().map(|s| format!("{:?}", s.shape())).collect::<Vec<_>>().join(", "),
            reason,
        };
        if operands.iter().any(|operand| operand.form() != context.form) {
            return Err(refuse("one network has one form: all inputs must be PyTorch's, or all Keras's".to_string()));
        }
        let mut graph = Graph::new("");
        let mut builder = Builder::new(&mut graph, context.form, 1, Mode::Evaluate);
        let built = builder.inputs(&operands).and_then(|values| builder.layer(&definition, "layer", &values));
        let placed = built.map_err(|error| match error {
            Error::Operands { reason, .. } | Error::Layer { reason, .. } => refuse(reason),
            other => refuse(other.to_string()),
        })?;
        let (shape, dtype) = builder.declared(&placed)?;
        let (order, channels_first) = (unique(), placed.channels_first);
        let maker = Maker::Layer { definition, listed };
        Ok(Symbol(Arc::new(Call { order, maker, operands, shape, dtype, channels_first, context })))
    }

    /// The same symbol for the forward pass of a module, so that errors in it name layers by the module's `paths`.
    pub(super) fn inside(&self, class: &str, paths: &Paths) -> Symbol {
        let known = &self.0.context.paths;
        if paths.iter().all(|(id, _)| known.get(id).is_some()) {
            return self.clone();
        }
        let mut all = known.clone();
        paths.iter().for_each(|(id, path)| all.insert(id, &join(&snake(class), path)));
        let mut call = (*self.0).clone();
        call.context = Arc::new(Context { form: self.form(), paths: all });
        Symbol(Arc::new(call))
    }
    /// The symbol that the forward pass of a module of `class` has made, outside of it again: behind `outside`.
    pub(super) fn of_module(self, class: String, paths: Paths, outside: &Symbol) -> Symbol {
        let Call { shape, dtype, channels_first, .. } = &*self.0;
        Symbol(Arc::new(Call {
            order: unique(),
            maker: Maker::Module { class, paths },
            shape: shape.clone(),
            dtype: *dtype,
            channels_first: *channels_first,
            context: outside.0.context.clone(),
            operands: vec![self],
        }))
    }
}

impl std::fmt::Debug for Symbol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Symbol({}{:?})", self.dtype(), self.shape())
    }
}

/// One symbol or several: `&x`, `[&a, &b]`, `&symbols[..]`, `&vec`.
pub trait Symbols {
    /// The symbols.
    fn symbols(&self) -> Vec<Symbol>;
}

impl Symbols for &Symbol {
    fn symbols(&self) -> Vec<Symbol> {
        vec![(*self).clone()]
    }
}
impl<const N: usize> Symbols for [&Symbol; N] {
    fn symbols(&self) -> Vec<Symbol> {
        self.iter().map(|&symbol| symbol.clone()).collect()
    }
}
impl Symbols for &[Symbol] {
    fn symbols(&self) -> Vec<Symbol> {
        self.to_vec()
    }
}
impl Symbols for &Vec<Symbol> {
    fn symbols(&self) -> Vec<Symbol> {
        self.to_vec()
    }
}
