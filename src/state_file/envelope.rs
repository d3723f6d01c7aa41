//! The first line of a kept state, by which it is known to be whole.
//!
//! ```text
//! gpu-cost-exporter state 1 00000000000000000042 00000000000000018833 8f2a51c0
//! ```
//!
//! Its version, its number, the bytes after the line, and the CRC-32 of the line up to there and of those bytes. What
//! follows after them is left over from a longer state.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crc32fast::Hasher;

const NAME: &str = "gpu-cost-exporter state";

/// The version that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;

/// More than any first line has.
const LINE_MAX: u64 = 128;

/// The most that is read: ten thousand finished pods need a tenth of it.
const BYTES_MAX: u64 = 64 << 20;

/// Why a file holds no state that can be believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is no plain file.
    #[error("it is no plain file")]
    NoFile,
    /// It does not begin as a state does.
    #[error("it is no state of gpu-cost-exporter, or its first line is damaged")]
    Foreign,
    /// A newer program wrote it.
    #[error(
        "it has version {0} and was written by a newer program, this one reads at most version {VERSION}"
    )]
    TooNew(u32),
    /// It says that it is too long.
    #[error("it says that it has {0} bytes, expected at most {BYTES_MAX}")]
    TooLong(u64),
    /// It ends too early, or its checksum is wrong.
    #[error("it is damaged")]
    Damaged,
    /// What is in it has another form.
    #[error("it cannot be understood: {0}")]
    Malformed(String),
    /// What is in it cannot be.
    #[error("what is in it cannot be: its lines do not add up to its bills")]
    Unsound,
    /// It is of another node, or of another mode.
    #[error("it is the ledger of {0}")]
    Anothers(String),
}

/// What is written: the first line, and what `write` writes. There is room for so many bytes from the beginning.
pub(super) fn seal(
    sequence: u64,
    expected: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<Vec<u8>, serde_json::Error> {
    let room = line(sequence, &[]).len();
    let mut bytes = Vec::with_capacity(expected.max(room));
    bytes.resize(room, b' ');
    write(&mut bytes)?;
    let (first, rest) = bytes.split_at_mut(room);
    first.copy_from_slice(line(sequence, rest).as_bytes());
    Ok(bytes)
}

/// Reads the state in a file, with its number; `None` if there is no such file.
pub(super) fn open(path: &Path) -> Result<Option<(u64, Vec<u8>)>, Problem> {
    let found = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    // Opening something else might wait for ever, and reading it might never end.
    if !found.is_file() {
        return Err(Problem::NoFile);
    }
    // The program was ended before it wrote a first byte.
    if found.len() == 0 {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(LINE_MAX).read_to_end(&mut start)?;
    let (sequence, length, room) = header(&start)?;
    let mut rest = start.split_off(room);
    let missing = length.saturating_sub(u64::try_from(rest.len()).unwrap_or(u64::MAX));
    file.take(missing).read_to_end(&mut rest)?;
    rest.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    // Written anew it must be the same, to the last digit.
    if u64::try_from(rest.len()).is_ok_and(|read| read == length) && line(sequence, &rest).as_bytes() == start
    {
        Ok(Some((sequence, rest)))
    } else {
        Err(Problem::Damaged)
    }
}

/// The number, the bytes that follow, and the length of the first line.
fn header(start: &[u8]) -> Result<(u64, u64, usize), Problem> {
    let end = start.iter().position(|byte| *byte == b'\n').ok_or(Problem::Foreign)?;
    let text = start.get(..end).and_then(|line| str::from_utf8(line).ok()).ok_or(Problem::Foreign)?;
    let rest = text.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(' ')).ok_or(Problem::Foreign)?;
    let mut words = rest.split(' ');
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or(Problem::Foreign);
    let version = u32::try_from(number()?).unwrap_or(u32::MAX);
    if version > VERSION {
        return Err(Problem::TooNew(version));
    }
    let (sequence, length) = (number()?, number()?);
    if length > BYTES_MAX {
        return Err(Problem::TooLong(length));
    }
    Ok((sequence, length, end + 1))
}

fn line(sequence: u64, rest: &[u8]) -> String {
    let said = format!("{NAME} {VERSION} {sequence:020} {:020} ", rest.len());
    let mut hasher = Hasher::new();
    hasher.update(said.as_bytes());
    hasher.update(rest);
    format!("{said}{:08x}\n", hasher.finalize())
}
