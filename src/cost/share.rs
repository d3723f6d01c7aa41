//! Shares: exact fractions, and the division of a whole into parts that add up to it.
//!
//! A GPU's money is divided by integers: the parts of a [`Division`] sum to its whole, and an amount is split by
//! differences of cumulative parts, so that the pieces sum to the amount whatever it is. Nothing is left over, and
//! nobody has to be given a remainder.

use std::iter;

/// The largest common denominator that a division computes with. Beyond it shares are rounded to [`COARSE`] parts;
/// no real partition comes near (7 slices × 48 replicas × a few hundred thousand MiB).
const FINEST: u128 = 1 << 63;

/// Parts of a whole where a common denominator would not fit: one millionth of a millionth.
const COARSE: u128 = 1_000_000_000_000;

/// The exact fraction of a whole that somebody has; between nothing and the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    numerator: u64,
    denominator: u64,
}

/// A whole divided into integer parts which sum to it exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division<T> {
    parts: Vec<(T, u64)>,
    whole: u64,
}

/// `total × numerator / denominator`, rounded down, without overflow in between.
///
/// The result saturates where it would not fit; a denominator of zero gives nothing.
#[must_use]
pub const fn scaled(total: u128, numerator: u128, denominator: u128) -> u128 {
    if denominator == 0 {
        return 0;
    }
    let whole = (total / denominator).saturating_mul(numerator);
    let rest = (total % denominator).saturating_mul(numerator) / denominator;
    whole.saturating_add(rest)
}

// === impl Share ===

impl Share {
    /// Nothing.
    pub const NONE: Self = Self { numerator: 0, denominator: 1 };
    /// All of it.
    pub const WHOLE: Self = Self { numerator: 1, denominator: 1 };

    /// The fraction `numerator / denominator` in lowest terms; more than the whole counts as the whole, and a part of
    /// nothing as nothing.
    #[must_use]
    pub const fn new(numerator: u64, denominator: u64) -> Self {
        if denominator == 0 || numerator == 0 {
            return Self::NONE;
        }
        if numerator >= denominator {
            return Self::WHOLE;
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }

    /// The numerator in lowest terms.
    #[must_use]
    pub const fn numerator(self) -> u64 {
        self.numerator
    }

    /// The denominator in lowest terms; never zero.
    #[must_use]
    pub const fn denominator(self) -> u64 {
        self.denominator
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.numerator == 0
    }

    /// This share of another share.
    #[must_use]
    pub fn of(self, other: Self) -> Self {
        // Reducing crosswise first keeps the products small.
        let left = Self::new_unclamped(self.numerator, other.denominator);
        let right = Self::new_unclamped(other.numerator, self.denominator);
        match (left.0.checked_mul(right.0), left.1.checked_mul(right.1)) {
            (Some(numerator), Some(denominator)) => Self::new(numerator, denominator),
            _ => Self::rounded(scaled(self.coarse(), other.coarse(), COARSE)),
        }
    }

    /// Both together; more than the whole counts as the whole.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let exact = || {
            let left = self.numerator.checked_mul(other.denominator)?;
            let right = other.numerator.checked_mul(self.denominator)?;
            Some(Self::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?))
        };
        exact().unwrap_or_else(|| Self::rounded(self.coarse() + other.coarse()))
    }

    /// This share less another; nothing if the other is larger.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let exact = || {
            let left = self.numerator.checked_mul(other.denominator)?;
            let right = other.numerator.checked_mul(self.denominator)?;
            Some(Self::new(left.saturating_sub(right), self.denominator.checked_mul(other.denominator)?))
        };
        exact().unwrap_or_else(|| Self::rounded(self.coarse().saturating_sub(other.coarse())))
    }

    /// The smaller of two shares.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self.minus(other).is_none() { self } else { other }
    }

    /// The mean of two shares.
    #[must_use]
    pub fn mean(self, other: Self) -> Self {
        let half = Self::new(1, 2);
        half.of(self).plus(half.of(other))
    }

    /// The share of `total`, rounded down.
    #[must_use]
    pub const fn part_of(self, total: u128) -> u128 {
        scaled(total, self.numerator as u128, self.denominator as u128)
    }

    const fn coarse(self) -> u128 {
        self.part_of(COARSE)
    }

    fn rounded(parts: u128) -> Self {
        let parts = parts.min(COARSE);
        Self::new(u64::try_from(parts).unwrap_or(u64::MAX), u64::try_from(COARSE).unwrap_or(u64::MAX))
    }

    const fn new_unclamped(numerator: u64, denominator: u64) -> (u64, u64) {
        if numerator == 0 || denominator == 0 {
            return (0, 1);
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        (numerator / divisor, denominator / divisor)
    }
}

// === impl Division ===

