//! The files of a directory: which of them counts, and how they are written.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Identity;
use super::envelope::{self, Problem};
use super::wire::WireState;
use crate::cost::meter::Kept;
use crate::kept_file;
use crate::observation::UnixTime;

/// What survives a power loss.
const SNAPSHOT: &str = "ledger.json";

/// What is written with every tick, in turns.
const SLOTS: [&str; 2] = ["ledger.journal.0", "ledger.journal.1"];

/// How many states that were set aside are kept of each file.
const SET_ASIDE_MAX: u32 = 3;

/// The directory, which is ours.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    identity: Identity,
    /// The number of the newest state.
    sequence: u64,
    /// How many bytes the state has that was written last.
    length: usize,
    /// The slot that is written next: never the one with the newest state.
    turn: usize,
    /// When the ledger in the files began; `None` as long as there is none that is gone on with. One that began at another
    /// time is not overwritten, it is set aside.
    began: Option<UnixTime>,
}

/// What was in the directory.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The newest state that can be believed.
    pub(super) kept: Option<Kept>,
    /// What people should know.
    pub(super) remarks: Vec<String>,
}

/// Why a state is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The system refuses to write a file.
    #[error("write {file}: {source}")]
    Write { file: &'static str, source: io::Error },
    /// An older ledger is in the way.
    #[error("set the ledger aside that is there: {0}")]
    SetAside(io::Error),
    /// It has no form, which is a defect.
    #[error("write the state as JSON: {0}")]
    Form(#[from] serde_json::Error),
}

// === impl Directory ===

impl Directory {
    pub(super) fn new(path: PathBuf, identity: Identity) -> Self {
        Self { path, identity, sequence: 0, length: 0, turn: 0, began: None }
    }

    /// Finds the newest state that can be believed; sets aside what cannot.
    pub(super) fn load(&mut self) -> Found {
        let mut found = Found::default();
        let mut newest: Option<(&'static str, u64, Vec<u8>)> = None;
        let mut broken = Vec::new();
        for file in [SNAPSHOT].into_iter().chain(SLOTS) {
            match envelope::open(&self.path.join(file)) {
                Ok(Some((sequence, bytes))) => {
                    self.sequence = self.sequence.max(sequence);
                    if newest.as_ref().is_none_or(|(_, newest, _)| *newest < sequence) {
                        newest = Some((file, sequence, bytes));
                    }
                }
                Ok(None) => {}
                Err(problem) => broken.push((file, problem)),
            }
        }
        let Some((file, _, bytes)) = newest else {
            self.give_up(&broken, &mut found);
            return found;
        };
        match self.understand(&bytes) {
            Ok(kept) => {
                self.began = Some(kept.ledger_start);
                self.turn = usize::from(file == SLOTS[0]);
                found.kept = Some(kept);
                self.tell_broken(&broken, file, &mut found);
            }
            Err(problem) => self.give_up(&[(file, problem)], &mut found),
        }
        found
    }

    fn understand(&self, bytes: &[u8]) -> Result<Kept, Problem> {
        let wire: WireState =
            serde_json::from_slice(bytes).map_err(|error| Problem::Malformed(error.to_string()))?;
        if wire.identity() != self.identity {
            let Identity { node, mode } = wire.identity();
            return Err(Problem::Anothers(format!("node {node} in mode {mode}")));
        }
        let kept = wire.kept().map_err(Problem::Malformed)?;
        if kept.ledger.is_sound() { Ok(kept) } else { Err(Problem::Unsound) }
    }

    /// A slot that was being written when the power went is as it should be; the snapshot never is.
    fn tell_broken(&self, broken: &[(&'static str, Problem)], taken: &str, found: &mut Found) {
        for (file, problem) in broken.iter().filter(|(file, problem)| {
            *file == SNAPSHOT || !matches!(problem, Problem::Damaged | Problem::Foreign)
        }) {
            let aside = set_aside(&self.path.join(file));
            let path = self.path.join(file);
            let told =
                format!("{}: {problem}; the ledger goes on from {taken}{}", path.display(), words(&aside));
            found.remarks.push(told);
        }
    }

    /// Nothing can be believed: sets everything aside.
    fn give_up(&self, broken: &[(&'static str, Problem)], found: &mut Found) {
        for (file, problem) in broken {
            let path = self.path.join(file);
            found.remarks.push(format!("{}: {problem}", path.display()));
        }
        if broken.is_empty() {
            return;
        }
        let aside = self.set_all_aside();
        found.remarks.push(format!(
            "a new ledger begins, and every counter with it at 0{}; to go on with the old one, stop this program, correct \
             what is wrong and give the files their names back",
            words(&aside)
        ));
    }

    fn set_all_aside(&self) -> io::Result<()> {
        [SNAPSHOT].into_iter().chain(SLOTS).try_for_each(|file| set_aside(&self.path.join(file)))
    }

    /// Writes a state so that it survives the end of the program, and gives what it has written.
    pub(super) fn write(&mut self, kept: &Kept) -> Result<Vec<u8>, Error> {
        if self.began != Some(kept.ledger_start) {
            self.set_all_aside().map_err(Error::SetAside)?;
            self.began = Some(kept.ledger_start);
        }
        let sequence = self.sequence.saturating_add(1);
        let state = WireState::of(kept, &self.identity);
        // A state is seldom much longer than the one before, and room that is not used is never touched.
        let expected = self.length + self.length / 16;
        let bytes = envelope::seal(sequence, expected, |bytes| serde_json::to_writer(bytes, &state))?;
        self.length = bytes.len();
        let file = SLOTS[self.turn];
        overwrite(&self.path.join(file), &bytes).map_err(|source| Error::Write { file, source })?;
        // After a failure the same slot is tried again: the other one has the newest state.
        self.sequence = sequence;
        self.turn = 1 - self.turn;
        Ok(bytes)
    }
}

/// Writes a state into the directory at `path` so that it survives a power loss.
pub(super) fn sync(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = kept_file::replace(&path.join(SNAPSHOT), bytes);
    written.map_err(|source| Error::Write { file: SNAPSHOT, source })
}

/// Writes a file in place, which needs no room on the disk that it has not already. What is longer stays as it is, unless
/// it is much longer.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = kept_file::to_write().truncate(false).open(path)?;
    file.write_all_at(bytes, 0)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if file.metadata()?.len() / 4 > length {
        file.set_len(length)?;
    }
    Ok(())
}

/// Gives a file, if there is one, another name, under which the last few are kept.
fn set_aside(path: &Path) -> io::Result<()> {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".set-aside-{number}"));
        PathBuf::from(name)
    };
    let there = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    };
    if !fs::exists(path)? {
        return Ok(());
    }
    for number in (1..SET_ASIDE_MAX).rev() {
        there(fs::rename(name(number), name(number + 1)))?;
    }
    there(fs::rename(path, name(1)))
}

fn words(aside: &io::Result<()>) -> String {
    match aside {
        Ok(()) => ", the files are kept as *.set-aside-1".to_owned(),
        Err(error) => format!(", though the files could not be set aside: {error}"),
    }
}
