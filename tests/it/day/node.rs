//! The node of the day: what its driver, its kubelet and its API server say at each tick.
//!
//! Observation `n` opens interval `n` and closes the one before. So it shows who holds what from then on, and what was
//! done until then.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use gpu_cost_exporter::observation::{
    Activity, Allocation, Allocations, ClaimKey, ClaimedDevice, CostLabels, DeviceId, DeviceTarget, Dynamic,
    DynamicDevice, Fault, Fraction, Gpu, Health, Memory, Mig, MigDevice, Node, Observation, Partition, Pod,
    PodKey, Ppm, Process, PublishedDevice, ResourceClaim, UnixTime, Uptime, UtilizationSource, Worker,
};

use super::book::{Book, Who};

pub(super) const GPUS: usize = 8;
pub(super) const GIB: u64 = 1 << 30;

/// The first observation is made ten minutes after boot.
const FIRST: u64 = 600_000_000_000;

/// The GPU that is cut into MIG devices, and the GPU that is given out by claims.
pub(super) const CUT: usize = 3;
pub(super) const CLAIMED: usize = 5;

/// The MIG devices: profile, compute slices, memory slices. The last one is made anew during the day.
pub(super) const BEFORE: [(&str, u32, u32); 3] = [("3g.40gb", 3, 4), ("2g.20gb", 2, 2), ("1g.10gb", 1, 1)];
pub(super) const AFTER: [(&str, u32, u32); 3] = [("3g.40gb", 3, 4), ("2g.20gb", 2, 2), ("1g.20gb", 1, 2)];

/// When something happens to the whole node, by the number of an observation.
#[derive(Clone, Debug)]
pub(super) struct Events {
    /// The kubelet falls silent after this one for 30 s, and another time for 90 s.
    pub(super) kubelet_30: usize,
    pub(super) kubelet_90: usize,
    /// The kubelet restarts and does not know all its pods yet.
    pub(super) restart: Range<usize>,
    /// The driver does not answer.
    pub(super) silence: Range<usize>,
    /// After this one the daemon is away for two minutes.
    pub(super) gap: usize,
    /// After this one the node sleeps for an hour.
    pub(super) sleep: usize,
    /// Somebody holds an id that nobody can read.
    pub(super) riddle: Range<usize>,
    /// The plugin finds the first GPU unhealthy.
    pub(super) withdrawn: Range<usize>,
    /// The plugin is set up for MPS from here on.
    pub(super) mps: usize,
    /// The last GPU instance is made anew.
    pub(super) cut: usize,
    /// The price changes.
    pub(super) noon: usize,
}

/// A pod on the node.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    pub(super) who: Who,
    pub(super) at: Range<usize>,
    pub(super) ids: Vec<DeviceId>,
    pub(super) fractions: Vec<Fraction>,
    pub(super) reserves: Option<&'static str>,
}

/// A pod, or nobody for the host; the MIG device that its process ran on; the percentage of that device.
pub(super) type Worked = (Option<PodKey>, Option<Arc<str>>, u32);

/// What was done on a GPU in an interval, as its driver tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct Did {
    pub(super) percent: Option<u32>,
    /// What each process did, where that can be read.
    pub(super) processes: Option<Vec<Worked>>,
    /// Of each MIG device.
    pub(super) instances: [Option<u32>; 3],
}

/// How a GPU is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    #[default]
    Well,
    Lost,
    /// The driver does not list it any more.
    Missing,
}

/// A day of the node, and its book.
pub(super) struct Day {
    pub(super) events: Events,
    pub(super) book: Book,
    pub(super) stays: Vec<Stay>,
    /// By GPU and interval.
    pub(super) did: Vec<Vec<Did>>,
    /// By GPU and observation.
    pub(super) shapes: Vec<Vec<Shape>>,
    pub(super) dynamic: Arc<Dynamic>,
}

// === impl Day ===

impl Day {
    pub(super) fn new(events: Events, book: Book) -> Self {
        let observations = book.intervals.len() + 1;
        Self {
            events,
            did: vec![vec![Did::default(); observations]; GPUS],
            shapes: vec![vec![Shape::Well; observations]; GPUS],
            book,
            stays: Vec::new(),
            dynamic: dynamic(),
        }
    }

    /// What is seen at each tick.
    pub(super) fn observations(&self) -> impl Iterator<Item = Observation> {
        let lengths = self.book.intervals.iter().map(|interval| u64::try_from(interval.nanos).unwrap());
        let mut at = FIRST;
        let times: Vec<u64> = std::iter::once(FIRST)
            .chain(lengths.map(move |length| {
                at += length;
                at
            }))
            .collect();
        let mut answer = Arc::default();
        (0..times.len()).map(move |n| {
            // While the kubelet is silent its last answer stays the same one.
            if self.answered(n) == n {
                answer = Arc::new(self.answer(n, &times));
            }
            Observation { allocations: Some(Arc::clone(&answer)), ..self.observation(n, &times) }
        })
    }

