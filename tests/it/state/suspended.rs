//! The clock jumps while nobody looks, as it does when a node is suspended: the program has a clock of its own.

use super::*;
use crate::support::daemon::binary_with_clock;

const UNOBSERVED: &str = "gpu_cost_ledger_unobserved_seconds_total";

/// What is told before the exporter is killed, and after it is started again so many seconds later: never less.
fn away(seconds: u32) -> [Scrape; 2] {
    let node = node();
    let daemon = start(&node, &[]).ready();
    let before = charged(&daemon);
    daemon.kill();
    let daemon = node.start_as(binary_with_clock(seconds), &[&flag("--state.dir", &state(&node))]).ready();
    let after = charged(&daemon);
    assert_no_lower(&before, &after);
    [before, after]
}

#[test]
fn a_minute_and_a_half_away_is_charged_to_who_is_still_there() {
    let [_, after] = away(90);
    let recovered = after.sum(RECOVERED, &[("gpu_uuid", &uuid(0))]);
    assert!((90.0..100.0).contains(&recovered), "{recovered} s");
    // A T4 has a price of 0.526 $ an hour.
    let unmeasured = after.sum(POD, &[("state", "unmeasured")]);
    assert!((unmeasured - 0.526 * recovered / 3_600.0).abs() < 1e-3, "{unmeasured} $");
    assert!(after.sum(UNOBSERVED, &[]) < 1e-9);
}

#[test]
fn an_hour_of_suspend_is_charged_to_nobody_and_counted() {
    let [before, after] = away(3_600);
    let unobserved = after.sum(UNOBSERVED, &[("gpu_uuid", &uuid(1))]);
    assert!((3_600.0..3_610.0).contains(&unobserved), "{unobserved} s");
    let spent = after.sum(DEVICE, &[]) - before.sum(DEVICE, &[]);
    assert!((0.0..0.01).contains(&spent), "{spent} $ of an hour in which nobody looked");
}
