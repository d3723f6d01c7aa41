//! How a day is told. Each span is told twice in one breath: to the sources that will be asked about it, and to the book.

use std::ops::Range;

use gpu_cost_exporter::observation::DeviceId;

use super::book::{Book, Interval, PERCENT, WHOLE, Who};
use super::gpus;
use super::node::{Day, Did, Events, Stay, key};

const SECOND: i128 = 1_000_000_000;
const TICK: i128 = 10 * SECOND;
const HOUR: i128 = 3_600 * SECOND;

/// Dollars per hour before and after noon, in billionths. Both are whole in sevenths, thirds and hundredths.
pub(super) const MORNING: u64 = 8_400_000_000;
pub(super) const AFTERNOON: u64 = 6_300_000_000;

/// Numbers that look like chance and are the same for the same seed (`SplitMix64`).
pub(super) struct Chance(u64);

// === impl Chance ===

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number of `range`.
    pub(super) fn of(&mut self, range: Range<usize>) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let length = u64::try_from(range.len()).unwrap();
        range.start + usize::try_from((mixed ^ (mixed >> 31)) % length).unwrap()
    }

    pub(super) fn one_in(&mut self, of: usize) -> bool {
        self.of(0..of) == 0
    }

    /// Some twelfths of a hundred, or nothing: divisible by all numbers of holders that there are.
    pub(super) fn dozens(&mut self) -> u32 {
        12 * u32::try_from(self.of(0..9)).unwrap()
    }

    /// A percentage up to `most`, or nothing.
    pub(super) fn percent(&mut self, most: u32) -> u32 {
        if self.one_in(4) {
            0
        } else {
            2 + u32::try_from(self.of(0..usize::try_from(most - 1).unwrap())).unwrap()
        }
    }
}

/// A day of the node. Its price changes at noon if `reprices`.
pub(super) fn day(seed: u64, reprices: bool) -> Day {
    let mut chance = Chance::new(seed);
    let (events, intervals) = plan(&mut chance, reprices);
    let mut day = Day::new(events, Book::new(intervals));
    for story in gpus::STORIES {
        story(&mut day, &mut chance);
    }
    day
}

/// When the node has its troubles, each in an hour of its own, and how long each interval therefore is.
fn plan(chance: &mut Chance, reprices: bool) -> (Events, Vec<Interval>) {
    let (gap, sleep) = (11 * 360 + chance.of(60..300), 14 * 360 + chance.of(60..240));
    // Of 24 h, two minutes and an hour are one interval each.
    let ordinary = (24 * HOUR - 120 * SECOND - HOUR) / TICK;
    let mut nanos = vec![TICK; usize::try_from(ordinary).unwrap()];
    nanos.insert(gap, 120 * SECOND);
    nanos.insert(sleep, HOUR);
    let mut starts = vec![0];
    for length in &nanos {
        starts.push(starts[starts.len() - 1] + length);
    }
    let at = |hour: i128| starts.partition_point(|start| *start < hour * HOUR);
    let mut within = |hour: i128, ticks: usize| {
        let start = at(hour) + chance.of(60..200);
        start..start + ticks
    };
    let events = Events {
        kubelet_30: within(2, 0).start,
        kubelet_90: within(4, 0).start,
        silence: within(6, 7),
        restart: within(8, 3),
        gap,
        sleep,
        riddle: within(17, 12),
        withdrawn: within(19, 10),
        mps: within(20, 0).start,
        cut: within(16, 0).start,
        noon: at(12),
    };
    let interval = |(n, nanos): (usize, i128)| Interval {
        nanos,
        rate: i128::from(if reprices && n >= events.noon { AFTERNOON } else { MORNING }),
        charged: n != events.sleep,
        // The driver says at an interval's end what was done, and the gap is longer than its memory.
        measured: n != events.gap && !events.silence.contains(&(n + 1)),
        // The kubelet's word is good for a minute.
        believed: !(events.kubelet_90 + 7..=events.kubelet_90 + 9).contains(&n),
    };
    let intervals = nanos.into_iter().enumerate().map(interval).collect();
    (events, intervals)
}

// === impl Day ===

impl Day {
    /// The intervals of the day, as far as the story of a GPU tells them.
    pub(super) fn all(&self) -> Range<usize> {
        0..self.book.intervals.len()
    }

