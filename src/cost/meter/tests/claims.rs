//! Devices that are given out by claims.

use super::*;
use crate::cost::report::Basis;
use crate::observation::{ClaimKey, ClaimedDevice, Dynamic, DynamicDevice, PublishedDevice, ResourceClaim};

const GIB: u64 = 1 << 30;

fn claim_key(name: &str) -> ClaimKey {
    ClaimKey { namespace: "ml".into(), name: name.into() }
}

fn device(name: &str) -> DynamicDevice {
    DynamicDevice { driver: "gpu.nvidia.com".into(), pool: "node-1".into(), device: name.into() }
}

fn claimed(claim: &str, name: &str, share_id: Option<&str>) -> DeviceId {
    let target = DeviceTarget::Claimed {
        claim: claim_key(claim),
        device: device(name),
        share_id: share_id.map(Into::into),
    };
    DeviceId { target, replica: None }
}

fn published(name: &str, uuid: Option<&str>) -> PublishedDevice {
    PublishedDevice {
        name: device(name),
        uuid: uuid.map(Into::into),
        parent: None,
        minor: None,
        profile: None,
        memory: Some(80 * GIB),
    }
}

fn has(name: &str) -> ClaimedDevice {
    ClaimedDevice { name: device(name), share_id: None, admin: false, consumed: None }
}

fn claim(name: &str, devices: Vec<ClaimedDevice>) -> ResourceClaim {
    ResourceClaim { key: claim_key(name), devices }
}

impl Rig {
    fn publish(&mut self, devices: Vec<PublishedDevice>, claims: Vec<ResourceClaim>) -> &mut Self {
        self.seen.dynamic = Arc::new(Dynamic { devices, claims });
        self
    }

    /// Gives the GPU out by claims: each with the GiB that it consumes, and whether it only monitors.
    pub(super) fn claims(&mut self, of: &[(&str, Option<u64>, bool)]) -> &mut Self {
        let claims = of.iter().map(|(name, gib, admin)| {
            let (share_id, consumed) = (gib.map(|_| (*name).into()), gib.map(|gib| gib * GIB));
            claim(name, vec![ClaimedDevice { share_id, admin: *admin, consumed, ..has("gpu-0") }])
        });
        self.publish(vec![published("gpu-0", Some("GPU-0"))], claims.collect())
    }

    /// What the kubelet lists for who has the claim.
    pub(super) fn claimed(&self, claim: &str) -> DeviceId {
        let found = self.seen.dynamic.claims.iter().find(|known| &*known.key.name == claim).unwrap();
        claimed(claim, "gpu-0", found.devices[0].share_id.as_deref())
    }
}

#[test]
fn a_claimed_gpu_is_found_by_its_published_uuid() {
    let mut rig = node(2);
    // The driver's numbers need not be ours.
    rig.publish(vec![published("gpu-0", Some("GPU-1"))], vec![claim("c", vec![has("gpu-0")])]);
    rig.hold("a", &[claimed("c", "gpu-0", None)]).observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 1)]);
    check(&rig, 1, &[("idle", 1)]);
    assert_eq!(rig.device(1).sharing, Sharing::Exclusive);
}

#[test]
fn without_the_api_server_the_devices_name_tells() {
    let mut rig = node(2);
    rig.gpu(0).mig = Mig::Enabled(Partition {
        compute_slices: 7,
        memory_slices: 8,
        devices: vec![instance("MIG-a", 1, "1g.10gb", (1, 1)), instance("MIG-b", 2, "2g.20gb", (2, 2))],
    });
    rig.hold("whole", &[claimed("c", "gpu-1", None)]);
    rig.hold("part", &[claimed("d", "gpu-0-mig-1g10gb-19-6", None)]).observe().run(70, 10);
    assert_eq!(cents(&rig.pod("whole").account.totals), [("idle", 7)]);
    assert_eq!(cents(&rig.pod("part").account.totals), [("unmeasured", 1)]);
}

#[test]
fn a_mig_device_made_on_demand_is_found_where_only_one_can_be_meant() {
    let cut = |uuids: &[&str]| {
        let devices = (1..).zip(uuids).map(|(id, uuid)| instance(uuid, id, "1g.10gb+me", (1, 1))).collect();
        Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices })
    };
    let name = "gpu-0-mig-1g10gb-me-20-0";
    let slice = PublishedDevice {
        parent: Some("GPU-0".into()),
        profile: Some("1g.10gb+me".into()),
        ..published(name, None)
    };
    let mut rig = node(1);
    rig.gpu(0).mig = cut(&["MIG-a"]);
    rig.publish(vec![slice.clone()], vec![claim("c", vec![has(name)])])
        .hold("a", &[claimed("c", name, None)])
        .observe();
    assert_eq!(rig.device(0).holdings[0].mig_device.as_deref(), Some("MIG-a"));
    // Of two with one profile nothing tells which it is: the money is nobody's that we can name.
    rig.gpu(0).mig = cut(&["MIG-a", "MIG-b"]);
    rig.observe().run(70, 10);
    assert!(rig.device(0).holdings.is_empty());
    assert!(
        cents(&rig.device(0).totals).contains(&("unattributed", 1)),
        "{:?}",
        cents(&rig.device(0).totals)
    );
}

