//! What a GPU's energy costs and emits: beside the bill, never a part of it.
//!
//! ```text
//! kWh     = joules ÷ 3,600,000 J/kWh × host factor × PUE
//! dollars = kWh × $/kWh
//! grams   = kWh × g/kWh                                    of CO2e
//! ```
//!
//! The joules are those that the driver counts for the board. What the rest of the node draws beside its GPUs is the
//! host factor, what the data centre draws beside its computers is the PUE (ISO/IEC 30134-2). The intensity is the mean
//! of the grid where the node stands (location-based, as in the GHG Protocol's scope 2 guidance); what it took to make
//! the hardware is not in it.
//!
//! Price, host factor and PUE are one rate, to the nearest trillionth of a dollar per kWh that the board used. A rate
//! times millijoules is exact: one dollar is 10¹² × 3.6 × 10⁹ of it, as many units as a dollar has in a [`Cost`]. So the
//! parts of some energy cost and emit together what the whole does, and nothing is rounded before it is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::NodeFacts;
use crate::cost::money::{Cost, Grams};
use crate::observation::UnixTime;

/// How many billionths of billionths of billionths are a trillionth.
const PER_TRILLIONTH: u128 = 1_000_000_000_000_000;

const MINUTES_PER_DAY: u32 = 1_440;

/// What the operator wrote about energy; every number is in billionths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnergyTerms {
    /// Dollars per kWh where no tariff says otherwise; `None` if nobody wrote it.
    pub dollars_per_kwh: Option<u64>,
    /// Times of the day with a price of their own; no two of them overlap.
    pub tariffs: Vec<Tariff>,
    /// How many minutes the tariffs' clock is ahead of UTC, the whole year round; negative if it is behind.
    pub utc_offset_minutes: i32,
    /// What a kWh emits.
    pub intensity: Intensity,
    /// Power of the data centre per power of its computers; one or more.
    pub pue: u64,
    /// Power of the node per power of its GPUs; one or more.
    pub host_factor: u64,
}

/// What a kWh costs at some time of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// The first minute after midnight.
    pub from_minute: u32,
    /// The minute after the last one; before the first if midnight lies between them.
    pub to_minute: u32,
    /// Billionths of a dollar per kWh.
    pub dollars_per_kwh: u64,
}

/// Who says what a kWh emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intensity {
    /// The operator, in billionths of a gram of CO2e per kWh.
    Told(u64),
    /// A table, by where the node stands.
    ByRegion(Arc<Grid>),
}

/// What a kWh emits in regions of cloud providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// By provider, then by region.
    regions: BTreeMap<Arc<str>, BTreeMap<Arc<str>, GridIntensity>>,
}

/// What a kWh emits, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridIntensity {
    /// Billionths of a gram of CO2e per kWh.
    pub grams_per_kwh: u64,
    /// `file`, or the row of the built-in table with its year, such as `built_in:gcp/us-central1@2024`.
    pub origin: Arc<str>,
}

/// What energy costs and emits on one node at one moment; every number is in billionths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnergyRates {
    /// Dollars per kWh; `None` if nobody wrote it.
    pub dollars_per_kwh: Option<u64>,
    /// What a kWh emits; `None` if nobody knows it.
    pub intensity: Option<GridIntensity>,
    /// Power of the data centre per power of its computers.
    pub pue: u64,
    /// Power of the node per power of its GPUs.
    pub host_factor: u64,
}

/// What some energy cost and emitted; not part of any bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Electricity {
    /// The money; `None` if there was never a price for measured energy.
    pub cost: Option<Cost>,
    /// The CO2e; `None` if there was never an intensity for measured energy.
    pub co2e: Option<Grams>,
}

// === impl EnergyTerms ===

impl EnergyTerms {
    /// What holds on a node at a moment.
    #[must_use]
    pub fn at(&self, now: UnixTime, node: &NodeFacts) -> EnergyRates {
        let minute = self.minute_of_day(now);
        let tariff = self.tariffs.iter().find(|tariff| tariff.covers(minute));
        let told = |grams_per_kwh| GridIntensity { grams_per_kwh, origin: Arc::from("file") };
        EnergyRates {
            dollars_per_kwh: tariff.map(|tariff| tariff.dollars_per_kwh).or(self.dollars_per_kwh),
            intensity: match &self.intensity {
                Intensity::Told(grams_per_kwh) => Some(told(*grams_per_kwh)),
                Intensity::ByRegion(grid) => grid.of(node).cloned(),
            },
            pue: self.pue,
            host_factor: self.host_factor,
        }
    }

    /// The minute after midnight by the tariffs' clock.
    fn minute_of_day(&self, now: UnixTime) -> u32 {
        let day = i64::from(MINUTES_PER_DAY);
        let in_utc = i64::try_from(now.as_millis() / 60_000).unwrap_or(0);
        u32::try_from((in_utc + i64::from(self.utc_offset_minutes)).rem_euclid(day)).unwrap_or(0)
    }
}

