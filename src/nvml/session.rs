//! One opened library: which GPUs there are, and a reading of all of them per tick.
//!
//! Everything that belongs to the library (handles, event sets, counters) borrows it and lives in a [`Session`], so
//! nothing of it can be left over when the library is opened again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nvml_wrapper::Nvml;

use super::Reading;
use super::error::{Error, Subject};
use super::gpu::{self, OpenGpu};
use super::memory::{Hang, Memory, Remembered};
use super::questions::Outcome;
use super::watch::{Request, Watch};
use crate::observation::{Fault, Gpu, Health, UnixTime};

/// After how many ticks the GPUs are looked for again although nothing seems to have changed.
const DISCOVERY_TICKS: u32 = 60;

/// After how many ticks they are looked for again while one of them is missing or out of order.
const SEARCH_TICKS: u32 = 5;

/// After how many ticks with a faulty GPU the library is opened again: a handle does not recover from a reset, and as
/// long as the library is open the GPU cannot even be reset.
const FAULTY_TICKS_MAX: u32 = 60;

/// The same while no GPU works at all, when there is nothing to lose. Device rights that were taken from a running
/// container look like this.
const ALL_FAULTY_TICKS_MAX: u32 = 10;

/// More than any node has: what the driver says beyond it is not a number of GPUs.
const GPUS_MAX: u32 = 1_024;

/// One opened library.
pub(super) struct Session<'nvml> {
    nvml: &'nvml Nvml,
    watch: &'nvml Watch,
    memory: &'nvml Mutex<Memory>,
    /// Whether to ask which processes worked.
    processes: bool,
    driver_version: Option<Arc<str>>,
    gpus: Vec<OpenGpu<'nvml>>,
    /// GPUs that are listed and whose handle we cannot get, with what is wrong; `None` when they are only denied to us.
    closed: BTreeMap<Arc<str>, Option<Fault>>,
    /// How many handles we cannot get because of a fault.
    refused: u32,
    /// What went wrong at the last discovery and still stands.
    standing: Vec<Error>,
    discovered: Option<Discovered>,
    ticks: u32,
    faulty_ticks: u32,
}

/// The circumstances of the last discovery.
struct Discovered {
    listed: u32,
    hung_readers: Vec<u64>,
    ticks_ago: u32,
    /// Whether a call said since that a handle is not valid.
    stale: bool,
}

// === impl Session ===

impl<'nvml> Session<'nvml> {
    pub(super) fn new(
        nvml: &'nvml Nvml,
        watch: &'nvml Watch,
        memory: &'nvml Mutex<Memory>,
        processes: bool,
    ) -> Self {
        watch.enter("nvmlSystemGetDriverVersion", &Subject::Driver);
        let driver_version = nvml.sys_driver_version().ok().map(Arc::from);
        Self {
            nvml,
            watch,
            memory,
            processes,
            driver_version,
            gpus: Vec::new(),
            closed: BTreeMap::new(),
            refused: 0,
            standing: Vec::new(),
            discovered: None,
            ticks: 0,
            faulty_ticks: 0,
        }
    }

    /// Answers one request after the other until the thread should end, or until the library must be opened again for
    /// the request that is given back.
    pub(super) fn serve(&mut self, first: Request) -> Option<(Request, Error)> {
        let mut request = first;
        loop {
            match self.tick(request.now) {
                Ok(reading) => self.deliver(request, reading),
                Err(error) => {
                    if error.is_parting() {
                        lock(self.memory).begin_anew();
                    }
                    return Some((request, error));
                }
            }
            self.ticks = self.ticks.saturating_add(1);
            request = self.watch.next()?;
        }
    }

    /// Whether the library gave at least one reading.
    pub(super) fn has_worked(&self) -> bool {
        self.ticks > 0
    }

