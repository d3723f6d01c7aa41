//! Who worked: what the driver says of processes.

use std::collections::BTreeMap;

use fake_nvml::{ProcessSample, Processes};
use gpu_cost_exporter::observation::{Process, Worker};

use super::*;

const TIMEOUT: u32 = 10;
const ASK: &str = "nvmlDeviceGetProcessUtilization";

/// Samples of processes, each with its milliseconds after the epoch of the bench and its percent.
fn samples(samples: &[(u32, u64, u32)]) -> Processes {
    let sample = |&(pid, millis, percent): &(u32, u64, u32)| ProcessSample {
        pid,
        micros: (EPOCH_MILLIS + millis) * 1_000,
        percent,
    };
    Processes::Samples(samples.iter().map(sample).collect())
}

fn node(processes: Processes) -> Node {
    Node::new([Board { processes, ..Board::l4(0) }])
}

/// The processes that worked, with their millionths of the time; `None` where the driver cannot say.
fn worked(reading: &Reading) -> Option<Vec<(u32, u32)>> {
    let worked = |process: &Process| {
        assert_eq!((&process.worker, &process.mig_device), (&Worker::Unknown, &None));
        (process.pid, process.utilization.get())
    };
    only(reading).processes.as_deref().map(|processes| processes.iter().map(worked).collect())
}

#[test]
fn who_worked_since_the_last_tick_is_told_by_number() {
    let mut bench = Bench::new(&node(samples(&[(7, 900, 30), (8, 400, 10)])));
    let reading = bench.tick();
    assert_eq!(worked(&reading), Some(vec![(7, 300_000), (8, 100_000)]));
    let at = |millis| UnixTime::from_millis(EPOCH_MILLIS + millis);
    assert_eq!(reading.sampled, BTreeMap::from([(7, at(900)), (8, at(400))]));
    // What was told is not told again.
    let reading = bench.after(&node(samples(&[(7, 900, 30), (8, 400, 10), (8, 1_900, 50)])));
    assert_eq!(worked(&reading), Some(vec![(8, 500_000)]));
    assert_eq!(reading.sampled, BTreeMap::from([(8, at(1_900))]));
    assert!(reading.errors.is_empty(), "{}", said(&reading));
}

#[test]
fn a_process_on_two_gpus_was_there_when_either_saw_it_first() {
    let board = |n, processes| Board { processes, ..Board::l4(n) };
    let node = Node::new([board(0, samples(&[(7, 900, 30)])), board(1, samples(&[(7, 600, 30)]))]);
    let reading = Bench::new(&node).tick();
    assert_eq!(reading.sampled, BTreeMap::from([(7, UnixTime::from_millis(EPOCH_MILLIS + 600))]));
}

#[test]
fn an_idle_gpu_is_worked_on_by_nobody() {
    // The driver calls that "not found".
    let mut bench = Bench::new(&node(samples(&[])));
    let reading = bench.tick();
    assert_eq!((worked(&reading), reading.sampled.len()), (Some(vec![]), 0));
    assert!(reading.errors.is_empty(), "{}", said(&reading));
    let reading = bench.after(&node(samples(&[(7, 1_500, 30)])));
    assert_eq!(worked(&reading), Some(vec![(7, 300_000)]));
    // A sample period may be as long as a tick: nothing new for a moment is not idleness yet.
    let ticks: Vec<_> = (0..3).map(|_| worked(&bench.tick()).unwrap().len()).collect();
    assert_eq!(ticks, [1, 0, 0]);
}

#[test]
fn garbage_about_processes_is_dropped() {
    let garbage =
        |pid, millis, percent| ProcessSample { pid, micros: (EPOCH_MILLIS + millis) * 1_000, percent };
    let mut all: Vec<_> = (0..98).map(|n| garbage(4_000_000_000 + n, 800, u32::MAX - n)).collect();
    all.push(ProcessSample { pid: 9, micros: 0, percent: 50 });
    all.push(garbage(0, 800, 50));
    all.push(garbage(9, 90_000, 50));
    all.push(garbage(7, 800, 40));
    let mut bench = Bench::new(&node(Processes::Stubborn(all)));
    assert_eq!(worked(&bench.tick()), Some(vec![(7, 400_000)]));
    // A driver that does not care what was seen says nothing new, and is believed no longer than one that says nothing.
    let ticks: Vec<_> = (0..3).map(|_| worked(&bench.tick()).unwrap().len()).collect();
    assert_eq!(ticks, [1, 0, 0]);
}

