//! The immutable answer of one observation, which scrapes read.
//!
//! A [`Report`] holds three views of one ledger: by device, by pod and by who pays. Each is an integer sum of the same
//! postings, so the device lines and the showback lines both add up to the bill, and the pod lines to its held part.

mod sharing;

use std::sync::Arc;

use crate::observation::{DeviceId, Fault, Gpu, Node, Ppm, Span, UnixTime, Uptime};

use super::money::{Amount, Cost, GpuTime, Rate};
use super::pricing::{CapacityType, Electricity, EnergyRates, NodeFacts, PriceModel, PriceSheet, Quote};

pub use super::account::{ContainerAccount, Description, Payer, PodAccount, PodId, State, Totals, XidLine};

pub use self::sharing::{Attribution, Basis, Sharing};

/// What the ledger says after one observation.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the observation was made, on the boot-time clock.
    pub at: Uptime,
    /// The wall clock at the same moment.
    pub wall: UnixTime,
    /// When this ledger began to count.
    pub ledger_start: UnixTime,
    /// The node.
    pub node: Arc<Node>,
    /// The driver's version; `None` while it does not say.
    pub driver_version: Option<Arc<str>>,
    /// Every GPU that was ever seen in this boot, sorted by UUID.
    pub devices: Vec<DeviceLine>,
    /// GPUs that were charged before and were not seen in this boot, sorted by UUID: their money is part of the bill.
    pub former_devices: Vec<FormerDevice>,
    /// Every pod that holds a GPU or did so within the retention, sorted by namespace, name and UID.
    pub pods: Vec<PodLine>,
    /// Who pays, sorted; what nobody holds is on lines with an empty namespace.
    pub showback: Vec<ShowbackLine>,
    /// How far the lines are from the bill, which is added up on its own; must be nothing.
    pub imbalance: Cost,
    /// GPUs that the driver shows now.
    pub gpus_seen: usize,
    /// When the kubelet last answered; `None` if it never did.
    pub allocations_read_at: Option<Uptime>,
    /// Allocated devices that we could not map to a GPU of this node, now.
    pub unmapped_devices: usize,
    /// How often two pods were found to name one exclusive device.
    pub allocation_conflicts: u64,
    /// What prices depend on: where the node is, and what it is.
    pub facts: NodeFacts,
    /// How the node's capacity was bought, as we take it.
    pub price_model: PriceModel,
    /// How the node was bought as one of its labels says; `None` if none does.
    pub capacity_type: Option<CapacityType>,
    /// Payers that share a line because there are too many of them.
    pub folded_payers: usize,
    /// Pods whose lines went before their retention was over, because too many had ended; since the ledger began.
    pub dropped_pods: u64,
    /// The prices that are in force.
    pub prices: Arc<PriceSheet>,
    /// What energy costs and emits from now on; `None` if the operator wrote nothing about it.
    pub energy: Option<EnergyRates>,
}

/// The ledger of one physical GPU.
#[derive(Clone, Debug)]
pub struct DeviceLine {
    /// The GPU as last seen; what it measured is absent while it cannot be read.
    pub gpu: Arc<Gpu>,
    /// Its normalised model, such as `nvidia-h100-80gb`.
    pub gpu_model: Arc<str>,
    /// What it costs now; `None` when no price is known.
    pub quote: Option<Quote>,
    /// When its account was opened: when its counters were 0.
    pub since: UnixTime,
    /// Its money and time since the ledger began; sums to its bill.
    pub totals: Totals,
    /// How it is shared now.
    pub sharing: Sharing,
    /// How the work on it was divided among its holders.
    pub attribution: Attribution,
    /// Whether its holders were promised more than there is, so that their shares are scaled down to the whole.
    pub overcommitted: bool,
    /// What it says of itself, if it cannot be used.
    pub fault: Option<Fault>,
    /// Who holds which part of it now, sorted.
    pub holdings: Vec<HoldingLine>,
    /// What is missing to a whole: capacity that is unallocated, stranded or unattributed, as fractions of the GPU.
    pub unheld: Vec<(State, (u64, u64))>,
    /// Work of processes of nobody who holds it, since the last tick.
    pub foreign_utilization: Option<Ppm>,
    /// Millijoules since the ledger began, over driver reloads; `None` if it was never measured.
    pub energy_millijoules: Option<u128>,
    /// What its energy cost and emitted since there are terms for that; not part of its bill.
    pub electricity: Electricity,
    /// Held time while its utilization was below 30 %, from 30 to 70 %, above 70 %.
    pub bands: [GpuTime; 3],
    /// Critical errors since the ledger began, sorted by XID.
    pub xids: Vec<XidLine>,
    /// Time in which we were not looking and which is therefore charged to nobody.
    pub unobserved: GpuTime,
    /// Time for which the same holds because the node was started anew, by the wall clock.
    pub rebooting: GpuTime,
    /// Time of gaps that were short enough to be charged as `unmeasured`.
    pub recovered: GpuTime,
}

/// What is left of a GPU that is no longer there: what was counted.
#[derive(Clone, Debug)]
pub struct FormerDevice {
    /// Its UUID.
    pub uuid: Arc<str>,
    /// When its account was opened: when its counters were 0.
    pub since: UnixTime,
    /// Its money and time since the ledger began.
    pub totals: Totals,
    /// Millijoules since the ledger began; `None` if it was never measured.
    pub energy_millijoules: Option<u128>,
    /// What its energy cost and emitted since there are terms for that; not part of its bill.
    pub electricity: Electricity,
    /// Held time while its utilization was below 30 %, from 30 to 70 %, above 70 %.
    pub bands: [GpuTime; 3],
    /// Critical errors since the ledger began, sorted by XID.
    pub xids: Vec<XidLine>,
    /// Time in which we were not looking and which is therefore charged to nobody.
    pub unobserved: GpuTime,
    /// Time for which the same holds because the node was started anew, by the wall clock.
    pub rebooting: GpuTime,
    /// Time of gaps that were short enough to be charged as `unmeasured`.
    pub recovered: GpuTime,
}

