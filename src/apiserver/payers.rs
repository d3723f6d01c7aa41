//! Whose money a pod is: by what it says itself, and where it says nothing by what the operator has written.
//!
//! For each cost label on its own, the first of these that says something counts:
//!
//! 1. the pod's labels, then its annotations ([`LabelSources`]);
//! 2. the first rule that fits the pod and sets the label;
//! 3. what the pod's namespace sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::labels::{CostLabel, LabelSource, LabelSources};
use super::objects::Metadata;
use crate::observation::{CostLabels, Workload};

/// Whose money pods are.
#[derive(Clone, Debug, Default)]
pub struct Payers {
    sources: LabelSources,
    policy: LabelPolicy,
}

/// What an operator has written about pods that do not say whose money they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelPolicy {
    /// Other places to look for cost labels.
    pub sources: Vec<LabelSource>,
    /// What pods of many kinds have, in the order in which they are tried.
    pub rules: Vec<LabelRule>,
    /// What the pods of a namespace have, by its name.
    pub namespaces: BTreeMap<String, SetLabels>,
}

/// Cost labels and their values.
pub type SetLabels = BTreeMap<CostLabel, Arc<str>>;

/// Cost labels for every pod of which all is so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelRule {
    /// Its namespace.
    pub namespace: Option<Pattern>,
    /// Its name.
    pub pod: Option<Pattern>,
    /// Labels that it has, each with a value that fits.
    pub labels: BTreeMap<String, Pattern>,
    /// The kind of the controller above it.
    pub workload_kind: Option<Pattern>,
    /// The name of the controller above it.
    pub workload: Option<Pattern>,
    /// What it has then.
    pub set: SetLabels,
}

/// A text in which each `*` stands for any text, also for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

// === impl Payers ===

impl Payers {
    /// By the sources that were typed, and by what was written. What was typed for a cost label takes the place of what
    /// was written for it.
    #[must_use]
    pub fn new(typed: Vec<LabelSource>, policy: LabelPolicy) -> Self {
        let is_typed = |source: &LabelSource| typed.iter().any(|typed| typed.label() == source.label());
        let written: Vec<_> = policy.sources.iter().filter(|source| !is_typed(source)).cloned().collect();
        Self { sources: LabelSources::usual_but([typed, written].concat()), policy }
    }

    /// Whose money a pod is that has this workload above it.
    pub(super) fn of(&self, pod: &Metadata, workload: Option<&Workload>) -> CostLabels {
        let rules: Vec<&LabelRule> =
            self.policy.rules.iter().filter(|rule| rule.fits(pod, workload)).collect();
        let namespace = self.policy.namespaces.get(&pod.namespace);
        let written = |label: CostLabel| {
            let by_rule = rules.iter().find_map(|rule| rule.set.get(&label));
            by_rule.or_else(|| namespace?.get(&label)).cloned()
        };
        let of = |label: CostLabel| match self.sources.said(label, pod) {
            Some(said) => said.into(),
            None => written(label).unwrap_or_default(),
        };
        CostLabels {
            team: of(CostLabel::Team),
            project: of(CostLabel::Project),
            model: of(CostLabel::Model),
            environment: of(CostLabel::Environment),
            cost_center: of(CostLabel::CostCenter),
            department: of(CostLabel::Department),
            task_type: of(CostLabel::TaskType),
        }
    }
}

// === impl LabelRule ===

impl LabelRule {
    fn fits(&self, pod: &Metadata, workload: Option<&Workload>) -> bool {
        let fits = |pattern: &Option<Pattern>, text: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| text.is_some_and(|text| pattern.matches(text)))
        };
        let mut labels = self.labels.iter();
        fits(&self.namespace, Some(&pod.namespace))
            && fits(&self.pod, Some(&pod.name))
            && fits(&self.workload_kind, workload.map(|workload| &*workload.kind))
            && fits(&self.workload, workload.map(|workload| &*workload.name))
            && labels.all(|(key, pattern)| pod.labels.get(key).is_some_and(|value| pattern.matches(value)))
    }
}

// === impl Pattern ===

