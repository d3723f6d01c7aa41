//! What energy cost and emitted, and what it does in the interval that is open.

use serde::{Deserialize, Serialize};

use super::text::Text;
use crate::cost::money::{Cost, Grams};
use crate::cost::pricing::{Electricity, EnergyRates, GridIntensity};

/// What some energy cost and emitted, in the units of a cost and of grams.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct WireElectricity {
    cost: Option<u128>,
    co2e: Option<u128>,
}

/// What energy costs and emits over an interval, in billionths.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireEnergyRates {
    dollars_per_kwh: Option<u64>,
    intensity: Option<(u64, Text)>,
    pue: u64,
    host_factor: u64,
}

// === impl WireElectricity ===

impl WireElectricity {
    pub(super) fn of(electricity: Electricity) -> Self {
        let Electricity { cost, co2e } = electricity;
        Self { cost: cost.map(Cost::units), co2e: co2e.map(Grams::units) }
    }

    pub(super) fn electricity(self) -> Electricity {
        Electricity { cost: self.cost.map(Cost::from_units), co2e: self.co2e.map(Grams::from_units) }
    }
}

// === impl WireEnergyRates ===

impl WireEnergyRates {
    pub(super) fn of(rates: &EnergyRates) -> Self {
        let EnergyRates { dollars_per_kwh, intensity, pue, host_factor } = rates;
        let parts = |GridIntensity { grams_per_kwh, origin }: &GridIntensity| (*grams_per_kwh, origin.into());
        Self {
            dollars_per_kwh: *dollars_per_kwh,
            intensity: intensity.as_ref().map(parts),
            pue: *pue,
            host_factor: *host_factor,
        }
    }

    pub(super) fn rates(self) -> EnergyRates {
        let intensity =
            |(grams_per_kwh, origin): (u64, Text)| GridIntensity { grams_per_kwh, origin: origin.into() };
        EnergyRates {
            dollars_per_kwh: self.dollars_per_kwh,
            intensity: self.intensity.map(intensity),
            pue: self.pue,
            host_factor: self.host_factor,
        }
    }
}
