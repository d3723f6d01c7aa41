//! Who has which share of each GPU, from what the kubelet says and the driver shows.
//!
//! Every capacity of a GPU ends on exactly one [`Claim`]: a holder's, or nobody's in one of three ways. The claims of a
//! GPU sum to one. Which of its devices exist comes from the driver; who holds them comes from the kubelet; where the
//! kubelet cannot be believed the capacity is `unattributed`, never `unallocated`.

mod naming;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{Gpu, Health, Mig, MigDevice, Observation, Partition, PodKey, Span};

use super::report::{Sharing, State};
use super::share::{Division, Share};

pub use self::naming::{DeviceKey, Memory};
use self::naming::{Naming, Replicas};

/// How a GPU is divided among holders.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How large the share of a MIG device is.
    pub mig_share: MigShare,
    /// Who pays for the free slots of a shared device.
    pub sharing_policy: SharingPolicy,
    /// How old the kubelet's answer may be before it is not believed any more.
    pub max_age: Span,
}

/// How large the share of a MIG device is. Never the larger of the two: 4g + 3g would sum to 1.071.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigShare {
    /// Its compute slices out of the GPU's.
    #[default]
    Compute,
    /// Its memory slices out of the GPU's.
    Memory,
    /// The mean of the two.
    Blend,
}

/// Who pays for the free slots of a shared device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharingPolicy {
    /// The node: a holder has its slots, free slots are unallocated.
    #[default]
    Slots,
    /// Those who are present share the whole device.
    Active,
}

/// Who has a part of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A pod.
    Holder(Holding),
    /// Nobody, or nobody we can name: the state says in which way.
    Nobody(State),
}

/// What one pod has of one GPU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holding {
    /// The pod.
    pub pod: PodKey,
    /// The MIG device it is on; `None` on a whole GPU.
    pub mig_device: Option<Arc<str>>,
    /// Slots it has of the device.
    pub slots: u32,
    /// Slots that the device has; 1 when it is not shared.
    pub of_slots: u32,
}

/// The division of one GPU for one interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuClaims {
    /// Everybody's part; sums to the whole GPU.
    pub division: Division<Claim>,
    /// How it is shared.
    pub sharing: Sharing,
}

/// What attribution found on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributed {
    /// The claims on each GPU, in the order of the GPUs given.
    pub gpus: Vec<GpuClaims>,
    /// Allocated devices that could not be mapped to a GPU.
    pub unmapped: usize,
    /// Exclusive devices that several pods name, with those who name them.
    pub conflicts: BTreeSet<(DeviceKey, Vec<PodKey>)>,
}

/// Divides each of `gpus` among its holders.
#[must_use]
pub fn attribute(seen: &Observation, gpus: &[Arc<Gpu>], rules: &Rules, memory: &mut Memory) -> Attributed {
    let Some(allocations) = seen.allocations.as_deref() else {
        let claims = gpus.iter().map(|gpu| unattributed(gpu)).collect();
        return Attributed { gpus: claims, unmapped: 0, conflicts: BTreeSet::new() };
    };
    let fresh = seen.at.since(allocations.read_at) <= rules.max_age;
    let naming = Naming::read(allocations, gpus, |pod| fresh || seen.pods.iter().any(|p| p.key == *pod));
    memory.remember(seen, gpus, &naming);
    let mut conflicts = BTreeSet::new();
    let mut claims: Vec<GpuClaims> = gpus
        .iter()
        .map(|gpu| Divider { rules, memory, naming: &naming, conflicts: &mut conflicts }.divide(gpu, fresh))
        .collect();
    hide_unreadable(gpus, &mut claims, naming.unreadable());
    Attributed { gpus: claims, unmapped: naming.unmapped(), conflicts }
}

fn unattributed(gpu: &Gpu) -> GpuClaims {
    let sharing = if matches!(gpu.mig, Mig::Enabled(_)) { Sharing::Mig } else { Sharing::Exclusive };
    GpuClaims { division: Division::whole(Claim::Nobody(State::Unattributed)), sharing }
}

/// Takes as many free capacities as there are unreadable ids out of `unallocated`: somebody holds them, and we cannot
/// say who. Which they are is not known; how many they are is, so the node's sum is right. GPUs that nobody holds come
/// first, as most ids stand for whole GPUs; a GPU that is broken hides nobody, as it is `unavailable` whoever has it.
fn hide_unreadable(gpus: &[Arc<Gpu>], claims: &mut [GpuClaims], ids: usize) {
    let free = Claim::Nobody(State::Unallocated);
    let mut healthy: Vec<&mut GpuClaims> = (gpus.iter().zip(claims))
        .filter_map(|(gpu, claims)| (gpu.health == Health::Healthy).then_some(claims))
        .collect();
    healthy.sort_by_key(|gpu| gpu.sharing == Sharing::Mig || gpu.holdings().next().is_some());
    let claims = healthy.into_iter().flat_map(|gpu| gpu.division.claimants_mut());
    for claim in claims.filter(|claim| **claim == free).take(ids) {
        *claim = Claim::Nobody(State::Unattributed);
    }
}

