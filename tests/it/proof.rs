//! The proof: whatever breaks, Prometheus holds the ledger.
//!
//! Pods come and go by the hundred, the daemon is killed at any instant, the kubelet and the API server restart, a price
//! changes, the ledger is lost once, and three scrape. At the end the hours of `rules/recording-ledger.yml` add up to what
//! the ledgers say of each team, in Prometheus and in `VictoriaMetrics`; the ledgers are price times time, and so is each
//! pod, but for the tick and the kubelet's answer by which its life begins and ends. Time is fast because everything is
//! short: a tick has 50 ms, a scrape comes each second, and an hour of the rules has eight seconds.

mod lives;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::clock;
use gpu_cost_exporter::observation::{Span, Uptime};
use serde_json::Value;

use self::lives::{Knowledge, Life};
use crate::live_prometheus::Prometheus;
use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{Method, devices, pod};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::promql::{self, VictoriaMetrics, free_port};
use crate::support::server;

/// GPUs, and slots of each.
const GPUS: u32 = 6;
const SLOTS: u32 = 4;

/// Dollars per hour of each GPU, before and after the price changes. The change is small because nobody outside knows the
/// very tick at which it comes into force.
const PRICES: [f64; 2] = [3_600.0, 3_605.0];

/// How long the first of the two ledgers is kept.
const ERA_MILLIS: u64 = 37_000;

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
    /// The lives of all pods, by their numbers from one on.
    lives: Vec<Life>,
    /// When a daemon was killed.
    kills: Vec<Uptime>,
}

