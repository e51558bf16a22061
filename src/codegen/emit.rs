//! A thin layer over Cranelift's function builder: loops, addresses, vectors.
//!
//! Kernels are compiled without optimisation (`opt_level=none` keeps the order of instructions, which
//! the register tiles need), so hoisting and strength reduction are done here: loops step their
//! pointers, constants fold into displacements.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I32, I32X4, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, BlockCall, ExtFuncData, ExternalName, FuncRef, Function, InstBuilder, JumpTableData,
    MemFlagsData, Signature, StackSlotData, StackSlotKind, Type, UserExternalName, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

use super::isa::Isa;
use super::leaf::Leaf;
use super::strip::{Op, Strip};

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The platform's C calling convention.
    pub(super) call: CallConv,
    /// Vectors of what Cranelift does not emit itself.
    pub(super) isa: Isa,
    /// The same where bf16 is read or written.
    pub(super) of_bf16: Isa,
    /// Whether `fma` is an instruction (otherwise it would be a library call: multiply and add instead).
    pub(super) fma: bool,
}

/// How often a loop runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Static(usize),
    Dynamic(Value),
}

/// Element class of a value: float or integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Float,
    Int,
}

/// The Cranelift type of `lanes` (1 or 4) elements.
pub(super) fn vector(class: Class, lanes: usize) -> Type {
    match (class, lanes) {
        (Class::Float, 1) => F32,
        (Class::Float, _) => F32X4,
        (Class::Int, 1) => I32,
        (Class::Int, _) => I32X4,
    }
}

/// Kernels may read and write their buffers only; addresses are not always multiples of 16.
pub(super) fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// A function under construction.
pub(super) struct Emit<'a> {
    pub(super) b: FunctionBuilder<'a>,
    pub(super) target: Target,
    params: Vec<Value>,
    /// The leaves that the function calls.
    leaves: Vec<Leaf>,
    /// Whether something is stored past the caches.
    streamed: bool,
}

/// Namespace of the names of leaves: their positions in a function's own list.
pub(super) const LEAVES: u32 = 1;

/// `fn(args, chunk, scratch)`, see `outrigger_runtime::KernelFn`.
pub(super) fn kernel_signature(call: CallConv) -> Signature {
    let mut signature = Signature::new(call);
    signature.params.extend([AbiParam::new(I64); 3]);
    signature
}

impl<'a> Emit<'a> {
    pub(super) fn new(mut b: FunctionBuilder<'a>, target: Target) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let params = b.block_params(entry).to_vec();
        Emit { b, target, params, leaves: Vec::new(), streamed: false }
    }
    /// Ends the function with its results; returns the leaves that it calls.
    pub(super) fn finish(
        mut self,
        frontend: cranelift_codegen::isa::TargetFrontendConfig,
        results: &[Value],
    ) -> Vec<Leaf> {
        if self.streamed {
            // stores past the caches are in no order with what tells other threads of them
            self.b.ins().fence();
        }
        self.b.ins().return_(results);
        self.b.seal_all_blocks();
        self.b.finalize(frontend);
        self.leaves
    }

    /// The pointer in argument slot `index`.
    pub(super) fn argument(&mut self, index: usize) -> Value {
        let args = self.params[0];
        self.b.ins().load(I64, memory(), args, (index * 8) as i32)
    }
    /// The pointer in argument slot `first + index·step`.
    pub(super) fn argument_of(&mut self, first: usize, index: Value, step: usize) -> Value {
        let slot = self.at(self.params[0], index, step as i64 * 8);
        self.b.ins().load(I64, memory(), slot, (first * 8) as i32)
    }
    pub(super) fn chunk(&self) -> Value {
        self.params[1]
    }
    pub(super) fn scratch(&self) -> Value {
        self.params[2]
    }
    pub(super) fn parameter(&self, index: usize) -> Value {
        self.params[index]
    }

