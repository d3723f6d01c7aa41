//! The thread that reads and writes, because a disk may hang.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Settings;
use super::directory::{self, Directory};
use super::lock::{self, Lock};
use crate::cost::meter::Kept;

/// Something to do.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Request {
    /// Take the directory, and read what is in it.
    Take(oneshot::Sender<Result<Option<Box<Kept>>, Refusal>>),
    /// Keep a state; after the answer, write it so that it survives a power loss too, if that is due.
    Keep { kept: Box<Kept>, sync: bool, reply: oneshot::Sender<Result<(), String>> },
    /// Keep the last state so that it survives a power loss, and give the directory back.
    Close { kept: Option<Box<Kept>>, reply: oneshot::Sender<Result<(), String>> },
}

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    pub(super) is_anothers: bool,
    message: String,
}

/// The thread's own.
struct Keeper {
    settings: Settings,
    /// The directory, while it is ours.
    ours: Option<(Lock, Directory)>,
    /// What writes a state that is to survive a power loss. To wait for that may take seconds, on a disk that is well.
    syncing: Option<JoinHandle<Result<(), String>>>,
    /// Why the last such state may not survive it; told until one does.
    unsynced: Option<String>,
}

/// Starts the thread. It ends when nobody can ask it any more.
pub(super) fn start(settings: Settings) -> io::Result<Sender<Job>> {
    let (sender, jobs) = mpsc::channel();
    let keeper = Keeper { settings, ours: None, syncing: None, unsynced: None };
    thread::Builder::new().name("state".into()).spawn(move || keeper.run(&jobs))?;
    Ok(sender)
}

// === impl Keeper ===

impl Keeper {
    fn run(mut self, jobs: &Receiver<Job>) {
        // Whoever does not wait for an answer any longer needs none.
        for Job { request } in jobs {
            match request {
                Request::Take(reply) => {
                    let _ = reply.send(self.take());
                }
                Request::Keep { kept, sync, reply } => {
                    let written = self.keep(&kept);
                    self.look_after();
                    let error = written.as_ref().err().or(self.unsynced.as_ref());
                    let _ = reply.send(error.map_or(Ok(()), |error| Err(error.clone())));
                    if let (true, Ok(bytes)) = (sync, written) {
                        self.begin_sync(bytes);
                    }
                }
                Request::Close { kept, reply } => {
                    let written =
                        kept.map_or(Ok(()), |kept| self.keep(&kept).and_then(|it| self.sync_last(&it)));
                    self.ours = None;
                    let _ = reply.send(written);
                }
            }
        }
    }

    fn take(&mut self) -> Result<Option<Box<Kept>>, Refusal> {
        self.lock()?;
        let Some((_, directory)) = &mut self.ours else { return Ok(None) };
        let found = directory.load();
        for remark in &found.remarks {
            warn!("{remark}");
        }
        let path = self.settings.directory.display();
        if let Some(kept) = &found.kept {
            info!(since = %kept.ledger_start, "the ledger in {path} goes on");
        } else {
            info!("a new ledger begins in {path}");
        }
        Ok(found.kept.map(Box::new))
    }

    /// Takes the directory, if it is not ours already.
    fn lock(&mut self) -> Result<(), Refusal> {
        let Settings { directory, identity } = &self.settings;
        // Who removes the directory lets another program have one of that name.
        if self.ours.as_ref().is_some_and(|(lock, _)| lock.is_in(directory)) {
            return Ok(());
        }
        self.ours = None;
        // That it cannot be made is told by the lock that cannot be made in it.
        let _ = std::fs::create_dir_all(directory);
        let lock = Lock::take(directory).map_err(|error| Refusal {
            is_anothers: matches!(error, lock::Error::Anothers),
            message: error.to_string(),
        })?;
        self.ours = Some((lock, Directory::new(PathBuf::clone(directory), identity.clone())));
        Ok(())
    }

    /// Writes a state so that it survives the end of the program.
    fn keep(&mut self, kept: &Kept) -> Result<Vec<u8>, String> {
        self.lock().map_err(|refusal| refusal.to_string())?;
        let Some((_, directory)) = &mut self.ours else { return Err("it is not ours".to_owned()) };
        directory.write(kept).map_err(|error| error.to_string())
    }

    /// Begins to write a state so that it survives a power loss, unless the one before is still being written.
    fn begin_sync(&mut self, bytes: Vec<u8>) {
        if self.syncing.is_some() {
            self.unsynced = Some("the disk takes longer than from one snapshot to the next".to_owned());
            return;
        }
        let path = PathBuf::clone(&self.settings.directory);
        let sync = move || directory::sync(&path, &bytes).map_err(|error| error.to_string());
        match thread::Builder::new().name("state-sync".into()).spawn(sync) {
            Ok(syncing) => self.syncing = Some(syncing),
            Err(error) => self.unsynced = Some(format!("start a thread: {error}")),
        }
    }

    /// Takes in what came of it, if it is done.
    fn look_after(&mut self) {
        if let Some(done) = self.syncing.take_if(|syncing| syncing.is_finished()) {
            self.unsynced = done.join().unwrap_or_else(|_| Err("its thread has ended".to_owned())).err();
        }
    }

    /// Writes the last state so that it survives a power loss, after the one that is being written.
    fn sync_last(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Some(syncing) = self.syncing.take() {
            // What came of it does not matter any more.
            let _ = syncing.join();
        }
        directory::sync(&self.settings.directory, bytes).map_err(|error| error.to_string())
    }
}
