//! Putting a file's tensors into a model, by name.
//!
//! ```text
//!   file: a.weight, b.weight, old.bias          store: a.weight, b.weight, new.bias
//!             │         │        └─▶ unexpected              │        │        └─▶ missing (nearest: old.bias)
//!             └─ layout ┴────────────────────────────────────┴────────┴─▶ loaded, or mismatched: another shape
//! ```
//!
//! There is one walk, and a report of it. What the report may hold is up to the caller: nothing but loaded tensors
//! for a checkpoint (`strict`), anything else for fine-tuning. The store changes only if the report is accepted.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::file::WeightFile;
use super::layout::Layout;
use crate::error::{Error, nearest};
use crate::store::{Axes, Store, is_training_state};
use crate::tensor::Tensor;
use crate::types::{Shape, TensorType};

/// PyTorch counts batches per batch norm and never uses the count at a fixed momentum.
const IGNORED: &str = "num_batches_tracked";

/// The most names that nearest ones are looked for, and among: a report of thousands helps nobody.
const MOST_NEAR: usize = 64;

/// What a weight file must hold to be put into a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Every tensor of the store: training continues as if it had not stopped.
    Everything,
    /// Parameters and running statistics; what belongs to training is neither needed nor changed.
    Model,
}

/// How [`load_by_name`] takes tensors.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Every tensor of the model must be in the file and every tensor of the file in the model, as PyTorch's
    /// `load_state_dict(strict=True)` wants it. Default `false`.
    pub strict: bool,
    /// A tensor of another shape or type is left alone, not an error, as Keras's `load_weights(skip_mismatch=True)`
    /// has it. Default `false`.
    pub skip_mismatch: bool,
    /// Prefixes of the file's names and what stands for them in the model, such as `("module.", "")` for a network that
    /// was in a `DataParallel`; the first that fits is taken. Default none.
    pub rename: Vec<(String, String)>,
    /// How tensors lie in the file. Default: [`WeightFile::assumed_layout`].
    pub layout: Option<Layout>,
    /// Take moments, averages and counters of training too. Default `false`: only the model's own tensors.
    pub training_state: bool,
}

/// A tensor that the model has and the file has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name in the model.
    pub name: String,
    /// The most similar name among the unexpected ones of the file, or among all where none is unexpected.
    pub near: Option<String>,
}

/// A tensor that both have, but not alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatched {
    /// Its name in the model.
    pub name: String,
    /// What the file should hold, and holds.
    pub reason: String,
}

/// What became of each tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Names of tensors that were taken, in the model's order.
    pub loaded: Vec<String>,
    /// Tensors of the model that the file has not: they keep their values.
    pub missing: Vec<Missing>,
    /// Tensors of the file, after renaming, that the model has not.
    pub unexpected: Vec<String>,
    /// Tensors of another shape or element type: they keep their values.
    pub mismatched: Vec<Mismatched>,
}

impl LoadReport {
    /// Whether every tensor of the model was taken, and none was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// One sentence about each tensor that was not taken.
    fn problems(&self, which: &LoadOptions) -> Vec<String> {
        let mut problems = Vec::new();
        if which.strict {
            problems.extend(self.missing.iter().map(|m| format!("has no tensor {m}")));
        }
        if !which.skip_mismatch {
            problems.extend(self.mismatched.iter().map(ToString::to_string));
        }
        if which.strict {
            problems.extend(self.unexpected.iter().map(|n| format!("has a tensor \"{n}\" that this model has not")));
        }
        problems
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.name)?;
        self.near.as_ref().map_or(Ok(()), |near| write!(f, " (nearest: \"{near}\")"))
    }
}

impl fmt::Display for Mismatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor \"{}\" {}", self.name, self.reason)
    }
}

impl fmt::Display for LoadReport {
    /// A line of counts, and a line for each tensor that was not taken.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadReport { loaded, missing, unexpected, mismatched } = self;
        let counts = [missing.len(), unexpected.len(), mismatched.len()];
        write!(
            f,
            "{} tensors loaded, {} missing, {} unexpected, {} mismatched",
            loaded.len(),
            counts[0],
            counts[1],
            counts[2]
        )?;
        missing.iter().try_for_each(|m| write!(f, "\n  missing: {m}"))?;
        unexpected.iter().try_for_each(|name| write!(f, "\n  unexpected: \"{name}\""))?;
        mismatched.iter().try_for_each(|m| write!(f, "\n  mismatched: {m}"))
    }
}

