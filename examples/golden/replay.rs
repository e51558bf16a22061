//! Replays a golden training run and measures how far this compiler's is from it.
//!
//! A golden file holds the state before the first step (`init/…`), gradients of the first step (`step1/grad/…`,
//! PyTorch only), the state after it (`after1/…`), the evaluation output after the last step (`eval/…`), and in its
//! metadata the losses and how the run was made: framework, layers, batch, steps, optimizer.

use std::sync::Arc;

use outrigger::data::{DataLoader, Images, LoaderOptions, Split};
use outrigger::graph::Loss;
use outrigger::models::ResNetCifar;
use outrigger::nn::Form;
use outrigger::train::optimizer::is_training_state;
use outrigger::train::{Layout, Method, Model, ModelOptions, Restore, WeightFile, network};
use outrigger::{Error, Store, Tensor};
use serde::Serialize;

/// How far the replay is from the golden run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// |loss − golden| / |golden| of the first step.
    pub loss1_rel: f64,
    /// The largest of all steps.
    pub loss_rel_max: f64,
    /// Largest ‖g − g₀‖/‖g₀‖ over parameters in the first step; `None` when the file has no gradients.
    pub grad_rel_max: Option<f64>,
    /// The same over weights and running statistics after the first step.
    pub after1_rel_max: f64,
    /// Largest absolute difference of an evaluation output after the last step.
    pub eval_abs_max: f64,
}

/// What a golden file's metadata says.
struct Golden<'f> {
    file: &'f WeightFile,
    model: ResNetCifar,
    method: Method,
    batch: usize,
    losses: Vec<f64>,
    layout: Layout,
}

/// Replays `file` on the records of `data`, with threads and precision from `options`.
///
/// # Errors
/// A file that is no golden file, too little data, and all errors of training.
pub fn replay(file: &WeightFile, data: Split, options: ModelOptions) -> Result<Report, Error> {
    let golden = Golden::of(file)?;
    let (images, tests) = (Arc::new(data.train), Arc::new(data.test));
    let mut model = Model::of(golden.model.network()?, options)?;
    let optimizer = golden.method.optimizer(golden.model.form).lr(golden.method.default_lr().into());
    model.compile(optimizer, Loss::cross_entropy(), ())?;
    golden.initialise(model.store())?;

    let (mut after1_rel_max, mut grad_rel_max) = (f64::NAN, None);
    let mut loss_errors = Vec::new();
    let batches = batches(&images, golden.batch)?;
    let steps = golden.losses.len();
    if images.len() < steps * golden.batch {
        let needed = steps * golden.batch;
        return Err(Error::Option {
            option: "--data".to_string(),
            reason: format!("{steps} steps of {} images need {needed}, the data has {}", golden.batch, images.len()),
        });
    }
    for (step, (batch, expected)) in batches.epoch(0).zip(&golden.losses).enumerate() {
        let batch = batch?;
        let loss = if step == 0 {
            // in PyTorch's parts, to see the gradients
            model.forward(&batch)?;
            let loss = model.loss(&batch)?;
            model.backward()?;
            grad_rel_max = golden.compare_gradients(&model)?;
            model.step()?;
            after1_rel_max = golden.compare_state(&model, "after1/")?;
            loss
        } else {
            model.train_step(&batch, &batch)?
        };
        loss_errors.push((f64::from(loss) - expected).abs() / expected.abs());
    }
    Ok(Report {
        loss1_rel: loss_errors[0],
        loss_rel_max: largest(loss_errors),
        grad_rel_max,
        after1_rel_max,
        eval_abs_max: golden.compare_evaluation(&mut model, &tests)?,
    })
}

impl<'f> Golden<'f> {
    fn of(file: &'f WeightFile) -> Result<Self, Error> {
        let (layers, form) = network(file)?;
        let method = file.meta("optimizer")?.parse().map_err(|e: Error| file.error(e.to_string()))?;
        let losses: Vec<f64> = serde_json::from_str(file.meta("losses")?)
            .map_err(|e| file.error(format!("its losses are no list of numbers: {e}")))?;
        let steps: usize = file.meta_as("steps")?;
        if steps == 0 || steps != losses.len() {
            return Err(file.error(format!("says {steps} steps and has {} losses", losses.len())));
        }
        let bias = match form {
            Form::Torch => "init/fc.bias",
            Form::Keras => "init/dense/bias",
        };
        let layout = file.layout().ok_or_else(|| file.error("does not say its layout (OIHW or HWIO)"))?;
        let model =
            ResNetCifar { layers, form, classes: file.tensor(bias)?.shape().elements(), ..ResNetCifar::default() };
        Ok(Golden { file, model, method, batch: file.meta_as("batch")?, losses, layout })
    }

