//! What initialisers draw: moments, limits, orthogonality.

use outrigger::ops::{Distribution, FanMode, Init, Initializer, Nonlinearity};
use outrigger::{Error, Graph, Store};

fn drawn(init: Init, shape: &[usize]) -> Result<Vec<f32>, Error> {
    let mut g = Graph::new("model");
    g.parameter("w", shape, init)?;
    let tensor = Store::new(&g, 7)?.get("w")?;
    Ok(tensor.as_f32().unwrap().to_vec())
}

const FAN_IN: usize = 300;
const FAN_OUT: usize = 200;
const N: usize = 60_000;

/// Draws a matrix and compares its mean, its standard deviation and its limits. The mean of n draws has a standard
/// error of std/√n, their deviation one of at most std/√(2n): five of these are allowed.
fn check(name: &str, initializer: Initializer, mean: f64, std: f64, limits: [f64; 2]) {
    let values = drawn(initializer.resolve(FAN_IN, FAN_OUT), &[FAN_IN, FAN_OUT]).unwrap();
    assert_eq!(values.len(), N);
    let n = N as f64;
    let got_mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let got_std = (values.iter().map(|&v| (f64::from(v) - got_mean).powi(2)).sum::<f64>() / n).sqrt();
    assert!((got_mean - mean).abs() <= 5.0 * std / n.sqrt(), "{name}: mean {got_mean}, not {mean}");
    assert!((got_std - std).abs() <= 5.0 * std / (2.0 * n).sqrt(), "{name}: deviation {got_std}, not {std}");
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let slack = 1e-6 * (limits[1] - limits[0]).min(1.0);
    assert!(
        f64::from(least) >= limits[0] - slack && f64::from(largest) <= limits[1] + slack,
        "{name}: {least}..{largest}"
    );
    // limits that are there are also reached, nearly
    if limits.iter().all(|l| l.is_finite()) {
        let near = 0.02 * (limits[1] - limits[0]);
        assert!(
            f64::from(least) < limits[0] + near && f64::from(largest) > limits[1] - near,
            "{name}: {least}..{largest}"
        );
    }
}

#[test]
fn uniform_ones() {
    let within = |name: &str, initializer: Initializer, limit: f64| {
        check(name, initializer, 0.0, limit / 3f64.sqrt(), [-limit, limit]);
    };
    let (fan_in, fan_out) = (FAN_IN as f64, FAN_OUT as f64);
    check("uniform", Initializer::uniform(0.0, 1.0), 0.5, 1.0 / 12f64.sqrt(), [0.0, 1.0]);
    within("random_uniform", Initializer::uniform(-0.05, 0.05), 0.05);
    within("xavier_uniform", Initializer::xavier_uniform(5.0 / 3.0), 5.0 / 3.0 * (6.0 / (fan_in + fan_out)).sqrt());
    within("glorot_uniform", Initializer::glorot_uniform(), (6.0 / (fan_in + fan_out)).sqrt());
    within("he_uniform", Initializer::he_uniform(), (6.0 / fan_in).sqrt());
    within("lecun_uniform", Initializer::lecun_uniform(), (3.0 / fan_in).sqrt());
    let kaiming = Initializer::kaiming_uniform(FanMode::FanOut, Nonlinearity::LeakyRelu(0.2));
    within("kaiming_uniform", kaiming, 1.386_750_490_563_07 * (3.0 / fan_out).sqrt());
    let scaled = Initializer::variance_scaling(0.5, FanMode::FanAvg, Distribution::Uniform);
    within("variance_scaling", scaled, (3.0 * 0.5 / 250f64).sqrt());
}

#[test]
fn normal_ones() {
    let anywhere = [f64::NEG_INFINITY, f64::INFINITY];
    let (fan_in, fan_out) = (FAN_IN as f64, FAN_OUT as f64);
    check("normal", Initializer::normal(0.0, 0.05), 0.0, 0.05, anywhere);
    check("normal, moved", Initializer::normal(3.0, 0.5), 3.0, 0.5, anywhere);
    check("xavier_normal", Initializer::xavier_normal(2.0), 0.0, 2.0 * (2.0 / (fan_in + fan_out)).sqrt(), anywhere);
    let kaiming = Initializer::kaiming_normal(FanMode::FanIn, Nonlinearity::Relu);
    check("kaiming_normal", kaiming, 0.0, (2.0 / fan_in).sqrt(), anywhere);
    // without truncation, some are beyond two deviations
    let values = drawn(kaiming.resolve(FAN_IN, FAN_OUT), &[FAN_IN, FAN_OUT]).unwrap();
    let beyond = values.iter().filter(|v| f64::from(v.abs()) > 2.0 * (2.0 / fan_in).sqrt()).count();
    // 4.55 % of a normal distribution
    assert!((2500..2960).contains(&beyond), "{beyond} of {N} are beyond two deviations");
}

