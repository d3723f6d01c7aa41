//! Charging one GPU for one interval: every unit of its cost and its time is posted exactly once.

use std::sync::Arc;

use crate::observation::{Span, UnixTime};

use super::open::{Holder, OpenGpu};
use super::{Meter, Recent};
use crate::cost::attribution::{Claim, Holding};
use crate::cost::ledger::Charge;
use crate::cost::money::{Amount, Cost, GpuTime};
use crate::cost::pricing::EnergyRates;
use crate::cost::report::{LastCharge, State};
use crate::cost::share::{Division, Share, scaled};
use crate::cost::work::{Work, Worked};

/// One interval of one GPU.
#[derive(Clone, Copy)]
struct Interval<'a> {
    gpu: &'a OpenGpu,
    elapsed: Span,
    wall: UnixTime,
}

/// What one claim on a GPU comes to in an interval.
#[derive(Clone, Copy)]
struct Piece<'a> {
    claim: &'a Claim,
    share: Share,
    amount: Amount,
}

// === impl Meter ===

impl Meter {
    /// Charges an interval by what was measured in it.
    pub(super) fn charge_measured(&mut self, gpu: &OpenGpu, now: &OpenGpu, elapsed: Span, wall: UnixTime) {
        let interval = Interval { gpu, elapsed, wall };
        let worked = Worked::new(&now.gpu, &gpu.claims);
        for piece in self.pieces(gpu, &gpu.claims.division, elapsed) {
            match piece.claim {
                Claim::Nobody(state) => self.post_nobodys(gpu, *state, piece.amount),
                Claim::Holder(holding) => self.charge_holding(interval, holding, &worked, piece),
            }
        }
    }

    /// Charges an interval in which nobody looked, but not for long: to those who were there before and are after.
    pub(super) fn charge_gap(&mut self, gpu: &OpenGpu, division: &Division<Claim>, elapsed: Span) {
        for piece in self.pieces(gpu, division, elapsed) {
            match piece.claim {
                Claim::Nobody(state) => self.post_nobodys(gpu, *state, piece.amount),
                Claim::Holder(holding) => self.charge_unmeasured(gpu, holding, elapsed, piece),
            }
        }
    }

    /// Adds the energy since the last reading to the GPU and, as its cost is divided, to its holders: what it draws while
    /// they do nothing is theirs, too. What nobody holds stays with the GPU.
    pub(super) fn add_energy(
        &mut self,
        (gpu, now): (&OpenGpu, &OpenGpu),
        division: &Division<Claim>,
        rates: Option<&EnergyRates>,
    ) {
        let Some(added) = self.read_energy(now, rates) else { return };
        for (claim, part) in division.split(added) {
            let Claim::Holder(holding) = claim else { continue };
            let Some(holder) = gpu.holders.get(&holding.pod) else { continue };
            self.ledger.pod(&holder.id).add_energy(part, rates);
        }
    }

    /// Adds the energy since the last reading to the GPU and says how much it was, in millijoules; `None` if it was not
    /// read.
    pub(super) fn read_energy(&mut self, now: &OpenGpu, rates: Option<&EnergyRates>) -> Option<u128> {
        let reading = now.gpu.energy_millijoules?;
        Some(self.ledger.device(&now.gpu.uuid).read_energy(reading, rates))
    }

