//! Criterion benches of a compiled program (cargo feature `criterion`): its step, the parts of the step, and each of
//! its kernels alone.
//!
//! ```text
//!   steps of a run   0 ─── forward ───▶ first gradient ─── backward and update ───▶ n
//!   NAME/step        |◀────────────────────────── one run ─────────────────────────▶|
//!   NAME/forward     |◀───────────────▶|
//!   NAME/backward                      |◀───────────────────────────────────────────▶|
//!   NAME/forward/KIND/PATH  |◀▶|        one kernel, the steps before it having run once
//! ```
//!
//! A bench file builds a graph, compiles it, and hands over the session:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use criterion::{Criterion, criterion_group, criterion_main};
//! use outrigger::{DType, Error, Graph, Options, Store, Team, bench, compile};
//!
//! fn network(criterion: &mut Criterion) -> Result<(), Error> {
//!     let mut g = Graph::new("square");
//!     let x = g.input("x", DType::F32, [512, 512])?;
//!     let y = g.matmul(x, x, Default::default())?;
//!     g.set_output("y", y)?;
//!     let mut session = compile(&g, &Options::default())?.session(&Store::new(&g, 0)?, &Arc::new(Team::new(2)?))?;
//!     bench::fill(&mut session, 0)?;
//!     bench::program(criterion, "square", &mut session)
//! }
//!
//! fn all(criterion: &mut Criterion) {
//!     network(criterion).unwrap();
//! }
//! criterion_group!(benches, all);
//! criterion_main!(benches);
//! ```

use std::collections::HashMap;
use std::ops::Range;

use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use outrigger_runtime::{BufferRef, State, Step};

use crate::autodiff::is_gradient;
use crate::error::Error;
use crate::session::Session;
use crate::tensor::{Data, Tensor};
use crate::types::DType;

/// Registers what the session's program does as benchmarks, whose names start with `name`:
///
/// - `NAME/step`: a whole run;
/// - `NAME/forward` and `NAME/backward`, for a program with gradients: the kernels before the first gradient's, and
///   all from that on, updates of parameters included. The backward part runs on what the forward part has left.
/// - `NAME/ROLE/KIND/PATH`, for each distinct kernel: the first step that calls it, alone, on its own arguments. The
///   role is `forward`, `backward` or `update` (a kernel behind the first gradient that writes to a state); kind
///   and path are those of [`Session::steps`]. A kernel that serves several steps has their number at the end
///   (`layer1.0.conv1.conv2d x3`); the second kernel of one kind and path is `#2`.
///
/// Throughput counts elements, which are floating-point operations (a multiply-add counts two), so `Gelem/s` is GFLOP/s,
/// and bytes read and written, each operand and result once. Only convolutions and matrix products count operations; a
/// kernel without any has bytes alone. A step alone is a parallel region of its own, which costs about 0.1 µs on one
/// thread and more on several.
///
/// All inputs must have values ([`fill`] gives them some). Before each benchmark, and at the end, the state (weights,
/// moments) is what it was at the call. A kernel that works in place reads its own results from the second time on.
///
/// # Errors
/// As [`Session::run`].
pub fn program<M: Measurement>(criterion: &mut Criterion<M>, name: &str, session: &mut Session) -> Result<(), Error> {
    let mut bench = Bench { saved: saved(session.state())?, session };
    // errors show here, not as fast results
    bench.session.run()?;
    let steps = bench.session.steps().to_vec();
    let first_gradient = steps.iter().position(|step| is_gradient(&step.name));

    let mut group = criterion.benchmark_group(name);
    bench.register(&mut group, BenchmarkId::from_parameter("step"), &steps, 0..steps.len())?;
    if let Some(first) = first_gradient {
        bench.register(&mut group, BenchmarkId::from_parameter("forward"), &steps, 0..first)?;
        bench.register(&mut group, BenchmarkId::from_parameter("backward"), &steps, first..steps.len())?;
    }
    group.finish();

    let kernels = kernels(&steps);
    for role in [Role::Forward, Role::Backward, Role::Update] {
        let mut group = criterion.benchmark_group(format!("{name}/{}", role.name()));
        for kernel in &kernels {
            let (index, step) = (kernel.first, &steps[kernel.first]);
            if role == Role::of(step, first_gradient.is_some_and(|first| index >= first)) {
                let id = BenchmarkId::new(&step.kind, kernel.path(&step.name));
                bench.register(&mut group, id, &steps, index..index + 1)?;
            }
        }
        group.finish();
    }
    bench.restore()
}

/// What a kernel of a training program is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Forward,
    Backward,
    Update,
}

