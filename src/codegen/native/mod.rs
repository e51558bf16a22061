//! Ahead-of-time code: the kernels of a plan, the functions that run them, and all weights, in one object file.
//!
//! ```text
//!   Planned ──compile──▶ kernels for clif, avx2, avx512 ─┐
//!   Contents (weights, prepared) ──Memory──▶ data, places ├─▶ functions, each once ──▶ ObjectModule ──▶ bytes
//!                                   Entries ──▶ run, … ──┘
//! ```
//!
//! Every variant is compiled for all CPUs of its kind rather than for the one at hand. The variants share the data:
//! packed weights have one layout for vectors of any width.

use std::collections::HashMap;

use cranelift_module::{DataDescription, Linkage, Module, ModuleReloc, ModuleRelocTarget, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};

use super::algorithm::{Convolution, Settings};
use super::code::{Object, place};
use super::isa::Isa;
use super::target::{Machine, is_x86_64};
use super::{Relocatable, compile, failed};
use crate::error::Error;
use crate::plan::{ALIGNMENT, Planned};

mod entry;
mod leaves;
mod memory;

pub use memory::Contents;

use entry::{DETECTED, Entries, Helpers, KNOWN};
use memory::Memory;

/// What native code returns when all is well.
pub const OK: i32 = 0;
/// What it returns on a CPU that lacks the instructions of the variant.
pub const UNSUPPORTED: i32 = 1;
/// What it returns for a workspace that is not aligned.
pub const MISALIGNED: i32 = 2;

/// A plan as an object file.
pub struct NativeCode {
    /// The object file, in the format of the machine.
    pub object: Vec<u8>,
    /// The variants of `run`, the narrowest first.
    pub variants: Vec<Isa>,
    /// Memory that a run needs, in bytes.
    pub workspace_bytes: usize,
    /// Weights and what was computed from them, in bytes.
    pub data_bytes: usize,
}

/// Compiles `planned` for any CPU of `machine`; all its symbols begin with `name`.
///
/// # Errors
/// [`Error::Codegen`] as for [`generate`](super::generate); [`Error::Option`] when this build cannot compile for the
/// machine.
pub fn native(
    planned: &Planned,
    contents: &Contents,
    name: &str,
    machine: Machine,
    convolution: Convolution,
) -> Result<NativeCode, Error> {
    let x86_64 = is_x86_64(&machine.target(Isa::Clif)?);
    let variants = if x86_64 { vec![Isa::Clif, Isa::Avx2, Isa::Avx512] } else { vec![Isa::Clif] };
    let compiled = variants.iter().map(|&isa| {
        let target = machine.target(isa)?;
        let code = compile(planned, Settings { isa, convolution, aligned: false }, &target)?;
        Ok((target, code))
    });
    let compiled = compiled.collect::<Result<Vec<_>, Error>>()?;
    for (_, code) in &compiled {
        check_steps(code, contents)?;
    }
    let steps = compiled.first().map_or(&[][..], |(_, code)| &code.program.steps);
    let scratch = compiled.iter().map(|(_, code)| code.scratch_bytes).max().unwrap_or(0);
    let memory = Memory::new(planned, steps, contents, scratch)?;

    let mut functions = Functions::default();
    let [flush, restore] = leaves::flush_and_restore(x86_64)?.map(|bytes| functions.add(leaf(bytes)));
    let detect = if x86_64 { Some(functions.add(leaf(leaves::detect()?))) } else { None };
    let any = machine.target(Isa::Clif)?;
    let entries = Entries { target: &any, planned, memory: &memory };
    let isa = functions.export(format!("{name}_isa"), |index| entries.isa(index, detect))?;
    let helpers = Helpers { isa, flush, restore };
    let mut runs = Vec::new();
    for ((level, variant), (target, code)) in (1..).zip(&variants).zip(&compiled) {
        let kernels = functions.kernels(code)?;
        let entries = Entries { target, planned, memory: &memory };
        let run = |index| entries.run(index, level, helpers, (&code.program, &kernels));
        runs.push(functions.export(format!("{name}_run_{variant}"), run)?);
    }
    let run = functions.export(format!("{name}_run"), |index| entries.dispatch(index, isa, &runs))?;
    let task = entries.task(functions.next(), run)?;
    let task = functions.add(task);
    functions.export(format!("{name}_run_batch"), |index| entries.batch(index, isa, task))?;

    let (workspace_bytes, data_bytes) = (memory.workspace_bytes, memory.data.len());
    let object = functions.link(name, machine, memory.data)?;
    Ok(NativeCode { object, variants, workspace_bytes, data_bytes })
}

