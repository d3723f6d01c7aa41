//! Whose work it is: the built binary on a node whose GPU several pods share, with the host's processes in view.

use std::fs;

use fake_nvml::{Board, Node};

use crate::support::daemon::Daemon;
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{devices, pod};
use crate::support::fake_procfs::FakeProcfs;
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const POD: &str = "gpu_cost_pod_dollars_total";
const BURST: &str = "gpu_cost_pod_burst_dollars_total";
const UTILIZATION: &str = "gpu_cost_pod_utilization_ratio";
const FOREIGN: &str = "gpu_cost_device_foreign_utilization_ratio";

/// The UIDs of the pods, and the id of a container.
const A: &str = "aaaaaaaa-1111-4222-8333-444444444444";
const B: &str = "bbbbbbbb-1111-4222-8333-444444444444";
const MPS: &str = "cccccccc-1111-4222-8333-444444444444";
const CONTAINER: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// An H100 at $8.00 an hour, time-sliced in four: the pods `ml/a` and `ml/b` have a slot each, two are free.
struct Shared {
    node: FakeNode,
    server: FakeApiServer,
    procfs: FakeProcfs,
}

impl Shared {
    /// The GPU at work for so many percent of the time, by processes for so many each.
    fn new(busy: u32, processes: &[(u32, u32)]) -> Self {
        let node = FakeNode::new(&at_work(busy, processes));
        let slots: Vec<String> = (0..4).map(|n| format!("{}::{n}", uuid(0))).collect();
        let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
        node.kubelet.list(vec![
            pod("ml", "a", "nvidia.com/gpu", &slots[1..2]),
            pod("ml", "b", "nvidia.com/gpu", &slots[3..]),
        ]);
        node.kubelet.advertise(devices("nvidia.com/gpu", &slots));
        fs::write(node.path("pricing.yaml"), "gpu_pricing:\n  nvidia-h100-80gb: { on_demand: 8.00 }\n")
            .unwrap();
        let server = FakeApiServer::start();
        server.apply(&fake_apiserver::pod("ml", "a", A, &[]));
        server.apply(&fake_apiserver::pod("ml", "b", B, &[]));
        let procfs = FakeProcfs::at(&node.path("proc"));
        Self { node, server, procfs }
    }

    fn start(&self) -> Daemon {
        let kubeconfig = flag("--kubernetes.kubeconfig", &self.server.kubeconfig());
        let prices = flag("--pricing.file", &self.node.path("pricing.yaml"));
        self.node.start(&[&kubeconfig, &prices, "--ledger.idle-window=100ms"]).ready()
    }

    fn set(&self, busy: u32, processes: &[(u32, u32)]) {
        self.node.set(&at_work(busy, processes));
    }
}

fn at_work(busy: u32, processes: &[(u32, u32)]) -> Node {
    Node::new([Board::h100_80gb(0).busy(busy).worked_by(processes.iter().copied())])
}

/// Where systemd and containerd put the processes of a pod, as it is seen from a container of ours.
fn home(uid: &str) -> String {
    let uid = uid.replace('-', "_");
    format!("0::/../../kubepods-burstable-pod{uid}.slice/cri-containerd-{CONTAINER}.scope")
}

/// How the work was divided in the last interval, and what `a` and `b` did with their own shares.
fn divided(scrape: &Scrape) -> (String, [f64; 2]) {
    let of = |pod| scrape.value(UTILIZATION, &[("pod", pod)]).unwrap_or(-1.0);
    (scrape.label("gpu_cost_device_info", "attribution_method").concat(), [of("a"), of("b")])
}

/// Waits until the work is divided so.
#[track_caller]
fn await_division(daemon: &Daemon, method: &str, parts: [f64; 2]) -> Scrape {
    daemon.scrape_until(&format!("{method} {parts:?}"), |scrape| {
        (divided(scrape) == (method.to_owned(), parts)).then(|| scrape.clone())
    })
}

/// What was charged between two scrapes: for a device in a state, or for a pod in a state, or all of either.
fn charged(from: &Scrape, to: &Scrape, name: &str, labels: &[(&str, &str)]) -> f64 {
    to.sum(name, labels) - from.sum(name, labels)
}

