//! LeNet-5 (LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition"), in the form of PyTorch's
//! tutorial "Neural Networks": ReLU and maximum pooling, every map connected with every one before.
//!
//! ```text
//!  images ─▶ conv 5×5 6 ─▶ relu ─▶ max 2×2 ─▶ conv 5×5 16 ─▶ relu ─▶ max 2×2 ─▶ 120 ─▶ relu ─▶ 84 ─▶ relu ─▶ logits
//!  32²       28²                   14²        10²                    5²
//! ```

use super::images;
use crate::error::Error;
use crate::module;
use crate::nn::{Conv2d, Form, Linear, MaxPool2d, Module, Network, Symbol};

/// LeNet-5 for grey images of 32 × 32 pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeNet5 {
    /// Classes to tell apart.
    pub classes: usize,
}

impl Default for LeNet5 {
    /// Ten digits.
    fn default() -> Self {
        LeNet5 { classes: 10 }
    }
}

module! {
    struct Layers {
        conv1: Conv2d,
        conv2: Conv2d,
        pool: MaxPool2d,
        fc1: Linear,
        fc2: Linear,
        fc3: Linear,
    }
}

impl Module for Layers {
    fn forward(&self, x: &Symbol) -> Result<Symbol, Error> {
        let x = self.pool.call(&self.conv1.call(x)?.relu()?)?;
        let x = self.pool.call(&self.conv2.call(&x)?.relu()?)?;
        let x = self.fc1.call(&x.flatten()?)?.relu()?;
        self.fc3.call(&self.fc2.call(&x)?.relu()?)
    }
}

impl LeNet5 {
    /// The network.
    ///
    /// # Errors
    /// [`Error::Option`] for fewer than two classes.
    pub fn network(&self) -> Result<Network, Error> {
        let images = images(Form::Torch, 32, 1, self.classes)?;
        let net = Layers {
            conv1: Conv2d::new(6, 5),
            conv2: Conv2d::new(16, 5),
            pool: MaxPool2d::new(2),
            fc1: Linear::new(120),
            fc2: Linear::new(84),
            fc3: Linear::new(self.classes),
        };
        Ok(Network::of(&net, images)?.named("lenet5"))
    }
}
