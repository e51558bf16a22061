//! Networks as lists.

use std::sync::Arc;

use super::module::{Children, Module, Paths, join};
use super::symbol::Symbol;
use crate::error::Error;

/// Layers and modules, each called on what the one before made.
///
/// ```
/// use outrigger::nn::{Conv2d, Flatten, Input, Linear, Network, ReLU, Sequential};
///
/// let layers = Sequential::new().add(Conv2d::new(8, 3)).add(ReLU::new()).add(Flatten::new()).add(Linear::new(10));
/// let network = Network::of(&layers, Input::torch("images", [3, 8, 8]))?;
/// assert_eq!(network.outputs()[0].shape(), [10]);
/// # Ok::<(), outrigger::Error>(())
/// ```
///
/// Items are named by their places, `0.weight`, or as [`Sequential::named`] says.
#[derive(Clone, Default)]
pub struct Sequential {
    items: Vec<(String, Arc<dyn Module>)>,
}

impl Sequential {
    /// An empty list.
    pub fn new() -> Self {
        Sequential::default()
    }
    /// Appends a layer or a module.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "Keras's name for it")]
    pub fn add(self, item: impl Module + 'static) -> Self {
        let place = self.items.len().to_string();
        self.named(&place, item)
    }
    /// Appends a layer or a module under a name of its own.
    #[must_use]
    pub fn named(mut self, name: &str, item: impl Module + 'static) -> Self {
        self.items.push((name.to_string(), Arc::new(item)));
        self
    }
    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Children for Sequential {
    fn paths(&self, path: &str, paths: &mut Paths) {
        for (name, item) in &self.items {
            item.paths(&join(path, name), paths);
        }
    }
}

impl Module for Sequential {
    #[track_caller]
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        // a loop, since a closure would be the caller that errors name
        let mut x = x.clone();
        for (_, item) in &self.items {
            x = item.call(&x)?;
        }
        Ok(x)
    }
    /// A list is no module of its own in summaries.
    #[track_caller]
    fn call(&self, x: &Symbol) -> Result<Symbol, Error> {
        self.forward(x)
    }
}
