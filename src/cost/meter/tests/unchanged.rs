//! What nothing has changed is not worked out again; what something has changed is, at once.

use super::*;
use crate::cost::attribution::GpuClaims;

fn claims(rig: &Rig) -> Vec<Arc<GpuClaims>> {
    rig.meter.open.as_ref().unwrap().gpus.iter().map(|gpu| Arc::clone(&gpu.claims)).collect()
}

/// How many GPUs are divided by another object than before.
fn changed(before: &[Arc<GpuClaims>], after: &[Arc<GpuClaims>]) -> usize {
    assert_eq!(before.len(), after.len());
    before.iter().zip(after).filter(|(before, after)| !Arc::ptr_eq(before, after)).count()
}

/// A GPU with four slots of which two pods have one each, one that a pod has as a whole, and a third that is free.
fn shared() -> Rig {
    let mut rig = node(3);
    rig.seen.gpus.as_mut().unwrap().iter_mut().zip(0..).for_each(|(gpu, index)| gpu.index = index);
    rig.seen.node = Arc::new(Node { name: "node".into(), labels: Vec::new() });
    rig.seen.pods = ["a", "b", "c"].map(|pod| Pod { key: key(pod), ..Pod::default() }).into();
    rig.advertised =
        Some((0..4).map(|n| replica("GPU-0", n)).chain([whole("GPU-1"), whole("GPU-2")]).collect());
    rig.hold("a", &[replica("GPU-0", 0)]).hold("b", &[replica("GPU-0", 1)]).hold("c", &[whole("GPU-1")]);
    rig.observe();
    rig
}

#[test]
fn a_division_stays_the_same_object_while_nothing_is_said_that_it_depends_on() {
    let mut rig = shared();
    let before = claims(&rig);
    for percent in [0, 70, 100] {
        rig.gpu(0).activity = busy(percent);
        rig.gpu(1).memory = Some(Memory { used: u64::from(percent) << 30, total: 80 << 30 });
        rig.later(Span::from_secs(1)).observe_stale();
        assert_eq!(changed(&before, &claims(&rig)), 0);
        // An answer that says the same is another one, and comes to the same.
        rig.later(Span::from_secs(1)).observe();
        assert_eq!(changed(&before, &claims(&rig)), 0);
    }
    rig.free("c").later(Span::from_secs(1)).observe();
    rig.seen.pods = ["a", "b"].map(|pod| Pod { key: key(pod), ..Pod::default() }).into();
    rig.later(Span::from_secs(1)).observe_stale();
    assert_eq!(changed(&before, &claims(&rig)), 1, "only what was given back");
}

/// What changes, and how many of the GPUs are divided in another way then.
type Change = (&'static str, usize, fn(&mut Rig));

#[test]
fn whatever_a_division_depends_on_changes_it_at_once() {
    let changes: [Change; 7] = [
        ("a rule", 1, |rig| {
            let rules = Rules { sharing_policy: SharingPolicy::Active, ..Rules::default() };
            rig.meter.set_terms(Terms { prices: Arc::clone(&rig.meter.prices), rules });
        }),
        ("an answer", 1, |rig| {
            rig.hold("e", &[whole("GPU-2")]).observe();
        }),
        ("an answer that grows old", 2, |rig| {
            rig.later(Span::from_secs(61));
        }),
        ("a pod that has ended", 1, |rig| {
            let mut pods = rig.seen.pods.to_vec();
            pods[2].ended = true;
            rig.seen.pods = pods.into();
        }),
        ("a pod whose init container has the free GPU", 1, |rig| {
            let mut pods = rig.seen.pods.to_vec();
            pods.push(Pod { key: key("d"), unlisted_gpus: 1, ..Pod::default() });
            rig.seen.pods = pods.into();
        }),
        ("a label of the node", 1, |rig| {
            let labels = vec![("nvidia.com/gpu.sharing-strategy".into(), "mps".into())];
            rig.seen.node = Arc::new(Node { name: "node".into(), labels });
        }),
        ("a GPU that is cut", 1, |rig| {
            let devices = vec![instance("MIG-1", 1, "1g.10gb", (1, 1))];
            rig.gpu(2).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
        }),
    ];
    for (what, expected, change) in changes {
        let mut rig = shared();
        rig.later(Span::from_secs(1)).observe_stale();
        let before = claims(&rig);
        change(&mut rig);
        rig.later(Span::from_secs(1)).observe_stale();
        assert_eq!(changed(&before, &claims(&rig)), expected, "{what}");
    }
}

#[test]
fn who_holds_what_is_looked_at_again_when_a_pod_is_described_otherwise() {
    let mut rig = shared();
    let team = |rig: &Rig| rig.pod("a").account.description.labels.team.to_string();
    assert_eq!(team(&rig), "");
    let mut pods = rig.seen.pods.to_vec();
    pods[0].labels.team = "search".into();
    rig.seen.pods = pods.into();
    rig.later(Span::from_secs(1)).observe_stale();
    assert_eq!(team(&rig), "search");
}

#[test]
fn a_pod_watch_that_falls_silent_is_no_longer_believed_though_nothing_is_said() {
    let mut rig = shared();
    rig.free("c").later(Span::from_secs(1)).observe();
    let told = rig.seen.pods_told_at;
    let holder = |rig: &mut Rig, seconds| {
        rig.later(Span::from_secs(seconds));
        rig.seen.pods_told_at = told;
        let report = rig.meter.observe(&rig.seen);
        report.devices[1].holdings.first().map(|line| line.pod.to_string())
    };
    // The kubelet does not list it any more, and the pod watch shows it running.
    let read_at = rig.seen.at.after(Span::from_secs(30));
    let answer = Allocations { read_at, ..Allocations::clone(rig.seen.allocations.as_ref().unwrap()) };
    rig.seen.allocations = Some(Arc::new(answer));
    assert_eq!(holder(&mut rig, 30).as_deref(), Some("c"));
    assert_eq!(holder(&mut rig, 30).as_deref(), Some("c"));
    assert_eq!(holder(&mut rig, 1), None);
}

#[test]
fn what_a_pod_did_before_a_reboot_says_nothing_of_what_it_does_after() {
    let mut rig = node(1);
    rig.hold("job", &[whole("GPU-0")]).observe();
    rig.gpu(0).activity = busy(90);
    rig.run(30, 10);
    rig.gpu(0).activity = busy(0);
    rig.seen.boot = "another".into();
    rig.later(Span::from_secs(10)).observe().run(10, 10);
    // With the half minute before in mind it would not be idle.
    check(&rig, 0, &[("used", 3), ("idle", 1)]);
}
