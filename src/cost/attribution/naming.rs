//! The holdings of a node turned around: from each device to the pods that have a part of it, and which part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cost::report::NamedDevice;
use crate::observation::{
    Allocation, DeviceId, DeviceTarget, Fraction, FractionOf, Gpu, Mig, MigDevice, Observation, Pod, PodKey,
    Ppm,
};

use super::dynamic::{Claims, Found, Terms};

/// A device of the node: the UUID of a GPU, and of a MIG device on it.
pub type DeviceKey = (Arc<str>, Option<Arc<str>>);

/// Which part of a device a pod names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The device as a whole.
    Whole,
    /// One replica of a shared device.
    Replica(u32),
    /// A part that a scheduler wrote into an annotation.
    Fraction {
        /// The part of its compute.
        compute: Option<Ppm>,
        /// Bytes of its memory.
        memory: Option<u64>,
    },
    /// What a claim has of it.
    Claimed(Terms),
}

/// What a pod names of a device. Nearly every pod names one part of it in one way, so neither list takes room for more.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The parts, sorted, each once.
    parts: Vec<Part>,
    /// How the kubelet named them, sorted, each once.
    named: Vec<NamedDevice>,
}

/// The holdings of a node, from device to pods.
#[derive(Debug, Default)]
pub(super) struct Naming {
    devices: BTreeMap<DeviceKey, BTreeMap<PodKey, Parts>>,
    /// Devices that pods have on terms that are not told yet.
    untold: BTreeSet<DeviceKey>,
    unmapped: usize,
    hidden: Vec<Option<Arc<str>>>,
    /// Whether a plugin gives out slots of which annotations say more.
    has_slots: bool,
}

// === impl Naming ===

impl Naming {
    /// Turns `held` around. An annotation that says what a pod has wins over a slot that the kubelet lists for it.
    pub(super) fn read<'a>(
        held: impl Iterator<Item = &'a Allocation>,
        gpus: &[Arc<Gpu>],
        seen: &Observation,
    ) -> Self {
        let mut naming = Self::default();
        let pods: BTreeMap<&PodKey, &Pod> = seen.pods.iter().map(|pod| (&pod.key, pod)).collect();
        let mut listed: BTreeMap<&PodKey, Vec<&Allocation>> = BTreeMap::new();
        held.for_each(|allocation| listed.entry(&allocation.pod).or_default().push(allocation));
        let mut reserved: BTreeMap<&Arc<str>, Vec<DeviceKey>> = BTreeMap::new();
        let claims = Claims::new(&seen.dynamic, gpus);
        for (key, allocations) in &listed {
            let pod = pods.get(*key);
            if let Some(group) = pod.and_then(|pod| pod.reserves.as_ref()) {
                let ids = allocations.iter().flat_map(|allocation| &allocation.devices);
                reserved.entry(group).or_default().extend(ids.filter_map(|id| find(&id.target, gpus)));
            } else if let Some(pod) = pod.filter(|pod| is_annotated(pod, allocations)) {
                naming.add_fractions(pod, allocations, gpus);
            } else {
                for allocation in allocations {
                    naming.add_listed(allocation, gpus, claims);
                }
            }
        }
        for pod in seen.pods.iter().filter(|pod| !pod.ended) {
            naming.add_members(pod, &reserved);
        }
        naming
    }

    /// Allocated devices that this node does not have, or whose id cannot be read.
    pub(super) fn unmapped(&self) -> usize {
        self.unmapped
    }

    /// Whether somebody may have a device that nobody is known to have.
    pub(super) fn is_untold(&self, key: &DeviceKey) -> bool {
        self.untold.contains(key) && !self.devices.contains_key(key)
    }

    /// Devices that somebody holds of which we cannot say which they are, each with the GPU it is on if that is known.
    pub(super) fn hidden(&self) -> &[Option<Arc<str>>] {
        &self.hidden
    }

    /// Whether what looks like a whole GPU may be slots of one.
    pub(super) fn has_slots(&self) -> bool {
        self.has_slots
    }

    /// Every device that is named, with the pods that name it.
    pub(super) fn devices(&self) -> impl Iterator<Item = (&DeviceKey, &BTreeMap<PodKey, Parts>)> {
        self.devices.iter()
    }

    /// The pods that name a device, if any does.
    pub(super) fn pods(&self, key: &DeviceKey) -> Option<&BTreeMap<PodKey, Parts>> {
        self.devices.get(key)
    }

    fn add(&mut self, key: DeviceKey, pod: &PodKey, part: Part, named: Option<NamedDevice>) {
        let parts = self.parts(key, pod);
        insert(&mut parts.parts, part);
        if let Some(named) = named {
            insert(&mut parts.named, named);
        }
    }

    fn parts(&mut self, key: DeviceKey, pod: &PodKey) -> &mut Parts {
        self.devices.entry(key).or_default().entry(pod.clone()).or_default()
    }

    fn add_listed(&mut self, allocation: &Allocation, gpus: &[Arc<Gpu>], claims: Claims<'_>) {
        let pod = &allocation.pod;
        for id in &allocation.devices {
            let named = named(allocation, id);
            match &id.target {
                DeviceTarget::Claim(claim) => {
                    for found in claims.of_unprepared(claim) {
                        self.add_found(found, pod, named.clone());
                    }
                }
                DeviceTarget::Claimed { claim, device, share_id } => {
                    self.add_found(claims.of_prepared(claim, device, share_id.as_ref()), pod, named);
                }
                DeviceTarget::Slot(_) => self.unmapped += 1,
                DeviceTarget::Unreadable(_) => self.add_found(Found::Unknown(None), pod, named),
                target => match find(target, gpus) {
                    Some(key) => {
                        self.add(key, pod, id.replica.map_or(Part::Whole, Part::Replica), Some(named));
                    }
                    None => self.unmapped += 1,
                },
            }
        }
        let slots: BTreeSet<&str> = allocation.devices.iter().filter_map(gpu_of_slot).collect();
        self.has_slots |= !slots.is_empty();
        self.hidden.extend(slots.iter().map(|_| None));
    }

    fn add_found(&mut self, found: Found, pod: &PodKey, named: NamedDevice) {
        match found {
            Found::Device(key, terms) => self.add(key, pod, Part::Claimed(terms), Some(named)),
            Found::Untold(key) => _ = self.untold.insert(key),
            Found::Free => {}
            Found::Unknown(gpu) => self.hide(gpu),
        }
    }

    fn hide(&mut self, gpu: Option<Arc<str>>) {
        self.unmapped += 1;
        self.hidden.push(gpu);
    }

    fn add_fractions(&mut self, pod: &Pod, allocations: &[&Allocation], gpus: &[Arc<Gpu>]) {
        self.has_slots = true;
        let ids = allocations
            .iter()
            .flat_map(|allocation| allocation.devices.iter().map(move |id| (allocation, id)));
        let listed: BTreeSet<NamedDevice> = ids.map(|(allocation, id)| named(allocation, id)).collect();
        for fraction in &pod.fractions {
            match (device_of(fraction, gpus), &fraction.of) {
                (Some(key), _) => {
                    let parts = self.parts(key, &pod.key);
                    insert(&mut parts.parts, part(fraction));
                    parts.named = listed.iter().cloned().collect();
                }
                // Which GPU that is, its reservation says.
                (None, FractionOf::Group(_)) => {}
                (None, _) => self.hide(None),
            }
        }
    }

    /// Gives a pod its parts of the GPUs that are reserved for its group.
    fn add_members(&mut self, pod: &Pod, reserved: &BTreeMap<&Arc<str>, Vec<DeviceKey>>) {
        for fraction in &pod.fractions {
            let FractionOf::Group(group) = &fraction.of else { continue };
            for key in reserved.get(group).into_iter().flatten() {
                self.add(key.clone(), &pod.key, part(fraction), None);
            }
        }
    }
}