#[test]
fn a_list_that_grows_while_it_is_asked_for_is_asked_for_again() {
    let board = |growth| Board {
        processes: samples(&[(7, 900, 30), (8, 900, 10)]),
        process_growth: growth,
        ..Board::l4(0)
    };
    let mut bench = Bench::new(&Node::new([board(3)]));
    assert_eq!(worked(&bench.tick()), Some(vec![(7, 300_000), (8, 100_000)]));
    assert_eq!(bench.fake.calls(ASK), 6);
    // One that grows for ever is left alone until the next tick, in which nothing of it is lost.
    let mut bench = Bench::new(&Node::new([board(8)]));
    let reading = bench.tick();
    assert_eq!((worked(&reading), only(&reading).health), (None, WELL));
    assert!(reading.errors.is_empty(), "{}", said(&reading));
    assert_eq!(worked(&bench.tick()), Some(vec![(7, 300_000), (8, 100_000)]));
}

#[test]
fn processes_that_cannot_be_read_are_not_asked_for_each_second() {
    for processes in [Processes::Unsupported, samples(&[(7, 900, 30)])] {
        let denied = matches!(processes, Processes::Samples(_));
        let board = Board { processes, ..Board::l4(0) };
        let board = if denied { board.returning(ASK, NO_PERMISSION) } else { board };
        let mut bench = Bench::new(&Node::new([board]));
        for _ in 0..5 {
            let reading = bench.tick();
            assert_eq!((worked(&reading), only(&reading).health), (None, WELL));
            assert!(reading.errors.is_empty() && reading.sampled.is_empty(), "{}", said(&reading));
        }
        assert_eq!(bench.fake.calls(ASK), 1);
    }
}

#[test]
fn a_driver_from_before_there_were_samples_of_processes_is_well() {
    let node = node(samples(&[(7, 900, 30)]));
    let mut bench = Bench::on(FakeDriver::without(&[ASK], &node));
    let reading = bench.tick();
    assert_eq!((worked(&reading), only(&reading).health), (None, WELL));
    assert!(reading.errors.is_empty(), "{}", said(&reading));
}

#[test]
fn a_failure_to_say_who_worked_lasts_for_a_tick() {
    for code in [UNKNOWN, TIMEOUT] {
        let well = node(samples(&[(7, 900, 30)]));
        let mut bench = Bench::new(&well.clone().returning(ASK, code));
        let reading = bench.tick();
        assert_eq!((worked(&reading), only(&reading).health), (None, WELL), "{code}");
        assert!(reading.errors.is_empty(), "{}", said(&reading));
        assert_eq!(worked(&bench.after(&well)), Some(vec![(7, 300_000)]), "{code}");
    }
}

#[test]
fn a_partitioned_gpu_is_not_asked_who_worked() {
    let processes = samples(&[(7, 900, 30)]);
    let board = Board { processes, ..Board::a100_80gb(0) };
    let cut = board.clone().cut(7, [Some(MigDevice::new(Profile::X80GB_3G, 1, 1))]);
    let mut bench = Bench::new(&Node::new([cut]));
    let reading = bench.tick();
    assert_eq!((worked(&reading), reading.sampled.len(), bench.fake.calls(ASK)), (None, 0, 0));
    // Whole again, it tells.
    assert_eq!(worked(&bench.after(&Node::new([board]))), Some(vec![(7, 300_000)]));
}

#[test]
fn nobody_is_asked_who_worked_when_nobody_wants_to_know() {
    let fake = FakeDriver::new(&node(samples(&[(7, 900, 30)])));
    let settings = Settings { library: Some(fake.library()), stall_after: DEADLINE, processes: false };
    let driver = Driver::start(settings);
    assert_eq!(worked(&read(&driver, EPOCH_MILLIS + 1_000, DEADLINE)), None);
    assert_eq!(fake.calls(ASK), 0);
}

#[test]
fn who_worked_in_a_reading_that_nobody_got_is_told_again() {
    let mut bench = Bench::new(&node(samples(&[(7, 900, 30)])));
    bench.tick();
    let next = node(samples(&[(8, 1_900, 50)]));
    bench.fake.set(&next.clone().hanging("nvmlEventSetWait_v2"));
    assert!(bench.tick_within(Duration::from_millis(50)).gpus.is_none());
    let reading = bench.after(&next);
    assert_eq!(worked(&reading), Some(vec![(8, 500_000)]));
}
