//! What can happen to a node, one situation each.

use super::*;
use crate::cost::money::GpuTime;
use crate::observation::Xid;

const A100: &str = "NVIDIA A100-SXM4-80GB";

fn node(gpus: usize) -> Rig {
    let gpus = (0..gpus).map(|n| Gpu { minor: u32::try_from(n).ok(), ..gpu(&format!("GPU-{n}"), A100) });
    Rig::new(prices(&[("nvidia-a100-80gb", 360)]), gpus.collect())
}

/// Cents by state of a node of A100s at 3.60 $/h, where ten seconds cost one cent.
fn check(rig: &Rig, device: usize, expected: &[(&str, u64)]) {
    assert_eq!(cents(&rig.device(device).totals), expected);
}

#[test]
fn a_charge_belongs_to_whoever_held_the_gpu_when_the_interval_began() {
    let mut rig = node(1);
    rig.observe().later(Span::from_secs(10)).hold("late", &[whole("GPU-0")]).observe();
    check(&rig, 0, &[("unallocated", 1)]);
    rig.later(Span::from_secs(10)).free("late").observe();
    check(&rig, 0, &[("idle", 1), ("unallocated", 1)]);
    assert_eq!(cents(&rig.pod("late").totals), [("idle", 1)]);
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
    let pod = Pod {
        key: key("job"),
        uid: "uid-1".into(),
        created: UnixTime::from_millis(1),
        labels: crate::observation::CostLabels::default(),
        workload: None,
    };
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
        workload: None,
    };
    let mut rig = node(1);
    rig.seen.pods = [described("uid-1", "vision")].into();
    rig.hold("job", &[whole("GPU-0")]).observe().run(20, 10);
    rig.seen.pods = [described("uid-2", "nlp")].into();
    // The interval that is open belongs to the first one still.
    rig.later(Span::from_secs(10)).observe().run(10, 10);
    let pods = rig.report().pods.iter().map(|pod| (&*pod.uid, cents(&pod.totals)));
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
    assert_eq!(cents(&rig.pod("job").totals), [("unavailable", 2)]);
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
fn two_pods_on_one_exclusive_gpu_are_a_conflict_that_the_newer_pays_for() {
    let mut rig = node(1);
    rig.hold("old", &[whole("GPU-0")]).observe().run(10, 10);
    rig.hold("new", &[whole("GPU-0")]).observe().run(20, 10);
    assert_eq!(cents(&rig.pod("old").totals), [("idle", 1)]);
    assert_eq!(cents(&rig.pod("new").totals), [("idle", 2)]);
    assert_eq!(rig.report().allocation_conflicts, 1);
}

#[test]
fn a_gpu_named_by_two_containers_of_a_pod_counts_once() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).hold("job", &[whole("GPU-0")]).observe().run(10, 10);
    check(&rig, 0, &[("idle", 1)]);
    assert_eq!((rig.pod("job").gpus_nanos, rig.report().allocation_conflicts), (1_000_000_000, 0));
}

#[test]
fn an_id_that_cannot_be_read_takes_a_free_gpu_out_of_the_unallocated() {
    let mut rig = node(3);
    let unreadable = DeviceId { target: DeviceTarget::Unreadable("42".into()), replica: None };
    rig.hold("job", &[whole("GPU-0")]).hold("riddle", &[unreadable]).observe().run(10, 10);
    check(&rig, 0, &[("idle", 1)]);
    check(&rig, 1, &[("unattributed", 1)]);
    check(&rig, 2, &[("unallocated", 1)]);
    assert_eq!(rig.report().unmapped_devices, 1);
}

#[test]
fn a_plugin_that_advertises_nothing_for_a_moment_changes_nobodys_bill() {
    let mut rig = node(1);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("a", &[replica("GPU-0", 0)]).observe().run(40, 10);
    rig.advertised = Some(Vec::new());
    rig.run(40, 10);
    check(&rig, 0, &[("idle", 2), ("unallocated", 6)]);
}

#[test]
fn slots_that_nobody_advertised_are_told_by_the_node_label() {
    let mut rig = node(1);
    rig.seen.node =
        Arc::new(Node { name: "n".into(), labels: vec![("nvidia.com/gpu.replicas".into(), "4".into())] });
    rig.hold("a", &[replica("GPU-0", 0)]).observe().run(40, 10);
    check(&rig, 0, &[("idle", 1), ("unallocated", 3)]);
}

