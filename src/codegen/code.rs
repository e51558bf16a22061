//! The owner of the machine code, and the only `unsafe` outside the runtime.
//!
//! Functions are compiled elsewhere; here their bytes are placed, relocated and made executable.
//! cranelift-jit writes to pages that are not executable and then seals them, so that no page is ever
//! both, and its memory is freed when [`Code`] is dropped.

use std::collections::HashMap;
use std::sync::Mutex;

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc, default_libcall_names};
use outrigger_runtime::KernelFn;

use crate::error::Error;

/// Machine code of one function before it has an address.
pub(super) struct Object {
    /// Position in the list of functions, which is also its id for calls.
    pub(super) index: u32,
    /// Required alignment of the first byte.
    pub(super) alignment: u64,
    /// Instructions.
    pub(super) bytes: Vec<u8>,
    /// Calls of other functions of the list.
    pub(super) relocations: Vec<ModuleReloc>,
}

/// Executable code of a program; freed when dropped.
pub struct Code {
    module: Mutex<Option<JITModule>>,
    /// Bytes of machine code.
    pub bytes: usize,
}

/// Reserved address space: calls between functions must stay within ±2 GB, and pages are only
/// committed when used.
const RESERVE: usize = 64 << 20;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Codegen { path: "code memory".to_string(), reason: error.to_string() }
}

impl Code {
    /// Places `objects`, in order, and returns the code with the kernels' entry points by index.
    pub(super) fn new(isa: OwnedTargetIsa, objects: &[Object]) -> Result<(Code, HashMap<u32, KernelFn>), Error> {
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        let bytes: usize = objects.iter().map(|o| o.bytes.len() + 64).sum();
        let provider = ArenaMemoryProvider::new_with_size(RESERVE.max(2 * bytes)).map_err(failed)?;
        builder.memory_provider(Box::new(provider));
        let mut module = JITModule::new(builder);
        let symbol = |index: u32| (format!("k{index}"), Linkage::Local);
        let placed = place(&mut module, objects, symbol);
        let placed = placed.and_then(|ids| module.finalize_definitions().map(|()| ids).map_err(failed));
        let code = Code { module: Mutex::new(Some(module)), bytes };
        let ids = placed?;
        let guard = code.module.lock().map_err(failed)?;
        let mut entries = HashMap::new();
        if let Some(module) = guard.as_ref() {
            for (index, id) in ids {
                let address = module.get_finalized_function(id);
                // SAFETY: the address is the first byte of a finalized function that was generated with the
                // signature of `KernelFn` (tiles are only called by other generated functions), and
                // `Code` keeps it mapped; `runtime::Plan` holds the `Code` as long as the pointer.
                let kernel = unsafe { std::mem::transmute::<*const u8, KernelFn>(address) };
                entries.insert(index, kernel);
            }
        }
        drop(guard);
        Ok((code, entries))
    }
}

/// Declares and defines `objects`, in order; `symbol` names them.
pub(super) fn place(
    module: &mut impl Module,
    objects: &[Object],
    symbol: impl Fn(u32) -> (String, Linkage),
) -> Result<Vec<(u32, FuncId)>, Error> {
    let signature = module.make_signature();
    let mut ids = Vec::with_capacity(objects.len());
    for object in objects {
        let (name, linkage) = symbol(object.index);
        let id = module.declare_function(&name, linkage, &signature).map_err(failed)?;
        if id.as_u32() != object.index {
            return Err(failed("functions must be placed in the order of their indices"));
        }
        ids.push((object.index, id));
    }
    for (object, &(_, id)) in objects.iter().zip(&ids) {
        module.define_function_bytes(id, object.alignment, &object.bytes, &object.relocations).map_err(failed)?;
    }
    Ok(ids)
}

impl Drop for Code {
    fn drop(&mut self) {
        let module = match self.module.get_mut() {
            Ok(slot) => slot.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        if let Some(module) = module {
            // SAFETY: the plans that hold pointers into this memory own the `Code` through an `Arc`, so none
            // of them exists any more.
            unsafe { module.free_memory() };
        }
    }
}
