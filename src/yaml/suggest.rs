//! What may have been meant.

use super::decimal;

/// The keys that look like `word`.
///
/// Keys with other digits are other keys: `reserved_3y` is no misspelt `reserved_1y`.
pub(crate) fn keys<'a>(word: &str, candidates: &[&'a str]) -> Vec<&'a str> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let same_digits: Vec<&str> =
        candidates.iter().copied().filter(|known| digits(known) == digits(word)).collect();
    nearest(word, &same_digits)
}

/// The GPU models that `model` is the beginning of, or else looks like.
pub(crate) fn models<'a>(model: &str, candidates: &[&'a str]) -> Vec<&'a str> {
    let begins = |known: &&&str| known.strip_prefix(model).is_some_and(|rest| rest.starts_with('-'));
    let longer: Vec<&str> = candidates.iter().filter(begins).copied().collect();
    if longer.is_empty() { nearest(model, candidates) } else { longer }
}

/// The suggestions as the end of a message; nothing if there are none.
pub(crate) fn phrase(suggestions: &[&str]) -> String {
    let quoted: Vec<String> = suggestions.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        [several @ .., last] => format!("; did you mean {} or {last}?", several.join(", ")),
    }
}

/// The number in a text that people write for one: `$3.50`, `3,5`, `1_000`.
pub(crate) fn number(text: &str) -> Option<String> {
    let bare = text.trim().trim_start_matches("USD").trim_end_matches("/hour").trim_end_matches("/h");
    let bare = bare.trim_end_matches("USD").trim_matches(['$', ' ']).replace('_', "");
    // With three digits after it, a comma may also separate thousands.
    let bare = match bare.split_once(',') {
        Some((whole, fraction)) if fraction.len() != 3 => format!("{whole}.{fraction}"),
        _ => bare,
    };
    let without_zeros = bare.trim_start_matches('0');
    let number = match without_zeros.as_bytes().first() {
        Some(byte) if byte.is_ascii_digit() => without_zeros.to_owned(),
        _ => format!("0{without_zeros}"),
    };
    (bare != "." && !bare.is_empty() && decimal::billionths(&number).is_ok()).then_some(number)
}

/// The candidates that are the fewest slips away, if those are few for the length of the word.
fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Vec<&'a str> {
    /// Words that are longer are not compared: the work grows with the square of the length.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return Vec::new();
    }
    let word = word.to_ascii_lowercase().replace(['-', ' '], "_");
    let slips = |known: &str| strsim::osa_distance(&word, &known.replace('-', "_"));
    let fewest = candidates.iter().map(|known| slips(known)).min().unwrap_or(usize::MAX);
    if fewest > 1 + word.chars().count() / 5 {
        return Vec::new();
    }
    candidates.iter().copied().filter(|known| slips(known) == fewest).collect()
}
