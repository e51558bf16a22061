//! A plan bound to memory and threads: the thing that runs.
//!
//! ```text
//!   write_work(inputs) ─▶ run: team's turn ─▶ state's lock ─▶ [prepare, if a state changed] ─▶ steps
//!                                                                                │
//!   read_work(outputs) ◀─────────────────────────────────────────────────────────┘
//! ```
//!
//! `run` is one parallel region. The checked modes (`run_checked`, `OUTRIGGER_DEBUG`) make a region of
//! each step and look at the memory in between.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::canary::Canaries;
use crate::check;
use crate::debug::{self, DebugOptions};
use crate::error::{Error, Result};
use crate::flush::FlushDenormals;
use crate::memory::Region;
use crate::plan::{Argument, BufferRef, Phase, Plan, Step};
use crate::profile::{Profile, Recorder};
use crate::program::{Own, Probe, Program, Quiet};
use crate::ranges::Ranges;
use crate::recording::Recording;
use crate::state::{Access, State};
use crate::team::{Team, Turn};

/// A plan with a work arena of its own, a state and a team that it may share with others.
pub struct Session {
    plan: Arc<Plan>,
    state: Arc<State>,
    team: Arc<Team>,
    debug: DebugOptions,
    arena: Region,
    /// One for each thread.
    own: Vec<Own>,
    /// The steps of each [`Phase`].
    programs: [Program; 2],
    /// One for each thread.
    quiet: Vec<Mutex<Quiet>>,
    /// Version of the state for which `prepare` ran last.
    prepared: Option<u64>,
    /// In the mode `bounds`: of the arena, then of each thread's scratch and memory for an image.
    canaries: Vec<Canaries>,
    last_profile: Option<Profile>,
    /// With `OUTRIGGER_PROFILE`, outside of debug modes: the runs to write down.
    recording: Option<Recording>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("plan", &self.plan.name)
            .field("team", &self.team)
            .field("debug", &self.debug)
            .finish_non_exhaustive()
    }
}

/// Fills the scratch with poison, so that no chunk reads what another one left there.
struct PoisonScratch;

impl Probe for PoisonScratch {
    fn before_chunk(&mut self, scratch: &Region) {
        // SAFETY: the scratch belongs to the thread that calls this.
        unsafe { debug::poison(scratch.base(), 0..scratch.bytes()) };
    }
}

impl Session {
    /// Checks the plan and gives it memory: the arena zeroed, with the constants in place. Debug
    /// options come from the environment (`OUTRIGGER_DEBUG`).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPlan`]; [`Error::UnknownState`] or [`Error::StateSize`] if the state lacks a
    /// slot of the plan or has it in another size; [`Error::Memory`]; [`Error::UnknownDebugWord`].
    pub fn new(plan: Arc<Plan>, state: Arc<State>, team: Arc<Team>) -> Result<Session> {
        Session::with_debug(plan, state, team, DebugOptions::from_env()?)
    }

