//! The driver is let go for those who need it for themselves, and its GPUs are charged on.

use std::fs;

use fake_nvml::{Board, Node};

use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::FakeApiServer;
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;

const POD: &str = "gpu_cost_pod_dollars_total";

/// A busy GPU that a pod holds.
fn busy() -> FakeNode {
    let node = FakeNode::new(&Node::new([Board::a100_80gb(0).busy(60)]));
    node.kubelet.list(vec![pod("research", "trainer", "nvidia.com/gpu", &[&uuid(0)])]);
    node
}

/// Whether the process holds a device of the driver open: what stands for one in the fake.
fn holds_driver(daemon: &Daemon) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    open.filter_map(|file| fs::read_link(file.ok()?.path()).ok()).any(|path| path.ends_with("full"))
}

fn money(scrape: &Scrape, state: &str) -> f64 {
    scrape.sum(POD, &[("state", state)])
}

fn is_up(scrape: &Scrape) -> bool {
    scrape.value("gpu_cost_exporter_source_up", &[("source", "nvml")]) == Some(1.0)
}

/// Waits until the driver is held and its pod is charged for work.
fn works(daemon: &Daemon) -> f64 {
    let used =
        |scrape: &Scrape| (is_up(scrape) && money(scrape, "used") > 0.0).then(|| money(scrape, "used"));
    let used = daemon.scrape_until("work", used);
    assert!(holds_driver(daemon));
    used
}

/// Waits until the driver is let go, and sees its pod charged on as unmeasured.
fn charges_on(daemon: &Daemon) {
    eventually("the devices to be closed", || (!holds_driver(daemon)).then_some(()));
    let before = daemon.scrape_until("the source to be down", |scrape| {
        (!is_up(scrape)).then(|| money(scrape, "unmeasured"))
    });
    daemon.scrape_until("money while the driver is away", |scrape| {
        (money(scrape, "unmeasured") > before).then_some(())
    });
    assert_eq!(daemon.scrape().value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
    assert_eq!(daemon.get("/-/ready").status, 200, "it is no reason to restart it");
}

#[test]
fn on_request_and_until_it_is_taken_again() {
    let node = busy();
    let daemon = node.start(&[]).ready();
    let used = works(&daemon);
    daemon.signal("USR1");
    charges_on(&daemon);
    let page = daemon.get("/").text().to_owned();
    assert!(page.contains("the driver is released on SIGUSR1 for another"), "{page}");
    daemon.signal("USR2");
    daemon.scrape_until("work again", |scrape| (money(scrape, "used") > used).then_some(()));
    works(&daemon);
}

#[test]
fn while_the_nodes_labels_say_that_the_gpus_are_paused() {
    let node = busy();
    let server = FakeApiServer::start();
    let label = |value| server.label_node(&[("nvidia.com/gpu.deploy.device-plugin", value)]);
    label("true");
    let daemon = node.start(&[&flag("--kubernetes.kubeconfig", &server.kubeconfig())]).ready();
    let used = works(&daemon);
    label("paused-for-mig-change");
    charges_on(&daemon);
    daemon.wait_for_log("nvidia.com/gpu.deploy.device-plugin=paused-for-mig-change");
    label("true");
    daemon.scrape_until("work again", |scrape| (money(scrape, "used") > used).then_some(()));
    works(&daemon);
}
