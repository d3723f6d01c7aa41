//! The files that the web configuration consists of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::watched_file::Identity;
use crate::yaml::problem::Problem;
use crate::yaml::text;

/// Files, and what they looked like just before they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Identity>);

/// Where relative paths begin, and what was read there.
pub(super) struct Origin<'a> {
    pub(super) directory: &'a Path,
    pub(super) files: &'a mut Files,
}

// === impl Files ===

impl Files {
    /// Notes what the file at `path` looks like, as it is to be read.
    pub(super) fn mark(&mut self, path: &Path) {
        self.0.insert(path.to_owned(), Identity::of(path));
    }

    /// The same files as they look now.
    #[must_use]
    pub fn now(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), Identity::of(path))).collect())
    }
}

// === impl Origin ===

impl Origin<'_> {
    /// The text of a file that is named in the configuration, or why it cannot be read.
    pub(super) fn read(&mut self, name: &str) -> Result<String, String> {
        let path = self.directory.join(name);
        self.files.mark(&path);
        text::read(&path).map_err(|problem: Problem| format!("{} ({})", problem.message, path.display()))
    }
}
