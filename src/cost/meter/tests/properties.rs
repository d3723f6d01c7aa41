//! What holds for every history of a node: generated GPUs that appear, break and return, holders of every sharing mode
//! that come and go, prices that change, sources that fall silent.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::cost::money::GpuTime;
use crate::cost::pricing::NodeFacts;
use crate::cost::report::Payer;
use crate::observation::{
    ClaimKey, ClaimedDevice, Dynamic, DynamicDevice, Fraction, FractionOf, PublishedDevice, ResourceClaim,
};

const PRODUCTS: [&str; 3] = ["NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "NVIDIA Unheard Of"];

/// One tick of a generated history.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    elapsed: Span,
    gpus: Option<Vec<Board>>,
    kubelet: Kubelet,
    /// What the pod watch shows, if it tells anything.
    pods: Option<Vec<Described>>,
    cents: u64,
    reboot: bool,
    /// Whether everybody says again what was said before, the kubelet only if it says anything.
    again: bool,
}

/// A GPU of a generated history, known by its number.
#[derive(Clone, Debug)]
struct Board {
    number: u8,
    fault: Option<Fault>,
    utilization: Option<u32>,
    processes: Option<Vec<(u8, u32)>>,
    geometry: usize,
    energy: Option<u64>,
}

/// What the kubelet says.
#[derive(Clone, Debug)]
enum Kubelet {
    Silent,
    Says { holds: Vec<(u8, u8, Device)>, replicas: Option<u32>, restarted: bool },
}

/// A pod as its owner describes it, known by its number.
#[derive(Clone, Debug)]
struct Described {
    number: u8,
    life: u8,
    ended: bool,
    unlisted_gpus: u32,
    reserves: bool,
    /// Number of the GPU, or a group, with percent of compute and bytes of memory.
    fractions: Vec<(Option<u8>, Option<u32>, Option<u64>)>,
}

#[derive(Clone, Copy, Debug)]
enum Device {
    Whole,
    Replica(u32),
    Mig(u32),
    Slot,
    /// By the claim of this number.
    Claimed(u8),
    Unprepared(u8),
    Unreadable,
}

/// Slices (compute, memory) of the MIG devices of each geometry; the first two are no MIG at all.
const GEOMETRIES: [Option<&[(u32, u32)]>; 7] = [
    None,
    None,
    Some(&[]),
    Some(&[(4, 4), (3, 4)]),
    Some(&[(3, 4), (3, 4)]),
    Some(&[(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)]),
    Some(&[(1, 2), (2, 2), (3, 4)]),
];

pub(super) fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    prop::collection::vec(tick(), 1..25)
}

fn tick() -> impl Strategy<Value = Tick> {
    let elapsed = prop_oneof![
        6 => (1u64..10_000).prop_map(Span::from_millis),
        2 => (0u64..2_000_000_000).prop_map(Span::from_nanos),
        1 => (60u64..290).prop_map(Span::from_secs),
        1 => (301u64..4_000).prop_map(Span::from_secs),
    ];
    let gpus = prop::option::weighted(0.9, prop::collection::vec(board(), 0..4));
    let pods = prop::option::weighted(0.7, prop::collection::vec(described(), 0..6));
    let (reboot, again) = (prop::bool::weighted(0.03), prop::bool::weighted(0.3));
    (elapsed, gpus, kubelet(), pods, 0u64..2_000, reboot, again).prop_map(
        |(elapsed, gpus, kubelet, pods, cents, reboot, again)| Tick {
            elapsed,
            gpus,
            kubelet,
            pods,
            cents,
            reboot,
            again,
        },
    )
}

fn described() -> impl Strategy<Value = Described> {
    let fraction =
        (prop::option::of(0u8..5), prop::option::of(0u32..=100), prop::option::of(0u64..(100 << 30)));
    let fractions = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(fraction, 0..3)];
    let rarely = prop::bool::weighted(0.2);
    (0u8..6, 0u8..2, rarely, 0u32..2, prop::bool::weighted(0.1), fractions).prop_map(
        |(number, life, ended, unlisted_gpus, reserves, fractions)| Described {
            number,
            life,
            ended,
            unlisted_gpus,
            reserves,
            fractions,
        },
    )
}

