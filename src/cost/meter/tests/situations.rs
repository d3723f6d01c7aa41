//! What can happen to a node, one situation each.

use super::*;
use crate::cost::money::GpuTime;
use crate::observation::Xid;

#[test]
fn a_charge_belongs_to_whoever_held_the_gpu_when_the_interval_began() {
    let mut rig = node(1);
    rig.observe().later(Span::from_secs(10)).hold("late", &[whole("GPU-0")]).observe();
    check(&rig, 0, &[("unallocated", 1)]);
    rig.later(Span::from_secs(10)).free("late").observe();
    check(&rig, 0, &[("idle", 1), ("unallocated", 1)]);
    assert_eq!(cents(&rig.pod("late").account.totals), [("idle", 1)]);
}

#[test]
fn a_kubelet_that_never_answered_leaves_the_money_unattributed() {
    let mut rig = node(1);
    rig.observe_stale().later(Span::from_secs(10)).observe_stale();
    check(&rig, 0, &[("unattributed", 1)]);
}

#[test]
fn an_old_answer_is_believed_for_its_maximum_age() {
    let mut rig = node(2);
    rig.hold("job", &[whole("GPU-0")]).observe();
    for _ in 0..9 {
        rig.later(Span::from_secs(10)).observe_stale();
    }
    // Opened at 0, 10 … 60 s: seven intervals as before. Opened at 70 and 80 s: nobody can be named.
    check(&rig, 0, &[("idle", 7), ("unattributed", 2)]);
    check(&rig, 1, &[("unallocated", 7), ("unattributed", 2)]);
}

#[test]
fn a_pod_that_is_seen_running_stays_when_the_kubelet_is_away() {
    let mut rig = node(2);
    rig.hold("job", &[whole("GPU-0")]).observe();
    let pod =
        Pod { key: key("job"), uid: "uid-1".into(), created: UnixTime::from_millis(1), ..Pod::default() };
    rig.seen.pods = [pod].into();
    for _ in 0..10 {
        rig.later(Span::from_secs(10)).observe_stale();
    }
    check(&rig, 0, &[("idle", 10)]);
    check(&rig, 1, &[("unallocated", 7), ("unattributed", 3)]);
}

#[test]
fn a_new_uid_under_an_old_name_is_a_new_holder() {
    let described = |uid: &str, team: &str| Pod {
        key: key("job"),
        uid: uid.into(),
        created: UnixTime::from_millis(1),
        labels: crate::observation::CostLabels { team: team.into(), ..Default::default() },
        ..Pod::default()
    };
    let mut rig = node(1);
    rig.seen.pods = [described("uid-1", "vision")].into();
    rig.hold("job", &[whole("GPU-0")]).observe().run(20, 10);
    rig.seen.pods = [described("uid-2", "nlp")].into();
    // The interval that is open belongs to the first one still.
    rig.later(Span::from_secs(10)).observe().run(10, 10);
    let pods = rig.report().pods.iter().map(|pod| (&*pod.uid, cents(&pod.account.totals)));
    assert_eq!(pods.collect::<Vec<_>>(), [("uid-1", vec![("idle", 3)]), ("uid-2", vec![("idle", 1)])]);
    let payers = rig.report().showback.iter().map(|line| (&*line.payer.labels.team, cents(&line.totals)));
    assert_eq!(payers.collect::<Vec<_>>(), [("nlp", vec![("idle", 1)]), ("vision", vec![("idle", 3)])]);
}

#[test]
fn utilization_that_was_not_read_is_not_idleness() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe();
    rig.gpu(0).activity = Activity::default();
    rig.run(20, 10);
    check(&rig, 0, &[("unmeasured", 2)]);
    assert_eq!(rig.pod("job").devices[0].utilization, None);
}

#[test]
fn a_driver_that_does_not_answer_leaves_the_holders_unmeasured() {
    let mut rig = node(2);
    rig.hold("job", &[whole("GPU-0")]).observe();
    let gpus = rig.seen.gpus.take();
    rig.run(20, 10);
    check(&rig, 0, &[("unmeasured", 2)]);
    check(&rig, 1, &[("unallocated", 2)]);
    assert_eq!((rig.report().gpus_seen, rig.report().devices.len()), (0, 2));
    rig.seen.gpus = gpus;
    rig.run(10, 10);
    check(&rig, 0, &[("idle", 1), ("unmeasured", 2)]);
}

