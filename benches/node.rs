//! The nodes that are measured: eight GPUs, whole, cut or shared, and as many holders as are wanted.

use std::fmt;
use std::sync::Arc;

use gpu_cost_exporter::cost::meter::{Meter, Policy};
use gpu_cost_exporter::cost::report::Report;
use gpu_cost_exporter::metrics::{self, Format, ProcessReading, Settings};
use gpu_cost_exporter::observation::{
    Activity, Allocation, Allocations, CostLabels, DeviceId, DeviceTarget, Gpu, Memory, Mig, MigDevice, Node,
    Observation, Partition, Pod, PodKey, Ppm, Span, UnixTime, Uptime, UtilizationSource, Workload,
};
use gpu_cost_exporter::pricing_file;
use gpu_cost_exporter::status::{Published, Status};

/// How many GPUs each node has.
const GPUS: usize = 8;

/// How many MIG devices a GPU is cut into, and how many slots it has at least where it is shared by slots.
const PARTS: u32 = 7;
const SLOTS: usize = 10;

/// After so many ticks nothing grows any more: work is judged over the last minute.
const WARM: u64 = 70;

/// The kubelet answers in one of so many ticks, as a program that asks it every five seconds sees it.
pub(crate) const ANSWERED: u64 = 5;

/// How the GPUs of a node are shared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sharing {
    /// A GPU is one device.
    Whole,
    /// A GPU is seven MIG devices.
    Mig,
    /// A GPU has ten slots.
    Slots,
}

/// A node of a kind. Where there are more holders than devices, those have as many slots as it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) sharing: Sharing,
    pub(crate) holders: usize,
}

/// A node that is metered, second by second, while nothing changes on it but the time.
pub(crate) struct Metered {
    meter: Meter,
    seen: Observation,
    ticks: u64,
    /// What was published last: it is there until the next report is.
    report: Option<Arc<Report>>,
}

// === impl Sharing ===

impl Sharing {
    /// The order of tables.
    pub(crate) const ALL: [Self; 3] = [Self::Whole, Self::Mig, Self::Slots];

    /// How it is called in tables.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Mig => "mig",
            Self::Slots => "slots",
        }
    }
}

// === impl Kind ===

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sharing.as_str(), self.holders)
    }
}

// === impl Metered ===

impl Metered {
    /// The node after a minute.
    pub(crate) fn new(kind: Kind) -> Self {
        let meter = Meter::new(Policy::default(), Arc::new(pricing_file::sheet(None, None)));
        let mut node = Self { meter, seen: seen(kind), ticks: 0, report: None };
        (0..WARM).for_each(|_| drop(node.tick()));
        node
    }

    /// A second later.
    pub(crate) fn tick(&mut self) -> Arc<Report> {
        self.ticks += 1;
        self.seen.at = self.seen.at.after(Span::from_secs(1));
        self.seen.wall = UnixTime::from_millis(self.seen.wall.as_millis() + 1_000);
        self.seen.pods_told_at = Some(self.seen.at);
        if self.ticks.is_multiple_of(ANSWERED)
            && let Some(answer) = &self.seen.allocations
        {
            let answer = Allocations { read_at: self.seen.at, ..Allocations::clone(answer) };
            self.seen.allocations = Some(Arc::new(answer));
        }
        for gpu in self.seen.gpus.iter_mut().flatten() {
            gpu.energy_millijoules = gpu.energy_millijoules.map(|energy| energy + 400_000);
        }
        let report = self.meter.observe(&self.seen);
        self.report = Some(Arc::clone(&report));
        report
    }

    /// What is published of a report.
    pub(crate) fn publish(report: Arc<Report>) -> Published {
        let status = Status { node: "node-1".into(), ..Status::default() };
        Published { report: Some(report), status: Arc::new(status) }
    }
}

/// A scrape that nobody has made yet.
pub(crate) fn render(published: &Published, format: Format) -> Vec<u8> {
    metrics::render(published, &ProcessReading::default(), &Settings::default(), format)
}

/// How many series are in a scrape in text.
pub(crate) fn series(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#")).count()
}

