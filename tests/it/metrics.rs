//! The text of a scrape: golden, and read back by Prometheus' own tool, by Python's parser and by a reader of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;

use expect_test::expect_file;
use gpu_cost_exporter::cost::money::{Amount, Cost, GpuTime};
use gpu_cost_exporter::cost::report::{Payer, Report, ShowbackLine, State, Totals};
use gpu_cost_exporter::metrics::catalog::{self, CATALOG, Kind};
use gpu_cost_exporter::metrics::{self, Format, Process, ProcessReading, label};
use gpu_cost_exporter::observation::{CostLabels, PodKey};
use gpu_cost_exporter::status::{Mode, Published, Status};
use proptest::prelude::*;

use crate::support::rich_report::{self, published};
use crate::support::scrape::{Samples, parse_sample};
use crate::support::tools;

/// Labels that somebody might choose to hurt a reader.
const HOSTILE: &[&str] = &[
    "",
    "plain",
    "\"",
    "\\",
    "\n",
    "\\n",
    "\\\"\n}",
    "a\",b=\"c",
    "} 1\ngpu_cost_fake_total 1",
    "# HELP x",
    "\0",
    "\r\n",
    "\t\u{b}\u{c}",
    "\u{1b}[31m",
    "\u{85}\u{2028}\u{2029}",
    "\u{feff}\u{202e}",
    "☃🦀",
    "{{ .Value }}",
];

fn render(published: &Published) -> String {
    let settings = metrics::Settings::default();
    let text = metrics::render(published, &ProcessReading::default(), &settings, Format::Text);
    String::from_utf8(text).expect("text is UTF-8")
}

#[test]
fn the_catalogue_is_documented() {
    expect_file!["../../METRICS.md"].assert_eq(&catalog::markdown());
}

#[test]
fn a_day_with_a_bit_of_everything() {
    let text = render(&published());
    let text = text.replace(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), "version=\"VERSION\"");
    expect_file!["golden/everything.prom"].assert_eq(&text);
}

#[test]
fn before_the_first_report_there_is_only_the_exporter() {
    let published = Published {
        report: None,
        status: Arc::new(Status { mode: Mode::Demo, ..rich_report::status(Mode::Demo) }),
    };
    let text = render(&published);
    for (name, _) in parse(&text).keys() {
        assert!(name.starts_with("gpu_cost_exporter_"), "{name}");
    }
    assert!(text.contains("\ngpu_cost_exporter_simulated 1\n"), "{text}");
}

