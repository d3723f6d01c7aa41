//! The ledger on disk, so that it goes on where it stopped when the program is started anew.
//!
//! The whole state is written, never a part of it, in two ways:
//!
//! | file | when | survives |
//! |---|---|---|
//! | `ledger.journal.0`, `ledger.journal.1` in turns, in place | with every tick, before it is published | the end of the program at any instant |
//! | `ledger.json`, beside itself and then renamed | at least every 15 s and at the end | a power loss |
//!
//! At the start the newest whole one of the three counts. Each begins with a line that says what it is, its version, its
//! number, its length and its checksum; a number is never given twice. What cannot be believed is set aside under
//! another name, and a new ledger begins: a wrong ledger is somebody's wrong bill.
//!
//! A disk may hang, so all this is done by a thread of its own, for which nobody waits long; and what is to survive a power
//! loss is written by another one, for which the journal does not wait. Whoever has the lock of the
//! directory keeps its ledger there; a second program on the node waits.
//!
//! The modules in reading order: `lock` (whose directory it is), `envelope` (the first line), `wire` (the form of a
//! state), `directory` (the files), `keeper` (the thread).

mod directory;
mod envelope;
mod keeper;
mod lock;
#[cfg(test)]
mod tests;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::timeout;

use self::keeper::{Job, Request};
use crate::clock;
use crate::cost::meter::Kept;
use crate::observation::{Span, Uptime};
use crate::status::{Source, SourceStatus, StateStatus};

/// How long a tick waits until its state is written: a page that is written to memory takes microseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long is waited for what was kept before: without it the counters would fall back to nothing.
const PATIENCE_AT_START: Duration = Duration::from_secs(10);

/// How long is waited until the last state has reached the disk.
const PATIENCE_AT_END: Duration = Duration::from_secs(3);

/// The longest time between two states that survive a power loss.
const SYNC_INTERVAL: Span = Span::from_secs(15);

/// Where the ledger is kept, and whose it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory; made if it is not there.
    pub directory: PathBuf,
    /// Whose ledger it is.
    pub identity: Identity,
}

/// Whose ledger it is: that of another node, or of a node that does not exist, is not gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node's name.
    pub node: Arc<str>,
    /// Where the observations come from, such as `node` or `demo`.
    pub mode: Arc<str>,
}

/// What came of asking for the directory.
#[derive(Debug)]
pub enum Taken {
    /// It is ours, and this is what was kept in it; `None` if there was nothing that can be gone on with.
    Ours(Option<Box<Kept>>),
    /// Another program has it.
    Anothers,
    /// It cannot be had: the ledger goes on without it.
    Without,
}

/// Keeps the ledger, and says how well that goes.
#[derive(Debug)]
pub struct StateFile {
    directory: PathBuf,
    jobs: mpsc::Sender<Job>,
    /// The answer that was not waited for any longer, with when it was asked for.
    pending: Option<(oneshot::Receiver<Result<(), String>>, Uptime)>,
    /// When a state was last to survive a power loss, and when any was last kept.
    synced_at: Option<Uptime>,
    kept_at: Option<Uptime>,
    source: SourceStatus,
    status: StateStatus,
}

// === impl StateFile ===

impl StateFile {
    /// Starts the thread that keeps the ledger; nothing is read or written yet.
    pub fn start(settings: Settings) -> Result<Self, std::io::Error> {
        let directory = settings.directory.clone();
        let jobs = keeper::start(settings)?;
        let source = SourceStatus {
            source: Source::StateFile,
            up: false,
            last_success: None,
            errors: 0,
            duration: None,
            message: None,
        };
        let status = StateStatus::default();
        Ok(Self { directory, jobs, pending: None, synced_at: None, kept_at: None, source, status })
    }

    /// How it is doing.
    #[must_use]
    pub fn source(&self) -> &SourceStatus {
        &self.source
    }

    /// How much was written.
    #[must_use]
    pub fn status(&self) -> StateStatus {
        self.status
    }

    /// Asks for the directory and for what was kept in it.
    pub async fn take(&mut self) -> Taken {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Take(reply));
        match timeout(PATIENCE_AT_START, answer).await {
            Ok(Ok(Ok(found))) => {
                self.source.message = None;
                self.source.up = true;
                Taken::Ours(found)
            }
            Ok(Ok(Err(error))) if error.is_anothers => {
                self.failed(&error.to_string());
                Taken::Anothers
            }
            Ok(Ok(Err(error))) => {
                self.failed(&error.to_string());
                Taken::Without
            }
            Ok(Err(_)) | Err(_) => {
                self.failed("the disk does not answer");
                Taken::Without
            }
        }
    }

    /// Keeps a state. It returns as soon as the state survives the end of the program, or when that takes too long.
    pub async fn keep(&mut self, kept: Kept) {
        if self.is_busy() {
            return;
        }
        let now = clock::uptime();
        let sync = self.is_due(now);
        if sync {
            self.synced_at = Some(now);
        }
        self.kept_at = Some(now);
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Keep { kept: Box::new(kept), sync, reply });
        self.pending = Some((answer, now));
        self.await_answer(PATIENCE).await;
    }

    /// Whether a state has to survive a power loss, because the next one would come too late.
    fn is_due(&self, now: Uptime) -> bool {
        let (Some(synced), Some(kept)) = (self.synced_at, self.kept_at) else { return true };
        let next = now.after(now.since(kept));
        next.since(synced) > SYNC_INTERVAL
    }

    /// Keeps the last state, so that it survives a power loss too, and gives the directory back.
    pub async fn close(&mut self, kept: Option<Kept>) {
        if self.is_busy() {
            return;
        }
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Close { kept: kept.map(Box::new), reply });
        self.pending = Some((answer, clock::uptime()));
        self.await_answer(PATIENCE_AT_END).await;
    }

    fn ask(&self, request: Request) {
        // A thread that has ended gives no answer, which says the same.
        let _ = self.jobs.send(Job { request });
    }

    /// Whether the last state is still being written; takes in what came of it otherwise.
    fn is_busy(&mut self) -> bool {
        let Some((mut answer, since)) = self.pending.take() else { return false };
        match answer.try_recv() {
            Ok(answered) => self.take_in(answered, since),
            Err(TryRecvError::Closed) => self.failed("its thread has ended"),
            Err(TryRecvError::Empty) => {
                let seconds = clock::uptime().since(since).as_nanos() / 1_000_000_000;
                self.failed(&format!("the disk has not answered for {seconds} s"));
                self.pending = Some((answer, since));
                return true;
            }
        }
        false
    }

    async fn await_answer(&mut self, patience: Duration) {
        let Some((answer, since)) = &mut self.pending else { return };
        let since = *since;
        if let Ok(answered) = timeout(patience, answer).await {
            self.pending = None;
            self.take_in(answered.unwrap_or_else(|_| Err("its thread has ended".to_owned())), since);
        } else {
            self.failed(&format!("the disk did not answer within {} ms", patience.as_millis()));
        }
    }

    fn take_in(&mut self, answered: Result<(), String>, asked: Uptime) {
        match answered {
            Ok(()) => {
                self.status.writes += 1;
                self.source.up = true;
                self.source.message = None;
                self.source.last_success = Some(clock::wall());
                self.source.duration = Some(clock::uptime().since(asked));
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &str) {
        self.status.errors += 1;
        self.source.errors += 1;
        self.source.up = false;
        let directory = self.directory.display();
        self.source.message = Some(format!("the ledger is not kept in {directory}: {error}").into());
    }
}