#[test]
fn a_broken_gpu_costs_money_on_its_holders_line() {
    let mut rig = node(2);
    rig.hold("job", &[whole("GPU-0")]);
    rig.gpu(0).health = Health::Unavailable(Fault::Lost);
    rig.gpu(1).health = Health::Unavailable(Fault::ResetRequired);
    rig.observe().run(20, 10);
    check(&rig, 0, &[("unavailable", 2)]);
    check(&rig, 1, &[("unavailable", 2)]);
    assert_eq!(cents(&rig.pod("job").account.totals), [("unavailable", 2)]);
    assert_eq!(rig.device(0).fault, Some(Fault::Lost));
    rig.gpu(0).health = Health::Healthy;
    rig.observe().run(10, 10);
    check(&rig, 0, &[("idle", 1), ("unavailable", 2)]);
}

#[test]
fn a_gpu_that_is_no_longer_listed_is_unavailable_until_the_next_boot() {
    let mut rig = node(2);
    rig.observe();
    let gone = rig.seen.gpus.as_mut().unwrap().remove(1);
    rig.run(20, 10);
    // Its last interval was opened while it was still there.
    check(&rig, 1, &[("unallocated", 1), ("unavailable", 1)]);
    assert_eq!(rig.device(1).fault, Some(Fault::Missing));
    rig.seen.gpus.as_mut().unwrap().push(gone);
    rig.run(20, 10);
    check(&rig, 1, &[("unallocated", 2), ("unavailable", 2)]);
    rig.seen.gpus.as_mut().unwrap().remove(1);
    rig.seen.boot = "next".into();
    rig.observe();
    assert_eq!(rig.report().devices.len(), 1);
}

#[test]
fn an_observation_from_the_past_is_charged_to_nobody() {
    let mut rig = node(1);
    rig.observe().run(20, 10);
    let now = rig.seen.at;
    rig.seen.at = Uptime::from_nanos(1);
    rig.observe();
    rig.seen.at = now;
    rig.observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 3)]);
}

#[test]
fn an_unknown_price_is_a_state_and_not_a_zero() {
    let mut rig = Rig::new(prices(&[]), vec![gpu("GPU-x", "NVIDIA Unheard Of")]);
    rig.hold("job", &[whole("GPU-x")]).observe().run(20, 10);
    assert_eq!(rig.device(0).totals.cost(State::Idle), None);
    assert_eq!(rig.device(0).totals.time(State::Idle), Span::from_secs(20).into());
    assert_eq!(rig.pod("job").unpriced_gpus, 1);
    // The price becomes known: dollars exist from then on, nothing is charged for the time before.
    rig.meter.set_prices(prices(&[("nvidia-unheard-of", 360)]));
    rig.observe();
    assert_eq!(rig.device(0).totals.cost(State::Idle), Some(Cost::ZERO));
    rig.run(10, 10);
    check(&rig, 0, &[("idle", 1)]);
}

#[test]
fn a_new_price_counts_from_the_next_interval() {
    let mut rig = node(1);
    rig.observe().later(Span::from_secs(10));
    rig.meter.set_prices(prices(&[("nvidia-a100-80gb", 720)]));
    rig.observe();
    check(&rig, 0, &[("unallocated", 1)]);
    rig.run(10, 10);
    check(&rig, 0, &[("unallocated", 3)]);
}

#[test]
fn a_short_gap_is_unmeasured_for_those_who_are_still_there() {
    let mut rig = node(4);
    rig.hold("stays", &[whole("GPU-0")]).hold("goes", &[whole("GPU-1")]).observe();
    rig.later(Span::from_secs(90)).free("goes").hold("comes", &[whole("GPU-2")]).observe();
    check(&rig, 0, &[("unmeasured", 9)]);
    check(&rig, 1, &[("unattributed", 9)]);
    check(&rig, 2, &[("unattributed", 9)]);
    check(&rig, 3, &[("unallocated", 9)]);
    assert_eq!(rig.device(0).recovered, Span::from_secs(90).into());
}

