//! Which processes worked on a GPU in the interval between two ticks (`nvmlDeviceGetProcessUtilization`).
//!
//! Asked for what is newer than a timestamp, the driver answers with one entry per process that did work since then:
//! the mean of its part of the multiprocessors' time over the driver's sample periods, together with the end of the
//! last period in which it worked. So the entries of one answer have different timestamps and yet stand for the same
//! time. That is the form that was seen on real boards. The documentation allows
//! several entries per process too, one per period; then each stands for one period, as all periods of one GPU are of
//! the same length, and a process that has no entry for a period did nothing in it.
//!
//! An idle GPU has no entries, which the driver calls "not found". Periods are up to 1 s long and ticks may be as close, so
//! a tick in between sees none either; what was seen last stands for a while, like the last utilization sample does.
//! The function does not exist for partitioned GPUs.
//!
//! Drivers have been seen to fill the whole buffer with garbage while a process ends: percentages such as 4294967295,
//! process 0, times of last year. It is dropped. A process that did work in such a moment is missing from it, which
//! nobody can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use super::questions::Questions;
use crate::observation::{Ppm, Process, UnixTime, Worker};

/// A sample from later than this after the wall clock is garbage: clocks of one machine agree better than that.
const AHEAD_MICROS: u64 = 1_000_000;

/// How long the last answer stands when no newer one came: two of the longest sample periods.
const CARRY_MICROS: u64 = 2_000_000;

/// How far back the first tick looks: what happened before the program started is not its business, and one period
/// would often be empty.
const FIRST_MICROS: u64 = 3_000_000;

/// How often a list that grew between its two calls, for its size and for its content, is asked for in one tick.
const ATTEMPTS: u32 = 3;

/// One entry of an answer as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) pid: u32,
    /// When it was taken, in microseconds since the epoch.
    pub(super) micros: u64,
    /// Percent of the multiprocessors' time; more than 100 is garbage.
    pub(super) percent: u32,
}

/// How far the samples of one GPU's processes have been read, and what they said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// The newest timestamp that was seen.
    newest: Option<u64>,
    last: Arc<[Sampled]>,
}

/// What one process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sampled {
    pid: u32,
    utilization: Ppm,
    /// The earliest of its timestamps: the process that worked was there then.
    micros: u64,
}

// === impl Cursor ===

impl Cursor {
    /// Asks which processes worked since the last tick; `None` where the driver cannot tell.
    ///
    /// Whose processes they are is not known here.
    pub(super) fn read(
        &mut self,
        questions: &mut Questions<'_>,
        gpu: &Device<'_>,
        now: UnixTime,
    ) -> Option<Vec<Process>> {
        let samples = ask(questions, gpu, self.last_seen(micros(now)))?;
        self.take_in(samples, now);
        let process = |sampled: &Sampled| Process {
            pid: sampled.pid,
            worker: Worker::Unknown,
            utilization: sampled.utilization,
            mig_device: None,
        };
        Some(self.last.iter().map(process).collect())
    }

    /// The processes of the last reading, each with a moment at which it was there.
    pub(super) fn sampled(&self) -> impl Iterator<Item = (u32, UnixTime)> {
        self.last.iter().map(|sampled| (sampled.pid, UnixTime::from_millis(sampled.micros / 1_000)))
    }

    /// The timestamp after which the driver is asked for samples, in microseconds. One from before the wall clock was
    /// set back would hide all that come.
    fn last_seen(&self, now: u64) -> u64 {
        let valid = self.newest.filter(|newest| *newest <= now.saturating_add(AHEAD_MICROS));
        valid.unwrap_or_else(|| now.saturating_sub(FIRST_MICROS))
    }

    /// Replaces what was seen last by an answer, unless that has nothing new and the last one is still fresh.
    fn take_in(&mut self, mut samples: Vec<Sample>, now: UnixTime) {
        let now = micros(now);
        let last_seen = self.last_seen(now);
        let times = last_seen.saturating_add(1)..=now.saturating_add(AHEAD_MICROS);
        samples.retain(|sample| sample.pid != 0 && sample.percent <= 100 && times.contains(&sample.micros));
        if let Some(newest) = samples.iter().map(|sample| sample.micros).max() {
            self.newest = Some(newest);
            self.last = means(samples).into();
        } else if now.saturating_sub(last_seen) > CARRY_MICROS {
            self.last = Arc::default();
        }
    }
}

fn ask(questions: &mut Questions<'_>, gpu: &Device<'_>, last_seen: u64) -> Option<Vec<Sample>> {
    const UTILIZATION: &str = "nvmlDeviceGetProcessUtilization";
    if !questions.has(UTILIZATION) {
        return None;
    }
    for _ in 0..ATTEMPTS {
        match questions.call(UTILIZATION, || gpu.process_utilization_stats(last_seen))? {
            Ok(samples) => {
                let sample = |sample: &nvml_wrapper::struct_wrappers::device::ProcessUtilizationSample| {
                    Sample { pid: sample.pid, micros: sample.timestamp, percent: sample.sm_util }
                };
                return Some(samples.iter().map(sample).collect());
            }
            Err(NvmlError::NotFound) => return Some(Vec::new()),
            Err(NvmlError::InsufficientSize(_)) => {}
            Err(error) => {
                questions.note_minor(UTILIZATION, error);
                return None;
            }
        }
    }
    None
}

