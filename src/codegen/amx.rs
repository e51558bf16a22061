//! The register tile in AMX: eight tile registers of 16 rows × 64 bytes.
//!
//! ```text
//!            B: 16 pair rows × 16 columns
//!   A: 16 rows × 16 pairs   ──tdpbf16ps──▶   C: 16 rows × 16 columns of f32
//! ```
//!
//! A step multiplies sixteen pairs of bf16, 32 numbers of a run, for 16 rows and 16 columns in 16 cycles; up to four
//! C stay in registers. All registers have their full size: a tile of fewer rows than a multiple of 16 computes
//! rows that nobody reads, for which A and C have memory behind them. With `accumulate` the sums start from C.
//!
//! Tile registers must be configured before their first use and released after the last; while they are in use the
//! system saves them whenever it takes the thread off its core. A kernel does both once a chunk.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand, Register,
};

use super::isa::Isa;
use super::tile::{Loop, Tile};
use super::tile_wide::Assembler;
use crate::error::Error;

/// Rows of a tile register.
pub(super) const ROWS: usize = 16;
/// Pairs of bf16 that a step multiplies: the bytes of a row.
pub(super) const PAIRS: usize = 16;

/// Rows and vectors (16 columns) of the tile for up to `rows` rows and `columns` columns. Four accumulators hide the
/// latency of a product; with the operands they need at most eight registers.
pub(super) fn tile_size(rows: usize, columns: usize) -> (usize, usize) {
    let (blocks, vectors) = (rows.div_ceil(ROWS), columns / 16);
    let vectors = match (blocks, vectors) {
        (1, n) => (1..=4).rev().find(|v| n % v == 0).unwrap_or(1),
        (_, n) if n % 2 == 0 => 2,
        _ => 1,
    };
    ((4 / vectors).clamp(1, blocks) * ROWS, vectors)
}

/// The tile with its k loop in steps of [`PAIRS`], of which every loop has whole ones.
pub(super) fn in_steps(tile: &Tile) -> Tile {
    let mut tile = tile.clone();
    if let (Isa::Amx, Some(inner)) = (tile.isa, tile.loops.last_mut()) {
        let pairs = PAIRS as i64;
        *inner = Loop { count: inner.count / PAIRS, a: pairs * inner.a, b: pairs * inner.b };
    }
    tile
}

/// Bytes from one row to the next, in registers: of A, B and C.
const STRIDE_A: Register = Register::RAX;
const STRIDE_B: Register = Register::R11;
const STRIDE_C: Register = Register::RAX;

fn place(base: Register, stride: Register, offset: i64) -> MemoryOperand {
    MemoryOperand::with_base_index_scale_displ_size(base, stride, 1, offset, 1)
}