    /// Adds the interval to the GPU's bill and cuts it up.
    fn pieces<'d>(&mut self, gpu: &OpenGpu, division: &'d Division<Claim>, elapsed: Span) -> Vec<Piece<'d>> {
        let bill = gpu.price.map(|price| price.rate.over(elapsed));
        self.ledger.device(&gpu.gpu.uuid).bill += bill.unwrap_or_default();
        let costs = division.split(bill.unwrap_or_default().units());
        let times = division.split(GpuTime::from(elapsed).nanos());
        let amount = |cost, time| Amount {
            cost: bill.map(|_| Cost::from_units(cost)),
            time: GpuTime::from_nanos(time),
        };
        let pieces = division.parts().zip(costs.zip(times));
        pieces
            .map(|((claim, share), ((_, cost), (_, time)))| Piece {
                claim,
                share,
                amount: amount(cost, time),
            })
            .collect()
    }

    fn charge_holding(&mut self, at: Interval<'_>, holding: &Holding, worked: &Worked<'_>, piece: Piece<'_>) {
        let Some(work) = worked.by(holding).filter(|_| !at.gpu.is_unavailable()) else {
            return self.charge_unmeasured(at.gpu, holding, at.elapsed, piece);
        };
        let amount = piece.amount;
        let idle = self.is_idle(at.gpu, holding, at.elapsed, work);
        let Some(holder) = at.gpu.holders.get(&holding.pod) else { return };
        let (used, rest) = amount.cut(work.within());
        let parts = [(State::Used, used), (if idle { State::Idle } else { State::Underused }, rest)];
        for (state, part) in parts {
            self.post_holders(at.gpu, (holder, holding), state, part);
        }

        let (numerator, denominator) = work.beyond();
        let burst = scaled(amount.cost.unwrap_or_default().units(), numerator, denominator);
        let burst = Cost::from_units(burst);
        let account = self.ledger.pod(&holder.id);
        account.burst += burst;
        if work.ppm() > self.policy.idle_threshold {
            account.last_active = Some(at.wall);
        }
        let charge = piece.shown(at.gpu, holding, at.elapsed, &parts);
        let charge = LastCharge { work: Some(work.fraction()), burst, ..charge };
        self.recent(at.gpu, holding).last = Some(Arc::new(charge));
        if let Some(utilization) = worked.device_utilization(holding) {
            self.ledger.device(&at.gpu.gpu.uuid).add_to_band(utilization, amount.time);
        }
    }

    fn charge_unmeasured(&mut self, gpu: &OpenGpu, holding: &Holding, elapsed: Span, piece: Piece<'_>) {
        let length = self.policy.idle_window;
        self.recent(gpu, holding).window.push(elapsed, None, length);
        let Some(holder) = gpu.holders.get(&holding.pod) else { return };
        let state = if gpu.is_unavailable() { State::Unavailable } else { State::Unmeasured };
        self.post_holders(gpu, (holder, holding), state, piece.amount);
        let charge = piece.shown(gpu, holding, elapsed, &[(state, piece.amount)]);
        self.recent(gpu, holding).last = Some(Arc::new(charge));
    }

    fn is_idle(&mut self, gpu: &OpenGpu, holding: &Holding, elapsed: Span, work: Work) -> bool {
        let (length, threshold) = (self.policy.idle_window, self.policy.idle_threshold);
        let window = &mut self.recent(gpu, holding).window;
        window.push(elapsed, Some(work.ppm()), length);
        window.mean().is_some_and(|mean| mean <= threshold)
    }

    fn recent(&mut self, gpu: &OpenGpu, holding: &Holding) -> &mut Recent {
        self.recent.entry(gpu.place(holding)).or_default()
    }

    fn post_holders(
        &mut self,
        gpu: &OpenGpu,
        (holder, holding): (&Holder, &Holding),
        state: State,
        amount: Amount,
    ) {
        let (gpu, pod, containers) = (&gpu.gpu.uuid, Some(&holder.id), holding.containers.as_deref());
        self.post(&Charge { gpu, pod, containers, payer: &holder.payer, state, amount });
    }

    fn post_nobodys(&mut self, gpu: &OpenGpu, state: State, amount: Amount) {
        let state = if gpu.is_unavailable() { State::Unavailable } else { state };
        let (pod, containers, payer) = (None, None, &gpu.nobody);
        self.post(&Charge { gpu: &gpu.gpu.uuid, pod, containers, payer, state, amount });
    }

    fn post(&mut self, charge: &Charge<'_>) {
        if !charge.amount.is_nothing() {
            self.ledger.post(charge);
        }
    }
}

// === impl Piece ===

impl Piece<'_> {
    /// The charge of a holder as it is shown, as long as nobody says what it did.
    fn shown(
        &self,
        gpu: &OpenGpu,
        holding: &Holding,
        elapsed: Span,
        parts: &[(State, Amount)],
    ) -> LastCharge {
        // No more room than is needed: there is one for every holder.
        let mut shown = Vec::with_capacity(parts.len());
        shown.extend(parts.iter().filter(|(_, amount)| !amount.is_nothing()));
        LastCharge {
            elapsed,
            rate: gpu.price.map(|price| price.rate),
            share: (self.share.numerator(), self.share.denominator()),
            of_device: (holding.part.numerator(), holding.part.denominator()),
            work: None,
            parts: shown,
            burst: Cost::ZERO,
        }
    }
}
