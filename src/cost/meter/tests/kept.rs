//! What outlives the program: a meter that goes on where another one stopped.

use proptest::prelude::*;

use super::properties::{Tick, counters, observations, sheet, ticks};
use super::*;
use crate::observation::CostLabels;

impl Rig {
    /// Stops the program and starts it anew, with other prices than those that were in force.
    fn restart(&mut self, prices: Arc<PriceSheet>) -> &mut Self {
        let kept = self.meter.kept().unwrap();
        assert!(kept.ledger.is_sound());
        self.meter = Meter::resume(policy(), prices, kept);
        self
    }
}

fn a100s_at(cents: u64) -> Arc<PriceSheet> {
    prices(&[("nvidia-a100-80gb", cents)])
}

#[test]
fn a_restart_is_a_gap_however_short() {
    let mut rig = node(4);
    rig.hold("stays", &[whole("GPU-0")]).hold("goes", &[whole("GPU-1")]).observe().run(10, 10);
    rig.restart(a100s_at(360)).free("goes").hold("comes", &[whole("GPU-2")]).run(10, 10);
    check(&rig, 0, &[("idle", 1), ("unmeasured", 1)]);
    check(&rig, 1, &[("idle", 1), ("unattributed", 1)]);
    check(&rig, 2, &[("unallocated", 1), ("unattributed", 1)]);
    check(&rig, 3, &[("unallocated", 2)]);
    assert_eq!(rig.device(0).recovered, Span::from_secs(10).into());
    rig.run(10, 10);
    check(&rig, 0, &[("idle", 2), ("unmeasured", 1)]);
    assert_eq!(rig.report().ledger_start, UnixTime::from_millis(1_000));
}

#[test]
fn the_past_keeps_its_price_over_a_restart() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().restart(a100s_at(720)).run(10, 10);
    check(&rig, 0, &[("unmeasured", 1)]);
    rig.run(10, 10);
    check(&rig, 0, &[("idle", 2), ("unmeasured", 1)]);
    rig.restart(prices(&[])).run(10, 10);
    check(&rig, 0, &[("idle", 2), ("unmeasured", 3)]);
    rig.restart(a100s_at(360)).run(10, 10);
    // Without a price there is time and no money.
    check(&rig, 0, &[("idle", 2), ("unmeasured", 3)]);
    assert_eq!(rig.device(0).totals.time(State::Unmeasured), Span::from_secs(30).into());
}

#[test]
fn the_fifth_example_is_true_to_the_cent() {
    let mut rig = node(1);
    rig.gpu(0).activity = busy(50);
    rig.hold("job", &[whole("GPU-0")]).observe();
    let answer = rig.seen.allocations.clone();
    for _ in 0..3 {
        // The kubelet is away, and what it said holds.
        rig.later(Span::from_secs(10)).seen.allocations.clone_from(&answer);
        rig.observe_stale();
    }
    check(&rig, 0, &[("used", 2), ("underused", 2)]);
    assert_eq!(rig.pod("job").account.totals.total_time(), Span::from_secs(30).into());
    rig.restart(a100s_at(360)).later(Span::from_secs(90)).observe();
    check(&rig, 0, &[("used", 2), ("underused", 2), ("unmeasured", 9)]);
    rig.later(Span::from_secs(3_600)).observe();
    check(&rig, 0, &[("used", 2), ("underused", 2), ("unmeasured", 9)]);
    assert_eq!(rig.device(0).totals.total_cost(), Cost::from_cents(12));
    assert_eq!(rig.device(0).recovered, Span::from_secs(90).into());
    assert_eq!(rig.device(0).unobserved, Span::from_secs(3_600).into());
}

#[test]
fn the_sixth_example_is_true_to_the_cent() {
    let mut rig = node(1);
    let labels = CostLabels { team: "ml".into(), ..CostLabels::default() };
    let short = Pod { key: key("short"), uid: "uid".into(), labels, ..Pod::default() };
    rig.seen.pods = [short.clone()].into();
    rig.observe().run(7, 1);
    rig.hold("short", &[whole("GPU-0")]).observe().run(3, 1).free("short");
    rig.seen.pods = [Pod { ended: true, ..short }].into();
    rig.observe();
    // One cent is ten seconds; another scrape comes after a restart.
    rig.run(10, 1).restart(a100s_at(360)).run(10, 1);
    let three_seconds = Rate::from_nanos_per_hour(3_600_000_000).over(Span::from_secs(3));
    let pod = rig.pod("short");
    assert_eq!((pod.account.totals.total_cost(), pod.live, &*pod.uid), (three_seconds, false, "uid"));
    let teams = rig.report().showback.iter().filter(|line| &*line.payer.labels.team == "ml");
    assert_eq!(teams.map(|line| line.totals.total_cost()).collect::<Vec<_>>(), [three_seconds]);
    assert_eq!(rig.device(0).totals.total_cost(), Cost::from_cents(3));
}

#[test]
fn a_reboot_is_unobserved_by_the_wall_clock() {
    let mut rig = node(2);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10).restart(a100s_at(360));
    rig.later(Span::from_secs(100)).seen.boot = "another boot".into();
    rig.seen.at = Uptime::from_nanos(30_000_000_000);
    // The board that is left may have another place, the other one is taken out.
    rig.seen.gpus.as_mut().unwrap().remove(1);
    rig.observe();
    check(&rig, 0, &[("idle", 1)]);
    let line = rig.device(0);
    assert_eq!((line.unobserved, line.rebooting), (GpuTime::ZERO, Span::from_secs(100).into()));
    assert_eq!(rig.report().devices.len(), 1);
    let [former] = &rig.report().former_devices[..] else { panic!("one GPU is gone") };
    assert_eq!((&*former.uuid, cents(&former.totals)), ("GPU-1", vec![("unallocated", 1)]));
    assert_eq!(former.since, UnixTime::from_millis(1_000));
    rig.run(10, 10);
    check(&rig, 0, &[("idle", 2)]);
}