fn board() -> impl Strategy<Value = Board> {
    let fault = prop::option::weighted(0.1, prop_oneof![Just(Fault::Lost), Just(Fault::NotResponding)]);
    let processes = prop::option::of(prop::collection::vec((0u8..6, 0u32..=100), 0..4));
    let energy = prop::option::of(0u64..1_000_000);
    (0u8..4, fault, prop::option::of(0u32..=100), processes, 0..GEOMETRIES.len(), energy).prop_map(
        |(number, fault, utilization, processes, geometry, energy)| Board {
            number,
            fault,
            utilization,
            processes,
            geometry,
            energy,
        },
    )
}

fn kubelet() -> impl Strategy<Value = Kubelet> {
    let device = prop_oneof![
        4 => Just(Device::Whole),
        3 => (0u32..6).prop_map(Device::Replica),
        3 => (0u32..7).prop_map(Device::Mig),
        1 => Just(Device::Slot),
        2 => (0u8..5).prop_map(Device::Claimed),
        1 => (0u8..5).prop_map(Device::Unprepared),
        1 => Just(Device::Unreadable),
    ];
    let holds = prop::collection::vec((0u8..6, 0u8..4, device), 0..8);
    let says = (holds, prop::option::of(1u32..6), prop::bool::weighted(0.1))
        .prop_map(|(holds, replicas, restarted)| Kubelet::Says { holds, replicas, restarted });
    prop_oneof![1 => Just(Kubelet::Silent), 8 => says]
}

fn uuid(number: u8) -> String {
    format!("GPU-{number}")
}

fn board_as_seen(board: &Board) -> Gpu {
    let utilization = board.utilization.map(Ppm::from_percent);
    let devices = GEOMETRIES[board.geometry].map(|slices| {
        let device = |(id, slices): (u32, &(u32, u32))| MigDevice {
            activity: Activity { utilization, ..Activity::default() },
            ..instance(&format!("MIG-{}-{id}", board.number), id, "x", *slices)
        };
        (0..).zip(slices).map(device).collect()
    });
    let process = |(pod, percent): &(u8, u32)| process(&format!("pod-{pod}"), *percent);
    Gpu {
        minor: Some(board.number.into()),
        health: board.fault.map_or(Health::Healthy, Health::Unavailable),
        activity: Activity { utilization, ..Activity::default() },
        processes: board.processes.as_ref().map(|processes| processes.iter().map(process).collect()),
        energy_millijoules: board.energy,
        mig: devices.map_or(Mig::Disabled, |devices| {
            Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices })
        }),
        ..gpu(&uuid(board.number), PRODUCTS[usize::from(board.number) % PRODUCTS.len()])
    }
}

fn device_id(number: u8, device: Device) -> DeviceId {
    match device {
        Device::Whole => whole(&uuid(number)),
        Device::Replica(n) => replica(&uuid(number), n),
        Device::Mig(id) => mig(&format!("MIG-{number}-{id}")),
        Device::Slot => target(DeviceTarget::Slot(format!("{}-1", uuid(number)).into())),
        Device::Claimed(claim) => target(DeviceTarget::Claimed {
            claim: claim_key(claim),
            device: dynamic_device(number),
            share_id: (claim > 2).then(|| "share".into()),
        }),
        Device::Unprepared(claim) => target(DeviceTarget::Claim(claim_key(claim))),
        Device::Unreadable => target(DeviceTarget::Unreadable(format!("?{number}").into())),
    }
}

fn target(target: DeviceTarget) -> DeviceId {
    DeviceId { target, replica: None }
}

fn claim_key(claim: u8) -> ClaimKey {
    ClaimKey { namespace: "ml".into(), name: format!("claim-{claim}").into() }
}

fn dynamic_device(number: u8) -> DynamicDevice {
    DynamicDevice {
        driver: "gpu.nvidia.com".into(),
        pool: "n".into(),
        device: format!("gpu-{number}").into(),
    }
}

/// Five claims on each of four GPUs: two for the whole, one for monitoring, two that consume a part.
fn dynamic() -> Dynamic {
    let published = |number| PublishedDevice {
        name: dynamic_device(number),
        uuid: Some(uuid(number).into()),
        parent: None,
        minor: None,
        profile: None,
        memory: Some(80 << 30),
    };
    let claimed = |claim: u8, number| ClaimedDevice {
        name: dynamic_device(number),
        share_id: (claim > 2).then(|| "share".into()),
        admin: claim == 2,
        consumed: (claim > 2).then(|| u64::from(claim) << 34),
    };
    let claim = |claim| ResourceClaim {
        key: claim_key(claim),
        devices: (0..4).map(|number| claimed(claim, number)).collect(),
    };
    Dynamic { devices: (0..4).map(published).collect(), claims: (0..5).map(claim).collect() }
}

