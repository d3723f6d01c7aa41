//! The mean of a holder's work over a trailing window, by which *idle* is told from *underused*.
//!
//! Work comes in bursts. Judged tick by tick, a process that works half a second in every ten would be idle most of the
//! time at a tick of one second and never at a tick of ten; over a window longer than a tick both see the same mean.

use std::collections::VecDeque;

use crate::observation::{Ppm, Span};

/// A holder's work over the last intervals, at most a window's length of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// Length in nanoseconds and work of each interval, oldest first; no work where it was not measured. Those of the same
    /// work are one: most holders that are idle are so for long.
    intervals: VecDeque<(u64, Option<Ppm>)>,
    /// Nanoseconds of all intervals.
    length: u128,
    /// Nanoseconds of the measured ones.
    measured: u128,
    /// Nanoseconds × millionths of the measured ones.
    work: u128,
}

impl Window {
    /// Takes in one more interval and forgets what is older than `window`; always keeps the newest interval.
    pub(super) fn push(&mut self, elapsed: Span, work: Option<Ppm>, window: Span) {
        self.add(elapsed.as_nanos(), work);
        let limit = u128::from(window.as_nanos().max(elapsed.as_nanos()));
        while self.length > limit {
            let Some((nanos, work)) = self.intervals.pop_front() else { break };
            self.forget(nanos, work);
            let room = limit.saturating_sub(self.length);
            if room > 0 {
                let kept = u64::try_from(room).unwrap_or(nanos).min(nanos);
                self.intervals.push_front((kept, work));
                self.account(kept, work);
            }
        }
    }

    /// The mean work over the measured part of the window; `None` if none of it was measured.
    pub(super) fn mean(&self) -> Option<Ppm> {
        let mean = self.work.checked_div(self.measured)?;
        Some(Ppm::new(u32::try_from(mean).unwrap_or(u32::MAX)))
    }

    fn add(&mut self, nanos: u64, work: Option<Ppm>) {
        let last = self.intervals.back_mut().filter(|(_, same)| *same == work);
        match last.and_then(|(before, _)| Some((before.checked_add(nanos)?, before))) {
            Some((both, before)) => *before = both,
            None => self.intervals.push_back((nanos, work)),
        }
        self.account(nanos, work);
    }

    fn account(&mut self, nanos: u64, work: Option<Ppm>) {
        let nanos = u128::from(nanos);
        self.length += nanos;
        if let Some(work) = work {
            self.measured += nanos;
            self.work += nanos * u128::from(work.get());
        }
    }

    fn forget(&mut self, nanos: u64, work: Option<Ppm>) {
        let nanos = u128::from(nanos);
        self.length -= nanos;
        if let Some(work) = work {
            self.measured -= nanos;
            self.work -= nanos * u128::from(work.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(intervals: &[(u64, Option<u32>)], window: u64) -> Option<u32> {
        let mut kept = Window::default();
        for (millis, percent) in intervals {
            kept.push(Span::from_millis(*millis), percent.map(Ppm::from_percent), Span::from_millis(window));
        }
        kept.mean().map(|mean| mean.get() / 10_000)
    }

    #[test]
    fn the_mean_covers_exactly_the_window() {
        assert_eq!(mean_of(&[], 1_000), None);
        assert_eq!(mean_of(&[(1_000, Some(40))], 60_000), Some(40));
        assert_eq!(mean_of(&[(1_000, Some(0)), (3_000, Some(40))], 60_000), Some(30));
        assert_eq!(mean_of(&[(90_000, Some(100)), (30_000, Some(0))], 60_000), Some(50));
        assert_eq!(mean_of(&[(90_000, Some(100)), (90_000, Some(0))], 60_000), Some(0));
        assert_eq!(mean_of(&[(500, Some(80)), (500, None), (500, Some(40))], 60_000), Some(60));
        assert_eq!(mean_of(&[(500, None)], 60_000), None);
    }

    #[test]
    fn equal_work_is_one_interval() {
        let mut kept = Window::default();
        let day = Span::from_secs(86_400);
        for percent in [0, 0, 0, 5, 5, 0] {
            kept.push(Span::from_secs(1), Some(Ppm::from_percent(percent)), day);
        }
        let seconds: Vec<_> = kept.intervals.iter().map(|(nanos, _)| nanos / 1_000_000_000).collect();
        assert_eq!((seconds, kept.mean()), (vec![3, 2, 1], Some(Ppm::new(16_666))));
        // What does not fit into one is two.
        let mut kept = Window::default();
        let most = Span::from_nanos(u64::MAX);
        kept.push(Span::from_nanos(u64::MAX - 1), None, most);
        kept.push(Span::from_nanos(2), None, most);
        assert_eq!(kept.length, u128::from(u64::MAX));
    }

    #[test]
    fn the_length_of_a_tick_changes_nothing() {
        // Half a second of work in every ten: 5 % over any whole period.
        let short: Vec<_> = (0..240).map(|n| (500, Some(if n % 20 == 0 { 100 } else { 0 }))).collect();
        let long: Vec<_> = (0..12).map(|_| (10_000, Some(5))).collect();
        assert_eq!(mean_of(&short, 60_000), Some(5));
        assert_eq!(mean_of(&long, 60_000), Some(5));
    }
}
