//! From a data set to batches: order, transforms, and threads that work ahead.
//!
//! What is in batch k of an epoch follows from the options alone (see `random`), never from the number of threads
//! or from their timing.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::{Arc, Mutex, PoisonError};

use super::array::{Target, check_class};
use super::batch::Batch;
use super::dataset::Dataset;
use super::error::DataError;
use super::ordered::Ordered;
use super::random::{Random, Use};
use super::transform::{BatchTransform, Transform};

/// More threads than this is a slip of the keyboard.
const MAX_WORKERS: usize = 1024;

/// How a [`DataLoader`] makes batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples in a batch, at least 1. Default 32.
    pub batch_size: usize,
    /// Whether every epoch has its own random order. Default true.
    pub shuffle: bool,
    /// What order and transforms are drawn from. Default 0.
    pub seed: u64,
    /// Threads that make batches, at most 1024; with 0 the caller's thread makes each batch when it asks for it.
    /// Default 1.
    pub workers: usize,
    /// Batches kept ready, besides the one each thread is making; rounded up to a multiple of the threads.
    /// Default 2.
    pub prefetch: usize,
    /// Whether the samples after the last full batch are left out. Default false: they make a smaller batch.
    pub drop_last: bool,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions { batch_size: 32, shuffle: true, seed: 0, workers: 1, prefetch: 2, drop_last: false }
    }
}

/// Makes the batches of any epoch of a data set.
#[derive(Clone)]
pub struct DataLoader {
    source: Arc<Source>,
}

/// What is the same in every epoch, shared with the threads.
#[derive(Clone)]
struct Source {
    data: Arc<dyn Dataset>,
    options: LoaderOptions,
    transform: Option<Arc<dyn Transform>>,
    batch_transforms: Vec<Arc<dyn BatchTransform>>,
    spare: Arc<Spare>,
}

/// Buffers of batches that were given back.
type Spare = Mutex<Vec<Batch>>;

impl fmt::Debug for DataLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples = self.source.data.len();
        f.debug_struct("DataLoader").field("samples", &samples).field("options", &self.source.options).finish()
    }
}

impl DataLoader {
    /// Checks the options against the data set, which may be shared: an `Arc` of a data set is one.
    ///
    /// Errors: a data set or a batch without samples, too many workers, and `drop_last` with less than one batch of
    /// samples.
    pub fn new(data: impl Dataset + 'static, options: LoaderOptions) -> Result<DataLoader, DataError> {
        let refuse = |option, value: usize, allowed: String| Err(DataError::option(option, value, allowed));
        if data.is_empty() {
            return Err(DataError::Mismatch {
                what: "data set to load",
                expected: "at least one sample".into(),
                found: "none".into(),
            });
        }
        if options.batch_size == 0 {
            return refuse("batch_size", 0, "a batch holds at least one sample".into());
        }
        if options.workers > MAX_WORKERS {
            return refuse("workers", options.workers, format!("at most {MAX_WORKERS} threads"));
        }
        if options.drop_last && options.batch_size > data.len() {
            let allowed = format!("drop_last leaves no batch of the {} samples", data.len());
            return refuse("batch_size", options.batch_size, allowed);
        }
        let source = Source {
            data: Arc::new(data),
            options,
            transform: None,
            batch_transforms: Vec::new(),
            spare: Arc::default(),
        };
        Ok(DataLoader { source: Arc::new(source) })
    }

    /// Changes every input with `transform`, in place of one given before.
    pub fn transform(mut self, transform: impl Transform + 'static) -> DataLoader {
        Arc::make_mut(&mut self.source).transform = Some(Arc::new(transform));
        self
    }

    /// Changes every batch with `transform`, after those given before.
    pub fn batch_transform(mut self, transform: impl BatchTransform + 'static) -> DataLoader {
        Arc::make_mut(&mut self.source).batch_transforms.push(Arc::new(transform));
        self
    }

    /// Batches in an epoch.
    pub fn batches(&self) -> usize {
        let (samples, options) = (self.source.data.len(), &self.source.options);
        if options.drop_last { samples / options.batch_size } else { samples.div_ceil(options.batch_size) }
    }

    /// The data set.
    pub fn data(&self) -> &Arc<dyn Dataset> {
        &self.source.data
    }

    /// The options.
    pub fn options(&self) -> &LoaderOptions {
        &self.source.options
    }

    /// Starts epoch number `epoch`. Epochs are independent: any one can be made again, or alone, which is how
    /// training goes on after a restart.
    pub fn epoch(&self, epoch: u64) -> Epoch {
        let source = Arc::clone(&self.source);
        let options = source.options;
        let mut order: Vec<usize> = (0..source.data.len()).collect();
        if options.shuffle {
            Random::order(options.seed, epoch).shuffle(&mut order);
        }
        let make = Arc::new(move |index: usize| {
            let start = index * options.batch_size;
            let end = order.len().min(start.saturating_add(options.batch_size));
            source.make(epoch, index, &order[start..end])
        });
        Epoch { items: Ordered::new(self.batches(), options.workers, options.prefetch, make) }
    }

    /// Gives a batch's memory back for a later one.
    pub fn recycle(&self, batch: Batch) {
        let options = &self.source.options;
        let mut spare = self.source.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // More than can be in use at a time would only be kept for nothing.
        if spare.len() <= options.workers.saturating_mul(2).saturating_add(options.prefetch) {
            spare.push(batch);
        }
    }
}

