//! What was charged between two scrapes, once everybody has what a test expects.

use std::fs;

use super::daemon::Daemon;
use super::fake_apiserver::FakeApiServer;
use super::node::{FakeNode, flag};
use super::scrape::Scrape;

const INFO: &str = "gpu_cost_device_info";
const DEVICE: &str = "gpu_cost_device_dollars_total";
const POD: &str = "gpu_cost_pod_dollars_total";
const SHOWBACK: &str = "gpu_cost_showback_dollars_total";

/// What every GPU of these tests costs in an hour, in dollars.
const PRICE: &str =
    "gpu_pricing:\n  nvidia-a100-80gb: { on_demand: 8 }\n  nvidia-h100-80gb: { on_demand: 8 }\n";

/// Dollars of at least a second of one GPU.
const A_SECOND: f64 = 8.0 / 3_600.0;

/// How far the gauges of many holders may be from it together: each is cut off at billionths.
const SETTLED: f64 = 1e-6;

/// How far sums of decimal numbers may be from what they stand for.
const TOLERANCE: f64 = 1e-8;

/// What was charged in a time in which nobody came or went.
pub(crate) struct Spending {
    from: Scrape,
    to: Scrape,
}

/// Starts the exporter with an API server, where every GPU costs the same.
pub(crate) fn start(node: &FakeNode, server: &FakeApiServer, args: &[&str]) -> Daemon {
    fs::write(node.path("pricing.yaml"), PRICE).expect("write the prices");
    let prices = flag("--pricing.file", &node.path("pricing.yaml"));
    let kubeconfig = flag("--kubernetes.kubeconfig", &server.kubeconfig());
    node.start(&[&[prices.as_str(), &kubeconfig], args].concat()).ready()
}

#[track_caller]
pub(crate) fn assert_close(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= TOLERANCE, "{what}: {found} is not {expected}");
}

// === impl Spending ===

impl Spending {
    /// Waits until each pod holds so many GPUs and no other pod holds anything, and then for a second of money.
    #[track_caller]
    pub(crate) fn when(daemon: &Daemon, gpus: &[(&str, f64)]) -> Self {
        let holds = |scrape: &Scrape, (pod, expected): &(&str, f64)| {
            (scrape.sum("gpu_cost_pod_gpus", &[("pod", pod)]) - expected).abs() <= SETTLED
        };
        let all: f64 = gpus.iter().map(|(_, gpus)| gpus).sum();
        let are_settled = |scrape: &Scrape| {
            gpus.iter().all(|pod| holds(scrape, pod))
                && (scrape.sum("gpu_cost_pod_gpus", &[]) - all).abs() <= SETTLED
        };
        let from = daemon
            .scrape_until(&format!("holders {gpus:?}"), |scrape| are_settled(scrape).then(|| scrape.clone()));
        let to = daemon.scrape_until("a second of money", |scrape| {
            let spent = scrape.sum(DEVICE, &[]) - from.sum(DEVICE, &[]);
            let gpus = from.values(INFO, &[]).len();
            (spent > A_SECOND * f64::from(u32::try_from(gpus).unwrap_or(1))).then(|| scrape.clone())
        });
        assert!(are_settled(&to), "somebody came or went");
        let spending = Self { from, to };
        for (pod, expected) in gpus {
            assert_close(pod, spending.of_pod(pod), *expected);
        }
        spending
    }

    /// The last scrape.
    pub(crate) fn scrape(&self) -> &Scrape {
        &self.to
    }

    fn spent(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.to.sum(name, labels) - self.from.sum(name, labels)
    }

    /// What one GPU costs in this time: all cost the same.
    fn of_a_gpu(&self) -> f64 {
        let uuids = self.to.label(INFO, "gpu_uuid");
        self.spent(DEVICE, &[("gpu_uuid", &uuids[0])])
    }

    /// The money of a pod in GPUs.
    pub(crate) fn of_pod(&self, pod: &str) -> f64 {
        self.spent(POD, &[("pod", pod)]) / self.of_a_gpu()
    }

    /// The money in a state in GPUs.
    pub(crate) fn in_state(&self, state: &str) -> f64 {
        self.spent(DEVICE, &[("state", state)]) / self.of_a_gpu()
    }

    /// The money of a GPU in a state, as a part of all its money.
    pub(crate) fn of_device(&self, uuid: &str, state: &str) -> f64 {
        self.spent(DEVICE, &[("gpu_uuid", uuid), ("state", state)]) / self.of_a_gpu()
    }

    /// How a GPU is shared.
    pub(crate) fn sharing(&self, uuid: &str) -> String {
        const WAYS: [&str; 5] = ["exclusive", "mig", "time-slicing", "mps", "fractional"];
        let is = |way: &&str| !self.to.values(INFO, &[("gpu_uuid", uuid), ("sharing", way)]).is_empty();
        WAYS.into_iter().filter(is).collect()
    }

    /// Holds the three views of the ledger against each other: the bill, those who pay, and those who hold.
    #[track_caller]
    pub(crate) fn assert_sums(&self) {
        let bill = self.to.sum(DEVICE, &[]);
        assert_close("who pays", self.to.sum(SHOWBACK, &[]), bill);
        let held: f64 = ["used", "underused", "idle", "unmeasured"]
            .map(|state| self.spent(DEVICE, &[("state", state)]))
            .into_iter()
            .sum();
        assert_close("who holds", self.spent(POD, &[]), held);
        assert_eq!(self.to.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
    }

    /// Every device that somebody holds is known, and nobody has what another one has.
    #[track_caller]
    pub(crate) fn assert_clear(&self) {
        self.assert_sums();
        assert_close("unattributed", self.in_state("unattributed"), 0.0);
        assert_eq!(self.to.value("gpu_cost_exporter_unmapped_devices", &[]), Some(0.0));
        // What was before everything was told is no conflict of this time.
        assert_close("conflicts", self.spent("gpu_cost_exporter_allocation_conflicts_total", &[]), 0.0);
    }
}
