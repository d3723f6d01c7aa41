//! Decimal numbers as the JSON writes them, without a float in between.

/// Digits after the point: those of a cost.
const DIGITS: usize = 22;

/// A decimal number in units of 10⁻²².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal(u128);

impl Decimal {
    pub(super) const ZERO: Self = Self(0);

    /// The number that a text writes; `None` if it is none, or too large.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > DIGITS || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let fraction: u128 = format!("{fraction:0<DIGITS$}").parse().ok()?;
        let whole: u128 = whole.parse().ok()?;
        Some(Self(whole.checked_mul(power(DIGITS))?.checked_add(fraction)?))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The nearest number with so many digits after the point.
    pub(super) fn rounded(self, digits: usize) -> Self {
        let unit = power(DIGITS - digits.min(DIGITS));
        Self(
            (self.0 / unit)
                .saturating_add(u128::from(self.0 % unit >= unit.div_ceil(2)))
                .saturating_mul(unit),
        )
    }

    /// Whether it has no more than so many digits after the point.
    pub(super) fn is_exact(self, digits: usize) -> bool {
        self.rounded(digits) == self
    }

    /// The number with at most so many digits after the point and at least two.
    pub(super) fn text(self, digits: usize) -> String {
        let rounded = self.rounded(digits).0;
        let fraction = format!("{:0DIGITS$}", rounded % power(DIGITS));
        let end = fraction.trim_end_matches('0').len().max(2);
        format!("{}.{}", rounded / power(DIGITS), fraction.get(..end).unwrap_or_default())
    }
}

fn power(digits: usize) -> u128 {
    (0..digits).fold(1, |power, _| power * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_written() {
        let round = |text: &str, digits| Decimal::parse(text).map(|it| it.text(digits)).unwrap_or_default();
        assert_eq!(round("12.3456", 2), "12.35");
        assert_eq!(round("12.3456", 9), "12.3456");
        assert_eq!(round("0.0004777777777777777778", 9), "0.000477778");
        assert_eq!(round("0.999999999999", 6), "1.00");
        assert_eq!(round("7", 4), "7.00");
        for wrong in ["", ".5", "-1", "1e3", "1.2.3", "0.00000000000000000000001", "99999999999999999999"] {
            assert_eq!(Decimal::parse(wrong), None, "{wrong}");
        }
        assert!(Decimal::parse("0.25").is_some_and(|it| it.is_exact(2) && !it.is_exact(1)));
    }
}
