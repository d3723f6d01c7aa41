//! Whatever is in a file, it is refused with words or read exactly as it stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use gpu_cost_exporter::cost::gpu_model;
use gpu_cost_exporter::cost::money::Rate;
use gpu_cost_exporter::cost::pricing::{Date, Prices, TokenPrices};
use gpu_cost_exporter::pricing_file::PricingFile;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use saphyr_parser::{Event, Parser};
use serde_yaml::Value;

use super::meant::Meant;
use super::resolution::VERSION_2;
use super::{SHIPPED, VERSION_1};

/// What `serde_yaml` makes of a text on its own, in the terms of a price file; `None` where it is none.
fn read_independently(text: &str) -> Option<PricingFile> {
    let value: Value = serde_yaml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()?;
    let mut file = PricingFile::default();
    for (model, row) in value.get("gpu_pricing").and_then(Value::as_mapping).into_iter().flatten() {
        // A list of one row is that row; of several, all but one have a day, which nothing here writes.
        let row = row.as_sequence().and_then(|rows| rows.first()).unwrap_or(row);
        let rate =
            |name: &str| row.get(name).map(|value| Rate::from_nanos_per_hour(nearest_billionths(value)));
        let text_of = |name: &str| Some(Arc::from(row.get(name)?.as_str()?));
        // Indented less, the day of a row is that of the file.
        let as_of = row.get("as_of").or(value.get("as_of")).and_then(Value::as_str).and_then(|day| {
            let mut parts = day.split('-').map(|part| part.parse().unwrap());
            Date::from_calendar(parts.next()?, parts.next()?, parts.next()?)
        });
        let prices = Prices {
            on_demand: rate("on_demand"),
            spot: rate("spot"),
            reserved_1y: rate("reserved_1y"),
            source: text_of("source"),
            as_of,
            ..Prices::default()
        };
        match model.as_str()? {
            model if model.eq_ignore_ascii_case("default") => file.prices.default = Some(prices),
            model => _ = file.prices.models.insert(gpu_model::of_product(model), prices),
        }
    }
    for (model, row) in value.get("model_costs").and_then(Value::as_mapping).into_iter().flatten() {
        let nanos = |name: &str| nearest_billionths(row.get(name).unwrap());
        let prices = TokenPrices {
            input_nanos: nanos("input_tokens"),
            output_nanos: nanos("output_tokens"),
            ..TokenPrices::default()
        };
        file.model_costs.insert(Arc::from(model.as_str()?), prices);
    }
    Some(file)
}

/// The billionths nearest to a float, which are the exact ones as long as the number is small.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an independent way to the same number"
)]
fn nearest_billionths(value: &Value) -> u64 {
    (value.as_f64().unwrap() * 1e9).round() as u64
}

