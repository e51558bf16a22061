//! What native code needs of the CPU and Cranelift does not emit: which instructions it has, and how it takes denormals.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand, Register,
};

use crate::error::Error;

/// Machine code of what `body` makes, and a return.
fn encode(body: impl FnOnce(&mut Vec<Instruction>) -> Result<(), IcedError>) -> Result<Vec<u8>, Error> {
    let failed = |e: IcedError| Error::Codegen { path: "CPU features".to_string(), reason: e.to_string() };
    let mut code = Vec::new();
    body(&mut code).map_err(failed)?;
    code.push(Instruction::with(Code::Retnq));
    let block = InstructionBlock::new(&code, 0);
    BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map(|r| r.code_buffer).map_err(failed)
}

/// SSE3, SSSE3, SSE4.1, SSE4.2 and POPCNT in ECX of leaf 1.
const SSE: i32 = 1 | 1 << 9 | 1 << 19 | 1 << 20 | 1 << 23;
/// FMA, OSXSAVE and AVX in ECX of leaf 1.
const AVX_FMA: i32 = 1 << 12 | 1 << 27 | 1 << 28;
/// AVX2 and AVX-512F in EBX of leaf 7.
const AVX2: i32 = 1 << 5;
const AVX512F: i32 = 1 << 16;
/// What the operating system saves, in XCR0: vectors of 256 bits; those of 512 bits and their masks.
const SAVES_YMM: i32 = 0b110;
const SAVES_ZMM: i32 = 0b1110_0000;

/// `fn() -> i32`: 1 for an x86-64 CPU that runs none of the variants, 2 for one with SSE4.2, 3 for AVX2 and FMA, 4 for
/// AVX-512 (Intel, "Software Developer's Manual", volume 1, §§ 14.3, 14.5, 15.2).
pub(super) fn detect() -> Result<Vec<u8>, Error> {
    use Register::{EAX, EBX, ECX, R8D, R9D, R10D, R11D, RBX};
    const DONE: u64 = 1;
    encode(|code| {
        let two = |op, to, from: Register| Instruction::with2(op, to, from);
        let number = |op, to: Register, value: i32| Instruction::with2(op, to, value);
        let done = |condition| Instruction::with_branch(condition, DONE);
        // leaves the function unless all of `bits` are set in `of`, which it overwrites
        let require = |of, bits| -> Result<[Instruction; 3], IcedError> {
            let (and, compare) = (number(Code::And_rm32_imm32, of, bits)?, number(Code::Cmp_rm32_imm32, of, bits)?);
            Ok([and, compare, done(Code::Jne_rel32_64)?])
        };
        // R10D: the answer so far; R8D: the last leaf; R9D: ECX of leaf 1; R11D: XCR0
        code.push(Instruction::with1(Code::Push_r64, RBX)?);
        code.push(number(Code::Mov_r32_imm32, R10D, 1)?);
        code.push(two(Code::Xor_r32_rm32, EAX, EAX)?);
        code.push(Instruction::with(Code::Cpuid));
        code.push(two(Code::Mov_r32_rm32, R8D, EAX)?);
        code.push(number(Code::Mov_r32_imm32, EAX, 1)?);
        code.push(Instruction::with(Code::Cpuid));
        code.push(two(Code::Mov_r32_rm32, R9D, ECX)?);
        code.extend(require(ECX, SSE)?);
        code.push(number(Code::Mov_r32_imm32, R10D, 2)?);
        code.extend(require(R9D, AVX_FMA)?);
        code.push(number(Code::Cmp_rm32_imm32, R8D, 7)?);
        code.push(done(Code::Jb_rel32_64)?);
        code.push(two(Code::Xor_r32_rm32, ECX, ECX)?);
        code.push(Instruction::with(Code::Xgetbv));
        code.push(two(Code::Mov_r32_rm32, R11D, EAX)?);
        code.extend(require(EAX, SAVES_YMM)?);
        code.push(number(Code::Mov_r32_imm32, EAX, 7)?);
        code.push(two(Code::Xor_r32_rm32, ECX, ECX)?);
        code.push(Instruction::with(Code::Cpuid));
        code.push(number(Code::Test_rm32_imm32, EBX, AVX2)?);
        code.push(done(Code::Je_rel32_64)?);
        code.push(number(Code::Mov_r32_imm32, R10D, 3)?);
        code.push(number(Code::Test_rm32_imm32, EBX, AVX512F)?);
        code.push(done(Code::Je_rel32_64)?);
        code.extend(require(R11D, SAVES_ZMM)?);
        code.push(number(Code::Mov_r32_imm32, R10D, 4)?);
        let mut last = two(Code::Mov_r32_rm32, EAX, R10D)?;
        last.set_ip(DONE);
        code.push(last);
        code.push(Instruction::with1(Code::Pop_r64, RBX)?);
        Ok(())
    })
}

/// `fn(saved)`, `fn(saved)`: keep the floating-point control register in the eight bytes at `saved` and let denormals
/// count as zero; put it back.
pub(super) fn flush_and_restore(x86_64: bool) -> Result<[Vec<u8>; 2], Error> {
    if !x86_64 {
        // mrs x1, fpcr; str x1, [x0]; orr x1, x1, #1 << 24 (FZ); msr fpcr, x1; ret
        let flush = [0xd53b_4401_u32, 0xf900_0001, 0xb268_0021, 0xd51b_4401, 0xd65f_03c0];
        // ldr x1, [x0]; msr fpcr, x1; ret
        let restore = [0xf940_0001_u32, 0xd51b_4401, 0xd65f_03c0];
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        return Ok([bytes(&flush), bytes(&restore)]);
    }
    /// Flush to zero, and denormals are zero, in MXCSR.
    const FLUSH: i32 = 1 << 15 | 1 << 6;
    let saved = MemoryOperand::with_base(Register::RDI);
    let new = MemoryOperand::with_base_displ(Register::RDI, 4);
    let flush = encode(|code| {
        code.push(Instruction::with1(Code::Stmxcsr_m32, saved)?);
        code.push(Instruction::with2(Code::Mov_r32_rm32, Register::EAX, saved)?);
        code.push(Instruction::with2(Code::Or_rm32_imm32, Register::EAX, FLUSH)?);
        code.push(Instruction::with2(Code::Mov_rm32_r32, new, Register::EAX)?);
        code.push(Instruction::with1(Code::Ldmxcsr_m32, new)?);
        Ok(())
    })?;
    let restore = encode(|code| {
        code.push(Instruction::with1(Code::Ldmxcsr_m32, saved)?);
        Ok(())
    })?;
    Ok([flush, restore])
}
