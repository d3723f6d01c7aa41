//! Parts of GPUs that a scheduler wrote into annotations.

use super::*;
use crate::cost::report::Basis;
use crate::observation::{Fraction, FractionOf};

const GIB: u64 = 1 << 30;

fn slot(id: &str) -> DeviceId {
    DeviceId { target: DeviceTarget::Slot(id.into()), replica: None }
}

fn part(of: FractionOf, compute: Option<u32>, gib: Option<u64>) -> Fraction {
    Fraction { of, compute: compute.map(Ppm::from_percent), memory: gib.map(|gib| gib * GIB) }
}

fn on(gpu: usize, compute: Option<u32>, gib: Option<u64>) -> Fraction {
    part(FractionOf::Gpu(format!("GPU-{gpu}").into()), compute, gib)
}

impl Rig {
    /// A pod with these fractions, for which the kubelet lists a slot of a GPU that is not meant.
    fn annotated(&mut self, pod: &str, fractions: &[Fraction]) -> &mut Self {
        let pods = self.seen.pods.iter().cloned();
        let annotated =
            Pod { key: key(pod), uid: pod.into(), fractions: fractions.to_vec(), ..Pod::default() };
        self.seen.pods = pods.chain([annotated]).collect();
        self.hold(pod, &[slot("GPU-1-3")])
    }

    fn shares(&self, device: usize) -> Vec<(String, (u64, u64), Basis)> {
        let line = |holding: &crate::cost::report::HoldingLine| {
            (holding.pod.to_string(), holding.share, holding.basis)
        };
        self.device(device).holdings.iter().map(line).collect()
    }
}

#[test]
fn an_annotation_wins_over_the_gpu_in_the_kubelets_id() {
    let mut rig = node(2);
    rig.annotated("a", &[on(0, Some(30), Some(10))]).observe().run(100, 10);
    check(&rig, 0, &[("idle", 3), ("unallocated", 7)]);
    check(&rig, 1, &[("unallocated", 10)]);
    assert_eq!(rig.device(0).sharing, Sharing::Fractional);
    assert_eq!(rig.report().unmapped_devices, 0);
}

#[test]
fn a_plugin_that_names_the_gpu_itself_is_believed() {
    let mut rig = node(2);
    rig.annotated("forger", &[on(0, Some(1), None)]);
    rig.free("forger").hold("forger", &[whole("GPU-1")]).observe().run(20, 10);
    check(&rig, 0, &[("unallocated", 2)]);
    check(&rig, 1, &[("idle", 2)]);
}

#[test]
fn cores_count_where_every_holder_names_cores_and_memory_otherwise() {
    let mut rig = node(1);
    rig.annotated("a", &[on(0, Some(30), Some(20))]).annotated("b", &[on(0, Some(20), Some(40))]).observe();
    let compute = |percent| Basis::Compute(Ppm::from_percent(percent));
    assert_eq!(rig.shares(0), [("a".into(), (3, 10), compute(30)), ("b".into(), (1, 5), compute(20))]);
    rig.annotated("c", &[on(0, None, Some(10))]).observe();
    let memory = |gib| Basis::Memory { bytes: gib * GIB, of: 80 * GIB };
    let expected = [
        ("a".into(), (1, 4), memory(20)),
        ("b".into(), (1, 2), memory(40)),
        ("c".into(), (1, 8), memory(10)),
    ];
    assert_eq!(rig.shares(0), expected);
}

#[test]
fn over_commitment_is_scaled_to_the_whole_and_said() {
    let mut rig = node(1);
    rig.annotated("a", &[on(0, Some(75), None)]).observe();
    assert!(!rig.device(0).overcommitted);
    rig.annotated("b", &[on(0, Some(75), None)]).observe().run(20, 10);
    assert!(rig.device(0).overcommitted);
    assert_eq!(cents(&rig.pod("a").account.totals), [("idle", 1)]);
    assert_eq!(cents(&rig.pod("b").account.totals), [("idle", 1)]);
    check(&rig, 0, &[("idle", 2)]);
}

#[test]
fn a_pod_without_limits_has_all_of_it_beside_the_others() {
    let mut rig = node(1);
    rig.annotated("a", &[on(0, None, None)]).observe().run(10, 10);
    check(&rig, 0, &[("idle", 1)]);
    rig.annotated("b", &[on(0, Some(50), None)]).observe();
    assert!(rig.device(0).overcommitted);
    let shares: Vec<_> = rig.device(0).holdings.iter().map(|holding| holding.share).collect();
    assert_eq!(shares, [(2, 3), (1, 3)]);
}

