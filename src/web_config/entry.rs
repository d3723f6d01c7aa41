//! Values as they are written in this file.

use crate::yaml::describe;
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::suggest;
use crate::yaml::tree::{Node, Value};

/// The entries of a section that say something, all with one of the `known` keys.
///
/// A key without a value counts as not written: charts write one for each value that nobody gave.
pub(super) fn said<'t>(
    found: &mut Findings,
    section: &Entry<'t>,
    known: &[&str],
    expected: &str,
) -> Vec<Entry<'t>> {
    said_at(found, section.value, &section.path, known, expected)
}

/// The entries of the map at `node` that say something.
pub(super) fn said_at<'t>(
    found: &mut Findings,
    node: &'t Node,
    path: &str,
    known: &[&str],
    expected: &str,
) -> Vec<Entry<'t>> {
    if is_blank(node) {
        return Vec::new();
    }
    let (known_entries, unknown): (Vec<_>, Vec<_>) =
        found.entries(node, path, expected).into_iter().partition(|entry| known.contains(&entry.name));
    for entry in unknown {
        found.unknown_key(&entry, known);
    }
    known_entries.into_iter().filter(|entry| !is_blank(entry.value)).collect()
}

/// Whether nothing is said at `node`.
pub(super) fn is_blank(node: &Node) -> bool {
    match &node.value {
        Value::Scalar { text, plain } => {
            node.decoration.is_none() && (text.is_empty() || (*plain && matches!(&**text, "~" | "null")))
        }
        Value::Map(entries) => entries.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Alias => false,
    }
}

/// The text of an entry.
pub(super) fn text<'t>(found: &mut Findings, entry: &Entry<'t>, expected: &str) -> Option<&'t str> {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return None;
    }
    match &entry.value.value {
        Value::Scalar { text, plain } if describe::is_text(text, *plain) => Some(text),
        _ => {
            found.unexpected(entry, expected, "");
            None
        }
    }
}

/// What is written at an entry, be it text, a number or something else. No message repeats it: it may be a secret.
pub(super) fn scalar<'t>(found: &mut Findings, entry: &Entry<'t>, expected: &str) -> Option<&'t str> {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return None;
    }
    match &entry.value.value {
        Value::Scalar { text, .. } => Some(text),
        Value::Map(_) | Value::List(_) | Value::Alias => {
            found.problem(entry.value, &entry.path, format!("expected {expected}, found no text"));
            None
        }
    }
}

/// One of several words.
pub(super) fn choice<T: Copy>(
    found: &mut Findings,
    entry: &Entry<'_>,
    choices: &[(&'static str, T)],
) -> Option<T> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let text = text(found, entry, &format!("one of {}", words.join(", ")))?;
    let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, chosen)| *chosen);
    if chosen.is_none() {
        let meant = suggest::phrase(&suggest::keys(text, &words));
        found.unexpected(entry, &format!("one of {}", words.join(", ")), &meant);
    }
    chosen
}

/// Yes or no.
pub(super) fn boolean(found: &mut Findings, entry: &Entry<'_>) -> Option<bool> {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return None;
    }
    match &entry.value.value {
        Value::Scalar { text, plain: true } if text == "true" => Some(true),
        Value::Scalar { text, plain: true } if text == "false" => Some(false),
        _ => {
            found.unexpected(entry, "true or false", "");
            None
        }
    }
}
