//! The files that people write: looked at for ever, told once.

use std::future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::observation::UnixTime;
use crate::status::{Source, SourceStatus};
use crate::watched_file::WatchedFile;
use crate::yaml::problem::Problem;

/// How often a file is looked at. What is new is read at the second look, and a look costs a microsecond.
const LOOK: Duration = Duration::from_secs(1);

/// A file that somebody writes, and what was told of it.
pub(super) struct WrittenFile {
    path: PathBuf,
    file: WatchedFile,
    /// What it is called in the log.
    pub(super) name: Arc<str>,
    /// Whether there is to be a file: somebody has named it, or there was one where files are mounted.
    is_expected: bool,
    /// What was told of it; nothing if it could be used.
    problems: Vec<Arc<str>>,
    source: SourceStatus,
}

/// What tells the process to read its files anew: SIGHUP, once for each file.
pub(super) struct HangUps {
    pub(super) prices: Signal,
    pub(super) labels: Signal,
}

/// Looks at a file for ever, and at once whenever the process is told to, if a signal (SIGHUP) tells it; `look` is given
/// whether it was told. Whatever comes of it, nobody else waits for a disk that is slow.
pub(super) async fn follow<F: FnMut(bool) + Send + 'static>(mut look: F, mut told: Option<Signal>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_told = tokio::select! {
            Some(()) = recv(&mut told) => true,
            _ = looks.tick() => false,
        };
        let looking = spawn_blocking(move || {
            look(is_told);
            look
        });
        match looking.await {
            Ok(back) => look = back,
            Err(error) => return warn!("failed to look at a file: {error}"),
        }
    }
}

/// Waits for the signal; for ever if there is none.
async fn recv(told: &mut Option<Signal>) -> Option<()> {
    match told {
        Some(signal) => signal.recv().await,
        None => future::pending().await,
    }
}

/// Says that nothing is read anew, whenever somebody wants that.
pub(super) async fn decline(HangUps { prices: mut told, labels: _ }: HangUps) -> &'static str {
    while told.recv().await.is_some() {
        info!("a recording keeps the prices with which it was replayed");
    }
    "whoever waits for SIGHUP"
}

/// A mistake, and how many more there are.
pub(super) fn told(problem: &str, more: usize) -> String {
    if more == 0 { problem.to_owned() } else { format!("{problem} (and {more} more, see the log)") }
}

// === impl HangUps ===

impl HangUps {
    /// From now on the signal does not end the process.
    pub(super) fn listen() -> io::Result<Self> {
        let listen = || signal(SignalKind::hangup());
        Ok(Self { prices: listen()?, labels: listen()? })
    }
}

// === impl WrittenFile ===

impl WrittenFile {
    /// The file that somebody has named, or else the one that may be mounted.
    pub(super) fn new(source: Source, given: Option<PathBuf>, mounted: &str) -> Self {
        let is_expected = given.is_some();
        let path = given.unwrap_or_else(|| PathBuf::from(mounted));
        let source =
            SourceStatus { source, up: true, last_success: None, errors: 0, duration: None, message: None };
        Self {
            name: path.display().to_string().into(),
            file: WatchedFile::new(path.clone()),
            path,
            is_expected,
            problems: Vec::new(),
            source,
        }
    }

    /// What the file says, if that is news or somebody `is_told` to look. `None` also where no file is expected.
    pub(super) fn look(&mut self, is_told: bool) -> Option<Result<String, Problem>> {
        self.is_expected |= self.path.exists();
        let found = if is_told { Some(self.file.read()) } else { self.file.look() };
        self.is_expected |= matches!(found, Some(Ok(_)));
        if is_told && !self.is_expected {
            info!(file = %self.name, "there is no such file, and none is needed");
        }
        found.filter(|_| self.is_expected)
    }

    /// Notes that it can be used.
    pub(super) fn accept(&mut self, at: UnixTime) {
        self.problems.clear();
        self.source.message = None;
        self.source.up = true;
        self.source.last_success = Some(at);
    }

    /// Notes that it cannot be used, and tells why, unless that is known. Says whether it was told.
    pub(super) fn refuse(&mut self, problems: &[Problem], is_told: bool) -> bool {
        let problems: Vec<Arc<str>> =
            problems.iter().map(|problem| problem.in_file(&self.name).into()).collect();
        if problems == self.problems && !is_told {
            return false;
        }
        for problem in &problems {
            warn!("{problem}");
        }
        let more = problems.len().saturating_sub(1);
        self.source.message = problems.first().map(|first| told(first, more).into());
        self.problems = problems;
        self.source.up = false;
        self.source.errors = self.source.errors.saturating_add(1);
        true
    }

    /// Why it cannot be used; nothing if it can be.
    pub(super) fn problems(&self) -> &[Arc<str>] {
        &self.problems
    }

    /// Whether there is such a file, or at least is to be.
    pub(super) fn is_there(&self) -> bool {
        self.is_expected || self.path.exists()
    }

    /// How it is doing, as of its last change.
    pub(super) fn source(&self) -> &SourceStatus {
        &self.source
    }
}