#[test]
fn every_metric_is_in_the_golden_scrape_with_exactly_its_labels() {
    let samples = parse(&render(&published()));
    for metric in CATALOG {
        // A container is there only where containers are told apart.
        let usual = metric.labels.iter().copied().filter(|label| *label != "container");
        let mut expected: BTreeSet<&str> = usual.collect();
        if metric.group.has_node() {
            expected.insert("node");
        }
        let found: Vec<_> = samples.keys().filter(|(name, _)| name == metric.name).collect();
        assert!(!found.is_empty(), "{} has no series", metric.name);
        for (name, labels) in found {
            assert_eq!(labels.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{name}");
        }
    }
}

#[test]
fn the_exported_dollars_add_up() {
    let samples = parse(&render(&published()));
    let sum = |family: &str| -> f64 {
        samples.iter().filter(|((name, _), _)| name == family).map(|(_, v)| v).sum()
    };
    let bill: f64 =
        published().report.unwrap().devices.iter().map(|line| line.totals.total_cost().dollars()).sum();
    assert!(bill > 600.0, "{bill}");
    for family in ["gpu_cost_device_dollars_total", "gpu_cost_showback_dollars_total"] {
        assert!((sum(family) - bill).abs() < 1e-9, "{family} is {} of {bill}", sum(family));
    }
    assert!(sum("gpu_cost_pod_dollars_total") < bill);
}

#[test]
fn what_was_not_measured_has_no_series() {
    let samples = parse(&render(&published()));
    let has = |family: &str, part: &str| {
        samples
            .keys()
            .any(|(name, labels)| name == family && labels.values().any(|value| value.contains(part)))
    };
    let cases: &[(&str, &str, bool)] = &[
        ("gpu_cost_device_utilization_ratio", "GPU-0", true),
        ("gpu_cost_device_utilization_ratio", "GPU-1", false),
        ("gpu_cost_device_power_watts", "GPU-3", false),
        ("gpu_cost_device_memory_used_bytes", "GPU-3", false),
        ("gpu_cost_device_energy_joules_total", "GPU-3", false),
        ("gpu_cost_mig_utilization_ratio", "MIG-1g.10gb-5", false),
        ("gpu_cost_mig_utilization_ratio", "MIG-1g.10gb-6", true),
        // Without a price there are seconds and no dollars.
        ("gpu_cost_device_dollars_total", "GPU-4", false),
        ("gpu_cost_device_seconds_total", "GPU-4", true),
        ("gpu_cost_device_price_dollars_per_hour", "GPU-4", false),
        ("gpu_cost_pod_dollars_total", "b300", false),
        ("gpu_cost_pod_dollars_per_hour", "b300", false),
        ("gpu_cost_pod_burst_dollars_total", "b300", false),
        ("gpu_cost_pod_gpu_seconds_total", "b300", true),
        ("gpu_cost_showback_dollars_total", "b300", false),
        ("gpu_cost_showback_gpu_seconds_total", "b300", true),
        // Never worked.
        ("gpu_cost_pod_last_active_timestamp_seconds", "embed", false),
    ];
    for (family, part, expected) in cases {
        assert_eq!(has(family, part), *expected, "{family} of {part}");
    }
}

#[test]
fn all_states_are_there_before_anything_was_charged() {
    let mut report = rich_report::report();
    report.devices.truncate(1);
    report.devices[0].totals = Totals::default();
    report.pods.truncate(1);
    Arc::make_mut(&mut report.pods[0].account).totals = Totals::default();
    let payer = |namespace: &str| Payer {
        namespace: namespace.into(),
        labels: CostLabels::default(),
        gpu_model: "m".into(),
        price_model: report.devices[0].quote.as_ref().map(|quote| quote.price_model),
    };
    let since = report.ledger_start;
    let line = |namespace: &str| ShowbackLine { payer: payer(namespace), since, totals: Totals::default() };
    let mut odd = line("odd");
    odd.totals.post(State::Stranded, Amount { cost: Some(Cost::from_cents(1)), time: GpuTime::ZERO });
    report.showback = vec![line(""), line("inference"), odd];
    let samples = parse(&render(&Published { report: Some(Arc::new(report)), ..published() }));
    let states = |family: &str, namespace: Option<&str>| -> Vec<String> {
        let of =
            |labels: &&BTreeMap<String, String>| labels.get("namespace").map(String::as_str) == namespace;
        let mine = samples.keys().filter(|(name, _)| name == family).map(|(_, labels)| labels).filter(of);
        mine.map(|labels| labels["state"].clone()).collect()
    };
    let held = ["idle", "unavailable", "underused", "unmeasured", "used"];
    for unit in ["dollars", "gpu_seconds"] {
        assert_eq!(states(&format!("gpu_cost_pod_{unit}_total"), Some("inference")), held);
        let showback = format!("gpu_cost_showback_{unit}_total");
        assert_eq!(states(&showback, Some("inference")), held);
        assert_eq!(states(&showback, Some("")), ["stranded", "unallocated", "unattributed", "unavailable"]);
    }
    assert_eq!(states("gpu_cost_device_dollars_total", None).len(), State::ALL.len());
    assert_eq!(
        states("gpu_cost_showback_dollars_total", Some("odd")).len(),
        6,
        "no state with money is dropped"
    );
}

#[test]
fn promtool_has_nothing_to_say() {
    let process = Process::current().read();
    let text = metrics::render(&published(), &process, &metrics::Settings::default(), Format::Text);
    assert!(String::from_utf8_lossy(&text).contains("\nprocess_cpu_seconds_total "));
    let output = tools::run(
        Command::new("promtool").args(["check", "metrics"]),
        &text,
        "install Debian's package prometheus (make test does)",
    );
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn pythons_parser_understands_the_same() {
    let hostile = Published { report: Some(Arc::new(hostile_report(HOSTILE))), ..published() };
    for published in [published(), hostile] {
        let text = render(&published);
        assert_eq!(parse_with_python(&text), parse(&text));
    }
}

#[test]
fn hostile_labels_stay_values() {
    let long: Vec<String> = HOSTILE.iter().map(|value| value.repeat(4_096 / value.len().max(1))).collect();
    let values: Vec<&str> = HOSTILE.iter().copied().chain(long.iter().map(String::as_str)).collect();
    check_hostile(&values);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_labels_and_totals_read_back(
        labels in prop::collection::vec("(?s).{0,200}", 1..8),
        units in prop::collection::vec(any::<u128>(), 8),
        times in prop::collection::vec(any::<u128>(), 8),
    ) {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        check_hostile(&labels);
        let mut report = rich_report::report();
        report.devices.truncate(1);
        let mut totals = Totals::default();
        for ((state, units), time) in State::ALL.into_iter().zip(units).zip(times) {
            totals.post(state, Amount { cost: Some(Cost::from_units(units)), time: GpuTime::from_nanos(time) });
        }
        report.devices[0].totals = totals.clone();
        let samples = parse(&render(&Published { report: Some(Arc::new(report)), ..published() }));
        for ((name, labels), value) in samples {
            let of = |state: &State| labels.get("state").is_some_and(|label| label == state.as_str());
            let Some(state) = State::ALL.into_iter().find(of) else { continue };
            if name == "gpu_cost_device_dollars_total" {
                prop_assert_eq!(Some(value), totals.cost(state).map(Cost::dollars));
            } else if name == "gpu_cost_device_seconds_total" {
                prop_assert_eq!(value.to_bits(), totals.time(state).seconds().to_bits());
            }
        }
    }
}

/// A report in which every free text is one of `values`, and each value names a pod and a payer.
fn hostile_report(values: &[&str]) -> Report {
    let mut report = rich_report::report();
    let pod = report.pods[0].clone();
    let mut values: Vec<Arc<str>> = values.iter().map(|value| Arc::from(*value)).collect();
    values.sort();
    values.dedup();
    report.pods.clear();
    report.showback.clear();
    for value in values {
        let labels = CostLabels { team: value.clone(), cost_center: value.clone(), ..CostLabels::default() };
        let key = PodKey::new(value.clone(), value);
        report.showback.push(ShowbackLine {
            payer: Payer {
                namespace: key.namespace.clone(),
                labels: labels.clone(),
                gpu_model: key.name.clone(),
                price_model: None,
            },
            since: pod.account.since,
            totals: pod.account.totals.clone(),
        });
        let mut line = pod.clone();
        (line.namespace, line.pod) = (key.namespace, key.name);
        let account = Arc::make_mut(&mut line.account);
        Arc::make_mut(&mut account.description).labels = labels;
        report.pods.push(line);
    }
    report
}

/// The scrape of a report with these labels has every pod, once, under its own name.
fn check_hostile(values: &[&str]) {
    let report = hostile_report(values);
    let expected: BTreeSet<String> =
        report.pods.iter().map(|line| label::exported(&line.pod).into_owned()).collect();
    assert_eq!(expected.len(), report.pods.len(), "two labels became one");
    let text = render(&Published { report: Some(Arc::new(report)), ..published() });
    let samples = parse(&text);
    let pods = samples.keys().filter(|(name, _)| name == "gpu_cost_pod_info");
    let found: BTreeSet<String> = pods.map(|(_, labels)| labels["pod"].clone()).collect();
    assert_eq!(found, expected);
    for (_, labels) in samples.keys() {
        assert!(labels.values().all(|value| value.len() <= label::MAX_BYTES), "{labels:?}");
    }
}

#[test]
fn lines_of_one_name_become_one_series_with_all_their_money() {
    let mut report = rich_report::report();
    let twin = report.pods[0].clone();
    report.pods.insert(1, twin);
    let samples = parse(&render(&Published { report: Some(Arc::new(report.clone())), ..published() }));
    let used = samples.iter().find(|((name, labels), _)| {
        name == "gpu_cost_pod_dollars_total"
            && labels["pod"].starts_with("chat-")
            && labels["state"] == State::Used.as_str()
    });
    let once = report.pods[0].account.totals.cost(State::Used).unwrap().dollars();
    assert_eq!(used.map(|(_, value)| *value), Some(2.0 * once));
}

#[test]
fn order_in_the_report_does_not_matter() {
    let mut report = rich_report::report();
    report.pods.reverse();
    report.devices.reverse();
    report.showback.reverse();
    let reversed = Published { report: Some(Arc::new(report)), ..published() };
    assert_eq!(render(&reversed), render(&published()));
}

/// Reads the text format as its specification has it, and refuses what a strict reader would refuse.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    let (mut family, mut families) = (String::new(), BTreeSet::new());
    for line in text.strip_suffix('\n').expect("the text ends its last line").split('\n') {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            let row = CATALOG.iter().find(|row| row.name == name).expect("a row of the catalogue");
            assert_eq!(kind == "counter", row.kind == Kind::Counter, "{line}");
            assert!(families.insert(name.to_owned()), "{name} is there twice");
            name.clone_into(&mut family);
        } else if !line.starts_with("# HELP ") {
            let (name, labels, value) = parse_sample(line);
            assert_eq!(name, family, "{line}");
            let twice = samples.insert((name, labels), value);
            assert_eq!(twice, None, "{line} is there twice");
        }
    }
    samples
}

fn parse_with_python(text: &str) -> Samples {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/parse_metrics.py");
    let output = tools::run(
        Command::new(tools::python()).arg(script),
        text.as_bytes(),
        "install Python 3 with prometheus-client (make test does)",
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{errors}(prometheus-client is what `make test` installs in .tools/venv)"
    );
    let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    lines
        .lines()
        .map(|line| {
            let (name, labels, value) = serde_json::from_str(line).expect("a sample as JSON");
            ((name, labels), value)
        })
        .collect()
}
