//! Pixels of bf16 in the order in which dot products of pairs want them, in x86 machine code (AVX512BW).
//!
//! ```text
//!   pixel p    a0 a1 a2 …                  pairs:      a0 b0 a1 b1 a2 b2 …     (a row for two pixels)
//!   pixel p+1  b0 b1 b2 …
//!                                          transposed: a0 b0 c0 d0 …           (a row for each channel)
//!                                                      a1 b1 c1 d1 …
//! ```
//!
//! Both take 16 channels at a time: two pixels' channels become sixteen 32-bit pairs of one register. Transposing goes on
//! from there, with sixteen registers as a 16×16 matrix of pairs.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand, Register,
};

use crate::error::Error;

const FROM: Register = Register::RDI;
const TO: Register = Register::RSI;

/// `fn(from, to)`: pixels one after the other become rows of pairs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pairs {
    /// Pairs of pixels.
    pub(super) pairs: usize,
    /// Channels of a pixel, a multiple of 16.
    pub(super) channels: usize,
}

/// `fn(from, to)`: each channel gets a row with its numbers in all pixels. Groups of 32 pixels are moved: what a row's
/// last group reads behind the row is overwritten by the next row's first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transpose {
    /// Rows of pixels: how many, bytes from one to the next in what is read and in what is written.
    pub(super) rows: (usize, i64, i64),
    /// Groups of 32 pixels in a row.
    pub(super) groups: usize,
    /// Bytes from one pixel to the next.
    pub(super) pixel: i64,
    /// Blocks of 16 channels.
    pub(super) blocks: usize,
    /// Bytes from one channel's row to the next.
    pub(super) channel: i64,
}

/// A loop: its counter, turns, and what the pointers advance by.
type Walk = (Register, usize, i64, i64);

struct Assembler {
    code: Vec<Instruction>,
    label: u64,
}