impl Pattern {
    /// The pattern that is written so.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn matches(&self, text: &str) -> bool {
        let Some((begin, rest)) = self.0.split_once('*') else { return text == self.0 };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(text) = text.strip_prefix(begin).and_then(|text| text.strip_suffix(end)) else {
            return false;
        };
        // Each part as early as it can be leaves the most for those after it.
        let after = |text: Option<&'_ str>, part: &str| -> Option<usize> {
            let text = text?;
            text.find(part).map(|at| at + part.len())
        };
        let mut left = Some(text);
        for part in middle.split('*') {
            left = after(left, part).and_then(|at| left?.get(at..));
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, fits, others) in [
            ("a", "a", "b aa ba"),
            ("*", "a abc a-b", ""),
            ("ml-*", "ml-a ml-", "ml xml-a"),
            ("*-gpu", "a-gpu -gpu", "gpu a-gpus"),
            ("a*a", "aa aba aaa", "a ab"),
            ("a*b*c", "abc axbxc abbc abcbc", "acb ac abcx"),
            ("*b*", "b abc", "ac"),
            ("a**c", "ac abc", "a"),
            ("*ab*ab*", "abab xabyabz", "ab aab aba"),
        ] {
            let pattern = Pattern::new(pattern);
            for text in fits.split(' ') {
                assert!(pattern.matches(text), "{pattern:?} {text}");
            }
            for text in others.split_terminator(' ') {
                assert!(!pattern.matches(text), "{pattern:?} {text}");
            }
        }
        assert!(Pattern::new("*").matches("") && !Pattern::new("a*").matches(""));
    }

    fn set(labels: &[(CostLabel, &str)]) -> SetLabels {
        labels.iter().map(|(label, value)| (*label, Arc::from(*value))).collect()
    }

    fn metadata(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Metadata {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Metadata { namespace: namespace.to_owned(), name: name.to_owned(), labels, ..Metadata::default() }
    }

    fn payers() -> Payers {
        let rule = |namespace: &str, labels: &[(CostLabel, &str)]| LabelRule {
            namespace: Some(Pattern::new(namespace)),
            set: set(labels),
            ..LabelRule::default()
        };
        let rules = vec![
            LabelRule {
                pod: Some(Pattern::new("train-*")),
                ..rule("ml-*", &[(CostLabel::TaskType, "training")])
            },
            rule("*", &[(CostLabel::TaskType, "other"), (CostLabel::Project, "any")]),
        ];
        let namespaces =
            [("ml-search".to_owned(), set(&[(CostLabel::Team, "search"), (CostLabel::Project, "own")]))];
        Payers::new(
            Vec::new(),
            LabelPolicy { rules, namespaces: namespaces.into(), ..LabelPolicy::default() },
        )
    }

    #[test]
    fn what_the_pod_says_comes_before_rules_and_these_before_its_namespace() {
        let of = |namespace: &str, name: &str, labels: &[(&str, &str)]| {
            let CostLabels { team, project, task_type, .. } =
                payers().of(&metadata(namespace, name, labels), None);
            [team, project, task_type].join(",")
        };
        assert_eq!(of("ml-search", "train-1", &[]), "search,any,training");
        assert_eq!(of("ml-search", "chat", &[]), "search,any,other");
        assert_eq!(of("web", "train-1", &[]), ",any,other");
        assert_eq!(of("ml-search", "train-1", &[("team", "nlp"), ("task-type", "tuning")]), "nlp,any,tuning");
        // A label without a value says nothing.
        assert_eq!(of("ml-search", "train-1", &[("team", "")]), "search,any,training");
    }

    #[test]
    fn a_rule_fits_if_all_of_it_does() {
        let job = Workload { kind: "Job".into(), name: "bert".into() };
        let pod = metadata("ml", "train-1", &[("app", "trainer"), ("empty", "")]);
        let pattern = |text: &str| Some(Pattern::new(text));
        let labels = |key: &str, value: &str| [(key.to_owned(), Pattern::new(value))].into();
        let rule = LabelRule::default();
        for (rule, expected) in [
            (rule.clone(), true),
            (LabelRule { namespace: pattern("ml"), pod: pattern("train-*"), ..rule.clone() }, true),
            (LabelRule { namespace: pattern("ml"), pod: pattern("serve-*"), ..rule.clone() }, false),
            (LabelRule { workload_kind: pattern("Job"), workload: pattern("b*"), ..rule.clone() }, true),
            (LabelRule { workload_kind: pattern("Deployment"), ..rule.clone() }, false),
            (LabelRule { workload: pattern("a*"), ..rule.clone() }, false),
            (LabelRule { labels: labels("app", "train*"), ..rule.clone() }, true),
            (LabelRule { labels: labels("app", "serve*"), ..rule.clone() }, false),
            (LabelRule { labels: labels("empty", "*"), ..rule.clone() }, true),
            (LabelRule { labels: labels("missing", "*"), ..rule }, false),
        ] {
            assert_eq!(rule.fits(&pod, Some(&job)), expected, "{rule:?}");
        }
        assert!(!LabelRule { workload: pattern("*"), ..LabelRule::default() }.fits(&pod, None));
    }

    #[test]
    fn what_was_typed_takes_the_place_of_what_was_written() {
        let source = |text: &str| text.parse::<LabelSource>().unwrap();
        let sources = vec![source("team=squad"), source("project=work")];
        let policy = LabelPolicy { sources, ..LabelPolicy::default() };
        let payers = Payers::new(vec![source("team=crew")], policy);
        let pod = metadata("ml", "x", &[("squad", "a"), ("crew", "b"), ("work", "c"), ("project", "d")]);
        let CostLabels { team, project, .. } = payers.of(&pod, None);
        assert_eq!((&*team, &*project), ("b", "c"));
    }
}
