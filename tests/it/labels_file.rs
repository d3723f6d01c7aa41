//! Files that say who pays for pods without labels: what is said about the ones that are wrong.

#![expect(clippy::needless_raw_string_hashes, reason = "snapshots are written by expect-test")]

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use gpu_cost_exporter::apiserver::{CostLabel, LabelPolicy, LabelRule, LabelSource, Pattern};
use gpu_cost_exporter::labels_file;
use proptest::prelude::*;

const ALL_OF_IT: &str = r#"
sources: { environment: [app.example.com/env, stage], team: owner }
rules:
  - match: { namespace: "ml-*", pod: "train-*", labels: { app: trainer }, workload_kind: Job, workload: bert }
    set: { task-type: training, project: foundation }
  - { match: { namespace: "*" }, set: { team: "42" } }
namespaces:
  ml-search: { team: search, cost_center: cc-3015 }
"#;

#[track_caller]
fn check(text: &str, expected: &Expect) {
    let said = match labels_file::parse(text) {
        Ok(_) => "ok\n".to_owned(),
        Err(problems) => problems.iter().fold(String::new(), |mut lines, problem| {
            writeln!(lines, "{problem}").unwrap();
            lines
        }),
    };
    expected.assert_eq(&said);
}

#[test]
fn what_is_written_is_meant() {
    let source = |text: &str| text.parse::<LabelSource>().unwrap();
    let pattern = |text: &str| Some(Pattern::new(text));
    let expected = LabelPolicy {
        sources: vec![
            source("environment=app.example.com/env"),
            source("environment=stage"),
            source("team=owner"),
        ],
        rules: vec![
            LabelRule {
                namespace: pattern("ml-*"),
                pod: pattern("train-*"),
                labels: [("app".to_owned(), Pattern::new("trainer"))].into(),
                workload_kind: pattern("Job"),
                workload: pattern("bert"),
                set: [(CostLabel::TaskType, "training".into()), (CostLabel::Project, "foundation".into())]
                    .into(),
            },
            LabelRule {
                namespace: pattern("*"),
                set: [(CostLabel::Team, "42".into())].into(),
                ..LabelRule::default()
            },
        ],
        namespaces: [(
            "ml-search".to_owned(),
            [(CostLabel::Team, "search".into()), (CostLabel::CostCenter, "cc-3015".into())].into(),
        )]
        .into(),
    };
    assert_eq!(labels_file::parse(ALL_OF_IT).unwrap(), expected);
    for nothing in ["", "# sources: { team: owner }\n", "rules: []\n"] {
        assert_eq!(labels_file::parse(nothing).unwrap(), LabelPolicy::default(), "{nothing:?}");
    }
}