/// Puts the tensors of `file` into `store` where names agree, and says what became of each.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use outrigger::formats::{LoadOptions, WeightFile, load_by_name};
/// use outrigger::ops::Init;
/// use outrigger::{Graph, Store, Tensor};
///
/// # fn main() -> Result<(), outrigger::Error> {
/// let mut g = Graph::new("finetune");
/// g.parameter("body.bias", [2], Init::ZEROS)?;
/// g.parameter("new_head.bias", [3], Init::ZEROS)?;
/// let store = Store::new(&g, 0)?;
///
/// let tensors = [("body.bias", Tensor::f32([2], vec![1.0, 2.0])?), ("head.bias", Tensor::f32([5], vec![0.0; 5])?)];
/// let file = WeightFile::new(tensors.map(|(name, t)| (name.to_string(), t)), BTreeMap::new());
/// let report = load_by_name(&file, &store, &LoadOptions::default())?;
/// assert_eq!(report.loaded, ["body.bias"]);
/// assert_eq!(report.missing[0].near.as_deref(), Some("head.bias"));
/// assert!(report.to_string().starts_with("1 tensors loaded, 1 missing, 1 unexpected, 0 mismatched"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Checkpoint`] naming the first few tensors that `options` do not allow to be missing, unexpected or of
/// another shape; the store is then unchanged.
pub fn load_by_name(file: &WeightFile, store: &Store, options: &LoadOptions) -> Result<LoadReport, Error> {
    let wanted = |name: &str| options.training_state || !is_training_state(name);
    let layout = options.layout.unwrap_or_else(|| file.assumed_layout());
    let named = renamed(file, options)?;
    let mut report = LoadReport::default();
    let known: HashSet<&str> = store.entries().iter().map(|(name, _)| name.as_str()).collect();
    for name in named.keys().filter(|name| wanted(name) && !name.ends_with(IGNORED)) {
        if !known.contains(name.as_str()) {
            report.unexpected.push(name.clone());
        }
    }
    let mut values = Vec::new();
    for (name, ty) in store.entries().iter().filter(|(name, _)| wanted(name)) {
        let Some(source) = named.get(name) else {
            report.missing.push(Missing { name: name.clone(), near: None });
            continue;
        };
        match fitting(file, source, (layout, store.axes(name)), ty)? {
            Ok(value) => values.push((name, value)),
            Err(reason) => report.mismatched.push(Mismatched { name: name.clone(), reason }),
        }
    }
    let candidates: Vec<&str> = match &report.unexpected[..] {
        [] => file.names().take(MOST_NEAR).collect(),
        left_over => left_over.iter().take(MOST_NEAR).map(String::as_str).collect(),
    };
    for missing in report.missing.iter_mut().take(MOST_NEAR) {
        missing.near = nearest(&missing.name, candidates.iter().copied()).into_iter().next();
    }
    let problems = report.problems(options);
    if !problems.is_empty() {
        return Err(file.error(summary(&problems)));
    }
    values.iter().try_for_each(|(name, value)| store.set(name, value))?;
    report.loaded = values.into_iter().map(|(name, _)| name.clone()).collect();
    Ok(report)
}

impl WeightFile {
    /// Puts the file's tensors into `store`, which changes only if all of them fit: the strict case of
    /// [`load_by_name`]. Tensors of the file that the model does not have are an error too: it would be another
    /// model's file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming each tensor that is missing, unknown, or of another type or shape.
    pub fn restore(&self, store: &Store, layout: Layout, what: Restore) -> Result<(), Error> {
        let training_state = what == Restore::Everything;
        let options = LoadOptions { strict: true, layout: Some(layout), training_state, ..LoadOptions::default() };
        load_by_name(self, store, &options).map(|_| ())
    }
}

/// The file's names by those that they have after renaming.
fn renamed<'f>(file: &'f WeightFile, options: &LoadOptions) -> Result<BTreeMap<String, &'f str>, Error> {
    let mut named = BTreeMap::new();
    for name in file.names() {
        let rule =
            options.rename.iter().find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from.as_str())?)));
        let new = rule.unwrap_or_else(|| name.to_string());
        if let Some(other) = named.insert(new.clone(), name) {
            return Err(file.error(format!("tensors \"{other}\" and \"{name}\" would both be \"{new}\"")));
        }
    }
    Ok(named)
}

/// The tensor `source` of the file as the model has it, or what is wrong with it.
fn fitting(
    file: &WeightFile,
    source: &str,
    (layout, axes): (Layout, Axes),
    ty: &TensorType,
) -> Result<Result<Tensor, String>, Error> {
    let expected = layout.file_shape(axes, &ty.shape);
    let got = file.shape(source)?;
    if !is_shape(got, &expected, (layout, axes)) {
        return Ok(Err(format!("must be {expected} ({}), got {got}", layout.describe())));
    }
    let value = match file.tensor(source) {
        Ok(tensor) if *got == expected => layout.from_file(axes, &tensor)?,
        Ok(tensor) => layout.from_file(axes, &Tensor::new(expected, tensor.data().clone())?)?,
        Err(error) => return Ok(Err(format!("cannot be taken: {error}"))),
    };
    if value.dtype() == ty.dtype {
        Ok(Ok(value))
    } else {
        Ok(Err(format!("must hold {}, got {}", ty.dtype, value.dtype())))
    }
}

/// Whether a file's tensor of the shape `got` is one of `expected`, or the other form of [`Axes::Depthwise`].
pub(crate) fn is_shape(got: &Shape, expected: &Shape, of: (Layout, Axes)) -> bool {
    match (of, &got.0[..], &expected.0[..]) {
        ((Layout::Native, Axes::Depthwise), &[rows, columns, 1, outputs], &[r, c, channels, multiplier]) => {
            [rows, columns, outputs] == [r, c, channels.saturating_mul(multiplier)]
        }
        _ => got == expected,
    }
}

/// The first few problems in one line.
fn summary(problems: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = problems.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match problems.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown}; and {more} more"),
    }
}