    fn observation(&self, n: usize, times: &[u64]) -> Observation {
        let at = Uptime::from_nanos(times[n]);
        let strategy = if n < self.events.mps { "time-slicing" } else { "mps" };
        Observation {
            at,
            wall: UnixTime::from_millis(1_767_225_600_000 + times[n] / 1_000_000),
            boot: "0b6e0c5a-58a4-4c52-9f0a-9ad1f6c1b3a7".into(),
            gpus: (!self.events.silence.contains(&n)).then(|| self.gpus(n)),
            driver_version: Some("580.82.07".into()),
            allocations: None,
            pods: self.present(n).filter(|stay| !stay.who.uid.is_empty()).map(described).collect(),
            pods_told_at: Some(at),
            dynamic: Arc::clone(&self.dynamic),
            node: Arc::new(Node {
                name: "gpu-node-1".into(),
                labels: vec![("nvidia.com/gpu.sharing-strategy".into(), strategy.into())],
            }),
        }
    }

    fn present(&self, n: usize) -> impl Iterator<Item = &Stay> {
        self.stays.iter().filter(move |stay| stay.at.contains(&n))
    }

    /// At which observation the kubelet last answered.
    fn answered(&self, n: usize) -> usize {
        let silent = [(self.events.kubelet_30, 3), (self.events.kubelet_90, 9)];
        let since = silent.into_iter().find(|(last, ticks)| (last + 1..=last + ticks).contains(&n));
        since.map_or(n, |(last, _)| last)
    }

    /// What the kubelet answers.
    fn answer(&self, read: usize, times: &[u64]) -> Allocations {
        let Events { kubelet_30, kubelet_90, restart, .. } = &self.events;
        let breaks = [kubelet_30 + 4, kubelet_90 + 10, restart.start].into_iter().filter(|n| *n <= read);
        let answering_since = breaks.max().map_or(0, |n| times[n]);
        let is_restarting = restart.contains(&read);
        let listed = self.present(read).filter(|stay| !stay.ids.is_empty());
        // After a restart nobody is listed, then those whose images need no secret from the API server.
        let knows =
            |stay: &&Stay| !is_restarting || (read + 1 == restart.end && stay.who.namespace == "search");
        let containers = listed.filter(knows).map(allocation);
        Allocations {
            read_at: Uptime::from_nanos(times[read]),
            answering_since: Uptime::from_nanos(answering_since),
            containers: containers.collect(),
            advertised: Some(if is_restarting { Vec::new() } else { self.advertised(read) }.into()),
        }
    }

    fn advertised(&self, n: usize) -> Vec<DeviceId> {
        let mut ids = vec![whole(6)];
        if !self.events.withdrawn.contains(&n) {
            ids.push(whole(0));
        }
        if self.shapes[7][n] == Shape::Well {
            ids.push(whole(7));
        }
        ids.extend((0..4).map(|slot| replica(1, slot)).chain((0..3).map(|slot| replica(2, slot))));
        let geometry = self.geometry(n);
        ids.extend([mig(geometry[0].0, None), mig(geometry[1].0, Some(0)), mig(geometry[1].0, Some(1))]);
        ids.push(mig(geometry[2].0, None));
        ids
    }

    fn geometry(&self, n: usize) -> [(&'static str, u32, u32); 3] {
        if n < self.events.cut { BEFORE } else { AFTER }
    }

    fn gpus(&self, n: usize) -> Vec<Gpu> {
        (0..GPUS)
            .filter(|gpu| self.shapes[*gpu][n] != Shape::Missing)
            .map(|gpu| {
                let did = n.checked_sub(1).map(|interval| self.did[gpu][interval].clone());
                let did = did.filter(|_| self.shapes[gpu][n] == Shape::Well).unwrap_or_default();
                self.gpu(gpu, n, did)
            })
            .collect()
    }

    fn gpu(&self, gpu: usize, n: usize, did: Did) -> Gpu {
        let devices = self.geometry(n).into_iter().zip(did.instances);
        let devices = (1..).zip(devices).map(|(id, (slices, percent))| mig_device(id, slices, percent));
        let process = |(pod, mig_device, percent): Worked| Process {
            pid: 0,
            worker: pod.map_or(Worker::Host, Worker::Pod),
            utilization: Ppm::from_percent(percent),
            mig_device,
        };
        let index = u32::try_from(gpu).unwrap();
        Gpu {
            uuid: uuid(gpu),
            index,
            minor: Some(index),
            pci_bus_id: None,
            product: "NVIDIA H100 80GB HBM3".into(),
            health: match self.shapes[gpu][n] {
                Shape::Well => Health::Healthy,
                Shape::Lost | Shape::Missing => Health::Unavailable(Fault::Lost),
            },
            mig: if gpu == CUT {
                Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices: devices.collect() })
            } else {
                Mig::Disabled
            },
            memory: Some(Memory { used: GIB, total: 80 * GIB }),
            power_milliwatts: None,
            power_limit_milliwatts: None,
            energy_millijoules: None,
            activity: activity(did.percent),
            utilization_source: UtilizationSource::NvmlSamples,
            processes: did.processes.map(|processes| processes.into_iter().map(process).collect()),
            xids: Vec::new(),
        }
    }
}

