//! Layers that join several tensors.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed, refused};
use super::form::Form;
use super::kind::Config;
use super::layer::{Layer, plain_layers};
use crate::error::Error;
use crate::graph::{Graph, Value};

plain_layers! {
    /// Sum of two or more tensors, which broadcast.
    ///
    /// ```
    /// use outrigger::nn::{Add, Input};
    ///
    /// let (a, b) = (Input::torch("a", [16, 8, 8]), Input::torch("b", [16, 8, 8]));
    /// assert_eq!(Add::new().call([&a, &b])?.shape(), [16, 8, 8]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Add(AddConfig);
    /// The first tensor without the second; they broadcast.
    ///
    /// ```
    /// use outrigger::nn::{Input, Subtract};
    ///
    /// let (a, b) = (Input::keras("a", [8]), Input::keras("b", [8]));
    /// assert_eq!(Subtract::new().call([&a, &b])?.shape(), [8]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Subtract(SubtractConfig);
    /// Product of two or more tensors, which broadcast.
    ///
    /// ```
    /// use outrigger::nn::{Input, Multiply};
    ///
    /// let (x, gate) = (Input::keras("x", [8, 8, 16]), Input::keras("gate", [1, 1, 16]));
    /// assert_eq!(Multiply::new().call([&x, &gate])?.shape(), [8, 8, 16]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Multiply(MultiplyConfig);
    /// Mean of two or more tensors, which broadcast.
    ///
    /// ```
    /// use outrigger::nn::{Average, Input};
    ///
    /// let (a, b) = (Input::torch("a", [10]), Input::torch("b", [10]));
    /// assert_eq!(Average::new().call([&a, &b])?.shape(), [10]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Average(AverageConfig);
    /// The largest of two or more tensors, element by element; they broadcast.
    ///
    /// ```
    /// use outrigger::nn::{Input, Maximum};
    ///
    /// let (a, b) = (Input::torch("a", [10]), Input::torch("b", [10]));
    /// assert_eq!(Maximum::new().call([&a, &b])?.shape(), [10]);
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    Maximum(MaximumConfig);
}

/// Options of [`Concatenate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConcatenateConfig {
    /// That of the channels if there is none.
    #[serde(default)]
    axis: Option<isize>,
}

/// Tensors side by side along an axis.
///
/// ```
/// use outrigger::nn::{Concatenate, Input};
///
/// let (a, b) = (Input::torch("a", [16, 8, 8]), Input::torch("b", [8, 8, 8]));
/// assert_eq!(Concatenate::new().call([&a, &b])?.shape(), [24, 8, 8]);
/// assert_eq!(Concatenate::new().axis(-1).call([&a, &a])?.shape(), [16, 8, 16]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Concatenate = Layer<ConcatenateConfig>;

impl Concatenate {
    /// Along the channels: the first axis of the shape in PyTorch's form, the last in Keras's.
    pub fn new() -> Self {
        Layer::of(ConcatenateConfig::default())
    }
    /// Along another axis: PyTorch's `dim`, Keras's `axis`. The batch counts as axis 0, and -1 is the last.
    #[doc(alias = "dim")]
    pub fn axis(mut self, axis: isize) -> Self {
        self.config.axis = Some(axis);
        self
    }
}

impl Default for Concatenate {
    fn default() -> Self {
        Concatenate::new()
    }
}

/// What `join` makes of the first two operands, then of that and the third, and so on.
fn fold(
    b: &mut Builder<'_>,
    x: &[Placed],
    join: impl Fn(&mut Graph, Value, Value) -> Result<Value, Error>,
) -> Result<Placed, Error> {
    let values = b.alike(x)?;
    let [first, rest @ ..] = &values[..] else { return Err(needs_two(0)) };
    if rest.is_empty() {
        return Err(needs_two(1));
    }
    let value = rest.iter().try_fold(*first, |sum, &next| join(b.graph, sum, next))?;
    Ok(Placed { value, channels_first: x[0].channels_first })
}

fn needs_two(got: usize) -> Error {
    refused(format!("joins at least two tensors, got {got}"))
}

impl Config for AddConfig {
    fn class(&self, _: Form) -> &'static str {
        "Add"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        fold(b, x, |g, a, b| g.add_values(a, b))
    }
}

impl Config for SubtractConfig {
    fn class(&self, _: Form) -> &'static str {
        "Subtract"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        if x.len() > 2 {
            return Err(refused(format!("subtracts one tensor from another, got {}", x.len())));
        }
        fold(b, x, |g, a, b| g.sub(a, b))
    }
}

impl Config for MultiplyConfig {
    fn class(&self, _: Form) -> &'static str {
        "Multiply"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        fold(b, x, |g, a, b| g.mul(a, b))
    }
}

impl Config for AverageConfig {
    fn class(&self, _: Form) -> &'static str {
        "Average"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let sum = fold(b, x, |g, a, b| g.add_values(a, b))?;
        let count = b.graph.scalar(x.len() as f32)?;
        Ok(Placed { value: b.graph.div(sum.value, count)?, ..sum })
    }
}

impl Config for MaximumConfig {
    fn class(&self, _: Form) -> &'static str {
        "Maximum"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        fold(b, x, |g, a, b| g.maximum(a, b))
    }
}

impl Config for ConcatenateConfig {
    fn class(&self, form: Form) -> &'static str {
        form.pick("Concat", "Concatenate")
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        if x.len() < 2 {
            return Err(needs_two(x.len()));
        }
        let axis = b.axis(&x[0], self.axis.unwrap_or(b.channel_axis()))?;
        let values = b.alike(x)?;
        Ok(Placed { value: b.graph.concat(&values, axis)?, ..x[0] })
    }
}