#[test]
fn the_examples_that_are_shipped_can_be_used() {
    let (_, manifest) =
        include_str!("../../deploy/kustomize/base/config.yaml").split_once("  labels.yaml: |\n").unwrap();
    let (shipped, _) = manifest.split_once("  pricing.yaml: |\n").unwrap();
    assert_eq!(labels_file::parse(shipped).unwrap(), LabelPolicy::default(), "it changes nothing");
    let (_, document) = include_str!("../../docs/labels.md").split_once("```yaml\nsources:").unwrap();
    let (example, _) = document.split_once("```").unwrap();
    for example in [shipped.replace("    # ", ""), format!("sources:{example}")] {
        let policy = labels_file::parse(&example).unwrap();
        assert_eq!(
            (policy.sources.len(), policy.rules.len(), policy.namespaces.len()),
            (1, 1, 1),
            "{example}"
        );
    }
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    check(
        r#"
sources: { enviroment: x, team: [], project: [a b, 7], model: { a: b } }
rule: []
rules:
  - match: { namespaces: "ml-*", pod: 5, labels: {} }
    set: { owner: me, team: 42, project: "", cost-center: a, cost_center: b }
  - match: { pod: x }
  - set: { team: x }
    match: {}
    unless: {}
  - "train-*"
namespaces:
  "ml-*": { team: x }
  web: search
  web: { team: search }
"#,
        &expect![[r#"
            line 2, sources.enviroment: expected one of team, project, model, environment, cost_center, department, task_type, found an unknown key; did you mean `environment`?
            line 2, sources.team: expected the key of a pod's label or annotation, such as app.example.com/env, or a list of such keys, found an empty list
            line 2, sources.project: expected the key of a pod's label or annotation, such as app.example.com/env, or a list of such keys, found the text `a b`
            line 2, sources.project: expected the key of a pod's label or annotation, such as app.example.com/env, or a list of such keys, found the number `7`; put it in quotes
            line 2, sources.model: expected the key of a pod's label or annotation, such as app.example.com/env, or a list of such keys, found a map
            line 3, rule: expected one of sources, rules, namespaces, found an unknown key; did you mean `rules`?
            line 5, rules[0].match.namespaces: expected one of namespace, pod, labels, workload_kind, workload, found an unknown key; did you mean `namespace`?
            line 5, rules[0].match.pod: expected text, in which * stands for any text, found the number `5`; put it in quotes
            line 5, rules[0].match.labels: expected a map of a pod's labels, such as { app: trainer }, found an empty map
            line 6, rules[0].set.owner: expected one of team, project, model, environment, cost_center, department, task_type, found an unknown key
            line 6, rules[0].set.team: expected text, such as search, found the number `42`; put it in quotes
            line 6, rules[0].set.project: expected text, such as search, found empty text
            line 6, rules[0].set.cost_center: expected every cost label once, found cost_center in line 6 too
            line 7, rules[1]: expected match and set, found no set
            line 9, rules[2].match: expected a map such as { namespace: "ml-*", labels: { app: trainer } }, found an empty map
            line 10, rules[2].unless: expected one of match, set, found an unknown key
            line 11, rules[3]: expected a map such as { match: { pod: "train-*" }, set: { task_type: training } }, found the text `train-*`
            line 13, namespaces.ml-*: expected the name of one namespace, found a pattern; write a rule that matches it
            line 14, namespaces.web: expected a map of cost labels, such as { team: search }, found the text `search`
            line 15, namespaces.web: expected every key once, found it in line 14 too
        "#]],
    );
    check(
        "rules: { match: { pod: x }, set: { team: y } }",
        &expect![[r#"
        line 1, rules: expected a list of rules, such as - { match: { pod: "train-*" }, set: { task_type: training } }, found a map
    "#]],
    );
    check(
        "- namespaces",
        &expect![[r#"
        line 1: expected a map with sources, rules or namespaces, found a list
    "#]],
    );
    check(
        "namespaces: &a { web: *a }",
        &expect![[r#"
        line 1, namespaces: expected a plain value, found an anchor (`&`), which is not supported; write it out
    "#]],
    );
    check(
        "namespaces: { web: { team: true, project: ~ } }",
        &expect![[r#"
            line 1, namespaces.web.team: expected text, such as search, found the boolean `true`; put it in quotes
            line 1, namespaces.web.project: expected text, such as search, found nothing
        "#]],
    );
    check(
        "namespaces: {",
        &expect![[r#"
        line 2: expected YAML, but it cannot be read on from here: while parsing a node, did not find expected node content
    "#]],
    );
    check(
        &format!("namespaces: {{ web: {{ team: {} }} }}", "a".repeat(301)),
        &expect![[r#"
        line 1, namespaces.web.team: expected at most 300 characters, found more
    "#]],
    );
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in prop_oneof![any::<String>(), "[a-z:{}\\[\\], \n*&!\"-]{0,80}"]) {
        if let Err(problems) = labels_file::parse(&text) {
            prop_assert!(!problems.is_empty(), "refused without a word");
        }
    }

    #[test]
    fn no_change_is_too_odd(at in 0..ALL_OF_IT.len(), with in "[\\[\\]{}:,*&\" a0~-]{0,3}") {
        let mut text = ALL_OF_IT.to_owned();
        text.replace_range(at..=at, &with);
        if let Err(problems) = labels_file::parse(&text) {
            prop_assert!(!problems.is_empty(), "refused without a word");
        }
    }
}
