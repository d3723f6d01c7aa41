//! Whose money a pod is, by its labels and annotations.
//!
//! A cost label has places where it is looked for, in order: labels first, then annotations, because labels are what
//! admission policies check. What is written for it on the command line takes the place of what it has by default.

use std::str::FromStr;
use std::sync::Arc;

use super::error::Error;
use super::objects::Metadata;
use crate::observation::CostLabels;

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
pub struct LabelSources([Places; CostLabel::ALL.len()]);

/// Where one cost label is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    labels: Vec<String>,
    annotations: Vec<String>,
}

/// One of [`CostLabels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CostLabel {
    Team,
    Project,
    Model,
    Environment,
    CostCenter,
    Department,
    TaskType,
}

// === impl LabelSources ===

impl LabelSources {
    /// The places that are written, and for cost labels without any the usual ones.
    #[must_use]
    pub fn usual_but(written: Vec<LabelSource>) -> Self {
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

    /// Whose money a pod is.
    pub(super) fn read(&self, metadata: &Metadata) -> CostLabels {
        let read = |label: CostLabel| self.0[label as usize].read(metadata);
        CostLabels {
            team: read(CostLabel::Team),
            project: read(CostLabel::Project),
            model: read(CostLabel::Model),
            environment: read(CostLabel::Environment),
            cost_center: read(CostLabel::CostCenter),
            department: read(CostLabel::Department),
            task_type: read(CostLabel::TaskType),
        }
    }
}

impl Default for LabelSources {
    fn default() -> Self {
        Self::usual_but(Vec::new())
    }
}

// === impl Places ===

impl Places {
    fn read(&self, metadata: &Metadata) -> Arc<str> {
        let label = self.labels.iter().find_map(|key| metadata.label(key));
        let said = label.or_else(|| self.annotations.iter().find_map(|key| metadata.annotation(key)));
        cut(said.unwrap_or_default()).into()
    }
}

// === impl LabelSource ===

impl FromStr for LabelSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (name, key) = text.split_once('=')?;
            let label = CostLabel::ALL.into_iter().find(|label| label.name() == name.replace('-', "_"))?;
            let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
            (!key.is_empty() && key.bytes().all(is_key)).then(|| Self { label, key: key.to_owned() })
        };
        read().ok_or_else(|| Error::LabelSource { text: text.to_owned() })
    }
}

// === impl CostLabel ===

impl CostLabel {
    const ALL: [Self; 7] = [
        Self::Team,
        Self::Project,
        Self::Model,
        Self::Environment,
        Self::CostCenter,
        Self::Department,
        Self::TaskType,
    ];

    /// Its name on our metrics.
    const fn name(self) -> &'static str {
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
    fn read(written: &[&str], pod: &str) -> CostLabels {
        let written = written.iter().map(|text| text.parse().unwrap()).collect();
        let mut metadata = Metadata::default();
        for word in pod.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap();
            match key.strip_prefix('@') {
                Some(key) => metadata.annotations.insert(key.to_owned(), value.to_owned()),
                None => metadata.labels.insert(key.to_owned(), value.to_owned()),
            };
        }
        LabelSources::usual_but(written).read(&metadata)
    }

    #[track_caller]
    fn check(written: &[&str], pod: &str, expected: &str) {
        let CostLabels { team, project, model, environment, cost_center, department, task_type } =
            read(written, pod);
        let all = [team, project, model, environment, cost_center, department, task_type];
        assert_eq!(all.join(","), expected, "{pod} with {written:?}");
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
