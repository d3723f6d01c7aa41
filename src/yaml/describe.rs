//! What a value is, in the words of a message.

use super::decimal;
use super::problem::excerpt;
use super::tree::{Node, Value};

/// What stands at a node, to follow after "found".
pub(crate) fn of(node: &Node) -> String {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => "an empty map".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::List(items) if items.is_empty() => "an empty list".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Alias => "an alias".to_owned(),
        Value::Scalar { text, plain } => scalar(text, *plain),
    }
}

/// Whether YAML 1.2 reads a scalar as text.
pub(crate) fn is_text(text: &str, plain: bool) -> bool {
    !(plain && (is_null(text) || is_boolean(text) || is_odd_number(text) || decimal::is_number(text)))
}

fn scalar(text: &str, plain: bool) -> String {
    match text {
        _ if plain && is_null(text) => "nothing".to_owned(),
        "" => "empty text".to_owned(),
        _ if plain && is_boolean(text) => format!("the boolean `{text}`"),
        _ if !is_text(text, plain) => format!("the number `{}`", excerpt(text)),
        _ => format!("the text `{}`", excerpt(text)),
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn is_boolean(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

/// Infinity, not-a-number, and integers of another base.
fn is_odd_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let based = ["0x", "0o", "0b"].iter().find_map(|prefix| unsigned.strip_prefix(prefix));
    matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
        || based
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