/// What each process did, without those that did nothing, by process.
fn means(mut samples: Vec<Sample>) -> Vec<Sampled> {
    // The larger of two entries for one period is the one that counts.
    samples.sort_by_key(|sample| (sample.pid, sample.micros, u32::MAX - sample.percent));
    samples.dedup_by_key(|sample| (sample.pid, sample.micros));
    let mut by_pid: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
    for sample in samples.iter().copied() {
        by_pid.entry(sample.pid).or_default().push(sample);
    }
    let is_by_period = by_pid.values().any(|own| own.len() > 1);
    let periods: BTreeSet<u64> = samples.iter().map(|sample| sample.micros).collect();
    let periods = if is_by_period { periods.len() } else { 1 };
    let worked = by_pid.into_iter().map(|(pid, own)| Sampled {
        pid,
        utilization: mean(own.iter().map(|sample| sample.percent), periods),
        micros: own.iter().map(|sample| sample.micros).min().unwrap_or(0),
    });
    worked.filter(|worked| worked.utilization > Ppm::ZERO).collect()
}

fn mean(percents: impl Iterator<Item = u32>, periods: usize) -> Ppm {
    let sum = percents.map(u64::from).sum::<u64>().saturating_mul(10_000);
    let mean = sum.checked_div(u64::try_from(periods).unwrap_or(u64::MAX)).unwrap_or(0);
    Ppm::new(u32::try_from(mean).unwrap_or(u32::MAX))
}

fn micros(time: UnixTime) -> u64 {
    time.as_millis().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second in which all tests happen, far from zero as wall clocks are.
    const EPOCH_MILLIS: u64 = 1_800_000_000_000;

    /// When a tick is, the processes, milliseconds and percent of the driver's answer, and the parts per million.
    type Tick<'a> = (u64, &'a [(u32, u64, u32)], &'a [(u32, u32)]);

    /// Reads one answer after the other.
    #[track_caller]
    fn check(ticks: &[Tick<'_>]) -> Cursor {
        let mut cursor = Cursor::default();
        for (number, (now, answer, expected)) in ticks.iter().enumerate() {
            let sample = |&(pid, millis, percent): &(u32, u64, u32)| Sample {
                pid,
                micros: (EPOCH_MILLIS + millis) * 1_000,
                percent,
            };
            cursor.take_in(answer.iter().map(sample).collect(), UnixTime::from_millis(EPOCH_MILLIS + now));
            let worked: Vec<_> = cursor.last.iter().map(|it| (it.pid, it.utilization.get())).collect();
            assert_eq!(worked, *expected, "tick {number}");
        }
        cursor
    }

    #[test]
    fn one_entry_per_process_is_its_mean_whenever_it_worked_last() {
        check(&[
            (10_000, &[(7, 9_900, 40), (8, 9_100, 10)], &[(7, 400_000), (8, 100_000)]),
            (11_000, &[(8, 10_900, 25)], &[(8, 250_000)]),
        ]);
    }

    #[test]
    fn an_entry_per_period_stands_for_that_period() {
        // Four periods: one process works in all of them, one in the last, one not at all.
        let answer =
            [(7, 9_250, 40), (7, 9_500, 40), (7, 9_750, 40), (7, 10_000, 20), (8, 10_000, 80), (9, 9_250, 0)];
        check(&[(10_000, &answer, &[(7, 350_000), (8, 200_000)])]);
    }

    #[test]
    fn garbage_is_dropped() {
        check(&[
            (10_000, &[(7, 10_000, 30)], &[(7, 300_000)]),
            (
                11_000,
                &[
                    (7, 11_000, 30),
                    // What peers' users have reported.
                    (8, 11_000, u32::MAX),
                    (8, 11_000, 2_147_483_632),
                    (8, 11_000, 101),
                    (0, 11_000, 50),
                    // From last year, before the cursor, at it, from the future.
                    (9, 0, 50),
                    (9, 9_999, 50),
                    (9, 10_000, 50),
                    (9, 12_001, 50),
                    // Twice.
                    (7, 11_000, 30),
                    (7, 11_000, 10),
                ],
                &[(7, 300_000)],
            ),
            (12_000, &[(0, 12_000, u32::MAX)], &[(7, 300_000)]),
        ]);
    }

    #[test]
    fn a_tick_without_an_entry_carries_the_last_answer_for_two_seconds() {
        check(&[
            (10_000, &[(7, 10_000, 50)], &[(7, 500_000)]),
            (11_000, &[], &[(7, 500_000)]),
            (12_000, &[], &[(7, 500_000)]),
            (12_001, &[], &[]),
            (13_000, &[(8, 12_900, 20)], &[(8, 200_000)]),
        ]);
    }

    #[test]
    fn the_first_tick_looks_back_three_seconds() {
        let cursor = Cursor::default();
        assert_eq!(cursor.last_seen(10_000_000), 7_000_000);
        check(&[(10_000, &[(7, 7_000, 90), (8, 7_001, 10)], &[(8, 100_000)])]);
    }

    #[test]
    fn a_wall_clock_set_back_does_not_stop_the_measurement() {
        check(&[
            (100_000, &[(7, 100_000, 10)], &[(7, 100_000)]),
            (10_000, &[(7, 10_000, 70)], &[(7, 700_000)]),
        ]);
    }

    #[test]
    fn a_process_was_there_when_it_was_first_sampled() {
        let cursor = check(&[(
            10_000,
            &[(7, 9_500, 10), (7, 10_000, 30), (8, 9_800, 40)],
            &[(7, 133_333), (8, 133_333)],
        )]);
        let at = |millis| UnixTime::from_millis(EPOCH_MILLIS + millis);
        assert_eq!(cursor.sampled().collect::<Vec<_>>(), [(7, at(9_500)), (8, at(9_800))]);
    }
}
