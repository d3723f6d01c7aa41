//! What of the sources is worth a line of the log.
//!
//! A source that is down says so with every tick, and often in other words each time: how long a call has hung, which
//! of its GPUs failed first. A log is for what is new: that a source goes down or comes back is told at once, that it
//! says the same in other words once in a minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{info, warn};

use crate::observation::{Span, Uptime};
use crate::status::{Source, SourceStatus};

/// A message that only changes its words is told once in this time.
const WINDOW: Span = Span::from_secs(60);

/// How many lines one source may have in this time. One that comes and goes with every tick would have a hundred.
const LINES_MAX: u32 = 10;

/// What was told of the sources.
#[derive(Debug, Default)]
pub(super) struct News {
    told: BTreeMap<Source, Told>,
}

/// What was told of one source.
#[derive(Debug, Default)]
struct Told {
    up: bool,
    message: Option<Arc<str>>,
    /// When the present window began, and how many lines it has.
    since: Uptime,
    lines: u32,
}

// === impl News ===

impl News {
    /// Logs what is new of the sources at `at`.
    pub(super) fn tell(&mut self, sources: &[SourceStatus], at: Uptime) {
        for status in sources {
            if self.told.entry(status.source).or_default().is_news(status, at) {
                log(status);
            }
        }
    }
}

fn log(status: &SourceStatus) {
    let source = status.source.as_str();
    match &status.message {
        Some(message) => warn!(source, "{message}"),
        None if status.up => info!(source, "answers"),
        None => {}
    }
}

// === impl Told ===

impl Told {
    /// Whether the source is to be told now; what is kept back is told later, if it still holds then.
    fn is_news(&mut self, now: &SourceStatus, at: Uptime) -> bool {
        if at.since(self.since) >= WINDOW {
            self.since = at;
            self.lines = 0;
        }
        let turned = (self.up, self.message.is_some()) != (now.up, now.message.is_some());
        let lines_max = if turned { LINES_MAX } else { 1 };
        if (!turned && self.message == now.message) || self.lines >= lines_max {
            return false;
        }
        self.up = now.up;
        self.message.clone_from(&now.message);
        self.lines += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a source says in each second, and in which seconds it is told.
    #[track_caller]
    fn check(says: impl Fn(u64) -> (bool, Option<String>), seconds: u64, expected: &[u64]) {
        let mut told = Told::default();
        let is_told = |second: &u64| {
            let (up, message) = says(*second);
            let status = SourceStatus {
                source: Source::Nvml,
                up,
                last_success: None,
                errors: 0,
                duration: None,
                message: message.map(Into::into),
            };
            told.is_news(&status, Uptime::from_nanos(0).after(Span::from_secs(1_000 + second)))
        };
        assert_eq!((0..seconds).filter(is_told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_standing_message_is_told_once() {
        check(|_| (false, Some("no driver".into())), 600, &[0]);
        check(|_| (true, None), 600, &[0]);
        check(|_| (false, None), 600, &[]);
    }

    #[test]
    fn a_change_is_told_at_once() {
        let down = |second| (5..9).contains(&second);
        check(|second| (!down(second), down(second).then(|| "gone".into())), 600, &[0, 5, 9]);
        // One GPU of several fails: the source is up and says something.
        check(|second| (true, (second >= 7).then(|| "GPU-1 hangs".into())), 600, &[0, 7]);
    }

    #[test]
    fn other_words_are_told_once_in_a_minute() {
        check(|second| (false, Some(format!("hangs for {second} s"))), 200, &[0, 60, 120, 180]);
    }

    #[test]
    fn what_was_kept_back_is_told_when_it_still_holds() {
        let words = |second| if second < 10 { "one" } else { "other" };
        check(|second| (false, Some(words(second).into())), 600, &[0, 60]);
    }

    #[test]
    fn a_source_that_comes_and_goes_does_not_fill_the_log() {
        let flaps = |second| (second % 2 == 0, (second % 2 == 1).then(|| "late".into()));
        let first: Vec<u64> = (0..10).chain(60..70).collect();
        check(flaps, 100, &first);
    }
}