#[test]
fn a_wall_clock_that_went_back_tells_nothing_of_a_reboot() {
    let mut rig = node(1);
    rig.observe().run(10, 10).restart(a100s_at(360));
    rig.seen.boot = "another boot".into();
    rig.seen.wall = UnixTime::from_millis(5);
    rig.observe();
    assert_eq!(rig.device(0).rebooting, GpuTime::ZERO);
    check(&rig, 0, &[("unallocated", 1)]);
}

#[test]
fn a_boot_without_a_name_is_another_one() {
    let mut rig = node(1);
    rig.seen.boot = Arc::default();
    rig.observe().run(10, 10).restart(a100s_at(360)).run(10, 10);
    check(&rig, 0, &[("unallocated", 1)]);
    assert_eq!(rig.device(0).rebooting, Span::from_secs(10).into());
}

#[test]
fn who_had_ended_before_a_reboot_ends_with_it() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10).free("job").observe().run(800, 10);
    rig.restart(a100s_at(360)).seen.boot = "another boot".into();
    rig.seen.at = Uptime::from_nanos(1);
    rig.observe().run(890, 10);
    assert_eq!(cents(&rig.pod("job").account.totals), [("idle", 1)]);
    rig.run(20, 10);
    assert!(rig.report().pods.is_empty());
}

#[test]
fn a_gpu_that_the_driver_no_longer_showed_is_still_there_after_a_restart() {
    let mut rig = node(2);
    rig.observe().seen.gpus.as_mut().unwrap().remove(1);
    rig.run(10, 10).restart(a100s_at(360)).run(10, 10);
    assert_eq!(rig.device(1).fault, Some(Fault::Missing));
    check(&rig, 1, &[("unallocated", 1), ("unavailable", 1)]);
    rig.restart(a100s_at(360)).seen.gpus = None;
    rig.run(10, 10);
    check(&rig, 0, &[("unallocated", 3)]);
    check(&rig, 1, &[("unallocated", 1), ("unavailable", 2)]);
}

#[test]
fn an_impossible_ledger_is_not_sound() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10);
    let ledger = rig.meter.kept().unwrap().ledger;
    assert!(ledger.is_sound());
    let spoil = |how: fn(&mut Ledger)| {
        let mut ledger = ledger.clone();
        how(&mut ledger);
        ledger.is_sound()
    };
    let a_second = Amount { cost: None, time: Span::from_secs(1).into() };
    assert!(!spoil(|ledger| ledger.devices.values_mut().for_each(|it| it.bill = Cost::ZERO)));
    assert!(!spoil(|ledger| ledger.closed = Cost::from_units(1)));
    assert!(!spoil(|ledger| ledger.held = Cost::from_units(u128::MAX)));
    assert!(!spoil(|ledger| ledger.payers.clear()));
    assert!(!spoil(|ledger| ledger.devices.clear()));
    let mut longer = ledger.clone();
    longer.devices.values_mut().for_each(|it| it.totals.post(State::Used, a_second));
    assert!(!longer.is_sound());
    // Sums that end at the largest number say nothing.
    let mut huge = ledger.clone();
    let all = Amount { cost: Some(Cost::from_units(u128::MAX)), time: GpuTime::ZERO };
    huge.devices.values_mut().for_each(|it| {
        it.totals.post(State::Used, all);
        it.bill = Cost::from_units(u128::MAX);
    });
    huge.payers.values_mut().for_each(|it| it.totals.post(State::Used, all));
    huge.pods.values_mut().for_each(|it| Arc::make_mut(it).totals.post(State::Used, all));
    huge.held = Cost::from_units(u128::MAX);
    assert_eq!(huge.imbalance(), Cost::ZERO);
    assert!(!huge.is_sound());
}

/// Every interval is a gap, so that a restart changes nothing but what is judged over several of them.
fn gaps() -> Policy {
    Policy {
        longest_interval: Span::from_nanos(0),
        retention: Span::from_secs(u64::MAX / 1_000_000_000),
        ..policy()
    }
}

fn run(ticks: &[Tick], restarts: u32) -> Vec<Arc<Report>> {
    let mut meter = Meter::new(gaps(), sheet(0));
    let mut reports = Vec::new();
    for (n, (cents, seen)) in observations(ticks).iter().enumerate() {
        if restarts >> n & 1 == 1
            && let Some(kept) = meter.kept()
        {
            assert!(kept.ledger.is_sound());
            meter = Meter::resume(gaps(), sheet(77), kept);
        }
        meter.set_prices(sheet(*cents));
        reports.push(meter.observe(seen));
    }
    reports
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_is_restarted_knows_what_it_knew(ticks in ticks(), restarts: u32) {
        let (stopped, never) = (run(&ticks, restarts), run(&ticks, 0));
        prop_assert_eq!(format!("{stopped:#?}"), format!("{never:#?}"));
        let mut before = BTreeMap::new();
        for report in stopped {
            prop_assert_eq!(report.imbalance, Cost::ZERO);
            let now = counters(&report);
            for (name, value) in &before {
                prop_assert!(now.get(name).is_some_and(|later| later >= value), "{} fell", name);
            }
            before = now;
        }
    }
}
