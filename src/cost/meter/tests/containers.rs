//! Pods of several containers, each on a line of its own where that is asked for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::properties::{observations, sheet, ticks};
use super::*;
use crate::observation::{Fraction, FractionOf};

/// The usual policy, with or without telling containers apart.
fn telling(containers: bool) -> Policy {
    Policy { rules: Rules { containers, ..policy().rules }, ..policy() }
}

/// A node of A100s at 3.60 $/h on which containers are told apart: ten seconds cost one cent.
fn told(gpus: usize) -> Rig {
    let mut rig = node(gpus);
    rig.meter = Meter::new(telling(true), prices(&[("nvidia-a100-80gb", 360)]));
    rig
}

impl Rig {
    /// Starts the program anew, with or without telling containers apart.
    fn restart_telling(&mut self, containers: bool) -> &mut Self {
        let kept = self.meter.kept().unwrap();
        assert!(kept.ledger.is_sound());
        self.meter = Meter::resume(telling(containers), prices(&[("nvidia-a100-80gb", 360)]), kept);
        self
    }

    /// Cents of a pod by container and state.
    fn containers(&self, pod: &str) -> Vec<(String, Vec<(&'static str, u64)>)> {
        let lines = self.pod(pod).containers();
        lines.iter().map(|line| (line.name.to_string(), cents(&line.totals))).collect()
    }

    #[track_caller]
    fn check_containers(&self, pod: &str, expected: &[(&str, &[(&'static str, u64)])]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, cents)| ((*name).to_owned(), cents.to_vec())).collect();
        assert_eq!(self.containers(pod), expected);
    }
}

#[test]
fn each_container_pays_for_its_own_gpus() {
    let mut rig = told(3);
    rig.gpu(1).activity = busy(40);
    rig.hold_in("job", "train", &[whole("GPU-1"), whole("GPU-2")]);
    rig.hold_in("job", "serve", &[whole("GPU-0")]).observe();
    rig.check_containers("job", &[("serve", &[]), ("train", &[])]);
    rig.run(100, 10);
    rig.check_containers(
        "job",
        &[("serve", &[("idle", 10)]), ("train", &[("used", 4), ("underused", 6), ("idle", 10)])],
    );
    assert_eq!(rig.pod("job").containers()[0].since, UnixTime::from_millis(1_000));
}

#[test]
fn a_gpu_that_two_containers_name_is_theirs_in_equal_parts() {
    let mut rig = told(1);
    rig.gpu(0).activity = busy(50);
    rig.hold_in("job", "a", &[whole("GPU-0")]).hold_in("job", "b", &[whole("GPU-0")]).observe().run(40, 10);
    rig.check_containers(
        "job",
        &[("a", &[("used", 1), ("underused", 1)]), ("b", &[("used", 1), ("underused", 1)])],
    );
    assert_eq!((rig.pod("job").gpus_nanos, rig.report().allocation_conflicts), (1_000_000_000, 0));
}

#[test]
fn the_last_unit_of_what_cannot_be_divided_is_somebodys() {
    let mut rig = told(1);
    for container in ["a", "b", "c"] {
        rig.hold_in("job", container, &[whole("GPU-0")]);
    }
    rig.observe().later(Span::from_nanos(10)).observe();
    let times = rig.pod("job").containers().into_iter().map(|line| line.totals.total_time().nanos());
    assert_eq!(times.collect::<Vec<_>>(), [3, 3, 4]);
}

#[test]
fn slots_are_divided_as_they_are_held_and_so_is_the_pods_work() {
    let mut rig = told(1);
    rig.advertised = Some((0..6).map(|n| replica("GPU-0", n)).collect());
    rig.gpu(0).activity = busy(60);
    rig.gpu(0).processes = Some(vec![process("job", 30), process("other", 30)]);
    rig.hold_in("job", "a", &[replica("GPU-0", 0)]);
    rig.hold_in("job", "b", &[replica("GPU-0", 1), replica("GPU-0", 2)]);
    rig.hold("other", &[replica("GPU-0", 3)]).observe().run(100, 10);
    // Half of the GPU is the pod's, and it used 30 % of the GPU.
    rig.check_containers(
        "job",
        &[("a", &[("used", 1), ("underused", 1)]), ("b", &[("used", 2), ("underused", 1)])],
    );
    assert_eq!(cents(&rig.pod("job").account.totals), [("used", 3), ("underused", 2)]);
    rig.check_containers("other", &[("main", &[("used", 2)])]);
}

#[test]
fn mig_devices_are_their_containers_own() {
    let mut rig = told(1);
    let devices = vec![
        MigDevice { activity: busy(50), ..instance("MIG-a", 1, "4g.40gb", (4, 4)) },
        MigDevice { activity: busy(0), ..instance("MIG-b", 2, "3g.40gb", (3, 4)) },
    ];
    rig.gpu(0).mig = Mig::Enabled(Partition { compute_slices: 7, memory_slices: 8, devices });
    rig.hold_in("job", "a", &[mig("MIG-a")]).hold_in("job", "b", &[mig("MIG-b")]).observe().run(70, 10);
    rig.check_containers("job", &[("a", &[("used", 2), ("underused", 2)]), ("b", &[("idle", 3)])]);
}

#[test]
fn parts_of_claims_are_as_large_as_what_they_consume() {
    let mut rig = told(1);
    rig.claims(&[("large", Some(40), false), ("shared", Some(20), false)]);
    let [large, shared] = ["large", "shared"].map(|claim| rig.claimed(claim));
    rig.hold_in("job", "a", &[large]).hold_in("job", "b", std::slice::from_ref(&shared));
    // Another pod uses the smaller claim, too.
    rig.hold("other", &[shared]).observe().run(80, 10);
    rig.check_containers("job", &[("a", &[("idle", 4)]), ("b", &[("idle", 1)])]);
    rig.check_containers("other", &[("main", &[("idle", 1)])]);
}

#[test]
fn what_is_listed_for_no_container_is_on_a_line_without_one() {
    let mut rig = told(2);
    let part = Fraction {
        of: FractionOf::Group("group".into()),
        compute: Some(Ppm::from_percent(50)),
        memory: None,
    };
    let member = Pod { key: key("member"), uid: "uid".into(), fractions: vec![part], ..Pod::default() };
    let reserves = Some("group".into());
    let holder = Pod { key: key("reservation"), uid: "uid".into(), reserves, ..Pod::default() };
    rig.seen.pods = [member, holder].into();
    rig.hold("reservation", &[whole("GPU-0")]).observe().run(20, 10);
    rig.check_containers("member", &[]);
    assert_eq!(cents(&rig.pod("member").account.totals), [("idle", 1)]);
    // It has a GPU by a container, too, from now on.
    rig.hold("member", &[whole("GPU-1")]).observe().run(20, 10);
    rig.check_containers("member", &[("", &[("idle", 2)]), ("main", &[("idle", 2)])]);
}

#[test]
fn more_containers_than_any_pod_has_are_on_the_pods_own_line() {
    let mut rig = told(1);
    rig.advertised = Some((0..40).map(|n| replica("GPU-0", n)).collect());
    for n in 0..40 {
        rig.hold_in("job", &format!("c{n:02}"), &[replica("GPU-0", n)]);
    }
    rig.observe().run(400, 10);
    let lines = rig.containers("job");
    assert_eq!((lines.len(), lines[0].clone()), (33, (String::new(), vec![("idle", 8)])));
    assert!(lines[1..].iter().all(|(_, cents)| *cents == [("idle", 1)]));
}

#[test]
fn what_was_counted_stays_where_it_was_counted_when_the_level_changes() {
    let mut rig = node(2);
    rig.hold_in("job", "a", &[whole("GPU-0")]).hold_in("job", "b", &[whole("GPU-1")]);
    rig.hold("other", &[]).observe().run(20, 10);
    rig.check_containers("job", &[]);
    rig.restart_telling(true).run(20, 10);
    let half = [("idle", 1), ("unmeasured", 1)];
    rig.check_containers("job", &[("", &[("idle", 4)]), ("a", &half), ("b", &half)]);
    // By its own clock a container is as old as its line, not as its pod.
    let ages = rig.pod("job").containers().into_iter().map(|line| line.age.as_nanos() / 1_000_000_000);
    assert_eq!(ages.collect::<Vec<_>>(), [40, 10, 10]);
    rig.restart_telling(false).run(20, 10);
    let rest = [("idle", 6), ("unmeasured", 2)];
    rig.check_containers("job", &[("", &rest), ("a", &half), ("b", &half)]);
    rig.restart_telling(true).run(10, 10);
    let more = [("idle", 1), ("unmeasured", 2)];
    rig.check_containers("job", &[("", &rest), ("a", &more), ("b", &more)]);
    rig.free("job").observe().run(900, 10);
    rig.check_containers("job", &[("", &rest), ("a", &more), ("b", &more)]);
    rig.run(10, 10);
    assert!(rig.report().pods.is_empty());
}

#[test]
fn a_container_with_more_than_its_pod_is_not_sound() {
    let mut rig = told(1);
    rig.hold("job", &[whole("GPU-0")]).observe().run(10, 10);
    let mut ledger = rig.meter.kept().unwrap().ledger;
    assert!(ledger.is_sound());
    let pod = Arc::make_mut(ledger.pods.values_mut().next().unwrap());
    let container = pod.containers.get_mut("main").unwrap();
    container.totals.post(State::Used, Amount { cost: None, time: Span::from_nanos(1).into() });
    assert!(!ledger.is_sound());
}

/// What is shown of the pods, by pod, container and state: units of money and of time.
type Series = BTreeMap<(String, String, String, &'static str), (u128, u128)>;

fn series(report: &Report) -> Series {
    let mut series = Series::new();
    let mut show = |pod: &PodLine, name: &str, totals: &Totals| {
        for state in State::ALL {
            let at = (pod.pod.to_string(), pod.uid.to_string(), name.to_owned(), state.as_str());
            let cost = totals.cost(state).unwrap_or_default().units();
            series.insert(at, (cost, totals.time(state).nanos()));
        }
    };
    for pod in &report.pods {
        if pod.containers().is_empty() {
            show(pod, "", &pod.account.totals);
        }
        pod.containers().iter().for_each(|line| show(pod, &line.name, &line.totals));
    }
    series
}

/// Reports of a history, with or without telling containers apart as `level` says of each observation: where that
/// changes, the program is started anew.
fn run(history: &[(u64, Observation)], level: impl Fn(usize) -> bool) -> Vec<Arc<Report>> {
    let policy =
        |containers| Policy { retention: Span::from_secs(u64::MAX / 1_000_000_000), ..telling(containers) };
    let mut meter = Meter::new(policy(level(0)), sheet(0));
    let mut reports = Vec::new();
    for (n, (cents, seen)) in history.iter().enumerate() {
        if n > 0 && level(n) != level(n - 1) {
            let kept = meter.kept().unwrap();
            assert!(kept.ledger.is_sound());
            meter = Meter::resume(policy(level(n)), sheet(77), kept);
        }
        meter.set_prices(sheet(*cents));
        reports.push(meter.observe(seen));
    }
    reports
}

/// The report as it is without containers.
fn of_pods(report: &Report) -> String {
    let mut report = report.clone();
    report.pods.iter_mut().for_each(|pod| Arc::make_mut(&mut pod.account).containers.clear());
    format!("{report:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn containers_add_up_to_their_pod_and_never_fall(ticks in ticks(), levels: u32) {
        let history = observations(&ticks);
        let mut before = Series::new();
        for report in run(&history, |n| levels >> (n % 32) & 1 == 1) {
            let now = series(&report);
            for pod in &report.pods {
                for state in State::ALL {
                    let is_its = |at: &(String, String, String, &str)| {
                        (&*at.0, &*at.1, at.3) == (&*pod.pod, &*pod.uid, state.as_str())
                    };
                    let of_it = now.iter().filter(|(at, _)| is_its(at));
                    let sum = of_it.fold((0, 0), |sum, (_, part)| (sum.0 + part.0, sum.1 + part.1));
                    let cost = pod.account.totals.cost(state).unwrap_or_default().units();
                    prop_assert_eq!(sum, (cost, pod.account.totals.time(state).nanos()));
                }
            }
            for (at, (cost, time)) in &before {
                // A line of nothing may go where containers begin to be told apart.
                let (later, longer) = now.get(at).copied().unwrap_or_default();
                prop_assert!(later >= *cost && longer >= *time, "{:?} fell", at);
            }
            before = now;
        }
    }

    #[test]
    fn telling_containers_apart_changes_nothing_else(ticks in ticks()) {
        let history = observations(&ticks);
        for (with, without) in run(&history, |_| true).iter().zip(run(&history, |_| false)) {
            prop_assert_eq!(of_pods(with), format!("{without:?}"));
        }
    }

    #[test]
    fn the_order_of_containers_changes_nothing(ticks in ticks()) {
        let history = observations(&ticks);
        let mut turned = history.clone();
        for (_, seen) in &mut turned {
            let Some(answer) = &seen.allocations else { continue };
            let containers = answer.containers.iter().rev().cloned().collect();
            let turned = Allocations { containers, ..Allocations::clone(answer) };
            seen.allocations = Some(Arc::new(turned));
        }
        for (one, other) in run(&history, |_| true).iter().zip(run(&turned, |_| true)) {
            prop_assert_eq!(series(one), series(&other));
        }
    }
}
