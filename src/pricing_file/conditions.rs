//! What is allowed in the `match` of an override or a discount and looks as if it never matches.

use std::collections::BTreeSet;

use crate::cost::gpu_model;
use crate::cost::pricing::{Catalogue, Date};
use crate::yaml::describe;
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::problem::excerpt;
use crate::yaml::suggest;
use crate::yaml::tree::{Node, Value};

use super::plausible::Known;
use super::rules;

/// What people call them.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("amazon", "aws"),
    ("ec2", "aws"),
    ("google", "gcp"),
    ("gce", "gcp"),
    ("gke", "gcp"),
    ("microsoft", "azure"),
    ("aks", "azure"),
    ("ack", "alibaba"),
    ("aliyun", "alibaba"),
    ("oracle", "oci"),
];

/// Tells what looks wrong with the conditions of a list's items, and which item never has its turn, because one before it
/// matches all that it does.
pub(super) fn check(found: &mut Findings, section: &Entry<'_>, known: &Known<'_>) {
    let Value::List(items) = &section.value.value else { return };
    if !found.wants_warnings() {
        return;
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{}]", section.path, index + 1);
        if let Some(conditions) = rules::get(item, "match") {
            matching(found, conditions, &format!("{path}.match"), known);
        }
        days(found, item, &path, known.today);
        gpus_per_node(found, item, &path, known.catalogue);
        if let Some(first) = items[..index].iter().find(|first| hides(first, item)) {
            let message = format!(
                "never has its turn: the first that matches counts, and the one in line {} matches all that this does",
                first.line
            );
            found.warning(item, &path, message);
        }
        let name = rules::get(item, "name").and_then(rules::text);
        let same = |other: &&Node| name.is_some() && rules::get(other, "name").and_then(rules::text) == name;
        if let Some(other) = items[..index].iter().find(same) {
            let message =
                format!("the one in line {} has the name, too: nobody can tell them apart", other.line);
            found.warning(item, &format!("{path}.name"), message);
        }
    }
}

/// Tells values that look like slips, and pairs that no instance of the catalogue has.
fn matching(found: &mut Findings, conditions: &Node, path: &str, known: &Known<'_>) {
    let listed = known.listed;
    let mut value = |key: &str, names: &BTreeSet<String>| {
        let node = rules::get(conditions, key)?;
        let text = rules::text(node).filter(|text| !text.ends_with('*'))?;
        let name = text.to_ascii_lowercase();
        if !names.contains(&name) {
            slip(found, node, &format!("{path}.{key}"), text, names);
            return None;
        }
        Some((node, name))
    };
    let provider = value("provider", &listed.providers);
    let region = value("region", &listed.regions);
    let instance_type = value("instance_type", &listed.instance_types);
    let name = |it: &Option<(&Node, String)>| it.as_ref().map(|(_, name)| name.clone());
    let (provider_name, region_name) = (name(&provider), name(&region));
    let fits = match name(&instance_type) {
        Some(it) => known.catalogue.of_type(&it).any(|it| {
            let is = |wanted: &Option<String>, found: &str| {
                wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
            };
            is(&provider_name, &it.provider) && is(&region_name, &it.region)
        }),
        None => provider_name
            .zip(region_name)
            .is_none_or(|(provider, region)| listed.may_be_in(&provider, &region)),
    };
    let known: Vec<(&Node, String)> = [provider, region, instance_type].into_iter().flatten().collect();
    if let (false, Some((node, _))) = (fits, known.last()) {
        let values: Vec<String> = known.iter().map(|(_, name)| format!("`{}`", excerpt(name))).collect();
        found.warning(node, path, format!("no instance of the catalogue is of {}", values.join(" and ")));
    }
    if let Some((node, text)) =
        rules::get(conditions, "gpu_model").and_then(|it| Some((it, rules::text(it)?)))
        && !text.ends_with('*')
    {
        model(found, node, &format!("{path}.gpu_model"), text);
    }
}

