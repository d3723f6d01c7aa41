//! What each holder of a GPU did in an interval, as a part of its own share.

use std::collections::{BTreeMap, BTreeSet};

use crate::observation::{Activity, Gpu, Mig, PodKey, Ppm, Process, Worker};

use super::attribution::{Claim, GpuClaims, Holding};
use super::report::{Attribution, State};

/// What a holder did on its device in an interval, as an exact fraction of what it has of it.
///
/// More than the whole means that it used what others have: burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    numerator: u128,
    denominator: u128,
}

/// Reads who did what on a GPU from the observation that closes an interval. What it adds up it adds up once, for a GPU
/// may have a thousand holders.
#[derive(Clone, Debug)]
pub(super) struct Worked<'a> {
    gpu: &'a Gpu,
    claims: &'a GpuClaims,
    /// The samples of processes; `None` if the driver gave none.
    samples: Option<Sums<'a>>,
    /// Where work was sampled that might be any holder's.
    untold: BTreeSet<Option<&'a str>>,
    /// What the holders have of their devices, as parts of one whole.
    weights: Sums<'a>,
}

/// Sums by MIG device, `None` for the whole GPU.
type Sums<'a> = BTreeMap<Option<&'a str>, Sum<'a>>;

/// A sum over all of one device and, of that, over each pod.
#[derive(Clone, Debug, Default)]
struct Sum<'a> {
    all: u64,
    by_pod: BTreeMap<&'a PodKey, u64>,
}

// === impl Work ===

impl Work {
    fn new(part_of_device: Ppm, holding: &Holding) -> Self {
        let share = holding.part;
        Self {
            numerator: u128::from(part_of_device.get()) * u128::from(share.denominator()),
            denominator: u128::from(Ppm::ALL.get()) * u128::from(share.numerator()),
        }
    }

    /// The part of its own share that did work, at most all of it.
    pub(super) fn within(self) -> (u128, u128) {
        (self.numerator.min(self.denominator), self.denominator)
    }

    /// All of it, as a fraction of the share.
    pub(super) fn fraction(self) -> (u128, u128) {
        (self.numerator, self.denominator)
    }

    /// The work beyond its share, as a fraction of the share.
    pub(super) fn beyond(self) -> (u128, u128) {
        (self.numerator.saturating_sub(self.denominator), self.denominator)
    }

    /// The part of its own share that did work, in millionths.
    pub(super) fn ppm(self) -> Ppm {
        let (numerator, denominator) = self.within();
        let ppm = (numerator * u128::from(Ppm::ALL.get())).checked_div(denominator).unwrap_or(0);
        Ppm::new(u32::try_from(ppm).unwrap_or(u32::MAX))
    }
}

// === impl Worked ===

impl<'a> Worked<'a> {
    /// What was done on `gpu` while it was divided as `claims` say.
    pub(super) fn new(gpu: &'a Gpu, claims: &'a GpuClaims) -> Self {
        let processes = gpu.processes.as_deref();
        let untold = processes.unwrap_or_default().iter().filter(|process| is_nobodys_yet(process));
        let weights = claims.division.weights().filter_map(|(claim, weight)| match claim {
            Claim::Holder(holding) => Some((holding.mig_device.as_deref(), Some(&holding.pod), weight)),
            Claim::Nobody(_) => None,
        });
        Self {
            gpu,
            claims,
            samples: processes.map(|processes| sums(processes.iter().map(sample))),
            untold: untold.map(|process| process.mig_device.as_deref()).collect(),
            weights: sums(weights),
        }
    }

    /// What `holding` did; `None` if it was not measured.
    pub(super) fn by(&self, holding: &Holding) -> Option<Work> {
        let device = self.activity(holding)?.utilization?;
        let own = if holding.is_shared() { self.part(holding, device) } else { device };
        Some(Work::new(own, holding))
    }

    /// The utilization of the device that a holding is on.
    pub(super) fn device_utilization(&self, holding: &Holding) -> Option<Ppm> {
        self.activity(holding)?.utilization
    }

    /// How the work was divided.
    pub(super) fn attribution(&self) -> Attribution {
        let mut shared = self.claims.holdings().filter(|(holding, _)| holding.is_shared()).peekable();
        if shared.peek().is_none() {
            Attribution::Device
        } else if shared.all(|(holding, _)| self.sampled(holding).is_some()) {
            Attribution::Processes
        } else {
            Attribution::EqualParts
        }
    }

