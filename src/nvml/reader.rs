//! The thread that talks to the driver: it opens the library, keeps it open as long as it works, and opens it again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{Error, Subject};
use super::memory::Memory;
use super::session::Session;
use super::watch::{Request, Watch};
use super::{Reading, library};
use crate::clock;
use crate::observation::{Span, Uptime};

/// How long the driver is left alone after it could not be opened for the first time, and at most. A driver that is
/// being installed is there within minutes, and half a minute more does not matter then.
const PAUSE_MIN: Span = Span::from_secs(1);
const PAUSE_MAX: Span = Span::from_secs(30);

/// What a reader thread is started with.
pub(super) struct Reader {
    pub(super) number: u64,
    pub(super) library: Option<PathBuf>,
    pub(super) processes: bool,
    pub(super) watch: Arc<Watch>,
    pub(super) memory: Arc<Mutex<Memory>>,
}

/// The back-off between attempts to open the library.
#[derive(Default)]
struct Pause {
    last: Option<(Uptime, Span, Error)>,
}

// === impl Reader ===

impl Reader {
    /// Answers requests until nobody wants any. A thread that was given up because a call hung ends here when the call
    /// has come back after all, and only then its GPU is tried again.
    pub(super) fn run(&self) {
        let mut pause = Pause::default();
        let mut request = self.watch.next();
        while let Some(waiting) = request.take() {
            request = self.answer(waiting, &mut pause);
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.hangs.retain(|hang| hang.reader != self.number);
    }

    /// Answers a request and all that follow as long as the library works; the request that is to be answered next.
    fn answer(&self, request: Request, pause: &mut Pause) -> Option<Request> {
        if self.watch.is_over() {
            return None;
        }
        if let Some(error) = pause.error() {
            return self.refuse(request, error);
        }
        let nvml = match library::open(self.library.as_deref(), &self.watch) {
            Ok(nvml) => nvml,
            Err(error) => {
                pause.lengthen(error.clone());
                return self.refuse(request, error);
            }
        };
        let mut session = Session::new(&nvml, &self.watch, &self.memory, self.processes);
        let unserved = session.serve(request);
        let worked = session.has_worked();
        drop(session);
        self.watch.enter("nvmlShutdown", &Subject::Driver);
        drop(nvml);

        let (request, error) = unserved?;
        if worked {
            *pause = Pause::default();
            return Some(request);
        }
        pause.lengthen(error.clone());
        self.refuse(request, error)
    }

    fn refuse(&self, request: Request, error: Error) -> Option<Request> {
        // Nothing was read, so nothing is lost when nobody waits any more.
        let _ = request.answer(Reading::failed(error));
        self.watch.next()
    }
}

// === impl Pause ===

impl Pause {
    /// Why the driver is left alone, as long as it is.
    fn error(&self) -> Option<Error> {
        let (since, length, error) = self.last.as_ref()?;
        (clock::uptime().since(*since) < *length).then(|| error.clone())
    }

    fn lengthen(&mut self, error: Error) {
        let length = self.last.as_ref().map_or(PAUSE_MIN, |(_, length, _)| {
            Span::from_nanos(length.as_nanos().saturating_mul(2)).min(PAUSE_MAX)
        });
        self.last = Some((clock::uptime(), length, error));
    }
}
