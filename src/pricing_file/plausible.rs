//! What is allowed in a price file and looks like a mistake.

use crate::cost::gpu_model;
use crate::cost::money::Rate;
use crate::cost::pricing::{Catalogue, Date, PriceModel, PriceTable};
use crate::yaml::decimal::ONE;
use crate::yaml::findings::{Entry, Findings, join};
use crate::yaml::problem::excerpt;
use crate::yaml::suggest;
use crate::yaml::tree::Node;

use super::format::PRICES;
use super::listed::Listed;
use super::rules::{self, DEFAULT};

/// From how many times the list price on a price is asked about. Most whole instances have eight GPUs, and hardly any
/// GPU is dearer than this by itself.
pub(super) const SUSPICIOUS_FACTOR: u64 = 6;

/// From how many times the dearest list price on, or which part of the cheapest one, a price has a wrong unit.
const OUTLIER_FACTOR: u64 = 100;

/// How many GPUs the largest nodes have.
const MOST_GPUS: u64 = 16;

/// After how many days somebody should look at his own prices again.
const STALE_DAYS: u32 = 180;

/// What is known of prices without the file.
#[derive(Clone)]
pub(super) struct Known<'a> {
    /// The list prices by model.
    pub(super) list: &'a PriceTable,
    /// The list prices of instances.
    pub(super) catalogue: &'a Catalogue,
    /// The day; `None` if the age of prices is of no interest.
    pub(super) today: Option<Date>,
    pub(super) listed: &'a Listed,
    /// What one unit of the file's currency is worth, in billionths of a dollar.
    pub(super) currency: u64,
}

/// Between which list prices another is held, in billionths of a dollar per hour.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// 0 if none is known.
    lowest: u64,
    /// The largest number if none is known.
    pub(super) highest: u64,
}

/// What is known of the prices of one GPU model.
#[derive(Clone)]
pub(super) struct KnownModel<'a> {
    listed: Option<Rate>,
    range: Option<(Rate, Rate)>,
    /// The instances among which a whole one is looked for.
    of: &'a Listed,
    model: Option<String>,
    today: Option<Date>,
    currency: u64,
}

// === impl Known ===

impl<'a> Known<'a> {
    pub(super) fn new(
        list: &'a PriceTable,
        (catalogue, listed): (&'a Catalogue, &'a Listed),
        today: Option<Date>,
    ) -> Self {
        Self { list, catalogue, today, listed, currency: ONE }
    }

    /// The same for a file with amounts in another currency, of which one unit is worth so many billionths of a dollar.
    pub(super) fn in_currency(&self, currency: u64) -> Self {
        Self { currency, ..self.clone() }
    }

    fn of_model(&self, model: &str) -> KnownModel<'a> {
        KnownModel {
            listed: self.list.models.get(model).and_then(|prices| prices.on_demand),
            range: self.listed.ranges.get(model).copied(),
            of: self.listed,
            model: Some(model.to_owned()),
            today: self.today,
            currency: self.currency,
        }
    }

    /// The same of a model without prices, or of none, as of all models together.
    pub(super) fn of_model_or_any(&self, model: Option<&str>) -> KnownModel<'a> {
        let of_model = model.map(|model| self.of_model(model));
        if let Some(known) = of_model.filter(|known| known.listed.or(known.range.map(|it| it.0)).is_some()) {
            return known;
        }
        let lowest = self.listed.ranges.values().map(|(lowest, _)| *lowest).min();
        let highest = self.listed.ranges.values().map(|(_, highest)| *highest).max();
        KnownModel {
            listed: None,
            range: lowest.zip(highest),
            of: self.listed,
            model: None,
            today: self.today,
            currency: self.currency,
        }
    }
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
pub(super) fn row(found: &mut Findings, node: &Node, path: &str, known: Option<KnownModel<'_>>) {
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
    for column in ["gpu_pricing", "node_pricing"] {
        let Some(prices) = rules::get(item, column) else { continue };
        let path = format!("{path}.{column}");
        among_each_other(found, prices, &path);
        if let Some(known) = known {
            ages_of_prices(found, prices, &path, known.today);
            beside_list(found, prices, &path, known, (item, column));
        }
    }
    if let Some((written, wanted)) =
        rules::get(item, "price_model").and_then(|it| Some((it, rules::text(it)?)))
        && let Some(prices) = rules::get(item, "gpu_pricing").or(rules::get(item, "node_pricing"))
        && rules::get(prices, wanted).is_none()
    {
        let message = format!("has no price for {wanted} here, so that on_demand stands in");
        found.warning(written, &format!("{path}.price_model"), message);
    }
    age(found, item, path, known.and_then(|known| known.today));
}