// === impl Tariff ===

impl Tariff {
    /// Whether it holds in a minute of the day.
    #[must_use]
    pub const fn covers(&self, minute: u32) -> bool {
        if self.from_minute < self.to_minute {
            self.from_minute <= minute && minute < self.to_minute
        } else {
            self.from_minute <= minute || minute < self.to_minute
        }
    }

    /// The first minute of the day, in the order of the clock, in which none of `tariffs` holds.
    #[must_use]
    pub fn first_gap(tariffs: &[Self]) -> Option<u32> {
        (0..MINUTES_PER_DAY).find(|minute| !tariffs.iter().any(|tariff| tariff.covers(*minute)))
    }

    /// The first minute of the day, in the order of the clock, in which both hold.
    #[must_use]
    pub fn first_in_both(&self, other: &Self) -> Option<u32> {
        (0..MINUTES_PER_DAY).find(|minute| self.covers(*minute) && other.covers(*minute))
    }
}

// === impl Grid ===

impl Grid {
    /// Adds a region.
    pub fn insert(&mut self, provider: &str, region: &str, intensity: GridIntensity) {
        self.regions.entry(Arc::from(provider)).or_default().insert(Arc::from(region), intensity);
    }

    /// What a kWh emits where a node stands; `None` if that is not known.
    #[must_use]
    pub fn of(&self, node: &NodeFacts) -> Option<&GridIntensity> {
        self.regions.get(node.provider.as_deref()?)?.get(node.region.as_deref()?)
    }

    /// Every region with its provider, sorted.
    pub fn regions(&self) -> impl Iterator<Item = (&str, &str, &GridIntensity)> {
        let of_provider = |(provider, regions)| {
            let regions: &BTreeMap<Arc<str>, GridIntensity> = regions;
            let provider: &Arc<str> = provider;
            regions.iter().map(move |(region, intensity)| (&**provider, &**region, intensity))
        };
        self.regions.iter().flat_map(of_provider)
    }
}

// === impl EnergyRates ===

impl EnergyRates {
    /// What so much energy of a board costs and emits.
    #[must_use]
    pub fn over(&self, millijoules: u128) -> Electricity {
        let units = |per_kwh: u64| self.per_kwh_of_board(per_kwh).saturating_mul(millijoules);
        Electricity {
            cost: self.dollars_per_kwh.map(|dollars| Cost::from_units(units(dollars))),
            co2e: (self.intensity.as_ref()).map(|it| Grams::from_units(units(it.grams_per_kwh))),
        }
    }

    /// What one kWh of the board comes to if one kWh at the meter is so many billionths; in trillionths.
    fn per_kwh_of_board(&self, billionths: u64) -> u128 {
        let factor = u128::from(self.pue).saturating_mul(self.host_factor.into());
        let exact = u128::from(billionths).saturating_mul(factor);
        exact.saturating_add(PER_TRILLIONTH / 2) / PER_TRILLIONTH
    }
}

// === impl Electricity ===

