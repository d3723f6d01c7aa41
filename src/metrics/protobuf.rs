//! The messages of `io.prometheus.client`, each after its length.
//!
//! | message | fields |
//! |---|---|
//! | `MetricFamily` | 1 name, 2 help, 3 type (0 counter, 1 gauge), 4 metrics |
//! | `Metric` | 1 labels, 2 gauge, 3 counter |
//! | `LabelPair` | 1 name, 2 value |
//! | `Gauge` | 1 value |
//! | `Counter` | 1 value, 3 `created_timestamp` |
//! | `Timestamp` | 1 seconds, 2 nanoseconds |
//!
//! A message stands after its length, so lengths are added up before anything is written; a message of its own for
//! each series, and a string for each label, would cost more than all the rest.

use super::catalog::Kind;
use super::families::{Family, Scrape, Series};
use super::subjects::{Subjects, Written};
use crate::observation::UnixTime;

/// How a field begins that is a whole number.
const fn varint(field: u8) -> u8 {
    field << 3
}

/// How a field begins that is a double.
const fn double(field: u8) -> u8 {
    field << 3 | 1
}

/// How a field begins that stands after its length: a text or a message.
const fn message(field: u8) -> u8 {
    field << 3 | 2
}

/// The bytes of a double and of its field.
const DOUBLE_BYTES: usize = 9;

/// What metrics have in common is written once: the label `node` of all, and the labels of each subject.
struct Shared<'a> {
    node: Vec<u8>,
    subjects: &'a Subjects,
    about: Written,
}

/// A scrape as messages.
pub(super) fn encode(scrape: &Scrape) -> Vec<u8> {
    let mut node = Vec::new();
    write_label(&mut node, "node", &scrape.node);
    let about = scrape.subjects.write(|out, _, name, value| write_label(out, name, value));
    let shared = Shared { node, subjects: &scrape.subjects, about };
    let mut out = Vec::new();
    let mut body = Vec::new();
    for family in &scrape.families {
        body.clear();
        write_family(&mut body, &shared, family);
        write_length(&mut out, body.len());
        out.extend_from_slice(&body);
    }
    out
}

fn write_family(out: &mut Vec<u8>, shared: &Shared<'_>, family: &Family) {
    let is_counter = family.kind == Kind::Counter;
    write_text(out, 1, &family.name);
    write_text(out, 2, &family.help);
    out.extend_from_slice(&[varint(3), u8::from(!is_counter)]);
    for series in family.series() {
        write_metric(out, shared, family, *series);
    }
}

fn write_metric(out: &mut Vec<u8>, shared: &Shared<'_>, family: &Family, series: Series) {
    let is_counter = family.kind == Kind::Counter;
    let node = if family.has_node { &*shared.node } else { &[] };
    let about = shared.about.of(series.subject);
    let name = |n: usize| family.labels.get(n).copied().unwrap_or_default();
    let first = shared.subjects.names(series.subject).len();
    let own = || family.own(series, first).map(|(n, value)| (name(n), value));
    let created = series.zero.map(timestamp);
    let created_bytes = created.as_ref().map_or(0, |created| field_bytes(created.len()));
    let reading_bytes = DOUBLE_BYTES + created_bytes;
    let own_bytes: usize = own().map(|(name, value)| field_bytes(pair_bytes(name, value))).sum();
    out.push(message(4));
    write_length(out, node.len() + about.len() + own_bytes + field_bytes(reading_bytes));
    out.extend_from_slice(node);
    out.extend_from_slice(about);
    for (name, value) in own() {
        write_label(out, name, value);
    }
    out.push(message(if is_counter { 3 } else { 2 }));
    write_length(out, reading_bytes);
    out.push(double(1));
    out.extend_from_slice(&series.value.to_le_bytes());
    if let Some(created) = created {
        write_bytes(out, 3, &created);
    }
}

/// The fields of a `Timestamp`.
fn timestamp(time: UnixTime) -> Vec<u8> {
    let millis = time.as_millis();
    let mut out = vec![varint(1)];
    write_varint(&mut out, millis / 1_000);
    out.push(varint(2));
    write_varint(&mut out, millis % 1_000 * 1_000_000);
    out
}

fn write_label(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(message(1));
    write_length(out, pair_bytes(name, value));
    write_text(out, 1, name);
    write_text(out, 2, value);
}

fn pair_bytes(name: &str, value: &str) -> usize {
    field_bytes(name.len()) + field_bytes(value.len())
}

/// The bytes of a field of so many bytes, with its number and its length.
const fn field_bytes(bytes: usize) -> usize {
    let bits = usize::BITS - (bytes | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + bytes
}

fn write_text(out: &mut Vec<u8>, field: u8, text: &str) {
    write_bytes(out, field, text.as_bytes());
}

fn write_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(message(field));
    write_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn write_length(out: &mut Vec<u8>, bytes: usize) {
    write_varint(out, bytes as u64);
}

/// Writes seven bits at a time, the lowest first; the highest bit of a byte says that there are more.
fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
