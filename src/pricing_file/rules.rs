//! What a price file may say: every mistake in a tree, and what only looks like one.
//!
//! What each value may be for itself is in `format`; here is what two of them may not be together.

use std::collections::BTreeMap;

use crate::cost::gpu_model;
use crate::cost::pricing::Date;
use crate::yaml::findings::{Entry, Findings, join};
use crate::yaml::problem::excerpt;
use crate::yaml::tree::{Node, Value};
use crate::yaml::{decimal, describe};

use super::format::{FILE, FILE_EXPECTED, GPU_COLUMNS, GPU_ROW, GPU_ROWS, PRICES};
use super::plausible::{self, Known};
use super::shape::Shape;
use super::{conditions, date, electricity, format, meaning, shape, slips};

/// The row of `gpu_pricing` for models that have none.
pub(super) const DEFAULT: &str = "default";

/// Finds what is wrong with a file. What is `known` of prices makes some worth a warning.
pub(super) fn check(root: &Node, known: Option<&Known<'_>>) -> Findings {
    let mut found = Findings::default();
    let sections = found.entries(root, "", FILE_EXPECTED);
    let known = known.map(|known| known.in_currency(currency_of(&sections)));
    let known = known.as_ref();
    let mut right = Vec::new();
    for entry in &sections {
        let before = found.count();
        section(&mut found, entry, known);
        if found.count() == before {
            right.push(entry.name);
        }
    }
    plausible::old(&mut found, root, "", known.and_then(|known| known.today));
    currency(&mut found, &sections, &right);
    bought_once(&mut found, &sections);
    slips::owned_for_nobody(&mut found, &sections);
    if found.count() == 0 && sections.iter().all(|section| section.name == "schema_version") {
        found.problem(root, "", format!("expected {FILE_EXPECTED}, found neither"));
    }
    found
}

fn section(found: &mut Findings, section: &Entry<'_>, known: Option<&Known<'_>>) {
    let Some(field) = FILE.fields.iter().find(|field| field.name == section.name) else {
        return unknown_section(found, section);
    };
    match (section.name, &field.shape) {
        ("gpu_pricing", _) => gpu_rows(found, section, known),
        ("owned_hardware", Shape::Rows(expected, server)) => {
            owned_hardware(found, section, (expected, server), known);
        }
        (name, shape) => {
            let before = found.count();
            shape::check(found, section, shape);
            match name {
                "overrides" => overrides(found, section, known),
                "discounts" => discounts(found, section, known),
                "price_model_rules" => slips::price_model_rules(found, section),
                "model_costs" => slips::tokens(found, section, known),
                "energy" if found.count() == before => electricity::check(found, section),
                _ => {}
            }
        }
    }
}

fn unknown_section(found: &mut Findings, entry: &Entry<'_>) {
    if let Some(why) = format::why_refused(entry.name, "") {
        return found.problem(entry.key, &entry.path, format!("expected no such key: {why}"));
    }
    let sections: Vec<&str> = FILE.fields.iter().map(|field| field.name).collect();
    let model = gpu_model::of_product(entry.name);
    if gpu_model::known().any(|known| known == &*model) {
        let (sections, name) = (sections.join(", "), excerpt(entry.name));
        let message = format!(
            "expected one of {sections}, found an unknown key; GPU models stand below gpu_pricing: did you mean \
             `gpu_pricing.{name}`?"
        );
        found.problem(entry.key, &entry.path, message);
    } else {
        found.unknown_key(entry, &sections);
    }
}

