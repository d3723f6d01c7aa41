//! Charging one GPU for one interval: every unit of its cost and its time is posted exactly once.

use std::sync::Arc;

use crate::observation::{Span, UnixTime};

use super::open::{Holder, OpenGpu, Recent};
use super::{Meter, Policy};
use crate::cost::attribution::{Claim, Holding};
use crate::cost::ledger::Accounts;
use crate::cost::money::{Amount, Cost, GpuTime};
use crate::cost::pricing::EnergyRates;
use crate::cost::report::{LastCharge, State};
use crate::cost::share::{Division, Share, scaled};
use crate::cost::work::{Work, Worked};

/// One interval of one GPU.
#[derive(Clone, Copy)]
pub(super) struct Interval<'a> {
    /// The GPU as it was when the interval began.
    pub(super) gpu: &'a OpenGpu,
    /// The GPU as it is when the interval ends.
    pub(super) now: &'a OpenGpu,
    pub(super) elapsed: Span,
    pub(super) wall: UnixTime,
    /// What energy costs and emits; `None` if nobody has said.
    pub(super) rates: Option<&'a EnergyRates>,
}

/// What one claim on a GPU comes to in an interval.
#[derive(Clone, Copy)]
struct Piece<'a> {
    claim: &'a Claim,
    share: Share,
    amount: Amount,
    /// `None` where the GPU's energy was not read.
    millijoules: Option<u128>,
}

// === impl Meter ===

impl Meter {
    /// Charges an interval as the GPU was divided in it: by what was measured, or where nothing was, for being there.
    ///
    /// What is `recent` is of the holders at its beginning; `division` has no other ones, in the same order.
    pub(super) fn charge(
        &mut self,
        at: Interval<'_>,
        division: &Division<Claim>,
        worked: Option<&Worked<'_>>,
        recent: &mut [Recent],
    ) {
        let held: Vec<(&Holder, &Holding)> =
            at.gpu.held().map(|(holder, holding, _)| (holder, holding)).collect();
        let mut next = 0;
        for piece in self.pieces(at, division) {
            match piece.claim {
                Claim::Nobody(state) => self.charge_nobody(at, *state, piece.amount),
                Claim::Holder(holding) => {
                    let found = (next..held.len()).find(|n| held[*n].1.is_same_place(holding));
                    debug_assert!(found.is_some(), "whoever has a part of a gap was there when it began");
                    let Some(place) = found else { continue };
                    next = place + 1;
                    self.charge_holder(at, (held[place].0, holding), worked, piece, &mut recent[place]);
                }
            }
        }
    }

    /// Adds the energy since the last reading to the GPU and says how much it was, in millijoules; `None` if it was not
    /// read.
    pub(super) fn read_energy(&mut self, now: &OpenGpu, rates: Option<&EnergyRates>) -> Option<u128> {
        let reading = now.gpu.energy_millijoules?;
        Some(self.ledger.device(&now.gpu.uuid).read_energy(reading, rates))
    }

    /// Adds the interval and its energy to the GPU and cuts them up.
    fn pieces<'d>(&mut self, at: Interval<'_>, division: &'d Division<Claim>) -> Vec<Piece<'d>> {
        let bill = at.gpu.price.map(|price| price.rate.over(at.elapsed));
        self.ledger.device(&at.gpu.gpu.uuid).bill += bill.unwrap_or_default();
        let energy = self.read_energy(at.now, at.rates);
        let costs = division.split(bill.unwrap_or_default().units());
        let times = division.split(GpuTime::from(at.elapsed).nanos());
        let energies = division.split(energy.unwrap_or_default());
        let parts = division.parts().zip(costs).zip(times).zip(energies);
        let piece = |((((claim, share), (_, cost)), (_, time)), (_, part))| Piece {
            claim,
            share,
            amount: Amount { cost: bill.map(|_| Cost::from_units(cost)), time: GpuTime::from_nanos(time) },
            millijoules: energy.map(|_| part),
        };
        parts.map(piece).collect()
    }