fn pod_as_described(described: &Described) -> Pod {
    let fraction = |(gpu, compute, memory): &(Option<u8>, Option<u32>, Option<u64>)| Fraction {
        of: gpu.map_or(FractionOf::Group("group".into()), |gpu| FractionOf::Gpu(uuid(gpu).into())),
        compute: compute.map(Ppm::from_percent),
        memory: *memory,
    };
    Pod {
        key: key(&format!("pod-{}", described.number)),
        uid: format!("uid-{}", described.life).into(),
        ended: described.ended,
        unlisted_gpus: described.unlisted_gpus,
        reserves: described.reserves.then(|| "group".into()),
        fractions: described.fractions.iter().map(fraction).collect(),
        ..Pod::default()
    }
}

/// The observations of a history, each with the cents per hour that are in force when it is made.
pub(super) fn observations(ticks: &[Tick]) -> Vec<(u64, Observation)> {
    let mut rig = Rig::new(prices(&[]), Vec::new());
    rig.seen.dynamic = Arc::new(dynamic());
    let mut boot = 0;
    let mut seen = Vec::new();
    for tick in ticks {
        rig.later(tick.elapsed);
        boot += u32::from(tick.reboot);
        rig.seen.boot = boot.to_string().into();
        if tick.again {
            say_again(&mut rig, matches!(tick.kubelet, Kubelet::Says { .. }));
            seen.push((tick.cents, rig.seen.clone()));
            continue;
        }
        let boards = tick.gpus.as_ref().map(|gpus| {
            let distinct: BTreeMap<u8, Gpu> = gpus.iter().map(|b| (b.number, board_as_seen(b))).collect();
            distinct.into_values().collect()
        });
        rig.seen.gpus = boards;
        if let Kubelet::Says { holds, replicas, restarted } = &tick.kubelet {
            if *restarted {
                rig.answering_since = rig.seen.at;
            }
            let answer =
                Allocations { answering_since: rig.answering_since, ..says(rig.seen.at, holds, *replicas) };
            rig.seen.allocations = Some(Arc::new(answer));
        }
        if let Some(pods) = &tick.pods {
            let distinct: BTreeMap<u8, Pod> =
                pods.iter().map(|pod| (pod.number, pod_as_described(pod))).collect();
            rig.seen.pods = distinct.into_values().collect();
            rig.seen.pods_told_at = Some(rig.seen.at);
        }
        seen.push((tick.cents, rig.seen.clone()));
    }
    seen
}

fn say_again(rig: &mut Rig, kubelet: bool) {
    if let Some(answer) = rig.seen.allocations.as_mut().filter(|_| kubelet) {
        Arc::make_mut(answer).read_at = rig.seen.at;
    }
    if rig.seen.pods_told_at.is_some() {
        rig.seen.pods_told_at = Some(rig.seen.at);
    }
}

fn says(at: Uptime, holds: &[(u8, u8, Device)], replicas: Option<u32>) -> Allocations {
    let allocation = |(n, (pod, gpu, device)): (usize, &(u8, u8, Device))| Allocation {
        pod: key(&format!("pod-{pod}")),
        container: ["main", "side", ""][n % 3].into(),
        resource: "nvidia.com/gpu".into(),
        devices: vec![device_id(*gpu, *device)],
    };
    let slots = |count| (0..4).flat_map(move |gpu| (0..count).map(move |n| replica(&uuid(gpu), n)));
    Allocations {
        read_at: at,
        answering_since: Uptime::default(),
        containers: holds.iter().enumerate().map(allocation).collect(),
        advertised: replicas.map(|count| slots(count).collect()),
    }
}

pub(super) fn sheet(cents: u64) -> Arc<PriceSheet> {
    let prices = prices(&[("nvidia-a100-80gb", cents), ("nvidia-h100-80gb", cents + 7)]);
    let energy = (!cents.is_multiple_of(3)).then(|| energy::terms(cents));
    Arc::new(PriceSheet { energy, ..PriceSheet::clone(&prices) })
}

pub(super) fn meter() -> Meter {
    Meter::new(Policy { retention: Span::from_secs(u64::MAX / 1_000_000_000), ..policy() }, sheet(0))
}

