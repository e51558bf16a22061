//! The scalar functions that std lacks.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// The error function to a few units in the last place, by Abramowitz & Stegun 7.1.6:
/// `erf x = 2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))`. All terms have one sign, so nothing cancels.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    // 1 - erf 6 is 2e-17: below half a unit in the last place of 1
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let square = x * x;
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > sum.abs() * 1e-17 {
        n += 1.0;
        term *= 2.0 * square / (2.0 * n + 1.0);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-square).exp() * sum
}

/// The nearest bf16, ties to even.
pub(super) fn bf16(x: f64) -> f64 {
    half::bf16::from_f64(x).to_f64()
}

/// `x·Φ(x)`.
pub(super) fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// `1/(1 + e⁻ˣ)`; far below zero `e⁻ˣ` is infinite and the result is 0, as it should be.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + eˣ)`, which for a large `x` is `x` although `eˣ` is infinite.
pub(super) fn softplus(x: f64) -> f64 {
    let tail = (-x.abs()).exp().ln_1p();
    if x > 0.0 { x + tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of erf to 16 digits: Abramowitz & Stegun table 7.1 and DLMF §7.23.
    #[test]
    fn erf_agrees_with_tables() {
        let table = [
            (0.0, 0.0),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (1.5, 0.966_105_146_475_310_8),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
            (4.0, 0.999_999_984_582_742_1),
        ];
        for (x, expected) in table {
            assert!((erf(x) - expected).abs() < 4e-16, "erf {x} = {:.17}", erf(x));
            assert!((erf(-x) + expected).abs() < 4e-16);
        }
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert_eq!(erf(-7.0), -1.0);
        assert!(erf(f64::NAN).is_nan());
        assert!((erf(1e-9) / 1e-9 - FRAC_2_SQRT_PI).abs() < 1e-15);
    }

    #[test]
    fn saturating_functions_stay_finite() {
        assert_eq!(softplus(1000.0), 1000.0);
        assert_eq!(softplus(-1000.0), 0.0);
        assert!((softplus(0.0) - 2f64.ln()).abs() < 1e-16);
        assert_eq!(sigmoid(-1000.0), 0.0);
        assert_eq!(sigmoid(1000.0), 1.0);
    }
}
