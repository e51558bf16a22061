//! The names that most programs need: `use outrigger::prelude::*`.
//!
//! ```
//! use outrigger::prelude::*;
//!
//! # fn main() -> Result<(), Error> {
//! let layers = Sequential::new().add(Conv2d::new(8, 3)).add(ReLU::new()).add(Flatten::new()).add(Linear::new(10));
//! let network = Network::of(&layers, Input::torch("images", [3, 8, 8]))?;
//! assert_eq!(network.outputs()[0].shape(), [10]);
//! # Ok(())
//! # }
//! ```

pub use crate::data::{
    self, Array, ArrayDataset, CenterCrop, ColorJitter, Compose, CutMix, Cutout, DataLoader, Dataset,
    ImageDataGenerator, ImageFolder, LoaderOptions, Mixup, Normalize, Pad, RandomCrop, RandomErasing,
    RandomHorizontalFlip, RandomRotation, Resize, Samples, ToTensor, to_categorical,
};
pub use crate::error::Error;
pub use crate::formats::{LoadOptions, LoadReport};
pub use crate::graph::{Graph, Loss, Value};
pub use crate::models;
pub use crate::module;
pub use crate::nn::*;
pub use crate::ops::{Init, Initializer};
pub use crate::store::Store;
pub use crate::tensor::Tensor;
pub use crate::train::callback::*;
pub use crate::train::log::{History, Verbose};
pub use crate::train::metrics::{
    Accuracy, Auc, ConfusionMatrix, MeanAbsoluteError, Metric, TopK, f1, precision, recall,
};
pub use crate::train::optimizer::{Adagrad, Adam, AdamW, Lion, Optimizer, ParameterGroup, RmsProp, Sgd};
pub use crate::train::schedule::{
    CosineAnnealingLR, ExponentialLR, MultiStepLR, OneCycleLR, PlateauOptions, PolynomialLR, Schedule, StepLR,
};
pub use crate::train::{Batches, FitOptions, Logs, Metrics, Model, ModelOptions, Objective};
pub use crate::types::{DType, Padding, Padding1d};
