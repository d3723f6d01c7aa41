//! Prices of whole instances, by provider, region and instance type.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Prices;
use crate::cost::money::Rate;

/// What instances cost at their list price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// By instance type, then by region, both in lower case: an instance type is asked for more often than a region.
    instances: BTreeMap<String, BTreeMap<String, Arc<Instance>>>,
}

/// An instance type in one region of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Who rents it out.
    pub provider: Arc<str>,
    /// The region.
    pub region: Arc<str>,
    /// The instance type, as the provider writes it.
    pub instance_type: Arc<str>,
    /// The normalised model of its GPUs.
    pub gpu_model: Arc<str>,
    /// How many whole GPUs it has; `None` where it has a part of one (a vGPU).
    pub gpus: Option<u32>,
    /// What the whole instance costs.
    pub prices: Prices,
}

// === impl Catalogue ===

impl Catalogue {
    /// Adds an instance; the last of two with the same provider, region and type counts.
    pub fn insert(&mut self, instance: Instance) {
        let regions = self.instances.entry(instance.instance_type.to_ascii_lowercase()).or_default();
        regions.insert(instance.region.to_ascii_lowercase(), Arc::new(instance));
    }

    /// The row of a provider, region and instance type, however its case was written.
    #[must_use]
    pub fn instance(&self, provider: &str, region: &str, instance_type: &str) -> Option<&Arc<Instance>> {
        let regions = self.instances.get(&instance_type.to_ascii_lowercase())?;
        let instance = regions.get(&region.to_ascii_lowercase())?;
        instance.provider.eq_ignore_ascii_case(provider).then_some(instance)
    }

    /// The only provider that has an instance type; `None` if none or several have it.
    #[must_use]
    pub fn provider_of(&self, instance_type: &str) -> Option<Arc<str>> {
        let mut providers = self.of_type(instance_type).map(|instance| &instance.provider);
        let first = providers.next()?;
        providers.all(|provider| provider == first).then(|| Arc::clone(first))
    }

    /// An instance type in every region that has it.
    pub fn of_type(&self, instance_type: &str) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.get(&instance_type.to_ascii_lowercase()).into_iter().flat_map(BTreeMap::values)
    }

    /// Every row, sorted by instance type and region.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values().flat_map(BTreeMap::values)
    }
}

// === impl Instance ===

impl Instance {
    /// What one of its GPUs costs at a price of the whole instance, rounded down. A part of a GPU counts as one: it is
    /// the device that the node shows.
    #[must_use]
    pub fn per_gpu(&self, whole: Rate) -> Rate {
        whole.part(0, 1.max(self.gpus.unwrap_or(1)).into())
    }
}
