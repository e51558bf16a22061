//! Rates as the schedulers of PyTorch 2.15 set them, one `step()` a time, in its own words above each row.

use outrigger::train::schedule::{
    ConstantLR, CosineAnnealingLR, ExponentialLR, Mode, MultiStepLR, OneCycleLR, PlateauOptions, PolynomialLR,
    ReduceLROnPlateau, Schedule, StepLR, ThresholdMode,
};

const LR: f64 = 0.5;

fn check(schedule: impl Schedule, want: &[f64]) {
    for (t, want) in want.iter().enumerate() {
        let got = schedule.rate(t as u64);
        assert!((got - want).abs() <= 1e-11, "t = {t}: {got}, not {want}");
    }
}

#[test]
fn steps() {
    // StepLR(o, 3, gamma=0.5)
    let want = [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625, 0.0625, 0.0625];
    check(StepLR { lr: LR, step_size: 3, gamma: 0.5 }, &want);
    // MultiStepLR(o, [8, 2, 2, 5])
    let want = [0.5, 0.5, 0.005, 0.005, 0.005, 0.0005, 0.0005, 0.0005, 5e-05, 5e-05, 5e-05, 5e-05];
    check(MultiStepLR { lr: LR, milestones: vec![8, 2, 2, 5], gamma: 0.1 }, &want);
    check(StepLR { lr: LR, step_size: 0, gamma: 0.5 }, &[LR; 5]);
    check(ConstantLR { lr: LR }, &[LR; 5]);
}

#[test]
fn curves() {
    // ExponentialLR(o, 0.75)
    let want = [0.5, 0.375, 0.28125, 0.2109375, 0.158203125, 0.11865234375, 0.0889892578125, 0.0667419433594];
    check(ExponentialLR { lr: LR, gamma: 0.75 }, &want);
    // CosineAnnealingLR(o, 8, eta_min=0.125)
    let want = [
        0.5,
        0.485727412346,
        0.445082521472,
        0.384253143568,
        0.3125,
        0.240746856432,
        0.179917478528,
        0.139272587654,
        0.125,
        0.139272587654,
        0.179917478528,
        0.240746856432,
    ];
    check(CosineAnnealingLR { lr: LR, t_max: 8, eta_min: 0.125 }, &want);
    // PolynomialLR(o, total_iters=8, power=2.0)
    let want = [0.5, 0.3828125, 0.28125, 0.1953125, 0.125, 0.0703125, 0.03125, 0.0078125, 0.0, 0.0];
    check(PolynomialLR { lr: LR, total_iters: 8, power: 2.0 }, &want);
    // PolynomialLR(o)
    check(PolynomialLR { lr: LR, total_iters: 5, power: 1.0 }, &[0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0]);
}

#[test]
fn one_cycle() {
    // OneCycleLR(o, max_lr=0.5, total_steps=12)
    let want = [
        0.02,
        0.17489482711,
        0.439642579561,
        0.497207717725,
        0.466506484921,
        0.405872826975,
        0.323689498848,
        0.231318551333,
        0.141530499104,
        0.0667387650944,
        0.0172834937127,
        0.000002,
        // PyTorch refuses more steps
        0.000002,
    ];
    check(OneCycleLR::new(LR, 12), &want);
    // OneCycleLR(o, max_lr=0.5, total_steps=9, pct_start=0.5, div_factor=10, final_div_factor=100)
    let want =
        [0.05, 0.134714794582, 0.32506721014, 0.477717995278, 0.484938232041, 0.375125, 0.206881367628, 0.058930400331];
    let short = OneCycleLR { pct_start: 0.5, div_factor: 10.0, final_div_factor: 100.0, ..OneCycleLR::new(LR, 9) };
    check(short, &want);
    // OneCycleLR(o, max_lr=0.5, total_steps=10, pct_start=0.05)
    let want = [0.496590339489, 0.469868558328, 0.419320715625, 0.350424454468, 0.270645753789, 0.1886298737];
    check(OneCycleLR { pct_start: 0.05, ..OneCycleLR::new(LR, 10) }, &want);
}

