//! Code generation: planned steps become machine code.
//!
//! ```text
//!  PlannedStep ──lower──▶ Kernel (loop-nest description) ──emit──▶ CLIF ──Cranelift──▶ bytes ─┐
//!                            └─ Tile (register tile) ──clif or wide──▶ bytes ────────────────┴─▶ Code
//! ```
//!
//! Equal descriptions are compiled once. Functions are compiled in parallel; their order, and so the
//! result, does not depend on the number of threads. Cranelift and the assembler appear only here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, ModuleReloc, ModuleRelocTarget};
use outrigger_runtime::Step;

use crate::error::Error;
use crate::plan::Planned;

mod algorithm;
mod amx;
mod assemble;
mod code;
mod coefficients;
mod conv;
mod conv_backward;
mod conv_backward_bands;
mod conv_backward_pairs;
mod conv_filter;
mod conv_forward;
mod conv_pass;
mod cost;
mod depthwise;
mod emit;
mod fold;
mod gather;
mod half;
mod interleave;
mod isa;
mod leaf;
#[cfg(feature = "cli")]
mod listing;
mod lower;
mod lower_conv;
mod lower_map;
mod map;
mod math;
mod matmul;
mod native;
mod nest;
mod nest_emit;
mod nest_ops;
mod pack;
mod pairs;
mod pool;
mod random;
mod region;
mod region_wide;
mod rows;
mod strip;
mod strip_half;
mod strip_registers;
mod strip_wide;
mod target;
mod tile;
mod tile_clif;
mod tile_wide;
mod transform;
mod transpose;
mod winograd;
mod winograd_backward;
mod winograd_cut;
mod winograd_filter;
mod winograd_forward;
mod winograd_grid;
mod winograd_weight;

pub use algorithm::{Choice, Convolution, Settings};
pub use code::Code;
pub use isa::Isa;
#[cfg(feature = "cli")]
pub use listing::{Function, Listing, listings};
pub use native::{Contents, MISALIGNED, NativeCode, OK, UNSUPPORTED, native};
pub use target::Machine;

use assemble::{Assembled, Assembly, Unlinked};
use code::Object;
use emit::{Emit, LEAVES, Target};
use leaf::Leaf;
use lower::{Kernel, Lowered};
use tile::Tile;

/// The compiled steps of a plan.
pub struct Kernels {
    /// Runnable form of [`Planned::prepare`].
    pub prepare: Vec<Step>,
    /// Runnable form of [`Planned::steps`].
    pub steps: Vec<Step>,
    /// Runs of `steps` that are taken chunk by chunk.
    pub groups: Vec<Range<usize>>,
    /// Owner of the machine code.
    pub code: Arc<Code>,
    /// Size of the arena: the plan's, and the memory for packed weights.
    pub work_bytes: usize,
    /// Scratch of each worker.
    pub scratch_bytes: usize,
    /// Distinct compiled functions.
    pub functions: usize,
    /// The algorithms of the convolutions, in the order of their steps.
    pub convolutions: Vec<Choice>,
}

/// A function to compile.
enum Unit<'k> {
    Tile(Tile),
    Kernel(&'k Kernel),
}

fn failed(reason: impl std::fmt::Display) -> Error {
    Error::Codegen { path: "cranelift".to_string(), reason: reason.to_string() }
}

/// The functions and steps of a program, before the functions have addresses.
struct Relocatable {
    objects: Vec<Object>,
    program: Assembled,
    scratch_bytes: usize,
    convolutions: Vec<Choice>,
}

/// Compiles every step of `planned` for this CPU.
///
/// # Errors
/// [`Error::Codegen`] names the step that has no kernel, or says why code could not be made.
pub fn generate(planned: &Planned, settings: Settings) -> Result<Kernels, Error> {
    let host = target::host()?;
    let Relocatable { objects, program, scratch_bytes, convolutions } = compile(planned, settings, &host)?;
    let (code, entries) = Code::new(host, &objects)?;
    let link = |steps: Vec<Unlinked>| steps.into_iter().map(|step| step.link(&entries)).collect::<Result<_, _>>();
    Ok(Kernels {
        prepare: link(program.prepare)?,
        steps: link(program.steps)?,
        groups: program.groups,
        code: Arc::new(code),
        work_bytes: program.work_bytes,
        scratch_bytes,
        functions: objects.len(),
        convolutions,
    })
}

