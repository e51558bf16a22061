//! A program bound to state, memory and workers, ready to run.

use std::ops::Range;
use std::sync::Arc;

use outrigger_runtime::{BufferRef, Profile, State, Step, Team, bytes_of};

use crate::compile::Program;
use crate::error::{Error, nearest};
use crate::plan::{Place, Port};
use crate::store::Store;
use crate::tensor::{Data, Tensor};
use crate::types::{DType, Shape, TensorType};

/// A running instance of a [`Program`]: its own arena, a shared [`Store`] and [`Team`].
pub struct Session {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Whether each input has been given a value.
    given: Vec<bool>,
    /// Steps of the current run that are done, if there was one: outputs that these make hold something.
    done: Option<usize>,
    runtime: outrigger_runtime::Session,
}

fn find<'p>(ports: &'p [Port], what: &'static str, name: &str) -> Result<(usize, &'p Port), Error> {
    ports.iter().enumerate().find(|(_, p)| p.name == name).ok_or_else(|| Error::UnknownName {
        what,
        name: name.to_string(),
        near: nearest(name, ports.iter().map(|p| p.name.as_str())),
    })
}

impl Session {
    pub(crate) fn new(program: &Program, store: &Store, team: &Arc<Team>) -> Result<Session, Error> {
        let planned = &program.planned;
        for slot in &planned.states {
            let ty = store.ty(&slot.name)?;
            if *ty != slot.ty {
                let (expected, got) = (slot.ty.clone(), ty.clone());
                return Err(Error::Type { name: slot.name.clone(), expected, got });
            }
        }
        let runtime = outrigger_runtime::Session::new(program.plan.clone(), store.state.clone(), team.clone())?;
        Ok(Session {
            given: vec![false; planned.inputs.len()],
            done: None,
            inputs: planned.inputs.clone(),
            outputs: planned.outputs.clone(),
            runtime,
        })
    }

    /// Gives an input its value for the next runs.
    ///
    /// Integers that become labels of a one-hot encoding (a cross-entropy's, say) or ids of an embedding are checked
    /// against its number of classes or rows if only casts, reshapes, transposes, broadcasts and concatenations lie between.
    /// Those that are sliced or computed are not: one out of range gives a row of zeros.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Type`]; [`Error::Label`] for a label out of range.
    pub fn set(&mut self, name: &str, value: &Tensor) -> Result<(), Error> {
        let expected = &find(&self.inputs, "input", name)?.1.placed.ty;
        if *expected != value.ty() {
            return Err(Error::Type { name: name.to_string(), expected: expected.clone(), got: value.ty() });
        }
        match value.data() {
            Data::F32(v) => self.set_f32(name, v),
            Data::I32(v) => self.set_i32(name, v),
            Data::U8(v) => {
                self.check_labels(name, v.iter().map(|&label| i32::from(label)))?;
                self.write(name, DType::U8, v.len(), v)
            }
        }
    }
    /// As [`Session::set`] for floats, without making a tensor.
    ///
    /// # Errors
    /// As [`Session::set`].
    pub fn set_f32(&mut self, name: &str, values: &[f32]) -> Result<(), Error> {
        self.write(name, DType::F32, values.len(), bytes_of(values))
    }
    /// As [`Session::set`] for integers, without making a tensor.
    ///
    /// # Errors
    /// As [`Session::set`].
    pub fn set_i32(&mut self, name: &str, values: &[i32]) -> Result<(), Error> {
        self.check_labels(name, values.iter().copied())?;
        self.write(name, DType::I32, values.len(), bytes_of(values))
    }

    /// Integers for an input that is used as labels or ids must name classes or rows.
    fn check_labels(&self, name: &str, labels: impl Iterator<Item = i32>) -> Result<(), Error> {
        let Some(classes) = find(&self.inputs, "input", name)?.1.classes else { return Ok(()) };
        let outside = |&(_, label): &(usize, i32)| usize::try_from(label).map_or(true, |l| l >= classes);
        match labels.enumerate().find(outside) {
            Some((index, label)) => Err(Error::Label { name: name.to_string(), index, label, classes }),
            None => Ok(()),
        }
    }

    fn write(&mut self, name: &str, dtype: DType, elements: usize, bytes: &[u8]) -> Result<(), Error> {
        let (index, port) = find(&self.inputs, "input", name)?;
        let expected = &port.placed.ty;
        if dtype != expected.dtype || elements != expected.shape.elements() {
            let got = TensorType::new(dtype, Shape(vec![elements]));
            return Err(Error::Type { name: name.to_string(), expected: expected.clone(), got });
        }
        if let Place::Work(offset) = port.placed.place {
            self.runtime.write_work(offset, bytes)?;
        }
        self.given[index] = true;
        Ok(())
    }

    /// The inputs that have no value yet, in the graph's order.
    pub fn missing_inputs(&self) -> impl Iterator<Item = &Port> {
        self.inputs.iter().zip(&self.given).filter(|(_, given)| !**given).map(|(port, _)| port)
    }
    /// The memory of parameters, running statistics and moments, as bytes.
    pub fn state(&self) -> &State {
        self.runtime.state()
    }

    /// Every input must have a value before a run. Outputs have none until the run is over.
    fn begin(&mut self) -> Result<(), Error> {
        self.done = None;
        self.expect_given(|_| true)
    }

    /// Of the inputs that `needed` holds, all must have been given.
    fn expect_given(&self, needed: impl Fn(&Port) -> bool) -> Result<(), Error> {
        match self.missing_inputs().find(|port| needed(port)) {
            None => Ok(()),
            Some(missing) => Err(Error::Option {
                option: format!("input \"{}\"", missing.name),
                reason: format!("has no value yet; set a {} before running", missing.placed.ty),
            }),
        }
    }

