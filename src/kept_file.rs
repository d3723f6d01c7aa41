//! A file that outlives the power: whenever the machine stops, it is there as a whole, as it was before or as it is now.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// How a file of ours is opened to be written; whose pods run here, and under which labels, is nobody else's business.
pub(crate) fn to_write() -> OpenOptions {
    let mut options = File::options();
    options.write(true).create(true).mode(0o600);
    options
}

/// Puts a file with these bytes in the place of the one at `path`, by way of one beside it whose name ends in `.new`.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = to_write().truncate(true).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name is the directory's, which is written at some time of its own otherwise.
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
