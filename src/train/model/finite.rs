//! Numbers that are none: what becomes of a step whose loss is a NaN or an infinity, and which operation made it.
//!
//! ```text
//!   state before ─▶ step ─▶ loss, state after    finite? ─▶ go on
//!        └───────── back ◀──────────────────────── no: once more, kernel by kernel ─▶ the first that is none
//! ```

use super::Model;
use super::feed::{Feed, Numbers};
use super::objective::Task;
use super::programs::Purpose;
use crate::error::Error;
use crate::store::Store;
use crate::tensor::Tensor;

/// What happens when a loss is a NaN or an infinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Training goes on, as in Keras and PyTorch.
    #[default]
    Allow,
    /// [`Error::Training`].
    Refuse,
    /// As `Refuse`, also when only the state after a step holds such a number; the step is repeated kernel by kernel to
    /// name the operation that first made one, and the state is then that before the step. Costs a copy of the state
    /// before every step and a look at it after.
    Explain,
}

/// Copies of a state.
type State = Vec<(String, Tensor)>;

impl NonFinite {
    /// The state before a step, where it is needed.
    pub(super) fn before(self, store: &Store) -> Result<State, Error> {
        match self {
            NonFinite::Allow | NonFinite::Refuse => Ok(Vec::new()),
            NonFinite::Explain => {
                store.entries().iter().map(|(name, _)| Ok((name.clone(), store.get(name)?))).collect()
            }
        }
    }
}

impl Model {
    /// An error when the step on `feed`, of this loss, made numbers that are none. `before` is the state before it.
    pub(super) fn check_step(
        &mut self,
        feed: &Feed<'_>,
        task: Task,
        loss: f32,
        before: &[(String, Tensor)],
    ) -> Result<(), Error> {
        let what = match self.non_finite {
            NonFinite::Allow => return Ok(()),
            _ if !loss.is_finite() => format!("the loss is {loss}"),
            NonFinite::Refuse => return Ok(()),
            NonFinite::Explain => match non_finite(self.store())? {
                Some(bad) => format!("after the step {bad}"),
                None => return Ok(()),
            },
        };
        let step = self.steps + 1;
        for (name, numbers) in self.network.input_names().into_iter().zip(&feed.inputs) {
            if let Numbers::F32(values) = numbers
                && let Some((at, bad)) = first_non_finite(values)
            {
                return Err(Error::Training { step, reason: format!("{what}: {name}[{at}] is {bad}") });
            }
        }
        if self.non_finite != NonFinite::Explain {
            let reason = format!("{what}; a smaller learning rate may help, `NonFinite::Explain` names the operation");
            return Err(Error::Training { step, reason });
        }
        let culprit = self.culprit(task, before)?.unwrap_or_else(|| "nothing else is".to_string());
        Err(Error::Training { step, reason: format!("{what}: {culprit}") })
    }

    /// An error when an evaluation's loss is no number.
    pub(super) fn check_test(&self, loss: f32) -> Result<(), Error> {
        if self.non_finite == NonFinite::Allow || loss.is_finite() {
            return Ok(());
        }
        let culprit = match non_finite(self.store())? {
            Some(bad) => format!(": {bad}"),
            None => ", though the state is finite".to_string(),
        };
        Err(Error::Training { step: self.steps, reason: format!("the evaluation loss is {loss}{culprit}") })
    }

    /// Repeats the last step from the state `before` and says what first made a number that is none.
    fn culprit(&mut self, task: Task, before: &[(String, Tensor)]) -> Result<Option<String>, Error> {
        for (name, value) in before {
            if let Some((_, bad)) = value.as_f32().and_then(first_non_finite) {
                return Ok(Some(format!("\"{name}\" was already {bad} before the step")));
            }
        }
        let store = self.store().clone();
        let reset = || before.iter().try_for_each(|(name, value)| store.set(name, value));
        reset()?;
        // it was compiled for the step, and holds its inputs
        let checked = self.programs.session(Purpose::Step(task), || Err(super::compile::not_compiled()))?.run_checked();
        reset()?;
        match checked {
            Ok(()) => Ok(None),
            Err(Error::Runtime(what @ outrigger_runtime::Error::NonFinite { .. })) => Ok(Some(what.to_string())),
            Err(other) => Err(other),
        }
    }
}

/// The first element of the state that is no finite number, in words.
pub(in crate::train) fn non_finite(store: &Store) -> Result<Option<String>, Error> {
    for (name, _) in store.entries() {
        let value = store.get(name)?;
        if let Some((at, bad)) = value.as_f32().and_then(first_non_finite) {
            return Ok(Some(format!("\"{name}\"[{at}] is {bad}")));
        }
    }
    Ok(None)
}

/// Index and value of the first element that is a NaN or an infinity.
fn first_non_finite(values: &[f32]) -> Option<(usize, f32)> {
    values.iter().copied().enumerate().find(|(_, x)| !x.is_finite())
}