    /// What nobody holds. Its part of the energy stays with the GPU.
    fn charge_nobody(&mut self, at: Interval<'_>, state: State, amount: Amount) {
        let state = if at.gpu.is_unavailable() { State::Unavailable } else { state };
        self.ledger.accounts(&at.gpu.gpu.uuid, None, &at.gpu.nobody).post(None, state, amount);
    }

    /// What a holder has. Its part of the energy is as large as that of the cost: what the GPU draws while they do nothing
    /// is theirs, too.
    fn charge_holder(
        &mut self,
        at: Interval<'_>,
        (holder, holding): (&Holder, &Holding),
        worked: Option<&Worked<'_>>,
        piece: Piece<'_>,
        recent: &mut Recent,
    ) {
        let mut accounts = self.ledger.accounts(&at.gpu.gpu.uuid, Some(&holder.id), &holder.payer);
        let work = worked.and_then(|worked| worked.by(holding)).filter(|_| !at.gpu.is_unavailable());
        recent.window.push(at.elapsed, work.map(Work::ppm), self.policy.idle_window);
        recent.last = Some(Arc::new(match work {
            Some(work) => {
                let idle = recent.window.mean().is_some_and(|mean| mean <= self.policy.idle_threshold);
                let utilization = worked.and_then(|worked| worked.device_utilization(holding));
                if let Some(utilization) = utilization {
                    accounts.device.add_to_band(utilization, piece.amount.time);
                }
                post_work(&mut accounts, at, (holding, work, idle), piece, &self.policy)
            }
            None => post_unmeasured(&mut accounts, at, holding, piece),
        }));
        if let (Some(pod), Some(part)) = (accounts.pod, piece.millijoules) {
            pod.add_energy(part, at.rates);
        }
    }
}

/// Posts what was used and what was not, and says what was charged.
fn post_work(
    accounts: &mut Accounts<'_>,
    at: Interval<'_>,
    (holding, work, idle): (&Holding, Work, bool),
    piece: Piece<'_>,
    policy: &Policy,
) -> LastCharge {
    let (used, rest) = piece.amount.cut(work.within());
    let parts = [(State::Used, used), (if idle { State::Idle } else { State::Underused }, rest)];
    for (state, part) in parts {
        accounts.post(holding.containers.as_deref(), state, part);
    }
    let (numerator, denominator) = work.beyond();
    let burst = scaled(piece.amount.cost.unwrap_or_default().units(), numerator, denominator);
    let burst = Cost::from_units(burst);
    if let Some(pod) = &mut accounts.pod {
        pod.burst += burst;
        if work.ppm() > policy.idle_threshold {
            pod.last_active = Some(at.wall);
        }
    }
    LastCharge { work: Some(work.fraction()), burst, ..piece.shown(at, holding, &parts) }
}

fn post_unmeasured(
    accounts: &mut Accounts<'_>,
    at: Interval<'_>,
    holding: &Holding,
    piece: Piece<'_>,
) -> LastCharge {
    let state = if at.gpu.is_unavailable() { State::Unavailable } else { State::Unmeasured };
    accounts.post(holding.containers.as_deref(), state, piece.amount);
    piece.shown(at, holding, &[(state, piece.amount)])
}

// === impl Piece ===

impl Piece<'_> {
    /// The charge of a holder as it is shown, as long as nobody says what it did.
    fn shown(&self, at: Interval<'_>, holding: &Holding, parts: &[(State, Amount)]) -> LastCharge {
        // No more room than is needed: there is one for every holder.
        let mut shown = Vec::with_capacity(parts.len());
        shown.extend(parts.iter().filter(|(_, amount)| !amount.is_nothing()));
        LastCharge {
            elapsed: at.elapsed,
            rate: at.gpu.price.map(|price| price.rate),
            share: (self.share.numerator(), self.share.denominator()),
            of_device: (holding.part.numerator(), holding.part.denominator()),
            work: None,
            parts: shown,
            burst: Cost::ZERO,
        }
    }
}
