//! What was measured of an exported graph: how far it is from the graph it was made from.
//!
//! ```text
//!   samples ─┬─▶ evaluation graph, its own store ─▶ outputs ─┐
//!            └─▶ inference graph, folded weights ─▶ outputs ─┴─▶ largest deviation, correct classes of each
//! ```

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::compile::{Options, compile};
use crate::error::Error;
use crate::graph::Graph;
use crate::session::Session;
use crate::store::Store;
use crate::tensor::{Data, Tensor};
use crate::types::DType;
use outrigger_runtime::Team;

/// Inputs to compare two graphs on, and what a classifier should say of them.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// A tensor for each input of the inference graph, by name: as many samples as one likes, the first axis.
    pub inputs: &'a [(&'a str, &'a Tensor)],
    /// The class of each sample, to compare with the largest element of the first output's row.
    pub labels: Option<&'a [i32]>,
}

/// How far two graphs were apart on the same samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Samples compared.
    pub samples: usize,
    /// The largest absolute difference of an element of any output.
    pub largest_deviation: f32,
    /// The largest magnitude of an output's element, to judge the difference by.
    pub largest_output: f32,
    /// Samples for which both have the largest element of the first output's row at the same place.
    pub same_class: usize,
    /// Samples whose largest element is at their label: of the evaluation graph, and of the inference graph.
    pub correct: Option<[usize; 2]>,
}

/// What an `.outrigger` file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 over names, types and bytes of all tensors as they are stored, in hexadecimal.
    pub weights_sha256: String,
    /// How far it is from the graph that it was made from; none when there was nothing to compare on.
    pub comparison: Option<Comparison>,
}

impl Comparison {
    /// Share of correct classes before and after the export, 0 to 1.
    pub fn accuracy(&self) -> Option<[f64; 2]> {
        self.correct.map(|correct| correct.map(|n| n as f64 / self.samples as f64))
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "weights sha256 {}", self.weights_sha256)?;
        match &self.comparison {
            None => writeln!(f, "not compared with the graph it was made from"),
            Some(comparison) => writeln!(f, "{comparison}"),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { samples, largest_deviation, largest_output, same_class, .. } = self;
        write!(f, "on {samples} samples: largest deviation {largest_deviation:.2e} of {largest_output:.3}, ")?;
        write!(f, "the same class for {same_class}")?;
        match self.accuracy() {
            Some([before, after]) => write!(f, ", accuracy {before:.4} before and {after:.4} after"),
            None => Ok(()),
        }
    }
}

/// A compiled graph that is given samples batch by batch.
struct Runner {
    session: Session,
    outputs: Vec<String>,
}

impl Runner {
    fn new(graph: &Graph, store: &Store, team: &Arc<Team>) -> Result<Runner, Error> {
        let session = compile(graph, &Options::default())?.session(store, team)?;
        Ok(Runner { session, outputs: graph.outputs().iter().map(|(name, _)| name.clone()).collect() })
    }
    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>, Error> {
        inputs.iter().try_for_each(|(name, tensor)| self.session.set(name, tensor))?;
        self.session.run()?;
        self.outputs.iter().map(|name| self.session.get(name)).collect()
    }
}

