//! The formats of a scrape: each is what its own readers expect, and all three carry the same samples.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;

use gpu_cost_exporter::cost::money::{Amount, Cost, GpuTime};
use gpu_cost_exporter::cost::pricing::Electricity;
use gpu_cost_exporter::cost::report::{ContainerAccount, FormerDevice, PodLine, Report, State, Totals};
use gpu_cost_exporter::http::Limits;
use gpu_cost_exporter::metrics::catalog::{CATALOG, Kind};
use gpu_cost_exporter::metrics::{self, Format, Level, Process, ProcessReading, Settings};
use gpu_cost_exporter::observation::{Span, UnixTime};
use gpu_cost_exporter::status::Published;
use proptest::prelude::*;

use crate::support::client_model::{self, Family};
use crate::support::rich_report::{self, published};
use crate::support::scrape::{Samples, Scrape, parse_sample};
use crate::support::server::Server;
use crate::support::tools;

const POD_COUNTERS: [&str; 4] = [
    "gpu_cost_pod_dollars_total",
    "gpu_cost_pod_gpu_seconds_total",
    "gpu_cost_pod_burst_dollars_total",
    "gpu_cost_pod_energy_joules_total",
];

fn render(published: &Published, process: &ProcessReading, format: Format) -> Vec<u8> {
    metrics::render(published, process, &Settings::default(), format)
}

fn of(report: Report) -> Published {
    Published { report: Some(Arc::new(report)), ..published() }
}

/// A report with these totals on a line of each kind, and this name on a pod.
fn report_with(name: &str, units: &[u128], times: &[u128]) -> Report {
    let mut report = rich_report::report();
    let mut totals = Totals::default();
    for ((state, units), time) in State::ALL.into_iter().zip(units).zip(times) {
        let cost = Some(Cost::from_units(*units));
        totals.post(state, Amount { cost, time: GpuTime::from_nanos(*time) });
    }
    report.devices[0].totals = totals.clone();
    report.showback[0].totals = totals.clone();
    Arc::make_mut(&mut report.pods[0].account).totals = totals;
    report.pods[0].pod = name.into();
    report
}

/// A report whose first pod has two containers, of which the younger has a second in use, and something that is neither's.
fn with_containers() -> Report {
    let mut report = rich_report::report();
    let mut a_second = Totals::default();
    let cost = Some(Cost::from_cents(1));
    a_second.post(State::Used, Amount { cost, time: GpuTime::from_nanos(1_000_000_000) });
    let pod = Arc::make_mut(&mut report.pods[0].account);
    let container = |seconds: u64, totals: Totals| ContainerAccount {
        since: UnixTime::from_millis(pod.since.as_millis() + seconds * 1_000),
        totals,
    };
    let older = pod.totals.minus(&a_second).minus(&a_second);
    let containers = [("model", container(0, older)), ("sidecar", container(86_395, a_second))];
    pod.containers = containers.map(|(name, account)| (name.into(), account)).into();
    report
}

// === reading ===

/// Reads text of either kind; the samples that are there twice are an error.
fn read_text(text: &[u8]) -> Samples {
    let text = std::str::from_utf8(text).expect("text is UTF-8");
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels, value) = parse_sample(line);
        assert_eq!(samples.insert((name, labels), value), None, "{line} is there twice");
    }
    samples
}

fn read_protobuf(bytes: &[u8]) -> Samples {
    let mut samples = Samples::new();
    for family in client_model::decode(bytes) {
        for metric in &family.metric {
            let labels: BTreeMap<_, _> =
                metric.label.iter().map(|label| (label.name().into(), label.value().into())).collect();
            assert_eq!(labels.len(), metric.label.len(), "a label is there twice: {metric:?}");
            let value = match (&metric.counter, &metric.gauge) {
                (Some(counter), None) => counter.value(),
                (None, Some(gauge)) => gauge.value(),
                _ => panic!("neither a counter nor a gauge, or both: {metric:?}"),
            };
            let twice = samples.insert((family.name().into(), labels), value);
            assert_eq!(twice, None, "{metric:?} is there twice");
        }
    }
    samples
}

fn bits(samples: &Samples) -> BTreeMap<&(String, BTreeMap<String, String>), u64> {
    samples.iter().map(|(series, value)| (series, value.to_bits())).collect()
}

