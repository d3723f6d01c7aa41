//! Pods by their containers, through the built binary: they add up to the pod, whatever the level was before.

use std::collections::BTreeMap;
use std::path::Path;

use fake_nvml::{Board, Node};

use crate::live_prometheus::Prometheus;
use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_kubelet::{pod, pod_of};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::promql::free_port;
use crate::support::scrape::Scrape;

const DOLLARS: &str = "gpu_cost_pod_dollars_total";
const SECONDS: &str = "gpu_cost_pod_gpu_seconds_total";
const SHOWBACK: &str = "gpu_cost_showback_dollars_total";
const SHOWBACK_SECONDS: &str = "gpu_cost_showback_gpu_seconds_total";

const GPU: &str = "nvidia.com/gpu";
const BY_CONTAINER: &str = "--metrics.level=container";

/// A node with four GPUs. A pod of two containers has three, of which its containers share one; another pod has one.
fn node() -> FakeNode {
    let node = FakeNode::new(&Node::new([
        Board::t4(0).busy(50),
        Board::t4(1),
        Board::t4(2).busy(20),
        Board::t4(3).busy(90),
    ]));
    let (own, others, shared) = (uuid(0), uuid(1), uuid(2));
    let containers: [(&str, &[&str]); 2] = [("serve", &[&own, &shared]), ("train", &[&others, &shared])];
    node.kubelet.list(vec![pod_of("ml", "job", GPU, &containers), pod("web", "alone", GPU, &[&uuid(3)])]);
    node
}

/// Starts the exporter with its ledger in the node's `state`.
fn start(node: &FakeNode, args: &[&str]) -> Daemon {
    let state = flag("--state.dir", &node.path("state"));
    node.start(&[&[state.as_str()], args].concat()).ready()
}

/// What each series of a pod's money and time has, by name and labels.
fn of_pods(scrape: &Scrape) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    let is_it = |name: &str| [DOLLARS, SECONDS].contains(&name);
    scrape.counters().filter(|((name, _), _)| is_it(name)).map(|(key, value)| (key.clone(), value)).collect()
}

/// Waits until each of these containers was charged for `seconds` more than at first.
fn charged(daemon: &Daemon, containers: &[&str], seconds: f64) -> Scrape {
    let time = |scrape: &Scrape, name| scrape.sum(SECONDS, &[("pod", "job"), ("container", name)]);
    let first = daemon.scrape();
    daemon.scrape_until("money", |scrape| {
        let all = containers.iter().all(|name| time(scrape, name) > time(&first, name) + seconds);
        all.then(|| scrape.clone())
    })
}

