//! Loss, optimizer and metrics of a model.

use super::objective::{Objectives, loss_name};
use super::{Logs, Model};
use crate::error::Error;
use crate::tensor::Tensor;
use crate::train::metrics::{Mean, Metric};
use crate::train::optimizer::{Tuned, is_training_state};

/// What a model is measured by besides its losses: `()`, an array, a tuple of metrics of different kinds, or several
/// outputs' by [`Metrics::of`].
#[derive(Default)]
pub struct Metrics(Vec<Measured>);

struct Measured {
    output: Option<String>,
    metric: Box<dyn Measure>,
}

/// A metric of which a model has a copy for training and one for testing.
pub(super) trait Measure: Metric {
    fn copy(&self) -> Box<dyn Measure>;
}

impl<M: Metric + Clone + 'static> Measure for M {
    fn copy(&self) -> Box<dyn Measure> {
        Box::new(self.clone())
    }
}

impl Metrics {
    /// None.
    pub fn new() -> Metrics {
        Metrics::default()
    }
    /// Adds a metric of the first output.
    #[must_use]
    pub fn and(mut self, metric: impl Metric + Clone + 'static) -> Metrics {
        self.0.push(Measured { output: None, metric: Box::new(metric) });
        self
    }
    /// Adds a metric of the output with this name; it is reported as `<output>_<metric>`.
    #[must_use]
    pub fn of(mut self, output: &str, metric: impl Metric + Clone + 'static) -> Metrics {
        self.0.push(Measured { output: Some(output.to_string()), metric: Box::new(metric) });
        self
    }
}

impl From<()> for Metrics {
    fn from((): ()) -> Metrics {
        Metrics::new()
    }
}
impl<M: Metric + Clone + 'static, const N: usize> From<[M; N]> for Metrics {
    fn from(metrics: [M; N]) -> Metrics {
        metrics.into_iter().fold(Metrics::new(), Metrics::and)
    }
}

macro_rules! tuples {
    ($(($($name:ident)+))*) => {
        $(impl<$($name: Metric + Clone + 'static),+> From<($($name,)+)> for Metrics {
            #[allow(non_snake_case, reason = "a variable for each type")]
            fn from(($($name,)+): ($($name,)+)) -> Metrics {
                Metrics::new()$(.and($name))+
            }
        })*
    };
}

tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

/// What [`Model::compile`] was told, and what is being measured.
pub(super) struct Compiled {
    pub(super) tuned: Tuned,
    pub(super) objectives: Objectives,
    /// The output of each objective.
    pub(super) places: Vec<usize>,
    /// What training measures.
    pub(super) trained: Meters,
    /// What an evaluation measures, which may come in the middle of an epoch of training.
    pub(super) tested: Meters,
}

/// Running means of losses, and metrics.
pub(super) struct Meters {
    loss: Mean,
    /// Those of the objectives, where there are several, with their names.
    losses: Vec<(String, Mean)>,
    /// With the place of the objective whose prediction and target they compare.
    metrics: Vec<(usize, String, Box<dyn Measure>)>,
}

