//! Pods and the node, as the API server describes them.

use std::sync::Arc;

use super::{PodKey, Ppm, UnixTime};

/// A pod as its owner describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The kubelet's name for it.
    pub key: PodKey,
    /// Identity over re-creation under the same name.
    pub uid: Arc<str>,
    /// For a static pod the UID that the kubelet itself has for it, by which its processes are found; `uid` is the one
    /// of its mirror in the API server.
    pub static_uid: Option<Arc<str>>,
    /// When it was created.
    pub created: UnixTime,
    /// Whether all its containers have ended for good: what a kubelet still lists for it, it does not hold.
    pub ended: bool,
    /// Whose money it is.
    pub labels: CostLabels,
    /// The controller above it.
    pub workload: Option<Workload>,
    /// GPUs that its plain init containers ask for beyond those of its other containers. It keeps them until it ends,
    /// and the kubelet never lists them.
    pub unlisted_gpus: u32,
    /// Which parts of which GPUs it has, where a scheduler wrote that into its annotations.
    pub fractions: Vec<Fraction>,
    /// The group of pods for which it holds its GPU, if it is a reservation of KAI or Run:ai.
    pub reserves: Option<Arc<str>>,
}

/// A part of a GPU that a scheduler gave to a pod, as it wrote it into an annotation.
///
/// Where neither `compute` nor `memory` is named the pod has the device as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction {
    /// The device.
    pub of: FractionOf,
    /// The part of its compute, or of the device as such where the scheduler does not tell the two apart; `None` where
    /// there is no limit to it.
    pub compute: Option<Ppm>,
    /// Bytes of its memory; `None` where there is no limit to it.
    pub memory: Option<u64>,
}

/// How an annotation names a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FractionOf {
    /// By the UUID of the GPU.
    Gpu(Arc<str>),
    /// By its position in NVML's enumeration.
    Index(u32),
    /// By the UUID of a MIG device.
    MigDevice(Arc<str>),
    /// The GPU that another pod holds for this group ([`Pod::reserves`]).
    Group(Arc<str>),
}

/// The business labels of a pod; an empty value means that nobody said.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CostLabels {
    /// The team that pays.
    pub team: Arc<str>,
    /// The project.
    pub project: Arc<str>,
    /// The model that is trained or served.
    pub model: Arc<str>,
    /// The environment, such as `production`.
    pub environment: Arc<str>,
    /// The cost center.
    pub cost_center: Arc<str>,
    /// The department.
    pub department: Arc<str>,
    /// The kind of task, such as `training` or `inference`.
    pub task_type: Arc<str>,
}

/// The controller above a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its kind, such as `Deployment`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// The node as its labels describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The node's name.
    pub name: Arc<str>,
    /// The node's labels, sorted by key; empty while nobody told them.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}
