//! What the keys of `energy` may not be together, and what only looks like a mistake.

use crate::cost::pricing::Tariff;
use crate::yaml::decimal::{self, ONE};
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::tree::{Node, Value};

use super::meaning;
use super::rules::get;

/// From which price per kWh on it is asked about: two dollars, several times what the dearest grids take.
const DEAR: u64 = 2 * ONE;

/// Below which intensity it is asked about: two grams per kWh, less than the cleanest region of the table.
const CLEAN: u64 = 2 * ONE;

/// Tells what is wrong with a section in which each value is right for itself.
pub(super) fn check(found: &mut Findings, section: &Entry<'_>) {
    if let Some(list) = get(section.value, "tariff") {
        let path = format!("{}.tariff", section.path);
        let gap = times(found, list, &path).and_then(|tariffs| Tariff::first_gap(&tariffs));
        let has_price = get(section.value, "usd_per_kwh").is_some();
        if let Some(minute) = gap.filter(|_| !has_price) {
            let time = clock(minute);
            let message =
                format!("expected usd_per_kwh or a tariff for all of the day, found none at {time}");
            found.problem(list, &path, message);
        }
    }
    units(found, section);
    if get(section.value, "pue").is_none() {
        let message =
            "without pue, 1 is taken: what cooling draws is not counted; write `pue: 1` if that is meant";
        found.warning(section.value, &section.path, message);
    }
}

/// Tells a price and an intensity that look as if they were in another unit.
fn units(found: &mut Findings, section: &Entry<'_>) {
    let number = |key: &str| {
        let node = get(section.value, key)?;
        let Value::Scalar { text, .. } = &node.value else { return None };
        Some((node, format!("{}.{key}", section.path), decimal::billionths(text).ok()?))
    };
    if let Some((node, path, _)) = number("usd_per_kwh").filter(|(.., price)| *price >= DEAR) {
        found.warning(node, &path, "no grid is that dear: is it in cents?");
    }
    if let Some((node, path, _)) = number("gco2e_per_kwh").filter(|(.., grams)| (1..CLEAN).contains(grams)) {
        found.warning(node, &path, "no grid is that clean: is it in kilograms?");
    }
}

/// The times of a tariff, unless there are mistakes among them.
fn times(found: &mut Findings, list: &Node, path: &str) -> Option<Vec<Tariff>> {
    let Value::List(items) = &list.value else { return None };
    let before = found.count();
    let mut known: Vec<(Tariff, usize)> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{}]", index + 1);
        let tariff = meaning::tariff(item)?;
        if tariff.from_minute == tariff.to_minute {
            found.problem(
                item,
                &path,
                "expected another time in `to` than in `from`; the price of the whole day is energy.usd_per_kwh",
            );
            continue;
        }
        let shared = |(other, line): &(Tariff, usize)| Some((tariff.first_in_both(other)?, *line));
        if let Some((minute, line)) = known.iter().find_map(shared) {
            let time = clock(minute);
            let message = format!("expected times that do not overlap, found {time} in line {line}, too");
            found.problem(item, &path, message);
        }
        known.push((tariff, item.line));
    }
    (found.count() == before).then(|| known.into_iter().map(|(tariff, _)| tariff).collect())
}

/// A minute of the day as a clock shows it.
fn clock(minute: u32) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}
