//! Money and GPU time as exact integers.
//!
//! A [`Rate`] is billionths of a dollar per hour, a [`Cost`] is a rate times nanoseconds, so charging an interval is
//! one multiplication and nothing is ever rounded until a value is shown. Ten years of an eight-GPU node at
//! 100 $/h use 10⁻¹⁰ of a `Cost`'s range.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use crate::observation::Span;

use super::share::scaled;

/// Nano-dollar-hours-per-hour: how many [`Cost`] units one dollar has (10⁹ nano-dollars × 3,600 s × 10⁹ ns).
const UNITS_PER_DOLLAR: u128 = 1_000_000_000 * 3_600 * 1_000_000_000;

/// How many [`Grams`] units one gram has (10¹² trillionths per kWh × 3.6 × 10⁹ mJ): as many as a dollar.
const UNITS_PER_GRAM: u128 = UNITS_PER_DOLLAR;

/// How many digits after the point tell each [`Cost`] from every other: one unit is 2.8 × 10⁻²² dollars.
const UNIT_DIGITS: usize = 22;

/// How many digits after the point write billionths.
const NANO_DIGITS: usize = 9;

/// A price per hour in billionths of a US dollar; at most about 18 billion dollars per hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// An amount of money, in nano-dollars per hour × nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u128);

/// An emission of CO2e, in trillionths of a gram per kWh × millijoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grams(u128);

/// Time on GPUs in nanoseconds of a whole GPU: a seventh of a GPU for seven seconds is one GPU-second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GpuTime(u128);

/// Some money and the GPU time that it paid for; no money where no price is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// The money.
    pub cost: Option<Cost>,
    /// The time.
    pub time: GpuTime,
}

// === impl Rate ===

impl Rate {
    /// A rate of `nanos` billionths of a dollar per hour.
    #[must_use]
    pub const fn from_nanos_per_hour(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The rate in billionths of a dollar per hour.
    #[must_use]
    pub const fn nanos_per_hour(self) -> u64 {
        self.0
    }

    /// What `span` costs at this rate, exactly.
    #[must_use]
    pub const fn over(self, span: Span) -> Cost {
        // The product of two 64-bit integers always fits.
        Cost(self.0 as u128 * span.as_nanos() as u128)
    }

    /// The part of the rate that is at `position` of `parts`, from 0 on. The parts add up to the rate: what whole
    /// billionths leave over goes to the first parts, a billionth each. Nothing where there are no parts.
    #[must_use]
    pub const fn part(self, position: u64, parts: u64) -> Self {
        match (self.0.checked_div(parts), self.0.checked_rem(parts)) {
            (Some(part), Some(left_over)) => Self(if position < left_over { part + 1 } else { part }),
            _ => Self(0),
        }
    }

    /// The rate in dollars per hour, for showing. The one conversion of a rate to a float.
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "the edge where a rate is shown"
    )]
    #[must_use]
    pub fn dollars_per_hour(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// Dollars per hour as a decimal number, exactly.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nanos(f, self.0.into())
    }
}

impl Add for Rate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Rate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::default(), Add::add)
    }
}

// === impl Cost ===

impl Cost {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// A cost of `units`, in nano-dollars per hour × nanoseconds.
    #[must_use]
    pub const fn from_units(units: u128) -> Self {
        Self(units)
    }

    /// The cost in nano-dollars per hour × nanoseconds.
    #[must_use]
    pub const fn units(self) -> u128 {
        self.0
    }

    /// The cost of `cents` hundredths of a dollar.
    #[must_use]
    pub const fn from_cents(cents: u64) -> Self {
        Self(cents as u128 * (UNITS_PER_DOLLAR / 100))
    }

    /// The cost in dollars, for showing; never smaller for a larger cost. The one conversion of a cost to a float.
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "the edge where a cost is shown"
    )]
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / UNITS_PER_DOLLAR as f64
    }

    /// How far apart two costs are.
    #[must_use]
    pub const fn abs_diff(self, other: Self) -> Self {
        Self(self.0.abs_diff(other.0))
    }
}

