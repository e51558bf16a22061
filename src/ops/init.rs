//! First values of state: what is stored in a graph, and the initialisers of PyTorch and Keras, which become it once a
//! layer knows its extents.
//!
//! ```text
//!  Initializer::he_normal() ──resolve(fan_in, fan_out)──▶ Init::TruncatedNormal { .. } ──seed, name──▶ numbers
//!       in a layer                                            in the graph                  in a store
//! ```
//!
//! | PyTorch (`torch.nn.init`) | here | Keras | here |
//! |---|---|---|---|
//! | `zeros_`, `ones_`, `constant_` | `zeros`, `ones`, `constant` | `Zeros`, `Ones`, `Constant` | the same |
//! | `uniform_(a, b)` | `uniform` | `RandomUniform` | `uniform` |
//! | `normal_(mean, std)` | `normal` | `RandomNormal` | `normal` |
//! | `trunc_normal_(mean, std, a, b)` | `trunc_normal` | `TruncatedNormal(mean, stddev)` | `truncated_normal` |
//! | `xavier_uniform_(gain)` | `xavier_uniform` | `GlorotUniform` | `glorot_uniform` |
//! | `xavier_normal_(gain)` | `xavier_normal` | `GlorotNormal` (truncated) | `glorot_normal` |
//! | `kaiming_uniform_` | `kaiming_uniform` | `HeUniform`, `LecunUniform` | `he_uniform`, `lecun_uniform` |
//! | `kaiming_normal_` | `kaiming_normal` | `HeNormal`, `LecunNormal` (truncated) | `he_normal`, `lecun_normal` |
//! | | | `VarianceScaling` | `variance_scaling` |
//! | `orthogonal_(gain)` | `orthogonal` | `Orthogonal(gain)` | `orthogonal` |
//! | `eye_` | `identity(1.0)` | `Identity(gain)` | `identity` |
//!
//! `fan_in` is the number of products that one output sums (kernel pixels times input channels of a group), `fan_out`
//! the same for the gradient (kernel pixels times output channels).

use serde::{Deserialize, Serialize};

/// How a state tensor gets its first value. Random ones depend on the seed and the tensor's name
/// only, so adding a layer does not change the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Uniform in `[-bound, bound)`.
    Uniform(f32),
    /// Uniform in `[low, high)`.
    UniformBetween {
        /// The least number.
        low: f32,
        /// Above the largest number.
        high: f32,
    },
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Normal, drawn again where a number is outside of `[low, high]`.
    TruncatedNormal {
        /// Mean before numbers are left out.
        mean: f32,
        /// Standard deviation before numbers are left out.
        std: f32,
        /// The least number; may be -∞.
        low: f32,
        /// The largest number; may be ∞.
        high: f32,
    },
    /// A matrix with orthonormal columns (rows, if it is wider than high) times this gain, evenly distributed over all
    /// of these (Saxe et al. 2014). A tensor counts as a matrix with its last axis as columns.
    Orthogonal(f32),
    /// A matrix with this number on its diagonal, else 0.
    Identity(f32),
}

impl Init {
    /// All zeros.
    pub const ZEROS: Init = Init::Constant(0.0);
    /// All ones.
    pub const ONES: Init = Init::Constant(1.0);

    /// PyTorch's default for convolutions and linear layers: Kaiming uniform with `a = √5`, which
    /// is `1/√fan_in` (`torch.nn.init.kaiming_uniform_`). `fan_in` is the number of products summed per output.
    pub fn kaiming_uniform(fan_in: usize) -> Init {
        Initializer::kaiming_uniform(FanMode::FanIn, Nonlinearity::LeakyRelu(5f64.sqrt())).resolve(fan_in, 0)
    }
    /// Keras's default: Glorot uniform, `√(6/(fan_in + fan_out))` (Glorot & Bengio 2010).
    pub fn glorot_uniform(fan_in: usize, fan_out: usize) -> Init {
        Initializer::glorot_uniform().resolve(fan_in, fan_out)
    }
}

/// Which fan the variance of a weight goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FanMode {
    /// Keeps the variance of activations on the way forward.
    #[default]
    FanIn,
    /// Keeps the variance of gradients on the way back.
    FanOut,
    /// The mean of both.
    FanAvg,
}

/// From which distribution a weight of a given variance is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distribution {
    /// Normal without what is beyond two standard deviations, wider by as much as that takes from the variance.
    #[default]
    TruncatedNormal,
    /// Normal.
    UntruncatedNormal,
    /// Uniform.
    Uniform,
}

