//! The pods and the node in the file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::observation::{CostLabels, Node, Pod, UnixTime, Workload};

use super::allocation::WirePodKey;

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
        let Pod { key, uid, created, labels, workload } = pod;
        Self {
            key: key.into(),
            uid: uid.as_ref().into(),
            created: created.as_millis(),
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
            labels: wire.labels.into(),
            workload: wire.workload.map(workload),
        }
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
