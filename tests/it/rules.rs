//! The rules for Prometheus: its own tool checks and tests them, and each is said to people somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use gpu_cost_exporter::metrics::catalog::CATALOG;
use serde_yaml::Value;

use crate::support::tools;

/// Beginnings of names that others export. `up` is Prometheus' own.
const FOREIGN: &[&str] = &["vllm:", "sglang:", "tgi_", "nv_", "trtllm_", "llamacpp:", "kube_", "up"];

/// What a site may set and rules/settings.yml leaves to it, and what an exporter that keeps its ledger exports.
const OPTIONAL: &[&str] = &["gpu_cost_budget_dollars"];

/// The documents whose queries people copy.
const DOCUMENTS: &[&str] = &["docs/promql.md", "docs/alerts.md"];

/// Where alerts say that their section is.
const RUNBOOKS: &str = "https://github.com/gpu-cost-exporter/gpu-cost-exporter/blob/main/docs/alerts.md#";

/// Dashboards that alerts may lead to.
const DASHBOARDS: &[&str] = &[
    "gpu-cost-bill",
    "gpu-cost-waste",
    "gpu-cost-team",
    "gpu-cost-nodes",
    "gpu-cost-llm",
    "gpu-cost-exporter",
];

/// A longer rule file holds two ideas.
const LINES: usize = 400;

#[test]
fn promtool_has_nothing_to_say_about_the_rules() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &yaml_files("rules"));
}

#[test]
fn the_rules_do_what_their_tests_say() {
    thread::scope(|scope| {
        for file in yaml_files("tests/rules") {
            scope.spawn(move || promtool(&["test", "rules"], &[file]));
        }
    });
}

#[test]
fn the_rules_do_the_same_where_pods_are_told_apart_by_container() {
    let directory = tempfile::tempdir().expect("a directory");
    let rules = format!("{}/rules/", env!("CARGO_MANIFEST_DIR"));
    let mut divided = Vec::new();
    for file in yaml_files("tests/rules") {
        let text = fs::read_to_string(&file).expect("read a test");
        let lines = text.lines().map(|line| of_containers(line).unwrap_or_else(|| line.to_owned()));
        let by_container = lines.collect::<Vec<_>>().join("\n").replace("../../rules/", &rules);
        if by_container.contains("container=") {
            let copy = directory.path().join(file.file_name().expect("its name"));
            fs::write(&copy, by_container).expect("write the test");
            divided.push(copy);
        }
    }
    assert!(divided.len() >= 6, "{divided:?}");
    thread::scope(|scope| {
        for file in divided {
            scope.spawn(move || promtool(&["test", "rules"], &[file]));
        }
    });
}

/// Three lines of a test for one with a pod's money or time: a quarter is no container's, a quarter one's, and half of it
/// another's.
fn of_containers(line: &str) -> Option<String> {
    let is_it =
        ["gpu_cost_pod_dollars_total{", "gpu_cost_pod_gpu_seconds_total{"].iter().any(|it| line.contains(it));
    let (series, values) =
        line.split_once("}', values: '").filter(|_| is_it && line.contains("series: '"))?;
    let (values, end) = values.split_once('\'')?;
    let part = |label: &str, part: f64| {
        let values: Vec<String> = values.split(' ').map(|value| scaled(value, part)).collect();
        format!("{series}{label}}}', values: '{}'{end}", values.join(" "))
    };
    let parts = [("", 0.25), (",container=\"a\"", 0.25), (",container=\"b\"", 0.5)];
    Some(parts.map(|(label, of)| part(label, of)).join("\n"))
}

/// A part of promtool's short form for values, such as `1.5`, `0+6x240`, `_x60` or `stale`.
fn scaled(values: &str, part: f64) -> String {
    let (value, times) = values.split_once('x').map_or((values, ""), |(value, times)| (value, times));
    let number = |number: &str| number.parse::<f64>().map_or(number.to_owned(), |it| (it * part).to_string());
    let value = value.split('+').map(number).collect::<Vec<_>>().join("+");
    if times.is_empty() { value } else { format!("{value}x{times}") }
}

#[test]
fn promtool_has_nothing_to_say_about_the_queries_of_the_documents() {
    let directory = tempfile::tempdir().expect("a directory");
    for document in DOCUMENTS {
        let queries = queries(&read(document));
        assert!(queries.len() > 10, "{document} has its queries in blocks of promql");
        let indented = queries.iter().map(|query| query.replace('\n', "\n        "));
        let rules = indented
            .enumerate()
            .map(|(number, query)| format!("    - record: query:{number}\n      expr: |\n        {query}\n"));
        let text = format!("groups:\n- name: queries\n  rules:\n{}", rules.collect::<String>());
        let file = directory.path().join("queries.yml");
        fs::write(&file, text).expect("write the queries");
        promtool(&["check", "rules"], &[file]);
    }
}