#[test]
fn a_lost_gpu_keeps_the_parts_of_its_memory() {
    let mut rig = node(1);
    rig.annotated("a", &[on(0, None, Some(20))]).observe();
    rig.gpu(0).health = Health::Unavailable(Fault::Lost);
    rig.gpu(0).memory = None;
    rig.observe().run(40, 10);
    assert_eq!(cents(&rig.pod("a").account.totals), [("unavailable", 1)]);
    check(&rig, 0, &[("unavailable", 4)]);
}

#[test]
fn gpus_by_number_and_mig_devices_are_found() {
    let mut rig = node(2);
    let gpu = rig.gpu(1);
    gpu.index = 1;
    gpu.mig = Mig::Enabled(Partition {
        compute_slices: 7,
        memory_slices: 8,
        devices: vec![instance("MIG-a", 1, "3g.40gb", (3, 4))],
    });
    rig.annotated("by-number", &[part(FractionOf::Index(0), Some(25), None)]);
    rig.annotated("on-mig", &[part(FractionOf::MigDevice("MIG-a".into()), None, None)]).observe();
    assert_eq!(rig.shares(0), [("by-number".into(), (1, 4), Basis::Compute(Ppm::from_percent(25)))]);
    assert_eq!(rig.device(1).holdings[0].share, (3, 7));
}

#[test]
fn a_reserved_gpu_is_its_groups() {
    let mut rig = node(1);
    let reservation = Pod {
        key: key("gpu-reservation"),
        uid: "r".into(),
        reserves: Some("group-1".into()),
        ..Pod::default()
    };
    let member = |name: &str, percent| Pod {
        key: key(name),
        uid: name.into(),
        fractions: vec![part(FractionOf::Group("group-1".into()), Some(percent), None)],
        ..Pod::default()
    };
    rig.seen.pods = [reservation, member("a", 50), member("b", 25)].into();
    rig.hold("gpu-reservation", &[whole("GPU-0")]).observe().run(40, 10);
    assert_eq!(cents(&rig.pod("a").account.totals), [("idle", 2)]);
    assert_eq!(cents(&rig.pod("b").account.totals), [("idle", 1)]);
    check(&rig, 0, &[("idle", 3), ("unallocated", 1)]);
    assert!(rig.report().pods.iter().all(|pod| &*pod.pod != "gpu-reservation"));
}

#[test]
fn a_slot_that_no_annotation_explains_takes_a_gpu_out_of_the_unallocated() {
    let mut rig = node(3);
    let ids = ["GPU-9-0", "GPU-9-1", "GPU-8-0"].map(slot);
    rig.hold("hami", &ids).observe().run(10, 10);
    check(&rig, 0, &[("unattributed", 1)]);
    check(&rig, 1, &[("unattributed", 1)]);
    check(&rig, 2, &[("unallocated", 1)]);
    // Units of memory are of one GPU, however many there are.
    let mut rig = node(2);
    let units: Vec<_> = (0..40).map(|n| slot(&format!("GPU-{}-_-{n}", n % 3))).collect();
    rig.hold("gpushare", &units).observe().run(10, 10);
    check(&rig, 0, &[("unattributed", 1)]);
    check(&rig, 1, &[("unallocated", 1)]);
}

#[test]
fn an_annotation_that_names_another_nodes_gpu_hides_one_of_ours() {
    let mut rig = node(2);
    rig.annotated("a", &[on(7, Some(50), None)]).observe().run(10, 10);
    check(&rig, 0, &[("unattributed", 1)]);
    assert_eq!(rig.report().unmapped_devices, 1);
}

#[test]
fn nobody_has_a_gpu_by_an_annotation_alone() {
    let mut rig = node(1);
    rig.annotated("forger", &[on(0, None, None)]);
    rig.free("forger").observe().run(10, 10);
    check(&rig, 0, &[("unallocated", 1)]);
}

#[test]
fn work_on_a_fraction_is_its_own_part_of_the_devices() {
    let mut rig = node(1);
    rig.gpu(0).activity = busy(60);
    rig.gpu(0).processes = Some(vec![process("a", 10), process("b", 50)]);
    rig.annotated("a", &[on(0, Some(50), None)]).annotated("b", &[on(0, Some(25), None)]).observe();
    let utilization = |pod| rig.pod(pod).devices[0].utilization;
    assert_eq!(utilization("a"), Some(Ppm::from_percent(20)));
    assert_eq!(utilization("b"), Some(Ppm::ALL));
    assert_eq!(rig.device(0).attribution, Attribution::Processes);
}
