//! The functions that a caller of native code sees, around the kernels.
//!
//! ```text
//!   NAME_run ─▶ NAME_isa ─▶ detect (CPUID), once            NAME_run_batch ─▶ the caller's parallel_for
//!      └─▶ NAME_run_avx2: for each unit, for each chunk        task(index, worker) ◀──┘  on any thread
//!             addresses ─▶ table ─▶ kernel(table, chunk,          └─▶ NAME_run(in + index, out + index, …)
//!                                          scratch)
//! ```
//!
//! `run` does on one thread what the runtime's executor does: the steps in order, groups of them chunk by chunk.

use std::ops::Range;

use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Imm64;
use cranelift_codegen::ir::types::{F32X4, I8, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, ExternalName, FuncRef, Function, GlobalValueData, InstBuilder, Signature, StackSlot, StackSlotData,
    StackSlotKind, UserExternalName, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use super::super::assemble::{Assembled, Unlinked};
use super::super::code::Object;
use super::super::emit::{Count, Emit, Target, memory};
use super::super::isa::Isa;
use super::super::{machine_code, target};
use super::memory::{Address, Base, Memory, read_of};
use super::{MISALIGNED, OK, UNSUPPORTED};
use crate::error::Error;
use crate::plan::{ALIGNMENT, Planned};

/// Namespace of the names of data; that of functions is 0.
const DATA: u32 = 1;
/// Constants and packed weights.
pub(super) const KNOWN: u32 = 0;
/// The answer of `detect`, 0 before the first call.
pub(super) const DETECTED: u32 = 1;

/// Compiles functions for one target.
pub(super) struct Entries<'t> {
    pub(super) target: &'t OwnedTargetIsa,
    pub(super) planned: &'t Planned,
    pub(super) memory: &'t Memory,
}

/// Positions of the functions that every variant of `run` calls.
#[derive(Clone, Copy)]
pub(super) struct Helpers {
    pub(super) isa: u32,
    pub(super) flush: u32,
    pub(super) restore: u32,
}

/// The type of a function: so many words to an `int`, or to nothing.
fn signature(call: CallConv, words: usize, result: bool) -> Signature {
    let mut signature = Signature::new(call);
    signature.params.extend(vec![AbiParam::new(I64); words]);
    signature.returns.extend(result.then(|| AbiParam::new(I32)));
    signature
}

fn number(e: &mut Emit<'_>, value: i32) -> Value {
    e.b.ins().iconst(I32, i64::from(value))
}

/// The address of data.
fn symbol(e: &mut Emit<'_>, index: u32) -> Value {
    let name = e.b.func.declare_imported_user_function(UserExternalName::new(DATA, index));
    let offset = Imm64::new(0);
    let data = GlobalValueData::Symbol { name: ExternalName::user(name), offset, colocated: true, tls: false };
    let data = e.b.create_global_value(data);
    e.b.ins().symbol_value(I64, data)
}

fn slot(e: &mut Emit<'_>, words: usize) -> StackSlot {
    e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * words as u32, 3))
}

/// Returns `code` if `condition` holds.
fn refuse(e: &mut Emit<'_>, condition: Value, code: i32) {
    let (refused, go_on) = (e.b.create_block(), e.b.create_block());
    e.b.ins().brif(condition, refused, &[], go_on, &[]);
    e.b.switch_to_block(refused);
    let code = number(e, code);
    e.b.ins().return_(&[code]);
    e.b.switch_to_block(go_on);
}

fn refuse_misaligned(e: &mut Emit<'_>, workspace: Value) {
    let low = e.int(ALIGNMENT as i64 - 1);
    let low = e.b.ins().band(workspace, low);
    refuse(e, low, MISALIGNED);
}

/// Copies `bytes` that do not overlap.
fn copy(e: &mut Emit<'_>, from: Value, to: Value, bytes: usize) {
    e.repeat(Count::Static(bytes / 16), &[(from, 16), (to, 16)], &[], |e, at, _| {
        let value = e.load(F32X4, at[0], 0);
        e.store(value, at[1], 0);
        Vec::new()
    });
    let mut done = bytes / 16 * 16;
    for (ty, size) in [(I64, 8), (I32, 4), (I8, 1)] {
        while bytes - done >= size {
            let value = e.load(ty, from, done as i64);
            e.store(value, to, done as i64);
            done += size;
        }
    }
}