#[test]
fn rules_and_queries_name_metrics_that_exist() {
    let known: BTreeSet<String> = CATALOG.iter().map(|metric| metric.name.to_owned()).collect();
    let known: BTreeSet<String> = known.into_iter().chain(rules().iter().filter_map(Rule::record)).collect();
    let of_rules = rules().into_iter().map(|rule| (rule.name(), rule.expr()));
    let of_documents = DOCUMENTS.iter().flat_map(|document| {
        queries(&read(document)).into_iter().map(|query| ((*document).to_owned(), query))
    });
    for (who, expr) in of_rules.chain(of_documents) {
        for name in metrics_of(&expr) {
            let foreign = FOREIGN.iter().any(|prefix| name.starts_with(prefix));
            let foreign = foreign || OPTIONAL.contains(&&*name);
            assert!(foreign || known.contains(&name), "{who} asks for {name}, which nobody makes");
        }
    }
}

#[test]
fn the_metrics_of_an_expression_are_found() {
    for (expr, expected) in [
        ("sum by (node, gpu_uuid) (rate(a_total{b=\"c_d\", e=~\"f}\"}[5m])) * 2e3", "a_total"),
        ("a:b:c / on (x) group_left (y) max(z_z) > bool 0.5", "a:b:c z_z"),
        ("last_over_time(a[1h] offset 5m) unless on () b and time() > 3", "a b"),
        ("# a comment\nlabel_replace(a, \"b\", \"$1\", \"c\", \"(.*)\") # another\nor Inf", "a"),
    ] {
        let found: Vec<_> = metrics_of(expr).into_iter().collect();
        assert_eq!(found.join(" "), expected, "{expr}");
    }
}

#[test]
fn every_alert_tells_what_a_person_needs_at_night() {
    let book = read("docs/alerts.md");
    let alerts: Vec<Rule> = rules().into_iter().filter(|rule| rule.alert().is_some()).collect();
    for alert in &alerts {
        let name = alert.name();
        let says = |what: &str| alert.0["annotations"][what].as_str().unwrap_or_default().to_owned();
        assert!(
            says("summary").contains("$value") || name.ends_with("Missing"),
            "{name} does not say its number"
        );
        assert!(says("description").len() > 40, "{name} does not say what to do");
        let severity = alert.0["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name} is of no severity");
        let board = says("dashboard_url").split("/d/").nth(1).unwrap_or_default().to_owned();
        let board = board.split('?').next().unwrap_or_default();
        assert!(DASHBOARDS.contains(&board), "{name} leads to no dashboard");
        assert_eq!(says("runbook_url"), format!("{RUNBOOKS}{}", name.to_lowercase()));
        let section = book.split(&format!("\n### {name}\n")).nth(1).unwrap_or_default();
        let section = section.split("\n### ").next().unwrap_or_default();
        for part in ["What it costs", "How to look", "```promql", "What to do", "When to silence"] {
            assert!(section.contains(part), "docs/alerts.md does not say of {name}: {part}");
        }
    }
    let sections = book.lines().filter_map(|line| line.strip_prefix("### ")).collect::<Vec<_>>();
    let names: Vec<String> = alerts.iter().map(Rule::name).collect();
    assert!(
        sections.iter().all(|section| names.iter().any(|name| name == section)),
        "{sections:?} {names:?}"
    );
}

#[test]
fn every_threshold_is_set_explained_and_missed() {
    let (settings, explained) = (read("rules/settings.yml"), read("rules/README.md"));
    let missed =
        rules().into_iter().find(|rule| rule.name() == "GpuCostSettingsMissing").expect("it is there");
    let others = rules().into_iter().filter(|rule| rule.name() != missed.name());
    let used: BTreeSet<String> = others.flat_map(|rule| thresholds(&rule.expr())).collect();
    assert_eq!(thresholds(&missed.expr()).into_iter().collect::<BTreeSet<_>>(), used);
    for name in &used {
        assert!(settings.contains(&format!("labels: {{alert: {name}}}")), "settings.yml has no {name}");
        assert!(explained.contains(&format!("`{name}`")), "rules/README.md says nothing of {name}");
    }
    assert_eq!(
        settings.matches("record: \"gpu_cost:threshold\"").count(),
        used.len(),
        "one is set and not used"
    );
    for line in settings.lines().filter(|line| line.contains("\"gpu_cost:setting\"")) {
        let name = line.split("setting: ").nth(1).and_then(|rest| rest.split('}').next()).expect("its name");
        assert!(explained.contains(&format!("`{name}`")), "rules/README.md says nothing of {name}");
    }
}

