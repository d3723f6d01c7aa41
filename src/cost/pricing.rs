//! Which rate applies to a GPU, and why.
//!
//! The first rule that matches wins: an override of the operator's that matches the node, the operator's price for the
//! model, the catalogue's price of the node's instance, the built-in list price of the model, the operator's `default` if
//! there is one, and otherwise the GPU is *unpriced*: a state, not a zero and not a guess.
//!
//! How the node was bought decides the column: what the daemon was told, else an override that says so, else the node's
//! labels, else on-demand. A price model that a row does not offer falls back to on-demand, and the quote says so.
//!
//! The price of a whole node is divided so that the GPUs of the node add up to it: what is left over after the division
//! by whole billionths of a dollar goes to the first GPUs in the order of their UUIDs, a billionth each.
//!
//! Beside these prices stands what energy costs and emits: no part of a rate, and of no bill.

mod catalogue;
mod date;
mod energy;
mod node;
mod overrides;
mod owned;
mod percent;
mod prices;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::money::Rate;
use crate::observation::Span;

pub use self::catalogue::{Catalogue, Instance, Texts};
pub use self::date::Date;
pub use self::energy::{Electricity, EnergyRates, EnergyTerms, Grid, GridIntensity, Intensity, Tariff};
pub use self::node::{CapacityType, NodeFacts, PriceModelRule, capacity_labels};
pub use self::overrides::{Discount, Match, Override, OverridePrices};
pub use self::owned::{OwnedHardware, Power};
pub use self::percent::Percent;
pub use self::prices::{Change, PriceModel, PriceTable, Prices, Provenance};

/// How long a month is if nobody says: 730 hours, a twelfth of 365 days, as cloud providers count.
const MONTH: Span = Span::from_secs(730 * 3_600);

/// All prices that we know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceSheet {
    /// What the operator wrote for some nodes, in the order of the file.
    pub overrides: Vec<Override>,
    /// What the operator wrote for GPU models.
    pub file: PriceTable,
    /// The list prices of instances; `None` if they are switched off.
    pub catalogue: Option<Arc<Catalogue>>,
    /// The list prices of GPU models that are compiled in.
    pub built_in: PriceTable,
    /// Labels that tell how a node was bought, before those that we know ourselves.
    pub price_model_rules: Vec<PriceModelRule>,
    /// How nodes are bought whose labels do not say so; `None` for on demand.
    pub usual_price_model: Option<PriceModel>,
    /// What the provider takes off its list prices; the first that matches counts.
    pub discounts: Vec<Discount>,
    /// What a thousand tokens of a model cost at its list price, by model name.
    pub model_costs: BTreeMap<Arc<str>, TokenPrices>,
    /// What one unit of another currency is worth, in billionths of a dollar.
    pub exchange_rates: BTreeMap<Arc<str>, u64>,
    /// What energy costs and emits, beside the bill; `None` if the operator wrote nothing about it.
    pub energy: Option<EnergyTerms>,
    /// How long a month is where a price is told per month; `None` if the operator did not say.
    pub month: Option<Span>,
}

/// What a thousand tokens cost, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrices {
    /// Nano-dollars per 1,000 tokens read.
    pub input_nanos: u64,
    /// Nano-dollars per 1,000 tokens written.
    pub output_nanos: u64,
    /// Nano-dollars per 1,000 tokens read that were read before; `None` if they cost what others do.
    pub cached_input_nanos: Option<u64>,
}

/// The prices of one node: what is looked up once for all its GPUs.
#[derive(Clone, Debug)]
pub struct NodePrices<'a> {
    sheet: &'a PriceSheet,
    node: &'a NodeFacts,
    /// The price model that somebody insists on.
    told: Option<PriceModel>,
    capacity_type: Option<CapacityType>,
    instance: Option<&'a Arc<Instance>>,
}

/// The rate of a GPU and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// What the GPU costs.
    pub effective: Rate,
    /// What it costs on demand without a discount, for comparison: by the rule that matched or else by the first one
    /// after it. `None` when none has an on-demand price, and for what was bought if its own rule has none.
    pub list: Option<Rate>,
    /// The price model that `effective` is of.
    pub price_model: PriceModel,
    /// Whether the wanted price model had no price, so that on-demand was taken.
    pub fell_back: bool,
    /// The rule that matched.
    pub rule: PriceRule,
    /// The day the price was valid on, where the sheet says so.
    pub as_of: Option<Date>,
    /// Which override or row of the catalogue it was; `None` where the GPU's model is the row.
    pub origin: Option<Arc<str>>,
    /// Who published the price, for people; `None` where nobody wrote it down.
    pub source: Option<Arc<str>>,
    /// What was taken off the list price.
    pub discount: Percent,
}

