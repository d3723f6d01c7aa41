//! A real Prometheus scrapes the built binary: what it holds adds up as the ledger does.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use fake_nvml::{Board, Node};
use serde_json::Value;

use crate::support::daemon::eventually;
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, uuid};

/// A Prometheus server with a data directory of its own.
pub(crate) struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    /// Starts a server that scrapes `targets` once a second.
    fn start(directory: &std::path::Path, target: u16) -> Self {
        Self::start_with(directory, target, "")
    }

    /// Starts a server with more lines about how it scrapes.
    pub(crate) fn start_with(directory: &std::path::Path, target: u16, access: &str) -> Self {
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs:\n\
             - job_name: gpu-cost\n  honor_labels: true\n  static_configs: [{{ targets: ['127.0.0.1:{target}'] }}]\n\
             {access}"
        );
        fs::write(&config, text).expect("write the configuration");
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("install Debian's prometheus (make test does)");
        Self { child, port }
    }

    /// The value of an instant query that gives one number; `None` while it gives nothing.
    pub(crate) fn query(&self, query: &str) -> Option<f64> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let mut answer = ureq::get(url).query("query", query).call().ok()?;
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
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
