//! Data sets and the way from them to batches.
//!
//! ```text
//!   download ─▶ files ─▶ load_dir ─┐
//!                                  ├─▶ Cifar { train, test: Dataset } ─▶ Loader ─▶ Batch (f32, NHWC)
//!             embedded ─▶ sample ──┘      u8, NHWC                         ▲
//!                                                                       Augment
//! ```
//!
//! Everything random is drawn from (seed, epoch, image), so a run gives the same batches whatever the number of
//! worker threads. Architecture invariant: this module imports nothing else of this crate.

mod cifar;
mod classes;
mod dataset;
mod error;
mod sample;

pub use cifar::{Cifar, Layout, load_dir, read_bytes, read_file};
pub use dataset::Dataset;
pub use error::{DataError, MirrorError, MirrorFailure};
pub use sample::sample;