    /// Number of the steps of a run up to the last that writes the output.
    fn steps_until(&self, port: &Port) -> usize {
        let Place::Work(offset) = port.placed.place else { return self.steps().len() };
        let writes = |step: &Step| step.args.iter().any(|arg| arg.write && arg.buffer == BufferRef::Work(offset));
        self.steps().iter().rposition(writes).map_or(0, |last| last + 1)
    }

    /// Runs the first part of the program, up to the step that makes an output: a forward pass without the backward
    /// pass behind it. Only inputs that this part reads need a value. A part that follows in the same run continues
    /// where this one ended; [`Session::finish`] runs the rest.
    ///
    /// # Errors
    /// As [`Session::run`]; [`Error::UnknownName`].
    pub fn run_until(&mut self, output: &str) -> Result<(), Error> {
        let end = self.steps_until(find(&self.outputs, "output", output)?.1).max(self.done.unwrap_or(0));
        self.go_on(end)
    }
    /// Begins a run of parts, in place of one that was not finished.
    pub fn start(&mut self) {
        self.done = None;
    }
    /// Runs what is left of a run that [`Session::run_until`] began.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn finish(&mut self) -> Result<(), Error> {
        self.go_on(self.steps().len())
    }

    /// Whether the part of a run up to the step that makes `output` reads the input: a kernel may compute an output
    /// together with what is made of it.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn reads_until(&self, output: &str, input: &str) -> Result<bool, Error> {
        let end = self.steps_until(find(&self.outputs, "output", output)?.1);
        Ok(self.reads(0..end, find(&self.inputs, "input", input)?.1))
    }
    fn reads(&self, range: Range<usize>, port: &Port) -> bool {
        let Place::Work(offset) = port.placed.place else { return false };
        let here = |step: &Step| step.args.iter().any(|arg| arg.buffer == BufferRef::Work(offset));
        self.steps().get(range).unwrap_or_default().iter().any(here)
    }

    fn go_on(&mut self, end: usize) -> Result<(), Error> {
        let range = self.done.unwrap_or(0)..end;
        self.expect_given(|port| self.reads(range.clone(), port))?;
        self.done = None;
        self.runtime.run_steps(range)?;
        self.done = Some(end);
        Ok(())
    }

    /// Runs the program once. With `OUTRIGGER_PROFILE` in the environment, also measures it (see
    /// [`outrigger_runtime`]).
    ///
    /// # Errors
    /// [`Error::Option`] when an input has no value; [`Error::Runtime`].
    pub fn run(&mut self) -> Result<(), Error> {
        self.begin()?;
        self.runtime.run()?;
        self.done = Some(self.steps().len());
        Ok(())
    }
    /// Runs step by step and stops at the first step that makes a NaN or an infinity.
    ///
    /// # Errors
    /// As [`Session::run`]; [`Error::Runtime`] naming the step.
    pub fn run_checked(&mut self) -> Result<(), Error> {
        self.begin()?;
        self.runtime.run_checked()?;
        self.done = Some(self.steps().len());
        Ok(())
    }
    /// Runs once and measures each kernel.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_profiled(&mut self) -> Result<Profile, Error> {
        self.begin()?;
        let profile = self.runtime.run_profiled()?;
        self.done = Some(self.steps().len());
        Ok(profile)
    }

    /// The kernel calls of a run, in order, with their operations and bytes.
    pub fn steps(&self) -> &[Step] {
        &self.runtime.plan().steps
    }
    /// Runs a part of [`Session::steps`] on what memory holds, to measure it. A run of all steps before makes
    /// the part read what it would read in a run. The outputs have no values afterwards.
    ///
    /// # Errors
    /// As [`Session::run`]; [`Error::Runtime`] for steps that are not there.
    pub fn run_steps(&mut self, range: Range<usize>) -> Result<(), Error> {
        self.begin()?;
        Ok(self.runtime.run_steps(range)?)
    }

    /// An output of the last run.
    ///
    /// # Errors
    /// [`Error::UnknownName`]; [`Error::Option`] when there was no run yet, or the last one failed.
    pub fn get(&self, name: &str) -> Result<Tensor, Error> {
        let port = find(&self.outputs, "output", name)?.1;
        if self.done.is_none_or(|done| done < self.steps_until(port)) {
            return Err(Error::Option {
                option: format!("output \"{name}\""),
                reason: "has no value: there was no run yet, or the last one failed".to_string(),
            });
        }
        let mut bytes = vec![0; port.placed.ty.bytes()];
        match port.placed.place {
            Place::Work(offset) => self.runtime.read_work(offset, &mut bytes)?,
            // the plan copies outputs that are state, and nothing else leaves a group's own memory
            Place::State(_) | Place::Image(_) => {
                return Err(Error::Option {
                    option: format!("output \"{name}\""),
                    reason: format!("was planned at {}, not in the arena", port.placed.place),
                });
            }
        }
        Tensor::from_bytes(&port.placed.ty, &bytes)
    }
    /// A scalar f32 output of the last run.
    ///
    /// # Errors
    /// As [`Session::get`]; [`Error::Type`] when it is no f32 scalar.
    pub fn scalar(&self, name: &str) -> Result<f32, Error> {
        let tensor = self.get(name)?;
        match tensor.as_f32() {
            Some(&[value]) => Ok(value),
            _ => Err(Error::Type {
                name: name.to_string(),
                expected: TensorType::f32(Shape::scalar()),
                got: tensor.ty(),
            }),
        }
    }
}
