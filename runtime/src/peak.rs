//! The machine's own best rates, measured: what kernels are compared with.
//!
//! ```text
//!   acc[0..12] = acc·a + b        f32 multiply-adds: 12 independent chains hide the latency of 4–5 cycles on
//!                                 two units; rounds of about 5 ms
//!   a[i] = b[i] + s·c[i]          memory traffic: three arrays of 32 MiB, far more than the caches of a core
//!   all threads at once, the best of ten rounds counts
//! ```

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Chains: enough for latency × units of every x86 and ARM core so far, and they fit 16 registers.
const CHAINS: usize = 12;
/// `acc = acc·A + B` stays bounded, normal, and changes its bits in every step.
const A: f32 = -0.999_999;
const B: f32 = 0.75;
const ROUNDS: usize = 10;
const ROUND: Duration = Duration::from_millis(5);

/// A loop of multiply-adds over full vectors.
#[derive(Clone, Copy)]
struct Meter {
    /// Runs the loop so many times; returns a value that depends on all of it.
    run: fn(u64) -> f32,
    /// f32 per vector.
    lanes: usize,
}

/// Best rate of f32 fused multiply-adds that `threads` threads reach together, in GFLOP/s (a
/// multiply-add counts as two), with the widest vectors this CPU has. Takes about 60 ms. Other load
/// on the machine lowers it. 0 threads: 0.
pub fn peak_gflops(threads: usize) -> f64 {
    if threads == 0 {
        return 0.0;
    }
    let meter = widest();
    // As many turns as fill a round on an otherwise idle core.
    let probe = 20_000;
    let time = (0..3).map(|_| spin(meter, probe)).min().unwrap_or(ROUND).max(Duration::from_nanos(1));
    let turns = (probe as f64 * ROUND.as_secs_f64() / time.as_secs_f64()).clamp(1e3, 1e9) as u64;

    let flops = (2 * CHAINS * meter.lanes * threads) as f64 * turns as f64;
    best_rate(threads, flops, || {
        move || {
            black_box((meter.run)(turns));
        }
    })
}

/// f32 in each array of [`peak_bandwidth`], those of all threads together.
const TRIAD: usize = 8 << 20;

/// Best rate at which `threads` threads together read and write memory, in GB/s: the triad `a = b + s·c` of STREAM
/// (McCalpin 1995) over arrays of 32 MiB, about as much as the activations of a training step. Where a last-level cache
/// holds them, it is that cache's rate, for a network as well. Takes 96 MiB and about 150 ms. 0 threads: 0.
pub fn peak_bandwidth(threads: usize) -> f64 {
    if threads == 0 {
        return 0.0;
    }
    let length = TRIAD.div_ceil(threads);
    // Two arrays are read and one is written. (That the CPU reads a line before it writes to it is not counted: it is
    // not counted in a kernel's bytes either.)
    let bytes = (3 * size_of::<f32>() * length * threads) as f64;
    best_rate(threads, bytes, || {
        let (mut a, b, c) = (vec![0.5f32; length], vec![B; length], vec![A; length]);
        move || {
            let s = black_box(A);
            for ((a, b), c) in a.iter_mut().zip(&b).zip(&c) {
                *a = b + s * c;
            }
            black_box(&mut a);
        }
    })
}

/// `amount` of something that `threads` threads do together in one round, divided by the time of the best of
/// [`ROUNDS`] rounds, in 10⁹/s. `job` makes what one thread does in each of them.
fn best_rate<J: FnMut()>(threads: usize, amount: f64, job: impl Fn() -> J + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let measure = || -> Vec<(Instant, Instant)> {
        let mut job = job();
        (0..ROUNDS)
            .map(|_| {
                barrier.wait();
                let start = Instant::now();
                job();
                (start, Instant::now())
            })
            .collect()
    };
    // The calling thread stands by: threads of one kind, each with a core of its own.
    let times: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
        others.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    (0..ROUNDS)
        .filter_map(|round| {
            let first = times.iter().map(|t| t[round].0).min()?;
            let last = times.iter().map(|t| t[round].1).max()?;
            Some(amount / (last - first).as_secs_f64() / 1e9)
        })
        .fold(0.0, f64::max)
}

