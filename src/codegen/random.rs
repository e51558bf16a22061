//! Random numbers from a counter, see [`source::Random`].

use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::{Class, Emit, vector};
use crate::ops::source;

/// Uniform floats in [0, 1) of a stream, one a lane, from integers: seed, step and index.
pub(super) fn uniform(e: &mut Emit<'_>, lanes: usize, stream: u32, [seed, step, index]: [Value; 3]) -> Value {
    let stream = e.int32(stream.wrapping_mul(0x9E37_79B9) as i32, lanes);
    let key = e.b.ins().bxor(seed, stream);
    let key = mix(e, lanes, key);
    let key = e.b.ins().bxor(key, step);
    let key = mix(e, lanes, key);
    let word = e.b.ins().bxor(key, index);
    let word = mix(e, lanes, word);
    let top = e.b.ins().ushr_imm_u(word, 8);
    let float = e.b.ins().fcvt_from_sint(vector(Class::Float, lanes), top);
    let scale = e.float(1.0 / 16_777_216.0, lanes);
    e.b.ins().fmul(float, scale)
}

fn mix(e: &mut Emit<'_>, lanes: usize, x: Value) -> Value {
    let mut x = x;
    for (shift, factor) in source::TRIPLE32 {
        let shifted = e.b.ins().ushr_imm_u(x, shift);
        x = e.b.ins().bxor(x, shifted);
        if factor != 0 {
            let factor = e.int32(factor as i32, lanes);
            x = e.b.ins().imul(x, factor);
        }
    }
    x
}
