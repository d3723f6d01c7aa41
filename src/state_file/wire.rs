//! The form of a kept state.
//!
//! It mirrors the accounts and what attribution remembers, so that those may change while old states stay readable; the
//! observation has the form that it has in a trace. Accounts are known by UUIDs, by namespace, name and UID, by labels
//! and by the names of states: by nothing that a program could number otherwise. A reader skips what it does not know;
//! what would change the meaning of a known field gets another version.
//!
//! Each type is made by taking its original apart without leaving a field out, so that a new field is not forgotten.

mod accounts;
mod energy;
mod memory;
mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::accounts::{WireDevice, WirePayer, WirePayerKey, WirePod};
use self::energy::WireEnergyRates;
use self::memory::WireMemory;
use self::text::{Text, price_model};
use super::Identity;
use crate::cost::ledger::Ledger;
use crate::cost::meter::{Kept, KeptInterval, Price};
use crate::cost::money::{Cost, Rate};
use crate::observation::UnixTime;
use crate::trace::WholeLine;

/// A state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireState {
    node: Text,
    mode: Text,
    written_by: Text,
    ledger_start: u64,
    devices: Vec<WireDevice>,
    pods: Vec<WirePod>,
    payers: Vec<WirePayer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    folded: Vec<WirePayerKey>,
    held: u128,
    closed: u128,
    #[serde(default)]
    dropped_pods: u64,
    conflicts: u64,
    memory: WireMemory,
    interval: WireInterval,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireInterval {
    seen: WholeLine,
    prices: Vec<WirePrice>,
    /// Left out where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    energy: Option<WireEnergyRates>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WirePrice {
    gpu: Text,
    nanos_per_hour: u64,
    price_model: Text,
}

// === impl WireState ===

impl WireState {
    pub(super) fn of(kept: &Kept, identity: &Identity) -> Self {
        let Kept { ledger_start, ledger, conflicts, memory, interval } = kept;
        // The time of day is the next observation's.
        let Ledger { now: _, devices, pods, payers, folded, held, closed, dropped_pods } = ledger;
        Self {
            node: (&identity.node).into(),
            mode: (&identity.mode).into(),
            written_by: Text::from(&Arc::from(env!("CARGO_PKG_VERSION"))),
            ledger_start: ledger_start.as_millis(),
            devices: devices.iter().map(WireDevice::of).collect(),
            pods: pods.iter().map(WirePod::of).collect(),
            payers: payers.iter().map(WirePayer::of).collect(),
            folded: folded.iter().map(WirePayerKey::of).collect(),
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
        let interval = self.interval.kept()?;
        let ledger = Ledger {
            now: interval.seen.wall,
            devices: self.devices.into_iter().map(WireDevice::account).collect::<Result<_, _>>()?,
            pods: self.pods.into_iter().map(WirePod::account).collect::<Result<_, _>>()?,
            payers: self.payers.into_iter().map(WirePayer::account).collect::<Result<_, _>>()?,
            folded: self.folded.into_iter().map(WirePayerKey::payer).collect::<Result<_, _>>()?,
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

impl WireInterval {
    fn of(interval: &KeptInterval) -> Self {
        let KeptInterval { seen, prices, energy } = interval;
        let price = |(gpu, price): (&Arc<str>, &Price)| {
            let Price { rate, price_model } = price;
            let price_model = Text::from(&Arc::from(price_model.as_str()));
            WirePrice { gpu: gpu.into(), nanos_per_hour: rate.nanos_per_hour(), price_model }
        };
        let energy = energy.as_ref().map(WireEnergyRates::of);
        Self { seen: seen.into(), prices: prices.iter().map(price).collect(), energy }
    }

    fn kept(self) -> Result<KeptInterval, String> {
        let price = |wire: WirePrice| {
            let rate = Rate::from_nanos_per_hour(wire.nanos_per_hour);
            Ok((wire.gpu.into(), Price { rate, price_model: price_model(&wire.price_model)? }))
        };
        let prices = self.prices.into_iter().map(price).collect::<Result<_, String>>()?;
        Ok(KeptInterval { seen: self.seen.into(), prices, energy: self.energy.map(WireEnergyRates::rates) })
    }
}