impl Source {
    fn make(&self, epoch: u64, number: usize, indices: &[usize]) -> Result<Batch, DataError> {
        let mut batch = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        batch.clear();
        for &index in indices {
            let mut sample = self.data.get(index)?;
            let at = |error| DataError::At { origin: self.data.origin(index), source: Box::new(error) };
            let classes = self.data.class_names().len();
            if let (Target::Class(label), 1..) = (&sample.target, classes) {
                check_class((*label).into(), classes, index, || self.data.origin(index))?;
            }
            if let Some(transform) = &self.transform {
                let mut random = Random::keyed(self.options.seed, epoch, Use::Transform, index as u64);
                sample.input = transform.apply(sample.input, &mut random).map_err(at)?;
            }
            batch.push(sample).map_err(at)?;
        }
        let mut random = Random::keyed(self.options.seed, epoch, Use::Batch, number as u64);
        for transform in &self.batch_transforms {
            let at = |error| DataError::At { origin: format!("batch {number}"), source: Box::new(error) };
            transform.apply(&mut batch, &mut random).map_err(at)?;
        }
        Ok(batch)
    }
}

/// The batches of one epoch, in order. After an error it ends. Dropping it ends its threads.
pub struct Epoch {
    items: Ordered<Batch>,
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.items.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl FusedIterator for Epoch {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;

    /// `n` images of one pixel and one channel whose value is their index.
    fn counting(n: usize) -> Arc<Images> {
        let labels = (0..n).map(|i| (i % 10) as u8).collect();
        let names = (0..10).map(|i| i.to_string()).collect();
        Arc::new(Images::new((0..n).map(|i| i as u8).collect(), labels, [1, 1, 1], names).unwrap())
    }

    /// The indices of the images of an epoch, batch by batch.
    fn indices(loader: &DataLoader, epoch: u64) -> Vec<Vec<usize>> {
        let batches = loader.epoch(epoch).map(|batch| {
            let batch = batch.unwrap();
            let found: Vec<usize> = batch.inputs.iter().map(|v| (v * 255.0).round() as usize).collect();
            assert!(found.iter().zip(&batch.labels).all(|(i, &label)| (i % 10) as i32 == label));
            loader.recycle(batch);
            found
        });
        batches.collect()
    }

    #[test]
    fn every_image_comes_exactly_once() {
        for (n, batch_size) in [(1, 1), (10, 3), (12, 4), (255, 32), (7, 100), (5, usize::MAX)] {
            for workers in [0, 1, 3] {
                let options = LoaderOptions { batch_size, workers, seed: 5, ..LoaderOptions::default() };
                let loader = DataLoader::new(counting(n), options).unwrap();
                let batches = indices(&loader, 2);
                assert_eq!(batches.len(), loader.batches());
                assert!(batches[..batches.len() - 1].iter().all(|b| b.len() == batch_size));
                let mut all = batches.concat();
                all.sort_unstable();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn order_follows_seed_and_epoch() {
        let order = |shuffle, seed, epoch| {
            let options = LoaderOptions { batch_size: 7, shuffle, seed, ..LoaderOptions::default() };
            indices(&DataLoader::new(counting(100), options).unwrap(), epoch).concat()
        };
        assert_eq!(order(false, 1, 3), (0..100).collect::<Vec<_>>());
        assert_eq!(order(true, 1, 3), order(true, 1, 3));
        assert_ne!(order(true, 1, 3), order(true, 1, 4));
        assert_ne!(order(true, 1, 3), order(true, 2, 3));
    }

    #[test]
    fn drop_last_leaves_full_batches() {
        let options = LoaderOptions { batch_size: 4, drop_last: true, ..LoaderOptions::default() };
        let loader = DataLoader::new(counting(11), options).unwrap();
        assert_eq!(indices(&loader, 0).iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
    }

    #[test]
    fn recycled_memory_is_used_again() {
        let options = LoaderOptions { batch_size: 4, workers: 0, ..LoaderOptions::default() };
        let loader = DataLoader::new(counting(11), options).unwrap();
        let mut epoch = loader.epoch(0);
        let first = epoch.next().unwrap().unwrap();
        let address = first.inputs.as_ptr();
        loader.recycle(first);
        assert_eq!(epoch.next().unwrap().unwrap().inputs.as_ptr(), address);
        for _ in 0..100 {
            loader.recycle(Batch::default());
        }
        assert!(loader.source.spare.lock().unwrap().len() < 5);
    }

    #[test]
    fn impossible_options_are_refused() {
        let message = |data: Arc<Images>, options| DataLoader::new(data, options).unwrap_err().to_string();
        let options = LoaderOptions::default();
        assert_eq!(
            message(counting(3), LoaderOptions { batch_size: 0, ..options }),
            "batch_size = 0: a batch holds at least one sample"
        );
        assert_eq!(
            message(counting(3), LoaderOptions { drop_last: true, ..options }),
            "batch_size = 32: drop_last leaves no batch of the 3 samples"
        );
        assert!(message(counting(3), LoaderOptions { workers: 5000, ..options }).starts_with("workers = 5000"));
        assert!(message(counting(0), options).starts_with("data set to load"));
    }
}