    /// Puts the golden initial weights into `store`; optimizer state stays as it is.
    fn initialise(&self, store: &Store) -> Result<(), Error> {
        self.file.section("init/").restore(store, self.layout, Restore::Model)
    }

    /// Gradients of the first step.
    fn compare_gradients(&self, model: &Model) -> Result<Option<f64>, Error> {
        let golden = self.file.section("step1/grad/");
        if golden.names().next().is_none() {
            return Ok(None);
        }
        let errors: Result<Vec<f64>, Error> = golden
            .names()
            .map(|name| {
                let actual = self.layout.to_file(model.store().axes(name), &model.gradient(name)?)?;
                self.relative(&actual, &format!("step1/grad/{name}"))
            })
            .collect();
        Ok(Some(largest(errors?)))
    }

    /// Largest relative error over weights and running statistics.
    fn compare_state(&self, model: &Model, prefix: &str) -> Result<f64, Error> {
        let mut errors = Vec::new();
        for (name, _) in model.store().entries().iter().filter(|(name, _)| !is_training_state(name)) {
            if !is_idle_bias(name) {
                let actual = self.layout.to_file(model.store().axes(name), &model.store().get(name)?)?;
                errors.push(self.relative(&actual, &format!("{prefix}{name}"))?);
            }
        }
        Ok(largest(errors))
    }

    /// ‖a − e‖/‖e‖ for the file's tensor `name`, or ‖a‖ for one of zeros.
    fn relative(&self, actual: &Tensor, name: &str) -> Result<f64, Error> {
        let expected = self.file.tensor(name)?;
        if actual.ty() != expected.ty() {
            return Err(self.file.error(format!("{name} is {}, the network's is {}", expected.ty(), actual.ty())));
        }
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let (actual, expected) = (actual.to_f64(), expected.to_f64());
        let distance = norm(&mut actual.iter().zip(&expected).map(|(a, e)| a - e));
        let size = norm(&mut expected.iter().copied());
        Ok(if size > 0.0 { distance / size } else { distance })
    }

    /// Largest absolute difference of the logits or probabilities of the first test images.
    fn compare_evaluation(&self, model: &mut Model, tests: &Arc<Images>) -> Result<f64, Error> {
        let evaluation = self.file.section("eval/");
        let Some(name) = evaluation.names().next().map(str::to_string) else {
            return Err(self.file.error("has no evaluation output (eval/…)"));
        };
        let expected = evaluation.tensor(&name)?;
        let rows = expected.shape().elements() / expected.shape().last().max(1);
        if tests.len() < rows {
            return Err(Error::Option {
                option: "--data".to_string(),
                reason: format!("{rows} test images are needed, the data has {}", tests.len()),
            });
        }
        let batch = batches(tests, rows)?.epoch(0).next();
        let batch = batch
            .ok_or_else(|| Error::Option { option: "--data".to_string(), reason: "no test images".to_string() })?;
        let batch = batch?;
        model.eval();
        let logits = &model.forward(&batch)?[0];
        let actual = if name.starts_with("softmax") { softmax(logits) } else { logits.to_f64() };
        if actual.len() != expected.shape().elements() {
            return Err(self.file.error(format!(
                "eval/{name} is {}, the network gives {}",
                expected.ty(),
                logits.ty()
            )));
        }
        Ok(largest(actual.iter().zip(expected.to_f64()).map(|(a, e)| (a - e).abs())))
    }
}

/// Whether `name` is a Keras convolution's bias. In front of a batch norm its gradient is zero but for rounding,
/// which Adam turns into full steps of either sign: two correct runs differ there, and nowhere else for it.
fn is_idle_bias(name: &str) -> bool {
    name.starts_with("conv2d") && name.ends_with("/bias")
}

/// Images in their order, unchanged but for the division by 255.
fn batches(data: &Arc<Images>, batch: usize) -> Result<DataLoader, Error> {
    let options = LoaderOptions { batch_size: batch, shuffle: false, ..LoaderOptions::default() };
    DataLoader::new(Arc::clone(data), options).map_err(Error::Data)
}

/// The largest number; NaN if one of them is.
fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |a, b| if a > b || a.is_nan() { a } else { b })
}

/// Softmax of each row, in f64.
fn softmax(logits: &Tensor) -> Vec<f64> {
    let rows = logits.to_f64();
    let rows = rows.chunks_exact(logits.shape().last().max(1));
    rows.flat_map(|row| {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - top).exp()).sum();
        row.iter().map(move |x| (x - top).exp() / sum).collect::<Vec<_>>()
    })
    .collect()
}
