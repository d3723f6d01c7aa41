//! What energy costs and emits.

use super::money::decimal;
use super::wire::{Electricity, Energy};
use crate::cost::pricing::{self, EnergyRates};

pub(super) fn rates(rates: &EnergyRates) -> Energy {
    let number = |billionths: u64| decimal(billionths.into(), 9);
    let intensity = rates.intensity.as_ref();
    Energy {
        dollars_per_kwh: rates.dollars_per_kwh.map(number),
        co2e_grams_per_kwh: intensity.map(|intensity| number(intensity.grams_per_kwh)),
        intensity_source: intensity.map(|intensity| intensity.origin.as_ref().into()),
        pue: number(rates.pue),
        host_factor: number(rates.host_factor),
    }
}

/// `None` if no energy was measured.
pub(super) fn electricity(millijoules: Option<u128>, spent: pricing::Electricity) -> Option<Electricity> {
    Some(Electricity {
        joules: decimal(millijoules?, 3),
        dollars: spent.cost.map(|cost| cost.to_string()),
        co2e_grams: spent.co2e.map(|co2e| co2e.to_string()),
    })
}
