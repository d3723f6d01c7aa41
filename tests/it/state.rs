//! The ledger on disk, through the built binary: nothing is lost when it is killed, nothing wrong is gone on with, and a
//! disk that fails stops nothing.

mod mounts;
mod suspended;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use fake_nvml::{Board, Node};
use gpu_cost_exporter::clock;
use gpu_cost_exporter::observation::Span;

use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::scrape::Scrape;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const SECONDS: &str = "gpu_cost_device_seconds_total";
const POD: &str = "gpu_cost_pod_dollars_total";
const START: &str = "gpu_cost_ledger_start_timestamp_seconds";
const UP: &str = "gpu_cost_exporter_source_up";
const WRITES: &str = "gpu_cost_exporter_state_writes_total";
const ERRORS: &str = "gpu_cost_exporter_state_write_errors_total";
const RECOVERED: &str = "gpu_cost_ledger_recovered_seconds_total";

const GPU: &str = "nvidia.com/gpu";

/// A node with two GPUs, one of which a pod holds.
fn node() -> FakeNode {
    let node = FakeNode::new(&Node::new([Board::t4(0).busy(50), Board::t4(1)]));
    node.kubelet.list(vec![pod("ml", "job", GPU, &[&uuid(0)])]);
    node
}

/// Starts the exporter with its ledger in the node's `state`.
fn start(node: &FakeNode, args: &[&str]) -> Daemon {
    let state = flag("--state.dir", &state(node));
    node.start(&[&[state.as_str()], args].concat())
}

fn state(node: &FakeNode) -> PathBuf {
    node.path("state")
}

/// Waits until the pod was charged something, and the state was written.
fn charged(daemon: &Daemon) -> Scrape {
    daemon.scrape_until("money", |scrape| {
        let kept = scrape.value(UP, &[("source", "state_file")]) == Some(1.0);
        (kept && scrape.sum(POD, &[]) > 0.0).then(|| scrape.clone())
    })
}

/// No counter of the ledger is lower than before. The exporter's own count since it was started.
fn assert_no_lower(before: &Scrape, after: &Scrape) {
    let own = |name: &str| name.starts_with("gpu_cost_exporter_");
    let now: BTreeMap<_, _> = after.counters().collect();
    for (series, value) in before.counters().filter(|((name, _), _)| !own(name)) {
        let later = now.get(series);
        assert!(later.is_some_and(|later| *later >= value), "{series:?}: {value}, then {later:?}");
    }
    assert_eq!(before.value(START, &[]), after.value(START, &[]));
    assert_eq!(after.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

#[test]
fn nothing_that_was_scraped_is_lost_when_it_is_killed() {
    let node = node();
    let mut daemon = start(&node, &["--sample.interval=20ms"]).ready();
    let mut before = charged(&daemon);
    let first = before.clone();
    for round in 0..25_u32 {
        // It is killed a few scrapes after its start, at whatever it is doing then.
        for _ in 0..round % 7 {
            before = daemon.scrape();
        }
        daemon.kill();
        daemon = start(&node, &["--sample.interval=20ms"]).ready();
        let after = daemon.scrape();
        assert_no_lower(&before, &after);
        before = after;
    }
    // All the time is there, on each of the GPUs alike: none was unobserved, and the gaps were recovered.
    let last = daemon.scrape();
    let seconds = |scrape: &Scrape, n| scrape.sum(SECONDS, &[("gpu_uuid", &uuid(n))]);
    assert!((seconds(&last, 0) - seconds(&last, 1)).abs() < 1e-6);
    assert!(last.sum("gpu_cost_ledger_unobserved_seconds_total", &[]) < 1e-9);
    assert!(last.sum(RECOVERED, &[]) > first.sum(RECOVERED, &[]));
    let rate = last
        .value("gpu_cost_device_price_dollars_per_hour", &[("gpu_uuid", &uuid(1)), ("basis", "effective")]);
    let bill = last.sum(DEVICE, &[("gpu_uuid", &uuid(1))]);
    assert!((bill - rate.unwrap() * seconds(&last, 1) / 3_600.0).abs() < 1e-9);
    // Gaps are nobody's idleness.
    assert!(last.sum(POD, &[("state", "unmeasured")]) > 0.0);
    let unattributed =
        |scrape: &Scrape| scrape.sum(DEVICE, &[("gpu_uuid", &uuid(0)), ("state", "unattributed")]);
    assert!((unattributed(&last) - unattributed(&first)).abs() < 1e-12);
}

#[test]
fn a_second_daemon_waits_until_the_first_has_ended() {
    let node = node();
    let first = start(&node, &[]).ready();
    charged(&first);
    let second = start(&node, &[]);
    second.wait_for_log("another gpu-cost-exporter keeps its ledger there");
    let ready = eventually("the reason", || {
        let ready = second.get("/-/ready");
        ready.text().contains("state_file").then_some(ready)
    });
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("another gpu-cost-exporter keeps its ledger there"), "{}", ready.text());
    assert!(second.get("/").text().contains("another gpu-cost-exporter keeps its ledger there"));
    let waiting = second.scrape();
    assert_eq!(
        (waiting.values(DEVICE, &[]).len(), waiting.value(UP, &[("source", "state_file")])),
        (0, Some(0.0))
    );
    assert!(has_cloexec(first.pid(), "lock"), "no child of the first could keep the lock");
    let before = first.scrape();
    assert!(first.terminate().0.success());
    let second = second.ready();
    assert_no_lower(&before, &second.scrape());
}

/// Whether the process has the file open, and would close it in another program.
fn has_cloexec(pid: u32, name: &str) -> bool {
    const CLOEXEC: u32 = 0o2_000_000;
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target.ends_with(name));
    let number = files.into_iter().find(is_it).expect("the lock is open");
    let info = format!("/proc/{pid}/fdinfo/{}", number.file_name().unwrap().to_str().unwrap());
    let info = fs::read_to_string(info).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    u32::from_str_radix(flags, 8).unwrap() & CLOEXEC != 0
}

