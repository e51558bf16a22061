//! A multilayer perceptron, that of PyTorch's tutorial "Quickstart".
//!
//! ```text
//!  images 28² ─▶ flatten ─▶ linear 512 ─▶ relu ─▶ linear 512 ─▶ relu ─▶ linear ─▶ logits
//! ```

use super::images;
use crate::error::Error;
use crate::nn::{Flatten, Form, Linear, Network, ReLU, Sequential};

/// Two hidden layers over grey images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mlp {
    /// Classes to tell apart.
    pub classes: usize,
    /// Rows and columns of an image.
    pub size: usize,
    /// Features of each hidden layer.
    pub hidden: usize,
}

impl Default for Mlp {
    /// 512 features, ten classes of 28 × 28 pixels.
    fn default() -> Self {
        Mlp { classes: 10, size: 28, hidden: 512 }
    }
}

impl Mlp {
    /// The network.
    ///
    /// # Errors
    /// [`Error::Option`] for fewer than two classes; [`Error::Layer`] for images or layers of nothing.
    pub fn network(&self) -> Result<Network, Error> {
        let images = images(Form::Torch, self.size, 1, self.classes)?;
        let stack = Sequential::new()
            .add(Linear::new(self.hidden))
            .add(ReLU::new())
            .add(Linear::new(self.hidden))
            .add(ReLU::new())
            .add(Linear::new(self.classes));
        let net = Sequential::new().named("flatten", Flatten::new()).named("linear_relu_stack", stack);
        Ok(Network::of(&net, images)?.named("mlp"))
    }
}
