//! Whose conventions a network follows.

use serde::{Deserialize, Serialize};

use crate::ops::{BatchNorm, Init};

/// Which framework's conventions a network follows: shapes, names, defaults, initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// PyTorch: shapes have channels first; names are paths, `layer2.0.conv1.weight`; Kaiming uniform (a = √5);
    /// batch norm with epsilon 1e-5, momentum 0.1 of the new value and an unbiased running variance.
    Torch,
    /// Keras: shapes have channels last; layers of a kind are numbered, `conv2d_3/kernel`; Glorot uniform, biases 0;
    /// batch norm with epsilon 1e-3, momentum 0.99 of the old value and a biased running variance.
    Keras,
}

impl Form {
    /// The framework's name in lower case, as it stands in checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Form::Torch => "pytorch",
            Form::Keras => "keras",
        }
    }

    /// The full name of a layer's tensor: `bn.weight` or `batch_normalization/gamma`.
    pub(crate) fn path(self, layer: &str, name: &str) -> String {
        match self {
            Form::Torch => format!("{layer}.{name}"),
            Form::Keras => format!("{layer}/{name}"),
        }
    }

    /// One of two names, values or shapes.
    pub(crate) fn pick<T>(self, torch: T, keras: T) -> T {
        match self {
            Form::Torch => torch,
            Form::Keras => keras,
        }
    }

    pub(crate) fn norm(self) -> BatchNorm {
        match self {
            Form::Torch => BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true },
            Form::Keras => BatchNorm { epsilon: 1e-3, momentum: 0.01, unbiased: false },
        }
    }
    /// Names of a layer's weight and bias.
    pub(crate) fn weights(self) -> [&'static str; 2] {
        self.pick(["weight", "bias"], ["kernel", "bias"])
    }
    /// Names of a batch norm's scale, shift, running mean and running variance.
    pub(crate) fn norm_weights(self) -> [&'static str; 4] {
        self.pick(
            ["weight", "bias", "running_mean", "running_var"],
            ["gamma", "beta", "moving_mean", "moving_variance"],
        )
    }
    /// First values of a weight whose output sums `fans[0]` products and whose input goes into `fans[1]`.
    pub(crate) fn weight_init(self, fans: [usize; 2]) -> Init {
        match self {
            Form::Torch => Init::kaiming_uniform(fans[0]),
            Form::Keras => Init::glorot_uniform(fans[0], fans[1]),
        }
    }
    /// First values of the bias of such a layer.
    pub(crate) fn bias_init(self, fans: [usize; 2]) -> Init {
        match self {
            Form::Torch => Init::kaiming_uniform(fans[0]),
            Form::Keras => Init::ZEROS,
        }
    }
}
