//! What attribution remembers from one observation to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{Allocation, DeviceId, Gpu, Mig, Node, Observation, PodKey, Span, UnixTime, Uptime};

use super::listing::Listing;
use super::naming::{DeviceKey, Naming, Part, Parts, find};
use crate::cost::report::Sharing;

/// How device plugins say into how many replicas each GPU is divided, NVIDIA's and GKE's.
const REPLICAS_LABELS: [&str; 2] =
    ["nvidia.com/gpu.replicas", "cloud.google.com/gke-max-shared-clients-per-gpu"];

/// How device plugins say whether replicas take turns or run side by side, NVIDIA's and GKE's.
const STRATEGY_LABELS: [&str; 2] =
    ["nvidia.com/gpu.sharing-strategy", "cloud.google.com/gke-gpu-sharing-strategy"];

/// What attribution remembers from one observation to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Whose listing is believed.
    pub listing: Listing,
    /// How many slots each shared device last had: a plugin that restarts shows nothing for a moment.
    pub advertised: BTreeMap<DeviceKey, u32>,
    /// How many it has at least, by the highest that was ever held, where no plugin says.
    pub named: BTreeMap<DeviceKey, u32>,
    /// Whole GPUs that a plugin ever advertised.
    pub offered: BTreeSet<DeviceKey>,
    /// Those of them that it no longer does, though it advertises others: it found them unhealthy.
    pub withdrawn: BTreeSet<DeviceKey>,
    /// Framebuffer of each device, by which parts of its memory are measured; a lost GPU does not say it any more.
    pub bytes: BTreeMap<DeviceKey, u64>,
    /// When each holder came, which tells the newer of two.
    pub came: BTreeMap<PodKey, (Uptime, UnixTime)>,
    /// How the node's plugin shares a device among its replicas.
    pub replicas: Sharing,
}

// === impl Memory ===

impl Memory {
    /// Begins with another boot: who held what before holds it no longer, and times of two boots cannot be compared.
    pub(crate) fn begin_boot(&mut self) {
        self.listing = Listing::default();
        self.came.clear();
    }

    /// Whether the kubelet's answer is the one that was taken in last, or there was none yet.
    pub(super) fn has_heard(&self, seen: &Observation) -> bool {
        self.listing.has_heard(seen)
    }

    /// Takes in who holds something. Says whether that is anything else than before.
    pub(super) fn listen(&mut self, seen: &Observation, max_age: Span) -> bool {
        self.listing.take_in(seen, max_age)
    }

    /// What pods hold.
    pub(super) fn held(&self) -> impl Iterator<Item = &Allocation> {
        self.listing.held()
    }

    /// Whether what nobody holds is free.
    pub(super) fn is_fresh(&self) -> bool {
        self.listing.is_fresh()
    }

    /// Takes in what there is of each device and when each holder came.
    pub(super) fn remember(&mut self, seen: &Observation, gpus: &[Arc<Gpu>], naming: &Naming) {
        let is_here = |key: &DeviceKey| exists(key, gpus);
        self.advertised.retain(|key, _| is_here(key));
        self.named.retain(|key, _| is_here(key));
        self.offered.retain(is_here);
        self.bytes.retain(|key, _| is_here(key));
        for gpu in gpus {
            self.remember_bytes(gpu);
        }
        for (key, pods) in naming.devices() {
            if let Some(highest) = highest_replica(pods.values().flat_map(Parts::iter)) {
                let label = replicas_label(&seen.node, key, gpus);
                let told = label.unwrap_or(0).max(highest.saturating_add(1));
                let named = self.named.entry(key.clone()).or_insert(told);
                *named = told.max(*named);
            }
        }
        if let Some(ids) = seen.allocations.as_ref().and_then(|answer| answer.advertised.as_ref()) {
            self.remember_advertised(ids, gpus, naming);
        }
        self.replicas = if is_mps(&seen.node) { Sharing::Mps } else { Sharing::TimeSlicing };
        self.remember_holders(seen, naming);
    }

    fn remember_bytes(&mut self, gpu: &Gpu) {
        let mut remember = |mig_device, memory: Option<crate::observation::Memory>| {
            if let Some(memory) = memory {
                self.bytes.insert((Arc::clone(&gpu.uuid), mig_device), memory.total);
            }
        };
        remember(None, gpu.memory);
        if let Mig::Enabled(partition) = &gpu.mig {
            partition
                .devices
                .iter()
                .for_each(|device| remember(Some(Arc::clone(&device.uuid)), device.memory));
        }
    }

