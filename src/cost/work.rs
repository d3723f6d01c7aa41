//! What each holder of a GPU did in an interval, as a part of its own share.

use crate::observation::{Activity, Gpu, Mig, Ppm, Process, Worker};

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

/// Reads who did what on a GPU from the observation that closes an interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worked<'a> {
    gpu: &'a Gpu,
    claims: &'a GpuClaims,
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
        Self { gpu, claims }
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
        let processes = self.gpu.processes.as_deref()?;
        // What might be a holder's own is not called foreign.
        if processes.iter().any(is_nobodys_yet) {
            return None;
        }
        let all = total(processes.iter());
        let held =
            total(processes.iter().filter(|process| self.claims.holdings().any(|(h, _)| is_of(process, h))));
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
        let processes = self.gpu.processes.as_deref()?;
        let here = || processes.iter().filter(|process| process.mig_device == holding.mig_device);
        // Work that might be any holder's: the others must not have it divided among them.
        if here().any(is_nobodys_yet) {
            return None;
        }
        let all = total(here());
        let worked = self.device_utilization(holding).is_some_and(|device| device > Ppm::ZERO);
        // A device that worked while no process was sampled: the samples do not tell whose work it was.
        (all > 0 || !worked).then(|| (total(here().filter(|process| is_of(process, holding))), all))
    }

    /// What the holder has of its device and what all its holders have, as parts of one whole.
    fn weights(&self, holding: &Holding) -> (u64, u64) {
        let weigh = |is_counted: &dyn Fn(&Holding) -> bool| {
            let parts = self.claims.division.weights().filter_map(|(claim, weight)| match claim {
                Claim::Holder(other) if is_counted(other) => Some(weight),
                _ => None,
            });
            parts.fold(0u64, u64::saturating_add)
        };
        let all = weigh(&|other| other.mig_device == holding.mig_device);
        (weigh(&|other| other.is_same_place(holding)), all)
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

fn is_of(process: &Process, holding: &Holding) -> bool {
    process.mig_device == holding.mig_device
        && matches!(&process.worker, Worker::Pod(pod) if *pod == holding.pod)
}

/// Whether the process did work and nobody can say for whom.
fn is_nobodys_yet(process: &Process) -> bool {
    process.worker == Worker::Unknown && process.utilization > Ppm::ZERO
}

fn total<'p>(processes: impl Iterator<Item = &'p Process>) -> u64 {
    processes.map(|process| u64::from(process.utilization.get())).sum()
}

fn portion(device: Ppm, own: u64, all: u64) -> Ppm {
    let part = (u128::from(device.get()) * u128::from(own)).checked_div(u128::from(all)).unwrap_or(0);
    Ppm::new(u32::try_from(part).unwrap_or(u32::MAX))
}
