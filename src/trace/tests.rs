//! Recording and replaying gives back what was seen; what is no trace is told by file, line and expectation.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::observation::{
    Activity, Allocation, Allocations, ClaimKey, ClaimedDevice, CostLabels, DeviceId, DeviceTarget, Dynamic,
    DynamicDevice, Fault, Fraction, FractionOf, Gpu, Health, Memory, Mig, MigDevice, Node, Partition, Pod,
    PodKey, Ppm, Process, PublishedDevice, ResourceClaim, UnixTime, Uptime, UtilizationSource, Worker,
    Workload, Xid,
};

const HEADER: &str = "{\"trace\":\"gpu-cost-exporter\",\"version\":1}\n";

/// Replays a file with this content: the times of its observations, the line that was cut off, and the first error.
fn check(content: &str, expected: (&[u64], Option<u64>, Option<&str>)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    fs::write(&path, content).unwrap();
    let shorten = |error: &Error| error.to_string().replace(&path.display().to_string(), "t");
    let (mut times, mut error, mut cut_off) = (Vec::new(), None, None);
    match Replay::open(&path) {
        Ok(mut replay) => {
            for seen in replay.by_ref() {
                match seen {
                    Ok(seen) => times.push(seen.at.as_nanos()),
                    Err(found) => error = error.or(Some(shorten(&found))),
                }
            }
            cut_off = replay.cut_off_line();
            assert!(replay.next().is_none());
        }
        Err(found) => error = Some(shorten(&found)),
    }
    assert_eq!((times.as_slice(), cut_off, error.as_deref()), expected, "{content}");
}

fn with_header(lines: &str) -> String {
    format!("{HEADER}{lines}")
}

#[test]
fn the_first_line_says_what_the_file_is() {
    let no_header = "read trace t: line 1 is no header of a trace, \
                     expected {\"trace\":\"gpu-cost-exporter\",\"version\":1}";
    check("", (&[], None, Some(no_header)));
    check("\n", (&[], None, Some(no_header)));
    check("gpu_pricing:\n", (&[], None, Some(no_header)));
    check("{\"at\":1,\"wall\":1}\n", (&[], None, Some(no_header)));
    check("{\"trace\":\"another\",\"version\":1}\n", (&[], None, Some(no_header)));
    check("{\"trace\":\"gpu-cost-exporter\",\"version\":0}\n", (&[], None, Some(no_header)));
    check("{\"trace\":\"gpu-cost-exp", (&[], None, Some(no_header)));
    check(
        "{\"trace\":\"gpu-cost-exporter\",\"version\":2}\n",
        (&[], None, Some("read trace t: it has version 2, expected at most 1")),
    );
    check(HEADER, (&[], None, None));
    check(HEADER.trim(), (&[], None, None));
}

#[test]
fn a_broken_line_is_told_with_its_place_and_ends_the_replay() {
    check(
        &with_header("{\"at\":1,\"wall\":1}\n{\"at\":2,}\n{\"at\":3,\"wall\":1}\n"),
        (&[1], None, Some("read trace t: line 3, column 9: trailing comma")),
    );
    check(
        &with_header("{\"at\":1}\n{\"at\":2,\"wall\":1}\n"),
        (&[], None, Some("read trace t: line 2, column 8: missing field `wall`")),
    );
    check(
        &with_header("{\"at\":-1,\"wall\":1}\n"),
        (&[], None, Some("read trace t: line 2, column 8: invalid value: integer `-1`, expected u64")),
    );
    check(&with_header("\n"), (&[], None, Some("read trace t: line 2, column 0: EOF while parsing a value")));
    let gpu = "{\"uuid\":\"GPU-1\",\"index\":0,\"product\":\"L4\",\"fault\":\"melted\"}";
    check(
        &with_header(&format!("{{\"at\":1,\"wall\":1,\"gpus\":[{gpu}]}}\n")),
        (
            &[],
            None,
            Some(
                "read trace t: line 2, column 82: unknown variant `melted`, \
                 expected one of `lost`, `reset_required`, `not_responding`, `missing`, `xid`",
            ),
        ),
    );
}