/// Runs both graphs, of one batch size, on all samples; the last batch is filled up with copies of its last sample,
/// which do not count.
///
/// # Errors
/// [`Error::Option`] for samples that do not fit the inputs or each other, or for outputs without a row a sample;
/// those of [`compile`] and of running.
pub(super) fn compare(
    before: (&Graph, &Store),
    after: (&Graph, &Store),
    batch: usize,
    samples: Samples<'_>,
    team: &Arc<Team>,
) -> Result<Comparison, Error> {
    let count = check(after.0, batch, samples)?;
    let (mut old, mut new) = (Runner::new(before.0, before.1, team)?, Runner::new(after.0, after.1, team)?);
    let mut found = Comparison {
        samples: count,
        largest_deviation: 0.0,
        largest_output: 0.0,
        same_class: 0,
        correct: samples.labels.map(|_| [0, 0]),
    };
    for first in (0..count).step_by(batch) {
        let inputs: Vec<_> = samples
            .inputs
            .iter()
            .map(|(name, tensor)| Ok((*name, rows(tensor, first, batch)?)))
            .collect::<Result<_, Error>>()?;
        let (a, b) = (old.run(&inputs)?, new.run(&inputs)?);
        let used = batch.min(count - first);
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            let width = a.shape().elements() / batch;
            let (a, b) = (&a.to_f64()[..used * width], &b.to_f64()[..used * width]);
            for (x, y) in a.iter().zip(b) {
                // NaN in either is the largest deviation there is
                let apart = if x == y { 0.0 } else { (x - y).abs() as f32 };
                found.largest_deviation =
                    if apart.is_nan() { f32::INFINITY } else { found.largest_deviation.max(apart) };
                found.largest_output = found.largest_output.max(x.abs() as f32);
            }
            if at == 0 {
                let classes = a.chunks(width).zip(b.chunks(width)).map(|(a, b)| [largest(a), largest(b)]);
                for (sample, classes) in classes.enumerate() {
                    found.same_class += usize::from(classes[0] == classes[1]);
                    if let (Some(labels), Some(correct)) = (samples.labels, &mut found.correct) {
                        let label = usize::try_from(labels[first + sample]).ok();
                        (0..2).for_each(|i| correct[i] += usize::from(label == Some(classes[i])));
                    }
                }
            }
        }
    }
    if found.largest_deviation.is_finite() && found.largest_output.is_finite() {
        Ok(found)
    } else {
        let reason = "an output of one of the graphs is no finite number on these samples".to_string();
        Err(Error::Option { option: "samples".to_string(), reason })
    }
}

/// Number of samples, all inputs and labels agreeing on it.
fn check(graph: &Graph, batch: usize, samples: Samples<'_>) -> Result<usize, Error> {
    let refuse = |reason: String| Err(Error::Option { option: "samples".to_string(), reason });
    let counts = samples.inputs.iter().map(|(name, tensor)| (*name, tensor.shape().0.first().copied().unwrap_or(0)));
    let counts: Vec<_> = counts.chain(samples.labels.map(|labels| ("labels", labels.len()))).collect();
    let Some(&(_, count)) = counts.first() else {
        return refuse("there is no input among them".to_string());
    };
    if let Some((name, other)) = counts.iter().find(|(_, other)| *other != count || count == 0) {
        return refuse(format!(
            "\"{}\" has {count} of them, \"{name}\" has {other}; at least one is needed",
            counts[0].0
        ));
    }
    for (name, tensor) in samples.inputs {
        let expected = graph.ty(graph.source(name)?);
        let mut got = tensor.ty();
        got.shape.0.iter_mut().take(1).for_each(|extent| *extent = batch);
        if *expected != got {
            return Err(Error::Type { name: name.to_string(), expected: expected.clone(), got: tensor.ty() });
        }
    }
    for (name, value) in graph.outputs() {
        let ty = graph.ty(*value);
        if ty.dtype != DType::F32 || ty.shape.0.first() != Some(&batch) {
            return refuse(format!("output \"{name}\" is {ty}, which has no row of f32 for each of {batch} samples"));
        }
    }
    Ok(count)
}

/// `batch` samples from `first` on; the last one is repeated where there are no more.
fn rows(tensor: &Tensor, first: usize, batch: usize) -> Result<Tensor, Error> {
    fn take<T: Copy>(values: &[T], count: usize, first: usize, batch: usize) -> Vec<T> {
        let width = values.len() / count;
        let row = |i: usize| (first + i).min(count - 1) * width;
        (0..batch).flat_map(|i| values[row(i)..row(i) + width].iter().copied()).collect()
    }
    let mut shape = tensor.shape().clone();
    let count = shape.0.first().copied().unwrap_or(1);
    shape.0.iter_mut().take(1).for_each(|extent| *extent = batch);
    let data = match tensor.data() {
        Data::F32(v) => Data::F32(take(v, count, first, batch)),
        Data::I32(v) => Data::I32(take(v, count, first, batch)),
        Data::U8(v) => Data::U8(take(v, count, first, batch)),
    };
    Tensor::new(shape, data)
}

/// Where the first of the largest elements is.
fn largest(row: &[f64]) -> usize {
    (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}
