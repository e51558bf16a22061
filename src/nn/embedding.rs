//! Embeddings.

use serde::{Deserialize, Serialize};

use super::builder::{Builder, Placed, refused};
use super::form::Form;
use super::kind::{Config, one};
use super::layer::Layer;
use crate::error::Error;
use crate::ops::{Init, Initializer};
use crate::types::DType;

/// Options of [`Embedding`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingConfig {
    count: usize,
    features: usize,
    init: Option<Initializer>,
}

/// A trained row of features for each number: i32 `[..]` becomes `[.., features]`.
///
/// ```
/// use outrigger::nn::{Embedding, Form, Input};
/// use outrigger::DType;
///
/// let words = Input::typed(Form::Torch, "words", DType::I32, [20]);
/// assert_eq!(Embedding::new(1000, 64).call(&words)?.shape(), [20, 64]);
/// # Ok::<(), outrigger::Error>(())
/// ```
pub type Embedding = Layer<EmbeddingConfig>;

impl Embedding {
    /// Rows of `features` numbers for `0..count`. They start as normal numbers of variance 1 in PyTorch's form, and
    /// uniform in ±0.05 in Keras's.
    pub fn new(count: usize, features: usize) -> Self {
        Layer::of(EmbeddingConfig { count, features, init: None })
    }
    /// First values instead of the framework's: Keras's `embeddings_initializer`.
    #[doc(alias = "embeddings_initializer")]
    pub fn weight_init(mut self, init: impl Into<Initializer>) -> Self {
        self.config.init = Some(init.into());
        self
    }
}

impl Config for EmbeddingConfig {
    fn class(&self, _: Form) -> &'static str {
        "Embedding"
    }
    fn build(&self, b: &mut Builder<'_>, x: &[Placed]) -> Result<Placed, Error> {
        let x = b.plain(one(x)?)?;
        let dtype = b.graph.expect_type(x, "embedding")?.dtype;
        if dtype != DType::I32 {
            let reason =
                format!("takes i32 numbers, got {dtype}: make the input with Input::typed(form, name, DType::I32, …)");
            return Err(refused(reason));
        }
        let init = match self.init {
            Some(init) => init.resolve(self.count, self.features),
            None => b.form.pick(Init::Normal(1.0), Init::Uniform(0.05)),
        };
        let table = b.parameter(b.form.pick("weight", "embeddings"), [self.count, self.features], init)?;
        let y = b.graph.embedding(x, table)?;
        Ok(b.of_plain(y))
    }
}
