//! The NVIDIA driver, asked through its management library NVML.
//!
//! NVML is a C library, `libnvidia-ml.so.1`, that comes with the kernel driver and must be of its version. It is loaded
//! at run time and talks to `/dev/nvidia*` by calls that may block for ever: when a GPU falls off the bus or its
//! firmware stops answering, the thread that asked stays in the kernel and not even `kill -9` ends it. That is why
//!
//! - NVML is only ever called on threads of its own, never on the async runtime, and no such thread is ever joined;
//! - a [`Driver`] gives up a thread whose call does not return, starts a new one that leaves that GPU alone, and tries
//!   the GPU again when the call has come back after all;
//! - what is abandoned with such a thread (its stack, one use of the library) is bounded: there is at most one per GPU
//!   and one for the driver as a whole. Nothing else is leaked.
//!
//! A handle of a GPU dies with the library that gave it, which is opened again when the driver was replaced under us
//! or a GPU stays out of order. A GPU that was seen once stays in every reading for the life of the process: it is
//! `Unavailable` when it cannot be used, because somebody pays for it even then.
//!
//! What a tick asks, besides `nvmlDeviceGetCount_v2`, of each GPU. What it does not support is asked once and then not
//! before the next discovery, which comes every 60 ticks and when something changed, and which asks for handles, UUIDs,
//! names, minor numbers, PCI addresses and whatever else hardly ever changes. How often each is called in the calm is
//! counted in `docs/driver-calls.md`.
//!
//! | calls | for |
//! |---|---|
//! | `nvmlDeviceGetMemoryInfo_v2`, or `nvmlDeviceGetMemoryInfo` on drivers before R510 | memory |
//! | `nvmlDeviceGetPowerUsage`, `nvmlDeviceGetTotalEnergyConsumption` | power, energy |
//! | `nvmlDeviceGetMigMode` | how it is partitioned |
//! | whole, if it is to be told who worked: `nvmlDeviceGetProcessUtilization` twice (count, values) | processes |
//! | whole: `nvmlDeviceGetSamples` twice (count, values), or `nvmlDeviceGetUtilizationRates` where there are none | utilization |
//! | partitioned: `nvmlDeviceGetMigDeviceHandleByIndex` per slice; per MIG device `nvmlDeviceGetUUID`, `nvmlDeviceGetAttributes_v2`, `nvmlDeviceGetMemoryInfo_v2` | MIG devices |
//! | Hopper and later, per GPU and GPU instance: `nvmlGpmSampleAlloc`, `nvmlGpmSampleGet` or `nvmlGpmMigSampleGet`, `nvmlGpmMetricsGet`, `nvmlGpmSampleFree` | activity |
//! | `nvmlEventSetWait_v2` with no timeout, once and once per event | critical errors (XID) |
//! | once per discovery: `nvmlDeviceGetEnforcedPowerLimit`; partitioned: `nvmlDeviceGetMaxMigDeviceCount` | power limit, slices |
//! | once per discovery, and while something is wrong: `nvmlDeviceGetFieldValues` | what the driver says is to be done with it |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::observation::{Gpu, UnixTime};

pub use error::{Error, Subject};
pub use library::find_library;

use memory::{Hang, Memory};
use reader::Reader;
use watch::{Request, Watch};

mod error;
mod reader;

mod session;

mod gpu;

mod framebuffer;
mod gpm;
mod health;
mod mig;
mod processes;
mod samples;

mod ffi;
mod library;
mod memory;
mod questions;
mod watch;

/// How the driver is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The library to load; `None` looks for it where drivers put it.
    pub library: Option<PathBuf>,
    /// How long a call may take before its GPU counts as hung.
    pub stall_after: Duration,
    /// Whether to ask which processes worked; what cannot be told of whom they are need not be asked.
    pub processes: bool,
}

/// What the driver said in one tick.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Every GPU that the driver shows or once showed, by index; `None` when the driver could not be asked.
    pub gpus: Option<Vec<Gpu>>,
    /// The driver's version (`nvmlSystemGetDriverVersion`); `None` when it does not say.
    pub driver_version: Option<Arc<str>>,
    /// When each of the processes that worked was first sampled, by its number: it was there then, which tells it from
    /// another one that has its number since.
    pub sampled: BTreeMap<u32, UnixTime>,
    /// What failed and should not have, and what to do about it.
    pub errors: Vec<Error>,
}

/// The thread that reads the driver, and those that hang in it.
#[derive(Debug)]
pub struct Driver {
    threads: Mutex<Threads>,
}

struct Threads {
    settings: Settings,
    memory: Arc<Mutex<Memory>>,
    current: Option<Current>,
    started: u64,
}

