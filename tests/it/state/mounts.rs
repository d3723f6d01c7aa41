//! Disks as they really fail: what is mounted refuses, and the program has its own view of what is mounted.

use std::path::Path;

use super::*;
use crate::support::daemon::binary_with_mounts;

/// Starts the exporter with its ledger in the node's `state`, on which this was mounted: `$1` is the directory.
fn start_on(node: &FakeNode, mounting: &str) -> Daemon {
    fs::create_dir_all(state(node)).unwrap();
    let binary = binary_with_mounts(mounting, &state(node));
    node.start_as(binary, &[&flag("--state.dir", &state(node))]).ready()
}

/// The directory as the daemon sees it.
fn seen_by(daemon: &Daemon, node: &FakeNode) -> PathBuf {
    let path = state(node);
    Path::new("/proc").join(daemon.pid().to_string()).join("root").join(path.strip_prefix("/").unwrap())
}

/// Waits until it is told, once, that the ledger is not kept and why, while the money goes on.
fn goes_on_without(daemon: &Daemon, why: &str) -> Scrape {
    daemon.wait_for_log(why);
    let down = daemon.scrape_until("errors", |scrape| {
        let is_down = scrape.value(UP, &[("source", "state_file")]) == Some(0.0);
        (is_down && scrape.sum(ERRORS, &[]) > 2.0).then(|| scrape.clone())
    });
    let later = daemon.scrape_until("more money", |scrape| {
        (scrape.sum(POD, &[]) > down.sum(POD, &[])).then(|| scrape.clone())
    });
    assert_eq!(later.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
    assert_eq!(daemon.get("/-/ready").status, 200);
    assert!(daemon.get("/").text().contains("The ledger is not kept on disk."));
    let told = daemon.log().lines().filter(|line| line.contains(why)).count();
    assert!(told <= 2, "{told} lines");
    later
}

#[test]
fn a_read_only_directory_is_gone_on_from_and_its_loss_is_told() {
    let node = node();
    let daemon = start(&node, &[]).ready();
    let before = charged(&daemon);
    daemon.kill();
    let daemon = start_on(&node, "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"");
    assert_no_lower(&before, &daemon.scrape());
    goes_on_without(&daemon, "Read-only file system");
    daemon.mount(&["-o", "remount,bind,rw"], &state(&node));
    let kept = charged(&daemon);
    assert!(kept.sum(WRITES, &[]) > 0.0);
    daemon.kill();
    assert_no_lower(&kept, &start(&node, &[]).ready().scrape());
}

#[test]
fn a_disk_without_room_is_told_and_what_is_there_is_kept_up() {
    let node = node();
    let small = "mount -t tmpfs -o size=64k tmpfs \"$1\"; head -c 1M /dev/zero >\"$1/filler\" 2>&1 || true";
    let daemon = start_on(&node, small);
    let seen = seen_by(&daemon, &node);
    goes_on_without(&daemon, "No space left on device");
    fs::remove_file(seen.join("filler")).unwrap();
    charged(&daemon);
    eventually("all files", || {
        let there = ["ledger.json", "ledger.journal.0", "ledger.journal.1"].map(|file| seen.join(file));
        there.iter().all(|file| file.exists()).then_some(())
    });

    // What is written in place needs no room; the next snapshot does.
    assert!(fs::write(seen.join("filler"), vec![0; 1 << 20]).is_err());
    goes_on_without(&daemon, "write ledger.json: No space left on device");
    let slot = || fs::read(seen.join("ledger.journal.0")).unwrap();
    let full = slot();
    eventually("the journal", || (slot() != full).then_some(()));
    fs::remove_file(seen.join("filler")).unwrap();
    charged(&daemon);
}