/// Dollars as a decimal number, to the nearest 10⁻²². A dollar has 3.6 × 10²¹ units, so few costs end there; but no two
/// are written alike, and the number times 3.6 × 10²¹, rounded, is the cost again.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_units(f, self.0, UNITS_PER_DOLLAR)
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Cost {
    type Output = Self;

    /// The cost less a part of it; nothing when the part is larger than the whole.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}

// === impl Grams ===

impl Grams {
    /// An emission of `units`, in trillionths of a gram per kWh × millijoules.
    #[must_use]
    pub const fn from_units(units: u128) -> Self {
        Self(units)
    }

    /// The emission in trillionths of a gram per kWh × millijoules.
    #[must_use]
    pub const fn units(self) -> u128 {
        self.0
    }

    /// The emission in grams of CO2e, for showing; never smaller for a larger one.
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "the edge where an emission is shown"
    )]
    #[must_use]
    pub fn grams(self) -> f64 {
        self.0 as f64 / UNITS_PER_GRAM as f64
    }
}

/// Grams as a decimal number, to the nearest 10⁻²², as a [`Cost`] is written in dollars.
impl fmt::Display for Grams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_units(f, self.0, UNITS_PER_GRAM)
    }
}

impl Add for Grams {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Grams {
    fn sum<I: Iterator<Item = Self>>(grams: I) -> Self {
        grams.fold(Self::default(), Add::add)
    }
}

// === impl GpuTime ===

impl GpuTime {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// A time of `nanos` nanoseconds of a whole GPU.
    #[must_use]
    pub const fn from_nanos(nanos: u128) -> Self {
        Self(nanos)
    }

    /// The time in nanoseconds of a whole GPU.
    #[must_use]
    pub const fn nanos(self) -> u128 {
        self.0
    }

    /// The time in GPU-seconds, for showing.
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "the edge where a time is shown"
    )]
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// GPU-seconds as a decimal number, exactly.
impl fmt::Display for GpuTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nanos(f, self.0)
    }
}

impl From<Span> for GpuTime {
    fn from(span: Span) -> Self {
        Self(u128::from(span.as_nanos()))
    }
}

impl Add for GpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for GpuTime {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for GpuTime {
    type Output = Self;

    /// The time less a part of it; nothing when the part is larger than the whole.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for GpuTime {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::ZERO, Add::add)
    }
}

// === impl Amount ===

impl Amount {
    /// Cuts off the part `numerator / denominator`, and gives it and the rest.
    #[must_use]
    pub fn cut(self, (numerator, denominator): (u128, u128)) -> (Self, Self) {
        let cost = self.cost.map(|cost| Cost(scaled(cost.0, numerator, denominator).min(cost.0)));
        let time = GpuTime(scaled(self.time.0, numerator, denominator).min(self.time.0));
        let rest = Self { cost: self.cost.zip(cost).map(|(all, part)| all - part), time: self.time - time };
        (Self { cost, time }, rest)
    }

    /// Whether there is neither money nor time in it.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self.time == GpuTime::ZERO && self.cost.unwrap_or_default() == Cost::ZERO
    }
}

// === decimals ===

fn write_nanos(f: &mut fmt::Formatter<'_>, nanos: u128) -> fmt::Result {
    write_decimal(f, nanos / 1_000_000_000, nanos % 1_000_000_000, NANO_DIGITS)
}

/// Writes units of which so many are one, to as many digits as tell each from every other.
fn write_units(f: &mut fmt::Formatter<'_>, units: u128, per_one: u128) -> fmt::Result {
    let (mut whole, mut rest) = (units / per_one, units % per_one);
    let (mut fraction, mut one) = (0, 1);
    for _ in 0..UNIT_DIGITS {
        (fraction, rest) = (fraction * 10 + rest * 10 / per_one, rest * 10 % per_one);
        one *= 10;
    }
    fraction += rest * 2 / per_one;
    whole += fraction / one;
    write_decimal(f, whole, fraction % one, UNIT_DIGITS)
}

