//! GPUs that break and heal: what the driver says of them, and who pays meanwhile.

use fake_nvml::{Board, Node};
use gpu_cost_exporter::observation::{Fault, Gpu, Health};

use crate::support::daemon::Daemon;
use crate::support::fake_kubelet::pod;
use crate::support::node::{FakeNode, uuid};
use crate::support::read_driver::ReadDriver;
use crate::support::scrape::Scrape;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const POD: &str = "gpu_cost_pod_dollars_total";

const WELL: Health = Health::Healthy;
const XID: Health = Health::Unavailable(Fault::Xid);
const RESET_REQUIRED: Health = Health::Unavailable(Fault::ResetRequired);

/// An A100 whose energy counter stands at so many millijoules, with nothing running on it.
fn board(millijoules: u64) -> Board {
    Board::a100_80gb(0).busy(0).at_energy(millijoules)
}

/// A node with this board and another one that is well.
fn beside(board: Board) -> Node {
    Node::new([board, Board::t4(1).busy(50)])
}

fn healths(gpus: &[Gpu]) -> Vec<Health> {
    gpus.iter().map(|gpu| gpu.health).collect()
}

// === What the driver says ===

#[test]
fn after_a_fatal_error_a_gpu_is_out_until_its_energy_counter_begins_anew() {
    let mut driver = ReadDriver::new(&beside(board(5_000)));
    assert_eq!(healths(&driver.gpus()), [WELL, WELL]);
    let broken = |millijoules| beside(board(millijoules).failing(62));
    let gpus = driver.after(&broken(6_000));
    assert_eq!(healths(&gpus), [XID, WELL]);
    assert_eq!(gpus[0].xids.len(), 1);
    assert_eq!(gpus[0].energy_millijoules, Some(6_000), "what it still measures is told");
    for tick in 0..100 {
        assert_eq!(healths(&driver.after(&broken(6_000 + tick))), [XID, WELL]);
    }
    assert_eq!(driver.fake.calls("nvmlShutdown"), 0, "opening the library again does nothing for it");
    assert_eq!(healths(&driver.after(&broken(10))), [WELL, WELL]);
    assert_eq!(healths(&driver.after(&broken(20))), [WELL, WELL]);
    assert_eq!(healths(&driver.after(&beside(board(30).failing(62).failing(95)))), [XID, WELL], "once more");
}

#[test]
fn work_after_a_fatal_error_shows_that_the_gpu_works() {
    let mut driver = ReadDriver::new(&beside(board(1)));
    driver.tick();
    let broken = Board { utilization: fake_nvml::Utilization::Rate(0), ..board(1).failing(48) };
    assert_eq!(healths(&driver.after(&beside(broken.clone()))), [XID, WELL]);
    let busy = Board { utilization: fake_nvml::Utilization::Rate(80), ..broken };
    for _ in 0..4 {
        assert_eq!(healths(&driver.after(&beside(busy.clone()))), [XID, WELL], "it may be work from before");
    }
    assert_eq!(healths(&driver.gpus()), [WELL, WELL]);
}

#[test]
fn an_error_of_a_program_breaks_no_gpu() {
    let faults = [8, 13, 31, 43, 45, 63, 68, 69, 74, 94, 109, 154];
    let board = faults.into_iter().fold(board(1), Board::failing);
    let mut driver = ReadDriver::new(&beside(board));
    let gpus = driver.gpus();
    assert_eq!(healths(&gpus), [WELL, WELL]);
    assert_eq!(gpus[0].xids.len(), faults.len());
}

#[test]
fn a_gpu_that_was_lost_after_a_fatal_error_was_reset_when_it_is_back() {
    let broken = || board(1).failing(79);
    let mut driver = ReadDriver::new(&beside(board(1)));
    driver.tick();
    assert_eq!(healths(&driver.after(&beside(broken()))), [XID, WELL]);
    let lost = Health::Unavailable(Fault::Lost);
    assert_eq!(healths(&driver.after(&beside(broken().returning("*", 15)))), [lost, WELL]);
    // An error that it reports now is of the time before.
    assert_eq!(healths(&driver.after(&beside(broken().failing(79)))), [WELL, WELL]);

    assert_eq!(healths(&driver.after(&beside(broken().failing(79).failing(79)))), [XID, WELL]);
    let without = Node::new([Board::t4(1).busy(50)]);
    let missing = Health::Unavailable(Fault::Missing);
    let mut gone = healths(&driver.after(&without));
    gone.sort_by_key(|health| *health == WELL);
    assert_eq!(gone, [missing, WELL]);
    assert_eq!(healths(&driver.after(&beside(broken().failing(79).failing(79)))), [WELL, WELL]);
}

