//! Prometheus' text and that of `OpenMetrics`.
//!
//! A sample is one and the same line in both. They differ in what is said of a family: `OpenMetrics` leaves the suffix
//! of the kind out of its name, knows infos, names the unit, and marks the end, so that a reader sees what was cut off.

use std::io::Write as _;
use std::ops::Range;

use super::catalog::Kind;
use super::families::{Family, Scrape, Series};
use super::label;
use super::subjects::Written;

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

/// The fractions that both ways to write a number write alike; beyond, the faster one writes an exponent.
const ALIKE: Range<f64> = 1e-4..1e15;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Text 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

/// What a series of one family is written with: all that stands before, between and after its label values. Between those
/// of its subject it stands with them already.
struct Frame {
    /// One for each label value, which it stands before.
    before: Vec<Vec<u8>>,
    after: Vec<u8>,
}

/// A scrape as text.
pub(super) fn encode(scrape: &Scrape, dialect: Dialect) -> Vec<u8> {
    let Scrape { node, subjects, families } = scrape;
    let about = subjects.write(|out, n, name, value| {
        if n > 0 {
            begin_label(out, true, name);
        }
        escape(out, value, true);
    });
    let mut text = Vec::with_capacity(families.iter().map(|family| size(node, family, &about)).sum());
    for family in families {
        describe(&mut text, family, dialect);
        let frame = Frame::new(node, family);
        for series in family.series() {
            let shared = (about.of(series.subject), subjects.names(series.subject).len());
            frame.write(&mut text, shared, family, *series);
        }
    }
    if dialect == Dialect::OpenMetrics {
        text.extend_from_slice(b"# EOF\n");
    }
    text
}

/// About how many bytes a family has, rather too many than too few: growing would copy all that is there already.
fn size(node: &str, family: &Family, about: &Written) -> usize {
    let names: usize = family.labels.iter().map(|label| label.len() + 4).sum();
    let line = |series: &Series| family.name.len() + node.len() + names + about.of(series.subject).len() + 40;
    let lines: usize = family.series().iter().map(line).sum();
    family.help.len() + 3 * family.name.len() + 64 + family.bytes_of_values() + lines
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
            begin_label(&mut head, n > 0 || family.has_node, label);
            before.push(std::mem::take(&mut head));
        }
        head.extend_from_slice(if has_labels { b"\"} " } else { b" " });
        Self { before, after: head }
    }

    /// Writes a series; `shared` is what was written of its subject, and how many labels those are.
    fn write(&self, text: &mut Vec<u8>, (shared, labels): (&[u8], usize), family: &Family, series: Series) {
        let before = |n: usize| self.before.get(n).map_or(&[][..], Vec::as_slice);
        if labels > 0 {
            text.extend_from_slice(before(0));
            text.extend_from_slice(shared);
        }
        for (n, value) in family.own(series, labels) {
            text.extend_from_slice(before(n));
            escape(text, value, true);
        }
        text.extend_from_slice(&self.after);
        number(text, series.value);
        text.push(b'\n');
    }
}

/// Begins a label, after another one or not; its value stands between double quotes.
fn begin_label(out: &mut Vec<u8>, is_next: bool, name: &str) {
    if is_next {
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
}

// === values ===

/// Writes a text with what would end it escaped; double quotes only where it stands in some.
fn escape(out: &mut Vec<u8>, text: &str, is_quoted: bool) {
    if label::is_plain(text) {
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

/// Writes the shortest number that reads back as the same, without an exponent.
fn number(out: &mut Vec<u8>, value: f64) {
    if let Some(whole) = whole(value) {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else if ALIKE.contains(&value) {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        // Writing to a vector cannot fail.
        let _ = match value {
            f64::INFINITY => write!(out, "+Inf"),
            f64::NEG_INFINITY => write!(out, "-Inf"),
            _ => write!(out, "{value}"),
        };
    }
}

/// The value if it is a whole number of at most 53 bits. A negative zero is none: it has a sign.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only what is in range is cast")]
fn whole(value: f64) -> Option<u64> {
    let is_whole = value.is_sign_positive() && value < WHOLE_MAX && value.fract() == 0.0;
    is_whole.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        number(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_of_every_kind() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-2.0, "-2"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-7, "0.0000001"),
            (123_456.789, "123456.789"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e21, "1000000000000000000000"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(written(value), expected);
        }
    }

    proptest! {
        #[test]
        fn a_number_is_written_as_the_standard_library_writes_it(
            value in prop_oneof![any::<f64>(), -1e9..1e9, 0.0..1.0, ALIKE.start / 10.0..ALIKE.start * 10.0]
        ) {
            prop_assume!(value.is_finite());
            prop_assert_eq!(written(value), value.to_string());
        }
    }
}
