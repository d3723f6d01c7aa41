//! What was found in a file, and the steps that every rule takes: open a map, name its keys, tell what is wrong.

use std::collections::HashMap;

use super::problem::{Problem, excerpt};
use super::tree::{Decoration, Node, Value};
use super::{decimal, describe, suggest};

/// The longest name or source, in characters. Names become label values, and every series carries them.
const LONGEST_TEXT: usize = 300;

/// How many problems are told. A file with more has one cause, and whoever reads them gains nothing from the rest.
const MAX_PROBLEMS: usize = 1_000;

/// What was found in one file.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    untold: usize,
}

/// One key of a map with its value.
pub(crate) struct Entry<'t> {
    /// The key as it was written.
    pub(crate) name: &'t str,
    /// Where the key was written.
    pub(crate) key: &'t Node,
    /// Its value.
    pub(crate) value: &'t Node,
    /// The keys from the top of the file to here.
    pub(crate) path: String,
}

// === impl Findings ===

impl Findings {
    /// How many problems there are.
    pub(crate) fn count(&self) -> usize {
        self.problems.len() + self.untold
    }

    /// The warnings, if there is no problem, and else the problems; each in the order of the file.
    pub(crate) fn into_result(mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.warnings.sort_by_key(|warning| (warning.line, warning.column));
        if self.untold > 0 {
            self.problems.push(Problem::of_file(format!("and {} more mistakes", self.untold)));
        }
        if self.problems.is_empty() { Ok(self.warnings) } else { Err(self.problems) }
    }

    /// Whether another warning would be told, so that finding the words for it is worth the time.
    pub(crate) fn wants_warnings(&self) -> bool {
        self.warnings.len() < MAX_PROBLEMS
    }

    /// Tells what makes the file unusable.
    pub(crate) fn problem(&mut self, node: &Node, path: &str, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem::at(node.line, node.column, path, message));
        } else {
            self.untold += 1;
        }
    }

    /// Tells what is allowed and looks like a mistake.
    pub(crate) fn warning(&mut self, node: &Node, path: &str, message: impl Into<String>) {
        if self.wants_warnings() {
            self.warnings.push(Problem::at(node.line, node.column, path, message));
        }
    }

    /// Tells that the value of `entry` is not what was expected, and `why`.
    pub(crate) fn unexpected(&mut self, entry: &Entry<'_>, expected: &str, why: &str) {
        let found = describe::of(entry.value);
        self.problem(entry.value, &entry.path, format!("expected {expected}, found {found}{why}"));
    }

    /// Tells that the key of `entry` is none of those that are `known`.
    pub(crate) fn unknown_key(&mut self, entry: &Entry<'_>, known: &[&str]) {
        let meant = suggest::phrase(&suggest::keys(entry.name, known));
        let message = format!("expected one of {}, found an unknown key{meant}", known.join(", "));
        self.problem(entry.key, &entry.path, message);
    }

    /// The entries of a map, without those whose key is a mistake; none if it is not a map, or is empty.
    pub(crate) fn entries<'t>(&mut self, node: &'t Node, path: &str, expected: &str) -> Vec<Entry<'t>> {
        if !self.is_plainly_written(node, path) {
            return Vec::new();
        }
        let written = match &node.value {
            Value::Map(written) if !written.is_empty() => written,
            _ => {
                self.problem(node, path, format!("expected {expected}, found {}", describe::of(node)));
                return Vec::new();
            }
        };
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let mut entries = Vec::new();
        for (key, value) in written {
            let Some(name) = self.name(key, path) else { continue };
            let path = join(path, name);
            if let Some(line) = lines.insert(name, key.line) {
                self.problem(key, &path, format!("expected every key once, found it in line {line} too"));
            } else {
                entries.push(Entry { name, key, value, path });
            }
        }
        entries
    }

    /// The items of a list, each as an entry that is called by its place from 1 on; none if it is no list, or is empty.
    pub(crate) fn items<'t>(&mut self, entry: &Entry<'t>, expected: &str) -> Vec<Entry<'t>> {
        if !self.is_plainly_written(entry.value, &entry.path) {
            return Vec::new();
        }
        let item = |(index, value): (usize, &'t Node)| Entry {
            name: entry.name,
            key: value,
            value,
            path: format!("{}[{}]", entry.path, index + 1),
        };
        match &entry.value.value {
            Value::List(items) if !items.is_empty() => items.iter().enumerate().map(item).collect(),
            _ => {
                self.unexpected(entry, expected, "");
                Vec::new()
            }
        }
    }

    /// Tells anchors, aliases and tags, which no rule reads.
    pub(crate) fn is_plainly_written(&mut self, node: &Node, path: &str) -> bool {
        let what = match (node.decoration, &node.value) {
            (_, Value::Alias) => "an alias (`*`)",
            (Some(Decoration::Anchor), _) => "an anchor (`&`)",
            (Some(Decoration::Tag), _) => "a tag (`!`)",
            (None, _) => return true,
        };
        self.problem(
            node,
            path,
            format!("expected a plain value, found {what}, which is not supported; write it out"),
        );
        false
    }

    /// Tells text that no label value should have.
    pub(crate) fn is_short_and_printable(&mut self, node: &Node, path: &str, text: &str) -> bool {
        if text.chars().nth(LONGEST_TEXT).is_some() {
            self.problem(node, path, format!("expected at most {LONGEST_TEXT} characters, found more"));
            return false;
        }
        if text.chars().any(char::is_control) {
            self.problem(
                node,
                path,
                "expected text on one line, found a line break or a control character in it",
            );
            return false;
        }
        true
    }

    fn name<'t>(&mut self, key: &'t Node, path: &str) -> Option<&'t str> {
        let nameless = join(path, "?");
        if !self.is_plainly_written(key, &nameless) {
            return None;
        }
        match &key.value {
            Value::Scalar { text, plain: true } if text == "<<" => {
                self.problem(
                    key,
                    &join(path, text),
                    "expected no merge key, which is not supported; write the values out",
                );
                None
            }
            Value::Scalar { text, plain } if !text.trim().is_empty() && describe::is_text(text, *plain) => {
                self.is_short_and_printable(key, &join(path, text), text).then_some(text)
            }
            Value::Scalar { text, plain: true } if decimal::is_number(text) => {
                let message =
                    format!("expected a name as the key, found {}; put it in quotes", describe::of(key));
                self.problem(key, &nameless, message);
                None
            }
            _ => {
                self.problem(
                    key,
                    &nameless,
                    format!("expected a name as the key, found {}", describe::of(key)),
                );
                None
            }
        }
    }
}

/// A path that goes one key further.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { excerpt(name) } else { format!("{path}.{}", excerpt(name)) }
}