#[test]
fn a_fatal_error_outlives_the_library_and_ends_with_the_driver() {
    let node = |other: Board| Node::new([board(1).failing(119), other]);
    let mut driver = ReadDriver::new(&Node::new([board(1), Board::t4(1)]));
    driver.tick();
    // The other one stays lost, so that the library is opened again.
    driver.fake.set(&node(Board::t4(1).returning("*", 15)));
    for _ in 0..70 {
        assert_eq!(healths(&driver.gpus())[0], XID);
    }
    assert_eq!(driver.fake.calls("nvmlInitWithFlags"), 2);
    assert_eq!(healths(&driver.after(&Node { loads: 2, ..node(Board::t4(1)) })), [WELL, WELL]);
}

#[test]
fn where_the_driver_says_what_is_to_be_done_its_word_decides() {
    let node = |action, xids: &[u64]| {
        let board = xids.iter().fold(board(1), |board, xid| board.failing(*xid));
        beside(board.advising(action))
    };
    let mut driver = ReadDriver::new(&node(0, &[]));
    assert_eq!(healths(&driver.gpus()), [WELL, WELL]);
    // A fatal error from which it has recovered by itself, an error that it calls fatal although we do not.
    assert_eq!(healths(&driver.after(&node(0, &[48]))), [WELL, WELL]);
    assert_eq!(healths(&driver.after(&node(1, &[48, 154]))), [RESET_REQUIRED, WELL]);
    for action in [1, 2, 4] {
        assert_eq!(healths(&driver.after(&node(action, &[48, 154]))), [RESET_REQUIRED, WELL]);
    }
    for action in [3, 0] {
        assert_eq!(healths(&driver.after(&node(action, &[48, 154]))), [WELL, WELL]);
    }
    let asked = driver.fake.calls("nvmlDeviceGetFieldValues");
    (0..10).for_each(|_| drop(driver.tick()));
    assert_eq!(driver.fake.calls("nvmlDeviceGetFieldValues"), asked, "what is well is not asked each second");

    // Without an event it is found when GPUs are looked for.
    driver.fake.set(&node(2, &[48, 154]));
    let found = (0..61).any(|_| healths(&driver.gpus())[0] == RESET_REQUIRED);
    assert!(found);
    assert_eq!(driver.fake.calls("nvmlShutdown"), 0);
}

#[test]
fn a_gpu_that_asks_for_a_reset_may_do_so_by_any_call() {
    let mut driver = ReadDriver::new(&beside(board(1).failing(95)));
    driver.tick();
    assert_eq!(
        healths(&driver.after(&beside(board(1).failing(95).returning("*", 16)))),
        [RESET_REQUIRED, WELL]
    );
    assert_eq!(healths(&driver.after(&beside(board(1).failing(95)))), [WELL, WELL]);
}

// === Who pays ===

fn of(scrape: &Scrape, pod: &str, state: &str) -> f64 {
    scrape.sum(POD, &[("pod", pod), ("state", state)])
}

/// Waits until a pod is charged more in a state than it was in `before`.
fn grows(daemon: &Daemon, before: &Scrape, pod: &str, state: &str) -> Scrape {
    daemon.scrape_until(&format!("more {state} money of {pod}"), |scrape| {
        (of(scrape, pod, state) > of(before, pod, state)).then(|| scrape.clone())
    })
}

/// A GPU at work breaks: its holder keeps it and its money goes to `unavailable`, its neighbour notices nothing. Then it
/// is well again.
fn check(broken: impl FnOnce(Board) -> Option<Board>, healed: impl FnOnce(Board) -> Board, said: &str) {
    check_from(&Board::a100_80gb(0).busy(60).at_energy(9_000), broken, healed, said);
}

