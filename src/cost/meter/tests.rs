//! The meter by example: a node in a few lines, ticks, and what the ledger says.

mod claims;
mod containers;
mod energy;
mod examples;
mod fractions;
mod half_truths;
mod kept;
mod payers;
mod properties;
mod sharing;
mod situations;
mod unchanged;
mod ways;

use std::sync::Arc;

use super::*;
use crate::cost::attribution::{MigShare, SharingPolicy};
use crate::cost::money::{Amount, Cost, GpuTime, Rate};
use crate::cost::pricing::{PriceTable, Prices};
use crate::cost::report::{Attribution, DeviceLine, PodLine, Sharing, State, Totals};
use crate::observation::{
    Activity, Allocation, Allocations, DeviceId, DeviceTarget, Memory, Mig, MigDevice, Node, Partition, Pod,
    PodKey, Process, Uptime, UtilizationSource, Worker,
};

/// A node whose next observation a test shapes.
struct Rig {
    meter: Meter,
    seen: Observation,
    allocated: Vec<Allocation>,
    advertised: Option<Vec<DeviceId>>,
    answering_since: Uptime,
    report: Option<Arc<Report>>,
}

fn policy() -> Policy {
    Policy { longest_interval: Span::from_secs(60), ..Policy::default() }
}

fn prices(models: &[(&str, u64)]) -> Arc<PriceSheet> {
    let row = |cents: u64| Prices {
        on_demand: Some(Rate::from_nanos_per_hour(cents * 10_000_000)),
        ..Prices::default()
    };
    let models = models.iter().map(|(model, cents)| (Arc::from(*model), row(*cents))).collect();
    Arc::new(PriceSheet { file: PriceTable { models, ..PriceTable::default() }, ..PriceSheet::default() })
}

fn gpu(uuid: &str, product: &str) -> Gpu {
    Gpu {
        uuid: uuid.into(),
        index: 0,
        minor: Some(0),
        pci_bus_id: None,
        product: product.into(),
        health: Health::Healthy,
        mig: Mig::Disabled,
        memory: Some(Memory { used: 1 << 30, total: 80 << 30 }),
        power_milliwatts: Some(300_000),
        power_limit_milliwatts: Some(700_000),
        energy_millijoules: None,
        activity: busy(0),
        utilization_source: UtilizationSource::NvmlSamples,
        processes: None,
        xids: Vec::new(),
    }
}

fn busy(percent: u32) -> Activity {
    Activity { utilization: Some(Ppm::from_percent(percent)), ..Activity::default() }
}

fn whole(uuid: &str) -> DeviceId {
    DeviceId { target: DeviceTarget::Gpu(uuid.into()), replica: None }
}

fn replica(uuid: &str, n: u32) -> DeviceId {
    DeviceId { target: DeviceTarget::Gpu(uuid.into()), replica: Some(n) }
}

fn mig(uuid: &str) -> DeviceId {
    DeviceId { target: DeviceTarget::MigDevice(uuid.into()), replica: None }
}

fn instance(uuid: &str, id: u32, profile: &str, slices: (u32, u32)) -> MigDevice {
    MigDevice {
        uuid: uuid.into(),
        profile: profile.into(),
        gpu_instance: id,
        compute_instance: 0,
        gpu_instance_slices: slices.0,
        compute_slices: slices.0,
        memory_slices: slices.1,
        memory: None,
        activity: Activity::default(),
    }
}

fn process(pod: &str, percent: u32) -> Process {
    Process {
        pid: 0,
        worker: Worker::Pod(key(pod)),
        utilization: Ppm::from_percent(percent),
        mig_device: None,
    }
}

fn key(pod: &str) -> PodKey {
    PodKey::new("ml", pod)
}

const A100: &str = "NVIDIA A100-SXM4-80GB";

fn node(gpus: usize) -> Rig {
    let gpus = (0..gpus).map(|n| Gpu { minor: u32::try_from(n).ok(), ..gpu(&format!("GPU-{n}"), A100) });
    Rig::new(prices(&[("nvidia-a100-80gb", 360)]), gpus.collect())
}