    fn remember_advertised(&mut self, ids: &[DeviceId], gpus: &[Arc<Gpu>], naming: &Naming) {
        let mut advertised: BTreeMap<DeviceKey, BTreeSet<Option<u32>>> = BTreeMap::new();
        for id in ids {
            if let Some(key) = find(&id.target, gpus) {
                advertised.entry(key).or_default().insert(id.replica);
            }
        }
        // A plugin that advertises no whole GPU is restarting, or gives out parts; one that leaves out a GPU found it
        // unhealthy.
        if advertised.keys().any(|(_, mig_device)| mig_device.is_none()) {
            self.offered.extend(advertised.keys().filter(|(_, mig_device)| mig_device.is_none()).cloned());
            self.withdrawn =
                self.offered.iter().filter(|key| !advertised.contains_key(*key)).cloned().collect();
        }
        for (key, replicas) in advertised {
            if !replicas.contains(&None) {
                self.advertised.insert(key, u32::try_from(replicas.len()).unwrap_or(u32::MAX));
            } else if naming
                .pods(&key)
                .is_none_or(|pods| highest_replica(pods.values().flat_map(Parts::iter)).is_none())
            {
                // Whoever still has a slot from before the plugin was switched keeps paying for that slot.
                self.advertised.remove(&key);
                self.named.remove(&key);
            }
        }
    }

    fn remember_holders(&mut self, seen: &Observation, naming: &Naming) {
        let created: BTreeMap<&PodKey, UnixTime> =
            seen.pods.iter().map(|pod| (&pod.key, pod.created)).collect();
        let holders: BTreeSet<&PodKey> = naming.devices().flat_map(|(_, pods)| pods.keys()).collect();
        let came = |pod: &&PodKey| {
            let since = self.listing.since(pod).unwrap_or_default();
            ((*pod).clone(), (since, created.get(*pod).copied().unwrap_or_default()))
        };
        self.came = holders.iter().map(came).collect();
    }

    /// How many slots a device has; `None` if it is not shared as far as anybody said.
    pub(super) fn slots(&self, key: &DeviceKey) -> Option<u32> {
        self.advertised.get(key).or_else(|| self.named.get(key)).copied()
    }

    /// How the node's plugin shares a device among its replicas.
    pub(super) fn replicas(&self) -> Sharing {
        self.replicas
    }

    /// All bytes of a device's framebuffer; `None` as long as it never said.
    pub(super) fn bytes(&self, key: &DeviceKey) -> Option<u64> {
        self.bytes.get(key).copied()
    }

    /// Whether its plugin found a GPU unhealthy, so that the scheduler cannot give it away.
    pub(super) fn is_withdrawn(&self, key: &DeviceKey) -> bool {
        self.withdrawn.contains(key)
    }

    /// The pod among `pods` that came last; of several that came together, the last made, then the last by name.
    pub(super) fn newest<'a>(&self, pods: impl Iterator<Item = &'a PodKey>) -> Option<&'a PodKey> {
        pods.max_by_key(|pod| (self.came.get(*pod), *pod))
    }
}

fn exists((gpu, mig_device): &DeviceKey, gpus: &[Arc<Gpu>]) -> bool {
    gpus.iter().filter(|known| known.uuid == *gpu).any(|known| match (mig_device, &known.mig) {
        (None, _) => true,
        (Some(uuid), Mig::Enabled(partition)) => partition.devices.iter().any(|device| device.uuid == *uuid),
        (Some(_), Mig::Disabled) => false,
    })
}

/// The highest replica among the parts of a device; `None` if there is none.
fn highest_replica<'p>(parts: impl Iterator<Item = &'p Part>) -> Option<u32> {
    parts.filter_map(|part| if let Part::Replica(number) = part { Some(*number) } else { None }).max()
}

/// How many replicas the node's labels say that a device has.
fn replicas_label(node: &Node, (gpu, mig_device): &DeviceKey, gpus: &[Arc<Gpu>]) -> Option<u32> {
    let profile = || {
        let Mig::Enabled(partition) = &gpus.iter().find(|known| known.uuid == *gpu)?.mig else { return None };
        partition.devices.iter().find(|device| Some(&device.uuid) == mig_device.as_ref())
    };
    let of_profile = profile().map(|device| {
        let profile = device.profile.replace('+', ".");
        format!("nvidia.com/mig-{profile}.replicas")
    });
    let labels = of_profile.iter().map(String::as_str).chain(REPLICAS_LABELS);
    let told = labels.filter_map(|label| value(node, label)?.parse().ok());
    told.into_iter().find(|replicas: &u32| *replicas > 1)
}

fn is_mps(node: &Node) -> bool {
    STRATEGY_LABELS.iter().any(|label| value(node, label) == Some("mps"))
}

fn value<'n>(node: &'n Node, label: &str) -> Option<&'n str> {
    let (_, value) = node.labels.iter().find(|(key, _)| &**key == label)?;
    Some(value)
}