fn check_from(
    board: &Board,
    broken: impl FnOnce(Board) -> Option<Board>,
    healed: impl FnOnce(Board) -> Board,
    said: &str,
) {
    let first = || board.clone();
    let other = || Board::t4(1).busy(50);
    let node = FakeNode::new(&Node::new([first(), other()]));
    node.kubelet.list(vec![
        pod("ml", "trainer", "nvidia.com/gpu", &[&uuid(0)]),
        pod("ml", "neighbour", "nvidia.com/gpu", &[&uuid(1)]),
    ]);
    let daemon = node.start(&[]).ready();
    daemon.scrape_until("work", |scrape| {
        ["trainer", "neighbour"].iter().all(|pod| of(scrape, pod, "used") > 0.0).then_some(())
    });

    node.set(&Node::new(broken(first()).into_iter().chain([other()])));
    let start = daemon.scrape_until("unavailable money", |scrape| {
        (of(scrape, "trainer", "unavailable") > 0.0).then(|| scrape.clone())
    });
    let scrape = grows(&daemon, &start, "trainer", "unavailable");
    let scrape = grows(&daemon, &scrape, "neighbour", "used");
    assert_eq!(of(&scrape, "neighbour", "unavailable").to_string(), "0");
    for state in ["used", "underused", "idle", "unmeasured"] {
        let spent = of(&scrape, "trainer", state) - of(&start, "trainer", state);
        assert!(spent.abs() < 1e-12, "{spent} dollars of the broken GPU are {state}");
    }
    assert_eq!(scrape.value("gpu_cost_pod_gpus", &[("pod", "trainer")]), Some(1.0));
    let of_gpu = |state| scrape.sum(DEVICE, &[("gpu_uuid", &uuid(0)), ("state", state)]);
    assert!((of_gpu("unavailable") - of(&scrape, "trainer", "unavailable")).abs() < 1e-12);
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
    let page = daemon.get("/");
    assert!(page.text().contains(said) && page.text().contains("trainer"), "no {said:?} on the page");

    node.set(&Node::new([healed(first()), other()]));
    let scrape = grows(&daemon, &scrape, "trainer", "used");
    let later = grows(&daemon, &scrape, "trainer", "used");
    let spent = of(&later, "trainer", "unavailable") - of(&scrape, "trainer", "unavailable");
    assert!(spent.abs() < 1e-12, "it is back, and {spent} dollars more are unavailable");
    assert!(!daemon.get("/").text().contains(said));
    assert_eq!(later.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

#[test]
fn a_lost_gpu() {
    check(|board| Some(board.returning("*", 15)), |board| board, "Lost: it has fallen off the bus");
}

#[test]
fn a_gpu_in_reset() {
    check(|board| Some(board.returning("*", 16)), |board| board, "Needs a reset before it works again");
}

#[test]
fn a_gpu_that_gives_nothing_but_unknown_errors() {
    check(|board| Some(board.returning("*", 999)), |board| board, "Does not answer");
}

#[test]
fn a_gpu_that_the_system_takes_away() {
    check(|board| Some(board.returning("*", 17)), |board| board, "Does not answer");
}

#[test]
fn a_gpu_that_is_gone_from_the_bus() {
    check(|_| None, |board| board, "The driver no longer lists it");
}

#[test]
fn a_gpu_that_hangs() {
    check(|board| Some(board.hanging("nvmlDeviceGetPowerUsage")), |board| board, "Does not answer");
}

#[test]
fn a_gpu_with_a_fatal_error() {
    let said = "A critical error that only a reset heals";
    // At work it would show that it works.
    check(|board| Some(board.busy(0).failing(79)), |board| board.failing(79).at_energy(1), said);
}

#[test]
fn a_gpu_that_the_driver_wants_to_be_reset() {
    let newer_driver = Board::a100_80gb(0).busy(60).advising(0);
    check_from(
        &newer_driver,
        |board| Some(board.failing(95).advising(1)),
        |board| board.failing(95).advising(0),
        "Needs a reset before it works again",
    );
}

#[test]
fn a_program_that_fails_leaves_its_gpu_at_work() {
    let node = FakeNode::new(&Node::new([Board::t4(0).busy(50).failing(31).failing(43)]));
    node.kubelet.list(vec![pod("ml", "trainer", "nvidia.com/gpu", &[&uuid(0)])]);
    let daemon = node.start(&[]).ready();
    let scrape =
        daemon.scrape_until("work", |scrape| (of(scrape, "trainer", "used") > 0.0).then(|| scrape.clone()));
    assert_eq!(scrape.sum("gpu_cost_device_xid_errors_total", &[]).to_string(), "2");
    assert_eq!(of(&scrape, "trainer", "unavailable").to_string(), "0");
}
