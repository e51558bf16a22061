//! Averaged weights while the model is looked at.
//!
//! ```text
//!   steps ─▶ on_test_begin: averages in ─▶ validation ─▶ on_test_end: averages out ─▶ steps …  on_train_end: averages in
//! ```

use super::Callback;
use crate::error::Error;
use crate::train::model::Model;

/// Validates with the averages of the weights, and leaves the model with them after training: Keras's callback of this
/// name, and what its optimizers' `use_ema` does in the end. The model is compiled with
/// [`Tuned::ema`](crate::train::optimizer::Tuned::ema). [`Model::swap_ema`] takes the last weights back for more
/// training.
///
/// ```
/// use outrigger::data::{Array, ArrayDataset};
/// use outrigger::prelude::*;
///
/// # fn main() -> Result<(), Error> {
/// let x = Input::keras("x", [1]);
/// let mut model = Model::new(&x, &Dense::new(1).call(&x)?)?;
/// model.compile(Sgd::default().lr(0.1).ema(0.9), Loss::MeanSquaredError, ())?;
/// let column = |values: [f32; 2]| Array::new([2, 1], values.to_vec());
/// let data = ArrayDataset::values(column([1.0, 2.0])?, column([3.0, 6.0])?)?;
/// let callbacks: Vec<Box<dyn Callback>> = vec![Box::new(SwapEMAWeights)];
/// let validation_data = Some(data.clone().into());
/// let history = model.fit(data.clone(), FitOptions { epochs: 5, validation_data, callbacks, verbose: Verbose::Silent, ..FitOptions::default() })?;
/// // what was validated last is what the model is left with
/// assert_eq!(model.evaluate(data, 2)?.get("loss"), Some(history.last("val_loss")?));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SwapEMAWeights;

impl Callback for SwapEMAWeights {
    fn on_test_begin(&mut self, model: &mut Model) -> Result<(), Error> {
        model.swap_ema()
    }
    fn on_test_end(&mut self, model: &mut Model) -> Result<(), Error> {
        model.swap_ema()
    }
    fn on_train_end(&mut self, model: &mut Model) -> Result<(), Error> {
        model.swap_ema()
    }
}