/// Which rule found a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceRule {
    /// The operator's price for nodes such as this one.
    Override,
    /// The operator's price for the GPU's model.
    File,
    /// The list price of the node's instance type in its region.
    Catalogue,
    /// The built-in list price of the GPU's model.
    BuiltIn,
    /// The operator's price for models that are not listed.
    FileDefault,
}

/// A row of prices, what it is the price of, and where it stands.
struct Row<'a> {
    rule: PriceRule,
    prices: &'a Prices,
    /// Among how many GPUs it is divided.
    gpus: u32,
    origin: Option<String>,
}

// === impl PriceSheet ===

impl PriceSheet {
    /// The prices of a node; `told` is the price model that was asked for, whatever the node's labels say.
    #[must_use]
    pub fn on<'a>(&'a self, node: &'a NodeFacts, told: Option<PriceModel>) -> NodePrices<'a> {
        let instance = || {
            let (provider, region) = (node.provider.as_deref()?, node.region.as_deref()?);
            self.catalogue.as_ref()?.instance(provider, region, node.instance_type.as_deref()?)
        };
        let capacity_type = node.capacity_type(&self.price_model_rules);
        NodePrices { sheet: self, node, told, capacity_type, instance: instance() }
    }

    /// The day of the oldest price that the operator wrote and that holds on a day; `None` if none of them is dated.
    #[must_use]
    pub fn own_as_of(&self, today: Date) -> Option<Date> {
        let holding = self.overrides.iter().filter(|it| it.holds(today));
        let overrides = holding.filter_map(|it| it.prices.as_ref()).filter_map(|it| match it {
            OverridePrices::Gpu(prices) | OverridePrices::Node { prices, .. } => prices.oldest(),
        });
        overrides.chain(self.file.as_of(today)).min()
    }

    /// The day of the oldest price of the built-in list that holds on a day; `None` if none of them is dated.
    #[must_use]
    pub fn built_in_as_of(&self, today: Date) -> Option<Date> {
        self.built_in.as_of(today)
    }
}

// === impl NodePrices ===

