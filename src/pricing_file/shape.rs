//! What a value in a price file may be, as data: from one description come the mistakes and the JSON Schema.

use crate::yaml::decimal::{self, Unusable};
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::problem::excerpt;
use crate::yaml::tree::{Node, Value};
use crate::yaml::{describe, suggest};

use super::{date, format};

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A decimal number.
    Number(Number),
    /// A day.
    Day,
    /// Text.
    Text(&'static str),
    /// Text that is written in a certain way.
    Pattern(Pattern),
    /// One of some whole numbers, by which versions are called.
    Version(&'static [u32]),
    /// One of some words.
    Word(&'static [&'static str]),
    /// A map with known keys.
    Record(&'static Record),
    /// A map with names as keys, and one shape for all values.
    Rows(&'static str, &'static Self),
    /// A list of values of one shape.
    List(&'static str, &'static Self),
    /// One of two, told apart by whether it is a scalar, a map or a list.
    Either(&'static [Self; 2]),
}

/// A decimal number and its range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    /// What it means, to follow after "expected".
    pub(super) expected: &'static str,
    /// The smallest that is accepted.
    pub(super) smallest: u64,
    /// The largest that is accepted.
    pub(super) largest: u64,
    /// Whether zero is refused.
    pub(super) positive: bool,
    /// Whether it must have no decimals.
    pub(super) whole: bool,
}

/// Text that is written in a certain way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    /// What it means, to follow after "expected".
    pub(super) expected: &'static str,
    /// The way as a regular expression, for the schema.
    pub(super) regex: &'static str,
    /// Whether a text is written so.
    pub(super) fits: fn(&str) -> bool,
}

/// A map with known keys.
#[derive(Debug)]
pub(super) struct Record {
    /// What it is, to follow after "expected".
    pub(super) expected: &'static str,
    /// Its keys.
    pub(super) fields: &'static [Field],
    /// Keys that must all be there.
    pub(super) required: &'static [&'static str],
    /// Keys of which at least one must be there; empty if none must.
    pub(super) any_of: &'static [&'static str],
}

/// One key of a map.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// What it means, for editors.
    pub(super) says: &'static str,
}

const DAY: &str = "a day as YYYY-MM-DD, such as 2026-07-20";

/// Finds what is wrong with a value.
pub(super) fn check(found: &mut Findings, entry: &Entry<'_>, shape: &Shape) {
    match shape {
        Shape::Number(number) => _ = amount(found, entry, number),
        Shape::Day => day(found, entry),
        Shape::Text(expected) => _ = text(found, entry, expected),
        Shape::Pattern(pattern) => {
            if text(found, entry, pattern.expected).is_some_and(|text| !(pattern.fits)(text)) {
                found.unexpected(entry, pattern.expected, "");
            }
        }
        Shape::Version(versions) => version(found, entry, versions),
        Shape::Word(words) => word(found, entry, words),
        Shape::Record(record) => _ = record_of(found, entry, record),
        Shape::Rows(expected, row) => {
            for entry in found.entries(entry.value, &entry.path, expected) {
                check(found, &entry, row);
            }
        }
        Shape::List(expected, item) => {
            for entry in found.items(entry, expected) {
                check(found, &entry, item);
            }
        }
        Shape::Either([one, other]) => {
            let chosen = if other.is_kind_of(entry.value) { other } else { one };
            check(found, entry, chosen);
        }
    }
}

/// Finds what is wrong with a map with known keys, and gives its entries.
pub(super) fn record_of<'t>(found: &mut Findings, entry: &Entry<'t>, record: &Record) -> Vec<Entry<'t>> {
    let before = found.count();
    let columns = found.entries(entry.value, &entry.path, record.expected);
    for column in &columns {
        if let Some(field) = record.fields.iter().find(|field| field.name == column.name) {
            check(found, column, &field.shape);
        } else {
            let names: Vec<&str> = record.fields.iter().map(|field| field.name).collect();
            found.unknown_key(column, &names);
        }
    }
    if found.count() == before {
        missing(found, entry, record, &columns);
    }
    columns
}

