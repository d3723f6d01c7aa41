//! How busy a pod is, as a curve of time whose integral is known.
//!
//! A GPU's energy counter is the integral of its power, and the demo must be able to say it at any moment without
//! having watched the time before. So a curve is made of parts that can be integrated by formula: a level, waves whose
//! halves are parabolas (to the eye, a sine), and pauses. Everything is in integers, and so the same on every machine.

use super::scenario::{Load, Runs};

/// A level of work over time, in millionths of a device.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    level: i128,
    waves: Vec<Wave>,
    pause: Option<Pause>,
    /// How far into its waves it begins, in milliseconds, so that not all curves go up together.
    shift: i128,
}

#[derive(Clone, Copy, Debug)]
struct Wave {
    height: i128,
    /// Half of its period in milliseconds; positive.
    half: i128,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    drop: i128,
    /// In milliseconds; positive.
    every: i128,
    length: i128,
}

/// When a pod is there.
#[derive(Clone, Debug)]
pub(super) enum Presence {
    /// Since the node booted.
    Always,
    /// Again and again, each time as another pod.
    InRuns(Runs),
}

/// One pod of a script at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Its number in a series; `None` for a pod that is always there.
    pub(super) number: Option<u64>,
    /// How long it has been there, in milliseconds.
    pub(super) age: u64,
}

// === impl Curve ===

impl Curve {
    pub(super) fn new(load: &Load, shift_millis: u64) -> Self {
        let seconds = |seconds: u16| i128::from(seconds) * 1_000;
        let wave = |height, period: u16| Wave { height: parts(height), half: seconds(period) / 2 };
        Self {
            level: parts(load.percent),
            waves: load.waves.iter().map(|script| wave(script.percent, script.seconds.get())).collect(),
            pause: load.pause.as_ref().map(|script| Pause {
                drop: parts(script.percent),
                every: seconds(script.every_seconds.get()),
                length: seconds(script.for_seconds),
            }),
            shift: shift_millis.into(),
        }
    }

    /// The level at `millis`, from nothing to all of the device.
    pub(super) fn level(&self, millis: u64) -> u32 {
        let at = self.shift + i128::from(millis);
        let waves: i128 = self.waves.iter().map(|wave| wave.level(at)).sum();
        let pause = self.pause.map_or(0, |pause| pause.level(at));
        u32::try_from((self.level + waves - pause).clamp(0, parts(100))).unwrap_or(0)
    }

    /// The integral of the level over the first `millis` milliseconds, in millionths × milliseconds.
    pub(super) fn work(&self, millis: u64) -> i128 {
        let end = self.shift + i128::from(millis);
        self.level * i128::from(millis) + self.swing(end) - self.swing(self.shift)
    }

    fn swing(&self, at: i128) -> i128 {
        let waves: i128 = self.waves.iter().map(|wave| wave.work(at)).sum();
        waves - self.pause.map_or(0, |pause| pause.work(at))
    }
}

fn parts(percent: u32) -> i128 {
    i128::from(percent) * 10_000
}

// === impl Wave ===

impl Wave {
    fn level(self, at: i128) -> i128 {
        let Self { height, half } = self;
        let into = at % half;
        let hump = 4 * height * into * (half - into) / (half * half);
        if self.rises(at) { hump } else { -hump }
    }

    fn work(self, at: i128) -> i128 {
        let Self { height, half } = self;
        let hump = |into: i128| 2 * height * into * into * (3 * half - 2 * into) / (3 * half * half);
        if self.rises(at) { hump(at % half) } else { hump(half) - hump(at % half) }
    }

    fn rises(self, at: i128) -> bool {
        at / self.half % 2 == 0
    }
}

// === impl Pause ===

impl Pause {
    fn level(self, at: i128) -> i128 {
        if at % self.every < self.length { self.drop } else { 0 }
    }

    fn work(self, at: i128) -> i128 {
        self.drop * (at / self.every * self.length + self.length.min(at % self.every))
    }
}

// === impl Presence ===

