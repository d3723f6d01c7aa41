//! What running kubelets were seen to answer that was not the whole truth, as timelines. No dollar may move by it.

use super::*;

/// A pod that its owner describes.
fn described(name: &str, uid: &str) -> Pod {
    Pod { key: key(name), uid: uid.into(), created: UnixTime::from_millis(1), ..Pod::default() }
}

impl Rig {
    /// Describes these pods from now on.
    fn describe(&mut self, pods: &[Pod]) -> &mut Self {
        self.seen.pods = pods.into();
        self
    }

    /// The kubelet restarts: it begins to answer anew.
    fn restart_kubelet(&mut self) -> &mut Self {
        self.later(Span::from_millis(100));
        self.answering_since = self.seen.at;
        self
    }

    fn tick(&mut self, seconds: u64) -> &mut Self {
        self.later(Span::from_secs(seconds)).observe()
    }

    /// Observes with a pod watch that was cut off for `seconds`.
    fn tick_unwatched(&mut self, seconds: u64) -> &mut Self {
        self.later(Span::from_secs(seconds));
        let told_at = self.seen.pods_told_at;
        let containers = self.allocated.clone().into();
        let advertised = self.advertised.clone().map(Into::into);
        let (read_at, answering_since) = (self.seen.at, self.answering_since);
        self.seen.allocations =
            Some(Arc::new(Allocations { read_at, answering_since, containers, advertised }));
        self.seen.pods_told_at = told_at;
        self.report = Some(self.meter.observe(&self.seen));
        assert_eq!(self.report().imbalance, Cost::ZERO);
        self
    }
}

#[test]
fn an_incomplete_list_after_a_restart_frees_nobodys_gpu() {
    let mut rig = node(2);
    rig.describe(&[described("job", "uid-1")]);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    // 0.9 s with static pods only, then all.
    let all = rig.allocated.split_off(0);
    rig.restart_kubelet().observe();
    rig.later(Span::from_millis(900)).observe();
    rig.allocated = all;
    rig.tick(9);
    check(&rig, 0, &[("idle", 2)]);
    check(&rig, 1, &[("unallocated", 2)]);
}

#[test]
fn a_list_stays_incomplete_for_as_long_as_the_api_server_is_away() {
    let mut rig = node(1);
    rig.describe(&[described("job", "uid-1")]);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    rig.allocated.clear();
    rig.restart_kubelet();
    // Twenty minutes: far longer than any grace, and the watch is as silent as the API server.
    for _ in 0..120 {
        rig.tick_unwatched(10);
    }
    check(&rig, 0, &[("idle", 121)]);
    // The API server is back and shows the pod; the kubelet lists it again.
    rig.hold("job", &[whole("GPU-0")]).tick(10);
    check(&rig, 0, &[("idle", 122)]);
}

#[test]
fn without_a_pod_watch_whoever_is_not_listed_after_a_restart_has_a_grace() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    rig.allocated.clear();
    rig.restart_kubelet().observe();
    // A minute of grace, as an old answer would be believed for a minute; then it has ended.
    for _ in 0..10 {
        rig.tick(10);
    }
    check(&rig, 0, &[("idle", 8), ("unallocated", 3)]);
}

#[test]
fn without_a_break_whoever_is_not_listed_has_ended() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    rig.allocated.clear();
    rig.observe().tick(10);
    check(&rig, 0, &[("idle", 1), ("unallocated", 1)]);
}

#[test]
fn a_running_pod_that_shows_no_devices_for_a_moment_keeps_them() {
    let mut rig = node(1);
    rig.describe(&[described("job", "uid-1")]);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    let all = rig.allocated.split_off(0);
    rig.observe().later(Span::from_millis(50));
    rig.allocated = all;
    rig.observe().tick(10);
    check(&rig, 0, &[("idle", 2)]);
}

