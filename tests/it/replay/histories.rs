//! Histories of nodes, told in a few lines, from which the traces were made.

use std::sync::Arc;

use gpu_cost_exporter::observation::{
    Activity, Allocation, Allocations, CostLabels, DeviceId, DeviceTarget, Fault, Gpu, Health, Memory, Mig,
    MigDevice, Node, Observation, Partition, Pod, PodKey, Ppm, Process, Span, UnixTime, Uptime,
    UtilizationSource, Worker, Workload, Xid,
};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

const H100: &str = "NVIDIA H100 80GB HBM3";
const A100: &str = "NVIDIA A100-SXM4-80GB";

/// A node whose history is being told.
struct Told {
    seen: Observation,
    allocated: Vec<Allocation>,
    advertised: Option<Vec<DeviceId>>,
    history: Vec<Observation>,
}

/// An H100 in four slots: A works beyond its slot, B does nothing, two slots are free.
pub(super) fn time_slicing() -> Vec<Observation> {
    let mut node = Told::new(vec![gpu("GPU-h", H100)]);
    node.gpu(0).activity = busy(30);
    let worker = Worker::Pod(key("a"));
    let process = Process { pid: 0, worker, utilization: Ppm::from_percent(30), mig_device: None };
    node.gpu(0).processes = Some(vec![process]);
    node.advertised = Some((0..4).map(|n| replica("GPU-h", n)).collect());
    node.hold("a", replica("GPU-h", 1)).hold("b", replica("GPU-h", 3)).observe().run(HOUR, MINUTE);
    node.history
}

/// The same GPU as 4g.40gb, half busy, and 3g.40gb, which cannot be read.
pub(super) fn mig() -> Vec<Observation> {
    let mut node = Told::new(vec![gpu("GPU-h", H100)]);
    node.gpu(0).activity = Activity::default();
    let four = MigDevice { activity: busy(50), ..mig_device("MIG-a", 1, "4g.40gb", 4, 4) };
    node.cut(0, vec![four, mig_device("MIG-b", 2, "3g.40gb", 3, 4)]);
    node.hold("a", mig_id("MIG-a")).hold("b", mig_id("MIG-b")).observe().run(HOUR, MINUTE);
    node.history
}

/// An A100 for a day: ten hours of work at 60 %, two hours of nothing, twelve hours without a holder.
pub(super) fn a_day() -> Vec<Observation> {
    let mut node = Told::new(vec![gpu("GPU-a", A100)]);
    let tick = 10 * MINUTE;
    node.hold("job", whole("GPU-a")).observe();
    node.gpu(0).activity = busy(60);
    node.run(10 * HOUR, tick);
    node.gpu(0).activity = busy(0);
    node.run(2 * HOUR - tick, tick).later(tick).free("job").observe().run(12 * HOUR, tick);
    node.history
}

/// The kubelet is away for 30 s, the daemon for 90 s, then the node is suspended for an hour.
///
/// Of three GPUs one keeps its holder, one loses it while the daemon is away, one is free.
pub(super) fn sources_away() -> Vec<Observation> {
    let mut node = Told::new(vec![gpu("GPU-0", H100), gpu("GPU-1", H100), gpu("GPU-2", H100)]);
    node.describe("stays", "uid-stays").describe("goes", "uid-goes");
    node.gpu(0).activity = busy(80);
    node.gpu(1).activity = busy(80);
    node.hold("stays", whole("GPU-0")).hold("goes", whole("GPU-1")).observe().run(MINUTE, 10);
    for _ in 0..3 {
        node.later(10).observe_without_kubelet();
    }
    node.run(MINUTE, 10).later(90).free("goes");
    node.gpu(1).activity = busy(0);
    node.observe().run(MINUTE, 10).later(HOUR).observe().run(MINUTE, 10);
    node.history
}

