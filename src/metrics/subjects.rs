//! What the series of a scrape are about: a GPU, a pod, a payer.
//!
//! A pod has twenty series, and all begin with the same labels. So those are looked at and written once, and each series
//! says only which they are.

use std::cmp::Ordering;

use super::label;
use crate::observation::UnixTime;

/// Ends each label value. It sorts before every other character, so that texts sort as their values do, and no exported
/// value has it.
const END: char = '\0';

/// Label values, one after the other in one text: for a moment there are thousands of them.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Each is followed by [`END`].
    text: String,
    /// Where in the text the one after begins.
    ends: Vec<usize>,
}

/// Where the values of a few labels are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    first: usize,
    count: usize,
    begin: usize,
    end: usize,
}

/// Everything that series are about.
#[derive(Debug)]
pub(super) struct Subjects {
    values: Values,
    all: Vec<Subject>,
}

/// The labels that series begin with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// The names of the labels.
    pub(super) names: &'static [&'static str],
    /// When the counters of it were 0, if anybody knows.
    pub(super) zero: Option<UnixTime>,
    place: Place,
}

/// What somebody has written of each subject, one after the other.
pub(super) struct Written {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

// === impl Values ===

impl Values {
    /// Adds some, as they are exported; what is returned leads to them.
    pub(super) fn add(&mut self, values: &[&str]) -> Place {
        let first = self.ends.len();
        let begin = self.text.len();
        for value in values {
            self.text.push_str(&label::exported(value));
            self.text.push(END);
            self.ends.push(self.text.len());
        }
        Place { first, count: values.len(), begin, end: self.text.len() }
    }

    /// Some that were added together.
    pub(super) fn at(&self, place: Place) -> impl Iterator<Item = &str> {
        let ends = self.ends.get(place.first..place.first + place.count).unwrap_or_default();
        let mut begin = place.begin;
        ends.iter().map(move |end| {
            let value = self.text.get(begin..*end - 1).unwrap_or_default();
            begin = *end;
            value
        })
    }

    /// Some that were added together, as they sort.
    pub(super) fn text(&self, place: Place) -> &str {
        self.text.get(place.begin..place.end).unwrap_or_default()
    }

    /// How many bytes all of them have.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }
}

// === impl Subjects ===

impl Subjects {
    /// There is nothing yet but the whole, which has no labels.
    pub(super) fn new() -> Self {
        let mut subjects = Self { values: Values::default(), all: Vec::new() };
        subjects.add(&[], &[], None);
        subjects
    }

    /// Adds one, which is the latest from then on.
    pub(super) fn add(&mut self, names: &'static [&'static str], values: &[&str], zero: Option<UnixTime>) {
        debug_assert_eq!(names.len(), values.len(), "{names:?}: {values:?}");
        let place = self.values.add(values);
        self.all.push(Subject { names, zero, place });
    }

    /// The one that was added last, and its number.
    pub(super) fn latest(&self) -> (usize, Subject) {
        let number = self.all.len() - 1;
        (number, self.all[number])
    }

    /// The names of the labels of one.
    pub(super) fn names(&self, number: usize) -> &'static [&'static str] {
        self.all.get(number).map_or(&[], |subject| subject.names)
    }

    /// The label values of one.
    #[cfg(test)]
    pub(super) fn values(&self, number: usize) -> impl Iterator<Item = &str> {
        self.all.get(number).into_iter().flat_map(|subject| self.values.at(subject.place))
    }

    fn text(&self, number: usize) -> &str {
        self.all.get(number).map_or("", |subject| self.values.text(subject.place))
    }

    /// The order of two series, each of a subject and the values of its own labels.
    pub(super) fn order(&self, (one, one_own): (usize, &str), (other, other_own): (usize, &str)) -> Ordering {
        if one == other {
            return one_own.cmp(other_own);
        }
        let (one, other) = (self.text(one).as_bytes(), self.text(other).as_bytes());
        let common = one.len().min(other.len());
        // Their own labels decide only where one of them has more labels that are the subject's, or both are the same.
        let in_full = || one.iter().chain(one_own.as_bytes()).cmp(other.iter().chain(other_own.as_bytes()));
        one[..common].cmp(&other[..common]).then_with(in_full)
    }

    /// Writes each of them once: `write` is given what there is so far, the position of a label, its name and its value.
    pub(super) fn write(&self, write: impl Fn(&mut Vec<u8>, usize, &str, &str)) -> Written {
        let mut written = Written { bytes: Vec::new(), ends: Vec::with_capacity(self.all.len()) };
        for subject in &self.all {
            for (n, (name, value)) in subject.names.iter().zip(self.values.at(subject.place)).enumerate() {
                write(&mut written.bytes, n, name, value);
            }
            written.ends.push(written.bytes.len());
        }
        written
    }
}

// === impl Written ===

impl Written {
    /// What was written of one.
    pub(super) fn of(&self, number: usize) -> &[u8] {
        let begin = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(number).copied().unwrap_or(begin);
        self.bytes.get(begin..end).unwrap_or_default()
    }
}
