//! Collects the series of one scrape into families, in the order of the catalogue.
//!
//! A node has thousands of series and each is here for a moment only. So a series is no object with strings of its
//! own: what it is about stands with all [`Subjects`], the values of its own labels stand in one text with those of its
//! whole family, and what is left is where they begin and end.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::catalog::{CATALOG, Id, Kind, Metric, OPTIONAL_LABEL};
use super::label;
use super::subjects::{Place, Subjects, Values};
use crate::observation::UnixTime;

/// The series of one scrape, while they are collected.
pub(super) struct Families {
    node: String,
    subjects: Subjects,
    /// By row of the catalogue.
    rows: Vec<Family>,
    /// Those of the process, which no row describes.
    others: Vec<Family>,
}

/// The series of one scrape, each once, sorted by their labels.
pub(super) struct Scrape {
    /// The value of the label `node`.
    pub(super) node: String,
    /// What the series are about.
    pub(super) subjects: Subjects,
    /// The families that have series.
    pub(super) families: Vec<Family>,
}

/// All series of one name.
pub(super) struct Family {
    /// The full name, of a counter with its `_total`.
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    pub(super) kind: Kind,
    /// Whether each series has the label `node` before the others.
    pub(super) has_node: bool,
    /// The names of the other labels, those of the subjects first.
    pub(super) labels: &'static [&'static str],
    /// The position of the label that is left out of a series where its value is empty.
    optional: Option<usize>,
    /// The values of the labels that are the series' own.
    values: Values,
    series: Vec<Series>,
    is_sorted: bool,
}

