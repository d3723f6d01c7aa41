//! The simulated node through the real ledger.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::cost::meter::{Meter, Policy};
use crate::cost::money::{Cost, GpuTime, Rate};
use crate::cost::pricing::{PriceSheet, PriceTable, Prices};
use crate::cost::report::{Attribution, Basis, Report, Sharing, State};
use crate::observation::{DeviceTarget, Health, Ppm, Span, UtilizationSource, Worker};

const HOUR: u64 = 3_600;
const RATE: Rate = Rate::from_nanos_per_hour(6_880_000_000);

fn demo() -> Demo {
    Demo::new("gpu-node-1".into())
}

/// What the demo shows `seconds` after boot, on a tick that is a little late as real ones are.
fn at(demo: &Demo, seconds: u64) -> Observation {
    let late = seconds % 7 * 3;
    demo.observe(
        Uptime::from_nanos(seconds * 1_000_000_000 + late * 1_000_000),
        UnixTime::from_millis(1_767_225_600_000 + seconds * 1_000 + late),
        "boot".into(),
    )
}

fn meter() -> Meter {
    let policy = Policy { longest_interval: Span::from_secs(60), ..Policy::default() };
    let prices = Prices { on_demand: Some(RATE), ..Prices::default() };
    let models = BTreeMap::from([("nvidia-h100-80gb".into(), prices)]);
    let sheet = PriceSheet { file: PriceTable { models, ..PriceTable::default() }, ..PriceSheet::default() };
    Meter::new(policy, Arc::new(sheet))
}

/// Observes each second of `seconds`, and hands each observation with its report to `each`.
fn run(seconds: std::ops::RangeInclusive<u64>, mut each: impl FnMut(&Observation, &Report)) -> Arc<Report> {
    let (demo, mut meter) = (demo(), meter());
    let mut last = None;
    for second in seconds {
        let seen = at(&demo, second);
        let report = meter.observe(&seen);
        each(&seen, &report);
        last = Some(report);
    }
    last.unwrap()
}

fn dollars(report: &Report, state: State) -> Cost {
    report.devices.iter().filter_map(|line| line.totals.cost(state)).sum()
}

#[test]
fn the_script_is_read_and_everybody_finds_their_device() {
    let script = Scenario::read().unwrap();
    let demo = demo();
    assert_eq!((demo.boards.len(), demo.actors.len()), (8, script.pods.len() + script.host.len()));
    for (actor, script) in demo.actors.iter().zip(&script.pods) {
        assert_eq!(actor.seats.len(), script.holds.len(), "{}", script.name);
        let runs = script.runs.iter().flat_map(|runs| runs.seconds.iter().map(|s| (*s, runs.every_seconds)));
        runs.for_each(|(seconds, every)| assert!(seconds >= 20 && seconds < every.get()));
    }
    // A level that had to be cut off would not agree with its integral.
    let loads = script.pods.iter().map(|pod| &pod.load).chain(script.host.iter().map(|host| &host.load));
    for load in loads {
        let waves: u32 = load.waves.iter().map(|wave| wave.percent).sum();
        let pause = load.pause.as_ref().map_or(0, |pause| pause.percent);
        assert!(load.percent + waves <= 100 && load.percent >= waves + pause, "{load:?}");
    }
}

#[test]
fn two_hours_of_it_balance_in_every_second_and_show_every_state() {
    let mut began = None;
    let mut pods = BTreeSet::new();
    let last = run(0..=2 * HOUR, |seen, report| {
        let elapsed = seen.at.since(*began.get_or_insert(seen.at));
        assert_eq!(report.imbalance, Cost::ZERO);
        assert_eq!((report.devices.len(), report.unmapped_devices, report.allocation_conflicts), (8, 0, 0));
        for line in &report.devices {
            assert_eq!(line.totals.total_cost(), RATE.over(elapsed));
            assert_eq!(line.totals.total_time(), GpuTime::from(elapsed));
        }
        pods.extend(report.pods.iter().map(|pod| pod.pod.to_string()));
    });
    for state in State::ALL {
        assert!(dollars(&last, state) > Cost::from_cents(10), "{state:?}: {:?}", dollars(&last, state));
    }
    let jobs = pods.iter().filter(|pod| pod.starts_with("ci-gpu-tests-")).count();
    assert!((55..=61).contains(&jobs), "{jobs}");
    let live = last.pods.iter().filter(|pod| pod.live).count();
    assert!(live >= 12 && last.pods.len() > live, "{live} of {}", last.pods.len());
    let teams: BTreeSet<&str> = last.showback.iter().map(|line| &*line.payer.labels.team).collect();
    assert_eq!(teams, BTreeSet::from(["", "nlp", "platform", "search", "vision"]));
    let sandbox = last.showback.iter().find(|line| &*line.payer.namespace == "sandbox").unwrap();
    assert_eq!(sandbox.payer.labels, CostLabels::default());
    assert!(sandbox.totals.total_cost() > Cost::from_cents(50));
    // Relabelled: one pod with money on the lines of two payers.
    let ocr: BTreeSet<&str> = (last.showback.iter())
        .filter(|line| &*line.payer.labels.model == "trocr-base")
        .map(|line| &*line.payer.labels.environment)
        .collect();
    assert_eq!(ocr, BTreeSet::from(["production", "staging"]));
}

