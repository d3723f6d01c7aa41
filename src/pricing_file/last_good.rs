//! The last price file that was right, kept where it outlives the process.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::Problem;
use crate::kept_file;
use crate::observation::UnixTime;
use crate::yaml::text;

/// What it is called in the directory in which state is kept.
const NAME: &str = "pricing.last-good.yaml";

/// Where the last good price file is kept.
#[derive(Clone, Debug)]
pub struct LastGood {
    directory: PathBuf,
}

// === impl LastGood ===

impl LastGood {
    /// It is kept in this directory, which is made when something is kept.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// The text that was kept and when that was, or why it cannot be read; `None` if nothing was kept.
    pub fn read(&self) -> Result<Option<(String, UnixTime)>, Problem> {
        let Ok(found) = fs::metadata(self.path()) else { return Ok(None) };
        let kept_at = u64::try_from(found.mtime()).unwrap_or_default();
        Ok(Some((text::read(&self.path())?, UnixTime::from_millis(kept_at.saturating_mul(1_000)))))
    }

    /// Keeps a text in the place of the one before.
    pub fn keep(&self, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        kept_file::replace(&self.path(), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_until_something_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(directory.path().join("made/when/needed"));
        assert_eq!(last_good.read().unwrap(), None);
        for text in ["a: 1\n", "b: 22\n", ""] {
            last_good.keep(text).unwrap();
            let (kept, at) = last_good.read().unwrap().unwrap();
            assert_eq!(kept, text);
            assert!(at.as_millis() > 1_700_000_000_000);
        }
        let left = fs::read_dir(last_good.directory).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), [NAME]);
    }

    #[test]
    fn where_nothing_can_be_kept_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(LastGood::new(file.clone()).keep("a: 1\n").is_err());
        assert_eq!(LastGood::new(file).read().unwrap(), None);
        // Somebody has put a directory in its place.
        let last_good = LastGood::new(directory.path().to_owned());
        fs::create_dir(last_good.path()).unwrap();
        assert!(last_good.keep("a: 1\n").is_err());
        assert!(last_good.read().is_err());
    }
}
