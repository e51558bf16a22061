//! Winograd's minimal filtering for 3×3 kernels of stride 1 (Lavin and Gray, "Fast Algorithms for Convolutional
//! Neural Networks", 2016): what is transformed how, as data.
//!
//! ```text
//!  forward          y  = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ x B) ] A      m×m pixels of y from (m+2)×(m+2) of x
//!  data gradient    the same on dy with the rotated, transposed weight
//!  weight gradient  dw = Gᵀ [ Σ tiles (Bᵀ x B) ⊙ (A dy Aᵀ) ] G
//! ```
//!
//! With channels each ⊙ is (m+2)² matrix products. The points of interpolation are 0, ±1, ∞ for m = 2. For m = 4 they are
//! 0, ±1/√2, ±√2, ∞, not the usual 0, ±1, ±2, ∞: the matrices' numbers are closer to one, as is what lies between, and
//! the rounding error of a convolution is half as large. A [`Line`] is one of the matrices as a straight line of operations over vectors;
//! [`super::transform`] applies it to the columns and then to the rows of a tile.

use std::fmt;

/// Taps of the kernel, both ways.
pub(super) const TAPS: usize = 3;

/// Pixels of the output tile, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// F(2×2, 3×3): 2.25 times fewer products.
    Two,
    /// F(4×4, 3×3): 4 times fewer products, several times the rounding error.
    Four,
}

impl Form {
    /// m: rows and columns of an output tile.
    pub(super) fn outputs(self) -> usize {
        match self {
            Form::Two => 2,
            Form::Four => 4,
        }
    }
    /// m + 2: rows and columns of an input tile, and of the products.
    pub(super) fn inputs(self) -> usize {
        self.outputs() + TAPS - 1
    }
    /// Matrix products of a tile.
    pub(super) fn products(self) -> usize {
        self.inputs() * self.inputs()
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.outputs();
        write!(f, "F({m}×{m})")
    }
}

/// One operation of a line; operands are inputs (first) and earlier steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LineStep {
    /// `a + b`
    Add(usize, usize),
    /// `a - b`
    Sub(usize, usize),
    /// `factor · a`
    Scale(f32, usize),
    /// `factor · a + b`
    MulAdd(f32, usize, usize),
}

/// A matrix applied to a vector, with its common parts computed once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// Length of the vector.
    pub(super) inputs: usize,
    pub(super) steps: &'static [LineStep],
    /// Input or step of each result.
    pub(super) outputs: &'static [usize],
    /// Results that share steps, together all of them: [`super::transform`] computes a group's rows at a time.
    pub(super) groups: &'static [&'static [usize]],
}

use LineStep::{Add, MulAdd, Scale, Sub};

/// The points of F(4×4) besides 0 and ∞, both with both signs.
const LOW: f32 = std::f32::consts::FRAC_1_SQRT_2;
const HIGH: f32 = std::f32::consts::SQRT_2;

/// Bᵀ: tiles of the convolution's input.
pub(super) fn input(form: Form) -> Line {
    match form {
        Form::Two => Line {
            inputs: 4,
            steps: &[Sub(0, 2), Add(1, 2), Sub(2, 1), Sub(1, 3)],
            outputs: &[4, 5, 6, 7],
            groups: &[&[0, 1], &[2, 3]],
        },
        Form::Four => Line {
            inputs: 6,
            steps: &[
                MulAdd(-2.5, 2, 4), // 6
                Add(0, 6),
                MulAdd(-2.0, 2, 4), // 8
                MulAdd(-2.0, 1, 3), // 9
                MulAdd(LOW, 9, 8),
                MulAdd(-LOW, 9, 8),
                MulAdd(-0.5, 2, 4), // 12
                MulAdd(-0.5, 1, 3), // 13
                MulAdd(HIGH, 13, 12),
                MulAdd(-HIGH, 13, 12),
                MulAdd(-2.5, 3, 5), // 16
                Add(1, 16),
            ],
            outputs: &[7, 10, 11, 14, 15, 17],
            groups: &[&[1, 2], &[3, 4], &[0, 5]],
        },
    }
}

