//! Which instructions the kernels may use.
//!
//! Cranelift emits every loop nest (128-bit vectors on x86-64 and aarch64). The inner products
//! ([`super::tile`]) and the programs of fused kernels ([`super::strip`]) also have a wide form in x86 machine
//! code; this type says which form.

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
}

impl Isa {
    /// The environment variable that forces a choice.
    pub const VARIABLE: &str = "OUTRIGGER_ISA";

    /// The widest that this CPU has.
    pub fn detect() -> Isa {
        *[Isa::Avx512, Isa::Avx2].iter().find(|isa| isa.available()).unwrap_or(&Isa::Clif)
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        match self {
            Isa::Clif => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
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
            Isa::Avx512 => 16,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Clif => "clif",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}

impl FromStr for Isa {
    type Err = Error;
    fn from_str(word: &str) -> Result<Isa, Error> {
        [Isa::Clif, Isa::Avx2, Isa::Avx512].into_iter().find(|isa| isa.to_string() == word).ok_or_else(|| {
            Error::Option {
                option: Isa::VARIABLE.to_string(),
                reason: format!("\"{word}\" is not one of clif, avx2, avx512"),
            }
        })
    }
}
