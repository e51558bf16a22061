//! What Cranelift compiles for: the CPU at hand with all that it has, or every CPU of a kind.

use std::fmt;
use std::str::FromStr;

use cranelift_codegen::isa::{self, LookupError, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};

use super::failed;
use super::isa::Isa;
use crate::error::Error;

/// A kind of machine that native code can be exported for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// The architecture and the operating system of this process.
    #[default]
    Host,
    /// Linux on x86-64. On another architecture this needs the cargo feature `cross`.
    X86_64Linux,
    /// Linux on 64-bit ARM. On another architecture this needs the cargo feature `cross`.
    Aarch64Linux,
}

impl Machine {
    /// The target triples that [`Machine::from_str`] knows.
    const TRIPLES: [(Machine, &str); 2] =
        [(Machine::X86_64Linux, "x86_64-unknown-linux-gnu"), (Machine::Aarch64Linux, "aarch64-unknown-linux-gnu")];

    /// Code for this kind of machine that can be linked anywhere, using what every CPU has that runs `isa`.
    ///
    /// # Errors
    /// [`Error::Option`] when this build cannot compile for the machine.
    pub(super) fn target(self, isa: Isa) -> Result<OwnedTargetIsa, Error> {
        let mut builder = match Self::TRIPLES.into_iter().find(|(machine, _)| *machine == self) {
            None => cranelift_native::builder_with_options(false).map_err(failed)?,
            Some((_, triple)) => isa::lookup_by_name(triple).map_err(|e| Error::Option {
                option: "machine".to_string(),
                reason: match e {
                    LookupError::SupportDisabled => format!("{triple} needs outrigger's cargo feature \"cross\""),
                    LookupError::Unsupported => format!("{triple} is not known to Cranelift"),
                },
            })?,
        };
        if is_x86(builder.triple().architecture.into_str().as_ref()) {
            // `Isa::Clif`: SSE4.2 is all that x86-64-v2 asks for
            builder.enable("sse42").map_err(failed)?;
            let wide: &[&str] = if isa == Isa::Clif { &[] } else { &["has_avx", "has_avx2", "has_fma"] };
            wide.iter().try_for_each(|flag| builder.enable(flag)).map_err(failed)?;
        }
        builder.finish(flags(true)?).map_err(failed)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let triple = Self::TRIPLES.iter().find(|(machine, _)| machine == self);
        f.write_str(triple.map_or("host", |(_, triple)| triple))
    }
}

impl FromStr for Machine {
    type Err = Error;
    fn from_str(word: &str) -> Result<Machine, Error> {
        let all = [Machine::Host, Machine::X86_64Linux, Machine::Aarch64Linux];
        all.into_iter().find(|machine| machine.to_string() == word).ok_or_else(|| Error::Option {
            option: "machine".to_string(),
            reason: format!("\"{word}\" is not one of {}", all.map(|machine| machine.to_string()).join(", ")),
        })
    }
}

fn is_x86(architecture: &str) -> bool {
    architecture == "x86_64"
}

/// Whether code for `target` is x86-64 code.
pub(super) fn is_x86_64(target: &OwnedTargetIsa) -> bool {
    is_x86(&target.triple().architecture.into_str())
}

fn flags(is_pic: bool) -> Result<settings::Flags, Error> {
    let mut flags = settings::builder();
    for (name, value) in [
        // keeps the order of instructions, which the register tiles need, and compiles ten times faster
        ("opt_level", "none"),
        ("is_pic", if is_pic { "true" } else { "false" }),
        ("enable_probestack", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ] {
        flags.set(name, value).map_err(failed)?;
    }
    Ok(settings::Flags::new(flags))
}

/// The CPU at hand.
pub(super) fn host() -> Result<OwnedTargetIsa, Error> {
    cranelift_native::builder().map_err(failed)?.finish(flags(false)?).map_err(failed)
}

/// Whether Cranelift's `fma` is an instruction of `target` rather than a library call.
pub(super) fn has_fma(target: &OwnedTargetIsa) -> bool {
    !is_x86_64(target) || target.isa_flags().iter().any(|flag| flag.name == "has_fma" && flag.as_bool() == Some(true))
}
