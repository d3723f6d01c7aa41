//! The examples of `docs/sharing.md`: an H100 with 80 GiB at 8.40 $/h, for an hour.

use super::*;
use crate::observation::{Fraction, FractionOf};

const HOUR: u64 = 3_600;
const GIB: u64 = 1 << 30;

fn h100() -> Rig {
    Rig::new(prices(&[("nvidia-h100-80gb", 840)]), vec![gpu("GPU-0", "NVIDIA H100 80GB HBM3")])
}

impl Rig {
    /// Does so much in all, these processes of it.
    fn works(&mut self, percent: u32, processes: &[(&str, u32)]) -> &mut Self {
        self.gpu(0).activity = busy(percent);
        let processes = processes.iter().map(|(pod, percent)| process(pod, *percent));
        self.gpu(0).processes = Some(processes.collect());
        self
    }

    fn describe_more(&mut self, pod: Pod) -> &mut Self {
        self.seen.pods = self.seen.pods.iter().cloned().chain([pod]).collect();
        self
    }

    /// A pod with an annotation, for which the kubelet lists a slot.
    fn annotate(&mut self, pod: &str, fraction: Fraction) -> &mut Self {
        let key = key(pod);
        self.describe_more(Pod { key, uid: pod.into(), fractions: vec![fraction], ..Pod::default() });
        let target = DeviceTarget::Slot(format!("GPU-9-{pod}").into());
        self.hold(pod, &[DeviceId { target, replica: None }])
    }

    fn hour(&mut self) -> &mut Self {
        self.observe().run(HOUR, 10)
    }

    /// What each pod pays, and what nobody does.
    fn pays(&self, expected: &[(&str, &[(&'static str, u64)])], rest: &[(&'static str, u64)]) {
        let pods: Vec<_> =
            self.report().pods.iter().map(|pod| (&*pod.pod, cents(&pod.account.totals))).collect();
        let expected: Vec<_> = expected.iter().map(|(pod, states)| (*pod, states.to_vec())).collect();
        assert_eq!(pods, expected);
        let held = ["used", "underused", "idle", "unmeasured"];
        let mut unheld = cents(&self.device(0).totals);
        unheld.retain(|(state, _)| !held.contains(state));
        assert_eq!(unheld, rest);
        assert_eq!(self.device(0).totals.total_cost(), Cost::from_cents(840));
    }
}

fn part(cores: Option<u32>, gib: Option<u64>) -> Fraction {
    let of = FractionOf::Gpu("GPU-0".into());
    Fraction { of, compute: cores.map(Ppm::from_percent), memory: gib.map(|gib| gib * GIB) }
}

#[test]
fn a_whole_gpu_of_the_page() {
    h100()
        .hold("a", &[whole("GPU-0")])
        .works(60, &[])
        .hour()
        .pays(&[("a", &[("used", 504), ("underused", 336)])], &[]);
}

#[test]
fn replicas_of_the_page() {
    for (strategy, sharing) in [("time-slicing", Sharing::TimeSlicing), ("mps", Sharing::Mps)] {
        let mut rig = h100();
        let label = ("nvidia.com/gpu.sharing-strategy".into(), strategy.into());
        rig.seen.node = Arc::new(Node { name: "n".into(), labels: vec![label] });
        rig.advertised = Some((0..4).map(|n| replica("GPU-0", n)).collect());
        rig.hold("a", &[replica("GPU-0", 1)])
            .hold("b", &[replica("GPU-0", 3)])
            .works(30, &[("a", 30)])
            .hour();
        rig.pays(&[("a", &[("used", 210)]), ("b", &[("idle", 210)])], &[("unallocated", 420)]);
        assert_eq!((rig.pod("a").account.burst, rig.device(0).sharing), (Cost::from_cents(42), sharing));
    }
}

#[test]
fn mig_devices_of_the_page() {
    let mut rig = h100();
    let three = MigDevice { activity: busy(50), ..instance("MIG-3", 1, "3g.40gb", (3, 4)) };
    let two = instance("MIG-2", 2, "2g.20gb", (2, 2));
    let one = instance("MIG-1", 3, "1g.20gb", (1, 2));
    rig.gpu(0).mig =
        Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices: vec![three, two, one] });
    rig.hold("a", &[mig("MIG-3")]).hold("b", &[mig("MIG-2")]).hour();
    let a: &[_] = &[("used", 180), ("underused", 180)];
    rig.pays(&[("a", a), ("b", &[("unmeasured", 240)])], &[("unallocated", 120), ("stranded", 120)]);
}