/// Checks that all that a text of version 2 says is as `serde_yaml` alone reads it, or the text is refused with words.
fn has_its_meaning(text: &str) -> Result<(), TestCaseError> {
    let Ok(file) = super::parse(text) else { return is_never_misread(text) };
    let ours = Meant::by_us(&file);
    let theirs = Meant::independently(text).unwrap();
    prop_assert_eq!(ours.words, theirs.words);
    prop_assert_eq!(ours.numbers.keys().collect::<Vec<_>>(), theirs.numbers.keys().collect::<Vec<_>>());
    for (place, number) in ours.numbers {
        let expected = theirs.numbers[&place];
        // Half a billionth is rounded where there is another currency or another unit, in the factor and in the amount.
        let tolerance = 1.0 + expected * theirs.tolerances.get(&place).unwrap_or(&1e-12);
        prop_assert!((number - expected).abs() <= tolerance, "{place}: {number}, not {expected}");
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, &'static str),
    Remove(prop::sample::Index, usize),
    DropLine(prop::sample::Index),
    RepeatLine(prop::sample::Index),
    SwapLines(prop::sample::Index, prop::sample::Index),
    SwapTokens(prop::sample::Index, prop::sample::Index),
    Indent(prop::sample::Index, &'static str),
    /// Writes something behind a digit.
    Number(prop::sample::Index, &'static str),
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    let bits = "\u{2028}|\u{85}|\u{feff}";
    let odd = prop::sample::select(
        "|:|: |-|- |? |{|}|[|]|,|, |#| #|&a |*a|!x |!!str |'|\"|\\|>|\\||%|@|`|~|\t|\r|\n|\n\n|---\n|...\n|<<: |e|e2|.|0|1|_|\0"
            .split('|')
            .chain(bits.split('|'))
            .collect::<Vec<_>>(),
    );
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Mutation::Flip(at, byte)),
        (index(), odd).prop_map(|(at, text)| Mutation::Insert(at, text)),
        (index(), 1..9usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        index().prop_map(Mutation::DropLine),
        index().prop_map(Mutation::RepeatLine),
        (index(), index()).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
        (index(), index()).prop_map(|(a, b)| Mutation::SwapTokens(a, b)),
        (index(), prop::sample::select(vec![" ", "  ", "\t", "    "]))
            .prop_map(|(at, by)| Mutation::Indent(at, by)),
        (index(), prop::sample::select(vec!["0", "9", ".", "0625", "e-2", "E1", "_", "0000000"]))
            .prop_map(|(at, text)| Mutation::Number(at, text)),
    ]
}

impl Mutation {
    fn apply(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut tokens: Vec<&str> = text.split_inclusive([' ', '\n', ',']).collect();
        if bytes.is_empty() {
            return String::new();
        }
        let indented;
        match self {
            Self::Flip(at, byte) => {
                *at.get_mut(&mut bytes) ^= byte;
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Self::Insert(at, text) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, text.bytes());
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Self::Remove(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + length).min(bytes.len()));
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Self::Number(at, text) => {
                let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    let at = *at.get(&digits) + 1;
                    bytes.splice(at..at, text.bytes());
                }
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Self::SwapTokens(a, b) => {
                let (a, b) = (a.index(tokens.len()), b.index(tokens.len()));
                tokens.swap(a, b);
                return tokens.concat();
            }
            Self::DropLine(at) => _ = lines.remove(at.index(lines.len())),
            Self::RepeatLine(at) => lines.insert(at.index(lines.len()), *at.get(&lines)),
            Self::SwapLines(a, b) => {
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
            }
            Self::Indent(at, by) => {
                let line = at.index(lines.len());
                indented = format!("{by}{}", lines[line]);
                lines[line] = &indented;
            }
        }
        lines.concat()
    }
}

/// The scalars of a text as each of the two YAML readers sees them, with their keys; `None` where it is no map of maps
/// of maps.
fn scalars(text: &str) -> Option<[Vec<[String; 4]>; 2]> {
    type Sections = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut by_serde = Vec::new();
    for (section, rows) in serde_yaml::from_str::<Sections>(text).ok()? {
        for (row, columns) in rows {
            by_serde.extend(
                columns.into_iter().map(|(column, value)| [section.clone(), row.clone(), column, value]),
            );
        }
    }
    let (mut by_events, mut path) = (Vec::new(), Vec::<String>::new());
    for event in Parser::new_from_str(text) {
        match event.ok()?.0 {
            Event::Scalar(value, ..) if path.len() == 3 => {
                let value = value.into_owned();
                by_events.push([path[0].clone(), path[1].clone(), path.pop()?, value]);
            }
            Event::Scalar(key, ..) => path.push(key.into_owned()),
            Event::MappingEnd => _ = path.pop(),
            _ => {}
        }
    }
    by_events.sort();
    Some([by_serde, by_events])
}

/// Checks that a text is read as `serde_yaml` alone reads it, or refused with words.
fn is_never_misread(text: &str) -> Result<(), TestCaseError> {
    match super::parse(text) {
        Ok(file) => {
            let found = PricingFile { warnings: Vec::new(), ..file };
            prop_assert_eq!(Some(found), read_independently(text));
            if let Some([by_serde, by_events]) = scalars(text) {
                prop_assert_eq!(by_serde, by_events);
            }
        }
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let line = problem.in_file("f");
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert!(line.chars().count() < 1_000, "{line:?}");
                let lines = text.split(['\n', '\r']).count();
                prop_assert!(
                    problem.line.is_none_or(|line| (1..=lines + 1).contains(&line)),
                    "{line:?} of {lines}"
                );
            }
        }
    }
    Ok(())
}

/// The tests below say something only if much of what they try is read.
#[test]
fn many_a_damaged_file_is_still_read() {
    let (mutations, mut runner) = (mutations(), TestRunner::deterministic());
    let mut damaged = || mutations.new_tree(&mut runner).unwrap().current().apply(VERSION_2);
    let read = (0..500).filter(|_| super::parse(&damaged()).is_ok()).count();
    assert!(read > 50, "{read} of 500");
}

proptest! {
    // Half a minute of one core.
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_damaged_file_is_refused_or_read_as_it_stands(
        text in prop::sample::select(vec![VERSION_1, SHIPPED, include_str!("../../pricing/warnings.yaml")]),
        mutations in prop::collection::vec(mutations(), 1..6),
    ) {
        is_never_misread(&mutations.iter().fold(text.to_owned(), |text, mutation| mutation.apply(&text)))?;
    }

    #[test]
    fn a_damaged_file_of_version_2_is_refused_or_means_what_it_says(
        text in prop::sample::select(vec![VERSION_2, include_str!("../../pricing/warnings-2.yaml")]),
        mutations in prop::collection::vec(mutations(), 1..4),
    ) {
        has_its_meaning(&mutations.iter().fold(text.to_owned(), |text, mutation| mutation.apply(&text)))?;
    }

    #[test]
    fn any_text_is_refused_or_read_as_it_stands(text in "\\PC{0,80}|[-:?{}\\[\\],#&*!|>'\"%@`~ \\t\\r\\n<a1.e+]{0,60}") {
        is_never_misread(&text)?;
        is_never_misread(&format!("gpu_pricing: {{ nvidia-t4: {{ on_demand: {text} }} }}"))?;
        is_never_misread(&format!("gpu_pricing:\n  nvidia-t4:\n    on_demand: 1\n    source: {text}"))?;
    }
}
