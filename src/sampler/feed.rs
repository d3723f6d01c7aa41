//! Where observations come from: a real node, or a simulated one.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::apiserver;
use crate::clock;
use crate::demo::Demo;
use crate::errors;
use crate::kubelet;
use crate::nvml::{self, Driver, Reading};
use crate::observation::{
    Allocation, Allocations, DeviceId, DeviceTarget, Dynamic, Gpu, Mig, Node, Observation, Pod, PodKey, Span,
    UnixTime, Uptime,
};
use crate::procfs::Procfs;
use crate::status::{Source, SourceStatus};

use super::release;
use super::shut_out::ShutOut;
use super::workers::Workers;

/// The shortest time that the driver is given for an answer, however short the tick is.
const PATIENCE_MIN: Duration = Duration::from_millis(500);

/// The longest time that the driver is given, however long the tick is: with it the longest tick, 10 s, is over within the
/// 15 s that the driver's sample buffers cover, so that a slow answer is no gap in the bill.
const PATIENCE_MAX: Duration = Duration::from_secs(4);

/// How many errors of one reading are told: a board that fails does so in every call.
const ERRORS_TOLD: usize = 5;

/// The namespace of the node where it holds its GPUs itself.
const HOST_NAMESPACE: &str = "_host";

/// Where observations come from.
#[derive(Debug)]
pub enum Feed {
    /// A real node.
    Node(Box<NodeFeed>),
    /// A simulated node.
    Demo {
        /// The script.
        demo: Demo,
        /// The boot that its times count from.
        boot: Arc<str>,
    },
}

/// A real node: its driver, and whoever says who holds the GPUs.
#[derive(Debug)]
pub struct NodeFeed {
    driver: Driver,
    holding: Holding,
    /// `None` where the API server is not asked.
    described: Option<watch::Receiver<apiserver::Latest>>,
    /// `None` where the driver is not asked which processes worked.
    workers: Option<Workers>,
    /// What can be held of each GPU, by its UUID, as the driver last showed it: a driver that does not answer takes
    /// nothing from who holds it.
    holdable: BTreeMap<Arc<str>, Vec<DeviceId>>,
    node: Arc<Node>,
    boot: Arc<str>,
    shut_out: ShutOut,
    /// Until when somebody wants the driver for himself; `None` where nobody can ask for it.
    wanted: Option<watch::Receiver<Option<Uptime>>>,
    /// When the pods were last known to be as the API server told them.
    pods_told_at: Option<Uptime>,
    /// What was seen last before the program was started anew.
    last: Option<Observation>,
    status: SourceStatus,
}

/// Who says who holds the GPUs.
#[derive(Debug)]
pub enum Holding {
    /// The kubelet.
    Kubelet(watch::Receiver<kubelet::Latest>),
    /// Nobody needs to: the node holds them itself.
    Node,
}

// === impl Feed ===

impl Feed {
    /// Says what there is to see now, and how the sources are doing.
    pub async fn observe(&mut self, every: Duration) -> (Observation, Vec<SourceStatus>) {
        match self {
            Self::Node(node) => node.observe(every.clamp(PATIENCE_MIN, PATIENCE_MAX)).await,
            Self::Demo { demo, boot } => {
                (demo.observe(clock::uptime(), clock::wall(), Arc::clone(boot)), Vec::new())
            }
        }
    }

    /// Whether the driver worked and is out of reach for as long as this container lives.
    #[must_use]
    pub fn is_shut_out(&self) -> bool {
        match self {
            Self::Node(node) => node.shut_out.is_for_good(clock::uptime()),
            Self::Demo { .. } => false,
        }
    }
}

// === impl NodeFeed ===

impl NodeFeed {
    /// The node `name`, whose driver is `driver`.
    #[must_use]
    pub fn new(name: Arc<str>, driver: Driver, holding: Holding) -> Self {
        let status = SourceStatus {
            source: Source::Nvml,
            up: false,
            last_success: None,
            errors: 0,
            duration: None,
            message: None,
        };
        let node = Arc::new(Node { name, labels: Vec::new() });
        Self {
            driver,
            holding,
            holdable: BTreeMap::new(),
            described: None,
            workers: None,
            wanted: None,
            shut_out: ShutOut::default(),
            node,
            boot: clock::boot(),
            pods_told_at: None,
            last: None,
            status,
        }
    }

