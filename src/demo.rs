//! A simulated node: a scripted source of observations, for those who want to see the exporter before they have a GPU.
//!
//! The demo stands where the driver, the kubelet and the pods' descriptions stand on a real node; the ledger, the
//! metrics and the page behind it are the real ones. Its script, `demo/node.yaml`, shows every sharing mode and lets
//! every state have some money: GPUs that are busy, hardly busy, idle, shared as replicas, as MIG devices, by a
//! scheduler's annotations and by a claim, broken from time to time, and a kubelet that is sometimes away.
//!
//! What it shows is a function of the time since boot and of the node's name: no clock, no I/O, no chance, nothing
//! remembered. Two processes on one node show the same, and so does one that was restarted.

mod board;
mod curve;
mod scenario;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{
    Allocation, Allocations, CostLabels, DeviceId, Dynamic, Node, Observation, Pod, PodKey, UnixTime, Uptime,
    Workload,
};

use self::board::Board;
use self::curve::{Curve, Presence, Run};
use self::scenario::{Active, Episode, HostScript, LabelScript, Load, PodScript, Runs, Scenario};

/// Two GPUs of one pod are out of step by this much: they wait for each other, but not to the millisecond.
const STEP_MILLIS: u64 = 1_300;

/// How the node says whether replicas take turns or run side by side.
const STRATEGY_LABEL: &str = "nvidia.com/gpu.sharing-strategy";

/// Waves begin anywhere in the first two hours.
const LONGEST_SHIFT_MILLIS: u64 = 2 * 3_600_000;

/// What the simulated node's energy costs, as a price file: nothing that a real node may take.
pub const PRICING: &str = include_str!("demo/pricing.yaml");

/// A simulated node.
#[derive(Debug)]
pub struct Demo {
    /// While replicas take turns, and while they run side by side.
    nodes: [Arc<Node>; 2],
    mps: Option<Episode>,
    driver_version: Arc<str>,
    boards: Vec<Board>,
    actors: Vec<Actor>,
    kubelet_away: Option<Episode>,
    dynamic: Arc<Dynamic>,
}

/// A pod of the script, a series of them, or a program of the host.
#[derive(Debug)]
struct Actor {
    /// The pod as its owner describes it; in a series, without the number of the run.
    pod: Pod,
    /// When the pod has which other labels.
    relabelled: Option<(Episode, CostLabels)>,
    /// Whether it is no pod, and holds nothing of what it uses.
    is_host: bool,
    presence: Presence,
    seats: Vec<Seat>,
}

/// A device that an actor holds, and what it does there.
#[derive(Debug)]
struct Seat {
    /// Position of the GPU.
    board: usize,
    device: DeviceId,
    /// The resource that the kubelet lists the device as.
    resource: Arc<str>,
    curve: Curve,
    active: Active,
    memory_percent: u64,
}

/// When an observation is made.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// Milliseconds since boot.
    millis: u64,
    wall: UnixTime,
}

// === impl Demo ===

impl Demo {
    /// A simulated node named `node`, which its GPUs and pods are told apart from those of other nodes by.
    ///
    /// The script is part of the program and a test reads it. Should it be broken all the same, the node has no GPUs.
    #[must_use]
    pub fn new(node: Arc<str>) -> Self {
        let script = Scenario::read().unwrap_or_default();
        let boards: Vec<Board> = Board::all(&node, &script);
        let pods = script.pods.iter().map(|pod| Actor::of_pod(&node, pod, &boards));
        let host = script.host.iter().filter_map(|host| Actor::of_host(host, &boards));
        Self {
            actors: pods.chain(host).collect(),
            dynamic: Arc::new(dynamic(&boards)),
            boards,
            driver_version: script.driver_version.as_str().into(),
            kubelet_away: script.kubelet_away,
            mps: script.mps,
            nodes: [describe(Arc::clone(&node), &script, "time-slicing"), describe(node, &script, "mps")],
        }
    }

