//! The list prices of instances that are compiled in: `data/*.csv`.
//!
//! Two tables with a header each: prices on demand and spot, and prices for commitments, both of whole instances. Their
//! columns, sources, days and licences are in `data/README.md`. Values never contain a comma, so that a line is split at
//! its commas. Three things about the rows are not as they seem:
//!
//! - a count of GPUs below one is a part of a GPU (a vGPU), which the node shows as one device;
//! - a spot price that equals the on-demand price says that there is no spot market, not that spot is that dear;
//! - a source that was not dated stands as `2026-H1`, the half-year in which it was made.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::cost::money::Rate;
use crate::cost::pricing::{Catalogue, Date, Instance, PriceModel, Prices, Provenance};
use crate::yaml::decimal;

use super::date;

const INSTANCES: &str = include_str!("../../data/gpu_instance_prices.csv");
const COMMITMENTS: &str = include_str!("../../data/gpu_reserved_prices.csv");

/// The catalogue that is compiled in, read once.
pub(super) fn built_in() -> Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| Arc::new(read(INSTANCES, COMMITMENTS)));
    Arc::clone(&CATALOGUE)
}

/// One line of a table, by the names of its columns.
struct Line<'a> {
    columns: &'a [&'a str],
    values: Vec<&'a str>,
}

/// Texts that many rows share, each kept once.
#[derive(Default)]
struct Shared(BTreeMap<String, Arc<str>>);

fn read(instances: &str, commitments: &str) -> Catalogue {
    let mut shared = Shared::default();
    let mut committed: BTreeMap<[&str; 3], Line<'_>> = BTreeMap::new();
    let columns = columns(commitments);
    for line in lines(commitments, &columns) {
        committed.insert(line.key(), line);
    }
    let mut catalogue = Catalogue::default();
    let columns = self::columns(instances);
    for line in lines(instances, &columns) {
        if let Some(instance) = instance(&line, committed.get(&line.key()), &mut shared) {
            catalogue.insert(instance);
        }
    }
    catalogue
}

fn columns(table: &str) -> Vec<&str> {
    table.lines().next().unwrap_or_default().split(',').collect()
}

fn lines<'a>(table: &'a str, columns: &'a [&'a str]) -> impl Iterator<Item = Line<'a>> {
    table.lines().skip(1).map(move |line| Line { columns, values: line.split(',').collect() })
}

/// The instance in a line; `None` if there is no price in it.
fn instance(line: &Line<'_>, committed: Option<&Line<'_>>, shared: &mut Shared) -> Option<Instance> {
    let [provider, region, instance_type] = line.key().map(|text| shared.text(text));
    let mut prices = Prices { on_demand: line.rate("on_demand_usd_per_hour"), ..Prices::default() };
    prices.spot = line.rate("spot_usd_per_hour").filter(|spot| Some(*spot) != prices.on_demand);
    for (model, part) in [(PriceModel::OnDemand, "od:"), (PriceModel::Spot, "spot:")] {
        let of = |column| part_of(line.get(column), part);
        if prices.under(model).is_some() {
            prices.provenance.insert(model, shared.provenance(of("source"), of("source_date")));
        }
    }
    // Not those of all upfront: nothing on a node says how a commitment was paid, and this is paid by the hour.
    for (model, column) in [
        (PriceModel::Reserved1y, "reserved_1y_no_upfront_usd_per_hour"),
        (PriceModel::Reserved3y, "reserved_3y_no_upfront_usd_per_hour"),
    ] {
        let Some((committed, rate)) = committed.and_then(|line| Some((line, line.rate(column)?))) else {
            continue;
        };
        *prices.under_mut(model) = Some(rate);
        let provenance = shared.provenance(committed.get("source"), committed.get("source_date"));
        prices.provenance.insert(model, provenance);
    }
    prices.applying(PriceModel::Spot)?;
    // A count with a point in it is a part of a GPU.
    let gpus = line.get("gpu_count").parse().ok();
    Some(Instance {
        provider,
        region,
        instance_type,
        gpu_model: shared.text(line.get("gpu_model")),
        gpus,
        prices,
    })
}

/// The part of `od:a;spot:b` that is behind a prefix, or all of a text without prefixes.
fn part_of<'a>(text: &'a str, prefix: &str) -> &'a str {
    text.split(';').find_map(|part| part.strip_prefix(prefix)).unwrap_or(text)
}

/// The day in a table, or the first of a half-year.
fn day(text: &str) -> Option<Date> {
    let text = text.strip_suffix("-H1").map_or_else(|| text.to_owned(), |year| format!("{year}-01-01"));
    date::parse(&text).ok()
}

// === impl Line ===

impl<'a> Line<'a> {
    fn get(&self, column: &str) -> &'a str {
        let value = self.columns.iter().zip(&self.values).find(|(name, _)| **name == column);
        value.map_or("", |(_, value)| value)
    }

    fn key(&self) -> [&'a str; 3] {
        ["provider", "region", "instance_type"].map(|column| self.get(column))
    }

    fn rate(&self, column: &str) -> Option<Rate> {
        decimal::billionths(self.get(column)).ok().map(Rate::from_nanos_per_hour)
    }
}

// === impl Shared ===

impl Shared {
    fn text(&mut self, text: &str) -> Arc<str> {
        match self.0.get(text) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(self.0.entry(text.to_owned()).or_insert_with(|| Arc::from(text))),
        }
    }

    fn provenance(&mut self, source: &str, day: &str) -> Provenance {
        Provenance { source: Some(self.text(source)), as_of: self::day(day) }
    }
}