fn missing(found: &mut Findings, entry: &Entry<'_>, record: &Record, columns: &[Entry<'_>]) {
    let has = |name: &str| columns.iter().any(|column| column.name == name);
    if let Some(name) = record.required.iter().find(|name| !has(name)) {
        let message = format!("expected {}, found no {name}", record.required.join(" and "));
        found.problem(entry.value, &entry.path, message);
    } else if !record.any_of.is_empty() && !record.any_of.iter().any(|name| has(name)) {
        let message = format!("expected at least one of {}, found none", record.any_of.join(", "));
        found.problem(entry.value, &entry.path, message);
    }
}

/// The billionths in a number.
pub(super) fn amount(found: &mut Findings, entry: &Entry<'_>, number: &Number) -> Option<u64> {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return None;
    }
    let Value::Scalar { text, plain } = &entry.value.value else {
        found.unexpected(entry, number.expected, "");
        return None;
    };
    let why = match decimal::billionths_up_to(text, number.largest) {
        Ok(0) if number.positive => ", which is not above zero".to_owned(),
        Ok(billionths) if billionths / decimal::ONE < number.smallest => {
            format!(", which is less than {}", number.smallest)
        }
        Ok(billionths) if number.whole && billionths % 1_000_000_000 > 0 => ", which is not whole".to_owned(),
        Ok(billionths) if *plain => return Some(billionths),
        Ok(_) => format!(" in quotes; did you mean {}, without quotes?", excerpt(text)),
        Err(Unusable::NotANumber) => {
            suggest::number(text).map(|number| format!("; did you mean `{number}`?")).unwrap_or_default()
        }
        Err(Unusable::Negative) => ", which is below zero".to_owned(),
        Err(Unusable::TooPrecise) => format!(", which has more than {} decimals", decimal::DECIMALS),
        Err(Unusable::TooLarge) => format!(", which is more than {}", number.largest),
    };
    found.unexpected(entry, number.expected, &why);
    None
}

fn text<'t>(found: &mut Findings, entry: &Entry<'t>, expected: &str) -> Option<&'t str> {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return None;
    }
    match &entry.value.value {
        Value::Scalar { text, plain } if !text.is_empty() && describe::is_text(text, *plain) => {
            found.is_short_and_printable(entry.value, &entry.path, text).then_some(text)
        }
        Value::Scalar { text, .. } if !text.is_empty() => {
            found.unexpected(entry, expected, "; put it in quotes");
            None
        }
        _ => {
            found.unexpected(entry, expected, "");
            None
        }
    }
}

fn word(found: &mut Findings, entry: &Entry<'_>, words: &[&str]) {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return;
    }
    let expected = || match words {
        [one] => (*one).to_owned(),
        several => format!("one of {}", several.join(", ")),
    };
    match &entry.value.value {
        Value::Scalar { text, .. } if words.contains(&text.as_str()) => {}
        Value::Scalar { text, .. } => {
            let meant = || suggest::phrase(&suggest::keys(text, words));
            let why = format::why_refused(entry.name, text).map_or_else(meant, |why| format!("; {why}"));
            found.unexpected(entry, &expected(), &why);
        }
        _ => found.unexpected(entry, &expected(), ""),
    }
}

fn version(found: &mut Findings, entry: &Entry<'_>, versions: &[u32]) {
    let names: Vec<String> = versions.iter().map(u32::to_string).collect();
    let is_known = matches!(&entry.value.value, Value::Scalar { text, plain: true } if names.contains(text));
    if found.is_plainly_written(entry.value, &entry.path) && !is_known {
        let expected = format!("{}, the versions that this program reads", names.join(" or "));
        found.unexpected(entry, &expected, "");
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

// === impl Shape ===

impl Shape {
    /// Whether a value is a scalar, a map or a list as this shape wants it.
    fn is_kind_of(&self, node: &Node) -> bool {
        match self {
            Self::Record(_) | Self::Rows(..) => matches!(node.value, Value::Map(_)),
            Self::List(..) => matches!(node.value, Value::List(_)),
            Self::Either(shapes) => shapes.iter().any(|shape| shape.is_kind_of(node)),
            _ => matches!(node.value, Value::Scalar { .. }),
        }
    }
}