    /// Work on the GPU by processes of nobody who holds it; `None` if the GPU, whose its processes are or its
    /// holders are not known.
    pub(super) fn foreign(&self) -> Option<Ppm> {
        let device = self.gpu.activity.utilization?;
        let unknown = |claim: &Claim| *claim == Claim::Nobody(State::Unattributed);
        if self.claims.division.claimants().any(unknown) {
            return None;
        }
        if self.claims.holdings().next().is_none() {
            return Some(device);
        }
        // What might be a holder's own is not called foreign.
        let samples = self.samples.as_ref().filter(|_| self.untold.is_empty())?;
        let holds = |at, pod| self.weights.get(at).is_some_and(|sum| sum.by_pod.contains_key(pod));
        let own =
            samples.iter().flat_map(|(at, sum)| sum.by_pod.iter().map(move |(pod, own)| (at, pod, own)));
        let all: u64 = samples.values().map(|sum| sum.all).sum();
        let held: u64 = own.filter(|(at, pod, _)| holds(*at, *pod)).map(|(_, _, own)| own).sum();
        // A device that worked while no process was sampled was perhaps not worked by its holders.
        (all > 0 || device == Ppm::ZERO).then(|| portion(device, all - held, all))
    }

    /// Its own part of a shared device's work: by the samples of its processes, or else in proportion to what each of
    /// the holders has.
    fn part(&self, holding: &Holding, device: Ppm) -> Ppm {
        let (own, all) = self.sampled(holding).unwrap_or_else(|| self.weights(holding));
        portion(device, own, all)
    }

    /// The samples of the holder's processes and of all processes on its device; `None` if they tell nothing.
    fn sampled(&self, holding: &Holding) -> Option<(u64, u64)> {
        let samples = self.samples.as_ref()?;
        // Work that might be any holder's: the others must not have it divided among them.
        if self.untold.contains(&holding.mig_device.as_deref()) {
            return None;
        }
        let (own, all) = own_and_all(samples, holding);
        let worked = self.device_utilization(holding).is_some_and(|device| device > Ppm::ZERO);
        // A device that worked while no process was sampled: the samples do not tell whose work it was.
        (all > 0 || !worked).then_some((own, all))
    }

    /// What the holder has of its device and what all its holders have, as parts of one whole.
    fn weights(&self, holding: &Holding) -> (u64, u64) {
        own_and_all(&self.weights, holding)
    }

    fn activity(&self, holding: &Holding) -> Option<&Activity> {
        match (&holding.mig_device, &self.gpu.mig) {
            (None, _) => Some(&self.gpu.activity),
            (Some(uuid), Mig::Enabled(partition)) => {
                partition.devices.iter().find(|device| device.uuid == *uuid).map(|device| &device.activity)
            }
            (Some(_), Mig::Disabled) => None,
        }
    }
}

/// Adds up what is where, and whose it is; `None` for what is no pod's.
fn sums<'a>(parts: impl Iterator<Item = (Option<&'a str>, Option<&'a PodKey>, u64)>) -> Sums<'a> {
    let mut sums = Sums::new();
    for (at, pod, part) in parts {
        let sum = sums.entry(at).or_default();
        sum.all = sum.all.saturating_add(part);
        if let Some(pod) = pod {
            let own = sum.by_pod.entry(pod).or_default();
            *own = own.saturating_add(part);
        }
    }
    sums
}

/// The holder's own part of the sum on its device, and all of that.
fn own_and_all(sums: &Sums<'_>, holding: &Holding) -> (u64, u64) {
    let Some(sum) = sums.get(&holding.mig_device.as_deref()) else { return (0, 0) };
    (sum.by_pod.get(&holding.pod).copied().unwrap_or(0), sum.all)
}

fn sample(process: &Process) -> (Option<&str>, Option<&PodKey>, u64) {
    let pod = if let Worker::Pod(pod) = &process.worker { Some(pod) } else { None };
    (process.mig_device.as_deref(), pod, process.utilization.get().into())
}

/// Whether the process did work and nobody can say for whom.
fn is_nobodys_yet(process: &Process) -> bool {
    process.worker == Worker::Unknown && process.utilization > Ppm::ZERO
}

fn portion(device: Ppm, own: u64, all: u64) -> Ppm {
    let part = (u128::from(device.get()) * u128::from(own)).checked_div(u128::from(all)).unwrap_or(0);
    Ppm::new(u32::try_from(part).unwrap_or(u32::MAX))
}