fn spin(meter: Meter, turns: u64) -> Duration {
    let start = Instant::now();
    black_box((meter.run)(turns));
    start.elapsed()
}

/// Makes the loop for one vector type. `a` and `b` come out of `black_box`, and floats may not be
/// reassociated, so nothing can be computed ahead.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! meter {
    ($name:ident, $features:literal, $vector:ty, $splat:path, $fma:expr, $lanes:literal) => {
        fn $name(turns: u64) -> f32 {
            #[target_feature(enable = $features)]
            fn chains(turns: u64) -> f32 {
                // SAFETY: nothing but arithmetic in registers; for toolchains whose intrinsics are
                // still marked unsafe.
                #[allow(unused_unsafe)]
                let acc = unsafe {
                    let (a, b): ($vector, $vector) = (black_box($splat(A)), black_box($splat(B)));
                    // Opaque as a whole: equal chains would be merged into one.
                    let mut acc: [$vector; CHAINS] = black_box([$splat(0.5); CHAINS]);
                    for _ in 0..turns {
                        for chain in &mut acc {
                            *chain = $fma(*chain, a, b);
                        }
                    }
                    acc
                };
                // SAFETY: a vector is `$lanes` floats, and every pattern is a float.
                let lanes: [[f32; $lanes]; CHAINS] = unsafe { std::mem::transmute(acc) };
                lanes.as_flattened().iter().sum()
            }
            // SAFETY: `widest` hands this function out only if the CPU has the features.
            unsafe { chains(turns) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::*;
    use std::arch::x86_64::*;

    meter!(avx512, "avx512f", __m512, _mm512_set1_ps, |c, a, b| _mm512_fmadd_ps(c, a, b), 16);
    meter!(avx2, "avx2,fma", __m256, _mm256_set1_ps, |c, a, b| _mm256_fmadd_ps(c, a, b), 8);
    meter!(fma128, "fma", __m128, _mm_set1_ps, |c, a, b| _mm_fmadd_ps(c, a, b), 4);

    pub(super) fn best() -> Option<Meter> {
        if is_x86_feature_detected!("avx512f") {
            Some(Meter { run: avx512, lanes: 16 })
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Some(Meter { run: avx2, lanes: 8 })
        } else if is_x86_feature_detected!("fma") {
            Some(Meter { run: fma128, lanes: 4 })
        } else {
            None
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod wide {
    use super::*;
    use std::arch::aarch64::*;

    meter!(neon, "neon", float32x4_t, vdupq_n_f32, |c, a, b| vfmaq_f32(b, c, a), 4);

    pub(super) fn best() -> Option<Meter> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Meter { run: neon, lanes: 4 })
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod wide {
    use super::*;

    pub(super) fn best() -> Option<Meter> {
        None
    }
}

fn widest() -> Meter {
    wide::best().unwrap_or(Meter { run: portable, lanes: 4 })
}

/// Multiply, then add, in vectors of four that the compiler is free to make.
fn portable(turns: u64) -> f32 {
    let (a, b) = (black_box([A; 4]), black_box([B; 4]));
    let mut acc = black_box([[0.5f32; 4]; CHAINS]);
    for _ in 0..turns {
        for chain in &mut acc {
            for lane in 0..4 {
                chain[lane] = chain[lane] * a[lane] + b[lane];
            }
        }
    }
    acc.as_flattened().iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_meters_compute_the_same_chain() {
        let mut expected = 0.5f64;
        for _ in 0..1001 {
            expected = expected * f64::from(A) + f64::from(B);
        }
        for meter in [widest(), Meter { run: portable, lanes: 4 }] {
            let value = f64::from((meter.run)(1001)) / (CHAINS * meter.lanes) as f64;
            assert!((value - expected).abs() < 1e-3, "{value} instead of {expected}");
        }
    }

    #[test]
    fn the_peak_is_plausible() {
        let one = peak_gflops(1);
        assert!(one.is_finite() && one > 0.1, "{one} GFLOP/s");
        assert_eq!(peak_gflops(0), 0.0);
    }

    #[test]
    fn the_bandwidth_is_plausible() {
        let one = peak_bandwidth(1);
        assert!(one.is_finite() && one > 0.01 && one < 1e4, "{one} GB/s");
        assert_eq!(peak_bandwidth(0), 0.0);
    }
}
