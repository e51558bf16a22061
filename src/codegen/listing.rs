//! Kernels as text, stage by stage: what one reads to see what the compiler made.
//!
//! ```text
//!   Kernel (Debug) ─▶ nest      emit ─▶ CLIF ─▶ Cranelift ─▶ its instructions
//!      └─ tiles, leaves ─▶ x86 code ─▶ iced-x86's disassembly
//! ```
//!
//! Feature `cli` only.

use std::fmt::Write;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_frontend::FunctionBuilderContext;
use iced_x86::{Decoder, DecoderOptions, FastFormatter};

use super::{Isa, Lowered, Settings, Unit, Units, emit_unit, failed, lower_all, target, tile_wide, units};
use crate::error::Error;
use crate::plan::Planned;

/// A distinct kernel of a program.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The steps that it serves, by the path of their nodes; the first names the kernel.
    pub steps: Vec<String>,
    /// What kind of kernel it is (`conv_forward`, `map`, …), as in a profile.
    pub kind: &'static str,
    /// Its description, over several lines: the text under which equal kernels are one.
    pub nest: String,
    /// Its code in Cranelift's intermediate form.
    pub clif: String,
    /// Its machine code, then that of the functions it calls.
    pub functions: Vec<Function>,
}

/// Machine code as text.
#[derive(Clone, Debug)]
pub struct Function {
    /// What it is: `kernel`, or the description of a tile or leaf.
    pub name: String,
    /// One instruction a line.
    pub assembly: String,
}

/// The distinct kernels of `planned`, in the order in which steps first call them, compiled for this CPU.
///
/// # Errors
/// As [`generate`](super::generate).
pub fn listings(planned: &Planned, settings: Settings) -> Result<Vec<Listing>, Error> {
    let host = target::host()?;
    let lowered = lower_all(planned, settings)?;
    let Units { units, tiles, called } = units(&lowered);
    let named = planned.prepare.iter().chain(&planned.steps).zip(&lowered);
    let calls: Vec<_> =
        named.flat_map(|(step, lowered)| Lowered::all(lowered).map(|call| (&step.name, call))).collect();
    let mut contexts = (FunctionBuilderContext::new(), Context::new());
    let mut code = |unit: &Unit<'_>, index: u32| {
        let leaves = emit_unit(&host, settings.isa, unit, index, &tiles, &mut contexts)?;
        let context = &mut contexts.1;
        let clif = context.func.display().to_string();
        context.set_disasm(true);
        let compiled = context.compile(&*host, &mut ControlPlane::default()).map_err(|e| failed(format!("{e:?}")))?;
        Ok::<_, Error>((clif, compiled.vcode.clone().unwrap_or_default(), leaves))
    };
    let mut listings: Vec<(u32, Listing)> = Vec::new();
    for ((step, call), &index) in calls.iter().zip(&called) {
        if let Some((_, known)) = listings.iter_mut().find(|(unit, _)| *unit == index) {
            known.steps.push((*step).clone());
            continue;
        }
        let unit = units.get(index as usize).ok_or_else(|| failed("a call has no kernel"))?;
        let (clif, assembly, leaves) = code(unit, index)?;
        let mut functions = vec![Function { name: "kernel".to_string(), assembly }];
        for tile in call.kernel.tiles() {
            let name = format!("{tile:?}");
            if functions.iter().all(|function| function.name != name) {
                let assembly = match tile.isa {
                    Isa::Clif => {
                        let index = tiles.get(&tile).copied().unwrap_or_default();
                        code(&Unit::Tile(tile), index)?.1
                    }
                    _ => disassemble(&tile_wide::assemble(&tile)?),
                };
                functions.push(Function { name, assembly });
            }
        }
        for leaf in &leaves {
            functions.push(Function { name: format!("{leaf:?}"), assembly: disassemble(&leaf.assemble()?) });
        }
        let listing = Listing {
            steps: vec![(*step).clone()],
            kind: call.kind,
            nest: format!("{:#?}", call.kernel),
            clif,
            functions,
        };
        listings.push((index, listing));
    }
    Ok(listings.into_iter().map(|(_, listing)| listing).collect())
}

/// One x86-64 instruction a line, behind its offset.
fn disassemble(bytes: &[u8]) -> String {
    let mut formatter = FastFormatter::new();
    let (mut text, mut line) = (String::new(), String::new());
    for instruction in &mut Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE) {
        line.clear();
        formatter.format(&instruction, &mut line);
        // writing to a string does not fail
        let _ = writeln!(text, "{:5x}:  {line}", instruction.ip());
    }
    text
}