    /// Reads all GPUs. An error means that the library must be opened again.
    fn tick(&mut self, now: UnixTime) -> Result<Reading, Error> {
        let mut errors = Vec::new();
        let listed = self.count()?;
        if self.must_discover(listed) {
            self.discover(listed)?;
        }
        errors.extend(self.standing.iter().cloned());

        let (mut gpus, mut sampled) = (Vec::new(), BTreeMap::new());
        for open in &mut self.gpus {
            let (gpu, outcome) = open.read(self.watch, now, self.processes);
            if let Some(error) = outcome.parted {
                return Err(error);
            }
            self.discovered.iter_mut().for_each(|last| last.stale |= outcome.stale);
            errors.extend(outcome.errors);
            let own = gpu.processes.iter().flat_map(|_| open.progress.processes.sampled());
            for (pid, at) in own {
                let earliest = sampled.entry(pid).or_insert(at);
                *earliest = at.min(*earliest);
            }
            gpus.push(gpu);
        }
        self.count_faults()?;
        self.add_absent(&mut gpus, &mut errors);
        gpus.sort_by(|a, b| (a.index, &a.uuid).cmp(&(b.index, &b.uuid)));
        if gpus.is_empty() && listed == 0 {
            errors.push(Error::NoGpu);
        }
        Ok(Reading { gpus: Some(gpus), driver_version: self.driver_version.clone(), sampled, errors })
    }

    fn count(&self) -> Result<u32, Error> {
        const COUNT: &str = "nvmlDeviceGetCount_v2";
        self.watch.enter(COUNT, &Subject::Driver);
        self.nvml.device_count().map_err(|error| Error::call(COUNT, &Subject::Driver, error))
    }

    fn must_discover(&mut self, listed: u32) -> bool {
        let hung_readers = lock(self.memory).hung_readers();
        let incomplete = self.faulty_ticks > 0 || !self.standing.is_empty();
        let Some(last) = &mut self.discovered else { return true };
        last.ticks_ago = last.ticks_ago.saturating_add(1);
        let due = if incomplete || last.stale { SEARCH_TICKS } else { DISCOVERY_TICKS };
        last.listed != listed || last.hung_readers != hung_readers || last.ticks_ago >= due
    }

    /// Finds out which GPUs there are. Whom a thread hangs in is left alone.
    fn discover(&mut self, listed: u32) -> Result<(), Error> {
        let mut before: BTreeMap<_, _> =
            self.gpus.drain(..).map(|open| (Arc::clone(&open.last.uuid), open)).collect();
        let mut refused = Vec::new();
        self.closed.clear();
        self.refused = 0;
        self.standing.clear();
        // Said before the first call that may hang: an index means something only together with the number of GPUs.
        lock(self.memory).listed = listed;
        for index in 0..listed.min(GPUS_MAX) {
            if lock(self.memory).hangs_at(index, listed) {
                continue;
            }
            match gpu::identify(self.nvml, self.watch, index) {
                (_, Outcome { parted: Some(error), .. }) => return Err(error),
                (Some((device, identity)), outcome) => {
                    self.standing.extend(outcome.errors);
                    let known = self.remember(&identity);
                    let open = match before.remove(&identity.uuid) {
                        Some(open) => open.refresh(device, known.gpu),
                        None => OpenGpu::new(self.nvml, device, known),
                    };
                    self.gpus.push(open);
                }
                (None, outcome) => refused.push((index, outcome)),
            }
        }
        for (index, outcome) in refused {
            self.close(index, outcome);
        }
        let hung_readers = lock(self.memory).hung_readers();
        self.discovered = Some(Discovered { listed, hung_readers, ticks_ago: 0, stale: false });
        Ok(())
    }

    /// A handle that is refused says which index, not which GPU: it is the one that was there and is nowhere else now.
    fn close(&mut self, index: u32, outcome: Outcome) {
        let fault = if outcome.denied { None } else { Some(outcome.fault.unwrap_or(Fault::NotResponding)) };
        self.refused += u32::from(fault.is_some());
        let open = |uuid: &Arc<str>| self.gpus.iter().any(|gpu| gpu.last.uuid == *uuid);
        let known = lock(self.memory).known_at(index).find(|uuid| !open(uuid)).cloned();
        if let Some(uuid) = known {
            self.closed.insert(uuid, fault);
        }
        self.standing.extend(outcome.errors);
    }