    /// The same node, whose pods and labels the API server describes.
    #[must_use]
    pub fn described_by(self, latest: Option<watch::Receiver<apiserver::Latest>>) -> Self {
        Self { described: latest, ..self }
    }

    /// The same node, whose driver says which processes worked and whose `/proc` says whose they are.
    #[must_use]
    pub fn with_processes(self, procfs: Option<Procfs>) -> Self {
        Self { workers: procfs.map(Workers::new), ..self }
    }

    /// The same node, whose driver somebody may want for himself until a time of this boot.
    #[must_use]
    pub fn released_until(self, wanted: watch::Receiver<Option<Uptime>>) -> Self {
        Self { wanted: Some(wanted), ..self }
    }

    /// The same node, of which this was seen last before the program was started anew. It holds for whoever has not
    /// answered since; what the kubelet and the driver said, in the same boot only.
    #[must_use]
    pub fn last_seen(mut self, last: Option<Observation>) -> Self {
        self.last = last.map(|last| self.of_this_boot(last));
        for gpu in self.last.iter().filter_map(|last| last.gpus.as_ref()).flatten() {
            self.holdable.insert(Arc::clone(&gpu.uuid), devices(gpu));
        }
        self.pods_told_at = self.last.as_ref().and_then(|last| last.pods_told_at);
        self
    }

    fn of_this_boot(&self, last: Observation) -> Observation {
        if last.boot == self.boot && !self.boot.is_empty() {
            return last;
        }
        Observation { gpus: None, allocations: None, pods_told_at: None, ..last }
    }

    async fn observe(&mut self, patience: Duration) -> (Observation, Vec<SourceStatus>) {
        let mut reading = self.read_driver(patience).await;
        let (at, wall) = (clock::uptime(), clock::wall());
        if matches!(self.holding, Holding::Node) {
            let shown = reading.gpus.iter().flatten();
            self.holdable.extend(shown.map(|gpu| (Arc::clone(&gpu.uuid), devices(gpu))));
        }
        let (allocations, kubelet) = self.allocations(at);
        let described = self.described.as_ref().map(|latest| latest.borrow().clone());
        if described.as_ref().is_some_and(|latest| latest.up) {
            self.pods_told_at = Some(at);
        }
        let (pods, dynamic, node) = self.description(described.as_ref());
        if let Some(workers) = &mut self.workers {
            workers.name(&mut reading, &pods, at, wall).await;
        }
        let described = described.map(|latest| apiserver_status(latest, wall));
        let sources = iter::once(self.status.clone()).chain(kubelet).chain(described).collect();
        let seen = Observation {
            at,
            wall,
            boot: Arc::clone(&self.boot),
            gpus: reading.gpus,
            driver_version: reading.driver_version,
            allocations,
            pods,
            pods_told_at: self.pods_told_at,
            dynamic,
            node,
        };
        (seen, sources)
    }

    /// Reads the driver, or lets it go while somebody else needs it: nobody can partition a GPU or load another driver
    /// while we hold it open. Its GPUs are charged on.
    async fn read_driver(&mut self, patience: Duration) -> Reading {
        let asked = clock::uptime();
        let wanted = self.wanted.as_ref().and_then(|until| *until.borrow());
        let labels = self.described.as_ref().map(|latest| Arc::clone(&latest.borrow().node));
        if let Some(reason) = release::reason(wanted, asked, labels.as_deref()) {
            self.driver.release();
            self.status.up = false;
            self.status.message = Some(reason);
            return Reading::default();
        }
        let reading = self.driver.read(clock::wall(), patience).await;
        let now = clock::uptime();
        self.take_stock(&reading, clock::wall(), now.since(asked));
        self.shut_out.take_in(&reading, now);
        reading
    }

