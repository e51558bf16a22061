//! A [`Strip`] in x86 machine code: 256-bit (AVX2) and 512-bit (AVX-512) vectors.
//!
//! A leaf function `fn(table: rdi)` of the System V convention. Pointers live in general registers,
//! innermost loops count in `ecx`, the loops around them in the table; callee-saved registers are saved where
//! they are used. Ends with `vzeroupper`, since dirty upper halves slow down the SSE instructions of the callers.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand, Register,
};

use super::half::Element;
use super::isa::Isa;
use super::strip::{Arithmetic, Comparison, Op, Place, Strip, Times, Vector};
use super::strip_registers::{Allocation, POINTERS, allocate};
use crate::error::Error;

const TABLE: Register = Register::RDI;
const COUNTER: Register = Register::RCX;
const TEMPORARY: Register = Register::RAX;
/// The last six belong to the caller.
const POINTER: [Register; POINTERS] = [
    Register::RSI,
    Register::RDX,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
const SCRATCH_POINTERS: usize = 6;

pub(super) struct Assembler<'s> {
    pub(super) strip: &'s Strip,
    pub(super) allocation: Allocation,
    code: Vec<Instruction>,
    /// Labels are instruction pointers that stand for positions until the block is encoded.
    label: u64,
    /// The label of the next instruction.
    pending: Option<u64>,
}

/// An open loop.
struct Turn<'s> {
    times: Times,
    strides: &'s [(usize, i64)],
    /// Where its counter is in the table; in the register if `None`.
    counter: Option<usize>,
    top: u64,
    end: u64,
}

/// Machine code of the strip.
pub(super) fn assemble(strip: &Strip) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Codegen { path: format!("strip {strip:?}"), reason };
    let allocation = allocate(strip).ok_or_else(|| failed("too few registers, or an offset over 2 GiB".to_string()))?;
    let mut asm = Assembler { strip, allocation, code: Vec::new(), label: 1, pending: None };
    asm.function().map_err(|e| failed(e.to_string()))?;
    let block = InstructionBlock::new(&asm.code, 0);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE);
    encoded.map(|r| r.code_buffer).map_err(|e| failed(e.to_string()))
}

/// One of two codes, by the vectors' width.
macro_rules! code {
    ($asm:expr, $wide:ident, $narrow:ident) => {
        if $asm.wide() { Code::$wide } else { Code::$narrow }
    };
}

impl<'s> Assembler<'s> {
    pub(super) fn wide(&self) -> bool {
        self.strip.isa.vectors() == Isa::Avx512
    }
    fn register(&self, number: usize) -> Register {
        (if self.wide() { Register::ZMM0 } else { Register::YMM0 }) + number as u32
    }
    pub(super) fn vector(&self, value: Vector) -> Register {
        self.register(self.allocation.of(value))
    }
    pub(super) fn mask(&self, number: usize) -> Register {
        Register::K0 + number as u32
    }
    pub(super) fn push(&mut self, mut instruction: Instruction) {
        if let Some(label) = self.pending.take() {
            instruction.set_ip(label);
        }
        self.code.push(instruction);
    }
    fn new_label(&mut self) -> u64 {
        self.label += 1;
        self.label - 1
    }
    /// Puts `label` before the next instruction.
    fn place(&mut self, label: u64) {
        if self.pending.is_some() {
            self.push(Instruction::with(Code::Nopd));
        }
        self.pending = Some(label);
    }
    fn entry(&self, index: usize) -> MemoryOperand {
        MemoryOperand::with_base_displ(TABLE, 8 * index as i64)
    }
    /// The operand at `offset` behind a pointer, which is fetched from the table if it has no register.
    pub(super) fn memory(&mut self, pointer: usize, offset: i64) -> Result<MemoryOperand, IcedError> {
        let base = match self.allocation.pointers[pointer] {
            Some(register) => POINTER[register],
            None => {
                let entry = self.entry(pointer);
                self.push(Instruction::with2(Code::Mov_r64_rm64, TEMPORARY, entry)?);
                TEMPORARY
            }
        };
        Ok(MemoryOperand::with_base_displ(base, offset))
    }

