//! The mean of the driver's own utilization samples over the interval between two ticks.
//!
//! The driver measures each GPU every 1/6 s to 1 s, depending on the product, and keeps the results in a ring of about
//! 16 s (`nvmlDeviceGetSamples`). A sample stands for the time since the one before it, so the mean weighs each by that
//! time. A [`Cursor`] remembers where the last tick stopped, one per GPU and kind of sample: timestamps of two GPUs
//! are not comparable, and neither are those of two kinds.

use crate::observation::{Ppm, UnixTime};

/// A sample from later than this after the wall clock is garbage: clocks of one machine agree better than that.
const AHEAD_MICROS: u64 = 1_000_000;

/// How long a sample's value stands when no newer one came. Samples are up to 1 s apart and ticks may be as close, so a
/// tick in between often sees none; two periods without one mean that the driver does not measure any more.
const CARRY_MICROS: u64 = 2_000_000;

/// The longest time that one sample may stand for, twice the longest period: after a gap the first sample does not tell
/// about the time before.
const WEIGHT_MICROS_MAX: u64 = 2_000_000;

/// How far back the first tick looks: what happened before the program started is not its business, and one period
/// would often be empty.
const FIRST_MICROS: u64 = 3_000_000;

/// One utilization sample as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sample {
    /// When it was taken, in microseconds since the epoch.
    pub(super) micros: u64,
    /// Percent of the sample's time in which a kernel ran; more than 100 is garbage.
    pub(super) percent: u64,
}

/// How far the samples of one GPU and kind have been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    last: Option<Sample>,
}

// === impl Cursor ===

impl Cursor {
    /// The timestamp after which the driver is asked for samples, in microseconds; 0 is everything it has.
    pub(super) fn last_seen(self, now: UnixTime) -> u64 {
        self.valid(micros(now)).map_or(0, |last| last.micros)
    }

    /// The time-weighted mean of the samples newer than the cursor, which moves to the newest of them.
    ///
    /// Without a newer one it is the last value while that is at most two seconds old, then `None`. What is out of
    /// bounds, out of order or there twice is dropped.
    pub(super) fn mean(&mut self, mut samples: Vec<Sample>, now: UnixTime) -> Option<Ppm> {
        let now = micros(now);
        self.last = self.valid(now);
        samples.retain(|sample| sample.percent <= 100 && sample.micros <= now.saturating_add(AHEAD_MICROS));
        samples.sort_by_key(|sample| sample.micros);
        samples.dedup_by_key(|sample| sample.micros);
        if self.last.is_none() {
            self.skip_to(&samples, now.saturating_sub(FIRST_MICROS));
        }

        let (mut time, mut work) = (0, 0);
        for sample in samples {
            let start = self.last.map_or(sample.micros.saturating_sub(1), |last| last.micros);
            if sample.micros <= start {
                continue;
            }
            let weight = (sample.micros - start).min(WEIGHT_MICROS_MAX);
            time += u128::from(weight);
            work += u128::from(weight) * u128::from(sample.percent);
            self.last = Some(sample);
        }
        if time == 0 { self.carried(now) } else { ppm(work * 10_000, time) }
    }

    /// The last sample read, unless the wall clock was set back behind it: then all that come would be too old.
    fn valid(self, now: u64) -> Option<Sample> {
        self.last.filter(|last| last.micros <= now.saturating_add(AHEAD_MICROS))
    }

    /// Starts at the newest sample that is not newer than `start`, or else at the first one of all.
    fn skip_to(&mut self, sorted: &[Sample], start: u64) {
        let old = sorted.iter().rev().find(|sample| sample.micros <= start);
        let alone = sorted.len() == 1;
        self.last = old.or(sorted.first().filter(|_| !alone)).copied();
    }

    fn carried(self, now: u64) -> Option<Ppm> {
        let last = self.last.filter(|last| now.saturating_sub(last.micros) <= CARRY_MICROS)?;
        ppm(u128::from(last.percent) * 10_000, 1)
    }
}

fn ppm(parts: u128, whole: u128) -> Option<Ppm> {
    u32::try_from((parts + whole / 2) / whole).ok().map(Ppm::new)
}

