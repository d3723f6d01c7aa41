//! Where a node is and how it was bought, from its labels.
//!
//! Kubernetes defines labels for the region, the zone and the instance type, but none for the provider and none for how
//! the capacity was bought. Each cloud and each tool that makes nodes writes labels of its own, from which both follow.

use std::sync::Arc;

use super::{Catalogue, Date, PriceModel};
use crate::observation::{Node, UnixTime};

/// What a price may depend on, of one node on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Who rents it out, such as `aws`; `None` when nothing says so.
    pub provider: Option<Arc<str>>,
    /// The provider's region, such as `us-east-1`; `None` when nothing says so.
    pub region: Option<Arc<str>>,
    /// The zone in the region; `None` when nothing says so.
    pub zone: Option<Arc<str>>,
    /// The machine type, such as `p5.48xlarge`; `None` when nothing says so.
    pub instance_type: Option<Arc<str>>,
    /// The node with its labels.
    pub node: Arc<Node>,
    /// How many GPUs the node was seen to have.
    pub gpus: u32,
    /// The day, in UTC.
    pub today: Date,
}

/// How a node was bought, by one of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceModelRule {
    /// The key of the label.
    pub label: Arc<str>,
    /// What its values say; other values say nothing.
    pub values: Vec<(Arc<str>, PriceModel)>,
}

/// What a label says of how a node was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityType {
    /// What the label calls it, in our words: a price model, or `reserved` for a capacity reservation.
    pub name: &'static str,
    /// The prices that apply.
    pub price_model: PriceModel,
    /// The label.
    pub label: Arc<str>,
}

/// A label that a provider or a provisioner writes: key, value, and what it says.
///
/// The first that a node has counts. A capacity reservation (`reserved`) only holds the capacity: it is paid on demand.
const CAPACITY_TYPES: &[(&str, &str, &str, PriceModel)] = &[
    // Karpenter: https://karpenter.sh/docs/reference/well-known-labels. Capacity blocks show as `reserved`, too.
    (
        "karpenter.k8s.aws/capacity-reservation-type",
        "capacity-block",
        "capacity_block",
        PriceModel::CapacityBlock,
    ),
    ("karpenter.sh/capacity-type", "spot", "spot", PriceModel::Spot),
    ("karpenter.sh/capacity-type", "on-demand", "on_demand", PriceModel::OnDemand),
    ("karpenter.sh/capacity-type", "reserved", "reserved", PriceModel::OnDemand),
    // Managed node groups of EKS.
    ("eks.amazonaws.com/capacityType", "SPOT", "spot", PriceModel::Spot),
    ("eks.amazonaws.com/capacityType", "ON_DEMAND", "on_demand", PriceModel::OnDemand),
    ("eks.amazonaws.com/capacityType", "CAPACITY_BLOCK", "capacity_block", PriceModel::CapacityBlock),
    // GKE. A node that flex-start made is provisioned in the standard way, so that this comes first.
    ("cloud.google.com/gke-spot", "true", "spot", PriceModel::Spot),
    ("cloud.google.com/gke-preemptible", "true", "spot", PriceModel::Spot),
    ("cloud.google.com/gke-flex-start", "true", "flex_start", PriceModel::FlexStart),
    ("cloud.google.com/gke-provisioning", "spot", "spot", PriceModel::Spot),
    ("cloud.google.com/gke-provisioning", "preemptible", "spot", PriceModel::Spot),
    ("cloud.google.com/gke-provisioning", "standard", "on_demand", PriceModel::OnDemand),
    // AKS. Its ordinary pools have no such label.
    ("kubernetes.azure.com/scalesetpriority", "spot", "spot", PriceModel::Spot),
    ("kubernetes.azure.com/scalesetpriority", "regular", "on_demand", PriceModel::OnDemand),
];

/// Who writes labels whose keys are below a domain.
const PROVIDERS: &[(&str, &str)] = &[
    ("eks.amazonaws.com", "aws"),
    ("k8s.aws", "aws"),
    ("cloud.google.com", "gcp"),
    ("kubernetes.azure.com", "azure"),
    ("karpenter.azure.com", "azure"),
    ("alibabacloud.com", "alibaba"),
    ("aliyun.com", "alibaba"),
    ("k8s.aliyun.com", "alibaba"),
    ("oraclecloud.com", "oci"),
    ("coreweave.cloud", "coreweave"),
    ("coreweave.com", "coreweave"),
];

const INSTANCE_TYPE: [&str; 2] = ["node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type"];
const REGION: [&str; 2] = ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"];
const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];

/// The labels by which providers and provisioners say how a node was bought, with each value that is known of them.
pub fn capacity_labels() -> impl Iterator<Item = (&'static str, &'static str)> {
    CAPACITY_TYPES.iter().map(|(label, value, ..)| (*label, *value))
}

// === impl NodeFacts ===

impl NodeFacts {
    /// What the labels of a node say, and the catalogue about its instance type.
    #[must_use]
    pub fn of(node: &Arc<Node>, gpus: usize, now: UnixTime, catalogue: Option<&Catalogue>) -> Self {
        let mut facts = Self {
            node: Arc::clone(node),
            gpus: u32::try_from(gpus).unwrap_or(u32::MAX),
            today: Date::of(now),
            ..Self::default()
        };
        facts.instance_type = facts.either_label(INSTANCE_TYPE);
        facts.region = facts.either_label(REGION);
        facts.zone = facts.either_label(ZONE);
        facts.provider = facts.provider_by_labels().or_else(|| facts.provider_by_instance_type(catalogue));
        facts
    }

    /// The value of a label; an empty one says nothing.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&Arc<str>> {
        let value = self.node.labels.iter().find(|(known, _)| &**known == key).map(|(_, value)| value);
        value.filter(|value| !value.is_empty())
    }

    /// How the node was bought, as the first label tells that has a rule; the operator's rules come first.
    #[must_use]
    pub fn capacity_type(&self, rules: &[PriceModelRule]) -> Option<CapacityType> {
        let own = rules.iter().find_map(|rule| {
            let value = self.label(&rule.label)?;
            let (_, price_model) = rule.values.iter().find(|(known, _)| known == value)?;
            let name = price_model.as_str();
            Some(CapacityType { name, price_model: *price_model, label: Arc::clone(&rule.label) })
        });
        own.or_else(|| {
            CAPACITY_TYPES
                .iter()
                .find(|(key, value, ..)| self.label(key).is_some_and(|it| &**it == *value))
                .map(|(key, _, name, price_model)| CapacityType {
                    name,
                    price_model: *price_model,
                    label: Arc::from(*key),
                })
        })
    }

    fn either_label(&self, keys: [&str; 2]) -> Option<Arc<str>> {
        keys.into_iter().find_map(|key| self.label(key)).cloned()
    }

    fn provider_by_labels(&self) -> Option<Arc<str>> {
        let is_below = |key: &str, parent: &str| {
            let beginning = key.split_once('/').and_then(|(domain, _)| domain.strip_suffix(parent));
            beginning.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let writes =
            |(parent, _): &&(&str, &str)| self.node.labels.iter().any(|(key, _)| is_below(key, parent));
        PROVIDERS.iter().find(writes).map(|(_, provider)| Arc::from(*provider))
    }

    fn provider_by_instance_type(&self, catalogue: Option<&Catalogue>) -> Option<Arc<str>> {
        catalogue?.provider_of(self.instance_type.as_deref()?)
    }
}
