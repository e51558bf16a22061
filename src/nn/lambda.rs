//! Functions of the user's as layers.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::builder::{Builder, Placed};
use super::form::Form;
use super::kind::Config;
use super::layer::Layer;
use crate::error::Error;
use crate::graph::{Graph, Value};

type Body = dyn Fn(&mut Graph, &[Value]) -> Result<Value, Error> + Send + Sync;

/// The function of a [`Lambda`].
#[derive(Clone)]
pub struct LambdaConfig {
    body: Arc<Body>,
}

/// Graph operations as a layer without weights.
///
/// The function gets the layer's operands as values of a graph, with the axes that their shapes have and the batch
/// before them. It runs once for the shapes and once for every graph that is made, with other batches, so it must take
/// the batch from its operands and do the same each time. A network with a lambda cannot be written to a file.
///
/// ```
/// use outrigger::nn::{Input, Lambda};
///
/// let square = Lambda::new(|g, x| g.mul(x[0], x[0])).name("square");
/// let x = Input::torch("images", [3, 8, 8]);
/// assert_eq!(square.call(&x)?.shape(), [3, 8, 8]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Lambda = Layer<LambdaConfig>;

impl Lambda {
    /// What `body` makes of the operands.
    pub fn new(body: impl Fn(&mut Graph, &[Value]) -> Result<Value, Error> + Send + Sync + 'static) -> Self {
        Layer::of(LambdaConfig { body: Arc::new(body) })
    }
}

impl Config for LambdaConfig {
    fn class(&self, _: Form) -> &'static str {
        "Lambda"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let operands = x.iter().map(|&x| b.plain(x)).collect::<Result<Vec<Value>, Error>>()?;
        let y = (self.body)(b.graph, &operands)?;
        Ok(b.of_plain(y))
    }
}

impl fmt::Debug for LambdaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LambdaConfig")
    }
}

impl PartialEq for LambdaConfig {
    /// Whether both are one function.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.body, &other.body)
    }
}

const NO_DATA: &str = "a Lambda layer is code: it cannot be written to a file or read from one";

impl Serialize for LambdaConfig {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(NO_DATA))
    }
}

impl<'de> Deserialize<'de> for LambdaConfig {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(NO_DATA))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::kind::Kind;

    #[test]
    fn files_hold_no_code() {
        let kind = Lambda::new(|g, x| g.exp(x[0])).definition().kind;
        assert_eq!(kind, kind.clone());
        assert!(serde_json::to_string(&kind).unwrap_err().to_string().contains("Lambda layer is code"));
        let error = serde_json::from_str::<Kind>(r#"{"kind": "lambda"}"#).unwrap_err().to_string();
        assert!(error.contains("Lambda layer is code"), "{error}");
    }
}
