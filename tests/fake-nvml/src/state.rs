//! The node as it is now, and the gate that every call passes: it counts, hangs and refuses as described.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;

use std::path::Path;
use std::ptr::without_provenance_mut;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::abi::{Code, Device, INVALID_ARGUMENT, UNINITIALIZED};
use crate::description::{Board, Gpm, MigDevice, Node};

/// How often a call that hangs looks whether the description file has changed.
const HANG_POLL: Duration = Duration::from_millis(20);

/// Handles are numbers: a multiple of this for a GPU, and one more than its index on top of it for a MIG device. A handle
/// of a MIG device that was destroyed stands for whatever is at its index next, as with the real driver.
const HANDLE_STRIDE: usize = 0x1000;

/// What stands for `/dev/nvidiactl`, which the real library holds open as long as it is started; nobody else opens it.
const DEVICE_NODE: &str = "/dev/full";

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
static CHANGED: Condvar = Condvar::new();

/// The node and what its clients have done to it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) node: Node,
    pub(crate) initialised: u32,
    /// The device that is held open from the first start to the last end.
    held: Option<File>,
    /// Boards that were given a handle, by UUID; the handle of one stays the same when the node changes.
    handles: Vec<String>,
    calls: BTreeMap<String, u64>,
    file_read: Option<SystemTime>,
    /// Event sets with the UUIDs of their boards.
    pub(crate) event_sets: HashMap<usize, Vec<String>>,
    /// How many of a board's critical errors were delivered.
    pub(crate) delivered: HashMap<String, usize>,
    /// Samples of counters: of what they are, and what they said.
    pub(crate) gpm_samples: HashMap<usize, Option<(usize, Gpm)>>,
    last_number: usize,
}

/// Something that can be asked.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) board: &'a Board,
    pub(crate) mig_device: Option<&'a MigDevice>,
}

/// What a call is about.
#[derive(Clone)]
pub(crate) enum About {
    /// `nvmlInit` and its like, before which nothing else works.
    Start,
    /// The driver as a whole.
    Driver,
    /// The board at an index.
    Index(u32),
    /// The board of a handle.
    Handle(usize),
    /// These boards.
    Boards(Vec<String>),
}

/// Replaces the node and wakes whoever hangs.
pub(crate) fn replace(node: Node) {
    lock().set(node);
    CHANGED.notify_all();
}

/// How often a function was called.
pub(crate) fn calls(function: &str) -> u64 {
    lock().calls.get(function).copied().unwrap_or(0)
}

/// Lets a call in: counted, after its hang, or refused with the code it is to return.
pub(crate) fn enter(function: &str, about: &About) -> Result<MutexGuard<'static, State>, Code> {
    let mut state = lock();
    *state.calls.entry(function.into()).or_default() += 1;
    state.read_file();
    while state.hangs(function, about) {
        state = CHANGED.wait_timeout(state, HANG_POLL).unwrap_or_else(PoisonError::into_inner).0;
        state.read_file();
    }
    if let Some(code) = state.refusal(function, about) {
        return Err(code);
    }
    if state.initialised == 0 && !matches!(about, About::Start) {
        return Err(UNINITIALIZED);
    }
    Ok(state)
}

