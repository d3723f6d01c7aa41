//! The state machine: charges each interval to whoever held the GPUs when it began.
//!
//! A charge belongs to the half-open interval from one observation to the next. The observation that *opens* it says
//! who holds what and at which rate; the one that *closes* it says what was done, because the driver reports what
//! happened since the last tick. Nothing is guessed: where utilization was not read the money is `unmeasured`, where
//! nobody looked for too long the time is counted as unobserved and nobody is charged.

mod charge;
mod kept;
mod open;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crate::observation::{Fault, Gpu, Health, Observation, Ppm, Span, UnixTime, Uptime};

use super::attribution::{self, GpuClaims, Rules};
use super::gpu_model;
use super::ledger::Ledger;
use super::pricing::{NodeFacts, PriceModel, PriceSheet};
use super::report::Report;
use super::work::Worked;

pub use self::kept::{Kept, KeptInterval, Price};

use self::charge::Interval;
use self::open::{Described, Held, Open, OpenGpu, Recent};

/// How the meter charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How the capacity was bought; `None` to go by the price file and the node's labels.
    pub price_model: Option<PriceModel>,
    /// Work at or below this is none: the holder is idle.
    pub idle_threshold: Ppm,
    /// Over how long a time work is judged.
    pub idle_window: Span,
    /// The longest interval that the driver's samples cover, which are kept for about 16 s; a longer one is a gap.
    pub longest_interval: Span,
    /// The longest gap that is charged at all.
    pub max_gap: Span,
    /// How long a pod that holds nothing any more stays in reports, so that every scraper sees its last value.
    pub retention: Span,
    /// How GPUs are divided among their holders.
    pub rules: Rules,
}

impl Default for Policy {
    /// What holds where nobody says otherwise.
    fn default() -> Self {
        Self {
            price_model: None,
            idle_threshold: Ppm::from_percent(1),
            idle_window: Span::from_secs(60),
            longest_interval: Span::from_secs(15),
            max_gap: Span::from_secs(5 * 60),
            retention: Span::from_secs(15 * 60),
            rules: Rules::default(),
        }
    }
}

/// What may change while the meter runs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What GPUs cost.
    pub prices: Arc<PriceSheet>,
    /// How GPUs are divided among their holders.
    pub rules: Rules,
}

/// Turns observations into a ledger.
#[derive(Debug)]
pub struct Meter {
    policy: Policy,
    prices: Arc<PriceSheet>,
    ledger: Ledger,
    ledger_start: Option<UnixTime>,
    memory: attribution::Memory,
    conflicts: u64,
    open: Option<Open>,
}

// === impl Meter ===

impl Meter {
    /// A meter with an empty ledger.
    #[must_use]
    pub fn new(policy: Policy, prices: Arc<PriceSheet>) -> Self {
        Self {
            policy,
            prices,
            ledger: Ledger::default(),
            ledger_start: None,
            memory: attribution::Memory::default(),
            conflicts: 0,
            open: None,
        }
    }

    /// Puts other prices in force, from the next interval on; the open one keeps the rate it began with.
    pub fn set_prices(&mut self, prices: Arc<PriceSheet>) {
        self.prices = prices;
    }

    /// Puts other terms in force, from the next interval on; the open one ends on those it began with.
    pub fn set_terms(&mut self, Terms { prices, rules }: Terms) {
        self.policy.rules = rules;
        self.set_prices(prices);
    }

    /// Closes the open interval with what was seen, opens the next one, and says how things stand.
    pub fn observe(&mut self, seen: &Observation) -> Arc<Report> {
        self.ledger_start.get_or_insert(seen.wall);
        self.ledger.set_time(seen.wall);
        let mut before = self.open.take();
        if before.as_ref().is_some_and(|open| !open.is_continued_by(seen)) {
            self.ledger.begin_boot(seen.at);
            self.memory.begin_boot();
        }
        let mut next = self.open_interval(seen, before.as_ref());
        for gpu in &next.gpus {
            gpu.open_accounts(&mut self.ledger, next.energy.as_ref(), before.as_ref());
        }
        if let Some(open) = &mut before {
            self.close_interval(open, &mut next, seen.wall);
        }
        self.count_events(&next, before.as_ref());
        let holders = next.holders();
        self.expire(&holders, next.at);
        let report = self.summary(seen, &next, &holders);
        self.open = Some(next);
        Arc::new(report)
    }

    fn open_interval(&mut self, seen: &Observation, before: Option<&Open>) -> Open {
        let before = before.filter(|open| open.is_continued_by(seen));
        let gpus = known_gpus(seen, before);
        let known = before.map(|open| &open.attributed);
        let attributed = attribution::attribute(seen, &gpus, &self.policy.rules, &mut self.memory, known);
        let described = Described::new(seen, before);
        let node = NodeFacts::of(&seen.node, gpus.len(), seen.wall, self.prices.catalogue.as_deref());
        let prices = self.prices.on(&node, self.policy.price_model);
        let open = |(position, (gpu, claims)): (usize, (Arc<Gpu>, &Arc<GpuClaims>))| {
            let model = gpu_model::of_product(&gpu.product);
            let quote = prices.quote(&model, position);
            OpenGpu::new(gpu, model, quote, Arc::clone(claims), &described)
        };
        let gpus: Vec<OpenGpu> = gpus.into_iter().zip(&attributed.gpus).enumerate().map(open).collect();
        Open {
            // What was charged stays charged: an observation from the past opens no time a second time.
            at: before.map_or(seen.at, |open| open.at.max(seen.at)),
            seen: seen.without_gpus(),
            resumed: false,
            attributed,
            price_model: prices.price_model(gpus.iter().map(|gpu| &*gpu.model)),
            capacity_type: prices.capacity_type().cloned(),
            energy: self.prices.energy.as_ref().map(|terms| terms.at(seen.wall, &node)),
            gpus,
            node,
        }
    }