/// What one pod has of one device now, and how we know.
#[derive(Clone, Debug)]
pub struct HoldingLine {
    /// The namespace of the pod.
    pub namespace: Arc<str>,
    /// The name of the pod.
    pub pod: Arc<str>,
    /// UUID of the MIG device, if it is one.
    pub mig_device: Option<Arc<str>>,
    /// Its share of the GPU, as a fraction.
    pub share: (u64, u64),
    /// The part that it has of its device (the GPU, or the MIG device on it), as a fraction.
    pub of_device: (u64, u64),
    /// By what that part is measured.
    pub basis: Basis,
    /// How the kubelet named it; nothing for a GPU that is held for another pod's group or by an init container.
    pub named: Arc<[NamedDevice]>,
    /// What it was charged for the last interval; `None` before the first one, and where the last was not charged.
    pub last: Option<Arc<LastCharge>>,
}

/// A device as the kubelet named it to us.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedDevice {
    /// The container that holds it.
    pub container: Arc<str>,
    /// The resource, such as `nvidia.com/gpu`, or the driver of a claim.
    pub resource: Arc<str>,
    /// The device.
    pub id: DeviceId,
}

/// What a holder was charged for one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCharge {
    /// How long the interval was.
    pub elapsed: Span,
    /// What the GPU cost per hour; `None` if it is unpriced.
    pub rate: Option<Rate>,
    /// The share of the GPU that the holder had then, as a fraction; it may have another since.
    pub share: (u64, u64),
    /// The part of its device that it had then, as a fraction.
    pub of_device: (u64, u64),
    /// What the holder did, as a part of its own share; more than the whole is burst, `None` if it was not measured.
    pub work: Option<(u128, u128)>,
    /// The parts, by state; they sum to its share of the GPU's cost.
    pub parts: Vec<(State, Amount)>,
    /// Work beyond its share, in money; not part of any bill.
    pub burst: Cost,
}

/// The ledger of one pod.
#[derive(Clone, Debug)]
pub struct PodLine {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub pod: Arc<str>,
    /// The UID; empty while nobody tells it.
    pub uid: Arc<str>,
    /// What has been counted of it, and whose money it is. The ledger and its copies have it in common with the report until
    /// something is added to it.
    pub account: Arc<PodAccount>,
    /// The model of its GPUs, comma-separated if there are several.
    pub gpu_model: Arc<str>,
    /// What it costs now per hour.
    pub rate: Rate,
    /// GPUs it holds now, in billionths of a GPU.
    pub gpus_nanos: u64,
    /// GPUs it holds now whose price is not known, in whole devices.
    pub unpriced_gpus: u32,
    /// What it does on each device now.
    pub devices: Vec<PodDevice>,
    /// Whether it still holds a device.
    pub live: bool,
}

/// The ledger of one container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerLine {
    /// The name; empty for what is not known to be any container's.
    pub name: Arc<str>,
    /// When its account was opened: when its counters were 0.
    pub since: UnixTime,
    /// How long ago that was, as far as was ever seen.
    pub age: Span,
    /// Money and time since then.
    pub totals: Totals,
}

/// What a pod does on one of its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDevice {
    /// UUID of the GPU.
    pub gpu_uuid: Arc<str>,
    /// UUID of the MIG device; empty on a whole GPU.
    pub mig_uuid: Arc<str>,
    /// Its own work as a part of its share, since the last tick; `None` if not measured.
    pub utilization: Option<Ppm>,
    /// Framebuffer in use on the device, where the pod is alone on it.
    pub memory_used_bytes: Option<u64>,
}

/// The ledger of one payer: bounded, long-lived, sums to the bill.
#[derive(Clone, Debug)]
pub struct ShowbackLine {
    /// Who pays for what.
    pub payer: Payer,
    /// When its account was opened: when its counters were 0.
    pub since: UnixTime,
    /// Money and time since then.
    pub totals: Totals,
}

// === impl PodLine ===

impl PodLine {
    /// The same money and time by container, sorted by name: what is no container's has an empty one, and a line only where
    /// there is some. The lines add up to the pod's; there are none where none of it is known to be a container's.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerLine> {
        let pod = &self.account;
        if pod.containers.is_empty() {
            return Vec::new();
        }
        let rest = (Arc::default(), ContainerAccount { since: pod.since, totals: pod.of_no_container() });
        let rest = (!rest.1.totals.is_nothing()).then_some((&rest.0, &rest.1));
        let line = |(name, account): (&Arc<str>, &ContainerAccount)| {
            let ContainerAccount { since, totals } = account;
            // By the pod's clock, which never goes back.
            let later = Span::from_millis(since.as_millis().saturating_sub(pod.since.as_millis()));
            let age = Span::from_nanos(pod.age.as_nanos().saturating_sub(later.as_nanos()));
            ContainerLine { name: Arc::clone(name), since: *since, age, totals: totals.clone() }
        };
        rest.into_iter().chain(&pod.containers).map(line).collect()
    }
}