/// Tells prices of an override that are far from the list prices of what it is for.
fn beside_list(
    found: &mut Findings,
    prices: &Node,
    path: &str,
    known: &Known<'_>,
    (item, column): (&Node, &str),
) {
    let matched =
        |key: &str| rules::get(item, "match").and_then(|it| rules::get(it, key)).and_then(rules::text);
    let instance_type = matched("instance_type").filter(|it| known.catalogue.of_type(it).next().is_some());
    let model = matched("gpu_model").map(gpu_model::of_product);
    let of_gpu = known.of_model_or_any(model.as_deref());
    let span = match (column, instance_type) {
        (_, Some(it)) => span_of_type(known.catalogue, it, column == "node_pricing").unwrap_or(of_gpu.span()),
        ("node_pricing", None) => of_gpu.span().of_nodes(),
        (_, None) => of_gpu.span(),
    };
    for (name, price, amount) in rules::prices(prices) {
        let path = format!("{path}.{name}");
        let amount = in_dollars(amount, known.currency);
        if amount == 0 || span.tells_outlier(found, price, &path, amount) {
            continue;
        }
        if instance_type.is_none()
            && column == "gpu_pricing"
            && of_gpu.tells_instance(found, price, &path, amount)
        {
            continue;
        }
        match instance_type {
            Some(it) => whole_or_part(found, price, &path, known.catalogue, (it, column, name, amount)),
            None if column == "gpu_pricing" && name == "on_demand" => {
                span.tells_whole(found, price, &path, amount);
            }
            None => {}
        }
    }
}

/// Between which prices the GPUs of an instance type are listed, or the whole of it.
fn span_of_type(catalogue: &Catalogue, instance_type: &str, is_whole: bool) -> Option<Span> {
    let prices = || {
        catalogue.of_type(instance_type).filter_map(|it| {
            let whole = it.prices.on_demand?;
            Some(if is_whole { whole } else { it.per_gpu(whole) }.nanos_per_hour())
        })
    };
    Some(Span { lowest: prices().min()?, highest: prices().max()? })
}

/// Tells a discount that leaves nothing to pay.
pub(super) fn discount(found: &mut Findings, item: &Node, path: &str) {
    let Some(percent) = rules::get(item, "percent") else { return };
    if rules::amount(percent) == Some(100 * ONE) {
        let message = "100 percent off makes the GPUs free; is it the part that is paid?";
        found.warning(percent, &format!("{path}.percent"), message);
    }
}

/// An amount of the file in billionths of a dollar.
pub(super) fn in_dollars(amount: u64, currency: u64) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(currency) / u128::from(ONE)).unwrap_or(u64::MAX)
}

