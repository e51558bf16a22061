//! What a network consists of, as a table: PyTorch's and Keras's.
//!
//! ```text
//!   Network ─ calls ─┬─▶ torch.rs: rows in the order in which forward passes end ─┬─▶ Summary ─▶ text
//!            └ graph │   keras.rs: rows by depth, "Connected to" ─────────────────┘
//!              └─────┴─▶ elements of each layer's tensors
//! ```

use std::collections::HashMap;
use std::fmt;

use super::builder::Mode;
use super::form::Form;
use super::network::Network;
use crate::error::Error;
use crate::ops::Op;

mod keras;
mod torch;

/// A line of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryRow {
    /// The layer's name; PyTorch's table numbers its lines and has none.
    pub name: String,
    /// Its class in the framework whose table it is.
    pub class: String,
    /// Shape of its result without the batch.
    pub shape: Vec<usize>,
    /// Elements of its tensors. PyTorch's table does not count running statistics, Keras's does.
    pub parameters: usize,
    /// What its operands are made by, as `conv2d_1[0][0]`: layer, number of the layer's call, and of its output. Keras's
    /// table only.
    pub connected_to: Vec<String>,
}

/// A network as a table of layers, for printing. [`Network::summary`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    look: Form,
    name: String,
    rows: Vec<SummaryRow>,
    /// Elements that training changes, and others.
    counts: [usize; 2],
    /// Elements of a sample's inputs.
    inputs: usize,
}

impl Summary {
    /// The lines in order.
    pub fn rows(&self) -> &[SummaryRow] {
        &self.rows
    }
    /// Elements of all tensors that count, those of shared layers once.
    pub fn parameters(&self) -> usize {
        self.counts.iter().sum()
    }
    /// Those that training changes.
    pub fn trainable(&self) -> usize {
        self.counts[0]
    }
    /// Those that training leaves alone: of frozen layers, and in Keras's table running statistics.
    pub fn non_trainable(&self) -> usize {
        self.counts[1]
    }
}

impl fmt::Display for Summary {
    /// The table as the framework prints it, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.look {
            Form::Torch => torch::write(self, f),
            Form::Keras => keras::write(self, f),
        }
    }
}

impl Network {
    /// A table of the layers, as the framework of the network's form prints it.
    ///
    /// In PyTorch's form it is that of `torchsummary.summary(model, input_size)`: a line for each call of a module but
    /// `Sequential` and the network itself, in the order in which the calls end, and memory in MB for one sample in
    /// training. Elements of a layer that is called twice are shown twice and added up once.
    ///
    /// In Keras's form it is that of Keras 3's `model.summary()` for functional models: layers by depth, a box around
    /// each. Columns are as wide as Keras's and widen where it would cut a name off; "Connected to" is always there.
    ///
    /// ```
    /// use outrigger::nn::{BatchNorm2d, Conv2d, Input, Network, Sequential};
    ///
    /// let layers = Sequential::new().add(Conv2d::new(16, 3).bias(false)).add(BatchNorm2d::new());
    /// let summary = Network::of(&layers, Input::torch("images", [3, 32, 32]))?.summary()?;
    /// assert_eq!((summary.parameters(), summary.trainable()), (464, 464));
    /// assert!(summary.to_string().contains("BatchNorm2d-2           [-1, 16, 30, 30]              32"));
    /// # Ok::<(), outrigger::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Network::graph`].
    pub fn summary(&self) -> Result<Summary, Error> {
        self.summary_as(self.form())
    }

    /// The table that the framework of `look` prints, whatever the network's form.
    ///
    /// # Errors
    /// As [`Network::summary`].
    pub fn summary_as(&self, look: Form) -> Result<Summary, Error> {
        let tensors = self.tensors()?;
        // PyTorch's table is of parameters
        let counted = |tensor: &&LayerTensor| look == Form::Keras || !tensor.statistic;
        let of_layer = |layer: &str| {
            let tensors = tensors.get(layer).map(Vec::as_slice).unwrap_or_default();
            tensors.iter().filter(counted).map(|tensor| tensor.elements).sum()
        };
        let rows = match look {
            Form::Torch => torch::rows(self, of_layer),
            Form::Keras => keras::rows(self, of_layer),
        };
        let mut counts = [0; 2];
        for tensor in tensors.values().flatten().filter(counted) {
            counts[usize::from(!tensor.trained)] += tensor.elements;
        }
        let inputs = self.inputs().iter().map(|input| input.shape().iter().product::<usize>()).sum();
        Ok(Summary { look, name: self.name().to_string(), rows, counts, inputs })
    }

    /// The tensors of each layer.
    fn tensors(&self) -> Result<HashMap<String, Vec<LayerTensor>>, Error> {
        let graph = self.graph(1, Mode::Evaluate)?;
        let [_, _, mean, variance] = self.form().norm_weights();
        let mut layers: HashMap<String, Vec<LayerTensor>> = HashMap::new();
        for node in graph.states().filter_map(|id| graph.get(id)) {
            if let Op::Parameter(ty, _) | Op::Buffer(ty, _) = &node.op {
                let (layer, tensor) = node.name.rsplit_once(['.', '/']).unwrap_or(("", &node.name));
                layers.entry(layer.to_string()).or_default().push(LayerTensor {
                    elements: ty.shape.elements(),
                    trained: matches!(node.op, Op::Parameter(..)),
                    statistic: [mean, variance].contains(&tensor),
                });
            }
        }
        Ok(layers)
    }
}

struct LayerTensor {
    elements: usize,
    trained: bool,
    /// Running mean or variance.
    statistic: bool,
}

/// `1234567` as `1,234,567`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
