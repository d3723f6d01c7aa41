//! It keeps working: each way in which a neighbour breaks, on the binary. Whatever breaks, scrapes are answered as fast as
//! ever, the lines add up, it is said whose fault it is, and once the neighbour works again so does the exporter, in the
//! same process.

mod apiserver;
mod driver;
mod kubelet;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::clock;

use crate::support::daemon::Daemon;
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;
use crate::support::server;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const SHOWBACK: &str = "gpu_cost_showback_dollars_total";
const POD: &str = "gpu_cost_pod_dollars_total";

/// How long a scrape may take while something is broken. Half of them must keep it: the others may meet a machine that is
/// busy with other tests.
const PROMPT: Duration = Duration::from_millis(100);

/// What no scrape may take: nothing that is broken here ever answers by itself.
const LATE: Duration = Duration::from_secs(5);

/// A node on which one GPU works for the pod `ml/trainer` of a team and another is free.
struct Trial {
    node: FakeNode,
    apiserver: FakeApiServer,
    daemon: Daemon,
    scraper: Scraper,
}

/// Somebody who scrapes all the time and looks at the clock.
struct Scraper {
    over: Arc<AtomicBool>,
    took: Arc<Mutex<Vec<Duration>>>,
    thread: Option<JoinHandle<()>>,
}

/// How a fault shows while it lasts.
struct Signs {
    /// The source that is down; `None` where the fault is not the whole source's.
    down: Option<&'static str>,
    /// What the log says.
    told: &'static str,
    /// The state that the money of the one who works goes to.
    state: &'static str,
}

fn boards() -> [Board; 2] {
    [Board::a100_80gb(0).busy(60), Board::a100_80gb(1).busy(0)]
}

// === impl Trial ===

impl Trial {
    /// Everything works, and has for a moment.
    fn start() -> Self {
        let trial = Self::start_with(FakeNode::new(&Node::new(boards())));
        trial.works();
        trial
    }

    fn start_with(node: FakeNode) -> Self {
        let apiserver = FakeApiServer::start();
        apiserver.apply(&fake_apiserver::pod("ml", "trainer", "uid-1", &[("team", "nlp")]));
        node.kubelet.list(vec![pod("ml", "trainer", "nvidia.com/gpu", &[&uuid(0)])]);
        let kubeconfig = flag("--kubernetes.kubeconfig", &apiserver.kubeconfig());
        let daemon = node.start(&[&kubeconfig, "--kubelet.max-age=2s"]);
        let scraper = Scraper::start(daemon.port());
        Self { node, apiserver, daemon, scraper }
    }

    /// Waits until work is seen and paid for by its team, with every source up.
    fn works(&self) {
        let before = spent(&self.daemon.scrape(), "used");
        self.daemon.scrape_until("paid work", |scrape| {
            let up = scrape.values("gpu_cost_exporter_source_up", &[]).iter().all(|up| *up > 0.0);
            (up && spent(scrape, "used") > before).then_some(())
        });
    }

    /// Breaks something, sees how it shows and that the money goes on, mends it, and sees it work again.
    fn withstands(
        mut self,
        signs: &Signs,
        breaking: impl FnOnce(&mut Self),
        mending: impl FnOnce(&mut Self),
    ) {
        let pid = self.daemon.pid();
        breaking(&mut self);
        let begun = self.daemon.scrape_until("the signs of the fault", |scrape| {
            let is_down =
                |source| scrape.value("gpu_cost_exporter_source_up", &[("source", source)]) == Some(0.0);
            signs.down.is_none_or(is_down).then(|| scrape.clone())
        });
        self.daemon.wait_for_log(signs.told);
        let lasting = self.daemon.scrape_until("money while it lasts", |scrape| {
            let grows = |of: fn(&Scrape, &str) -> f64| of(scrape, signs.state) > of(&begun, signs.state);
            (grows(spent) && grows(held)).then(|| scrape.clone())
        });
        assert_adds_up(&lasting);
        assert!(lasting.sum(DEVICE, &[]) > begun.sum(DEVICE, &[]), "a GPU costs whatever is broken");
        mending(&mut self);
        self.works();
        assert_adds_up(&self.daemon.scrape());
        assert_eq!(self.daemon.pid(), pid);
        assert!(self.daemon.is_running(), "{}", self.daemon.log());
        self.scraper.was_served_promptly();
    }
}

/// What the team of the working pod has paid in a state.
fn spent(scrape: &Scrape, state: &str) -> f64 {
    scrape.sum(SHOWBACK, &[("namespace", "ml"), ("team", "nlp"), ("state", state)])
}

/// What the working pod has cost in a state.
fn held(scrape: &Scrape, state: &str) -> f64 {
    scrape.sum(POD, &[("pod", "trainer"), ("pod_uid", "uid-1"), ("state", state)])
}

fn assert_adds_up(scrape: &Scrape) {
    let (devices, payers) = (scrape.sum(DEVICE, &[]), scrape.sum(SHOWBACK, &[]));
    let pods = scrape.sum(POD, &[]) + scrape.sum(SHOWBACK, &[("namespace", "")]);
    assert!((devices - payers).abs() < 1e-12 * devices, "{devices} on devices, {payers} on payers");
    assert!((devices - pods).abs() < 1e-12 * devices, "{devices} on devices, {pods} on pods and nobody");
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

// === impl Scraper ===

impl Scraper {
    fn start(port: u16) -> Self {
        let (over, took) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Duration>>>::default());
        let (is_over, times) = (Arc::clone(&over), Arc::clone(&took));
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let asked = clock::uptime();
                let answer = server::ask(([127, 0, 0, 1], port).into(), "GET", "/metrics", &[]);
                assert_eq!(answer.status, 200);
                times.lock().unwrap().push(Duration::from_nanos(clock::uptime().since(asked).as_nanos()));
                thread::park_timeout(Duration::from_millis(20));
            }
        });
        Self { over, took, thread: Some(thread) }
    }

    fn was_served_promptly(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let mut took = self.took.lock().unwrap().clone();
        took.sort_unstable();
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        assert!(median < PROMPT && slowest < LATE, "{} scrapes: {median:?}, {slowest:?}", took.len());
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
