//! Where batches come from: a data set, a loader with transforms, tensors in memory, or a function that makes tensors.
//!
//! ```text
//!   Dataset ─▶ DataLoader ─▶ Batch ──────────┐
//!   (inputs, targets) ─▶ rows ─▶ tensors ────┼──▶ Item, one a step
//!   generator(epoch) ──────────▶ tensors ────┘
//! ```

use std::sync::Arc;

use super::FitOptions;
use crate::data::{Batch, DataLoader, Dataset, Flow, LoaderOptions, Random};
use crate::error::Error;
use crate::tensor::Tensor;

/// Inputs and targets of a batch.
type Tensors = (Vec<Tensor>, Vec<Tensor>);
/// Makes the batches of an epoch.
type Generate = dyn Fn(u64) -> Box<dyn Iterator<Item = Result<Tensors, Error>>>;

/// What a model is trained, measured or run on. A [`Dataset`], a reference to a [`DataLoader`], and tensors are turned
/// into it: `(inputs, targets)`, each a tensor or an array of several, or inputs alone to predict. Tensors have the
/// samples in front and then the axes of the network's shapes. A loader keeps its own batch size, order and threads.
#[derive(Clone)]
pub struct Batches(Kind);

#[derive(Clone)]
enum Kind {
    Data(Arc<dyn Dataset>),
    Loader(DataLoader),
    Memory(Arc<Tensors>),
    Generator(Arc<Generate>),
}

impl<D: Dataset + 'static> From<D> for Batches {
    fn from(data: D) -> Batches {
        Batches(Kind::Data(Arc::new(data)))
    }
}
impl From<&DataLoader> for Batches {
    fn from(loader: &DataLoader) -> Batches {
        Batches(Kind::Loader(loader.clone()))
    }
}
impl From<DataLoader> for Batches {
    fn from(loader: DataLoader) -> Batches {
        Batches(Kind::Loader(loader))
    }
}

impl From<Flow> for Batches {
    fn from(flow: Flow) -> Batches {
        flow.loader().into()
    }
}

impl From<Tensor> for Batches {
    fn from(inputs: Tensor) -> Batches {
        [inputs].into()
    }
}
impl<const N: usize> From<[Tensor; N]> for Batches {
    fn from(inputs: [Tensor; N]) -> Batches {
        (inputs, []).into()
    }
}
impl From<(Tensor, Tensor)> for Batches {
    fn from((inputs, targets): (Tensor, Tensor)) -> Batches {
        ([inputs], [targets]).into()
    }
}
impl<const N: usize, const M: usize> From<([Tensor; N], [Tensor; M])> for Batches {
    fn from((inputs, targets): ([Tensor; N], [Tensor; M])) -> Batches {
        Batches(Kind::Memory(Arc::new((inputs.into(), targets.into()))))
    }
}

impl Batches {
    /// Batches from a function that is called for each epoch, for networks of several inputs or targets: each batch is
    /// the inputs and the targets in the network's order, shaped as it says, the batch in front.
    pub fn generator<I>(epoch: impl Fn(u64) -> I + 'static) -> Batches
    where
        I: Iterator<Item = Result<Tensors, Error>> + 'static,
    {
        Batches(Kind::Generator(Arc::new(move |number| Box::new(epoch(number)))))
    }

    /// How batches are made. A data set is shuffled if the options say so.
    pub(super) fn source(&self, options: &FitOptions) -> Result<Source, Error> {
        Ok(match &self.0 {
            Kind::Data(data) => {
                let options = LoaderOptions {
                    batch_size: options.batch_size,
                    shuffle: options.shuffle,
                    seed: options.seed,
                    workers: options.workers,
                    ..LoaderOptions::default()
                };
                Source::Loader(DataLoader::new(data.clone(), options)?)
            }
            Kind::Loader(loader) => Source::Loader(loader.clone()),
            Kind::Memory(tensors) => Source::Memory(Rows::new(tensors.clone(), options)?),
            Kind::Generator(generate) => Source::Generator(generate.clone()),
        })
    }
}

/// Makes the batches of any epoch.
pub(super) enum Source {
    Loader(DataLoader),
    Memory(Rows),
    Generator(Arc<Generate>),
}

/// Tensors whose rows are samples.
pub(super) struct Rows {
    tensors: Arc<Tensors>,
    samples: usize,
    batch_size: usize,
    /// What the order is drawn from, if it is.
    seed: Option<u64>,
}

impl Rows {
    fn new(tensors: Arc<Tensors>, options: &FitOptions) -> Result<Rows, Error> {
        let misfit = |option: &str, reason: String| Err(Error::Option { option: option.to_string(), reason });
        let count = |tensor: &Tensor| tensor.shape().0.first().copied();
        let (inputs, targets) = &*tensors;
        let samples = inputs.first().and_then(count).unwrap_or(0);
        if options.batch_size == 0 || samples == 0 {
            let reason = format!("needs at least one, of data with at least one; got {}", options.batch_size);
            return misfit("batch_size", format!("{reason} and {samples} samples"));
        }
        if let Some(other) = inputs.iter().chain(targets).find(|tensor| count(tensor) != Some(samples)) {
            return misfit("data", format!("all tensors have a row a sample, {samples}; got {}", other.shape()));
        }
        let seed = options.shuffle.then_some(options.seed);
        Ok(Rows { tensors, samples, batch_size: options.batch_size, seed })
    }
    fn batches(&self, epoch: u64) -> impl Iterator<Item = Result<Tensors, Error>> + '_ {
        let mut order: Vec<usize> = (0..self.samples).collect();
        if let Some(seed) = self.seed {
            Random::order(seed, epoch).shuffle(&mut order);
        }
        let starts = (0..self.samples).step_by(self.batch_size);
        starts.map(move |start| {
            let batch = &order[start..self.samples.min(start + self.batch_size)];
            let of = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.rows(batch)).collect::<Result<_, _>>();
            Ok((of(&self.tensors.0)?, of(&self.tensors.1)?))
        })
    }
}

/// A batch of either kind.
pub(super) enum Item {
    Batch(Batch),
    Tensors(Tensors),
}

impl Source {
    /// Batches in an epoch, where that is known.
    pub(super) fn steps(&self) -> Option<usize> {
        match self {
            Source::Loader(loader) => Some(loader.batches()),
            Source::Memory(rows) => Some(rows.samples.div_ceil(rows.batch_size)),
            Source::Generator(_) => None,
        }
    }
    pub(super) fn epoch(&self, epoch: u64) -> Box<dyn Iterator<Item = Result<Item, Error>> + '_> {
        match self {
            Source::Loader(loader) => Box::new(loader.epoch(epoch).map(|batch| Ok(Item::Batch(batch?)))),
            Source::Memory(rows) => Box::new(rows.batches(epoch).map(|tensors| tensors.map(Item::Tensors))),
            Source::Generator(generate) => Box::new(generate(epoch).map(|tensors| tensors.map(Item::Tensors))),
        }
    }
    /// Gives a batch's memory back.
    pub(super) fn recycle(&self, item: Item) {
        if let (Source::Loader(loader), Item::Batch(batch)) = (self, item) {
            loader.recycle(batch);
        }
    }
}
