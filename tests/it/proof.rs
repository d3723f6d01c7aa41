//! The proof: whatever breaks, Prometheus holds the ledger.
//!
//! Pods come and go by the hundred, the daemon is killed at any instant, the kubelet and the API server restart, a price
//! changes, the ledger is lost once, and two scrape. At the end the hours of `rules/recording-ledger.yml` add up to what
//! the ledgers say of each team, and the ledgers to price times time. Time is fast because everything is short: a tick has
//! 50 ms, a scrape comes each second, and an hour of the rules has eight seconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::clock;
use gpu_cost_exporter::observation::{Span, Uptime};
use serde_json::Value;

use crate::live_prometheus::{Prometheus, free_port};
use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{devices, pod};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::server;

/// GPUs, and slots of each.
const GPUS: u32 = 6;
const SLOTS: u32 = 4;

/// Dollars per hour of each GPU, before and after the price changes. The change is small because nobody outside knows the
/// very tick at which it comes into force.
const PRICES: [f64; 2] = [3_600.0, 3_605.0];

/// How long each of the two ledgers is kept.
const ERA_MILLIS: u64 = 40_000;

/// How far one sum may be from another.
const TOLERANCE: f64 = 1e-4;

/// What is done with each slot: for how many seconds a pod has it, pod after pod, over and over.
const LIVES: [&[u64]; 4] = [&[1, 2, 1, 3], &[2, 1, 5], &[8, 1, 1], &[30, 2]];

/// The node, and who holds what of it.
struct Stage {
    node: FakeNode,
    apiserver: FakeApiServer,
    port: u16,
    began: Uptime,
    /// The number and the end of the pod in each slot.
    slots: Vec<(usize, Uptime)>,
    pods: usize,
}

/// What a ledger came to.
struct Era {
    by_team: BTreeMap<String, f64>,
    devices: f64,
    seconds: f64,
    /// When it began and when it was last looked at, in seconds since the epoch.
    since: f64,
    until: f64,
}

// === impl Stage ===

impl Stage {
    fn new() -> Self {
        let boards = (0..GPUS).map(|n| Board::a100_80gb(n).busy(20 + 15 * n));
        let node = FakeNode::new(&Node::new(boards));
        let ids: Vec<String> = (0..GPUS * SLOTS).map(slot).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        node.kubelet.advertise(devices("nvidia.com/gpu.shared", &ids));
        price(&node, PRICES[0]);
        let now = clock::uptime();
        let slots = vec![(0, now); (GPUS * SLOTS) as usize];
        let (apiserver, port) = (FakeApiServer::start(), free_port());
        Self { node, apiserver, port, began: now, slots, pods: 0 }
    }

    fn start(&self) -> Daemon {
        self.node.start(&[
            &format!("--web.listen-address=127.0.0.1:{}", self.port),
            &flag("--kubernetes.kubeconfig", &self.apiserver.kubeconfig()),
            &flag("--pricing.file", &self.node.path("pricing.yaml")),
            &flag("--state.dir", &self.node.path("state")),
            "--sample.interval=50ms",
            "--ledger.idle-window=1s",
            "--shutdown.grace=60s",
        ])
    }

    /// Lets the pods whose time is over go and others come, each of one of four teams.
    fn turn(&mut self) {
        let now = clock::uptime();
        let mut changed = self.pods == 0;
        for at in 0..self.slots.len() {
            let (number, end) = self.slots[at];
            if now < end {
                continue;
            }
            changed = true;
            if number > 0 {
                self.apiserver.delete("ml", &format!("pod-{number}"));
            }
            self.pods += 1;
            let (name, uid) = (format!("pod-{}", self.pods), format!("uid-{}", self.pods));
            let team = ["nlp", "vision", "search", "speech"][self.pods % 4];
            self.apiserver.apply(&fake_apiserver::pod("ml", &name, &uid, &[("team", team)]));
            let lives = LIVES[at % LIVES.len()];
            self.slots[at] = (self.pods, now.after(Span::from_secs(lives[self.pods % lives.len()])));
        }
        if changed {
            let held = self.slots.iter().enumerate();
            let pods = held.map(|(at, (number, _))| {
                let id = slot(u32::try_from(at).unwrap());
                pod("ml", &format!("pod-{number}"), "nvidia.com/gpu.shared", &[&id])
            });
            self.node.kubelet.list(pods.collect());
        }
    }

