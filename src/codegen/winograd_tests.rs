//! The matrices in exact arithmetic: each line is its matrix, and the matrices compute convolutions.

use super::*;

/// A fraction in lowest terms.
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
}

/// `a + b·√2`, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(Ratio, Ratio);

const ZERO: Number = Number(Ratio(0, 1), Ratio(0, 1));
const ONE: Number = Number(Ratio(1, 1), Ratio(0, 1));

impl Number {
    fn whole(n: i128) -> Number {
        Number(Ratio(n, 1), Ratio(0, 1))
    }
    fn add(self, o: Number) -> Number {
        Number(self.0.add(o.0), self.1.add(o.1))
    }
    fn minus(self) -> Number {
        Number(self.0.minus(), self.1.minus())
    }
    fn mul(self, o: Number) -> Number {
        let roots = self.1.mul(o.1);
        Number(self.0.mul(o.0).add(roots.add(roots)), self.0.mul(o.1).add(self.1.mul(o.0)))
    }
    fn inverse(self) -> Number {
        let roots = self.1.mul(self.1);
        let norm = self.0.mul(self.0).add(roots.add(roots).minus());
        let over = Ratio::new(norm.1, norm.0);
        Number(self.0.mul(over), self.1.minus().mul(over))
    }
    /// What an f32 constant stands for: a multiple of 1/24 or of √2/24.
    fn of(constant: f32) -> Number {
        let near = |value: f64| (value - value.round()).abs() < 1e-5;
        let (plain, root) = (f64::from(constant) * 24.0, f64::from(constant) * 24.0 / 2f64.sqrt());
        assert!(near(plain) != near(root), "{constant} stands for nothing");
        let (a, b) = if near(plain) { (plain.round(), 0.0) } else { (0.0, root.round()) };
        Number(Ratio::new(a as i128, 24), Ratio::new(b as i128, 24))
    }
}

type Matrix = Vec<Vec<Number>>;

fn matrix(rows: &[&[i128]], divisor: i128) -> Matrix {
    rows.iter().map(|row| row.iter().map(|&n| Number(Ratio::new(n, divisor), Ratio(0, 1))).collect()).collect()
}

fn transposed(m: &Matrix) -> Matrix {
    (0..m[0].len()).map(|j| m.iter().map(|row| row[j]).collect()).collect()
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let cell = |row: &Vec<Number>, j: usize| (0..b.len()).fold(ZERO, |sum, k| sum.add(row[k].mul(b[k][j])));
    a.iter().map(|row| (0..b[0].len()).map(|j| cell(row, j)).collect()).collect()
}

/// `m x mᵀ`
fn around(m: &Matrix, x: &Matrix) -> Matrix {
    product(&product(m, x), &transposed(m))
}

fn pointwise(a: &Matrix, b: &Matrix) -> Matrix {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| a.mul(b)).collect()).collect()
}

/// The coefficients of `Π (x - root)`, the constant first.
fn polynomial(roots: &[Number]) -> Vec<Number> {
    let mut all = vec![ONE];
    for root in roots {
        let mut next = vec![ZERO; all.len() + 1];
        for (power, &c) in all.iter().enumerate() {
            next[power + 1] = next[power + 1].add(c);
            next[power] = next[power].add(c.mul(root.minus()));
        }
        all = next;
    }
    all
}

/// Bᵀ, G and Aᵀ: for m = 2 as they are printed in Lavin and Gray, (7) and (8); for m = 4 by the construction of Toom
/// and Cook from the points 0, ±1/√2, ±√2 and ∞.
fn matrices(form: Form) -> [Matrix; 3] {
    if form == Form::Two {
        return [
            matrix(&[&[1, 0, -1, 0], &[0, 1, 1, 0], &[0, -1, 1, 0], &[0, 1, 0, -1]], 1),
            matrix(&[&[2, 0, 0], &[1, 1, 1], &[1, -1, 1], &[0, 0, 2]], 2),
            matrix(&[&[1, 1, 1, 0], &[0, 1, -1, -1]], 1),
        ];
    }
    let root = |n: i128, d: i128| Number(Ratio(0, 1), Ratio::new(n, d));
    let points = [ZERO, root(1, 2), root(-1, 2), root(1, 1), root(-1, 1)];
    let power = |p: Number, n: usize| (0..n).fold(ONE, |product, _| product.mul(p));
    let (mut b, mut g) = (Vec::new(), Vec::new());
    for &point in &points {
        let others: Vec<Number> = points.iter().copied().filter(|&p| p != point).collect();
        let mut row = polynomial(&others);
        row.push(ZERO);
        b.push(row);
        let scale = others.iter().fold(ONE, |product, other| product.mul(point.add(other.minus()))).inverse();
        g.push((0..TAPS).map(|n| power(point, n).mul(scale)).collect());
    }
    b.push(polynomial(&points));
    g.push(vec![ZERO, ZERO, ONE]);
    let a = (0..form.outputs()).map(|n| {
        let infinity = if n + 1 == form.outputs() { ONE } else { ZERO };
        points.iter().map(|&p| power(p, n)).chain([infinity]).collect()
    });
    [b, g, a.collect()]
}

/// The matrix that a line computes, column by column.
fn of_line(line: &Line) -> Matrix {
    let columns: Matrix = (0..line.inputs)
        .map(|one| {
            let mut values: Vec<Number> = (0..line.inputs).map(|i| if i == one { ONE } else { ZERO }).collect();
            for step in line.steps {
                let value = match *step {
                    LineStep::Add(a, b) => values[a].add(values[b]),
                    LineStep::Sub(a, b) => values[a].add(values[b].minus()),
                    LineStep::Scale(c, a) => Number::of(c).mul(values[a]),
                    LineStep::MulAdd(c, a, b) => Number::of(c).mul(values[a]).add(values[b]),
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
    (0..rows).map(|i| (0..columns).map(|j| Number::whole(value(i, j))).collect()).collect()
}

/// `out[i][j] = Σ x[i + k][j + l] · w[k][l]`
fn correlate(x: &Matrix, w: &Matrix) -> Matrix {
    let (rows, columns) = (x.len() + 1 - w.len(), x[0].len() + 1 - w[0].len());
    let cell = |i: usize, j: usize| {
        let taps = (0..w.len()).flat_map(|k| (0..w[0].len()).map(move |l| (k, l)));
        taps.fold(ZERO, |sum, (k, l)| sum.add(x[i + k][j + l].mul(w[k][l])))
    };
    (0..rows).map(|i| (0..columns).map(|j| cell(i, j)).collect()).collect()
}

const FORMS: [Form; 2] = [Form::Two, Form::Four];

#[test]
fn lines_are_their_matrices() {
    for form in FORMS {
        let [b, g, a] = matrices(form);
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
        let [b, g, a] = matrices(form);
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
