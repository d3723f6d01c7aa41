//! MIG in every geometry: from what NVML says to who pays for which slices.

use std::fs;
use std::sync::Arc;

use fake_nvml::{Board, MigDevice, Node, Profile};
use gpu_cost_exporter::cost::attribution::{MigShare, Rules};
use gpu_cost_exporter::cost::meter::{Meter, Policy};
use gpu_cost_exporter::cost::pricing::PriceSheet;
use gpu_cost_exporter::cost::report::{Report, State};
use gpu_cost_exporter::observation::{
    Activity, Allocation, Allocations, DeviceId, DeviceTarget, Gpu, Mig, Observation, PodKey, Ppm, Uptime,
};
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::fake_kubelet::{devices, pod};
use crate::support::node::{FakeNode, flag, uuid};
use crate::support::read_driver::ReadDriver;
use crate::support::scrape::Scrape;

const DEVICE: &str = "gpu_cost_device_dollars_total";
const POD: &str = "gpu_cost_pod_dollars_total";

const MODES: [MigShare; 3] = [MigShare::Compute, MigShare::Memory, MigShare::Blend];

/// Parts of a GPU in which every share of the tables below is a whole number: 2 × 7 × 8.
const PARTS: u64 = 112;

/// A board, all of its profiles, its compute and memory slices, and those of each profile.
type Geometry<'a> = (Board, &'a [Profile], (u64, u64), &'a [(u64, u64)]);

// === Shares ===

/// What the ledger says of a node whose MIG devices are held by a pod each, or by nobody.
fn report(gpus: &[Gpu], mig_share: MigShare, held: bool) -> Arc<Report> {
    let policy = Policy { rules: Rules { mig_share, ..Rules::default() }, ..Policy::default() };
    let at = Uptime::from_nanos(1_000_000_000);
    let ids = gpus.iter().flat_map(mig_devices).filter(|_| held).map(|device| &device.uuid);
    let allocation = |id: &Arc<str>| Allocation {
        pod: PodKey::new("ml", Arc::clone(id)),
        container: "main".into(),
        resource: "nvidia.com/mig".into(),
        devices: vec![DeviceId { target: DeviceTarget::MigDevice(Arc::clone(id)), replica: None }],
    };
    let containers = ids.map(allocation).collect();
    let allocations = Allocations { read_at: at, containers, ..Allocations::default() };
    let seen = Observation {
        at,
        boot: "boot".into(),
        gpus: Some(gpus.to_vec()),
        allocations: Some(Arc::new(allocations)),
        ..Observation::default()
    };
    Meter::new(policy, Arc::new(PriceSheet::default())).observe(&seen)
}

fn mig_devices(gpu: &Gpu) -> &[gpu_cost_exporter::observation::MigDevice] {
    let Mig::Enabled(partition) = &gpu.mig else { panic!("not partitioned: {gpu:#?}") };
    &partition.devices
}

/// A fraction in parts of a GPU.
#[track_caller]
fn parts((numerator, denominator): (u64, u64)) -> u64 {
    assert_eq!(numerator * PARTS % denominator, 0, "{numerator}/{denominator} is no whole number of parts");
    numerator * PARTS / denominator
}

/// The share of `(compute, memory)` slices of a GPU of `(of_compute, of_memory)`, in parts.
fn share(mode: MigShare, (compute, memory): (u64, u64), (of_compute, of_memory): (u64, u64)) -> u64 {
    let (compute, memory) = (parts((compute, of_compute)), parts((memory, of_memory)));
    match mode {
        MigShare::Compute => compute,
        MigShare::Memory => memory,
        MigShare::Blend => u64::midpoint(compute, memory),
    }
}

