//! The register tile in x86 machine code: 256-bit (AVX2 + FMA) and 512-bit (AVX-512) vectors, which
//! Cranelift's x86-64 backend does not have.
//!
//! A leaf function `fn(a: rdi, b: rsi, c: rdx)` of the System V convention that uses caller-saved
//! registers only. Registers are fixed: accumulators first, then the vectors of B, then one broadcast. With one
//! vector of B, AVX-512 multiplies by an embedded broadcast from memory; with more, one broadcast serves them all, which
//! spares loads (measured on a Xeon: 5 % of a training step). Ends with `vzeroupper`, since dirty
//! upper halves slow down the SSE instructions of the callers.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand, Register,
};

use super::amx;
use super::isa::Isa;
use super::tile::{MicroOp, Tile};
use crate::error::Error;

/// Counters of the (at most five) loops around the k loop, those around the tile first, and the k loop's.
const COUNTERS: [Register; 5] = [Register::R8D, Register::R9D, Register::R10D, Register::R11D, Register::EAX];
const INNERMOST: Register = Register::ECX;
const A: Register = Register::RDI;
const B: Register = Register::RSI;
const C: Register = Register::RDX;

pub(super) struct Assembler<'t> {
    pub(super) tile: &'t Tile,
    code: Vec<Instruction>,
    /// Labels are instruction pointers that stand for positions until the block is encoded.
    label: u64,
}

/// Machine code of the tile.
pub(super) fn assemble(tile: &Tile) -> Result<Vec<u8>, Error> {
    let failed = |e: IcedError| Error::Codegen { path: format!("tile {tile:?}"), reason: e.to_string() };
    // AMX has strides in two of the registers
    let counters = if tile.isa == Isa::Amx { 3 } else { COUNTERS.len() };
    let loops = tile.loops.iter().map(|l| l.count as i64 * l.a.abs().max(l.b.abs()));
    let around = tile.around.iter().map(|t| t.count as i64 * t.a.abs().max(t.b.abs()).max(t.c.abs()));
    let reach = loops.chain(around).max().unwrap_or(0);
    if tile.around.len() + tile.loops.len() > counters + 1 || reach > i64::from(i32::MAX) {
        let reason = "too many loops, or an operand over 2 GiB".to_string();
        return Err(Error::Codegen { path: format!("tile {tile:?}"), reason });
    }
    let steps = amx::in_steps(tile);
    let mut asm = Assembler { tile: &steps, code: Vec::new(), label: 1 };
    asm.function().map_err(failed)?;
    let block = InstructionBlock::new(&asm.code, 0);
    BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map(|r| r.code_buffer).map_err(failed)
}