#[test]
fn what_a_killed_recorder_left_of_a_line_is_skipped() {
    check(&with_header("{\"at\":1,\"wall\":1}\n{\"at\":2,\"wa"), (&[1], Some(3), None));
    check(&with_header("{\"at\":1,\"wall\":1}\n{\"at\":2,\"wall\":1}"), (&[1, 2], None, None));
}

#[test]
fn a_field_of_a_later_program_is_skipped() {
    check(&with_header("{\"at\":1,\"wall\":1,\"weather\":{\"rain\":[true]}}\n"), (&[1], None, None));
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_name() {
    let missing = Path::new("/nowhere/node.ndjson");
    let error = Replay::open(missing).unwrap_err();
    assert_eq!(error.to_string(), "open trace /nowhere/node.ndjson");
    let error = Recorder::create(missing).unwrap_err();
    assert_eq!(error.to_string(), "create trace /nowhere/node.ndjson");
}

#[test]
fn a_line_does_not_repeat_the_line_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    let mut seen = Observation {
        at: Uptime::from_nanos(1),
        wall: UnixTime::from_millis(2),
        boot: "b".into(),
        node: Arc::new(Node { name: "n".into(), labels: Vec::new() }),
        ..Observation::default()
    };
    let mut recorder = Recorder::create(&path).unwrap();
    recorder.record(&seen).unwrap();
    let held = Allocation {
        pod: PodKey::new("ml", "job"),
        container: "main".into(),
        resource: "nvidia.com/gpu".into(),
        devices: vec![DeviceId { target: DeviceTarget::Minor(0), replica: None }],
    };
    for at in [3, 4] {
        seen.at = Uptime::from_nanos(at);
        let containers = [held.clone()].into();
        seen.allocations =
            Some(Arc::new(Allocations { read_at: seen.at, containers, ..Allocations::default() }));
        recorder.record(&seen).unwrap();
    }
    seen.allocations = None;
    recorder.record(&seen).unwrap();

    let text = fs::read_to_string(&path).unwrap();
    expect_test::expect![[r#"
        {"at":1,"wall":2,"boot":"b","node":{"name":"n"}}
        {"at":3,"wall":2,"allocations_read_at":3,"allocations":{"containers":[{"pod":{"namespace":"ml","name":"job"},"container":"main","resource":"nvidia.com/gpu","devices":[{"device":{"minor":0}}]}]}}
        {"at":4,"wall":2,"allocations_read_at":4}
        {"at":4,"wall":2}
    "#]]
    .assert_eq(text.split_once('\n').unwrap().1);
    assert_eq!(Replay::open(&path).unwrap().last().unwrap().unwrap(), seen);
}

#[test]
fn a_line_that_cannot_be_written_leaves_the_lines_before_it_readable() {
    let full = Path::new("/dev/full");
    if full.exists() {
        let error = Recorder::create(full).unwrap_err();
        assert_eq!(error.to_string(), "write line 1 of trace /dev/full");
    }
}

/// What a file with this content has after one observation was recorded into it, or why that is refused.
#[track_caller]
fn check_goes_on(content: &str, expected: Result<&str, &str>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    fs::write(&path, content).unwrap();
    let seen = Observation {
        at: Uptime::from_nanos(9),
        wall: UnixTime::from_millis(9),
        boot: "b".into(),
        ..Observation::default()
    };
    let recorded = Recorder::create(&path).and_then(|mut recorder| recorder.record(&seen));
    let error = recorded.err().map(|error| error.to_string().replace(&path.display().to_string(), "t"));
    let text = fs::read_to_string(&path).unwrap();
    let ours = format!("\"version\":1,\"recorded_by\":\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(error.as_deref(), expected.err());
    assert_eq!(text.replace(&ours, "\"version\":1}"), expected.map_or(content.into(), with_header));
}

#[test]
fn a_recorder_goes_on_with_a_trace_and_leaves_another_file_alone() {
    let alone = "{\"at\":9,\"wall\":9,\"boot\":\"b\"}\n";
    let next = "{\"at\":9,\"wall\":9,\"boot\":\"b\",\"allocations\":{},\"pods\":[],\"dynamic\":{},\"node\":{\"name\":\"\"}}\n";
    let first = "{\"at\":1,\"wall\":1}\n";
    check_goes_on("", Ok(alone));
    check_goes_on("{\"tra", Ok(alone));
    check_goes_on(HEADER.trim(), Ok(alone));
    check_goes_on(HEADER, Ok(next));
    check_goes_on(&with_header(first), Ok(&format!("{first}{next}")));
    check_goes_on(&with_header(&format!("{first}{{\"at\":2,\"wa")), Ok(&format!("{first}{next}")));
    let no_header = "read trace t: line 1 is no header of a trace, \
                     expected {\"trace\":\"gpu-cost-exporter\",\"version\":1}";
    check_goes_on("gpu_pricing:\n", Err(no_header));
    check_goes_on("precious", Err(no_header));
    check_goes_on("\n", Err(no_header));
    check_goes_on(
        "{\"trace\":\"gpu-cost-exporter\",\"version\":2}\n",
        Err("read trace t: it has version 2, expected at most 1"),
    );
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        Just(""),
        Just("GPU-1"),
        Just("line\nend\r\0\u{7f}"),
        Just("\"quoted\\\" {\"at\":1}"),
        Just("\u{2028}𝔾ℙ𝕌 \u{202e}"),
    ]
    .prop_map(Arc::from)
    .boxed()
    .prop_union(".{0,12}".prop_map(Arc::from).boxed())
}

fn some<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop::option::of(strategy)
}

fn several<S: Strategy>(strategy: S) -> impl Strategy<Value = Vec<S::Value>> {
    prop::collection::vec(strategy, 0..3)
}

fn part() -> impl Strategy<Value = Option<Ppm>> {
    some((0u32..=1_000_000).prop_map(Ppm::new))
}

fn key() -> impl Strategy<Value = PodKey> {
    (text(), text()).prop_map(|(namespace, name)| PodKey { namespace, name })
}

fn memory() -> impl Strategy<Value = Option<Memory>> {
    some(any::<(u64, u64)>().prop_map(|(used, total)| Memory { used, total }))
}

fn activity() -> impl Strategy<Value = Activity> {
    (part(), part(), part(), part()).prop_map(|(utilization, sm_active, tensor_active, dram_active)| {
        Activity { utilization, sm_active, tensor_active, dram_active }
    })
}

fn health() -> impl Strategy<Value = Health> {
    let faults = [Fault::Lost, Fault::ResetRequired, Fault::NotResponding, Fault::Missing];
    some(prop::sample::select(faults.to_vec()))
        .prop_map(|fault| fault.map_or(Health::Healthy, Health::Unavailable))
}

fn source() -> impl Strategy<Value = UtilizationSource> {
    prop::sample::select(vec![
        UtilizationSource::None,
        UtilizationSource::NvmlSamples,
        UtilizationSource::Gpm,
        UtilizationSource::NvmlRate,
        UtilizationSource::Simulated,
    ])
}

fn mig() -> impl Strategy<Value = Mig> {
    let device = (text(), text(), any::<[u32; 5]>(), memory(), activity()).prop_map(
        |(uuid, profile, numbers, memory, activity)| MigDevice {
            uuid,
            profile,
            gpu_instance: numbers[0],
            compute_instance: numbers[1],
            gpu_instance_slices: numbers[2],
            compute_slices: numbers[3],
            memory_slices: numbers[4],
            memory,
            activity,
        },
    );
    let partition = (any::<[u32; 2]>(), several(device)).prop_map(|(slices, devices)| {
        Mig::Enabled(Partition { compute_slices: slices[0], memory_slices: slices[1], devices })
    });
    prop_oneof![Just(Mig::Disabled), partition]
}

fn gpu() -> impl Strategy<Value = Gpu> {
    let names = (text(), any::<u32>(), any::<Option<u32>>(), some(text()), text());
    let state = (health(), mig(), memory(), activity(), source());
    let worker = prop_oneof![key().prop_map(Worker::Pod), Just(Worker::Host), Just(Worker::Unknown)];
    let process =
        (any::<u32>(), worker, 0u32..=1_000_000, some(text())).prop_map(|(pid, worker, part, mig_device)| {
            Process { pid, worker, utilization: Ppm::new(part), mig_device }
        });
    let xid = any::<(u64, u64)>().prop_map(|(code, at)| Xid { code, at: UnixTime::from_millis(at) });
    (names, state, any::<[Option<u64>; 3]>(), some(several(process)), several(xid)).prop_map(
        |(names, state, readings, processes, xids)| Gpu {
            uuid: names.0,
            index: names.1,
            minor: names.2,
            pci_bus_id: names.3,
            product: names.4,
            health: state.0,
            mig: state.1,
            memory: state.2,
            power_milliwatts: readings[0],
            power_limit_milliwatts: readings[1],
            energy_millijoules: readings[2],
            activity: state.3,
            utilization_source: state.4,
            processes,
            xids,
        },
    )
}

fn device_id() -> impl Strategy<Value = DeviceId> {
    let target = prop_oneof![
        text().prop_map(DeviceTarget::Gpu),
        text().prop_map(DeviceTarget::MigDevice),
        (text(), any::<u32>(), any::<u32>()).prop_map(|(gpu, gpu_instance, compute_instance)| {
            DeviceTarget::MigInstance { gpu, gpu_instance, compute_instance }
        }),
        any::<u32>().prop_map(DeviceTarget::Minor),
        any::<(u32, u32)>()
            .prop_map(|(minor, gpu_instance)| DeviceTarget::MinorInstance { minor, gpu_instance }),
        text().prop_map(DeviceTarget::Slot),
        (claim_key(), dynamic_device(), some(text()))
            .prop_map(|(claim, device, share_id)| DeviceTarget::Claimed { claim, device, share_id }),
        claim_key().prop_map(DeviceTarget::Claim),
        text().prop_map(DeviceTarget::Unreadable),
    ];
    (target, any::<Option<u32>>()).prop_map(|(target, replica)| DeviceId { target, replica })
}

fn allocations() -> impl Strategy<Value = Arc<Allocations>> {
    let allocation = (key(), text(), text(), several(device_id()))
        .prop_map(|(pod, container, resource, devices)| Allocation { pod, container, resource, devices });
    (any::<[u64; 2]>(), several(allocation), some(several(device_id()))).prop_map(
        |(times, containers, advertised)| {
            let [read_at, answering_since] = times.map(Uptime::from_nanos);
            let (containers, advertised) = (containers.into(), advertised.map(Into::into));
            Arc::new(Allocations { read_at, answering_since, containers, advertised })
        },
    )
}

fn pods() -> impl Strategy<Value = Arc<[Pod]>> {
    let labels = (text(), text(), text(), text(), text(), text(), text()).prop_map(|labels| CostLabels {
        team: labels.0,
        project: labels.1,
        model: labels.2,
        environment: labels.3,
        cost_center: labels.4,
        department: labels.5,
        task_type: labels.6,
    });
    let workload = some((text(), text()).prop_map(|(kind, name)| Workload { kind, name }));
    let of = prop_oneof![
        text().prop_map(FractionOf::Gpu),
        any::<u32>().prop_map(FractionOf::Index),
        text().prop_map(FractionOf::MigDevice),
        text().prop_map(FractionOf::Group),
    ];
    let fraction = (of, some(0u32..=1_000_000), any::<Option<u64>>())
        .prop_map(|(of, compute, memory)| Fraction { of, compute: compute.map(Ppm::new), memory });
    let holds = (any::<bool>(), any::<u32>(), several(fraction), some(text()));
    let names = (key(), text(), some(text()), any::<u64>());
    let pod = (names, labels, workload, holds).prop_map(|(names, labels, workload, holds)| Pod {
        key: names.0,
        uid: names.1,
        static_uid: names.2,
        created: UnixTime::from_millis(names.3),
        ended: holds.0,
        labels,
        workload,
        unlisted_gpus: holds.1,
        fractions: holds.2,
        reserves: holds.3,
    });
    several(pod).prop_map(Arc::from)
}

fn dynamic_device() -> impl Strategy<Value = DynamicDevice> {
    (text(), text(), text()).prop_map(|(driver, pool, device)| DynamicDevice { driver, pool, device })
}

fn claim_key() -> impl Strategy<Value = ClaimKey> {
    (text(), text()).prop_map(|(namespace, name)| ClaimKey { namespace, name })
}

fn dynamic() -> impl Strategy<Value = Arc<Dynamic>> {
    let texts = (some(text()), some(text()), some(text()));
    let published = (dynamic_device(), texts, any::<Option<u32>>(), any::<Option<u64>>()).prop_map(
        |(name, (uuid, parent, profile), minor, memory)| PublishedDevice {
            name,
            uuid,
            parent,
            minor,
            profile,
            memory,
        },
    );
    let claimed = (dynamic_device(), some(text()), any::<bool>(), any::<Option<u64>>())
        .prop_map(|(name, share_id, admin, consumed)| ClaimedDevice { name, share_id, admin, consumed });
    let claim = (claim_key(), several(claimed)).prop_map(|(key, devices)| ResourceClaim { key, devices });
    (several(published), several(claim)).prop_map(|(devices, claims)| Arc::new(Dynamic { devices, claims }))
}

fn observation() -> impl Strategy<Value = Observation> {
    let node = (text(), several((text(), text()))).prop_map(|(name, labels)| Arc::new(Node { name, labels }));
    let now = (any::<u64>(), any::<u64>(), text(), some(text()));
    let told = (pods(), any::<Option<u64>>(), dynamic(), node);
    (now, some(several(gpu())), some(allocations()), told).prop_map(
        |((at, wall, boot, driver_version), gpus, allocations, told)| Observation {
            at: Uptime::from_nanos(at),
            wall: UnixTime::from_millis(wall),
            boot,
            gpus,
            driver_version,
            allocations,
            pods: told.0,
            pods_told_at: told.1.map(Uptime::from_nanos),
            dynamic: told.2,
            node: told.3,
        },
    )
}

/// A history in which some of the parts stay as they were, equal or even the same.
fn history() -> impl Strategy<Value = Vec<Observation>> {
    let step = (observation(), any::<[bool; 5]>(), any::<bool>(), any::<u64>());
    prop::collection::vec(step, 0..6).prop_map(|steps| {
        let mut history: Vec<Observation> = Vec::new();
        for (mut seen, stays, rereads, read_at) in steps {
            if let Some(before) = history.last() {
                let [boot, allocations, pods, dynamic, node] = stays;
                if boot {
                    seen.boot.clone_from(&before.boot);
                }
                if allocations {
                    seen.allocations.clone_from(&before.allocations);
                }
                if pods {
                    seen.pods = before.pods.to_vec().into();
                }
                if dynamic {
                    seen.dynamic.clone_from(&before.dynamic);
                }
                if node {
                    seen.node.clone_from(&before.node);
                }
            }
            if let Some(allocations) = seen.allocations.as_mut().filter(|_| rereads) {
                Arc::make_mut(allocations).read_at = Uptime::from_nanos(read_at);
            }
            history.push(seen);
        }
        history
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_recorded_is_what_is_replayed(history in history(), restarts in 0usize..8) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.ndjson");
        let mut recorder = Recorder::create(&path).unwrap();
        for (n, seen) in history.iter().enumerate() {
            if n == restarts {
                recorder = Recorder::create(&path).unwrap();
            }
            recorder.record(seen).unwrap();
        }
        let replayed: Result<Vec<Observation>, Error> = Replay::open(&path).unwrap().collect();
        prop_assert_eq!(replayed.unwrap(), history);
        let lines = fs::read_to_string(&path).unwrap().matches('\n').count();
        prop_assert_eq!(usize::try_from(recorder.lines).unwrap(), lines);
    }

    #[test]
    fn a_trace_that_was_cut_anywhere_gives_the_whole_lines_before(history in history(), cut in 0usize..4_000) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.ndjson");
        let mut recorder = Recorder::create(&path).unwrap();
        for seen in &history {
            recorder.record(seen).unwrap();
        }
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(cut);
        fs::write(&path, &bytes).unwrap();
        let ends = String::from_utf8_lossy(&bytes).matches('\n').count();
        if ends > 0 {
            let replayed: Result<Vec<Observation>, Error> = Replay::open(&path).unwrap().collect();
            let replayed = replayed.unwrap();
            prop_assert!(replayed.len() + 1 == ends || replayed.len() == ends);
            prop_assert_eq!(&replayed[..], &history[..replayed.len()]);
        }
    }
}
