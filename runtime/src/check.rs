//! What is looked at after a step in the checked modes: damage to the gaps, NaN and infinity.

use crate::error::{Error, Result};
use crate::plan::{Argument, BufferRef, Phase, Step};

/// Finds the first NaN or infinity that `step` wrote. `pointers` are the addresses of its arguments.
///
/// # Errors
///
/// [`Error::NonFinite`].
///
/// # Safety
///
/// The addresses are valid for reading as far as the arguments say, and nobody writes there.
pub(crate) unsafe fn finite(phase: Phase, index: usize, step: &Step, pointers: &[*mut u8]) -> Result<()> {
    // SAFETY: the caller's promise.
    let look = |arg: &Argument, at: *mut u8| unsafe { first_non_finite(at, arg.bytes / 4) };
    // what lay in a worker's own memory is gone
    let stays = |arg: &Argument| !matches!(arg.buffer, BufferRef::Image(_));
    let floats = || step.args.iter().zip(pointers).enumerate().filter(|(_, (arg, _))| arg.float && stays(arg));
    for (argument, (arg, &at)) in floats().filter(|(_, (arg, _))| arg.write) {
        let Some((element, value)) = look(arg, at) else {
            continue;
        };
        let from = floats()
            .filter(|(_, (input, place))| !input.write && **place != at)
            .find(|(_, (input, place))| look(input, **place).is_some())
            .map(|(from, _)| from);
        let (name, kind) = (step.name.clone(), step.kind.clone());
        return Err(Error::NonFinite { phase, step: index, name, kind, argument, element, value, from });
    }
    Ok(())
}

/// # Safety
/// `at` is 4-byte aligned and valid for reading `count` words, which nobody writes.
unsafe fn first_non_finite(at: *mut u8, count: usize) -> Option<(usize, f32)> {
    /// All exponent bits set: infinity or NaN.
    const EXPONENT: u32 = 0x7f80_0000;
    // SAFETY: the caller's promise. Looked at as integers, so that no float unit flag matters.
    let words = unsafe { std::slice::from_raw_parts(at.cast::<u32>(), count) };
    let element = words.iter().position(|word| word & EXPONENT == EXPONENT)?;
    Some((element, f32::from_bits(words[element])))
}