impl NodePrices<'_> {
    /// The price model by which the node's GPUs, given by their models, are priced: the one that all of them have. If
    /// they differ, or there are none, it is that of the node without regard to its GPUs.
    #[must_use]
    pub fn price_model<'a>(&self, gpu_models: impl IntoIterator<Item = &'a str>) -> PriceModel {
        let mut wanted = gpu_models.into_iter().map(|model| self.wanted(model));
        let first = wanted.next().filter(|first| wanted.all(|other| other == *first));
        first.unwrap_or_else(|| self.wanted(""))
    }

    /// How long a month is where a price is told per month.
    #[must_use]
    pub fn month(&self) -> Span {
        self.sheet.month.unwrap_or(MONTH)
    }

    /// How the node was bought, where a label says so.
    #[must_use]
    pub fn capacity_type(&self) -> Option<&CapacityType> {
        self.capacity_type.as_ref()
    }

    /// The rate of the node's GPU that is at `position` in the order of their UUIDs, from 0 on; `None` when no price is
    /// known.
    #[must_use]
    pub fn quote(&self, gpu_model: &str, position: usize) -> Option<Quote> {
        let gpu_model = self.sheet.file.meant_by(gpu_model);
        let wanted = self.wanted(gpu_model);
        let discount = self.sheet.discounts.iter().find(|it| it.matching.matches(self.node, gpu_model));
        let discount = discount.map_or(Percent::ZERO, |discount| discount.part);
        let position = u64::try_from(position).unwrap_or(u64::MAX);
        let quote = self.rows(gpu_model).find_map(|row| row.quote(wanted, discount, position))?;
        // What was bought outright is no instance that the next rule would have a price of.
        let of_others = || self.rows(gpu_model).find_map(|row| row.on_demand(position));
        let list = quote.list.or_else(|| (quote.price_model != PriceModel::Owned).then(of_others)?);
        Some(Quote { list, ..quote })
    }

    /// The price model that is asked for a GPU of a model, whether it has a price or not.
    #[must_use]
    pub fn wanted(&self, gpu_model: &str) -> PriceModel {
        let gpu_model = self.sheet.file.meant_by(gpu_model);
        let applying = self.applying(gpu_model).find_map(|it| it.price_model);
        let by_label = self.capacity_type.as_ref().map(|it| it.price_model);
        self.told.or(applying).or(by_label).or(self.sheet.usual_price_model).unwrap_or_default()
    }

    fn applying<'a>(&'a self, gpu_model: &'a str) -> impl Iterator<Item = &'a Override> {
        self.sheet.overrides.iter().filter(|it| it.applies(self.node, gpu_model))
    }

    /// Every row that is for the GPU, in the order in which they count.
    fn rows<'a>(&'a self, gpu_model: &'a str) -> impl Iterator<Item = Row<'a>> {
        let Self { sheet, node, .. } = self;
        let overrides = self.applying(gpu_model).filter_map(|it| self.override_row(it));
        let of_model = |rule, table: &'a PriceTable| {
            table.row(gpu_model, node.today).map(|prices| Row { rule, prices, gpus: 1, origin: None })
        };
        let default = sheet.file.default_row(node.today);
        let default =
            default.map(|prices| Row { rule: PriceRule::FileDefault, prices, gpus: 1, origin: None });
        overrides
            .chain(of_model(PriceRule::File, &sheet.file))
            .chain(self.instance.map(|instance| self.instance_row(instance)))
            .chain(of_model(PriceRule::BuiltIn, &sheet.built_in))
            .chain(default)
    }

    fn override_row<'a>(&self, found: &'a Override) -> Option<Row<'a>> {
        let (prices, gpus) = match found.prices.as_ref()? {
            OverridePrices::Gpu(prices) => (prices, 1),
            OverridePrices::Node { prices, gpus } => {
                (prices, self.gpus(gpus.or_else(|| self.instance.and_then(|it| it.gpus))))
            }
        };
        Some(Row { rule: PriceRule::Override, prices, gpus, origin: Some(found.name.to_string()) })
    }

    fn instance_row<'a>(&self, instance: &'a Instance) -> Row<'a> {
        let Instance { provider, region, instance_type, .. } = instance;
        Row {
            rule: PriceRule::Catalogue,
            prices: &instance.prices,
            gpus: self.gpus(instance.gpus),
            origin: Some(format!("{provider}/{region}/{instance_type}")),
        }
    }

    /// Among how many GPUs the price of the node is divided: as many as it has or, if more are seen, as are seen. A GPU
    /// that the driver does not show was paid for as well; the others do not pay for it.
    fn gpus(&self, known: Option<u32>) -> u32 {
        known.unwrap_or(1).max(self.node.gpus).max(1)
    }
}

// === impl Row ===

impl Row<'_> {
    fn quote(&self, wanted: PriceModel, discount: Percent, position: u64) -> Option<Quote> {
        let (price, price_model) = self.prices.applying(wanted)?;
        let discount = if price_model.is_discounted() { discount } else { Percent::ZERO };
        Some(Quote {
            effective: price.less(discount).part(position, self.gpus.into()),
            list: self.on_demand(position),
            price_model,
            fell_back: price_model != wanted,
            rule: self.rule,
            as_of: self.prices.as_of(price_model),
            origin: self.origin.as_deref().map(Arc::from),
            source: self.prices.source(price_model).cloned(),
            discount,
        })
    }

    fn on_demand(&self, position: u64) -> Option<Rate> {
        self.prices.on_demand.map(|price| price.part(position, self.gpus.into()))
    }
}

// === impl Quote ===

impl Quote {
    /// Which rule it was, in one word, with the override or the row of the catalogue and its day after a colon.
    #[must_use]
    pub fn rule_in_full(&self) -> String {
        let rule = self.rule.as_str();
        match (&self.origin, self.as_of.filter(|_| self.rule == PriceRule::Catalogue)) {
            (None, _) => rule.to_owned(),
            (Some(origin), None) => format!("{rule}:{origin}"),
            (Some(origin), Some(day)) => format!("{rule}:{origin}@{day}"),
        }
    }
}

// === impl PriceRule ===

impl PriceRule {
    /// The rule as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::File => "file",
            Self::Catalogue => "catalogue",
            Self::BuiltIn => "built_in",
            Self::FileDefault => "file_default",
        }
    }
}

#[cfg(test)]
mod tests;
