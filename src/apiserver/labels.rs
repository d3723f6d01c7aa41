//! Where a pod's labels and annotations say whose money it is.
//!
//! A cost label has places where it is looked for, in order: labels first, then annotations, because labels are what
//! admission policies check. What is written for it on the command line takes the place of what it has by default.

use std::str::FromStr;

use super::error::Error;
use super::objects::Metadata;

/// The longest value that is kept, in bytes. An annotation may have 256 KiB, and each pod another one.
const VALUE_BYTES_MAX: usize = 1024;

/// A cost label and another place to look for it, written `environment=app.example.com/env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSource {
    label: CostLabel,
    /// The key of a label or an annotation.
    key: String,
}

/// Where the cost labels are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelSources([Places; CostLabel::ALL.len()]);

/// Where one cost label is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    labels: Vec<String>,
    annotations: Vec<String>,
}

/// One of [`CostLabels`](crate::observation::CostLabels).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CostLabel {
    /// The team that pays.
    Team,
    /// The project.
    Project,
    /// The model that is trained or served.
    Model,
    /// The environment.
    Environment,
    /// The cost center.
    CostCenter,
    /// The department.
    Department,
    /// The kind of task.
    TaskType,
}

// === impl LabelSources ===

impl LabelSources {
    /// The places that are written, and for cost labels without any the usual ones.
    pub(super) fn usual_but(written: Vec<LabelSource>) -> Self {
        let mut sources: [Places; CostLabel::ALL.len()] = CostLabel::ALL.map(|_| Places::default());
        for LabelSource { label, key } in written {
            let places = &mut sources[label as usize];
            places.labels.push(key.clone());
            places.annotations.push(key);
        }
        for label in CostLabel::ALL {
            let places = &mut sources[label as usize];
            if places.labels.is_empty() {
                *places = label.usual_places();
            }
        }
        Self(sources)
    }

    /// What a pod says about one cost label, if it says something; the beginning of it if it is long.
    pub(super) fn said<'a>(&self, label: CostLabel, pod: &'a Metadata) -> Option<&'a str> {
        self.0[label as usize].said(pod).map(cut)
    }
}

impl Default for LabelSources {
    fn default() -> Self {
        Self::usual_but(Vec::new())
    }
}

// === impl Places ===

impl Places {
    fn said<'a>(&self, pod: &'a Metadata) -> Option<&'a str> {
        let label = self.labels.iter().find_map(|key| pod.label(key));
        label.or_else(|| self.annotations.iter().find_map(|key| pod.annotation(key)))
    }
}

// === impl LabelSource ===

impl LabelSource {
    /// Another place to look for a cost label; `None` if nothing could have this key.
    #[must_use]
    pub fn new(label: CostLabel, key: &str) -> Option<Self> {
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        (!key.is_empty() && key.bytes().all(is_key)).then(|| Self { label, key: key.to_owned() })
    }

    /// The cost label.
    pub(super) fn label(&self) -> CostLabel {
        self.label
    }
}

impl FromStr for LabelSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (name, key) = text.split_once('=')?;
            Self::new(CostLabel::named(name)?, key)
        };
        read().ok_or_else(|| Error::LabelSource { text: text.to_owned() })
    }
}

// === impl CostLabel ===

impl CostLabel {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Team,
        Self::Project,
        Self::Model,
        Self::Environment,
        Self::CostCenter,
        Self::Department,
        Self::TaskType,
    ];

    /// The cost label of this name, as metrics or as pods write it: `cost_center` or `cost-center`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name.replace('-', "_"))
    }

    /// Its name on our metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Project => "project",
            Self::Model => "model",
            Self::Environment => "environment",
            Self::CostCenter => "cost_center",
            Self::Department => "department",
            Self::TaskType => "task_type",
        }
    }

    fn usual_places(self) -> Places {
        let annotations = match self {
            Self::Team | Self::Project | Self::Environment => {
                vec![format!("cost.kubernetes.io/{}", self.name())]
            }
            Self::Model | Self::CostCenter | Self::Department | Self::TaskType => Vec::new(),
        };
        Places { labels: vec![self.name().replace('_', "-")], annotations }
    }
}

/// The beginning of a value that is too long, in whole characters.
fn cut(value: &str) -> &str {
    let end = value.char_indices().map(|(at, char)| at + char.len_utf8());
    match end.take_while(|end| *end <= VALUE_BYTES_MAX).last() {
        Some(end) => value.get(..end).unwrap_or_default(),
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pods written as `label=value` and `@annotation=value`.
    fn read(written: &[&str], pod: &str) -> [String; CostLabel::ALL.len()] {
        let written = written.iter().map(|text| text.parse().unwrap()).collect();
        let mut metadata = Metadata::default();
        for word in pod.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap();
            match key.strip_prefix('@') {
                Some(key) => metadata.annotations.insert(key.to_owned(), value.to_owned()),
                None => metadata.labels.insert(key.to_owned(), value.to_owned()),
            };
        }
        let sources = LabelSources::usual_but(written);
        CostLabel::ALL.map(|label| sources.said(label, &metadata).unwrap_or_default().to_owned())
    }

    #[track_caller]
    fn check(written: &[&str], pod: &str, expected: &str) {
        assert_eq!(read(written, pod).join(","), expected, "{pod} with {written:?}");
    }

    #[test]
    fn labels_say_whose_money_it_is_and_annotations_where_they_do_not() {
        check(&[], "", ",,,,,,");
        check(
            &[],
            "team=t project=p model=m environment=e cost-center=c department=d task-type=training app=x",
            "t,p,m,e,c,d,training",
        );
        check(&[], "@cost.kubernetes.io/team=t @cost.kubernetes.io/project=p", "t,p,,,,,");
        check(&[], "@cost.kubernetes.io/environment=e", ",,,e,,,");
        check(&[], "team=label @cost.kubernetes.io/team=annotation", "label,,,,,,");
        check(&[], "team= @cost.kubernetes.io/team=annotation", "annotation,,,,,,");
        // Not what anybody agreed on.
        check(&[], "@team=t cost.kubernetes.io/team=t @cost.kubernetes.io/model=m", ",,,,,,");
    }

    #[test]
    fn other_places_take_the_place_of_the_usual_ones() {
        let env = ["environment=app.example.com/env"];
        check(&env, "app.example.com/env=prod environment=test team=t", "t,,,prod,,,");
        check(&env, "@app.example.com/env=prod", ",,,prod,,,");
        check(&env, "environment=test @cost.kubernetes.io/environment=test", ",,,,,,");
        let two = ["cost-center=billing", "cost_center=account"];
        check(&two, "account=2", ",,,,2,,");
        check(&two, "account=2 billing=1", ",,,,1,,");
        check(&two, "account=2 @billing=1", ",,,,2,,");
    }

    #[test]
    fn a_source_that_says_nothing_is_refused() {
        for wrong in ["", "team", "team=", "=x", "Team=x", "cost=x", "team=a b", "team=a=b", "team=ä"] {
            let refused = wrong.parse::<LabelSource>().unwrap_err().to_string();
            assert!(refused.contains(&format!("{wrong:?}")), "{refused}");
        }
    }

    #[test]
    fn a_value_of_any_length_takes_little_memory() {
        assert_eq!(cut(""), "");
        assert_eq!(cut(&"a".repeat(VALUE_BYTES_MAX)).len(), VALUE_BYTES_MAX);
        assert_eq!(cut(&"a".repeat(300_000)).len(), VALUE_BYTES_MAX);
        assert_eq!(cut(&format!("a{}", "ä".repeat(300_000))).len(), VALUE_BYTES_MAX - 1);
    }
}