/// One series: what it is about, where the values of its own labels are, and what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    /// The number of its subject.
    pub(super) subject: usize,
    own: Place,
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
            subjects: Subjects::new(),
            rows: CATALOG.iter().map(Family::of).collect(),
            others: Vec::new(),
        }
    }

    /// Says what the series are about that are added from now on, by the labels that the metric `like` has first, and when
    /// its counters were 0, if anybody knows.
    pub(super) fn about(&mut self, like: Id, values: &[&str], zero: Option<UnixTime>) {
        let names = like.metric().labels;
        let names = names.get(..values.len()).unwrap_or(names);
        debug_assert!(
            !names.contains(&OPTIONAL_LABEL),
            "{names:?}: which series leave it out is their own matter"
        );
        self.subjects.add(names, values, zero);
    }

    /// Says that the series which are added from now on are about the whole: all their labels are their own.
    pub(super) fn about_the_whole(&mut self, zero: Option<UnixTime>) {
        self.subjects.add(&[], &[], zero);
    }

    /// Adds one series of what they are about; `own` are the values of its other labels, in the order of the catalogue.
    pub(super) fn add(&mut self, id: Id, own: &[&str], value: f64) {
        if let Some(family) = self.rows.get_mut(id as usize) {
            family.add(&self.subjects, own, value);
        }
    }

    /// Adds one series if there is something to say.
    pub(super) fn add_some(&mut self, id: Id, own: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.add(id, own, value);
        }
    }

    /// Adds a series about the whole that is no row of the catalogue.
    pub(super) fn add_other(&mut self, name: &str, help: &str, kind: Kind, value: f64) {
        let mut family = Family {
            name: name.to_owned().into(),
            help: help.to_owned().into(),
            kind,
            has_node: false,
            labels: &[],
            optional: None,
            values: Values::default(),
            series: Vec::new(),
            is_sorted: true,
        };
        family.add(&self.subjects, &[], value);
        self.others.push(family);
    }

    /// What was collected.
    pub(super) fn finish(self) -> Scrape {
        let Self { node, subjects, rows, others } = self;
        let mut families: Vec<Family> =
            rows.into_iter().chain(others).filter(|family| !family.series.is_empty()).collect();
        for family in &mut families {
            family.sort(&subjects);
        }
        Scrape { node, subjects, families }
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
            values: Values::default(),
            series: Vec::new(),
            is_sorted: true,
        }
    }

    /// Every series, sorted by its labels.
    pub(super) fn series(&self) -> &[Series] {
        &self.series
    }

    /// The labels of a series that are its own, after `shared` that are its subject's: the position of each, and the value.
    pub(super) fn own(&self, series: Series, shared: usize) -> impl Iterator<Item = (usize, &str)> {
        let values = (shared..).zip(self.values.at(series.own));
        values.filter(|(n, value)| !value.is_empty() || self.optional != Some(*n))
    }

    /// How many bytes the values of their own labels have in all series.
    pub(super) fn bytes_of_values(&self) -> usize {
        self.values.bytes()
    }

    fn add(&mut self, subjects: &Subjects, own: &[&str], value: f64) {
        let (number, subject) = subjects.latest();
        debug_assert!(self.labels.starts_with(subject.names), "{}: {:?}", self.name, subject.names);
        debug_assert_eq!(self.labels.len(), subject.names.len() + own.len(), "{}: {own:?}", self.name);
        let own = self.values.add(own);
        let zero = subject.zero.filter(|_| self.kind == Kind::Counter);
        let series = Series { subject: number, own, value, zero };
        self.is_sorted &= self.series.last().is_none_or(|last| self.order(subjects, last, &series).is_lt());
        self.series.push(series);
    }

    /// Sorts the series, and makes those that have the same labels one: readers refuse a whole scrape with a
    /// duplicate, and dropping one of them would lose its money. Reports are sorted, so there is seldom anything to do.
    fn sort(&mut self, subjects: &Subjects) {
        if self.is_sorted {
            return;
        }
        let mut series = std::mem::take(&mut self.series);
        series.sort_by(|one, other| self.order(subjects, one, other));
        series.dedup_by(|later, earlier| {
            let same = self.order(subjects, later, earlier).is_eq();
            if same {
                earlier.join(later, self.kind);
            }
            same
        });
        self.series = series;
        self.is_sorted = true;
    }

    fn order(&self, subjects: &Subjects, one: &Series, other: &Series) -> Ordering {
        let own = |series: &Series| (series.subject, self.values.text(series.own));
        subjects.order(own(one), own(other))
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

    /// The labels of every series of the only family, and its value.
    fn found(families: Families) -> Vec<(String, f64)> {
        let Scrape { node, subjects, families } = families.finish();
        assert_eq!((&*node, families.len()), ("n", 1));
        let family = &families[0];
        let labels = |series: &Series| {
            let subject = subjects.values(series.subject);
            let own = family.own(*series, subjects.names(series.subject).len()).map(|(_, value)| value);
            subject.chain(own).collect::<Vec<_>>().join(" ")
        };
        family.series().iter().map(|series| (labels(series), series.value)).collect()
    }

    /// Checks series that are given by all of their labels, however many of those are what the series are about.
    fn check(id: Id, series: &[(&[&str], f64)], expected: &[(&str, f64)]) {
        for shared in 0..=id.metric().labels.len() {
            let mut families = Families::new("n");
            for (labels, value) in series {
                families.about(id, &labels[..shared], None);
                families.add(id, &labels[shared..], *value);
            }
            let expected: Vec<_> =
                expected.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect();
            assert_eq!(found(families), expected, "{shared} labels are shared");
        }
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
    fn series_that_share_more_or_fewer_labels_are_the_same_series() {
        let mut families = Families::new("n");
        for (labels, shared, value) in [
            (["b", "used"], 1, 1.0),
            (["a", "used"], 2, 2.0),
            (["b", "used"], 0, 4.0),
            (["b", "idle"], 2, 8.0),
        ] {
            families.about(Id::DeviceDollars, &labels[..shared], None);
            families.add(Id::DeviceDollars, &labels[shared..], value);
        }
        let expected = [("a used", 2.0), ("b idle", 8.0), ("b used", 5.0)];
        assert_eq!(found(families), expected.map(|(labels, value)| (labels.to_owned(), value)));
    }

    #[test]
    fn a_counter_of_two_lines_was_zero_before_both() {
        let at = UnixTime::from_millis;
        let mut families = Families::new("n");
        for (zero, id) in [(2_000, Id::DeviceEnergy), (1_000, Id::DeviceEnergy), (1_000, Id::DevicePower)] {
            families.about(id, &["a"], Some(at(zero)));
            families.add(id, &[], 1.0);
        }
        let scrape = families.finish();
        let zeros: Vec<_> =
            scrape.families.iter().map(|family| (&*family.name, family.series()[0].zero)).collect();
        assert_eq!(
            zeros,
            [("gpu_cost_device_power_watts", None), ("gpu_cost_device_energy_joules_total", Some(at(1_000)))]
        );
    }

    #[test]
    fn a_family_without_series_is_not_there() {
        assert!(Families::new("n").finish().families.is_empty());
    }
}