impl Assembler<'_> {
    fn wide(&self) -> bool {
        self.tile.isa.vectors() == Isa::Avx512
    }
    fn register(&self, index: usize) -> Register {
        (if self.wide() { Register::ZMM0 } else { Register::YMM0 }) + index as u32
    }
    fn accumulator(&self, row: usize, vector: usize) -> Register {
        self.register(row * self.tile.vectors + vector)
    }
    fn vector(&self, vector: usize) -> Register {
        self.register(self.tile.rows * self.tile.vectors + vector)
    }
    fn broadcast(&self) -> Register {
        self.register((self.tile.rows + 1) * self.tile.vectors)
    }
    fn bytes(&self) -> i64 {
        self.tile.isa.lanes() as i64 * 4
    }
    pub(super) fn push(&mut self, instruction: Instruction) {
        self.code.push(instruction);
    }
    fn memory(base: Register, offset: i64) -> MemoryOperand {
        MemoryOperand::with_base_displ(base, offset)
    }
    fn advance(&mut self, register: Register, bytes: i64) -> Result<(), IcedError> {
        if bytes != 0 {
            self.push(Instruction::with2(Code::Add_rm64_imm32, register, bytes as i32)?);
        }
        Ok(())
    }

    fn function(&mut self) -> Result<(), IcedError> {
        self.around(0)?;
        self.push(Instruction::with(Code::VEX_Vzeroupper));
        self.push(Instruction::with(Code::Retnq));
        Ok(())
    }

    /// Loop `depth` around the tile and those inside.
    fn around(&mut self, depth: usize) -> Result<(), IcedError> {
        let Some(&turn) = self.tile.around.get(depth) else {
            return if self.tile.isa == Isa::Amx { self.tiles() } else { self.product() };
        };
        let top = self.label;
        self.label += 1;
        if turn.count > 1 {
            self.push(Instruction::with2(Code::Mov_r32_imm32, COUNTERS[depth], turn.count as u32)?);
        }
        let start = self.code.len();
        self.around(depth + 1)?;
        for (register, bytes) in [(A, turn.a), (B, turn.b), (C, turn.c)] {
            self.advance(register, bytes)?;
        }
        if turn.count > 1 {
            self.code[start].set_ip(top);
            self.push(Instruction::with1(Code::Dec_rm32, COUNTERS[depth])?);
            self.push(Instruction::with_branch(Code::Jne_rel32_64, top)?);
        }
        // the loop outside goes on from where this one began
        for (register, bytes) in [(A, turn.a), (B, turn.b), (C, turn.c)] {
            self.advance(register, -bytes * turn.count as i64)?;
        }
        Ok(())
    }

    fn product(&mut self) -> Result<(), IcedError> {
        let (add, store, zero) = if self.wide() {
            (
                Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
                Code::EVEX_Vmovups_zmmm512_k1z_zmm,
                Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
            )
        } else {
            (Code::VEX_Vaddps_ymm_ymm_ymmm256, Code::VEX_Vmovups_ymmm256_ymm, Code::VEX_Vxorps_ymm_ymm_ymmm256)
        };
        let cells: Vec<(usize, usize)> =
            (0..self.tile.rows).flat_map(|r| (0..self.tile.vectors).map(move |v| (r, v))).collect();
        for &(row, vector) in &cells {
            let acc = self.accumulator(row, vector);
            self.push(Instruction::with3(zero, acc, acc, acc)?);
        }
        self.loops(0)?;
        for &(row, vector) in &cells {
            let acc = self.accumulator(row, vector);
            let place = Self::memory(C, row as i64 * self.tile.c_row + vector as i64 * self.bytes());
            if self.tile.accumulate {
                self.push(Instruction::with3(add, acc, acc, place)?);
            }
            self.push(Instruction::with2(store, place, acc)?);
        }
        Ok(())
    }

    /// Loop `depth` and those inside; leaves A and B where they were before.
    pub(super) fn loops(&mut self, depth: usize) -> Result<(), IcedError> {
        let this = self.tile.loops[depth];
        let innermost = depth + 1 == self.tile.loops.len();
        let counter = if innermost { INNERMOST } else { COUNTERS[self.tile.around.len() + depth] };
        // the k loop takes several steps a turn to hide its own instructions
        let unroll = if innermost { self.unroll().min(this.count) } else { 1 };
        let (turns, rest) = (this.count / unroll, this.count % unroll);
        let top = self.label;
        self.label += 1;
        if turns > 1 {
            self.push(Instruction::with2(Code::Mov_r32_imm32, counter, turns as u32)?);
        }
        let start = self.code.len();
        if innermost {
            for k in 0..unroll {
                self.step(k)?;
            }
        } else {
            self.loops(depth + 1)?;
        }
        self.advance(A, this.a * unroll as i64)?;
        self.advance(B, this.b * unroll as i64)?;
        if turns > 1 {
            self.code[start].set_ip(top);
            self.push(Instruction::with1(Code::Dec_rm32, counter)?);
            self.push(Instruction::with_branch(Code::Jne_rel32_64, top)?);
        }
        for k in 0..rest {
            self.step(k)?;
        }
        let done = (turns * unroll) as i64;
        self.advance(A, -this.a * done)?;
        self.advance(B, -this.b * done)
    }

    fn unroll(&self) -> usize {
        if self.tile.isa == Isa::Amx {
            return 2;
        }
        (32 / (self.tile.rows * self.tile.vectors)).clamp(2, 8)
    }

    fn step(&mut self, k: usize) -> Result<(), IcedError> {
        if self.tile.isa == Isa::Amx {
            return self.multiply_tiles(k);
        }
        for op in self.tile.step(k) {
            match op {
                MicroOp::LoadB { vector, offset } => {
                    let load =
                        if self.wide() { Code::EVEX_Vmovups_zmm_k1z_zmmm512 } else { Code::VEX_Vmovups_ymm_ymmm256 };
                    let register = self.vector(vector);
                    self.push(Instruction::with2(load, register, Self::memory(B, offset))?);
                }
                MicroOp::FmaBroadcast { row, offset } => self.multiply(row, offset)?,
            }
        }
        Ok(())
    }

    /// Adds the products of 512-bit vectors: of f32, or of pairs of bf16, which are added up.
    fn multiply_add(&self) -> Code {
        if self.tile.isa == Isa::Avx512Bf16 {
            Code::EVEX_Vdpbf16ps_zmm_k1z_zmm_zmmm512b32
        } else {
            Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er
        }
    }
    fn multiply(&mut self, row: usize, offset: i64) -> Result<(), IcedError> {
        if self.wide() && self.tile.vectors == 1 {
            for v in 0..self.tile.vectors {
                let number = MemoryOperand::new(A, Register::None, 1, offset, 1, true, Register::None);
                let (acc, b) = (self.accumulator(row, v), self.vector(v));
                self.push(Instruction::with3(self.multiply_add(), acc, b, number)?);
            }
            return Ok(());
        }
        let (load, fma) = if self.wide() {
            (Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, self.multiply_add())
        } else {
            (Code::VEX_Vbroadcastss_ymm_m32, Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256)
        };
        let number = self.broadcast();
        self.push(Instruction::with2(load, number, Self::memory(A, offset))?);
        for v in 0..self.tile.vectors {
            let (acc, b) = (self.accumulator(row, v), self.vector(v));
            self.push(Instruction::with3(fma, acc, b, number)?);
        }
        Ok(())
    }
}
