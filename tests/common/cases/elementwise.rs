//! Functions of one, two and three numbers, in every way of broadcasting.

use outrigger::DType;
use outrigger::graph::Value;
use outrigger::ops::{Binary, Unary};

use super::Case;
use crate::common::build::{Build, Fill};

/// Every unary function with values where it is smooth.
const UNARY: [(Unary, Fill); 19] = [
    (Unary::Neg, Fill::Signed),
    (Unary::Abs, Fill::Away(&[0.0])),
    (Unary::Exp, Fill::Signed),
    (Unary::Log, Fill::Positive),
    (Unary::Sqrt, Fill::Positive),
    (Unary::Rsqrt, Fill::Positive),
    (Unary::Relu, Fill::Away(&[0.0])),
    (Unary::LeakyRelu(0.1), Fill::Away(&[0.0])),
    (Unary::Sigmoid, Fill::Signed),
    (Unary::Sigmoid, Fill::Wide),
    (Unary::Tanh, Fill::Signed),
    (Unary::Tanh, Fill::Wide),
    (Unary::Erf, Fill::Signed),
    (Unary::Gelu, Fill::Signed),
    (Unary::Gelu, Fill::Wide),
    (Unary::Silu, Fill::Wide),
    (Unary::Softplus, Fill::Signed),
    (Unary::Softplus, Fill::Wide),
    (Unary::Clamp(-0.7, 0.9), Fill::Away(&[-0.7, 0.9])),
];

/// Where functions overflow, vanish or have their kink.
const EXTREMES: [f32; 15] =
    [0.0, -0.0, 1.0, -1.0, 1e-6, -1e-6, 20.0, -20.0, 87.0, -87.0, 100.0, -100.0, 3e38, -3e38, f32::INFINITY];

const BINARY: [Binary; 9] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Max,
    Binary::Min,
    Binary::Greater,
    Binary::GreaterEqual,
    Binary::Equal,
];

fn is_comparison(op: Binary) -> bool {
    match op {
        Binary::Greater | Binary::GreaterEqual | Binary::Equal => true,
        Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Max | Binary::Min => false,
    }
}

