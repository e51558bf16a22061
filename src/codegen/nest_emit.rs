//! Cranelift code for a [`Nest`].

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::{Class, Count, Emit, memory, vector};
use super::half::Element;
use super::nest::{Combine, Load, Nest, NestStep};
use super::random;
use crate::types::{DType, Shape};

fn class(dtype: DType) -> Class {
    match dtype {
        DType::F32 | DType::Bf16 => Class::Float,
        DType::I32 | DType::U8 => Class::Int,
    }
}

/// Addresses of the loads and the outputs as far as the loops outside of the innermost say them: Cranelift does not move
/// this out of the loop by itself.
struct Hoisted {
    /// Guarded loads have none.
    loads: Vec<Option<Value>>,
    outputs: Vec<Value>,
}

struct Body<'n> {
    nest: &'n Nest,
    /// Argument pointers.
    args: Vec<Value>,
    /// Current loop counters, output axes then reduction axes; the last output axis counts elements.
    loops: Vec<Value>,
    /// Within the innermost loop: what the others add to addresses.
    hoisted: Option<Hoisted>,
    lanes: usize,
}

/// Emits the whole kernel.
pub(super) fn emit(nest: &Nest, e: &mut Emit<'_>) {
    let arguments = nest.loads.iter().map(|l| l.arg).chain(nest.outputs.iter().map(|o| o.1)).max().map_or(0, |m| m + 1);
    let args = (0..arguments).map(|i| e.argument(i)).collect();
    let mut body = Body { nest, args, loops: Vec::new(), hoisted: None, lanes: 1 };
    let lanes = nest.lanes();
    let rank = nest.extents.len();
    if rank == 0 {
        body.point(e);
        return;
    }
    let (first, count) = e.chunk_range(nest.extents[0], nest.chunks);
    if rank == 1 {
        // one axis is never cut, see `Nest::with_chunks`
        body.last_axis(e, lanes);
        return;
    }
    e.repeat(count, &[(first, 1)], &[], |e, at, _| {
        body.loops.push(at[0]);
        body.axis(e, 1, lanes);
        body.loops.pop();
        Vec::new()
    });
}