    fn function(&mut self) -> Result<(), IcedError> {
        let used: Vec<(usize, Register)> =
            self.allocation.pointers.iter().enumerate().filter_map(|(p, r)| Some((p, POINTER[(*r)?]))).collect();
        let saved: Vec<Register> =
            POINTER[SCRATCH_POINTERS..].iter().copied().filter(|r| used.iter().any(|u| u.1 == *r)).collect();
        for &register in &saved {
            self.push(Instruction::with1(Code::Push_r64, register)?);
        }
        for &(pointer, register) in &used {
            let entry = self.entry(pointer);
            self.push(Instruction::with2(Code::Mov_r64_rm64, register, entry)?);
        }
        let strip = self.strip;
        for (index, &bits) in strip.constants.iter().enumerate() {
            self.constant(bits, self.allocation.of(Vector::Constant(index)))?;
        }
        for (lanes, number) in self.allocation.masks().to_vec() {
            self.lane_mask(lanes, number)?;
        }
        self.line()?;
        self.push(Instruction::with(Code::VEX_Vzeroupper));
        for &register in saved.iter().rev() {
            self.push(Instruction::with1(Code::Pop_r64, register)?);
        }
        self.push(Instruction::with(Code::Retnq));
        Ok(())
    }

    fn constant(&mut self, bits: u32, number: usize) -> Result<(), IcedError> {
        let register = self.register(number);
        if bits == 0 {
            return self.zero(register);
        }
        self.push(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, bits)?);
        if self.wide() {
            self.push(Instruction::with2(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Register::EAX)?);
            return Ok(());
        }
        let low = Register::XMM0 + number as u32;
        self.push(Instruction::with2(Code::VEX_Vmovd_xmm_rm32, low, Register::EAX)?);
        self.push(Instruction::with2(Code::VEX_Vbroadcastss_ymm_xmm, register, low)?);
        Ok(())
    }

    fn zero(&mut self, register: Register) -> Result<(), IcedError> {
        let code = code!(self, EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, VEX_Vxorps_ymm_ymm_ymmm256);
        self.push(Instruction::with3(code, register, register, register)?);
        Ok(())
    }

    /// The first `lanes` lanes.
    fn lane_mask(&mut self, lanes: usize, number: usize) -> Result<(), IcedError> {
        if self.wide() {
            self.push(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, (1u32 << lanes) - 1)?);
            self.push(Instruction::with2(Code::VEX_Kmovw_kr_r32, self.mask(number), Register::EAX)?);
            return Ok(());
        }
        // a byte of ones a lane, widened to the lane
        let low = Register::XMM0 + number as u32;
        self.push(Instruction::with2(Code::Mov_r64_imm64, Register::RAX, (1u64 << (8 * lanes)) - 1)?);
        self.push(Instruction::with2(Code::VEX_Vmovq_xmm_rm64, low, Register::RAX)?);
        self.push(Instruction::with2(Code::VEX_Vpmovsxbd_ymm_xmmm64, self.register(number), low)?);
        Ok(())
    }

    fn line(&mut self) -> Result<(), IcedError> {
        let strip = self.strip;
        let counters = strip.pointers + strip.counts;
        let mut open: Vec<Turn<'s>> = Vec::new();
        for (at, op) in strip.line.iter().enumerate() {
            match op {
                Op::Loop { times, strides } => {
                    // a loop with another loop inside counts in memory
                    let next = strip.line[at + 1..].iter().find(|op| matches!(op, Op::Loop { .. } | Op::End));
                    let counter = matches!(next, Some(Op::Loop { .. })).then_some(counters + open.len());
                    let (top, end) = (self.new_label(), self.new_label());
                    let turn = Turn { times: *times, strides, counter, top, end };
                    self.begin(&turn)?;
                    open.push(turn);
                }
                Op::End => {
                    if let Some(turn) = open.pop() {
                        self.end(&turn)?;
                    }
                }
                _ => self.operation(op, Vector::Result(at))?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, turn: &Turn<'_>) -> Result<(), IcedError> {
        match turn.times {
            Times::Static(n) => self.push(Instruction::with2(Code::Mov_r64_imm64, COUNTER, n as u64)?),
            Times::Argument(index) => {
                let count = self.entry(self.strip.pointers + index);
                self.push(Instruction::with2(Code::Mov_r64_rm64, COUNTER, count)?);
                self.push(Instruction::with2(Code::Test_rm64_r64, COUNTER, COUNTER)?);
                self.push(Instruction::with_branch(Code::Je_rel32_64, turn.end)?);
            }
        }
        if let Some(entry) = turn.counter {
            let entry = self.entry(entry);
            self.push(Instruction::with2(Code::Mov_rm64_r64, entry, COUNTER)?);
        }
        self.place(turn.top);
        Ok(())
    }

    fn end(&mut self, turn: &Turn<'_>) -> Result<(), IcedError> {
        for &(pointer, stride) in turn.strides {
            self.advance(pointer, stride)?;
        }
        let decrement = match turn.counter {
            Some(entry) => Instruction::with1(Code::Dec_rm64, self.entry(entry))?,
            None => Instruction::with1(Code::Dec_rm64, COUNTER)?,
        };
        self.push(decrement);
        self.push(Instruction::with_branch(Code::Jne_rel32_64, turn.top)?);
        for &(pointer, stride) in turn.strides {
            match turn.times {
                Times::Static(n) => self.advance(pointer, -stride * n as i64)?,
                Times::Argument(index) => {
                    let count = self.entry(self.strip.pointers + index);
                    self.push(Instruction::with2(Code::Mov_r64_imm64, COUNTER, (-stride) as u64)?);
                    self.push(Instruction::with2(Code::Imul_r64_rm64, COUNTER, count)?);
                    self.add(pointer, COUNTER)?;
                }
            }
        }
        self.place(turn.end);
        Ok(())
    }

    /// Moves a pointer by a number of bytes.
    fn advance(&mut self, pointer: usize, bytes: i64) -> Result<(), IcedError> {
        let Ok(short) = i32::try_from(bytes) else {
            self.push(Instruction::with2(Code::Mov_r64_imm64, TEMPORARY, bytes as u64)?);
            return self.add(pointer, TEMPORARY);
        };
        let instruction = match self.allocation.pointers[pointer] {
            Some(register) => Instruction::with2(Code::Add_rm64_imm32, POINTER[register], short)?,
            None => Instruction::with2(Code::Add_rm64_imm32, self.entry(pointer), short)?,
        };
        self.push(instruction);
        Ok(())
    }
    fn add(&mut self, pointer: usize, bytes: Register) -> Result<(), IcedError> {
        let instruction = match self.allocation.pointers[pointer] {
            Some(register) => Instruction::with2(Code::Add_rm64_r64, POINTER[register], bytes)?,
            None => Instruction::with2(Code::Add_rm64_r64, self.entry(pointer), bytes)?,
        };
        self.push(instruction);
        Ok(())
    }

    /// Emits what is no loop; `this` is the value it makes.
    fn operation(&mut self, op: &Op, this: Vector) -> Result<(), IcedError> {
        match *op {
            Op::Load(place) => {
                let register = self.vector(this);
                self.load(place, register)
            }
            Op::Store(place, value) if place.element == Element::Bf16 => {
                self.store_half(place, self.allocation.of(value))
            }
            Op::Store(place, value) => {
                let register = self.vector(value);
                self.store(place, register)
            }
            Op::Stream(place, value) => {
                let code = code!(self, EVEX_Vmovntps_m512_zmm, VEX_Vmovntps_m256_ymm);
                let (memory, register) = (self.memory(place.pointer, place.offset)?, self.vector(value));
                self.push(Instruction::with2(code, memory, register)?);
                Ok(())
            }
            Op::Broadcast { pointer, offset } => {
                let code = code!(self, EVEX_Vbroadcastss_zmm_k1z_xmmm32, VEX_Vbroadcastss_ymm_m32);
                let (register, memory) = (self.vector(this), self.memory(pointer, offset)?);
                self.push(Instruction::with2(code, register, memory)?);
                Ok(())
            }
            Op::Arithmetic(op, a, b) => {
                let code = self.arithmetic(op);
                self.push(Instruction::with3(code, self.vector(this), self.vector(a), self.vector(b))?);
                Ok(())
            }
            Op::MulAdd(a, b, c) => self.mul_add(self.vector(this), [a, b, c].map(|v| self.vector(v))),
            Op::Accumulate { sum, value } => {
                let (code, sum) = (self.arithmetic(Arithmetic::Add), self.vector(sum));
                self.push(Instruction::with3(code, sum, sum, self.vector(value))?);
                Ok(())
            }
            Op::MultiplyAdd { sum, a, b } => {
                let code = code!(self, EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vfmadd231ps_ymm_ymm_ymmm256);
                self.push(Instruction::with3(code, self.vector(sum), self.vector(a), self.vector(b))?);
                Ok(())
            }
            Op::Sqrt(a) => {
                let code = code!(self, EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, VEX_Vsqrtps_ymm_ymmm256);
                self.push(Instruction::with2(code, self.vector(this), self.vector(a))?);
                Ok(())
            }
            Op::Top(a) => {
                let code = code!(self, EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8, VEX_Vpsrld_ymm_ymm_imm8);
                self.push(Instruction::with3(code, self.vector(this), self.vector(a), 16)?);
                Ok(())
            }
            Op::Narrow(a) => self.narrow(a, self.allocation.of(this)),
            Op::Sum => {
                let register = self.vector(this);
                self.zero(register)
            }
            Op::Compare(op, a, b) => self.compare(op, a, b, self.allocation.of(this)),
            Op::Blend { mask, yes, no } => self.blend(mask, (yes, no), self.vector(this)),
            Op::Loop { .. } | Op::End => Ok(()),
        }
    }

    fn arithmetic(&self, op: Arithmetic) -> Code {
        match op {
            Arithmetic::Add => code!(self, EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vaddps_ymm_ymm_ymmm256),
            Arithmetic::Sub => code!(self, EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vsubps_ymm_ymm_ymmm256),
            Arithmetic::Mul => code!(self, EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vmulps_ymm_ymm_ymmm256),
            Arithmetic::Div => code!(self, EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vdivps_ymm_ymm_ymmm256),
            Arithmetic::Max => code!(self, EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae, VEX_Vmaxps_ymm_ymm_ymmm256),
            Arithmetic::Min => code!(self, EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae, VEX_Vminps_ymm_ymm_ymmm256),
            Arithmetic::AddBits => code!(self, EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32, VEX_Vpaddd_ymm_ymm_ymmm256),
            Arithmetic::And => code!(self, EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32, VEX_Vandps_ymm_ymm_ymmm256),
            Arithmetic::Xor => code!(self, EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, VEX_Vxorps_ymm_ymm_ymmm256),
        }
    }

    /// `result = a·b + c`; the instruction replaces one of the three.
    fn mul_add(&mut self, result: Register, [a, b, c]: [Register; 3]) -> Result<(), IcedError> {
        let replace_factor = code!(self, EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vfmadd213ps_ymm_ymm_ymmm256);
        let replace_addend = code!(self, EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er, VEX_Vfmadd231ps_ymm_ymm_ymmm256);
        if result == a || result == b {
            let other = if result == a { b } else { a };
            self.push(Instruction::with3(replace_factor, result, other, c)?);
            return Ok(());
        }
        if result != c {
            let copy = code!(self, EVEX_Vmovaps_zmm_k1z_zmmm512, VEX_Vmovaps_ymm_ymmm256);
            self.push(Instruction::with2(copy, result, c)?);
        }
        self.push(Instruction::with3(replace_addend, result, a, b)?);
        Ok(())
    }

    fn compare(&mut self, op: Comparison, a: Vector, b: Vector, number: usize) -> Result<(), IcedError> {
        // the immediates of VCMPPS, quiet
        let predicate: u32 = match op {
            Comparison::Equal => 0x00,
            Comparison::Unordered => 0x03,
            Comparison::NotEqual => 0x04,
            Comparison::Less => 0x11,
            Comparison::GreaterEqual => 0x1d,
            Comparison::Greater => 0x1e,
        };
        let code = code!(self, EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae, VEX_Vcmpps_ymm_ymm_ymmm256_imm8);
        let result = if self.wide() { self.mask(number) } else { self.register(number) };
        self.push(Instruction::with4(code, result, self.vector(a), self.vector(b), predicate)?);
        Ok(())
    }

    fn blend(&mut self, mask: Vector, (yes, no): (Vector, Vector), result: Register) -> Result<(), IcedError> {
        let number = self.allocation.of(mask);
        let is_zero = |v: Vector| matches!(v, Vector::Constant(c) if self.strip.constants[c] == 0);
        let (if_yes, if_no) = (self.vector(yes), self.vector(no));
        let instruction = if self.wide() {
            let code = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
            let mut blend = Instruction::with3(code, result, if_no, if_yes)?;
            blend.set_op_mask(self.mask(number));
            blend
        } else if is_zero(no) {
            Instruction::with3(Code::VEX_Vandps_ymm_ymm_ymmm256, result, self.register(number), if_yes)?
        } else {
            let code = Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm;
            Instruction::with4(code, result, if_no, if_yes, self.register(number))?
        };
        self.push(instruction);
        Ok(())
    }

    fn load(&mut self, place: Place, register: Register) -> Result<(), IcedError> {
        if place.element == Element::Bf16 {
            return self.widen(place, register);
        }
        let memory = self.memory(place.pointer, place.offset)?;
        let instruction = match self.allocation.mask(place.lanes) {
            None => {
                let code = code!(self, EVEX_Vmovups_zmm_k1z_zmmm512, VEX_Vmovups_ymm_ymmm256);
                Instruction::with2(code, register, memory)?
            }
            Some(mask) if self.wide() => {
                let mut load = Instruction::with2(Code::EVEX_Vmovups_zmm_k1z_zmmm512, register, memory)?;
                load.set_op_mask(self.mask(mask));
                load.set_zeroing_masking(true);
                load
            }
            Some(mask) => Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, register, self.register(mask), memory)?,
        };
        self.push(instruction);
        Ok(())
    }

    fn store(&mut self, place: Place, register: Register) -> Result<(), IcedError> {
        let memory = self.memory(place.pointer, place.offset)?;
        let instruction = match self.allocation.mask(place.lanes) {
            None => {
                let code = code!(self, EVEX_Vmovups_zmmm512_k1z_zmm, VEX_Vmovups_ymmm256_ymm);
                Instruction::with2(code, memory, register)?
            }
            Some(mask) if self.wide() => {
                let mut store = Instruction::with2(Code::EVEX_Vmovups_zmmm512_k1z_zmm, memory, register)?;
                store.set_op_mask(self.mask(mask));
                store
            }
            Some(mask) => Instruction::with3(Code::VEX_Vmaskmovps_m256_ymm_ymm, memory, self.register(mask), register)?,
        };
        self.push(instruction);
        Ok(())
    }
}