/// What follows a weight, for [`Nonlinearity::gain`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Nonlinearity {
    /// Nothing.
    Linear,
    /// `1/(1 + e⁻ˣ)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`
    Relu,
    /// `x > 0 ? x : slope·x`; PyTorch's argument `a` of `kaiming_uniform_`.
    LeakyRelu(f64),
    /// See [`crate::Graph::selu`].
    Selu,
}

impl Nonlinearity {
    /// The factor on the standard deviation (`torch.nn.init.calculate_gain`).
    pub fn gain(self) -> f64 {
        match self {
            Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
            Nonlinearity::Tanh => 5.0 / 3.0,
            Nonlinearity::Relu => std::f64::consts::SQRT_2,
            Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Nonlinearity::Selu => 0.75,
        }
    }
}

/// The standard deviation of a standard normal distribution without what is beyond ±2, with Keras's digits.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// An initialiser of a layer, which does not know its extents yet; see the table at the top of this module.
///
/// ```
/// use outrigger::ops::{FanMode, Init, Initializer, Nonlinearity};
///
/// let he = Initializer::kaiming_normal(FanMode::FanOut, Nonlinearity::Relu);
/// assert_eq!(he.resolve(27, 200), Init::Normal(0.1)); // √(2/200)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Initializer {
    /// Every element the same.
    Constant(f32),
    /// Uniform in `[low, high)`.
    Uniform {
        /// The least number.
        low: f32,
        /// Above the largest number.
        high: f32,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        std: f32,
    },
    /// Normal, drawn again outside of `[low, high]`.
    TruncatedNormal {
        /// Mean before numbers are left out.
        mean: f32,
        /// Standard deviation before numbers are left out.
        std: f32,
        /// The least number.
        low: f32,
        /// The largest number.
        high: f32,
    },
    /// Mean 0 and variance `scale/fan`.
    VarianceScaling {
        /// The variance times the fan.
        scale: f64,
        /// Which fan.
        mode: FanMode,
        /// The shape of the distribution.
        distribution: Distribution,
    },
    /// [`Init::Orthogonal`].
    Orthogonal {
        /// Factor on the matrix.
        gain: f32,
    },
    /// [`Init::Identity`].
    Identity {
        /// Factor on the matrix.
        gain: f32,
    },
}