    fn remember(&self, identity: &Gpu) -> Remembered {
        let mut memory = lock(self.memory);
        memory.identify(identity);
        memory.gpus.get(&identity.uuid).cloned().unwrap_or_else(|| Remembered::new(identity))
    }

    /// Gives the library up when waiting does not help a faulty GPU. One that answers and cannot be used is none of them:
    /// opening the library again does nothing for it, and disturbs the others.
    fn count_faults(&mut self) -> Result<(), Error> {
        let faulty = self.gpus.iter().filter(|open| open.out_of_order).count();
        self.faulty_ticks =
            if faulty == 0 && self.refused == 0 { 0 } else { self.faulty_ticks.saturating_add(1) };
        let max = if faulty == self.gpus.len() { ALL_FAULTY_TICKS_MAX } else { FAULTY_TICKS_MAX };
        if self.faulty_ticks > max { Err(Error::Faulty) } else { Ok(()) }
    }

    /// Adds the GPUs that were there once and could not be read now.
    fn add_absent(&self, gpus: &mut Vec<Gpu>, errors: &mut Vec<Error>) {
        let memory = lock(self.memory);
        for known in memory.gpus.values() {
            let uuid = &known.gpu.uuid;
            if gpus.iter().any(|gpu| gpu.uuid == *uuid) {
                continue;
            }
            let unavailable = |fault| known.gpu.unmeasured(Health::Unavailable(fault));
            gpus.push(match self.closed.get(uuid) {
                Some(Some(fault)) => unavailable(*fault),
                // Somebody forbids us to look, which says nothing against the GPU.
                Some(None) => known.gpu.unmeasured(Health::Healthy),
                None if memory.hangs_in(&known.gpu) => unavailable(Fault::NotResponding),
                None => {
                    errors.push(Error::Missing { gpu: Arc::clone(uuid) });
                    unavailable(Fault::Missing)
                }
            });
        }
        errors.extend(memory.hangs.iter().map(Hang::error));
        drop(memory);
        self.remember_faults(gpus);
    }

    /// Remembers of the GPUs that are not open why they are not.
    fn remember_faults(&self, gpus: &[Gpu]) {
        let mut memory = lock(self.memory);
        for gpu in gpus.iter().filter(|gpu| self.gpus.iter().all(|open| open.last.uuid != gpu.uuid)) {
            if let (Health::Unavailable(fault), Some(known)) = (gpu.health, memory.gpus.get_mut(&gpu.uuid)) {
                known.condition.fail(fault);
            }
        }
    }

    /// Hands the reading over. What was read counts as read only if somebody got it: otherwise the next mean goes back
    /// to where the last delivered one ended, and the critical errors are told again.
    fn deliver(&mut self, request: Request, reading: Reading) {
        let undelivered = request.answer(reading).err().and_then(|reading| reading.gpus);
        if self.watch.is_over() {
            // Another thread reads now and remembers for itself.
            return;
        }
        let mut memory = lock(self.memory);
        for open in &mut self.gpus {
            let Some(known) = memory.gpus.get_mut(&open.last.uuid) else { continue };
            known.gpu = open.last.clone();
            known.condition = open.condition;
            let lost = undelivered.as_ref().map(|gpus| gpus.iter().find(|gpu| gpu.uuid == open.last.uuid));
            if let Some(lost) = lost {
                open.progress.clone_from(&known.progress);
                open.xids = lost.map(|gpu| gpu.xids.clone()).unwrap_or_default();
            } else {
                known.progress.clone_from(&open.progress);
            }
            known.undelivered.clone_from(&open.xids);
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