/// 4g.40gb + 3g.40gb; the 4g is drained and becomes 2g.20gb + 1g.20gb, which leave a slice stranded, while the 3g works
/// on. For one tick the kubelet still names the MIG device that is no more.
pub(super) fn mig_repartitioned() -> Vec<Observation> {
    let mut node = Told::new(vec![gpu("GPU-h", H100)]);
    node.gpu(0).activity = Activity::default();
    let three = || MigDevice { activity: busy(80), ..mig_device("MIG-three", 2, "3g.40gb", 3, 4) };
    let four = MigDevice { activity: busy(30), ..mig_device("MIG-four", 1, "4g.40gb", 4, 4) };
    node.cut(0, vec![four, three()]);
    node.hold("steady", mig_id("MIG-three")).hold("drained", mig_id("MIG-four")).observe();
    node.run(2 * MINUTE, 10);
    node.cut(0, vec![three()]).later(10).observe();
    node.free("drained").later(10).observe();
    let two = MigDevice { activity: busy(50), ..mig_device("MIG-two", 3, "2g.20gb", 2, 2) };
    let one = MigDevice { activity: busy(0), ..mig_device("MIG-one", 4, "1g.20gb", 1, 2) };
    node.cut(0, vec![three(), two, one]).later(10).observe();
    node.hold("after", mig_id("MIG-two")).later(10).observe().run(2 * MINUTE, 10);
    node.history
}

/// A GPU falls off the bus, is no longer listed, and comes back after a reset with its energy counter at zero. Its holder
/// stays. A free GPU asks for a reset in the meantime.
pub(super) fn gpu_lost() -> Vec<Observation> {
    let mut node = Told::new(vec![gpu("GPU-0", A100), gpu("GPU-1", A100)]);
    node.describe("job", "uid-job").hold("job", whole("GPU-0"));
    let healthy = Gpu { activity: busy(90), ..gpu("GPU-0", A100) };
    *node.gpu(0) = Gpu { energy_millijoules: Some(5_000_000), ..healthy.clone() };
    node.observe();
    for _ in 0..6 {
        node.draw(0, 3_500_000).later(10).observe();
    }
    let xid = Xid { code: 79, at: UnixTime::from_millis(node.seen.wall.as_millis() + 9_000) };
    let lost = Gpu {
        health: Health::Unavailable(Fault::Lost),
        memory: None,
        power_milliwatts: None,
        activity: Activity::default(),
        ..gpu("GPU-0", A100)
    };
    *node.gpu(0) = Gpu { xids: vec![xid], ..lost.clone() };
    node.later(10).observe();
    *node.gpu(0) = lost;
    node.gpu(1).health = Health::Unavailable(Fault::ResetRequired);
    node.run(50, 10);
    node.gpu(1).health = Health::Healthy;
    let gone = node.seen.gpus.as_mut().map(|gpus| gpus.remove(0));
    assert!(gone.is_some());
    node.run(30, 10);
    node.seen.gpus.as_mut().unwrap().insert(0, Gpu { energy_millijoules: Some(0), ..healthy });
    node.later(10).observe();
    for _ in 0..6 {
        node.draw(0, 3_500_000).later(10).observe();
    }
    node.history
}

/// Pods that live for less than a tick of 10 s: each is in one answer of the kubelet or in none, and one name comes back
/// as another pod.
pub(super) fn short_pods() -> Vec<Observation> {
    let mut node = Told::new(vec![gpu("GPU-0", A100), gpu("GPU-1", A100)]);
    node.gpu(0).activity = busy(70);
    node.observe().run(20, 10);
    for n in 0..6 {
        let pod = format!("job-{n}");
        node.describe(&pod, &format!("uid-{n}")).hold(&pod, whole("GPU-0")).later(10).observe();
        node.free(&pod);
    }
    // In the list of pods, and gone before the kubelet was asked.
    node.describe("job-never-seen", "uid-never").later(10).observe();
    for uid in ["uid-first", "uid-second"] {
        node.describe("job-again", uid).hold("job-again", whole("GPU-1")).later(10).observe();
        node.free("job-again").later(10).observe();
    }
    node.run(20, 10);
    node.history
}

fn gpu(uuid: &str, product: &str) -> Gpu {
    Gpu {
        uuid: uuid.into(),
        index: 0,
        minor: Some(0),
        pci_bus_id: None,
        product: product.into(),
        health: Health::Healthy,
        mig: Mig::Disabled,
        memory: Some(Memory { used: 1 << 30, total: 80 << 30 }),
        power_milliwatts: Some(350_000),
        power_limit_milliwatts: None,
        energy_millijoules: None,
        activity: busy(0),
        utilization_source: UtilizationSource::NvmlSamples,
        processes: None,
        xids: Vec::new(),
    }
}

