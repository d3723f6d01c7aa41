//! A file that outlives the power: whenever the machine stops, it is there as a whole, as it was before or as it is now.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts a file with these bytes in the place of the one at `path`, by way of one beside it whose name ends in `.new`.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name is the directory's, which is written at some time of its own otherwise.
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
