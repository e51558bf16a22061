//! Averaged weights: what [`TrainingOptions::ema`](super::optimizer::TrainingOptions::ema) keeps beside the
//! parameters.

use crate::error::Error;
use crate::store::Store;

/// Exchanges every parameter with its exponential moving average, `<parameter>.ema`: for an evaluation or a file with
/// the averaged weights, and back for more training. Running statistics have no average and stay.
///
/// # Errors
/// [`Error::Option`] when the store holds no averages: it is not that of a training graph with
/// [`TrainingOptions::ema`](super::optimizer::TrainingOptions::ema).
pub fn swap_ema(store: &Store) -> Result<(), Error> {
    let averages = || store.entries().iter().filter_map(|(name, _)| Some((name, name.strip_suffix(".ema")?)));
    if averages().next().is_none() {
        let reason = "the store holds no averages `<parameter>.ema`; train with `TrainingOptions::ema`".to_string();
        return Err(Error::Option { option: "ema".to_string(), reason });
    }
    for (average, parameter) in averages() {
        let (a, p) = (store.get(average)?, store.get(parameter)?);
        store.set(parameter, &a)?;
        store.set(average, &p)?;
    }
    Ok(())
}