#[test]
fn every_profile_of_every_board_has_its_share() {
    // One slice, with media engines, with double memory, two, three, four, seven.
    const SEVEN: [(u64, u64); 7] = [(1, 1), (1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8)];
    const A30: [(u64, u64); 5] = [(1, 1), (1, 1), (2, 2), (2, 2), (4, 4)];
    const QUARTERS: [(u64, u64); 11] =
        [(1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (2, 2), (2, 2), (4, 4), (4, 4)];
    let geometries: [Geometry<'_>; 7] = [
        (Board::a30(0), &Profile::A30, (4, 4), &A30),
        (Board::a100_40gb(0), &Profile::A100_40GB, (7, 8), &SEVEN),
        (Board::a100_80gb(0), &Profile::A100_80GB, (7, 8), &SEVEN),
        (Board::h100_80gb(0), &Profile::H100_80GB, (7, 8), &SEVEN),
        (Board::h200_141gb(0), &Profile::H200_141GB, (7, 8), &SEVEN),
        (Board::b200_180gb(0), &Profile::B200_180GB, (7, 8), &SEVEN),
        (Board::rtx_pro_6000(0), &Profile::RTX_PRO_6000, (4, 4), &QUARTERS),
    ];
    for (board, profiles, of, slices) in geometries {
        assert_eq!(profiles.len(), slices.len());
        for (profile, slices) in profiles.iter().zip(slices) {
            check_profile(&board, *profile, *slices, of);
        }
    }
}

#[track_caller]
fn check_profile(board: &Board, profile: Profile, slices: (u64, u64), of: (u64, u64)) {
    let max = u32::try_from(of.0).unwrap();
    let device = MigDevice::new(profile, 5, 1);
    let what = format!("{} on {}", profile.name, board.name);
    // The name never decides: neither without one nor with a wrong one anything changes. Indices have holes.
    for name in [Some(profile.name), None, Some("7g.999gb")] {
        let device = MigDevice { profile: name.map(str::to_owned), ..device.clone() };
        let node = Node::new([board.clone().cut(max, [None, None, Some(device)])]);
        let gpus = ReadDriver::new(&node).gpus();
        let [read] = mig_devices(&gpus[0]) else { panic!("{what}: {gpus:#?}") };
        assert_eq!(name.unwrap_or(&read.profile), &*read.profile, "{what}");
        for mode in MODES {
            let report = report(&gpus, mode, true);
            let [line] = &*report.devices else { panic!("{what}: {report:#?}") };
            let [holding] = &*line.holdings else { panic!("{what}: {line:#?}") };
            assert_eq!(parts(holding.share), share(mode, slices, of), "{what}, {mode:?}");
            assert_eq!(line.totals.total_time().nanos(), 0);
        }
    }
}

/// What nobody holds of a GPU that is cut so: unallocated and stranded parts by compute, by memory and blended.
type Packing<'a> = (&'a str, Board, &'a [Profile], [(u64, u64); 3]);

#[test]
fn what_is_in_no_mig_device_is_free_or_stranded() {
    let [one, _, double, two, three, four, seven] = Profile::H100_80GB;
    let [quarter, _, half, ..] = Profile::A30;
    let all = [(PARTS, 0); 3];
    let h100 = || Board::h100_80gb(0);
    let packings: &[Packing<'_>] = &[
        ("seven small ones leave an eighth of the memory", h100(), &[one; 7], [(112, 0), (98, 14), (105, 7)]),
        ("4g + 3g is all of it", h100(), &[four, three], all),
        ("3g + 3g leaves a seventh of the compute", h100(), &[three, three], [(96, 16), (112, 0), (104, 8)]),
        ("2g + 2g + 3g is all of it", h100(), &[two, two, three], all),
        ("double memory leaves compute", h100(), &[double; 4], [(64, 48), (112, 0), (88, 24)]),
        ("beside 3g there is room for 4g", h100(), &[three], all),
        ("beside 4g there is room for 3 slices", h100(), &[four], [(112, 0), (98, 14), (105, 7)]),
        ("7g is all of it", h100(), &[seven], all),
        // As many slices as there are of the scarcer kind can be given away.
        ("nothing is cut yet", h100(), &[], all),
        ("an A30 in three", Board::a30(0), &[half, quarter, quarter], all),
        ("an A30 with room for a half", Board::a30(0), &[half], all),
        ("an A30 that is not cut yet", Board::a30(0), &[], all),
        (
            "half of an RTX PRO 6000 and a quarter",
            Board::rtx_pro_6000(0),
            &[Profile::RTX_PRO_6000[5], Profile::RTX_PRO_6000[4]],
            all,
        ),
    ];
    for (what, board, profiles, expected) in packings {
        let max = if board.name.contains("H100") { 7 } else { 4 };
        let cut = profiles.iter().zip(1..).map(|(profile, n)| Some(MigDevice::new(*profile, n, n)));
        let gpus = ReadDriver::new(&Node::new([board.clone().cut(max, cut)])).gpus();
        for (mode, expected) in MODES.into_iter().zip(expected) {
            let report = report(&gpus, mode, false);
            let unheld = |state: State| -> u64 {
                let of = report.devices[0].unheld.iter().filter(|(of, _)| *of == state);
                of.map(|(_, share)| parts(*share)).sum()
            };
            let found = (unheld(State::Unallocated), unheld(State::Stranded));
            assert_eq!(found, *expected, "{what}, {mode:?}");
        }
    }
}

#[test]
fn compute_instances_divide_what_their_gpu_instance_has() {
    let three = |n, slices| MigDevice::new(Profile::A100_40GB[4], 2, n).compute_instance(n, slices);
    let board = Board::a100_40gb(0).cut(7, [Some(three(0, 1)), None, Some(three(1, 2))]);
    let gpus = ReadDriver::new(&Node::new([board])).gpus();
    let names: Vec<&str> = mig_devices(&gpus[0]).iter().map(|device| &*device.profile).collect();
    assert_eq!(names, ["1c.3g.20gb", "2c.3g.20gb"]);
    for (mode, expected) in MODES.into_iter().zip([[(1, 7), (2, 7)], [(1, 6), (1, 3)], [(13, 84), (13, 42)]])
    {
        let report = report(&gpus, mode, true);
        let shares = report.devices[0].holdings.iter().map(|holding| holding.share);
        for ((n, d), (of_n, of_d)) in shares.zip(expected) {
            assert_eq!(n * of_d, d * of_n, "{mode:?}: {n}/{d}");
        }
        assert_eq!(report.devices[0].holdings.len(), 2);
    }
}

// === Utilization ===

/// An H100 with these MIG devices.
fn h100(devices: impl IntoIterator<Item = MigDevice>) -> Node {
    Node::new([Board::h100_80gb(0).cut(7, devices.into_iter().map(Some))])
}

/// `slices` compute slices of the three of one GPU instance, whose counters say so many percent.
fn part(n: u32, slices: u32, percent: f64) -> MigDevice {
    MigDevice::new(Profile::H100_80GB[4], 1, n)
        .compute_instance(n, slices)
        .counting(percent, percent, percent, percent)
}

fn utilizations(gpus: &[Gpu]) -> Vec<Option<u32>> {
    let of = |device: &gpu_cost_exporter::observation::MigDevice| device.activity.utilization.map(Ppm::get);
    mig_devices(&gpus[0]).iter().map(of).collect()
}

#[test]
fn a_compute_instance_that_is_alone_did_all_of_the_work() {
    let mut driver = ReadDriver::new(&h100([part(0, 1, 20.0)]));
    driver.tick();
    let gpus = driver.gpus();
    let percent = |percent| Some(Ppm::from_percent(percent));
    let expected = Activity {
        utilization: percent(60),
        sm_active: percent(60),
        tensor_active: percent(60),
        dram_active: percent(20),
    };
    assert_eq!(mig_devices(&gpus[0])[0].activity, expected);
    assert_eq!(utilizations(&driver.after(&h100([part(0, 1, 50.0)]))), [Some(1_000_000)]);
    assert_eq!(utilizations(&driver.after(&h100([part(0, 1, 0.0)]))), [Some(0)]);
}

#[test]
fn of_several_compute_instances_nobody_knows_which_one_worked() {
    let both = |percent| h100([part(0, 1, percent), part(1, 2, percent)]);
    let mut driver = ReadDriver::new(&both(40.0));
    driver.tick();
    assert_eq!(utilizations(&driver.gpus()), [None, None]);
    assert_eq!(utilizations(&driver.after(&both(0.0))), [Some(0), Some(0)]);
    // The first mean after the neighbour is gone is still the work of both.
    let alone = h100([part(0, 1, 30.0)]);
    assert_eq!(utilizations(&driver.after(&alone)), [None]);
    assert_eq!(utilizations(&driver.gpus()), [Some(900_000)]);
}

#[test]
fn one_instance_without_counters_does_not_hide_the_others() {
    let four = || MigDevice::new(Profile::H100_80GB[5], 1, 1).counting(50.0, 50.0, 0.0, 0.0);
    let three = || MigDevice::new(Profile::H100_80GB[4], 2, 2);
    let mut driver = ReadDriver::new(&h100([three(), four()]));
    driver.tick();
    for _ in 0..3 {
        assert_eq!(utilizations(&driver.gpus()), [None, Some(500_000)]);
    }
    let asked = driver.fake.calls("nvmlGpmMigSampleGet");
    driver.tick();
    assert_eq!(driver.fake.calls("nvmlGpmMigSampleGet") - asked, 1, "who refused is not asked every second");
}

#[test]
fn before_hopper_nobody_knows_what_a_mig_device_does() {
    for (board, profile, max) in
        [(Board::a30(0), Profile::A30[0], 4), (Board::a100_80gb(0), Profile::A100_80GB[0], 7)]
    {
        let node = Node::new([board.busy(70).cut(max, [Some(MigDevice::new(profile, 1, 1))])]);
        let mut driver = ReadDriver::new(&node);
        driver.tick();
        assert_eq!(utilizations(&driver.gpus()), [None]);
    }
}

// === The whole daemon ===

fn mig_uuid(n: u32) -> String {
    MigDevice::new(Profile::A30[0], 0, n).uuid
}

/// Waits until a pod was charged in a state.
fn charged(daemon: &Daemon, pod: &str, state: &str) -> Scrape {
    daemon.scrape_until(&format!("{state} money of {pod}"), |scrape| {
        (scrape.sum(POD, &[("pod", pod), ("state", state)]) > 0.0).then(|| scrape.clone())
    })
}

fn gpus(scrape: &Scrape, pod: &str) -> f64 {
    scrape.value("gpu_cost_pod_gpus", &[("pod", pod)]).unwrap_or(0.0)
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-8 * expected.abs(), "{found} is not {expected}");
}

