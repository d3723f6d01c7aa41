//! The simulated node through the real ledger.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::cost::attribution::{MigShare, Rules, SharingPolicy};
use crate::cost::meter::{Meter, Policy};
use crate::cost::money::{Cost, GpuTime, Rate};
use crate::cost::pricing::{PriceSheet, PriceTable, Prices};
use crate::cost::report::{Attribution, Report, Sharing, State};
use crate::observation::{DeviceTarget, Fault, Ppm, Span, UtilizationSource};

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
    let policy = Policy {
        price_model: None,
        idle_threshold: Ppm::from_percent(1),
        idle_window: Span::from_secs(60),
        longest_interval: Span::from_secs(60),
        max_gap: Span::from_secs(300),
        retention: Span::from_secs(900),
        rules: Rules {
            mig_share: MigShare::Compute,
            sharing_policy: SharingPolicy::Slots,
            max_age: Span::from_secs(60),
        },
    };
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
    assert_eq!((demo.boards.len(), demo.actors.len()), (8, script.pods.len()));
    for (actor, script) in demo.actors.iter().zip(&script.pods) {
        assert_eq!(actor.seats.len(), script.holds.len(), "{}", script.name);
        // A level that had to be cut off would not agree with its integral.
        let load = &script.load;
        let waves: u32 = load.waves.iter().map(|wave| wave.percent).sum();
        let pause = load.pause.as_ref().map_or(0, |pause| pause.percent);
        assert!(load.percent + waves <= 100 && load.percent >= waves + pause, "{}", script.name);
        let runs = script.runs.iter().flat_map(|runs| runs.seconds.iter().map(|s| (*s, runs.every_seconds)));
        runs.for_each(|(seconds, every)| assert!((20..=90).contains(&seconds) && seconds < every.get()));
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
    assert!(live >= 8 && last.pods.len() > live, "{live} of {}", last.pods.len());
    let teams: BTreeSet<&str> = last.showback.iter().map(|line| &*line.payer.labels.team).collect();
    assert_eq!(teams, BTreeSet::from(["", "nlp", "platform", "search", "vision"]));
}

#[test]
fn each_gpu_is_shared_in_its_way() {
    let last = run(0..=300, |_, _| {});
    let line = |index: u32| last.devices.iter().find(|line| line.gpu.index == index).unwrap();
    let shares = |index| -> Vec<_> { line(index).holdings.iter().map(|holding| holding.share).collect() };
    let pod = |name: &str| last.pods.iter().find(|pod| pod.pod.starts_with(name)).unwrap();
    assert_eq!((0..8).map(|n| line(n).sharing).filter(|s| *s == Sharing::Exclusive).count(), 6);
    assert_eq!((line(5).sharing, line(5).attribution), (Sharing::TimeSlicing, Attribution::Processes));
    assert_eq!(shares(5), [(1, 4), (1, 4), (1, 4)]);
    assert_eq!(line(6).sharing, Sharing::Mig);
    assert_eq!(BTreeSet::from_iter(shares(6)), BTreeSet::from([(3, 7), (2, 7)]));
    assert_eq!(pod("llm-pretrain").gpus_nanos, 3_000_000_000);
    assert!(pod("reranker").burst > Cost::ZERO);
    assert_eq!(pod("jupyter").totals.cost(State::Used), Some(Cost::ZERO));
    assert_eq!(pod("summarizer").totals.cost(State::Unmeasured), Some(pod("summarizer").totals.total_cost()));
    assert!(last.devices.iter().all(|line| line.gpu.utilization_source == UtilizationSource::Simulated));
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
fn a_lost_gpu_says_so_once_and_keeps_its_holder() {
    let mut seconds = 0;
    let last = run(0..=HOUR, |seen, report| {
        let gpu = &seen.gpus.as_ref().unwrap()[3];
        if gpu.health == crate::observation::Health::Unavailable(Fault::Lost) {
            seconds += 1;
            assert_eq!((gpu.power_milliwatts, gpu.memory, &gpu.processes), (None, None, &None));
            let line = report.devices.iter().find(|line| line.gpu.index == 3).unwrap();
            assert_eq!(&*line.holdings[0].namespace, "vision");
        }
    });
    assert_eq!(seconds, 2 * 200);
    let xids: Vec<_> = last.devices.iter().flat_map(|line| &line.xids).map(|x| (x.code, x.count)).collect();
    assert_eq!(xids, [(79, 2)]);
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
    for (index, energy) in before.into_iter().filter(|(index, _)| *index != 3) {
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
        let ids = seen.allocations.unwrap().advertised.clone().unwrap().into_iter();
        ids.map(|id| match id.target {
            DeviceTarget::Gpu(uuid) | DeviceTarget::MigDevice(uuid) => uuid,
            target => panic!("{target:?}"),
        })
        .collect()
    };
    assert_eq!(uuids("a").len(), 7 + 3);
    assert!(uuids("a").is_disjoint(&uuids("b")));
    assert!(uuids("a").iter().all(|uuid| uuid.len() == 40));
}

#[test]
fn the_end_of_time_is_no_panic() {
    let seen = demo().observe(Uptime::from_nanos(u64::MAX), UnixTime::from_millis(u64::MAX), "boot".into());
    assert_eq!(seen.gpus.unwrap().len(), 8);
}