/// A database that scrapes, and where it answers.
type Database = (&'static str, u16);

/// What a ledger came to.
struct Era {
    by_team: BTreeMap<String, f64>,
    by_pod: BTreeMap<String, f64>,
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
        let (lives, kills) = (Vec::new(), Vec::new());
        Self { node, apiserver, port, began: now, slots, lives, kills }
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
        let over: Vec<usize> = (0..self.slots.len()).filter(|at| now >= self.slots[*at].1).collect();
        if over.is_empty() {
            return;
        }
        let gone: Vec<usize> = over.iter().map(|at| self.slots[*at].0).filter(|number| *number > 0).collect();
        let first = self.lives.len() + 1;
        for (number, at) in (first..).zip(over) {
            let (name, uid) = (format!("pod-{number}"), format!("uid-{number}"));
            let team = ["nlp", "vision", "search", "speech"][number % 4];
            self.apiserver.apply(&fake_apiserver::pod("ml", &name, &uid, &[("team", team)]));
            let lives = LIVES[at % LIVES.len()];
            self.slots[at] = (number, now.after(Span::from_secs(lives[number % lives.len()])));
            self.lives.push(Life { name, given: [now; 2], taken: None });
        }
        for number in &gone {
            self.apiserver.delete("ml", &format!("pod-{number}"));
        }
        let held = self.slots.iter().enumerate();
        let pods = held.map(|(at, (number, _))| {
            let id = slot(u32::try_from(at).unwrap());
            pod("ml", &format!("pod-{number}"), "nvidia.com/gpu.shared", &[&id])
        });
        self.node.kubelet.list(pods.collect());
        let change = [now, clock::uptime()];
        for number in gone {
            self.lives[number - 1].taken = Some(change);
        }
        self.lives[first - 1..].iter_mut().for_each(|life| life.given = change);
    }

    /// Lets the pods come and go until this many milliseconds have passed since the beginning.
    fn play_until(&mut self, millis: u64) {
        let end = self.began.after(Span::from_millis(millis));
        while clock::uptime() < end {
            self.turn();
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Lets the pods come and go as long as something is so; says how many milliseconds have passed since the beginning.
    fn play_while(&mut self, mut is_so: impl FnMut() -> bool) -> u64 {
        while is_so() {
            self.turn();
            thread::park_timeout(Duration::from_millis(50));
        }
        clock::uptime().since(self.began).as_nanos() / 1_000_000
    }

    /// Kills the daemon at an instant that nobody chose, and starts it anew, while everything goes on.
    fn kill(&mut self, daemon: Daemon) -> Daemon {
        let now = clock::uptime();
        let late = now.as_nanos() / 1_000 % 600;
        println!("killed {late} ms after it was due");
        self.play_until(now.since(self.began).as_nanos() / 1_000_000 + late);
        self.kills.push(clock::uptime());
        daemon.kill();
        self.start()
    }

    /// Asks the daemon to stop, waits until everybody has seen its last values, and reads its ledger.
    fn close(daemon: Daemon, databases: &[Database]) -> Era {
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
        for (name, port) in databases {
            eventually(&format!("the last values in {name}"), || era.is_in(*port).then_some(()));
        }
        daemon.kill();
        era
    }

    /// What daemons could know while they kept a ledger, whose ticks were seen at these moments.
    fn knowledge(&self, era: &Era, ticks: &[Uptime]) -> Knowledge {
        let (now, wall) = (clock::uptime(), clock::wall().as_millis());
        let at = |moment: f64| {
            let ago = Duration::from_millis(wall).as_secs_f64() - moment;
            let ago = u64::try_from(Duration::from_secs_f64(ago).as_nanos()).unwrap();
            Uptime::from_nanos(now.as_nanos() - ago)
        };
        let ledger = [at(era.since), at(era.until)];
        let reads = self.node.kubelet.called(Method::List);
        Knowledge { ledger, reads, ticks: ticks.to_vec(), kills: self.kills.clone() }
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
    /// Whether a database has the last value of every device and of every pod.
    fn is_in(&self, database: u16) -> bool {
        let is_same = |held: f64, dollars: f64| (held - dollars).abs() <= 1e-9 * dollars;
        let devices = promql::number(database, "sum(last_over_time(gpu_cost_device_dollars_total[10m]))");
        let pods = "sum by (pod) (last_over_time(gpu_cost_pod_dollars_total[10m]))";
        let pods = promql::by_label(database, pods, "pod");
        let has =
            |(pod, dollars): (&String, &f64)| pods.get(pod).is_some_and(|held| is_same(*held, *dollars));
        devices.is_some_and(|held| is_same(held, self.devices)) && self.by_pod.iter().all(has)
    }

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
        let mut by_pod: BTreeMap<String, f64> = BTreeMap::new();
        for line in report["pods"].as_array().unwrap() {
            let pod = line["pod"].as_str().unwrap();
            *by_pod.entry(pod.into()).or_default() += number(&line["totals"]["dollars"]);
        }
        let devices = report["devices"].as_array().unwrap();
        let sum = |what: &str| devices.iter().map(|device| number(&device["totals"][what])).sum();
        for device in devices {
            assert_eq!(number(&device["unobserved_seconds"]).to_string(), "0", "nothing went unobserved");
        }
        let moment = |of: &Value| humantime_seconds(of.as_str().unwrap());
        let (devices, seconds) = (sum("dollars"), sum("gpu_seconds"));
        Self {
            by_team,
            by_pod,
            devices,
            seconds,
            since: moment(&report["since"]),
            until: moment(&report["at"]),
        }
    }
}

fn humantime_seconds(moment: &str) -> f64 {
    let moment = humantime::parse_rfc3339(moment).unwrap();
    moment.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The rules of the ledger, in which an hour has eight seconds and a minute one.
fn fast_rules(directory: &Path) -> [PathBuf; 2] {
    ["settings.yml", "recording-ledger.yml"].map(|name| {
        let slow = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules").join(name);
        let fast = [
            ("interval: 1h", "interval: 8s"),
            ("interval: 1m", "interval: 1s"),
            ("interval: 2m", "interval: 8s"),
            ("[1h]", "[8s]"),
            ("[25h]", "[200s]"),
            ("vector(time() - 3600)", "vector(time() - 8)"),
        ];
        let slow = fs::read_to_string(slow).unwrap();
        let rules = fast.iter().fold(slow, |rules, (slow, fast)| rules.replace(slow, fast));
        let path = directory.join(name);
        fs::write(&path, rules).unwrap();
        path
    })
}

/// The same for vmalert, which asks its database for one rule after the other otherwise: on a busy machine an hour of eight
/// seconds began before all was written that the one before had found.
fn side_by_side(rules: &[PathBuf]) -> Vec<PathBuf> {
    let copy = |path: &PathBuf| {
        let text =
            fs::read_to_string(path).unwrap().replace("interval: 8s", "interval: 8s\n    concurrency: 8");
        let path = path.with_extension("vmalert.yml");
        fs::write(&path, text).unwrap();
        path
    };
    rules.iter().map(copy).collect()
}

/// Somebody else who scrapes, and whoever scrapes twice must not see two ledgers. Says when there were more ticks.
fn other_scraper(port: u16, over: &Arc<AtomicBool>) -> thread::JoinHandle<Vec<Uptime>> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let (mut ticks, mut seen) = (Vec::new(), None);
        while !over.load(Ordering::Relaxed) {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                // It may be killed in the middle of an answer.
                let ask = || server::ask(([127, 0, 0, 1], port).into(), "GET", "/metrics", &[]);
                let count = std::panic::catch_unwind(ask).ok().and_then(|answer| count_ticks(answer.text()));
                if count.is_some() && count != seen {
                    ticks.push(clock::uptime());
                    seen = count;
                }
            }
            thread::park_timeout(Duration::from_millis(60));
        }
        ticks
    })
}

/// How many observations a scrape shows; `None` if there is no ledger in it.
fn count_ticks(text: &str) -> Option<u64> {
    text.contains("\ngpu_cost_device_dollars_total{").then_some(())?;
    text.lines().find_map(|line| line.strip_prefix("gpu_cost_exporter_ticks_total "))?.parse().ok()
}