#[test]
fn what_is_listed_for_another_is_not_kept_for_who_vanished() {
    let mut rig = node(1);
    rig.describe(&[described("old", "uid-1"), described("new", "uid-2")]);
    rig.hold("old", &[whole("GPU-0")]).observe().tick(10);
    rig.free("old").hold("new", &[whole("GPU-0")]).observe().tick(20);
    assert_eq!(cents(&rig.pod("old").account.totals), [("idle", 1)]);
    assert_eq!(cents(&rig.pod("new").account.totals), [("idle", 2)]);
    assert_eq!(rig.report().allocation_conflicts, 0);
}

#[test]
fn a_terminated_pod_that_reappears_after_a_restart_holds_nothing() {
    let mut rig = node(1);
    rig.hold("static", &[whole("GPU-0")]).observe().tick(10);
    let all = rig.allocated.split_off(0);
    rig.observe().tick(10);
    // After the restart it shows up again, with its device, for a second.
    rig.allocated = all;
    rig.restart_kubelet().observe();
    rig.later(Span::from_secs(1)).observe();
    rig.allocated.clear();
    rig.tick(9);
    check(&rig, 0, &[("idle", 1), ("unallocated", 2)]);
}

#[test]
fn a_pod_that_comes_back_and_stays_is_believed_after_the_grace() {
    let mut rig = node(1);
    rig.hold("job-0", &[whole("GPU-0")]).observe().tick(10);
    let all = rig.allocated.split_off(0);
    rig.observe().tick(10);
    rig.allocated = all;
    rig.restart_kubelet().observe();
    for _ in 0..20 {
        rig.tick(10);
    }
    check(&rig, 0, &[("idle", 14), ("unallocated", 8)]);
    // With a pod watch that shows it running there is nothing to wait for.
    let mut rig = node(1);
    rig.hold("job-0", &[whole("GPU-0")]).observe().tick(10);
    let all = rig.allocated.split_off(0);
    rig.observe().tick(10);
    rig.allocated = all;
    rig.restart_kubelet().describe(&[described("job-0", "uid-2")]).observe().tick(20);
    check(&rig, 0, &[("idle", 3), ("unallocated", 1)]);
}

#[test]
fn an_old_kubelet_lists_what_has_ended() {
    let mut rig = node(1);
    rig.describe(&[described("job", "uid-1")]);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    rig.describe(&[Pod { ended: true, ..described("job", "uid-1") }]).observe().tick(10);
    check(&rig, 0, &[("idle", 1), ("unallocated", 1)]);
    // And goes on to when nobody knows the pod any more, with the same answer as before.
    rig.describe(&[described("other", "uid-2")]).later(Span::from_secs(1)).observe_stale();
    assert_eq!(rig.device(0).holdings.len(), 0);
}

#[test]
fn a_pod_made_anew_under_its_name_does_not_inherit_a_gpu() {
    let mut rig = node(2);
    rig.describe(&[described("set-0", "uid-1")]);
    rig.hold("set-0", &[whole("GPU-0")]).observe().tick(10);
    // The old one is gone from the list, the new one is there and not admitted yet.
    rig.free("set-0").describe(&[described("set-0", "uid-2")]).observe().tick(10);
    rig.hold("set-0", &[whole("GPU-1")]).observe().tick(10);
    check(&rig, 0, &[("idle", 1), ("unallocated", 2)]);
    check(&rig, 1, &[("idle", 1), ("unallocated", 2)]);
    let uids: Vec<_> = rig.report().pods.iter().map(|pod| (&*pod.uid, cents(&pod.account.totals))).collect();
    assert_eq!(uids, [("uid-1", vec![("idle", 1)]), ("uid-2", vec![("idle", 1)])]);
}

#[test]
fn a_pod_made_anew_holds_nothing_before_the_kubelet_lists_it() {
    let mut rig = node(1);
    rig.describe(&[described("set-0", "uid-1")]);
    rig.hold("set-0", &[whole("GPU-0")]).observe().tick(10);
    // The pod watch tells of the new one, and the kubelet was last asked when it had the old one.
    rig.describe(&[described("set-0", "uid-2")]).observe_stale().later(Span::from_secs(10)).observe_stale();
    rig.observe().tick(10);
    check(&rig, 0, &[("idle", 2), ("unallocated", 1)]);
    let uids: Vec<_> = rig.report().pods.iter().map(|pod| (&*pod.uid, cents(&pod.account.totals))).collect();
    assert_eq!(uids, [("uid-1", vec![("idle", 1)]), ("uid-2", vec![("idle", 1)])]);
    // Where both are told at once, what is listed is the new one's.
    rig.describe(&[described("set-0", "uid-3")]).later(Span::from_millis(1)).observe();
    rig.later(Span::from_secs(10)).observe_stale();
    check(&rig, 0, &[("idle", 3), ("unallocated", 1)]);
}

