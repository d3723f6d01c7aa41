//! Devices that are given out by claims (dynamic resource allocation), as the API server describes them.
//!
//! The kubelet names such a device by driver, pool and name alone. What the name stands for is published by the driver
//! in a `ResourceSlice`, and who may use it on which terms stands in the `ResourceClaim`.

use std::fmt;
use std::sync::Arc;

/// What the API server says about claims of this node's pods and the devices behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// The GPUs and MIG devices that drivers publish for this node, sorted.
    pub devices: Vec<PublishedDevice>,
    /// The claims that pods of this node name, sorted by key.
    pub claims: Vec<ResourceClaim>,
}

/// How drivers, claims and the kubelet name a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DynamicDevice {
    /// The driver, such as `gpu.nvidia.com`.
    pub driver: Arc<str>,
    /// The pool, for a node's own devices the node's name.
    pub pool: Arc<str>,
    /// The device in the pool, such as `gpu-3` or `gpu-0-mig-1g10gb-19-6`.
    pub device: Arc<str>,
}

/// A device as its driver publishes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedDevice {
    /// Its name.
    pub name: DynamicDevice,
    /// `GPU-…` or `MIG-…`; `None` where the driver does not say, as for a MIG device that is made on demand.
    pub uuid: Option<Arc<str>>,
    /// UUID of the GPU that a MIG device is on.
    pub parent: Option<Arc<str>>,
    /// N of `/dev/nvidiaN` of the GPU, as older drivers say it.
    pub minor: Option<u32>,
    /// Profile of a MIG device, such as `1g.10gb`.
    pub profile: Option<Arc<str>>,
    /// Bytes of memory that the device has in all, of which claims may consume parts.
    pub memory: Option<u64>,
}

/// How the kubelet and pods name a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

/// A claim and what was allocated to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceClaim {
    /// Its name.
    pub key: ClaimKey,
    /// Its devices; empty while none is allocated.
    pub devices: Vec<ClaimedDevice>,
}

/// A device that was allocated to a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimedDevice {
    /// The device.
    pub name: DynamicDevice,
    /// Which of several claims on the device this is, where the device can be consumed in parts.
    pub share_id: Option<Arc<str>>,
    /// Whether it is access for monitoring only, which takes nothing from anybody and costs nothing.
    pub admin: bool,
    /// Bytes of the device's memory that it consumes; `None` where it has the device as a whole.
    pub consumed: Option<u64>,
}

// === impl DynamicDevice ===

impl fmt::Display for DynamicDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

// === impl ClaimKey ===

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
