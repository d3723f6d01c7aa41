//! What energy costs and emits in the interval that is open.

use serde::{Deserialize, Serialize};

use super::text::Text;
use crate::cost::pricing::{EnergyRates, GridIntensity};

/// What energy costs and emits over an interval, in billionths.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireEnergyRates {
    dollars_per_kwh: Option<u64>,
    intensity: Option<(u64, Text)>,
    pue: u64,
    host_factor: u64,
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