/// Divides one GPU.
struct Divider<'a> {
    rules: &'a Rules,
    memory: &'a Memory,
    naming: &'a Naming,
    conflicts: &'a mut BTreeSet<(DeviceKey, Vec<PodKey>)>,
}

/// How many slots of a device each pod has.
struct Slots<'p> {
    of: BTreeMap<&'p PodKey, u32>,
    /// Whether the pods take turns; the one slot of a device that is not shared is all of it.
    shared: bool,
    /// Whether several pods name one slot.
    contested: bool,
}

// === impl Rules ===

impl MigShare {
    fn of(self, device: &MigDevice, partition: &Partition) -> Share {
        let compute = Share::new(device.compute_slices.into(), partition.compute_slices.into());
        // Compute instances of one GPU instance share its memory.
        let memory = Share::new(device.compute_slices.into(), device.gpu_instance_slices.into())
            .of(Share::new(device.memory_slices.into(), partition.memory_slices.into()));
        self.choose(compute, memory)
    }

    fn choose(self, compute: Share, memory: Share) -> Share {
        match self {
            Self::Compute => compute,
            Self::Memory => memory,
            Self::Blend => compute.mean(memory),
        }
    }
}

// === impl Holding ===

impl Holding {
    /// The part of the device that it has.
    #[must_use]
    pub fn slot_share(&self) -> Share {
        Share::new(self.slots.into(), self.of_slots.into())
    }

    /// Whether `other` is the same pod on the same device.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.pod == other.pod && self.mig_device == other.mig_device
    }
}

// === impl GpuClaims ===

impl GpuClaims {
    /// The division of a gap, seen from both of its ends: who held something before and after held it in between, who
    /// did so at one end only may have or not, and that part is nobody's that we can name.
    #[must_use]
    pub fn over_gap(&self, after: &Self) -> Division<Claim> {
        let mut came = after
            .holdings()
            .fold(Share::NONE, |sum, (holding, share)| sum.plus(share.minus(self.share_of(holding))));
        let mut claims = Vec::new();
        for (claim, share) in self.division.parts() {
            let (kept, unknown) = match claim {
                Claim::Holder(holding) => {
                    let kept = share.min(after.share_of(holding));
                    (kept, share.minus(kept))
                }
                Claim::Nobody(State::Unallocated) => {
                    let taken = came.min(share);
                    came = came.minus(taken);
                    (share.minus(taken), taken)
                }
                Claim::Nobody(_) => (share, Share::NONE),
            };
            claims.push((claim.clone(), kept));
            claims.push((Claim::Nobody(State::Unattributed), unknown));
        }
        Division::new(claims, Claim::Nobody(State::Unattributed))
    }

    /// What the same pod has of the same device here.
    fn share_of(&self, holding: &Holding) -> Share {
        let same = self.holdings().filter(|(other, _)| other.is_same_place(holding));
        same.fold(Share::NONE, |sum, (_, share)| sum.plus(share))
    }

    /// Those who hold a part, with their shares.
    pub fn holdings(&self) -> impl Iterator<Item = (&Holding, Share)> {
        self.division.parts().filter_map(|(claim, share)| match claim {
            Claim::Holder(holding) => Some((holding, share)),
            Claim::Nobody(_) => None,
        })
    }
}

// === impl Divider ===

