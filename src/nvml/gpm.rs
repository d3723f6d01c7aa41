//! GPU performance monitoring: what the hardware's own counters say about the time between two ticks.
//!
//! Hopper and later count what their multiprocessors, tensor cores and memory do, for the whole GPU and for each GPU
//! instance of a partitioned one. A sample is a copy of the counters; the driver computes the means between two
//! samples. So the last sample is kept until the next tick, and the mean covers exactly the interval.
//!
//! Utilization here is `GRAPHICS_UTIL`, the part of the time in which anything ran, because that is what the sample
//! buffers of unpartitioned GPUs mean by it. Where a driver does not give it, it is `SM_UTIL`, which is never larger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::{Device, GpmSample, Nvml};

use super::error::Meaning;
use super::questions::Questions;
use crate::observation::{Activity, Ppm, UnixTime};

/// NVML documents no mean over less than this; two ticks in a row then give the same numbers.
const MILLIS_MIN: u64 = 100;

/// What is asked of two samples. Few enough for every driver's size of the request.
const METRICS: [GpmMetricId; 4] =
    [GpmMetricId::GraphicsUtil, GpmMetricId::SmUtil, GpmMetricId::AnyTensorUtil, GpmMetricId::DramBwUtil];

/// The last samples of one GPU.
#[derive(Default)]
pub(super) struct Gpm<'nvml> {
    supported: Option<bool>,
    whole: Option<Taken<'nvml>>,
    /// By the MIG devices of the GPU instance: the instance's id is given to another one later, and a mean over a time in
    /// which another compute instance came or went is nobody's.
    instances: BTreeMap<Arc<str>, Taken<'nvml>>,
    /// GPU instances that have no counters for us, which says nothing of the others.
    refused: BTreeSet<Arc<str>>,
}

/// The last sample and what it said together with the one before.
struct Taken<'nvml> {
    at: UnixTime,
    sample: GpmSample<'nvml>,
    activity: Activity,
}

// === impl Gpm ===

impl<'nvml> Gpm<'nvml> {
    /// Asks again whether the GPU has counters: the driver may have been configured in between.
    pub(super) fn probe_again(&mut self) {
        self.supported = None;
        self.refused.clear();
    }

    /// Whether the GPU has counters that we may read (`nvmlGpmQueryDeviceSupport`).
    pub(super) fn is_supported(&mut self, questions: &mut Questions<'_>, device: &Device<'nvml>) -> bool {
        const QUERY: &str = "nvmlGpmQueryDeviceSupport";
        if self.supported.is_none() && questions.has(QUERY) {
            self.supported = lenient(questions, QUERY, || device.gpm_support());
        }
        self.supported.unwrap_or(false)
    }

    /// What the whole GPU did since the last tick.
    pub(super) fn whole(
        &mut self,
        questions: &mut Questions<'_>,
        nvml: &'nvml Nvml,
        device: &Device<'nvml>,
        now: UnixTime,
    ) -> Activity {
        let last = self.whole.take();
        self.whole = step(questions, nvml, last, now, "nvmlGpmSampleGet", || device.gpm_sample());
        self.whole.as_ref().map_or_else(Activity::default, |taken| taken.activity)
    }

    /// What the GPU instance of these MIG devices did since the last tick.
    pub(super) fn instance(
        &mut self,
        questions: &mut Questions<'_>,
        nvml: &'nvml Nvml,
        device: &Device<'nvml>,
        (members, gpu_instance): (&Arc<str>, u32),
        now: UnixTime,
    ) -> Activity {
        let last = self.instances.remove(members);
        if self.refused.contains(members) {
            return Activity::default();
        }
        let mut refused = false;
        let take = || {
            let sample = device.gpm_mig_sample(gpu_instance);
            refused =
                sample.as_ref().is_err_and(|error| matches!(Meaning::of(error), Meaning::Absent { .. }));
            if refused { Err(NvmlError::NoData) } else { sample }
        };
        let taken = step(questions, nvml, last, now, "nvmlGpmMigSampleGet", take);
        if refused {
            self.refused.insert(Arc::clone(members));
        }
        let Some(taken) = taken else { return Activity::default() };
        let activity = taken.activity;
        self.instances.insert(Arc::clone(members), taken);
        activity
    }

    /// Forgets the samples of GPU instances that do not exist any more.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.instances.retain(|members, _| exists(members));
        self.refused.retain(|members| exists(members));
    }
}

/// Takes the next sample, unless the last one is too fresh for a mean.
fn step<'nvml>(
    questions: &mut Questions<'_>,
    nvml: &'nvml Nvml,
    last: Option<Taken<'nvml>>,
    now: UnixTime,
    function: &'static str,
    take: impl FnOnce() -> Result<GpmSample<'nvml>, NvmlError>,
) -> Option<Taken<'nvml>> {
    if last.as_ref().is_some_and(|last| is_fresh(last.at, now)) {
        return last;
    }
    let sample = lenient(questions, function, take)?;
    let activity = last.and_then(|last| between(questions, nvml, &last.sample, &sample)).unwrap_or_default();
    Some(Taken { at: now, sample, activity })
}

/// A wall clock that was set back leaves no sample fresh for longer than it was.
fn is_fresh(at: UnixTime, now: UnixTime) -> bool {
    (at.as_millis()..at.as_millis().saturating_add(MILLIS_MIN)).contains(&now.as_millis())
}

fn between<'nvml>(
    questions: &mut Questions<'_>,
    nvml: &'nvml Nvml,
    first: &GpmSample<'nvml>,
    second: &GpmSample<'nvml>,
) -> Option<Activity> {
    let metrics = lenient(questions, "nvmlGpmMetricsGet", || gpm_metrics_get(nvml, first, second, &METRICS))?;
    let mut parts = metrics.into_iter().map(|metric| metric.ok().and_then(|metric| part(metric.value)));
    let mut next = || parts.next().flatten();
    let (graphics, sm_active, tensor_active, dram_active) = (next(), next(), next(), next());
    Some(Activity { utilization: graphics.or(sm_active), sm_active, tensor_active, dram_active })
}

/// NVML documents no error of these calls, so that any of them only means that there is no number this time.
fn lenient<T>(
    questions: &mut Questions<'_>,
    function: &'static str,
    call: impl FnOnce() -> Result<T, NvmlError>,
) -> Option<T> {
    if !questions.has(function) {
        return None;
    }
    match questions.call(function, call)? {
        Ok(answer) => Some(answer),
        Err(error) => {
            questions.note_minor(function, error);
            None
        }
    }
}

/// Percent as a part of a whole; `None` for what is no percentage.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage from 0 to 100 is at most a million millionths"
)]
fn part(percent: f64) -> Option<Ppm> {
    (percent >= 0.0 && percent.is_finite()).then(|| Ppm::new((percent.min(100.0) * 10_000.0).round() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_a_part_or_nothing() {
        for (percent, expected) in [
            (0.0, Some(0)),
            (12.345_678, Some(123_457)),
            (100.0, Some(1_000_000)),
            (100.3, Some(1_000_000)),
            (-0.1, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(part(percent).map(Ppm::get), expected, "{percent} %");
        }
    }

    #[test]
    fn a_sample_is_fresh_for_a_tenth_of_a_second() {
        let fresh = |at, now| is_fresh(UnixTime::from_millis(at), UnixTime::from_millis(now));
        assert!(fresh(1_000, 1_000) && fresh(1_000, 1_099));
        assert!(!fresh(1_000, 1_100) && !fresh(1_000, 999));
    }
}