#[test]
fn those_present_may_share_the_whole_device() {
    let mut rig = node(1);
    rig.meter.policy.rules.sharing_policy = SharingPolicy::Active;
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("a", &[replica("GPU-0", 0)]).hold("b", &[replica("GPU-0", 1)]).observe().run(40, 10);
    assert_eq!(cents(&rig.pod("a").totals), [("idle", 2)]);
    check(&rig, 0, &[("idle", 4)]);
}

#[test]
fn work_of_sharers_that_cannot_be_told_apart_is_divided_by_slots() {
    let mut rig = node(1);
    rig.gpu(0).activity = busy(40);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("a", &[replica("GPU-0", 0), replica("GPU-0", 1), replica("GPU-0", 2)]);
    rig.hold("b", &[replica("GPU-0", 3)]).observe().run(40, 10);
    assert_eq!(rig.device(0).attribution, Attribution::EqualParts);
    // 40 % of the device: 30 % by three of four slots, 10 % by one; each is 40 % of its own share.
    assert_eq!(rig.pod("a").devices[0].utilization, Some(Ppm::from_percent(40)));
    assert_eq!(rig.pod("b").devices[0].utilization, Some(Ppm::from_percent(40)));
}

#[test]
fn work_of_nobody_who_holds_the_gpu_is_foreign() {
    let mut rig = node(2);
    rig.gpu(0).activity = busy(50);
    rig.gpu(0).processes = Some(vec![process("stranger", 30), process("a", 10)]);
    rig.gpu(1).activity = busy(20);
    rig.advertised = Some(vec![replica("GPU-0", 0), replica("GPU-0", 1)]);
    rig.hold("a", &[replica("GPU-0", 0)]).observe();
    // 30 of 40 sampled parts of 50 %, and all of a GPU that nobody holds.
    assert_eq!(rig.device(0).foreign_utilization, Some(Ppm::new(375_000)));
    assert_eq!(rig.device(1).foreign_utilization, Some(Ppm::from_percent(20)));
}

#[test]
fn slices_without_an_instance_are_free_or_stranded() {
    let mut rig = node(1);
    // 3g.40gb + 1g.10gb: 3 compute and 3 memory slices are left, so nothing is stranded.
    let partition = |devices| Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    rig.gpu(0).mig =
        partition(vec![instance("MIG-3", 1, "3g.40gb", (3, 4)), instance("MIG-1", 2, "1g.10gb", (1, 1))]);
    rig.observe().run(70, 10);
    check(&rig, 0, &[("unallocated", 7)]);
    // 3g.40gb + 3g.40gb: one compute slice is left without any memory.
    rig.gpu(0).mig =
        partition(vec![instance("MIG-a", 1, "3g.40gb", (3, 4)), instance("MIG-b", 2, "3g.40gb", (3, 4))]);
    rig.observe().run(70, 10);
    check(&rig, 0, &[("unallocated", 13), ("stranded", 1)]);
    // Nothing cut yet: the whole GPU could be given away.
    rig.gpu(0).mig = partition(Vec::new());
    rig.observe().run(70, 10);
    check(&rig, 0, &[("unallocated", 20), ("stranded", 1)]);
}

#[test]
fn the_share_of_a_mig_device_can_be_its_memory() {
    let shares = |mig_share| {
        let mut rig = node(1);
        rig.meter.policy.rules.mig_share = mig_share;
        let devices = vec![instance("MIG-a", 1, "3g.40gb", (3, 4))];
        rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
        rig.hold("a", &[mig("MIG-a")]).observe();
        rig.device(0).holdings[0].share
    };
    assert_eq!(shares(MigShare::Compute), (3, 7));
    assert_eq!(shares(MigShare::Memory), (1, 2));
    assert_eq!(shares(MigShare::Blend), (13, 28));
}

#[test]
fn an_a30_has_four_slices() {
    let mut rig = node(1);
    let devices = vec![instance("MIG-a", 1, "1g.6gb", (1, 1)), instance("MIG-b", 2, "2g.12gb", (2, 2))];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 4, memory_slices: 4, devices });
    rig.hold("a", &[mig("MIG-a")]).hold("b", &[mig("MIG-b")]).observe();
    let shares: Vec<_> = rig.device(0).holdings.iter().map(|holding| holding.share).collect();
    assert_eq!(shares, [(1, 4), (1, 2)]);
}

#[test]
fn a_finished_pod_stays_for_its_retention_with_what_it_was() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10).free("job").observe().run(900, 10);
    assert_eq!(cents(&rig.pod("job").totals), [("idle", 1)]);
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
    assert_eq!(rig.pod("job").energy_millijoules, Some(4_500));
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