fn micros(time: UnixTime) -> u64 {
    time.as_millis().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second in which all tests happen, far from zero as wall clocks are.
    const EPOCH_MILLIS: u64 = 1_800_000_000_000;

    /// When a tick is, the milliseconds and percent of the samples that the driver gives it, and their mean.
    type Tick<'a> = (u64, &'a [(u64, u64)], Option<u32>);

    /// Reads the samples of one tick after the other.
    #[track_caller]
    fn check(ticks: &[Tick<'_>]) {
        let mut cursor = Cursor::default();
        for (number, (now, samples, expected)) in ticks.iter().enumerate() {
            let samples = samples
                .iter()
                .map(|(millis, percent)| Sample {
                    micros: (EPOCH_MILLIS + millis) * 1_000,
                    percent: *percent,
                })
                .collect();
            let mean = cursor.mean(samples, UnixTime::from_millis(EPOCH_MILLIS + now));
            assert_eq!(mean.map(Ppm::get), *expected, "tick {number}");
        }
    }

    #[test]
    fn each_sample_weighs_the_time_since_the_one_before() {
        check(&[
            (10_000, &[(9_000, 0), (10_000, 40)], Some(400_000)),
            (11_000, &[(10_250, 100), (11_000, 20)], Some(400_000)),
        ]);
    }

    #[test]
    fn the_first_tick_looks_back_three_seconds_and_not_sixteen() {
        check(&[(
            20_000,
            &[(5_000, 100), (16_000, 100), (17_000, 100), (18_000, 30), (19_000, 30), (20_000, 60)],
            Some(400_000),
        )]);
    }

    #[test]
    fn the_only_sample_there_is_counts() {
        check(&[(10_000, &[(9_900, 70)], Some(700_000))]);
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        check(&[
            (10_000, &[(9_000, 0), (10_000, 40)], Some(400_000)),
            (11_000, &[(9_000, 0), (10_000, 40), (11_000, 80)], Some(800_000)),
        ]);
    }

    #[test]
    fn garbage_is_dropped() {
        check(&[
            (10_000, &[(9_000, 0), (10_000, 10)], Some(100_000)),
            (
                11_000,
                &[
                    (11_000, 30),
                    (10_500, 10),
                    (10_500, 90),
                    (10_600, 101),
                    (12_001, 99),
                    (0, 99),
                    (11_000, 30),
                ],
                Some(200_000),
            ),
        ]);
    }

    #[test]
    fn a_tick_without_a_sample_carries_the_last_value_for_two_seconds() {
        check(&[
            (10_000, &[(9_500, 50), (10_000, 50)], Some(500_000)),
            (11_000, &[], Some(500_000)),
            (12_000, &[], Some(500_000)),
            (12_001, &[], None),
            (13_000, &[(12_900, 0)], Some(0)),
        ]);
    }

    #[test]
    fn a_sample_after_a_gap_does_not_outweigh_the_rest() {
        check(&[
            (10_000, &[(9_000, 0), (10_000, 0)], Some(0)),
            (61_000, &[(60_000, 0), (61_000, 90)], Some(300_000)),
        ]);
    }

    #[test]
    fn a_wall_clock_set_back_does_not_stop_the_measurement() {
        check(&[
            (100_000, &[(99_000, 10), (100_000, 10)], Some(100_000)),
            (10_000, &[(9_000, 10), (10_000, 70)], Some(700_000)),
        ]);
    }

    #[test]
    fn no_sample_ever_is_no_measurement() {
        check(&[(10_000, &[], None), (11_000, &[(11_000, 300)], None)]);
    }

    #[test]
    fn the_driver_is_asked_from_where_the_last_tick_stopped() {
        let (now, mut cursor) = (UnixTime::from_millis(EPOCH_MILLIS), Cursor::default());
        assert_eq!(cursor.last_seen(now), 0);
        let newest = EPOCH_MILLIS * 1_000;
        cursor.mean(vec![Sample { micros: newest, percent: 5 }], now);
        assert_eq!(cursor.last_seen(now), newest);
        assert_eq!(cursor.last_seen(UnixTime::from_millis(EPOCH_MILLIS - 5_000)), 0);
    }
}
