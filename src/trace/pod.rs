//! The pods and the node in the file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::observation::{CostLabels, Fraction, FractionOf, Node, Pod, Ppm, UnixTime, Workload};

use super::allocation::WirePodKey;
use super::line::is_default;

/// A pod.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WirePod {
    key: WirePodKey,
    uid: String,
    created: u64,
    #[serde(default, skip_serializing_if = "WireCostLabels::is_empty")]
    labels: WireCostLabels,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WireWorkload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    static_uid: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    ended: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    unlisted_gpus: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fractions: Vec<WireFraction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserves: Option<String>,
}

/// A part of a GPU that an annotation names.
#[derive(Debug, Serialize, Deserialize)]
struct WireFraction {
    of: WireFractionOf,
    #[serde(skip_serializing_if = "Option::is_none")]
    compute: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireFractionOf {
    Gpu(String),
    Index(u32),
    MigDevice(String),
    Group(String),
}

/// The business labels; left out where nobody said.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct WireCostLabels {
    #[serde(skip_serializing_if = "String::is_empty")]
    team: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    project: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    model: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    environment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cost_center: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    department: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    task_type: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireWorkload {
    kind: String,
    name: String,
}

/// The node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireNode {
    name: String,
    /// Pairs rather than a JSON object: their order is kept, and so is a key that somebody wrote twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<(String, String)>,
}

// === impl WirePod ===

impl From<&Pod> for WirePod {
    fn from(pod: &Pod) -> Self {
        let Pod {
            key,
            uid,
            static_uid,
            created,
            ended,
            labels,
            workload,
            unlisted_gpus,
            fractions,
            reserves,
        } = pod;
        Self {
            key: key.into(),
            uid: uid.as_ref().into(),
            created: created.as_millis(),
            static_uid: static_uid.as_deref().map(Into::into),
            ended: *ended,
            unlisted_gpus: *unlisted_gpus,
            fractions: fractions.iter().map(Into::into).collect(),
            reserves: reserves.as_deref().map(Into::into),
            labels: labels.into(),
            workload: workload.as_ref().map(|Workload { kind, name }| WireWorkload {
                kind: kind.as_ref().into(),
                name: name.as_ref().into(),
            }),
        }
    }
}

impl From<WirePod> for Pod {
    fn from(wire: WirePod) -> Self {
        let workload = |WireWorkload { kind, name }| Workload { kind: kind.into(), name: name.into() };
        Self {
            key: wire.key.into(),
            uid: wire.uid.into(),
            created: UnixTime::from_millis(wire.created),
            static_uid: wire.static_uid.map(Into::into),
            ended: wire.ended,
            unlisted_gpus: wire.unlisted_gpus,
            fractions: wire.fractions.into_iter().map(Into::into).collect(),
            reserves: wire.reserves.map(Into::into),
            labels: wire.labels.into(),
            workload: wire.workload.map(workload),
        }
    }
}

// === impl WireFraction ===

impl From<&Fraction> for WireFraction {
    fn from(fraction: &Fraction) -> Self {
        let Fraction { of, compute, memory } = fraction;
        let of = match of {
            FractionOf::Gpu(uuid) => WireFractionOf::Gpu(uuid.as_ref().into()),
            FractionOf::Index(index) => WireFractionOf::Index(*index),
            FractionOf::MigDevice(uuid) => WireFractionOf::MigDevice(uuid.as_ref().into()),
            FractionOf::Group(group) => WireFractionOf::Group(group.as_ref().into()),
        };
        Self { of, compute: compute.map(Ppm::get), memory: *memory }
    }
}

impl From<WireFraction> for Fraction {
    fn from(wire: WireFraction) -> Self {
        let of = match wire.of {
            WireFractionOf::Gpu(uuid) => FractionOf::Gpu(uuid.into()),
            WireFractionOf::Index(index) => FractionOf::Index(index),
            WireFractionOf::MigDevice(uuid) => FractionOf::MigDevice(uuid.into()),
            WireFractionOf::Group(group) => FractionOf::Group(group.into()),
        };
        Self { of, compute: wire.compute.map(Ppm::new), memory: wire.memory }
    }
}

// === impl WireCostLabels ===

impl WireCostLabels {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&CostLabels> for WireCostLabels {
    fn from(labels: &CostLabels) -> Self {
        let CostLabels { team, project, model, environment, cost_center, department, task_type } = labels;
        let text = |label: &Arc<str>| label.as_ref().into();
        Self {
            team: text(team),
            project: text(project),
            model: text(model),
            environment: text(environment),
            cost_center: text(cost_center),
            department: text(department),
            task_type: text(task_type),
        }
    }
}

impl From<WireCostLabels> for CostLabels {
    fn from(wire: WireCostLabels) -> Self {
        Self {
            team: wire.team.into(),
            project: wire.project.into(),
            model: wire.model.into(),
            environment: wire.environment.into(),
            cost_center: wire.cost_center.into(),
            department: wire.department.into(),
            task_type: wire.task_type.into(),
        }
    }
}

// === impl WireNode ===

impl From<&Node> for WireNode {
    fn from(node: &Node) -> Self {
        let Node { name, labels } = node;
        let pair = |(key, value): &(Arc<str>, Arc<str>)| (key.as_ref().into(), value.as_ref().into());
        Self { name: name.as_ref().into(), labels: labels.iter().map(pair).collect() }
    }
}

impl From<WireNode> for Node {
    fn from(wire: WireNode) -> Self {
        let pair = |(key, value): (String, String)| (key.into(), value.into());
        Self { name: wire.name.into(), labels: wire.labels.into_iter().map(pair).collect() }
    }
}
