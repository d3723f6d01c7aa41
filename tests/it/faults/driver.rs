//! The driver breaks.

use super::*;
use crate::support::daemon::eventually;

/// NVML's codes.
const NO_PERMISSION: u32 = 4;
const NOT_LOADED: u32 = 9;
const VERSION_MISMATCH: u32 = 18;

fn set(trial: &Trial, node: &Node) {
    trial.node.set(node);
}

fn mend(trial: &mut Trial) {
    set(trial, &Node::new(boards()));
}

fn with_first(board: Board) -> Node {
    Node::new([board, Board::a100_80gb(1).busy(0)])
}

#[test]
fn it_hangs_for_ever_in_one_gpu() {
    let signs = Signs { down: None, told: "hangs for", state: "unavailable" };
    let hangs = Board::a100_80gb(0).busy(60).hanging("*");
    Trial::start().withstands(&signs, |trial| set(trial, &with_first(hangs)), mend);
}

#[test]
fn it_hangs_for_ever_in_all_gpus() {
    let signs = Signs { down: Some("nvml"), told: "failed to", state: "unmeasured" };
    let hangs = Node::new(boards()).hanging("*");
    Trial::start().withstands(&signs, |trial| set(trial, &hangs), mend);
}

#[test]
fn it_hangs_from_the_first_call_on() {
    let trial = Trial::start_with(FakeNode::new(&Node::new(boards()).hanging("*")));
    not_ready(&trial, "get an answer from nvmlInitWithFlags for the driver, which hangs for");
    trial.node.set(&Node::new(boards()));
    comes_late(trial);
}

/// Waits until it is said why there is nothing to say.
fn not_ready(trial: &Trial, reason: &str) {
    eventually(reason, || {
        let answer = trial.daemon.get("/-/ready");
        (answer.status == 503 && answer.text().contains(reason)).then_some(())
    });
    assert_eq!(trial.daemon.get("/-/healthy").status, 200);
    assert_eq!(trial.daemon.scrape().value("gpu_cost_exporter_source_up", &[("source", "nvml")]), Some(0.0));
}

/// Sees the first work after all.
fn comes_late(mut trial: Trial) {
    trial.works();
    assert_adds_up(&trial.daemon.scrape());
    trial.scraper.was_served_promptly();
}

#[test]
fn another_version_of_it_is_loaded() {
    let signs = Signs { down: Some("nvml"), told: "different versions", state: "unmeasured" };
    let upgraded = Node::new(boards()).returning("*", VERSION_MISMATCH);
    Trial::start().withstands(&signs, |trial| set(trial, &upgraded), mend);
}

#[test]
fn it_is_unloaded_and_loaded_again() {
    let signs = Signs { down: Some("nvml"), told: "not loaded", state: "unmeasured" };
    let unloaded = Node::new(boards()).returning("*", NOT_LOADED);
    let loaded = Node { loads: 2, ..Node::new(boards()) };
    Trial::start().withstands(&signs, |trial| set(trial, &unloaded), |trial| set(trial, &loaded));
}

#[test]
fn its_library_comes_late() {
    let trial = Trial::start_with(FakeNode::without_driver(&Node::new(boards())));
    not_ready(&trial, "--nvml.library");
    trial.node.install_driver();
    comes_late(trial);
}

#[test]
fn its_library_is_another_file() {
    let node = FakeNode::without_driver(&Node::new(boards()));
    std::fs::write(node.library(), "no library at all").unwrap();
    let trial = Trial::start_with(node);
    not_ready(&trial, "--nvml.library");
    std::fs::remove_file(trial.node.library()).unwrap();
    trial.node.install_driver();
    comes_late(trial);
}

#[test]
fn it_has_no_gpu_yet() {
    let trial = Trial::start_with(FakeNode::new(&Node::new([])));
    eventually("that it is said", || {
        let ready = trial.daemon.get("/-/ready");
        (ready.status == 503 && ready.text().contains("GPU")).then_some(())
    });
    trial.node.set(&Node::new(boards()));
    comes_late(trial);
}

#[test]
fn it_refuses_the_handles() {
    let signs = Signs { down: None, told: "permission", state: "unmeasured" };
    let refusing = Node::new(boards()).returning("nvmlDeviceGetHandleByIndex_v2", NO_PERMISSION);
    // Handles are asked for anew when the driver was loaded anew.
    let refusing = Node { loads: 2, ..refusing };
    let allowing = Node { loads: 3, ..Node::new(boards()) };
    Trial::start().withstands(&signs, |trial| set(trial, &refusing), |trial| set(trial, &allowing));
}

/// The one time that it ends by itself: a new container has the library of the new driver.
#[test]
fn another_version_of_it_is_loaded_for_good() {
    let node = FakeNode::new(&Node::new(boards()));
    node.kubelet.list(vec![pod("ml", "trainer", "nvidia.com/gpu", &[&uuid(0)])]);
    let state = flag("--state.dir", &node.path("state"));
    let daemon = node.start_with(&[&state], &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).ready();
    daemon.scrape_until("work", |scrape| (scrape.sum(POD, &[("state", "used")]) > 0.0).then_some(()));
    node.set(&Node::new(boards()).returning("*", VERSION_MISMATCH));
    // It waits for a minute, because most drivers that part from their library are only being loaded anew.
    daemon.scrape_until("half a minute without it", |scrape| {
        let seconds = scrape.sum("gpu_cost_pod_gpu_seconds_total", &[("state", "unmeasured")]);
        (seconds > 30.0).then_some(())
    });
    let before = daemon.scrape().sum(POD, &[]);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(75), "{log}");

    // In the new container nothing has ever worked: it stays, and goes on with the ledger.
    let daemon = node.start_with(&[&state], &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
    daemon.scrape_until("the ledger", |scrape| (scrape.sum(POD, &[]) >= before).then_some(()));
}

#[test]
fn a_gpu_is_taken_out() {
    let signs = Signs { down: None, told: "which the driver listed before", state: "unavailable" };
    let without = Node::new([Board::a100_80gb(1).busy(0)]);
    Trial::start().withstands(
        &signs,
        |trial| {
            set(trial, &without);
            let count = |scrape: &Scrape, kind| scrape.value("gpu_cost_node_gpus", &[("kind", kind)]);
            trial.daemon.scrape_until("one GPU less", |scrape| {
                (count(scrape, "expected") == Some(2.0) && count(scrape, "seen") == Some(1.0)).then_some(())
            });
        },
        mend,
    );
}
