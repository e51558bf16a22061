//! Networks as structs: PyTorch's way.
//!
//! ```text
//!   struct Block { conv1, bn1, downsample: Option<…> }      names of fields ─▶ Children::paths
//!   impl Module for Block { fn forward(&self, x) … }        what becomes of a tensor
//!   "layer2.0.downsample.0.weight"                          fields, places in lists, the layer's own tensor
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::symbol::Symbol;
use crate::error::Error;

/// Names of layers, by the path of fields that leads to them.
#[derive(Clone, Debug, Default)]
pub struct Paths(HashMap<u64, String>);

impl Paths {
    /// The paths of all layers in `children`, those of `path`.
    pub(super) fn of(children: &(impl Children + ?Sized), path: &str) -> Paths {
        let mut paths = Paths::default();
        children.paths(path, &mut paths);
        paths
    }
    /// The first path of a layer counts, where it is reached by several.
    pub(super) fn insert(&mut self, id: u64, path: &str) {
        self.0.entry(id).or_insert_with(|| path.to_string());
    }
    pub(super) fn get(&self, id: u64) -> Option<&str> {
        self.0.get(&id).map(String::as_str)
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &str)> {
        self.0.iter().map(|(&id, path)| (id, path.as_str()))
    }
}

/// Tells the layers of a value their names. [`module!`](crate::module) implements it for a struct, by its fields;
/// lists name their items by number, and numbers, texts and options without a value have no layers.
pub trait Children {
    /// Enters every layer under `path`.
    fn paths(&self, path: &str, paths: &mut Paths);
}

impl<T: Children> Children for Vec<T> {
    fn paths(&self, path: &str, paths: &mut Paths) {
        for (i, child) in self.iter().enumerate() {
            child.paths(&join(path, &i.to_string()), paths);
        }
    }
}
impl<T: Children, const N: usize> Children for [T; N] {
    fn paths(&self, path: &str, paths: &mut Paths) {
        for (i, child) in self.iter().enumerate() {
            child.paths(&join(path, &i.to_string()), paths);
        }
    }
}
impl<T: Children> Children for Option<T> {
    fn paths(&self, path: &str, paths: &mut Paths) {
        if let Some(child) = self {
            child.paths(path, paths);
        }
    }
}
impl<T: Children + ?Sized> Children for Box<T> {
    fn paths(&self, path: &str, paths: &mut Paths) {
        (**self).paths(path, paths);
    }
}
impl<T: Children + ?Sized> Children for Arc<T> {
    fn paths(&self, path: &str, paths: &mut Paths) {
        (**self).paths(path, paths);
    }
}

impl<A: Children, B: Children> Children for (A, B) {
    fn paths(&self, path: &str, paths: &mut Paths) {
        self.0.paths(&join(path, "0"), paths);
        self.1.paths(&join(path, "1"), paths);
    }
}

macro_rules! childless {
    ($($ty:ty)*) => {
        $(impl Children for $ty {
            fn paths(&self, _: &str, _: &mut Paths) {}
        })*
    };
}

childless! { () bool char f32 f64 i32 i64 u32 u64 usize String &'static str }

/// `child` behind `path`.
#[doc(hidden)]
pub fn join(path: &str, child: &str) -> String {
    if path.is_empty() { child.to_string() } else { format!("{path}.{child}") }
}

/// Part of a network: what [`Module::forward`] makes of a tensor, with layers that it holds.
///
/// ```
/// use outrigger::module;
/// use outrigger::nn::{Conv2d, Input, Module, Network, ReLU, Symbol};
///
/// module! {
///     /// Two convolutions around a shortcut.
///     struct Block { conv1: Conv2d, relu: ReLU, conv2: Conv2d }
/// }
///
/// impl Module for Block {
///     fn forward(&self, x: &Symbol) -> Result<Symbol, outrigger::Error> {
///         let y = self.relu.call(&self.conv1.call(x)?)?;
///         self.conv2.call(&y)?.add(x)
///     }
/// }
///
/// let conv = || Conv2d::new(8, 3).padding(1);
/// let block = Block { conv1: conv(), relu: ReLU::new(), conv2: conv() };
/// let network = Network::of(&block, Input::torch("images", [8, 4, 4]))?;
/// assert!(network.graph(1, outrigger::nn::Mode::Evaluate)?.source("conv2.weight").is_ok());
/// # Ok::<(), outrigger::Error>(())
/// ```
pub trait Module: Children + Send + Sync {
    /// What the module makes of `x`. Call it through [`Module::call`], which also tells the network about it.
    ///
    /// # Errors
    /// Those of the layers.
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error>;

    /// Makes a symbol and notes that it is this module's result.
    ///
    /// # Errors
    /// Those of [`Module::forward`].
    #[track_caller]
    fn call(&self, x: &Symbol) -> Result<Symbol, Error> {
        let mut paths = Paths::default();
        self.paths("", &mut paths);
        let class = self.class();
        Ok(self.forward(&x.inside(&class, &paths))?.of_module(class, paths, x))
    }

    /// The module's name in summaries; by default its type's.
    fn class(&self) -> String {
        let full = std::any::type_name::<Self>();
        let outer = full.split('<').next().unwrap_or(full);
        outer.rsplit("::").next().unwrap_or(outer).to_string()
    }
}

impl<T: Module + ?Sized> Module for Box<T> {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        (**self).forward(x)
    }
    #[track_caller]
    fn call(&self, x: &Symbol) -> Result<Symbol, Error> {
        (**self).call(x)
    }
    fn class(&self) -> String {
        (**self).class()
    }
}
impl<T: Module + ?Sized> Module for Arc<T> {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        (**self).forward(x)
    }
    #[track_caller]
    fn call(&self, x: &Symbol) -> Result<Symbol, Error> {
        (**self).call(x)
    }
    fn class(&self) -> String {
        (**self).class()
    }
}

/// Defines a struct whose layers are named by its fields: the struct as it is written, and its
/// [`Children`](crate::nn::Children). See [`Module`](crate::nn::Module) for an example.
#[macro_export]
macro_rules! module {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $ty:ty),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $ty,)*
        }

        impl $crate::nn::Children for $name {
            fn paths(&self, path: &str, paths: &mut $crate::nn::Paths) {
                $($crate::nn::Children::paths(&self.$field, &$crate::nn::join(path, stringify!($field)), paths);)*
            }
        }
    };
}