#[test]
fn replicas_of_a_mig_device_of_the_page() {
    let mut rig = h100();
    let devices = vec![MigDevice { activity: busy(0), ..instance("MIG-3", 1, "3g.40gb", (3, 4)) }];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    let slot = |n| DeviceId { replica: Some(n), ..mig("MIG-3") };
    rig.advertised = Some(vec![slot(0), slot(1)]);
    rig.hold("a", &[slot(0)]).hour().pays(&[("a", &[("idle", 180)])], &[("unallocated", 660)]);
}

#[test]
fn annotations_of_the_page() {
    let mut rig = h100();
    rig.annotate("a", part(Some(50), None)).annotate("b", part(Some(25), None));
    rig.works(60, &[("a", 20), ("b", 40)]).hour();
    let a: &[_] = &[("used", 168), ("underused", 252)];
    rig.pays(&[("a", a), ("b", &[("used", 210)])], &[("unallocated", 210)]);
    assert_eq!(rig.pod("b").account.burst, Cost::from_cents(126));

    let mut rig = h100();
    rig.annotate("a", part(Some(90), Some(20))).annotate("b", part(None, Some(40))).hour();
    rig.pays(&[("a", &[("idle", 210)]), ("b", &[("idle", 420)])], &[("unallocated", 210)]);

    let mut rig = h100();
    rig.annotate("a", part(Some(75), None)).annotate("b", part(Some(75), None)).hour();
    rig.pays(&[("a", &[("idle", 420)]), ("b", &[("idle", 420)])], &[]);
    assert!(rig.device(0).overcommitted);
}

#[test]
fn a_reserved_gpu_of_the_page() {
    let mut rig = h100();
    let described = |name: &str| Pod { key: key(name), uid: name.into(), ..Pod::default() };
    rig.describe_more(Pod { reserves: Some("g".into()), ..described("reservation") });
    for (name, percent) in [("a", 50), ("b", 25)] {
        let fraction = Fraction { of: FractionOf::Group("g".into()), ..part(Some(percent), None) };
        rig.describe_more(Pod { fractions: vec![fraction], ..described(name) });
    }
    rig.hold("reservation", &[whole("GPU-0")]).hour();
    rig.pays(&[("a", &[("idle", 420)]), ("b", &[("idle", 210)])], &[("unallocated", 210)]);
}

#[test]
fn claims_of_the_page() {
    let mut rig = h100();
    rig.claims(&[("shared", None, false)]);
    let id = rig.claimed("shared");
    for pod in ["a", "b", "c"] {
        rig.hold(pod, std::slice::from_ref(&id));
    }
    rig.hour().pays(&["a", "b", "c"].map(|pod| (pod, &[("idle", 280)][..])), &[]);

    let mut rig = h100();
    rig.claims(&[("small", Some(20), false), ("large", Some(40), false)]);
    for (pod, claim) in [("a", "small"), ("b", "large"), ("c", "large")] {
        let id = rig.claimed(claim);
        rig.hold(pod, &[id]);
    }
    rig.hour().pays(&["a", "b", "c"].map(|pod| (pod, &[("idle", 210)][..])), &[("unallocated", 210)]);

    let mut rig = h100();
    rig.claims(&[("work", None, false), ("monitor", None, true)]);
    for (pod, claim) in [("a", "work"), ("monitor", "monitor")] {
        let id = rig.claimed(claim);
        rig.hold(pod, &[id]);
    }
    rig.hour().pays(&[("a", &[("idle", 840)])], &[]);
}

#[test]
fn two_pods_on_one_gpu_of_the_page() {
    let mut rig = h100();
    rig.meter.policy.retention = Span::from_secs(HOUR);
    rig.hold("old", &[whole("GPU-0")]).observe().run(1_800, 10);
    rig.hold("new", &[whole("GPU-0")]).observe().run(1_800, 10);
    rig.pays(&[("new", &[("idle", 420)]), ("old", &[("idle", 420)])], &[]);
}

#[test]
fn what_nobody_can_be_named_for_on_the_page() {
    let unreadable = DeviceId { target: DeviceTarget::Unreadable("42".into()), replica: None };
    h100().hold("who", &[unreadable]).hour().pays(&[], &[("unattributed", 840)]);
    let mut rig = h100();
    rig.gpu(0).health = Health::Unavailable(Fault::Lost);
    rig.hour().pays(&[], &[("unavailable", 840)]);
}