fn run(history: &[(u64, Observation)]) -> Vec<Arc<Report>> {
    let mut meter = meter();
    let step = |(cents, seen): &(u64, Observation)| {
        meter.set_prices(sheet(*cents));
        meter.observe(seen)
    };
    history.iter().map(step).collect()
}

/// The bill and the charged time of each GPU, worked out without the meter.
fn expected(history: &[(u64, Observation)]) -> BTreeMap<String, (Cost, GpuTime)> {
    let mut bills: BTreeMap<String, (Cost, GpuTime)> = BTreeMap::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for (index, (cents, seen)) in history.iter().enumerate() {
        let previous = index.checked_sub(1).map(|before| &history[before]);
        if previous.is_some_and(|(_, before)| before.boot != seen.boot) {
            known.clear();
        }
        for gpu in seen.gpus.iter().flatten() {
            known.insert(gpu.uuid.to_string(), gpu.product.to_string());
            bills.entry(gpu.uuid.to_string()).or_default();
        }
        let Some((_, next)) = history.get(index + 1).filter(|(_, next)| next.boot == seen.boot) else {
            continue;
        };
        let elapsed = next.at.since(seen.at);
        if elapsed > policy().max_gap {
            continue;
        }
        for (uuid, product) in &known {
            let (cost, time) = bills.entry(uuid.clone()).or_default();
            *time += elapsed.into();
            let model = crate::cost::gpu_model::of_product(product);
            if let Some(quote) = sheet(*cents).on(&NodeFacts::default(), None).quote(&model, 0) {
                *cost += quote.effective.over(elapsed);
            }
        }
    }
    bills
}

/// Every counter of a report, by name.
pub(super) fn counters(report: &Report) -> BTreeMap<String, u128> {
    let mut counters = BTreeMap::new();
    let mut totals = |name: String, totals: &Totals| {
        for state in State::ALL {
            counters.insert(format!("{name} {state:?} time"), totals.time(state).nanos());
            if let Some(cost) = totals.cost(state) {
                counters.insert(format!("{name} {state:?} cost"), cost.units());
            }
        }
    };
    report.devices.iter().for_each(|line| totals(format!("device {}", line.gpu.uuid), &line.totals));
    report.former_devices.iter().for_each(|line| totals(format!("device {}", line.uuid), &line.totals));
    report
        .pods
        .iter()
        .for_each(|line| totals(format!("pod {} {}", line.pod, line.uid), &line.account.totals));
    report.showback.iter().for_each(|line| totals(format!("payer {:?}", line.payer), &line.totals));
    let mut device = |uuid: &str, energy: Option<u128>, bands: [GpuTime; 3], gaps: [GpuTime; 3]| {
        counters.insert(format!("energy {uuid}"), energy.unwrap_or(0));
        counters.insert(format!("bands {uuid}"), bands.iter().map(|band| band.nanos()).sum());
        for (name, time) in ["unobserved", "rebooting", "recovered"].into_iter().zip(gaps) {
            counters.insert(format!("{name} {uuid}"), time.nanos());
        }
    };
    for line in &report.devices {
        let gaps = [line.unobserved, line.rebooting, line.recovered];
        device(&line.gpu.uuid, line.energy_millijoules, line.bands, gaps);
    }
    for line in &report.former_devices {
        let gaps = [line.unobserved, line.rebooting, line.recovered];
        device(&line.uuid, line.energy_millijoules, line.bands, gaps);
    }
    for (name, of) in [("devices", energy::of_devices as fn(&Report) -> _), ("pods", energy::of_pods)] {
        let (_, cost, co2e) = of(report);
        counters.insert(format!("electricity of all {name}"), cost);
        counters.insert(format!("emission of all {name}"), co2e);
    }
    for line in &report.pods {
        counters.insert(format!("burst {} {}", line.pod, line.uid), line.account.burst.units());
        counters.insert(
            format!("energy {} {}", line.pod, line.uid),
            line.account.energy_millijoules.unwrap_or(0),
        );
    }
    counters
}