    /// What the node shows at `at`. A critical error is reported in the second in which it happens, so a reader that
    /// ticks more slowly can miss it.
    #[must_use]
    pub fn observe(&self, at: Uptime, wall: UnixTime, boot: Arc<str>) -> Observation {
        let now = Moment { millis: at.as_nanos() / 1_000_000, wall };
        let gpus = self.boards.iter().map(|board| board.gpu(now, &self.actors));
        let is_mps = self.mps.is_some_and(|mps| mps.began(now.millis).is_some());
        Observation {
            at,
            wall,
            boot,
            gpus: Some(gpus.collect()),
            driver_version: Some(Arc::clone(&self.driver_version)),
            allocations: Some(Arc::new(self.allocations(at, now))),
            pods: self.actors.iter().filter_map(|actor| actor.pod(now)).collect(),
            pods_told_at: Some(at),
            dynamic: Arc::clone(&self.dynamic),
            node: Arc::clone(&self.nodes[usize::from(is_mps)]),
        }
    }

    /// The kubelet's last answer: of now, or of when it fell silent.
    fn allocations(&self, at: Uptime, now: Moment) -> Allocations {
        let silent_since = self.kubelet_away.and_then(|away| away.began(now.millis));
        let millis = silent_since.unwrap_or(now.millis);
        Allocations {
            read_at: silent_since.map_or(at, |millis| Uptime::from_nanos(millis.saturating_mul(1_000_000))),
            answering_since: Uptime::default(),
            containers: self.actors.iter().flat_map(|actor| actor.allocations(millis)).collect(),
            advertised: Some(
                self.boards.iter().flat_map(|board| board.advertised(millis)).cloned().collect(),
            ),
        }
    }
}

/// The node, on which replicas are shared by `strategy`.
fn describe(name: Arc<str>, script: &Scenario, strategy: &str) -> Arc<Node> {
    let mut labels: BTreeMap<&str, &str> =
        script.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    labels.insert(STRATEGY_LABEL, strategy);
    let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
    Arc::new(Node { name, labels: labels.collect() })
}

/// The claims of the node and the GPUs behind them.
fn dynamic(boards: &[Board]) -> Dynamic {
    let given: BTreeSet<_> = boards.iter().filter_map(Board::dynamic).collect();
    let (devices, claims) = given.into_iter().unzip();
    Dynamic { devices, claims }
}

// === impl Actor ===

impl Actor {
    fn of_pod(node: &str, script: &PodScript, boards: &[Board]) -> Self {
        let fraction = |hold: &scenario::Hold| boards.get(hold.gpu)?.fraction(hold, script.memory_percent);
        let workload = |workload: &scenario::WorkloadScript| Workload {
            kind: workload.kind.as_str().into(),
            name: workload.name.as_str().into(),
        };
        let labels = &script.labels;
        let pod = Pod {
            key: PodKey::new(script.namespace.as_str(), script.name.as_str()),
            uid: uuid(&format!("{node} {}/{}", script.namespace, script.name)).into(),
            labels: cost_labels(labels, labels),
            workload: script.workload.as_ref().map(workload),
            fractions: script.holds.iter().filter_map(fraction).collect(),
            ..Pod::default()
        };
        let relabelled = script.relabelled.as_ref();
        Self {
            seats: seats(&pod, script, boards),
            pod,
            relabelled: relabelled.map(|other| (other.when, cost_labels(labels, &other.labels))),
            is_host: false,
            presence: presence(script.runs.as_ref()),
        }
    }

    fn of_host(script: &HostScript, boards: &[Board]) -> Option<Self> {
        let device = DeviceId { target: boards.get(script.gpu)?.whole(), replica: None };
        Some(Self {
            pod: Pod::default(),
            relabelled: None,
            is_host: true,
            presence: presence(script.runs.as_ref()),
            seats: vec![Seat::new(script.gpu, device, &script.load, 0, script.memory_percent)],
        })
    }