#[test]
fn a_pod_that_was_deleted_holds_nothing_before_the_kubelet_lists_it_again() {
    let mut rig = node(1);
    rig.describe(&[described("job", "uid-1"), described("other", "uid-2")]);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    rig.describe(&[described("other", "uid-2")]).observe_stale().later(Span::from_secs(10)).observe_stale();
    // The same answer, read from elsewhere, is no other answer.
    rig.seen.allocations = rig.seen.allocations.as_deref().cloned().map(Arc::new);
    rig.later(Span::from_secs(10)).observe_stale().later(Span::from_secs(10)).observe_stale();
    check(&rig, 0, &[("idle", 1), ("unallocated", 3)]);
    // Its containers were not gone yet.
    rig.observe().tick(10);
    check(&rig, 0, &[("idle", 2), ("unallocated", 3)]);
}

#[test]
fn a_static_pod_outlives_its_mirror() {
    let mirror = |uid| Pod { static_uid: Some("0f".into()), ..described("static-node-1", uid) };
    let mut rig = node(1);
    rig.describe(&[mirror("uid-1"), described("other", "uid-2")]);
    rig.hold("static-node-1", &[whole("GPU-0")]).observe().tick(10);
    // Somebody deletes the mirror, and the kubelet makes another.
    for pods in [vec![described("other", "uid-2")], vec![mirror("uid-3"), described("other", "uid-2")]] {
        rig.describe(&pods).observe_stale().later(Span::from_secs(10)).observe_stale();
        rig.observe().tick(10);
    }
    check(&rig, 0, &[("idle", 5)]);
}

#[test]
fn a_gpu_that_its_plugin_found_unhealthy_is_unavailable_while_nobody_holds_it() {
    let mut rig = node(3);
    rig.advertised = Some((0..3).map(|n| whole(&format!("GPU-{n}"))).collect());
    rig.gpu(0).activity = busy(50);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    // Two of three are unhealthy; one of them is held, and works.
    rig.advertised = Some(vec![whole("GPU-2")]);
    rig.observe().tick(20);
    check(&rig, 0, &[("used", 2), ("underused", 2)]);
    check(&rig, 1, &[("unallocated", 1), ("unavailable", 2)]);
    check(&rig, 2, &[("unallocated", 3)]);
    // The plugin stops, which says nothing about any GPU; then all are well.
    rig.advertised = Some(Vec::new());
    rig.observe().tick(10);
    rig.advertised = Some((0..3).map(|n| whole(&format!("GPU-{n}"))).collect());
    rig.observe().tick(10);
    check(&rig, 1, &[("unallocated", 2), ("unavailable", 3)]);
    check(&rig, 2, &[("unallocated", 5)]);
}

#[test]
fn gpus_of_a_plain_init_container_are_its_pods_where_no_other_can_be_meant() {
    let mut rig = node(3);
    rig.describe(&[Pod { unlisted_gpus: 1, ..described("train", "uid-1") }]);
    rig.hold("train", &[whole("GPU-0"), whole("GPU-1")]).observe().tick(10);
    check(&rig, 2, &[("idle", 1)]);
    assert_eq!(rig.pod("train").gpus_nanos, 3_000_000_000);
    // On a larger node it is one of two.
    let mut rig = node(4);
    rig.describe(&[Pod { unlisted_gpus: 1, ..described("train", "uid-1") }]);
    rig.hold("train", &[whole("GPU-0"), whole("GPU-1")]).observe().tick(10);
    check(&rig, 2, &[("unattributed", 1)]);
    check(&rig, 3, &[("unallocated", 1)]);
}