/// Lowers every step of `planned`: those of `prepare`, then those of a run.
fn lower_all(planned: &Planned, settings: Settings) -> Result<Vec<Lowered>, Error> {
    let prepare = planned.prepare.iter().map(|step| (step, None));
    let main = planned.steps.iter().enumerate().map(|(at, step)| (step, planned.group(at).map(|group| group.images)));
    prepare.chain(main).map(|(step, images)| lower::lower(step, settings, images)).collect()
}

/// The distinct functions of lowered steps.
struct Units<'k> {
    units: Vec<Unit<'k>>,
    /// The unit of each tile.
    tiles: HashMap<Tile, u32>,
    /// The unit of each call, in order.
    called: Vec<u32>,
}

fn units(lowered: &[Lowered]) -> Units<'_> {
    let mut units: Vec<Unit<'_>> = Vec::new();
    let mut tiles: HashMap<Tile, u32> = HashMap::new();
    let mut kernels: HashMap<String, u32> = HashMap::new();
    let mut called: Vec<u32> = Vec::new();
    for call in lowered.iter().flat_map(Lowered::all) {
        for tile in call.kernel.tiles() {
            tiles.entry(tile.clone()).or_insert_with(|| {
                units.push(Unit::Tile(tile));
                units.len() as u32 - 1
            });
        }
        called.push(*kernels.entry(format!("{:?}", call.kernel)).or_insert_with(|| {
            units.push(Unit::Kernel(&call.kernel));
            units.len() as u32 - 1
        }));
    }
    Units { units, tiles, called }
}

/// Compiles every step of `planned` for `target`.
fn compile(planned: &Planned, settings: Settings, target: &OwnedTargetIsa) -> Result<Relocatable, Error> {
    let lowered = lower_all(planned, settings)?;
    let Units { units, tiles, called } = units(&lowered);
    let objects = with_leaves(compile_all(target, settings.isa, &units, &tiles)?)?;
    let scratch_bytes = lowered.iter().flat_map(Lowered::all).map(|c| c.kernel.scratch()).max().unwrap_or(0);
    let mut steps = Assembly::new(planned, &lowered);
    let mut called = called.into_iter();
    let mut kernel = || called.next().ok_or_else(|| failed("a call has no kernel"));
    for (index, (step, lowered)) in planned.prepare.iter().chain(&planned.steps).zip(&lowered).enumerate() {
        steps.add(step, lowered, index < planned.prepare.len(), &mut kernel)?;
    }
    let convolutions = lowered.into_iter().filter_map(|l| l.choice).collect();
    Ok(Relocatable { objects, program: steps.finish()?, scratch_bytes, convolutions })
}

/// A compiled function and the leaves that it calls.
type Compiled = (Object, Vec<Leaf>);

/// Puts the leaves of all functions, each once, behind them.
fn with_leaves(compiled: Vec<Compiled>) -> Result<Vec<Object>, Error> {
    let functions = compiled.len();
    let mut positions: HashMap<&Leaf, u32> = HashMap::new();
    let mut leaves: Vec<Object> = Vec::new();
    let mut renamed = Vec::new();
    for leaf in compiled.iter().flat_map(|(_, leaves)| leaves) {
        if let Entry::Vacant(vacant) = positions.entry(leaf) {
            let index = (functions + leaves.len()) as u32;
            vacant.insert(index);
            let bytes = leaf.assemble()?;
            leaves.push(Object { index, alignment: 64, bytes, relocations: Vec::new() });
        }
    }
    for (object, own) in &compiled {
        let global = |name: &ModuleRelocTarget| match *name {
            ModuleRelocTarget::User { namespace: LEAVES, index } => {
                let position = own.get(index as usize).and_then(|leaf| positions.get(leaf));
                position.map(|&index| ModuleRelocTarget::User { namespace: 0, index })
            }
            _ => None,
        };
        renamed.push(object.relocations.iter().map(|r| global(&r.name)).collect::<Vec<_>>());
    }
    let mut objects = Vec::with_capacity(functions + leaves.len());
    for ((mut object, _), names) in compiled.into_iter().zip(renamed) {
        for (relocation, name) in object.relocations.iter_mut().zip(names) {
            if let Some(name) = name {
                relocation.name = name;
            }
        }
        objects.push(object);
    }
    objects.extend(leaves);
    Ok(objects)
}

