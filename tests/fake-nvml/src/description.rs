//! What a node is, as a test writes it down.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A node with its driver and its boards.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// What `nvmlSystemGetDriverVersion` says.
    pub driver_version: String,
    /// How often the driver was loaded. When this changes, nothing works before the library is initialised again.
    pub loads: u64,
    /// The boards in the order of their indices.
    pub gpus: Vec<Board>,
    /// Functions that fail for everybody, with the code they return.
    pub returns: BTreeMap<String, u32>,
    /// Functions that hang for everybody.
    pub hangs: BTreeSet<String>,
    /// Whether the description stays as it is: its file is not looked at again with every call, as no driver does that.
    pub is_fixed: bool,
}

/// A GPU.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Board {
    /// `GPU-…`.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// N of `/dev/nvidiaN`.
    pub minor: u32,
    /// PCI address with eight digits of domain.
    pub pci_bus_id: String,
    /// Framebuffer; `None` where it cannot be asked for.
    pub memory: Option<Memory>,
    /// Power in milliwatts; `None` where it is not measured.
    pub power_milliwatts: Option<u32>,
    /// Enforced power limit in milliwatts.
    pub power_limit_milliwatts: Option<u32>,
    /// The energy counter.
    pub energy: Option<Energy>,
    /// What the GPU does, as the driver samples it.
    pub utilization: Utilization,
    /// Who does it, as the driver samples it.
    pub processes: Processes,
    /// Until this call for processes their list grows by one between the question for its size and that for itself.
    pub process_growth: u64,
    /// What the GPU does, as its counters tell; `None` before Hopper.
    pub gpm: Option<Gpm>,
    /// Whether the hardware knows MIG.
    pub mig_capable: bool,
    /// The MIG devices; `None` while MIG is off.
    pub mig: Option<Mig>,
    /// Critical errors in the order they happen. Each is delivered once: append to it to have another one happen.
    pub xids: Vec<u64>,
    /// What the driver says is to be done with it (field value 230); `None` for drivers before R565.
    pub recovery_action: Option<u32>,
    /// Functions that fail for this board and its MIG devices, with the code they return.
    pub returns: BTreeMap<String, u32>,
    /// Functions that hang for this board and its MIG devices.
    pub hangs: BTreeSet<String>,
}

/// Framebuffer in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What clients use.
    pub used: u64,
    /// What the driver keeps for itself; the first version of the call counts it as used.
    pub reserved: u64,
}

/// An energy counter.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Energy {
    /// It stands at so many millijoules.
    Fixed(u64),
    /// It grows with the wall clock.
    Growing {
        /// When it was zero, in milliseconds since the epoch.
        since_unix_millis: u64,
        /// By how much it grows.
        milliwatts: u64,
    },
}

/// What a GPU does, as the driver samples it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Utilization {
    /// The driver does not measure it.
    #[default]
    Unsupported,
    /// The driver has a last reading in percent and no samples.
    Rate(u32),
    /// Samples come by the wall clock, six per second, all with this percentage.
    Percent(u32),
    /// Samples come by the wall clock in a pattern.
    Wave(Wave),
    /// Exactly these samples: microseconds since the epoch, percent.
    Samples(Vec<(u64, u32)>),
    /// These samples whatever the caller has seen already: a driver that does not care.
    Stubborn(Vec<(u64, u32)>),
}

/// Samples that come by the wall clock: the one at `k / hertz` seconds since the epoch has the value `k` of the pattern,
/// which repeats.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Samples per second.
    pub hertz: u32,
    /// The pattern in percent.
    pub values: Vec<u32>,
}

/// Who works on a GPU, as the driver samples it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Processes {
    /// The driver does not sample processes.
    #[default]
    Unsupported,
    /// Processes by number with their percent of the time: six times per second by the wall clock there is something
    /// new to tell of them, an entry for each.
    Working(Vec<(u32, u32)>),
    /// Exactly these samples.
    Samples(Vec<ProcessSample>),
    /// These samples whatever the caller has seen already.
    Stubborn(Vec<ProcessSample>),
}

/// A sample of one process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSample {
    /// Its number.
    pub pid: u32,
    /// Microseconds since the epoch.
    pub micros: u64,
    /// Percent of the multiprocessors' time.
    pub percent: u32,
}

/// What the counters say of the time up to now, in percent; `None` for what fails.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpm {
    /// Metric 1.
    pub graphics: Option<f64>,
    /// Metric 2.
    pub sm: Option<f64>,
    /// Metric 5.
    pub tensor: Option<f64>,
    /// Metric 10.
    pub dram: Option<f64>,
}

/// How a GPU is cut.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mig {
    /// How many MIG devices there can be.
    pub max: u32,
    /// The MIG devices at their indices, which may have holes.
    pub devices: Vec<Option<MigDevice>>,
}

/// A MIG device.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MigDevice {
    /// `MIG-…`.
    pub uuid: String,
    /// Profile at the end of its name; `None` for drivers that do not put it there.
    pub profile: Option<String>,
    /// Id of its GPU instance.
    pub gpu_instance: u32,
    /// Id of its compute instance.
    pub compute_instance: u32,
    /// Slices of its GPU instance.
    pub gpu_instance_slices: u32,
    /// Slices of its compute instance.
    pub compute_slices: u32,
    /// Multiprocessors of its compute instance.
    pub multiprocessors: u32,
    /// Memory of its GPU instance.
    pub mebibytes: u64,
    /// Bytes that clients use.
    pub memory_used: u64,
    /// What the counters of its GPU instance say; `None` before Hopper.
    pub gpm: Option<Gpm>,
}

// === impl Node ===

impl Default for Node {
    fn default() -> Self {
        Self {
            driver_version: "580.82.07".into(),
            loads: 1,
            gpus: Vec::new(),
            returns: BTreeMap::new(),
            hangs: BTreeSet::new(),
            is_fixed: false,
        }
    }
}

impl Node {
    /// A node with these boards.
    #[must_use]
    pub fn new(gpus: impl IntoIterator<Item = Board>) -> Self {
        Self { gpus: gpus.into_iter().collect(), ..Self::default() }
    }

    /// The same node whose `function` returns `code`.
    #[must_use]
    pub fn returning(mut self, function: &str, code: u32) -> Self {
        self.returns.insert(function.into(), code);
        self
    }

    /// The same node whose `function` hangs.
    #[must_use]
    pub fn hanging(mut self, function: &str) -> Self {
        self.hangs.insert(function.into());
        self
    }

    /// The node as the text that the library loads.
    ///
    /// # Panics
    ///
    /// Never: a description is always JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a description is JSON")
    }
}
