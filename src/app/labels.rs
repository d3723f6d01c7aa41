//! Who pays for pods that do not say so.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::apiserver::LabelPolicy;
use crate::args::MOUNTED_LABELS;
use crate::clock;
use crate::labels_file;
use crate::status::{Source, SourceStatus};

/// Who pays for pods that do not say so: what the operator has written, or nothing if it cannot be read.
pub(super) fn read(file: Option<PathBuf>) -> (LabelPolicy, Option<SourceStatus>) {
    let mounted = || Some(PathBuf::from(MOUNTED_LABELS)).filter(|path| path.exists());
    let Some(path) = file.or_else(mounted) else { return (LabelPolicy::default(), None) };
    let name = path.display().to_string();
    let (policy, problems) = match labels_file::read(&path) {
        Ok(policy) => {
            info!(file = %name, "the labels of pods that have none are read");
            (policy, Vec::new())
        }
        Err(problems) => (LabelPolicy::default(), problems),
    };
    let problems: Vec<String> = problems.iter().map(|problem| problem.in_file(&name)).collect();
    for problem in &problems {
        warn!("{problem}");
    }
    let up = problems.is_empty();
    if !up {
        warn!(file = %name, "pods pay by their own labels alone: correct the file and restart");
    }
    let source = SourceStatus {
        source: Source::Labels,
        up,
        last_success: up.then(clock::wall),
        errors: u64::try_from(problems.len()).unwrap_or(u64::MAX),
        duration: None,
        message: problems.first().map(|problem| told(problem, problems.len() - 1).into()),
    };
    (policy, Some(source))
}

/// A mistake, and how many more there are.
pub(super) fn told(problem: &str, more: usize) -> String {
    if more == 0 { problem.to_owned() } else { format!("{problem} (and {more} more, see the log)") }
}
