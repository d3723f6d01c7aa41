//! `rate_limit`: how often may be asked.

use std::time::Duration;

use super::entry::said;
use crate::yaml::describe;
use crate::yaml::findings::{Entry, Findings};
use crate::yaml::tree::Value;

/// The keys of the section.
const KEYS: &[&str] = &["interval", "burst"];

const SECTION: &str = "a map such as { interval: 1s, burst: 20 }";
const INTERVAL: &str = "a time with its unit, such as 1s, or 0 for no limit";
const BURST: &str = "a whole number from 1 on";

/// How often may be asked: once in `interval`, and `burst` times at once after a calm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The time in which one more request may come.
    pub interval: Duration,
    /// How many may come at once.
    pub burst: u32,
}

/// The limit that is written in the section, if it is one.
pub(super) fn read(found: &mut Findings, section: &Entry<'_>) -> Option<RateLimit> {
    let (mut interval, mut burst) = (None, None);
    let before = found.count();
    for entry in said(found, section, KEYS, SECTION) {
        match entry.name {
            "interval" => interval = number(found, &entry, INTERVAL, self::interval),
            _ => burst = number(found, &entry, BURST, |text| text.parse().ok()),
        }
    }
    let interval = interval.filter(|interval| !interval.is_zero());
    match (interval, burst) {
        _ if found.count() > before => None,
        (Some(interval), Some(burst @ 1..)) => Some(RateLimit { interval, burst }),
        (Some(_), _) => {
            let message =
                format!("expected burst beside interval, {BURST}: with none nobody could ask at all");
            found.problem(section.key, &section.path, message);
            None
        }
        (None, _) => {
            let message = "without an interval above 0 this limits nothing";
            found.warning(section.key, &section.path, message);
            None
        }
    }
}

fn interval(text: &str) -> Option<Duration> {
    if text == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(text).ok() }
}

fn number<T>(
    found: &mut Findings,
    entry: &Entry<'_>,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    if !found.is_plainly_written(entry.value, &entry.path) {
        return None;
    }
    let value = match &entry.value.value {
        Value::Scalar { text, .. } => read(text),
        Value::Map(_) | Value::List(_) | Value::Alias => None,
    };
    if value.is_none() {
        let message = format!("expected {expected}, found {}", describe::of(entry.value));
        found.problem(entry.value, &entry.path, message);
    }
    value
}

// === impl RateLimit ===

impl RateLimit {
    /// When the next request will be due, if one may come `now`; `due` is when the last one made the next one due. Both
    /// are nanoseconds of one clock.
    #[must_use]
    pub fn admit(self, due: u64, now: u64) -> Option<u64> {
        let interval = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let due = due.max(now);
        let ahead = interval.saturating_mul(u64::from(self.burst.saturating_sub(1)));
        (due - now <= ahead).then(|| due.saturating_add(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_comes_at_once_and_then_one_in_an_interval() {
        let limit = RateLimit { interval: Duration::from_nanos(10), burst: 3 };
        let mut due = 0;
        let mut admitted = |now| match limit.admit(due, now) {
            Some(next) => {
                due = next;
                true
            }
            None => false,
        };
        let asked: Vec<bool> = [5, 5, 5, 5, 14, 15, 16, 24, 25, 100, 100, 100, 100].map(&mut admitted).into();
        assert_eq!(
            asked,
            [true, true, true, false, false, true, false, false, true, true, true, true, false]
        );
    }
}