#[test]
fn each_gpu_is_shared_in_its_way() {
    let last = run(0..=130, |_, _| {});
    let line = |index: u32| last.devices.iter().find(|line| line.gpu.index == index).unwrap();
    let shares = |index| -> Vec<_> { line(index).holdings.iter().map(|holding| holding.share).collect() };
    let bases = |index| -> Vec<_> { line(index).holdings.iter().map(|holding| holding.basis).collect() };
    let pod = |name: &str| last.pods.iter().find(|pod| pod.pod.starts_with(name)).unwrap();
    let sharing: Vec<Sharing> = (0..8).map(|n| line(n).sharing).collect();
    let (alone, parts) = (Sharing::Exclusive, Sharing::Fractional);
    assert_eq!(sharing, [alone, alone, alone, alone, parts, Sharing::TimeSlicing, Sharing::Mig, parts]);
    assert_eq!((0..4).map(shares).collect::<Vec<_>>(), vec![vec![(1, 1)]; 4]);
    assert_eq!((shares(5), line(5).attribution), (vec![(1, 4); 3], Attribution::Processes));
    assert_eq!(bases(5), [Basis::Slots { held: 1, of: 4 }; 3]);
    assert_eq!(shares(4), [(1, 2), (1, 10), (1, 4)]);
    assert_eq!(bases(4), [50, 10, 25].map(|percent| Basis::Compute(Ppm::from_percent(percent))));
    assert_eq!(BTreeSet::from_iter(shares(6)), BTreeSet::from([(3, 7), (2, 7), (1, 7)]));
    assert_eq!((shares(7), bases(7)), (vec![(1, 2); 2], vec![Basis::Claim { pods: 2 }; 2]));
    assert!(line(5).foreign_utilization > Some(Ppm::from_percent(2)), "{:?}", line(5).foreign_utilization);
    assert_eq!(pod("llm-pretrain").gpus_nanos, 2_000_000_000);
    assert!(pod("reranker").account.burst > Cost::ZERO);
    assert_eq!(pod("jupyter").account.totals.cost(State::Used), Some(Cost::ZERO));
    assert_eq!(
        pod("summarizer").account.totals.cost(State::Unmeasured),
        Some(pod("summarizer").account.totals.total_cost())
    );
    assert!(last.devices.iter().all(|line| line.gpu.utilization_source == UtilizationSource::Simulated));
    // The plugin is set up anew.
    let last = run(1_795..=1_805, |_, _| {});
    assert_eq!(last.devices.iter().filter(|line| line.sharing == Sharing::Mps).count(), 1);
}

#[test]
fn the_kubelet_lists_each_device_as_its_resource() {
    let held = at(&demo(), 10).allocations.unwrap();
    let listed = |pod: &str| {
        let of_pod: Vec<_> = held.containers.iter().filter(|held| held.pod.name.starts_with(pod)).collect();
        (of_pod.len(), of_pod[0].resource.to_string())
    };
    for (pod, resource) in [
        ("llm-pretrain", "nvidia.com/gpu"),
        ("llama-playground", "volcano.sh/vgpu-number"),
        ("ocr-worker", "nvidia.com/gpu.shared"),
        ("embedder", "nvidia.com/mig-3g.40gb"),
        ("ci-gpu-tests", "nvidia.com/mig-1g.20gb"),
        ("catalog-embedder", "gpu.nvidia.com"),
    ] {
        assert_eq!(listed(pod), (1, resource.to_owned()), "{pod}");
    }
}

#[test]
fn a_program_of_the_host_is_no_pod() {
    let seen = at(&demo(), 10);
    let processes = seen.gpus.unwrap()[5].processes.clone().unwrap();
    assert_eq!(processes.iter().filter(|process| process.worker == Worker::Host).count(), 1);
    assert!(seen.pods.iter().all(|pod| !pod.key.name.is_empty()));
    assert!(seen.allocations.unwrap().containers.iter().all(|held| !held.devices.is_empty()));
}

#[test]
fn jobs_come_and_go_under_new_names() {
    let mut lives: BTreeMap<String, (BTreeSet<String>, u64)> = BTreeMap::new();
    run(0..=1_000, |seen, _| {
        for pod in seen.pods.iter().filter(|pod| &*pod.key.namespace == "platform") {
            let (uids, seconds) = lives.entry(pod.key.name.to_string()).or_default();
            uids.insert(format!("{} {}", pod.uid, pod.created.as_millis()));
            *seconds += 1;
        }
        let held = seen.allocations.as_ref().unwrap().containers.iter();
        assert!(held.filter(|held| &*held.pod.namespace == "platform").count() <= 1);
    });
    let seconds: Vec<_> = lives.values().map(|(_, seconds)| *seconds).collect();
    assert_eq!(seconds, [55, 20, 90, 40, 75, 30, 65, 85, 41]);
    assert!(lives.values().all(|(uids, _)| uids.len() == 1), "{lives:?}");
}

