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

use std::fmt;
use std::sync::Arc;

/// Everything that one tick saw, put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When the tick read its sources, on the node's boot-time clock.
    pub at: Uptime,
    /// The wall clock at the same moment. Shown to people, never used to compute a cost.
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
    /// The pods of this node as their owner describes them; empty while nobody describes them.
    pub pods: Arc<[Pod]>,
    /// The node as its labels describe it.
    pub node: Arc<Node>,
}

/// Nanoseconds on the node's boot-time clock (`CLOCK_BOOTTIME`: monotonic, counts suspend).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime(u64);

/// A span of time in whole nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

/// A part of a whole in millionths: 0 is none, 1,000,000 is all. Never more than all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ppm(u32);

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
    /// The pod that the process belongs to, `None` for a process of no pod that we know.
    pub pod: Option<PodKey>,
    /// The process' part of the device's time.
    pub utilization: Ppm,
    /// The MIG device it ran on, by UUID; `None` for a whole GPU.
    pub mig_device: Option<Arc<str>>,
}

/// One critical error that the driver reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xid {
    /// NVIDIA's number of the error.
    pub code: u64,
    /// When it was reported.
    pub at: UnixTime,
}

/// The kubelet's statement which container has which devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocations {
    /// When the kubelet answered.
    pub read_at: Uptime,
    /// One entry per container that holds at least one device of a GPU resource.
    pub containers: Vec<Allocation>,
    /// Every healthy device that the plugins advertise, held or not; `None` when the kubelet would not say.
    pub advertised: Option<Vec<DeviceId>>,
}

/// The devices of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allocation {
    /// The pod.
    pub pod: PodKey,
    /// The container's name.
    pub container: Arc<str>,
    /// Its devices, each once.
    pub devices: Vec<DeviceId>,
}

/// How the kubelet names a pod: it knows no UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

/// A device id, read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// The device that the id stands for.
    pub target: DeviceTarget,
    /// Which replica of a shared device, for ids such as `GPU-…::2` or `nvidia0/vgpu2`.
    pub replica: Option<u32>,
}

/// The device that a device id stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceTarget {
    /// `GPU-<uuid>`.
    Gpu(Arc<str>),
    /// `MIG-<uuid>`.
    MigDevice(Arc<str>),
    /// `MIG-GPU-<uuid>/<gpu instance>/<compute instance>`, as old drivers name a MIG device.
    MigInstance {
        /// UUID of the GPU.
        gpu: Arc<str>,
        /// Id of the GPU instance.
        gpu_instance: u32,
        /// Id of the compute instance.
        compute_instance: u32,
    },
    /// `nvidia<minor>`, as GKE names a GPU.
    Minor(u32),
    /// `nvidia<minor>/gi<gpu instance>`, as GKE names a MIG device.
    MinorInstance {
        /// N of `/dev/nvidiaN`.
        minor: u32,
        /// Id of the GPU instance.
        gpu_instance: u32,
    },
    /// An id that no rule reads, as the kubelet gave it. Somebody holds something that we cannot name.
    Unreadable(Arc<str>),
}

/// A pod as its owner describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The kubelet's name for it.
    pub key: PodKey,
    /// Identity over re-creation under the same name.
    pub uid: Arc<str>,
    /// When it was created.
    pub created: UnixTime,
    /// Whose money it is.
    pub labels: CostLabels,
    /// The controller above it.
    pub workload: Option<Workload>,
}

/// The business labels of a pod; an empty value means that nobody said.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CostLabels {
    /// The team that pays.
    pub team: Arc<str>,
    /// The project.
    pub project: Arc<str>,
    /// The model that is trained or served.
    pub model: Arc<str>,
    /// The environment, such as `production`.
    pub environment: Arc<str>,
    /// The cost center.
    pub cost_center: Arc<str>,
    /// The department.
    pub department: Arc<str>,
    /// The kind of task, such as `training` or `inference`.
    pub task_type: Arc<str>,
}

/// The controller above a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its kind, such as `Deployment`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// The node as its labels describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's name.
    pub name: Arc<str>,
    /// The node's labels, sorted by key; empty while nobody told them.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

// === impl Uptime ===

impl Uptime {
    /// The moment that is `nanos` nanoseconds after boot.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; nothing when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The moment that is `span` later.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

// === impl Span ===

impl Span {
    /// A span of `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A span of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A span of `seconds` seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// The span in nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whether the span has no length.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

// === impl UnixTime ===

impl UnixTime {
    /// The moment that is `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

// === impl Ppm ===

impl Ppm {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ALL: Self = Self(1_000_000);

    /// A part of `parts` millionths; more than the whole counts as the whole.
    #[must_use]
    pub const fn new(parts: u32) -> Self {
        if parts > Self::ALL.0 { Self::ALL } else { Self(parts) }
    }

    /// A part in whole percent; more than the whole counts as the whole.
    #[must_use]
    pub const fn from_percent(percent: u32) -> Self {
        Self::new(percent.saturating_mul(10_000))
    }

    /// The part in millionths, at most 1,000,000.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

// === impl Gpu ===

impl Gpu {
    /// The same GPU without anything that was measured, so that an old number never passes for a new one.
    ///
    /// Its partition stays: those who hold a part of a lost GPU still hold it.
    #[must_use]
    pub fn unmeasured(&self, health: Health) -> Self {
        let mut gpu = Self {
            health,
            memory: None,
            power_milliwatts: None,
            power_limit_milliwatts: None,
            energy_millijoules: None,
            activity: Activity::default(),
            utilization_source: UtilizationSource::None,
            processes: None,
            xids: Vec::new(),
            ..self.clone()
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

// === impl PodKey ===

impl PodKey {
    /// The pod `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
