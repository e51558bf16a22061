//! What all layers have: an identity, a name, and whether they are trained.

use std::panic::Location;

use super::kind::Kind;
use super::module::{Children, Module, Paths};
use super::symbol::{Symbol, Symbols, unique};
use crate::error::Error;

/// A layer with the options `K`; each kind has its own constructors under its own name (`Conv2d`, `Linear`, …).
///
/// Calling a layer twice uses one set of weights twice. A clone is another layer, with weights of its own.
pub struct Layer<K> {
    id: u64,
    name: Option<String>,
    trainable: bool,
    pub(super) config: K,
}

/// A layer of any kind.
#[derive(Clone)]
pub(super) struct Definition {
    pub(super) id: u64,
    pub(super) name: Option<String>,
    pub(super) trainable: bool,
    pub(super) kind: Kind,
}

impl<K> Layer<K> {
    pub(super) fn of(config: K) -> Self {
        Layer { id: unique(), name: None, trainable: true, config }
    }

    /// Names the layer; its parameters are `name.weight` in PyTorch's form and `name/kernel` in Keras's. A layer
    /// without a name gets the path of its field or place in a module, or is numbered among those of its kind.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }
    /// Whether training changes the layer; default true. A frozen batch norm normalises with its running statistics
    /// and leaves them alone, and what lies only before frozen layers gets no backward pass.
    pub fn trainable(mut self, trainable: bool) -> Self {
        self.trainable = trainable;
        self
    }
}

impl<K: Clone + Into<Kind>> Layer<K> {
    /// What the layer makes of one symbol, or of several where it joins them: `layer.call(&x)?`,
    /// `Add::new().call([&a, &b])?`.
    ///
    /// # Errors
    /// [`Error::Layer`] with the place in the caller's source, the layer, the shapes, and what would fit.
    #[track_caller]
    pub fn call(&self, operands: impl Symbols) -> Result<Symbol, Error> {
        self.apply(operands.symbols(), true, Location::caller())
    }

    pub(super) fn apply(&self, operands: Vec<Symbol>, listed: bool, site: &Location<'_>) -> Result<Symbol, Error> {
        Symbol::made_by(self.definition(), operands, listed, site)
    }

    pub(super) fn definition(&self) -> Definition {
        let kind = self.config.clone().into();
        Definition { id: self.id, name: self.name.clone(), trainable: self.trainable, kind }
    }
}

impl<K: Clone> Clone for Layer<K> {
    fn clone(&self) -> Self {
        let (name, config) = (self.name.clone(), self.config.clone());
        Layer { id: unique(), name, trainable: self.trainable, config }
    }
}

impl<K> Children for Layer<K> {
    fn paths(&self, path: &str, paths: &mut Paths) {
        paths.insert(self.id, path);
    }
}

impl<K: Clone + Into<Kind> + Send + Sync + 'static> Module for Layer<K> {
    #[track_caller]
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        Layer::call(self, x)
    }
    #[track_caller]
    fn call(&self, x: &Symbol) -> Result<Symbol, Error> {
        Layer::call(self, x)
    }
}

/// Layers without options.
macro_rules! plain_layers {
    ($($(#[$doc:meta])* $name:ident($config:ident);)*) => {
        $(
            #[doc = concat!("Options of [`", stringify!($name), "`]: none.")]
            #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
            pub struct $config {}

            $(#[$doc])*
            pub type $name = $crate::nn::Layer<$config>;

            impl $name {
                /// The layer; it has no options.
                pub fn new() -> Self {
                    $crate::nn::Layer::of($config {})
                }
            }
            impl Default for $name {
                fn default() -> Self {
                    $name::new()
                }
            }
        )*
    };
}
pub(super) use plain_layers;
