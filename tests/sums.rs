//! Long sums: as exact as f32 allows, however long.

mod common;

use common::executors::executors;
use outrigger::ops::ReduceKind;
use outrigger::{DType, Graph, Tensor};
use std::collections::HashMap;

/// The sum of equal numbers, which one f32 accumulator gets wrong by a percent from about a million on and by
/// everything above 2²⁴ of them. Extents with factors, primes, and axes of every place.
#[test]
fn long_sums() {
    let cases: &[(&[usize], &[usize])] = &[
        (&[1_000_000], &[0]),
        (&[1_000_003], &[0]),
        (&[9_001], &[0]),
        (&[8, 100_000], &[0, 1]),
        (&[256, 5_000], &[0, 1]),
        (&[3, 300_000], &[1]),
        (&[2, 300_007], &[1]),
        (&[2, 400, 500, 3], &[1, 2]),
        (&[300_000, 2, 2], &[0, 2]),
    ];
    for &(shape, axes) in cases {
        let mut g = Graph::new("sums");
        let x = g.input("x", DType::F32, shape).unwrap();
        for kind in [ReduceKind::Sum, ReduceKind::Mean] {
            let y = g.reduce(kind, x, axes, kind == ReduceKind::Sum).unwrap();
            g.set_output(&format!("{kind:?}"), y).unwrap();
        }
        let elements = shape.iter().product();
        let count: usize = axes.iter().map(|&a| shape[a]).product();
        let tensor = Tensor::f32(shape, vec![0.1; elements]).unwrap();
        let inputs = HashMap::from([("x".to_string(), tensor)]);
        for executor in executors() {
            let got = executor.run(&g, &inputs, &HashMap::new()).unwrap();
            for (name, want) in [("Sum", f64::from(0.1f32) * count as f64), ("Mean", f64::from(0.1f32))] {
                let data = &got[name].data;
                assert_eq!(data.len(), elements / count);
                let worst = data.iter().map(|v| (v / want - 1.0).abs()).fold(0.0, f64::max);
                assert!(worst < 5e-5, "{}: {name} of {shape:?} over {axes:?} is off by {worst:.1e}", executor.name());
            }
        }
    }
}
