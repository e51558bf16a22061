//! Data sets and the way from them to batches.
//!
//! ```text
//!   download ─▶ files ─▶ load_dir ──┐
//!   embedded ─▶ sample ─────────────┤
//!   MNIST, FASHION_MNIST ───────────┼─▶ Images ───┐
//!   folder of PNG and JPEG ─▶ ImageFolder ────────┼─▶ Dataset ─▶ DataLoader ─▶ Batch (f32, NHWC)
//!   .npy, .npz, memory ─▶ ArrayDataset ───────────┤                  ▲
//!   any iterator ─▶ Samples ──────────────────────┘       Transform, BatchTransform
//! ```
//!
//! Everything random is drawn from (seed, epoch, sample), so a run gives the same batches whatever the number of
//! worker threads. Architecture invariant: this module imports nothing else of this crate.
//!
//! ```
//! use outrigger::data::{self, Compose, DataLoader, LoaderOptions, RandomCrop, RandomHorizontalFlip};
//!
//! let options = LoaderOptions { batch_size: 100, workers: 2, ..LoaderOptions::default() };
//! let augment = Compose::new()
//!     .then(RandomCrop { padding: 4, ..RandomCrop::new(32) })
//!     .then(RandomHorizontalFlip::default());
//! let loader = DataLoader::new(data::sample()?.train, options)?.transform(augment);
//! for batch in loader.epoch(0).take(2) {
//!     let batch = batch?;
//!     assert_eq!(batch.shape, [100, 32, 32, 3]);
//!     loader.recycle(batch);
//! }
//! # Ok::<(), data::DataError>(())
//! ```

mod array;
mod batch;
mod cifar;
mod classes;
mod dataset;
mod download;
mod error;
mod folder;
mod generator;
mod idx;
mod images;
mod loader;
mod npy;
mod ordered;
mod random;
mod sample;
mod transfer;
mod transform;
mod unpack;

pub use array::{Array, Sample, Target, Values, to_categorical};
pub use batch::Batch;
pub use cifar::{Layout, load_dir, read_bytes, read_file};
pub use dataset::{ArrayDataset, Dataset, Samples};
pub use download::{Archive, CIFAR10, CIFAR100, Member, Progress, default_cache_dir, download};
pub use error::{DataError, MirrorError, MirrorFailure};
pub use folder::{ImageFolder, read_fitted, read_image};
pub use generator::{Flow, ImageDataGenerator};
pub use idx::{FASHION_MNIST, IdxDataset, MNIST, read_idx};
pub use images::{Images, Split};
pub use loader::{DataLoader, Epoch, LoaderOptions};
pub(crate) use npy::Numbers;
pub use npy::{Npy, read_npz};
pub use random::Random;
pub use sample::sample;
pub use transform::{
    BatchTransform, CenterCrop, ColorJitter, Compose, CutMix, Cutout, Interpolation, Mixup, Normalize, Pad,
    PaddingMode, RandomCrop, RandomErasing, RandomHorizontalFlip, RandomRotation, Resize, ResizeTo, ToTensor,
    Transform,
};