/// Compiles all units on all cores, in the order of their positions.
fn compile_all(
    host: &OwnedTargetIsa,
    isa: Isa,
    units: &[Unit<'_>],
    tiles: &HashMap<Tile, u32>,
) -> Result<Vec<Compiled>, Error> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut contexts = (FunctionBuilderContext::new(), Context::new());
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(index) else { return done };
            done.push(compile_unit(host, isa, unit, index as u32, tiles, &mut contexts));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(units.len().div_ceil(4)).max(1);
    let mut objects = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut all = worker();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(_) => all.push(Err(failed("a compiling thread panicked"))),
            }
        }
        all.into_iter().collect::<Result<Vec<_>, _>>()
    })?;
    objects.sort_by_key(|(o, _)| o.index);
    Ok(objects)
}

fn compile_unit(
    host: &OwnedTargetIsa,
    isa: Isa,
    unit: &Unit<'_>,
    index: u32,
    tiles: &HashMap<Tile, u32>,
    contexts: &mut (FunctionBuilderContext, Context),
) -> Result<Compiled, Error> {
    if let Unit::Tile(tile) = unit
        && tile.isa != Isa::Clif
    {
        let bytes = tile_wide::assemble(tile)?;
        return Ok((Object { index, alignment: 64, bytes, relocations: Vec::new() }, Vec::new()));
    }
    let leaves = emit_unit(host, isa, unit, index, tiles, contexts)?;
    Ok((machine_code(host, &mut contexts.1, index)?, leaves))
}

/// Makes the unit's CLIF in the context; returns the leaves that it calls.
fn emit_unit(
    host: &OwnedTargetIsa,
    isa: Isa,
    unit: &Unit<'_>,
    index: u32,
    tiles: &HashMap<Tile, u32>,
    (builder, context): &mut (FunctionBuilderContext, Context),
) -> Result<Vec<Leaf>, Error> {
    let target =
        Target { call: host.default_call_conv(), isa: isa.vectors(), of_bf16: isa, fma: target::has_fma(host) };
    context.clear();
    context.func = emit::kernel_function(target, index);
    let mut e = Emit::new(FunctionBuilder::new(&mut context.func, builder), target);
    // wide tiles follow the System V convention on every platform
    let calls = |tile: &Tile| {
        let call = if tile.isa == Isa::Clif { target.call } else { CallConv::SystemV };
        (tiles.get(tile).copied().unwrap_or(u32::MAX), call)
    };
    match unit {
        Unit::Tile(tile) => tile_clif::emit(tile, &mut e),
        Unit::Kernel(Kernel::Nest(nest)) => nest_emit::emit(nest, &mut e),
        Unit::Kernel(Kernel::Map(map)) => map.emit(&mut e),
        Unit::Kernel(Kernel::Maps(maps)) => maps.emit(&mut e),
        Unit::Kernel(Kernel::Rows(rows)) => rows.emit(&mut e),
        Unit::Kernel(Kernel::RowMove(rows)) => rows.emit(&mut e),
        Unit::Kernel(Kernel::Fold(fold)) => fold.emit(&mut e),
        Unit::Kernel(Kernel::Pool(pooling)) => pooling.emit(&mut e),
        Unit::Kernel(Kernel::Transpose(transposition)) => transposition.emit(&mut e),
        Unit::Kernel(Kernel::Forward(conv)) => conv.emit(&mut e, &calls),
        Unit::Kernel(Kernel::Backward(conv)) => conv.emit(&mut e, &calls),
        Unit::Kernel(Kernel::WinogradForward(conv)) => conv.emit(&mut e, &calls),
        Unit::Kernel(Kernel::WinogradBackward(conv)) => conv.emit(&mut e, &calls),
        Unit::Kernel(Kernel::WeightTransform(transform)) => transform.emit(&mut e),
        Unit::Kernel(Kernel::Product(product)) => product.emit(&mut e, &calls),
        Unit::Kernel(Kernel::Channels(kernel)) => kernel.emit(&mut e),
    }
    Ok(e.finish(host.frontend_config(), &[]))
}

/// Compiles the function of `context`.
fn machine_code(target: &OwnedTargetIsa, context: &mut Context, index: u32) -> Result<Object, Error> {
    context.compile(&**target, &mut ControlPlane::default()).map_err(|e| failed(format!("{e:?}")))?;
    let compiled = context.compiled_code().ok_or_else(|| failed("no code was made"))?;
    let relocations = compiled
        .buffer
        .relocs()
        .iter()
        .map(|r| ModuleReloc::from_mach_reloc(r, &context.func, FuncId::from_u32(index)))
        .collect();
    let alignment = u64::from(compiled.buffer.alignment).max(16);
    Ok(Object { index, alignment, bytes: compiled.code_buffer().to_vec(), relocations })
}
