//! Prices of whole instances, by provider, region and instance type.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use super::Prices;
use crate::cost::money::Rate;

/// What instances cost at their list price.
///
/// There are thousands, and a node is one of them: each is read when it is asked for, and kept from then on.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Sorted by instance type, then by region, whatever their case; each pair of them once.
    rows: Vec<Row>,
}

/// What a row says, by whatever form its reader knows: of its price, and of commitments to it.
pub type Texts = [&'static str; 2];

/// An instance type in one region, as it was written.
#[derive(Clone, Debug)]
struct Row {
    instance_type: &'static str,
    region: &'static str,
    texts: Texts,
    read: fn(&Texts) -> Option<Instance>,
    instance: OnceLock<Option<Arc<Instance>>>,
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
    /// The catalogue of rows that are each given with their instance type and region; the last of two with the same ones
    /// counts. `read` says what a row says, of which the catalogue knows no more; `None` if there is no price in it.
    pub fn new(
        rows: impl IntoIterator<Item = ([&'static str; 2], Texts)>,
        read: fn(&Texts) -> Option<Instance>,
    ) -> Self {
        let row = |([instance_type, region], texts): ([&'static str; 2], Texts)| Row {
            instance_type,
            region,
            texts,
            read,
            instance: OnceLock::new(),
        };
        let mut rows: Vec<Row> = rows.into_iter().map(row).collect();
        // Sorting keeps the order of equals, so that the last of them stands first.
        rows.reverse();
        rows.sort_by(|one, other| one.compare(other.instance_type, other.region));
        rows.dedup_by(|one, first| one.compare(first.instance_type, first.region).is_eq());
        rows.shrink_to_fit();
        Self { rows }
    }

    /// The row of a provider, region and instance type, however its case was written.
    #[must_use]
    pub fn instance(&self, provider: &str, region: &str, instance_type: &str) -> Option<&Arc<Instance>> {
        let at = self.rows.binary_search_by(|row| row.compare(instance_type, region)).ok()?;
        let instance = self.rows.get(at)?.instance()?;
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
        let before = |row: &Row| compare(row.instance_type, instance_type).is_lt();
        let from = self.rows.partition_point(before);
        let is_it = move |row: &&Row| compare(row.instance_type, instance_type).is_eq();
        self.rows.iter().skip(from).take_while(is_it).filter_map(Row::instance)
    }

    /// Every row, sorted by instance type and region, and kept from then on.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.rows.iter().filter_map(Row::instance)
    }

    /// Every row in the same order, for who needs each but once.
    pub fn passing(&self) -> impl Iterator<Item = Instance> {
        self.rows.iter().filter_map(|row| (row.read)(&row.texts))
    }
}

impl PartialEq for Catalogue {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Row, &Row)| {
            one.compare(other.instance_type, other.region).is_eq() && one.texts == other.texts
        };
        self.rows.len() == other.rows.len() && self.rows.iter().zip(&other.rows).all(same)
    }
}

impl Eq for Catalogue {}

// === impl Row ===

impl Row {
    fn instance(&self) -> Option<&Arc<Instance>> {
        self.instance.get_or_init(|| (self.read)(&self.texts).map(Arc::new)).as_ref()
    }

    /// Where it stands beside a row of this instance type and region.
    fn compare(&self, instance_type: &str, region: &str) -> Ordering {
        compare(self.instance_type, instance_type).then_with(|| compare(self.region, region))
    }
}

/// The order of two names, whatever their case.
fn compare(one: &str, other: &str) -> Ordering {
    let [one, other] = [one, other].map(|name| name.bytes().map(|byte| byte.to_ascii_lowercase()));
    one.cmp(other)
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