impl Divider<'_> {
    fn divide(mut self, gpu: &Gpu, fresh: bool) -> GpuClaims {
        let whole: DeviceKey = (Arc::clone(&gpu.uuid), None);
        let nobody = if fresh { State::Unallocated } else { State::Unattributed };
        match &gpu.mig {
            // A plugin that ignores MIG hands out the whole GPU whatever it is cut into.
            Mig::Enabled(partition) if !self.is_held_whole(&whole, partition) => GpuClaims {
                division: self.divide_partition(&whole.0, partition, nobody),
                sharing: Sharing::Mig,
            },
            _ => {
                let (claims, shared) = self.holders(&whole, Share::WHOLE);
                let sharing = if shared { Sharing::TimeSlicing } else { Sharing::Exclusive };
                GpuClaims { division: Division::new(claims, Claim::Nobody(nobody)), sharing }
            }
        }
    }

    /// Whether a partitioned GPU is held as a whole. When pods name both it and its MIG devices, the plugin was switched,
    /// and the newest pod's form is the present one.
    fn is_held_whole(&mut self, whole: &DeviceKey, partition: &Partition) -> bool {
        let Some(of_whole) = self.naming.pods(whole) else { return false };
        let key = |device: &MigDevice| (Arc::clone(&whole.0), Some(Arc::clone(&device.uuid)));
        let of_parts = partition.devices.iter().filter_map(|device| self.naming.pods(&key(device)));
        let of_parts: BTreeSet<&PodKey> = of_parts.flat_map(BTreeMap::keys).collect();
        if of_parts.is_empty() {
            return true;
        }
        let all: BTreeSet<&PodKey> = of_parts.into_iter().chain(of_whole.keys()).collect();
        self.conflicts.insert((whole.clone(), all.iter().copied().cloned().collect()));
        self.memory.newest(all.into_iter()).is_some_and(|pod| of_whole.contains_key(pod))
    }

    /// The holders of the MIG devices; what they leave is free while the scheduler could still give it away.
    fn divide_partition(&mut self, gpu: &Arc<str>, partition: &Partition, nobody: State) -> Division<Claim> {
        let mut claims = Vec::new();
        let mut devices: Vec<&MigDevice> = partition.devices.iter().collect();
        devices.sort_by(|a, b| a.uuid.cmp(&b.uuid));
        for device in devices {
            let share = self.rules.mig_share.of(device, partition);
            let key = (Arc::clone(gpu), Some(Arc::clone(&device.uuid)));
            let (holders, _) = self.holders(&key, share);
            let held = holders.iter().fold(Share::NONE, |sum, (_, share)| sum.plus(*share));
            claims.extend(holders);
            claims.push((Claim::Nobody(nobody), share.minus(held)));
        }
        claims.push((Claim::Nobody(nobody), self.free_slices(partition)));
        Division::new(
            claims,
            Claim::Nobody(if nobody == State::Unallocated { State::Stranded } else { nobody }),
        )
    }

    /// The slices in no GPU instance that could still become one: as many as are left of the scarcer kind.
    fn free_slices(&self, partition: &Partition) -> Share {
        let instances: BTreeMap<u32, &MigDevice> =
            partition.devices.iter().map(|device| (device.gpu_instance, device)).collect();
        // What a driver says in a bad moment may be any number.
        let used = |slices: fn(&MigDevice) -> u32| {
            instances.values().fold(0u32, |sum, device| sum.saturating_add(slices(device)))
        };
        let compute = partition.compute_slices.saturating_sub(used(|device| device.gpu_instance_slices));
        let memory = partition.memory_slices.saturating_sub(used(|device| device.memory_slices));
        let slices = u64::from(compute.min(memory));
        self.rules.mig_share.choose(
            Share::new(slices, partition.compute_slices.into()),
            Share::new(slices, partition.memory_slices.into()),
        )
    }

    /// The pods that hold a device, each with its share of the GPU, and whether they take turns on it.
    fn holders(&mut self, key: &DeviceKey, share: Share) -> (Vec<(Claim, Share)>, bool) {
        let known = self.memory.slots(key);
        let Some(pods) = self.naming.pods(key) else { return (Vec::new(), known.is_some()) };
        let Slots { of, shared, contested } = self.slots_of(pods);
        if contested {
            self.conflicts.insert((key.clone(), pods.keys().cloned().collect()));
        }
        let of_slots = if shared { self.all_slots(known, of.values().sum()) } else { 1 };
        let claim = |(pod, slots): (&PodKey, u32)| {
            let holding = Holding { pod: pod.clone(), mig_device: key.1.clone(), slots, of_slots };
            let share = holding.slot_share().of(share);
            (Claim::Holder(holding), share)
        };
        (of.into_iter().map(claim).collect(), shared)
    }

    /// Of several pods that name one slot the newest has it, and the form of the newest pod's id is the plugin's present one: pods that were
    /// there before the plugin was switched from whole devices to replicas, or back, have the other.
    fn slots_of<'p>(&self, pods: &'p BTreeMap<PodKey, Replicas>) -> Slots<'p> {
        let newest = self.memory.newest(pods.keys());
        if let Some(pod) = newest.filter(|pod| pods[*pod].contains(&None)) {
            return Slots { of: BTreeMap::from([(pod, 1)]), shared: false, contested: pods.len() > 1 };
        }
        let mut contested = false;
        let mut owners: BTreeMap<u32, &PodKey> = BTreeMap::new();
        for (pod, replicas) in pods {
            contested |= replicas.contains(&None);
            for replica in replicas.iter().flatten() {
                let owner = owners.entry(*replica).or_insert(pod);
                contested |= *owner != pod;
                *owner = self.memory.newest([*owner, pod].into_iter()).unwrap_or(pod);
            }
        }
        let mut of = BTreeMap::new();
        for pod in owners.into_values() {
            *of.entry(pod).or_insert(0) += 1;
        }
        Slots { of, shared: true, contested }
    }

    fn all_slots(&self, known: Option<u32>, held: u32) -> u32 {
        match self.rules.sharing_policy {
            SharingPolicy::Active => held,
            SharingPolicy::Slots => known.unwrap_or(held).max(held),
        }
    }
}
