//! What outlives a reader thread and an opened library: who the GPUs are and which calls hang.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Error, Subject};
use super::health::Condition;
use super::watch::Call;
use super::{processes, samples};
use crate::observation::{Gpu, Mig, Xid};

/// What is remembered for the life of the process.
#[derive(Default)]
pub(super) struct Memory {
    /// Every GPU that was ever identified, by UUID.
    pub(super) gpus: BTreeMap<Arc<str>, Remembered>,
    /// The calls that were given up, each with a thread in it that has not come back.
    pub(super) hangs: Vec<Hang>,
    /// How many GPUs the driver listed the last time they were looked for.
    pub(super) listed: u32,
}

/// A GPU as it was last seen.
#[derive(Clone)]
pub(super) struct Remembered {
    /// Its identity and partition, without anything measured.
    pub(super) gpu: Gpu,
    /// How far its samples were read for readings that somebody got.
    pub(super) progress: Progress,
    /// Critical errors of readings that nobody got.
    pub(super) undelivered: Vec<Xid>,
    /// Whether it can be used when it answers.
    pub(super) condition: Condition,
}

/// How far the samples of a GPU have been read.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Those of its utilization.
    pub(super) utilization: samples::Cursor,
    /// Those of its processes.
    pub(super) processes: processes::Cursor,
}

/// A call that was given up.
pub(super) struct Hang {
    /// The thread that is in it.
    pub(super) reader: u64,
    /// The call.
    pub(super) call: Call,
    /// How many GPUs were listed then: when that changes, an index stands for another GPU.
    pub(super) listed: u32,
}

// === impl Memory ===

impl Memory {
    /// Whether a thread hangs in a call on the GPU at `index`, while `listed` GPUs are there.
    pub(super) fn hangs_at(&self, index: u32, listed: u32) -> bool {
        self.hangs.iter().any(|hang| hang.listed == listed && hang.index() == Some(index))
    }

    /// Whether a thread was given up already for what `call` is about.
    pub(super) fn hangs_like(&self, call: &Call) -> bool {
        self.hangs.iter().any(|hang| hang.call.subject == call.subject && hang.listed == self.listed)
    }

    /// The readers that hang, by number.
    pub(super) fn hung_readers(&self) -> Vec<u64> {
        self.hangs.iter().map(|hang| hang.reader).collect()
    }

    /// Whether a thread hangs in a call on `gpu`, perhaps before it could tell its UUID.
    pub(super) fn hangs_in(&self, gpu: &Gpu) -> bool {
        self.hangs.iter().any(|hang| match &hang.call.subject {
            Subject::Driver => false,
            Subject::Gpu { uuid: Some(uuid), .. } => *uuid == gpu.uuid,
            Subject::Gpu { index, uuid: None } => *index == gpu.index,
        })
    }

    /// The GPUs that were known to be at `index`.
    pub(super) fn known_at(&self, index: u32) -> impl Iterator<Item = &Arc<str>> {
        self.gpus.values().filter(move |known| known.gpu.index == index).map(|known| &known.gpu.uuid)
    }

    /// Remembers who a GPU is; how it is partitioned is kept from before.
    pub(super) fn identify(&mut self, identity: &Gpu) {
        let known = self.gpus.entry(Arc::clone(&identity.uuid)).or_insert_with(|| Remembered::new(identity));
        let mig = std::mem::replace(&mut known.gpu.mig, Mig::Disabled);
        known.gpu = Gpu { mig, ..identity.clone() };
    }

    /// Forgets what was wrong with the GPUs: the driver was loaded anew, and with it every GPU began anew.
    pub(super) fn begin_anew(&mut self) {
        self.gpus.values_mut().for_each(|known| known.condition = Condition::default());
    }
}

// === impl Remembered ===

impl Remembered {
    /// A GPU that was never seen before.
    pub(super) fn new(identity: &Gpu) -> Self {
        Self {
            gpu: identity.clone(),
            progress: Progress::default(),
            undelivered: Vec::new(),
            condition: Condition::default(),
        }
    }
}

// === impl Hang ===

impl Hang {
    /// The hang as an error.
    pub(super) fn error(&self) -> Error {
        self.call.hung()
    }

    fn index(&self) -> Option<u32> {
        match self.call.subject {
            Subject::Driver => None,
            Subject::Gpu { index, .. } => Some(index),
        }
    }
}
