//! The GPUs of the simulated node.

use std::sync::Arc;

use crate::observation::{
    Activity, ClaimKey, ClaimedDevice, DeviceId, DeviceTarget, DynamicDevice, Fault, Fraction, FractionOf,
    Gpu, Health, Memory, Mig, MigDevice, Partition, Ppm, Process, PublishedDevice, ResourceClaim, UnixTime,
    UtilizationSource, Worker, Xid,
};

use super::curve::Run;
use super::scenario::{FaultKind, FaultScript, GpuScript, Hold, MigScript, PowerWatts, Scenario};
use super::{Actor, Moment, Seat, uuid};

/// Slices of an H100.
const COMPUTE_SLICES: u32 = 7;
const MEMORY_SLICES: u32 = 8;

/// The driver of dynamic resource allocation.
const CLAIM_DRIVER: &str = "gpu.nvidia.com";

/// How long the driver's report of a critical error is fresh.
const FRESH_MILLIS: u64 = 1_000;

/// What the driver shows as used on a GPU that nobody uses.
const UNUSED_MEMORY: u64 = 4 << 20;

/// A GPU, and what the script does with it.
#[derive(Debug)]
pub(super) struct Board {
    /// The GPU while nothing happens on it.
    idle: Gpu,
    position: usize,
    /// MIG devices that the driver cannot say the activity of, by UUID.
    unreadable: Vec<Arc<str>>,
    faults: Vec<FaultScript>,
    power: PowerWatts,
    /// What the device plugin advertises while the GPU is healthy.
    advertised: Vec<DeviceId>,
    /// The claim that has the GPU, and what it is called there.
    claim: Option<(ClaimKey, DynamicDevice)>,
}

/// Somebody who is on a board now.
#[derive(Clone, Copy)]
struct Present<'a> {
    actor: &'a Actor,
    run: Run,
    seat: &'a Seat,
    /// Its work in millionths of its device.
    level: u32,
}

// === impl Board ===

impl Board {
    pub(super) fn all(node: &str, script: &Scenario) -> Vec<Self> {
        let numbered = (0u32..).zip(script.gpus.iter().enumerate());
        numbered.map(|(index, (position, gpu))| Self::new(node, script, index, position, gpu)).collect()
    }

    fn new(node: &str, script: &Scenario, index: u32, position: usize, gpu: &GpuScript) -> Self {
        let total = script.memory_mib.saturating_mul(1 << 20);
        let uuid: Arc<str> = format!("GPU-{}", uuid(&format!("{node} gpu {index}"))).into();
        let mig = gpu.mig.as_deref().map(|devices| partition(&uuid, total, devices));
        let idle = Gpu {
            index,
            minor: Some(index),
            pci_bus_id: Some(gpu.pci_bus_id.as_str().into()),
            product: script.product.as_str().into(),
            health: Health::Healthy,
            mig: mig.map_or(Mig::Disabled, Mig::Enabled),
            memory: Some(Memory { used: UNUSED_MEMORY, total }),
            power_milliwatts: None,
            power_limit_milliwatts: Some(script.power_watts.limit.saturating_mul(1_000)),
            energy_millijoules: None,
            activity: Activity::default(),
            utilization_source: UtilizationSource::Simulated,
            processes: None,
            xids: Vec::new(),
            uuid,
        };
        let unreadable =
            |(device, script): (&MigDevice, &MigScript)| script.unreadable.then(|| Arc::clone(&device.uuid));
        Self {
            unreadable: mig_devices(&idle)
                .iter()
                .zip(gpu.mig.iter().flatten())
                .filter_map(unreadable)
                .collect(),
            advertised: advertised(&idle, gpu),
            claim: gpu.claim.as_ref().map(|claim| {
                let device = format!("gpu-{index}").into();
                let device = DynamicDevice { driver: CLAIM_DRIVER.into(), pool: node.into(), device };
                (
                    ClaimKey { namespace: claim.namespace.as_str().into(), name: claim.name.as_str().into() },
                    device,
                )
            }),
            idle,
            position,
            faults: gpu.faults.clone(),
            power: script.power_watts,
        }
    }

