//! Prices and discounts that the operator wrote for some nodes only.

use std::sync::Arc;

use super::{Date, NodeFacts, Percent, PriceModel, Prices};

/// Prices, or a way of buying, of the nodes that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// How it is called where somebody asks which rule applied: its name, or its place in the list from 1 on.
    pub name: Arc<str>,
    /// The GPUs that it is for.
    pub matching: Match,
    /// The first day on which it applies; `None` if it always did.
    pub valid_from: Option<Date>,
    /// The first day on which it applies no more; `None` if that is not known.
    pub valid_until: Option<Date>,
    /// How these nodes are bought; `None` if that is found elsewhere.
    pub price_model: Option<PriceModel>,
    /// What they cost; `None` if that is found elsewhere.
    pub prices: Option<OverridePrices>,
}

/// What the nodes of an override cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverridePrices {
    /// One GPU.
    Gpu(Prices),
    /// The whole node.
    Node {
        /// The prices of the node.
        prices: Prices,
        /// How many GPUs it has; `None` for as many as the catalogue says, or else as are seen.
        gpus: Option<u32>,
    },
}

/// A part that the provider takes off its list price, for the nodes that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount {
    /// The GPUs that it is for.
    pub matching: Match,
    /// How much is taken off.
    pub part: Percent,
}

/// Which GPUs of which nodes are meant: those for which all that is written is true.
///
/// A value that ends in `*` stands for every value that begins so. Case does not count but in labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The provider.
    pub provider: Option<Arc<str>>,
    /// The region.
    pub region: Option<Arc<str>>,
    /// The zone.
    pub zone: Option<Arc<str>>,
    /// The instance type.
    pub instance_type: Option<Arc<str>>,
    /// The normalised GPU model.
    pub gpu_model: Option<Arc<str>>,
    /// Labels of the node with their values.
    pub node_labels: Vec<(Arc<str>, Arc<str>)>,
}

// === impl Override ===

impl Override {
    /// Whether it applies to the GPUs of a model on a node today.
    #[must_use]
    pub fn applies(&self, node: &NodeFacts, gpu_model: &str) -> bool {
        self.holds(node.today) && self.matching.matches(node, gpu_model)
    }

    /// Whether it applies to anything on a day.
    #[must_use]
    pub fn holds(&self, today: Date) -> bool {
        self.valid_from.is_none_or(|from| from <= today) && self.valid_until.is_none_or(|until| today < until)
    }
}

// === impl Match ===

impl Match {
    /// Whether a GPU of a model on a node is meant.
    #[must_use]
    pub fn matches(&self, node: &NodeFacts, gpu_model: &str) -> bool {
        let is = |wanted: Option<&Arc<str>>, found: Option<&str>| {
            wanted.is_none_or(|wanted| {
                found.is_some_and(|found| fits(&wanted.to_ascii_lowercase(), &found.to_ascii_lowercase()))
            })
        };
        let has =
            |(key, value): &(Arc<str>, Arc<str>)| node.label(key).is_some_and(|found| fits(value, found));
        is(self.provider.as_ref(), node.provider.as_deref())
            && is(self.region.as_ref(), node.region.as_deref())
            && is(self.zone.as_ref(), node.zone.as_deref())
            && is(self.instance_type.as_ref(), node.instance_type.as_deref())
            && is(self.gpu_model.as_ref(), Some(gpu_model))
            && self.node_labels.iter().all(has)
    }
}

/// Whether a value is the wanted one, or begins as it does before its `*`.
fn fits(wanted: &str, found: &str) -> bool {
    wanted.strip_suffix('*').map_or(wanted == found, |beginning| found.starts_with(beginning))
}