/// Writes a number whose part after the point has so many digits, without the zeros at its end.
fn write_decimal(f: &mut fmt::Formatter<'_>, whole: u128, fraction: u128, digits: usize) -> fmt::Result {
    if fraction == 0 {
        return write!(f, "{whole}");
    }
    let fraction = format!("{fraction:0digits$}");
    write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_costs_its_rate() {
        let rate = Rate::from_nanos_per_hour(8_000_000_000);
        assert_eq!(rate.over(Span::from_secs(3_600)), Cost::from_cents(800));
        assert_eq!(rate.over(Span::from_secs(3_600)).dollars().to_string(), "8");
    }

    #[test]
    fn the_parts_of_a_rate_add_up_to_it() {
        for (nanos, parts) in [(88_490_000_000, 8), (1_000_000_000, 3), (7, 8), (u64::MAX, 16), (5, 1)] {
            let rate = Rate::from_nanos_per_hour(nanos);
            let all: Vec<Rate> = (0..parts).map(|position| rate.part(position, parts)).collect();
            assert_eq!(all.iter().copied().sum::<Rate>(), rate, "{nanos} / {parts}");
            assert!(all[0].0 - all[all.len() - 1].0 <= 1, "{all:?}");
        }
        assert_eq!(Rate::from_nanos_per_hour(7).part(0, 0), Rate::default());
    }

    #[test]
    fn a_cut_loses_nothing() {
        let amount = Amount { cost: Some(Cost::from_units(100)), time: GpuTime::from_nanos(7) };
        let (part, rest) = amount.cut((1, 3));
        assert_eq!((part.cost, rest.cost), (Some(Cost::from_units(33)), Some(Cost::from_units(67))));
        assert_eq!((part.time.nanos(), rest.time.nanos()), (2, 5));
        assert_eq!(Amount { cost: None, ..amount }.cut((1, 3)).1.cost, None);
    }

    #[test]
    fn dollars_never_fall_when_a_cost_grows() {
        let mut last = -1.0;
        for units in (0..1_000u128).map(|n| (1 << 90) + n) {
            let dollars = Cost::from_units(units).dollars();
            assert!(dollars >= last);
            last = dollars;
        }
    }

    #[test]
    fn amounts_are_written_as_decimal_numbers() {
        assert_eq!(Rate::from_nanos_per_hour(6_326_250_000).to_string(), "6.32625");
        assert_eq!(Rate::from_nanos_per_hour(8_000_000_000).to_string(), "8");
        assert_eq!(Rate::from_nanos_per_hour(1).to_string(), "0.000000001");
        assert_eq!(GpuTime::from_nanos(1_000_213_847).to_string(), "1.000213847");
        assert_eq!(Cost::ZERO.to_string(), "0");
        assert_eq!(Cost::from_cents(1_205).to_string(), "12.05");
        assert_eq!(Cost::from_units(1).to_string(), "0.0000000000000000000003");
        // A quarter of a second at 6.88 $/h.
        let quarter = Rate::from_nanos_per_hour(6_880_000_000).over(Span::from_millis(250));
        assert_eq!(quarter.to_string(), "0.0004777777777777777778");
        // What is rounded up to the next dollar.
        assert_eq!(Cost::from_units(UNITS_PER_DOLLAR - 1).to_string(), "0.9999999999999999999997");
        assert_eq!(Cost::from_units(u128::MAX).to_string(), "94522879700260684.2953818353977133920708");
    }

    /// The units that a decimal number of dollars stands for.
    fn units(text: &str) -> u128 {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |from: usize| format!("{fraction:0<22}")[from..from + 11].parse::<u128>().unwrap();
        // 3.6 × 10²¹ units are a dollar; eleven digits at a time do not overflow.
        let (high, low) = (digits(0) * 36_000_000_000, digits(11) * 36);
        whole.parse::<u128>().unwrap() * UNITS_PER_DOLLAR + high + (low + 50) / 100
    }

    proptest! {
        #[test]
        fn a_written_cost_is_the_cost(cost in 0u128..1 << 110) {
            // Which is what makes it exact: half a last digit is less than a fifth of a unit.
            prop_assert_eq!(units(&Cost::from_units(cost).to_string()), cost);
        }
    }
}
