//! The division of one GPU among those who hold a part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{Gpu, Mig, MigDevice, Partition, PodKey};

use super::containers;
use super::memory::Memory;
use super::naming::{DeviceKey, Naming, Parts};
use super::parts::Holders;
use super::{Claim, GpuClaims, Holding, Rules};
use crate::cost::report::{Sharing, State};
use crate::cost::share::{Division, Share};

/// Divides one GPU.
pub(super) struct Divider<'a> {
    rules: &'a Rules,
    memory: &'a Memory,
    naming: &'a Naming,
    conflicts: &'a mut BTreeSet<(DeviceKey, Vec<PodKey>)>,
    claims: GpuClaims,
}

// === impl Divider ===

impl<'a> Divider<'a> {
    pub(super) fn new(
        rules: &'a Rules,
        memory: &'a Memory,
        naming: &'a Naming,
        conflicts: &'a mut BTreeSet<(DeviceKey, Vec<PodKey>)>,
    ) -> Self {
        let claims = GpuClaims::unattributed(Sharing::Exclusive);
        Self { rules, memory, naming, conflicts, claims }
    }

    pub(super) fn divide(mut self, gpu: &Gpu) -> GpuClaims {
        let whole: DeviceKey = (Arc::clone(&gpu.uuid), None);
        let nobody = self.nobody(&whole, gpu);
        match &gpu.mig {
            // A plugin that ignores MIG hands out the whole GPU whatever it is cut into.
            Mig::Enabled(partition) if !self.is_held_whole(&whole, partition) => {
                self.claims.division = self.divide_partition(&whole.0, partition, nobody);
                self.claims.sharing = Sharing::Mig;
            }
            _ => {
                let (claims, sharing) = self.holders(&whole, Share::WHOLE);
                self.claims.division = Division::new(claims, Claim::Nobody(nobody));
                self.claims.sharing = sharing;
            }
        }
        self.claims
    }

    /// What becomes of what nobody holds.
    fn nobody(&self, whole: &DeviceKey, gpu: &Gpu) -> State {
        if !self.memory.is_fresh() || self.naming.is_untold(whole) {
            State::Unattributed
        } else if gpu.mig == Mig::Disabled && self.memory.is_withdrawn(whole) {
            State::Unavailable
        } else {
            State::Unallocated
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
            let is_untold = self.naming.is_untold(&key);
            let rest = if is_untold { State::Unattributed } else { nobody };
            claims.push((Claim::Nobody(rest), share.minus(held)));
        }
        claims.push((Claim::Nobody(nobody), self.free_slices(partition)));
        let rest = if nobody == State::Unallocated { State::Stranded } else { nobody };
        Division::new(claims, Claim::Nobody(rest))
    }

    /// The slices in no GPU instance that could still become one: as many as are left of the scarcer kind. What is not
    /// cut at all can become anything.
    fn free_slices(&self, partition: &Partition) -> Share {
        if partition.devices.is_empty() {
            return Share::WHOLE;
        }
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

    /// The pods that hold a device that is `share` of the GPU, each with its own share, and how they share it.
    fn holders(&mut self, key: &DeviceKey, share: Share) -> (Vec<(Claim, Share)>, Sharing) {
        let Some(pods) = self.naming.pods(key) else {
            let is_divided = self.memory.slots(key).is_some();
            return (Vec::new(), if is_divided { self.memory.replicas() } else { Sharing::Exclusive });
        };
        let holders = Holders::of(key, pods, self.memory, self.rules.sharing_policy);
        if holders.contested {
            self.conflicts.insert((key.clone(), pods.keys().cloned().collect()));
        }
        self.claims.overcommitted |= holders.are_too_many();
        let promised = holders.parts.into_iter().map(|(pod, part, basis)| (Some((pod, basis)), part));
        // A device of which more was promised than there is, is divided in proportion.
        let division = Division::new(promised.collect(), None);
        let mut claims = Vec::new();
        for (holder, part) in division.parts() {
            let Some((pod, basis)) = *holder else { continue };
            let named = pods.get(pod).map(Parts::named).unwrap_or_default();
            let containers = if self.rules.containers { containers::divide(named, pod, pods) } else { None };
            let (pod, mig_device, named) = (pod.clone(), key.1.clone(), named.into());
            let holding = Holding { pod, mig_device, part, basis, named, containers };
            claims.push((Claim::Holder(holding), part.of(share)));
        }
        (claims, holders.sharing)
    }
}
