//! What a price file of version 1 may say: every mistake in a tree, and what only looks like one.

use std::collections::BTreeMap;

use crate::cost::gpu_model;
use crate::cost::money::Rate;
use crate::cost::pricing::PriceTable;
use crate::yaml::decimal::{self, Unusable};
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::problem::excerpt;
use crate::yaml::tree::{Node, Value};
use crate::yaml::{describe, suggest};

use super::date;

/// The row of `gpu_pricing` for models that have none.
pub(super) const DEFAULT: &str = "default";

/// The keys of the file.
const SECTIONS: &[&str] = &["gpu_pricing", "model_costs", "schema_version"];
/// The keys of a row of `gpu_pricing` that hold a price.
const PRICES: &[&str] = &["on_demand", "spot", "reserved_1y"];
/// The keys of a row of `gpu_pricing`.
const GPU_COLUMNS: &[&str] = &["on_demand", "spot", "reserved_1y", "source", "as_of"];
/// The keys of a row of `model_costs`.
const TOKEN_COLUMNS: &[&str] = &["input_tokens", "output_tokens"];

const FILE: &str = "a map with gpu_pricing or model_costs";
const GPU_ROWS: &str = "a map of GPU models, such as nvidia-t4: { on_demand: 0.526 }";
const GPU_ROW: &str = "a map of prices, such as { on_demand: 3.5, spot: 1.2 }";
const PRICE: &str = "dollars per hour for one GPU, such as 3.5";
const DAY: &str = "a day as YYYY-MM-DD, such as 2026-07-20";
const SOURCE: &str = "text that says where the prices come from";
const TOKEN_ROWS: &str = "a map of models, such as gpt-4: { input_tokens: 0.03, output_tokens: 0.06 }";
const TOKEN_ROW: &str = "a map such as { input_tokens: 0.03, output_tokens: 0.06 }";
const TOKEN_PRICE: &str = "dollars per 1,000 tokens, such as 0.0008";

/// From how many times the list price on a price is asked about. Most whole instances have eight GPUs, and hardly any
/// GPU is dearer than this by itself.
const SUSPICIOUS_FACTOR: u64 = 6;

/// Finds what is wrong with a file. Prices that are many times those of `list` are worth a warning.
pub(super) fn check(root: &Node, list: Option<&PriceTable>) -> Findings {
    let mut found = Findings::default();
    let sections = found.entries(root, "", FILE);
    for section in &sections {
        match section.name {
            "gpu_pricing" => gpu_rows(&mut found, section, list),
            "model_costs" => token_rows(&mut found, section),
            "schema_version" => schema_version(&mut found, section),
            _ => unknown_section(&mut found, section),
        }
    }
    if found.count() == 0 && sections.iter().all(|section| section.name == "schema_version") {
        found.problem(root, "", format!("expected {FILE}, found neither"));
    }
    found
}

fn schema_version(found: &mut Findings, entry: &Entry<'_>) {
    let is_one = matches!(&entry.value.value, Value::Scalar { text, plain: true } if text == "1");
    if found.is_plainly_written(entry.value, &entry.path) && !is_one {
        found.unexpected(entry, "1, the only version that this program reads", "");
    }
}

fn unknown_section(found: &mut Findings, entry: &Entry<'_>) {
    let model = gpu_model::of_product(entry.name);
    let meant = if gpu_model::known().any(|known| known == &*model) {
        format!("; GPU models stand below gpu_pricing: did you mean `gpu_pricing.{}`?", excerpt(entry.name))
    } else {
        suggest::phrase(&suggest::keys(entry.name, SECTIONS))
    };
    unknown(found, entry, SECTIONS, &meant);
}

// === gpu_pricing ===

fn gpu_rows(found: &mut Findings, section: &Entry<'_>, list: Option<&PriceTable>) {
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
        known_model(found, row, &model, list);
        let listed = list.and_then(|list| list.models.get(model.as_str())?.on_demand);
        gpu_row(found, row, listed);
    }
}

fn gpu_row(found: &mut Findings, row: &Entry<'_>, listed: Option<Rate>) {
    let before = found.count();
    let columns = gpu_columns(found, row);
    let mut prices = BTreeMap::new();
    for column in &columns {
        match column.name {
            name if PRICES.contains(&name) => {
                prices.insert(name, (column, amount(found, column, PRICE)));
            }
            "source" => source(found, column),
            "as_of" => day(found, column),
            _ => unknown_column(found, column, GPU_COLUMNS),
        }
    }
    if prices.is_empty() && found.count() == before {
        found.problem(
            row.value,
            &row.path,
            format!("expected at least one of {}, found none", PRICES.join(", ")),
        );
    }
    plausible_prices(found, &prices, listed);
}

/// The columns of a row; none if it is no map, such as a price for which the map was forgotten.
fn gpu_columns<'t>(found: &mut Findings, row: &Entry<'t>) -> Vec<Entry<'t>> {
    match &row.value.value {
        Value::Scalar { text, plain: true } if row.value.decoration.is_none() && decimal::is_number(text) => {
            found.unexpected(row, GPU_ROW, &format!("; did you mean `{{ on_demand: {} }}`?", excerpt(text)));
            Vec::new()
        }
        _ => found.entries(row.value, &row.path, GPU_ROW),
    }
}

