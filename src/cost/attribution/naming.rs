//! The allocations of a node turned around, from device to pods, and what must be remembered between two answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{
    Allocations, DeviceId, DeviceTarget, Gpu, Mig, MigDevice, Observation, PodKey, Uptime,
};

/// The node label that says into how many replicas the device plugin divides each GPU.
const REPLICAS_LABEL: &str = "nvidia.com/gpu.replicas";

/// A device of the node: the UUID of a GPU, and of a MIG device on it.
pub type DeviceKey = (Arc<str>, Option<Arc<str>>);

/// The replicas of a device that a pod names; no number means the device as a whole.
pub(super) type Replicas = BTreeSet<Option<u32>>;

/// What attribution remembers from one observation to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// How many slots each shared device last had: a plugin that restarts shows nothing for a moment.
    advertised: BTreeMap<DeviceKey, u32>,
    /// How many it has at least, by the highest that was ever held, where no plugin says.
    named: BTreeMap<DeviceKey, u32>,
    /// When each holder was first seen, which tells the newer of two.
    first_seen: BTreeMap<PodKey, Uptime>,
}

/// The allocations of a node, turned around: from device to pods.
#[derive(Debug, Default)]
pub(super) struct Naming {
    devices: BTreeMap<DeviceKey, BTreeMap<PodKey, Replicas>>,
    unmapped: usize,
    unreadable: usize,
}

// === impl Memory ===

impl Memory {
    /// Takes in how many slots each device has and when each holder came.
    pub(super) fn remember(&mut self, seen: &Observation, gpus: &[Arc<Gpu>], naming: &Naming) {
        self.advertised.retain(|key, _| exists(key, gpus));
        self.named.retain(|key, _| exists(key, gpus));
        let label = replicas_label(seen);
        for key in naming.devices.keys() {
            if let Some(highest) = naming.highest_replica(key) {
                let told = label.unwrap_or(0).max(highest.saturating_add(1));
                let named = self.named.entry(key.clone()).or_insert(told);
                *named = told.max(*named);
            }
        }
        let advertised = seen.allocations.iter().flat_map(|a| a.advertised.iter().flatten());
        self.remember_advertised(advertised, gpus, naming);
        self.remember_holders(seen.at, naming);
    }

    fn remember_advertised<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a DeviceId>,
        gpus: &[Arc<Gpu>],
        naming: &Naming,
    ) {
        let mut advertised: BTreeMap<DeviceKey, Replicas> = BTreeMap::new();
        for id in ids {
            if let Some(key) = find(&id.target, gpus) {
                advertised.entry(key).or_default().insert(id.replica);
            }
        }
        for (key, replicas) in advertised {
            if !replicas.contains(&None) {
                self.advertised.insert(key, u32::try_from(replicas.len()).unwrap_or(u32::MAX));
            } else if naming.highest_replica(&key).is_none() {
                // Whoever still has a slot from before the plugin was switched keeps paying for that slot.
                self.advertised.remove(&key);
                self.named.remove(&key);
            }
        }
    }

    fn remember_holders(&mut self, at: Uptime, naming: &Naming) {
        let present: BTreeSet<&PodKey> = naming.devices.values().flat_map(BTreeMap::keys).collect();
        self.first_seen.retain(|pod, _| present.contains(pod));
        for pod in present {
            if !self.first_seen.contains_key(pod) {
                self.first_seen.insert(pod.clone(), at);
            }
        }
    }

    /// How many slots a device has; `None` if it is not shared as far as anybody said.
    pub(super) fn slots(&self, key: &DeviceKey) -> Option<u32> {
        self.advertised.get(key).or_else(|| self.named.get(key)).copied()
    }

    /// The pod among `pods` that was first seen last; of several, the last by name.
    pub(super) fn newest<'a>(&self, pods: impl Iterator<Item = &'a PodKey>) -> Option<&'a PodKey> {
        pods.max_by_key(|pod| (self.first_seen.get(*pod), *pod))
    }
}