impl Initializer {
    /// All zeros.
    pub fn zeros() -> Self {
        Initializer::Constant(0.0)
    }
    /// All ones.
    pub fn ones() -> Self {
        Initializer::Constant(1.0)
    }
    /// Every element `value`.
    pub fn constant(value: f32) -> Self {
        Initializer::Constant(value)
    }
    /// Uniform in `[low, high)`; Keras's `RandomUniform` has -0.05 and 0.05 unless told otherwise, PyTorch 0 and 1.
    pub fn uniform(low: f32, high: f32) -> Self {
        Initializer::Uniform { low, high }
    }
    /// Normal; Keras's `RandomNormal` has a deviation of 0.05 unless told otherwise, PyTorch 1.
    pub fn normal(mean: f32, std: f32) -> Self {
        Initializer::Normal { mean, std }
    }
    /// PyTorch's `trunc_normal_`: normal within `[low, high]`, which are numbers and no multiples of the deviation; -2
    /// and 2 unless told otherwise.
    pub fn trunc_normal(mean: f32, std: f32, low: f32, high: f32) -> Self {
        Initializer::TruncatedNormal { mean, std, low, high }
    }
    /// Keras's `TruncatedNormal`: normal within two standard deviations of the mean.
    pub fn truncated_normal(mean: f32, std: f32) -> Self {
        Initializer::TruncatedNormal { mean, std, low: mean - 2.0 * std, high: mean + 2.0 * std }
    }
    /// Keras's `VarianceScaling`: variance `scale/fan`.
    pub fn variance_scaling(scale: f64, mode: FanMode, distribution: Distribution) -> Self {
        Initializer::VarianceScaling { scale, mode, distribution }
    }
    /// PyTorch's `xavier_uniform_`: uniform within `gain·√(6/(fan_in + fan_out))` (Glorot & Bengio 2010).
    pub fn xavier_uniform(gain: f64) -> Self {
        Self::variance_scaling(gain * gain, FanMode::FanAvg, Distribution::Uniform)
    }
    /// PyTorch's `xavier_normal_`: normal with deviation `gain·√(2/(fan_in + fan_out))`.
    pub fn xavier_normal(gain: f64) -> Self {
        Self::variance_scaling(gain * gain, FanMode::FanAvg, Distribution::UntruncatedNormal)
    }
    /// PyTorch's `kaiming_uniform_`: uniform within `gain·√(3/fan)` (He et al. 2015).
    pub fn kaiming_uniform(mode: FanMode, nonlinearity: Nonlinearity) -> Self {
        Self::variance_scaling(nonlinearity.gain().powi(2), mode, Distribution::Uniform)
    }
    /// PyTorch's `kaiming_normal_`: normal with deviation `gain/√fan`.
    pub fn kaiming_normal(mode: FanMode, nonlinearity: Nonlinearity) -> Self {
        Self::variance_scaling(nonlinearity.gain().powi(2), mode, Distribution::UntruncatedNormal)
    }
    /// Keras's `GlorotUniform`: `xavier_uniform(1.0)`.
    pub fn glorot_uniform() -> Self {
        Self::variance_scaling(1.0, FanMode::FanAvg, Distribution::Uniform)
    }
    /// Keras's `GlorotNormal`: truncated, with deviation `√(2/(fan_in + fan_out))`.
    pub fn glorot_normal() -> Self {
        Self::variance_scaling(1.0, FanMode::FanAvg, Distribution::TruncatedNormal)
    }
    /// Keras's `HeUniform`: uniform within `√(6/fan_in)`.
    pub fn he_uniform() -> Self {
        Self::variance_scaling(2.0, FanMode::FanIn, Distribution::Uniform)
    }
    /// Keras's `HeNormal`: truncated, with deviation `√(2/fan_in)`.
    pub fn he_normal() -> Self {
        Self::variance_scaling(2.0, FanMode::FanIn, Distribution::TruncatedNormal)
    }
    /// Keras's `LecunUniform`: uniform within `√(3/fan_in)` (LeCun et al. 1998).
    pub fn lecun_uniform() -> Self {
        Self::variance_scaling(1.0, FanMode::FanIn, Distribution::Uniform)
    }
    /// Keras's `LecunNormal`: truncated, with deviation `√(1/fan_in)`.
    pub fn lecun_normal() -> Self {
        Self::variance_scaling(1.0, FanMode::FanIn, Distribution::TruncatedNormal)
    }
    /// Orthonormal columns or rows times `gain`.
    pub fn orthogonal(gain: f32) -> Self {
        Initializer::Orthogonal { gain }
    }
    /// The identity matrix times `gain`; PyTorch's `eye_` for a gain of 1.
    pub fn identity(gain: f32) -> Self {
        Initializer::Identity { gain }
    }

    /// What a tensor with these fans gets. A fan of 0 counts as 1.
    pub fn resolve(&self, fan_in: usize, fan_out: usize) -> Init {
        match *self {
            Initializer::Constant(value) => Init::Constant(value),
            Initializer::Uniform { low, high } if low == -high => Init::Uniform(high),
            Initializer::Uniform { low, high } => Init::UniformBetween { low, high },
            Initializer::Normal { mean: 0.0, std } => Init::Normal(std),
            Initializer::Normal { mean, std } => {
                Init::TruncatedNormal { mean, std, low: f32::NEG_INFINITY, high: f32::INFINITY }
            }
            Initializer::TruncatedNormal { mean, std, low, high } => Init::TruncatedNormal { mean, std, low, high },
            Initializer::VarianceScaling { scale, mode, distribution } => {
                let fan = match mode {
                    FanMode::FanIn => fan_in as f64,
                    FanMode::FanOut => fan_out as f64,
                    FanMode::FanAvg => (fan_in as f64 + fan_out as f64) / 2.0,
                };
                let variance = scale / fan.max(1.0);
                match distribution {
                    Distribution::Uniform => Init::Uniform((3.0 * variance).sqrt() as f32),
                    Distribution::UntruncatedNormal => Init::Normal(variance.sqrt() as f32),
                    Distribution::TruncatedNormal => {
                        let std = variance.sqrt() / TRUNCATED_STD;
                        let limit = (2.0 * std) as f32;
                        Init::TruncatedNormal { mean: 0.0, std: std as f32, low: -limit, high: limit }
                    }
                }
            }
            Initializer::Orthogonal { gain } => Init::Orthogonal(gain),
            Initializer::Identity { gain } => Init::Identity(gain),
        }
    }
}