#[test]
fn a_long_gap_is_charged_to_nobody_and_counted() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10).later(Span::from_secs(3_600)).observe();
    check(&rig, 0, &[("idle", 1)]);
    assert_eq!(rig.device(0).unobserved, Span::from_secs(3_600).into());
    rig.run(10, 10);
    check(&rig, 0, &[("idle", 2)]);
}

#[test]
fn a_finished_pod_stays_for_its_retention_with_what_it_was() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10).free("job").observe().run(900, 10);
    assert_eq!(cents(&rig.pod("job").account.totals), [("idle", 1)]);
    assert_eq!((&*rig.pod("job").gpu_model, rig.pod("job").live), ("nvidia-a100-80gb", false));
    rig.run(10, 10);
    assert!(rig.report().pods.is_empty());
    check(&rig, 0, &[("idle", 1), ("unallocated", 91)]);
}

#[test]
fn energy_is_counted_over_a_driver_reload() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]);
    for reading in [5_000, 8_000, 1_000, 1_500] {
        rig.gpu(0).energy_millijoules = Some(reading);
        rig.later(Span::from_secs(1)).observe();
    }
    // What the first reading already held was used before the ledger began.
    assert_eq!(rig.device(0).energy_millijoules, Some(3_000 + 1_000 + 500));
    assert_eq!(rig.pod("job").account.energy_millijoules, Some(4_500));
}

#[test]
fn critical_errors_are_counted_by_number() {
    let mut rig = node(1);
    rig.gpu(0).xids =
        vec![Xid { code: 79, at: UnixTime::from_millis(5) }, Xid { code: 31, at: UnixTime::from_millis(6) }];
    rig.observe();
    rig.gpu(0).xids = vec![Xid { code: 79, at: UnixTime::from_millis(9) }];
    rig.later(Span::from_secs(1)).observe();
    let xids: Vec<_> =
        rig.device(0).xids.iter().map(|xid| (xid.code, xid.count, xid.last.as_millis())).collect();
    assert_eq!(xids, [(31, 1, 6), (79, 2, 9)]);
}

#[test]
fn held_time_is_counted_by_utilization_band() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe();
    for percent in [0, 29, 30, 70, 71, 100] {
        rig.gpu(0).activity = busy(percent);
        rig.run(10, 10);
    }
    assert_eq!(rig.device(0).bands, [GpuTime::from(Span::from_secs(20)); 3]);
}

#[test]
fn absurd_slices_are_no_money_for_nothing() {
    let mut rig = node(1);
    let devices = vec![
        instance("MIG-1", 1, "1g.10gb", (u32::MAX, u32::MAX)),
        instance("MIG-2", 2, "1g.10gb", (u32::MAX, 1)),
    ];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    rig.hold("job", &[mig("MIG-1")]).observe().run(20, 10);
    // Each says that it is all of the GPU, so each has half of it, and no slice is free or stranded.
    check(&rig, 0, &[("unmeasured", 1), ("unallocated", 1)]);
}

#[test]
fn what_could_not_be_read_is_absent() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe();
    rig.seen.gpus = None;
    rig.later(Span::from_secs(10)).observe();
    let gpu = &rig.device(0).gpu;
    assert_eq!((gpu.memory, gpu.power_milliwatts, gpu.power_limit_milliwatts), (None, None, None));
    assert_eq!((gpu.activity, gpu.utilization_source), (Activity::default(), UtilizationSource::NvmlSamples));
}

#[test]
fn energy_of_an_unobserved_hour_is_nobodys() {
    let mut rig = h100s(1);
    rig.gpu(0).energy_millijoules = Some(0);
    rig.hold("before", &[whole("GPU-0")]).observe().run(60, 60);
    rig.free("before").hold("after", &[whole("GPU-0")]);
    rig.gpu(0).energy_millijoules = Some(1_000_000);
    rig.later(Span::from_secs(3_600)).observe();
    rig.run(60, 60);
    assert_eq!(rig.pod("after").account.energy_millijoules.unwrap_or(0), 0);
}