/// A currency has a rate. Of sections that are not `right`, nobody can tell.
fn currency(found: &mut Findings, sections: &[Entry<'_>], right: &[&str]) {
    let section = |name: &str| sections.iter().find(|section| section.name == name);
    let can_tell = |name: &str| section(name).is_none() || right.contains(&name);
    let Some((entry, name)) = section("currency").and_then(|entry| Some((entry, text(entry.value)?))) else {
        return;
    };
    let has_rate = section("exchange_rates").is_some_and(|rates| get(rates.value, name).is_some());
    if name != "USD" && !has_rate && can_tell("currency") && can_tell("exchange_rates") {
        let message = format!("expected the rate `exchange_rates.{}`, found none", excerpt(name));
        found.problem(entry.value, &entry.path, message);
    }
}

/// What one unit of the file's currency is worth, in billionths of a dollar.
fn currency_of(sections: &[Entry<'_>]) -> u64 {
    let section =
        |name: &str| sections.iter().find(|section| section.name == name).map(|section| section.value);
    let name = section("currency").and_then(text).filter(|name| *name != "USD");
    let rate = name.zip(section("exchange_rates")).and_then(|(name, rates)| get(rates, name));
    let Some(Value::Scalar { text, .. }) = rate.map(|rate| &rate.value) else { return decimal::ONE };
    decimal::billionths(text).unwrap_or(decimal::ONE)
}

// === gpu_pricing ===

fn gpu_rows(found: &mut Findings, section: &Entry<'_>, known: Option<&Known<'_>>) {
    let rows = found.entries(section.value, &section.path, GPU_ROWS);
    let mut rows_of: BTreeMap<String, &Entry<'_>> = BTreeMap::new();
    for row in &rows {
        let model = model_of(row.name);
        if let Some(other) = rows_of.insert(model.clone(), row) {
            let (name, line) = (excerpt(other.name), other.key.line);
            let message =
                format!("expected one row per GPU model, found `{name}` in line {line} for {model}, too");
            found.problem(row.key, &row.path, message);
        }
        plausible::model(found, row, &model, known);
        gpu_row(found, row, &model, known);
    }
    aliases(found, &rows_of);
}

fn gpu_row(found: &mut Findings, row: &Entry<'_>, model: &str, known: Option<&Known<'_>>) {
    match &row.value.value {
        Value::Scalar { text, plain: true } if row.value.decoration.is_none() && decimal::is_number(text) => {
            found.unexpected(
                row,
                GPU_COLUMNS.expected,
                &format!("; did you mean `{{ on_demand: {} }}`?", excerpt(text)),
            );
        }
        Value::List(items) => {
            shape::check(found, row, &GPU_ROW);
            valid_from(found, row, items);
            for (index, item) in items.iter().enumerate() {
                let path = format!("{}[{}]", row.path, index + 1);
                plausible::row(found, item, &path, known.map(|known| known.of_model_or_any(Some(model))));
            }
            slips::dropped(found, row, items);
        }
        _ => {
            shape::check(found, row, &GPU_ROW);
            plausible::row(
                found,
                row.value,
                &row.path,
                known.map(|known| known.of_model_or_any(Some(model))),
            );
        }
    }
}

/// Rows of one model follow each other in time.
fn valid_from(found: &mut Findings, row: &Entry<'_>, items: &[Node]) {
    let mut lines: BTreeMap<Option<Date>, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let Value::Map(_) = item.value else { continue };
        if let Some(line) = lines.insert(day(item, "valid_from"), item.line) {
            let message = format!("expected one row per valid_from, found another one in line {line}");
            found.problem(item, &format!("{}[{}]", row.path, index + 1), message);
        }
    }
}

/// A name means one model.
fn aliases(found: &mut Findings, rows: &BTreeMap<String, &Entry<'_>>) {
    let mut known: BTreeMap<String, (&str, usize)> =
        rows.iter().map(|(model, row)| (model.clone(), (row.name, row.key.line))).collect();
    for (model, row) in rows {
        for alias in maps(row.value).filter_map(|map| list(map, "aliases")).flatten() {
            let Some(name) = text(alias) else { continue };
            let meant = gpu_model::of_product(name).to_string();
            match known.insert(meant.clone(), (row.name, alias.line)) {
                Some((other, line)) if meant != *model => {
                    let message = format!(
                        "expected a name of one GPU model, found it for `{}` in line {line}, too",
                        excerpt(other)
                    );
                    found.problem(alias, &format!("{}.aliases", row.path), message);
                }
                _ => {}
            }
        }
    }
}

/// The models of `gpu_pricing` by their other names.
fn aliased(section: &Entry<'_>) -> BTreeMap<String, String> {
    let Value::Map(rows) = &section.value.value else { return BTreeMap::new() };
    let of_row = |(name, row): &(Node, Node)| {
        let model = text(name).map(model_of)?;
        let names = maps(row).filter_map(|map| list(map, "aliases")).flatten().filter_map(text);
        let alias = |name| (gpu_model::of_product(name).to_string(), model.clone());
        Some(names.map(alias).collect::<Vec<_>>())
    };
    rows.iter().filter_map(of_row).flatten().collect()
}

/// The model that a row of `gpu_pricing` is for.
fn model_of(name: &str) -> String {
    if name.eq_ignore_ascii_case(DEFAULT) {
        DEFAULT.to_owned()
    } else {
        gpu_model::of_product(name).to_string()
    }
}

// === overrides and owned hardware ===

fn overrides(found: &mut Findings, section: &Entry<'_>, known: Option<&Known<'_>>) {
    let Value::List(items) = &section.value.value else { return };
    if let Some(known) = known {
        conditions::check(found, section, known);
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{}]", section.path, index + 1);
        let both = get(item, "gpu_pricing").and(get(item, "node_pricing"));
        if let Some(second) = both {
            let message =
                "expected gpu_pricing or node_pricing, found both; the price of a node is that of its GPUs";
            found.problem(second, &format!("{path}.node_pricing"), message);
        }
        if let (Some(from), Some(until)) = (day(item, "valid_from"), day(item, "valid_until"))
            && until <= from
        {
            found.problem(
                item,
                &path,
                "expected valid_until after valid_from, found it before or on that day",
            );
        }
        plausible::over(found, item, &path, known);
    }
}

