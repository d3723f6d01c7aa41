//! The text of a file that somebody wrote by hand.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::problem::Problem;

/// The largest file that is read, in bytes: the API server allows a `ConfigMap` no more.
const MAX_BYTES: usize = 1024 * 1024;

/// The text of the file at `path`, or why it cannot be read.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    String::from_utf8(bytes_of(path)?)
        .map_err(|error| not_utf8(error.as_bytes(), error.utf8_error().valid_up_to()))
}

/// At most [`MAX_BYTES`] and one more of what is at `path`.
fn bytes_of(path: &Path) -> Result<Vec<u8>, Problem> {
    let cannot = |error: io::Error| Problem::of_file(format!("expected a file that can be read: {error}"));
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        return Err(Problem::of_file("expected a file, found a directory"));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// The text without a byte order mark. Refuses what no rule should have to think of: a text that is too long, or has
/// characters that cannot be seen or that only some YAML readers take for a line break.
pub(crate) fn plain(text: &str) -> Result<&str, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        return Err(too_large());
    }
    let is_odd = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    let Some((before, odd)) = text.char_indices().find(|(_, c)| is_odd(*c)) else { return Ok(text) };
    let (line, column) = position(text.as_bytes(), before);
    let message = format!("expected text that can be seen, found the character U+{:04X}", u32::from(odd));
    Err(Problem::at(line, column, "", message))
}

/// The line and the column in characters of the byte at `offset`, each counted from 1.
fn position(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = String::from_utf8_lossy(bytes.get(..offset).unwrap_or(bytes));
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

fn not_utf8(bytes: &[u8], offset: usize) -> Problem {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Problem::of_file("expected UTF-8, found UTF-16; save the file as UTF-8");
    }
    let (line, column) = position(bytes, offset);
    let byte = bytes.get(offset).copied().unwrap_or_default();
    Problem::at(line, column, "", format!("expected UTF-8, found the byte 0x{byte:02x}"))
}

fn too_large() -> Problem {
    Problem::of_file(format!("expected at most {} KiB, found more", MAX_BYTES / 1024))
}