    fn close_interval(&mut self, open: &mut Open, next: &mut Open, wall: UnixTime) {
        if !open.is_continued_by(&next.seen) {
            return self.count_reboot(open, wall);
        }
        let (elapsed, rates) = (next.at.since(open.at), open.energy.as_ref());
        for gpu in &mut open.gpus {
            let Some(now) = next.gpus.iter_mut().find(|now| now.gpu.uuid == gpu.gpu.uuid) else { continue };
            let mut recent = mem::take(&mut gpu.recent);
            for recent in &mut recent {
                recent.last = None;
            }
            let interval = Interval { gpu, now, elapsed, wall, rates };
            self.close_interval_of(interval, open.resumed, &mut recent);
            now.remember(gpu, recent);
        }
    }

    fn close_interval_of(&mut self, at: Interval<'_>, resumed: bool, recent: &mut [Recent]) {
        let Interval { gpu, now, elapsed, .. } = at;
        if elapsed > self.policy.max_gap {
            self.ledger.device(&gpu.gpu.uuid).unobserved += elapsed.into();
            // The GPU's energy is known, whose it was is not.
            self.read_energy(now, at.rates);
        } else if elapsed > self.policy.longest_interval || resumed && !elapsed.is_zero() {
            // Nobody looked, but not for long: it is charged to those who were there before and are after.
            self.ledger.device(&gpu.gpu.uuid).recovered += elapsed.into();
            self.charge(at, &gpu.claims.over_gap(&now.claims), None, recent);
        } else if !elapsed.is_zero() {
            let worked = Worked::new(&now.gpu, &gpu.claims);
            self.charge(at, &gpu.claims.division, Some(&worked), recent);
        }
    }

    /// Counts the time from one boot to the next, of which only the wall clock tells.
    fn count_reboot(&mut self, open: &Open, wall: UnixTime) {
        let millis = wall.as_millis().saturating_sub(open.seen.wall.as_millis());
        for gpu in &open.gpus {
            self.ledger.device(&gpu.gpu.uuid).rebooting += Span::from_millis(millis).into();
        }
    }

    /// Counts what happened at a moment rather than over an interval.
    fn count_events(&mut self, next: &Open, before: Option<&Open>) {
        for gpu in &next.gpus {
            let account = self.ledger.device(&gpu.gpu.uuid);
            gpu.gpu.xids.iter().for_each(|xid| account.count(*xid));
        }
        let known = |conflict| before.is_some_and(|open| open.attributed.conflicts.contains(conflict));
        let fresh = next.attributed.conflicts.iter().filter(|conflict| !known(conflict)).count();
        self.conflicts = self.conflicts.saturating_add(u64::try_from(fresh).unwrap_or(u64::MAX));
    }

    /// Closes the accounts of those who hold nothing and did so for too long.
    fn expire(&mut self, holders: &[Held<'_>], now: Uptime) {
        let mut holders = holders.iter().map(|held| &held.holder.id).peekable();
        self.ledger.expire(now, self.policy.retention, |pod| {
            while holders.next_if(|held| *held < pod).is_some() {}
            holders.peek().is_some_and(|held| *held == pod)
        });
    }
}

/// Every GPU of this boot as it is now, sorted by UUID: those that the driver shows, and those it no longer does.
fn known_gpus(seen: &Observation, before: Option<&Open>) -> Vec<Arc<Gpu>> {
    let shown = seen.gpus.iter().flatten();
    let mut gpus: BTreeMap<Arc<str>, Arc<Gpu>> =
        shown.map(|gpu| (Arc::clone(&gpu.uuid), Arc::new(gpu.clone()))).collect();
    let known = before.into_iter().flat_map(|open| &open.gpus);
    for OpenGpu { gpu, .. } in known {
        let unread = || Arc::new(unread(gpu, seen.gpus.is_some()));
        gpus.entry(Arc::clone(&gpu.uuid)).or_insert_with(unread);
    }
    gpus.into_values().collect()
}

/// A GPU of which nothing was read in this tick. A driver that answers and does not list it has lost it; one that does
/// not answer says nothing about it.
fn unread(gpu: &Gpu, driver_answers: bool) -> Gpu {
    let health = if driver_answers { Health::Unavailable(Fault::Missing) } else { gpu.health };
    // How it is measured stays, or else one late answer would be another line of the GPU's description.
    Gpu { utilization_source: gpu.utilization_source, ..gpu.unmeasured(health) }
}