#[test]
fn slots_are_charged_and_burst_is_shown_beside_the_bill() {
    let shared = Shared::new(30, &[(101, 30)]);
    shared.procfs.run(101, "python3", 1, &home(A));
    let daemon = shared.start();
    // The whole of its quarter and a fifth of that beyond it; the other did nothing.
    await_division(&daemon, "processes", [1.0, 0.0]);
    // What was before the first answers of the kubelet and the API server is not part of the example.
    let from = daemon.scrape_until("idle money", |scrape| {
        (scrape.sum(POD, &[("pod", "b"), ("state", "idle")]) > 0.0).then(|| scrape.clone())
    });
    let to = daemon.scrape_until("a second of the bill", |scrape| {
        (charged(&from, scrape, DEVICE, &[]) > 8.0 / 3_600.0).then(|| scrape.clone())
    });
    let bill = charged(&from, &to, DEVICE, &[]);
    let hours = charged(&from, &to, "gpu_cost_device_seconds_total", &[]) / 3_600.0;
    assert_eq!(format!("{:.8}", bill / hours), "8.00000000");
    // As parts of the eight dollars that an hour costs, to a millionth of a cent.
    let dollars = |name: &str, labels: &[(&str, &str)]| {
        format!("{:.8}", charged(&from, &to, name, labels) / bill * 8.0)
    };
    for (state, of_a, of_b) in [
        ("used", "2.00000000", "0.00000000"),
        ("underused", "0.00000000", "0.00000000"),
        ("idle", "0.00000000", "2.00000000"),
        ("unmeasured", "0.00000000", "0.00000000"),
        ("unavailable", "0.00000000", "0.00000000"),
    ] {
        assert_eq!(dollars(POD, &[("pod", "a"), ("state", state)]), of_a, "{state}");
        assert_eq!(dollars(POD, &[("pod", "b"), ("state", state)]), of_b, "{state}");
    }
    assert_eq!(dollars(POD, &[]), "4.00000000");
    assert_eq!(dollars(DEVICE, &[("state", "unallocated")]), "4.00000000");
    assert_eq!(dollars(BURST, &[("pod", "a")]), "0.40000000");
    assert_eq!(dollars(BURST, &[("pod", "b")]), "0.00000000");
    assert_eq!(to.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
    assert_eq!(to.value(FOREIGN, &[]), Some(0.0));
    assert!(daemon.log().contains("is told by its processes"), "{}", daemon.log());
}

#[test]
fn without_the_hosts_processes_work_is_divided_in_equal_parts() {
    let shared = Shared::new(40, &[(101, 40)]);
    fs::remove_dir_all(shared.node.path("proc")).unwrap();
    let daemon = shared.start();
    let scrape = await_division(&daemon, "equal_parts", [0.8, 0.8]);
    assert_eq!(scrape.values(FOREIGN, &[]), [0.0; 0]);
    assert!(daemon.wait_for_log("equal parts").contains("proc/2/stat"));
}

#[test]
fn the_processes_of_a_container_are_not_taken_for_the_hosts() {
    let shared = Shared::new(40, &[(101, 40)]);
    shared.procfs.run(2, "sh", 1, "0::/");
    shared.procfs.run(101, "python3", 1, &home(A));
    let daemon = shared.start();
    await_division(&daemon, "equal_parts", [0.8, 0.8]);
    assert!(daemon.wait_for_log("equal parts").contains("mount the host's /proc"));
}

#[test]
fn work_of_a_process_in_no_pod_is_foreign() {
    let shared = Shared::new(40, &[(101, 10), (55, 30)]);
    shared.procfs.run(101, "python3", 1, &home(A));
    shared.procfs.run(55, "Xorg", 1, "0::/../../../../system.slice/gdm.service");
    let daemon = shared.start();
    let scrape = await_division(&daemon, "processes", [0.4, 0.0]);
    assert_eq!(scrape.value(FOREIGN, &[]), Some(0.3));
}

#[test]
fn the_server_of_mps_is_neither_billed_nor_foreign() {
    let shared = Shared::new(30, &[(60, 25), (101, 10), (102, 20)]);
    shared.procfs.run(60, "nvidia-cuda-mps", 1, &home(MPS));
    shared.procfs.run(101, "python3", 1, &home(A));
    shared.procfs.run(102, "python3", 1, &home(B));
    shared.server.apply(&fake_apiserver::pod("gpu-operator", "mps-control-daemon", MPS, &[]));
    let daemon = shared.start();
    let scrape = await_division(&daemon, "processes", [0.4, 0.8]);
    assert_eq!(scrape.value(FOREIGN, &[]), Some(0.0));
    assert_eq!(scrape.values(POD, &[("pod", "mps-control-daemon")]), [0.0; 0]);
    // Where the driver sees the server alone, nobody can tell its clients apart.
    shared.set(30, &[(60, 30)]);
    let scrape = await_division(&daemon, "equal_parts", [0.6, 0.6]);
    assert_eq!(scrape.values(FOREIGN, &[]), [0.0; 0]);
}

#[test]
fn a_number_that_another_process_has_got_is_that_ones() {
    let shared = Shared::new(20, &[(101, 20)]);
    shared.procfs.run(101, "python3", 1, &home(A));
    let daemon = shared.start();
    await_division(&daemon, "processes", [0.8, 0.0]);
    shared.procfs.run(101, "python3", 2, &home(B));
    await_division(&daemon, "processes", [0.0, 0.8]);
    // Whoever has the number now was not there when the work was done: a century after boot is always later.
    shared.procfs.run(101, "python3", 3_000_000_000, &home(A));
    let scrape = await_division(&daemon, "equal_parts", [0.4, 0.4]);
    assert_eq!(scrape.values(FOREIGN, &[]), [0.0; 0]);
}

#[test]
fn work_that_may_be_any_holders_is_divided_in_equal_parts_until_it_is_known() {
    let shared = Shared::new(20, &[(101, 10), (102, 10)]);
    shared.procfs.run(101, "python3", 1, &home(A));
    shared.procfs.run(102, "python3", 1, &home(MPS));
    let daemon = shared.start();
    let scrape = await_division(&daemon, "equal_parts", [0.4, 0.4]);
    assert_eq!(scrape.values(FOREIGN, &[]), [0.0; 0]);
    // Somebody describes the pod: it holds nothing here.
    shared.server.apply(&fake_apiserver::pod("ml", "stranger", MPS, &[]));
    let scrape = await_division(&daemon, "processes", [0.4, 0.0]);
    assert_eq!(scrape.value(FOREIGN, &[]), Some(0.1));
    // A process that has ended is still known by what it was; one that was never seen is not.
    shared.procfs.end(101);
    shared.set(10, &[(101, 10)]);
    await_division(&daemon, "processes", [0.4, 0.0]);
    shared.set(20, &[(101, 10), (103, 10)]);
    await_division(&daemon, "equal_parts", [0.4, 0.4]);
}