fn exists((gpu, mig_device): &DeviceKey, gpus: &[Arc<Gpu>]) -> bool {
    gpus.iter().filter(|known| known.uuid == *gpu).any(|known| match (mig_device, &known.mig) {
        (None, _) => true,
        (Some(uuid), Mig::Enabled(partition)) => partition.devices.iter().any(|device| device.uuid == *uuid),
        (Some(_), Mig::Disabled) => false,
    })
}

fn replicas_label(seen: &Observation) -> Option<u32> {
    let (_, value) = seen.node.labels.iter().find(|(key, _)| &**key == REPLICAS_LABEL)?;
    value.parse().ok().filter(|replicas| *replicas > 1)
}

// === impl Naming ===

impl Naming {
    pub(super) fn read(
        allocations: &Allocations,
        gpus: &[Arc<Gpu>],
        believed: impl Fn(&PodKey) -> bool,
    ) -> Self {
        let mut naming = Self::default();
        let believed = allocations.containers.iter().filter(|allocation| believed(&allocation.pod));
        let named: BTreeSet<(&PodKey, &DeviceId)> =
            believed.flat_map(|a| a.devices.iter().map(move |id| (&a.pod, id))).collect();
        for (pod, id) in named {
            if let Some(key) = find(&id.target, gpus) {
                let pods = naming.devices.entry(key).or_default();
                pods.entry(pod.clone()).or_default().insert(id.replica);
            } else {
                naming.unmapped += 1;
                naming.unreadable += usize::from(matches!(id.target, DeviceTarget::Unreadable(_)));
            }
        }
        naming
    }

    /// The highest replica of a device that a pod names; `None` if none names a replica.
    fn highest_replica(&self, key: &DeviceKey) -> Option<u32> {
        self.devices.get(key)?.values().flatten().flatten().max().copied()
    }

    /// Ids that no rule reads.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Allocated devices that this node does not have, or whose id cannot be read.
    pub(super) fn unmapped(&self) -> usize {
        self.unmapped
    }

    /// The pods that name a device, if any does.
    pub(super) fn pods(&self, key: &DeviceKey) -> Option<&BTreeMap<PodKey, Replicas>> {
        self.devices.get(key)
    }
}

/// The device that an id stands for, if this node has it.
fn find(target: &DeviceTarget, gpus: &[Arc<Gpu>]) -> Option<DeviceKey> {
    let whole = |gpu: &Arc<Gpu>| (Arc::clone(&gpu.uuid), None);
    let with_uuid = |uuid: &Arc<str>| gpus.iter().find(|gpu| gpu.uuid == *uuid);
    let with_minor = |minor: u32| gpus.iter().find(|gpu| gpu.minor == Some(minor));
    match target {
        DeviceTarget::Gpu(uuid) => with_uuid(uuid).map(whole),
        DeviceTarget::Minor(minor) => with_minor(*minor).map(whole),
        DeviceTarget::MigDevice(uuid) => {
            gpus.iter().find_map(|gpu| mig_device(gpu, |device| device.uuid == *uuid))
        }
        DeviceTarget::MigInstance { gpu, gpu_instance, compute_instance } => {
            mig_device(with_uuid(gpu)?, |device| {
                device.gpu_instance == *gpu_instance && device.compute_instance == *compute_instance
            })
        }
        DeviceTarget::MinorInstance { minor, gpu_instance } => {
            mig_device(with_minor(*minor)?, |device| device.gpu_instance == *gpu_instance)
        }
        DeviceTarget::Slot(_)
        | DeviceTarget::Claimed { .. }
        | DeviceTarget::Claim(_)
        | DeviceTarget::Unreadable(_) => None,
    }
}

fn mig_device(gpu: &Gpu, is_it: impl Fn(&MigDevice) -> bool) -> Option<DeviceKey> {
    let Mig::Enabled(partition) = &gpu.mig else { return None };
    let device = partition.devices.iter().find(|device| is_it(device))?;
    Some((Arc::clone(&gpu.uuid), Some(Arc::clone(&device.uuid))))
}
