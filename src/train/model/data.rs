//! Where batches come from: a data set, a loader with transforms, or a function that makes tensors.

use std::sync::Arc;

use super::FitOptions;
use crate::data::{Batch, DataLoader, Dataset, Flow, LoaderOptions};
use crate::error::Error;
use crate::tensor::Tensor;

/// Inputs and targets of a batch.
type Tensors = (Vec<Tensor>, Vec<Tensor>);
/// Makes the batches of an epoch.
type Generate = dyn Fn(u64) -> Box<dyn Iterator<Item = Result<Tensors, Error>>>;

/// What a model is trained, measured or run on. A [`Dataset`] and a reference to a [`DataLoader`] are turned into it;
/// a loader keeps its own batch size, order and threads.
#[derive(Clone)]
pub struct Batches(Kind);

#[derive(Clone)]
enum Kind {
    Data(Arc<dyn Dataset>),
    Loader(DataLoader),
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
            Kind::Generator(generate) => Source::Generator(generate.clone()),
        })
    }
}

/// Makes the batches of any epoch.
pub(super) enum Source {
    Loader(DataLoader),
    Generator(Arc<Generate>),
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
            Source::Generator(_) => None,
        }
    }
    pub(super) fn epoch(&self, epoch: u64) -> Box<dyn Iterator<Item = Result<Item, Error>> + '_> {
        match self {
            Source::Loader(loader) => Box::new(loader.epoch(epoch).map(|batch| Ok(Item::Batch(batch?)))),
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