/// Strategy `none`: the plugin hands out the whole GPU, whatever it is cut into.
#[test]
fn a_cut_gpu_that_is_handed_out_whole_is_held_whole() {
    let cut = |board: Board| board.cut(7, [Some(MigDevice::new(Profile::H100_80GB[4], 1, 1))]);
    let node = FakeNode::new(&Node::new([
        cut(Board::h100_80gb(0).counting(40.0, 40.0, 0.0, 0.0)),
        cut(Board::a100_80gb(1)),
    ]));
    node.kubelet.list(vec![
        pod("ml", "hopper", "nvidia.com/gpu", &[&uuid(0)]),
        pod("ml", "ampere", "nvidia.com/gpu", &[&uuid(1)]),
    ]);
    let daemon = node.start(&[]).ready();
    charged(&daemon, "hopper", "used");
    let scrape = charged(&daemon, "ampere", "unmeasured");
    assert_close(gpus(&scrape, "hopper"), 1.0);
    assert_close(gpus(&scrape, "ampere"), 1.0);
    assert_close(scrape.sum(POD, &[("pod", "ampere"), ("state", "idle")]) + 1.0, 1.0);
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

/// Strategies `single`, where MIG devices have the name of whole GPUs, and `mixed`, with replicas of one of them.
#[test]
fn every_strategy_of_the_plugin_names_the_same_devices() {
    let [one, _, _, two, ..] = Profile::H100_80GB;
    let device = |profile, n| MigDevice::new(profile, n, n).counting(50.0, 50.0, 0.0, 0.0);
    let node = FakeNode::new(&Node::new([
        Board::h100_80gb(0).cut(7, (1..=7).map(|n| Some(device(one, n)))),
        Board::h100_80gb(1).cut(7, [None, Some(device(two, 11)), Some(device(two, 12))]),
    ]));
    let slots = (0..4).map(|n| format!("{}::{n}", mig_uuid(12))).collect::<Vec<_>>();
    node.kubelet.list(vec![
        pod("ml", "single", "nvidia.com/gpu", &[&mig_uuid(3)]),
        pod("ml", "mixed", "nvidia.com/mig-2g.20gb", &[&mig_uuid(11)]),
        pod("ml", "slot", "nvidia.com/mig-2g.20gb.shared", &[&slots[2]]),
    ]);
    let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
    node.kubelet.advertise(devices("nvidia.com/mig-2g.20gb.shared", &slots));
    let daemon = node.start(&[]).ready();
    charged(&daemon, "single", "used");
    charged(&daemon, "mixed", "used");
    let scrape = charged(&daemon, "slot", "used");
    assert_close(gpus(&scrape, "single"), 1.0 / 7.0);
    assert_close(gpus(&scrape, "mixed"), 2.0 / 7.0);
    assert_close(gpus(&scrape, "slot"), 2.0 / 7.0 / 4.0);
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

#[test]
fn the_share_and_who_pays_for_free_slots_can_be_chosen() {
    let double = MigDevice::new(Profile::H100_80GB[2], 1, 1);
    let node = FakeNode::new(&Node::new([Board::h100_80gb(0).cut(7, [Some(double)])]));
    let slots = [0, 1].map(|n| format!("{}::{n}", mig_uuid(1)));
    node.kubelet.list(vec![pod("ml", "a", "nvidia.com/mig-1g.20gb.shared", &[&slots[0]])]);
    node.kubelet.advertise(devices("nvidia.com/mig-1g.20gb.shared", &[&slots[0], &slots[1]]));
    let prices = flag("--pricing.file", &node.path("pricing.yaml"));
    fs::write(node.path("pricing.yaml"), "schema_version: 2\nmig_share: memory\nsharing_policy: active\n")
        .unwrap();
    for (args, expected) in [
        (&[][..], 1.0 / 7.0 / 2.0),
        (&["--ledger.mig-share=memory"], 2.0 / 8.0 / 2.0),
        (
            &["--ledger.mig-share=blend", "--ledger.sharing-policy=active"],
            f64::midpoint(1.0 / 7.0, 2.0 / 8.0),
        ),
        // The price file may say it, too; a flag that is given counts before it.
        (&[&prices], 2.0 / 8.0),
        (&[&prices, "--ledger.mig-share=compute"], 1.0 / 7.0),
        (&[&prices, "--ledger.sharing-policy=slots"], 2.0 / 8.0 / 2.0),
    ] {
        let daemon = node.start(args).ready();
        let scrape = charged(&daemon, "a", "unmeasured");
        assert_close(gpus(&scrape, "a"), expected);
    }
}

#[test]
fn a_gpu_that_is_cut_anew_while_it_runs_changes_hands() {
    let [_, _, _, two, three, four, _] = Profile::H100_80GB;
    let device = |profile, n, id| MigDevice::new(profile, id, n).counting(50.0, 50.0, 0.0, 0.0);
    let cut = |devices: Vec<MigDevice>| h100(devices);
    let node = FakeNode::new(&cut(vec![device(three, 1, 2), device(four, 2, 1)]));
    node.kubelet.list(vec![
        pod("ml", "stays", "nvidia.com/mig-3g.40gb", &[&mig_uuid(1)]),
        pod("ml", "goes", "nvidia.com/mig-4g.40gb", &[&mig_uuid(2)]),
    ]);
    let daemon = node.start(&[]).ready();
    charged(&daemon, "stays", "used");
    charged(&daemon, "goes", "used");

    // GPU instance 1 is another one now, and its slices are two and none.
    node.kubelet.list(vec![
        pod("ml", "stays", "nvidia.com/mig-3g.40gb", &[&mig_uuid(1)]),
        pod("ml", "comes", "nvidia.com/mig-2g.20gb", &[&mig_uuid(3)]),
    ]);
    node.set(&cut(vec![device(three, 1, 2), device(two, 3, 1)]));
    let scrape = charged(&daemon, "comes", "used");
    assert_close(gpus(&scrape, "stays"), 3.0 / 7.0);
    assert_close(gpus(&scrape, "comes"), 2.0 / 7.0);
    let of = |scrape: &Scrape, pod| scrape.sum(POD, &[("pod", pod)]);
    let gone = of(&scrape, "goes");
    let later = daemon.scrape_until("more time", |later| {
        (of(later, "stays") > of(&scrape, "stays")).then(|| later.clone())
    });
    assert_close(of(&later, "goes"), gone);
    assert_eq!(later.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));

    // Nothing is cut any more: all of it could be given away.
    node.kubelet.list(Vec::new());
    node.set(&cut(Vec::new()));
    let free = |scrape: &Scrape| scrape.sum(DEVICE, &[("state", "unallocated")]);
    let bill = |scrape: &Scrape| scrape.sum(DEVICE, &[]);
    let first = daemon.scrape_until("nobody", |scrape| {
        (scrape.sum("gpu_cost_pod_gpus", &[]) == 0.0).then(|| scrape.clone())
    });
    let then =
        daemon.scrape_until("free money", |scrape| (free(scrape) > free(&first)).then(|| scrape.clone()));
    let last =
        daemon.scrape_until("more of it", |scrape| (free(scrape) > free(&then)).then(|| scrape.clone()));
    assert_close(free(&last) - free(&then), bill(&last) - bill(&then));
}

/// The second worked example: an H100 at $8 an hour as 4g.40gb, half busy, and 3g.40gb, which cannot be read.
#[test]
fn a_half_busy_mig_device_beside_one_that_cannot_be_read() {
    let four = MigDevice::new(Profile::H100_80GB[5], 1, 1).counting(50.0, 40.0, 20.0, 10.0);
    let three = MigDevice::new(Profile::H100_80GB[4], 2, 2);
    let node = FakeNode::new(&h100([three, four]));
    fs::write(node.path("pricing.yaml"), "gpu_pricing:\n  nvidia-h100-80gb: { on_demand: 8 }\n").unwrap();
    node.kubelet.list(vec![
        pod("ml", "a", "nvidia.com/mig-4g.40gb", &[&mig_uuid(1)]),
        pod("ml", "b", "nvidia.com/mig-3g.40gb", &[&mig_uuid(2)]),
    ]);
    let prices = flag("--pricing.file", &node.path("pricing.yaml"));
    let trace = node.path("trace.ndjson");
    let daemon = node.start(&[&prices, &flag("--record", &trace)]).ready();
    let first = charged(&daemon, "a", "used");
    let used = |scrape: &Scrape| scrape.sum(POD, &[("pod", "a"), ("state", "used")]);
    let second =
        daemon.scrape_until("more work", |scrape| (used(scrape) > used(&first)).then(|| scrape.clone()));
    let spent = |name: &str, labels: &[(&str, &str)]| second.sum(name, labels) - first.sum(name, labels);
    let (a_used, a_underused) =
        (spent(POD, &[("pod", "a"), ("state", "used")]), spent(POD, &[("pod", "a"), ("state", "underused")]));
    let b = spent(POD, &[("pod", "b"), ("state", "unmeasured")]);
    assert_close(a_used, a_underused);
    assert_close(3.0 * (a_used + a_underused), 4.0 * b);
    assert_close(spent(DEVICE, &[]), a_used + a_underused + b);
    drop(daemon);

    // An hour of what was recorded, to the cent.
    let hour = node.path("hour.ndjson");
    fs::write(&hour, an_hour_of(&fs::read_to_string(&trace).unwrap())).unwrap();
    let scrape = Daemon::start(&[&flag("--replay", &hour), &prices]).ready().scrape();
    let of = |pod: &str, state: &str| scrape.sum(POD, &[("pod", pod), ("state", state)]);
    assert_close(of("a", "used"), 16.0 / 7.0);
    assert_close(of("a", "underused"), 16.0 / 7.0);
    assert_close(of("b", "unmeasured"), 24.0 / 7.0);
    assert_close(scrape.sum(POD, &[]), 8.0);
    assert_eq!(scrape.sum(DEVICE, &[]).to_string(), "8");
    assert_eq!(scrape.value("gpu_cost_ledger_imbalance_dollars", &[]), Some(0.0));
}

/// A trace in which everything that was recorded happens at once, and its end lasts for an hour.
fn an_hour_of(trace: &str) -> String {
    const TICK_NANOS: u64 = 15_000_000_000;
    let whole = |line: &&str| serde_json::from_str::<Value>(line).is_ok();
    let mut lines: Vec<Value> =
        trace.lines().filter(whole).map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap().clone();
    let start = last["at"].as_u64().unwrap();
    lines.extend(std::iter::repeat_n(last, 240));
    // The header has no time.
    let times =
        std::iter::repeat_n(start, lines.len() - 241).chain((1..=240).map(|n| start + n * TICK_NANOS));
    for (line, at) in lines.iter_mut().skip(1).zip(times) {
        line["at"] = at.into();
        if line.get("allocations_read_at").is_some() {
            line["allocations_read_at"] = at.into();
        }
    }
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n") + "\n"
}
