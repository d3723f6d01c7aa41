//! A day's churn in a minute, and more scrapers than anybody has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::clock;
use gpu_cost_exporter::observation::Span;

use crate::support::daemon::Daemon;
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{devices, pod};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;
use crate::support::server;

/// GPUs, slots of each, and how many others scrape.
const GPUS: u32 = 8;
const SLOTS: u32 = 32;
const SCRAPERS: usize = 64;

/// How long it lasts. The kubelet is asked twice a second at most, and each time there are other pods everywhere.
const LENGTH: Span = Span::from_secs(60);

/// How much larger the process may be at the end than at a third of the time, when everything that is bounded is full.
/// What is given back to the system and what is asked for anew comes in steps of megabytes; sixteen thousand pods that
/// were not forgotten would be more than that.
const GROWTH: f64 = 1.25;

fn slot(at: u32) -> String {
    format!("{}::{}", uuid(at / SLOTS), at % SLOTS)
}

/// Gives every slot to another pod, and says over the pod watch that something has changed.
fn turn(node: &FakeNode, apiserver: &FakeApiServer, round: u64) {
    let pods = (0..GPUS * SLOTS).map(|at| {
        let name = format!("pod-{round}-{at}");
        pod("ml", &name, "nvidia.com/gpu.shared", &[&slot(at)])
    });
    node.kubelet.list(pods.collect());
    apiserver.apply(&fake_apiserver::pod("ml", "sign", &format!("uid-{round}"), &[]));
}

/// Starts the scrapers, each five times a second; says how many scrapes were good and how many were not.
fn scrape(daemon: &Daemon, over: &Arc<AtomicBool>) -> (Vec<thread::JoinHandle<()>>, Arc<[AtomicUsize; 2]>) {
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let scrapers = (0..SCRAPERS).map(|_| {
        let (over, counts, port) = (Arc::clone(over), Arc::clone(&counts), daemon.port());
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let answer =
                    server::ask(([127, 0, 0, 1], port).into(), "GET", "/metrics", &["Accept-Encoding: gzip"]);
                counts[usize::from(answer.status != 200)].fetch_add(1, Ordering::Relaxed);
                thread::park_timeout(Duration::from_millis(200));
            }
        })
    });
    (scrapers.collect(), counts)
}

fn resident(scrape: &Scrape) -> f64 {
    scrape.value("process_resident_memory_bytes", &[]).unwrap()
}

#[test]
fn a_days_churn_and_many_scrapers_leave_the_memory_flat_and_lose_no_time() {
    let node = FakeNode::new(&Node::new((0..GPUS).map(|n| Board::a100_80gb(n).busy(50))));
    let ids: Vec<String> = (0..GPUS * SLOTS).map(slot).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    node.kubelet.advertise(devices("nvidia.com/gpu.shared", &ids));
    let apiserver = FakeApiServer::start();
    let daemon = node.start(&[
        &flag("--kubernetes.kubeconfig", &apiserver.kubeconfig()),
        &flag("--state.dir", &node.path("state")),
        "--sample.interval=250ms",
        // They and we may ask at the same time.
        "--web.max-requests=100",
    ]);
    let daemon = daemon.ready();
    let over = Arc::default();
    let (scrapers, counts) = scrape(&daemon, &over);

    let began = clock::uptime();
    let (mut round, mut early) = (0, None);
    while clock::uptime().since(began) < LENGTH {
        turn(&node, &apiserver, round);
        round += 1;
        if early.is_none() && clock::uptime().since(began) > Span::from_secs(20) {
            early = Some(resident(&daemon.scrape()));
        }
        thread::park_timeout(Duration::from_millis(500));
    }
    let scrape = daemon.scrape();
    over.store(true, Ordering::Relaxed);
    for scraper in scrapers {
        scraper.join().unwrap();
    }

    let (early, late) = (early.unwrap(), resident(&scrape));
    println!("{:.1} MB after 20 s, {:.1} MB after 60 s", early / 1e6, late / 1e6);
    assert!(late < GROWTH * early, "{early} bytes after 20 s, {late} after 60 s");
    let [good, bad] = [0, 1].map(|at| counts[at].load(Ordering::Relaxed));
    assert!(good > 64 * 60 && bad == 0, "{good} good scrapes, {bad} others");
    let dropped = scrape.value("gpu_cost_exporter_series_dropped_total", &[("reason", "finished_pods")]);
    assert!(dropped > Some(10_000.0), "{dropped:?} pods came and went beyond those that are shown");
    for gaps in ["gpu_cost_ledger_recovered_seconds_total", "gpu_cost_ledger_unobserved_seconds_total"] {
        assert_eq!(scrape.sum(gaps, &[]).to_string(), "0", "{gaps}");
    }
    // Four a second; the machine is busy with the scrapers.
    let ticks = scrape.value("gpu_cost_exporter_ticks_total", &[]).unwrap();
    assert!(ticks > 0.9 * 4.0 * 60.0, "{ticks} ticks in a minute");
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
    let [devices, payers] = ["gpu_cost_device_dollars_total", "gpu_cost_showback_dollars_total"]
        .map(|name| scrape.sum(name, &[]));
    assert!((devices - payers).abs() < 1e-12 * devices, "{devices} on devices, {payers} on payers");
}