    /// As [`new`](Self::new), with debug options of the caller's choice. (Guards around the state
    /// are chosen where the state is made.)
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), without the environment's.
    pub fn with_debug(plan: Arc<Plan>, state: Arc<State>, team: Arc<Team>, debug: DebugOptions) -> Result<Session> {
        plan.validate()?;
        let slots = plan.states.iter().map(|slot| state.address(&slot.name, slot.bytes)).collect::<Result<Vec<_>>>()?;
        let arena = Region::new(plan.work_bytes, debug.bounds, "the work arena")?;
        let own = (0..team.threads())
            .map(|_| {
                let scratch = Region::new(plan.scratch_bytes, debug.bounds, "a worker's scratch")?;
                let image = Region::new(plan.image_bytes, debug.bounds, "a worker's memory for an image")?;
                Ok(Own { scratch, image })
            })
            .collect::<Result<Vec<_>>>()?;

        let resolve = |arg: &Argument| match arg.buffer {
            BufferRef::State(slot) => slots[slot],
            // SAFETY: `validate` has checked that the offset lies inside the slot.
            BufferRef::StateAt { slot, offset } => unsafe { slots[slot].add(offset) },
            // SAFETY: `validate` has checked that the offset lies inside the arena.
            BufferRef::Work(offset) => unsafe { arena.base().add(offset) },
            // The worker that runs the chunk puts its own address there.
            BufferRef::Image(_) => std::ptr::null_mut(),
        };
        let programs = [Phase::Prepare, Phase::Main]
            .map(|phase| Program::new(plan.phase(phase), &plan.units(phase), team.threads(), resolve));
        let quiet = (0..team.threads()).map(|_| Mutex::new(Quiet)).collect();
        let mut session = Session {
            plan,
            state,
            team,
            debug,
            arena,
            own,
            programs,
            quiet,
            prepared: None,
            canaries: Vec::new(),
            last_profile: None,
            recording: if debug.any() { None } else { Recording::from_env() },
        };
        session.fill_arena();
        Ok(session)
    }

    /// Poison, canaries, constants: in this order, each on top of the one before.
    fn fill_arena(&mut self) {
        if self.debug.poison {
            // SAFETY: the arena is new and ours.
            unsafe { debug::poison(self.arena.base(), 0..self.arena.bytes()) };
        }
        if self.debug.bounds {
            let mut owned = Ranges::default();
            for arg in self.plan.all_steps().flat_map(|(_, _, step)| &step.args) {
                if matches!(arg.buffer, BufferRef::Work(_)) {
                    owned.insert(arg.range());
                }
            }
            for constant in &self.plan.constants {
                owned.insert(constant.offset..constant.offset + constant.bytes.len());
            }
            let (mut scratch, mut image) = (Ranges::default(), Ranges::default());
            scratch.insert(0..self.plan.scratch_bytes);
            image.insert(0..self.plan.image_bytes);
            // SAFETY: arena and the workers' memories are new and ours, and steps may use only what is owned.
            self.canaries = unsafe {
                let own = self.own.iter().flat_map(|own| [(&own.scratch, &scratch), (&own.image, &image)]);
                let all = [(&self.arena, &owned)].into_iter().chain(own);
                all.map(|(region, owned)| Canaries::new(region, owned)).collect()
            };
        }
        for constant in &self.plan.constants {
            // SAFETY: `validate` has checked that the constant fits; nobody else uses the arena.
            unsafe {
                let into = self.arena.base().add(constant.offset);
                std::ptr::copy_nonoverlapping(constant.bytes.as_ptr(), into, constant.bytes.len());
            }
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The state.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The team.
    pub fn team(&self) -> &Arc<Team> {
        &self.team
    }

    /// Copies `from` into the work arena, at byte `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::WorkRange`] if it does not fit.
    pub fn write_work(&mut self, offset: usize, from: &[u8]) -> Result<()> {
        let range = self.work_range(offset, from.len())?;
        if let Some(canaries) = self.canaries.first_mut() {
            // An input that no step reads.
            canaries.release(&self.arena, range);
        }
        // SAFETY: the range lies in the arena; `&mut self`: no run is going on.
        unsafe {
            let into = self.arena.base().add(offset);
            std::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len());
        }
        Ok(())
    }

    /// Copies bytes of the work arena, from byte `offset` on, into `into`.
    ///
    /// # Errors
    ///
    /// [`Error::WorkRange`] if the arena ends before.
    pub fn read_work(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.work_range(offset, into.len())?;
        // SAFETY: the range lies in the arena; a run would need `&mut self`.
        unsafe {
            let from = self.arena.base().add(offset);
            std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len());
        }
        Ok(())
    }

    fn work_range(&self, offset: usize, bytes: usize) -> Result<Range<usize>> {
        let work_bytes = self.plan.work_bytes;
        match offset.checked_add(bytes) {
            Some(end) if end <= work_bytes => Ok(offset..end),
            _ => Err(Error::WorkRange { offset, bytes, work_bytes }),
        }
    }

    /// Runs the plan once. Waits for the team, and for other users of the state. Measured if the environment says so
    /// (`OUTRIGGER_PROFILE`).
    ///
    /// # Errors
    ///
    /// None but those of a debug mode: [`Error::OutOfBounds`].
    pub fn run(&mut self) -> Result<()> {
        if self.recording.is_some() {
            return self.run_profiled().map(drop);
        }
        let all = 0..self.plan.steps.len();
        self.execute(false, |session, turn, access| session.run_phase(Phase::Main, all, turn, access, false))
    }

    /// Runs the steps of `range` only, each once and in order, on what arena and state hold: a way to measure a
    /// part of a plan. Where the memory does not hold what the steps before the range would have left there, the
    /// results mean nothing. They are harmless: what a kernel touches does not depend on what it reads.
    ///
    /// # Errors
    ///
    /// [`Error::StepRange`] for steps that the plan does not have; otherwise as for [`run`](Self::run).
    pub fn run_steps(&mut self, range: Range<usize>) -> Result<()> {
        let steps = self.plan.steps.len();
        if range.start > range.end || range.end > steps {
            return Err(Error::StepRange { start: range.start, end: range.end, steps });
        }
        self.execute(false, |session, turn, access| session.run_phase(Phase::Main, range, turn, access, false))
    }

    /// Runs the plan step by step and stops at the first step that makes a NaN or an infinity. State
    /// and arena are then as that step left them. Several times slower than [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] with step, argument, element and value; [`Error::OutOfBounds`] in the
    /// debug mode `bounds`.
    pub fn run_checked(&mut self) -> Result<()> {
        // The prepare steps run again, so that they are checked too.
        self.prepared = None;
        let all = 0..self.plan.steps.len();
        self.execute(true, |session, turn, access| session.run_phase(Phase::Main, all, turn, access, true))
    }

    /// Runs the plan once and measures every step; checks of debug modes are left out. The prepare
    /// steps, if they are due, run before the clock starts.
    ///
    /// # Errors
    ///
    /// None but those of a debug mode, from the prepare steps.
    pub fn run_profiled(&mut self) -> Result<Profile> {
        let (start, profile) = self.execute(false, |session, turn, _| {
            let program = &mut session.programs[Phase::Main as usize];
            let (origin, steps, spans) = (Instant::now(), session.plan.steps.len(), program.spans());
            let recorders: Vec<_> = (0..turn.threads()).map(|_| Mutex::new(Recorder::new(origin, spans))).collect();
            let start = origin.elapsed();
            // SAFETY: `execute` holds the team and the state, and the arena is ours (`&mut`).
            unsafe { program.run(turn, 0..steps, &session.own, &recorders) };
            let end = origin.elapsed();
            Ok((origin + start, Profile::new(&session.plan, start, end, recorders)))
        })?;
        if let Some(recording) = &mut self.recording {
            recording.add(start, &profile);
        }
        self.last_profile = Some(profile.clone());
        Ok(profile)
    }

    /// What the last measured run took.
    pub fn last_profile(&self) -> Option<&Profile> {
        self.last_profile.as_ref()
    }

    /// Runs `body` with the team, the state and the prepared memory at hand. `finite`: whether steps
    /// that prepare are searched for NaN and infinity.
    fn execute<R>(
        &mut self,
        finite: bool,
        body: impl FnOnce(&mut Session, &mut Turn<'_>, &Access<'_>) -> Result<R>,
    ) -> Result<R> {
        let (plan, state, team) = (Arc::clone(&self.plan), Arc::clone(&self.state), Arc::clone(&self.team));
        // Always in this order, and nobody takes the team while holding a state: no deadlock.
        let mut turn = team.turn();
        let access = state.access(plan.writes_states);
        let _flush = FlushDenormals::new();
        if self.prepared != Some(access.version()) {
            self.prepared = None;
            self.run_phase(Phase::Prepare, 0..plan.prepare.len(), &mut turn, &access, finite)?;
            self.prepared = Some(access.version());
        }
        let outcome = body(self, &mut turn, &access);
        if plan.writes_states {
            // Our own steps' writes are no reason to prepare again.
            self.prepared = Some(access.bump());
        }
        outcome
    }

    /// Runs steps of one list; with `finite`, looks for NaN and infinity after each.
    fn run_phase(
        &mut self,
        phase: Phase,
        range: Range<usize>,
        turn: &mut Turn<'_>,
        access: &Access<'_>,
        finite: bool,
    ) -> Result<()> {
        let stepwise = finite || self.debug.any();
        if !stepwise {
            // SAFETY: `execute` holds the team and the state, and the arena is ours (`&mut`).
            unsafe { self.programs[phase as usize].run(turn, range, &self.own, &self.quiet) };
            return Ok(());
        }
        let poison: Vec<_> = (0..turn.threads()).map(|_| Mutex::new(PoisonScratch)).collect();
        for steps in self.programs[phase as usize].units(&range) {
            let program = &mut self.programs[phase as usize];
            // SAFETY: as above.
            unsafe {
                if self.debug.poison {
                    self.own.iter().for_each(|own| debug::poison(own.image.base(), 0..own.image.bytes()));
                    program.run(turn, steps.clone(), &self.own, &poison);
                } else {
                    program.run(turn, steps.clone(), &self.own, &self.quiet);
                }
            }
            for step in steps {
                self.look(phase, step, access, finite)?;
            }
        }
        Ok(())
    }

    /// After a step of a checked run: damage first, then values, then poison on what is dead.
    fn look(&self, phase: Phase, index: usize, access: &Access<'_>, finite: bool) -> Result<()> {
        let step = &self.plan.phase(phase)[index];
        let own = self.own.iter().flat_map(|own| [&own.scratch, &own.image]);
        let memories = [&self.arena].into_iter().chain(own);
        for (i, (region, canaries)) in memories.zip(&self.canaries).enumerate() {
            // SAFETY: the region is the one the canaries were made for, and no kernel is running.
            if let Some(offset) = unsafe { canaries.check(region) } {
                let memory = match i {
                    0 => "the work arena".to_string(),
                    _ if i % 2 == 1 => format!("the scratch of thread {}", i / 2),
                    _ => format!("the memory for an image of thread {}", i / 2 - 1),
                };
                return Err(damage(phase, index, step, memory, offset));
            }
        }
        if let Some(offset) = access.damaged() {
            return Err(damage(phase, index, step, "the state".to_string(), offset));
        }
        if finite {
            // SAFETY: the addresses are those of the step's arguments, and no kernel is running.
            unsafe { check::finite(phase, index, step, self.programs[phase as usize].pointers(index))? };
        }
        if self.debug.poison {
            for &(offset, bytes) in &step.dead_after {
                // SAFETY: `validate` has checked that the range lies in the arena.
                unsafe { debug::poison(self.arena.base(), offset..offset + bytes) };
            }
        }
        Ok(())
    }
}

fn damage(phase: Phase, index: usize, step: &Step, memory: String, offset: i64) -> Error {
    let (name, kind) = (step.name.clone(), step.kind.clone());
    Error::OutOfBounds { phase, step: index, name, kind, memory, offset }
}