#[test]
fn money_that_a_pods_line_lost_is_an_imbalance() {
    let mut rig = h100s(1);
    rig.hold("a", &[whole("GPU-0")]).observe().run(60, 60);
    rig.meter.ledger.pods.values_mut().for_each(|pod| Arc::make_mut(pod).totals = Totals::default());
    assert_ne!(rig.meter.ledger.imbalance(), Cost::ZERO);
}

#[test]
fn a_pod_was_last_active_when_it_did_more_than_nothing() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe();
    rig.gpu(0).activity = busy(1);
    rig.run(10, 10);
    assert_eq!(rig.pod("job").account.last_active, None);
    rig.gpu(0).activity = busy(2);
    rig.run(10, 10);
    let then = rig.seen.wall;
    rig.gpu(0).activity = busy(0);
    rig.run(10, 10);
    assert_eq!(rig.pod("job").account.last_active, Some(then));
}

#[test]
fn energy_goes_to_whoever_held_the_gpu_while_it_was_used() {
    let mut rig = node(1);
    rig.gpu(0).energy_millijoules = Some(0);
    rig.hold("first", &[whole("GPU-0")]).observe();
    rig.gpu(0).energy_millijoules = Some(1_000);
    rig.free("first").hold("second", &[whole("GPU-0")]).later(Span::from_secs(10)).observe();
    assert_eq!(rig.pod("first").account.energy_millijoules, Some(1_000));
    assert_eq!(rig.pod("second").account.energy_millijoules, None);
}

#[test]
fn an_error_is_counted_once_also_when_the_driver_falls_silent() {
    let mut rig = node(1);
    rig.gpu(0).xids = vec![Xid { code: 79, at: UnixTime::from_millis(5) }];
    rig.observe();
    rig.seen.gpus = None;
    rig.run(20, 10);
    assert_eq!(rig.device(0).xids[0].count, 1);
}

#[test]
fn a_pod_with_several_gpus_has_them_all() {
    let mut rig = node(2);
    rig.gpu(1).product = "NVIDIA Unheard Of".into();
    rig.hold("job", &[whole("GPU-0"), whole("GPU-1")]).observe();
    let pod = rig.pod("job");
    assert_eq!(
        (pod.gpus_nanos, pod.unpriced_gpus, pod.rate.nanos_per_hour()),
        (2_000_000_000, 1, 3_600_000_000)
    );
    assert_eq!(
        pod.devices.iter().map(|device| device.memory_used_bytes).collect::<Vec<_>>(),
        [Some(1 << 30); 2]
    );
    rig.meter.set_prices(prices(&[]));
    rig.observe();
    assert_eq!(rig.pod("job").unpriced_gpus, 2);
}

#[test]
fn the_longest_gap_that_is_charged_is_charged() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().later(policy().max_gap).observe();
    check(&rig, 0, &[("unmeasured", 30)]);
    rig.later(policy().max_gap).later(Span::from_nanos(1)).observe();
    check(&rig, 0, &[("unmeasured", 30)]);
}

#[test]
fn a_pod_that_returns_is_not_judged_by_what_it_did_before() {
    let mut rig = node(1);
    rig.gpu(0).activity = busy(100);
    rig.hold("job", &[whole("GPU-0")]).observe().run(50, 10).free("job").observe().run(10, 10);
    rig.gpu(0).activity = busy(0);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10);
    assert_eq!(rig.pod("job").account.totals.cost(State::Idle), Some(Cost::from_cents(1)));
}

#[test]
fn a_wall_clock_that_jumps_moves_no_money() {
    let history = |jumps: [i64; 3]| {
        let mut rig = node(1);
        rig.hold("p", &[whole("GPU-0")]).observe();
        for jump in jumps {
            let wall = rig.seen.wall.as_millis().checked_add_signed(jump * 86_400_000).unwrap_or_default();
            rig.seen.wall = UnixTime::from_millis(wall);
            rig.run(600, 10);
        }
        (cents(&rig.device(0).totals), cents(&rig.pod("p").account.totals), rig.report().imbalance)
    };
    assert_eq!(history([0, 0, 0]), history([400, -400, 3]));
    assert_eq!(history([0, 0, 0]), history([-1, 36_500, -36_500]));
}