#[test]
fn a_damaged_state_is_set_aside_and_a_new_ledger_begins() {
    let node = node();
    let daemon = start(&node, &[]).ready();
    let before = charged(&daemon);
    daemon.terminate();
    for file in ["ledger.json", "ledger.journal.0", "ledger.journal.1"] {
        let path = state(&node).join(file);
        if path.exists() {
            fs::write(path, "gpu-cost-exporter state 1 and nonsense\n").unwrap();
        }
    }
    let daemon = start(&node, &[]).ready();
    daemon.wait_for_log("a new ledger begins, and every counter with it at 0");
    let after = charged(&daemon);
    assert!(after.value(START, &[]) > before.value(START, &[]));
    assert!(state(&node).join("ledger.json.set-aside-1").exists());
}

#[test]
fn another_nodes_ledger_is_not_gone_on_with() {
    let node = node();
    let daemon = start(&node, &[]).ready();
    let before = charged(&daemon);
    daemon.terminate();
    let daemon = start(&node, &["--node.name=another-node"]).ready();
    daemon.wait_for_log("it is the ledger of node test-node in mode node");
    assert!(charged(&daemon).value(START, &[]) > before.value(START, &[]));
}

#[test]
fn the_demo_goes_on_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let state = flag("--state.dir", place.path());
    let start = || Daemon::start(&["--demo", "--sample.interval=100ms", &state]).ready();
    let daemon = start();
    let before =
        daemon.scrape_until("money", |scrape| (scrape.sum(DEVICE, &[]) > 0.0).then(|| scrape.clone()));
    daemon.kill();
    assert_no_lower(&before, &start().scrape());
}

#[test]
fn a_directory_that_cannot_be_written_stops_nothing() {
    let node = node();
    // Not even root can make a directory where a file is.
    fs::write(state(&node), "in the way").unwrap();
    let daemon = start(&node, &[]).ready();
    let line = daemon.wait_for_log("the ledger is not kept in");
    assert!(line.contains("a new ledger begins") || line.contains("state_file"), "{line}");
    let down = daemon.scrape_until("money without a directory", |scrape| {
        (scrape.sum(POD, &[]) > 0.0 && scrape.sum(ERRORS, &[]) > 2.0).then(|| scrape.clone())
    });
    assert_eq!(down.value(UP, &[("source", "state_file")]), Some(0.0));
    assert!(daemon.get("/").text().contains("The ledger is not kept on disk."));
    assert_eq!(daemon.get("/-/ready").status, 200);
    // It comes back by itself.
    fs::remove_file(state(&node)).unwrap();
    let up = charged(&daemon);
    assert!(up.sum(WRITES, &[]) > 0.0);
    daemon.kill();
    assert_no_lower(&up, &start(&node, &[]).ready().scrape());
}

