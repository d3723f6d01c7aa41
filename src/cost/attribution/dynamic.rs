//! Devices that are given out by claims: which device of the node a claim stands for, and on which terms.

use std::sync::Arc;

use crate::observation::{
    ClaimKey, ClaimedDevice, DeviceTarget, Dynamic, DynamicDevice, Gpu, Mig, MigDevice, PublishedDevice,
};

use super::naming::{DeviceKey, find};

/// The driver's name for a device that is passed through to a virtual machine, which NVML does not show.
const PASSED_THROUGH: &str = "gpu-vfio-";

/// The terms on which a pod has a claimed device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Terms {
    /// The claim.
    pub(super) claim: ClaimKey,
    /// Which of several claims on the device it is.
    pub(super) share_id: Option<Arc<str>>,
    /// Bytes of the device's memory that it consumes, and bytes that there are.
    pub(super) consumed: Option<(u64, u64)>,
}

/// What a device of a claim turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A device of this node.
    Device(DeviceKey, Terms),
    /// A device of this node, of which it is not told yet on which terms: it may be access for monitoring, or a part.
    Untold(DeviceKey),
    /// Nothing that costs anything: access for monitoring, or a device that NVML does not show.
    Free,
    /// Something that we cannot find, though the GPU that it is on may be known.
    Unknown(Option<Arc<str>>),
}

/// What the claims of a node stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claims<'a> {
    dynamic: &'a Dynamic,
    gpus: &'a [Arc<Gpu>],
}

// === impl Claims ===

impl<'a> Claims<'a> {
    pub(super) fn new(dynamic: &'a Dynamic, gpus: &'a [Arc<Gpu>]) -> Self {
        Self { dynamic, gpus }
    }

    /// The devices of a claim that the kubelet has not prepared yet. None while the claim is not known; whether it is
    /// one for GPUs at all is then not known either, except that a node where no driver publishes any has none.
    pub(super) fn of_unprepared(self, key: &ClaimKey) -> Vec<Found> {
        match self.claim(key) {
            Some(devices) => {
                devices.iter().map(|claimed| self.found(key, &claimed.name, Some(claimed))).collect()
            }
            None if self.dynamic.devices.is_empty() => Vec::new(),
            None => vec![Found::Unknown(None)],
        }
    }

    /// The device that the kubelet names.
    pub(super) fn of_prepared(
        self,
        key: &ClaimKey,
        device: &DynamicDevice,
        share_id: Option<&Arc<str>>,
    ) -> Found {
        // Where nothing is told of devices, claims are not told either: there is nothing to wait for.
        let is_awaited = self.claim(key).is_none() && !self.dynamic.devices.is_empty();
        // Kubelets before 1.35 tell no share.
        let is_share = |told: Option<&Arc<str>>| share_id.is_none() || told == share_id;
        let is_it = |claimed: &&ClaimedDevice| claimed.name == *device && is_share(claimed.share_id.as_ref());
        let claimed = self.claim(key).and_then(|devices| devices.iter().find(is_it));
        match (self.found(key, device, claimed), share_id) {
            (Found::Device(at, _), _) if is_awaited => Found::Untold(at),
            (Found::Device(at, terms), Some(id)) => {
                Found::Device(at, Terms { share_id: Some(Arc::clone(id)), ..terms })
            }
            (found, _) => found,
        }
    }

    fn claim(self, key: &ClaimKey) -> Option<&'a [ClaimedDevice]> {
        let claim = self.dynamic.claims.iter().find(|claim| claim.key == *key)?;
        Some(&claim.devices)
    }

    fn found(self, key: &ClaimKey, name: &DynamicDevice, claimed: Option<&ClaimedDevice>) -> Found {
        if claimed.is_some_and(|claimed| claimed.admin) || name.device.starts_with(PASSED_THROUGH) {
            return Found::Free;
        }
        let published = self.dynamic.devices.iter().find(|published| published.name == *name);
        let Some(at) = self.device(name, published) else {
            let parent = name.read_name().and_then(|read| self.parent(read.minor, published));
            return Found::Unknown(parent.map(|gpu| Arc::clone(&gpu.uuid)));
        };
        let all = published.and_then(|published| published.memory);
        let consumed = claimed.and_then(|claimed| claimed.consumed).zip(all);
        let share_id = claimed.and_then(|claimed| claimed.share_id.clone());
        Found::Device(at, Terms { claim: key.clone(), share_id, consumed })
    }

    /// By the UUID that the driver publishes, or else by the name that it gave the device.
    fn device(self, name: &DynamicDevice, published: Option<&PublishedDevice>) -> Option<DeviceKey> {
        if let Some(uuid) = published.and_then(|published| published.uuid.as_ref()) {
            let target = if uuid.starts_with("MIG-") { DeviceTarget::MigDevice } else { DeviceTarget::Gpu };
            return find(&target(Arc::clone(uuid)), self.gpus);
        }
        let read = name.read_name()?;
        let published_profile = published.and_then(|published| published.profile.clone());
        match published_profile.or(read.profile) {
            None => find(&DeviceTarget::Minor(read.minor), self.gpus),
            Some(profile) => mig_device(self.parent(read.minor, published)?, &profile),
        }
    }

    fn parent(self, minor: u32, published: Option<&PublishedDevice>) -> Option<&'a Arc<Gpu>> {
        let uuid = published.and_then(|published| published.parent.as_ref());
        self.gpus.iter().find(|gpu| match uuid {
            Some(uuid) => gpu.uuid == *uuid,
            None => gpu.minor == Some(minor),
        })
    }
}

/// The one MIG device of a GPU that has a profile. A MIG device that is made on demand has no UUID in the slice, and of
/// several with one profile nothing tells which it is.
fn mig_device(gpu: &Gpu, profile: &str) -> Option<DeviceKey> {
    let Mig::Enabled(partition) = &gpu.mig else { return None };
    let mut same = partition.devices.iter().filter(|device| letters(&device.profile) == letters(profile));
    match (same.next(), same.next()) {
        (Some(MigDevice { uuid, .. }), None) => Some((Arc::clone(&gpu.uuid), Some(Arc::clone(uuid)))),
        _ => None,
    }
}

/// A profile without what names of Kubernetes may not contain: `1g.10gb+me` is `1g10gb-me` there.
fn letters(profile: &str) -> String {
    profile.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}
