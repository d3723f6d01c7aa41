//! A file that somebody may change at any time, read whole or not at all.
//!
//! Once in a while it is asked what its path leads to now (`stat`); nobody waits to be told (inotify), because there is
//! nothing that would always be told:
//!
//! - A `ConfigMap` is a directory of links over a link `..data`, which the kubelet swaps. A watch on the file holds on
//!   to the old one, which then is removed; one would have to watch each directory on the way, and anew after each swap.
//! - A file that is not there yet cannot be watched, nor can one whose directory is not there yet.
//! - Editors write in place or rename another file over it, and file systems of a network tell of neither.
//!
//! Whoever writes in place is not done in an instant, and the first half of a list of prices is a list of prices. So
//! what is new is read once it has stood from one look to the next, and it counts only if it still stands afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::yaml::problem::Problem;
use crate::yaml::text;

/// A file and what is known of it.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    /// What was there when it was last read; `None` if it could not be, so that it is tried again.
    read: Option<Identity>,
    /// What was there when it was last looked at.
    seen: Option<Identity>,
}

/// What tells one content of a path from another. Links are followed, so that the swap of a `ConfigMap`'s links is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// No file can be found at the path.
    Nothing,
    /// The path leads here.
    File {
        device: u64,
        inode: u64,
        size: u64,
        /// When it was last written, in seconds and nanoseconds since the epoch.
        written: (i64, i64),
        /// When anything about it last changed, such as who may read it.
        changed: (i64, i64),
    },
}

// === impl WatchedFile ===

impl WatchedFile {
    /// The file at `path`, which nobody has looked at yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: None, seen: None }
    }

    /// What the file says, if that is news; `None` while it is what it was, and while somebody writes it. A file that
    /// cannot be read is news at each look, one that is gone at the first.
    pub(crate) fn look(&mut self) -> Option<Result<String, Problem>> {
        let now = Identity::of(&self.path);
        let stands = self.seen.replace(now) == Some(now);
        if stands && self.read != Some(now) { self.read_if_whole(now, text::read) } else { None }
    }

    /// What the file says now, whether it is news or not.
    pub(crate) fn read(&mut self) -> Result<String, Problem> {
        let now = Identity::of(&self.path);
        self.seen = Some(now);
        let being_written =
            || Err(Problem::of_file("expected a file that stands still, found it being written"));
        self.read_if_whole(now, text::read).unwrap_or_else(being_written)
    }

    /// What `read` finds at the path, unless it is not the same any more.
    fn read_if_whole(
        &mut self,
        now: Identity,
        read: impl FnOnce(&Path) -> Result<String, Problem>,
    ) -> Option<Result<String, Problem>> {
        let found = read(&self.path);
        if Identity::of(&self.path) != now {
            return None;
        }
        self.read = (found.is_ok() || now == Identity::Nothing).then_some(now);
        Some(found)
    }
}

// === impl Identity ===

impl Identity {
    /// What is at a path now.
    pub(crate) fn of(path: &Path) -> Self {
        let Ok(found) = fs::metadata(path) else { return Self::Nothing };
        Self::File {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// A directory and the file in it.
    fn file() -> (tempfile::TempDir, PathBuf, WatchedFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.yaml");
        let watched = WatchedFile::new(path.clone());
        (directory, path, watched)
    }

    /// Writes a text as of a second, because file systems do not tell apart what happens at once.
    fn write(path: &Path, text: &str, second: u64) {
        fs::write(path, text).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(second)).unwrap();
    }

    /// What each of some looks finds: a text, `-` for no news, `!` for a problem.
    fn looks(watched: &mut WatchedFile, count: usize) -> String {
        let found = (0..count).map(|_| match watched.look() {
            None => "-".to_owned(),
            Some(Ok(text)) => text,
            Some(Err(_)) => "!".to_owned(),
        });
        found.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_new_is_read_once_it_stands() {
        let (_directory, path, mut watched) = file();
        write(&path, "one", 1);
        assert_eq!(looks(&mut watched, 3), "- one -");
        write(&path, "two", 2);
        assert_eq!(looks(&mut watched, 1), "-");
        write(&path, "2nd", 3);
        assert_eq!(looks(&mut watched, 3), "- 2nd -");
        write(&path, "2nd", 3);
        fs::remove_file(&path).unwrap();
        assert_eq!(looks(&mut watched, 3), "- ! -");
        write(&path, "back", 4);
        assert_eq!(looks(&mut watched, 3), "- back -");
    }

    #[test]
    fn whoever_asks_is_told_at_once_and_again() {
        let (_directory, path, mut watched) = file();
        assert!(watched.read().is_err());
        assert_eq!(looks(&mut watched, 2), "- -");
        write(&path, "one", 1);
        assert_eq!(watched.read().unwrap(), "one");
        assert_eq!(watched.read().unwrap(), "one");
        assert_eq!(looks(&mut watched, 2), "- -");
    }

    #[test]
    fn the_swap_of_a_link_on_the_way_is_seen() {
        let (directory, path, mut watched) = file();
        let at = |name: &str| directory.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            // The kubelet writes both at once.
            write(&at(version).join("file.yaml"), text, 1);
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/file.yaml", &path).unwrap();
        assert_eq!(watched.read().unwrap(), "one");
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at("..1")).unwrap();
        assert_eq!(looks(&mut watched, 3), "- two -");
    }

    #[test]
    fn a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_seen() {
        let (directory, path, mut watched) = file();
        write(&path, "one", 1);
        assert_eq!(watched.read().unwrap(), "one");
        let other = directory.path().join("other");
        write(&other, "two", 1);
        fs::rename(other, &path).unwrap();
        assert_eq!(looks(&mut watched, 3), "- two -");
    }

    #[test]
    fn what_cannot_be_read_is_tried_again() {
        let (_directory, path, mut watched) = file();
        fs::create_dir(&path).unwrap();
        assert_eq!(looks(&mut watched, 4), "- ! ! !");
        fs::remove_dir(&path).unwrap();
        write(&path, "one", 1);
        assert_eq!(looks(&mut watched, 3), "- one -");
    }

    #[test]
    fn what_changes_while_it_is_read_is_not_there_yet() {
        let (_directory, path, mut watched) = file();
        write(&path, "half", 1);
        let now = Identity::of(&path);
        let while_written = |path: &Path| {
            let half = text::read(path);
            write(path, "whole", 2);
            half
        };
        assert_eq!(watched.read_if_whole(now, while_written), None);
        assert_eq!(looks(&mut watched, 3), "- whole -");
    }
}
