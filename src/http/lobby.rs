//! Who makes room when there is none: those who are connected and ask for nothing, the longest silent first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The connections over which nothing is being answered.
#[derive(Debug, Default)]
pub(super) struct Lobby(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// One more than the number of whoever sat down last.
    next: u64,
    /// Those who are silent, by when they became so.
    silent: BTreeMap<u64, Arc<Notify>>,
}

/// The place of one connection, which is given up when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    lobby: Arc<Lobby>,
    call: Arc<Notify>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The number among the silent; `None` while something is being answered.
    number: Option<u64>,
    has_asked: bool,
}

// === impl Lobby ===

impl Lobby {
    /// A seat for a connection that has just been opened.
    pub(super) fn enter(self: &Arc<Self>) -> Seat {
        let seat = Seat { lobby: Arc::clone(self), call: Arc::default(), taken: Mutex::default() };
        seat.sit();
        seat
    }

    /// Asks who has been silent for longest to leave, if anybody is silent.
    pub(super) fn call_longest(&self) {
        if let Some((_, call)) = lock(&self.0).silent.pop_first() {
            call.notify_one();
        }
    }
}

// === impl Seat ===

impl Seat {
    /// A request has come: nobody is asked to leave in the middle of an answer.
    pub(super) fn stand(&self) {
        let mut taken = lock(&self.taken);
        taken.has_asked = true;
        if let Some(number) = taken.number.take() {
            lock(&self.lobby.0).silent.remove(&number);
        }
    }

    /// Nothing is asked any more.
    pub(super) fn sit(&self) {
        let mut taken = lock(&self.taken);
        let mut waiting = lock(&self.lobby.0);
        waiting.next += 1;
        let number = waiting.next;
        waiting.silent.insert(number, Arc::clone(&self.call));
        taken.number = Some(number);
    }

    /// Whether a request ever came. Then the end of an answer may still be on its way.
    pub(super) fn has_asked(&self) -> bool {
        lock(&self.taken).has_asked
    }

    /// Waits until it is asked to leave.
    pub(super) async fn called(&self) {
        self.call.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stand();
    }
}

/// What is locked here is never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the seat was asked to leave; asks only once.
    fn is_called(seat: &Seat) -> bool {
        use std::future::Future as _;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(seat.called()).poll(&mut context).is_ready()
    }

    #[test]
    fn the_longest_silent_makes_room_and_nobody_who_is_answered() {
        let lobby = Arc::new(Lobby::default());
        let seats: [Seat; 4] = std::array::from_fn(|_| lobby.enter());
        seats[0].stand();
        seats[1].stand();
        seats[1].sit();
        let [_, _, gone, _] = &seats;
        assert!(!gone.has_asked() && seats[1].has_asked());
        lobby.call_longest();
        assert_eq!(seats.each_ref().map(is_called), [false, false, true, false]);
        let [first, second, third, fourth] = seats;
        drop((third, fourth));
        lobby.call_longest();
        assert_eq!([&first, &second].map(is_called), [false, true]);
        lobby.call_longest();
        assert!(!is_called(&first), "nobody is silent");
    }
}
