//! Layers along an axis that the user names: the batch counts as axis 0, and -1 is the last.

use outrigger::prelude::*;

use crate::{close, output};

/// A sample of `shape` in PyTorch's order and in the order of memory, where images have channels last.
fn sample(shape: &[usize]) -> (Vec<f64>, Vec<f32>) {
    let elements: usize = shape.iter().product();
    let values: Vec<f64> = (0..elements).map(|i| ((i * 5 % 7) as f64) / 4.0 - 0.5).collect();
    let memory = in_memory(shape, &values);
    (values, memory.into_iter().map(|value| value as f32).collect())
}

fn in_memory(shape: &[usize], values: &[f64]) -> Vec<f64> {
    let [channels, rows, columns] = shape[..] else { return values.to_vec() };
    let pixels = (0..rows * columns).flat_map(|pixel| (0..channels).map(move |c| c * rows * columns + pixel));
    pixels.map(|at| values[at]).collect()
}

/// Softmax along `axis` of `shape`, from the formula.
fn softmax(shape: &[usize], values: &[f64], axis: usize) -> Vec<f64> {
    let step: usize = shape[axis + 1..].iter().product();
    let row = |at: usize| (0..shape[axis]).map(move |i| at - at / step % shape[axis] * step + i * step);
    (0..values.len()).map(|at| values[at].exp() / row(at).map(|i| values[i].exp()).sum::<f64>()).collect()
}

#[test]
fn softmax_takes_any_axis() {
    for shape in [&[3, 2, 4][..], &[3, 4], &[5]] {
        let (values, memory) = sample(shape);
        let x = Input::torch("x", shape);
        let rank = shape.len() as isize;
        let run = |y: Result<Symbol, Error>| {
            let y = y.unwrap();
            assert_eq!(y.shape(), shape);
            output(&Network::new("n", &x, &y).unwrap(), 1, &[&memory], &[])
        };
        for axis in (1..=rank).chain(-rank..=-1) {
            let at = if axis < 0 { axis + rank } else { axis - 1 } as usize;
            let expected = in_memory(shape, &softmax(shape, &values, at));
            close(&run(Softmax::new().axis(axis).call(&x)), &expected, &format!("{shape:?}, {axis}"));
            let logs: Vec<f64> = expected.iter().map(|p| p.ln()).collect();
            close(&run(LogSoftmax::new().axis(axis).call(&x)), &logs, &format!("log, {shape:?}, {axis}"));
        }
        close(&run(Softmax::new().call(&x)), &in_memory(shape, &softmax(shape, &values, 0)), "channels");
        for axis in [0, rank + 1, -rank - 1] {
            let error = Softmax::new().axis(axis).call(&x).unwrap_err().to_string();
            assert!(error.contains("axes 1 to") && error.contains(&format!("asked for {axis}")), "{error}");
        }
    }
    // what a Keras user writes
    let x = Input::keras("x", [2, 3]);
    let y = Network::new("n", &x, &Softmax::new().axis(1).call(&x).unwrap()).unwrap();
    let (values, memory) = sample(&[2, 3]);
    close(&output(&y, 1, &[&memory], &[]), &softmax(&[2, 3], &values, 0), "axis 1");
}

#[test]
fn tensors_lie_side_by_side_along_any_axis() {
    let (a, b) = (Input::torch("a", [2, 1, 2]), Input::torch("b", [2, 1, 2]));
    // pixels of a are 1 2 and 3 4 in its two channels
    let (one, two): (&[f32], &[f32]) = (&[1.0, 3.0, 2.0, 4.0], &[5.0, 7.0, 6.0, 8.0]);
    for (axis, shape, expected) in [
        (1, [4, 1, 2], [1.0, 3.0, 5.0, 7.0, 2.0, 4.0, 6.0, 8.0]),
        (2, [2, 2, 2], [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0]),
        (-1, [2, 1, 4], [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 6.0, 8.0]),
        (-3, [4, 1, 2], [1.0, 3.0, 5.0, 7.0, 2.0, 4.0, 6.0, 8.0]),
    ] {
        let y = Concatenate::new().axis(axis).call([&a, &b]).unwrap();
        assert_eq!(y.shape(), shape, "axis {axis}");
        let network = Network::new("n", [&a, &b], &y).unwrap();
        close(&output(&network, 1, &[one, two], &[]), &expected, &format!("axis {axis}"));
    }
    // one whose axes lie as written, one that has channels last in memory
    let reshaped = Reshape::new([2, 1, 2]).call(&Input::torch("c", [4])).unwrap();
    assert_eq!(Concatenate::new().axis(3).call([&reshaped, &b]).unwrap().shape(), [2, 1, 4]);
    let error = Concatenate::new().axis(0).call([&a, &b]).unwrap_err().to_string();
    assert!(error.contains("axes 1 to 3 besides the batch, or -3 to -1; asked for 0"), "{error}");
}

#[test]
fn one_extent_of_a_new_shape_may_be_left_open() {
    let x = Input::torch("x", [3, 4, 2]);
    assert_eq!(Reshape::new([-1]).call(&x).unwrap().shape(), [24]);
    assert_eq!(Reshape::new([6, -1, 2]).call(&x).unwrap().shape(), [6, 2, 2]);
    let channels: usize = 6;
    assert_eq!(Reshape::new([channels, 4]).call(&x).unwrap().shape(), [6, 4]);
    for shape in [[-1, -1], [-2, 12], [-1, 0]] {
        let error = Reshape::new(shape).call(&x).unwrap_err().to_string();
        assert!(error.contains("[3, 4, 2]"), "{error}");
    }
    let error = Reshape::new([-1, 5]).call(&x).unwrap_err().to_string();
    assert!(error.contains("24") && error.contains("20"), "{error}");
}
