//! Element-wise functions as instruction sequences, the same for one lane and for four.
//!
//! | function | method | relative error |
//! |---|---|---|
//! | exp | 2ⁿ·p(r), degree 5 (Cephes `expf`) | 2e-7 |
//! | log | Cephes `logf` | 2e-7 |
//! | tanh, erf | rational functions in x², as in Eigen's `ptanh` and `erf` | 4e-7 |
//!
//! Subnormal numbers count as zero, as everywhere in the kernels.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::{Class, Emit, vector};
use crate::ops::{Binary, Unary};

impl Emit<'_> {
    fn constant(&mut self, like: Value, value: f32) -> Value {
        let lanes = self.lanes(like);
        self.float(value, lanes)
    }
    fn compare(&mut self, cc: FloatCC, x: Value, limit: f32) -> Value {
        let limit = self.constant(x, limit);
        self.b.ins().fcmp(cc, x, limit)
    }
    fn scale(&mut self, x: Value, factor: f32) -> Value {
        let factor = self.constant(x, factor);
        self.b.ins().fmul(x, factor)
    }
    fn plus(&mut self, x: Value, term: f32) -> Value {
        let term = self.constant(x, term);
        self.b.ins().fadd(x, term)
    }
    /// Horner's scheme, highest coefficient first.
    fn polynomial(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let mut sum = self.constant(x, coefficients[0]);
        for &c in &coefficients[1..] {
            let c = self.constant(x, c);
            sum = self.fma(x, sum, c);
        }
        sum
    }
    /// The larger of `x` and `limit`; NaN stays.
    fn at_least(&mut self, x: Value, limit: f32) -> Value {
        let below = self.compare(FloatCC::LessThan, x, limit);
        let limit = self.constant(x, limit);
        self.choose(below, limit, x)
    }
    fn at_most(&mut self, x: Value, limit: f32) -> Value {
        let above = self.compare(FloatCC::GreaterThan, x, limit);
        let limit = self.constant(x, limit);
        self.choose(above, limit, x)
    }
    /// 1 or 0 of the operands' class from a comparison.
    fn truth(&mut self, condition: Value, class: Class, lanes: usize) -> Value {
        let (one, zero) = match class {
            Class::Float => (self.float(1.0, lanes), self.float(0.0, lanes)),
            Class::Int => (self.int32(1, lanes), self.int32(0, lanes)),
        };
        self.choose(condition, one, zero)
    }

    /// `f(x)` on floats, or on integers for `Neg`, `Abs` and `Sign`.
    pub(super) fn unary(&mut self, op: Unary, class: Class, x: Value) -> Value {
        if class == Class::Int {
            return self.unary_int(op, x);
        }
        match op {
            Unary::Neg => self.b.ins().fneg(x),
            Unary::Abs => self.b.ins().fabs(x),
            Unary::Sign => {
                let positive = self.compare(FloatCC::GreaterThan, x, 0.0);
                let negative = self.compare(FloatCC::LessThan, x, 0.0);
                let (one, minus) = (self.constant(x, 1.0), self.constant(x, -1.0));
                // NaN and zeros pass
                let signed = self.choose(negative, minus, x);
                self.choose(positive, one, signed)
            }
            Unary::Exp => self.exp(x),
            Unary::Log => self.log(x),
            Unary::Sqrt => self.b.ins().sqrt(x),
            Unary::Rsqrt => {
                let root = self.b.ins().sqrt(x);
                let one = self.constant(x, 1.0);
                self.b.ins().fdiv(one, root)
            }
            Unary::Relu => self.at_least(x, 0.0),
            Unary::LeakyRelu(slope) => {
                let negative = self.compare(FloatCC::LessThan, x, 0.0);
                let scaled = self.scale(x, slope);
                self.choose(negative, scaled, x)
            }
            Unary::Sigmoid => self.sigmoid(x),
            Unary::Tanh => self.tanh(x),
            Unary::Erf => self.erf(x),
            Unary::Gelu => {
                let scaled = self.scale(x, std::f32::consts::FRAC_1_SQRT_2);
                let erf = self.erf(scaled);
                let one = self.plus(erf, 1.0);
                let half = self.scale(x, 0.5);
                self.b.ins().fmul(half, one)
            }
            Unary::Silu => {
                let s = self.sigmoid(x);
                self.b.ins().fmul(x, s)
            }
            Unary::Softplus => self.softplus(x),
            Unary::Clamp(low, high) => {
                let x = self.at_least(x, low);
                self.at_most(x, high)
            }
        }
    }

    fn unary_int(&mut self, op: Unary, x: Value) -> Value {
        let lanes = self.lanes(x);
        let zero = self.int32(0, lanes);
        let negated = self.b.ins().isub(zero, x);
        let negative = self.b.ins().icmp(IntCC::SignedLessThan, x, zero);
        match op {
            Unary::Neg => negated,
            Unary::Abs => self.choose(negative, negated, x),
            Unary::Sign => {
                let positive = self.b.ins().icmp(IntCC::SignedGreaterThan, x, zero);
                let (one, minus) = (self.int32(1, lanes), self.int32(-1, lanes));
                let below = self.choose(negative, minus, zero);
                self.choose(positive, one, below)
            }
            // shape inference admits no other integer function
            Unary::Exp
            | Unary::Log
            | Unary::Sqrt
            | Unary::Rsqrt
            | Unary::Relu
            | Unary::LeakyRelu(_)
            | Unary::Sigmoid
            | Unary::Tanh
            | Unary::Erf
            | Unary::Gelu
            | Unary::Silu
            | Unary::Softplus
            | Unary::Clamp(..) => x,
        }
    }

    /// `f(a, b)` on two floats or two integers. Integer division by zero gives zero.
    pub(super) fn binary(&mut self, op: Binary, class: Class, x: Value, y: Value) -> Value {
        let lanes = self.lanes(x);
        let compare = |e: &mut Self, float: FloatCC, int: IntCC| match class {
            Class::Float => e.b.ins().fcmp(float, x, y),
            Class::Int => e.b.ins().icmp(int, x, y),
        };
        match (op, class) {
            (Binary::Add, Class::Float) => self.b.ins().fadd(x, y),
            (Binary::Sub, Class::Float) => self.b.ins().fsub(x, y),
            (Binary::Mul, Class::Float) => self.b.ins().fmul(x, y),
            (Binary::Div, Class::Float) => self.b.ins().fdiv(x, y),
            (Binary::Add, Class::Int) => self.b.ins().iadd(x, y),
            (Binary::Sub, Class::Int) => self.b.ins().isub(x, y),
            (Binary::Mul, Class::Int) => self.b.ins().imul(x, y),
            (Binary::Div, Class::Int) => self.divide_int(x, y),
            (Binary::Max | Binary::Min, _) => {
                let first = if op == Binary::Max {
                    compare(self, FloatCC::GreaterThan, IntCC::SignedGreaterThan)
                } else {
                    compare(self, FloatCC::LessThan, IntCC::SignedLessThan)
                };
                let chosen = self.choose(first, x, y);
                if class == Class::Int {
                    return chosen;
                }
                // a NaN on the left would lose every comparison
                let nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
                self.choose(nan, x, chosen)
            }
            (Binary::Greater, _) => {
                let c = compare(self, FloatCC::GreaterThan, IntCC::SignedGreaterThan);
                self.truth(c, class, lanes)
            }
            (Binary::GreaterEqual, _) => {
                let c = compare(self, FloatCC::GreaterThanOrEqual, IntCC::SignedGreaterThanOrEqual);
                self.truth(c, class, lanes)
            }
            (Binary::Equal, _) => {
                let c = compare(self, FloatCC::Equal, IntCC::Equal);
                self.truth(c, class, lanes)
            }
        }
    }

    /// Scalars only: vectors have no integer division. Neither x/0 nor MIN/-1 may trap.
    fn divide_int(&mut self, x: Value, y: Value) -> Value {
        let (zero, one, minus) = (self.int32(0, 1), self.int32(1, 1), self.int32(-1, 1));
        let by_zero = self.b.ins().icmp(IntCC::Equal, y, zero);
        let by_minus = self.b.ins().icmp(IntCC::Equal, y, minus);
        let safe = self.b.ins().select(by_zero, one, y);
        let safe = self.b.ins().select(by_minus, one, safe);
        let quotient = self.b.ins().sdiv(x, safe);
        let negated = self.b.ins().isub(zero, x);
        let quotient = self.b.ins().select(by_minus, negated, quotient);
        self.b.ins().select(by_zero, zero, quotient)
    }

    /// `condition != 0 ? a : b`
    pub(super) fn select_nonzero(&mut self, class: Class, condition: Value, a: Value, b: Value) -> Value {
        let lanes = self.lanes(condition);
        let nonzero = match class {
            Class::Float => self.compare(FloatCC::NotEqual, condition, 0.0),
            Class::Int => {
                let zero = self.int32(0, lanes);
                self.b.ins().icmp(IntCC::NotEqual, condition, zero)
            }
        };
        self.choose(nonzero, a, b)
    }

    /// eˣ = 2ⁿ·eʳ with n = round(x/ln 2) and |r| ≤ ln 2 / 2.
    fn exp(&mut self, x: Value) -> Value {
        let lanes = self.lanes(x);
        let limited = self.at_least(x, -104.0);
        let limited = self.at_most(limited, 89.0);
        let n = self.scale(limited, std::f32::consts::LOG2_E);
        let n = self.b.ins().nearest(n);
        let high = self.constant(x, -355.0 / 512.0);
        let r = self.fma(n, high, limited);
        let low = self.constant(x, 2.121_944_4e-4);
        let r = self.fma(n, low, r);
        let p = self
            .polynomial(r, &[1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_3e-1]);
        let r2 = self.b.ins().fmul(r, r);
        let p = self.fma(p, r2, r);
        let p = self.plus(p, 1.0);
        // 2ⁿ in two factors, so that 2¹²⁸·0.5… and results near the smallest normal number come out
        let n = self.b.ins().fcvt_to_sint_sat(vector(Class::Int, lanes), n);
        let half = self.b.ins().sshr_imm_u(n, 1);
        let rest = self.b.ins().isub(n, half);
        let factor = |e: &mut Self, n: Value| {
            let bias = e.int32(127, lanes);
            let biased = e.b.ins().iadd(n, bias);
            let bits = e.b.ins().ishl_imm_u(biased, 23);
            e.bits(Class::Float, bits)
        };
        let (f1, f2) = (factor(self, half), factor(self, rest));
        let p = self.b.ins().fmul(p, f1);
        self.b.ins().fmul(p, f2)
    }

    /// ln x = k·ln 2 + ln m with √½ ≤ m < √2; 0 gives -∞ and negative numbers NaN.
    fn log(&mut self, x: Value) -> Value {
        let lanes = self.lanes(x);
        let bits = self.bits(Class::Int, x);
        let shifted = self.b.ins().ushr_imm_u(bits, 23);
        let bias = self.int32(126, lanes);
        let k = self.b.ins().isub(shifted, bias);
        let k = self.b.ins().fcvt_from_sint(vector(Class::Float, lanes), k);
        let mantissa = self.int32(0x007f_ffff, lanes);
        let m = self.b.ins().band(bits, mantissa);
        let half = self.int32(0x3f00_0000, lanes);
        let m = self.b.ins().bor(m, half);
        let m = self.bits(Class::Float, m);
        let small = self.compare(FloatCC::LessThan, m, std::f32::consts::FRAC_1_SQRT_2);
        let doubled = self.b.ins().fadd(m, m);
        let m = self.choose(small, doubled, m);
        let one = self.constant(x, 1.0);
        let k_less = self.b.ins().fsub(k, one);
        let k = self.choose(small, k_less, k);
        let f = self.b.ins().fsub(m, one);
        let p = self.polynomial(
            f,
            &[
                7.037_683_6e-2,
                -1.151_461e-1,
                1.167_699_9e-1,
                -1.242_014_1e-1,
                1.424_932_3e-1,
                -1.666_805_8e-1,
                2.000_071_5e-1,
                -2.499_999_4e-1,
                3.333_333e-1,
            ],
        );
        let f2 = self.b.ins().fmul(f, f);
        let f3 = self.b.ins().fmul(f2, f);
        let tail = self.b.ins().fmul(p, f3);
        let low = self.constant(x, -2.121_944_4e-4);
        let tail = self.fma(k, low, tail);
        let minus_half = self.constant(x, -0.5);
        let tail = self.fma(f2, minus_half, tail);
        let sum = self.b.ins().fadd(f, tail);
        let high = self.constant(x, 355.0 / 512.0);
        let result = self.fma(k, high, sum);
        let infinite = self.compare(FloatCC::Equal, x, f32::INFINITY);
        let result = self.choose(infinite, x, result);
        let zero = self.compare(FloatCC::LessThan, x, f32::MIN_POSITIVE);
        let minus_infinity = self.constant(x, f32::NEG_INFINITY);
        let result = self.choose(zero, minus_infinity, result);
        let nan = self.constant(x, f32::NAN);
        let negative = self.compare(FloatCC::LessThan, x, 0.0);
        let result = self.choose(negative, nan, result);
        let unordered = self.b.ins().fcmp(FloatCC::Unordered, x, x);
        self.choose(unordered, x, result)
    }

    fn sigmoid(&mut self, x: Value) -> Value {
        let negated = self.b.ins().fneg(x);
        let e = self.exp(negated);
        let denominator = self.plus(e, 1.0);
        let one = self.constant(x, 1.0);
        self.b.ins().fdiv(one, denominator)
    }

    fn tanh(&mut self, x: Value) -> Value {
        let t = self.at_least(x, -7.905_311);
        let t = self.at_most(t, 7.905_311);
        let t2 = self.b.ins().fmul(t, t);
        let p = self.polynomial(
            t2,
            &[
                -2.760_768_5e-16,
                2.000_188e-13,
                -8.604_672e-11,
                5.122_297e-8,
                1.485_722_4e-5,
                6.372_619_4e-4,
                4.893_524_6e-3,
            ],
        );
        let p = self.b.ins().fmul(p, t);
        let q = self.polynomial(t2, &[1.198_258_4e-6, 1.185_347e-4, 2.268_434_6e-3, 4.893_525e-3]);
        self.b.ins().fdiv(p, q)
    }

    fn erf(&mut self, x: Value) -> Value {
        let t = self.at_least(x, -4.0);
        let t = self.at_most(t, 4.0);
        let t2 = self.b.ins().fmul(t, t);
        let p = self.polynomial(
            t2,
            &[
                -2.726_142e-10,
                2.770_681_4e-8,
                -2.101_024e-6,
                -5.692_506_4e-5,
                -7.349_906e-4,
                -2.954_6e-3,
                -1.609_603_3e-2,
            ],
        );
        let p = self.b.ins().fmul(p, t);
        let q =
            self.polynomial(t2, &[-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_3e-3, -1.426_473_9e-2]);
        let quotient = self.b.ins().fdiv(p, q);
        // from here on the nearest f32 is ±1; without this, gelu(-12) would not vanish
        let (one, minus) = (self.constant(x, 1.0), self.constant(x, -1.0));
        let above = self.compare(FloatCC::GreaterThan, x, 3.92);
        let below = self.compare(FloatCC::LessThan, x, -3.92);
        let quotient = self.choose(above, one, quotient);
        self.choose(below, minus, quotient)
    }

    /// max(x, 0) + log1p(u) with u = e^-|x|, where log1p(u) = u·ln(w)/(w - 1), w = 1 + u (Kahan).
    fn softplus(&mut self, x: Value) -> Value {
        let magnitude = self.b.ins().fabs(x);
        let negated = self.b.ins().fneg(magnitude);
        let u = self.exp(negated);
        let w = self.plus(u, 1.0);
        let difference = self.plus(w, -1.0);
        let tiny = self.compare(FloatCC::Equal, difference, 0.0);
        let log = self.log(w);
        let product = self.b.ins().fmul(u, log);
        let one = self.constant(x, 1.0);
        let divisor = self.choose(tiny, one, difference);
        let quotient = self.b.ins().fdiv(product, divisor);
        let log1p = self.choose(tiny, u, quotient);
        let positive = self.at_least(x, 0.0);
        self.b.ins().fadd(positive, log1p)
    }
}