#[test]
fn mig_devices_that_cannot_be_told_apart_hide_on_the_gpu_they_are_on() {
    let mut rig = node(2);
    let cut = vec![instance("MIG-a", 1, "1g.10gb", (1, 1)), instance("MIG-b", 2, "1g.10gb", (1, 1))];
    rig.gpu(1).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices: cut });
    rig.hold("a", &[claimed("c", "gpu-1-mig-1g10gb-19-0", None)]);
    rig.hold("b", &[claimed("d", "gpu-1-mig-1g10gb-19-1", None)]).observe().run(70, 10);
    check(&rig, 0, &[("unallocated", 7)]);
    check(&rig, 1, &[("unallocated", 5), ("unattributed", 2)]);
}

#[test]
fn a_kubelet_that_tells_no_share_leaves_a_claim_its_part() {
    let mut rig = node(1);
    let part = ClaimedDevice { share_id: Some("s-1".into()), consumed: Some(20 * GIB), ..has("gpu-0") };
    rig.publish(vec![published("gpu-0", Some("GPU-0"))], vec![claim("small", vec![part])]);
    rig.hold("a", &[claimed("small", "gpu-0", None)]).observe().run(40, 10);
    check(&rig, 0, &[("idle", 1), ("unallocated", 3)]);
}

#[test]
fn pods_that_share_a_claim_have_equal_parts() {
    let mut rig = node(1);
    rig.publish(vec![published("gpu-0", Some("GPU-0"))], vec![claim("shared", vec![has("gpu-0")])]);
    for pod in ["a", "b", "c"] {
        // Two containers of one pod are one user.
        rig.hold(pod, &[claimed("shared", "gpu-0", None)]).hold(pod, &[claimed("shared", "gpu-0", None)]);
    }
    rig.observe().run(30, 10);
    for pod in ["a", "b", "c"] {
        assert_eq!(cents(&rig.pod(pod).account.totals), [("idle", 1)]);
    }
    check(&rig, 0, &[("idle", 3)]);
    assert_eq!(rig.device(0).holdings[0].basis, Basis::Claim { pods: 3 });
    assert_eq!(rig.report().allocation_conflicts, 0);
}

#[test]
fn access_for_monitoring_costs_nothing() {
    let mut rig = node(1);
    let admin = ClaimedDevice { admin: true, ..has("gpu-0") };
    let claims = vec![claim("monitor", vec![admin]), claim("work", vec![has("gpu-0")])];
    rig.publish(vec![published("gpu-0", Some("GPU-0"))], claims);
    rig.hold("monitor", &[claimed("monitor", "gpu-0", None)]).observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 1)]);
    rig.hold("work", &[claimed("work", "gpu-0", None)]).observe().run(20, 10);
    check(&rig, 0, &[("idle", 2), ("unallocated", 1)]);
    let report = rig.report();
    assert_eq!((report.allocation_conflicts, report.unmapped_devices), (0, 0));
    assert!(report.pods.iter().all(|pod| &*pod.pod != "monitor"));
}

#[test]
fn consumed_capacity_is_a_part_of_the_whole() {
    let mut rig = node(1);
    let part = |id: &str, gib: u64| ClaimedDevice {
        share_id: Some(id.into()),
        consumed: Some(gib * GIB),
        ..has("gpu-0")
    };
    let claims = vec![claim("small", vec![part("s-1", 20)]), claim("big", vec![part("s-2", 40)])];
    rig.publish(vec![published("gpu-0", Some("GPU-0"))], claims);
    rig.hold("a", &[claimed("small", "gpu-0", Some("s-1"))]);
    rig.hold("b", &[claimed("big", "gpu-0", Some("s-2"))]);
    rig.hold("c", &[claimed("big", "gpu-0", Some("s-2"))]).observe().run(40, 10);
    for pod in ["a", "b", "c"] {
        assert_eq!(cents(&rig.pod(pod).account.totals), [("idle", 1)]);
    }
    check(&rig, 0, &[("idle", 3), ("unallocated", 1)]);
    assert_eq!(rig.device(0).holdings[1].basis, Basis::Memory { bytes: 20 * GIB, of: 80 * GIB });
}