/// Puts something in the place of both slots of which every write says that there is no room.
fn fill_the_disk(node: &FakeNode) {
    for name in ["ledger.journal.0", "ledger.journal.1"] {
        let full = node.path("full");
        symlink("/dev/full", &full).unwrap();
        fs::rename(full, state(node).join(name)).unwrap();
    }
}

#[test]
fn a_full_disk_stops_nothing_and_is_told() {
    let node = node();
    let daemon = start(&node, &[]).ready();
    charged(&daemon);
    fill_the_disk(&node);
    daemon.wait_for_log("No space left on device");
    let down =
        daemon.scrape_until("an error", |scrape| (scrape.sum(ERRORS, &[]) > 3.0).then(|| scrape.clone()));
    let later = daemon.scrape_until("more money", |scrape| {
        (scrape.sum(POD, &[]) > down.sum(POD, &[])).then(|| scrape.clone())
    });
    assert_eq!(later.value(UP, &[("source", "state_file")]), Some(0.0));
    let told = daemon.log().lines().filter(|line| line.contains("No space left on device")).count();
    assert!(told <= 2, "{told} lines");
    for name in ["ledger.journal.0", "ledger.journal.1"] {
        fs::remove_file(state(&node).join(name)).unwrap();
    }
    let kept = charged(&daemon);
    daemon.kill();
    assert_no_lower(&kept, &start(&node, &[]).ready().scrape());
}

/// Puts a pipe in the place of a file: whoever opens it to write waits until somebody reads.
fn hang(node: &FakeNode, name: &str) {
    let pipe = node.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    fs::create_dir_all(state(node)).unwrap();
    fs::rename(pipe, state(node).join(name)).unwrap();
}

#[test]
fn what_was_scraped_survives_while_the_disk_takes_its_time_for_a_snapshot() {
    let node = node();
    hang(&node, "ledger.json.new");
    let mut daemon = start(&node, &["--sample.interval=20ms"]).ready();
    for _ in 0..5 {
        charged(&daemon);
        let before = daemon.scrape();
        daemon.kill();
        daemon = start(&node, &["--sample.interval=20ms"]).ready();
        assert_no_lower(&before, &daemon.scrape());
    }
}

#[test]
fn who_loses_its_directory_makes_and_locks_it_anew() {
    let node = node();
    let first = start(&node, &[]).ready();
    let before = charged(&first);
    fs::remove_dir_all(state(&node)).unwrap();
    eventually("a new directory", || state(&node).join("ledger.journal.0").exists().then_some(()));
    let second = start(&node, &[]);
    second.wait_for_log("another gpu-cost-exporter keeps its ledger there");
    assert_no_lower(&before, &first.scrape());
}

#[test]
fn a_hung_disk_delays_one_tick_and_neither_scrapes_nor_the_exit() {
    let node = node();
    let daemon = start(&node, &[]).ready();
    charged(&daemon);
    hang(&node, "ledger.journal.0");
    hang(&node, "ledger.journal.1");
    daemon.wait_for_log("the disk did not answer within 500 ms");
    let ticks = |scrape: &Scrape| scrape.value("gpu_cost_exporter_ticks_total", &[]).unwrap();
    let (hung, asked) = (daemon.scrape(), clock::uptime());
    daemon.scrape_until("ticks", |scrape| (ticks(scrape) >= ticks(&hung) + 20.0).then_some(()));
    // A tick that waited for the disk would take half a second.
    let took = clock::uptime().since(asked);
    assert!(took < Span::from_secs(10), "{took:?}");
    let later = daemon.scrape();
    assert!(later.sum(POD, &[]) > hung.sum(POD, &[]));
    assert_eq!(later.value(UP, &[("source", "state_file")]), Some(0.0));
    let (status, log) = daemon.terminate();
    assert!(status.success() && !log.contains("did not end in time"), "{log}");
}