/// Cents by state of a node of A100s at 3.60 $/h, where ten seconds cost one cent.
fn check(rig: &Rig, device: usize, expected: &[(&str, u64)]) {
    assert_eq!(cents(&rig.device(device).totals), expected);
}

fn h100s(gpus: usize) -> Rig {
    let gpus = (0..gpus).map(|n| gpu(&format!("GPU-{n}"), "NVIDIA H100 80GB HBM3")).collect();
    Rig::new(prices(&[("nvidia-h100-80gb", 800)]), gpus)
}

/// Dollars by state, rounded to the cent, states without money left out.
fn cents(totals: &Totals) -> Vec<(&'static str, u64)> {
    let cents = |cost: Cost| u64::try_from((cost.units() + CENT / 2) / CENT).unwrap();
    State::ALL
        .iter()
        .filter_map(|state| Some((state.as_str(), cents(totals.cost(*state)?))))
        .filter(|(_, cents)| *cents > 0)
        .collect()
}

const CENT: u128 = Cost::from_cents(1).units();

impl Rig {
    fn new(prices: Arc<PriceSheet>, gpus: Vec<Gpu>) -> Self {
        Self::with(policy(), prices, gpus)
    }

    fn with(policy: Policy, prices: Arc<PriceSheet>, gpus: Vec<Gpu>) -> Self {
        let seen = Observation {
            at: Uptime::from_nanos(1),
            wall: UnixTime::from_millis(1_000),
            boot: "boot".into(),
            gpus: Some(gpus),
            ..Observation::default()
        };
        let meter = Meter::new(policy, prices);
        Self {
            meter,
            seen,
            allocated: Vec::new(),
            advertised: None,
            answering_since: Uptime::default(),
            report: None,
        }
    }

    fn gpu(&mut self, index: usize) -> &mut Gpu {
        &mut self.seen.gpus.as_mut().unwrap()[index]
    }

    fn hold(&mut self, pod: &str, devices: &[DeviceId]) -> &mut Self {
        self.hold_in(pod, "main", devices)
    }

    fn hold_in(&mut self, pod: &str, container: &str, devices: &[DeviceId]) -> &mut Self {
        self.allocated.push(Allocation {
            pod: key(pod),
            container: container.into(),
            resource: "nvidia.com/gpu".into(),
            devices: devices.to_vec(),
        });
        self
    }

    fn free(&mut self, pod: &str) -> &mut Self {
        self.allocated.retain(|allocation| allocation.pod != key(pod));
        self
    }

    /// Observes the node now, with a fresh answer of the kubelet.
    fn observe(&mut self) -> &mut Self {
        self.seen.allocations = Some(Arc::new(Allocations {
            read_at: self.seen.at,
            answering_since: self.answering_since,
            containers: self.allocated.clone().into(),
            advertised: self.advertised.clone().map(Into::into),
        }));
        self.observe_stale()
    }

    /// Observes the node now, with whatever the kubelet said last.
    fn observe_stale(&mut self) -> &mut Self {
        self.seen.pods_told_at = (!self.seen.pods.is_empty()).then_some(self.seen.at);
        self.report = Some(self.meter.observe(&self.seen));
        assert_eq!(self.report().imbalance, Cost::ZERO);
        self
    }

    fn later(&mut self, span: Span) -> &mut Self {
        self.seen.at = self.seen.at.after(span);
        self.seen.wall = UnixTime::from_millis(self.seen.wall.as_millis() + span.as_nanos() / 1_000_000);
        self
    }

    /// Lets `seconds` pass in ticks of `tick` seconds.
    fn run(&mut self, seconds: u64, tick: u64) -> &mut Self {
        assert_eq!(seconds % tick, 0);
        for _ in 0..seconds / tick {
            self.later(Span::from_secs(tick)).observe();
        }
        self
    }

    fn report(&self) -> &Report {
        self.report.as_ref().unwrap()
    }

    fn device(&self, index: usize) -> &DeviceLine {
        &self.report().devices[index]
    }

    fn pod(&self, name: &str) -> &PodLine {
        self.report().pods.iter().find(|pod| &*pod.pod == name).unwrap()
    }
}
