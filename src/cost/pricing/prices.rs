//! What GPUs cost as people write it down: by model and by the way in which the capacity was bought.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cost::money::Rate;

use super::Date;

/// A column of the price sheet: how the capacity was bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceModel {
    /// Pay as you go.
    #[default]
    OnDemand,
    /// Interruptible capacity.
    Spot,
    /// Committed for one year, nothing paid up front.
    Reserved1y,
    /// Committed for three years, nothing paid up front.
    Reserved3y,
    /// Covered by a commitment to spend so much per hour.
    SavingsPlan,
    /// Paid in advance for a fixed time.
    CapacityBlock,
    /// Begins when there is capacity, and runs for a limited time.
    FlexStart,
    /// Bought, not rented.
    Owned,
}

/// What one GPU of a model, or a whole node, costs per hour, by price model; `None` where nobody offers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// Pay as you go.
    pub on_demand: Option<Rate>,
    /// Interruptible capacity.
    pub spot: Option<Rate>,
    /// Committed for one year, nothing paid up front.
    pub reserved_1y: Option<Rate>,
    /// Committed for three years, nothing paid up front.
    pub reserved_3y: Option<Rate>,
    /// Covered by a commitment to spend so much per hour.
    pub savings_plan: Option<Rate>,
    /// Paid in advance for a fixed time.
    pub capacity_block: Option<Rate>,
    /// Begins when there is capacity, and runs for a limited time.
    pub flex_start: Option<Rate>,
    /// Bought, not rented: what it costs to have it for an hour.
    pub owned: Option<Rate>,
    /// Where the prices were read, for people.
    pub source: Option<Arc<str>>,
    /// The day the prices were valid on.
    pub as_of: Option<Date>,
    /// Where single prices were read, if they differ from the rest.
    pub provenance: BTreeMap<PriceModel, Provenance>,
}

/// Where one price was read, and when it was valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Where it was read, for people; `None` if that is where the other prices were read.
    pub source: Option<Arc<str>>,
    /// The day it was valid on; `None` if it is that of the other prices.
    pub as_of: Option<Date>,
}

/// Prices by normalised GPU model, with the price for models that are not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceTable {
    /// Prices by GPU model, such as `nvidia-a100-80gb`.
    pub models: BTreeMap<Arc<str>, Prices>,
    /// What a GPU of any other model costs, if somebody wrote that down.
    pub default: Option<Prices>,
    /// Prices that are valid from a day on, in the order of their days. They replace the row above.
    pub changes: Vec<Change>,
    /// The model that is meant by another one's name, both normalised.
    pub aliases: BTreeMap<Arc<str>, Arc<str>>,
}

/// Prices that are valid from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The first day, in UTC.
    pub from: Date,
    /// The GPU model; `None` for the models that are not listed.
    pub model: Option<Arc<str>>,
    /// The prices.
    pub prices: Prices,
}

// === impl PriceModel ===

impl PriceModel {
    /// Every price model, in the order of a sheet's columns.
    pub const ALL: [Self; 8] = [
        Self::OnDemand,
        Self::Spot,
        Self::Reserved1y,
        Self::Reserved3y,
        Self::SavingsPlan,
        Self::CapacityBlock,
        Self::FlexStart,
        Self::Owned,
    ];

    /// The price model as it is written in a price file, a flag and a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Spot => "spot",
            Self::Reserved1y => "reserved_1y",
            Self::Reserved3y => "reserved_3y",
            Self::SavingsPlan => "savings_plan",
            Self::CapacityBlock => "capacity_block",
            Self::FlexStart => "flex_start",
            Self::Owned => "owned",
        }
    }

    /// The price model that is written so; `None` if it is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.as_str() == name)
    }

    /// Whether a discount that was negotiated with the provider touches it: what is bought at list price does, a market
    /// price and what was paid already do not.
    #[must_use]
    pub const fn is_discounted(self) -> bool {
        matches!(self, Self::OnDemand | Self::Reserved1y | Self::Reserved3y)
    }
}