impl Assembler {
    fn push(&mut self, instruction: Instruction) {
        self.code.push(instruction);
    }
    fn advance(&mut self, register: Register, bytes: i64) -> Result<(), IcedError> {
        if bytes != 0 {
            self.push(Instruction::with2(Code::Add_rm64_imm32, register, bytes as i32)?);
        }
        Ok(())
    }
    /// Runs `body` in a loop and brings the pointers back.
    fn repeat(
        &mut self,
        (counter, turns, from, to): Walk,
        body: impl FnOnce(&mut Self) -> Result<(), IcedError>,
    ) -> Result<(), IcedError> {
        let top = self.label;
        self.label += 1;
        self.push(Instruction::with2(Code::Mov_r32_imm32, counter, turns as u32)?);
        let start = self.code.len();
        body(self)?;
        self.advance(FROM, from)?;
        self.advance(TO, to)?;
        self.code[start].set_ip(top);
        self.push(Instruction::with1(Code::Dec_rm32, counter)?);
        self.push(Instruction::with_branch(Code::Jne_rel32_64, top)?);
        self.advance(FROM, -from * turns as i64)?;
        self.advance(TO, -to * turns as i64)
    }
    /// Sixteen pairs of two pixels' channels, `first` and `second` bytes behind the pointer.
    fn pair(&mut self, into: u32, first: i64, second: i64) -> Result<(), IcedError> {
        let (pair, other) = (Register::ZMM0 + into, Register::ZMM31);
        let at = |offset: i64| MemoryOperand::with_base_displ(FROM, offset);
        self.push(Instruction::with2(Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256, pair, at(first))?);
        self.push(Instruction::with2(Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256, other, at(second))?);
        self.push(Instruction::with3(Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, other, other, 16)?);
        self.push(Instruction::with3(Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32, pair, pair, other)?);
        Ok(())
    }
    fn store(&mut self, register: u32, offset: i64) -> Result<(), IcedError> {
        let at = MemoryOperand::with_base_displ(TO, offset);
        self.push(Instruction::with2(Code::EVEX_Vmovups_zmmm512_k1z_zmm, at, Register::ZMM0 + register)?);
        Ok(())
    }
    /// Registers 0 to 15, rows of a 16×16 matrix of 32 bits, become its columns; needs 16 to 31 too.
    fn transpose(&mut self) -> Result<(), IcedError> {
        let three = |code: Code, to: u32, a: u32, b: u32| {
            Instruction::with3(code, Register::ZMM0 + to, Register::ZMM0 + a, Register::ZMM0 + b)
        };
        for i in (0..16).step_by(2) {
            self.push(three(Code::EVEX_Vpunpckldq_zmm_k1z_zmm_zmmm512b32, 16 + i, i, i + 1)?);
            self.push(three(Code::EVEX_Vpunpckhdq_zmm_k1z_zmm_zmmm512b32, 17 + i, i, i + 1)?);
        }
        for i in (0..16).step_by(4) {
            for half in 0..2 {
                let (a, b) = (16 + i + half, 18 + i + half);
                self.push(three(Code::EVEX_Vpunpcklqdq_zmm_k1z_zmm_zmmm512b64, i + 2 * half, a, b)?);
                self.push(three(Code::EVEX_Vpunpckhqdq_zmm_k1z_zmm_zmmm512b64, i + 2 * half + 1, a, b)?);
            }
        }
        // register 4g + j has column 4q + j of rows 4g to 4g + 3 in its quarter q; now quarters of one column are gathered
        let mut quarters = |to: u32, a: u32, b: u32, which: u32| -> Result<(), IcedError> {
            let code = Code::EVEX_Vshufi32x4_zmm_k1z_zmm_zmmm512b32_imm8;
            let (to, a, b) = (Register::ZMM0 + to, Register::ZMM0 + a, Register::ZMM0 + b);
            self.code.push(Instruction::with4(code, to, a, b, which)?);
            Ok(())
        };
        for j in 0..4 {
            for (at, group) in [(16, 0), (24, 8)] {
                quarters(at + j, group + j, group + 4 + j, 0x88)?;
                quarters(at + 4 + j, group + j, group + 4 + j, 0xdd)?;
            }
        }
        for j in 0..8 {
            quarters(j, 16 + j, 24 + j, 0x88)?;
            quarters(8 + j, 16 + j, 24 + j, 0xdd)?;
        }
        Ok(())
    }
    fn finish(mut self) -> Result<Vec<u8>, IcedError> {
        self.push(Instruction::with(Code::VEX_Vzeroupper));
        self.push(Instruction::with(Code::Retnq));
        let block = InstructionBlock::new(&self.code, 0);
        BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map(|r| r.code_buffer)
    }
}

fn assembled(what: String, body: impl FnOnce(&mut Assembler) -> Result<(), IcedError>) -> Result<Vec<u8>, Error> {
    let mut asm = Assembler { code: Vec::new(), label: 1 };
    let code = body(&mut asm).and_then(|()| asm.finish());
    code.map_err(|e| Error::Codegen { path: what, reason: e.to_string() })
}

impl Pairs {
    pub(super) fn assemble(&self) -> Result<Vec<u8>, Error> {
        let pixel = self.channels as i64 * 2;
        assembled(format!("{self:?}"), |asm| {
            asm.repeat((Register::ECX, self.pairs, 2 * pixel, 2 * pixel), |asm| {
                asm.repeat((Register::R8D, self.channels / 16, 32, 64), |asm| {
                    asm.pair(0, 0, pixel)?;
                    asm.store(0, 0)
                })
            })
        })
    }
}

impl Transpose {
    pub(super) fn assemble(&self) -> Result<Vec<u8>, Error> {
        assembled(format!("{self:?}"), |asm| {
            let (rows, from, to) = self.rows;
            asm.repeat((Register::ECX, rows, from, to), |asm| {
                asm.repeat((Register::R8D, self.groups, 32 * self.pixel, 64), |asm| {
                    asm.repeat((Register::R9D, self.blocks, 32, 16 * self.channel), |asm| {
                        for i in 0..16u32 {
                            let at = 2 * i64::from(i) * self.pixel;
                            asm.pair(i, at, at + self.pixel)?;
                        }
                        asm.transpose()?;
                        (0..16u32).try_for_each(|i| asm.store(i, i64::from(i) * self.channel))
                    })
                })
            })
        })
    }
}
