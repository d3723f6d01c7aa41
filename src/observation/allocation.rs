//! Who holds what, as the kubelet says it.

use std::fmt;
use std::sync::Arc;

use super::{ClaimKey, DynamicDevice, Uptime};

/// The kubelet's statement which container has which devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// When the kubelet answered.
    pub read_at: Uptime,
    /// When it first answered over the present connection; after a break its answers are incomplete for a while.
    pub answering_since: Uptime,
    /// One entry per container and resource of which it holds at least one device, sorted. It is the same object as in the
    /// answer before where both say the same, and so is what is advertised.
    pub containers: Arc<[Allocation]>,
    /// Every healthy device that the plugins advertise, held or not; `None` when the kubelet would not say.
    pub advertised: Option<Arc<[DeviceId]>>,
}

/// The devices of one resource that one container has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allocation {
    /// The pod.
    pub pod: PodKey,
    /// The container's name.
    pub container: Arc<str>,
    /// The resource, such as `nvidia.com/gpu`; for a claimed device its driver, such as `gpu.nvidia.com`.
    pub resource: Arc<str>,
    /// Its devices, each once.
    pub devices: Vec<DeviceId>,
}

/// How the kubelet names a pod: it knows no UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// A slot of some GPU, as HAMi, Volcano and gpushare spell them. Which GPU it is stands in the pod's annotations
    /// ([`Pod::fractions`](super::Pod::fractions)): the one in the id is not meant.
    Slot(Arc<str>),
    /// A device that a claim has.
    Claimed {
        /// The claim.
        claim: ClaimKey,
        /// The device.
        device: DynamicDevice,
        /// Which of several claims on the device this is, where it can be consumed in parts.
        share_id: Option<Arc<str>>,
    },
    /// Whatever a claim will have: the kubelet has not prepared its devices yet.
    Claim(ClaimKey),
    /// An id that no rule reads, as the kubelet gave it. Somebody holds something that we cannot name.
    Unreadable(Arc<str>),
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