    /// The pod that is there now, if one is.
    fn pod(&self, now: Moment) -> Option<Pod> {
        let run = self.presence.run(now.millis).filter(|_| !self.is_host)?;
        // Kubernetes keeps whole seconds; in finer steps the two clocks would not agree from tick to tick.
        let created = now.wall.as_millis().saturating_sub(run.age).saturating_add(500) / 1_000 * 1_000;
        let uid = match run.number {
            None => Arc::clone(&self.pod.uid),
            Some(number) => uuid(&format!("{} {number}", self.pod.uid)).into(),
        };
        let relabelled = self.relabelled.iter().find(|(when, _)| when.began(now.millis).is_some());
        let mut pod = self.pod.clone();
        if let Some((_, labels)) = relabelled {
            pod.labels.clone_from(labels);
        }
        Some(Pod { key: self.key(run), uid, created: UnixTime::from_millis(created), ..pod })
    }

    /// What the kubelet lists for it: the devices of each resource.
    fn allocations(&self, millis: u64) -> Vec<Allocation> {
        let Some(run) = self.presence.run(millis).filter(|_| !self.is_host) else { return Vec::new() };
        let mut resources: BTreeMap<&Arc<str>, Vec<DeviceId>> = BTreeMap::new();
        for seat in &self.seats {
            resources.entry(&seat.resource).or_default().push(seat.device.clone());
        }
        let allocation = |(resource, devices): (&Arc<str>, _)| Allocation {
            pod: self.key(run),
            container: "main".into(),
            resource: Arc::clone(resource),
            devices,
        };
        resources.into_iter().map(allocation).collect()
    }

    fn key(&self, run: Run) -> PodKey {
        let PodKey { namespace, name } = self.pod.key.clone();
        let name = run.number.map_or(name.clone(), |number| format!("{name}-{number}").into());
        PodKey { namespace, name }
    }
}

// === impl Seat ===

impl Seat {
    fn new(board: usize, device: DeviceId, load: &Load, shift_millis: u64, memory_percent: u64) -> Self {
        Self {
            board,
            device,
            resource: Arc::default(),
            curve: Curve::new(load, shift_millis),
            active: load.active,
            memory_percent,
        }
    }
}

fn seats(pod: &Pod, script: &PodScript, boards: &[Board]) -> Vec<Seat> {
    let shift = hash(&pod.uid) % LONGEST_SHIFT_MILLIS;
    let step = (0u64..).map(|n| n * STEP_MILLIS);
    let seat = |(hold, step): (&scenario::Hold, u64)| {
        let board = boards.get(hold.gpu)?;
        let seat =
            Seat::new(hold.gpu, board.device(hold)?, &script.load, shift + step, script.memory_percent);
        Some(Seat { resource: board.resource(hold), ..seat })
    };
    script.holds.iter().zip(step).filter_map(seat).collect()
}

fn presence(runs: Option<&Runs>) -> Presence {
    runs.cloned().map_or(Presence::Always, Presence::InRuns)
}

/// The labels of `own`, each in its place that of `other` where that says one.
fn cost_labels(own: &LabelScript, other: &LabelScript) -> CostLabels {
    let label = |of: fn(&LabelScript) -> &String| {
        let (own, other) = (of(own), of(other));
        Arc::from(if other.is_empty() { own.as_str() } else { other.as_str() })
    };
    CostLabels {
        team: label(|labels| &labels.team),
        project: label(|labels| &labels.project),
        model: label(|labels| &labels.model),
        environment: label(|labels| &labels.environment),
        cost_center: label(|labels| &labels.cost_center),
        department: label(|labels| &labels.department),
        task_type: label(|labels| &labels.task_type),
    }
}

/// A UUID that belongs to `name`, as long as the name is the same.
fn uuid(name: &str) -> String {
    let (high, low) = (hash(name), hash(&format!("{name} again")));
    let group = |bits: u64, shift: u32, mask: u64| (bits >> shift) & mask;
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        group(high, 32, 0xffff_ffff),
        group(high, 16, 0xffff),
        group(high, 0, 0xfff),
        group(low, 48, 0xfff),
        group(low, 0, 0xffff_ffff_ffff)
    )
}

/// FNV-1a: spreads names well enough, and does so the same everywhere.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
