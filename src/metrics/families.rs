//! Collects the series of one scrape into families, in the order of the catalogue.
//!
//! A node has thousands of series and each is here for a moment only. So a series is no object with strings of its
//! own: its label values stand in one text with those of its whole family, and what is left is where they begin and
//! end.

use std::borrow::Cow;

use super::catalog::{CATALOG, Id, Kind, Metric, OPTIONAL_LABEL};
use super::label;
use crate::observation::UnixTime;

/// Ends each label value within the text of its family. It sorts before every other character, so that texts sort as
/// their values do, and no exported value has it.
const END: char = '\0';

/// The series of one scrape.
pub(super) struct Families {
    node: String,
    /// When the counters that are being added were 0.
    zero: Option<UnixTime>,
    /// By row of the catalogue.
    rows: Vec<Family>,
    /// Those of the process, which no row describes.
    others: Vec<Family>,
}

/// All series of one name.
pub(super) struct Family {
    /// The full name, of a counter with its `_total`.
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    pub(super) kind: Kind,
    /// Whether each series has the label `node` before the others.
    pub(super) has_node: bool,
    /// The names of the other labels.
    pub(super) labels: &'static [&'static str],
    /// The position of the label that is left out of a series where its value is empty.
    optional: Option<usize>,
    /// The label values of all series, each value followed by [`END`].
    values: String,
    series: Vec<Series>,
    is_sorted: bool,
}

/// One series: where its label values are, and what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    begin: usize,
    end: usize,
    pub(super) value: f64,
    /// When the counter was 0, where that is known; `None` on every gauge.
    pub(super) zero: Option<UnixTime>,
}

// === impl Families ===

impl Families {
    /// No series yet, of the node called `node`.
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: label::exported(node).into_owned(),
            zero: None,
            rows: CATALOG.iter().map(Family::of).collect(),
            others: Vec::new(),
        }
    }

    /// Says when the counters that are added from now on were 0, if anybody knows.
    pub(super) fn count_from(&mut self, zero: Option<UnixTime>) {
        self.zero = zero;
    }

    /// Adds one series; `labels` are the values of the catalogue's labels, in its order.
    pub(super) fn add(&mut self, id: Id, labels: &[&str], value: f64) {
        if let Some(family) = self.rows.get_mut(id as usize) {
            family.add(labels, value, self.zero);
        }
    }

    /// Adds one series if there is something to say.
    pub(super) fn add_some(&mut self, id: Id, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.add(id, labels, value);
        }
    }

    /// Adds a series without labels that is no row of the catalogue.
    pub(super) fn add_other(&mut self, name: &str, help: &str, kind: Kind, value: f64) {
        let mut family = Family {
            name: name.to_owned().into(),
            help: help.to_owned().into(),
            kind,
            has_node: false,
            labels: &[],
            optional: None,
            values: String::new(),
            series: Vec::new(),
            is_sorted: true,
        };
        family.add(&[], value, self.zero);
        self.others.push(family);
    }

    /// The node's name as a label value, and the families that have series, each series once, sorted by its labels.
    pub(super) fn finish(self) -> (String, Vec<Family>) {
        let mut families: Vec<Family> =
            self.rows.into_iter().chain(self.others).filter(|family| !family.series.is_empty()).collect();
        families.iter_mut().for_each(Family::sort);
        (self.node, families)
    }
}

// === impl Family ===

impl Family {
    fn of(row: &Metric) -> Self {
        Self {
            name: row.name.into(),
            help: row.help.into(),
            kind: row.kind,
            has_node: row.group.has_node(),
            labels: row.labels,
            optional: row.labels.iter().position(|label| *label == OPTIONAL_LABEL),
            values: String::new(),
            series: Vec::new(),
            is_sorted: true,
        }
    }

    /// Every series, sorted by its labels.
    pub(super) fn series(&self) -> &[Series] {
        &self.series
    }

    /// The labels that a series has, in the order of the names: the position of each name, and the value.
    pub(super) fn values(&self, series: Series) -> impl Iterator<Item = (usize, &str)> {
        let values = self.text(series).split_terminator(END).enumerate();
        values.filter(|(n, value)| !value.is_empty() || self.optional != Some(*n))
    }

    /// How many bytes the label values of all series have.
    pub(super) fn bytes_of_values(&self) -> usize {
        self.values.len()
    }

