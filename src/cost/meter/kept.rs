//! What outlives the program: everything that a meter needs to go on where another one stopped.
//!
//! The interval that was open is opened anew from the observation that opened it, so that only what was seen is kept, not
//! what followed from it; but at the price that it was opened with, because the past is never priced again. Nobody
//! looked while the program was away, so the next observation closes it as a gap, however short.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::open::{Described, Open, OpenGpu};
use super::{Meter, Policy};
use crate::cost::attribution;
use crate::cost::ledger::Ledger;
use crate::cost::money::Rate;
use crate::cost::pricing::{EnergyRates, PriceModel, PriceSheet, Quote};
use crate::observation::{Gpu, Observation, UnixTime};

/// What outlives the program. What a holder did over the last minute does not: it is judged anew.
#[derive(Clone, Debug)]
pub struct Kept {
    /// When the ledger began.
    pub ledger_start: UnixTime,
    /// All accounts.
    pub ledger: Ledger,
    /// How often two pods were found to name one exclusive device.
    pub conflicts: u64,
    /// What attribution remembers.
    pub memory: attribution::Memory,
    /// The interval that is open.
    pub interval: KeptInterval,
}

/// An interval, by what opened it.
#[derive(Clone, Debug)]
pub struct KeptInterval {
    /// The observation. Its GPUs are all that were known, those too that the driver no longer showed, without what they
    /// measured.
    pub seen: Observation,
    /// What each GPU costs, by UUID; one that is missing is unpriced.
    pub prices: BTreeMap<Arc<str>, Price>,
    /// What energy costs and emits; `None` if nobody had said.
    pub energy: Option<EnergyRates>,
}

/// What a GPU costs over an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The rate.
    pub rate: Rate,
    /// The price model that it is of.
    pub price_model: PriceModel,
}

// === impl Meter ===

impl Meter {
    /// What another meter needs to go on from here; `None` before the first observation.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        let open = self.open.as_ref()?;
        let gpus = open.gpus.iter().map(|gpu| bare(&gpu.gpu));
        let price = |gpu: &OpenGpu| Some((Arc::clone(&gpu.gpu.uuid), gpu.price?));
        Some(Kept {
            ledger_start: self.ledger_start?,
            ledger: self.ledger.clone(),
            conflicts: self.conflicts,
            memory: self.memory.clone(),
            interval: KeptInterval {
                seen: Observation { at: open.at, gpus: Some(gpus.collect()), ..open.seen.clone() },
                prices: open.gpus.iter().filter_map(price).collect(),
                energy: open.energy.clone(),
            },
        })
    }

    /// A meter that goes on with what another one has left.
    #[must_use]
    pub fn resume(policy: Policy, prices: Arc<PriceSheet>, kept: Kept) -> Self {
        let Kept { ledger_start, ledger, conflicts, memory, interval } = kept;
        let begun = Self { ledger, memory, conflicts, ..Self::new(policy, prices) };
        let mut meter = Self { ledger_start: Some(ledger_start), ..begun };
        meter.open = Some(meter.reopen(&interval));
        meter
    }

    fn reopen(&mut self, interval: &KeptInterval) -> Open {
        let KeptInterval { seen, prices, energy } = interval;
        let open = self.open_interval(seen, None);
        let described = Described::new(seen, None);
        let at_price = |gpu: OpenGpu| {
            let OpenGpu { gpu, model, claims, .. } = gpu;
            let price = prices.get(&gpu.uuid).copied();
            OpenGpu::at_price(gpu, model, price, claims, &described)
        };
        let gpus = open.gpus.into_iter().map(at_price).collect();
        Open { resumed: true, gpus, energy: energy.clone(), ..open }
    }
}

/// A GPU without what it measured and who worked on it, neither of which says anything about the time after.
fn bare(gpu: &Gpu) -> Gpu {
    Gpu { utilization_source: gpu.utilization_source, ..gpu.unmeasured(gpu.health) }
}

// === impl Price ===

impl Price {
    pub(super) fn of(quote: &Quote) -> Self {
        Self { rate: quote.effective, price_model: quote.price_model }
    }
}
