//! The ledger that somebody else fetched.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use super::Error;
use super::ask::LARGEST_BYTES;

/// What stands for the standard input.
const STANDARD_INPUT: &str = "-";

/// The ledger in a file.
pub(super) fn read(file: &Path) -> Result<Value, Error> {
    let bytes = bytes(file).map_err(|source| Error::NoFile { file: file.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|_| {
        // curl has the answer of who refuses, too.
        let beginning = super::ask::excerpt(&bytes);
        Error::NoLedger { file: file.to_owned(), what: format!("is no JSON but begins with {beginning:?}") }
    })
}

fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(LARGEST_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    if file.as_os_str() == STANDARD_INPUT {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The file as people are told of it.
pub(super) fn name(file: &Path) -> String {
    if file.as_os_str() == STANDARD_INPUT {
        "the standard input".to_owned()
    } else {
        file.display().to_string()
    }
}
