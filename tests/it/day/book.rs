//! The ledger that is known beforehand. Whoever makes up the day writes each line into it while they make it up.
//!
//! It knows nothing of observations. Its arithmetic is one multiplication: parts of a GPU × nanoseconds × rate, each a
//! whole number. [`WHOLE`] parts are a GPU, of which every share and every work of the day is a whole number.

use std::collections::BTreeMap;
use std::ops::Range;

/// Parts of a whole GPU: sevenths, thirds, eighths and hundredths of it are whole numbers.
pub(super) const WHOLE: i128 = 4_200;

/// One in a hundred of a GPU.
pub(super) const PERCENT: i128 = WHOLE / 100;

/// The time from one observation to the next, and what could be known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval {
    pub(super) nanos: i128,
    /// Billionths of a dollar per hour.
    pub(super) rate: i128,
    /// Whether it is charged at all.
    pub(super) charged: bool,
    /// Whether the driver said at its end what had been done.
    pub(super) measured: bool,
    /// Whether the kubelet's answer was young enough at its beginning to say what is free.
    pub(super) believed: bool,
}

/// Intervals of which the same could be known, together.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    measured: bool,
    believed: bool,
    nanos: i128,
    /// What a GPU costs in it.
    cost: i128,
}

/// A pod and who pays for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) namespace: &'static str,
    pub(super) name: String,
    /// Empty for a pod that nobody describes.
    pub(super) uid: String,
    pub(super) team: &'static str,
    pub(super) environment: &'static str,
}

/// Money and time of one line, each in parts of a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Billionths of a dollar per hour × nanoseconds.
    pub(super) money: i128,
    /// Nanoseconds.
    pub(super) time: i128,
}

/// A line: whose it is, and in which state.
pub(super) type Line = (String, &'static str);

/// The lines of a day.
pub(super) struct Book {
    pub(super) intervals: Vec<Interval>,
    pub(super) lines: BTreeMap<Line, Sum>,
    /// Money of the work beyond a pod's share, by pod.
    pub(super) bursts: BTreeMap<String, i128>,
}

// === impl Who ===

impl Who {
    /// The pod's line.
    pub(super) fn line(&self) -> String {
        format!("pod {}/{} {}", self.namespace, self.name, self.uid)
    }

    fn payer(&self) -> String {
        format!("payer {} {} {}", self.namespace, self.team, self.environment)
    }
}

// === impl Book ===

impl Book {
    pub(super) fn new(intervals: Vec<Interval>) -> Self {
        Self { intervals, lines: BTreeMap::new(), bursts: BTreeMap::new() }
    }

    /// A pod has `parts` of a GPU and does work that is `work` parts of that GPU; `None` where nobody can read it.
    pub(super) fn held(&mut self, gpu: usize, at: Range<usize>, who: &Who, parts: i128, work: Option<i128>) {
        for stretch in self.charged(at) {
            if who.uid.is_empty() && !stretch.believed {
                // Only the kubelet knew it, and its word is too old.
                self.write(gpu, None, "unattributed", parts, stretch);
                continue;
            }
            let Some(work) = work.filter(|_| stretch.measured) else {
                self.write(gpu, Some(who), "unmeasured", parts, stretch);
                continue;
            };
            let rest = if work == 0 { "idle" } else { "underused" };
            self.write(gpu, Some(who), "used", work.min(parts), stretch);
            self.write(gpu, Some(who), rest, (parts - work).max(0), stretch);
            *self.bursts.entry(who.line()).or_default() += (work - parts).max(0) * stretch.cost;
        }
    }

    /// A pod has a GPU that cannot be used.
    pub(super) fn broken(&mut self, gpu: usize, at: Range<usize>, who: &Who) {
        for stretch in self.charged(at) {
            self.write(gpu, Some(who), "unavailable", WHOLE, stretch);
        }
    }

    /// Nobody has these parts. What they are is not known while the kubelet's word is too old.
    pub(super) fn left(&mut self, gpu: usize, at: Range<usize>, state: &'static str, parts: i128) {
        for stretch in self.charged(at) {
            let state = if stretch.believed { state } else { "unattributed" };
            self.write(gpu, None, state, parts, stretch);
        }
    }

    /// The whole bill of one GPU, from its rate and the time that is charged.
    pub(super) fn bill(&self) -> Sum {
        self.charged(0..self.intervals.len()).into_iter().fold(Sum::default(), |sum, stretch| Sum {
            money: sum.money + WHOLE * stretch.cost,
            time: sum.time + WHOLE * stretch.nanos,
        })
    }

    /// The sum of all lines whose name begins with `whose`.
    pub(super) fn sum(&self, whose: &str) -> Sum {
        self.sum_where(|(line, _)| line.starts_with(whose))
    }

    /// The sum of what all GPUs cost in a state.
    pub(super) fn sum_of(&self, state: &str) -> Sum {
        self.sum_where(|(line, of)| *of == state && line.starts_with("gpu"))
    }

    fn sum_where(&self, counts: impl Fn(&Line) -> bool) -> Sum {
        let lines = self.lines.iter().filter(|(line, _)| counts(line));
        lines.fold(Sum::default(), |sum, (_, line)| Sum {
            money: sum.money + line.money,
            time: sum.time + line.time,
        })
    }

    fn charged(&self, at: Range<usize>) -> Vec<Stretch> {
        let mut stretches: BTreeMap<(bool, bool), Stretch> = BTreeMap::new();
        for interval in self.intervals[at].iter().filter(|interval| interval.charged) {
            let Interval { measured, believed, .. } = *interval;
            let stretch = stretches.entry((measured, believed)).or_default();
            (stretch.measured, stretch.believed) = (measured, believed);
            stretch.nanos += interval.nanos;
            stretch.cost += interval.rate * interval.nanos;
        }
        stretches.into_values().collect()
    }

    fn write(&mut self, gpu: usize, who: Option<&Who>, state: &'static str, parts: i128, stretch: Stretch) {
        if parts == 0 {
            return;
        }
        let payer = who.map_or_else(|| "payer   ".to_owned(), Who::payer);
        for line in [format!("gpu {gpu}"), payer].into_iter().chain(who.map(Who::line)) {
            let sum = self.lines.entry((line, state)).or_default();
            sum.money += parts * stretch.cost;
            sum.time += parts * stretch.nanos;
        }
    }
}
