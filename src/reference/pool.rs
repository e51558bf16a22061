//! Pooling. As in a convolution, output pixels meet the input pixels under their window; channels stay apart.

use super::RefTensor;
use crate::ops::Pool;
use crate::types::Shape;

/// An output pixel over an input pixel: offsets of their first channels, and which tap it is.
struct Meeting {
    x: usize,
    y: usize,
    /// Row-major position in the window, padding included.
    tap: usize,
}

/// All meetings of output pixel after output pixel, taps ascending.
fn meetings(pool: &Pool, x: &[usize], y: &[usize], mut f: impl FnMut(Meeting)) {
    let meet = |axis: usize, out: usize, tap: usize| {
        (out * pool.stride[axis] + tap).checked_sub(pool.padding[axis][0]).filter(|&at| at < x[axis + 1])
    };
    for n in 0..y[0] {
        for oy in 0..y[1] {
            for ox in 0..y[2] {
                for tap in 0..pool.size[0] * pool.size[1] {
                    let (ky, kx) = (tap / pool.size[1], tap % pool.size[1]);
                    if let (Some(iy), Some(ix)) = (meet(0, oy, ky), meet(1, ox, kx)) {
                        let x = ((n * x[1] + iy) * x[2] + ix) * x[3];
                        let y = ((n * y[1] + oy) * y[2] + ox) * y[3];
                        f(Meeting { x, y, tap });
                    }
                }
            }
        }
    }
}

/// The maxima and the taps where each is first attained.
pub(super) fn max(pool: &Pool, x: &RefTensor, shape: &Shape) -> (Vec<f64>, Vec<f64>) {
    let channels = shape.last();
    let mut best = vec![f64::NEG_INFINITY; shape.elements()];
    let mut index = vec![f64::NAN; shape.elements()];
    meetings(pool, x.dims(), &shape.0, |m| {
        for c in 0..channels {
            let v = x.data[m.x + c];
            // the first tap always counts; a NaN wins against all that follows
            let first = index[m.y + c].is_nan();
            if first || v > best[m.y + c] || (v.is_nan() && !best[m.y + c].is_nan()) {
                best[m.y + c] = v;
                index[m.y + c] = m.tap as f64;
            }
        }
    });
    (best, index)
}

pub(super) fn max_grad(pool: &Pool, dy: &RefTensor, index: &RefTensor, shape: &Shape) -> Vec<f64> {
    let channels = shape.last();
    let mut dx = vec![0.0; shape.elements()];
    meetings(pool, &shape.0, dy.dims(), |m| {
        for c in 0..channels {
            if index.data[m.y + c] == m.tap as f64 {
                dx[m.x + c] += dy.data[m.y + c];
            }
        }
    });
    dx
}

/// What the sum over each window is divided by, per pixel of one output image.
fn divisors(pool: &Pool, x: &[usize], y: &[usize]) -> Vec<f64> {
    let inside = |axis: usize, out: usize| {
        let first = out * pool.stride[axis];
        let (low, high) = (pool.padding[axis][0], pool.padding[axis][0] + x[axis + 1]);
        (first..first + pool.size[axis]).filter(|at| (low..high).contains(at)).count()
    };
    let full = (pool.size[0] * pool.size[1]) as f64;
    (0..y[1])
        .flat_map(|oy| (0..y[2]).map(move |ox| (oy, ox)))
        .map(|(oy, ox)| if pool.count_padding { full } else { (inside(0, oy) * inside(1, ox)) as f64 })
        .collect()
}

pub(super) fn average(pool: &Pool, x: &RefTensor, shape: &Shape) -> Vec<f64> {
    let channels = shape.last();
    let mut sums = vec![0.0; shape.elements()];
    meetings(pool, x.dims(), &shape.0, |m| {
        let pixel = &x.data[m.x..m.x + channels];
        sums[m.y..m.y + channels].iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
    });
    let divisors = divisors(pool, x.dims(), &shape.0);
    for (pixel, divisor) in sums.chunks_exact_mut(channels).zip(divisors.iter().cycle()) {
        pixel.iter_mut().for_each(|v| *v /= divisor);
    }
    sums
}

pub(super) fn average_grad(pool: &Pool, dy: &RefTensor, shape: &Shape) -> Vec<f64> {
    let channels = shape.last();
    let divisors = divisors(pool, &shape.0, dy.dims());
    let mut dx = vec![0.0; shape.elements()];
    meetings(pool, &shape.0, dy.dims(), |m| {
        let divisor = divisors[m.y / channels % divisors.len()];
        let pixel = &dy.data[m.y..m.y + channels];
        dx[m.x..m.x + channels].iter_mut().zip(pixel).for_each(|(dx, dy)| *dx += dy / divisor);
    });
    dx
}
