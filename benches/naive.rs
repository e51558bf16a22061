//! What the kernels are measured against: the loops as one writes them first, compiled by rustc.
//!
//! Shapes and orders are those of the graph: activations NHWC, weights HWIO, 3 × 3, stride 1, one zero on every side.

/// Sizes of a 3 × 3 convolution that keeps the image's size.
#[derive(Clone, Copy)]
pub struct Conv {
    /// Images.
    pub batch: usize,
    /// Rows and columns.
    pub side: usize,
    /// Channels, in and out alike.
    pub channels: usize,
}

impl Conv {
    /// Elements of the activations.
    pub fn activations(self) -> usize {
        self.batch * self.side * self.side * self.channels
    }
    /// Elements of the weight.
    pub fn weights(self) -> usize {
        9 * self.channels * self.channels
    }
    /// Floating-point operations of each of the three convolutions; a multiply-add counts two.
    pub fn flops(self) -> u64 {
        (2 * self.activations() * 9 * self.channels) as u64
    }

    /// Calls `f` with the offsets of the first channel of an input pixel, of a weight tap and of an output pixel, for
    /// all that meet.
    fn for_each(self, mut f: impl FnMut(usize, usize, usize)) {
        let Conv { batch, side, channels } = self;
        for n in 0..batch {
            for oy in 0..side {
                for ox in 0..side {
                    for ky in 0..3 {
                        for kx in 0..3 {
                            let (y, x) = (oy + ky, ox + kx);
                            if (1..=side).contains(&y) && (1..=side).contains(&x) {
                                let input = ((n * side + y - 1) * side + x - 1) * channels;
                                let output = ((n * side + oy) * side + ox) * channels;
                                f(input, (ky * 3 + kx) * channels * channels, output);
                            }
                        }
                    }
                }
            }
        }
    }

    /// `y = conv(x, w)`
    pub fn forward(self, x: &[f32], w: &[f32], y: &mut [f32]) {
        let c = self.channels;
        y.fill(0.0);
        self.for_each(|input, tap, output| {
            for i in 0..c {
                for o in 0..c {
                    y[output + o] += x[input + i] * w[tap + i * c + o];
                }
            }
        });
    }

    /// Gradients of the input and of the weight.
    pub fn backward(self, x: &[f32], w: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let c = self.channels;
        dx.fill(0.0);
        dw.fill(0.0);
        self.for_each(|input, tap, output| {
            for i in 0..c {
                for o in 0..c {
                    dx[input + i] += dy[output + o] * w[tap + i * c + o];
                    dw[tap + i * c + o] += x[input + i] * dy[output + o];
                }
            }
        });
    }
}

/// `c = a·b` with `a [m, k]` and `b [k, n]`.
pub fn matmul(m: usize, k: usize, n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    c.fill(0.0);
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
}

/// `relu(x·scale + shift) + r`, scale and shift per channel: the end of a residual block.
pub fn map(x: &[f32], scale: &[f32], shift: &[f32], r: &[f32], y: &mut [f32]) {
    let c = scale.len();
    for (i, y) in y.iter_mut().enumerate() {
        *y = (x[i] * scale[i % c] + shift[i % c]).max(0.0) + r[i];
    }
}
