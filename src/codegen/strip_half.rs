//! bf16 in strips: lanes of 16 bits become lanes of 32 and back.
//!
//! ```text
//!   memory  a b c d …  ─ zero-extend, shift left by 16 ─▶  a0 b0 c0 d0 …  (f32)
//!   (f32)   ─ round ─▶ ─ narrow ─▶  a b c d …
//! ```

use iced_x86::{Code, IcedError, Instruction, Register};

use super::strip::{Place, Vector};
use super::strip_wide::Assembler;

impl Assembler<'_> {
    /// See [`super::strip::Op::Narrow`].
    pub(super) fn narrow(&mut self, value: Vector, number: usize) -> Result<(), IcedError> {
        let (value, half) = (self.vector(value), Register::YMM0 + number as u32);
        if self.strip.isa.multiplies_pairs() {
            self.push(Instruction::with2(Code::EVEX_Vcvtneps2bf16_ymm_k1z_zmmm512b32, half, value)?);
        } else {
            // packs within 128 bits: the second and third quarter are exchanged
            self.push(Instruction::with3(Code::VEX_Vpackusdw_ymm_ymm_ymmm256, half, value, value)?);
            self.push(Instruction::with3(Code::VEX_Vpermq_ymm_ymmm256_imm8, half, half, 0b11_01_10_00)?);
        }
        Ok(())
    }

    /// Loads bf16 lanes and widens them.
    pub(super) fn widen(&mut self, place: Place, register: Register) -> Result<(), IcedError> {
        let memory = self.memory(place.pointer, place.offset)?;
        let code = if self.wide() { Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256 } else { Code::VEX_Vpmovzxwd_ymm_xmmm128 };
        let mut load = Instruction::with2(code, register, memory)?;
        if let Some(mask) = self.allocation.mask(place.lanes) {
            load.set_op_mask(self.mask(mask));
            load.set_zeroing_masking(true);
        }
        self.push(load);
        let code = if self.wide() { Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8 } else { Code::VEX_Vpslld_ymm_ymm_imm8 };
        self.push(Instruction::with3(code, register, register, 16)?);
        Ok(())
    }

    /// Stores bf16 lanes: the lower half of a vector, in AVX-512 without bf16 the lower halves of the lanes.
    pub(super) fn store_half(&mut self, place: Place, number: usize) -> Result<(), IcedError> {
        let memory = self.memory(place.pointer, place.offset)?;
        let (code, register) = match (self.strip.isa.multiplies_pairs(), self.wide()) {
            (true, _) => (Code::EVEX_Vmovdqu16_ymmm256_k1z_ymm, Register::YMM0),
            (false, true) => (Code::EVEX_Vpmovdw_ymmm256_k1z_zmm, Register::ZMM0),
            (false, false) => (Code::VEX_Vmovups_xmmm128_xmm, Register::XMM0),
        };
        let mut store = Instruction::with2(code, memory, register + number as u32)?;
        if let Some(mask) = self.allocation.mask(place.lanes) {
            store.set_op_mask(self.mask(mask));
        }
        self.push(store);
        Ok(())
    }
}