fn discounts(found: &mut Findings, section: &Entry<'_>, known: Option<&Known<'_>>) {
    let Value::List(items) = &section.value.value else { return };
    if let Some(known) = known {
        conditions::check(found, section, known);
    }
    for (index, item) in items.iter().enumerate() {
        plausible::discount(found, item, &format!("{}[{}]", section.path, index + 1));
    }
}

fn owned_hardware(
    found: &mut Findings,
    section: &Entry<'_>,
    (expected, shape): (&str, &Shape),
    known: Option<&Known<'_>>,
) {
    for row in found.entries(section.value, &section.path, expected) {
        let before = found.count();
        shape::check(found, &row, shape);
        if found.count() == before {
            server(found, &row);
        }
        if found.count() == before {
            slips::server(found, &row, known);
        }
    }
}

/// Tells what is wrong with a server in which each value is right for itself.
fn server(found: &mut Findings, row: &Entry<'_>) {
    let power = ["usd_per_kwh", "colo_usd_per_kw_month"].map(|key| get(row.value, key).is_some());
    let message = if power == [true, true] {
        "expected usd_per_kwh or colo_usd_per_kw_month, found both"
    } else if get(row.value, "kw").is_some() && power == [false, false] {
        "expected usd_per_kwh or colo_usd_per_kw_month beside kw, found neither"
    } else if meaning::owned(row.value).rate().is_none() {
        "expected numbers that make a price per hour, found some that do not"
    } else {
        return;
    };
    found.problem(row.value, &row.path, message);
}

/// A GPU model has one price under which it is owned, by whichever of its names.
fn bought_once(found: &mut Findings, sections: &[Entry<'_>]) {
    let of = |name: &str| sections.iter().find(|section| section.name == name);
    let Some(section) = of("owned_hardware") else { return };
    let Value::Map(servers) = &section.value.value else { return };
    let meant = of("gpu_pricing").map(aliased).unwrap_or_default();
    let mut known: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for (key, server) in servers {
        let Some((name, written)) = text(key).zip(get(server, "gpu_model")) else { continue };
        let Some(model) = text(written).map(|model| gpu_model::of_product(model).to_string()) else {
            continue;
        };
        let model = meant.get(&model).cloned().unwrap_or(model);
        if let Some((other, line)) = known.get(&model) {
            let message = format!(
                "expected one server per GPU model, found `{}` in line {line} for {}, too",
                excerpt(other),
                excerpt(&model)
            );
            found.problem(written, &join(&join(&section.path, name), "gpu_model"), message);
        } else {
            known.insert(model, (name, key.line));
        }
    }
}

// === reading a tree that may be wrong ===

/// The value at a key of a map.
pub(super) fn get<'t>(node: &'t Node, key: &str) -> Option<&'t Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(name, _)| text(name) == Some(key)).map(|(_, value)| value)
}

/// The text of a scalar.
pub(super) fn text(node: &Node) -> Option<&str> {
    if let Value::Scalar { text, plain } = &node.value {
        Some(text.as_str()).filter(|text| describe::is_text(text, *plain))
    } else {
        None
    }
}

/// The day at a key of a map.
pub(super) fn day(node: &Node, key: &str) -> Option<Date> {
    date::parse(text(get(node, key)?)?).ok()
}

/// The prices in a map, each with its name, its value and the billionths in it.
pub(super) fn prices(node: &Node) -> impl Iterator<Item = (&'static str, &Node, u64)> {
    PRICES.iter().filter_map(|name| {
        let written = get(node, name)?;
        let price = get(written, "price").unwrap_or(written);
        Some((*name, price, amount(price)?))
    })
}

/// The billionths in a number.
pub(super) fn amount(node: &Node) -> Option<u64> {
    let Value::Scalar { text, plain: true } = &node.value else { return None };
    decimal::billionths(text).ok()
}

fn maps(node: &Node) -> impl Iterator<Item = &Node> {
    if let Value::List(items) = &node.value { items.iter() } else { std::slice::from_ref(node).iter() }
}

fn list<'t>(node: &'t Node, key: &str) -> Option<&'t Vec<Node>> {
    if let Value::List(items) = &get(node, key)?.value { Some(items) } else { None }
}
