//! bf16 in Cranelift: an f32 whose lower half is cut off, after rounding to the nearest, ties to even.
//!
//! ```text
//!   f32   s eeeeeeee mmmmmmm | mmmmmmmmmmmmmmmm      bits + 0x7fff + bit 16, then the lower half is dropped:
//!   bf16  s eeeeeeee mmmmmmm                         a carry runs into the exponent, as it should
//! ```
//!
//! A NaN stays one, but rounding could carry its bits to an infinity: it becomes the usual NaN.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{I32, I64X2};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

use super::emit::{Class, Emit, memory};
use crate::types::DType;

/// How a float lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Element {
    F32,
    /// Rounded, two bytes.
    Bf16,
    /// As f32, but rounded to bf16 when it is stored.
    Rounded,
}

impl Element {
    pub(super) fn bytes(self) -> i64 {
        match self {
            Element::F32 | Element::Rounded => 4,
            Element::Bf16 => 2,
        }
    }
    /// Bytes that `bytes` of f32 are in this form.
    pub(super) fn of(self, bytes: i64) -> i64 {
        bytes / 4 * self.bytes()
    }
    /// What a tensor of `dtype` holds.
    pub(super) fn stored(dtype: DType) -> Element {
        if dtype == DType::Bf16 { Element::Bf16 } else { Element::F32 }
    }
}

impl Emit<'_> {
    /// `lanes` (1 or 4) floats at `base` + `bytes`.
    pub(super) fn load_floats(&mut self, element: Element, lanes: usize, base: Value, bytes: i64) -> Value {
        if element != Element::Bf16 {
            return self.load(super::emit::vector(Class::Float, lanes), base, bytes);
        }
        let address = self.offset(base, bytes);
        let narrow = if lanes == 1 {
            self.b.ins().uload16(I32, memory(), address, 0)
        } else {
            self.b.ins().uload16x4(memory(), address, 0)
        };
        let wide = self.b.ins().ishl_imm_u(narrow, 16);
        self.bits(Class::Float, wide)
    }

    /// Stores `value`, rounded as `element` says.
    pub(super) fn store_floats(&mut self, element: Element, value: Value, base: Value, bytes: i64) {
        match element {
            Element::F32 => self.store(value, base, bytes),
            Element::Rounded => {
                let rounded = self.round_bf16(value);
                self.store(rounded, base, bytes);
            }
            Element::Bf16 => {
                let address = self.offset(base, bytes);
                let rounded = self.round_bf16(value);
                let rounded = self.bits(Class::Int, rounded);
                let top = self.b.ins().ushr_imm_u(rounded, 16);
                if self.lanes(value) == 1 {
                    self.b.ins().istore16(memory(), top, address, 0);
                    return;
                }
                let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
                let packed = self.b.ins().unarrow(top, top);
                let packed = self.b.ins().bitcast(I64X2, flags, packed);
                let four = self.b.ins().extractlane(packed, 0);
                self.b.ins().store(memory(), four, address, 0);
            }
        }
    }

    /// The nearest bf16 of each lane, as f32.
    pub(super) fn round_bf16(&mut self, value: Value) -> Value {
        let lanes = self.lanes(value);
        let bits = self.bits(Class::Int, value);
        let shifted = self.b.ins().ushr_imm_u(bits, 16);
        let one = self.int32(1, lanes);
        let odd = self.b.ins().band(shifted, one);
        let half = self.int32(0x7fff, lanes);
        let up = self.b.ins().iadd(odd, half);
        let sum = self.b.ins().iadd(bits, up);
        let top = self.int32(0xffff_0000_u32 as i32, lanes);
        let rounded = self.b.ins().band(sum, top);
        let nan = self.float(f32::NAN, lanes);
        let unordered = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        let rounded = self.bits(Class::Float, rounded);
        self.choose(unordered, nan, rounded)
    }
}
