//! What the test knows of each pod: from when to when it had its slot, and who could know of it when.
//!
//! A pod is charged from the tick that first knows of it: one after an answer of the kubelet's that lists it. It is charged
//! until a tick knows that it is gone, by the pod watch or by an answer that lists it no more. Whose beginning or end falls
//! into the time between a kill and the first tick of the next daemon is charged for less by that time at most.

use gpu_cost_exporter::observation::Uptime;

/// The life of a pod in its slot.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) name: String,
    /// Between which moments it was given its slot.
    pub(super) given: [Uptime; 2],
    /// Between which moments it lost it; `None` as long as it has it.
    pub(super) taken: Option<[Uptime; 2]>,
}

/// What a daemon could know while it kept one ledger. All moments are in order.
pub(super) struct Knowledge {
    /// The first and the last observation.
    pub(super) ledger: [Uptime; 2],
    /// When the kubelet was asked who holds what.
    pub(super) reads: Vec<Uptime>,
    /// When a scrape showed more ticks than the one before.
    pub(super) ticks: Vec<Uptime>,
    /// When a daemon was killed.
    pub(super) kills: Vec<Uptime>,
}

/// For how many seconds a pod may be charged.
pub(super) struct Charged {
    pub(super) least: f64,
    pub(super) most: f64,
}

// === impl Life ===

impl Life {
    /// For how long the pod may be charged in a ledger; `None` if it was gone before or came after.
    pub(super) fn charged(&self, known: &Knowledge) -> Option<Charged> {
        let [since, until] = known.ledger;
        if self.given[1] >= until || self.taken.is_some_and(|taken| taken[1] <= since) {
            return None;
        }
        let [began, charged] = known.beginning(self.given);
        let [ends, ended] = known.end(self.taken.unwrap_or([until; 2]));
        Some(Charged { least: seconds(charged, ends), most: seconds(began, ended) })
    }
}

// === impl Knowledge ===

impl Knowledge {
    /// From when on a pod is charged that was given its slot then: at the earliest and at the latest.
    fn beginning(&self, given: [Uptime; 2]) -> [Uptime; 2] {
        let since = self.ledger[0];
        let [first, last] = given.map(|moment| self.read_after(moment.max(since)));
        let earliest = if given[0] <= since { since } else { first };
        [earliest, self.ticked_after(last)]
    }

    /// Until when a pod is charged that lost its slot then: at the earliest and at the latest.
    fn end(&self, [taken, lost]: [Uptime; 2]) -> [Uptime; 2] {
        let until = self.ledger[1];
        if taken >= until {
            return [until; 2];
        }
        let latest = self.ticked_after(self.read_after(lost));
        let killed = self.kills.iter().find(|kill| **kill <= latest && self.ticked_after(**kill) >= taken);
        let earliest = killed.map_or(taken, |kill| taken.min(self.ticked_before(*kill)));
        [earliest, latest]
    }

    fn read_after(&self, moment: Uptime) -> Uptime {
        self.reads.iter().copied().find(|read| *read >= moment).unwrap_or(self.ledger[1]).min(self.ledger[1])
    }

    /// When there was a tick that knows what was known then: one may have been under way, and another one with an answer
    /// that was not read yet. The next daemon's, if this one was killed before.
    fn ticked_after(&self, moment: Uptime) -> Uptime {
        let ticks = self.ticks.iter().copied().filter(|tick| *tick >= moment);
        ticks.take(3).last().unwrap_or(self.ledger[1]).min(self.ledger[1])
    }

    /// A moment before the last tick but one.
    fn ticked_before(&self, moment: Uptime) -> Uptime {
        let ticks = self.ticks.iter().rev().copied().filter(|tick| *tick < moment);
        ticks.take(3).last().unwrap_or(self.ledger[0]).max(self.ledger[0])
    }
}

/// From one moment to another, which may be before it.
fn seconds(from: Uptime, to: Uptime) -> f64 {
    let span = |from: Uptime, to: Uptime| std::time::Duration::from_nanos(to.since(from).as_nanos());
    span(from, to).as_secs_f64() - span(to, from).as_secs_f64()
}