/// Whether a variant reads and writes what the session's plan does, whose contents it gets.
///
/// # Errors
/// [`Error::Codegen`] when they differ in more than kernels and chunks.
fn check_steps(code: &Relocatable, contents: &Contents) -> Result<(), Error> {
    let (ours, plan) = (&code.program, &contents.plan);
    let differs = ours.steps.iter().zip(&plan.steps).find(|(a, b)| a.args != b.args);
    if differs.is_some() || ours.steps.len() != plan.steps.len() || ours.groups != plan.groups {
        let path = differs.map_or("native code", |(step, _)| &step.name).to_string();
        return Err(Error::Codegen { path, reason: "has other arguments for other instruction sets".to_string() });
    }
    Ok(())
}

/// A function in machine code that calls none.
fn leaf(bytes: Vec<u8>) -> Object {
    Object { index: 0, alignment: 16, bytes, relocations: Vec::new() }
}

/// A function's bytes and what it calls: equal ones are kept once.
type Key = (Vec<u8>, Vec<(u32, String, i64)>);

/// The functions of an object file.
#[derive(Default)]
struct Functions {
    objects: Vec<Object>,
    /// Names of those that callers see.
    names: HashMap<u32, String>,
    known: HashMap<Key, u32>,
}

impl Functions {
    /// The position of the next function.
    fn next(&self) -> u32 {
        self.objects.len() as u32
    }
    /// Adds a function; returns its position.
    fn add(&mut self, object: Object) -> u32 {
        let index = self.next();
        self.objects.push(Object { index, ..object });
        index
    }
    /// Adds the function that `make` compiles for its position, for callers to see.
    fn export(&mut self, name: String, make: impl FnOnce(u32) -> Result<Object, Error>) -> Result<u32, Error> {
        let object = make(self.next())?;
        let index = self.add(object);
        self.names.insert(index, name);
        Ok(index)
    }

    /// Adds the kernels of all steps of a run, and what they call; returns the steps' kernels.
    fn kernels(&mut self, code: &Relocatable) -> Result<Vec<u32>, Error> {
        let mut added = HashMap::new();
        code.program.steps.iter().map(|step| self.with_callees(&code.objects, step.kernel, &mut added)).collect()
    }
    /// Adds function `index` of `all` behind those that it calls, unless there is one like it; returns its position.
    fn with_callees(&mut self, all: &[Object], index: u32, added: &mut HashMap<u32, u32>) -> Result<u32, Error> {
        if let Some(&position) = added.get(&index) {
            return Ok(position);
        }
        let object = all.get(index as usize).ok_or_else(|| failed("a call leads to no function"))?;
        let mut relocations = Vec::new();
        for relocation in &object.relocations {
            let name = match relocation.name {
                ModuleRelocTarget::User { namespace: 0, index } => {
                    ModuleRelocTarget::user(0, self.with_callees(all, index, added)?)
                }
                ref other => other.clone(),
            };
            let &ModuleReloc { offset, kind, addend, .. } = relocation;
            relocations.push(ModuleReloc { offset, kind, name, addend });
        }
        let names = relocations.iter().map(|r| (r.offset, format!("{:?} {}", r.kind, r.name), r.addend));
        let key = (object.bytes.clone(), names.collect());
        let position = match self.known.get(&key) {
            Some(&position) => position,
            None => {
                let Object { alignment, ref bytes, .. } = *object;
                let position = self.add(Object { index, alignment, bytes: bytes.clone(), relocations });
                self.known.insert(key, position);
                position
            }
        };
        added.insert(index, position);
        Ok(position)
    }

    /// The object file.
    fn link(self, name: &str, machine: Machine, data: Vec<u8>) -> Result<Vec<u8>, Error> {
        let target = machine.target(Isa::Clif)?;
        let builder = ObjectBuilder::new(target, name, default_libcall_names()).map_err(failed)?;
        let mut module = ObjectModule::new(builder);
        let known = module.declare_data(&format!("{name}.data"), Linkage::Local, false, false).map_err(failed)?;
        let detected = module.declare_data(&format!("{name}.isa"), Linkage::Local, true, false).map_err(failed)?;
        if [known.as_u32(), detected.as_u32()] != [KNOWN, DETECTED] {
            return Err(failed("data must be declared in the order of its numbers"));
        }
        let mut description = DataDescription::new();
        description.define(if data.is_empty() { vec![0; ALIGNMENT] } else { data }.into_boxed_slice());
        description.set_align(ALIGNMENT as u64);
        module.define_data(known, &description).map_err(failed)?;
        let mut description = DataDescription::new();
        description.define_zeroinit(4);
        description.set_align(4);
        module.define_data(detected, &description).map_err(failed)?;
        place(&mut module, &self.objects, |index| match self.names.get(&index) {
            Some(symbol) => (symbol.clone(), Linkage::Export),
            None => (format!("{name}.{index}"), Linkage::Local),
        })?;
        module.finish().emit().map_err(failed)
    }
}
