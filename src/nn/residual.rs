//! Shortcuts in lists.
//!
//! ```text
//!   x ─┬─ body ─────────────────┬─ add ─ then ─▶
//!      └─ x, or its downsample ─┘
//! ```

use std::sync::Arc;

use super::form::Form;
use super::module::{Children, Module, Paths, join};
use super::symbol::Symbol;
use crate::error::Error;

/// What a body makes of a tensor, plus the tensor (He et al. 2016): the block that a [`Sequential`](super::Sequential)
/// needs for a residual network.
///
/// ```
/// use outrigger::nn::{BatchNorm2d, Conv2d, Input, Mode, Network, ReLU, Residual, Sequential};
///
/// let body = Sequential::new().named("conv1", Conv2d::new(32, 3).stride(2).padding(1)).named("bn1", BatchNorm2d::new());
/// let shortcut = Sequential::new().add(Conv2d::new(32, 1).stride(2)).add(BatchNorm2d::new());
/// let block = Residual::new(body).downsample(shortcut).then(ReLU::new());
/// let network = Network::of(&Sequential::new().named("layer2", block), Input::torch("images", [16, 8, 8]))?;
/// assert_eq!(network.outputs()[0].shape(), [32, 4, 4]);
/// let graph = network.graph(1, Mode::Evaluate)?;
/// assert!(graph.source("layer2.conv1.weight").is_ok() && graph.source("layer2.downsample.0.weight").is_ok());
/// # Ok::<(), outrigger::Error>(())
/// ```
///
/// Layers of the body are named as if they stood in the block itself, those of the shortcut behind `downsample`, and
/// what comes after the sum is `then`.
#[derive(Clone)]
pub struct Residual {
    body: Arc<dyn Module>,
    downsample: Option<Arc<dyn Module>>,
    then: Option<Arc<dyn Module>>,
}

impl Residual {
    /// `body(x) + x`.
    pub fn new(body: impl Module + 'static) -> Self {
        Residual { body: Arc::new(body), downsample: None, then: None }
    }
    /// What is added instead of `x`, where the body changes the shape.
    #[must_use]
    pub fn downsample(mut self, shortcut: impl Module + 'static) -> Self {
        self.downsample = Some(Arc::new(shortcut));
        self
    }
    /// What becomes of the sum.
    #[must_use]
    pub fn then(mut self, item: impl Module + 'static) -> Self {
        self.then = Some(Arc::new(item));
        self
    }
}

impl Children for Residual {
    fn paths(&self, path: &str, paths: &mut Paths) {
        self.body.paths(path, paths);
        self.downsample.paths(&join(path, "downsample"), paths);
        self.then.paths(&join(path, "then"), paths);
    }
}

impl Module for Residual {
    #[track_caller]
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let y = self.body.call(x)?;
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.call(x)?,
            None => x.clone(),
        };
        let y = sum(&y, &shortcut)?;
        match &self.then {
            Some(then) => then.call(&y),
            None => Ok(y),
        }
    }
}

/// The sum as users of the two frameworks write it, `out += residual` and `add([residual, out])`. The order shows in
/// Keras's summary.
#[track_caller]
pub(crate) fn sum(body: &Symbol, shortcut: &Symbol) -> Result<Symbol, Error> {
    match body.form() {
        Form::Torch => body.add(shortcut),
        Form::Keras => shortcut.add(body),
    }
}