impl Role {
    /// Parameters are updated behind the first gradient; running statistics are part of the forward pass.
    fn of(step: &Step, behind_first_gradient: bool) -> Role {
        let writes_state = step.args.iter().any(|arg| {
            arg.write
                && match arg.buffer {
                    BufferRef::State(_) | BufferRef::StateAt { .. } => true,
                    BufferRef::Work(_) | BufferRef::Image(_) => false,
                }
        });
        match (behind_first_gradient, writes_state) {
            (false, _) => Role::Forward,
            (true, false) => Role::Backward,
            (true, true) => Role::Update,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Role::Forward => "forward",
            Role::Backward => "backward",
            Role::Update => "update",
        }
    }
}

/// A compiled function and the steps that call it.
struct Kernel {
    /// The first of them.
    first: usize,
    /// Their number.
    calls: usize,
    /// Kernels before it whose first step has the same kind and name: a node may take several.
    namesakes: usize,
}

impl Kernel {
    /// The last part of its benchmark's name.
    fn path(&self, step: &str) -> String {
        let number = if self.namesakes > 0 { format!(" #{}", self.namesakes + 1) } else { String::new() };
        let times = if self.calls > 1 { format!(" x{}", self.calls) } else { String::new() };
        format!("{step}{number}{times}")
    }
}

/// The distinct kernels of a program. Steps with equal descriptions share one function.
fn kernels(steps: &[Step]) -> Vec<Kernel> {
    let mut found: Vec<Kernel> = Vec::new();
    let (mut known, mut named) = (HashMap::new(), HashMap::new());
    for (first, step) in steps.iter().enumerate() {
        let at = *known.entry(step.kernel as usize).or_insert(found.len());
        if let Some(kernel) = found.get_mut(at) {
            kernel.calls += 1;
        } else {
            let namesakes = named.entry((&step.kind, &step.name)).or_insert(0);
            found.push(Kernel { first, calls: 1, namesakes: *namesakes });
            *namesakes += 1;
        }
    }
    found
}

/// Operations and bytes of some steps.
fn throughput(steps: &[Step]) -> Throughput {
    let flops = steps.iter().map(|step| step.flops).sum();
    let bytes = steps.iter().map(|step| step.bytes).sum();
    match flops {
        0 => Throughput::Bytes(bytes),
        elements => Throughput::ElementsAndBytes { elements, bytes },
    }
}

/// Every tensor of a state with its bytes.
fn saved(state: &State) -> Result<Vec<(String, Vec<u8>)>, Error> {
    state.slots().map(|(name, _)| Ok((name.to_string(), state.read(name)?))).collect()
}

/// A session and the state to start each benchmark from.
struct Bench<'s> {
    session: &'s mut Session,
    saved: Vec<(String, Vec<u8>)>,
}

impl Bench<'_> {
    fn restore(&mut self) -> Result<(), Error> {
        let state = self.session.state();
        Ok(self.saved.iter().try_for_each(|(name, bytes)| state.write(name, bytes))?)
    }

    /// Registers the steps of `range`.
    fn register<M: Measurement>(
        &mut self,
        group: &mut BenchmarkGroup<'_, M>,
        id: BenchmarkId,
        steps: &[Step],
        range: Range<usize>,
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        group.throughput(throughput(&steps[range.clone()]));
        // not called at all for a benchmark that the command line leaves out
        group.bench_function(id, |b| {
            outcome = self.restore().and_then(|()| self.session.run_steps(0..range.start));
            b.iter(|| self.session.run_steps(range.clone()));
        });
        outcome
    }
}

/// Gives every input that has no value yet some: floats in [0, 1), labels of existing classes, other integers 0 or 1. A
/// scalar float becomes 0.001, which suits a learning rate. Values follow from the seed.
///
/// # Errors
/// As [`Session::set`].
pub fn fill(session: &mut Session, seed: u32) -> Result<(), Error> {
    let mut state = seed;
    let mut next = || {
        // the generator of Numerical Recipes, "An Even Quicker Generator"; its low bits are poor
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let missing: Vec<_> = session.missing_inputs().cloned().collect();
    for input in missing {
        let (name, ty) = (&input.name, &input.placed.ty);
        let elements = ty.shape.elements();
        let classes = input.classes.map_or(2, |classes| classes.min(256)).max(1) as u32;
        match ty.dtype {
            DType::F32 if ty.shape.rank() == 0 => session.set_f32(name, &[1e-3])?,
            DType::F32 => {
                let values: Vec<f32> = (0..elements).map(|_| next() as f32 / (1 << 24) as f32).collect();
                session.set_f32(name, &values)?;
            }
            DType::I32 => {
                let values: Vec<i32> = (0..elements).map(|_| (next() % classes) as i32).collect();
                session.set_i32(name, &values)?;
            }
            // results of kernels only
            DType::Bf16 => {}
            DType::U8 => {
                let values: Vec<u8> = (0..elements).map(|_| (next() % classes) as u8).collect();
                session.set(name, &Tensor::new(ty.shape.clone(), Data::U8(values))?)?;
            }
        }
    }
    Ok(())
}