fn seen(Kind { sharing, holders }: Kind) -> Observation {
    let at = Uptime::from_nanos(1_000_000_000_000);
    let gpus: Vec<Gpu> = (0..GPUS).map(|n| gpu(n, sharing)).collect();
    let devices: Vec<DeviceTarget> = gpus.iter().flat_map(targets).collect();
    let slots =
        holders.div_ceil(devices.len()).max(if matches!(sharing, Sharing::Slots) { SLOTS } else { 1 });
    let replica = |n: usize| (slots > 1).then(|| u32::try_from(n).unwrap_or(u32::MAX));
    let device = |n: usize| DeviceId {
        target: devices[n % devices.len()].clone(),
        replica: replica(n / devices.len()),
    };
    let mut containers: Vec<Allocation> = (0..holders)
        .map(|n| Allocation {
            pod: key(n),
            container: "main".into(),
            resource: "nvidia.com/gpu.shared".into(),
            devices: vec![device(n)],
        })
        .collect();
    containers.sort();
    let mut advertised: Vec<DeviceId> = (0..slots * devices.len()).map(device).collect();
    advertised.sort();
    let (containers, advertised) = (containers.into(), Some(advertised.into()));
    let allocations = Allocations { read_at: at, answering_since: at, containers, advertised };
    Observation {
        at,
        wall: UnixTime::from_millis(1_784_548_800_000),
        boot: "boot".into(),
        gpus: Some(gpus),
        driver_version: Some("580.82.07".into()),
        allocations: Some(Arc::new(allocations)),
        pods: (0..holders).map(pod).collect(),
        pods_told_at: Some(at),
        node: Arc::new(Node { name: "node-1".into(), labels: Vec::new() }),
        ..Observation::default()
    }
}

fn gpu(n: usize, sharing: Sharing) -> Gpu {
    let activity = Activity { utilization: Some(Ppm::from_percent(60)), ..Activity::default() };
    let uuid: Arc<str> = format!("GPU-00000000-0000-0000-0000-{n:012x}").into();
    let index = u32::try_from(n).unwrap_or(u32::MAX);
    let part = |part: u32| MigDevice {
        uuid: format!("MIG-{part:08x}-0000-0000-0000-{n:012x}").into(),
        profile: "1g.10gb".into(),
        gpu_instance: part,
        compute_instance: 0,
        gpu_instance_slices: 1,
        compute_slices: 1,
        memory_slices: 1,
        memory: Some(Memory { used: 1 << 30, total: 10 << 30 }),
        activity,
    };
    let mig = match sharing {
        Sharing::Mig => {
            let devices = (0..PARTS).map(part).collect();
            Mig::Enabled(Partition { compute_slices: PARTS, memory_slices: 8, devices })
        }
        Sharing::Whole | Sharing::Slots => Mig::Disabled,
    };
    Gpu {
        minor: Some(index),
        pci_bus_id: Some(format!("00000000:{n:02X}:00.0").into()),
        mig,
        memory: Some(Memory { used: 40 << 30, total: 80 << 30 }),
        power_milliwatts: Some(400_000),
        power_limit_milliwatts: Some(700_000),
        energy_millijoules: Some(0),
        activity,
        utilization_source: UtilizationSource::Gpm,
        ..Gpu::known_by(uuid, index, "NVIDIA H100 80GB HBM3".into())
    }
}

fn targets(gpu: &Gpu) -> Vec<DeviceTarget> {
    match &gpu.mig {
        Mig::Disabled => vec![DeviceTarget::Gpu(Arc::clone(&gpu.uuid))],
        Mig::Enabled(partition) => {
            partition.devices.iter().map(|device| DeviceTarget::MigDevice(Arc::clone(&device.uuid))).collect()
        }
    }
}

fn key(n: usize) -> PodKey {
    PodKey::new(format!("team-{}", n % 20), format!("inference-server-7d4b9c6f5-{n:05}"))
}

fn pod(n: usize) -> Pod {
    Pod {
        key: key(n),
        uid: format!("{n:08x}-1111-2222-3333-444455556666").into(),
        labels: CostLabels { team: format!("team-{}", n % 20).into(), ..CostLabels::default() },
        workload: Some(Workload { kind: "Deployment".into(), name: "inference-server".into() }),
        ..Pod::default()
    }
}