impl Assembler<'_> {
    fn blocks(&self) -> usize {
        self.tile.rows.div_ceil(ROWS)
    }
    fn c(&self, block: usize, vector: usize) -> Register {
        Register::TMM0 + (block * self.tile.vectors + vector) as u32
    }
    /// An operand's register; where there are fewer than operands they take turns.
    fn operand(&self, index: usize) -> Register {
        Register::TMM0 + (self.blocks() * self.tile.vectors + index) as u32
    }
    fn stride(&mut self, register: Register, bytes: i64) -> Result<(), IcedError> {
        self.push(Instruction::with2(Code::Mov_r64_imm64, register, bytes as u64)?);
        Ok(())
    }
    fn of_c(&self, block: usize, vector: usize) -> MemoryOperand {
        let offset = (block * ROWS) as i64 * self.tile.c_row + vector as i64 * 64;
        place(Register::RDX, STRIDE_C, offset)
    }

    /// The product of one tile.
    pub(super) fn tiles(&mut self) -> Result<(), IcedError> {
        let cells: Vec<(usize, usize)> =
            (0..self.blocks()).flat_map(|m| (0..self.tile.vectors).map(move |v| (m, v))).collect();
        let b_row = self.tile.loops.last().map_or(0, |inner| inner.b / PAIRS as i64);
        if self.tile.accumulate {
            self.stride(STRIDE_C, self.tile.c_row)?;
        }
        for &(m, v) in &cells {
            let c = self.c(m, v);
            self.push(if self.tile.accumulate {
                Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, c, self.of_c(m, v))?
            } else {
                Instruction::with1(Code::VEX_Tilezero_tmm, c)?
            });
        }
        self.stride(STRIDE_A, self.tile.a_row)?;
        self.stride(STRIDE_B, b_row)?;
        self.loops(0)?;
        self.stride(STRIDE_C, self.tile.c_row)?;
        for &(m, v) in &cells {
            let (c, to) = (self.c(m, v), self.of_c(m, v));
            self.push(Instruction::with2(Code::VEX_Tilestored_sibmem_tmm, to, c)?);
        }
        Ok(())
    }

    /// Step `k` of a turn.
    pub(super) fn multiply_tiles(&mut self, k: usize) -> Result<(), IcedError> {
        let Some(&inner) = self.tile.loops.last() else { return Ok(()) };
        let (blocks, vectors) = (self.blocks(), self.tile.vectors);
        let a = |m: usize| place(Register::RDI, STRIDE_A, k as i64 * inner.a + (m * ROWS) as i64 * self.tile.a_row);
        let b = |v: usize| place(Register::RSI, STRIDE_B, k as i64 * inner.b + v as i64 * 64);
        // the fewer operands stay, the others take turns in two registers
        let (staying, passing): (Vec<MemoryOperand>, Vec<MemoryOperand>) = if vectors <= blocks {
            ((0..vectors).map(b).collect(), (0..blocks).map(a).collect())
        } else {
            ((0..blocks).map(a).collect(), (0..vectors).map(b).collect())
        };
        let stay = staying.len();
        for (index, from) in staying.into_iter().enumerate() {
            let register = self.operand(index);
            self.push(Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, register, from)?);
        }
        for (index, from) in passing.into_iter().enumerate() {
            let register = self.operand(stay + index % 2);
            self.push(Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, register, from)?);
            for other in 0..stay {
                let other_register = self.operand(other);
                let (c, a, b) = if vectors <= blocks {
                    (self.c(index, other), register, other_register)
                } else {
                    (self.c(other, index), other_register, register)
                };
                self.push(Instruction::with3(Code::VEX_Tdpbf16ps_tmm_tmm_tmm, c, a, b)?);
            }
        }
        Ok(())
    }
}

/// `fn()`: all eight tile registers have 16 rows of 64 bytes.
pub(super) fn configure() -> Result<Vec<u8>, Error> {
    encode(|code| {
        // the 64 bytes of the configuration, below the stack pointer, where leaf functions may write: palette 1; bytes
        // of a row from byte 16 on, rows from byte 48 on
        let at = |byte: i64| MemoryOperand::with_base_displ(Register::RSP, byte - 64);
        let zero = Register::ZMM0;
        code.push(Instruction::with3(Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, zero, zero, zero)?);
        code.push(Instruction::with2(Code::EVEX_Vmovups_zmmm512_k1z_zmm, at(0), zero)?);
        let mut set = |byte: i64, value: u64| -> Result<(), IcedError> {
            code.push(Instruction::with2(Code::Mov_r64_imm64, Register::RAX, value)?);
            code.push(Instruction::with2(Code::Mov_rm64_r64, at(byte), Register::RAX)?);
            Ok(())
        };
        set(0, 1)?;
        set(16, 0x0040_0040_0040_0040)?;
        set(24, 0x0040_0040_0040_0040)?;
        set(48, 0x1010_1010_1010_1010)?;
        code.push(Instruction::with1(Code::VEX_Ldtilecfg_m512, at(0))?);
        code.push(Instruction::with(Code::VEX_Vzeroupper));
        Ok(())
    })
}

/// `fn()`: the tile registers are free again.
pub(super) fn release() -> Result<Vec<u8>, Error> {
    encode(|code| {
        code.push(Instruction::with(Code::VEX_Tilerelease));
        Ok(())
    })
}

/// Machine code of what `body` pushes, and a return.
fn encode(body: impl Fn(&mut Vec<Instruction>) -> Result<(), IcedError>) -> Result<Vec<u8>, Error> {
    let failed = |e: IcedError| Error::Codegen { path: "tile registers".to_string(), reason: e.to_string() };
    let mut code = Vec::new();
    body(&mut code).map_err(failed)?;
    code.push(Instruction::with(Code::Retnq));
    let block = InstructionBlock::new(&code, 0);
    BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map(|r| r.code_buffer).map_err(failed)
}