    fn add(&mut self, labels: &[&str], value: f64, zero: Option<UnixTime>) {
        let begin = self.values.len();
        for (_, value) in self.labels.iter().zip(labels) {
            self.values.push_str(&label::exported(value));
            self.values.push(END);
        }
        let zero = zero.filter(|_| self.kind == Kind::Counter);
        let series = Series { begin, end: self.values.len(), value, zero };
        self.is_sorted &= self.series.last().is_none_or(|last| self.text(*last) < self.text(series));
        self.series.push(series);
    }

    /// Sorts the series, and makes those that have the same labels one: readers refuse a whole scrape with a
    /// duplicate, and dropping one of them would lose its money. Reports are sorted, so there is seldom anything to do.
    fn sort(&mut self) {
        if self.is_sorted {
            return;
        }
        let (values, kind) = (&self.values, self.kind);
        let text = |series: &Series| values.get(series.begin..series.end).unwrap_or_default();
        self.series.sort_by(|one, other| text(one).cmp(text(other)));
        self.series.dedup_by(|later, earlier| {
            let same = text(later) == text(earlier);
            if same {
                earlier.join(later, kind);
            }
            same
        });
        self.is_sorted = true;
    }

    fn text(&self, series: Series) -> &str {
        self.values.get(series.begin..series.end).unwrap_or_default()
    }
}

// === impl Series ===

impl Series {
    /// Takes in another series of the same labels.
    fn join(&mut self, other: &Self, kind: Kind) {
        self.value = match kind {
            Kind::Counter | Kind::Amount => self.value + other.value,
            Kind::Reading | Kind::Info => self.value.max(other.value),
        };
        // The sum was 0 only before either had begun.
        self.zero = self.zero.zip(other.zero).map(|(one, other)| one.min(other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: Id, series: &[(&[&str], f64)], expected: &[(&str, f64)]) {
        let mut families = Families::new("n");
        for (labels, value) in series {
            families.add(id, labels, *value);
        }
        let (node, families) = families.finish();
        assert_eq!((&*node, families.len()), ("n", 1));
        let family = &families[0];
        let found: Vec<_> = family
            .series()
            .iter()
            .map(|series| (family.values(*series).map(|(_, value)| value).collect::<Vec<_>>(), series.value))
            .map(|(values, value)| (values.join(" "), value))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn series_are_sorted_and_each_is_there_once() {
        let money: &[(&[&str], f64)] =
            &[(&["b", "idle"], 1.5), (&["a", "used"], 2.0), (&["b", "idle"], 0.25)];
        check(Id::DeviceDollars, money, &[("a used", 2.0), ("b idle", 1.75)]);
        check(Id::DevicePower, &[(&["a"], 100.0), (&["a"], 50.0)], &[("a", 150.0)]);
        check(Id::DeviceUtilization, &[(&["a"], 0.4), (&["a"], 0.9)], &[("a", 0.9)]);
        check(
            Id::MigInfo,
            &[(&["a", "m", "p", "1"], 1.0), (&["a", "m", "p", "1"], 1.0)],
            &[("a m p 1", 1.0)],
        );
        check(Id::BuildInfo, &[(&["1", "demo"], 1.0)], &[("1 demo", 1.0)]);
    }

    #[test]
    fn a_value_sorts_before_those_that_begin_with_it() {
        let names: &[(&[&str], f64)] = &[(&["a!", "b"], 1.0), (&["a", "c"], 2.0), (&["", "z"], 3.0)];
        check(Id::DeviceDollars, names, &[(" z", 3.0), ("a c", 2.0), ("a! b", 1.0)]);
    }

    #[test]
    fn a_counter_of_two_lines_was_zero_before_both() {
        let at = UnixTime::from_millis;
        let mut families = Families::new("n");
        for (zero, id) in [(2_000, Id::DeviceEnergy), (1_000, Id::DeviceEnergy), (1_000, Id::DevicePower)] {
            families.count_from(Some(at(zero)));
            families.add(id, &["a"], 1.0);
        }
        let (_, families) = families.finish();
        let zeros: Vec<_> = families.iter().map(|family| (&*family.name, family.series()[0].zero)).collect();
        assert_eq!(
            zeros,
            [("gpu_cost_device_power_watts", None), ("gpu_cost_device_energy_joules_total", Some(at(1_000)))]
        );
    }

    #[test]
    fn a_family_without_series_is_not_there() {
        assert!(Families::new("n").finish().1.is_empty());
    }
}
