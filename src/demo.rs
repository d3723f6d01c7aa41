//! A simulated node: a scripted source of observations, for those who want to see the exporter before they have a GPU.
//!
//! The demo stands where the driver, the kubelet and the pods' descriptions stand on a real node; the ledger, the
//! metrics and the page behind it are the real ones. Its script, `demo/node.yaml`, shows every sharing mode and lets
//! every state have some money: GPUs that are busy, hardly busy, idle, time-sliced, cut into MIG devices, free, broken
//! from time to time, and a kubelet that is sometimes away.
//!
//! What it shows is a function of the time since boot and of the node's name: no clock, no I/O, no chance, nothing
//! remembered. Two processes on one node show the same, and so does one that was restarted.

mod board;
mod curve;
mod scenario;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::observation::{
    Allocation, Allocations, CostLabels, DeviceId, Node, Observation, Pod, PodKey, UnixTime, Uptime, Workload,
};

use self::board::Board;
use self::curve::{Curve, Presence, Run};
use self::scenario::{Active, Episode, PodScript, Scenario};

/// Two GPUs of one pod are out of step by this much: they wait for each other, but not to the millisecond.
const STEP_MILLIS: u64 = 1_300;

/// Waves begin anywhere in the first two hours.
const LONGEST_SHIFT_MILLIS: u64 = 2 * 3_600_000;

/// A simulated node.
#[derive(Debug)]
pub struct Demo {
    node: Arc<Node>,
    driver_version: Arc<str>,
    boards: Vec<Board>,
    actors: Vec<Actor>,
    kubelet_away: Option<Episode>,
}

/// A pod of the script, or a series of them.
#[derive(Debug)]
struct Actor {
    /// The pod as its owner describes it; in a series, without the number of the run.
    pod: Pod,
    presence: Presence,
    seats: Vec<Seat>,
}

/// A device that an actor holds, and what it does there.
#[derive(Debug)]
struct Seat {
    /// Position of the GPU.
    board: usize,
    device: DeviceId,
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
        let labels = script.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        let boards: Vec<Board> = Board::all(&node, &script);
        Self {
            actors: script.pods.iter().map(|pod| Actor::new(&node, pod, &boards)).collect(),
            boards,
            driver_version: script.driver_version.as_str().into(),
            kubelet_away: script.kubelet_away,
            node: Arc::new(Node { labels: labels.collect(), name: node }),
        }
    }

    /// What the node shows at `at`. A critical error is reported in the second in which it happens, so a reader that
    /// ticks more slowly can miss it.
    #[must_use]
    pub fn observe(&self, at: Uptime, wall: UnixTime, boot: Arc<str>) -> Observation {
        let now = Moment { millis: at.as_nanos() / 1_000_000, wall };
        let gpus = self.boards.iter().map(|board| board.gpu(now, &self.actors));
        Observation {
            at,
            wall,
            boot,
            gpus: Some(gpus.collect()),
            driver_version: Some(Arc::clone(&self.driver_version)),
            allocations: Some(Arc::new(self.allocations(at, now))),
            pods: self.actors.iter().filter_map(|actor| actor.pod(now)).collect(),
            pods_told_at: Some(at),
            dynamic: Arc::default(),
            node: Arc::clone(&self.node),
        }
    }

    /// The kubelet's last answer: of now, or of when it fell silent.
    fn allocations(&self, at: Uptime, now: Moment) -> Allocations {
        let silent_since = self.kubelet_away.and_then(|away| away.began(now.millis));
        let millis = silent_since.unwrap_or(now.millis);
        Allocations {
            read_at: silent_since.map_or(at, |millis| Uptime::from_nanos(millis.saturating_mul(1_000_000))),
            answering_since: Uptime::default(),
            containers: self.actors.iter().filter_map(|actor| actor.allocation(millis)).collect(),
            advertised: Some(
                self.boards.iter().flat_map(|board| board.advertised(millis)).cloned().collect(),
            ),
        }
    }
}

// === impl Actor ===

impl Actor {
    fn new(node: &str, script: &PodScript, boards: &[Board]) -> Self {
        let labels = &script.labels;
        let pod = Pod {
            key: PodKey::new(script.namespace.as_str(), script.name.as_str()),
            uid: uuid(&format!("{node} {}/{}", script.namespace, script.name)).into(),
            labels: CostLabels {
                team: labels.team.as_str().into(),
                project: labels.project.as_str().into(),
                model: labels.model.as_str().into(),
                environment: labels.environment.as_str().into(),
                cost_center: labels.cost_center.as_str().into(),
                department: labels.department.as_str().into(),
                task_type: labels.task_type.as_str().into(),
            },
            workload: Some(Workload {
                kind: script.workload.kind.as_str().into(),
                name: script.workload.name.as_str().into(),
            }),
            ..Pod::default()
        };
        Self {
            seats: seats(&pod, script, boards),
            pod,
            presence: script.runs.clone().map_or(Presence::Always, Presence::InRuns),
        }
    }

    /// The pod that is there now, if one is.
    fn pod(&self, now: Moment) -> Option<Pod> {
        let run = self.presence.run(now.millis)?;
        // Kubernetes keeps whole seconds; in finer steps the two clocks would not agree from tick to tick.
        let created = now.wall.as_millis().saturating_sub(run.age).saturating_add(500) / 1_000 * 1_000;
        let uid = match run.number {
            None => Arc::clone(&self.pod.uid),
            Some(number) => uuid(&format!("{} {number}", self.pod.uid)).into(),
        };
        let pod = self.pod.clone();
        Some(Pod { key: self.key(run), uid, created: UnixTime::from_millis(created), ..pod })
    }

    fn allocation(&self, millis: u64) -> Option<Allocation> {
        let run = self.presence.run(millis)?;
        Some(Allocation {
            pod: self.key(run),
            container: "main".into(),
            resource: "nvidia.com/gpu".into(),
            devices: self.seats.iter().map(|seat| seat.device.clone()).collect(),
        })
    }

    fn key(&self, run: Run) -> PodKey {
        let PodKey { namespace, name } = self.pod.key.clone();
        let name = run.number.map_or(name.clone(), |number| format!("{name}-{number}").into());
        PodKey { namespace, name }
    }
}

fn seats(pod: &Pod, script: &PodScript, boards: &[Board]) -> Vec<Seat> {
    let shift = hash(&pod.uid) % LONGEST_SHIFT_MILLIS;
    let step = (0u64..).map(|n| n * STEP_MILLIS);
    let seat = |(hold, step): (&scenario::Hold, u64)| {
        Some(Seat {
            board: hold.gpu,
            device: boards.get(hold.gpu)?.device(hold)?,
            curve: Curve::new(&script.load, shift + step),
            active: script.load.active,
            memory_percent: script.memory_percent,
        })
    };
    script.holds.iter().zip(step).filter_map(seat).collect()
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