#[test]
fn a_broken_gpu_says_so_once_and_keeps_its_holders() {
    let mut seconds: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    let last = run(0..=HOUR, |seen, report| {
        for gpu in seen.gpus.iter().flatten() {
            let Health::Unavailable(fault) = gpu.health else { continue };
            *seconds.entry((gpu.index, fault.as_str())).or_default() += 1;
            assert_eq!((gpu.power_milliwatts, gpu.memory, &gpu.processes), (None, None, &None));
            let line = report.devices.iter().find(|line| line.gpu.uuid == gpu.uuid).unwrap();
            let namespace = &line.holdings[0].namespace;
            assert_eq!(&**namespace, if gpu.index == 3 { "vision" } else { "search" });
        }
    });
    assert_eq!(seconds.into_iter().collect::<Vec<_>>(), [((3, "lost"), 400), ((7, "xid"), 150)]);
    let xids: BTreeSet<_> =
        last.devices.iter().flat_map(|line| &line.xids).map(|x| (x.code, x.count)).collect();
    assert_eq!(xids, BTreeSet::from([(79, 2), (95, 1)]));
}

#[test]
fn a_kubelet_that_is_away_repeats_its_last_answer() {
    let demo = demo();
    let ages = [1_499, 1_500, 1_649, 1_650].map(|second| {
        let seen = at(&demo, second);
        seen.at.since(seen.allocations.as_ref().unwrap().read_at).as_nanos() / 1_000_000_000
    });
    assert_eq!(ages, [0, 0, 149, 0]);
}

#[test]
fn energy_is_the_integral_of_power_and_never_falls() {
    let mut before: BTreeMap<u32, u64> = BTreeMap::new();
    let mut integral: BTreeMap<u32, u64> = BTreeMap::new();
    run(0..=2 * HOUR, |seen, _| {
        for gpu in seen.gpus.iter().flatten() {
            let (Some(energy), Some(power)) = (gpu.energy_millijoules, gpu.power_milliwatts) else {
                continue;
            };
            let last = before.insert(gpu.index, energy);
            assert!(last.is_none_or(|last| last < energy), "{} {last:?} {energy}", gpu.index);
            assert!((70_000..=690_000).contains(&power));
            *integral.entry(gpu.index).or_default() += power;
        }
    });
    for (index, energy) in before.into_iter().filter(|(index, _)| ![3, 7].contains(index)) {
        let integral = integral[&index];
        assert!(energy.abs_diff(integral) * 200 < integral, "{index}: {energy} against {integral}");
    }
}

#[test]
fn the_curves_are_smooth() {
    let demo = demo();
    let power = |second| at(&demo, second).gpus.unwrap()[3].power_milliwatts.unwrap();
    let steps = (0..1_000).map(|second| power(second).abs_diff(power(second + 1)));
    let (largest, all): (u64, u64) = steps.fold((0, 0), |(max, sum), step| (max.max(step), sum + step));
    assert!(largest < 20_000 && all > 1_000_000, "{largest} {all}");
}

#[test]
fn the_same_moment_looks_the_same_again() {
    let (one, other) = (demo(), demo());
    for second in [0, 1, 59, 1_234, 1_550, 86_400, 40_000_000] {
        assert_eq!(at(&one, second), at(&other, second));
    }
}

#[test]
fn another_node_has_other_gpus() {
    let uuids = |node: &str| -> BTreeSet<Arc<str>> {
        let seen = at(&Demo::new(node.into()), 0);
        let ids = seen.allocations.unwrap().advertised.clone().unwrap().to_vec();
        ids.into_iter()
            .map(|id| match id.target {
                DeviceTarget::Gpu(uuid) | DeviceTarget::MigDevice(uuid) => uuid,
                DeviceTarget::Slot(id) => id.rsplit_once('-').unwrap().0.into(),
                target => panic!("{target:?}"),
            })
            .collect()
    };
    // Six GPUs and three MIG devices; one GPU is cut into those, and one is given out by its claim.
    assert_eq!(uuids("a").len(), 6 + 3);
    assert!(uuids("a").is_disjoint(&uuids("b")));
    assert!(uuids("a").iter().all(|uuid| uuid.len() == 40));
}

#[test]
fn the_end_of_time_is_no_panic() {
    let seen = demo().observe(Uptime::from_nanos(u64::MAX), UnixTime::from_millis(u64::MAX), "boot".into());
    assert_eq!(seen.gpus.unwrap().len(), 8);
}
