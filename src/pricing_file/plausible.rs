//! What is allowed in a price file and looks like a mistake.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost::gpu_model;
use crate::cost::money::Rate;
use crate::cost::pricing::{Catalogue, Date, PriceTable};
use crate::yaml::decimal::ONE;
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::problem::excerpt;
use crate::yaml::suggest;
use crate::yaml::tree::Node;

use super::rules::{self, DEFAULT};

/// From how many times the list price on a price is asked about. Most whole instances have eight GPUs, and hardly any
/// GPU is dearer than this by itself.
const SUSPICIOUS_FACTOR: u64 = 6;

/// From how many times the dearest list price on, or which part of the cheapest one, a price has a wrong unit.
const OUTLIER_FACTOR: u64 = 100;

/// After how many days somebody should look at his own prices again.
const STALE_DAYS: u32 = 180;

/// The lowest and the highest on-demand price of one GPU in a catalogue, by model.
pub(super) type Ranges = BTreeMap<Arc<str>, (Rate, Rate)>;

/// What is known of prices without the file.
#[derive(Clone)]
pub(super) struct Known<'a> {
    /// The list prices by model.
    pub(super) list: &'a PriceTable,
    /// The list prices of instances.
    pub(super) catalogue: &'a Catalogue,
    /// The day; `None` if the age of prices is of no interest.
    pub(super) today: Option<Date>,
    ranges: &'a Ranges,
    /// What one unit of the file's currency is worth, in billionths of a dollar.
    currency: u64,
}

/// What is known of the prices of one GPU model.
#[derive(Clone, Copy)]
pub(super) struct KnownModel {
    listed: Option<Rate>,
    range: Option<(Rate, Rate)>,
    today: Option<Date>,
    currency: u64,
}

// === impl Known ===

impl<'a> Known<'a> {
    pub(super) fn new(
        list: &'a PriceTable,
        (catalogue, ranges): (&'a Catalogue, &'a Ranges),
        today: Option<Date>,
    ) -> Self {
        Self { list, catalogue, today, ranges, currency: ONE }
    }

    /// The same for a file with amounts in another currency, of which one unit is worth so many billionths of a dollar.
    pub(super) fn in_currency(&self, currency: u64) -> Self {
        Self { currency, ..self.clone() }
    }

    pub(super) fn of_model(&self, model: &str) -> KnownModel {
        KnownModel {
            listed: self.list.models.get(model).and_then(|prices| prices.on_demand),
            range: self.ranges.get(model).copied(),
            today: self.today,
            currency: self.currency,
        }
    }
}

/// How far the prices of a catalogue lie apart.
pub(super) fn ranges(catalogue: &Catalogue) -> Ranges {
    let mut ranges = Ranges::new();
    for instance in catalogue.instances().filter(|instance| instance.gpus.is_some()) {
        let Some(whole) = instance.prices.on_demand else { continue };
        let price = instance.per_gpu(whole);
        let range = ranges.entry(Arc::clone(&instance.gpu_model)).or_insert((price, price));
        *range = (range.0.min(price), range.1.max(price));
    }
    ranges
}

/// Tells a row for a GPU that nobody knows.
pub(super) fn model(found: &mut Findings, row: &Entry<'_>, model: &str, known: Option<&Known<'_>>) {
    let is_listed = known.is_some_and(|known| known.list.models.contains_key(model));
    if !found.wants_warnings()
        || model == DEFAULT
        || is_listed
        || gpu_model::known().any(|known| known == model)
    {
        return;
    }
    let meant = match suggest::keys(row.name, &[DEFAULT]) {
        default if !default.is_empty() => suggest::phrase(&default),
        _ => suggest::phrase(&suggest::models(model, &gpu_model::known().collect::<Vec<_>>())),
    };
    found.warning(row.key, &row.path, format!("no known GPU is called `{}`{meant}", excerpt(model)));
}

/// Tells prices of one GPU that look wrong beside each other or beside those that are known.
pub(super) fn row(found: &mut Findings, node: &Node, path: &str, known: Option<KnownModel>) {
    among_each_other(found, node, path);
    if let Some(known) = known {
        for (name, price, amount) in rules::prices(node) {
            known.compare(found, price, &format!("{path}.{name}"), name, amount);
        }
        age(found, node, path, known.today);
    }
}