fn sum<'a>(totals: impl Iterator<Item = &'a Totals>) -> (Cost, GpuTime) {
    totals.fold((Cost::ZERO, GpuTime::ZERO), |(cost, time), totals| {
        (cost + totals.total_cost(), time + totals.total_time())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_parts_equal_the_whole_exactly(ticks in ticks()) {
        let history = observations(&ticks);
        let expected = expected(&history);
        let reports = run(&history);
        let last = reports.last().unwrap();
        for line in &last.devices {
            let (cost, time) = expected[&*line.gpu.uuid];
            prop_assert_eq!(line.totals.total_cost(), cost);
            prop_assert_eq!(line.totals.total_time(), time);
        }
        let whole = expected.values().fold((Cost::ZERO, GpuTime::ZERO), |sum, (c, t)| (sum.0 + *c, sum.1 + *t));
        prop_assert_eq!(sum(last.showback.iter().map(|line| &line.totals)), whole);
        let is_held = |payer: &Payer| !payer.namespace.is_empty();
        let held = last.showback.iter().filter(|line| is_held(&line.payer)).map(|line| &line.totals);
        prop_assert_eq!(sum(last.pods.iter().map(|line| &line.account.totals)), sum(held));
        prop_assert!(reports.iter().all(|report| report.imbalance == Cost::ZERO));
    }

    #[test]
    fn no_counter_ever_decreases(ticks in ticks()) {
        let mut before = BTreeMap::new();
        for report in run(&observations(&ticks)) {
            let now = counters(&report);
            for (name, value) in &before {
                let later = now.get(name);
                prop_assert!(later.is_some_and(|later| later >= value), "{} fell: {:?}", name, later);
            }
            before = now;
        }
    }

    #[test]
    fn the_order_of_devices_and_holders_changes_nothing(ticks in ticks(), order: u64) {
        let history = observations(&ticks);
        let mut shuffled = history.clone();
        for (n, (_, seen)) in shuffled.iter_mut().enumerate() {
            shuffle(seen, order.wrapping_add(n as u64));
        }
        // What is the same answer in one history is the same one in the other.
        for n in 1..history.len() {
            let answers = |n: usize| history[n].1.allocations.as_ref().map(Arc::as_ptr);
            if answers(n) == answers(n - 1) {
                shuffled[n].1.allocations = shuffled[n - 1].1.allocations.clone();
            }
        }
        for (one, other) in run(&history).iter().zip(run(&shuffled)) {
            prop_assert_eq!(format!("{:?}", lines(one)), format!("{:?}", lines(&other)));
        }
    }

    #[test]
    fn replaying_a_history_gives_the_same_result(ticks in ticks()) {
        let history = observations(&ticks);
        let (first, again) = (run(&history), run(&history));
        prop_assert_eq!(format!("{first:?}"), format!("{again:?}"));
    }
}

/// A report without the GPUs' own description, in which a shuffled list of MIG devices may differ.
fn lines(report: &Report) -> impl std::fmt::Debug {
    let devices: Vec<_> = report
        .devices
        .iter()
        .map(|line| (line.gpu.uuid.clone(), line.totals.clone(), line.holdings.clone()))
        .collect();
    (
        devices,
        report.pods.clone(),
        report.showback.clone(),
        report.unmapped_devices,
        report.allocation_conflicts,
    )
}

fn shuffle(seen: &mut Observation, order: u64) {
    let mut rotate = order;
    let mut turn = |length: usize| {
        rotate = rotate.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if length == 0 { 0 } else { usize::try_from(rotate >> 33).unwrap() % length }
    };
    for gpu in seen.gpus.iter_mut().flatten() {
        if let Mig::Enabled(partition) = &mut gpu.mig {
            let by = turn(partition.devices.len());
            partition.devices.rotate_left(by);
        }
    }
    if let Some(gpus) = &mut seen.gpus {
        let by = turn(gpus.len());
        gpus.rotate_left(by);
        gpus.reverse();
    }
    let mut pods = seen.pods.to_vec();
    let by = turn(pods.len());
    pods.rotate_left(by);
    seen.pods = pods.into();
    if let Some(allocations) = &seen.allocations {
        let mut containers = allocations.containers.to_vec();
        let by = turn(containers.len());
        containers.rotate_left(by);
        containers.reverse();
        let advertised = allocations.advertised.as_ref().map(|advertised| {
            let mut advertised = advertised.to_vec();
            let by = turn(advertised.len());
            advertised.rotate_left(by);
            advertised.into()
        });
        let containers = containers.into();
        let turned = Allocations { containers, advertised, ..Allocations::clone(allocations) };
        seen.allocations = Some(Arc::new(turned));
    }
}
