//! The kubelet's answer in the file.

use serde::{Deserialize, Serialize};

use crate::observation::{Allocation, Allocations, DeviceId, DeviceTarget, PodKey, Uptime};

use super::claim::{WireClaimKey, WireDynamicDevice};
use super::list::List;

/// What the kubelet answered; when it did stands beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct WireAllocations<'a> {
    #[serde(default, skip_serializing_if = "List::is_empty")]
    containers: List<'a, WireAllocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advertised: Option<List<'a, WireDeviceId>>,
}

/// What one container has of one resource, as a trace and a kept state write it.
#[derive(Debug, Serialize, Deserialize)]
pub struct WireAllocation {
    pod: WirePodKey,
    container: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    resource: String,
    devices: Vec<WireDeviceId>,
}

/// The name of a pod, as a trace and a kept state write it.
#[derive(Debug, Serialize, Deserialize)]
pub struct WirePodKey {
    namespace: String,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireDeviceId {
    device: WireDeviceTarget,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireDeviceTarget {
    Gpu(String),
    MigDevice(String),
    MigInstance {
        gpu: String,
        gpu_instance: u32,
        compute_instance: u32,
    },
    Minor(u32),
    MinorInstance {
        minor: u32,
        gpu_instance: u32,
    },
    Slot(String),
    Claimed {
        claim: WireClaimKey,
        device: WireDynamicDevice,
        #[serde(skip_serializing_if = "Option::is_none")]
        share_id: Option<String>,
    },
    Claim(WireClaimKey),
    Unreadable(String),
}

// === impl WireAllocations ===

impl<'a> From<&'a Allocations> for WireAllocations<'a> {
    fn from(allocations: &'a Allocations) -> Self {
        let Allocations { read_at: _, answering_since: _, containers, advertised } = allocations;
        Self {
            containers: List::of(&**containers, Into::into),
            advertised: advertised.as_deref().map(|ids| List::of(ids, Into::into)),
        }
    }
}

impl From<WireAllocations<'_>> for Allocations {
    fn from(wire: WireAllocations<'_>) -> Self {
        Self {
            read_at: Uptime::default(),
            answering_since: Uptime::default(),
            containers: wire.containers.into_iter().map(Into::into).collect(),
            advertised: wire.advertised.map(|ids| ids.into_iter().map(Into::into).collect()),
        }
    }
}

// === impl WireAllocation ===

impl From<&Allocation> for WireAllocation {
    fn from(allocation: &Allocation) -> Self {
        let Allocation { pod, container, resource, devices } = allocation;
        Self {
            pod: pod.into(),
            container: container.as_ref().into(),
            resource: resource.as_ref().into(),
            devices: devices.iter().map(Into::into).collect(),
        }
    }
}

impl From<WireAllocation> for Allocation {
    fn from(wire: WireAllocation) -> Self {
        Self {
            pod: wire.pod.into(),
            container: wire.container.into(),
            resource: wire.resource.into(),
            devices: wire.devices.into_iter().map(Into::into).collect(),
        }
    }
}

// === impl WirePodKey ===

impl From<&PodKey> for WirePodKey {
    fn from(key: &PodKey) -> Self {
        let PodKey { namespace, name } = key;
        Self { namespace: namespace.as_ref().into(), name: name.as_ref().into() }
    }
}

impl From<WirePodKey> for PodKey {
    fn from(wire: WirePodKey) -> Self {
        Self::new(wire.namespace, wire.name)
    }
}

// === impl WireDeviceId ===

impl From<&DeviceId> for WireDeviceId {
    fn from(id: &DeviceId) -> Self {
        let DeviceId { target, replica } = id;
        Self { device: target.into(), replica: *replica }
    }
}

impl From<WireDeviceId> for DeviceId {
    fn from(wire: WireDeviceId) -> Self {
        Self { target: wire.device.into(), replica: wire.replica }
    }
}

// === impl WireDeviceTarget ===

impl From<&DeviceTarget> for WireDeviceTarget {
    fn from(target: &DeviceTarget) -> Self {
        match target {
            DeviceTarget::Gpu(uuid) => Self::Gpu(uuid.as_ref().into()),
            DeviceTarget::MigDevice(uuid) => Self::MigDevice(uuid.as_ref().into()),
            DeviceTarget::MigInstance { gpu, gpu_instance, compute_instance } => Self::MigInstance {
                gpu: gpu.as_ref().into(),
                gpu_instance: *gpu_instance,
                compute_instance: *compute_instance,
            },
            DeviceTarget::Minor(minor) => Self::Minor(*minor),
            DeviceTarget::MinorInstance { minor, gpu_instance } => {
                Self::MinorInstance { minor: *minor, gpu_instance: *gpu_instance }
            }
            DeviceTarget::Slot(id) => Self::Slot(id.as_ref().into()),
            DeviceTarget::Claimed { claim, device, share_id } => Self::Claimed {
                claim: claim.into(),
                device: device.into(),
                share_id: share_id.as_deref().map(Into::into),
            },
            DeviceTarget::Claim(claim) => Self::Claim(claim.into()),
            DeviceTarget::Unreadable(id) => Self::Unreadable(id.as_ref().into()),
        }
    }
}

impl From<WireDeviceTarget> for DeviceTarget {
    fn from(wire: WireDeviceTarget) -> Self {
        match wire {
            WireDeviceTarget::Gpu(uuid) => Self::Gpu(uuid.into()),
            WireDeviceTarget::MigDevice(uuid) => Self::MigDevice(uuid.into()),
            WireDeviceTarget::MigInstance { gpu, gpu_instance, compute_instance } => {
                Self::MigInstance { gpu: gpu.into(), gpu_instance, compute_instance }
            }
            WireDeviceTarget::Minor(minor) => Self::Minor(minor),
            WireDeviceTarget::MinorInstance { minor, gpu_instance } => {
                Self::MinorInstance { minor, gpu_instance }
            }
            WireDeviceTarget::Slot(id) => Self::Slot(id.into()),
            WireDeviceTarget::Claimed { claim, device, share_id } => Self::Claimed {
                claim: claim.into(),
                device: device.into(),
                share_id: share_id.map(Into::into),
            },
            WireDeviceTarget::Claim(claim) => Self::Claim(claim.into()),
            WireDeviceTarget::Unreadable(id) => Self::Unreadable(id.into()),
        }
    }
}
