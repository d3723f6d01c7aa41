//! Claims and published devices in the file.

use serde::{Deserialize, Serialize};

use crate::observation::{ClaimKey, ClaimedDevice, Dynamic, DynamicDevice, PublishedDevice, ResourceClaim};

use super::line::is_default;
use super::list::List;

/// What the API server said about claims.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireDynamic<'a> {
    #[serde(default, skip_serializing_if = "List::is_empty")]
    devices: List<'a, WirePublishedDevice>,
    #[serde(default, skip_serializing_if = "List::is_empty")]
    claims: List<'a, WireResourceClaim>,
}

/// The name of a device.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireDynamicDevice {
    driver: String,
    pool: String,
    device: String,
}

/// The name of a claim.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireClaimKey {
    namespace: String,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct WirePublishedDevice {
    name: WireDynamicDevice,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireResourceClaim {
    key: WireClaimKey,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    devices: Vec<WireClaimedDevice>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireClaimedDevice {
    name: WireDynamicDevice,
    #[serde(skip_serializing_if = "Option::is_none")]
    share_id: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed: Option<u64>,
}

// === impl WireDynamic ===

impl<'a> From<&'a Dynamic> for WireDynamic<'a> {
    fn from(dynamic: &'a Dynamic) -> Self {
        let Dynamic { devices, claims } = dynamic;
        Self { devices: List::of(devices, Into::into), claims: List::of(claims, Into::into) }
    }
}

impl From<WireDynamic<'_>> for Dynamic {
    fn from(wire: WireDynamic<'_>) -> Self {
        Self {
            devices: wire.devices.into_iter().map(Into::into).collect(),
            claims: wire.claims.into_iter().map(Into::into).collect(),
        }
    }
}

// === impl WireDynamicDevice ===

impl From<&DynamicDevice> for WireDynamicDevice {
    fn from(name: &DynamicDevice) -> Self {
        let DynamicDevice { driver, pool, device } = name;
        Self { driver: driver.as_ref().into(), pool: pool.as_ref().into(), device: device.as_ref().into() }
    }
}

impl From<WireDynamicDevice> for DynamicDevice {
    fn from(wire: WireDynamicDevice) -> Self {
        Self { driver: wire.driver.into(), pool: wire.pool.into(), device: wire.device.into() }
    }
}

// === impl WireClaimKey ===

impl From<&ClaimKey> for WireClaimKey {
    fn from(key: &ClaimKey) -> Self {
        let ClaimKey { namespace, name } = key;
        Self { namespace: namespace.as_ref().into(), name: name.as_ref().into() }
    }
}

impl From<WireClaimKey> for ClaimKey {
    fn from(wire: WireClaimKey) -> Self {
        Self { namespace: wire.namespace.into(), name: wire.name.into() }
    }
}

// === impl WirePublishedDevice ===

impl From<&PublishedDevice> for WirePublishedDevice {
    fn from(published: &PublishedDevice) -> Self {
        let PublishedDevice { name, uuid, parent, minor, profile, memory } = published;
        Self {
            name: name.into(),
            uuid: uuid.as_deref().map(Into::into),
            parent: parent.as_deref().map(Into::into),
            minor: *minor,
            profile: profile.as_deref().map(Into::into),
            memory: *memory,
        }
    }
}

impl From<WirePublishedDevice> for PublishedDevice {
    fn from(wire: WirePublishedDevice) -> Self {
        Self {
            name: wire.name.into(),
            uuid: wire.uuid.map(Into::into),
            parent: wire.parent.map(Into::into),
            minor: wire.minor,
            profile: wire.profile.map(Into::into),
            memory: wire.memory,
        }
    }
}

// === impl WireResourceClaim ===

impl From<&ResourceClaim> for WireResourceClaim {
    fn from(claim: &ResourceClaim) -> Self {
        let ResourceClaim { key, devices } = claim;
        Self { key: key.into(), devices: devices.iter().map(Into::into).collect() }
    }
}

impl From<WireResourceClaim> for ResourceClaim {
    fn from(wire: WireResourceClaim) -> Self {
        Self { key: wire.key.into(), devices: wire.devices.into_iter().map(Into::into).collect() }
    }
}

// === impl WireClaimedDevice ===

impl From<&ClaimedDevice> for WireClaimedDevice {
    fn from(claimed: &ClaimedDevice) -> Self {
        let ClaimedDevice { name, share_id, admin, consumed } = claimed;
        Self {
            name: name.into(),
            share_id: share_id.as_deref().map(Into::into),
            admin: *admin,
            consumed: *consumed,
        }
    }
}

impl From<WireClaimedDevice> for ClaimedDevice {
    fn from(wire: WireClaimedDevice) -> Self {
        Self {
            name: wire.name.into(),
            share_id: wire.share_id.map(Into::into),
            admin: wire.admin,
            consumed: wire.consumed,
        }
    }
}
