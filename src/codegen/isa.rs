//! Which instructions the kernels may use.
//!
//! Cranelift emits every loop nest (128-bit vectors on x86-64 and aarch64). The inner products
//! ([`super::tile`]) and the programs of fused kernels ([`super::strip`]) also have a wide form in x86 machine
//! code; this type says which form.
//!
//! | word | f32 | products of bf16 |
//! |---|---|---|
//! | `clif`, `avx2`, `avx512` | 128, 256, 512 bits | rounded, then as f32 |
//! | `avx512bf16` | 512 bits | `vdpbf16ps` |
//! | `amx` | 512 bits | `tdpbf16ps` |
//!
//! The choice follows what was measured on one core: AMX multiplies 15 times as fast as f32 vectors do (Sapphire Rapids);
//! `vdpbf16ps` is twice as fast as f32 on AMD's Zen 4 but half as fast on Intel's CPUs, where it is never chosen unasked.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Instruction set of the inner products and of the programs of fused kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Cranelift's 128-bit vectors: any machine.
    Clif,
    /// 256-bit vectors with FMA.
    Avx2,
    /// 512-bit vectors.
    Avx512,
    /// 512-bit vectors and their dot products of bf16 pairs (AVX512_BF16).
    Avx512Bf16,
    /// 512-bit vectors and tile registers that multiply bf16 (AMX-BF16).
    Amx,
}

impl Isa {
    /// The environment variable that forces a choice.
    pub const VARIABLE: &str = "OUTRIGGER_ISA";

    /// All, the narrowest first.
    pub const ALL: [Isa; 5] = [Isa::Clif, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// The fastest that this CPU has.
    pub fn detect() -> Isa {
        let pays = |isa: Isa| isa != Isa::Avx512Bf16 || outrigger_runtime::is_amd();
        Isa::ALL.into_iter().rev().find(|&isa| pays(isa) && isa.available()).unwrap_or(Isa::Clif)
    }
    /// The instruction set of f32 products.
    pub fn vectors(self) -> Isa {
        match self {
            Isa::Clif | Isa::Avx2 | Isa::Avx512 => self,
            Isa::Avx512Bf16 | Isa::Amx => Isa::Avx512,
        }
    }
    /// Whether bf16 is multiplied as it is, in pairs, rather than converted to f32 first.
    pub(super) fn multiplies_pairs(self) -> bool {
        self != self.vectors()
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        match self {
            Isa::Clif => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2"),
            // pairs are interleaved by instructions of AVX512BW
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => {
                Isa::Avx512.available()
                    && is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512Bf16.available() && outrigger_runtime::has_amx_bf16(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => false,
        }
    }

    /// What `OUTRIGGER_ISA` forces, or the widest available.
    ///
    /// # Errors
    /// [`Error::Option`] for an unknown word or one that this CPU cannot run.
    pub fn from_env() -> Result<Isa, Error> {
        match std::env::var(Isa::VARIABLE) {
            Ok(word) => word.parse::<Isa>()?.require(),
            Err(_) => Ok(Isa::detect()),
        }
    }

    /// `self` if this CPU can run it.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn require(self) -> Result<Isa, Error> {
        if self.available() {
            return Ok(self);
        }
        Err(Error::Option {
            option: Isa::VARIABLE.to_string(),
            reason: format!("this CPU cannot run {self}; the widest it can run is {}", Isa::detect()),
        })
    }

    /// f32 lanes of a vector.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Clif => 4,
            Isa::Avx2 => 8,
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => 16,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Clif => "clif",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Amx => "amx",
        })
    }
}

impl FromStr for Isa {
    type Err = Error;
    fn from_str(word: &str) -> Result<Isa, Error> {
        Isa::ALL.into_iter().find(|isa| isa.to_string() == word).ok_or_else(|| Error::Option {
            option: Isa::VARIABLE.to_string(),
            reason: format!("\"{word}\" is not one of clif, avx2, avx512, avx512bf16, amx"),
        })
    }
}
