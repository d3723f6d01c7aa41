//! One line: an observation without what the line before it said already.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::observation::{Allocations, Dynamic, Node, Observation, Pod, UnixTime, Uptime};

use super::allocation::WireAllocations;
use super::claim::WireDynamic;
use super::gpu::WireGpu;
use super::list::List;
use super::pod::{WireNode, WirePod};

/// An observation in the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line<'a> {
    at: u64,
    wall: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus: Option<List<'a, WireGpu>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocations_read_at: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    answering_since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocations: Option<WireAllocations<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<List<'a, WirePod>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods_told_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic: Option<WireDynamic<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<WireNode>,
}

/// An observation with nothing left out, for whoever keeps a single one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WholeLine<'a>(Line<'a>);

/// What a line leaves out because the line before it said it.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    boot: Arc<str>,
    allocations: Arc<Allocations>,
    pods: Arc<[Pod]>,
    dynamic: Arc<Dynamic>,
    node: Arc<Node>,
    /// Whether a reader has the same. Who goes on with a trace does not know what its lines said.
    is_known: bool,
}

// === impl WholeLine ===

impl<'a> From<&'a Observation> for WholeLine<'a> {
    fn from(seen: &'a Observation) -> Self {
        Self(Carried::unknown().line(seen))
    }
}

impl From<WholeLine<'_>> for Observation {
    fn from(line: WholeLine<'_>) -> Self {
        Carried::default().observation(line.0)
    }
}

// === impl Carried ===

impl Default for Carried {
    fn default() -> Self {
        Self {
            boot: Arc::default(),
            allocations: Arc::default(),
            pods: Arc::default(),
            dynamic: Arc::default(),
            node: Arc::default(),
            is_known: true,
        }
    }
}

impl Carried {
    /// After lines that nobody has read: the next one says everything.
    pub(super) fn unknown() -> Self {
        Self { is_known: false, ..Self::default() }
    }

    /// The line that tells `seen` to somebody who knows the lines before it.
    pub(super) fn line<'a>(&mut self, seen: &'a Observation) -> Line<'a> {
        let Observation {
            at,
            wall,
            boot,
            gpus,
            driver_version,
            allocations,
            pods,
            pods_told_at,
            dynamic,
            node,
        } = seen;
        let before = self.clone();
        let is_new = |differs: bool| differs || !before.is_known;
        self.is_known = true;
        self.boot.clone_from(boot);
        self.pods.clone_from(pods);
        self.dynamic.clone_from(dynamic);
        self.node.clone_from(node);
        if let Some(allocations) = allocations {
            self.allocations.clone_from(allocations);
        }
        Line {
            at: at.as_nanos(),
            wall: wall.as_millis(),
            boot: is_new(before.boot != *boot).then(|| boot.as_ref().into()),
            driver_version: driver_version.as_deref().map(Into::into),
            gpus: gpus.as_ref().map(|gpus| List::of(gpus, Into::into)),
            allocations_read_at: allocations.as_ref().map(|allocations| allocations.read_at.as_nanos()),
            answering_since: allocations.as_ref().map_or(0, |a| a.answering_since.as_nanos()),
            // Where the kubelet has not answered, nothing is new unless nothing was ever said.
            allocations: is_new(!says_the_same(&before.allocations, &self.allocations))
                .then(|| allocations.as_deref().map_or_else(WireAllocations::default, Into::into)),
            pods: is_new(before.pods != *pods).then(|| List::of(&**pods, Into::into)),
            pods_told_at: pods_told_at.map(Uptime::as_nanos),
            dynamic: is_new(before.dynamic != *dynamic).then(|| dynamic.as_ref().into()),
            node: is_new(before.node != *node).then(|| node.as_ref().into()),
        }
    }

    /// What a line tells to somebody who knows the lines before it.
    pub(super) fn observation(&mut self, line: Line<'_>) -> Observation {
        let Line {
            at,
            wall,
            boot,
            driver_version,
            gpus,
            allocations_read_at,
            answering_since,
            allocations,
            pods,
            pods_told_at,
            dynamic,
            node,
        } = line;
        let answering_since = Uptime::from_nanos(answering_since);
        if let Some(boot) = boot {
            self.boot = boot.into();
        }
        if let Some(pods) = pods {
            self.pods = pods.into_iter().map(Into::into).collect();
        }
        if let Some(dynamic) = dynamic {
            self.dynamic = Arc::new(dynamic.into());
        }
        if let Some(node) = node {
            self.node = Arc::new(node.into());
        }
        if let Some(allocations) = allocations {
            self.allocations = Arc::new(allocations.into());
        }
        Observation {
            at: Uptime::from_nanos(at),
            wall: UnixTime::from_millis(wall),
            boot: Arc::clone(&self.boot),
            gpus: gpus.map(|gpus| gpus.into_iter().map(Into::into).collect()),
            driver_version: driver_version.map(Into::into),
            allocations: allocations_read_at
                .map(|read_at| self.allocations_at(Uptime::from_nanos(read_at), answering_since)),
            pods: Arc::clone(&self.pods),
            pods_told_at: pods_told_at.map(Uptime::from_nanos),
            dynamic: Arc::clone(&self.dynamic),
            node: Arc::clone(&self.node),
        }
    }

    fn allocations_at(&mut self, read_at: Uptime, answering_since: Uptime) -> Arc<Allocations> {
        let known = &self.allocations;
        if (known.read_at, known.answering_since) != (read_at, answering_since) {
            let known = Allocations::clone(known);
            self.allocations = Arc::new(Allocations { read_at, answering_since, ..known });
        }
        Arc::clone(&self.allocations)
    }
}

/// Whether two answers of the kubelet differ in their times at most.
fn says_the_same(one: &Allocations, other: &Allocations) -> bool {
    one.containers == other.containers && one.advertised == other.advertised
}

/// For fields that are left out where they say nothing: zero, or no.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
