//! What a step is given: tensors as the user's shapes have them, or batches of a loader, whose images lie channels
//! last as the programs want them.

use std::borrow::Cow;

use super::objective::{Task, WEIGHTS};
use crate::data::Batch;
use crate::error::Error;
use crate::nn::Symbol;
use crate::session::Session;
use crate::tensor::{Data, Tensor};
use crate::types::DType;

/// Numbers of one input or target.
#[derive(Clone, Debug)]
pub(super) enum Numbers<'a> {
    F32(Cow<'a, [f32]>),
    I32(Cow<'a, [i32]>),
}

impl Numbers<'_> {
    pub(super) fn set(&self, session: &mut Session, name: &str) -> Result<(), Error> {
        match self {
            Numbers::F32(values) => session.set_f32(name, values),
            Numbers::I32(values) => session.set_i32(name, values),
        }
    }
    /// A copy that borrows nothing.
    pub(super) fn to_static(&self) -> Numbers<'static> {
        match self {
            Numbers::F32(values) => Numbers::F32(Cow::Owned(values.to_vec())),
            Numbers::I32(values) => Numbers::I32(Cow::Owned(values.to_vec())),
        }
    }
}

/// Inputs and targets of one step.
pub(super) struct Feed<'a> {
    pub(super) batch: usize,
    pub(super) inputs: Vec<Numbers<'a>>,
    /// A tensor each, for metrics.
    pub(super) targets: Vec<Tensor>,
    /// One a sample.
    pub(super) weights: Option<Vec<f32>>,
}

fn misfit(what: &str, reason: String) -> Error {
    Error::Option { option: what.to_string(), reason }
}

