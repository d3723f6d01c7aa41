//! The accounts: what has been counted of one GPU, one pod, one payer.
//!
//! They are the ledger's, and money gets into them by its postings alone; a report shows those of pods as they are.

mod containers;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{CostLabels, Ppm, Span, UnixTime, Uptime, Workload, Xid};

use super::money::{Cost, GpuTime};
use super::pricing::{Electricity, EnergyRates, PriceModel};

pub use self::containers::{ContainerAccount, Containers};
pub use self::totals::{State, Totals};

/// What stands for a namespace and for each business label where too many payers share one line.
const OTHER: &str = "__other__";

/// Identity of a pod's account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The UID; empty while nobody tells it.
    pub uid: Arc<str>,
}

/// The account of a GPU.
#[derive(Clone, Debug, Default)]
pub struct DeviceAccount {
    /// When it was opened.
    pub since: UnixTime,
    /// Money and time by state.
    pub totals: Totals,
    /// Rate × elapsed, added up independently of who was charged.
    pub bill: Cost,
    /// Energy since the ledger began, over driver reloads.
    pub energy_millijoules: Option<u128>,
    /// The driver's last energy reading.
    pub energy_reading: Option<u64>,
    /// What its energy cost and emitted since there are terms for that; not part of its bill.
    pub electricity: Electricity,
    /// Held time by utilization: low, medium, high.
    pub bands: [GpuTime; 3],
    /// Critical errors by XID.
    pub xids: BTreeMap<u64, XidLine>,
    /// Time that was charged to nobody because we were not looking.
    pub unobserved: GpuTime,
    /// Time that was charged to nobody because the node was started anew, by the wall clock.
    pub rebooting: GpuTime,
    /// Time of gaps that was charged as unmeasured.
    pub recovered: GpuTime,
}

/// The account of a pod.
#[derive(Clone, Debug, Default)]
pub struct PodAccount {
    /// When it was opened.
    pub since: UnixTime,
    /// How long ago that was; never goes back, even where the wall clock does.
    pub age: Span,
    /// What the pod was when it last held something.
    pub description: Arc<Description>,
    /// Money and time by state.
    pub totals: Totals,
    /// What of that is known to be which container's, by name; the rest is no container's.
    pub containers: BTreeMap<Arc<str>, ContainerAccount>,
    /// Work beyond its share.
    pub burst: Cost,
    /// Its part of its GPUs' energy.
    pub energy_millijoules: Option<u128>,
    /// What that energy cost and emitted; not part of its bill.
    pub electricity: Electricity,
    /// When it last did work.
    pub last_active: Option<UnixTime>,
    /// Since when it holds nothing; `None` while it holds something.
    pub ended: Option<Uptime>,
}

/// The account of a payer.
#[derive(Clone, Debug, Default)]
pub struct PayerAccount {
    /// When it was opened.
    pub since: UnixTime,
    /// Money and time by state.
    pub totals: Totals,
}

/// What a pod is, beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Whose money it is.
    pub labels: CostLabels,
    /// The controller above it.
    pub workload: Option<Workload>,
    /// The models of its GPUs, sorted.
    pub gpu_models: BTreeSet<Arc<str>>,
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

// === impl Payer ===

impl Payer {
    /// Whether it is the one who pays for what nobody holds.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.namespace.is_empty()
    }

    /// The payer who stands for this one and all others that have no line of their own.
    #[must_use]
    pub fn among_others(&self) -> Self {
        let other = || Arc::from(OTHER);
        let labels = CostLabels {
            team: other(),
            project: other(),
            model: other(),
            environment: other(),
            cost_center: other(),
            department: other(),
            task_type: other(),
        };
        Self { namespace: other(), labels, ..self.clone() }
    }
}

// === impl Description ===

impl Description {
    /// The models of its GPUs, comma-separated if there are several; nothing if there is none.
    #[must_use]
    pub fn gpu_model(&self) -> Arc<str> {
        let mut models = self.gpu_models.iter();
        match (models.next(), models.next()) {
            (Some(only), None) => Arc::clone(only),
            _ => self.gpu_models.iter().map(|model| &**model).collect::<Vec<_>>().join(",").into(),
        }
    }
}

// === impl DeviceAccount ===

impl DeviceAccount {
    /// Counts a critical error.
    pub fn count(&mut self, xid: Xid) {
        let line = self.xids.entry(xid.code).or_insert(XidLine { code: xid.code, count: 0, last: xid.at });
        line.count = line.count.saturating_add(1);
        line.last = line.last.max(xid.at);
    }

    /// Begins to count: dollars if there is a price, energy if there is a reading, and then electricity as far as there
    /// are rates for it.
    pub fn open(&mut self, priced: bool, energy_millijoules: Option<u64>, rates: Option<&EnergyRates>) {
        self.totals.open(priced);
        if let Some(reading) = energy_millijoules {
            self.energy_reading.get_or_insert(reading);
            self.energy_millijoules.get_or_insert(0);
            self.electricity.add(rates.map(|rates| rates.over(0)).unwrap_or_default());
        }
    }

    /// Takes in the driver's energy counter and gives what was added since the last reading.
    ///
    /// A counter that is lower than before began again from zero when the driver was reloaded.
    pub fn read_energy(&mut self, reading: u64, rates: Option<&EnergyRates>) -> u128 {
        let before = self.energy_reading.replace(reading).unwrap_or(reading);
        let added = u128::from(reading.checked_sub(before).unwrap_or(reading));
        self.energy_millijoules = Some(self.energy_millijoules.unwrap_or(0) + added);
        self.electricity.add(rates.map(|rates| rates.over(added)).unwrap_or_default());
        added
    }

    /// Adds held time to the band of the utilization it was held at.
    pub fn add_to_band(&mut self, utilization: Ppm, time: GpuTime) {
        let band = match utilization.get() {
            0..300_000 => 0,
            300_000..=700_000 => 1,
            _ => 2,
        };
        self.bands[band] += time;
    }
}

// === impl PodAccount ===

impl PodAccount {
    /// Adds its part of the energy of one of its GPUs.
    pub fn add_energy(&mut self, millijoules: u128, rates: Option<&EnergyRates>) {
        self.energy_millijoules = Some(self.energy_millijoules.unwrap_or(0) + millijoules);
        self.electricity.add(rates.map(|rates| rates.over(millijoules)).unwrap_or_default());
    }
}
