//! A scrape as a reader understands it.

use std::collections::BTreeMap;

/// Samples by name and labels.
pub(crate) type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// One scrape of the exporter.
#[derive(Clone, Debug)]
pub(crate) struct Scrape(Samples);

impl Scrape {
    /// Reads the text of a scrape.
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(parse_sample);
        Self(samples.map(|(name, labels, value)| ((name, labels), value)).collect())
    }

    /// The values of every series of `name` that has these labels.
    pub(crate) fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|is| is == value))
        };
        let series = self.0.iter().filter(|((of, labels), _)| of == name && has(labels));
        series.map(|(_, value)| *value).collect()
    }

    /// The sum of every series of `name` that has these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.values(name, labels).iter().sum()
    }

    /// The one series of `name` that has these labels, if there is one.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values = self.values(name, labels);
        assert!(values.len() <= 1, "{name} {labels:?} is {} series", values.len());
        values.first().copied()
    }

    /// The values of one label over every series of `name`.
    pub(crate) fn label(&self, name: &str, label: &str) -> Vec<String> {
        let series = self.0.keys().filter(|(of, _)| of == name);
        series.filter_map(|(_, labels)| labels.get(label).cloned()).collect()
    }

    /// Every counter, by name and labels, without those of the process.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&(String, BTreeMap<String, String>), f64)> {
        let is_counter = |name: &str| name.ends_with("_total") && !name.starts_with("process_");
        self.0.iter().filter(move |((name, _), _)| is_counter(name)).map(|(series, value)| (series, *value))
    }
}

/// Reads one sample line: name, labels, value.
pub(crate) fn parse_sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let name = line.split(['{', ' ']).next().expect("a name");
    let mut rest = &line[name.len()..];
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").expect("a label");
            let (value, after) = unescape(after);
            assert_eq!(labels.insert(label.to_owned(), value), None, "{line}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    (name.to_owned(), labels, rest.strip_prefix(' ').expect("a space").parse().expect("a number"))
}

/// The value up to the closing quote, and what follows the quote.
fn unescape(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("{other:?} is no escape"),
            },
            char => value.push(char),
        }
    }
    panic!("a value without an end: {text:?}")
}
