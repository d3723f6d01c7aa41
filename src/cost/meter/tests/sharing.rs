//! GPUs that several pods have a part of, and ids that say so in several ways.

use super::*;

#[test]
fn two_pods_on_one_exclusive_gpu_are_a_conflict_that_the_newer_pays_for() {
    let mut rig = node(1);
    rig.hold("old", &[whole("GPU-0")]).observe().run(10, 10);
    rig.hold("new", &[whole("GPU-0")]).observe().run(20, 10);
    assert_eq!(cents(&rig.pod("old").account.totals), [("idle", 1)]);
    assert_eq!(cents(&rig.pod("new").account.totals), [("idle", 2)]);
    assert_eq!(rig.report().allocation_conflicts, 1);
}

#[test]
fn a_slot_that_two_pods_name_is_the_newer_ones() {
    let mut rig = node(1);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("old", &[replica("GPU-0", 0), replica("GPU-0", 1)]).observe().run(40, 10);
    rig.hold("new", &[replica("GPU-0", 1)]).observe().run(40, 10);
    assert_eq!(cents(&rig.pod("old").account.totals), [("idle", 3)]);
    assert_eq!(cents(&rig.pod("new").account.totals), [("idle", 1)]);
    check(&rig, 0, &[("idle", 4), ("unallocated", 4)]);
    assert_eq!(rig.report().allocation_conflicts, 1);
}

