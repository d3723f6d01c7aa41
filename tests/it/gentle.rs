//! How gently it treats its neighbours, counted at the fakes: the driver, the kubelet, the API server.
//!
//! What the driver is asked is counted exactly, by function and kind of GPU, and written to `docs/driver-calls.md` with
//! what each call is for. The built binary is then held to it, and to what the others may expect.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use expect_test::expect_file;
use fake_nvml::{Board, MigDevice, Node, ProcessSample, Processes, Profile, Utilization};
use gpu_cost_exporter::clock;
use gpu_cost_exporter::observation::{Span, Uptime};

use crate::support::daemon::{Daemon, eventually};
use crate::support::fake_apiserver::{self, FakeApiServer};
use crate::support::fake_kubelet::{Method, devices, pod};
use crate::support::fake_procfs::FakeProcfs;
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::read_driver::ReadDriver;

/// After so many ticks the GPUs are looked for again.
const DISCOVERY: u64 = 60;

/// The call that there is one of in each tick, by which the others are counted.
const COUNT: &str = "nvmlDeviceGetCount_v2";

/// How many threads it has of its own when nobody scrapes.
const THREADS: usize = 5;

/// What a function is asked for. One that is called and does not stand here, or stands here and is not called, fails.
const REASONS: &[(&str, &str)] = &[
    (COUNT, "whether a GPU was lost or came; of the node, not of a GPU"),
    ("nvmlDeviceGetMemoryInfo_v2", "`gpu_cost_device_memory_used_bytes`, `gpu_cost_mig_memory_used_bytes`"),
    ("nvmlDeviceGetPowerUsage", "`gpu_cost_device_power_watts`"),
    (
        "nvmlDeviceGetTotalEnergyConsumption",
        "`gpu_cost_device_energy_joules_total`, and what pods have of it",
    ),
    ("nvmlDeviceGetMigMode", "whether it is cut: a new partition holds from the next interval on"),
    ("nvmlDeviceGetMigDeviceHandleByIndex", "the MIG devices: their handles die with them, so none is kept"),
    ("nvmlDeviceGetUUID", "which MIG device has a handle now; of a GPU, which one is at an index"),
    ("nvmlDeviceGetAttributes_v2", "slices: a device that was cut anew may have the UUID of the one before"),
    ("nvmlDeviceGetSamples", "utilization as the mean over the tick: how many samples, and the samples"),
    ("nvmlGpmSampleAlloc", "room for the counters"),
    ("nvmlGpmSampleGet", "`gpu_cost_device_*_active_ratio`; utilization of a cut GPU"),
    ("nvmlGpmMigSampleGet", "work of each GPU instance: nothing else measures it"),
    ("nvmlGpmMetricsGet", "the four means between two samples, in one call"),
    ("nvmlGpmSampleFree", "the sample before the last"),
    (
        "nvmlDeviceGetProcessUtilization",
        "whose work it was on a shared GPU: how many entries, and the entries",
    ),
    ("nvmlEventSetWait_v2", "critical errors, without waiting"),
    ("nvmlDeviceGetHandleByIndex_v2", "which GPU is at an index"),
    ("nvmlDeviceGetName", "the model, by which it is priced"),
    ("nvmlDeviceGetMinorNumber", "label of `gpu_cost_device_info`"),
    ("nvmlDeviceGetPciInfo_v3", "label of `gpu_cost_device_info`"),
    ("nvmlDeviceGetEnforcedPowerLimit", "`gpu_cost_device_power_limit_watts`"),
    ("nvmlDeviceGetMaxMigDeviceCount", "how many slices the GPU has"),
    ("nvmlDeviceGetGpuInstanceId", "label of `gpu_cost_mig_info`; by it the counters are found"),
    ("nvmlDeviceGetComputeInstanceId", "which part of a GPU instance it is"),
    ("nvmlGpmQueryDeviceSupport", "whether there are counters"),
    ("nvmlDeviceGetFieldValues", "what the driver says is to be done with the GPU; at once after an error"),
];

/// Calls by function.
type Calls = BTreeMap<String, u64>;

/// A GPU on which somebody works, of a driver that always has something to tell.
fn worked_on(board: Board) -> Board {
    const MICROS: u64 = 1_800_000_000_000_000;
    let sample = ProcessSample { pid: 7, micros: MICROS, percent: 30 };
    let board = board.sampled(Utilization::Stubborn(vec![(MICROS, 50)]));
    Board { processes: Processes::Stubborn(vec![sample]), recovery_action: Some(0), ..board }
}

/// A GPU that is cut into seven.
fn cut(board: Board) -> Board {
    let first = board.minor * 7;
    let part = |n| MigDevice::new(Profile::X80GB_1G, n + 7, first + n).counting(50.0, 40.0, 20.0, 10.0);
    board.cut(7, (0..7).map(|n| Some(part(n))))
}

