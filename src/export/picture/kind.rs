//! Kinds of operations, and their colours: light fills with a dark edge, readable in print.

use crate::ops::Op;

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Inputs, outputs, updates.
    Border,
    Convolution,
    Product,
    Norm,
    Elementwise,
    Reduction,
    Movement,
}

impl Kind {
    pub(super) const ALL: [Kind; 7] = [
        Kind::Border,
        Kind::Convolution,
        Kind::Product,
        Kind::Norm,
        Kind::Elementwise,
        Kind::Reduction,
        Kind::Movement,
    ];

    /// The entry in a legend.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Border => "input, output",
            Kind::Convolution => "convolution",
            Kind::Product => "matrix product",
            Kind::Norm => "normalisation",
            Kind::Elementwise => "element-wise",
            Kind::Reduction => "pooling, reduction",
            Kind::Movement => "movement",
        }
    }
    /// Fill and edge.
    pub(super) fn colours(self) -> [&'static str; 2] {
        match self {
            Kind::Border => ["#e8ecef", "#546e7a"],
            Kind::Convolution => ["#d6e6ff", "#1d4ed8"],
            Kind::Product => ["#dedcff", "#4338ca"],
            Kind::Norm => ["#ffefc2", "#b45309"],
            Kind::Elementwise => ["#d9f5e0", "#15803d"],
            Kind::Reduction => ["#fde0ee", "#be185d"],
            Kind::Movement => ["#f1f1f1", "#6b7280"],
        }
    }

    pub(super) fn of(op: &Op) -> Kind {
        match op {
            Op::Input(_) | Op::Parameter(..) | Op::Buffer(..) | Op::Constant(_) => Kind::Border,
            Op::Conv2d(_) | Op::Conv2dGradInput(..) | Op::Conv2dGradWeight(..) => Kind::Convolution,
            Op::MatMul(_) => Kind::Product,
            Op::BatchNorm(_)
            | Op::BatchNormEval(_)
            | Op::BatchNormGrad
            | Op::Coefficients(_)
            | Op::GradCoefficients(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_) => Kind::Norm,
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Random(_) => Kind::Elementwise,
            Op::Reduce(_)
            | Op::MaxPool(_)
            | Op::MaxPoolIndex(_)
            | Op::MaxPoolGrad(..)
            | Op::AvgPool(_)
            | Op::AvgPoolGrad(..) => Kind::Reduction,
            Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Broadcast(_)
            | Op::Pad(_)
            | Op::Slice(_)
            | Op::Concat(_)
            | Op::OneHot(_)
            | Op::Gather
            | Op::ScatterAdd(_) => Kind::Movement,
            Op::Fused(fused) if fused.has_source() || fused.has_gradient() => Kind::Convolution,
            Op::Fused(_) => Kind::Elementwise,
        }
    }
}
