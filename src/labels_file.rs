//! `labels.yaml`: the file in which people write who pays for pods that do not say so themselves.
//!
//! ```yaml
//! sources: { environment: [app.example.com/env] }           # where else pods say it
//! rules:                                                     # for pods that do not; the first that fits counts
//!   - match: { namespace: "ml-*", pod: "train-*", labels: { app: trainer }, workload_kind: Job }
//!     set: { task_type: training, project: foundation }
//! namespaces:                                                # for pods that no rule fits
//!   ml-search: { team: search, cost_center: cc-3015 }
//! ```
//!
//! It is read as strictly as the price file, and for the same reason: whoever wrote it is told every mistake at once,
//! with its place and what was expected there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::apiserver::{CostLabel, LabelPolicy, LabelRule, LabelSource, Pattern, SetLabels};
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::tree::{self, Node, Value};
use crate::yaml::{describe, text};

pub use crate::yaml::problem::Problem;

/// The keys of the file.
const SECTIONS: &[&str] = &["sources", "rules", "namespaces"];
/// The keys of a rule.
const RULE_KEYS: &[&str] = &["match", "set"];
/// The keys of what a rule is about.
const MATCH_KEYS: &[&str] = &["namespace", "pod", "labels", "workload_kind", "workload"];

const FILE: &str = "a map with sources, rules or namespaces";
const SOURCES: &str = "a map of cost labels, such as environment: [app.example.com/env]";
const KEYS: &str =
    "the key of a pod's label or annotation, such as app.example.com/env, or a list of such keys";
const RULES: &str =
    "a list of rules, such as - { match: { pod: \"train-*\" }, set: { task_type: training } }";
const RULE: &str = "a map such as { match: { pod: \"train-*\" }, set: { task_type: training } }";
const MATCH: &str = "a map such as { namespace: \"ml-*\", labels: { app: trainer } }";
const LABELS: &str = "a map of a pod's labels, such as { app: trainer }";
const PATTERN: &str = "text, in which * stands for any text";
const NAMESPACES: &str = "a map of namespaces, such as ml-search: { team: search }";
const SET: &str = "a map of cost labels, such as { team: search }";
const VALUE: &str = "text, such as search";

/// What the file at `path` says, or why it cannot be read, or every mistake in it.
pub fn read(path: &Path) -> Result<LabelPolicy, Vec<Problem>> {
    parse(&text::read(path).map_err(|problem| vec![problem])?)
}

/// What the text of a file says, or every mistake in it. A file with nothing but comments says nothing.
pub fn parse(text: &str) -> Result<LabelPolicy, Vec<Problem>> {
    let root = text::plain(text).and_then(tree::parse).map_err(|problem| vec![problem])?;
    let mut found = Findings::default();
    let policy = root.map(|root| policy(&mut found, &root)).unwrap_or_default();
    found.into_result()?;
    Ok(policy)
}

fn policy(found: &mut Findings, root: &Node) -> LabelPolicy {
    let mut policy = LabelPolicy::default();
    for section in found.entries(root, "", FILE) {
        match section.name {
            "sources" => policy.sources = sources(found, &section),
            "rules" => policy.rules = rules(found, &section),
            "namespaces" => policy.namespaces = namespaces(found, &section),
            _ => found.unknown_key(&section, SECTIONS),
        }
    }
    policy
}

// === sources ===

fn sources(found: &mut Findings, section: &Entry<'_>) -> Vec<LabelSource> {
    let mut sources = Vec::new();
    for (label, entry) in cost_labels(found, section, SOURCES) {
        let keys = match &entry.value.value {
            Value::List(keys) if keys.is_empty() => {
                found.problem(entry.value, &entry.path, format!("expected {KEYS}, found an empty list"));
                continue;
            }
            Value::List(keys) if entry.value.decoration.is_none() => keys.iter().collect(),
            _ => vec![entry.value],
        };
        for key in keys {
            let source = text_of(found, key, &entry.path, KEYS).map(|key| LabelSource::new(label, key));
            match source {
                Some(Some(source)) => sources.push(source),
                Some(None) => expected(found, key, &entry.path, KEYS),
                None => {}
            }
        }
    }
    sources
}

// === rules ===

fn rules(found: &mut Findings, section: &Entry<'_>) -> Vec<LabelRule> {
    if !found.is_plainly_written(section.value, &section.path) {
        return Vec::new();
    }
    let Value::List(rules) = &section.value.value else {
        found.unexpected(section, RULES, "");
        return Vec::new();
    };
    let numbered = rules.iter().enumerate();
    numbered.map(|(nth, node)| rule(found, node, &format!("{}[{nth}]", section.path))).collect()
}