    pub(super) fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(I64, value)
    }
    /// `base + bytes`
    pub(super) fn offset(&mut self, base: Value, bytes: i64) -> Value {
        if bytes == 0 {
            return base;
        }
        let bytes = self.int(bytes);
        self.b.ins().iadd(base, bytes)
    }
    /// `base + index·stride`
    pub(super) fn at(&mut self, base: Value, index: Value, stride: i64) -> Value {
        let stride = self.int(stride);
        let bytes = self.b.ins().imul(index, stride);
        self.b.ins().iadd(base, bytes)
    }
    /// `index·scale`
    pub(super) fn at_index(&mut self, index: Value, scale: usize) -> Value {
        let scale = self.int(scale as i64);
        self.b.ins().imul(index, scale)
    }
    pub(super) fn max(&mut self, a: Value, b: Value) -> Value {
        let less = self.b.ins().icmp(IntCC::SignedLessThan, a, b);
        self.b.ins().select(less, b, a)
    }
    pub(super) fn min(&mut self, a: Value, b: Value) -> Value {
        let less = self.b.ins().icmp(IntCC::SignedLessThan, a, b);
        self.b.ins().select(less, a, b)
    }
    /// The range of items of this chunk when `items` are cut into `chunks`: (first, count).
    pub(super) fn chunk_range(&mut self, items: usize, chunks: usize) -> (Value, Count) {
        let chunk = self.chunk();
        self.range(chunk, items, chunks)
    }
    /// This chunk's run and its part of it, of `parts` in each run.
    pub(super) fn run_and_part(&mut self, parts: usize) -> (Value, Value) {
        let (chunk, parts) = (self.chunk(), self.int(parts as i64));
        let run = self.b.ins().udiv(chunk, parts);
        let before = self.b.ins().imul(run, parts);
        (run, self.b.ins().isub(chunk, before))
    }
    /// The range of items of run `chunk` when `items` are cut into `chunks` runs.
    pub(super) fn range(&mut self, chunk: Value, items: usize, chunks: usize) -> (Value, Count) {
        let per = items.div_ceil(chunks.max(1));
        if chunks <= 1 {
            return (self.int(0), Count::Static(items));
        }
        let size = self.int(per as i64);
        let first = self.b.ins().imul(chunk, size);
        if items.is_multiple_of(chunks) {
            return (first, Count::Static(per));
        }
        let total = self.int(items as i64);
        let left = self.b.ins().isub(total, first);
        (first, Count::Dynamic(self.min(left, size)))
    }

    pub(super) fn load(&mut self, ty: Type, base: Value, bytes: i64) -> Value {
        match i32::try_from(bytes) {
            Ok(displacement) => self.b.ins().load(ty, memory(), base, displacement),
            Err(_) => {
                let address = self.offset(base, bytes);
                self.b.ins().load(ty, memory(), address, 0)
            }
        }
    }
    pub(super) fn store(&mut self, value: Value, base: Value, bytes: i64) {
        match i32::try_from(bytes) {
            Ok(displacement) => {
                self.b.ins().store(memory(), value, base, displacement);
            }
            Err(_) => {
                let address = self.offset(base, bytes);
                self.b.ins().store(memory(), value, address, 0);
            }
        }
    }
    /// A float in every lane.
    pub(super) fn float(&mut self, value: f32, lanes: usize) -> Value {
        if lanes > 1 && value.to_bits() == 0 {
            let zero = self.b.func.dfg.constants.insert(vec![0u8; 16].into());
            return self.b.ins().vconst(F32X4, zero);
        }
        let scalar = self.b.ins().f32const(value);
        self.splat(Class::Float, scalar, lanes)
    }
    /// An integer in every lane.
    pub(super) fn int32(&mut self, value: i32, lanes: usize) -> Value {
        let scalar = self.b.ins().iconst(I32, i64::from(value as u32));
        self.splat(Class::Int, scalar, lanes)
    }
    pub(super) fn splat(&mut self, class: Class, scalar: Value, lanes: usize) -> Value {
        if lanes == 1 { scalar } else { self.b.ins().splat(vector(class, lanes), scalar) }
    }
    pub(super) fn fma(&mut self, x: Value, y: Value, z: Value) -> Value {
        if self.target.fma {
            return self.b.ins().fma(x, y, z);
        }
        let product = self.b.ins().fmul(x, y);
        self.b.ins().fadd(product, z)
    }
    /// Reinterprets lanes.
    pub(super) fn bits(&mut self, to: Class, value: Value) -> Value {
        let lanes = self.lanes(value);
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(vector(to, lanes), flags, value)
    }
    pub(super) fn lanes(&self, value: Value) -> usize {
        self.b.func.dfg.value_type(value).lane_count() as usize
    }
    /// `condition ? a : b` lane by lane; `condition` comes from `fcmp` or `icmp`.
    pub(super) fn choose(&mut self, condition: Value, a: Value, b: Value) -> Value {
        if self.b.func.dfg.value_type(condition) == I8 {
            return self.b.ins().select(condition, a, b);
        }
        let ty = self.b.func.dfg.value_type(a);
        let mask = if ty == F32X4 { self.bits(Class::Float, condition) } else { condition };
        self.b.ins().bitselect(mask, a, b)
    }
    /// A function of the same program that may be called: `fn(a, b, c)` at position `index`.
    pub(super) fn import(&mut self, (index, call): (u32, CallConv)) -> FuncRef {
        self.import_named(UserExternalName::new(0, index), kernel_signature(call))
    }
    pub(super) fn import_named(&mut self, name: UserExternalName, signature: Signature) -> FuncRef {
        let signature = self.b.import_signature(signature);
        let name = self.b.func.declare_imported_user_function(name);
        self.b.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            colocated: true,
            patchable: false,
        })
    }
    pub(super) fn call(&mut self, function: FuncRef, args: &[Value]) {
        self.b.ins().call(function, args);
    }
    /// Calls a strip with a table of its pointers and counts.
    pub(super) fn call_strip(&mut self, strip: Strip, pointers: &[Value], counts: &[Value]) {
        self.streamed |= strip.line.iter().any(|op| matches!(op, Op::Stream(..)));
        let bytes = 8 * strip.table() as u32;
        let table = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3));
        for (index, &value) in pointers.iter().chain(counts).enumerate() {
            self.b.ins().stack_store(I64, value, table, 8 * index as i32);
        }
        let table = self.b.ins().stack_addr(I64, table, 0);
        self.call_leaf(Leaf::Strip(strip), &[table]);
    }
    /// Calls a leaf with pointers.
    pub(super) fn call_leaf(&mut self, leaf: Leaf, args: &[Value]) {
        let known = self.leaves.iter().position(|l| *l == leaf);
        let index = known.unwrap_or_else(|| {
            self.leaves.push(leaf);
            self.leaves.len() - 1
        });
        // assembled code follows the System V convention on every platform
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.extend(args.iter().map(|_| AbiParam::new(I64)));
        let function = self.import_named(UserExternalName::new(LEAVES, index as u32), signature);
        self.call(function, args);
    }

    /// A loop that steps `pointers` by their strides and hands `carried` from one turn to the next;
    /// the body returns the carried values. Returns them after the last turn.
    pub(super) fn repeat(
        &mut self,
        count: Count,
        pointers: &[(Value, i64)],
        carried: &[Value],
        body: impl FnOnce(&mut Self, &[Value], &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let first: Vec<Value> = pointers.iter().map(|p| p.0).collect();
        let remaining = match count {
            Count::Static(0) => return carried.to_vec(),
            Count::Static(1) => return body(self, &first, carried),
            Count::Static(n) => self.int(n as i64),
            Count::Dynamic(n) => n,
        };
        let (head, inside, done) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.append_block_param(head, I64);
        for _ in pointers {
            self.b.append_block_param(head, I64);
        }
        for &value in carried {
            let ty = self.b.func.dfg.value_type(value);
            self.b.append_block_param(head, ty);
        }
        self.jump(head, &[&[remaining], first.as_slice(), carried]);
        self.b.switch_to_block(head);
        let params = self.b.block_params(head).to_vec();
        let (left, rest) = (params[0], &params[1..]);
        let (at, values) = rest.split_at(pointers.len());
        self.b.ins().brif(left, inside, &[], done, &[]);
        self.b.switch_to_block(inside);
        let next = body(self, at, values);
        let stepped: Vec<Value> = at.iter().zip(pointers).map(|(&p, &(_, stride))| self.offset(p, stride)).collect();
        let one = self.int(1);
        let left = self.b.ins().isub(left, one);
        self.jump(head, &[&[left], stepped.as_slice(), next.as_slice()]);
        self.b.switch_to_block(done);
        values.to_vec()
    }

    fn jump(&mut self, to: Block, values: &[&[Value]]) {
        let args: Vec<BlockArg> = values.iter().flat_map(|v| v.iter().map(|&x| x.into())).collect();
        self.b.ins().jump(to, &args);
    }

    /// The number at `index` of `table`, which is not empty; `index` is in range.
    pub(super) fn pick(&mut self, index: Value, table: &[i64]) -> Value {
        let done = self.b.create_block();
        let found = self.b.append_block_param(done, I64);
        let blocks: Vec<Block> = table.iter().map(|_| self.b.create_block()).collect();
        let calls: Vec<BlockCall> =
            blocks.iter().map(|&block| BlockCall::new(block, [], &mut self.b.func.dfg.value_lists)).collect();
        let Some(&default) = calls.last() else { return index };
        let jumps = self.b.create_jump_table(JumpTableData::new(default, &calls));
        let index = self.b.ins().ireduce(I32, index);
        self.b.ins().br_table(index, jumps);
        for (&block, &number) in blocks.iter().zip(table) {
            self.b.switch_to_block(block);
            let number = self.int(number);
            self.jump(done, &[&[number]]);
        }
        self.b.switch_to_block(done);
        found
    }

    /// Fills `bytes` (a multiple of 4) from `base` with zeros.
    pub(super) fn clear(&mut self, base: Value, bytes: usize) {
        // a call costs as much as some ten stores
        if self.target.isa != Isa::Clif
            && bytes >= 512
            && let Some(strip) = Strip::zeros(self.target.isa, bytes)
        {
            return self.call_strip(strip, &[base], &[]);
        }
        let zero = self.float(0.0, 4);
        let end = self.repeat(Count::Static(bytes / 64), &[], &[base], |e, _, carried| {
            for i in 0..4 {
                e.store(zero, carried[0], i * 16);
            }
            vec![e.offset(carried[0], 64)]
        })[0];
        let tail = bytes % 64;
        for i in 0..tail / 16 {
            self.store(zero, end, i as i64 * 16);
        }
        let word = self.float(0.0, 1);
        for i in (tail / 16 * 16..tail).step_by(4) {
            self.store(word, end, i as i64);
        }
    }
}

/// An empty function with a kernel's signature.
pub(super) fn kernel_function(target: Target, index: u32) -> Function {
    let name = cranelift_codegen::ir::UserFuncName::user(0, index);
    Function::with_name_signature(name, kernel_signature(target.call))
}
