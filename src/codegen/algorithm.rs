//! Which algorithm computes a convolution.

use super::conv::Geometry;
use super::isa::Isa;
use super::winograd::{Form, TAPS};

/// How convolutions are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Convolution {
    /// What the cost model predicts to be fastest, as far as its rounding errors allow.
    #[default]
    Auto,
    /// Without a transform.
    Direct,
    /// Winograd F(2×2, 3×3) wherever it is defined.
    Winograd2,
    /// Winograd F(4×4, 3×3) wherever it is defined.
    Winograd4,
}

/// What code is made for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Instruction set of the inner products.
    pub isa: Isa,
    /// How convolutions are computed.
    pub convolution: Convolution,
}

/// Whether Winograd is defined: 3×3 taps side by side, a step of one pixel.
fn applies(g: &Geometry) -> bool {
    g.conv.groups == 1 && g.kernel == [TAPS; 2] && g.conv.stride == [1; 2] && g.conv.dilation == [1; 2]
}

/// The form of Winograd that computes a forward convolution, or `None` for the direct kernel.
pub(super) fn forward(g: &Geometry, settings: Settings, _chunks: usize) -> Option<Form> {
    match settings.convolution {
        Convolution::Auto | Convolution::Direct => None,
        Convolution::Winograd2 => applies(g).then_some(Form::Two),
        Convolution::Winograd4 => applies(g).then_some(Form::Four),
    }
}

/// The forms of Winograd that compute a convolution's gradients; one that is not wanted has a form all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BackwardForms {
    pub(super) data: Form,
    pub(super) filter: Form,
}

/// The forms of Winograd for the gradients `(data, filter)`, or `None` for the direct kernel.
pub(super) fn backward(g: &Geometry, settings: Settings, (data, _filter): (bool, bool)) -> Option<BackwardForms> {
    // the data gradient's own padding is what is left of two pixels
    if !applies(g) || (data && g.conv.padding.iter().flatten().any(|&p| p > TAPS - 1)) {
        return None;
    }
    match settings.convolution {
        Convolution::Auto | Convolution::Direct => None,
        Convolution::Winograd2 => Some(BackwardForms { data: Form::Two, filter: Form::Two }),
        Convolution::Winograd4 => Some(BackwardForms { data: Form::Four, filter: Form::Four }),
    }
}