#[test]
fn the_newest_pods_form_of_an_id_is_the_plugins_present_one() {
    let mut rig = node(1);
    rig.hold("whole", &[whole("GPU-0")]).observe().run(10, 10);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("slot", &[replica("GPU-0", 2)]).observe().run(40, 10);
    assert_eq!(cents(&rig.pod("whole").account.totals), [("idle", 1)]);
    assert_eq!(cents(&rig.pod("slot").account.totals), [("idle", 1)]);
    check(&rig, 0, &[("idle", 2), ("unallocated", 3)]);
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
    assert_eq!(cents(&rig.pod("a").account.totals), [("idle", 2)]);
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
fn work_that_might_be_any_holders_is_divided_by_slots_and_is_not_foreign() {
    let unknown = |percent| Process { worker: Worker::Unknown, ..process("", percent) };
    let run = |unknown: Process| {
        let mut rig = node(1);
        rig.gpu(0).activity = busy(40);
        rig.gpu(0).processes = Some(vec![process("a", 30), unknown]);
        rig.advertised = Some(vec![replica("GPU-0", 0), replica("GPU-0", 1)]);
        rig.hold("a", &[replica("GPU-0", 0)]).hold("b", &[replica("GPU-0", 1)]).observe();
        let of = |pod: &str| rig.pod(pod).devices[0].utilization.map(Ppm::get);
        (rig.device(0).attribution, of("a"), of("b"), rig.device(0).foreign_utilization)
    };
    // Half of the 40 % each, which is 40 % of either's half.
    assert_eq!(run(unknown(10)), (Attribution::EqualParts, Some(400_000), Some(400_000), None));
    // Who did nothing takes nothing from what the others did.
    let known = (Attribution::Processes, Some(800_000), Some(0), Some(Ppm::ZERO));
    assert_eq!(run(unknown(0)), known);
}

#[test]
fn work_without_a_process_is_nobodys_that_we_know() {
    let mut rig = node(1);
    rig.gpu(0).processes = Some(Vec::new());
    rig.hold("a", &[whole("GPU-0")]).observe();
    assert_eq!(rig.device(0).foreign_utilization, Some(Ppm::ZERO));
    rig.gpu(0).activity = busy(30);
    rig.observe();
    assert_eq!(rig.device(0).foreign_utilization, None);
}

#[test]
fn whoever_works_on_a_gpu_that_nobody_holds_is_a_stranger() {
    let mut rig = node(1);
    rig.gpu(0).activity = busy(20);
    rig.gpu(0).processes = Some(vec![Process { worker: Worker::Unknown, ..process("", 20) }]);
    rig.observe();
    assert_eq!(rig.device(0).foreign_utilization, Some(Ppm::from_percent(20)));
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
fn slots_told_by_ids_do_not_depend_on_history() {
    let run = |history: bool| {
        let mut rig = h100s(1);
        if history {
            rig.hold("early", &[replica("GPU-0", 0)]).observe().run(3_600, 60).free("early");
        }
        rig.hold("late", &[replica("GPU-0", 3)]).observe().run(3_600, 60);
        cents(&rig.pod("late").account.totals)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_whole_gpu_named_beside_its_mig_device_is_a_conflict() {
    let mut rig = h100s(1);
    let devices = vec![instance("MIG-a", 1, "3g.40gb", (3, 4))];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    rig.hold("leftover", &[whole("GPU-0")]).observe().run(60, 60);
    rig.hold("newer", &[mig("MIG-a")]).observe().run(3_600, 60);
    assert!(rig.report().allocation_conflicts > 0, "not even counted");
    assert!(rig.report().pods.iter().any(|pod| &*pod.pod == "newer"), "no line for the newest pod");
}

#[test]
fn an_unreadable_id_on_a_partitioned_node_is_unattributed() {
    let mut rig = h100s(1);
    let devices = vec![instance("MIG-a", 1, "3g.40gb", (3, 4))];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    rig.hold("who", &[DeviceId { target: DeviceTarget::Unreadable("MIG-?".into()), replica: None }]);
    rig.observe().run(3_600, 60);
    assert!(
        cents(&rig.device(0).totals).iter().any(|(s, _)| *s == "unattributed"),
        "{:?}",
        cents(&rig.device(0).totals)
    );
}

#[test]
fn work_on_a_gpu_whose_holder_is_not_known_is_not_foreign() {
    let mut rig = h100s(1);
    rig.gpu(0).activity = busy(90);
    rig.observe_stale().later(Span::from_secs(1)).observe_stale();
    assert_eq!(rig.device(0).foreign_utilization, None);
}

#[test]
fn an_unreadable_id_does_not_hide_on_a_broken_gpu() {
    let mut rig = h100s(2);
    rig.gpu(0).health = Health::Unavailable(Fault::Lost);
    rig.hold("who", &[DeviceId { target: DeviceTarget::Unreadable("x".into()), replica: None }]);
    rig.observe().run(3_600, 60);
    assert_eq!(cents(&rig.device(1).totals), [("unattributed", 800)]);
}

#[test]
fn a_pod_that_took_a_slot_during_a_gap() {
    let mut rig = h100s(1);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("a", &[replica("GPU-0", 0)]).observe();
    rig.free("a").hold("a", &[replica("GPU-0", 0), replica("GPU-0", 1)]);
    rig.later(Span::from_secs(180)).observe();
    // one slot certain, one slot at one end only
    assert_eq!(cents(&rig.device(0).totals), [("unmeasured", 10), ("unallocated", 20), ("unattributed", 10)]);
}

#[test]
fn whoever_has_a_slot_keeps_it_when_the_plugin_is_switched_to_whole_gpus() {
    let mut rig = node(1);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.hold("a", &[replica("GPU-0", 1)]).observe().run(40, 10);
    rig.advertised = Some(vec![whole("GPU-0")]);
    rig.run(40, 10);
    assert_eq!(cents(&rig.pod("a").account.totals), [("idle", 2)]);
    // Nobody has a slot any more: the GPU is whole again, and what was known of its slots is forgotten.
    rig.free("a").observe();
    rig.advertised = None;
    rig.hold("b", &[replica("GPU-0", 1)]).observe();
    assert_eq!(rig.device(0).holdings[0].share, (1, 2));
}

#[test]
fn a_mig_device_that_was_made_anew_remembers_no_slots() {
    let mut rig = node(1);
    let partition = |uuid| {
        let devices = vec![instance(uuid, 1, "7g.80gb", (7, 8))];
        Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices })
    };
    let slot = |uuid: &str, n| DeviceId { replica: Some(n), ..mig(uuid) };
    rig.gpu(0).mig = partition("MIG-a");
    rig.hold("a", &[slot("MIG-a", 3)]).observe();
    assert_eq!(rig.device(0).holdings[0].share, (1, 4));
    rig.gpu(0).mig = partition("MIG-b");
    rig.free("a").observe();
    rig.gpu(0).mig = partition("MIG-a");
    rig.hold("a", &[slot("MIG-a", 0)]).observe();
    assert_eq!(rig.device(0).holdings[0].share, (1, 1));
}

#[test]
fn whose_memory_it_is_on_a_shared_gpu_is_not_known() {
    let mut rig = node(1);
    rig.hold("a", &[replica("GPU-0", 0)]).hold("b", &[replica("GPU-0", 1)]).observe();
    assert_eq!(rig.pod("a").devices[0].memory_used_bytes, None);
}

#[test]
fn processes_count_on_the_mig_device_they_ran_on() {
    let mut rig = node(1);
    let device = |uuid, id| MigDevice { activity: busy(40), ..instance(uuid, id, "3g.40gb", (3, 4)) };
    let devices = vec![device("MIG-a", 1), device("MIG-b", 2)];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    let on = |pod: &str, uuid: &str| Process { mig_device: Some(uuid.into()), ..process(pod, 10) };
    rig.gpu(0).processes = Some(vec![on("a", "MIG-a"), on("b", "MIG-b")]);
    let slot = |uuid: &str, n| DeviceId { replica: Some(n), ..mig(uuid) };
    rig.hold("a", &[slot("MIG-a", 0)]).hold("b", &[slot("MIG-a", 1), slot("MIG-b", 1)]).observe();
    // On the first MIG device all the work is a's, though b holds the other half of it and works elsewhere.
    assert_eq!(rig.pod("a").devices[0].utilization, Some(Ppm::from_percent(80)));
    let of_b: Vec<_> = rig.pod("b").devices.iter().map(|device| device.utilization).collect();
    assert_eq!(of_b, [Some(Ppm::ZERO), Some(Ppm::from_percent(80))]);
}

#[test]
fn the_last_charge_says_what_it_was_made_of() {
    let mut rig = node(1);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.gpu(0).activity = busy(30);
    rig.gpu(0).processes = Some(vec![process("job", 30)]);
    rig.hold("job", &[replica("GPU-0", 0)]).observe();
    assert!(rig.device(0).holdings[0].last.is_none());
    rig.run(40, 40);
    let line = rig.device(0).holdings[0].clone();
    let last = line.last.unwrap();
    let amount = Amount { cost: Some(Cost::from_cents(1)), time: GpuTime::from(Span::from_secs(10)) };
    assert_eq!(last.parts, [(State::Used, amount)]);
    assert_eq!((last.elapsed, last.share, last.of_device), (Span::from_secs(40), (1, 4), (1, 4)));
    assert_eq!(last.rate, Some(Rate::from_nanos_per_hour(3_600_000_000)));
    // 30 % of the GPU are 120 % of a quarter.
    let (part, whole) = last.work.unwrap();
    assert_eq!((part * 5, last.burst), (whole * 6, Cost::from_units(CENT / 5)));
    let named: Vec<_> = line.named.iter().map(|it| (&*it.container, &*it.resource, &it.id)).collect();
    assert_eq!(named, [("main", "nvidia.com/gpu", &replica("GPU-0", 0))]);
    // What it had in the interval is not what it has from now on.
    rig.hold("job", &[replica("GPU-0", 1)]).run(10, 10);
    let line = &rig.device(0).holdings[0];
    assert_eq!((line.share, line.last.as_ref().unwrap().share), ((1, 2), (1, 4)));
    // An interval in which nobody looked says so.
    rig.run(100, 100);
    let last = rig.device(0).holdings[0].last.clone().unwrap();
    assert_eq!((last.work, last.burst, last.share), (None, Cost::ZERO, (1, 2)));
    assert_eq!(last.parts.iter().map(|(state, _)| *state).collect::<Vec<_>>(), [State::Unmeasured]);
    rig.run(400, 400);
    assert!(rig.device(0).holdings[0].last.is_none(), "nobody was charged");
}