/// A standard normal distribution without what is beyond ±2 has the deviation 0.8796. Keras's scaled ones have the
/// deviation that their name says after truncation, its `TruncatedNormal` before.
#[test]
fn truncated_ones() {
    let (fan_in, fan_out) = (FAN_IN as f64, FAN_OUT as f64);
    let scaled = |name: &str, initializer: Initializer, std: f64| {
        let limit = 2.0 * std / 0.879_625_661_034_239_8;
        check(name, initializer, 0.0, std, [-limit, limit]);
    };
    scaled("glorot_normal", Initializer::glorot_normal(), (2.0 / (fan_in + fan_out)).sqrt());
    scaled("he_normal", Initializer::he_normal(), (2.0 / fan_in).sqrt());
    scaled("lecun_normal", Initializer::lecun_normal(), (1.0 / fan_in).sqrt());
    let out = Initializer::variance_scaling(3.0, FanMode::FanOut, Distribution::TruncatedNormal);
    scaled("variance_scaling", out, (3.0 / fan_out).sqrt());
    let std = 0.05;
    let limits = [1.0 - 2.0 * std, 1.0 + 2.0 * std];
    check("truncated_normal", Initializer::truncated_normal(1.0, std as f32), 1.0, std * 0.879_625_66, limits);
    check("trunc_normal", Initializer::trunc_normal(0.0, 1.0, -2.0, 2.0), 0.0, 0.879_625_66, [-2.0, 2.0]);
    // one side: the mean of a half normal distribution is √(2/π), its variance 1 - 2/π
    let half = 2.0 / std::f64::consts::PI;
    let inf = f64::INFINITY;
    check(
        "trunc_normal, half",
        Initializer::trunc_normal(0.0, 1.0, 0.0, f32::INFINITY),
        half.sqrt(),
        (1.0 - half).sqrt(),
        [0.0, inf],
    );
    // limits that are never met end at the nearer one
    let far = drawn(Initializer::trunc_normal(0.0, 1.0, 50.0, 60.0).resolve(1, 1), &[3]).unwrap();
    assert_eq!(far, [50.0; 3]);
    let error = drawn(Initializer::trunc_normal(0.0, 1.0, 2.0, -2.0).resolve(1, 1), &[3]).unwrap_err().to_string();
    assert!(error.contains("\"w\"") || error.contains("w:"), "{error}");
    assert!(error.contains("lower limit 2") && error.contains("upper limit -2"), "{error}");
}

#[test]
fn constants_and_identities() {
    assert_eq!(drawn(Initializer::zeros().resolve(9, 9), &[2]).unwrap(), [0.0; 2]);
    assert_eq!(drawn(Initializer::ones().resolve(9, 9), &[2]).unwrap(), [1.0; 2]);
    assert_eq!(drawn(Initializer::constant(0.25).resolve(9, 9), &[2]).unwrap(), [0.25; 2]);
    assert_eq!(drawn(Initializer::identity(2.0).resolve(9, 9), &[2, 3]).unwrap(), [2.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    let error = drawn(Init::Identity(1.0), &[3, 3, 2]).unwrap_err().to_string();
    assert!(error.contains("f32[3,3,2]") && error.contains("2 axes"), "{error}");
}

/// `WᵀW = gain²·1`, or `WWᵀ` for a wide one.
#[test]
fn orthogonal_ones() {
    for shape in [vec![20, 7], vec![7, 20], vec![3, 3, 4, 8], vec![9, 9], vec![5]] {
        let values = drawn(Initializer::orthogonal(1.5).resolve(1, 1), &shape).unwrap();
        let columns = *shape.last().unwrap();
        let rows = values.len() / columns;
        let at = |r: usize, c: usize| f64::from(values[r * columns + c]);
        let tall = rows >= columns;
        let (count, length) = (rows.min(columns), rows.max(columns));
        let vector = |i: usize, k: usize| if tall { at(k, i) } else { at(i, k) };
        for i in 0..count {
            for j in 0..count {
                let product: f64 = (0..length).map(|k| vector(i, k) * vector(j, k)).sum();
                let want = if i == j { 2.25 } else { 0.0 };
                assert!((product - want).abs() < 1e-5, "{shape:?}: {i}·{j} is {product}");
            }
        }
    }
    // evenly distributed: no sign is preferred
    let values = drawn(Init::Orthogonal(1.0), &[100, 100]).unwrap();
    let positive = values.iter().filter(|v| **v > 0.0).count();
    assert!((4750..5250).contains(&positive), "{positive} of 10000 are positive");
    let diagonal = (0..100).filter(|i| values[i * 101] > 0.0).count();
    assert!((25..75).contains(&diagonal), "{diagonal} of the diagonal's 100 are positive");
}

/// `torch.nn.init.calculate_gain` of PyTorch 2.15.
#[test]
fn gains_are_pytorchs() {
    #[allow(clippy::approx_constant)] // what PyTorch printed
    let published = [
        (Nonlinearity::Linear, 1.0),
        (Nonlinearity::Sigmoid, 1.0),
        (Nonlinearity::Tanh, 1.666_666_666_666_666_7),
        (Nonlinearity::Relu, 1.414_213_562_373_095_1),
        (Nonlinearity::LeakyRelu(0.2), 1.386_750_490_563_072_8),
        (Nonlinearity::Selu, 0.75),
    ];
    for (nonlinearity, gain) in published {
        assert!((nonlinearity.gain() - gain).abs() < 1e-15, "{nonlinearity:?}");
    }
}

/// The defaults of both frameworks by their formulas.
#[test]
fn defaults_are_exact() {
    for fan in [1, 3, 27, 64, 144, 576, 4608] {
        let bound = (1.0 / (fan as f64).sqrt()) as f32;
        assert_eq!(Init::kaiming_uniform(fan), Init::Uniform(bound), "{fan}");
        let bound = (6.0 / (fan as f64 + 10.0)).sqrt() as f32;
        assert_eq!(Init::glorot_uniform(fan, 10), Init::Uniform(bound), "{fan}");
    }
}