/// Lets a call about a device in and answers it.
pub(crate) fn ask<T>(
    function: &str,
    device: Device,
    answer: impl FnOnce(Seen<'_>) -> Result<T, Code>,
) -> Result<T, Code> {
    let state = enter(function, &About::Handle(device.addr()))?;
    answer(state.seen(device)?)
}

/// The boards whose events a set waits for, by UUID.
pub(crate) fn boards_of_set(set: usize) -> Vec<String> {
    lock().event_sets.get(&set).cloned().unwrap_or_default()
}

/// The wall clock since the epoch.
#[expect(clippy::disallowed_methods, reason = "this is the far side, with a clock of its own")]
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl State ===

impl State {
    /// Starts the library, or starts it once more.
    pub(crate) fn start(&mut self) {
        self.initialised += 1;
        if self.held.is_none() {
            self.held = File::open(DEVICE_NODE).ok();
        }
    }

    /// Ends one start.
    pub(crate) fn end(&mut self) {
        self.initialised -= 1;
        if self.initialised == 0 {
            self.held = None;
        }
    }

    /// The handle of the board at an index.
    pub(crate) fn handle(&mut self, index: u32) -> Option<Device> {
        let uuid = self.node.gpus.get(index as usize)?.uuid.clone();
        let position = self.handles.iter().position(|known| *known == uuid).unwrap_or_else(|| {
            self.handles.push(uuid);
            self.handles.len() - 1
        });
        Some(without_provenance_mut((position + 1) * HANDLE_STRIDE))
    }

    /// The handle of a board's MIG device at an index.
    pub(crate) fn mig_handle(&self, device: Device, index: u32) -> Option<Device> {
        let mig = self.seen(device).ok()?.board.mig.as_ref()?;
        mig.devices.get(index as usize)?.as_ref()?;
        Some(without_provenance_mut(device.addr() + index as usize + 1))
    }

    /// What a handle stands for now.
    pub(crate) fn seen(&self, device: Device) -> Result<Seen<'_>, Code> {
        let board = self.board_of(device.addr()).ok_or(INVALID_ARGUMENT)?;
        let Some(index) = (device.addr() % HANDLE_STRIDE).checked_sub(1) else {
            return Ok(Seen { board, mig_device: None });
        };
        let mig = board.mig.as_ref().ok_or(INVALID_ARGUMENT)?;
        let mig_device = mig.devices.get(index).and_then(Option::as_ref).ok_or(INVALID_ARGUMENT)?;
        Ok(Seen { board, mig_device: Some(mig_device) })
    }

    /// A number that was never given before, for something that a client will free.
    pub(crate) fn number(&mut self) -> usize {
        self.last_number += 1;
        self.last_number
    }

    /// Writes the counts to the file that the environment names.
    pub(crate) fn write_calls(&self) {
        let Some(path) = std::env::var_os("FAKE_NVML_CALLS") else { return };
        let new = Path::new(&path).with_extension("new");
        let Ok(json) = serde_json::to_vec(&self.calls) else { return };
        if std::fs::write(&new, json).is_ok() {
            let _ = std::fs::rename(&new, &path);
        }
    }

    fn set(&mut self, node: Node) {
        if node.loads != self.node.loads {
            self.initialised = 0;
        }
        self.node = node;
    }

    /// Reads the description file that the environment names, if it has changed.
    fn read_file(&mut self) {
        if self.node.is_fixed {
            return;
        }
        let Some(path) = std::env::var_os("FAKE_NVML_NODE") else { return };
        let Ok(changed) = std::fs::metadata(&path).and_then(|file| file.modified()) else { return };
        if self.file_read == Some(changed) {
            return;
        }
        let Ok(json) = std::fs::read(&path) else { return };
        if let Ok(node) = serde_json::from_slice(&json) {
            self.set(node);
            self.file_read = Some(changed);
            CHANGED.notify_all();
        }
    }

    fn board_of(&self, handle: usize) -> Option<&Board> {
        let uuid = self.handles.get((handle / HANDLE_STRIDE).checked_sub(1)?)?;
        self.board(uuid)
    }

    pub(crate) fn board(&self, uuid: &str) -> Option<&Board> {
        self.node.gpus.iter().find(|board| board.uuid == uuid)
    }

    fn boards_of(&self, about: &About) -> Vec<&Board> {
        match about {
            About::Start | About::Driver => Vec::new(),
            About::Index(index) => self.node.gpus.get(*index as usize).into_iter().collect(),
            About::Handle(handle) => self.board_of(*handle).into_iter().collect(),
            About::Boards(uuids) => uuids.iter().filter_map(|uuid| self.board(uuid)).collect(),
        }
    }

    fn hangs(&self, function: &str, about: &About) -> bool {
        let of_boards = self.boards_of(about).into_iter().map(|board| &board.hangs);
        let mut hangs = std::iter::once(&self.node.hangs).chain(of_boards);
        hangs.any(|functions| functions.contains(function) || functions.contains("*"))
    }

    fn refusal(&self, function: &str, about: &About) -> Option<Code> {
        let of_boards = self.boards_of(about).into_iter().map(|board| &board.returns);
        std::iter::once(&self.node.returns)
            .chain(of_boards)
            .find_map(|returns| returns.get(function).or_else(|| returns.get("*")).copied())
    }
}
