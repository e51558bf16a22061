//! What this CPU has beyond what std can ask for, and the system's permission to use tile registers.

use std::sync::OnceLock;

/// Whether this process may multiply bf16 in AMX tile registers: the CPU has them (CPUID leaf 7, bits 22 and 24 of
/// EDX), and the system agreed to save their 8 KiB for every thread. Linux is asked once, at the first call; the
/// permission then holds for all threads of the process.
pub fn has_amx_bf16() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| detected() && permitted())
}

/// Whether the CPU's maker is AMD, whose dot products of bf16 run at twice the rate of f32. (Intel's run at half of it.)
pub fn is_amd() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let leaf = std::arch::x86_64::__cpuid(0);
        [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn detected() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        const NEEDED: u32 = 1 << 22 | 1 << 24;
        std::arch::x86_64::__cpuid(0).eax >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & NEEDED == NEEDED
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn permitted() -> bool {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        /// `ARCH_REQ_XCOMP_PERM` of asm/prctl.h.
        const REQUEST: libc::c_long = 0x1023;
        /// The state component of the tile registers, `XFEATURE_XTILEDATA`.
        const TILES: libc::c_long = 18;
        // SAFETY: this request takes two numbers and touches no memory of the process.
        unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) == 0 }
    }
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    false
}