#[test]
fn what_prometheus_holds_is_the_ledger_whatever_breaks() {
    let mut stage = Stage::new();
    let directory = tempfile::tempdir().unwrap();
    let rules = fast_rules(directory.path());
    let loading = format!("rule_files: {rules:?}\n");
    let victoria = VictoriaMetrics::start(directory.path(), stage.port, &side_by_side(&rules));
    let prometheus = Prometheus::start_with(directory.path(), stage.port, &loading);
    let databases = [("Prometheus", prometheus.port()), ("VictoriaMetrics", victoria.port())];
    for (name, port) in databases {
        // An hour that ends before they know which one it is has no name.
        eventually(&format!("the hour in {name}"), || promql::number(port, "gpu_cost:calendar:ledger_hour"));
    }
    let over = Arc::default();
    let other = other_scraper(stage.port, &over);

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
    let first = Stage::close(daemon, &databases);

    // It is lost, and another one begins.
    fs::remove_dir_all(stage.node.path("state")).unwrap();
    stage.began = clock::uptime();
    let mut daemon = stage.start();
    // A line of the new one that outgrew the old before an hour had only the new one would look like the old one.
    daemon = daemon.ready();
    let met = Duration::from_millis(clock::wall().as_millis() + 8_000).as_secs_f64();
    let is_met = |port| {
        let written = promql::number(port, "max(last_over_time(gpu_cost:ledger:written_timestamp[200s]))");
        written.is_some_and(|written| written > met)
    };
    let met = stage.play_while(|| !databases.iter().all(|(_, port)| is_met(*port)));
    for at in [met + 274, met + 2_951] {
        stage.play_until(at);
        daemon = stage.kill(daemon);
    }
    stage.apiserver.die();
    stage.play_until(met + 4_000);
    stage.apiserver.come_back();
    stage.play_until(met + 6_000);
    let daemon = daemon.ready();
    price(&stage.node, PRICES[1]);
    stage.play_until(met + 12_518);
    let daemon = stage.kill(daemon);
    stage.play_until(met + 18_500);
    let reloaded = daemon
        .scrape()
        .value("gpu_cost_device_price_dollars_per_hour", &[("gpu_uuid", &uuid(0)), ("basis", "effective")]);
    assert_eq!(reloaded, Some(PRICES[1]));
    let second = Stage::close(daemon, &databases);
    over.store(true, Ordering::Relaxed);
    let ticks = other.join().unwrap();
    assert!(ticks.len() > 100, "{} scrapes of the other", ticks.len());
    assert!(stage.lives.len() > 300, "{} pods", stage.lives.len());

    // The ledgers are price times time.
    for era in [&first, &second] {
        let expected = f64::from(GPUS) * (era.until - era.since);
        assert!((era.seconds / expected - 1.0).abs() < TOLERANCE, "{} s of {expected}", era.seconds);
    }
    let dollars = first.seconds * PRICES[0] / 3_600.0;
    assert!((first.devices / dollars - 1.0).abs() < TOLERANCE, "{} $ of {dollars}", first.devices);
    let dollars = |price: f64| second.seconds * price / 3_600.0;
    assert!((dollars(PRICES[0])..dollars(PRICES[1])).contains(&second.devices), "{} $", second.devices);

    // Each pod is its life times its part of the price.
    for (era, prices) in [(&first, [PRICES[0]; 2]), (&second, PRICES)] {
        each_pod(&stage.lives, era, &stage.knowledge(era, &ticks), prices);
    }

    // The databases have the same, by team.
    for team in ["nlp", "vision", "search", "speech", ""] {
        let of = |era: &Era| era.by_team.get(team).copied().unwrap_or(0.0);
        let expected = of(&first) + of(&second);
        let hours = format!("sum(sum_over_time(showback:gpu_cost_dollars:delta1h{{team=\"{team}\"}}[10m]))");
        for (name, port) in databases {
            let mut last = None;
            let sums = (0..600).find_map(|_| {
                last = promql::number(port, &hours);
                thread::park_timeout(Duration::from_millis(50));
                last.filter(|dollars| (dollars - expected).abs() <= TOLERANCE * expected)
            });
            assert!(
                sums.is_some(),
                "{team:?}: {last:?} $ in {name}, {expected} $ in the ledgers; {:?}",
                by_hour(port, team)
            );
        }
    }
}

/// What a database has of a team: the dollars of each hour, and the growing sums by which it found them, each with its time.
fn by_hour(database: u16, team: &str) -> [String; 2] {
    ["showback:gpu_cost_dollars:delta1h", "node_showback:gpu_cost_dollars:snapshot"]
        .map(|name| promql::samples(database, &format!("{name}{{team=\"{team}\"}}[10m]")))
}

/// What each pod was charged is the time for which it had its slot.
fn each_pod(lives: &[Life], era: &Era, known: &Knowledge, prices: [f64; 2]) {
    let [least_price, most_price] = prices.map(|price| price / 3_600.0 / f64::from(SLOTS));
    let mut sure = 0;
    for life in lives {
        let Some(charged) = life.charged(known) else { continue };
        let dollars = era.by_pod.get(&life.name).copied().unwrap_or(0.0);
        let range = charged.least * least_price..=charged.most * most_price;
        assert!(range.contains(&dollars), "{} has {dollars} $, expected {range:?}", life.name);
        sure += usize::from(charged.least > 0.5 * charged.most);
    }
    assert!(sure > 50, "of {sure} pods it is known what they cost");
}
