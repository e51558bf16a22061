//! Batch norm of channels whose mean is large against their spread: the stated limit of one-pass statistics.

mod common;

use common::executors::executors;
use common::rng::Rng;
use outrigger::ops::{BatchNorm, Init};
use outrigger::{DType, Graph, Tensor};
use std::collections::HashMap;

#[test]
fn a_mean_of_thirty_deviations() {
    let (rows, channels) = (8 * 16 * 16, 5);
    let mut g = Graph::new("norm");
    let x = g.input("x", DType::F32, [8, 16, 16, channels]).unwrap();
    let [gamma, beta] = ["gamma", "beta"].map(|n| g.parameter(n, [channels], Init::ONES).unwrap());
    let running = ["mean", "var"].map(|n| g.buffer(n, DType::F32, [channels], Init::ONES).unwrap());
    let norm = BatchNorm { epsilon: 1e-5, momentum: 0.1, unbiased: true };
    let rstd = g.batch_norm(x, gamma, beta, running, norm).unwrap().rstd;
    g.set_output("rstd", rstd).unwrap();

    // twelve uniform numbers of variance 1/12: a variance of 1
    let mut rng = Rng::new(5);
    let mut normal = || (0..12).map(|_| rng.uniform(-0.5, 0.5)).sum::<f64>();
    let values: Vec<f32> = (0..rows * channels).map(|_| (30.0 + normal()) as f32).collect();
    let want: Vec<f64> = (0..channels)
        .map(|c| {
            let channel = || values.iter().skip(c).step_by(channels).map(|&v| f64::from(v));
            let mean = channel().sum::<f64>() / rows as f64;
            let var = channel().map(|v| (v - mean).powi(2)).sum::<f64>() / rows as f64;
            1.0 / (var + 1e-5).sqrt()
        })
        .collect();
    let tensor = Tensor::f32([8, 16, 16, channels], values).unwrap();
    let state = ["gamma", "beta", "mean", "var"]
        .map(|n| (n.to_string(), Tensor::f32([channels], vec![1.0; channels]).unwrap()));
    let inputs = HashMap::from([("x".to_string(), tensor)]);
    for executor in executors() {
        let got = executor.run(&g, &inputs, &HashMap::from(state.clone())).unwrap();
        for (got, want) in got["rstd"].data.iter().zip(&want) {
            assert!((got / want - 1.0).abs() < 1e-3, "{}: {got}, not {want}", executor.name());
        }
    }
}
