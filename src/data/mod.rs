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
//!
//! ```
//! use std::sync::Arc;
//! use outrigger::data::{self, Augment, Loader, LoaderOptions};
//!
//! let train = Arc::new(data::sample()?.train);
//! let options = LoaderOptions { batch_size: 100, augment: Some(Augment::default()), ..LoaderOptions::default() };
//! let loader = Loader::new(train, options)?;
//! for batch in loader.epoch(0).take(2) {
//!     let batch = batch?;
//!     assert_eq!(batch.images.len(), batch.len() * 32 * 32 * 3);
//!     loader.recycle(batch);
//! }
//! # Ok::<(), data::DataError>(())
//! ```

mod augment;
mod cifar;
mod classes;
mod dataset;
mod download;
mod error;
mod loader;
mod ordered;
mod random;
mod sample;
mod transfer;
mod unpack;

pub use augment::{Augment, Draw};
pub use cifar::{Cifar, Layout, load_dir, read_bytes, read_file};
pub use dataset::Dataset;
pub use download::{Archive, CIFAR10, CIFAR100, Member, Progress, default_cache_dir, download};
pub use error::{DataError, MirrorError, MirrorFailure};
pub use loader::{Batch, Epoch, Loader, LoaderOptions};
pub use sample::sample;
