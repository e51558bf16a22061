//! Denormals count as zero while kernels run: they cost a hundred cycles each and carry no meaning.

/// Sets flush-to-zero (and denormals-are-zero) on this thread until it is dropped, then restores the
/// control register as it was. The code in between computes no floats of its own: kernels do.
pub(crate) struct FlushDenormals {
    before: register::Value,
}

impl FlushDenormals {
    pub(crate) fn new() -> FlushDenormals {
        let before = register::read();
        register::write(before | register::FLUSH);
        FlushDenormals { before }
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        register::write(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    pub(super) type Value = u32;
    /// FTZ (bit 15) and DAZ (bit 6) of MXCSR.
    pub(super) const FLUSH: Value = 1 << 15 | 1 << 6;

    pub(super) fn read() -> Value {
        let mut value = 0u32;
        // SAFETY: stores the control register into our own variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
        value
    }

    pub(super) fn write(value: Value) {
        // SAFETY: `value` is what `read` returned, with at most the two flush bits added: no
        // exception gets unmasked and no reserved bit set.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    pub(super) type Value = u64;
    /// FZ (bit 24) of FPCR: results and operands both.
    pub(super) const FLUSH: Value = 1 << 24;

    pub(super) fn read() -> Value {
        let value: u64;
        // SAFETY: reads a register that user code may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub(super) fn write(value: Value) {
        // SAFETY: `value` is what `read` returned, with at most the flush bit added.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub(super) type Value = u32;
    pub(super) const FLUSH: Value = 0;

    pub(super) fn read() -> Value {
        0
    }

    pub(super) fn write(_: Value) {}
}
