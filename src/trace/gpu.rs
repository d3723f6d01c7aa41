//! A GPU in the file.

use serde::{Deserialize, Serialize};

use crate::observation::{
    Activity, Fault, Gpu, Health, Memory, Mig, MigDevice, Partition, Ppm, Process, UnixTime,
    UtilizationSource, Worker, Xid,
};

use super::allocation::WirePodKey;
use super::line::is_default;

/// A GPU. It is healthy if it has no fault, and whole if it has no partition.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireGpu {
    uuid: String,
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    minor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pci_bus_id: Option<String>,
    product: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<WireFault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<WirePartition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<WireMemory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power_milliwatts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power_limit_milliwatts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_millijoules: Option<u64>,
    #[serde(default, skip_serializing_if = "WireActivity::is_empty")]
    activity: WireActivity,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization_source: Option<WireUtilizationSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Vec<WireProcess>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    xids: Vec<WireXid>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireFault {
    Lost,
    ResetRequired,
    NotResponding,
    Missing,
    Xid,
}

#[derive(Debug, Serialize, Deserialize)]
struct WirePartition {
    compute_slices: u32,
    memory_slices: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    devices: Vec<WireMigDevice>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireMigDevice {
    uuid: String,
    profile: String,
    gpu_instance: u32,
    compute_instance: u32,
    gpu_instance_slices: u32,
    compute_slices: u32,
    memory_slices: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<WireMemory>,
    #[serde(default, skip_serializing_if = "WireActivity::is_empty")]
    activity: WireActivity,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireMemory {
    used: u64,
    total: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct WireActivity {
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sm_active: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor_active: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dram_active: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireUtilizationSource {
    NvmlSamples,
    Gpm,
    NvmlRate,
    Simulated,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireProcess {
    #[serde(default)]
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<WirePodKey>,
    #[serde(default, skip_serializing_if = "is_default")]
    unknown: bool,
    utilization: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mig_device: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireXid {
    code: u64,
    at: u64,
}

// === impl WireGpu ===

impl From<&Gpu> for WireGpu {
    fn from(gpu: &Gpu) -> Self {
        let Gpu { uuid, index, minor, pci_bus_id, product, health, mig, memory, .. } = gpu;
        let Gpu { power_milliwatts, power_limit_milliwatts, energy_millijoules, activity, .. } = gpu;
        let Gpu { utilization_source, processes, xids, .. } = gpu;
        Self {
            uuid: uuid.as_ref().into(),
            index: *index,
            minor: *minor,
            pci_bus_id: pci_bus_id.as_deref().map(Into::into),
            product: product.as_ref().into(),
            fault: WireFault::of(*health),
            partition: match mig {
                Mig::Disabled => None,
                Mig::Enabled(partition) => Some(partition.into()),
            },
            memory: memory.map(Into::into),
            power_milliwatts: *power_milliwatts,
            power_limit_milliwatts: *power_limit_milliwatts,
            energy_millijoules: *energy_millijoules,
            activity: activity.into(),
            utilization_source: WireUtilizationSource::of(*utilization_source),
            processes: processes.as_ref().map(|processes| processes.iter().map(Into::into).collect()),
            xids: xids.iter().map(|Xid { code, at }| WireXid { code: *code, at: at.as_millis() }).collect(),
        }
    }
}

impl From<WireGpu> for Gpu {
    fn from(wire: WireGpu) -> Self {
        let xid = |WireXid { code, at }| Xid { code, at: UnixTime::from_millis(at) };
        Self {
            uuid: wire.uuid.into(),
            index: wire.index,
            minor: wire.minor,
            pci_bus_id: wire.pci_bus_id.map(Into::into),
            product: wire.product.into(),
            health: wire.fault.map_or(Health::Healthy, |fault| Health::Unavailable(fault.into())),
            mig: wire.partition.map_or(Mig::Disabled, |partition| Mig::Enabled(partition.into())),
            memory: wire.memory.map(Into::into),
            power_milliwatts: wire.power_milliwatts,
            power_limit_milliwatts: wire.power_limit_milliwatts,
            energy_millijoules: wire.energy_millijoules,
            activity: wire.activity.into(),
            utilization_source: wire.utilization_source.map_or(UtilizationSource::None, Into::into),
            processes: wire.processes.map(|processes| processes.into_iter().map(Into::into).collect()),
            xids: wire.xids.into_iter().map(xid).collect(),
        }
    }
}

// === impl WireFault ===

impl WireFault {
    fn of(health: Health) -> Option<Self> {
        match health {
            Health::Healthy => None,
            Health::Unavailable(Fault::Lost) => Some(Self::Lost),
            Health::Unavailable(Fault::ResetRequired) => Some(Self::ResetRequired),
            Health::Unavailable(Fault::NotResponding) => Some(Self::NotResponding),
            Health::Unavailable(Fault::Missing) => Some(Self::Missing),
            Health::Unavailable(Fault::Xid) => Some(Self::Xid),
        }
    }
}

impl From<WireFault> for Fault {
    fn from(wire: WireFault) -> Self {
        match wire {
            WireFault::Lost => Self::Lost,
            WireFault::ResetRequired => Self::ResetRequired,
            WireFault::NotResponding => Self::NotResponding,
            WireFault::Missing => Self::Missing,
            WireFault::Xid => Self::Xid,
        }
    }
}

// === impl WirePartition ===

impl From<&Partition> for WirePartition {
    fn from(partition: &Partition) -> Self {
        let Partition { compute_slices, memory_slices, devices } = partition;
        Self {
            compute_slices: *compute_slices,
            memory_slices: *memory_slices,
            devices: devices.iter().map(Into::into).collect(),
        }
    }
}

impl From<WirePartition> for Partition {
    fn from(wire: WirePartition) -> Self {
        Self {
            compute_slices: wire.compute_slices,
            memory_slices: wire.memory_slices,
            devices: wire.devices.into_iter().map(Into::into).collect(),
        }
    }
}

// === impl WireMigDevice ===

impl From<&MigDevice> for WireMigDevice {
    fn from(device: &MigDevice) -> Self {
        let MigDevice { uuid, profile, gpu_instance, compute_instance, gpu_instance_slices, .. } = device;
        let MigDevice { compute_slices, memory_slices, memory, activity, .. } = device;
        Self {
            uuid: uuid.as_ref().into(),
            profile: profile.as_ref().into(),
            gpu_instance: *gpu_instance,
            compute_instance: *compute_instance,
            gpu_instance_slices: *gpu_instance_slices,
            compute_slices: *compute_slices,
            memory_slices: *memory_slices,
            memory: memory.map(Into::into),
            activity: activity.into(),
        }
    }
}

impl From<WireMigDevice> for MigDevice {
    fn from(wire: WireMigDevice) -> Self {
        Self {
            uuid: wire.uuid.into(),
            profile: wire.profile.into(),
            gpu_instance: wire.gpu_instance,
            compute_instance: wire.compute_instance,
            gpu_instance_slices: wire.gpu_instance_slices,
            compute_slices: wire.compute_slices,
            memory_slices: wire.memory_slices,
            memory: wire.memory.map(Into::into),
            activity: wire.activity.into(),
        }
    }
}

// === impl WireMemory ===

impl From<Memory> for WireMemory {
    fn from(Memory { used, total }: Memory) -> Self {
        Self { used, total }
    }
}

impl From<WireMemory> for Memory {
    fn from(WireMemory { used, total }: WireMemory) -> Self {
        Self { used, total }
    }
}

// === impl WireActivity ===

impl WireActivity {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&Activity> for WireActivity {
    fn from(activity: &Activity) -> Self {
        let Activity { utilization, sm_active, tensor_active, dram_active } = activity;
        Self {
            utilization: utilization.map(Ppm::get),
            sm_active: sm_active.map(Ppm::get),
            tensor_active: tensor_active.map(Ppm::get),
            dram_active: dram_active.map(Ppm::get),
        }
    }
}

impl From<WireActivity> for Activity {
    fn from(wire: WireActivity) -> Self {
        Self {
            utilization: wire.utilization.map(Ppm::new),
            sm_active: wire.sm_active.map(Ppm::new),
            tensor_active: wire.tensor_active.map(Ppm::new),
            dram_active: wire.dram_active.map(Ppm::new),
        }
    }
}

// === impl WireUtilizationSource ===

impl WireUtilizationSource {
    fn of(source: UtilizationSource) -> Option<Self> {
        match source {
            UtilizationSource::None => None,
            UtilizationSource::NvmlSamples => Some(Self::NvmlSamples),
            UtilizationSource::Gpm => Some(Self::Gpm),
            UtilizationSource::NvmlRate => Some(Self::NvmlRate),
            UtilizationSource::Simulated => Some(Self::Simulated),
        }
    }
}

impl From<WireUtilizationSource> for UtilizationSource {
    fn from(wire: WireUtilizationSource) -> Self {
        match wire {
            WireUtilizationSource::NvmlSamples => Self::NvmlSamples,
            WireUtilizationSource::Gpm => Self::Gpm,
            WireUtilizationSource::NvmlRate => Self::NvmlRate,
            WireUtilizationSource::Simulated => Self::Simulated,
        }
    }
}

// === impl WireProcess ===

impl From<&Process> for WireProcess {
    fn from(process: &Process) -> Self {
        let Process { pid, worker, utilization, mig_device } = process;
        Self {
            pid: *pid,
            pod: if let Worker::Pod(pod) = worker { Some(pod.into()) } else { None },
            unknown: *worker == Worker::Unknown,
            utilization: utilization.get(),
            mig_device: mig_device.as_deref().map(Into::into),
        }
    }
}

impl From<WireProcess> for Process {
    fn from(wire: WireProcess) -> Self {
        Self {
            pid: wire.pid,
            worker: match wire.pod {
                Some(pod) => Worker::Pod(pod.into()),
                None if wire.unknown => Worker::Unknown,
                None => Worker::Host,
            },
            utilization: Ppm::new(wire.utilization),
            mig_device: wire.mig_device.map(Into::into),
        }
    }
}