/// The thread that is asked now.
struct Current {
    number: u64,
    watch: Arc<Watch>,
    thread: JoinHandle<()>,
}

// === impl Driver ===

impl Driver {
    /// Starts the thread that reads the driver; never waits for the driver and never fails.
    #[must_use]
    pub fn start(settings: Settings) -> Self {
        let mut threads = Threads { settings, memory: Arc::default(), current: None, started: 0 };
        // A thread that cannot be started is tried again, and reported, by each reading.
        let _ = threads.ensure_current();
        Self { threads: Mutex::new(threads) }
    }

    /// Reads every GPU once; returns within the deadline whatever the driver does.
    ///
    /// `now` is the wall clock, against which the driver's timestamps are checked. One reading at a time: a second one
    /// that comes while the first waits takes its place.
    pub async fn read(&self, now: UnixTime, deadline: Duration) -> Reading {
        let mut answer = match self.submit(now) {
            Ok(answer) => answer,
            Err(error) => return Reading::failed(error),
        };
        let overdue = tokio::time::sleep(deadline);
        tokio::pin!(overdue);
        loop {
            let patience = self.lock().patience();
            tokio::select! {
                biased;
                reading = &mut answer => return reading.unwrap_or_else(|_| Reading::failed(Error::NoAnswer)),
                () = &mut overdue => return Reading::failed(self.lock().lateness(deadline)),
                () = tokio::time::sleep(patience) => {
                    if self.lock().replace_hung() {
                        answer = match self.submit(now) {
                            Ok(answer) => answer,
                            Err(error) => return Reading::failed(error),
                        };
                    }
                }
            }
        }
    }

    /// Lets the driver go: the library is closed and no device of it is held open any more, as soon as the call that is
    /// being made returns. The next reading takes it again.
    pub fn release(&self) {
        let mut threads = self.lock();
        threads.replace_hung();
        if let Some(current) = threads.current.take() {
            current.watch.close();
        }
    }

    fn submit(&self, now: UnixTime) -> Result<oneshot::Receiver<Reading>, Error> {
        let (reply, answer) = oneshot::channel();
        let mut threads = self.lock();
        threads.replace_hung();
        threads.ensure_current()?.submit(Request { now, reply });
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Threads ===

impl Threads {
    /// The watch of a thread that lives.
    fn ensure_current(&mut self) -> Result<&Watch, Error> {
        if self.current.as_ref().is_none_or(|current| current.thread.is_finished()) {
            self.current = None;
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => self.spawn()?,
        };
        Ok(&self.current.insert(current).watch)
    }

    fn spawn(&mut self) -> Result<Current, Error> {
        let watch = Arc::<Watch>::default();
        let number = self.started;
        let reader = Reader {
            number,
            library: self.settings.library.clone(),
            processes: self.settings.processes,
            watch: Arc::clone(&watch),
            memory: Arc::clone(&self.memory),
        };
        let thread = std::thread::Builder::new().name(format!("nvml-{number}")).spawn(move || reader.run());
        self.started += 1;
        thread.map(|thread| Current { number, watch, thread }).map_err(|error| Error::Thread(Arc::new(error)))
    }

    /// Gives up the present thread if its call does not return, and tells whether it did. The next submission starts a
    /// new thread. What hangs already is not given a second thread to hang in.
    fn replace_hung(&mut self) -> bool {
        let Some(current) = &self.current else { return false };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let stall_after = self.settings.stall_after;
        let hung = current.watch.abandon_if(|call| call.elapsed() >= stall_after && !memory.hangs_like(call));
        let Some(call) = hung else { return false };
        let listed = memory.listed;
        memory.hangs.push(Hang { reader: current.number, call, listed });
        drop(memory);
        self.current = None;
        true
    }

    /// How long to wait before the present call may have to be given up.
    fn patience(&self) -> Duration {
        // A thread that is between two calls, or must not be replaced, is looked at again this much later.
        const PAUSE: Duration = Duration::from_millis(20);
        let call = self.current.as_ref().and_then(|current| current.watch.call());
        let elapsed = call.map_or(Duration::ZERO, |call| call.elapsed());
        self.settings.stall_after.saturating_sub(elapsed).max(PAUSE)
    }

    /// Why a reading has not come in time.
    fn lateness(&self, deadline: Duration) -> Error {
        let call = self.current.as_ref().and_then(|current| current.watch.call());
        call.filter(|call| call.elapsed() >= self.settings.stall_after)
            .map_or(Error::Late { deadline }, |call| call.hung())
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Drop for Driver {
    /// Lets the driver go. A thread that hangs in it is not waited for.
    fn drop(&mut self) {
        if let Some(current) = &self.lock().current {
            current.watch.close();
        }
    }
}

// === impl Reading ===

impl Reading {
    fn failed(error: Error) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }
}