impl Meters {
    /// Meters for losses of the outputs at `places`.
    fn new(outputs: &[&str], places: &[usize], metrics: &Metrics) -> Result<Meters, Error> {
        let mut measured = Vec::new();
        for Measured { output, metric } in &metrics.0 {
            let (at, name) = match output {
                None => (0, metric.name()),
                Some(output) => {
                    let place = places.iter().position(|&place| outputs[place] == *output);
                    let at = place.ok_or_else(|| Error::UnknownName {
                        what: "output with a loss",
                        near: crate::error::nearest(output, places.iter().map(|&place| outputs[place])),
                        name: output.clone(),
                    })?;
                    (at, format!("{output}_{}", metric.name()))
                }
            };
            measured.push((at, name, metric.copy()));
        }
        // one loss is the total
        let several = places.iter().filter(|_| places.len() > 1);
        let losses = several.map(|&place| (loss_name(outputs[place]), Mean::default())).collect();
        Ok(Meters { loss: Mean::default(), losses, metrics: measured })
    }
    pub(super) fn reset(&mut self) {
        self.loss.reset();
        self.losses.iter_mut().for_each(|(_, mean)| mean.reset());
        self.metrics.iter_mut().for_each(|(_, _, metric)| metric.reset());
    }
    /// Adds a batch: the total loss, that of each objective, and what they compared.
    pub(super) fn add(
        &mut self,
        samples: usize,
        loss: f32,
        losses: &[f32],
        pairs: &[(Tensor, Tensor)],
    ) -> Result<(), Error> {
        self.loss.add(f64::from(loss), samples);
        self.losses.iter_mut().zip(losses).for_each(|((_, mean), &loss)| mean.add(f64::from(loss), samples));
        for (at, name, metric) in &mut self.metrics {
            if let Some((prediction, target)) = pairs.get(*at) {
                metric.update(prediction, target).map_err(|mut error| {
                    if let Error::Type { name: what, .. } | Error::Label { name: what, .. } = &mut error {
                        *what = format!("{what} of {name}");
                    }
                    error
                })?;
            }
        }
        Ok(())
    }
    /// Names and values since the last reset; the loss first.
    pub(super) fn logs(&self) -> Logs {
        let losses = self.losses.iter().map(|(name, mean)| (name.clone(), mean.value()));
        let metrics = self.metrics.iter().map(|(_, name, metric)| (name.clone(), metric.value()));
        Logs::new([("loss".to_string(), self.loss.value())].into_iter().chain(losses).chain(metrics).collect())
    }
    /// Names of the losses of the objectives, where there are several.
    pub(super) fn loss_names(&self) -> impl Iterator<Item = &str> {
        self.losses.iter().map(|(name, _)| name.as_str())
    }
    pub(super) fn measures(&self) -> bool {
        !self.metrics.is_empty()
    }
}

impl Model {
    /// Says how the model is trained and measured, as Keras's `compile`: `model.compile(Adam::default().lr(1e-3),
    /// Loss::CrossEntropy { label_smoothing: 0.0 }, [Accuracy::new()])?`. Weights stay as they are; moments of an
    /// optimizer before are forgotten.
    ///
    /// # Errors
    /// [`Error::Option`] for losses that do not fit the outputs, and for options of the optimizer out of range;
    /// [`Error::UnknownName`] for an output that is not there, and for a group of parameters that fits none. The model
    /// is then as before.
    pub fn compile(
        &mut self,
        optimizer: impl Into<Tuned>,
        loss: impl Into<Objectives>,
        metrics: impl Into<Metrics>,
    ) -> Result<(), Error> {
        let (tuned, objectives) = (optimizer.into(), loss.into());
        let states = self.store().entries().iter().map(|(name, _)| name.as_str());
        tuned.check(&states.filter(|name| !is_training_state(name)).collect::<Vec<_>>())?;
        let outputs = self.network.output_names();
        let places = objectives.places(&outputs)?;
        let metrics = metrics.into();
        let (trained, tested) = (Meters::new(&outputs, &places, &metrics)?, Meters::new(&outputs, &places, &metrics)?);
        self.programs.forget();
        self.programs.drop_states(is_training_state)?;
        self.compiled = Some(Compiled { tuned, objectives, places, trained, tested });
        (self.steps, self.begun, self.targets) = (0, None, None);
        Ok(())
    }

    /// Measures by other metrics from now on; optimizer, losses and moments stay. What [`Model::load`] made has none.
    ///
    /// # Errors
    /// [`Error::Option`] for a model that was not compiled; [`Error::UnknownName`] for an output without a loss.
    pub fn set_metrics(&mut self, metrics: impl Into<Metrics>) -> Result<(), Error> {
        let (outputs, metrics) = (self.network.output_names(), metrics.into());
        let compiled = self.compiled.as_mut().ok_or_else(not_compiled)?;
        let tested = Meters::new(&outputs, &compiled.places, &metrics)?;
        (compiled.trained, compiled.tested) = (Meters::new(&outputs, &compiled.places, &metrics)?, tested);
        Ok(())
    }

    pub(super) fn compiled(&self) -> Result<&Compiled, Error> {
        self.compiled.as_ref().ok_or_else(not_compiled)
    }
    pub(super) fn compiled_mut(&mut self) -> Result<&mut Compiled, Error> {
        self.compiled.as_mut().ok_or_else(not_compiled)
    }
}

pub(super) fn not_compiled() -> Error {
    let reason = "has no optimizer and no loss yet; call `compile` first".to_string();
    Error::Option { option: "model".to_string(), reason }
}