/// The lines of each pod come to what its namespace pays, in each state.
fn assert_whole(scrape: &Scrape) {
    for (of_pods, of_payers) in [(DOLLARS, SHOWBACK), (SECONDS, SHOWBACK_SECONDS)] {
        for namespace in ["ml", "web"] {
            for state in scrape.label(of_pods, "state") {
                let labels = [("namespace", namespace), ("state", &*state)];
                let (pods, paid) = (scrape.sum(of_pods, &labels), scrape.sum(of_payers, &labels));
                assert!((pods - paid).abs() <= 1e-12 * paid, "{of_pods} {labels:?}: {pods}, {paid}");
            }
        }
    }
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

#[test]
fn containers_add_up_to_their_pod() {
    let node = node();
    let daemon = start(&node, &[BY_CONTAINER]);
    let scrape = charged(&daemon, &["serve", "train"], 0.5);
    assert_whole(&scrape);
    // Each has its own GPU and half of the shared one, and all of it is one of the two's.
    let time = |name| scrape.sum(SECONDS, &[("pod", "job"), ("container", name)]);
    assert!((time("serve") - time("train")).abs() < 1e-6, "{} {}", time("serve"), time("train"));
    assert!((time("serve") + time("train") - scrape.sum(SECONDS, &[("pod", "job")])).abs() < 1e-9);
    // The GPU of one works, that of the other does not.
    let money = |name, state| scrape.sum(DOLLARS, &[("container", name), ("state", state)]);
    assert!(money("train", "idle") > 0.0 && money("serve", "idle") == 0.0);
    assert!(money("serve", "used") > money("train", "used") && money("train", "used") > 0.0);
    assert_eq!(scrape.label(SECONDS, "container").len(), scrape.values(SECONDS, &[]).len());
    for name in ["gpu_cost_pod_gpus", "gpu_cost_pod_burst_dollars_total", "gpu_cost_pod_info"] {
        assert_eq!((scrape.values(name, &[]).len(), scrape.label(name, "container").len()), (2, 0), "{name}");
    }
}

#[test]
fn no_line_has_a_container_unless_that_is_asked_for() {
    let node = node();
    let daemon = start(&node, &[]);
    let scrape = daemon.scrape_until("money", |scrape| {
        (scrape.sum(DOLLARS, &[("pod", "job")]) > 0.0).then(|| scrape.clone())
    });
    assert_whole(&scrape);
    assert!(!daemon.get("/metrics").text().contains("container=\""));
}

#[test]
fn what_was_counted_stays_where_it_was_counted_whatever_the_level_becomes() {
    let node = node();
    let mut before = BTreeMap::new();
    for level in ["pod", "container", "pod", "showback", "container"] {
        let daemon = start(&node, &[&format!("--metrics.level={level}")]);
        if level == "showback" {
            assert!(of_pods(&daemon.scrape()).is_empty());
            continue;
        }
        let first = daemon.scrape();
        let last = daemon.scrape_until("half a second of each GPU", |scrape| {
            (scrape.sum(SECONDS, &[]) > first.sum(SECONDS, &[]) + 2.0).then(|| scrape.clone())
        });
        assert_whole(&last);
        let (first, last) = (of_pods(&first), of_pods(&last));
        for (series, value) in &before {
            let later = last.get(series);
            assert!(later >= Some(value), "{level}: {series:?}: {value}, then {later:?}");
        }
        // The lines that are not of this level rest.
        let rests =
            |(_, labels): &(String, _)| BTreeMap::contains_key(labels, "container") != (level == "container");
        for (series, value) in first.iter().filter(|(series, _)| rests(series)) {
            assert_eq!(last.get(series), Some(value), "{level}: {series:?}");
        }
        before = last;
        daemon.kill();
    }
    let told = before.keys().filter(|(_, labels)| labels.contains_key("container")).count();
    assert_eq!((told, before.len() - told), (3 * 10, 2 * 10), "{before:?}");
}

#[test]
fn prometheus_finds_the_same_sum_before_and_after_the_level_changes() {
    let node = node();
    let directory = tempfile::tempdir().expect("make a directory");
    let port = free_port();
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    // A target label of this name, as Prometheus' operator sets it, is not to be told apart from a container of ours.
    let prometheus = labelled(directory.path(), port);
    let total = format!("sum(last_over_time({SECONDS}[1h]))");
    let paid = format!("sum(last_over_time({SHOWBACK_SECONDS}{{namespace!=\"\"}}[1h]))");
    let mut last = 0.0;
    for args in [&[][..], &[BY_CONTAINER], &[]] {
        let daemon = start(&node, &[&[&*listen], args].concat());
        let now = eventually("more time in Prometheus", || {
            prometheus.query(&total).filter(|seconds| *seconds > last + 3.0)
        });
        let apart = prometheus.query(&format!("abs({total} - {paid}) / {paid}")).expect("both sums");
        assert!(apart < 1e-12, "{apart}");
        last = now;
        daemon.kill();
    }
    let lines = prometheus
        .query(&format!("count by () (last_over_time({SECONDS}{{pod=\"job\",state=\"used\"}}[1h]))"));
    assert_eq!(lines, Some(3.0), "one of the pod, and one of each container");
}

/// Prometheus, with the label that the exporter's own container has for Prometheus' operator.
fn labelled(directory: &Path, port: u16) -> Prometheus {
    let relabel = "  metric_relabel_configs: []\n  relabel_configs:\n  \
                   - { target_label: container, replacement: gpu-cost-exporter }\n";
    Prometheus::start_with(directory, port, relabel)
}
