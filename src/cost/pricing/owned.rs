//! What an hour of a GPU costs that was bought.
//!
//! ```text
//! capital  = (server + network) × (1 − residual) ÷ (8,760 h × life)
//! upkeep   = server × upkeep part per year ÷ 8,760 h
//! power    = kW × load factor × PUE × $/kWh          or  kW × $/kW-month × 12 ÷ 8,760 h
//! rate     = (capital + upkeep + power) ÷ GPUs ÷ availability
//! ```
//!
//! With a cost of capital, the capital is what an annuity pays: with i per month over n months and the price less the
//! residual value in its present worth, `payment = worth × i ÷ (1 − (1 + i)^−n)`. Life is whole months then.
//!
//! Everything is an integer: amounts are billionths, sums have nine decimals more, and only the rate is rounded, to the
//! nearest billionth of a dollar. 8,760 is 365 days.

use crate::cost::money::Rate;

/// Billionths in one.
const ONE: u128 = 1_000_000_000;
const HOURS_PER_YEAR: u128 = 8_760;

/// A kind of server that was bought; every number but `gpus` in billionths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedHardware {
    /// GPUs in it, at least one.
    pub gpus: u32,
    /// What it cost, in dollars.
    pub server: u64,
    /// Its part of the network and the storage around it, in dollars.
    pub network: u64,
    /// How long it is used, in years; more than zero.
    pub life_years: u64,
    /// What it is worth after that, as a part of its price.
    pub residual: u64,
    /// Support, spares and staff per year, as a part of the server's price.
    pub upkeep: u64,
    /// Interest per year on what was paid, as a part; zero if none is counted.
    pub cost_of_capital: u64,
    /// The power that it draws at full load, in kW.
    pub kilowatts: u64,
    /// What power costs.
    pub power: Power,
    /// The part of its life in which it can be used; more than zero.
    pub availability: u64,
}

/// What the power of a server costs; every number in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// By what is drawn.
    Metered {
        /// The mean draw as a part of the draw at full load.
        load_factor: u64,
        /// Power of the whole data centre per power of its computers.
        pue: u64,
        /// Dollars per kWh.
        per_kwh: u64,
    },
    /// By what is reserved in a data centre of others.
    Contracted {
        /// Dollars per kW and month.
        per_kw_month: u64,
    },
}

// === impl OwnedHardware ===

impl OwnedHardware {
    /// What one GPU costs per hour; `None` if the numbers make no rate, such as a life of no time.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        let upkeep = u128::from(self.server).checked_mul(self.upkeep.into())? / HOURS_PER_YEAR;
        let sum = self.capital()?.checked_add(upkeep)?.checked_add(self.power_per_hour()?)?;
        let divisor = u128::from(self.gpus).checked_mul(self.availability.into())?;
        let nanos = sum.checked_add(divisor / 2)?.checked_div(divisor)?;
        u64::try_from(nanos).ok().map(Rate::from_nanos_per_hour)
    }

    /// Capital per hour in billionths of billionths of a dollar.
    fn capital(&self) -> Option<u128> {
        let price = u128::from(self.server) + u128::from(self.network);
        let residual = ONE.checked_sub(self.residual.into())?;
        if self.cost_of_capital == 0 {
            let per_life = price.checked_mul(residual)?.checked_mul(ONE)?;
            return per_life.checked_div(HOURS_PER_YEAR * u128::from(self.life_years));
        }
        let months = u128::from(self.life_years) * 12 / ONE;
        let interest = u128::from(self.cost_of_capital) * 1_000 / 12;
        let payment = annuity(price, self.residual.into(), interest, u32::try_from(months).ok()?)?;
        payment.checked_mul(12 * ONE).map(|per_year| per_year / HOURS_PER_YEAR)
    }

    fn power_per_hour(&self) -> Option<u128> {
        let kilowatts = u128::from(self.kilowatts);
        match self.power {
            Power::Metered { load_factor, pue, per_kwh } => {
                let drawn = kilowatts.checked_mul(load_factor.into())? / ONE;
                (drawn.checked_mul(pue.into())? / ONE).checked_mul(per_kwh.into())
            }
            Power::Contracted { per_kw_month } => {
                kilowatts.checked_mul(u128::from(per_kw_month) * 12).map(|per_year| per_year / HOURS_PER_YEAR)
            }
        }
    }
}

/// The monthly payment for `price`, in its unit. `interest` is the part per month in 10⁻¹².
fn annuity(price: u128, residual: u128, interest: u128, months: u32) -> Option<u128> {
    const UNIT: u128 = 1_000_000_000_000;
    let mut growth = UNIT;
    for _ in 0..months.min(1_200) {
        growth = growth.checked_mul(UNIT + interest)? / UNIT;
    }
    let left_over = price.checked_mul(residual)? / ONE;
    let worth = price.checked_sub(left_over.checked_mul(UNIT)?.checked_div(growth)?)?;
    let paid = worth.checked_mul(interest)? / UNIT;
    paid.checked_mul(growth)?.checked_div(growth.checked_sub(UNIT)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn dollars(millis: u64) -> u64 {
        millis * 1_000_000
    }

    fn dgx(change: impl FnOnce(&mut OwnedHardware)) -> String {
        let mut server = OwnedHardware {
            gpus: 8,
            server: dollars(300_000_000),
            network: 0,
            life_years: dollars(4_000),
            residual: 0,
            upkeep: dollars(50),
            cost_of_capital: 0,
            kilowatts: dollars(10_200),
            power: metered(80, 1_300),
            availability: dollars(1_000),
        };
        change(&mut server);
        server.rate().map_or_else(|| "none".to_owned(), |rate| format!("{:.3}", rate.dollars_per_hour()))
    }

    const fn metered(per_kwh: u64, pue: u64) -> Power {
        Power::Metered { load_factor: dollars(800), pue: dollars(pue), per_kwh: dollars(per_kwh) }
    }

    #[test]
    fn a_server_of_eight_costs_what_its_owner_pays() {
        assert_eq!(dgx(|_| {}), "1.390");
        assert_eq!(dgx(|server| server.power = metered(60, 1_100)), "1.352");
        assert_eq!(dgx(|server| server.power = metered(120, 1_600)), "1.480");
        assert_eq!(dgx(|server| server.life_years = dollars(5_000)), "1.176");
        assert_eq!(dgx(|server| server.cost_of_capital = dollars(80)), "1.574");
        assert_eq!(
            dgx(|server| server.power = Power::Contracted { per_kw_month: dollars(150_000) }),
            "1.546"
        );
        assert_eq!(dgx(|server| server.availability = dollars(500)), "2.781");
        assert_eq!(dgx(|server| server.residual = dollars(1_000)), "0.320");
    }

    #[test]
    fn numbers_that_make_no_rate_make_none() {
        assert_eq!(dgx(|server| server.gpus = 0), "none");
        assert_eq!(dgx(|server| server.life_years = 0), "none");
        assert_eq!(dgx(|server| server.availability = 0), "none");
        assert_eq!(dgx(|server| server.residual = dollars(1_001)), "none");
        assert_eq!(dgx(|server| (server.life_years, server.cost_of_capital) = (1, 1)), "none");
    }
}