impl Presence {
    /// The run that is going on at `millis`, if one is.
    pub(super) fn run(&self, millis: u64) -> Option<Run> {
        match self {
            Self::Always => Some(Run { number: None, age: millis }),
            Self::InRuns(runs) => {
                let (number, age) = runs.slot(millis);
                (age < runs.length(number)?).then_some(Run { number: Some(number), age })
            }
        }
    }

    /// What all runs up to `millis` did together, each along the curve from its beginning.
    pub(super) fn work(&self, curve: &Curve, millis: u64) -> i128 {
        match self {
            Self::Always => curve.work(millis),
            Self::InRuns(runs) => runs.work(curve, millis),
        }
    }
}

// === impl Runs ===

impl Runs {
    fn work(&self, curve: &Curve, millis: u64) -> i128 {
        let (number, age) = self.slot(millis);
        let round = self.seconds.len();
        let place = self.place(number);
        let of_first = |count: usize| -> i128 {
            self.seconds.iter().take(count).map(|seconds| curve.work(seconds.saturating_mul(1_000))).sum()
        };
        let rounds = u64::try_from(round).ok().and_then(|round| number.checked_div(round)).unwrap_or(0);
        let current = self.length(number).map_or(0, |length| curve.work(age.min(length)));
        i128::from(rounds) * of_first(round) + of_first(place) + current
    }

    /// The number of the last run that began, and how long ago it did.
    fn slot(&self, millis: u64) -> (u64, u64) {
        let number = millis / 1_000 / self.every_seconds;
        (number, millis - number * self.every_seconds.get() * 1_000)
    }

    fn place(&self, number: u64) -> usize {
        let round = u64::try_from(self.seconds.len()).unwrap_or(0);
        usize::try_from(number.checked_rem(round).unwrap_or(0)).unwrap_or(0)
    }

    fn length(&self, number: u64) -> Option<u64> {
        self.seconds.get(self.place(number)).map(|seconds| seconds.saturating_mul(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: &str = "{ percent: 50, waves: [{ percent: 20, seconds: 40 }, { percent: 5, seconds: 7 }],
        pause: { every_seconds: 60, for_seconds: 9, percent: 25 },
        active: { sm_percent: 0, tensor_percent: 0, dram_percent: 0 } }";

    fn curve(shift: u64) -> Curve {
        Curve::new(&serde_yaml::from_str(LOAD).unwrap(), shift)
    }

    /// Adds up the level millisecond by millisecond, and holds the formula against it.
    fn check(level: impl Fn(u64) -> u32, work: impl Fn(u64) -> i128) {
        let mut sum = 0;
        for millis in 0..300_000 {
            let (sum_of_levels, by_formula) = (sum, work(millis));
            // Levels are read at the start of a millisecond and move a little within it.
            assert!((by_formula - sum_of_levels).abs() < 2_000_000, "{millis}: {by_formula} {sum_of_levels}");
            sum += i128::from(level(millis));
        }
    }

    #[test]
    fn work_is_the_integral_of_the_level() {
        for shift in [0, 12_345] {
            let curve = curve(shift);
            check(|millis| curve.level(millis), |millis| curve.work(millis));
        }
    }

    #[test]
    fn runs_begin_anew_and_their_work_adds_up() {
        let runs: Runs = serde_yaml::from_str("{ every_seconds: 30, seconds: [20, 5, 28] }").unwrap();
        let presence = Presence::InRuns(runs);
        assert_eq!(presence.run(19_999), Some(Run { number: Some(0), age: 19_999 }));
        assert_eq!(presence.run(20_000), None);
        assert_eq!(presence.run(30_000), Some(Run { number: Some(1), age: 0 }));
        assert_eq!(presence.run(35_000), None);
        assert_eq!(presence.run(109_999), Some(Run { number: Some(3), age: 19_999 }));
        assert_eq!(presence.run(117_000), None);
        let curve = curve(0);
        let level = |millis| presence.run(millis).map_or(0, |run| curve.level(run.age));
        check(level, |millis| presence.work(&curve, millis));
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        let curve = curve(u64::MAX);
        assert!(curve.level(u64::MAX) <= 1_000_000 && curve.work(u64::MAX) > 0);
    }
}
