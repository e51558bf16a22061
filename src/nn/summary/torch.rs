//! The table of torchsummary (<https://github.com/sksq96/pytorch-summary>), which is Keras's first one for PyTorch.

use std::fmt;

use super::{Summary, SummaryRow, thousands};
use crate::nn::form::Form;
use crate::nn::network::Network;
use crate::nn::symbol::Maker;

/// A line for each call that PyTorch would see a module in. Calls of modules are noted when they end, as hooks on
/// forward passes see them.
pub(super) fn rows(network: &Network, parameters: impl Fn(&str) -> usize) -> Vec<SummaryRow> {
    let mut rows = Vec::new();
    for call in network.calls() {
        let (class, parameters) = match &call.0.maker {
            Maker::Layer { definition, listed: true } => {
                (definition.kind.class(Form::Torch).to_string(), parameters(network.name_of(call)))
            }
            Maker::Module { class, .. } => (class.clone(), 0),
            Maker::Layer { .. } | Maker::Input(_) => continue,
        };
        let (name, shape) = (format!("{class}-{}", rows.len() + 1), call.shape().to_vec());
        rows.push(SummaryRow { name, class, shape, parameters, connected_to: Vec::new() });
    }
    rows
}

/// 2²⁰ bytes.
const MEGABYTE: f64 = 1_048_576.0;
/// Bytes of an element.
const ELEMENT: f64 = 4.0;

pub(super) fn write(summary: &Summary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (thin, thick) = ("-".repeat(64), "=".repeat(64));
    writeln!(f, "{thin}\n{:>20}  {:>25} {:>15}\n{thick}", "Layer (type)", "Output Shape", "Param #")?;
    let mut outputs = 0;
    for SummaryRow { name, shape, parameters, .. } in &summary.rows {
        let extents: Vec<String> = shape.iter().map(|extent| format!(", {extent}")).collect();
        writeln!(f, "{name:>20}  {:>25} {:>15}", format!("[-1{}]", extents.concat()), thousands(*parameters))?;
        outputs += shape.iter().product::<usize>();
    }
    let [trainable, frozen] = summary.counts;
    writeln!(f, "{thick}\nTotal params: {}", thousands(trainable + frozen))?;
    writeln!(f, "Trainable params: {}\nNon-trainable params: {}", thousands(trainable), thousands(frozen))?;
    let megabytes = |elements: usize| elements as f64 * ELEMENT / MEGABYTE;
    // every result once more, for its gradient
    let [input, passes, parameters] = [summary.inputs, 2 * outputs, trainable + frozen].map(megabytes);
    writeln!(f, "{thin}\nInput size (MB): {input:.2}\nForward/backward pass size (MB): {passes:.2}")?;
    writeln!(f, "Params size (MB): {parameters:.2}")?;
    write!(f, "Estimated Total Size (MB): {:.2}\n{thin}", input + passes + parameters)
}