fn check_same(published: &Published) {
    let process = Process::current().read();
    let text = read_text(&render(published, &process, Format::Text));
    let openmetrics = read_text(&render(published, &process, Format::OpenMetrics));
    let protobuf = read_protobuf(&render(published, &process, Format::Protobuf));
    assert!(text.keys().any(|(name, _)| name == "process_cpu_seconds_total"), "{text:?}");
    assert_eq!(bits(&text), bits(&openmetrics));
    assert_eq!(bits(&text), bits(&protobuf));
}

// === the same samples ===

#[test]
fn every_format_carries_the_same_samples() {
    check_same(&published());
    check_same(&Published { report: None, ..published() });
    let mut twins = rich_report::report();
    twins.pods.push(twins.pods[0].clone());
    check_same(&of(twins));
    check_same(&of(with_containers()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_format_carries_the_same_samples_to_the_last_bit(
        name in "(?s).{0,200}",
        units in prop::collection::vec(any::<u128>(), 8),
        times in prop::collection::vec(any::<u128>(), 8),
    ) {
        check_same(&of(report_with(&name, &units, &times)));
    }
}

// === OpenMetrics ===

#[test]
fn openmetrics_describes_each_family_once_and_ends() {
    let text =
        String::from_utf8(render(&published(), &Process::current().read(), Format::OpenMetrics)).unwrap();
    let text = text.strip_suffix("# EOF\n").expect("the end is marked");
    let mut described = BTreeSet::new();
    let (mut family, mut kind) = ("", "");
    for line in text.lines() {
        let Some(description) = line.strip_prefix("# ") else {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                "gauge" => "",
                _ => panic!("{line}: a {kind}"),
            };
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(name, format!("{family}{suffix}"), "{line}");
            continue;
        };
        let words: Vec<&str> = description.splitn(3, ' ').collect();
        let [what @ ("TYPE" | "UNIT" | "HELP"), name, said] = words[..] else { panic!("{line}") };
        assert!(described.insert((what, name)), "{line} is there twice");
        assert!(!name.ends_with("_total") && !name.ends_with("_info"), "{line}");
        match what {
            "TYPE" => (family, kind) = (name, said),
            "UNIT" => assert!(name.ends_with(&format!("_{said}")), "{line}"),
            _ => {}
        }
    }
    for metric in CATALOG {
        let is_money = metric.kind != Kind::Info && metric.name.contains("dollars");
        let stem = metric.name.strip_suffix("_total").unwrap_or(metric.name);
        assert!(!is_money || described.contains(&("UNIT", stem)), "{stem} has no unit");
    }
}

#[test]
fn pythons_parser_understands_openmetrics() {
    // Whole dollars and seconds: our reader of JSON is not exact to the last bit.
    let dollars = 3_600_000_000_000_000_000_000;
    let hostile = report_with("\\ \" \n # EOF } 1 ☃", &[dollars; 8], &[1_000_000_000; 8]);
    for published in [published(), of(hostile), Published { report: None, ..published() }] {
        let text = render(&published, &Process::current().read(), Format::OpenMetrics);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/parse_metrics.py");
        let mut command = Command::new(tools::python());
        let output = tools::run(
            command.args([script, "openmetrics"]),
            &text,
            "install Python 3 with prometheus-client (make test does)",
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let samples: Samples = lines
            .lines()
            .map(|line| {
                let (name, labels, value) = serde_json::from_str(line).expect("a sample as JSON");
                ((name, labels), value)
            })
            .collect();
        assert_eq!(samples, read_text(&text));
    }
}

// === protobuf ===

#[test]
fn each_counter_says_when_it_was_zero() {
    let at = |millis| UnixTime::from_millis(millis);
    let mut report = rich_report::report();
    report.devices[0].since = at(1_700_000_000_250);
    Arc::make_mut(&mut report.pods[0].account).since = at(1_700_000_001_000);
    report.showback.iter_mut().for_each(|line| line.since = at(1_700_000_002_000));
    report.former_devices = vec![FormerDevice {
        uuid: "GPU-former".into(),
        since: at(1_700_000_003_000),
        totals: report.devices[0].totals.clone(),
        energy_millijoules: None,
        electricity: Electricity::default(),
        bands: [GpuTime::ZERO; 3],
        xids: Vec::new(),
        unobserved: GpuTime::ZERO,
        rebooting: GpuTime::ZERO,
        recovered: GpuTime::ZERO,
    }];
    let (started, began) = (published().status.started.unwrap(), report.ledger_start);
    let (device, pod) = (report.devices[0].gpu.uuid.to_string(), report.pods[0].pod.to_string());
    let families = client_model::decode(&render(&of(report), &Process::current().read(), Format::Protobuf));
    let created = |name: &str, label: &str, value: &str| {
        let family = families.iter().find(|family| family.name() == name).expect("the family");
        let has = |metric: &&client_model::Metric| {
            label.is_empty() || metric.label.iter().any(|it| it.name() == label && it.value() == value)
        };
        let metric = family.metric.iter().find(has).expect("the series");
        let created = metric.counter.as_ref().and_then(|counter| counter.created_timestamp.clone());
        created.map(|created| created.seconds * 1_000 + i64::from(created.nanos) / 1_000_000)
    };
    let millis = |time: UnixTime| i64::try_from(time.as_millis()).ok();
    for (name, label, value, expected) in [
        ("gpu_cost_device_dollars_total", "gpu_uuid", &*device, Some(1_700_000_000_250)),
        ("gpu_cost_device_energy_joules_total", "gpu_uuid", &device, Some(1_700_000_000_250)),
        ("gpu_cost_device_dollars_total", "gpu_uuid", "GPU-former", Some(1_700_000_003_000)),
        ("gpu_cost_pod_dollars_total", "pod", &pod, Some(1_700_000_001_000)),
        ("gpu_cost_showback_dollars_total", "", "", Some(1_700_000_002_000)),
        ("gpu_cost_exporter_allocation_conflicts_total", "", "", millis(began)),
        ("gpu_cost_exporter_ticks_total", "", "", millis(started)),
        ("process_cpu_seconds_total", "", "", millis(started)),
    ] {
        assert_eq!(created(name, label, value), expected, "{name}");
    }
    let is_counter = |family: &Family| family.metric.iter().any(|metric| metric.counter.is_some());
    for family in &families {
        assert_eq!(is_counter(family), family.name().ends_with("_total"), "{}", family.name());
        assert_eq!(family.r#type, Some(i32::from(!is_counter(family))), "{}", family.name());
        assert!(!family.help().is_empty(), "{}", family.name());
    }
}

// === by negotiation ===

#[test]
fn each_reader_gets_the_format_that_it_asks_for() {
    let server = Server::start(published(), Limits::USUAL);
    let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let asked = [
        ("text/plain;version=0.0.4", Format::Text),
        ("application/openmetrics-text;version=1.0.0,*/*;q=0.1", Format::OpenMetrics),
        (protobuf, Format::Protobuf),
    ];
    let got: Vec<_> = asked
        .map(|(accept, format)| {
            let got = server.ask("GET", "/metrics", &[&format!("Accept: {accept}")]);
            assert_eq!(
                (got.status, got.header("content-type")),
                (200, Some(format.content_type())),
                "{accept}"
            );
            assert_eq!(got.header("vary"), Some("Accept, Accept-Encoding"));
            got.body
        })
        .into_iter()
        .collect();
    // One observation, one reading of the process: all of it is the same.
    let text = read_text(&got[0]);
    assert_eq!(bits(&text), bits(&read_text(&got[1])));
    assert_eq!(bits(&text), bits(&read_protobuf(&got[2])));
    assert_eq!(server.get("/metrics").body, got[0]);
}

#[test]
fn what_cannot_be_there_in_time_is_not_answered_late() {
    let mut report = rich_report::report();
    let pod = report.pods[0].clone();
    let named = |n: u32| PodLine { pod: format!("pod-{n:05}").into(), ..pod.clone() };
    report.pods = (0..4_000).map(named).collect();
    let server = Server::start(of(report), Limits::USUAL);
    let scrape = |patience: &str| {
        server.ask("GET", "/metrics", &[&format!("X-Prometheus-Scrape-Timeout-Seconds: {patience}")])
    };
    let late = scrape("0.001");
    assert_eq!((late.status, late.header("retry-after")), (503, Some("1")), "{}", late.head);
    assert!(late.text().contains("within the scrape timeout"), "{}", late.text());
    // It was begun all the same, and whoever has the time gets it; what says no time is no limit.
    for patience in ["60", "never", "-1", "inf", ""] {
        assert_eq!(scrape(patience).status, 200, "{patience}");
    }
}

// === what is shown ===

fn scrape(report: &Report, settings: Settings) -> Scrape {
    let text = metrics::render(&of(report.clone()), &ProcessReading::default(), &settings, Format::Text);
    Scrape::parse(std::str::from_utf8(&text).unwrap())
}

#[test]
fn without_pods_the_bill_is_still_whole() {
    let report = rich_report::report();
    let all = scrape(&report, Settings::default());
    let few = scrape(&report, Settings { level: Level::Showback, ..Settings::default() });
    for metric in CATALOG {
        let is_shown = !metric.name.starts_with("gpu_cost_pod_");
        assert!(!all.values(metric.name, &[]).is_empty(), "{}", metric.name);
        assert_eq!(!few.values(metric.name, &[]).is_empty(), is_shown, "{}", metric.name);
    }
    let bill = all.sum("gpu_cost_device_dollars_total", &[]);
    assert!((few.sum("gpu_cost_showback_dollars_total", &[]) - bill).abs() < 1e-9);
}

#[test]
fn a_young_pods_counters_are_held_at_zero() {
    let mut report = rich_report::report();
    let (young, old) = (report.pods[0].pod.to_string(), report.pods[1].pod.to_string());
    for (pod, age) in report.pods.iter_mut().zip([59_999, 60_000]) {
        let account = Arc::make_mut(&mut pod.account);
        (account.age, account.energy_millijoules) = (Span::from_millis(age), Some(5_000));
    }
    let held = scrape(&report, Settings { zero_hold: Span::from_secs(60), ..Settings::default() });
    let free = scrape(&report, Settings::default());
    for name in POD_COUNTERS {
        let (before, after) = (free.values(name, &[("pod", &young)]), held.values(name, &[("pod", &young)]));
        assert_eq!(before.len(), after.len(), "{name}: every series is there");
        assert!(after.iter().all(|value| *value == 0.0), "{name}: {after:?}");
        assert_eq!(free.values(name, &[("pod", &old)]), held.values(name, &[("pod", &old)]), "{name}");
    }
    for name in ["gpu_cost_showback_dollars_total", "gpu_cost_pod_dollars_per_hour"] {
        assert_eq!(free.values(name, &[]), held.values(name, &[]), "{name}");
    }
}

#[test]
fn containers_are_lines_of_the_pods_money_and_time_alone() {
    let report = with_containers();
    let (pod, plain) = (report.pods[0].pod.to_string(), rich_report::report());
    let (told, untold) = (scrape(&report, Settings::default()), scrape(&plain, Settings::default()));
    for metric in CATALOG {
        let names = told.label(metric.name, "container");
        let is_divided = POD_COUNTERS[..2].contains(&metric.name);
        let expected: BTreeSet<_> =
            is_divided.then_some(["model", "sidecar"]).into_iter().flatten().collect();
        assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{}", metric.name);
        assert!(untold.label(metric.name, "container").is_empty(), "{}", metric.name);
        for state in State::ALL {
            let labels = [("pod", &*pod), ("state", state.as_str())];
            let (sum, whole) = (told.sum(metric.name, &labels), untold.sum(metric.name, &labels));
            assert!((sum - whole).abs() <= 1e-9 * whole, "{} {state:?}: {sum}, {whole}", metric.name);
        }
    }
    // What is no container's has the labels that the pod's line has without containers.
    let series =
        |scrape: &Scrape| -> BTreeSet<_> { scrape.counters().map(|(series, _)| series.clone()).collect() };
    assert!(series(&untold).is_subset(&series(&told)));
}

#[test]
fn a_container_has_its_own_beginning() {
    let report = with_containers();
    let (pod, sidecar) = (report.pods[0].pod.to_string(), report.pods[0].containers()[2].since);
    let held = scrape(&report, Settings { zero_hold: Span::from_secs(60), ..Settings::default() });
    for name in &POD_COUNTERS[..2] {
        let of = |container| held.sum(name, &[("pod", &pod), ("container", container)]);
        assert!(of("model") > 0.0 && of("sidecar") == 0.0, "{name}: the younger one is held at zero");
        assert!(held.sum(POD_COUNTERS[2], &[("pod", &pod)]) > 0.0);
    }
    let protobuf = render(&of(report.clone()), &ProcessReading::default(), Format::Protobuf);
    let mut created = BTreeSet::new();
    for family in client_model::decode(&protobuf) {
        for metric in &family.metric {
            let label =
                |name| metric.label.iter().find(|it| it.name() == name).map(|it| it.value().to_owned());
            if label("pod").as_ref() == Some(&pod)
                && let Some(counter) = &metric.counter
            {
                let seconds = counter.created_timestamp.as_ref().map(|created| created.seconds);
                created.insert((label("container"), seconds));
            }
        }
    }
    let seconds = |time: UnixTime| i64::try_from(time.as_millis() / 1_000).ok();
    let began = seconds(report.pods[0].account.since);
    let of = |name: &str, since| (Some(name.to_owned()), since);
    assert_eq!(created, [(None, began), of("model", began), of("sidecar", seconds(sidecar))].into());
}