impl<'a> Feed<'a> {
    /// A loader's batch for a network of one input.
    pub(super) fn of_batch(batch: &'a Batch, inputs: &[Symbol]) -> Result<Feed<'a>, Error> {
        let [input] = inputs else {
            let reason = format!("a loader makes one input a sample, the network has {}", inputs.len());
            return Err(misfit("data", reason));
        };
        let (n, shape) = (batch.len(), native_shape(input));
        if batch.shape.get(1..) != Some(&shape[..]) {
            let reason = format!("samples must be {shape:?}, got {:?}", batch.shape.get(1..).unwrap_or_default());
            return Err(misfit("data", reason));
        }
        let values = match input.dtype() {
            DType::I32 => Numbers::I32(batch.inputs.iter().map(|&x| x as i32).collect::<Vec<_>>().into()),
            DType::F32 | DType::Bf16 | DType::U8 => Numbers::F32(Cow::Borrowed(&batch.inputs)),
        };
        Ok(Feed { batch: n, inputs: vec![values], targets: targets(batch)?, weights: None })
    }

    /// Tensors with the batch in front, shaped as the network's inputs say.
    pub(super) fn of_tensors(tensors: &'a [Tensor], inputs: &[Symbol]) -> Result<Feed<'a>, Error> {
        if tensors.len() != inputs.len() {
            let reason = format!("the network takes {} tensors, got {}", inputs.len(), tensors.len());
            return Err(misfit("inputs", reason));
        }
        let batch = tensors.first().and_then(|t| t.shape().0.first().copied()).unwrap_or(0);
        let mut values = Vec::with_capacity(inputs.len());
        for (tensor, input) in tensors.iter().zip(inputs) {
            let expected: Vec<usize> = [batch].into_iter().chain(input.shape().iter().copied()).collect();
            if tensor.shape().0 != expected {
                let reason = format!("must be {expected:?} with the batch in front, got {}", tensor.shape());
                return Err(misfit("inputs", reason));
            }
            values.push(match tensor.data() {
                Data::F32(numbers) if input.channels_last_in_memory() => {
                    Numbers::F32(channels_last(numbers, &expected).into())
                }
                Data::F32(numbers) => Numbers::F32(Cow::Borrowed(numbers)),
                Data::I32(numbers) => Numbers::I32(Cow::Borrowed(numbers)),
                Data::U8(numbers) => Numbers::I32(numbers.iter().map(|&x| i32::from(x)).collect::<Vec<_>>().into()),
            });
        }
        Ok(Feed { batch, inputs: values, targets: Vec::new(), weights: None })
    }

    /// The same inputs with what their outputs are compared with.
    pub(super) fn with_targets(self, targets: Vec<Tensor>) -> Result<Feed<'a>, Error> {
        let batch = self.batch;
        if let Some(target) = targets.iter().find(|target| target.shape().0.first() != Some(&batch)) {
            let reason = format!("a target has a row a sample, {batch}; got {}", target.shape());
            return Err(misfit("targets", reason));
        }
        Ok(Feed { targets, ..self })
    }

    /// What a program with a loss must be compiled for to take this.
    pub(super) fn task(&self) -> Task {
        Task { batch: self.batch, targets: types(&self.targets), weighted: self.weights.is_some() }
    }

    /// Gives a program its inputs.
    pub(super) fn set_inputs(&self, session: &mut Session, names: &[&str]) -> Result<(), Error> {
        self.inputs.iter().zip(names).try_for_each(|(values, name)| values.set(session, name))
    }
    /// Gives a program its targets and weights.
    pub(super) fn set_targets(&self, session: &mut Session, names: &[String]) -> Result<(), Error> {
        for (target, name) in self.targets.iter().zip(names) {
            session.set(name, target)?;
        }
        self.weights.as_ref().map_or(Ok(()), |weights| session.set_f32(WEIGHTS, weights))
    }
}

/// Type and shape of targets, without the batch.
pub(super) fn types(targets: &[Tensor]) -> Vec<(DType, Vec<usize>)> {
    targets.iter().map(|t| (t.dtype(), t.shape().0.get(1..).unwrap_or_default().to_vec())).collect()
}

/// What a loader's batch has to compare with: numbers, or classes, or nothing.
pub(super) fn targets(batch: &Batch) -> Result<Vec<Tensor>, Error> {
    let n = batch.len();
    if !batch.targets.is_empty() {
        return Ok(vec![Tensor::f32([n, batch.targets.len() / n.max(1)], batch.targets.clone())?]);
    }
    if batch.labels.is_empty() { Ok(Vec::new()) } else { Ok(vec![Tensor::i32([n], batch.labels.clone())?]) }
}

/// A target of a loss that compares element by element, where it must be changed to be so compared: whole numbers
/// become floats, and `[n]` becomes `[n, 1]` if the output is, as Keras does.
pub(super) fn elementwise(target: &Tensor, output: &Symbol) -> Result<Option<Tensor>, Error> {
    let mut shape = target.shape().0.clone();
    let column = output.shape().split_last().filter(|&(&last, rest)| last == 1 && shape.get(1..) == Some(rest));
    if column.is_some() {
        shape.push(1);
    } else if target.dtype() == DType::F32 {
        return Ok(None);
    }
    let values = match target.data() {
        Data::F32(values) => values.clone(),
        Data::I32(values) => values.iter().map(|&x| x as f32).collect(),
        Data::U8(values) => values.iter().map(|&x| f32::from(x)).collect(),
    };
    Tensor::f32(shape, values).map(Some)
}

/// A target as its output lies in memory, where that differs from its shape.
pub(super) fn native(target: &Tensor, output: &Symbol) -> Result<Option<Tensor>, Error> {
    let (shape, Some(values)) = (&target.shape().0, target.as_f32()) else { return Ok(None) };
    if !output.channels_last_in_memory() || shape.get(1..) != Some(output.shape()) {
        return Ok(None);
    }
    let turned: Vec<usize> = [shape[0]].into_iter().chain(native_shape(output)).collect();
    Tensor::f32(turned, channels_last(values, shape)).map(Some)
}

/// An output with the axes that its shape says.
pub(super) fn declared(tensor: Tensor, output: &Symbol) -> Result<Tensor, Error> {
    let Some(values) = tensor.as_f32().filter(|_| output.channels_last_in_memory()) else { return Ok(tensor) };
    let (batch, shape) = (tensor.shape().0[0], output.shape());
    let pixels = shape[1..].iter().product();
    let turned: Vec<usize> = [batch].into_iter().chain(shape.iter().copied()).collect();
    Tensor::f32(turned, channels_first(values, shape[0], pixels))
}

/// The shape of a sample in memory.
pub(super) fn native_shape(input: &Symbol) -> Vec<usize> {
    let mut shape = input.shape().to_vec();
    if input.channels_last_in_memory() {
        shape.rotate_left(1);
    }
    shape
}

/// `[n, c, h, w]` to `[n, h, w, c]`.
pub(super) fn channels_last(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let (channels, pixels) = (shape[1], shape[2..].iter().product::<usize>());
    let mut out = Vec::with_capacity(values.len());
    for image in values.chunks_exact((channels * pixels).max(1)) {
        for pixel in 0..pixels {
            out.extend((0..channels).map(|channel| image[channel * pixels + pixel]));
        }
    }
    out
}

/// `[n, h, w, c]` to `[n, c, h, w]`.
pub(super) fn channels_first(values: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for image in values.chunks_exact((channels * pixels).max(1)) {
        for channel in 0..channels {
            out.extend((0..pixels).map(|pixel| image[pixel * channels + channel]));
        }
    }
    out
}