/// Aᵀ: products to tiles of the convolution's output.
pub(super) fn output(form: Form) -> Line {
    match form {
        Form::Two => Line {
            inputs: 4,
            steps: &[Add(0, 1), Add(4, 2), Sub(1, 2), Sub(6, 3)],
            outputs: &[5, 7],
            groups: &[&[0, 1]],
        },
        Form::Four => Line {
            inputs: 6,
            steps: &[
                Add(1, 2), // 6
                Sub(1, 2), // 7
                Add(3, 4), // 8
                Sub(3, 4), // 9
                Add(0, 6), // 10
                Add(10, 8),
                Scale(LOW, 7), // 12
                MulAdd(HIGH, 9, 12),
                Scale(0.5, 6), // 14
                MulAdd(2.0, 8, 14),
                MulAdd(0.5 * LOW, 7, 5), // 16
                MulAdd(2.0 * HIGH, 9, 16),
            ],
            outputs: &[11, 13, 15, 17],
            groups: &[&[0, 2], &[1, 3]],
        },
    }
}

/// G: the weight.
pub(super) fn weight(form: Form) -> Line {
    match form {
        Form::Two => Line {
            inputs: 3,
            steps: &[Add(0, 2), Add(3, 1), Sub(3, 1), Scale(0.5, 4), Scale(0.5, 5)],
            outputs: &[0, 6, 7, 2],
            groups: &[&[1, 2], &[0, 3]],
        },
        Form::Four => Line {
            inputs: 3,
            steps: &[
                MulAdd(0.5, 2, 0), // 3
                Scale(-2.0 / 3.0, 3),
                MulAdd(-2.0 / 3.0 * LOW, 1, 4),
                MulAdd(2.0 / 3.0 * LOW, 1, 4),
                MulAdd(2.0, 2, 0), // 7
                Scale(1.0 / 6.0, 7),
                MulAdd(1.0 / 6.0 * HIGH, 1, 8),
                MulAdd(-1.0 / 6.0 * HIGH, 1, 8),
            ],
            outputs: &[0, 5, 6, 9, 10, 2],
            groups: &[&[1, 2], &[3, 4], &[0, 5]],
        },
    }
}

/// A: tiles of dy for the weight gradient.
pub(super) fn gradient(form: Form) -> Line {
    match form {
        Form::Two => Line {
            inputs: 2,
            steps: &[Add(0, 1), Sub(0, 1), Scale(-1.0, 1)],
            outputs: &[0, 2, 3, 4],
            groups: &[&[0, 1], &[2, 3]],
        },
        Form::Four => Line {
            inputs: 4,
            steps: &[
                MulAdd(0.5, 2, 0), // 4
                MulAdd(0.5, 3, 1), // 5
                MulAdd(LOW, 5, 4),
                MulAdd(-LOW, 5, 4),
                MulAdd(2.0, 2, 0), // 8
                MulAdd(2.0, 3, 1), // 9
                MulAdd(HIGH, 9, 8),
                MulAdd(-HIGH, 9, 8),
            ],
            outputs: &[0, 6, 7, 10, 11, 3],
            groups: &[&[1, 2], &[3, 4], &[0, 5]],
        },
    }
}

/// Gᵀ: products to the weight gradient.
pub(super) fn weight_gradient(form: Form) -> Line {
    match form {
        Form::Two => Line {
            inputs: 4,
            steps: &[Add(1, 2), Sub(1, 2), MulAdd(0.5, 4, 0), Scale(0.5, 5), MulAdd(0.5, 4, 3)],
            outputs: &[6, 7, 8],
            groups: &[&[0, 2], &[1]],
        },
        Form::Four => Line {
            inputs: 6,
            steps: &[
                Add(1, 2),                // 6
                Add(3, 4),                // 7
                Sub(2, 1),                // 8
                Sub(3, 4),                // 9
                MulAdd(-2.0 / 3.0, 6, 0), // 10
                MulAdd(1.0 / 6.0, 7, 10),
                Scale(2.0 / 3.0 * LOW, 8), // 12
                MulAdd(1.0 / 6.0 * HIGH, 9, 12),
                Sub(7, 6), // 14
                MulAdd(1.0 / 3.0, 14, 5),
            ],
            outputs: &[11, 13, 15],
            groups: &[&[0, 2], &[1]],
        },
    }
}

#[cfg(test)]
#[path = "winograd_tests.rs"]
mod tests;
