//! What is wrong with a file, where, and what to write instead.

use std::fmt;

/// The longest excerpt of a file that a message repeats, in characters: enough to find the place.
const EXCERPT: usize = 60;

/// One mistake in a file, or one thing in it that is allowed but looks like a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    /// The column in characters, counted from 1; `None` when the file as a whole is meant.
    pub column: Option<usize>,
    /// The place in the file's structure, such as `gpu_pricing.nvidia-a10.on_demand`; empty for the whole file.
    pub key: String,
    /// What was expected, what was found, and what may have been meant.
    pub message: String,
}

// === impl Problem ===

impl Problem {
    /// A problem of the file as a whole.
    pub(crate) fn of_file(message: impl Into<String>) -> Self {
        Self { line: None, column: None, key: String::new(), message: message.into() }
    }

    /// A problem at a position.
    pub(crate) fn at(line: usize, column: usize, key: &str, message: impl Into<String>) -> Self {
        Self { line: Some(line), column: Some(column), key: key.to_owned(), message: message.into() }
    }

    /// The problem as compilers write it: `FILE:LINE: KEY: MESSAGE`, on one line.
    #[must_use]
    pub fn in_file(&self, file: &str) -> String {
        self.after(file, "")
    }

    /// The problem as a warning: `FILE:LINE: warning: KEY: MESSAGE`, on one line.
    #[must_use]
    pub fn as_warning_in_file(&self, file: &str) -> String {
        self.after(file, "warning: ")
    }

    fn after(&self, file: &str, severity: &str) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{file}{line}: {severity}{key}{}", self.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.key.as_str()) {
            (Some(line), "") => write!(f, "line {line}: {}", self.message),
            (Some(line), key) => write!(f, "line {line}, {key}: {}", self.message),
            (None, "") => f.write_str(&self.message),
            (None, key) => write!(f, "{key}: {}", self.message),
        }
    }
}

/// Text of the file as a message may repeat it: on one line, without control characters, cut when it is long.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(EXCERPT).flat_map(char::escape_debug).collect();
    // In a message that quotes with back-ticks, other quotes need no escape.
    shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(EXCERPT).is_some() {
        shown.push('…');
    }
    shown
}