fn source(found: &mut Findings, entry: &Entry<'_>) {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return;
    }
    match &entry.value.value {
        Value::Scalar { text, plain } if !text.is_empty() && describe::is_text(text, *plain) => {
            found.is_short_and_printable(entry.value, &entry.path, text);
        }
        _ => found.unexpected(entry, SOURCE, ""),
    }
}

fn day(found: &mut Findings, entry: &Entry<'_>) {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return;
    }
    let Value::Scalar { text, .. } = &entry.value.value else { return found.unexpected(entry, DAY, "") };
    match date::parse(text) {
        Ok(_) => {}
        Err(date::NoDay::Form) => found.unexpected(entry, DAY, ""),
        Err(date::NoDay::Calendar) => found.unexpected(entry, DAY, ", which is no day since 1970"),
    }
}

fn known_model(found: &mut Findings, row: &Entry<'_>, model: &str, list: Option<&PriceTable>) {
    let is_listed = list.is_some_and(|list| list.models.contains_key(model));
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

fn plausible_prices(
    found: &mut Findings,
    prices: &BTreeMap<&str, (&Entry<'_>, Option<u64>)>,
    listed: Option<Rate>,
) {
    let amount = |name: &str| prices.get(name).and_then(|(_, amount)| *amount);
    for (column, amount) in prices.values().filter_map(|(column, amount)| Some((column, (*amount)?))) {
        if amount == 0 {
            let message = "0 makes the GPU free; leave out a price that is not known";
            found.warning(column.value, &column.path, message);
        }
    }
    if let Some(on_demand) = amount("on_demand") {
        for (name, (column, amount)) in prices {
            if amount.is_some_and(|amount| amount > on_demand) {
                found.warning(column.value, &column.path, format!("{name} is above on_demand"));
            }
        }
        let listed = listed.map_or(u64::MAX, Rate::nanos_per_hour);
        if let Some((column, _)) = prices.get("on_demand")
            && on_demand >= listed.saturating_mul(SUSPICIOUS_FACTOR)
        {
            let message = format!(
                "at least {} times the list price: is it the price of a whole instance? Write the price of one GPU",
                on_demand.checked_div(listed).unwrap_or(0)
            );
            found.warning(column.value, &column.path, message);
        }
    }
}

/// The model that a row of `gpu_pricing` is for.
fn model_of(name: &str) -> String {
    if name.eq_ignore_ascii_case(DEFAULT) {
        DEFAULT.to_owned()
    } else {
        gpu_model::of_product(name).to_string()
    }
}

// === model_costs ===

fn token_rows(found: &mut Findings, section: &Entry<'_>) {
    for row in found.entries(section.value, &section.path, TOKEN_ROWS) {
        let before = found.count();
        let columns = found.entries(row.value, &row.path, TOKEN_ROW);
        for column in &columns {
            match column.name {
                name if TOKEN_COLUMNS.contains(&name) => _ = amount(found, column, TOKEN_PRICE),
                _ => unknown_column(found, column, TOKEN_COLUMNS),
            }
        }
        let missing = TOKEN_COLUMNS.iter().find(|name| columns.iter().all(|column| column.name != **name));
        if let Some(name) = missing
            && found.count() == before
        {
            let message = format!("expected {}, found no {name}", TOKEN_COLUMNS.join(" and "));
            found.problem(row.value, &row.path, message);
        }
    }
}

// === both ===

/// The billionths in an amount of dollars.
fn amount(found: &mut Findings, entry: &Entry<'_>, expected: &str) -> Option<u64> {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return None;
    }
    let Value::Scalar { text, plain } = &entry.value.value else {
        found.unexpected(entry, expected, "");
        return None;
    };
    let why = match decimal::billionths(text) {
        Ok(billionths) if *plain => return Some(billionths),
        Ok(_) => format!(" in quotes; did you mean {}, without quotes?", excerpt(text)),
        Err(Unusable::NotANumber) => {
            suggest::number(text).map(|number| format!("; did you mean `{number}`?")).unwrap_or_default()
        }
        Err(Unusable::Negative) => ", which is below zero".to_owned(),
        Err(Unusable::TooPrecise) => format!(", which has more than {} decimals", decimal::DECIMALS),
        Err(Unusable::TooLarge) => format!(", which is more than {}", decimal::LARGEST),
    };
    found.unexpected(entry, expected, &why);
    None
}

fn unknown_column(found: &mut Findings, entry: &Entry<'_>, columns: &[&str]) {
    unknown(found, entry, columns, &suggest::phrase(&suggest::keys(entry.name, columns)));
}

fn unknown(found: &mut Findings, entry: &Entry<'_>, allowed: &[&str], meant: &str) {
    let message = format!("expected one of {}, found an unknown key{meant}", allowed.join(", "));
    found.problem(entry.key, &entry.path, message);
}