// === impl Parts ===

impl Parts {
    /// The first of them; `None` only where there is none.
    pub(super) fn first(&self) -> Option<&Part> {
        self.parts.first()
    }

    /// Whether a part is among them.
    pub(super) fn contains(&self, part: &Part) -> bool {
        self.parts.binary_search(part).is_ok()
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// How the kubelet named them to us.
    pub(super) fn named(&self) -> &[NamedDevice] {
        &self.named
    }
}

/// Adds what is not there yet.
fn insert<T: Ord>(sorted: &mut Vec<T>, it: T) {
    let Err(position) = sorted.binary_search(&it) else { return };
    if sorted.is_empty() {
        sorted.reserve_exact(1);
    }
    sorted.insert(position, it);
}

/// Whether what a pod has stands in its annotations. The plugins of the schedulers that write them give out slots; a
/// plugin that names the device itself is believed, or else anybody could write himself a small part of his GPU.
fn is_annotated(pod: &Pod, allocations: &[&Allocation]) -> bool {
    let mut ids = allocations.iter().flat_map(|allocation| &allocation.devices);
    !pod.fractions.is_empty() && ids.any(|id| matches!(id.target, DeviceTarget::Slot(_)))
}

fn part(fraction: &Fraction) -> Part {
    match fraction {
        Fraction { compute: None, memory: None, .. } => {
            Part::Fraction { compute: Some(Ppm::ALL), memory: None }
        }
        Fraction { compute, memory, .. } => Part::Fraction { compute: *compute, memory: *memory },
    }
}

fn named(allocation: &Allocation, id: &DeviceId) -> NamedDevice {
    NamedDevice {
        container: Arc::clone(&allocation.container),
        resource: Arc::clone(&allocation.resource),
        id: id.clone(),
    }
}

/// What a slot stands for where nobody says which GPU: HAMi's and Volcano's slots are one GPU each, by the UUID in
/// them, gpushare's units are of one GPU together.
fn gpu_of_slot(id: &DeviceId) -> Option<&str> {
    let DeviceTarget::Slot(id) = &id.target else { return None };
    if id.contains("-_-") { Some("") } else { id.rsplit_once('-').map(|(gpu, _)| gpu) }
}

fn device_of(fraction: &Fraction, gpus: &[Arc<Gpu>]) -> Option<DeviceKey> {
    match &fraction.of {
        FractionOf::Gpu(uuid) => find(&DeviceTarget::Gpu(Arc::clone(uuid)), gpus),
        FractionOf::MigDevice(uuid) => find(&DeviceTarget::MigDevice(Arc::clone(uuid)), gpus),
        FractionOf::Index(index) => {
            let gpu = gpus.iter().find(|gpu| gpu.index == *index)?;
            Some((Arc::clone(&gpu.uuid), None))
        }
        FractionOf::Group(_) => None,
    }
}

/// The device that an id stands for, if this node has it.
pub(super) fn find(target: &DeviceTarget, gpus: &[Arc<Gpu>]) -> Option<DeviceKey> {
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
