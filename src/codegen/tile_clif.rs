//! The register tile in Cranelift: 128-bit vectors on any machine.
//!
//! The order matters (design measured on Zen 4): broadcasts are kept, vectors of B are streamed, and
//! `fma(b, a, acc)` ties the result to the streamed vector's register, so that neither the broadcast nor
//! the accumulator is copied. Accumulators are block parameters of a while-shaped loop.

use cranelift_codegen::ir::types::{F32, F32X4};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::{Class, Count, Emit};
use super::tile::{MicroOp, Tile};

/// k-steps in one turn of the innermost loop.
const UNROLL: usize = 4;

/// Emits `fn(a, b, c)`.
pub(super) fn emit(tile: &Tile, e: &mut Emit<'_>) {
    let (a, b, c) = (e.parameter(0), e.parameter(1), e.parameter(2));
    around(tile, e, 0, a, b, c);
}

fn around(tile: &Tile, e: &mut Emit<'_>, depth: usize, a: Value, b: Value, c: Value) {
    match tile.around.get(depth) {
        None => product(tile, e, a, b, c),
        Some(turn) => {
            e.repeat(Count::Static(turn.count), &[(a, turn.a), (b, turn.b), (c, turn.c)], &[], |e, at, _| {
                around(tile, e, depth + 1, at[0], at[1], at[2]);
                Vec::new()
            });
        }
    }
}

fn product(tile: &Tile, e: &mut Emit<'_>, a: Value, b: Value, c: Value) {
    let zero = e.float(0.0, 4);
    let acc = vec![zero; tile.rows * tile.vectors];
    let acc = nest(tile, e, 0, a, b, &acc);
    for row in 0..tile.rows {
        for v in 0..tile.vectors {
            let (mut sum, place) = (acc[row * tile.vectors + v], row as i64 * tile.c_row + v as i64 * 16);
            if tile.accumulate {
                let before = e.load(F32X4, c, place);
                sum = e.b.ins().fadd(before, sum);
            }
            e.store(sum, c, place);
        }
    }
}

fn nest(tile: &Tile, e: &mut Emit<'_>, depth: usize, a: Value, b: Value, acc: &[Value]) -> Vec<Value> {
    let Some(outer) = tile.loops.get(depth) else { return acc.to_vec() };
    if depth + 1 < tile.loops.len() {
        return e.repeat(Count::Static(outer.count), &[(a, outer.a), (b, outer.b)], acc, |e, at, acc| {
            nest(tile, e, depth + 1, at[0], at[1], acc)
        });
    }
    let unroll = UNROLL.min(outer.count);
    let turns = outer.count / unroll;
    let strides = [(a, unroll as i64 * outer.a), (b, unroll as i64 * outer.b)];
    let acc = e.repeat(Count::Static(turns), &strides, acc, |e, at, acc| {
        let mut acc = acc.to_vec();
        for k in 0..unroll {
            step(tile, e, k, at[0], at[1], &mut acc);
        }
        acc
    });
    let mut acc = acc;
    for k in turns * unroll..outer.count {
        step(tile, e, k, a, b, &mut acc);
    }
    acc
}

fn step(tile: &Tile, e: &mut Emit<'_>, k: usize, a: Value, b: Value, acc: &mut [Value]) {
    let ops = tile.step(k);
    let broadcasts: Vec<(usize, Value)> = ops
        .iter()
        .filter_map(|op| match *op {
            MicroOp::FmaBroadcast { row, offset } => Some((row, offset)),
            MicroOp::LoadB { .. } => None,
        })
        .map(|(row, offset)| {
            let scalar = e.load(F32, a, offset);
            (row, e.splat(Class::Float, scalar, 4))
        })
        .collect();
    for op in &ops {
        if let MicroOp::LoadB { vector, offset } = *op {
            let bv = e.load(F32X4, b, offset);
            for &(row, av) in &broadcasts {
                let slot = &mut acc[row * tile.vectors + vector];
                *slot = e.fma(bv, av, *slot);
            }
        }
    }
}