#[test]
fn every_rule_is_tested() {
    let suites: Vec<Value> = yaml_files("tests/rules").iter().map(|file| parse(file)).collect();
    let tests: Vec<&Value> = suites.iter().flat_map(|suite| items(&suite["tests"])).collect();
    let asked: BTreeSet<String> = tests
        .iter()
        .flat_map(|test| items(&test["promql_expr_test"]))
        .flat_map(|test| metrics_of(test["expr"].as_str().expect("an expression")))
        .collect();
    let mut seen: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for test in tests.iter().flat_map(|test| items(&test["alert_rule_test"])) {
        let count = seen.entry(test["alertname"].as_str().expect("a name").to_owned()).or_default();
        if items(&test["exp_alerts"]).is_empty() { count.1 += 1 } else { count.0 += 1 }
    }
    for rule in rules() {
        if let Some(record) = rule.record() {
            // Constants are read by every alert.
            let constant = ["gpu_cost:threshold", "gpu_cost:setting", "gpu_cost:links"].contains(&&*record);
            assert!(constant || asked.contains(&record), "no test asks for {record}");
        } else {
            let (fires, silent) = seen.get(&rule.name()).copied().unwrap_or_default();
            assert!(fires >= 1, "no test sees {} fire", rule.name());
            assert!(
                silent >= 3,
                "{} does not fire, recovers, and is silent without data: say so",
                rule.name()
            );
        }
    }
}

#[test]
fn every_rule_file_holds_one_idea() {
    for file in yaml_files("rules") {
        let lines = fs::read_to_string(&file).expect("it can be read").lines().count();
        assert!(lines <= LINES, "{} has {lines} lines", file.display());
    }
}

/// A rule as its file has it.
struct Rule(Value);

// === impl Rule ===

impl Rule {
    fn record(&self) -> Option<String> {
        self.0["record"].as_str().map(str::to_owned)
    }

    fn alert(&self) -> Option<String> {
        self.0["alert"].as_str().map(str::to_owned)
    }

    fn name(&self) -> String {
        self.record().or_else(|| self.alert()).expect("a rule has a name")
    }

    fn expr(&self) -> String {
        self.0["expr"].as_str().expect("a rule has an expression").to_owned()
    }
}

fn rules() -> Vec<Rule> {
    let files = yaml_files("rules");
    let groups = files.iter().flat_map(|file| items(&parse(file)["groups"]).to_vec());
    groups.flat_map(|group| items(&group["rules"]).to_vec()).map(Rule).collect()
}

/// The thresholds that an expression compares with.
fn thresholds(expr: &str) -> Vec<String> {
    let after = expr.split("gpu_cost:threshold{alert=\"").skip(1);
    after.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// The blocks of `promql` in a Markdown text.
fn queries(markdown: &str) -> Vec<String> {
    let blocks = markdown.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| block.trim().to_owned()).collect()
}

/// The names of metrics in an expression: what is left of it without strings, label matchers, lists of labels,
/// functions and words of the language.
fn metrics_of(expr: &str) -> BTreeSet<String> {
    const LISTS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
    const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "Inf", "NaN"];
    // May stand before a list of labels instead of a bracket of their own.
    const AGGREGATIONS: &[&str] = &["sum", "max", "min", "avg", "count", "group", "topk"];
    let code: String = expr.lines().map(|line| line.split(" # ").next().unwrap_or_default()).fold(
        String::new(),
        |text, line| if line.trim_start().starts_with('#') { text } else { text + line + "\n" },
    );
    let unquoted: String = code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    let outside = |text: &str, open: char, close: char| -> String {
        let mut parts = text.split(open);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| all + part.split_once(close).map_or("", |(_, rest)| rest))
    };
    let bare = outside(&outside(&unquoted, '{', '}'), '[', ']');
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = BTreeSet::new();
    let mut rest = bare.as_str();
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        let is_called = after.trim_start().starts_with('(');
        rest = after;
        if LISTS.contains(&word) && is_called {
            rest = after.split_once(')').map_or("", |(_, rest)| rest);
        }
        let is_word = [LISTS, WORDS, AGGREGATIONS].iter().any(|words| words.contains(&word));
        if !is_word && !is_called && !word.starts_with(|c: char| c.is_ascii_digit()) {
            names.insert(word.to_owned());
        }
    }
    names
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let mut command = Command::new("promtool");
    command.args(arguments).args(files);
    let output = tools::run(&mut command, b"", "install Debian's prometheus (make test does)");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}:\n{}", String::from_utf8_lossy(&said));
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).expect("the directory can be listed");
    let paths = entries.map(|entry| entry.expect("the directory can be listed").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yml")).collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} has no rules");
    files
}

fn parse(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("it can be read");
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn items(list: &Value) -> &[Value] {
    list.as_sequence().map_or(&[], Vec::as_slice)
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect(file)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