/// Shapes of two operands that broadcast with each other.
fn pair(b: &mut Build) -> [Vec<usize>; 2] {
    let full = b.any_dims();
    let rank = full.len();
    match b.rng.below(6) {
        0 => [full.clone(), full],
        1 => [full, vec![]],
        2 => [vec![], full],
        3 => {
            let missing = b.rng.below(rank + 1);
            let rest = full[missing..].to_vec();
            if b.rng.once_in(2) { [full, rest] } else { [rest, full] }
        }
        4 => {
            let channel = full.last().copied().into_iter().collect();
            [full, channel]
        }
        // extents of 1 on both sides
        _ => [0, 1].map(|_| full.iter().map(|&e| if b.rng.once_in(3) { 1 } else { e }).collect()),
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, (op, fill)) in UNARY.into_iter().enumerate() {
        cases.push(Case::new(format!("unary/{}_{at}", op.name()), move |b| {
            let dims = b.any_dims();
            let x = b.x(dims, fill);
            // where these saturate, the derivative (and GELU's factor of x) is a difference of 1 and nearly 1
            if matches!(op, Unary::Tanh | Unary::Sigmoid) {
                b.gradient_magnitude = 1.0;
            } else if matches!(op, Unary::Gelu) {
                (b.magnitude, b.gradient_magnitude) = (12.0, 12.0);
            }
            let y = b.g.unary(op, x)?;
            b.out(y);
            Ok(())
        }));
    }
    for (op, _) in UNARY {
        cases.push(
            Case::new(format!("unary/extremes_{}", op.name()), move |b| {
                let x = b.floats(&EXTREMES);
                let positive = matches!(op, Unary::Log | Unary::Sqrt | Unary::Rsqrt);
                let y = if positive { b.g.abs(x)? } else { x };
                let y = b.g.unary(op, y)?;
                b.also(y);
                Ok(())
            })
            .flat(),
        );
    }
    cases.push(
        Case::new("unary/sign", |b| {
            let dims = b.any_dims();
            let x = b.plain(dims, Fill::Whole);
            let y = b.g.unary(Unary::Sign, x)?;
            b.also(y);
            Ok(())
        })
        .flat()
        .exact(),
    );
    cases.push(
        Case::new("unary/integers", |b| {
            let dims = b.any_dims();
            let x = b.integers(dims, -1000, 1000);
            for op in [Unary::Neg, Unary::Abs, Unary::Sign] {
                let y = b.g.unary(op, x)?;
                b.also(y);
            }
            Ok(())
        })
        .flat(),
    );

    for op in BINARY {
        let smooth = Case::new(format!("binary/{}", op.name()), move |b| {
            let [left, right] = pair(b);
            let fills = match op {
                Binary::Add | Binary::Sub | Binary::Mul => [Fill::Signed, Fill::Signed],
                Binary::Div => [Fill::Signed, Fill::Positive],
                Binary::Max | Binary::Min => [Fill::Distinct, Fill::Distinct],
                Binary::Greater | Binary::GreaterEqual | Binary::Equal => [Fill::Whole, Fill::Whole],
            };
            let (left, right) = (b.x(left, fills[0]), b.w(right, fills[1]));
            b.stretches = true;
            let y = b.g.binary(op, left, right)?;
            b.out(y);
            Ok(())
        });
        cases.push(if is_comparison(op) { smooth.flat().exact() } else { smooth });
    }
    cases.push(
        Case::new("binary/ties", |b| {
            let [left, right] = pair(b);
            let (left, right) = (b.plain(left, Fill::Whole), b.plain(right, Fill::Whole));
            for op in [Binary::Max, Binary::Min] {
                let y = b.g.binary(op, left, right)?;
                b.also(y);
            }
            Ok(())
        })
        .flat()
        .exact(),
    );
    cases.push(
        // integers divide in the interpreter only
        Case::new("binary/integers", |b| {
            let [left, right] = pair(b);
            let (left, right) = (b.integers(left, -9, 9), b.integers(right, -9, 9));
            for op in BINARY.into_iter().filter(|&op| op != Binary::Div) {
                let y = b.g.binary(op, left, right)?;
                b.also(y);
            }
            Ok(())
        })
        .flat(),
    );

    cases.push(Case::new("select/floats", |b| {
        let [left, right] = pair(b);
        let condition = b.rng.pick(&[0, 1, 2]);
        let condition = [left.clone(), right.clone(), vec![]][condition].clone();
        let condition = b.plain(condition, Fill::Whole);
        let (left, right) = (b.x(left, Fill::Signed), b.w(right, Fill::Signed));
        b.stretches = true;
        let y = b.g.select(condition, left, right)?;
        b.out(y);
        Ok(())
    }));
    cases.push(
        Case::new("select/integers", |b| {
            let [left, right] = pair(b);
            let condition = b.integers(left.clone(), 0, 1);
            let (left, right) = (b.integers(left, -9, 9), b.integers(right, -9, 9));
            let y = b.g.select(condition, left, right)?;
            b.also(y);
            Ok(())
        })
        .flat(),
    );
    cases.extend(casts());
    cases
}

type Source = fn(&mut Build) -> Value;

fn casts() -> Vec<Case> {
    let sources: [(&str, Source); 4] = [
        ("f32", |b| {
            let dims = b.any_dims();
            b.plain(dims, Fill::Wide)
        }),
        ("f32_extremes", |b| {
            b.floats(&[0.0, -0.9, 255.4, 256.0, 3e9, -3e9, f32::INFINITY, f32::NEG_INFINITY, f32::NAN])
        }),
        ("i32", |b| {
            let dims = b.any_dims();
            b.integers(dims, -300, 300)
        }),
        ("u8", |b| {
            let dims = b.any_dims();
            b.bytes(dims)
        }),
    ];
    let mut cases = Vec::new();
    for (from, source) in sources {
        cases.push(
            Case::new(format!("cast/{from}"), move |b| {
                let x = source(b);
                for to in [DType::F32, DType::I32, DType::U8] {
                    let y = b.g.cast(x, to)?;
                    b.also(y);
                }
                Ok(())
            })
            .flat()
            .exact(),
        );
    }
    cases.push(
        Case::new("cast/f32_to_f32", |b| {
            let x = b.x([3, 5], Fill::Signed);
            let y = b.g.cast(x, DType::F32)?;
            b.out(y);
            Ok(())
        })
        .exact(),
    );
    cases
}
