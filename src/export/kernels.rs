//! What a fused kernel does, in the words of the operations that it was made of.
//!
//! ```text
//!   Fused { source: [x, relu], anchor: Conv2d, result: [anchor, + operand 2, relu] }
//!     ──▶  relu ▸ conv2d 3×3 ▸ add (operand 2) ▸ relu
//! ```

use crate::ops::{Anchor, Conv2d, Fused, Program, Step};
use crate::types::Shape;

/// One operation inside a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name, with the attributes that tell it from others.
    pub(super) text: String,
    /// The kernel's operands that it reads, by position.
    pub(super) operands: Vec<usize>,
    /// Whether it is the kernel's anchor.
    pub(super) anchor: bool,
}

/// The operations of a kernel, in the order in which an element meets them.
pub(super) fn parts(fused: &Fused) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut anchor_reads = Vec::new();
    if fused.has_source() {
        anchor_reads.extend(steps(&fused.source, &mut parts));
    }
    if fused.has_gradient() {
        anchor_reads.extend(steps(&fused.gradient, &mut parts));
    }
    let text = match &fused.anchor {
        Anchor::Map(_) => None,
        Anchor::Maps { segments, .. } => Some(format!("for each of {} tensors", segments.len())),
        Anchor::Conv2d { conv, weight, .. } => Some(convolution("conv2d", conv, weight)),
        Anchor::ConvBackward { conv, weight, data, filter, .. } => {
            let of = match (data, filter) {
                (true, true) => "conv2d gradients",
                (true, false) => "conv2d data gradient",
                (false, _) => "conv2d weight gradient",
            };
            Some(convolution(of, conv, weight))
        }
    };
    if let Some(text) = text {
        if fused.has_weight() {
            anchor_reads.insert(0, 0);
        }
        parts.push(Part { text, operands: anchor_reads, anchor: true });
    }
    if fused.has_result() {
        steps(&fused.result, &mut parts);
    }
    parts
}

/// `relu ▸ conv2d 3×3 ▸ add ▸ relu`
pub(super) fn sentence(fused: &Fused) -> String {
    parts(fused).iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(" ▸ ")
}

/// `conv2d 3×3 / 2, groups 4`
pub(super) fn convolution(name: &str, conv: &Conv2d, weight: &Shape) -> String {
    let pair = |p: [usize; 2]| if p[0] == p[1] { p[0].to_string() } else { format!("{}×{}", p[0], p[1]) };
    let [rows, columns] = [0, 1].map(|axis| weight.0.get(axis).copied().unwrap_or(1));
    let mut text = format!("{name} {rows}×{columns}");
    if conv.stride != [1, 1] {
        text += &format!(" / {}", pair(conv.stride));
    }
    if conv.dilation != [1, 1] {
        text += &format!(", dilation {}", pair(conv.dilation));
    }
    if conv.groups > 1 {
        text += &format!(", groups {}", conv.groups);
    }
    text
}

/// Adds the steps that compute something; gives the operands that go to the anchor as they are.
fn steps(program: &Program, parts: &mut Vec<Part>) -> Vec<usize> {
    let operand = |&at: &usize| match program.steps.get(at) {
        Some(&Step::Operand(index)) => Some(index),
        _ => None,
    };
    let number = |at: &usize| match program.steps.get(*at) {
        Some(Step::Constant(x)) => format!(" {x}"),
        _ => String::new(),
    };
    for step in &program.steps {
        let (name, of): (&str, Vec<usize>) = match step {
            Step::Anchor | Step::Operand(_) | Step::Constant(_) => continue,
            Step::Unary(f, a) => (f.name(), vec![*a]),
            Step::Binary(f, a, b) => (f.name(), vec![*a, *b]),
            Step::Select(c, a, b) => ("select", vec![*c, *a, *b]),
        };
        let text = of.iter().map(number).fold(name.to_string(), |text, number| text + &number);
        parts.push(Part { text, operands: of.iter().filter_map(operand).collect(), anchor: false });
    }
    let sums = program.outputs.iter().filter(|output| !output.is_full()).count();
    if sums > 0 {
        let text = if sums == 1 { "sum a channel".to_string() } else { format!("{sums} sums a channel") };
        parts.push(Part { text, operands: Vec::new(), anchor: false });
    }
    operand(&program.value).into_iter().collect()
}