// === impl Prices ===

impl Prices {
    /// The price under one price model.
    #[must_use]
    pub const fn under(&self, price_model: PriceModel) -> Option<Rate> {
        match price_model {
            PriceModel::OnDemand => self.on_demand,
            PriceModel::Spot => self.spot,
            PriceModel::Reserved1y => self.reserved_1y,
            PriceModel::Reserved3y => self.reserved_3y,
            PriceModel::SavingsPlan => self.savings_plan,
            PriceModel::CapacityBlock => self.capacity_block,
            PriceModel::FlexStart => self.flex_start,
            PriceModel::Owned => self.owned,
        }
    }

    /// Where to write the price under one price model.
    pub const fn under_mut(&mut self, price_model: PriceModel) -> &mut Option<Rate> {
        match price_model {
            PriceModel::OnDemand => &mut self.on_demand,
            PriceModel::Spot => &mut self.spot,
            PriceModel::Reserved1y => &mut self.reserved_1y,
            PriceModel::Reserved3y => &mut self.reserved_3y,
            PriceModel::SavingsPlan => &mut self.savings_plan,
            PriceModel::CapacityBlock => &mut self.capacity_block,
            PriceModel::FlexStart => &mut self.flex_start,
            PriceModel::Owned => &mut self.owned,
        }
    }

    /// The day that the price under one price model was valid on.
    #[must_use]
    pub fn as_of(&self, price_model: PriceModel) -> Option<Date> {
        self.provenance.get(&price_model).and_then(|own| own.as_of).or(self.as_of)
    }

    /// Where the price under one price model was read.
    #[must_use]
    pub fn source(&self, price_model: PriceModel) -> Option<&Arc<str>> {
        self.provenance.get(&price_model).and_then(|own| own.source.as_ref()).or(self.source.as_ref())
    }

    /// The day of the oldest price in the row.
    #[must_use]
    pub fn oldest(&self) -> Option<Date> {
        let priced = PriceModel::ALL.into_iter().filter(|model| self.under(*model).is_some());
        priced.filter_map(|model| self.as_of(model)).min()
    }

    /// The price that applies where `wanted` was bought, and whether it is another one: on-demand stands in for what has
    /// no price.
    #[must_use]
    pub fn applying(&self, wanted: PriceModel) -> Option<(Rate, PriceModel)> {
        let wanted = self.under(wanted).map(|rate| (rate, wanted));
        wanted.or(self.on_demand.map(|rate| (rate, PriceModel::OnDemand)))
    }
}

// === impl PriceTable ===

impl PriceTable {
    /// The prices of a model on a day.
    #[must_use]
    pub fn row(&self, model: &str, today: Date) -> Option<&Prices> {
        let model = self.meant_by(model);
        self.change(Some(model), today).or_else(|| self.models.get(model))
    }

    /// The model that a normalised name means: another one if it is an alias, else itself.
    #[must_use]
    pub fn meant_by<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, |model| &**model)
    }

    /// The prices of the models that are not listed, on a day.
    #[must_use]
    pub fn default_row(&self, today: Date) -> Option<&Prices> {
        self.change(None, today).or(self.default.as_ref())
    }

    /// The day of the oldest dated price among those that hold on a day.
    #[must_use]
    pub fn as_of(&self, today: Date) -> Option<Date> {
        let changed = self.changes.iter().filter_map(|change| change.model.as_ref());
        let models: BTreeSet<&Arc<str>> = self.models.keys().chain(changed).collect();
        let rows = models.into_iter().filter_map(|model| self.row(model, today));
        rows.chain(self.default_row(today)).filter_map(Prices::oldest).min()
    }

    fn change(&self, model: Option<&str>, today: Date) -> Option<&Prices> {
        let valid = |change: &&Change| change.model.as_deref() == model && change.from <= today;
        self.changes.iter().rev().find(valid).map(|change| &change.prices)
    }
}
