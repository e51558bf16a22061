//! The matrices in exact arithmetic: each line is its matrix, and the matrices compute convolutions.

use super::*;

/// An exact fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio(i128, i128);

impl Ratio {
    fn new(n: i128, d: i128) -> Ratio {
        let (mut a, mut b) = (n.abs(), d.abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let sign = if d < 0 { -1 } else { 1 };
        Ratio(sign * n / a.max(1), sign * d / a.max(1))
    }
    fn add(self, o: Ratio) -> Ratio {
        Ratio::new(self.0 * o.1 + o.0 * self.1, self.1 * o.1)
    }
    fn mul(self, o: Ratio) -> Ratio {
        Ratio::new(self.0 * o.0, self.1 * o.1)
    }
    fn minus(self) -> Ratio {
        Ratio(-self.0, self.1)
    }
    /// The fraction with a divisor of 24 that an f32 constant stands for.
    fn of(constant: f32) -> Ratio {
        let times = f64::from(constant) * 24.0;
        assert!((times - times.round()).abs() < 1e-5, "{constant} is no multiple of 1/24");
        Ratio::new(times.round() as i128, 24)
    }
}

type Matrix = Vec<Vec<Ratio>>;

fn matrix(rows: &[&[i128]], divisor: i128) -> Matrix {
    rows.iter().map(|row| row.iter().map(|&n| Ratio::new(n, divisor)).collect()).collect()
}

fn transposed(m: &Matrix) -> Matrix {
    (0..m[0].len()).map(|j| m.iter().map(|row| row[j]).collect()).collect()
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let cell = |row: &Vec<Ratio>, j: usize| (0..b.len()).fold(Ratio(0, 1), |sum, k| sum.add(row[k].mul(b[k][j])));
    a.iter().map(|row| (0..b[0].len()).map(|j| cell(row, j)).collect()).collect()
}

/// `m x mᵀ`
fn around(m: &Matrix, x: &Matrix) -> Matrix {
    product(&product(m, x), &transposed(m))
}

fn pointwise(a: &Matrix, b: &Matrix) -> Matrix {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| a.mul(b)).collect()).collect()
}

/// Bᵀ, G and Aᵀ as they are printed in Lavin and Gray, (7) and (8), and in their reference code for m = 4.
fn published(form: Form) -> [Matrix; 3] {
    match form {
        Form::Two => [
            matrix(&[&[1, 0, -1, 0], &[0, 1, 1, 0], &[0, -1, 1, 0], &[0, 1, 0, -1]], 1),
            matrix(&[&[2, 0, 0], &[1, 1, 1], &[1, -1, 1], &[0, 0, 2]], 2),
            matrix(&[&[1, 1, 1, 0], &[0, 1, -1, -1]], 1),
        ],
        Form::Four => [
            matrix(
                &[
                    &[4, 0, -5, 0, 1, 0],
                    &[0, -4, -4, 1, 1, 0],
                    &[0, 4, -4, -1, 1, 0],
                    &[0, -2, -1, 2, 1, 0],
                    &[0, 2, -1, -2, 1, 0],
                    &[0, 4, 0, -5, 0, 1],
                ],
                1,
            ),
            matrix(&[&[6, 0, 0], &[-4, -4, -4], &[-4, 4, -4], &[1, 2, 4], &[1, -2, 4], &[0, 0, 24]], 24),
            matrix(&[&[1, 1, 1, 1, 1, 0], &[0, 1, -1, 2, -2, 0], &[0, 1, 1, 4, 4, 0], &[0, 1, -1, 8, -8, 1]], 1),
        ],
    }
}

/// The matrix that a line computes, column by column.
fn of_line(line: &Line) -> Matrix {
    let columns: Matrix = (0..line.inputs)
        .map(|one| {
            let mut values: Vec<Ratio> = (0..line.inputs).map(|i| Ratio(i128::from(i == one), 1)).collect();
            for step in line.steps {
                let value = match *step {
                    LineStep::Add(a, b) => values[a].add(values[b]),
                    LineStep::Sub(a, b) => values[a].add(values[b].minus()),
                    LineStep::Scale(c, a) => Ratio::of(c).mul(values[a]),
                    LineStep::MulAdd(c, a, b) => Ratio::of(c).mul(values[a]).add(values[b]),
                };
                values.push(value);
            }
            line.outputs.iter().map(|&at| values[at]).collect()
        })
        .collect();
    transposed(&columns)
}

/// Small numbers without a pattern.
fn numbers(rows: usize, columns: usize, seed: i128) -> Matrix {
    let value = |i: usize, j: usize| (i as i128 * 7919 + j as i128 * 104_729 + seed * 15_485_863) % 17 - 8;
    (0..rows).map(|i| (0..columns).map(|j| Ratio(value(i, j), 1)).collect()).collect()
}

/// `out[i][j] = Σ x[i + k][j + l] · w[k][l]`
fn correlate(x: &Matrix, w: &Matrix) -> Matrix {
    let (rows, columns) = (x.len() + 1 - w.len(), x[0].len() + 1 - w[0].len());
    let cell = |i: usize, j: usize| {
        let taps = (0..w.len()).flat_map(|k| (0..w[0].len()).map(move |l| (k, l)));
        taps.fold(Ratio(0, 1), |sum, (k, l)| sum.add(x[i + k][j + l].mul(w[k][l])))
    };
    (0..rows).map(|i| (0..columns).map(|j| cell(i, j)).collect()).collect()
}

const FORMS: [Form; 2] = [Form::Two, Form::Four];

#[test]
fn lines_are_the_published_matrices() {
    for form in FORMS {
        let [b, g, a] = published(form);
        assert_eq!(of_line(&input(form)), b);
        assert_eq!(of_line(&weight(form)), g);
        assert_eq!(of_line(&output(form)), a);
        assert_eq!(of_line(&gradient(form)), transposed(&a));
        assert_eq!(of_line(&weight_gradient(form)), transposed(&g));
    }
}

#[test]
fn groups_cover_every_result_once() {
    for line in FORMS.iter().flat_map(|&f| [input(f), weight(f), output(f), gradient(f), weight_gradient(f)]) {
        let mut all: Vec<usize> = line.groups.concat();
        all.sort_unstable();
        assert_eq!(all, (0..line.outputs.len()).collect::<Vec<_>>());
    }
}

#[test]
fn the_matrices_convolve() {
    for form in FORMS {
        let [b, g, a] = published(form);
        for seed in 0..5 {
            let (x, w) = (numbers(form.inputs(), form.inputs(), seed), numbers(TAPS, TAPS, seed + 100));
            let y = around(&a, &pointwise(&around(&g, &w), &around(&b, &x)));
            assert_eq!(y, correlate(&x, &w), "forward {form:?}");
            // the weight gradient: dw[k][l] = Σ x[i + k][j + l] · dy[i][j]
            let dy = numbers(form.outputs(), form.outputs(), seed + 200);
            let products = pointwise(&around(&b, &x), &around(&transposed(&a), &dy));
            assert_eq!(around(&transposed(&g), &products), correlate(&x, &dy), "weight gradient {form:?}");
        }
    }
}
