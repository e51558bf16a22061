//! Loss, optimizer and metrics of a model.

use super::Model;
use super::objective::Objectives;
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
    metric: Box<dyn Metric>,
}

impl Metrics {
    /// None.
    pub fn new() -> Metrics {
        Metrics::default()
    }
    /// Adds a metric of the first output.
    #[must_use]
    pub fn and(mut self, metric: impl Metric + 'static) -> Metrics {
        self.0.push(Measured { output: None, metric: Box::new(metric) });
        self
    }
    /// Adds a metric of the output with this name; it is reported as `<output>_<metric>`.
    #[must_use]
    pub fn of(mut self, output: &str, metric: impl Metric + 'static) -> Metrics {
        self.0.push(Measured { output: Some(output.to_string()), metric: Box::new(metric) });
        self
    }
}

impl From<()> for Metrics {
    fn from((): ()) -> Metrics {
        Metrics::new()
    }
}
impl<M: Metric + 'static, const N: usize> From<[M; N]> for Metrics {
    fn from(metrics: [M; N]) -> Metrics {
        metrics.into_iter().fold(Metrics::new(), Metrics::and)
    }
}

macro_rules! tuples {
    ($(($($name:ident)+))*) => {
        $(impl<$($name: Metric + 'static),+> From<($($name,)+)> for Metrics {
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
    pub(super) meters: Meters,
}

/// Running means of losses, and metrics.
pub(super) struct Meters {
    loss: Mean,
    /// Those of the objectives, where there are several.
    losses: Vec<Mean>,
    /// With the place of the objective whose prediction and target they compare.
    metrics: Vec<(usize, String, Box<dyn Metric>)>,
}

impl Meters {
    /// Meters for losses of the outputs at `places`.
    fn new(outputs: &[&str], places: &[usize], metrics: Metrics) -> Result<Meters, Error> {
        let mut measured = Vec::new();
        for Measured { output, metric } in metrics.0 {
            let (at, name) = match output {
                None => (0, metric.name()),
                Some(output) => {
                    let place = places.iter().position(|&place| outputs[place] == output);
                    let at = place.ok_or_else(|| Error::UnknownName {
                        what: "output with a loss",
                        near: crate::error::nearest(&output, places.iter().map(|&place| outputs[place])),
                        name: output.clone(),
                    })?;
                    (at, format!("{output}_{}", metric.name()))
                }
            };
            measured.push((at, name, metric));
        }
        // one loss is the total
        let losses = vec![Mean::default(); if places.len() > 1 { places.len() } else { 0 }];
        Ok(Meters { loss: Mean::default(), losses, metrics: measured })
    }
    pub(super) fn reset(&mut self) {
        self.loss.reset();
        self.losses.iter_mut().for_each(Mean::reset);
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
        self.losses.iter_mut().zip(losses).for_each(|(mean, &loss)| mean.add(f64::from(loss), samples));
        for (at, _, metric) in &mut self.metrics {
            if let Some((prediction, target)) = pairs.get(*at) {
                metric.update(prediction, target)?;
            }
        }
        Ok(())
    }
    /// Names and values since the last reset; the loss first.
    pub(super) fn values(&self, loss_names: &[String]) -> Vec<(String, f64)> {
        let losses = loss_names.iter().cloned().zip(self.losses.iter().map(Mean::value));
        let metrics = self.metrics.iter().map(|(_, name, metric)| (name.clone(), metric.value()));
        [("loss".to_string(), self.loss.value())].into_iter().chain(losses).chain(metrics).collect()
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
    /// [`Error::Option`] for losses that do not fit the outputs; [`Error::UnknownName`] for an output that is not there.
    pub fn compile(
        &mut self,
        optimizer: impl Into<Tuned>,
        loss: impl Into<Objectives>,
        metrics: impl Into<Metrics>,
    ) -> Result<(), Error> {
        let (tuned, objectives) = (optimizer.into(), loss.into());
        let outputs = self.network.output_names();
        let places = objectives.places(&outputs)?;
        let meters = Meters::new(&outputs, &places, metrics.into())?;
        self.programs.forget();
        self.programs.drop_states(is_training_state)?;
        self.compiled = Some(Compiled { tuned, objectives, places, meters });
        self.steps = 0;
        Ok(())
    }

    /// Measures by other metrics from now on; optimizer, losses and moments stay. What [`Model::load`] made has none.
    ///
    /// # Errors
    /// [`Error::Option`] for a model that was not compiled; [`Error::UnknownName`] for an output without a loss.
    pub fn set_metrics(&mut self, metrics: impl Into<Metrics>) -> Result<(), Error> {
        let places = &self.compiled()?.places;
        let meters = Meters::new(&self.network.output_names(), places, metrics.into())?;
        self.compiled_mut()?.meters = meters;
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
