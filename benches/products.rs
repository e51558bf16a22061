//! Matrix products and convolutions against the crates `gemm` and `matrixmultiply`, all on one thread.
//!
//! ```text
//!   matmul        C[m,n] = A[m,k] · B[k,n]                          the same product, three times
//!   conv          direct convolution, NHWC                          ours, padding included
//!                 [pixels, 9·inputs] · [9·inputs, outputs]          theirs, on patches (im2col) that are made before
//!                                                                   the clock starts
//! ```
//!
//! A convolution by matrix products also has to write and read the patches, nine times the input; that is left out here,
//! in the others' favour. Results are compared before anything is measured.

#[path = "common.rs"]
mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use outrigger::graph::ConvOptions;
use outrigger::ops::MatMul;
use outrigger::{DType, Error, Graph, Padding, Session};

use common::{numbers, session};

/// The extents of a product of row-major matrices, `[m,k] · [k,n]`.
#[derive(Clone, Copy)]
struct Product {
    m: usize,
    k: usize,
    n: usize,
}

/// `c = a · b`.
type Multiply = fn(Product, &[f32], &[f32], &mut [f32]);

/// The crates to compare with.
const OTHERS: [(&str, Multiply); 2] = [("gemm", by_gemm), ("matrixmultiply", by_matrixmultiply)];

fn check(Product { m, k, n }: Product, a: &[f32], b: &[f32], c: &[f32]) {
    assert_eq!([a.len(), b.len(), c.len()], [m * k, k * n, m * n]);
}

fn by_gemm(p: Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    check(p, a, b, c);
    let (k, n) = (p.k as isize, p.n as isize);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let parallelism = gemm::Parallelism::None;
    // SAFETY: the slices are row-major matrices of these extents; strides are given as column, row.
    unsafe {
        gemm::gemm(p.m, p.n, p.k, c, 1, n, false, a, 1, k, b, 1, n, 0.0, 1.0, false, false, false, parallelism);
    }
}

fn by_matrixmultiply(p: Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    check(p, a, b, c);
    let (k, n) = (p.k as isize, p.n as isize);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    // SAFETY: the slices are row-major matrices of these extents; strides are given as row, column.
    unsafe { matrixmultiply::sgemm(p.m, p.k, p.n, 1.0, a, k, 1, b, n, 1, 0.0, c, n, 1) };
}

/// Registers a session whose output `c` is the product of `a` and `b`, and the others' products.
fn compare(
    criterion: &mut Criterion,
    group: &str,
    name: &str,
    mut ours: Session,
    p: Product,
    (a, b): (&[f32], &[f32]),
) -> Result<(), Error> {
    ours.run()?;
    let expected = ours.get("c")?;
    let expected = expected.as_f32().unwrap_or_default();
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements((2 * p.m * p.k * p.n) as u64));
    group.bench_function(BenchmarkId::new("outrigger", name), |bench| bench.iter(|| ours.run()));
    let mut c = vec![0.0; p.m * p.n];
    for (other, multiply) in OTHERS {
        multiply(p, a, b, &mut c);
        // two orders of adding k products, each below 1, in f32
        let bound = p.k as f32 * (p.k as f32).sqrt() * f32::EPSILON;
        let far = c.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(c.len() == expected.len() && far < bound, "{other} {name}: {far} off, more than {bound}");
        let id = BenchmarkId::new(other, name);
        group.bench_function(id, |bench| bench.iter(|| multiply(p, black_box(a), black_box(b), black_box(&mut c))));
    }
    group.finish();
    Ok(())
}

fn matmul(criterion: &mut Criterion) -> Result<(), Error> {
    // square ones, a layer of a perceptron, and the network's classifier on a batch of 100
    for [m, k, n] in [[256, 256, 256], [1024, 1024, 1024], [128, 784, 512], [100, 64, 10]] {
        let mut g = Graph::new("matmul");
        let a = g.input("a", DType::F32, [m, k])?;
        let b = g.input("b", DType::F32, [k, n])?;
        let c = g.matmul(a, b, MatMul::default())?;
        g.set_output("c", c)?;
        let (a, b) = (numbers(m * k), numbers(k * n));
        compare(criterion, "matmul", &format!("{m}x{k}x{n}"), session(&g)?, Product { m, k, n }, (&a, &b))?;
    }
    Ok(())
}

/// A 3 × 3 convolution of square images with padding 1.
#[derive(Clone, Copy)]
struct Conv {
    side: usize,
    inputs: usize,
    stride: usize,
}

/// Images of a convolution.
const BATCH: usize = 10;

impl Conv {
    fn out_side(self) -> usize {
        self.side.div_ceil(self.stride)
    }

    /// The input (NHWC) as a matrix: a row for each output pixel, with what its window sees.
    fn patches(self, x: &[f32]) -> Vec<f32> {
        let (side, out, mut patches) = (self.side, self.out_side(), Vec::new());
        for pixel in 0..BATCH * out * out {
            let (image, row, column) = (pixel / (out * out), pixel / out % out, pixel % out);
            for tap in 0..9 {
                // one further down and right, so that the padding is no negative index
                let (y, x_at) = (row * self.stride + tap / 3, column * self.stride + tap % 3);
                if (1..=side).contains(&y) && (1..=side).contains(&x_at) {
                    let from = ((image * side + y - 1) * side + x_at - 1) * self.inputs;
                    patches.extend_from_slice(&x[from..from + self.inputs]);
                } else {
                    patches.resize(patches.len() + self.inputs, 0.0);
                }
            }
        }
        patches
    }
}

fn conv(criterion: &mut Criterion) -> Result<(), Error> {
    // the convolutions of the seed's network: the first, and those within and between its stages
    for [side, inputs, outputs, stride] in
        [[32, 3, 16, 1], [32, 16, 16, 1], [32, 16, 32, 2], [16, 32, 32, 1], [16, 32, 64, 2], [8, 64, 64, 1]]
    {
        let conv = Conv { side, inputs, stride };
        let mut g = Graph::new("conv");
        let x = g.input("a", DType::F32, [BATCH, side, side, inputs])?;
        let w = g.input("b", DType::F32, [3, 3, inputs, outputs])?;
        let options = ConvOptions { stride: [stride; 2], padding: Padding::all(1), ..ConvOptions::default() };
        let y = g.conv2d(x, w, None, options)?;
        g.set_output("c", y)?;
        let (x, w) = (numbers(BATCH * side * side * inputs), numbers(9 * inputs * outputs));
        let p = Product { m: BATCH * conv.out_side() * conv.out_side(), k: 9 * inputs, n: outputs };
        let name = format!("{side}x{side}x{inputs}to{outputs}s{stride}");
        compare(criterion, "conv", &name, session(&g)?, p, (&conv.patches(&x), &w))?;
    }
    Ok(())
}

fn all(criterion: &mut Criterion) {
    for bench in [matmul, conv] {
        if let Err(error) = bench(criterion) {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
