//! Whose directory it is: one program's at a time.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The file that is locked. It is empty and stays.
const NAME: &str = "lock";

/// The right to the directory, given back when it is dropped or the program ends in whatever way. No other program that
/// this one might start inherits it: the standard library opens every file for this program alone.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// Why there is no right to the directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Another program has it.
    #[error("another gpu-cost-exporter keeps its ledger there: stop it, or give this one another directory")]
    Anothers,
    /// The system refuses.
    #[error("lock it: {0}")]
    System(#[from] io::Error),
}

// === impl Lock ===

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, Error> {
        let file = open(&directory.join(NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(Error::Anothers),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Whether it is still the lock that others find in the directory.
    pub(super) fn is_in(&self, directory: &Path) -> bool {
        let identity = |found: io::Result<Metadata>| found.map(|it| (it.dev(), it.ino())).ok();
        let ours = identity(self.file.metadata());
        ours.is_some() && ours == identity(fs::metadata(directory.join(NAME)))
    }
}

/// Opens the file, and makes it if it can: where nothing can be written, what is there can still be read.
fn open(path: &Path) -> io::Result<File> {
    let made = File::options().read(true).write(true).create(true).truncate(false).open(path);
    made.or_else(|error| File::open(path).map_err(|_| error))
}