/// Tells prices of an override that look wrong.
pub(super) fn over(found: &mut Findings, item: &Node, path: &str, known: Option<&Known<'_>>) {
    let instance_type =
        rules::get(item, "match").and_then(|it| rules::get(it, "instance_type")).and_then(rules::text);
    for column in ["gpu_pricing", "node_pricing"] {
        let Some(prices) = rules::get(item, column) else { continue };
        let path = format!("{path}.{column}");
        among_each_other(found, prices, &path);
        let Some((known, instance_type)) = known.zip(instance_type) else { continue };
        let on_demand = rules::prices(prices).find(|(name, ..)| *name == "on_demand");
        if let Some((_, price, amount)) = on_demand {
            let path = format!("{path}.on_demand");
            let amount = in_dollars(amount, known.currency);
            whole_or_part(found, price, &path, known.catalogue, (instance_type, column, amount));
        }
    }
    age(found, item, path, known.and_then(|known| known.today));
}

/// An amount of the file in billionths of a dollar.
fn in_dollars(amount: u64, currency: u64) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(currency) / u128::from(ONE)).unwrap_or(u64::MAX)
}

/// Tells the price of a node where that of a GPU belongs, and the other way round.
fn whole_or_part(
    found: &mut Findings,
    price: &Node,
    path: &str,
    catalogue: &Catalogue,
    (instance_type, column, amount): (&str, &str, u64),
) {
    let mut instances = catalogue.of_type(instance_type);
    let cheapest = instances
        .by_ref()
        .filter_map(|it| {
            Some((it.prices.on_demand?.nanos_per_hour(), u64::from(it.gpus.filter(|it| *it > 1)?)))
        })
        .min();
    let Some((whole, gpus)) = cheapest else { return };
    if column == "gpu_pricing" && amount >= whole / 2 {
        let message =
            format!("looks like the price of all {gpus} GPUs of the node; did you mean node_pricing?");
        found.warning(price, path, message);
    }
    // With half of the lowest price off it would still be more than one GPU.
    if column == "node_pricing" && amount <= whole / gpus * 3 / 2 {
        let message =
            format!("looks like the price of one of the node's {gpus} GPUs; did you mean gpu_pricing?");
        found.warning(price, path, message);
    }
}

fn among_each_other(found: &mut Findings, node: &Node, path: &str) {
    let on_demand = rules::prices(node).find(|(name, ..)| *name == "on_demand").map(|(_, _, amount)| amount);
    for (name, price, amount) in rules::prices(node) {
        let path = format!("{path}.{name}");
        if amount == 0 {
            found.warning(price, &path, "0 makes the GPU free; leave out a price that is not known");
        }
        if name != "owned" && on_demand.is_some_and(|on_demand| amount > on_demand) {
            found.warning(price, &path, format!("{name} is above on_demand"));
        }
    }
}

fn age(found: &mut Findings, node: &Node, path: &str, today: Option<Date>) {
    let dates = [Some(node), rules::get(node, "source")].into_iter().flatten();
    for dated in dates {
        let Some((day, today)) = rules::day(dated, "as_of").zip(today) else { continue };
        let days = today.days_since(day);
        if days > STALE_DAYS {
            let message = format!("the prices are {days} days old; look whether they still hold");
            found.warning(rules::get(dated, "as_of").unwrap_or(dated), &format!("{path}.as_of"), message);
        }
    }
}

// === impl KnownModel ===

impl KnownModel {
    fn compare(self, found: &mut Findings, price: &Node, path: &str, name: &str, amount: u64) {
        let amount = in_dollars(amount, self.currency);
        let listed = self.listed.or(self.range.map(|(_, highest)| highest));
        let listed = listed.map_or(u64::MAX, Rate::nanos_per_hour);
        let lowest = self.range.map(|(lowest, _)| lowest).or(self.listed).map_or(0, Rate::nanos_per_hour);
        let times = amount.checked_div(listed).unwrap_or(0);
        if amount >= listed.saturating_mul(OUTLIER_FACTOR) {
            let message = format!("at least {times} times the list price: is it in cents, or per month?");
            found.warning(price, path, message);
        } else if amount > 0 && amount <= lowest / OUTLIER_FACTOR {
            let message = format!(
                "at most 1/{} of the lowest list price: is it per minute, or in thousands?",
                lowest.checked_div(amount).unwrap_or(0)
            );
            found.warning(price, path, message);
        } else if name == "on_demand" && amount >= listed.saturating_mul(SUSPICIOUS_FACTOR) {
            let message = format!(
                "at least {times} times the list price: is it the price of a whole instance? Write the price of one GPU"
            );
            found.warning(price, path, message);
        }
    }
}