    /// Lets the pods come and go until this many milliseconds have passed since the beginning.
    fn play_until(&mut self, millis: u64) {
        let end = self.began.after(Span::from_millis(millis));
        while clock::uptime() < end {
            self.turn();
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Kills the daemon and starts it anew, while everything goes on.
    fn kill(&self, daemon: Daemon) -> Daemon {
        daemon.kill();
        self.start()
    }

    /// Asks the daemon to stop, waits until everybody has seen its last values, and reads its ledger.
    fn close(daemon: Daemon, prometheus: &Prometheus) -> Era {
        daemon.signal("TERM");
        let stopped = || daemon.get("/-/ready").text().contains("about to end").then_some(());
        eventually("the last observation", stopped);
        let seen = || daemon.scrape().value("gpu_cost_exporter_ticks_total", &[]);
        let mut ticks = seen();
        eventually("no more ticks", || {
            thread::park_timeout(Duration::from_millis(200));
            let before = std::mem::replace(&mut ticks, seen());
            (before == ticks).then_some(())
        });
        let era = Era::read(&daemon);
        let total = "sum(gpu_cost_device_dollars_total)";
        eventually("the last values in Prometheus", || {
            prometheus.query(total).filter(|dollars| (dollars - era.devices).abs() < 1e-9 * era.devices)
        });
        daemon.kill();
        era
    }
}

/// The device id of a slot.
fn slot(at: u32) -> String {
    format!("{}::{}", uuid(at / SLOTS), at % SLOTS)
}

/// Writes a price file as a whole.
fn price(node: &FakeNode, dollars: f64) {
    let text = format!("gpu_pricing:\n  nvidia-a100-80gb: {{ on_demand: {dollars} }}\n");
    fs::write(node.path("pricing.new"), text).unwrap();
    fs::rename(node.path("pricing.new"), node.path("pricing.yaml")).unwrap();
}

// === impl Era ===

impl Era {
    fn read(daemon: &Daemon) -> Self {
        let ledger: Value = serde_json::from_str(daemon.get("/api/v1/ledger").text()).unwrap();
        let report = &ledger["report"];
        assert_eq!(report["imbalance_dollars"], "0");
        let number = |of: &Value| of.as_str().unwrap().parse::<f64>().unwrap();
        let mut by_team: BTreeMap<String, f64> = BTreeMap::new();
        for line in report["showback"].as_array().unwrap() {
            let team = line["labels"]["team"].as_str().unwrap();
            *by_team.entry(team.into()).or_default() += number(&line["totals"]["dollars"]);
        }
        let devices = report["devices"].as_array().unwrap();
        let sum = |what: &str| devices.iter().map(|device| number(&device["totals"][what])).sum();
        for device in devices {
            assert_eq!(number(&device["unobserved_seconds"]).to_string(), "0", "nothing went unobserved");
        }
        let moment = |of: &Value| humantime_seconds(of.as_str().unwrap());
        let (devices, seconds) = (sum("dollars"), sum("gpu_seconds"));
        Self { by_team, devices, seconds, since: moment(&report["since"]), until: moment(&report["at"]) }
    }
}

fn humantime_seconds(moment: &str) -> f64 {
    let moment = humantime::parse_rfc3339(moment).unwrap();
    moment.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The rules of the ledger, in which an hour has eight seconds and a minute one.
fn fast_rules(directory: &Path) -> String {
    let mut files = Vec::new();
    for name in ["settings.yml", "recording-live.yml", "recording-ledger.yml"] {
        let rules =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").join(name)).unwrap();
        let fast = [
            ("interval: 1h", "interval: 8s"),
            ("interval: 1m", "interval: 1s"),
            ("interval: 2m", "interval: 1s"),
            ("[1h]", "[8s]"),
            ("[25h]", "[200s]"),
            ("vector(time() - 3600)", "vector(time() - 8)"),
        ];
        let rules = fast.iter().fold(rules, |rules, (slow, fast)| rules.replace(slow, fast));
        let path = directory.join(name);
        fs::write(&path, rules).unwrap();
        files.push(path.display().to_string());
    }
    format!("rule_files: {files:?}\n")
}

/// Somebody else who scrapes, and whoever scrapes twice must not see two ledgers.
fn second_scraper(port: u16, over: &Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let mut scrapes = 0;
        while !over.load(Ordering::Relaxed) {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                // It may be killed in the middle of an answer.
                let answer = std::panic::catch_unwind(|| {
                    server::ask(([127, 0, 0, 1], port).into(), "GET", "/metrics", &[])
                });
                scrapes += usize::from(answer.is_ok_and(|answer| answer.status == 200));
            }
            thread::park_timeout(Duration::from_millis(130));
        }
        scrapes
    })
}

