//! Debug modes: what the runtime checks besides running, chosen by `OUTRIGGER_DEBUG`.

use std::ops::Range;
use std::sync::OnceLock;

use crate::error::{Error, Result};

const KNOWN: &str = "poison, bounds";

/// What fresh and dead memory is filled with in the mode `poison`: a NaN as f32, a wild index as u32.
pub(crate) const POISON: u32 = 0x7fc0_dead;

/// Checks that cost time, off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugOptions {
    /// Fill memory that holds nothing with a NaN pattern (`0x7fc0dead`): the arena at the session's
    /// creation, a buffer after its last use, the scratch before each chunk. A kernel that reads
    /// what nobody wrote then yields NaN, and `Session::run_checked` names it.
    pub poison: bool,
    /// Put guard pages around arena, scratch and state, and known bytes into every gap; those are
    /// verified after each step.
    pub bounds: bool,
}

impl DebugOptions {
    /// Reads a comma-separated list of words: `poison`, `bounds`. Empty means none.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownDebugWord`] for any other word.
    pub fn parse(list: &str) -> Result<DebugOptions> {
        let mut options = DebugOptions::default();
        for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "poison" => options.poison = true,
                "bounds" => options.bounds = true,
                _ => {
                    return Err(Error::UnknownDebugWord { word: word.to_string(), known: KNOWN });
                }
            }
        }
        Ok(options)
    }

    /// The options in the environment variable `OUTRIGGER_DEBUG`, read once in the process's life.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownDebugWord`] if it holds an unknown word.
    pub fn from_env() -> Result<DebugOptions> {
        static OPTIONS: OnceLock<Result<DebugOptions>> = OnceLock::new();
        let read = || match std::env::var_os("OUTRIGGER_DEBUG") {
            Some(list) => DebugOptions::parse(&list.to_string_lossy()),
            None => Ok(DebugOptions::default()),
        };
        OPTIONS.get_or_init(read).clone()
    }

    /// Whether any check is on.
    pub(crate) fn any(self) -> bool {
        self != DebugOptions::default()
    }
}

/// Fills `range`, offsets from `base`, with [`POISON`].
///
/// # Safety
/// The bytes are valid for writing, and nobody else uses them during the call.
pub(crate) unsafe fn poison(base: *mut u8, range: Range<usize>) {
    let (word, words) = (POISON.to_ne_bytes(), range.len() / 4);
    // SAFETY: the caller's promise; the two parts together are `range`.
    unsafe {
        let start = base.add(range.start);
        for i in 0..words {
            start.cast::<u32>().add(i).write_unaligned(POISON);
        }
        std::ptr::copy_nonoverlapping(word.as_ptr(), start.add(4 * words), range.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let both = DebugOptions { poison: true, bounds: true };
        assert_eq!(DebugOptions::parse("").ok(), Some(DebugOptions::default()));
        assert_eq!(DebugOptions::parse(" bounds ,poison,").ok(), Some(both));
        let text = DebugOptions::parse("poison,bonds").expect_err("a typo").to_string();
        assert!(text.contains("`bonds`") && text.contains("poison, bounds"), "{text}");
    }

    #[test]
    fn poison_fills_exactly() {
        let mut bytes = [7u8; 16];
        // SAFETY: the range is inside `bytes`.
        unsafe { poison(bytes.as_mut_ptr(), 3..13) };
        assert_eq!((bytes[2], bytes[13]), (7, 7));
        assert_eq!(bytes[3..7], POISON.to_ne_bytes());
        assert_eq!(bytes[11..13], POISON.to_ne_bytes()[..2]);
    }
}
