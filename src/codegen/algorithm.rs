//! Which algorithm computes a convolution, and what was predicted of it.
//!
//! [`super::cost`] predicts the time of each algorithm that is defined for the shape, and the shortest wins; nothing is
//! timed. Rounding errors do not stand in the way: F(2×2) has smaller ones than the direct kernel, whose sums are nine
//! times as long, and F(4×4) with the points of [`super::winograd`] about twice those of the direct kernel (root mean
//! square, forward and both gradients). Of golden training runs that is not to be seen: over eight runs whose weights begin
//! one unit in the last place apart, gradients, weights after a step and losses after ten are as far off with F(4×4)
//! everywhere as with the direct kernels. With the usual points 0, ±1, ±2 the errors are five times those of the direct
//! kernel, and the weights after the first step up to nine times as far off.

use std::fmt;

use super::conv::Geometry;
use super::cost;
use super::isa::Isa;
use super::winograd::{Form, TAPS};
use super::winograd_cut::Cut;

/// How convolutions are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Convolution {
    /// What the cost model predicts to be fastest.
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
    /// Whether every result lies where the plan says: at a multiple of a cache line. A caller's buffer need not.
    pub aligned: bool,
}

/// The algorithm of a convolution's kernel and the cost model's figures, for printing.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The step's name, as in a profile.
    pub step: String,
    /// Its kind of kernel, as in a profile.
    pub kernel: &'static str,
    /// `100 × 32×32, 16→16`: images, pixels of the input, channels.
    pub shape: String,
    /// `direct`, `winograd F(4×4)`; of two gradients by different forms the data gradient's first.
    pub algorithm: String,
    /// Predicted time of the kernel on one thread, in ns of the machine that the model's constants are from.
    pub predicted_ns: f64,
    /// The same for the direct kernel.
    pub direct_ns: f64,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [predicted, direct] = [self.predicted_ns, self.direct_ns].map(|ns| ns / 1e6);
        let Choice { step, kernel, shape, algorithm, .. } = self;
        write!(f, "{step}: {kernel} {shape}: {algorithm}, predicted {predicted:.3} ms, direct {direct:.3} ms")
    }
}

/// The instruction set whose rates decide. It is the same for all: then the algorithm, and with it every bit of a result,
/// follows from the shape alone. It is the one with the fastest products, so what pays there pays with the others.
pub(super) const DECIDES: Isa = Isa::Avx512;

/// An algorithm with its predicted time and the direct kernel's; without one it is the direct kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chosen<T> {
    pub(super) winograd: Option<T>,
    predicted: f64,
    direct: f64,
}

impl<T: Copy> Chosen<T> {
    /// The fastest of the candidates and the direct kernel, or of the candidates alone if the form is `forced`.
    fn fastest(
        settings: Settings,
        candidates: impl Iterator<Item = T>,
        cost: impl Fn(Isa, T) -> f64,
        direct: impl Fn(Isa) -> f64,
    ) -> Chosen<T> {
        let best = candidates.map(|c| (c, cost(DECIDES, c))).min_by(|a, b| a.1.total_cmp(&b.1));
        let forced = settings.convolution != Convolution::Auto;
        let winograd = best.filter(|best| forced || best.1 < direct(DECIDES)).map(|best| best.0);
        let direct = direct(settings.isa);
        Chosen { winograd, predicted: winograd.map_or(direct, |w| cost(settings.isa, w)), direct }
    }
    /// For printing; of grouped convolutions nothing is predicted.
    pub(super) fn report(
        &self,
        step: &str,
        kernel: &'static str,
        g: &Geometry,
        name: fn(T) -> String,
    ) -> Option<Choice> {
        let [rows, columns] = g.size;
        (g.conv.groups == 1).then(|| Choice {
            step: step.to_string(),
            kernel,
            shape: format!("{} × {rows}×{columns}, {}→{}", g.images, g.ci, g.co),
            algorithm: self.winograd.map_or("direct".to_string(), |w| format!("winograd {}", name(w))),
            predicted_ns: self.predicted,
            direct_ns: self.direct,
        })
    }
}

/// Forms of Winograd that may be taken for the shape.
fn forms(g: &Geometry, convolution: Convolution) -> &'static [Form] {
    // 3×3 taps side by side, a step of one pixel
    if g.conv.groups != 1
        || g.kernel != [TAPS; 2]
        || g.conv.stride != [1; 2]
        || g.conv.dilation != [1; 2]
        || g.images == 0
    {
        return &[];
    }
    match convolution {
        Convolution::Auto => &[Form::Two, Form::Four],
        Convolution::Direct => &[],
        Convolution::Winograd2 => &[Form::Two],
        Convolution::Winograd4 => &[Form::Four],
    }
}

/// The algorithm of a forward convolution; `cut` says how a form of Winograd is cut into chunks.
pub(super) fn forward(g: &Geometry, settings: Settings, cut: impl Fn(Form) -> Cut) -> Chosen<(Form, Cut)> {
    let candidates = forms(g, settings.convolution).iter().map(|&form| (form, cut(form)));
    let cost = |isa, (form, cut)| cost::forward(isa, g, form, cut);
    Chosen::fastest(settings, candidates, cost, |isa| cost::direct(isa, g, [true, false]))
}

/// The forms of Winograd that compute a convolution's gradients; one that is not wanted has a form all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BackwardForms {
    pub(super) data: Form,
    pub(super) filter: Form,
}

impl BackwardForms {
    pub(super) fn name(self) -> String {
        if self.data == self.filter { self.data.to_string() } else { format!("{}, {}", self.data, self.filter) }
    }
}

/// The algorithm of the gradients that are `wanted` (data, weight).
pub(super) fn backward(g: &Geometry, settings: Settings, wanted: [bool; 2], chunks: usize) -> Chosen<BackwardForms> {
    // the data gradient's own padding is what is left of two pixels
    let far = wanted[0] && g.conv.padding.iter().flatten().any(|&p| p > TAPS - 1);
    let forms = if far { &[] } else { forms(g, settings.convolution) };
    let pairs = forms.iter().flat_map(|&data| forms.iter().map(move |&filter| BackwardForms { data, filter }));
    let pairs = pairs.filter(|pair| wanted == [true; 2] || pair.data == pair.filter);
    let cost = |isa, pair| cost::backward(isa, g, pair, wanted, chunks);
    Chosen::fastest(settings, pairs, cost, |isa| cost::direct(isa, g, wanted))
}
