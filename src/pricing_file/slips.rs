//! What is allowed in a price file and looks like a slip of somebody who meant something else.

use crate::cost::gpu_model;
use crate::cost::pricing::{Date, capacity_labels};
use crate::yaml::decimal::ONE;
use crate::yaml::findings::{Entry, Findings, join};
use crate::yaml::problem::excerpt;
use crate::yaml::suggest;
use crate::yaml::tree::{Node, Value};

use super::plausible::{Known, SUSPICIOUS_FACTOR, in_dollars};
use super::{conditions, meaning, rules};

/// What a thousand tokens of no model cost, and a million of hardly any, in billionths of a dollar: the dearest list
/// price that is known is 0.6 $ for a thousand, the cheapest 0.02 $ for a million.
const DEAREST_THOUSAND: u64 = ONE;
const CHEAPEST_MILLION: u64 = ONE / 200;

/// Tells a server of which an hour costs what none does.
pub(super) fn server(found: &mut Findings, row: &Entry<'_>, known: Option<&Known<'_>>) {
    let Some((known, name)) = known.zip(rules::get(row.value, "gpu_model")) else { return };
    let Some(text) = rules::text(name) else { return };
    conditions::model(found, name, &format!("{}.gpu_model", row.path), text);
    let model = gpu_model::of_product(text);
    let (span, rate) = (known.of_model_or_any(Some(&model)).span(), meaning::owned(row.value).rate());
    if let Some(rate) =
        rate.filter(|rate| rate.nanos_per_hour() >= span.highest.saturating_mul(SUSPICIOUS_FACTOR))
    {
        let message = format!(
            "makes {rate} $/h for one GPU, far above what it is rented for: is a number in watts or months?"
        );
        found.warning(row.value, &row.path, message);
    }
}

/// Tells servers that were bought where nothing says that any GPU was.
pub(super) fn owned_for_nobody(found: &mut Findings, sections: &[Entry<'_>]) {
    let section = |name: &str| sections.iter().find(|section| section.name == name);
    let Some(servers) = section("owned_hardware") else { return };
    let is_owned = |node: &Node| rules::text(node) == Some("owned");
    let by_default =
        section("defaults").and_then(|it| rules::get(it.value, "price_model")).is_some_and(is_owned);
    let items = |name: &str| match section(name).map(|it| &it.value.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    let by_override = items("overrides").iter().filter_map(|it| rules::get(it, "price_model")).any(is_owned);
    let by_rule = items("price_model_rules").iter().filter_map(|it| rules::get(it, "values")).any(|values| {
        matches!(&values.value, Value::Map(values) if values.iter().any(|(_, value)| is_owned(value)))
    });
    if !(by_default || by_override || by_rule) {
        let message = "nothing here says that a GPU is owned, so this is the price of none but with --pricing.model=owned: \
                       a rule, an override or the default has to say so";
        found.warning(servers.key, &servers.path, message);
    }
}

/// Tells rows that hold from a day on and lack a price that the row before had.
pub(super) fn dropped(found: &mut Findings, row: &Entry<'_>, items: &[Node]) {
    let mut rows: Vec<(Option<Date>, &Node)> =
        items.iter().map(|item| (rules::day(item, "valid_from"), item)).collect();
    rows.sort_by_key(|(from, _)| *from);
    for pair in rows.windows(2) {
        let [(_, before), (Some(from), after)] = pair else { continue };
        for (name, ..) in rules::prices(before).filter(|(name, ..)| rules::get(after, name).is_none()) {
            let message = format!(
                "has no {name}, so from {from} on there is none: a row replaces the one before whole"
            );
            found.warning(after, &row.path, message);
        }
    }
}

/// Tells labels and values that look like those by which providers say how a node was bought.
pub(super) fn price_model_rules(found: &mut Findings, section: &Entry<'_>) {
    let Value::List(items) = &section.value.value else { return };
    let mut labels: Vec<&str> = capacity_labels().map(|(label, _)| label).collect();
    labels.dedup();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{}]", section.path, index + 1);
        let Some((node, label)) = rules::get(item, "label").and_then(|it| Some((it, rules::text(it)?)))
        else {
            continue;
        };
        if !labels.contains(&label) {
            let meant = suggest::phrase(&suggest::keys(label, &labels));
            if !meant.is_empty() {
                let message = format!("no provider is known to write it{meant}");
                found.warning(node, &format!("{path}.label"), message);
            }
            continue;
        }
        let values: Vec<&str> =
            capacity_labels().filter(|(known, _)| *known == label).map(|(_, value)| value).collect();
        let Some(Value::Map(written)) = rules::get(item, "values").map(|it| &it.value) else { continue };
        for (key, value) in written.iter().filter_map(|(key, _)| Some((key, rules::text(key)?))) {
            let meant = suggest::phrase(&suggest::keys(value, &values));
            if !values.contains(&value) && !meant.is_empty() {
                found.warning(
                    key,
                    &format!("{path}.values"),
                    format!("`{}` is not known of it{meant}", excerpt(value)),
                );
            }
        }
    }
}

/// Tells prices of tokens that must have another unit.
pub(super) fn tokens(found: &mut Findings, section: &Entry<'_>, known: Option<&Known<'_>>) {
    let Value::Map(rows) = &section.value.value else { return };
    let Some(known) = known else { return };
    for (name, row) in rows.iter().filter_map(|(name, row)| Some((rules::text(name)?, row))) {
        let is_per_million = rules::get(row, "unit").and_then(rules::text) == Some("per_1m");
        for key in ["input_tokens", "output_tokens"] {
            let Some(price) = rules::get(row, key) else { continue };
            let amount = rules::amount(price).map_or(0, |amount| in_dollars(amount, known.currency));
            let path = format!("{}.{key}", join(&section.path, name));
            if !is_per_million && amount >= DEAREST_THOUSAND {
                let message =
                    "a thousand tokens cost cents: is it the price of a million? Then write `unit: per_1m`";
                found.warning(price, &path, message);
            } else if is_per_million && amount > 0 && amount <= CHEAPEST_MILLION {
                found.warning(price, &path, "a million tokens cost more: is it the price of a thousand?");
            }
        }
    }
}