    /// The device that a pod of the script holds; `None` if the script names one that is not there.
    pub(super) fn device(&self, hold: &Hold) -> Option<DeviceId> {
        if let Some((claim, device)) = &self.claim {
            let (claim, device) = (claim.clone(), device.clone());
            return Some(DeviceId {
                target: DeviceTarget::Claimed { claim, device, share_id: None },
                replica: None,
            });
        }
        let target = match (&hold.mig, hold.slot) {
            (None, None) => self.whole(),
            (None, Some(slot)) => slot_of(&self.idle, slot),
            (Some(profile), _) => {
                let device = mig_devices(&self.idle).iter().find(|device| *device.profile == **profile)?;
                DeviceTarget::MigDevice(Arc::clone(&device.uuid))
            }
        };
        let device = DeviceId { target, replica: hold.replica };
        self.advertised.contains(&device).then_some(device)
    }

    /// The GPU as a whole, as the host's own programs use it.
    pub(super) fn whole(&self) -> DeviceTarget {
        DeviceTarget::Gpu(Arc::clone(&self.idle.uuid))
    }

    /// The resource that the kubelet lists a device as.
    pub(super) fn resource(&self, hold: &Hold) -> Arc<str> {
        match hold {
            _ if self.claim.is_some() => CLAIM_DRIVER.into(),
            Hold { mig: Some(profile), .. } => format!("nvidia.com/mig-{profile}").into(),
            Hold { slot: Some(_), .. } => "volcano.sh/vgpu-number".into(),
            Hold { replica: Some(_), .. } => "nvidia.com/gpu.shared".into(),
            _ => "nvidia.com/gpu".into(),
        }
    }

    /// What a scheduler writes into a pod's annotation about its slot, which uses `percent` of the memory.
    pub(super) fn fraction(&self, hold: &Hold, percent: u64) -> Option<Fraction> {
        let total = self.idle.memory.map_or(0, |memory| memory.total);
        Some(Fraction {
            of: FractionOf::Gpu(Arc::clone(&self.idle.uuid)),
            compute: Some(Ppm::from_percent(hold.cores_percent?)),
            memory: Some(total / 100 * percent),
        })
    }

    /// The GPU as its driver publishes it and the claim that has it, where it is given out by claims.
    pub(super) fn dynamic(&self) -> Option<(PublishedDevice, ResourceClaim)> {
        let (claim, name) = self.claim.clone()?;
        let published = PublishedDevice {
            name: name.clone(),
            uuid: Some(Arc::clone(&self.idle.uuid)),
            parent: None,
            minor: self.idle.minor,
            profile: None,
            memory: self.idle.memory.map(|memory| memory.total),
        };
        let claimed = ClaimedDevice { name, share_id: None, admin: false, consumed: None };
        Some((published, ResourceClaim { key: claim, devices: vec![claimed] }))
    }

    /// What the device plugin advertises; it takes back what is not healthy.
    pub(super) fn advertised(&self, millis: u64) -> &[DeviceId] {
        if self.fault(millis).is_some() { &[] } else { &self.advertised }
    }

    /// The GPU now, with those of `actors` on it who hold a part of it.
    pub(super) fn gpu(&self, now: Moment, actors: &[Actor]) -> Gpu {
        if let Some((fault, since)) = self.fault(now.millis) {
            return self.broken(now, fault, since);
        }
        let present: Vec<Present<'_>> = self.present(now, actors).collect();
        let mut gpu = self.idle.clone();
        gpu.power_milliwatts = Some(self.power_milliwatts(&present));
        gpu.energy_millijoules = Some(self.energy_millijoules(now, actors));
        match &mut gpu.mig {
            Mig::Disabled => {
                gpu.activity = activity(&present);
                gpu.processes = Some(present.iter().filter_map(Present::process).collect());
                gpu.memory = gpu.memory.map(|memory| used(memory, &present));
            }
            // As on real hardware: only the MIG devices are measured, and no processes on them.
            Mig::Enabled(partition) => {
                for device in &mut partition.devices {
                    self.occupy(device, &present);
                }
                let used = partition.devices.iter().filter_map(|device| device.memory).map(|m| m.used).sum();
                gpu.memory = gpu.memory.map(|memory| Memory { used, ..memory });
            }
        }
        gpu
    }

