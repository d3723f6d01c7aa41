//! Resource claims: which devices were allocated to whom, on which terms.
//!
//! A claim asks for devices, and a result says which it was given for which request. Access for monitoring stands with
//! the result, and with the request, where older versions have it in another place. A device that can be consumed in
//! parts is given to several claims: each is a share with an id, and says how much of what it consumes.

use std::collections::BTreeMap;

use kube::Client;
use serde::Deserialize;

use super::access::get;
use super::group::{GROUP, Version};
use super::slices::{DRIVER, of_driver};
use super::{Error, quantity};
use crate::observation::{ClaimKey, ClaimedDevice, DynamicDevice};

/// A `ResourceClaim`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Claim {
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    devices: Requests,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requests {
    requests: Vec<Request>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request {
    name: String,
    /// As older versions have it.
    admin_access: Option<bool>,
    /// Where newer versions have it.
    exactly: Option<Exactly>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Exactly {
    admin_access: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    /// `None` while nothing is allocated.
    allocation: Option<Allocation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Allocation {
    devices: Allocated,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Allocated {
    results: Vec<Outcome>,
}

/// A device that was allocated to a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Outcome {
    /// The name of the request, and after a slash of the alternative that was chosen.
    request: String,
    driver: String,
    pool: String,
    device: String,
    admin_access: Option<bool>,
    #[serde(rename = "shareID")]
    share_id: Option<String>,
    consumed_capacity: BTreeMap<String, String>,
}

/// The GPUs of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimState {
    /// Whether anything is allocated, be it of this driver or of another.
    pub(super) is_allocated: bool,
    /// Sorted.
    pub(super) devices: Vec<Consumer>,
}

/// What a claim has of a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Consumer {
    /// With the memory that it consumes, if that is any.
    pub(super) device: ClaimedDevice,
    /// How many of the device's shares it consumes, where the driver counts shares.
    pub(super) shares: Option<u64>,
}

/// Asks for a claim.
pub(super) async fn ask(client: &Client, version: Version, key: &ClaimKey) -> Result<ClaimState, Error> {
    let path = format!("/apis/{GROUP}/{version}/namespaces/{}/resourceclaims", key.namespace);
    let claim: Claim = get(client, "read a resource claim", &path, &key.name).await?;
    Ok(claim.state())
}

// === impl Claim ===

impl Claim {
    fn state(&self) -> ClaimState {
        let results = self.status.allocation.iter().flat_map(|allocation| &allocation.devices.results);
        let gpus = results.filter(|outcome| outcome.driver == DRIVER);
        let mut devices: Vec<Consumer> =
            gpus.map(|outcome| outcome.consumer(self.is_admin(&outcome.request))).collect();
        devices.sort_unstable();
        devices.dedup();
        ClaimState { is_allocated: self.status.allocation.is_some(), devices }
    }

    /// Whether a request asks for access for monitoring.
    fn is_admin(&self, request: &str) -> bool {
        let name = request.split('/').next().unwrap_or_default();
        let mut asked = self.spec.devices.requests.iter().filter(|request| request.name == name);
        asked.any(|request| {
            let exactly = request.exactly.as_ref().and_then(|exactly| exactly.admin_access);
            exactly.or(request.admin_access).unwrap_or(false)
        })
    }
}

// === impl Outcome ===

impl Outcome {
    fn consumer(&self, was_asked_for_as_admin: bool) -> Consumer {
        let consumed = |what| of_driver(&self.consumed_capacity, what).and_then(|text| quantity::whole(text));
        let device = ClaimedDevice {
            name: DynamicDevice {
                driver: self.driver.as_str().into(),
                pool: self.pool.as_str().into(),
                device: self.device.as_str().into(),
            },
            share_id: self.share_id.as_deref().filter(|id| !id.is_empty()).map(Into::into),
            admin: self.admin_access.unwrap_or(was_asked_for_as_admin),
            consumed: consumed("memory").filter(|bytes| *bytes > 0),
        };
        Consumer { device, shares: consumed("shares") }
    }
}