impl<T> Division<T> {
    /// Divides a whole among `claims`; what they leave goes to `rest`.
    ///
    /// Claims on more than the whole are scaled down to it in proportion, and nothing is left.
    #[must_use]
    pub fn new(claims: Vec<(T, Share)>, rest: T) -> Self {
        let common = common_denominator(claims.iter().map(|(_, share)| share.denominator)).unwrap_or(COARSE);
        let mut claimed = 0;
        let mut parts: Vec<(T, u64)> = Vec::with_capacity(claims.len() + 1);
        for (claimant, share) in claims {
            let part = u64::try_from(share.part_of(common)).unwrap_or(u64::MAX);
            claimed += u128::from(part);
            parts.push((claimant, part));
        }
        let left = u64::try_from(common.saturating_sub(claimed)).unwrap_or(0);
        parts.push((rest, left));
        parts.retain(|(_, part)| *part > 0);
        let whole = parts.iter().fold(0u64, |sum, (_, part)| sum.saturating_add(*part));
        Self { parts, whole }
    }

    /// Gives the whole to one claimant.
    #[must_use]
    pub fn whole(claimant: T) -> Self {
        Self { parts: vec![(claimant, 1)], whole: 1 }
    }

    /// The claimants.
    pub fn claimants(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().map(|(claimant, _)| claimant)
    }

    /// The claimants, to be put in the place of others.
    pub fn claimants_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.parts.iter_mut().map(|(claimant, _)| claimant)
    }

    /// The claimants and their parts.
    pub fn parts(&self) -> impl Iterator<Item = (&T, Share)> {
        self.parts.iter().map(|(claimant, part)| (claimant, Share::new(*part, self.whole)))
    }

    /// The claimants and their parts, as integers that sum to the whole.
    pub fn weights(&self) -> impl Iterator<Item = (&T, u64)> {
        self.parts.iter().map(|(claimant, part)| (claimant, *part))
    }

    /// Splits `total` among the claimants; the pieces sum to it exactly.
    pub fn split(&self, total: u128) -> impl Iterator<Item = (&T, u128)> {
        let mut before = 0u64;
        let mut given = 0u128;
        self.parts.iter().map(move |(claimant, part)| {
            before = before.saturating_add(*part);
            let upto = scaled(total, u128::from(before), u128::from(self.whole));
            let piece = upto - given;
            given = upto;
            (claimant, piece)
        })
    }
}

fn common_denominator(denominators: impl Iterator<Item = u64>) -> Option<u128> {
    iter::once(1).chain(denominators).try_fold(1u128, |common, denominator| {
        let rest = u64::try_from(common % u128::from(denominator)).unwrap_or(0);
        let divisor = greatest_common_divisor(denominator, rest);
        let multiple = common * u128::from(denominator / divisor);
        (multiple <= FINEST).then_some(multiple)
    })
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fractions_are_exact() {
        let seventh = Share::new(1, 7);
        assert_eq!(Share::new(1, 4).of(seventh), Share::new(1, 28));
        assert_eq!(seventh.plus(Share::new(3, 7)), Share::new(4, 7));
        assert_eq!(Share::WHOLE.minus(Share::new(2, 6)), Share::new(2, 3));
        assert_eq!(Share::new(4, 7).mean(Share::new(4, 8)), Share::new(15, 28));
        assert_eq!(Share::new(5, 4), Share::WHOLE);
        assert_eq!(Share::new(5, 0), Share::NONE);
        assert_eq!(Share::new(3, 7).min(Share::new(2, 7)), Share::new(2, 7));
    }

    #[test]
    fn what_is_claimed_twice_is_scaled_to_the_whole() {
        let division = Division::new(vec![("a", Share::new(3, 4)), ("b", Share::new(3, 4))], "rest");
        assert_eq!(division.split(100).collect::<Vec<_>>(), [(&"a", 50), (&"b", 50)]);
    }

    #[test]
    fn a_full_whole_leaves_nothing() {
        let division = Division::new(vec![("a", Share::new(4, 7)), ("b", Share::new(3, 7))], "rest");
        assert_eq!(division.split(8).collect::<Vec<_>>(), [(&"a", 4), (&"b", 4)]);
    }

    fn share() -> impl Strategy<Value = Share> {
        prop_oneof![
            (0u64..=8, 1u64..=8).prop_map(|(n, d)| Share::new(n, d)),
            (any::<u64>(), any::<u64>()).prop_map(|(n, d)| Share::new(n, d)),
        ]
    }

    proptest! {
        #[test]
        fn pieces_always_sum_to_the_total(shares in prop::collection::vec(share(), 0..12), total: u128) {
            let claims = shares.into_iter().enumerate().map(|(n, s)| (n + 1, s)).collect();
            let division = Division::new(claims, 0);
            prop_assert_eq!(division.split(total).map(|(_, piece)| piece).sum::<u128>(), total);
        }

        #[test]
        fn a_piece_is_its_share_to_within_one_unit(n in 0u64..8, d in 8u64..50, total in 0u128..1 << 90) {
            let division = Division::new(vec![("a", Share::new(n, d))], "rest");
            let piece = division.split(total).find(|(who, _)| **who == "a").map_or(0, |(_, piece)| piece);
            prop_assert!(piece.abs_diff(total * u128::from(n) / u128::from(d)) <= 1);
        }

        #[test]
        fn shares_never_leave_their_range(a in share(), b in share()) {
            for share in [a.of(b), a.plus(b), a.minus(b), a.min(b), a.mean(b)] {
                prop_assert!(share.numerator() <= share.denominator() && share.denominator() > 0);
            }
        }
    }
}