#[test]
fn warm_up() {
    // SequentialLR(o, [LinearLR(o, start_factor=0.25, total_iters=4), CosineAnnealingLR(o, 8)], [4])
    let want = [
        0.125,
        0.21875,
        0.3125,
        0.40625,
        0.5,
        0.480969883128,
        0.426776695297,
        0.345670858091,
        0.25,
        0.154329141909,
        0.0732233047034,
        0.0190301168722,
    ];
    let cosine = CosineAnnealingLR { lr: LR, t_max: 8, eta_min: 0.0 };
    check(cosine.warmup(4, 0.25), &want);
    check(cosine.warmup(0, 0.25), &want[4..]);
    check(|t: u64| 1.0 / (1 + t) as f64, &[1.0, 0.5, 1.0 / 3.0]);
    let schedules: Vec<Box<dyn Schedule>> = vec![Box::new(cosine), Box::new(|_| LR)];
    assert_eq!(schedules.iter().map(|s| s.rate(4)).collect::<Vec<_>>(), [0.25, 0.5]);
}

/// Schedules whose numbers make no sense still give some rate.
#[test]
fn nothing_divides_by_zero() {
    let cosine = CosineAnnealingLR { lr: LR, t_max: 0, eta_min: 0.0 };
    let polynomial = PolynomialLR { lr: LR, total_iters: 0, power: 0.0 };
    for t in [0, 1, u64::MAX] {
        assert!(cosine.rate(t).is_finite() && polynomial.rate(t) == 0.0);
        for (total, pct_start) in [(0, 0.3), (1, 0.3), (2, 0.5), (4, 0.25), (5, 1.0), (3, 0.0)] {
            let rate = OneCycleLR { pct_start, ..OneCycleLR::new(LR, total) }.rate(t);
            assert!((0.0..=LR).contains(&rate), "{total}, {pct_start}, {t}: {rate}");
        }
    }
}

const NAN: f64 = f64::NAN;
const METRICS: [f64; 16] = [1.0, 0.9, 0.95, 0.9, 0.89995, 0.8, 0.85, NAN, 0.9, 0.9, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8];

fn plateau(options: PlateauOptions, metrics: &[f64], want: &[f64]) {
    let mut schedule = ReduceLROnPlateau::new(LR, options);
    assert_eq!(schedule.rate(), LR);
    for (at, (&metric, want)) in metrics.iter().zip(want).enumerate() {
        let got = schedule.step(metric);
        assert!((got - want).abs() <= 1e-11, "{options:?}, epoch {at}: {got}, not {want}");
        assert_eq!(schedule.rate(), got);
    }
}

#[test]
fn plateaus_of_a_loss() {
    let options = PlateauOptions { patience: 1, factor: 0.5, ..PlateauOptions::default() };
    // patience=1, factor=0.5
    let want = [
        0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.0625, 0.03125, 0.03125, 0.015625,
        0.015625,
    ];
    plateau(options, &METRICS, &want);
    // patience=0, factor=0.5, cooldown=2, min_lr=0.1
    let want = [0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1];
    plateau(PlateauOptions { patience: 0, cooldown: 2, min_lr: 0.1, ..options }, &METRICS, &want);
    // patience=1, factor=0.5, threshold=0.15, threshold_mode='abs'
    let want = [
        0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625, 0.0625, 0.03125, 0.03125, 0.015625, 0.015625, 0.0078125,
        0.0078125, 0.00390625,
    ];
    let absolute = PlateauOptions { threshold: 0.15, threshold_mode: ThresholdMode::Abs, ..options };
    plateau(absolute, &METRICS, &want);
    // patience=1, and no number at first
    let options = PlateauOptions { patience: 1, ..PlateauOptions::default() };
    plateau(options, &[NAN, NAN, NAN, 1.0, 2.0, 3.0], &[0.5, 0.05, 0.05, 0.05, 0.05, 0.005]);
}

#[test]
fn plateaus_of_an_accuracy() {
    let options = PlateauOptions { mode: Mode::Max, ..PlateauOptions::default() };
    // patience=2, factor=0.25, mode='max'
    let want = [
        0.5,
        0.5,
        0.5,
        0.125,
        0.125,
        0.125,
        0.03125,
        0.03125,
        0.03125,
        0.0078125,
        0.0078125,
        0.0078125,
        0.001953125,
        0.001953125,
        0.001953125,
        0.00048828125,
    ];
    plateau(PlateauOptions { patience: 2, factor: 0.25, ..options }, &METRICS, &want);
    // patience=1, factor=0.5, mode='max', threshold=0.25, threshold_mode='abs'
    let rising = [0.25, 0.75, 0.875, 1.0, 1.25, 1.25, 1.25];
    let absolute =
        PlateauOptions { patience: 1, factor: 0.5, threshold: 0.25, threshold_mode: ThresholdMode::Abs, ..options };
    plateau(absolute, &rising, &[0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]);
}
