//! Decimal numbers, exactly.
//!
//! `0.1` has no binary float. A price is money, so its digits are counted, not approximated: a number is accepted only
//! if it is a whole number of billionths.

/// Decimals that are kept: prices are counted in billionths of a dollar.
pub(crate) const DECIMALS: i64 = 9;

/// The largest number that is accepted. A million dollars per hour is beyond every machine, and far enough below the
/// range of a 64-bit integer that the rates of a whole node can be added.
pub(crate) const LARGEST: u64 = 1_000_000;

/// Billionths in one.
pub(crate) const ONE: u64 = 1_000_000_000;

/// Why a text is no number that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is no decimal number.
    NotANumber,
    /// It is below zero.
    Negative,
    /// It has digits beyond the ninth decimal.
    TooPrecise,
    /// It is more than is accepted.
    TooLarge,
}

/// The digits of a number and the power of ten that they are to be multiplied with.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

/// The billionths in a decimal number such as `3.5`, `.5` or `1.5e-07`.
pub(crate) fn billionths(text: &str) -> Result<u64, Unusable> {
    billionths_up_to(text, LARGEST)
}

/// The billionths in a decimal number of at most `largest`, which is at most 18,000,000,000.
pub(crate) fn billionths_up_to(text: &str, largest: u64) -> Result<u64, Unusable> {
    let parts = parts(text).ok_or(Unusable::NotANumber)?;
    if parts.negative {
        return Err(Unusable::Negative);
    }
    let written = [parts.whole, parts.fraction].concat();
    let significant = written.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let trailing_zeros = length(&written) - length(written.trim_end_matches('0'));
    let power = parts.exponent.saturating_sub(length(parts.fraction)) + DECIMALS + trailing_zeros;
    let power = u32::try_from(power).map_err(|_| Unusable::TooPrecise)?;
    let digits: u64 = significant.parse().map_err(|_| Unusable::TooLarge)?;
    let billionths = 10u64.checked_pow(power).and_then(|factor| digits.checked_mul(factor));
    billionths.filter(|value| *value <= largest.saturating_mul(1_000_000_000)).ok_or(Unusable::TooLarge)
}

/// Whether a plain scalar is a decimal number, of whatever size and sign.
pub(crate) fn is_number(text: &str) -> bool {
    parts(text).is_some()
}

/// `[+-] digits [. digits] [e [+-] digits]`. Leading zeros are refused because `010` is eight in YAML 1.1.
fn parts(text: &str) -> Option<Parts<'_>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let well_formed = are_digits(whole)
        && are_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && (whole.len() <= 1 || !whole.starts_with('0'));
    well_formed.then_some(Parts { negative: text.starts_with('-'), whole, fraction, exponent })
}

/// An exponent; one that fits no 32-bit integer counts as the largest that does, since nothing that large is a price.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !are_digits(digits) {
        return None;
    }
    let size = digits.parse::<i32>().unwrap_or(i32::MAX);
    Some(i64::from(if text.starts_with('-') { -size } else { size }))
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_digit_counts() {
        for (text, billionths) in [
            ("3.5", 3_500_000_000),
            ("0", 0),
            ("0.0", 0),
            ("0e99999999999", 0),
            ("7", 7_000_000_000),
            ("7.", 7_000_000_000),
            (".5", 500_000_000),
            ("+1.25", 1_250_000_000),
            ("0.1", 100_000_000),
            ("0.000000001", 1),
            ("0.00000015", 150),
            ("1.5e-07", 150),
            ("12E2", 1_200_000_000_000),
            ("2.1000000000000000000000000000000", 2_100_000_000),
            ("100000000000e-11", 1_000_000_000),
            ("1000000", 1_000_000_000_000_000),
            ("1e6", 1_000_000_000_000_000),
        ] {
            assert_eq!(super::billionths(text), Ok(billionths), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        use Unusable::{Negative, NotANumber, TooLarge, TooPrecise};
        for (text, reason) in [
            ("-1", Negative),
            ("-0.0", Negative),
            ("0.0000000001", TooPrecise),
            ("0.30000000000000004", TooPrecise),
            ("1e-10", TooPrecise),
            ("1e-99999999999", TooPrecise),
            ("1000000.000000001", TooLarge),
            ("1e7", TooLarge),
            ("1e99999999999", TooLarge),
            ("99999999999999999999999999999999", TooLarge),
            ("18446744073.709551616", TooLarge),
            ("", NotANumber),
            (".", NotANumber),
            ("e5", NotANumber),
            ("1e", NotANumber),
            ("1e+", NotANumber),
            ("1.2.3", NotANumber),
            ("010", NotANumber),
            ("0x10", NotANumber),
            ("1_000", NotANumber),
            ("1,5", NotANumber),
            ("+-1", NotANumber),
            (" 1", NotANumber),
            (".inf", NotANumber),
            (".nan", NotANumber),
            ("٣", NotANumber),
        ] {
            assert_eq!(super::billionths(text), Err(reason), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_that_was_written_is_read_back(billionths in 0..=LARGEST * 1_000_000_000) {
            let text = format!("{}.{:09}", billionths / 1_000_000_000, billionths % 1_000_000_000);
            prop_assert_eq!(super::billionths(&text), Ok(billionths));
            prop_assert_eq!(super::billionths(&format!("{billionths}e-9")), Ok(billionths));
        }

        #[test]
        fn no_text_is_too_odd(text in "[-+.eE0-9]{0,40}|\\PC*") {
            if let Ok(billionths) = super::billionths(&text) {
                let float: f64 = text.parse().unwrap();
                #[expect(clippy::cast_precision_loss, reason = "the float is the approximation here")]
                let exact = billionths as f64 / 1e9;
                prop_assert!((float - exact).abs() <= exact * 1e-15);
            }
        }
    }
}