#[test]
fn what_a_power_loss_leaves_is_gone_on_with() {
    let node = node();
    let daemon = start(&node, &[]).ready();
    charged(&daemon);
    let kept = eventually("a snapshot", || fs::read(state(&node).join("ledger.json")).ok());
    daemon.kill();
    for name in ["ledger.journal.0", "ledger.journal.1"] {
        fs::write(state(&node).join(name), vec![0; kept.len()]).unwrap();
    }
    let daemon = start(&node, &[]).ready();
    assert!(daemon.wait_for_log("goes on").contains("the ledger in"));
    assert!(!daemon.log().contains("a new ledger begins"));
}

// === Shutdown ===

#[test]
fn the_last_values_are_served_for_the_grace() {
    let node = node();
    let daemon = start(&node, &["--shutdown.grace=60s"]).ready();
    let before = charged(&daemon);
    daemon.signal("TERM");
    daemon.wait_for_log("stopping on SIGTERM");
    let last = eventually("the last values", || {
        let first = daemon.scrape();
        (daemon.scrape().sum(SECONDS, &[]) <= first.sum(SECONDS, &[])).then_some(first)
    });
    assert_no_lower(&before, &last);
    assert_eq!(daemon.get("/-/ready").status, 503);
    assert!(daemon.get("/-/ready").text().contains("about to end"));
    assert_eq!(daemon.get("/-/healthy").status, 200);
    // The directory is free: whoever comes next goes on from the last values.
    let next = start(&node, &[]).ready();
    assert_no_lower(&last, &next.scrape());
    // Whoever insists does not wait.
    let (status, log) = daemon.terminate();
    assert!(status.success() && log.contains("stopping at once on SIGTERM"), "{log}");
}

#[test]
fn an_interrupt_needs_no_grace() {
    let node = node();
    let daemon = start(&node, &["--shutdown.grace=1h"]).ready();
    charged(&daemon);
    daemon.signal("INT");
    assert!(daemon.ended().0.success());
    assert!(state(&node).join("ledger.json").exists());
}

#[test]
fn it_ends_in_time_while_the_driver_hangs() {
    let node = node();
    let daemon = start(&node, &[]).ready();
    let before = charged(&daemon);
    node.set(&Node::new([Board::t4(0), Board::t4(1)]).hanging("*"));
    daemon.scrape_until("it hangs", |scrape| {
        (scrape.value(UP, &[("source", "nvml")]) == Some(0.0)).then_some(())
    });
    let (status, log) = daemon.terminate();
    assert!(status.success() && !log.contains("did not end in time"), "{log}");
    node.set(&Node::new([Board::t4(0).busy(50), Board::t4(1)]));
    assert_no_lower(&before, &start(&node, &[]).ready().scrape());
}

#[test]
fn a_pod_keeps_its_line_while_the_api_server_is_away() {
    let node = node();
    let mut server = FakeApiServer::start();
    server.apply(&fake_apiserver::pod("ml", "job", "uid-of-job", &[("team", "ml")]));
    let kubeconfig = flag("--kubernetes.kubeconfig", &server.kubeconfig());
    let daemon = start(&node, &[&kubeconfig]).ready();
    let before = daemon.scrape_until("money of the team", |scrape| {
        (scrape.sum(POD, &[("pod_uid", "uid-of-job")]) > 0.0).then(|| scrape.clone())
    });
    daemon.kill();
    server.die();
    let daemon = start(&node, &[&kubeconfig]).ready();
    let grown = daemon.scrape_until("more money of it", |scrape| {
        let labels = &[("pod_uid", "uid-of-job")];
        (scrape.sum(POD, labels) > before.sum(POD, labels)).then(|| scrape.clone())
    });
    assert_no_lower(&before, &grown);
    assert_eq!(grown.label("gpu_cost_pod_info", "pod_uid"), ["uid-of-job"]);
}

#[test]
fn without_a_directory_nothing_is_written() {
    let node = node();
    let daemon = node.start(&[]).ready();
    let scrape = daemon.scrape();
    assert_eq!(scrape.values(WRITES, &[]).len(), 0);
    assert_eq!(scrape.values(UP, &[("source", "state_file")]).len(), 0);
    assert!(!state(&node).exists());
}