impl Body<'_> {
    fn axis(&mut self, e: &mut Emit<'_>, axis: usize, lanes: usize) {
        if axis + 1 == self.nest.extents.len() {
            self.last_axis(e, lanes);
            return;
        }
        let zero = e.int(0);
        e.repeat(Count::Static(self.nest.extents[axis]), &[(zero, 1)], &[], |e, at, _| {
            self.loops.push(at[0]);
            self.axis(e, axis + 1, lanes);
            self.loops.pop();
            Vec::new()
        });
    }

    /// The last output axis: vectors, then single elements.
    fn last_axis(&mut self, e: &mut Emit<'_>, lanes: usize) {
        let extent = self.nest.extents[self.nest.extents.len() - 1];
        let whole = extent / lanes;
        let zero = e.int(0);
        if self.nest.reductions.is_empty() {
            self.hoist(e);
        }
        self.lanes = lanes;
        e.repeat(Count::Static(whole), &[(zero, lanes as i64)], &[], |e, at, _| {
            self.loops.push(at[0]);
            self.point(e);
            self.loops.pop();
            Vec::new()
        });
        self.lanes = 1;
        let start = e.int((whole * lanes) as i64);
        e.repeat(Count::Static(extent - whole * lanes), &[(start, 1)], &[], |e, at, _| {
            self.loops.push(at[0]);
            self.point(e);
            self.loops.pop();
            Vec::new()
        });
        self.hoisted = None;
    }

    /// Called in front of the innermost loop.
    fn hoist(&mut self, e: &mut Emit<'_>) {
        let nest = self.nest;
        let free = |load: &&Load| load.coordinates.iter().all(|c| c.extent.is_none() && c.divisor == 1);
        let loads =
            nest.loads.iter().map(|load| Some(load).filter(free).map(|load| self.free_address(e, load))).collect();
        // behind a reduction they are outside of its loop
        let stored = nest.outputs.iter().filter(|_| nest.reductions.is_empty());
        let outputs = stored.map(|&(_, arg, dtype)| self.address(e, arg, dtype)).collect();
        self.hoisted = Some(Hoisted { loads, outputs });
    }

    /// The address of an unguarded load, as far as the loops so far say it.
    fn free_address(&self, e: &mut Emit<'_>, load: &Load) -> Value {
        let bytes = load.dtype.bytes() as i64;
        let fixed: i64 = load.coordinates.iter().map(|c| c.offset * c.stride).sum();
        let mut address = e.offset(self.args[load.arg], fixed * bytes);
        for c in &load.coordinates {
            for &(l, coefficient) in &c.terms {
                if let Some(&index) = self.loops.get(l) {
                    address = e.at(address, index, coefficient * c.stride * bytes);
                }
            }
        }
        address
    }

    /// Moves a hoisted address by the innermost loop.
    fn innermost(&self, e: &mut Emit<'_>, base: Value, stride: i64) -> Value {
        match self.loops.last() {
            Some(&index) if stride != 0 => e.at(base, index, stride),
            Some(_) | None => base,
        }
    }

    /// One output point (a vector of them): reductions, finish, stores.
    fn point(&mut self, e: &mut Emit<'_>) {
        let nest = self.nest;
        let values = if nest.reductions.is_empty() {
            self.run(e, &nest.steps, &[])
        } else {
            let initial: Vec<Value> = nest
                .reductions
                .iter()
                .map(|(combine, _)| {
                    let value = match combine {
                        Combine::Sum => 0.0,
                        Combine::Max => f32::NEG_INFINITY,
                        Combine::Min => f32::INFINITY,
                    };
                    e.float(value, self.lanes)
                })
                .collect();
            let reduced = self.reduce(e, 0, &initial);
            self.run(e, &nest.finish, &reduced)
        };
        for (at, &(step, arg, dtype)) in nest.outputs.iter().enumerate() {
            let address = match &self.hoisted {
                Some(hoisted) => self.innermost(e, hoisted.outputs[at], self.store_stride() * dtype.bytes() as i64),
                None => self.address(e, arg, dtype),
            };
            let value = values[step];
            if dtype == DType::U8 {
                let byte = e.b.ins().ireduce(I8, value);
                e.b.ins().store(memory(), byte, address, 0);
            } else if dtype == DType::Bf16 {
                e.store_floats(Element::Bf16, value, address, 0);
            } else {
                e.store(value, address, 0);
            }
        }
    }

    fn reduce(&mut self, e: &mut Emit<'_>, depth: usize, carried: &[Value]) -> Vec<Value> {
        let nest = self.nest;
        let Some(&extent) = nest.reduce.get(depth) else {
            let values = self.run(e, &nest.steps, &[]);
            return nest
                .reductions
                .iter()
                .zip(carried)
                .map(|(&(combine, step), &old)| {
                    let op = match combine {
                        Combine::Sum => crate::ops::Binary::Add,
                        Combine::Max => crate::ops::Binary::Max,
                        Combine::Min => crate::ops::Binary::Min,
                    };
                    e.binary(op, Class::Float, old, values[step])
                })
                .collect();
        };
        let zero = e.int(0);
        if depth + 1 == nest.reduce.len() {
            self.hoist(e);
        }
        let result = e.repeat(Count::Static(extent), &[(zero, 1)], carried, |e, at, carried| {
            self.loops.push(at[0]);
            let result = self.reduce(e, depth + 1, carried);
            self.loops.pop();
            result
        });
        self.hoisted = None;
        result
    }

    /// Elements from one index of the last output axis to the next in the result.
    fn store_stride(&self) -> i64 {
        match &self.nest.placement {
            Some((strides, _)) => strides.last().copied().unwrap_or(0),
            None => 1,
        }
    }

    fn address(&self, e: &mut Emit<'_>, arg: usize, dtype: DType) -> Value {
        let row_major = || Shape(self.nest.extents.clone()).strides().iter().map(|&s| s as i64).collect();
        let (strides, offset) = self.nest.placement.clone().unwrap_or_else(|| (row_major(), 0));
        let bytes = dtype.bytes() as i64;
        let mut address = e.offset(self.args[arg], offset * bytes);
        for (&stride, &index) in strides.iter().zip(&self.loops) {
            address = e.at(address, index, stride * bytes);
        }
        address
    }

    fn run(&self, e: &mut Emit<'_>, steps: &[NestStep], reduced: &[Value]) -> Vec<Value> {
        let mut values: Vec<(Value, Class)> = Vec::with_capacity(steps.len());
        for step in steps {
            let value = match step {
                NestStep::Load(l) => (self.load(e, *l), class(self.nest.loads[*l].dtype)),
                NestStep::Constant(c) => (e.float(*c, self.lanes), Class::Float),
                NestStep::Index(strides) => (self.index(e, strides), Class::Int),
                NestStep::Unary(op, a) => {
                    let (x, class) = values[*a];
                    (e.unary(*op, class, x), class)
                }
                NestStep::Binary(op, a, b) => {
                    let (x, class) = values[*a];
                    (e.binary(*op, class, x, values[*b].0), class)
                }
                NestStep::Select(c, a, b) => {
                    let (condition, condition_class) = values[*c];
                    (e.select_nonzero(condition_class, condition, values[*a].0, values[*b].0), values[*a].1)
                }
                NestStep::Cast(to, a) => self.cast(e, *to, values[*a]),
                NestStep::Random(stream, seed, step, index) => {
                    (random::uniform(e, self.lanes, *stream, [seed, step, index].map(|&at| values[at].0)), Class::Float)
                }
                NestStep::Reduced(i) => (reduced[*i], Class::Float),
            };
            values.push(value);
        }
        values.into_iter().map(|(v, _)| v).collect()
    }

    /// Loads, replacing what lies outside: its guarded coordinates count as zero in the address, so that nothing outside
    /// is ever read. The others stay, the image's number among them: of a tensor in a worker's own memory only that
    /// image is there.
    fn load(&self, e: &mut Emit<'_>, at: usize) -> Value {
        let load = &self.nest.loads[at];
        let bytes = load.dtype.bytes() as i64;
        if let Some(base) = self.hoisted.as_ref().and_then(|hoisted| hoisted.loads[at]) {
            let stride = load.stride_along(self.loops.len() - 1).unwrap_or(0);
            let address = self.innermost(e, base, stride * bytes);
            return self.fetch(e, load, address);
        }
        let mut elements: Option<Value> = None;
        let mut guarded: Option<Value> = None;
        let mut fixed = 0;
        let mut valid: Option<Value> = None;
        for c in &load.coordinates {
            if c.extent.is_none() && c.divisor == 1 {
                fixed += c.offset * c.stride;
                for &(l, coefficient) in &c.terms {
                    let stride = e.int(coefficient * c.stride);
                    let term = e.b.ins().imul(self.loops[l], stride);
                    elements = Some(elements.map_or(term, |sum| e.b.ins().iadd(sum, term)));
                }
                continue;
            }
            let mut at = e.int(c.offset);
            for &(l, coefficient) in &c.terms {
                at = e.at(at, self.loops[l], coefficient);
            }
            let position = if c.divisor == 1 {
                at
            } else {
                let divisor = e.int(c.divisor);
                let quotient = e.b.ins().sdiv(at, divisor);
                let back = e.b.ins().imul(quotient, divisor);
                let whole = e.b.ins().icmp(IntCC::Equal, back, at);
                valid = Some(valid.map_or(whole, |v| e.b.ins().band(v, whole)));
                quotient
            };
            if let Some(extent) = c.extent {
                // unsigned comparison catches negative positions too
                let limit = e.int(extent as i64);
                let inside = e.b.ins().icmp(IntCC::UnsignedLessThan, position, limit);
                valid = Some(valid.map_or(inside, |v| e.b.ins().band(v, inside)));
            }
            let stride = e.int(c.stride);
            let term = e.b.ins().imul(position, stride);
            guarded = Some(guarded.map_or(term, |sum| e.b.ins().iadd(sum, term)));
        }
        let mut total = elements.unwrap_or_else(|| e.int(0));
        total = e.offset(total, fixed);
        if let (Some(valid), Some(guarded)) = (valid, guarded) {
            let whole = e.b.ins().iadd(total, guarded);
            total = e.b.ins().select(valid, whole, total);
        }
        let address = e.at(self.args[load.arg], total, bytes);
        let value = self.fetch(e, load, address);
        let Some(valid) = valid else { return value };
        let class = class(load.dtype);
        let other = match class {
            Class::Float => e.float(load.otherwise, self.lanes),
            // as the cast to the tensor's own type, which saturates
            Class::Int if load.dtype == DType::U8 => e.int32(i32::from(load.otherwise as u8), self.lanes),
            Class::Int => e.int32(load.otherwise as i32, self.lanes),
        };
        e.b.ins().select(valid, value, other)
    }

    fn fetch(&self, e: &mut Emit<'_>, load: &Load, address: Value) -> Value {
        let class = class(load.dtype);
        if load.dtype == DType::U8 {
            return e.b.ins().uload8(I32, memory(), address, 0);
        }
        if load.dtype == DType::Bf16 {
            return e.load_floats(Element::Bf16, self.lanes, address, 0);
        }
        let last = self.nest.extents.len().wrapping_sub(1);
        let constant = self.lanes == 1 || load.stride_along(last) == Some(0);
        if constant {
            let scalar = e.load(vector(class, 1), address, 0);
            return e.splat(class, scalar, self.lanes);
        }
        e.load(vector(class, self.lanes), address, 0)
    }

    /// `Σ stride·loop` as 32-bit integers, one a lane.
    fn index(&self, e: &mut Emit<'_>, strides: &[(usize, i64)]) -> Value {
        let last = self.nest.extents.len().wrapping_sub(1);
        let mut sum = e.int(0);
        let mut lane_stride = 0;
        for &(axis, stride) in strides {
            sum = e.at(sum, self.loops[axis], stride);
            if axis == last {
                lane_stride = stride;
            }
        }
        let narrow = e.b.ins().ireduce(I32, sum);
        let base = e.splat(Class::Int, narrow, self.lanes);
        if self.lanes == 1 || lane_stride == 0 {
            return base;
        }
        let lanes: Vec<u8> = (0..4).flat_map(|i: i32| (i * lane_stride as i32).to_le_bytes()).collect();
        let constant = e.b.func.dfg.constants.insert(lanes.as_slice().into());
        let iota = e.b.ins().vconst(vector(Class::Int, 4), constant);
        e.b.ins().iadd(base, iota)
    }

    fn cast(&self, e: &mut Emit<'_>, to: DType, (value, from): (Value, Class)) -> (Value, Class) {
        match (from, to) {
            (Class::Float, DType::F32) | (Class::Int, DType::I32) => (value, from),
            (Class::Float, DType::Bf16) => (e.round_bf16(value), from),
            (Class::Int, DType::Bf16) => {
                let float = self.cast(e, DType::F32, (value, from));
                self.cast(e, DType::Bf16, float)
            }
            (Class::Int, DType::F32) => {
                (e.b.ins().fcvt_from_sint(vector(Class::Float, self.lanes), value), Class::Float)
            }
            (Class::Float, DType::I32) => {
                (e.b.ins().fcvt_to_sint_sat(vector(Class::Int, self.lanes), value), Class::Int)
            }
            (Class::Float | Class::Int, DType::U8) => {
                let int = if from == Class::Float { e.b.ins().fcvt_to_sint_sat(I32, value) } else { value };
                let (low, high) = (e.int32(0, 1), e.int32(255, 1));
                let int = e.binary(crate::ops::Binary::Max, Class::Int, int, low);
                (e.binary(crate::ops::Binary::Min, Class::Int, int, high), Class::Int)
            }
        }
    }
}
