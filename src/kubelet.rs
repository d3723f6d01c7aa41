//! What the kubelet says: which container has which devices.
//!
//! The kubelet gives out devices when it admits a pod, and tells about them on a unix socket in a directory of its
//! own, `/var/lib/kubelet/pod-resources`: plain gRPC, no authentication but the file's owner (uid 0), no watch, so it
//! must be asked again and again. What there is to know of it:
//!
//! - `List` has every pod from its admission until its last container has ended, by name and namespace; there is no
//!   UID. Plain init containers are missing, restartable ones are there.
//! - `GetAllocatableResources` has every *healthy* device that a plugin advertises, held or not. It is empty for a
//!   moment after the kubelet or the plugin restarts.
//! - After a restart of the kubelet an answer may be good and incomplete: first no pods, then the static ones, and
//!   for as long as the API server is away none but those. That a device is not listed does not prove it free.
//! - A pod that is being admitted may be listed without its devices for a moment.
//! - All clients of all methods share 100 calls per second; beyond them the answer is `RESOURCE_EXHAUSTED`.
//! - A restart removes the socket and makes a new one. Whoever mounted the file, not its directory, keeps a dead one.
//!
//! [`run`] asks for ever and publishes a [`Latest`]. A failure changes what it says about itself and leaves the last
//! good answer in place, with the time it was read: how long an old answer holds is for the cost model to decide.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::clock;
use crate::observation::{Allocations, DeviceId, Span, UnixTime, Uptime};

mod allocations;
mod client;
pub mod device_id;
mod error;
pub mod messages;
mod resource_names;

pub use allocations::{advertised_by, allocations_of};
pub use error::Error;
pub use resource_names::{ResourceName, ResourceNames};

use client::Client;

/// Where the kubelet's socket is unless its root directory was moved.
pub const SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";

/// The shortest time from one question to the next, however often somebody wakes us: two questions of two calls a
/// second take 4 % of what the kubelet allows to all its clients together.
const GAP_MIN: Duration = Duration::from_millis(500);

/// How often it is asked again, each time after the shortest gap, when something has changed: the kubelet hears of a pod
/// after the API server has told us, and after a restart of its own it takes a second to know its pods again.
const SECOND_LOOKS: u32 = 2;

/// The longest time without a question: half of the minute for which an old answer is believed by default.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The wait after the first failure, which each further one doubles. A kubelet that restarts is back within seconds.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// How to ask the kubelet.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The kubelet's socket.
    pub socket: PathBuf,
    /// The time from one question to the next while all is well.
    pub interval: Duration,
    /// How long a call may take.
    pub deadline: Duration,
    /// Which resources are GPUs.
    pub resources: ResourceNames,
}

/// What is known of the kubelet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latest {
    /// The last good answer with the time it was read, however long ago; `None` until there is one.
    ///
    /// `advertised` is as the kubelet said, an empty list too. When only that call fails it stays as it was, because
    /// the number of replicas per device hardly ever changes; it is `None` when the kubelet does not have the call.
    pub allocations: Option<Arc<Allocations>>,
    /// Whether the last answer was good.
    pub up: bool,
    /// When the last good answer came; `None` until there is one.
    pub last_success: Option<UnixTime>,
    /// How many calls failed.
    pub errors: u64,
    /// How long the last good answer took; `None` until there is one.
    pub duration: Option<Span>,
    /// What is wrong and what to do about it, for people; `None` while the kubelet is up and until it was asked.
    pub message: Option<Arc<str>>,
}

/// Asks the kubelet for ever and publishes what is known after each answer or failure.
///
/// It asks at once, then every `settings.interval`, and sooner when `wake` is notified: something on the node has
/// changed. Then, and when the kubelet was restarted, it soon asks twice more. Failures make it ask ever less often.
pub async fn run(settings: Settings, wake: Arc<Notify>, publish: watch::Sender<Latest>) {
    let mut poller = Poller::new(settings);
    let mut woken = false;
    loop {
        // The question that is now asked answers every wake-up so far.
        woken |= take(&wake);
        let pause = poller.turn(woken).await;
        publish.send_replace(poller.latest.clone());
        woken = pause.over(&wake).await;
    }
}

/// What is kept from one question to the next.
struct Poller {
    client: Client,
    resources: ResourceNames,
    interval: Duration,
    failures: u32,
    /// The connection over which the last answer came, and since when it has brought answers.
    heard: Option<(u64, Uptime)>,
    /// How many second looks are still to be had.
    second_looks: u32,
    latest: Latest,
}

/// The time until the next question.
#[derive(Debug, PartialEq, Eq)]
struct Pause {
    length: Duration,
    /// Whether a wake-up may cut it short: not when the kubelet itself asked for calm.
    ends_when_woken: bool,
}

// === impl Poller ===

