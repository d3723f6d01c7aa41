//! The catalogue as it is looked at when somebody's prices are held against it. Its rows are many, and a file is read often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cost::money::Rate;
use crate::cost::pricing::{Catalogue, Instance, PriceModel};

/// Who rents out GPUs, by the names that node labels have, in the catalogue or not.
const PROVIDERS: &[&str] = &["aws", "gcp", "azure", "alibaba", "oci", "coreweave"];

/// What of a catalogue is compared with.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The lowest and the highest on-demand price of one GPU, by model.
    pub(super) ranges: BTreeMap<Arc<str>, (Rate, Rate)>,
    /// Instances by each of their prices as a whole, in billionths of a dollar, sorted.
    by_price: Vec<(u64, Whole)>,
    /// In lower case, as all below.
    pub(super) providers: BTreeSet<String>,
    pub(super) regions: BTreeSet<String>,
    pub(super) instance_types: BTreeSet<String>,
    /// Which provider is in which region.
    places: BTreeSet<(String, String)>,
}

/// An instance as a whole. Its names are kept once each.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    /// How many whole GPUs it has.
    pub(super) gpus: Option<u32>,
    model: Arc<str>,
    pub(super) instance_type: Arc<str>,
    pub(super) region: Arc<str>,
}

// === impl Listed ===

impl Listed {
    pub(super) fn of(catalogue: &Catalogue) -> Self {
        let providers = PROVIDERS.iter().map(|name| (*name).to_owned()).collect();
        let mut listed = Self { providers, ..Self::default() };
        let mut names = BTreeSet::new();
        for instance in catalogue.passing() {
            listed.add(&instance, &mut names);
        }
        listed.by_price.sort_by_key(|(price, _)| *price);
        listed.by_price.shrink_to_fit();
        listed
    }

    fn add(&mut self, instance: &Instance, names: &mut BTreeSet<Arc<str>>) {
        let [provider, region, instance_type] =
            [&instance.provider, &instance.region, &instance.instance_type].map(|it| it.to_ascii_lowercase());
        self.places.insert((provider.clone(), region.clone()));
        self.providers.insert(provider);
        self.regions.insert(region);
        self.instance_types.insert(instance_type);
        let mut once = |name: &Arc<str>| {
            if let Some(known) = names.get(name) {
                return Arc::clone(known);
            }
            names.insert(Arc::clone(name));
            Arc::clone(name)
        };
        let whole = Whole {
            gpus: instance.gpus,
            model: once(&instance.gpu_model),
            instance_type: once(&instance.instance_type),
            region: once(&instance.region),
        };
        let prices = PriceModel::ALL.into_iter().filter_map(|model| instance.prices.under(model));
        self.by_price.extend(prices.map(|price| (price.nanos_per_hour(), whole.clone())));
        if let (Some(_), Some(whole)) = (instance.gpus, instance.prices.on_demand) {
            let price = instance.per_gpu(whole);
            let range = self.ranges.entry(Arc::clone(&instance.gpu_model)).or_insert((price, price));
            *range = (range.0.min(price), range.1.max(price));
        }
    }

    /// Whether a provider may have GPUs in a region, both in lower case: of one without any row nobody knows.
    pub(super) fn may_be_in(&self, provider: &str, region: &str) -> bool {
        let mut places = self.places.iter().filter(|(known, _)| known == provider).peekable();
        places.peek().is_none() || places.any(|(_, known)| known == region)
    }

    /// An instance with several GPUs, of the model if one is named, that costs this much as a whole; `None` if one with one
    /// GPU costs as much.
    pub(super) fn whole_at(&self, amount: u64, model: Option<&str>) -> Option<&Whole> {
        // Prices are rounded to some four digits here and there.
        let (lowest, highest) = (amount - amount / 10_000, amount.saturating_add(amount / 10_000));
        let from = self.by_price.partition_point(|(price, _)| *price < lowest);
        let about = || self.by_price.iter().skip(from).take_while(|(price, _)| *price <= highest);
        let found = || about().map(|(_, it)| it).filter(|it| model.is_none_or(|model| &*it.model == model));
        let several = found().all(|it| it.gpus.is_some_and(|gpus| gpus > 1));
        found().next().filter(|_| several)
    }
}
