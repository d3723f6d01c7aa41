//! The immutable answer of one observation, which scrapes read.
//!
//! A [`Report`] holds three views of one ledger: by device, by pod and by who pays. Each is an integer sum of the same
//! postings, so the device lines and the showback lines both add up to the bill, and the pod lines to its held part.

use std::sync::Arc;

use crate::observation::{CostLabels, Fault, Gpu, Node, Ppm, UnixTime, Uptime, Workload};

use super::money::{Amount, Cost, GpuTime, Rate};
use super::pricing::{PriceModel, PriceSheet, Quote};

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
    /// How the node's capacity was bought.
    pub price_model: PriceModel,
    /// The prices that are in force.
    pub prices: Arc<PriceSheet>,
}

/// Where the money of a GPU goes. Every unit of it is in exactly one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The part of a holder's cost that did work.
    Used,
    /// The rest of a holder's cost while it does some work.
    Underused,
    /// The rest of a holder's cost while it does none.
    Idle,
    /// A holder's cost while its utilization could not be read.
    Unmeasured,
    /// Capacity that nobody holds and the scheduler could give away.
    Unallocated,
    /// Capacity that cannot be given away in the present partition.
    Stranded,
    /// Capacity held by somebody we cannot name.
    Unattributed,
    /// A GPU that cannot be used, whoever holds it.
    Unavailable,
}

/// Money and time by [`State`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    costs: [Cost; State::ALL.len()],
    times: [GpuTime; State::ALL.len()],
    priced: bool,
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
    /// Its money and time since the ledger began; sums to its bill.
    pub totals: Totals,
    /// How it is shared now.
    pub sharing: Sharing,
    /// How the work on it was divided among its holders.
    pub attribution: Attribution,
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
    /// Held time while its utilization was below 30 %, from 30 to 70 %, above 70 %.
    pub bands: [GpuTime; 3],
    /// Critical errors since the ledger began, sorted by XID.
    pub xids: Vec<XidLine>,
    /// Time in which we were not looking and which is therefore charged to nobody, by reason.
    pub unobserved: GpuTime,
    /// Time of gaps that were short enough to be charged as `unmeasured`.
    pub recovered: GpuTime,
}

/// What one pod has of one device now.
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
}

/// One kind of critical error on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XidLine {
    /// NVIDIA's number of the error.
    pub code: u64,
    /// How often it was reported.
    pub count: u64,
    /// When it was last reported.
    pub last: UnixTime,
}

/// How a GPU is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// One holder has the whole GPU.
    #[default]
    Exclusive,
    /// It is cut into MIG devices.
    Mig,
    /// Replicas of it are advertised, which take turns.
    TimeSlicing,
}

/// How work on a shared device was divided among its holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Attribution {
    /// One holder per device: all the work is its own.
    #[default]
    Device,
    /// By the samples of its processes.
    Processes,
    /// In equal parts per slot, because processes cannot be read.
    EqualParts,
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
    /// Whose money it is, as of now.
    pub labels: CostLabels,
    /// The controller above it.
    pub workload: Option<Workload>,
    /// The model of its GPUs, comma-separated if there are several.
    pub gpu_model: Arc<str>,
    /// Money and time since it was first seen.
    pub totals: Totals,
    /// Work beyond its share, in money; not part of any bill.
    pub burst: Cost,
    /// Its part of its GPUs' energy in millijoules; `None` if none was measured.
    pub energy_millijoules: Option<u128>,
    /// What it costs now per hour.
    pub rate: Rate,
    /// GPUs it holds now, in billionths of a GPU.
    pub gpus_nanos: u64,
    /// GPUs it holds now whose price is not known, in whole devices.
    pub unpriced_gpus: u32,
    /// What it does on each device now.
    pub devices: Vec<PodDevice>,
    /// When it last did work; `None` if it never did.
    pub last_active: Option<UnixTime>,
    /// Whether it still holds a device.
    pub live: bool,
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
    /// Money and time since the ledger began.
    pub totals: Totals,
}

/// Who pays for what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Payer {
    /// The namespace; empty for what nobody holds.
    pub namespace: Arc<str>,
    /// The business labels; empty for what nobody holds.
    pub labels: CostLabels,
    /// The model of the GPU.
    pub gpu_model: Arc<str>,
    /// The price model in force; `None` when the GPU is unpriced.
    pub price_model: Option<PriceModel>,
}

// === impl State ===

impl State {
    /// Every state, in the order of the documents.
    pub const ALL: [Self; 8] = [
        Self::Used,
        Self::Underused,
        Self::Idle,
        Self::Unmeasured,
        Self::Unallocated,
        Self::Stranded,
        Self::Unattributed,
        Self::Unavailable,
    ];

    /// The states of what somebody holds.
    pub const HELD: [Self; 5] =
        [Self::Used, Self::Underused, Self::Idle, Self::Unmeasured, Self::Unavailable];

    /// The states of what nobody holds, or nobody that we can name.
    pub const UNHELD: [Self; 4] = [Self::Unallocated, Self::Stranded, Self::Unattributed, Self::Unavailable];

    /// The state as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Underused => "underused",
            Self::Idle => "idle",
            Self::Unmeasured => "unmeasured",
            Self::Unallocated => "unallocated",
            Self::Stranded => "stranded",
            Self::Unattributed => "unattributed",
            Self::Unavailable => "unavailable",
        }
    }
}

// === impl Totals ===

impl Totals {
    /// Begins to count, in dollars too if there is a price, so that every state is there before the first charge.
    pub fn open(&mut self, priced: bool) {
        self.priced |= priced;
    }

    /// Adds a charge.
    pub fn post(&mut self, state: State, amount: Amount) {
        self.times[state as usize] += amount.time;
        if let Some(cost) = amount.cost {
            self.costs[state as usize] += cost;
            self.priced = true;
        }
    }

    /// The money in one state; `None` as long as nothing here ever had a price.
    #[must_use]
    pub fn cost(&self, state: State) -> Option<Cost> {
        self.priced.then(|| self.costs[state as usize])
    }

    /// The time in one state.
    #[must_use]
    pub fn time(&self, state: State) -> GpuTime {
        self.times[state as usize]
    }

    /// All the money; nothing as long as nothing here ever had a price.
    #[must_use]
    pub fn total_cost(&self) -> Cost {
        self.costs.iter().copied().sum()
    }

    /// All the time.
    #[must_use]
    pub fn total_time(&self) -> GpuTime {
        self.times.iter().copied().sum()
    }
}

// === impl Sharing ===

impl Sharing {
    /// The sharing mode as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Mig => "mig",
            Self::TimeSlicing => "time-slicing",
        }
    }
}

// === impl Attribution ===

impl Attribution {
    /// The method as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Processes => "processes",
            Self::EqualParts => "equal_parts",
        }
    }
}
