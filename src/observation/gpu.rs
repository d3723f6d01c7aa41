//! GPUs as the driver shows them.

use std::sync::Arc;

use super::{PodKey, Ppm, UnixTime};

/// One physical GPU as the driver shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Identity for as long as the board lives, `GPU-…` (`nvmlDeviceGetUUID`).
    pub uuid: Arc<str>,
    /// Position in NVML's enumeration; not stable over a reboot.
    pub index: u32,
    /// N of `/dev/nvidiaN` (`nvmlDeviceGetMinorNumber`), by which GKE names GPUs.
    pub minor: Option<u32>,
    /// PCI address such as `00000000:3B:00.0`.
    pub pci_bus_id: Option<Arc<str>>,
    /// NVML's own product name, such as `NVIDIA H100 80GB HBM3`.
    pub product: Arc<str>,
    /// Whether the GPU can do work.
    pub health: Health,
    /// How the GPU is partitioned.
    pub mig: Mig,
    /// Framebuffer of the whole GPU.
    pub memory: Option<Memory>,
    /// Board power in milliwatts.
    pub power_milliwatts: Option<u64>,
    /// Enforced power limit in milliwatts.
    pub power_limit_milliwatts: Option<u64>,
    /// Energy in millijoules since the driver was loaded; starts again from zero when it is reloaded.
    pub energy_millijoules: Option<u64>,
    /// What the GPU did since the last tick.
    pub activity: Activity,
    /// How `activity.utilization` was measured.
    pub utilization_source: UtilizationSource,
    /// Who did it: one entry per process that the driver sampled since the last tick.
    /// `None` when processes cannot be read, empty when none worked.
    pub processes: Option<Vec<Process>>,
    /// Critical errors (XID) reported since the last tick.
    pub xids: Vec<Xid>,
}

/// Whether a GPU can do work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It answers.
    Healthy,
    /// It is there, or was, and cannot be used.
    Unavailable(Fault),
}

/// Why a GPU is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// NVML says that the GPU is lost, or has fallen off the bus.
    Lost,
    /// NVML asks for a reset before it works again.
    ResetRequired,
    /// The GPU does not answer any more, or answers with errors only.
    NotResponding,
    /// The driver answers but no longer lists the GPU.
    Missing,
    /// A critical error (XID) that only a reset heals.
    Xid,
}

/// Framebuffer memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use, without what the driver reserves for itself where it tells the two apart.
    pub used: u64,
    /// All bytes.
    pub total: u64,
}

/// What a GPU or a MIG device did since the last tick, each as a mean over the driver's own samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Part of the time in which at least one kernel ran. The measure of work.
    pub utilization: Option<Ppm>,
    /// Part of the streaming multiprocessors that were busy (GPM; Hopper and later).
    pub sm_active: Option<Ppm>,
    /// Part of the tensor cores' peak that was used (GPM).
    pub tensor_active: Option<Ppm>,
    /// Part of the memory bandwidth that was used (GPM).
    pub dram_active: Option<Ppm>,
}

/// How the utilization of a GPU was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UtilizationSource {
    /// It was not measured.
    #[default]
    None,
    /// Mean of NVML's sample buffer since the last tick (`nvmlDeviceGetSamples`).
    NvmlSamples,
    /// GPU performance monitoring between two ticks (`nvmlGpmMetricsGet`).
    Gpm,
    /// The driver's last reading (`nvmlDeviceGetUtilizationRates`), where it keeps no samples.
    NvmlRate,
    /// A scripted node: the demo.
    Simulated,
}

/// How a GPU is partitioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mig {
    /// The GPU is whole: MIG is off, or the hardware has no MIG.
    Disabled,
    /// The GPU is cut into MIG devices, perhaps none yet.
    Enabled(Partition),
}

/// The MIG devices of a GPU and how many slices it can be cut into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Compute slices of the whole GPU: 7 on A100 and H100, 4 on A30 (`nvmlDeviceGetMaxMigDeviceCount`).
    pub compute_slices: u32,
    /// Memory slices of the whole GPU: 8 on A100 and H100, 4 on A30.
    pub memory_slices: u32,
    /// The MIG devices that exist now.
    pub devices: Vec<MigDevice>,
}

/// One MIG device: a GPU instance with a compute instance in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigDevice {
    /// `MIG-…`; a new one each time the device is made.
    pub uuid: Arc<str>,
    /// Profile such as `1g.10gb`, as the driver names it.
    pub profile: Arc<str>,
    /// Id of the GPU instance.
    pub gpu_instance: u32,
    /// Id of the compute instance inside the GPU instance.
    pub compute_instance: u32,
    /// Slices of the GPU instance.
    pub gpu_instance_slices: u32,
    /// Slices of the compute instance; fewer than the GPU instance has when several share it.
    pub compute_slices: u32,
    /// Memory slices of the GPU instance, which its compute instances share.
    pub memory_slices: u32,
    /// Framebuffer of the GPU instance.
    pub memory: Option<Memory>,
    /// What the MIG device did since the last tick.
    pub activity: Activity,
}

/// What one process did on a GPU since the last tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The number by which the host knows it.
    pub pid: u32,
    /// Whose process it is.
    pub worker: Worker,
    /// The process' part of the device's time.
    pub utilization: Ppm,
    /// The MIG device it ran on, by UUID; `None` for a whole GPU.
    pub mig_device: Option<Arc<str>>,
}

/// Whose process it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worker {
    /// A pod of this node.
    Pod(PodKey),
    /// No pod: a process of the host.
    Host,
    /// We cannot say: the process is gone, or belongs to a pod that nobody has described yet. It may be a holder's.
    Unknown,
}

/// One critical error that the driver reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xid {
    /// NVIDIA's number of the error.
    pub code: u64,
    /// When it was reported.
    pub at: UnixTime,
}

// === impl Gpu ===

impl Gpu {
    /// A whole and healthy GPU of which nothing but this is known.
    #[must_use]
    pub fn known_by(uuid: Arc<str>, index: u32, product: Arc<str>) -> Self {
        Self {
            uuid,
            index,
            minor: None,
            pci_bus_id: None,
            product,
            health: Health::Healthy,
            mig: Mig::Disabled,
            memory: None,
            power_milliwatts: None,
            power_limit_milliwatts: None,
            energy_millijoules: None,
            activity: Activity::default(),
            utilization_source: UtilizationSource::None,
            processes: None,
            xids: Vec::new(),
        }
    }

    /// The same GPU without anything that was measured, so that an old number never passes for a new one.
    ///
    /// Its partition stays: those who hold a part of a lost GPU still hold it.
    #[must_use]
    pub fn unmeasured(&self, health: Health) -> Self {
        let mut gpu = Self {
            minor: self.minor,
            pci_bus_id: self.pci_bus_id.clone(),
            health,
            mig: self.mig.clone(),
            ..Self::known_by(Arc::clone(&self.uuid), self.index, Arc::clone(&self.product))
        };
        if let Mig::Enabled(partition) = &mut gpu.mig {
            for device in &mut partition.devices {
                device.memory = None;
                device.activity = Activity::default();
            }
        }
        gpu
    }
}

// === impl Fault ===

impl Fault {
    /// The fault as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::ResetRequired => "reset_required",
            Self::NotResponding => "not_responding",
            Self::Missing => "missing",
            Self::Xid => "xid",
        }
    }
}

// === impl UtilizationSource ===

impl UtilizationSource {
    /// The source as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NvmlSamples => "nvml_samples",
            Self::Gpm => "gpm",
            Self::NvmlRate => "nvml_rate",
            Self::Simulated => "simulated",
        }
    }
}
