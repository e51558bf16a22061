//! Training: the step program and its state, and weight files.
//!
//! ```text
//!   Recipe ─▶ Model, Optimizer, DataLoader ─▶ Trainer { programs by batch size, Store, Team } ─▶ Outcome
//!      ▲                                     ▲ restore, save
//!      └──────── WeightFile (metadata, tensors) ◀─▶ FILE.safetensors
//! ```

mod atomic;
mod layout;
pub mod optimizer;
mod recipe;
mod trainer;
mod weights;

pub use layout::Layout;
pub use optimizer::Optimizer;
pub use recipe::{Method, Recipe, network, parse_layers};
pub use trainer::{Outcome, Trainer, TrainerOptions};
pub use weights::{Restore, WeightFile};
