//! Pools over windows that end outside, against PyTorch's rule (`aten/src/ATen/native/Pool.h`) written down again.

use outrigger::prelude::*;

use crate::{close, output};

/// Windows of `size` on an axis of `input` pixels: start and end, padding included but nothing beyond it.
fn windows(input: i64, size: i64, stride: i64, padding: i64, ceil_mode: bool) -> Vec<[i64; 2]> {
    let room = input + 2 * padding - size + if ceil_mode { stride - 1 } else { 0 };
    let mut count = room.div_euclid(stride) + 1;
    if ceil_mode && (count - 1) * stride >= input + padding {
        count -= 1;
    }
    let window = |i: i64| [i * stride - padding, (i * stride - padding + size).min(input + padding)];
    (0..count.max(0)).map(window).collect()
}

/// Maximum, mean with padding and mean without it, over a map of one channel.
fn pooled(x: &[f32], [h, w]: [i64; 2], rows: &[[i64; 2]], columns: &[[i64; 2]]) -> [Vec<f64>; 3] {
    let mut results = [Vec::new(), Vec::new(), Vec::new()];
    for &[top, bottom] in rows {
        for &[left, right] in columns {
            let inside = (top.max(0)..bottom.min(h)).flat_map(|y| (left.max(0)..right.min(w)).map(move |x| (y, x)));
            let values: Vec<f64> = inside.map(|(y, c)| f64::from(x[(y * w + c) as usize])).collect();
            let sum: f64 = values.iter().sum();
            results[0].push(values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            results[1].push(sum / ((bottom - top) * (right - left)) as f64);
            results[2].push(sum / values.len() as f64);
        }
    }
    results
}

#[test]
fn windows_that_end_outside_are_kept_on_demand() {
    for (h, w) in [(1, 2), (5, 6), (7, 4)] {
        let x = Input::torch("x", [1, h, w]);
        let pixels: Vec<f32> = (0..h * w).map(|i| (i * 7 % 11) as f32 - 5.5).collect();
        let extents = [h as i64, w as i64];
        for (size, stride, padding) in [(2, 2, 0), (2, 2, 1), (3, 2, 1), (3, 2, 0), (2, 3, 1), (3, 4, 0), (4, 3, 2)] {
            for ceil_mode in [false, true] {
                let what = format!("{h}x{w}, size {size}, stride {stride}, padding {padding}, ceil {ceil_mode}");
                let axes = extents.map(|n| windows(n, size, stride, padding, ceil_mode));
                let [size, stride, padding] = [size, stride, padding].map(|n| n as usize);
                let max = MaxPool2d::new(size).stride(stride).padding(padding).ceil_mode(ceil_mode).call(&x);
                let avg = AvgPool2d::new(size).stride(stride).padding(padding).ceil_mode(ceil_mode);
                if axes.iter().any(Vec::is_empty) {
                    assert!(max.is_err() && avg.call(&x).is_err(), "{what}");
                    continue;
                }
                let inside = avg.clone().count_include_pad(false);
                let expected = pooled(&pixels, extents, &axes[0], &axes[1]);
                let results = [max, avg.call(&x), inside.call(&x)];
                for (y, expected) in results.into_iter().zip(&expected) {
                    let y = y.unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(y.shape(), [1, axes[0].len(), axes[1].len()], "{what}");
                    close(&output(&Network::new("n", &x, &y).unwrap(), 1, &[&pixels], &[]), expected, &what);
                }
            }
        }
    }
}

#[test]
fn sequences_have_the_same_option() {
    let x = Input::torch("x", [1, 5]);
    let run = |y: Result<Symbol, Error>| {
        output(&Network::new("n", &x, &y.unwrap()).unwrap(), 1, &[&[1.0, 2.0, 3.0, 4.0, 6.0]], &[])
    };
    close(&run(MaxPool1d::new(2).ceil_mode(true).call(&x)), &[2.0, 4.0, 6.0], "max");
    close(&run(AvgPool1d::new(2).ceil_mode(true).call(&x)), &[1.5, 3.5, 6.0], "mean");
    // [0 1] [2 3] [4 6]: the zero of the padding counts, unless it is told not to
    close(&run(AvgPool1d::new(2).padding(1).call(&x)), &[0.5, 2.5, 5.0], "padded");
    close(&run(AvgPool1d::new(2).padding(1).count_include_pad(false).call(&x)), &[1.0, 2.5, 5.0], "inside");
}