/// Tells the name of a GPU that looks like another one's.
pub(super) fn model(found: &mut Findings, node: &Node, path: &str, text: &str) {
    let model = gpu_model::of_product(text);
    let known: Vec<&str> = gpu_model::known().collect();
    if !known.contains(&&*model) {
        let meant = suggest::phrase(&suggest::models(&model, &known));
        if !meant.is_empty() {
            found.warning(node, path, format!("no known GPU is called `{}`{meant}", excerpt(&model)));
        }
    }
}

fn slip(found: &mut Findings, node: &Node, path: &str, text: &str, names: &BTreeSet<String>) {
    let candidates: Vec<&str> = names.iter().map(String::as_str).collect();
    let other =
        OTHER_NAMES.iter().find(|(name, _)| path.ends_with(".provider") && name.eq_ignore_ascii_case(text));
    let meant = other.map_or_else(|| suggest::keys(text, &candidates), |(_, name)| vec![*name]);
    if !meant.is_empty() {
        let meant = suggest::phrase(&meant);
        found.warning(node, path, format!("nothing known is called `{}`{meant}", excerpt(text)));
    }
}

/// Tells an item that holds no longer.
fn days(found: &mut Findings, item: &Node, path: &str, today: Option<Date>) {
    if let Some((until, today)) = rules::day(item, "valid_until").zip(today)
        && until <= today
    {
        found.warning(item, &format!("{path}.valid_until"), format!("holds no longer since {until}"));
    }
}

/// Tells a node with another number of GPUs than its instance type has.
fn gpus_per_node(found: &mut Findings, item: &Node, path: &str, catalogue: &Catalogue) {
    let Some(written) = rules::get(item, "gpus_per_node") else { return };
    let instance_type =
        rules::get(item, "match").and_then(|it| rules::text(rules::get(it, "instance_type")?));
    let gpus = instance_type.and_then(|it| catalogue.of_type(it).find_map(|instance| instance.gpus));
    if let (Some(gpus), Value::Scalar { text, .. }) = (gpus, &written.value)
        && text.parse() != Ok(gpus)
    {
        let name = excerpt(instance_type.unwrap_or_default());
        found.warning(
            written,
            &format!("{path}.gpus_per_node"),
            format!("{name} has {gpus} in the catalogue"),
        );
    }
}

/// Whether an item matches whatever a later one does, on every day: each of its conditions is one of the later item's.
/// One that says nothing of what the later one says hides nothing.
fn hides(first: &Node, later: &Node) -> bool {
    let dated = ["valid_from", "valid_until"].iter().any(|key| rules::get(first, key).is_some());
    let says = |node: &Node, key: &str| rules::get(node, key).is_some();
    let prices = says(first, "gpu_pricing") || says(first, "node_pricing") || says(first, "percent");
    let silent = says(later, "price_model") && !says(first, "price_model");
    let conditions = rules::get(first, "match").map(conditions_of).unwrap_or_default();
    let of_later = rules::get(later, "match").map(conditions_of).unwrap_or_default();
    !dated && prices && !silent && conditions.is_subset(&of_later)
}

/// The conditions of a `match`, labels with their keys, as they are compared.
fn conditions_of(node: &Node) -> BTreeSet<(String, String)> {
    let Value::Map(entries) = &node.value else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for (key, value) in entries {
        match (&key.value, &value.value) {
            (Value::Scalar { text: key, .. }, Value::Scalar { text, .. }) if key == "gpu_model" => {
                found.insert((key.clone(), gpu_model::of_product(text).to_string()));
            }
            (Value::Scalar { text: key, .. }, Value::Scalar { text, .. }) => {
                found.insert((key.clone(), text.to_ascii_lowercase()));
            }
            (Value::Scalar { .. }, Value::Map(labels)) => {
                found.extend(labels.iter().map(|(key, value)| (describe::of(key), describe::of(value))));
            }
            _ => {}
        }
    }
    found
}