#[test]
fn claims_on_parts_of_which_nobody_says_how_large_they_are_have_equal_ones() {
    let mut rig = node(1);
    let part = |id: &str| ClaimedDevice { share_id: Some(id.into()), ..has("gpu-0") };
    let claims = vec![claim("one", vec![part("s-1")]), claim("other", vec![part("s-2")])];
    rig.publish(vec![published("gpu-0", Some("GPU-0"))], claims);
    rig.hold("a", &[claimed("one", "gpu-0", Some("s-1"))]);
    rig.hold("b", &[claimed("other", "gpu-0", Some("s-2"))]).observe().run(20, 10);
    assert_eq!(cents(&rig.pod("a").account.totals), [("idle", 1)]);
    assert_eq!(cents(&rig.pod("b").account.totals), [("idle", 1)]);
    assert_eq!(rig.report().allocation_conflicts, 0);
}

#[test]
fn a_claim_that_is_not_prepared_holds_what_was_allocated_to_it() {
    let unprepared = |name: &str| DeviceId { target: DeviceTarget::Claim(claim_key(name)), replica: None };
    let mut rig = node(2);
    let claims = vec![claim("c", vec![has("gpu-1")])];
    rig.publish(vec![published("gpu-1", Some("GPU-1"))], claims);
    rig.hold("a", &[unprepared("c")]).observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 1)]);
    check(&rig, 1, &[("idle", 1)]);
    // Another one of which the API server has not told yet.
    rig.hold("b", &[unprepared("d")]).observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 1), ("unattributed", 1)]);
    // Where no driver publishes GPUs it is a claim for something else.
    let mut rig = node(1);
    rig.hold("nic", &[unprepared("network")]).observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 1)]);
}

#[test]
fn a_claim_that_is_not_told_yet_takes_nothing_from_anybody() {
    let mut rig = node(2);
    let devices = vec![published("gpu-0", Some("GPU-0")), published("gpu-1", Some("GPU-1"))];
    rig.publish(devices.clone(), vec![claim("work", vec![has("gpu-0")])]);
    rig.hold("work", &[claimed("work", "gpu-0", None)]).observe();
    // It comes later and may be access for monitoring.
    let monitors = [claimed("monitor", "gpu-0", None), claimed("monitor", "gpu-1", None)];
    rig.hold("monitor", &monitors).observe().run(10, 10);
    check(&rig, 0, &[("idle", 1)]);
    check(&rig, 1, &[("unattributed", 1)]);
    let admin = |name| ClaimedDevice { admin: true, ..has(name) };
    let told =
        vec![claim("work", vec![has("gpu-0")]), claim("monitor", vec![admin("gpu-0"), admin("gpu-1")])];
    rig.publish(devices, told).observe().run(10, 10);
    check(&rig, 0, &[("idle", 2)]);
    check(&rig, 1, &[("unallocated", 1), ("unattributed", 1)]);
    let report = rig.report();
    assert_eq!((report.allocation_conflicts, report.unmapped_devices), (0, 0));
    assert!(report.pods.iter().all(|pod| &*pod.pod != "monitor"));
}

#[test]
fn a_passed_through_gpu_is_none_of_ours() {
    let mut rig = node(1);
    rig.hold("vm", &[claimed("c", "gpu-vfio-0", None)]).observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 1)]);
}

#[test]
fn two_claims_on_one_whole_device_are_a_conflict() {
    let mut rig = node(1);
    let claims = ["c", "d"].map(|name| claim(name, vec![has("gpu-0")]));
    rig.publish(vec![published("gpu-0", Some("GPU-0"))], claims.to_vec());
    rig.hold("old", &[claimed("c", "gpu-0", None)]).observe().run(10, 10);
    rig.hold("new", &[claimed("d", "gpu-0", None)]).observe().run(10, 10);
    assert_eq!(cents(&rig.pod("old").account.totals), [("idle", 1)]);
    assert_eq!(cents(&rig.pod("new").account.totals), [("idle", 1)]);
    assert_eq!(rig.report().allocation_conflicts, 1);
}

#[test]
fn a_pod_that_is_not_listed_keeps_a_claim_that_it_shares() {
    let mut rig = node(1);
    let claims = vec![claim("c", vec![has("gpu-0")])];
    rig.publish(vec![published("gpu-0", Some("GPU-0"))], claims);
    let pod = |name: &str| Pod { key: key(name), uid: name.into(), ..Pod::default() };
    rig.seen.pods = [pod("a"), pod("b")].into();
    rig.hold("a", &[claimed("c", "gpu-0", None)]);
    rig.hold("b", &[claimed("c", "gpu-0", None)]).observe().run(20, 10);
    // The kubelet restarts and knows one of the two again.
    rig.later(Span::from_millis(100));
    rig.answering_since = rig.seen.at;
    rig.free("a").observe().run(20, 10);
    assert_eq!(
        (cents(&rig.pod("a").account.totals), cents(&rig.pod("b").account.totals)),
        (vec![("idle", 2)], vec![("idle", 2)])
    );
}
