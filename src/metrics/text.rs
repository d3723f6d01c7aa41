//! Prometheus' text and that of `OpenMetrics`.
//!
//! A sample is one and the same line in both. They differ in what is said of a family: `OpenMetrics` leaves the suffix
//! of the kind out of its name, knows infos, names the unit, and marks the end, so that a reader sees what was cut off.

use std::io::Write as _;

use super::catalog::Kind;
use super::families::{Family, Series};

/// Units as they end the name of a family, a longer one before those that it ends with.
const UNITS: &[&str] = &[
    "dollars_per_1k_tokens",
    "dollars_per_kilowatt_hour",
    "grams_per_kilowatt_hour",
    "dollars_per_hour",
    "bytes",
    "dollars",
    "gpus",
    "grams",
    "joules",
    "ratio",
    "seconds",
    "watts",
];

/// Below this every whole number is one of `f64`, and is written with its digits alone.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Text 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

/// What a series of one family is written with: all that stands before, between and after its label values.
struct Frame {
    /// One for each label value, which it stands before.
    before: Vec<Vec<u8>>,
    after: Vec<u8>,
}

/// The families as text; `node` is the value of the label of that name.
pub(super) fn encode(node: &str, families: &[Family], dialect: Dialect) -> Vec<u8> {
    let mut text = Vec::with_capacity(families.iter().map(|family| size(node, family)).sum());
    for family in families {
        describe(&mut text, family, dialect);
        let frame = Frame::new(node, family);
        for series in family.series() {
            frame.write(&mut text, family, *series);
        }
    }
    if dialect == Dialect::OpenMetrics {
        text.extend_from_slice(b"# EOF\n");
    }
    text
}

/// About how many bytes a family has, rather too many than too few: growing would copy all that is there already.
fn size(node: &str, family: &Family) -> usize {
    let names: usize = family.labels.iter().map(|label| label.len() + 4).sum();
    let line = family.name.len() + node.len() + names + 40;
    family.help.len() + 3 * family.name.len() + 64 + family.bytes_of_values() + family.series().len() * line
}

// === families ===

fn describe(text: &mut Vec<u8>, family: &Family, dialect: Dialect) {
    let name = match dialect {
        Dialect::Prometheus => &*family.name,
        Dialect::OpenMetrics => stem(family),
    };
    if let (Dialect::OpenMetrics, Some(unit)) = (dialect, unit(family)) {
        line(text, &["# UNIT ", name, " ", unit]);
    }
    text.extend_from_slice(b"# HELP ");
    text.extend_from_slice(name.as_bytes());
    text.push(b' ');
    escape(text, &family.help, dialect == Dialect::OpenMetrics);
    text.push(b'\n');
    line(text, &["# TYPE ", name, " ", kind(family.kind, dialect)]);
}

fn line(text: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        text.extend_from_slice(part.as_bytes());
    }
    text.push(b'\n');
}

/// The name without the suffix that says the kind.
fn stem(family: &Family) -> &str {
    let suffix = match family.kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Amount | Kind::Reading => "",
    };
    family.name.strip_suffix(suffix).unwrap_or(&family.name)
}

/// The unit, if the name ends in one; an info has none.
fn unit(family: &Family) -> Option<&'static str> {
    let before = |unit: &&&str| stem(family).strip_suffix(**unit).is_some_and(|rest| rest.ends_with('_'));
    UNITS.iter().find(before).copied().filter(|_| family.kind != Kind::Info)
}

const fn kind(kind: Kind, dialect: Dialect) -> &'static str {
    match (kind, dialect) {
        (Kind::Counter, _) => "counter",
        (Kind::Info, Dialect::OpenMetrics) => "info",
        (Kind::Amount | Kind::Reading | Kind::Info, _) => "gauge",
    }
}

// === impl Frame ===

impl Frame {
    fn new(node: &str, family: &Family) -> Self {
        let mut head = family.name.as_bytes().to_vec();
        let has_labels = family.has_node || !family.labels.is_empty();
        if has_labels {
            head.push(b'{');
        }
        if family.has_node {
            head.extend_from_slice(b"node=\"");
            escape(&mut head, node, true);
        }
        let mut before = Vec::with_capacity(family.labels.len());
        for (n, label) in family.labels.iter().enumerate() {
            if n > 0 || family.has_node {
                head.extend_from_slice(b"\",");
            }
            head.extend_from_slice(label.as_bytes());
            head.extend_from_slice(b"=\"");
            before.push(std::mem::take(&mut head));
        }
        head.extend_from_slice(if has_labels { b"\"} " } else { b" " });
        Self { before, after: head }
    }

    fn write(&self, text: &mut Vec<u8>, family: &Family, series: Series) {
        for (n, value) in family.values(series) {
            text.extend_from_slice(self.before.get(n).map_or(&[], Vec::as_slice));
            escape(text, value, true);
        }
        text.extend_from_slice(&self.after);
        number(text, series.value);
        text.push(b'\n');
    }
}

// === values ===

/// Writes a text with what would end it escaped; double quotes only where it stands in some.
fn escape(out: &mut Vec<u8>, text: &str, is_quoted: bool) {
    // Counted to the end, because so it looks at many bytes at once.
    let special = text.bytes().filter(|byte| matches!(byte, b'\\' | b'\n' | b'"')).count();
    if special == 0 {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if is_quoted => out.extend_from_slice(b"\\\""),
            byte => out.push(byte),
        }
    }
}

/// Writes the shortest number that reads back as the same.
fn number(out: &mut Vec<u8>, value: f64) {
    // Writing to a vector cannot fail.
    let _ = match whole(value) {
        Some(whole) => write!(out, "{whole}"),
        None if value.is_infinite() => write!(out, "{}", if value > 0.0 { "+Inf" } else { "-Inf" }),
        None => write!(out, "{value}"),
    };
}

/// The value if it is a whole number of at most 53 bits. A negative zero is none: it has a sign.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only what is in range is cast")]
fn whole(value: f64) -> Option<u64> {
    let is_whole = value.is_sign_positive() && value < WHOLE_MAX && value.fract() == 0.0;
    is_whole.then_some(value as u64)
}