fn mig_device(id: u32, (profile, compute, memory): (&str, u32, u32), percent: Option<u32>) -> MigDevice {
    MigDevice {
        uuid: mig_uuid(profile),
        profile: profile.into(),
        gpu_instance: id,
        compute_instance: 0,
        gpu_instance_slices: compute,
        compute_slices: compute,
        memory_slices: memory,
        memory: None,
        activity: activity(percent),
    }
}

fn activity(percent: Option<u32>) -> Activity {
    Activity { utilization: percent.map(Ppm::from_percent), ..Activity::default() }
}

pub(super) fn key(who: &Who) -> PodKey {
    PodKey::new(who.namespace, who.name.as_str())
}

fn described(stay: &Stay) -> Pod {
    let Who { uid, team, environment, .. } = &stay.who;
    let labels =
        CostLabels { team: (*team).into(), environment: (*environment).into(), ..CostLabels::default() };
    Pod {
        key: key(&stay.who),
        uid: uid.as_str().into(),
        created: UnixTime::from_millis(1_767_225_600_000),
        labels,
        fractions: stay.fractions.clone(),
        reserves: stay.reserves.map(Into::into),
        ..Pod::default()
    }
}

fn allocation(stay: &Stay) -> Allocation {
    let is_claimed = |id: &DeviceId| matches!(id.target, DeviceTarget::Claimed { .. });
    let resource = if stay.ids.iter().any(is_claimed) { "gpu.nvidia.com" } else { "nvidia.com/gpu" };
    Allocation {
        pod: key(&stay.who),
        container: "main".into(),
        resource: resource.into(),
        devices: stay.ids.clone(),
    }
}

fn uuid(gpu: usize) -> Arc<str> {
    format!("GPU-{gpu}").into()
}

pub(super) fn mig_uuid(profile: &str) -> Arc<str> {
    format!("MIG-{profile}").into()
}

pub(super) fn target(gpu: usize) -> DeviceTarget {
    DeviceTarget::Gpu(uuid(gpu))
}

pub(super) fn whole(gpu: usize) -> DeviceId {
    DeviceId { target: target(gpu), replica: None }
}

pub(super) fn replica(gpu: usize, slot: u32) -> DeviceId {
    DeviceId { target: target(gpu), replica: Some(slot) }
}

pub(super) fn mig(profile: &str, replica: Option<u32>) -> DeviceId {
    DeviceId { target: DeviceTarget::MigDevice(mig_uuid(profile)), replica }
}

/// A slot as HAMi and gpushare name it. The GPU in it is not the one that is meant.
pub(super) fn slot(id: &str) -> DeviceId {
    DeviceId { target: DeviceTarget::Slot(id.into()), replica: None }
}

pub(super) fn claimed(claim: &str, share_id: Option<&str>) -> DeviceId {
    let target = DeviceTarget::Claimed {
        claim: claim_key(claim),
        device: device(),
        share_id: share_id.map(Into::into),
    };
    DeviceId { target, replica: None }
}

fn claim_key(name: &str) -> ClaimKey {
    ClaimKey { namespace: "search".into(), name: name.into() }
}

fn device() -> DynamicDevice {
    DynamicDevice { driver: "gpu.nvidia.com".into(), pool: "gpu-node-1".into(), device: "gpu-9".into() }
}

/// The claims of the day, all on one GPU: as a whole, in parts by memory, and for monitoring only.
fn dynamic() -> Arc<Dynamic> {
    let has = |share_id: Option<&str>, admin, consumed: Option<u64>| ClaimedDevice {
        name: device(),
        share_id: share_id.map(Into::into),
        admin,
        consumed: consumed.map(|gib| gib * GIB),
    };
    let claim = |name, device| ResourceClaim { key: claim_key(name), devices: vec![device] };
    let published = PublishedDevice {
        name: device(),
        uuid: Some(uuid(CLAIMED)),
        parent: None,
        minor: None,
        profile: None,
        memory: Some(80 * GIB),
    };
    let claims: BTreeSet<ResourceClaim> = [
        claim("alone", has(None, false, None)),
        claim("big", has(Some("s-2"), false, Some(40))),
        claim("monitor", has(None, true, None)),
        claim("shared", has(None, false, None)),
        claim("small", has(Some("s-1"), false, Some(20))),
    ]
    .into();
    Arc::new(Dynamic { devices: vec![published], claims: claims.into_iter().collect() })
}
