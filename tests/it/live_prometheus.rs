//! A real Prometheus scrapes the built binary: what it holds adds up as the ledger does.

use std::fs;
use std::path::Path;
use std::process::Command;

use fake_nvml::{Board, Node};

use crate::support::daemon::eventually;
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, uuid};
use crate::support::promql::{self, Server, free_port, scraping};
use crate::support::tools;

/// A Prometheus server with a data directory of its own.
pub(crate) struct Prometheus {
    _server: Server,
    port: u16,
}

impl Prometheus {
    /// Starts Debian's server, which scrapes the target once a second.
    fn start(directory: &Path, target: u16) -> Self {
        Self::start_with(directory, target, "")
    }

    /// Starts it with more lines in its configuration.
    pub(crate) fn start_with(directory: &Path, target: u16, more: &str) -> Self {
        let prometheus = Command::new("prometheus");
        Self::start_as(prometheus, "install Debian's prometheus (make test does)", directory, (target, more))
    }

    fn start_as(mut program: Command, help: &str, directory: &Path, (target, more): (u16, &str)) -> Self {
        let config = directory.join("prometheus.yml");
        fs::write(&config, scraping(target) + more).expect("write the configuration");
        let port = free_port();
        program
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self { _server: Server::start(&mut program, help), port }
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The value of an instant query that gives one number; `None` while it gives nothing.
    pub(crate) fn query(&self, query: &str) -> Option<f64> {
        promql::number(self.port, query)
    }
}

#[test]
fn prometheus_finds_the_same_sum_on_devices_on_payers_and_on_pods() {
    let node = FakeNode::new(&Node::new([Board::a100_80gb(0).busy(60), Board::h100_80gb(1), Board::t4(2)]));
    node.kubelet.list(vec![
        pod("research", "trainer", "nvidia.com/gpu", &[&uuid(0)]),
        pod("serving", "chat", "nvidia.com/gpu", &[&uuid(2)]),
    ]);
    let daemon = node.start(&[]).ready();
    let directory = tempfile::tempdir().expect("make a directory");
    let prometheus = Prometheus::start(directory.path(), daemon.port());

    let devices = "sum(gpu_cost_device_dollars_total)";
    let showback = "sum(gpu_cost_showback_dollars_total)";
    let pods = "(sum(gpu_cost_pod_dollars_total) + sum(gpu_cost_showback_dollars_total{namespace=\"\"}))";
    let first =
        eventually("money in Prometheus", || prometheus.query(devices).filter(|dollars| *dollars > 0.0));
    eventually("more of it", || prometheus.query(devices).filter(|dollars| *dollars > 2.0 * first));
    for other in [showback, pods] {
        // One query reads one scrape, so that both sides are of the same moment.
        let apart = format!("abs({devices} - {other}) / {devices}");
        let apart = prometheus.query(&apart).expect("both sums");
        assert!(apart < 1e-12, "{other} is {apart} away from {devices}");
    }
    assert_eq!(prometheus.query("up{job=\"gpu-cost\"}"), Some(1.0));
    assert_eq!(prometheus.query("gpu_cost_ledger_imbalance_dollars"), Some(0.0));
    let renamed = prometheus.query("count({__name__=~\"gpu_cost_.*\", exported_pod!=\"\"})");
    assert_eq!(renamed, None, "honor_labels keeps our labels");
}

#[test]
fn what_was_spent_before_the_first_scrape_is_an_increase_where_created_timestamps_are_read() {
    let node = FakeNode::new(&Node::new([Board::h100_80gb(0).busy(60)]));
    node.kubelet.list(vec![pod("research", "short", "nvidia.com/gpu", &[&uuid(0)])]);
    let daemon = node.start(&[]).ready();
    let name = "gpu_cost_pod_dollars_total";
    daemon.scrape_until("money", |scrape| Some(scrape.sum(name, &[])).filter(|dollars| *dollars > 0.0));
    node.kubelet.list(Vec::new());
    // From now on it costs nothing more, and no scrape has seen it cost less.
    let spent = daemon.scrape_until("its end", |scrape| {
        let holds = scrape.value("gpu_cost_pod_gpus", &[("pod", "short")])?;
        (holds == 0.0).then(|| scrape.sum(name, &[]))
    });
    let directory = tempfile::tempdir().expect("make a directory");
    let mut created = Command::new(tools::prometheus_with_created());
    created.arg("--enable-feature=created-timestamp-zero-ingestion");
    let help = "a Prometheus of 2.50 or newer (make test installs one)";
    let prometheus = Prometheus::start_as(created, help, directory.path(), (daemon.port(), ""));
    let increase = format!("sum(increase({name}[5m]))");
    let seen = eventually("its money as an increase", || {
        prometheus.query(&increase).filter(|dollars| (0.99..1.1).contains(&(dollars / spent)))
    });
    assert!(seen > 0.0);
    assert_eq!(prometheus.query("count({__name__=~\".*_created\"})"), None, "no series beside the counters");
    let series = prometheus.query("scrape_samples_scraped").expect("a scrape");
    let text = daemon.get("/metrics").text().lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(series.to_string(), text.to_string(), "as many series as the text has");
}
