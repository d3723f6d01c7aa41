//! The one thing that a reader thread shares with those who wait for it: its next request and its present call.
//!
//! A call into the driver may block for ever in the kernel, where nothing can interrupt it. So every call is announced
//! here before it is made, and whoever waits can see since when it lasts and give the thread up.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::Subject;
use super::{Error, Reading};
use crate::clock;
use crate::observation::{UnixTime, Uptime};

/// A reader thread's side and the waiting side of one thread.
#[derive(Default)]
pub(super) struct Watch {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    request: Option<Request>,
    call: Option<Call>,
    over: bool,
}

/// Somebody wants a reading.
pub(super) struct Request {
    /// The wall clock when it was asked for.
    pub(super) now: UnixTime,
    /// Where the reading goes.
    pub(super) reply: oneshot::Sender<Reading>,
}

/// A call into the driver that may not have returned yet.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) function: &'static str,
    pub(super) subject: Subject,
    since: Uptime,
}

// === impl Watch ===

impl Watch {
    /// Asks for a reading. A request that was not begun yet is forgotten, so that none piles up behind a slow driver.
    pub(super) fn submit(&self, request: Request) {
        self.lock().request = Some(request);
        self.wake.notify_all();
    }

    /// The call that the thread is in.
    pub(super) fn call(&self) -> Option<Call> {
        self.lock().call.clone()
    }

    /// Gives the thread up if its present call is to be given up, and tells which call that is.
    pub(super) fn abandon_if(&self, hangs: impl FnOnce(&Call) -> bool) -> Option<Call> {
        let mut state = self.lock();
        let call = state.call.clone().filter(hangs)?;
        state.over = true;
        Some(call)
    }

    /// Tells the thread to end as soon as it can.
    pub(super) fn close(&self) {
        self.lock().over = true;
        self.wake.notify_all();
    }

    /// Whether nobody waits for the thread any more.
    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// The thread's next request, for which it waits; `None` when it should end.
    pub(super) fn next(&self) -> Option<Request> {
        let mut state = self.lock();
        state.call = None;
        loop {
            if state.over {
                return None;
            }
            if let Some(request) = state.request.take() {
                return Some(request);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Announces a call; false when the thread should make no more calls.
    pub(super) fn enter(&self, function: &'static str, subject: &Subject) -> bool {
        let mut state = self.lock();
        state.call = Some(Call { function, subject: subject.clone(), since: clock::uptime() });
        !state.over
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Request ===

impl Request {
    /// Answers; gives the reading back if nobody waits for it any more.
    pub(super) fn answer(self, reading: Reading) -> Result<(), Reading> {
        self.reply.send(reading)
    }
}

// === impl Call ===

impl Call {
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(clock::uptime().since(self.since).as_nanos())
    }

    pub(super) fn hung(&self) -> Error {
        Error::Hung { function: self.function, subject: self.subject.clone(), elapsed: self.elapsed() }
    }
}
