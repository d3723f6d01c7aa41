//! Label values that no reader stumbles over.
//!
//! The text format can carry any UTF-8, but its readers differ on control characters, and a value of many kilobytes is
//! paid for in every series that has it. A value that is changed here ends in a hash of the whole, because two pods
//! whose long names differ only at the end must not become one series.

use std::borrow::Cow;

/// The longest label value in bytes.
pub const MAX_BYTES: usize = 128;

/// What stands for a control character.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// The length of a tilde and a 64-bit hash in hexadecimal.
const SUFFIX_BYTES: usize = 17;

/// The value as it is exported: itself wherever possible.
#[must_use]
pub fn exported(value: &str) -> Cow<'_, str> {
    if value.len() <= MAX_BYTES && (is_plain(value) || !value.contains(is_unreadable)) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(MAX_BYTES);
    for char in value.chars() {
        let char = if is_unreadable(char) { REPLACEMENT } else { char };
        if text.len() + char.len_utf8() + SUFFIX_BYTES > MAX_BYTES {
            break;
        }
        text.push(char);
    }
    Cow::Owned(format!("{text}~{:016x}", fnv1a(value.as_bytes())))
}

/// Whether it is what nearly every value is: printable ASCII that no format has to escape.
pub(super) fn is_plain(value: &str) -> bool {
    let (words, rest) = value.as_bytes().as_chunks();
    for word in words {
        if !is_plain_word(u64::from_ne_bytes(*word)) {
            return false;
        }
    }
    let rest = rest.iter().fold(SPACES, |word, byte| word << 8 | u64::from(*byte));
    is_plain_word(rest)
}

/// A word of spaces.
const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);

/// Looks at eight bytes at once, by the well-known ways to find a byte in a word
/// (<https://graphics.stanford.edu/~seander/bithacks.html>, "Determine if a word has a byte less than n").
#[inline]
const fn is_plain_word(word: u64) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST_BITS: u64 = EACH << 7;
    const fn less(word: u64, than: u8) -> u64 {
        word.wrapping_sub(EACH * than as u64) & !word
    }
    const fn equal(word: u64, byte: u8) -> u64 {
        less(word ^ (EACH * byte as u64), 1)
    }
    let special = word | less(word, b' ') | equal(word, 0x7f) | equal(word, b'"') | equal(word, b'\\');
    special & HIGHEST_BITS == 0
}

/// Line feeds are escaped by the format itself; of the others some readers make line ends or the end of the text.
fn is_unreadable(char: char) -> bool {
    char.is_control() && char != '\n'
}

/// FNV-1a with its published constants. The standard library's hash may change from release to release, and with it
/// the identity of a series.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn plain_is_what_nobody_has_to_look_at() {
        for byte in 0..=u8::MAX {
            let char = char::from(byte);
            let expected = matches!(char, ' '..='~') && !matches!(char, '"' | '\\');
            for length in 1..=17 {
                for position in 0..length {
                    let text: String = (0..length).map(|n| if n == position { char } else { 'a' }).collect();
                    assert_eq!(is_plain(&text), expected, "{text:?}");
                }
            }
        }
        assert!(is_plain(""));
    }

    #[test]
    fn values_stay_as_they_are_wherever_possible() {
        for value in
            ["", "web-0", "ünï ☃ \"quoted\" back\\slash\nnext line", &"x".repeat(128), &"é".repeat(64)]
        {
            assert_eq!(exported(value), value);
        }
    }

    #[test]
    fn long_and_unreadable_values_are_cut_and_stay_apart() {
        let long = |end: &str| format!("{}{end}", "é".repeat(2_000));
        for (one, other) in [
            (long("a"), long("b")),
            ("x".repeat(129), "x".repeat(130)),
            ("a\u{0}b".into(), "a\u{1}b".into()),
            ("\r\n".into(), "\t\n".into()),
            ("☃\u{7f}".repeat(40), "☃\u{80}".repeat(40)),
        ] {
            let (one, other) = (exported(&one), exported(&other));
            assert_ne!(one, other);
            for value in [one, other] {
                assert!(value.len() <= MAX_BYTES && !value.contains(is_unreadable), "{value:?}");
            }
        }
        assert_eq!(exported("a\tb"), "a\u{fffd}b~e5bacb19041229c7");
    }
}