    /// Whether who comes or goes at an observation is told at once.
    fn is_calm(&self, n: usize) -> bool {
        let Events { kubelet_30, kubelet_90, restart, gap, .. } = &self.events;
        let silent =
            (kubelet_30 + 1..=kubelet_30 + 3).contains(&n) || (kubelet_90 + 1..=kubelet_90 + 9).contains(&n);
        !(silent || restart.contains(&n) || n == gap + 1)
    }

    /// Cuts a range into spans of about `lengths` intervals.
    pub(super) fn spans(
        &self,
        chance: &mut Chance,
        range: Range<usize>,
        lengths: Range<usize>,
    ) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let mut end = (start + chance.of(lengths.clone())).min(range.end);
            while end < range.end && !self.is_calm(end) {
                end += 1;
            }
            spans.push(start..end);
            start = end;
        }
        spans
    }

    /// A pod that nobody has seen before.
    pub(super) fn pod(&self, team: &'static str, name: &str) -> Who {
        let name = format!("{name}-{}", self.stays.len());
        Who { namespace: team, uid: format!("uid-{name}"), name, team, environment: "production" }
    }

    pub(super) fn stay(&mut self, who: &Who, at: Range<usize>, ids: Vec<DeviceId>) -> &mut Stay {
        self.stays.push(Stay { who: who.clone(), at, ids, fractions: Vec::new(), reserves: None });
        self.stays.last_mut().unwrap()
    }

    pub(super) fn did(&mut self, gpu: usize, at: Range<usize>, did: &Did) {
        self.did[gpu][at].fill(did.clone());
    }

    /// One pod has the whole GPU, and works now more and now less.
    pub(super) fn alone(&mut self, chance: &mut Chance, gpu: usize, at: Range<usize>, who: &Who) {
        for span in self.spans(chance, at, 5..200) {
            let percent = chance.percent(100);
            self.did(gpu, span.clone(), &Did { percent: Some(percent), ..Did::default() });
            self.book.held(gpu, span, who, WHOLE, Some(i128::from(percent) * PERCENT));
        }
    }

    /// Pods share a GPU, and the driver samples what the processes of each do. The rest of the GPU is free.
    pub(super) fn sampled(
        &mut self,
        chance: &mut Chance,
        gpu: usize,
        at: Range<usize>,
        sharers: &[(&Who, i128)],
    ) {
        let host = if chance.one_in(3) { 6 } else { 0 };
        let most = (94 - host) / u32::try_from(sharers.len()).unwrap();
        let mut processes = vec![(None, None, host)];
        for (who, parts) in sharers {
            let percent = chance.percent(most);
            processes.push((Some(key(who)), None, percent));
            self.book.held(gpu, at.clone(), who, *parts, Some(i128::from(percent) * PERCENT));
        }
        processes.retain(|(_, _, percent)| *percent > 0);
        let percent = processes.iter().map(|(_, _, percent)| percent).sum();
        self.leave_rest(gpu, at.clone(), sharers);
        self.did(gpu, at, &Did { percent: Some(percent), processes: Some(processes), ..Did::default() });
    }

    /// Pods share a GPU, and nobody can tell who did what: they did it in proportion to what they have.
    pub(super) fn unsampled(
        &mut self,
        chance: &mut Chance,
        gpu: usize,
        at: Range<usize>,
        sharers: &[(&Who, i128)],
    ) {
        let percent = chance.dozens();
        let all: i128 = sharers.iter().map(|(_, parts)| parts).sum();
        for (who, parts) in sharers {
            let work = i128::from(percent) * PERCENT * parts;
            assert_eq!(work % all, 0, "the story has no whole number for this");
            self.book.held(gpu, at.clone(), who, *parts, Some(work / all));
        }
        self.leave_rest(gpu, at.clone(), sharers);
        self.did(gpu, at, &Did { percent: Some(percent), ..Did::default() });
    }

    fn leave_rest(&mut self, gpu: usize, at: Range<usize>, sharers: &[(&Who, i128)]) {
        let held: i128 = sharers.iter().map(|(_, parts)| parts).sum();
        self.book.left(gpu, at, "unallocated", WHOLE - held);
    }
}
