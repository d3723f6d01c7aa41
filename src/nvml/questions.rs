//! The one way to ask a GPU something: every call goes through here, so that every call is watched, every failure is
//! named and what the hardware cannot tell is not asked each second.

use std::collections::BTreeSet;

use nvml_wrapper::error::NvmlError;

use super::error::{Error, Meaning, Subject};
use super::watch::Watch;
use crate::observation::Fault;

/// What one GPU is asked in one tick.
pub(super) struct Questions<'a> {
    watch: &'a Watch,
    subject: Subject,
    absent: &'a mut Absent,
    /// What the answers were worth.
    pub(super) outcome: Outcome,
}

/// The functions that a GPU has not, or will not answer to us.
#[derive(Default)]
pub(super) struct Absent {
    of_gpu: BTreeSet<&'static str>,
    of_mig_devices: BTreeSet<&'static str>,
}

/// What the answers of one GPU in one tick were worth.
#[derive(Default)]
pub(super) struct Outcome {
    /// How many calls were answered.
    pub(super) answers: u32,
    /// How many calls failed for no reason that we know.
    pub(super) unclear: u32,
    /// Whether a handle turned out to be invalid.
    pub(super) stale: bool,
    /// Whether the caller may not use the GPU.
    pub(super) denied: bool,
    /// That the GPU cannot be used.
    pub(super) fault: Option<Fault>,
    /// That the library must be opened again.
    pub(super) parted: Option<Error>,
    /// Everything that failed and should not have.
    pub(super) errors: Vec<Error>,
}

// === impl Questions ===

impl<'a> Questions<'a> {
    pub(super) fn new(watch: &'a Watch, subject: Subject, absent: &'a mut Absent) -> Self {
        Self { watch, subject, absent, outcome: Outcome::default() }
    }

    /// Asks the GPU; `None` when it does not tell.
    pub(super) fn ask<T>(
        &mut self,
        function: &'static str,
        call: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        self.ask_of(|absent| &mut absent.of_gpu, function, call)
    }

    /// Asks one of the GPU's MIG devices, which have and lack other functions than the GPU.
    pub(super) fn ask_mig<T>(
        &mut self,
        function: &'static str,
        call: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        self.ask_of(|absent| &mut absent.of_mig_devices, function, call)
    }

    /// Makes a call without judging how it ends; `None` when no more calls should be made in this tick.
    pub(super) fn call<T>(
        &mut self,
        function: &'static str,
        call: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<Result<T, NvmlError>> {
        let useless = self.outcome.fault.is_some() || self.outcome.parted.is_some();
        if useless || !self.watch.enter(function, &self.subject) {
            return None;
        }
        let answer = call();
        self.outcome.answers += u32::from(answer.is_ok());
        Some(answer)
    }

    /// Whether the GPU may have the function.
    pub(super) fn has(&self, function: &str) -> bool {
        !self.absent.of_gpu.contains(function)
    }

    /// Judges a failure.
    pub(super) fn note(&mut self, function: &'static str, error: NvmlError) {
        let meaning = Meaning::of(&error);
        let error = Error::call(function, &self.subject, error);
        match meaning {
            Meaning::NoData | Meaning::Absent { denied: false } => {}
            Meaning::Absent { denied: true } => {
                self.outcome.denied = true;
                self.outcome.errors.push(error);
            }
            Meaning::Stale => {
                self.outcome.stale = true;
                self.outcome.errors.push(error);
            }
            Meaning::Faulty(fault) => {
                self.outcome.fault = Some(fault);
                self.outcome.errors.push(error);
            }
            Meaning::Parted => self.outcome.parted = Some(error),
            Meaning::Unclear => {
                self.outcome.unclear += 1;
                self.outcome.errors.push(error);
            }
        }
    }

    /// Judges a failure of something that we can do without: only what says that the whole GPU is gone counts.
    pub(super) fn note_minor(&mut self, function: &'static str, error: NvmlError) {
        match Meaning::of(&error) {
            Meaning::Faulty(_) | Meaning::Parted => self.note(function, error),
            Meaning::Absent { .. } => {
                self.absent.of_gpu.insert(function);
            }
            Meaning::NoData | Meaning::Stale | Meaning::Unclear => {}
        }
    }

    fn ask_of<T>(
        &mut self,
        absent: impl Fn(&mut Absent) -> &mut BTreeSet<&'static str>,
        function: &'static str,
        call: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Option<T> {
        if absent(self.absent).contains(function) {
            return None;
        }
        match self.call(function, call)? {
            Ok(answer) => Some(answer),
            Err(error) => {
                if matches!(Meaning::of(&error), Meaning::Absent { .. }) {
                    absent(self.absent).insert(function);
                }
                self.note(function, error);
                None
            }
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether the GPU was asked and gave nothing but errors.
    pub(super) fn is_silent(&self) -> bool {
        self.answers == 0 && (self.unclear > 0 || self.stale)
    }
}
