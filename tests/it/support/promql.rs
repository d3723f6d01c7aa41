//! Databases of others that scrape us and answer PromQL: Prometheus and `VictoriaMetrics`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::tools;

/// A program of others, until it is dropped.
pub(crate) struct Server(Child);

/// `VictoriaMetrics` with `vmalert`, which evaluates rules for it.
pub(crate) struct VictoriaMetrics {
    _database: Server,
    _rules: Server,
    port: u16,
}

/// A port on which nobody listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Of whom what is scraped, once a second.
pub(crate) fn scraping(target: u16) -> String {
    format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs:\n\
         - job_name: gpu-cost\n  honor_labels: true\n  static_configs: [{{ targets: ['127.0.0.1:{target}'] }}]\n"
    )
}

/// The value of an instant query that gives one number; `None` while it gives nothing.
pub(crate) fn number(port: u16, query: &str) -> Option<f64> {
    value(&ask(port, query)?["data"]["result"][0])
}

/// The values of an instant query by one of their labels; none while nobody answers.
pub(crate) fn by_label(port: u16, query: &str, label: &str) -> BTreeMap<String, f64> {
    let answer = ask(port, query).unwrap_or_default();
    let series = answer["data"]["result"].as_array().into_iter().flatten();
    series.filter_map(|one| Some((one["metric"][label].as_str()?.to_owned(), value(one)?))).collect()
}

/// What a query of samples over time gives, as it was answered: for people.
pub(crate) fn samples(port: u16, query: &str) -> String {
    ask(port, query).unwrap_or_default()["data"]["result"].to_string()
}

fn ask(port: u16, query: &str) -> Option<Value> {
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let mut answer = ureq::get(url).query("query", query).call().ok()?;
    serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
}

fn value(series: &Value) -> Option<f64> {
    series["value"][1].as_str()?.parse().ok()
}

// === impl Server ===

impl Server {
    /// Starts it; `help` says how to get the program.
    pub(crate) fn start(program: &mut Command, help: &str) -> Self {
        let child = program
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {program:?}: {error}; {help}"));
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// === impl VictoriaMetrics ===

impl VictoriaMetrics {
    /// Starts Debian's server, which scrapes the target once a second, and what evaluates the rules of these files.
    pub(crate) fn start(directory: &Path, target: u16, rules: &[PathBuf]) -> Self {
        let help = "VictoriaMetrics and vmalert (make test puts both into .tools/bin)";
        let config = directory.join("victoria-metrics.yml");
        std::fs::write(&config, scraping(target)).expect("write the configuration");
        let port = free_port();
        let mut database = Command::new(tools::ours("VICTORIA_METRICS", "victoria-metrics"));
        database
            .arg(format!("-storageDataPath={}", directory.join("victoria-metrics").display()))
            .arg(format!("-promscrape.config={}", config.display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            // What was scraped can be asked for about a second later. Usually the last 30 s are left alone for that.
            .arg("-search.latencyOffset=2s")
            .arg("-memory.allowedBytes=128MB");
        let mut evaluating = Command::new(tools::ours("VMALERT", "vmalert"));
        evaluating
            .args(
                ["-datasource.url", "-remoteWrite.url"].map(|flag| format!("{flag}=http://127.0.0.1:{port}")),
            )
            .arg(format!("-httpListenAddr=127.0.0.1:{}", free_port()))
            .arg("-rule.evalDelay=0s")
            // An hour has seconds here, and needs to find what the one before has written.
            .arg("-remoteWrite.flushInterval=100ms")
            .args(rules.iter().map(|file| format!("-rule={}", file.display())));
        Self {
            _database: Server::start(&mut database, help),
            _rules: Server::start(&mut evaluating, help),
            port,
        }
    }

    /// Where it answers.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