    fn take_stock(&mut self, reading: &Reading, wall: UnixTime, took: Span) {
        let status = &mut self.status;
        // A GPU that fails leaves the driver up: the others were read.
        status.up = reading.gpus.as_ref().is_some_and(|gpus| !gpus.is_empty());
        if status.up {
            status.last_success = Some(wall);
            status.duration = Some(took);
        }
        status.errors += u64::try_from(reading.errors.len()).unwrap_or(u64::MAX);
        status.message = (!reading.errors.is_empty()).then(|| message(&reading.errors).into());
    }

    /// The pods, their claims and the node as the API server last told them, to this program or to the one before it.
    fn description(&self, latest: Option<&apiserver::Latest>) -> (Arc<[Pod]>, Arc<Dynamic>, Arc<Node>) {
        let Some(latest) = latest else { return (Arc::default(), Arc::default(), Arc::clone(&self.node)) };
        match &self.last {
            Some(last) if latest.last_success.is_none() => {
                (Arc::clone(&last.pods), Arc::clone(&last.dynamic), Arc::clone(&last.node))
            }
            _ => (Arc::clone(&latest.pods), Arc::clone(&latest.dynamic), Arc::clone(&latest.node)),
        }
    }

    fn allocations(&self, at: Uptime) -> (Option<Arc<Allocations>>, Option<SourceStatus>) {
        match &self.holding {
            Holding::Kubelet(latest) => {
                let latest = latest.borrow().clone();
                let last = || self.last.as_ref()?.allocations.clone();
                (latest.allocations.clone().or_else(last), Some(kubelet_status(latest)))
            }
            Holding::Node => (Some(Arc::new(self.held_by_node(at))), None),
        }
    }

    /// Without a kubelet the node itself is the holder of everything that can be held.
    fn held_by_node(&self, read_at: Uptime) -> Allocations {
        let allocation = Allocation {
            pod: PodKey::new(HOST_NAMESPACE, Arc::clone(&self.node.name)),
            container: Arc::default(),
            resource: Arc::default(),
            devices: self.holdable.values().flatten().cloned().collect(),
        };
        Allocations { read_at, containers: [allocation].into(), ..Allocations::default() }
    }
}

fn kubelet_status(latest: kubelet::Latest) -> SourceStatus {
    let kubelet::Latest { allocations: _, up, last_success, errors, duration, message } = latest;
    SourceStatus { source: Source::Kubelet, up, last_success, errors, duration, message }
}

fn apiserver_status(latest: apiserver::Latest, now: UnixTime) -> SourceStatus {
    let last_success = latest.known_at(now);
    let apiserver::Latest { pods: _, node: _, dynamic: _, up, last_success: _, errors, duration, message } =
        latest;
    SourceStatus { source: Source::ApiServer, up, last_success, errors, duration, message }
}

fn devices(gpu: &Gpu) -> Vec<DeviceId> {
    let device = |target| DeviceId { target, replica: None };
    match &gpu.mig {
        Mig::Disabled => vec![device(DeviceTarget::Gpu(Arc::clone(&gpu.uuid)))],
        Mig::Enabled(partition) => {
            let uuids = partition.devices.iter().map(|mig| Arc::clone(&mig.uuid));
            uuids.map(|uuid| device(DeviceTarget::MigDevice(uuid))).collect()
        }
    }
}

/// What failed in one reading, in one line for people.
fn message(errors: &[nvml::Error]) -> String {
    let mut told: Vec<String> =
        errors.iter().take(ERRORS_TOLD).map(|error| format!("failed to {}", errors::chain(error))).collect();
    let more = errors.len().saturating_sub(ERRORS_TOLD);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_one_line_that_ends() {
        let missing = |n: usize| nvml::Error::Missing { gpu: format!("GPU-{n}").into() };
        let told = |n: usize| message(&(1..=n).map(missing).collect::<Vec<_>>());
        assert_eq!(told(1), "failed to find GPU-1, which the driver listed before");
        assert!(told(5).ends_with("failed to find GPU-5, which the driver listed before"));
        assert!(told(80).ends_with("GPU-5, which the driver listed before; and 75 more"));
    }
}
