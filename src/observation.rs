//! What one tick saw: ground state, from which every dollar is derived.
//!
//! An [`Observation`] is plain data. It decides nothing, has no clock and no I/O, and depends on nothing else of
//! ours. Every field that a source may fail to give is an `Option`: `None` means *not measured*, never zero,
//! because a zero utilization would mean *idle* and idle costs somebody money.
//!
//! ```text
//!   nvml ──── gpus ─────────┐
//!   kubelet ─ allocations ──┼──▶ Observation ──▶ cost::Meter ──▶ cost::Report
//!   (pods, node) ───────────┘
//! ```

use std::sync::Arc;

mod allocation;
mod claim;
mod device_name;
mod gpu;
mod pod;
mod units;

pub use allocation::{Allocation, Allocations, DeviceId, DeviceTarget, PodKey};
pub use claim::{ClaimKey, ClaimedDevice, Dynamic, DynamicDevice, PublishedDevice, ResourceClaim};
pub use device_name::DeviceName;
pub use gpu::{
    Activity, Fault, Gpu, Health, Memory, Mig, MigDevice, Partition, Process, UtilizationSource, Worker, Xid,
};
pub use pod::{CostLabels, Fraction, FractionOf, Node, Pod, Workload};
pub use units::{Ppm, Span, UnixTime, Uptime};

/// Everything that one tick saw, put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// When the tick read its sources, on the node's boot-time clock.
    pub at: Uptime,
    /// The wall clock at the same moment. Shown to people; of a cost it decides only which day's price it is and, beside
    /// the bill, which hour's tariff.
    pub wall: UnixTime,
    /// The boot that `at` counts from (`/proc/sys/kernel/random/boot_id`); times of two boots cannot be compared.
    pub boot: Arc<str>,
    /// What the driver said, or `None` when it could not be asked at all: no library, no driver, a hung call.
    /// An empty list means that the driver answered and shows no GPU.
    pub gpus: Option<Vec<Gpu>>,
    /// The driver's version, such as `580.82.07`.
    pub driver_version: Option<Arc<str>>,
    /// The kubelet's last good answer, however old; `None` until there is one.
    pub allocations: Option<Arc<Allocations>>,
    /// The pods of this node as their owner describes them, those that have ended too; empty while nobody does.
    pub pods: Arc<[Pod]>,
    /// When `pods` was last known to be true; `None` where nobody describes them.
    pub pods_told_at: Option<Uptime>,
    /// Claims of the pods and the devices behind them; empty where there are none.
    pub dynamic: Arc<Dynamic>,
    /// The node as its labels describe it.
    pub node: Arc<Node>,
}

// === impl Observation ===

impl Observation {
    /// The same without what the driver said.
    #[must_use]
    pub fn without_gpus(&self) -> Self {
        let Self { at, wall, boot, gpus: _, driver_version, allocations, .. } = self;
        let Self { pods, pods_told_at, dynamic, node, .. } = self;
        Self {
            at: *at,
            wall: *wall,
            boot: Arc::clone(boot),
            gpus: None,
            driver_version: driver_version.clone(),
            allocations: allocations.clone(),
            pods: Arc::clone(pods),
            pods_told_at: *pods_told_at,
            dynamic: Arc::clone(dynamic),
            node: Arc::clone(node),
        }
    }

    /// Whether `pods` were known to be true at most `max_age` ago, so that they say who is gone.
    #[must_use]
    pub fn is_watched(&self, max_age: Span) -> bool {
        self.pods_told_at.is_some_and(|told| self.at.since(told) <= max_age)
    }
}