impl Electricity {
    /// Adds what other energy cost and emitted; what is not known of it adds nothing.
    pub fn add(&mut self, other: Self) {
        self.cost = other.cost.map_or(self.cost, |cost| Some(self.cost.unwrap_or_default() + cost));
        self.co2e = other.co2e.map_or(self.co2e, |co2e| Some(self.co2e.unwrap_or_default() + co2e));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 1_000_000_000;

    /// 0.20 $/kWh from 22:00 to 06:00, else 0.30 $; 400 g/kWh; a PUE of 1.25 and a host factor of 1.6, so twice what
    /// the board draws.
    fn terms(utc_offset_minutes: i32) -> EnergyTerms {
        let night = Tariff { from_minute: 1_320, to_minute: 360, dollars_per_kwh: ONE / 5 };
        EnergyTerms {
            dollars_per_kwh: Some(ONE * 3 / 10),
            tariffs: vec![night],
            utc_offset_minutes,
            intensity: Intensity::Told(400 * ONE),
            pue: ONE * 5 / 4,
            host_factor: ONE * 8 / 5,
        }
    }

    /// So many hours and minutes into the first of January 2026, in UTC.
    fn at(hours: u64, minutes: u64) -> UnixTime {
        UnixTime::from_millis(1_767_225_600_000 + (hours * 60 + minutes) * 60_000)
    }

    fn on(provider: &str, region: &str) -> NodeFacts {
        let some = |text: &str| Some(Arc::from(text)).filter(|_| !text.is_empty());
        NodeFacts { provider: some(provider), region: some(region), ..NodeFacts::default() }
    }

    #[test]
    fn energy_costs_and_emits_what_the_formula_says() {
        // 700 W for an hour are 0.7 kWh of the board and 1.4 kWh at the meter.
        let electricity = terms(0).at(at(12, 0), &NodeFacts::default()).over(700 * 3_600 * 1_000);
        assert_eq!(electricity.cost.map(|cost| cost.to_string()), Some("0.42".into()));
        assert_eq!(electricity.co2e.map(|co2e| co2e.to_string()), Some("560".into()));
        // One millijoule at night: 2 / 3.6e9 kWh at the meter, at 0.20 $.
        let electricity = terms(0).at(at(3, 0), &NodeFacts::default()).over(1);
        assert_eq!(electricity.cost.map(|cost| cost.to_string()), Some("0.0000000001111111111111".into()));
    }

    #[test]
    fn the_tariff_is_that_of_the_clock_on_the_wall() {
        let price = |offset: i32, (hours, minutes): (u64, u64)| {
            let rates = terms(offset).at(at(hours, minutes), &NodeFacts::default());
            rates.dollars_per_kwh.map(|nanos| nanos / (ONE / 100))
        };
        let (day, night) = (Some(30), Some(20));
        for (offset, time, expected) in [
            (0, (21, 59), day),
            (0, (22, 0), night),
            (0, (23, 59), night),
            (0, (0, 0), night),
            (0, (5, 59), night),
            (0, (6, 0), day),
            // 05:30 ahead: 22:00 there is 16:30 in UTC, 06:00 is 00:30.
            (330, (16, 29), day),
            (330, (16, 30), night),
            (330, (0, 29), night),
            (330, (0, 30), day),
            // 08:00 behind: 22:00 there is 06:00 in UTC, 06:00 is 14:00.
            (-480, (5, 59), day),
            (-480, (6, 0), night),
            (-480, (13, 59), night),
            (-480, (14, 0), day),
            (840, (7, 59), day),
            (840, (8, 0), night),
        ] {
            assert_eq!(price(offset, time), expected, "{offset} {time:?}");
        }
        // In the first minutes of the epoch it was the day before in the west.
        let rates = terms(-60).at(UnixTime::from_millis(0), &NodeFacts::default());
        assert_eq!(rates.dollars_per_kwh, Some(ONE / 5));
    }

    #[test]
    fn what_is_not_known_costs_and_emits_nothing_that_is_known() {
        let mut grid = Grid::default();
        let taiwan = GridIntensity { grams_per_kwh: 439_290_000_000, origin: "built_in:x".into() };
        grid.insert("gcp", "asia-east1", taiwan.clone());
        let intensity = Intensity::ByRegion(Arc::new(grid));
        let terms = EnergyTerms { dollars_per_kwh: None, intensity, ..terms(0) };
        let there = terms.at(at(12, 0), &on("gcp", "asia-east1"));
        assert_eq!((there.dollars_per_kwh, there.intensity.as_ref()), (None, Some(&taiwan)));
        assert_eq!(there.over(3_600_000_000).co2e.map(|co2e| co2e.to_string()), Some("878.58".into()));
        for elsewhere in [on("gcp", "mars"), on("aws", "asia-east1"), on("", "asia-east1"), on("gcp", "")] {
            assert_eq!(terms.at(at(12, 0), &elsewhere).over(5), Electricity::default());
        }
    }

    #[test]
    fn what_is_known_of_electricity_stays_known() {
        let known = Electricity { cost: Some(Cost::from_cents(1)), co2e: None };
        let mut sum = Electricity::default();
        sum.add(Electricity::default());
        assert_eq!(sum, Electricity::default());
        sum.add(known);
        sum.add(Electricity::default());
        sum.add(known);
        assert_eq!(sum, Electricity { cost: Some(Cost::from_cents(2)), co2e: None });
    }

    #[test]
    fn a_day_is_covered_or_has_a_gap() {
        let tariff = |from_minute, to_minute| Tariff { from_minute, to_minute, dollars_per_kwh: 0 };
        let (day, night) = (tariff(360, 1_320), tariff(1_320, 360));
        assert_eq!(Tariff::first_gap(&[day, night]), None);
        assert_eq!(Tariff::first_gap(&[night]), Some(360));
        assert_eq!(Tariff::first_gap(&[day]), Some(0));
        assert_eq!(day.first_in_both(&night), None);
        assert_eq!(day.first_in_both(&tariff(1_319, 1_320)), Some(1_319));
        assert_eq!(night.first_in_both(&tariff(1_400, 60)), Some(0));
    }

    #[test]
    fn the_largest_numbers_of_a_file_stay_in_range() {
        let rates = EnergyRates {
            dollars_per_kwh: Some(1_000 * ONE),
            intensity: Some(GridIntensity { grams_per_kwh: 10_000 * ONE, origin: "file".into() }),
            pue: 10 * ONE,
            host_factor: 10 * ONE,
        };
        // A hundred kilowatts for ten years.
        let electricity = rates.over(100_000_000 * 86_400 * 3_650);
        assert_eq!(electricity.cost.map(|cost| cost.to_string()), Some("876000000000".into()));
        assert_eq!(electricity.co2e.map(|co2e| co2e.to_string()), Some("8760000000000".into()));
        assert_eq!(rates.over(u128::MAX).cost, Some(Cost::from_units(u128::MAX)));
    }
}