/// What is called in ticks that follow a discovery, up to and with the next one: in a tick without one, and besides in
/// the one with it.
fn calls(node: &Node) -> [Calls; 2] {
    let mut driver = ReadDriver::with_processes(node);
    let counted = |driver: &ReadDriver| -> Calls {
        REASONS.iter().map(|(name, _)| ((*name).to_owned(), driver.fake.calls(name))).collect()
    };
    let mut ticks = |count: u64| -> Calls {
        let before = counted(&driver);
        for _ in 0..count {
            driver.gpus();
        }
        counted(&driver).into_iter().map(|(name, calls)| (name.clone(), calls - before[&name])).collect()
    };
    // The first tick discovers, the second is the first that has something to compare with.
    ticks(2);
    let calm = ticks(1);
    let rest = ticks(DISCOVERY - 1);
    let besides = rest.iter().map(|(name, calls)| (name.clone(), calls - calm[name] * (DISCOVERY - 1)));
    let besides = besides.collect();
    [calm, besides]
}

/// How often a function is called: in each tick, and in each discovery besides.
fn often([calm, besides]: &[Calls; 2], name: &str) -> String {
    match (calm[name], besides[name]) {
        (0, 0) => "-".to_owned(),
        (calm, 0) => calm.to_string(),
        (0, besides) => format!("({besides})"),
        (calm, besides) => format!("{calm} ({besides})"),
    }
}

fn sums(kinds: &[[Calls; 2]; 3]) -> String {
    let sum = |calls: &Calls| calls.values().sum::<u64>();
    kinds.each_ref().map(|[calm, besides]| format!("{} ({})", sum(calm), sum(besides))).join(" | ")
}

#[test]
fn every_call_of_the_driver_is_counted_and_has_a_reason() {
    let kinds =
        [worked_on(Board::a100_80gb(0)), worked_on(Board::h100_80gb(0)), cut(worked_on(Board::h100_80gb(0)))];
    let kinds = kinds.map(|board| calls(&Node::new([board])));
    let mut table = String::from(
        "<!-- Generated by tests/it/gentle.rs: change it there and run `make bless`. -->\n\n\
         # What the driver is asked\n\n\
         How often a tick calls each function of NVML in the calm, for one GPU on which somebody works. In parentheses \
         what comes on top\nin every 60th tick, when the GPUs are looked for again: what hardly ever changes is asked \
         only then.\nA GPU that lacks a function is asked for it in those ticks alone, and processes only where the \
         host's `/proc` says whose they are.\nNothing is asked by a scrape.\n\n\
         | function | whole A100 | whole H100 | H100 cut into 7 | what for |\n|---|---|---|---|---|\n",
    );
    for (name, reason) in REASONS {
        let [ampere, hopper, cut] = kinds.each_ref().map(|kind| often(kind, name));
        assert!([&ampere, &hopper, &cut].iter().any(|often| *often != "-"), "{name} is never called");
        writeln!(table, "| `{name}` | {ampere} | {hopper} | {cut} | {reason} |").unwrap();
    }
    writeln!(table, "| all | {} | |", sums(&kinds)).unwrap();
    expect_file!["../../docs/driver-calls.md"].assert_eq(&table);
}

/// The counts that the driver of the binary wrote last, at the beginning of a tick.
fn written(file: &Path) -> Option<Calls> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Waits until the driver was asked in so many more ticks, or in as many again and again, and gives what was called.
fn after_ticks(file: &Path, before: &Calls, ticks: u64) -> (u64, Calls) {
    eventually("the ticks", || {
        let now = written(file)?;
        let passed = now[COUNT] - before[COUNT];
        let calls = now.iter().map(|(name, calls)| (name.clone(), calls - before.get(name).unwrap_or(&0)));
        (passed > 0 && passed.is_multiple_of(ticks)).then(|| (passed, calls.collect()))
    })
}

/// A node of whole and of cut GPUs, each of whose devices a pod has.
fn node() -> (FakeNode, Node) {
    let whole = (0..4).map(|n| worked_on(Board::h100_80gb(n)));
    let described = Node::new(whole.chain((4..8).map(|n| cut(worked_on(Board::h100_80gb(n))))));
    let node = FakeNode::new(&described);
    FakeProcfs::at(&node.path("proc"));
    let slots: Vec<String> =
        (0..4).flat_map(|gpu| (0..4).map(move |slot| format!("{}::{slot}", uuid(gpu)))).collect();
    node.kubelet.list(
        slots.iter().map(|id| pod("ml", &format!("pod-{id}"), "nvidia.com/gpu.shared", &[id])).collect(),
    );
    node.kubelet
        .advertise(devices("nvidia.com/gpu.shared", &slots.iter().map(String::as_str).collect::<Vec<_>>()));
    (node, described)
}

