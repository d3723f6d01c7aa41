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
use crate::cost::pricing::{Catalogue, Date, Instance, PriceModel, Prices, Provenance, Texts};
use crate::yaml::decimal;

use super::date;

const INSTANCES: &str = include_str!("../../data/gpu_instance_prices.csv");
const COMMITMENTS: &str = include_str!("../../data/gpu_reserved_prices.csv");

/// The catalogue that is compiled in.
pub(super) fn built_in() -> Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| Arc::new(index()));
    Arc::clone(&CATALOGUE)
}

/// One line of a table, by the names of its columns.
struct Line {
    columns: Vec<&'static str>,
    values: Vec<&'static str>,
}

/// The rows by what they are of; what they say is read when somebody asks.
fn index() -> Catalogue {
    let commitments = lines(COMMITMENTS).map(|text| (Line::of(COMMITMENTS, text).key(), text));
    let commitments: BTreeMap<[&str; 3], &str> = commitments.collect();
    let row = |text| {
        let key = Line::of(INSTANCES, text).key();
        let [_, region, instance_type] = key;
        ([instance_type, region], [text, commitments.get(&key).copied().unwrap_or_default()])
    };
    Catalogue::new(lines(INSTANCES).map(row), read)
}

fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().skip(1)
}

fn read(&[instance, commitment]: &Texts) -> Option<Instance> {
    let committed = (!commitment.is_empty()).then(|| Line::of(COMMITMENTS, commitment));
    self::instance(&Line::of(INSTANCES, instance), committed.as_ref())
}

/// The instance in a line; `None` if there is no price in it.
fn instance(line: &Line, committed: Option<&Line>) -> Option<Instance> {
    let [provider, region, instance_type] = line.key().map(Arc::from);
    let mut prices = Prices { on_demand: line.rate("on_demand_usd_per_hour"), ..Prices::default() };
    prices.spot = line.rate("spot_usd_per_hour").filter(|spot| Some(*spot) != prices.on_demand);
    for (model, part) in [(PriceModel::OnDemand, "od:"), (PriceModel::Spot, "spot:")] {
        let of = |column| part_of(line.get(column), part);
        if prices.under(model).is_some() {
            prices.provenance.insert(model, provenance(of("source"), of("source_date")));
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
        let provenance = provenance(committed.get("source"), committed.get("source_date"));
        prices.provenance.insert(model, provenance);
    }
    prices.applying(PriceModel::Spot)?;
    // A count with a point in it is a part of a GPU.
    let gpus = line.get("gpu_count").parse().ok();
    Some(Instance {
        provider,
        region,
        instance_type,
        gpu_model: Arc::from(line.get("gpu_model")),
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

fn provenance(source: &str, day: &str) -> Provenance {
    Provenance { source: Some(Arc::from(source)), as_of: self::day(day) }
}

// === impl Line ===

impl Line {
    fn of(table: &'static str, text: &'static str) -> Self {
        let columns = table.lines().next().unwrap_or_default().split(',').collect();
        Self { columns, values: text.split(',').collect() }
    }

    fn get(&self, column: &str) -> &'static str {
        let value = self.columns.iter().zip(&self.values).find(|(name, _)| **name == column);
        value.map_or("", |(_, value)| value)
    }

    fn key(&self) -> [&'static str; 3] {
        ["provider", "region", "instance_type"].map(|column| self.get(column))
    }

    fn rate(&self, column: &str) -> Option<Rate> {
        decimal::billionths(self.get(column)).ok().map(Rate::from_nanos_per_hour)
    }
}