impl Entries<'_> {
    /// Inputs and outputs.
    fn ports(&self) -> usize {
        self.planned.inputs.len() + self.planned.outputs.len()
    }
    /// Of a function of the caller's platform.
    fn signature(&self, words: usize, result: bool) -> Signature {
        signature(self.target.default_call_conv(), words, result)
    }
    /// Of `run`: inputs, outputs, workspace.
    fn run_signature(&self) -> Signature {
        self.signature(self.ports() + 1, true)
    }

    /// Compiles the function at position `index`.
    fn function(
        &self,
        index: u32,
        signature: Signature,
        body: impl FnOnce(&mut Emit<'_>) -> Result<Vec<Value>, Error>,
    ) -> Result<Object, Error> {
        let mut builder = FunctionBuilderContext::new();
        let mut context = Context::new();
        context.func = Function::with_name_signature(UserFuncName::user(0, index), signature);
        // these functions have no wide parts
        let (call, isa) = (self.target.default_call_conv(), Isa::Clif);
        let target = Target { call, isa, of_bf16: isa, fma: target::has_fma(self.target) };
        let mut e = Emit::new(FunctionBuilder::new(&mut context.func, &mut builder), target);
        let results = body(&mut e)?;
        e.finish(self.target.frontend_config(), &results);
        machine_code(self.target, &mut context, index)
    }

    /// `int isa(void)`: how many variants this CPU runs, the narrowest first. `detect`, if there is a choice, says one
    /// more; its answer is kept. Threads that ask at the same time write the same number.
    pub(super) fn isa(&self, index: u32, detect: Option<u32>) -> Result<Object, Error> {
        self.function(index, self.signature(0, true), |e| {
            let Some(detect) = detect else { return Ok(vec![number(e, 1)]) };
            let (ask, done) = (e.b.create_block(), e.b.create_block());
            let answer = e.b.append_block_param(done, I32);
            let kept = symbol(e, DETECTED);
            let known = e.b.ins().load(I32, memory(), kept, 0);
            e.b.ins().brif(known, done, &[known.into()], ask, &[]);
            e.b.switch_to_block(ask);
            let detect = e.import_named(UserExternalName::new(0, detect), signature(CallConv::SystemV, 0, true));
            let call = e.b.ins().call(detect, &[]);
            let found = e.b.inst_results(call)[0];
            e.b.ins().store(memory(), found, kept, 0);
            e.b.ins().jump(done, &[found.into()]);
            e.b.switch_to_block(done);
            let one = number(e, 1);
            Ok(vec![e.b.ins().isub(answer, one)])
        })
    }

    fn call_isa(&self, e: &mut Emit<'_>, isa: u32) -> Value {
        let isa = e.import_named(UserExternalName::new(0, isa), self.signature(0, true));
        let call = e.b.ins().call(isa, &[]);
        e.b.inst_results(call)[0]
    }

    /// `int run_ISA(inputs…, outputs…, workspace)` of the variant that `isa` counts as number `level`.
    pub(super) fn run(
        &self,
        index: u32,
        level: i32,
        helpers: Helpers,
        (program, kernels): (&Assembled, &[u32]),
    ) -> Result<Object, Error> {
        self.function(index, self.run_signature(), |e| {
            let workspace = e.parameter(self.ports());
            let (runs, wanted) = (self.call_isa(e, helpers.isa), number(e, level));
            let lacks = e.b.ins().icmp(IntCC::SignedLessThan, runs, wanted);
            refuse(e, lacks, UNSUPPORTED);
            refuse_misaligned(e, workspace);
            let control = |e: &mut Emit<'_>, function: u32, at: Value| {
                let function =
                    e.import_named(UserExternalName::new(0, function), signature(CallConv::SystemV, 1, false));
                e.call(function, &[at]);
            };
            let saved = slot(e, 1);
            let saved = e.b.ins().stack_addr(I64, saved, 0);
            control(e, helpers.flush, saved);

            let widest = program.steps.iter().map(|step| step.args.len()).max().unwrap_or(0);
            let table = slot(e, widest);
            let pointers = Pointers { workspace, known: symbol(e, KNOWN) };
            let scratch = e.offset(workspace, self.memory.scratch as i64);
            for unit in units(program) {
                let chunks = program.steps[unit.start].chunks as usize;
                let first = e.int(0);
                let calls = unit.map(|at| self.prepared(e, &program.steps[at], kernels[at]));
                let calls = calls.collect::<Result<Vec<_>, _>>()?;
                e.repeat(Count::Static(chunks), &[(first, 1)], &[], |e, at, _| {
                    for (kernel, addresses) in &calls {
                        for (position, &address) in addresses.iter().enumerate() {
                            let pointer = pointers.of(e, address, at[0]);
                            e.b.ins().stack_store(I64, pointer, table, 8 * position as i32);
                        }
                        let table = e.b.ins().stack_addr(I64, table, 0);
                        e.call(*kernel, &[table, at[0], scratch]);
                    }
                    Vec::new()
                });
            }
            for (port, parameter) in self.planned.outputs.iter().zip(self.planned.inputs.len()..) {
                let from = read_of(port)?;
                let address = self.memory.address(&from)?;
                let (zero, to) = (e.int(0), e.parameter(parameter));
                let pointer = pointers.of(e, address, zero);
                copy(e, pointer, to, from.bytes);
            }
            control(e, helpers.restore, saved);
            Ok(vec![number(e, OK)])
        })
    }

    /// A step's kernel and where its arguments lie.
    fn prepared(&self, e: &mut Emit<'_>, step: &Unlinked, kernel: u32) -> Result<(FuncRef, Vec<Address>), Error> {
        let addresses = step.args.iter().map(|argument| self.memory.address(argument)).collect::<Result<_, _>>()?;
        Ok((e.import((kernel, self.target.default_call_conv())), addresses))
    }

    /// `int run(inputs…, outputs…, workspace)`: the widest of `variants`, the narrowest first, that this CPU runs. The
    /// narrowest refuses by itself.
    pub(super) fn dispatch(&self, index: u32, isa: u32, variants: &[u32]) -> Result<Object, Error> {
        self.function(index, self.run_signature(), |e| {
            let arguments: Vec<Value> = (0..=self.ports()).map(|i| e.parameter(i)).collect();
            let runs = self.call_isa(e, isa);
            let run = |e: &mut Emit<'_>, variant: u32| {
                let run = e.import_named(UserExternalName::new(0, variant), self.run_signature());
                let call = e.b.ins().call(run, &arguments);
                e.b.inst_results(call)[0]
            };
            for (before, &variant) in variants.iter().enumerate().skip(1).rev() {
                let (this, narrower) = (e.b.create_block(), e.b.create_block());
                let most = number(e, before as i32);
                let fits = e.b.ins().icmp(IntCC::SignedGreaterThan, runs, most);
                e.b.ins().brif(fits, this, &[], narrower, &[]);
                e.b.switch_to_block(this);
                let code = run(e, variant);
                e.b.ins().return_(&[code]);
                e.b.switch_to_block(narrower);
            }
            Ok(variants.first().map(|&variant| run(e, variant)).into_iter().collect())
        })
    }

    /// `void task(argument, index, worker)`: run number `index` of a batch, whose pointers are at `argument`.
    pub(super) fn task(&self, index: u32, run: u32) -> Result<Object, Error> {
        self.function(index, self.signature(3, false), |e| {
            let [argument, at, worker] = [0, 1, 2].map(|i| e.parameter(i));
            let ports = self.planned.inputs.iter().chain(&self.planned.outputs);
            let strides = ports.map(|port| port.placed.ty.bytes()).chain([self.memory.workspace_bytes]);
            let mut pointers = Vec::new();
            for (position, stride) in strides.enumerate() {
                let first = e.load(I64, argument, 8 * position as i64);
                let turn = if position < self.ports() { at } else { worker };
                pointers.push(e.at(first, turn, stride as i64));
            }
            let run = e.import_named(UserExternalName::new(0, run), self.run_signature());
            e.call(run, &pointers);
            Ok(Vec::new())
        })
    }

    /// `int run_batch(inputs…, outputs…, n, workspaces, parallel_for, context)`.
    pub(super) fn batch(&self, index: u32, isa: u32, task: u32) -> Result<Object, Error> {
        let ports = self.ports();
        self.function(index, self.signature(ports + 4, true), |e| {
            let [n, workspaces, parallel_for, context] = [0, 1, 2, 3].map(|i| e.parameter(ports + i));
            let (runs, none) = (self.call_isa(e, isa), number(e, 0));
            let lacks = e.b.ins().icmp(IntCC::Equal, runs, none);
            refuse(e, lacks, UNSUPPORTED);
            refuse_misaligned(e, workspaces);
            let argument = slot(e, ports + 1);
            for position in 0..=ports {
                let pointer = if position < ports { e.parameter(position) } else { workspaces };
                e.b.ins().stack_store(I64, pointer, argument, 8 * position as i32);
            }
            let argument = e.b.ins().stack_addr(I64, argument, 0);
            let task = e.import_named(UserExternalName::new(0, task), self.signature(3, false));
            let task = e.b.ins().func_addr(I64, task);
            let callback = e.b.import_signature(self.signature(4, false));
            e.b.ins().call_indirect(callback, parallel_for, &[context, n, task, argument]);
            Ok(vec![number(e, OK)])
        })
    }
}

/// Groups, and the steps between them, in order.
fn units(program: &Assembled) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    let mut at = 0;
    while at < program.steps.len() {
        let group = program.groups.iter().find(|group| group.start == at && !group.is_empty());
        let unit = group.cloned().unwrap_or(at..at + 1);
        at = unit.end;
        units.push(unit);
    }
    units
}

/// The bases of addresses in a function.
struct Pointers {
    workspace: Value,
    known: Value,
}

impl Pointers {
    fn of(&self, e: &mut Emit<'_>, address: Address, chunk: Value) -> Value {
        let base = match address.base {
            Base::Input(index) => e.parameter(index),
            Base::Known => self.known,
            Base::Workspace => self.workspace,
        };
        let pointer = e.offset(base, address.offset as i64);
        if address.chunk_bytes == 0 {
            return pointer;
        }
        // the kernel adds `chunk` times the bytes of a chunk again
        let before = e.at_index(chunk, address.chunk_bytes);
        e.b.ins().isub(pointer, before)
    }
}
