//! Kubernetes' way to write an amount, such as `81559Mi`.

/// The whole number that a quantity stands for; parts of one are rounded up, as Kubernetes does it. `None` for what is
/// no quantity, is negative or has no room in 64 bits.
pub(super) fn whole(text: &str) -> Option<u64> {
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, exponent) = multiplier(suffix)?;
    let tens = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_u128.checked_pow(tens.unsigned_abs());
    let scaled = digits.checked_mul(factor)?;
    let value = match (tens < 0, power) {
        (false, Some(power)) => scaled.checked_mul(power)?,
        (true, Some(power)) => scaled.div_ceil(power),
        // Less than one, but for nothing at all.
        (true, None) => scaled.min(1),
        (false, None) => return (scaled == 0).then_some(0),
    };
    u64::try_from(value).ok()
}

/// What a suffix multiplies with: a factor and a power of ten.
fn multiplier(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(whole(text), expected, "{text}");
    }

    #[test]
    fn quantities_are_whole_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("85899345920", 85_899_345_920),
            ("80Gi", 80 << 30),
            ("81559Mi", 81_559 << 20),
            ("9856Mi", 9_856 << 20),
            ("1Ki", 1_024),
            ("2Ti", 2 << 40),
            ("1Pi", 1 << 50),
            ("1Ei", 1 << 60),
            ("80G", 80_000_000_000),
            ("1k", 1_000),
            ("3M", 3_000_000),
            ("1T", 1_000_000_000_000),
            ("1P", 1_000_000_000_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1e3", 1_000),
            ("1E3", 1_000),
            ("12e-1", 2),
            ("1.5Gi", 1_610_612_736),
            (".5Ki", 512),
            ("2.", 2),
            ("0.1", 1),
            ("1500m", 2),
            ("1u", 1),
            ("1000000001n", 2),
            ("1e-99", 1),
            ("0e99", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            check(text, Some(bytes));
        }
    }

    #[test]
    fn what_is_none_is_none() {
        for text in
            ["", ".", "Gi", "-1", "1 Gi", "1GiB", "1.2.3", "1e", "1ee3", "0x10", "16Ei", "20E", "1e99", "ä"]
        {
            check(text, None);
        }
        check(&"9".repeat(300), None);
        check("1e99999999999", None);
        check("1.5e-2147483648", None);
    }
}
