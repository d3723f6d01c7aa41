//! Lists that are written without being made first.

use std::fmt::{Debug, Formatter, Result as FmtResult};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list, as a trace and a kept state write it. One that is to be written makes each element from its original when its
/// turn comes, so that the forms of ten thousand pods never stand beside the pods; one that was read has all of them.
pub struct List<'a, T>(Form<'a, T>);

enum Form<'a, T> {
    Made(Box<dyn Fn() -> Elements<'a, T> + 'a>),
    Read(Vec<T>),
}

type Elements<'a, T> = Box<dyn ExactSizeIterator<Item = T> + 'a>;

// === impl List ===

impl<'a, T: 'a> List<'a, T> {
    /// What is made of each of the originals, which are only borrowed.
    pub fn of<O>(originals: O, make: fn(O::Item) -> T) -> Self
    where
        O: IntoIterator<IntoIter: ExactSizeIterator> + Copy + 'a,
    {
        Self(Form::Made(Box::new(move || Box::new(originals.into_iter().map(make)))))
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        match &self.0 {
            Form::Made(elements) => elements().len(),
            Form::Read(elements) => elements.len(),
        }
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self(Form::Read(Vec::new()))
    }
}

impl<'a, T: 'a> Debug for List<'a, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "a list of {}", self.len())
    }
}

impl<'a, T: 'a> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Elements<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        match self.0 {
            Form::Made(elements) => elements(),
            Form::Read(elements) => Box::new(elements.into_iter()),
        }
    }
}

impl<T: Serialize> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Made(elements) => serializer.collect_seq(elements()),
            Form::Read(elements) => serializer.collect_seq(elements),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<'_, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Form::Read(Vec::deserialize(deserializer)?)))
    }
}