/// How many questions there may be since a time, one per so many milliseconds: one at each end besides.
fn most(since: Uptime, millis: u64) -> usize {
    usize::try_from(clock::uptime().since(since).as_nanos() / (millis * 1_000_000)).unwrap() + 1
}

/// What the API server was asked of a collection: how often to list it, and how often to watch it.
fn lists_and_watches(requests: &[String], collection: &str) -> (usize, usize) {
    let of = |query: &&String| query.split('?').next().is_some_and(|path| path.ends_with(collection));
    let (watches, lists): (Vec<_>, Vec<_>) =
        requests.iter().filter(of).partition(|it| it.contains("watch=true"));
    assert!(lists.iter().all(|list| list.contains("resourceVersion=0")), "{lists:?} need not come from etcd");
    (lists.len(), watches.len())
}

#[test]
fn a_node_in_the_calm_is_hardly_disturbed_and_one_in_a_burst_little() {
    let (node, described) = node();
    let server = FakeApiServer::start();
    server.serve_claims(&["v1"]);
    server.apply(&fake_apiserver::pod("ml", "first", "uid-first", &[]));
    let counted = node.path("calls.json");
    let daemon = node.start_with(
        &[&flag("--kubernetes.kubeconfig", &server.kubeconfig()), "--sample.interval=250ms"],
        &[("FAKE_NVML_CALLS", counted.to_str().unwrap())],
    );
    let daemon = daemon.ready();
    // By then the second looks at the kubelet are over, and the first discovery.
    let start = eventually("the first ticks", || written(&counted).filter(|calls| calls[COUNT] > 20));

    in_the_calm(&node, &described, &counted, &start);
    in_a_burst(&node, &server);
    let requests = server.requests();
    for collection in ["/pods", "/nodes", "/resourceslices"] {
        assert_eq!(lists_and_watches(&requests, collection), (1, 1), "{requests:#?}");
    }
    let paths: BTreeSet<&str> = requests.iter().filter_map(|request| request.split('?').next()).collect();
    let group = "/apis/resource.k8s.io";
    let [version, slices] = ["/v1", "/v1/resourceslices"].map(|path| format!("{group}{path}"));
    assert_eq!(paths, BTreeSet::from(["/api/v1/pods", "/api/v1/nodes", group, &*version, &*slices]));
    assert_eq!(requests.len(), 8, "{requests:#?}");
    assert_is_small(&daemon);
}

/// A minute of ticks of a second each, as far as the driver is concerned.
fn in_the_calm(node: &FakeNode, described: &Node, counted: &Path, start: &Calls) {
    let (asked, began) = (node.kubelet.calls(Method::List), clock::uptime());
    let (ticks, seen) = after_ticks(counted, start, DISCOVERY);
    let [calm, besides] = calls(described);
    for (name, calls) in &seen {
        let most = calm.get(name).map_or(0, |calm| calm * ticks + besides[name] * ticks / DISCOVERY);
        assert!(
            *calls <= most,
            "{name} was called {calls} times in {ticks} ticks, {most} were to be expected"
        );
    }
    let (lists, most) = (node.kubelet.calls(Method::List) - asked, most(began, 5_000));
    assert!(lists <= most, "{lists} lists, where {most} were to be expected");
}

/// Five seconds in which pods come and go all the time.
fn in_a_burst(node: &FakeNode, server: &FakeApiServer) {
    const LENGTH: Span = Span::from_secs(5);
    let (asked, began) = (node.kubelet.calls(Method::List), clock::uptime());
    let mut count = 0;
    while clock::uptime().since(began) < LENGTH {
        server.apply(&fake_apiserver::pod("ml", "one-of-many", &format!("uid-{count}"), &[]));
        count += 1;
        thread::park_timeout(Duration::from_millis(20));
    }
    let (lists, most) = (node.kubelet.calls(Method::List) - asked, most(began, 500));
    assert!(lists > 2 && lists <= most, "{lists} lists, where {most} were to be expected");
}

/// Waits until only the threads are left that there always are. They have one heap: what one lets go of, another one uses.
fn assert_is_small(daemon: &Daemon) {
    let threads = || fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().count();
    eventually("few threads", || (threads() <= THREADS).then_some(()));
    assert_eq!(heaps_of_threads(&fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).unwrap()), 0);
}

/// How many heaps the C library has made for threads: each begins where 64 MiB of addresses begin, and has the rest of them
/// in reserve.
fn heaps_of_threads(maps: &str) -> usize {
    const LENGTH: u64 = 64 << 20;
    let areas: Vec<(u64, u64, &str)> = maps
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (from, to) = words.next()?.split_once('-')?;
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?, words.next()?))
        })
        .collect();
    let is_heap = |pair: &&[(u64, u64, &str)]| {
        let [(from, _, used), (_, to, spare)] = pair else { return false };
        from % LENGTH == 0 && *to == from + LENGTH && (*used, *spare) == ("rw-p", "---p")
    };
    areas.windows(2).filter(is_heap).count()
}