#[test]
fn what_prometheus_holds_is_the_ledger_whatever_breaks() {
    let mut stage = Stage::new();
    let directory = tempfile::tempdir().unwrap();
    let rules = fast_rules(directory.path());
    let prometheus = Prometheus::start_with(directory.path(), stage.port, &rules);
    let over = Arc::default();
    let other = second_scraper(stage.port, &over);

    // The first ledger: killed at instants that have nothing to do with ticks and scrapes.
    stage.began = clock::uptime();
    stage.turn();
    let mut daemon = stage.start();
    for at in [3_217, 5_843, 9_061] {
        stage.play_until(at);
        daemon = stage.kill(daemon);
    }
    stage.play_until(13_000);
    stage.node.kubelet.die();
    stage.play_until(14_000);
    stage.node.kubelet.come_back();
    for at in [16_402, 21_977, 26_339] {
        stage.play_until(at);
        daemon = stage.kill(daemon);
    }
    stage.play_until(ERA_MILLIS);
    let first = Stage::close(daemon, &prometheus);

    // It is lost, and another one begins.
    fs::remove_dir_all(stage.node.path("state")).unwrap();
    stage.began = clock::uptime();
    let mut daemon = stage.start();
    // The new one must not be killed before the rules have met it.
    for at in [18_274, 20_951] {
        stage.play_until(at);
        daemon = stage.kill(daemon);
    }
    stage.apiserver.die();
    stage.play_until(22_000);
    stage.apiserver.come_back();
    stage.play_until(24_000);
    let daemon = daemon.ready();
    price(&stage.node, PRICES[1]);
    stage.play_until(30_518);
    let daemon = stage.kill(daemon);
    stage.play_until(ERA_MILLIS);
    let reloaded = daemon
        .scrape()
        .value("gpu_cost_device_price_dollars_per_hour", &[("gpu_uuid", &uuid(0)), ("basis", "effective")]);
    assert_eq!(reloaded, Some(PRICES[1]));
    let second = Stage::close(daemon, &prometheus);
    over.store(true, Ordering::Relaxed);
    assert!(other.join().unwrap() > 100, "the second scraper");
    assert!(stage.pods > 300, "{} pods", stage.pods);

    // The ledgers are price times time.
    for era in [&first, &second] {
        let expected = f64::from(GPUS) * (era.until - era.since);
        assert!((era.seconds / expected - 1.0).abs() < TOLERANCE, "{} s of {expected}", era.seconds);
    }
    let dollars = first.seconds * PRICES[0] / 3_600.0;
    assert!((first.devices / dollars - 1.0).abs() < TOLERANCE, "{} $ of {dollars}", first.devices);
    let dollars = |price: f64| second.seconds * price / 3_600.0;
    assert!((dollars(PRICES[0])..dollars(PRICES[1])).contains(&second.devices), "{} $", second.devices);

    // Prometheus has the same, by team.
    for team in ["nlp", "vision", "search", "speech", ""] {
        let of = |era: &Era| era.by_team.get(team).copied().unwrap_or(0.0);
        let expected = of(&first) + of(&second);
        let hours = format!("sum(sum_over_time(showback:gpu_cost_dollars:delta1h{{team=\"{team}\"}}[10m]))");
        let mut last = None;
        let sums = (0..600).find_map(|_| {
            last = prometheus.query(&hours);
            thread::park_timeout(Duration::from_millis(50));
            last.filter(|dollars| (dollars - expected).abs() <= TOLERANCE * expected)
        });
        assert!(sums.is_some(), "{team:?}: {last:?} $ in Prometheus, {expected} $ in the ledgers");
    }
}