impl Poller {
    fn new(settings: Settings) -> Self {
        Self {
            client: Client::new(settings.socket, settings.deadline),
            resources: settings.resources,
            interval: settings.interval,
            failures: 0,
            heard: None,
            second_looks: 0,
            latest: Latest::default(),
        }
    }

    /// Asks once, because something has changed or because it is time to. Says how long to wait.
    async fn turn(&mut self, woken: bool) -> Pause {
        if woken {
            self.second_looks = SECOND_LOOKS;
        }
        let asked_at = clock::uptime();
        match self.read().await {
            Ok(allocations) => {
                self.failures = 0;
                self.latest.succeeded(allocations, asked_at);
                Pause { length: self.until_next_look(), ends_when_woken: true }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if error.asks_for_calm() {
                    self.second_looks = 0;
                }
                self.latest.failed(&error);
                Pause { length: backoff(self.failures, random()), ends_when_woken: !error.asks_for_calm() }
            }
        }
    }

    fn until_next_look(&mut self) -> Duration {
        match self.second_looks.checked_sub(1) {
            Some(left) => {
                self.second_looks = left;
                GAP_MIN
            }
            None => self.interval,
        }
    }

    async fn read(&mut self) -> Result<Allocations, Error> {
        let answer = self.client.list().await?;
        let read_at = clock::uptime();
        let answering_since = self.answering_since(self.client.connection(), read_at);
        let containers = allocations_of(&answer, &self.resources);
        let containers = shared(containers, self.latest.allocations.as_ref().map(|last| &last.containers));
        Ok(Allocations { read_at, answering_since, containers, advertised: self.advertised().await })
    }

    /// Since when there have been answers over the connection that brought one at `read_at`.
    fn answering_since(&mut self, connection: u64, read_at: Uptime) -> Uptime {
        match self.heard {
            Some((before, since)) if before == connection => return since,
            Some(_) => self.second_looks = SECOND_LOOKS,
            None => {}
        }
        self.heard = Some((connection, read_at));
        read_at
    }

    async fn advertised(&mut self) -> Option<Arc<[DeviceId]>> {
        let last = self.latest.allocations.as_ref().and_then(|last| last.advertised.as_ref());
        match self.client.allocatable().await {
            Ok(answer) => Some(shared(advertised_by(&answer, &self.resources), last)),
            Err(Error::Call { code: Code::Unimplemented, .. }) => None,
            Err(error) => {
                tracing::debug!(
                    error = error.chain(),
                    "keeping the devices that the kubelet last advertised"
                );
                let last = last.cloned();
                self.latest.errors = self.latest.errors.saturating_add(1);
                last
            }
        }
    }
}

/// A list, or the last one if that says the same: most answers do, and whoever has the last one need not look at it again.
fn shared<T: PartialEq>(list: Vec<T>, before: Option<&Arc<[T]>>) -> Arc<[T]> {
    match before {
        Some(before) if **before == *list => Arc::clone(before),
        _ => list.into(),
    }
}

// === impl Latest ===

impl Latest {
    fn succeeded(&mut self, allocations: Allocations, asked_at: Uptime) {
        self.allocations = Some(Arc::new(allocations));
        self.up = true;
        self.last_success = Some(clock::wall());
        self.duration = Some(clock::uptime().since(asked_at));
        self.message = None;
    }

    fn failed(&mut self, error: &Error) {
        self.up = false;
        self.errors = self.errors.saturating_add(1);
        self.message = Some(error.message().into());
    }
}

// === impl Pause ===

impl Pause {
    /// Waits for its end or for a wake-up, but never less than the shortest gap. Says whether it was a wake-up.
    async fn over(self, wake: &Notify) -> bool {
        if self.ends_when_woken {
            sleep(GAP_MIN).await;
            timeout(self.length.saturating_sub(GAP_MIN), wake.notified()).await.is_ok()
        } else {
            sleep(self.length.max(GAP_MIN)).await;
            false
        }
    }
}

/// Takes a wake-up that nobody has answered yet, if there is one.
fn take(wake: &Notify) -> bool {
    pin!(wake.notified()).as_mut().enable()
}

/// The wait after some failures in a row. It doubles up to a limit; the later half of it is left to chance, so that
/// those who were refused together do not come back together.
fn backoff(failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let half_millis = u64::try_from(longest.as_millis() / 2).unwrap_or(0);
    Duration::from_millis(half_millis + random % (half_millis + 1))
}

/// Chance enough for a back-off: the standard library seeds its hashers with it.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_limit() {
        let longest = [1, 2, 3, 4, 5, 6, 7, 100, u32::MAX]
            .map(|failures| (0..=30_000).map(|random| backoff(failures, random).as_millis()).max());
        let expected = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(longest, expected.map(Some));
    }

    proptest! {
        #[test]
        fn a_wait_is_neither_a_storm_nor_for_ever(failures: u32, random: u64) {
            let wait = backoff(failures, random);
            prop_assert!(wait >= GAP_MIN && wait <= BACKOFF_MAX);
        }
    }
}