#[test]
fn an_init_container_gets_no_gpu_where_slots_are_given_out() {
    let mut rig = node(2);
    let of = crate::observation::FractionOf::Gpu("GPU-0".into());
    let part = crate::observation::Fraction { of, compute: Some(Ppm::from_percent(10)), memory: None };
    rig.describe(&[Pod { unlisted_gpus: 1, fractions: vec![part], ..described("train", "uid-1") }]);
    let slot = DeviceId { target: DeviceTarget::Slot("GPU-1-3".into()), replica: None };
    rig.hold("train", &[slot]).observe().tick(10).tick(10).tick(10).tick(10).tick(10).tick(50);
    check(&rig, 0, &[("idle", 1), ("unallocated", 9)]);
    check(&rig, 1, &[("unallocated", 10)]);
}

#[test]
fn an_init_container_holds_nothing_for_sure_while_the_pod_watch_is_silent() {
    let mut rig = node(1);
    rig.describe(&[Pod { unlisted_gpus: 1, ..described("train", "uid-1") }]).observe().tick(10);
    for _ in 0..12 {
        rig.tick_unwatched(10);
    }
    check(&rig, 0, &[("idle", 8), ("unattributed", 5)]);
}

#[test]
fn a_slot_or_a_mig_device_of_an_init_container_is_nobodys_that_we_can_name() {
    let mut rig = node(1);
    rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
    rig.describe(&[Pod { unlisted_gpus: 1, ..described("train", "uid-1") }]);
    rig.hold("train", &[replica("GPU-0", 0)]).observe().run(40, 10);
    check(&rig, 0, &[("idle", 1), ("unallocated", 2), ("unattributed", 1)]);
    // More than there is free is no more than that.
    rig.describe(&[Pod { unlisted_gpus: 9, ..described("train", "uid-1") }]).observe().run(40, 10);
    check(&rig, 0, &[("idle", 2), ("unallocated", 2), ("unattributed", 4)]);
    // A plugin that hands out MIG devices under the name of whole GPUs.
    let mut rig = node(1);
    let devices = vec![instance("MIG-a", 1, "3g.40gb", (3, 4)), instance("MIG-b", 2, "4g.40gb", (4, 4))];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    rig.describe(&[Pod { unlisted_gpus: 1, ..described("train", "uid-1") }]);
    rig.hold("train", &[mig("MIG-a")]).observe().run(70, 10);
    check(&rig, 0, &[("unmeasured", 3), ("unattributed", 4)]);
}

#[test]
fn gpus_of_two_pods_init_containers_are_neithers_that_we_can_name() {
    let mut rig = node(2);
    let owed = |name: &str, uid: &str| Pod { unlisted_gpus: 1, ..described(name, uid) };
    rig.describe(&[owed("a", "uid-1"), owed("b", "uid-2")]).observe().tick(10);
    check(&rig, 0, &[("unattributed", 1)]);
    check(&rig, 1, &[("unattributed", 1)]);
}

#[test]
fn a_static_pod_without_its_device_holds_nothing() {
    let mut rig = node(1);
    rig.describe(&[Pod { static_uid: Some("0f".into()), ..described("static-node-1", "uid-1") }]);
    rig.observe().tick(10);
    check(&rig, 0, &[("unallocated", 1)]);
}

#[test]
fn with_the_kubelet_and_the_pod_watch_away_nobody_is_named_for_ever() {
    let mut rig = node(1);
    rig.describe(&[described("job", "uid-1")]);
    rig.hold("job", &[whole("GPU-0")]).observe().tick(10);
    let told_at = rig.seen.pods_told_at;
    for _ in 0..10 {
        rig.later(Span::from_secs(10));
        rig.seen.pods_told_at = told_at;
        rig.report = Some(rig.meter.observe(&rig.seen));
    }
    check(&rig, 0, &[("idle", 8), ("unattributed", 3)]);
    // What was known is not lost: the kubelet answers, and the pod is who it was.
    rig.observe().tick(10);
    check(&rig, 0, &[("idle", 9), ("unattributed", 3)]);
}