fn rule(found: &mut Findings, node: &Node, path: &str) -> LabelRule {
    let before = found.count();
    let mut rule = LabelRule::default();
    let entries = found.entries(node, path, RULE);
    for entry in &entries {
        match entry.name {
            "match" => conditions(found, entry, &mut rule),
            "set" => rule.set = set(found, entry),
            _ => found.unknown_key(entry, RULE_KEYS),
        }
    }
    let missing = RULE_KEYS.iter().find(|key| entries.iter().all(|entry| entry.name != **key));
    if let Some(key) = missing
        && found.count() == before
    {
        found.problem(node, path, format!("expected {}, found no {key}", RULE_KEYS.join(" and ")));
    }
    rule
}

fn conditions(found: &mut Findings, of: &Entry<'_>, rule: &mut LabelRule) {
    for entry in found.entries(of.value, &of.path, MATCH) {
        match entry.name {
            "namespace" => rule.namespace = pattern(found, &entry),
            "pod" => rule.pod = pattern(found, &entry),
            "workload_kind" => rule.workload_kind = pattern(found, &entry),
            "workload" => rule.workload = pattern(found, &entry),
            "labels" => {
                let labels = found.entries(entry.value, &entry.path, LABELS);
                let labels =
                    labels.iter().filter_map(|label| Some((label.name.to_owned(), pattern(found, label)?)));
                rule.labels = labels.collect();
            }
            _ => found.unknown_key(&entry, MATCH_KEYS),
        }
    }
}

fn pattern(found: &mut Findings, entry: &Entry<'_>) -> Option<Pattern> {
    text_of(found, entry.value, &entry.path, PATTERN).map(Pattern::new)
}

// === namespaces ===

fn namespaces(found: &mut Findings, section: &Entry<'_>) -> BTreeMap<String, SetLabels> {
    let mut namespaces = BTreeMap::new();
    for entry in found.entries(section.value, &section.path, NAMESPACES) {
        if entry.name.contains('*') {
            let message = "expected the name of one namespace, found a pattern; write a rule that matches it";
            found.problem(entry.key, &entry.path, message);
        }
        namespaces.insert(entry.name.to_owned(), set(found, &entry));
    }
    namespaces
}

// === all ===

fn set(found: &mut Findings, of: &Entry<'_>) -> SetLabels {
    let labels = cost_labels(found, of, SET);
    let value = |found: &mut Findings, entry: &Entry<'_>| {
        let text = text_of(found, entry.value, &entry.path, VALUE)?;
        found.is_short_and_printable(entry.value, &entry.path, text).then(|| text.into())
    };
    labels.into_iter().filter_map(|(label, entry)| Some((label, value(found, &entry)?))).collect()
}

/// The entries of a map from cost labels, each of which may be written in two ways and only once.
fn cost_labels<'t>(found: &mut Findings, of: &Entry<'t>, expected: &str) -> Vec<(CostLabel, Entry<'t>)> {
    let mut labels: Vec<(CostLabel, Entry<'t>)> = Vec::new();
    for entry in found.entries(of.value, &of.path, expected) {
        let Some(label) = CostLabel::named(entry.name) else {
            found.unknown_key(&entry, &CostLabel::ALL.map(CostLabel::name));
            continue;
        };
        if let Some((_, other)) = labels.iter().find(|(known, _)| *known == label) {
            let message = format!(
                "expected every cost label once, found {} in line {} too",
                label.name(),
                other.key.line
            );
            found.problem(entry.key, &entry.path, message);
        }
        labels.push((label, entry));
    }
    labels
}

/// The text at a node; a number, a boolean or nothing is none.
fn text_of<'t>(found: &mut Findings, node: &'t Node, path: &str, what: &str) -> Option<&'t str> {
    if !found.is_plainly_written(node, path) {
        return None;
    }
    let Value::Scalar { text, plain } = &node.value else {
        expected(found, node, path, what);
        return None;
    };
    if describe::is_text(text, *plain) && !text.is_empty() {
        return Some(text);
    }
    let there = describe::of(node);
    let advice = if there == "nothing" || text.is_empty() { "" } else { "; put it in quotes" };
    found.problem(node, path, format!("expected {what}, found {there}{advice}"));
    None
}

fn expected(found: &mut Findings, node: &Node, path: &str, what: &str) {
    let message = format!("expected {what}, found {}", describe::of(node));
    found.problem(node, path, message);
}
