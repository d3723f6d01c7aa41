//! The form of a kept state.
//!
//! It mirrors the accounts and what attribution remembers, so that those may change while old states stay readable; the
//! observation has the form that it has in a trace. Accounts are known by UUIDs, by namespace, name and UID, by labels
//! and by the names of states: by nothing that a program could number otherwise. A reader skips what it does not know;
//! what would change the meaning of a known field gets another version.
//!
//! Each type is made by taking its original apart without leaving a field out, so that a new field is not forgotten. Its
//! lists borrow their originals, so that a state is written with one element of each alive at a time.

mod accounts;
mod energy;
mod memory;
mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::accounts::{WireDevice, WirePayer, WirePayerKey, WirePod};
use self::energy::WireEnergyRates;
use self::memory::WireMemory;
use self::text::{Text, WirePriceModel};
use super::Identity;
use crate::cost::ledger::Ledger;
use crate::cost::meter::{Kept, KeptInterval, Price};
use crate::cost::money::{Cost, Rate};
use crate::observation::UnixTime;
use crate::trace::{List, WholeLine};

/// A state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireState<'a> {
    node: Text,
    mode: Text,
    written_by: Text,
    ledger_start: u64,
    devices: List<'a, WireDevice>,
    pods: List<'a, WirePod>,
    payers: List<'a, WirePayer>,
    #[serde(default, skip_serializing_if = "List::is_empty")]
    folded: List<'a, WirePayerKey>,
    held: u128,
    closed: u128,
    #[serde(default)]
    dropped_pods: u64,
    conflicts: u64,
    memory: WireMemory<'a>,
    interval: WireInterval<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireInterval<'a> {
    seen: WholeLine<'a>,
    prices: List<'a, WirePrice>,
    /// Left out where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    energy: Option<WireEnergyRates>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WirePrice {
    gpu: Text,
    nanos_per_hour: u64,
    price_model: WirePriceModel,
}

// === impl WireState ===

impl<'a> WireState<'a> {
    pub(super) fn of(kept: &'a Kept, identity: &Identity) -> Self {
        let Kept { ledger_start, ledger, conflicts, memory, interval } = kept;
        // The time of day is the next observation's.
        let Ledger { now: _, devices, pods, payers, folded, held, closed, dropped_pods } = ledger;
        Self {
            node: (&identity.node).into(),
            mode: (&identity.mode).into(),
            written_by: Text::from(&Arc::from(env!("CARGO_PKG_VERSION"))),
            ledger_start: ledger_start.as_millis(),
            devices: List::of(devices, WireDevice::of),
            pods: List::of(pods, WirePod::of),
            payers: List::of(payers, WirePayer::of),
            folded: List::of(folded, WirePayerKey::of),
            held: held.units(),
            closed: closed.units(),
            dropped_pods: *dropped_pods,
            conflicts: *conflicts,
            memory: WireMemory::of(memory),
            interval: WireInterval::of(interval),
        }
    }

    /// Whose it is.
    pub(super) fn identity(&self) -> Identity {
        Identity { node: Arc::clone(&self.node.0), mode: Arc::clone(&self.mode.0) }
    }

    /// What was kept, or what in it has no meaning.
    pub(super) fn kept(self) -> Result<Kept, String> {
        let interval = self.interval.kept();
        let ledger = Ledger {
            now: interval.seen.wall,
            devices: self.devices.into_iter().map(WireDevice::account).collect::<Result<_, _>>()?,
            pods: self.pods.into_iter().map(WirePod::account).collect::<Result<_, _>>()?,
            payers: self.payers.into_iter().map(WirePayer::account).collect(),
            folded: self.folded.into_iter().map(WirePayerKey::payer).collect(),
            held: Cost::from_units(self.held),
            closed: Cost::from_units(self.closed),
            dropped_pods: self.dropped_pods,
        };
        Ok(Kept {
            ledger_start: UnixTime::from_millis(self.ledger_start),
            ledger,
            conflicts: self.conflicts,
            memory: self.memory.memory(interval.seen.allocations.clone()),
            interval,
        })
    }
}

// === impl WireInterval ===

impl<'a> WireInterval<'a> {
    fn of(interval: &'a KeptInterval) -> Self {
        let KeptInterval { seen, prices, energy } = interval;
        let energy = energy.as_ref().map(WireEnergyRates::of);
        Self { seen: seen.into(), prices: List::of(prices, WirePrice::of), energy }
    }

    fn kept(self) -> KeptInterval {
        let prices = self.prices.into_iter().map(WirePrice::price).collect();
        KeptInterval { seen: self.seen.into(), prices, energy: self.energy.map(WireEnergyRates::rates) }
    }
}

// === impl WirePrice ===

impl WirePrice {
    fn of((gpu, price): (&Arc<str>, &Price)) -> Self {
        let Price { rate, price_model } = price;
        Self {
            gpu: gpu.into(),
            nanos_per_hour: rate.nanos_per_hour(),
            price_model: WirePriceModel(*price_model),
        }
    }

    fn price(self) -> (Arc<str>, Price) {
        let rate = Rate::from_nanos_per_hour(self.nanos_per_hour);
        (self.gpu.into(), Price { rate, price_model: self.price_model.0 })
    }
}