    /// What the GPU suffers from, and since when.
    fn fault(&self, millis: u64) -> Option<(FaultScript, u64)> {
        self.faults.iter().find_map(|fault| Some((*fault, fault.when.began(millis)?)))
    }

    fn broken(&self, now: Moment, fault: FaultScript, since: u64) -> Gpu {
        let ago = now.millis.saturating_sub(since);
        let at = UnixTime::from_millis(now.wall.as_millis().saturating_sub(ago));
        let xid = Xid { code: fault.xid, at };
        Gpu {
            health: Health::Unavailable(match fault.fault {
                FaultKind::Lost => Fault::Lost,
                FaultKind::Xid => Fault::Xid,
            }),
            memory: None,
            power_limit_milliwatts: None,
            utilization_source: UtilizationSource::None,
            xids: (ago < FRESH_MILLIS).then_some(xid).into_iter().collect(),
            ..self.idle.clone()
        }
    }

    fn present<'a>(&self, now: Moment, actors: &'a [Actor]) -> impl Iterator<Item = Present<'a>> {
        self.seats(actors).filter_map(move |(actor, seat)| {
            let run = actor.presence.run(now.millis)?;
            Some(Present { actor, run, seat, level: seat.curve.level(run.age) })
        })
    }

    fn seats<'a>(&self, actors: &'a [Actor]) -> impl Iterator<Item = (&'a Actor, &'a Seat)> {
        let position = self.position;
        let of_actor = |actor: &'a Actor| actor.seats.iter().map(move |seat| (actor, seat));
        actors.iter().flat_map(of_actor).filter(move |(_, seat)| seat.board == position)
    }

    fn occupy(&self, device: &mut MigDevice, present: &[Present<'_>]) {
        let here = |holder: &&Present<'_>| holder.is_on(&device.uuid);
        let holders: Vec<Present<'_>> = present.iter().filter(here).copied().collect();
        device.memory = device.memory.map(|memory| used(memory, &holders));
        if !self.unreadable.contains(&device.uuid) {
            device.activity = activity(&holders);
        }
    }

    /// Between idle and busy, by the work on the GPU.
    fn power_milliwatts(&self, present: &[Present<'_>]) -> u64 {
        let level = |holder: &Present<'_>| self.weighed(holder.seat, holder.level.into());
        let level: i128 = present.iter().map(level).sum();
        let watts = self.power;
        let above = i128::from(watts.busy.saturating_sub(watts.idle)).saturating_mul(level) / 1_000;
        watts.idle.saturating_mul(1_000).saturating_add(u64::try_from(above).unwrap_or(0))
    }

    /// The integral of the power since boot. A GPU that is lost draws on, it only does not say so.
    fn energy_millijoules(&self, now: Moment, actors: &[Actor]) -> u64 {
        let work =
            |(actor, seat): (&Actor, &Seat)| self.weighed(seat, actor.presence.work(&seat.curve, now.millis));
        let work: i128 = self.seats(actors).map(work).sum();
        let watts = self.power;
        let above = i128::from(watts.busy.saturating_sub(watts.idle)).saturating_mul(work) / 1_000_000;
        let idle = watts.idle.saturating_mul(now.millis);
        idle.saturating_add(u64::try_from(above).unwrap_or(0))
    }

    /// The part of the GPU's work that a device's work is.
    fn weighed(&self, seat: &Seat, work: i128) -> i128 {
        let DeviceTarget::MigDevice(uuid) = &seat.device.target else { return work };
        let device = mig_devices(&self.idle).iter().find(|device| device.uuid == *uuid);
        work * i128::from(device.map_or(0, |device| device.compute_slices)) / i128::from(COMPUTE_SLICES)
    }
}

fn partition(gpu: &str, total: u64, scripts: &[MigScript]) -> Partition {
    let device = |(id, script): (u32, &MigScript)| MigDevice {
        uuid: format!("MIG-{}", uuid(&format!("{gpu} {id}"))).into(),
        profile: script.profile.as_str().into(),
        gpu_instance: id,
        compute_instance: 0,
        gpu_instance_slices: script.compute_slices,
        compute_slices: script.compute_slices,
        memory_slices: script.memory_slices,
        memory: Some(Memory {
            used: UNUSED_MEMORY,
            total: total / u64::from(MEMORY_SLICES) * u64::from(script.memory_slices),
        }),
        activity: Activity::default(),
    };
    Partition {
        compute_slices: COMPUTE_SLICES,
        memory_slices: MEMORY_SLICES,
        devices: (1..).zip(scripts).map(device).collect(),
    }
}

fn mig_devices(gpu: &Gpu) -> &[MigDevice] {
    match &gpu.mig {
        Mig::Disabled => &[],
        Mig::Enabled(partition) => &partition.devices,
    }
}

/// What a device plugin advertises of a GPU; nothing of one that is given out by claims.
fn advertised(gpu: &Gpu, script: &GpuScript) -> Vec<DeviceId> {
    let whole = |replica| DeviceId { target: DeviceTarget::Gpu(Arc::clone(&gpu.uuid)), replica };
    let once = |target| DeviceId { target, replica: None };
    match (&gpu.mig, script) {
        (Mig::Enabled(partition), _) => {
            let target = |device: &MigDevice| DeviceTarget::MigDevice(Arc::clone(&device.uuid));
            partition.devices.iter().map(|device| once(target(device))).collect()
        }
        (_, GpuScript { claim: Some(_), .. }) => Vec::new(),
        (_, GpuScript { slots: Some(count), .. }) => (0..*count).map(|n| once(slot_of(gpu, n))).collect(),
        (_, GpuScript { replicas: Some(count), .. }) => (0..*count).map(|n| whole(Some(n))).collect(),
        _ => vec![whole(None)],
    }
}

fn slot_of(gpu: &Gpu, slot: u32) -> DeviceTarget {
    DeviceTarget::Slot(format!("{}-{slot}", gpu.uuid).into())
}

/// What a device does for all who are on it.
fn activity(holders: &[Present<'_>]) -> Activity {
    let of_level = |percent: fn(&Present<'_>) -> u32| {
        let parts = |holder: &Present<'_>| u64::from(holder.level) * u64::from(percent(holder)) / 100;
        let all: u64 = holders.iter().map(parts).sum();
        Some(Ppm::new(u32::try_from(all).unwrap_or(u32::MAX)))
    };
    Activity {
        utilization: of_level(|_| 100),
        sm_active: of_level(|holder| holder.seat.active.sm),
        tensor_active: of_level(|holder| holder.seat.active.tensor),
        dram_active: of_level(|holder| holder.seat.active.dram),
    }
}

fn used(memory: Memory, holders: &[Present<'_>]) -> Memory {
    let percent = holders.iter().map(|holder| holder.seat.memory_percent).sum::<u64>().min(99);
    Memory { used: memory.used.saturating_add(memory.total / 100 * percent), ..memory }
}

// === impl Present ===

impl Present<'_> {
    fn is_on(&self, mig_device: &Arc<str>) -> bool {
        matches!(&self.seat.device.target, DeviceTarget::MigDevice(uuid) if uuid == mig_device)
    }

    /// Its process as the driver samples it; none while it does nothing.
    fn process(&self) -> Option<Process> {
        let utilization = Ppm::new(self.level);
        (utilization > Ppm::ZERO).then(|| Process {
            pid: 0,
            worker: if self.actor.is_host { Worker::Host } else { Worker::Pod(self.actor.key(self.run)) },
            utilization,
            mig_device: None,
        })
    }
}
