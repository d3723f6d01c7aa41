//! Parts of prices, as people write them.

use crate::cost::money::Rate;

/// A part of a price in billionths of a percent, which is as exactly as one can be written; never more than all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u64);

// === impl Percent ===

impl Percent {
    /// None of it.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(100_000_000_000);

    /// So many billionths of a percent; all where that is more than all.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(if nanos < Self::ALL.0 { nanos } else { Self::ALL.0 })
    }

    /// Billionths of a percent.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Percent, for showing. The one conversion of a percent to a float.
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "the edge where a percent is shown"
    )]
    #[must_use]
    pub fn percent(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Rate {
    /// The rate after `discount` was taken off, rounded up to a billionth.
    #[must_use]
    pub fn less(self, discount: Percent) -> Self {
        let nanos = self.nanos_per_hour();
        let off = u128::from(nanos) * u128::from(discount.0) / u128::from(Percent::ALL.0);
        Self::from_nanos_per_hour(nanos.saturating_sub(u64::try_from(off).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discount_is_a_part_of_the_rate() {
        let rate = Rate::from_nanos_per_hour(6_880_000_001);
        assert_eq!(rate.less(Percent::from_nanos(8_000_000_000)), Rate::from_nanos_per_hour(6_329_600_001));
        assert_eq!(
            (rate.less(Percent::ZERO), rate.less(Percent::from_nanos(u64::MAX))),
            (rate, Rate::default())
        );
    }
}
