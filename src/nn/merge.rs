//! Layers that join several tensors.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::Config;
use super::layer::Layer;
use crate::error::Error;
use crate::graph::{Graph, Value};

macro_rules! merges {
    ($($(#[$doc:meta])* $name:ident($config:ident);)*) => {
        $(
            #[doc = concat!("Options of [`", stringify!($name), "`].")]
            #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $config {}

            $(#[$doc])*
            pub type $name = Layer<$config>;

            impl $name {
                /// The layer; it has no options.
                pub fn new() -> Self {
                    Layer::of($config {})
                }
            }
            impl Default for $name {
                fn default() -> Self {
                    $name::new()
                }
            }
        )*
    };
}

merges! {
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
}

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
    let reason = format!("joins at least two tensors, got {got}");
    Error::Operands { path: String::new(), op: "merge".to_string(), operands: String::new(), reason }
}

impl Config for AddConfig {
    fn class(&self, _: Form) -> &'static str {
        "Add"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        fold(b, x, |g, a, b| g.add_values(a, b))
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

/// Options of [`Concatenate`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConcatenateConfig {}

/// Tensors side by side along their channels: the first axis of an image's shape in PyTorch's form, the last in
/// Keras's.
///
/// ```
/// use outrigger::nn::{Concatenate, Input};
///
/// let (a, b) = (Input::torch("a", [16, 8, 8]), Input::torch("b", [8, 8, 8]));
/// assert_eq!(Concatenate::new().call([&a, &b])?.shape(), [24, 8, 8]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Concatenate = Layer<ConcatenateConfig>;

impl Concatenate {
    /// Along the channels.
    pub fn new() -> Self {
        Layer::of(ConcatenateConfig {})
    }
}

impl Default for Concatenate {
    fn default() -> Self {
        Concatenate::new()
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
        let mut values = Vec::with_capacity(x.len());
        for &operand in x {
            values.push(b.images(operand)?);
        }
        let rank = b.graph.expect_type(values[0], "concatenate")?.shape.rank();
        let y = b.graph.concat(&values, rank - 1)?;
        b.of_images(y)
    }
}
