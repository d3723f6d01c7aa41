//! Which rate applies to a GPU, and why.
//!
//! The first rule that matches wins: the operator's price for the model, the built-in list price of the model, the
//! operator's `default` if there is one, and otherwise the GPU is *unpriced*: a state, not a zero and not a guess.
//! A price model that a row does not offer falls back to on-demand, and the quote says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::money::Rate;

/// All prices that we know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceSheet {
    /// What the operator wrote.
    pub file: PriceTable,
    /// The list prices that are compiled in.
    pub built_in: PriceTable,
    /// What a thousand tokens of a model cost at its list price, by model name.
    pub model_costs: BTreeMap<Arc<str>, TokenPrices>,
}

/// Prices by normalised GPU model, with the price for models that are not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceTable {
    /// Prices by GPU model, such as `nvidia-a100-80gb`.
    pub models: BTreeMap<Arc<str>, Prices>,
    /// What a GPU of any other model costs, if somebody wrote that down.
    pub default: Option<Prices>,
}

/// What one GPU of a model costs per hour, by price model; `None` where nobody offers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// Pay as you go.
    pub on_demand: Option<Rate>,
    /// Interruptible capacity.
    pub spot: Option<Rate>,
    /// Committed for one year, nothing paid up front.
    pub reserved_1y: Option<Rate>,
    /// Where the prices were read, for people.
    pub source: Option<Arc<str>>,
    /// The day the prices were valid on.
    pub as_of: Option<Date>,
}

/// A day of the Gregorian calendar in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    days_since_epoch: u32,
}

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
}

/// What a thousand tokens cost, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrices {
    /// Nano-dollars per 1,000 tokens read.
    pub input_nanos: u64,
    /// Nano-dollars per 1,000 tokens written.
    pub output_nanos: u64,
}

/// The rate of a GPU and how it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// What the GPU costs.
    pub effective: Rate,
    /// What it costs on demand, for comparison; `None` when there is no on-demand price.
    pub list: Option<Rate>,
    /// The price model that `effective` is of.
    pub price_model: PriceModel,
    /// Whether the wanted price model had no price, so that on-demand was taken.
    pub fell_back: bool,
    /// The rule that matched.
    pub rule: PriceRule,
    /// The day the price was valid on, where the sheet says so.
    pub as_of: Option<Date>,
}

/// Which rule found a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PriceRule {
    /// The operator's price for the GPU's model.
    File,
    /// The built-in list price of the GPU's model.
    BuiltIn,
    /// The operator's price for models that are not listed.
    FileDefault,
}

// === impl PriceSheet ===

impl PriceSheet {
    /// The rate of a GPU of `model` under `wanted`, or `None` when no price is known.
    #[must_use]
    pub fn quote(&self, model: &str, wanted: PriceModel) -> Option<Quote> {
        let rules = [
            (PriceRule::File, self.file.models.get(model)),
            (PriceRule::BuiltIn, self.built_in.models.get(model)),
            (PriceRule::FileDefault, self.file.default.as_ref()),
        ];
        rules.into_iter().find_map(|(rule, prices)| prices?.quote(wanted, rule))
    }

    /// The day of the oldest price that the operator wrote, or else of the oldest built-in price.
    #[must_use]
    pub fn as_of(&self) -> Option<Date> {
        self.file.as_of().or_else(|| self.built_in.as_of())
    }
}

impl PriceTable {
    fn as_of(&self) -> Option<Date> {
        self.models.values().filter_map(|prices| prices.as_of).min()
    }
}

// === impl Prices ===

impl Prices {
    /// The price under one price model.
    #[must_use]
    pub fn under(&self, price_model: PriceModel) -> Option<Rate> {
        match price_model {
            PriceModel::OnDemand => self.on_demand,
            PriceModel::Spot => self.spot,
            PriceModel::Reserved1y => self.reserved_1y,
        }
    }

    fn quote(&self, wanted: PriceModel, rule: PriceRule) -> Option<Quote> {
        let quote = |effective, price_model, fell_back| Quote {
            effective,
            list: self.on_demand,
            price_model,
            fell_back,
            rule,
            as_of: self.as_of,
        };
        match self.under(wanted) {
            Some(rate) => Some(quote(rate, wanted, false)),
            None => self.on_demand.map(|rate| quote(rate, PriceModel::OnDemand, true)),
        }
    }
}

// === impl Date ===

impl Date {
    /// The day, or `None` when the calendar has no such day or it is before 1970.
    #[must_use]
    pub fn from_calendar(year: u32, month: u32, day: u32) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let length = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
        if !(1970..=9999).contains(&year) || day == 0 || day > length {
            return None;
        }
        let leap_days = |y: u32| y / 4 - y / 100 + y / 400;
        let before_year = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
        let before_month: u32 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
        Some(Self { days_since_epoch: before_year + before_month + day - 1 })
    }

    /// Seconds from the epoch to the day's first moment in UTC.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        u64::from(self.days_since_epoch) * 86_400
    }
}

// === impl PriceModel ===

impl PriceModel {
    /// Every price model, in the order of a sheet's columns.
    pub const ALL: [Self; 3] = [Self::OnDemand, Self::Spot, Self::Reserved1y];

    /// The price model as it is written in a price file, a flag and a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Spot => "spot",
            Self::Reserved1y => "reserved_1y",
        }
    }
}

// === impl PriceRule ===

impl PriceRule {
    /// The rule as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::BuiltIn => "built_in",
            Self::FileDefault => "file_default",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "a row holds optional rates")]
    fn rate(cents: u64) -> Option<Rate> {
        Some(Rate::from_nanos_per_hour(cents * 10_000_000))
    }

    fn table(rows: &[(&str, Prices)]) -> PriceTable {
        PriceTable {
            models: rows.iter().map(|(model, prices)| (Arc::from(*model), prices.clone())).collect(),
            default: None,
        }
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let mut sheet = PriceSheet {
            file: table(&[("a", Prices { on_demand: rate(100), ..Prices::default() })]),
            built_in: table(&[
                ("a", Prices { on_demand: rate(900), ..Prices::default() }),
                ("b", Prices { on_demand: rate(300), spot: rate(90), ..Prices::default() }),
            ]),
            ..PriceSheet::default()
        };
        let found = |sheet: &PriceSheet, model| {
            sheet
                .quote(model, PriceModel::Spot)
                .map(|q| (Some(q.effective), q.price_model, q.fell_back, q.rule))
        };
        assert_eq!(found(&sheet, "a"), Some((rate(100), PriceModel::OnDemand, true, PriceRule::File)));
        assert_eq!(found(&sheet, "b"), Some((rate(90), PriceModel::Spot, false, PriceRule::BuiltIn)));
        assert_eq!(found(&sheet, "c"), None);
        sheet.file.default = Some(Prices { on_demand: rate(50), ..Prices::default() });
        assert_eq!(found(&sheet, "c"), Some((rate(50), PriceModel::OnDemand, true, PriceRule::FileDefault)));
    }

    #[test]
    fn the_calendar_is_the_calendar() {
        let days = |y, m, d| Date::from_calendar(y, m, d).map(|date| date.days_since_epoch);
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(days(2000, 3, 1), Some(11_017));
        assert_eq!(days(2026, 7, 20), Some(20_654));
        assert_eq!(days(2024, 2, 29), Some(19_782));
        assert_eq!(days(2026, 2, 29), None);
        assert_eq!(days(2026, 13, 1), None);
        assert_eq!(days(2026, 0, 1), None);
        assert_eq!(days(1969, 12, 31), None);
    }
}