fn busy(percent: u32) -> Activity {
    Activity { utilization: Some(Ppm::from_percent(percent)), ..Activity::default() }
}

fn mig_device(uuid: &str, id: u32, profile: &str, compute_slices: u32, memory_slices: u32) -> MigDevice {
    MigDevice {
        uuid: uuid.into(),
        profile: profile.into(),
        gpu_instance: id,
        compute_instance: 0,
        gpu_instance_slices: compute_slices,
        compute_slices,
        memory_slices,
        memory: None,
        activity: Activity::default(),
    }
}

fn whole(uuid: &str) -> DeviceId {
    DeviceId { target: DeviceTarget::Gpu(uuid.into()), replica: None }
}

fn replica(uuid: &str, n: u32) -> DeviceId {
    DeviceId { replica: Some(n), ..whole(uuid) }
}

fn mig_id(uuid: &str) -> DeviceId {
    DeviceId { target: DeviceTarget::MigDevice(uuid.into()), replica: None }
}

fn key(pod: &str) -> PodKey {
    PodKey::new("ml", pod)
}

// === impl Told ===

impl Told {
    fn new(mut gpus: Vec<Gpu>) -> Self {
        for (index, gpu) in (0..).zip(&mut gpus) {
            (gpu.index, gpu.minor) = (index, Some(index));
        }
        let seen = Observation {
            at: Uptime::from_nanos(100_000_000_000),
            wall: UnixTime::from_millis(1_767_225_600_000),
            boot: "7d1f6a0e-3c52-4f0b-9a55-0c9d1b7e2f11".into(),
            gpus: Some(gpus),
            driver_version: Some("580.82.07".into()),
            node: Arc::new(Node { name: "gpu-node-1".into(), labels: Vec::new() }),
            ..Observation::default()
        };
        Self { seen, allocated: Vec::new(), advertised: None, history: Vec::new() }
    }

    fn gpu(&mut self, index: usize) -> &mut Gpu {
        &mut self.seen.gpus.as_mut().unwrap()[index]
    }

    fn cut(&mut self, index: usize, devices: Vec<MigDevice>) -> &mut Self {
        self.gpu(index).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
        self
    }

    fn draw(&mut self, index: usize, millijoules: u64) -> &mut Self {
        let energy = &mut self.gpu(index).energy_millijoules;
        *energy = energy.map(|before| before + millijoules);
        self
    }

    fn hold(&mut self, pod: &str, device: DeviceId) -> &mut Self {
        self.allocated.push(Allocation {
            pod: key(pod),
            container: "main".into(),
            resource: "nvidia.com/gpu".into(),
            devices: vec![device],
        });
        self
    }

    fn free(&mut self, pod: &str) -> &mut Self {
        self.allocated.retain(|allocation| allocation.pod != key(pod));
        self.seen.pods = self.seen.pods.iter().filter(|known| known.key != key(pod)).cloned().collect();
        self
    }

    /// Lets the pod's owner describe it.
    fn describe(&mut self, pod: &str, uid: &str) -> &mut Self {
        let described = Pod {
            key: key(pod),
            uid: uid.into(),
            created: self.seen.wall,
            labels: CostLabels { team: "ml".into(), ..CostLabels::default() },
            workload: Some(Workload { kind: "Job".into(), name: pod.into() }),
            ..Pod::default()
        };
        self.seen.pods = self.seen.pods.iter().cloned().chain([described]).collect();
        self
    }

    fn observe(&mut self) -> &mut Self {
        self.seen.allocations = Some(Arc::new(Allocations {
            read_at: self.seen.at,
            answering_since: Uptime::default(),
            containers: self.allocated.clone().into(),
            advertised: self.advertised.clone().map(Into::into),
        }));
        self.observe_without_kubelet()
    }

    fn observe_without_kubelet(&mut self) -> &mut Self {
        self.history.push(self.seen.clone());
        self
    }

    fn later(&mut self, seconds: u64) -> &mut Self {
        self.seen.at = self.seen.at.after(Span::from_secs(seconds));
        self.seen.wall = UnixTime::from_millis(self.seen.wall.as_millis() + seconds * 1_000);
        self
    }

    fn run(&mut self, seconds: u64, tick: u64) -> &mut Self {
        (0..seconds / tick).for_each(|_| {
            self.later(tick).observe();
        });
        self
    }
}