/// Tells the price of a node where that of a GPU belongs, and the other way round.
fn whole_or_part(
    found: &mut Findings,
    price: &Node,
    path: &str,
    catalogue: &Catalogue,
    (instance_type, column, name, amount): (&str, &str, &str, u64),
) {
    let several = || catalogue.of_type(instance_type).filter(|it| it.gpus.is_some_and(|gpus| gpus > 1));
    let lowest = |model: PriceModel| several().filter_map(|it| it.prices.under(model)).min();
    let gpus = several().find_map(|it| it.gpus).map(u64::from);
    let Some((gpus, whole)) = gpus.zip(lowest(PriceModel::OnDemand).map(Rate::nanos_per_hour)) else {
        return;
    };
    let own = PriceModel::from_name(name).and_then(lowest).map(Rate::nanos_per_hour);
    // What was bought costs next to nothing beside what is rented.
    if name == "owned" {
        return;
    }
    // Cheaper ways to buy a node go down to a tenth of its price: then only what is dear for one GPU is that of all.
    let is_on_demand = name == "on_demand";
    let from = if is_on_demand { whole / 2 } else { (own.unwrap_or(whole) / 2).max(whole / gpus * 3 / 2) };
    if column == "gpu_pricing" && amount >= from {
        let message =
            format!("looks like the price of all {gpus} GPUs of the node; did you mean node_pricing?");
        found.warning(price, path, message);
    }
    // With half of the lowest price off it would still be more than one GPU.
    let up_to = own.map_or(0, |own| own / gpus * 3 / 2).max(whole / gpus / 2);
    if column == "node_pricing" && amount <= up_to {
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

/// Tells the old days of a map and of each price in it.
fn age(found: &mut Findings, node: &Node, path: &str, today: Option<Date>) {
    for dated in [Some(node), rules::get(node, "source")].into_iter().flatten() {
        old(found, dated, path, today);
    }
    ages_of_prices(found, node, path, today);
}

fn ages_of_prices(found: &mut Findings, node: &Node, path: &str, today: Option<Date>) {
    for (name, price) in PRICES.iter().filter_map(|name| Some((name, rules::get(node, name)?))) {
        old(found, price, &format!("{path}.{name}"), today);
    }
}

/// Tells the day of some prices if it was long ago.
pub(super) fn old(found: &mut Findings, dated: &Node, path: &str, today: Option<Date>) {
    let Some((written, (day, today))) = rules::get(dated, "as_of").zip(rules::day(dated, "as_of").zip(today))
    else {
        return;
    };
    if day > today {
        let message = format!("the day is yet to come; today is {today}");
        found.warning(written, &join(path, "as_of"), message);
    }
    let days = today.days_since(day);
    if days > STALE_DAYS {
        let message = format!("the prices are {days} days old; look whether they still hold");
        found.warning(written, &join(path, "as_of"), message);
    }
}

// === impl KnownModel ===

impl KnownModel<'_> {
    fn compare(&self, found: &mut Findings, price: &Node, path: &str, name: &str, amount: u64) {
        let amount = in_dollars(amount, self.currency);
        let span = self.span();
        if span.tells_outlier(found, price, path, amount) || self.tells_instance(found, price, path, amount) {
            return;
        }
        match name {
            "on_demand" | "owned" => span.tells_whole(found, price, path, amount),
            // Who commits himself, or may be interrupted, pays less.
            _ => span.tells_dear(found, price, path, amount),
        }
    }

    /// Tells the price of one GPU that is exactly that of an instance with several, and of none with one.
    fn tells_instance(&self, found: &mut Findings, price: &Node, path: &str, amount: u64) -> bool {
        // A few digits may be anybody's.
        if amount.is_multiple_of(ONE / 100) && amount < 10 * ONE {
            return false;
        }
        let Some(it) = self.of.whole_at(amount, self.model.as_deref()) else { return false };
        let message = format!(
            "exactly the price of a whole {} with {} GPUs in {}; write the price of one GPU",
            it.instance_type,
            it.gpus.unwrap_or_default(),
            it.region
        );
        found.warning(price, path, message);
        true
    }

    /// Between which list prices it is.
    pub(super) fn span(&self) -> Span {
        let highest = self.listed.or(self.range.map(|(_, highest)| highest));
        let lowest = self.range.map(|(lowest, _)| lowest).or(self.listed);
        Span {
            lowest: lowest.map_or(0, Rate::nanos_per_hour),
            highest: highest.map_or(u64::MAX, Rate::nanos_per_hour),
        }
    }
}

// === impl Span ===

impl Span {
    /// The same for nodes of one to as many GPUs as one has.
    fn of_nodes(self) -> Self {
        Self { highest: self.highest.saturating_mul(MOST_GPUS), ..self }
    }

    /// Tells an amount that must have another unit.
    fn tells_outlier(self, found: &mut Findings, price: &Node, path: &str, amount: u64) -> bool {
        let message = if amount >= self.highest.saturating_mul(OUTLIER_FACTOR) {
            let times = amount.checked_div(self.highest).unwrap_or(0);
            format!("at least {times} times the list price: is it in cents, or per month?")
        } else if amount > 0 && amount <= self.lowest / OUTLIER_FACTOR {
            let part = self.lowest.checked_div(amount).unwrap_or(0);
            format!("at most 1/{part} of the lowest list price: is it per minute, or in thousands?")
        } else {
            return false;
        };
        found.warning(price, path, message);
        true
    }

    /// Tells a price that is above every list price on demand, though it is none.
    fn tells_dear(self, found: &mut Findings, price: &Node, path: &str, amount: u64) {
        if amount > self.highest.saturating_mul(3) / 2 {
            found.warning(
                price,
                path,
                "above all list prices on demand: is it the price of a whole instance?",
            );
        }
    }

    /// Tells the price of one GPU that is rather one of several.
    fn tells_whole(self, found: &mut Findings, price: &Node, path: &str, amount: u64) {
        if amount >= self.highest.saturating_mul(SUSPICIOUS_FACTOR) {
            let times = amount.checked_div(self.highest).unwrap_or(0);
            let message = format!(
                "at least {times} times the list price: is it the price of a whole instance? Write the price of one GPU"
            );
            found.warning(price, path, message);
        }
    }
}
