//! The driver's edge: the real nvml-wrapper and the real loader, on a driver library that obeys the test.

mod processes;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use fake_nvml::{Board, Energy, Gpm, Memory, MigDevice, Node, Profile, Utilization, Wave};
use gpu_cost_exporter::clock;
use gpu_cost_exporter::nvml::{Driver, Error, Reading, Settings, find_library};
use gpu_cost_exporter::observation::{
    Activity, Fault, Gpu, Health, Mig, Partition, Ppm, UnixTime, UtilizationSource,
};

use crate::support::fake_nvml::FakeDriver;

/// The moment before the first tick of a bench with its own time.
const EPOCH_MILLIS: u64 = 1_800_000_000_000;

/// Long enough for a busy machine; no test waits for it unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// Return codes of NVML.
const NOT_SUPPORTED: u32 = 3;
const NO_PERMISSION: u32 = 4;
const DRIVER_NOT_LOADED: u32 = 9;
const FUNCTION_NOT_FOUND: u32 = 13;
const GPU_IS_LOST: u32 = 15;
const RESET_REQUIRED: u32 = 16;
const VERSION_MISMATCH: u32 = 18;
const UNKNOWN: u32 = 999;

/// A driver under test whose time goes on by a second per tick.
struct Bench {
    fake: FakeDriver,
    driver: Driver,
    millis: u64,
}

impl Bench {
    fn new(node: &Node) -> Self {
        Self::on(FakeDriver::new(node))
    }

    fn on(fake: FakeDriver) -> Self {
        let driver = start(&fake, Duration::from_secs(60));
        Self { fake, driver, millis: EPOCH_MILLIS }
    }

    /// A bench that gives a call up soon.
    fn impatient(node: &Node) -> Self {
        let fake = FakeDriver::new(node);
        let driver = start(&fake, Duration::from_secs(1));
        Self { fake, driver, millis: EPOCH_MILLIS }
    }

    fn tick(&mut self) -> Reading {
        self.tick_within(DEADLINE)
    }

    fn tick_within(&mut self, deadline: Duration) -> Reading {
        self.millis += 1_000;
        read(&self.driver, self.millis, deadline)
    }

    /// Changes the node and reads it.
    fn after(&mut self, node: &Node) -> Reading {
        self.fake.set(node);
        self.tick()
    }

    /// Waits until the library was asked to do something.
    #[track_caller]
    fn wait_for_call(&self, function: &str) {
        let start = clock::uptime();
        while self.fake.calls(function) == 0 {
            let elapsed = Duration::from_nanos(clock::uptime().since(start).as_nanos());
            assert!(elapsed < DEADLINE, "{function} was never called");
            std::thread::yield_now();
        }
    }

    /// Ticks until the reading is as expected.
    #[track_caller]
    fn until(&mut self, expected: impl Fn(&Reading) -> bool) -> Reading {
        let start = clock::uptime();
        loop {
            let reading = self.tick();
            if expected(&reading) {
                return reading;
            }
            let elapsed = Duration::from_nanos(clock::uptime().since(start).as_nanos());
            assert!(elapsed < DEADLINE, "it never came so far: {reading:#?}");
        }
    }
}

fn start(fake: &FakeDriver, stall_after: Duration) -> Driver {
    Driver::start(Settings { library: Some(fake.library()), stall_after, processes: true })
}

fn read(driver: &Driver, millis: u64, deadline: Duration) -> Reading {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(driver.read(UnixTime::from_millis(millis), deadline))
}

#[track_caller]
fn gpus(reading: &Reading) -> &[Gpu] {
    reading.gpus.as_deref().unwrap_or_else(|| panic!("no answer: {reading:#?}"))
}

#[track_caller]
fn only(reading: &Reading) -> &Gpu {
    let [gpu] = gpus(reading) else { panic!("not one GPU: {reading:#?}") };
    gpu
}

#[track_caller]
fn partition(gpu: &Gpu) -> &Partition {
    let Mig::Enabled(partition) = &gpu.mig else { panic!("not partitioned: {gpu:#?}") };
    partition
}

fn healths(reading: &Reading) -> Vec<Health> {
    gpus(reading).iter().map(|gpu| gpu.health).collect()
}

fn utilization(gpu: &Gpu) -> Option<u32> {
    gpu.activity.utilization.map(Ppm::get)
}

/// The errors with their causes.
fn said(reading: &Reading) -> String {
    let mut text = String::new();
    for error in &reading.errors {
        write!(text, "{error}").unwrap();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            write!(text, ": {source}").unwrap();
            cause = source.source();
        }
        text += "\n";
    }
    text
}

/// A sample at so many milliseconds after the epoch of the bench.
fn sample(millis: u64, percent: u32) -> (u64, u32) {
    ((EPOCH_MILLIS + millis) * 1_000, percent)
}

fn sampled(samples: &[(u64, u32)]) -> Utilization {
    Utilization::Samples(samples.iter().map(|(millis, percent)| sample(*millis, *percent)).collect())
}

const MIB: u64 = 1 << 20;
const WELL: Health = Health::Healthy;
const LOST: Health = Health::Unavailable(Fault::Lost);
const MISSING: Health = Health::Unavailable(Fault::Missing);
const NOT_RESPONDING: Health = Health::Unavailable(Fault::NotResponding);

// === What a GPU is and measures ===

#[test]
fn a_gpu_is_read_as_plain_data() {
    let memory = Memory { total: 15_360 * MIB, used: 1_000 * MIB, reserved: 400 * MIB };
    let board = Board { memory: Some(memory), energy: Some(Energy::Fixed(123_456)), ..Board::t4(3) };
    let board = board.sampled(sampled(&[(0, 0), (1_000, 40)]));
    let reading = Bench::new(&Node::new([board])).tick();
    let gpu = only(&reading);
    assert_eq!(&*gpu.uuid, "GPU-00000000-0000-0000-0000-000000000003");
    assert_eq!((gpu.index, gpu.minor, gpu.pci_bus_id.as_deref()), (0, Some(3), Some("00000000:3E:00.0")));
    assert_eq!((&*gpu.product, gpu.health), ("Tesla T4", WELL));
    let memory = gpu.memory.unwrap();
    assert_eq!((memory.used, memory.total), (1_000 * MIB, 15_360 * MIB));
    assert_eq!((gpu.power_milliwatts, gpu.power_limit_milliwatts), (Some(7_000), Some(70_000)));
    assert_eq!(gpu.energy_millijoules, Some(123_456));
    assert_eq!((utilization(gpu), gpu.utilization_source), (Some(400_000), UtilizationSource::NvmlSamples));
    assert_eq!((&gpu.mig, gpu.processes.as_deref(), &*gpu.xids), (&Mig::Disabled, Some(&[][..]), &[][..]));
    assert_eq!(reading.driver_version.as_deref(), Some("580.82.07"));
    assert!(reading.errors.is_empty(), "{}", said(&reading));
}

#[test]
fn what_the_hardware_does_not_measure_is_absent_and_no_error() {
    let board = Board {
        memory: None,
        power_milliwatts: None,
        power_limit_milliwatts: None,
        energy: None,
        utilization: Utilization::Unsupported,
        ..Board::t4(0)
    };
    let mut bench = Bench::new(&Node::new([board]));
    let reading = bench.tick();
    let gpu = only(&reading);
    assert_eq!((gpu.health, gpu.memory, gpu.power_milliwatts), (WELL, None, None));
    assert_eq!((gpu.power_limit_milliwatts, gpu.energy_millijoules), (None, None));
    assert_eq!((gpu.activity, gpu.utilization_source), (Activity::default(), UtilizationSource::None));
    assert!(reading.errors.is_empty(), "{}", said(&reading));

    for _ in 0..10 {
        bench.tick();
    }
    for function in [
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetSamples",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetMigMode",
        "nvmlGpmQueryDeviceSupport",
    ] {
        assert_eq!(bench.fake.calls(function), 1, "{function} is asked once, not every second");
    }
}

#[test]
fn what_does_not_change_is_not_asked_every_second() {
    let mut bench = Bench::new(&Node::new([Board::t4(0), Board::t4(1)]));
    for _ in 0..20 {
        bench.tick();
    }
    for function in
        ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetPciInfo_v3"]
    {
        assert_eq!(bench.fake.calls(function), 2, "{function}");
    }
    for _ in 20..61 {
        bench.tick();
    }
    assert_eq!(bench.fake.calls("nvmlDeviceGetHandleByIndex_v2"), 4, "GPUs are looked for once a minute");
    assert_eq!(bench.fake.calls("nvmlDeviceGetPowerUsage"), 2 * 61);
}

#[test]
fn old_drivers_tell_memory_by_the_first_call() {
    const NEWER: &str = "nvmlDeviceGetMemoryInfo_v2";
    let memory = Memory { total: 15_360 * MIB, used: 1_000 * MIB, reserved: 400 * MIB };
    let node = Node::new([Board { memory: Some(memory), ..Board::t4(0) }]);
    for fake in [
        FakeDriver::without(&[NEWER], &node),
        FakeDriver::new(&node.clone().returning(NEWER, FUNCTION_NOT_FOUND)),
        FakeDriver::new(&node.clone().returning(NEWER, NOT_SUPPORTED)),
    ] {
        let reading = Bench::on(fake).tick();
        let memory = only(&reading).memory.unwrap();
        assert_eq!((memory.used, memory.total), (1_400 * MIB, 15_360 * MIB));
        assert!(reading.errors.is_empty(), "{}", said(&reading));
    }
}

#[test]
fn drivers_without_init_flags_are_started_the_old_way() {
    let node = Node::new([Board::t4(0)]);
    let mut bench = Bench::on(FakeDriver::without(&["nvmlInitWithFlags"], &node));
    assert_eq!(healths(&bench.tick()), [WELL]);
    assert_eq!(bench.fake.calls("nvmlInit_v2"), 1);
}

#[test]
fn energy_is_the_drivers_counter_even_when_it_starts_again() {
    let node = |millijoules| Node::new([Board { energy: Some(Energy::Fixed(millijoules)), ..Board::t4(0) }]);
    let mut bench = Bench::new(&node(9_000_000_000_000));
    assert_eq!(only(&bench.tick()).energy_millijoules, Some(9_000_000_000_000));
    assert_eq!(only(&bench.after(&node(5))).energy_millijoules, Some(5));
}

// === Utilization ===

#[test]
fn utilization_is_the_mean_of_the_samples_since_the_last_tick() {
    let mut bench = Bench::new(&Node::default());
    let mut check = |samples: &[(u64, u32)], expected| {
        let reading = bench.after(&Node::new([Board::t4(0).sampled(sampled(samples))]));
        let gpu = only(&reading);
        assert_eq!(utilization(gpu), expected, "{samples:?}");
        let source = expected.map_or(UtilizationSource::None, |_| UtilizationSource::NvmlSamples);
        assert_eq!(gpu.utilization_source, source);
    };
    check(&[(500, 0), (1_000, 10)], Some(100_000));
    // A quarter of a second at 100 %, three quarters at 20 %.
    check(&[(500, 0), (1_000, 10), (1_250, 100), (2_000, 20)], Some(400_000));
    // No new sample: the last value stands for two seconds after it.
    check(&[(2_000, 20)], Some(200_000));
    check(&[(2_000, 20)], Some(200_000));
    check(&[(2_000, 20)], None);
    check(&[(2_000, 20), (5_000, 0), (6_000, 30)], Some(100_000));
}

#[test]
fn each_gpu_has_a_cursor_of_its_own() {
    let node = |slow: &[(u64, u32)], fast: &[(u64, u32)]| {
        Node::new([Board::t4(0).sampled(sampled(slow)), Board::t4(1).sampled(sampled(fast))])
    };
    let mut bench = Bench::new(&node(&[(0, 0), (500, 10)], &[(0, 0), (1_000, 60)]));
    let means = |reading: &Reading| gpus(reading).iter().map(utilization).collect::<Vec<_>>();
    assert_eq!(means(&bench.tick()), [Some(100_000), Some(600_000)]);
    // The first GPU's new sample is older than the second one's cursor.
    let reading = bench.after(&node(&[(500, 10), (900, 50)], &[(1_000, 60), (2_000, 80)]));
    assert_eq!(means(&reading), [Some(500_000), Some(800_000)]);
}

#[test]
fn garbage_samples_do_not_count() {
    let node = |samples: &[(u64, u32)]| {
        let samples = samples.iter().map(|(millis, percent)| sample(*millis, *percent)).collect();
        Node::new([Board::t4(0).sampled(Utilization::Stubborn(samples))])
    };
    let mut bench = Bench::new(&node(&[(0, 0), (1_000, 0)]));
    assert_eq!(utilization(only(&bench.tick())), Some(0));
    let garbage =
        [(2_000, 30), (0, 100), (1_000, 100), (1_500, 10), (1_500, 90), (1_600, 4_000_000), (9_000, 100)];
    assert_eq!(utilization(only(&bench.after(&node(&garbage)))), Some(200_000));
}

#[test]
fn samples_that_come_by_the_clock_have_a_known_mean() {
    let wave = Wave { hertz: 6, values: vec![10, 20, 30] };
    let fake = FakeDriver::new(&Node::new([Board::t4(0).sampled(Utilization::Wave(wave))]));
    let driver = start(&fake, DEADLINE);
    let reading = read(&driver, clock::wall().as_millis(), DEADLINE);
    let mean = utilization(only(&reading)).unwrap();
    assert!(
        (180_000..=220_000).contains(&mean),
        "three seconds of 10, 20, 30 % are about 20 %, not {mean} ppm"
    );
}

#[test]
fn without_samples_it_is_the_drivers_last_reading() {
    let node = |percent| Node::new([Board::t4(0).sampled(Utilization::Rate(percent))]);
    let mut bench = Bench::new(&node(73));
    let reading = bench.tick();
    let gpu = only(&reading);
    assert_eq!((utilization(gpu), gpu.utilization_source), (Some(730_000), UtilizationSource::NvmlRate));
    assert_eq!(utilization(only(&bench.after(&node(255)))), None, "255 % is garbage");
}

#[test]
fn a_reading_that_nobody_got_does_not_count() {
    let node = |samples: &[(u64, u32)]| Node::new([Board::t4(0).sampled(sampled(samples))]);
    let mut bench = Bench::new(&node(&[(0, 0), (1_000, 0)]));
    assert_eq!(utilization(only(&bench.tick())), Some(0));

    let late = node(&[(1_000, 0), (2_000, 100)]);
    let late = Node { gpus: vec![late.gpus[0].clone().failing(48)], ..late };
    bench.fake.set(&late.clone().hanging("nvmlEventSetWait_v2"));
    let reading = bench.tick_within(Duration::from_millis(50));
    assert!(reading.gpus.is_none() && matches!(*reading.errors, [Error::Late { .. }]), "{reading:?}");
    let next = node(&[(1_000, 0), (2_000, 100), (3_000, 20)]);
    let reading = bench.after(&Node { gpus: vec![next.gpus[0].clone().failing(48)], ..next });
    let gpu = only(&reading);
    assert_eq!(utilization(gpu), Some(600_000), "of both seconds");
    assert_eq!(gpu.xids.iter().map(|xid| xid.code).collect::<Vec<_>>(), [48]);
}

// === Counters ===

#[test]
fn hopper_tells_activity_from_the_second_tick_on() {
    let node = |gpm| Node::new([Board { gpm: Some(gpm), ..Board::h100_80gb(0) }.busy(0)]);
    let mut bench = Bench::new(&node(Gpm::new(90.0, 80.0, 70.0, 60.0)));
    assert_eq!(only(&bench.tick()).activity.sm_active, None, "one sample is no interval");
    let reading = bench.after(&node(Gpm::new(50.0, 40.0, 12.5, 33.333_3)));
    let activity = only(&reading).activity;
    assert_eq!(activity.sm_active, Some(Ppm::new(400_000)));
    assert_eq!(activity.tensor_active, Some(Ppm::new(125_000)));
    assert_eq!(activity.dram_active, Some(Ppm::new(333_333)));

    let partly = Gpm { tensor: None, dram: Some(f64::MAX), ..Gpm::new(50.0, 40.0, 0.0, 0.0) };
    let activity = only(&bench.after(&node(partly))).activity;
    assert_eq!((activity.sm_active, activity.tensor_active), (Some(Ppm::new(400_000)), None));
    assert_eq!(activity.dram_active, Some(Ppm::ALL));
    let (made, freed) = (bench.fake.calls("nvmlGpmSampleAlloc"), bench.fake.calls("nvmlGpmSampleFree"));
    assert_eq!((made, freed), (3, 2), "one sample is kept");
}

#[test]
fn counters_that_fail_are_absent_and_the_rest_goes_on() {
    let board = Board::h100_80gb(0).sampled(sampled(&[(0, 0), (1_000, 40)]));
    for function in ["nvmlGpmQueryDeviceSupport", "nvmlGpmSampleGet", "nvmlGpmMetricsGet"] {
        for code in [NO_PERMISSION, UNKNOWN] {
            let board = board.clone().returning(function, code);
            let node = Node::new([board]).returning("nvmlGpmMetricsGet", code);
            let mut bench = Bench::new(&node);
            bench.tick();
            let reading = bench.tick();
            let gpu = only(&reading);
            assert_eq!((gpu.health, utilization(gpu)), (WELL, Some(400_000)));
            assert_eq!(gpu.activity.sm_active, None, "{function} {code}");
        }
    }
}

// === MIG ===

fn a100(devices: impl IntoIterator<Item = Option<MigDevice>>) -> Node {
    Node::new([Board::a100_80gb(0).cut(7, devices)])
}

#[test]
fn mig_devices_are_listed_with_their_slices() {
    let memory_used = 3 * MIB;
    let first = MigDevice { memory_used, ..MigDevice::new(Profile::X80GB_3G, 1, 1) };
    let second = MigDevice::new(Profile::X80GB_1G, 9, 2);
    let reading = Bench::new(&a100([None, Some(first), None, None, Some(second)])).tick();
    let gpu = only(&reading);
    assert_eq!((gpu.activity, gpu.utilization_source), (Activity::default(), UtilizationSource::None));
    let partition = partition(gpu);
    assert_eq!((partition.compute_slices, partition.memory_slices), (7, 8));
    let [first, second] = &*partition.devices else { panic!("{partition:#?}") };
    assert_eq!((&*first.uuid, &*first.profile), ("MIG-00000000-0000-0000-0000-000000000001", "3g.40gb"));
    assert_eq!((first.gpu_instance, first.compute_instance), (1, 0));
    assert_eq!((first.gpu_instance_slices, first.compute_slices, first.memory_slices), (3, 3, 4));
    assert_eq!(first.memory.map(|memory| (memory.used, memory.total)), Some((3 * MIB, 40_192 * MIB)));
    assert_eq!(first.activity, Activity::default(), "an A100 cannot say what its MIG devices do");
    assert_eq!((&*second.profile, second.gpu_instance, second.memory_slices), ("1g.10gb", 9, 1));
    assert!(reading.errors.is_empty(), "{}", said(&reading));
}

#[test]
fn an_a30_has_four_slices() {
    let devices = [MigDevice::new(Profile::A30_2G, 1, 1), MigDevice::new(Profile::A30_1G, 5, 2)];
    let reading = Bench::new(&Node::new([Board::a30(0).cut(4, devices.map(Some))])).tick();
    let partition = partition(only(&reading));
    assert_eq!((partition.compute_slices, partition.memory_slices), (4, 4));
    let slices = partition.devices.iter().map(|device| (device.gpu_instance_slices, device.memory_slices));
    assert_eq!(slices.collect::<Vec<_>>(), [(2, 2), (1, 1)]);
}

#[test]
fn a_profile_that_the_name_lacks_is_computed() {
    let shared = MigDevice {
        profile: None,
        compute_slices: 1,
        compute_instance: 2,
        ..MigDevice::new(Profile::X80GB_3G, 1, 1)
    };
    let reading = Bench::new(&a100([Some(shared)])).tick();
    let device = &partition(only(&reading)).devices[0];
    assert_eq!((&*device.profile, device.compute_instance, device.compute_slices), ("1c.3g.40gb", 2, 1));
}

#[test]
fn a_new_partition_is_seen_at_once() {
    let seven = a100((0..7).map(|n| Some(MigDevice::new(Profile::X80GB_1G, n + 7, n))));
    let mut bench = Bench::new(&seven);
    assert_eq!(partition(only(&bench.tick())).devices.len(), 7);

    // The very UUID and handle of a small device now belong to a large one.
    let reading = bench.after(&a100([Some(MigDevice::new(Profile::X80GB_4G, 2, 0))]));
    let devices = &partition(only(&reading)).devices;
    let sizes: Vec<_> = devices.iter().map(|of| (&*of.profile, of.gpu_instance, of.compute_slices)).collect();
    assert_eq!(sizes, [("4g.40gb", 2, 4)]);

    let empty = bench.after(&a100([]));
    assert_eq!(partition(only(&empty)).devices, []);
    let whole = bench.after(&Node::new([Board::a100_80gb(0)]));
    assert_eq!(only(&whole).mig, Mig::Disabled);
    assert!(whole.errors.is_empty(), "{}", said(&whole));
}

#[test]
fn a_partition_is_not_forgotten_when_one_call_fails() {
    let node = a100([Some(MigDevice::new(Profile::X80GB_3G, 1, 1))]);
    let mut bench = Bench::new(&node);
    bench.tick();
    let reading = bench.after(&node.clone().returning("nvmlDeviceGetMigMode", UNKNOWN));
    assert_eq!(partition(only(&reading)).devices.len(), 1);
    let reading = Bench::new(&node.returning("nvmlDeviceGetMaxMigDeviceCount", UNKNOWN)).tick();
    assert_eq!(partition(only(&reading)).compute_slices, 7);
    assert!(said(&reading).contains("nvmlDeviceGetMaxMigDeviceCount"), "{}", said(&reading));
}

#[test]
fn a_mig_device_that_cannot_be_read_is_still_there() {
    let node = a100([
        Some(MigDevice::new(Profile::X80GB_3G, 1, 1)),
        None,
        Some(MigDevice::new(Profile::X80GB_2G, 2, 2)),
    ]);
    let mut bench = Bench::new(&node);
    let before =
        partition(only(&bench.tick())).devices.iter().map(|device| device.uuid.clone()).collect::<Vec<_>>();
    assert_eq!(before.len(), 2);
    for function in ["nvmlDeviceGetAttributes_v2", "nvmlDeviceGetMigDeviceHandleByIndex"] {
        let reading = bench.after(&node.clone().returning(function, UNKNOWN));
        let devices = &partition(only(&reading)).devices;
        assert!(devices.iter().map(|device| &device.uuid).eq(&before), "{function}: {devices:#?}");
        assert!(devices.iter().all(|device| device.memory.is_none()), "{function}: {devices:#?}");
    }
    // One that is not there any more is gone.
    let reading = bench.after(&a100([Some(MigDevice::new(Profile::X80GB_3G, 1, 1))]));
    assert_eq!(partition(only(&reading)).devices.len(), 1);
}

#[test]
fn on_hopper_each_gpu_instance_tells_what_it_does() {
    let device = |n, graphics| MigDevice::new(Profile::X80GB_2G, n, n).counting(graphics, 20.0, 10.0, 5.0);
    let node = |devices: Vec<MigDevice>| {
        let board = Board::h100_80gb(0).counting(45.0, 25.0, 15.0, 5.0);
        Node::new([board.cut(7, devices.into_iter().map(Some))])
    };
    let mut bench = Bench::new(&node(vec![device(3, 30.0), device(5, 60.0)]));
    let reading = bench.tick();
    assert_eq!(only(&reading).utilization_source, UtilizationSource::None, "nothing was measured yet");

    let reading = bench.tick();
    let gpu = only(&reading);
    assert_eq!((utilization(gpu), gpu.utilization_source), (Some(450_000), UtilizationSource::Gpm));
    let devices = &partition(gpu).devices;
    let means: Vec<_> = devices.iter().map(|device| device.activity.utilization.map(Ppm::get)).collect();
    assert_eq!(means, [Some(300_000), Some(600_000)]);
    assert_eq!(devices[0].activity.sm_active, Some(Ppm::new(200_000)));

    // GPU instance 3 is another one now: its first sample has nothing to be compared with.
    let other = MigDevice { uuid: "MIG-other".into(), ..device(3, 99.0) };
    let reading = bench.after(&node(vec![other, device(5, 70.0)]));
    let devices = &partition(only(&reading)).devices;
    let means: Vec<_> = devices.iter().map(|device| device.activity.utilization.map(Ppm::get)).collect();
    assert_eq!(means, [None, Some(700_000)]);
}

#[test]
fn compute_instances_that_share_a_gpu_instance_are_not_both_given_its_work() {
    let part = |n| MigDevice {
        compute_instance: n,
        compute_slices: 1,
        ..MigDevice::new(Profile::X80GB_2G, 3, n).counting(80.0, 80.0, 0.0, 0.0)
    };
    let mut bench = Bench::new(&Node::new([Board::h100_80gb(0).cut(7, [Some(part(0)), Some(part(1))])]));
    bench.tick();
    let reading = bench.tick();
    let devices = &partition(only(&reading)).devices;
    assert!(devices.iter().all(|device| device.activity == Activity::default()), "{devices:#?}");
}

// === Faults ===

#[test]
fn a_gpu_that_fails_keeps_its_identity_and_comes_back() {
    let healthy = a100([Some(MigDevice::new(Profile::X80GB_3G, 1, 1))]).gpus.remove(0);
    let node = |board: Board| Node::new([board, Board::t4(1)]);
    for (code, fault) in [
        (GPU_IS_LOST, Fault::Lost),
        (28, Fault::Lost),
        (RESET_REQUIRED, Fault::ResetRequired),
        (UNKNOWN, Fault::NotResponding),
    ] {
        let mut bench = Bench::new(&node(healthy.clone()));
        let before = bench.tick();
        bench.fake.set(&node(healthy.clone().returning("*", code)));
        let reading = bench.until(|reading| gpus(reading)[0].health == Health::Unavailable(fault));
        let [gpu, other] = gpus(&reading) else { panic!("{reading:#?}") };
        assert_eq!((&gpu.uuid, &gpu.product), (&gpus(&before)[0].uuid, &gpus(&before)[0].product));
        assert_eq!((gpu.memory, gpu.power_milliwatts, gpu.activity), (None, None, Activity::default()));
        assert_eq!(partition(gpu).devices.len(), 1, "who holds a part of it still holds it");
        assert_eq!((other.health, other.power_milliwatts), (WELL, Some(7_000)));
        assert!(said(&reading).contains(&*gpu.uuid), "{}", said(&reading));

        bench.fake.set(&node(healthy.clone()));
        let reading = bench.until(|reading| healths(reading) == [WELL, WELL]);
        assert_eq!(partition(&gpus(&reading)[0]).devices[0].memory.map(|memory| memory.used), Some(0));
    }
}

#[test]
fn one_unknown_error_does_not_condemn_a_gpu() {
    let node = Node::new([Board::t4(0)]);
    let mut bench = Bench::new(&node);
    bench.tick();
    let reading = bench.after(&Node::new([Board::t4(0).returning("*", UNKNOWN)]));
    assert_eq!((only(&reading).health, only(&reading).power_milliwatts), (WELL, None));
    assert!(said(&reading).contains("nvmlDeviceGetPowerUsage"), "{}", said(&reading));
    assert_eq!(only(&bench.after(&node)).power_milliwatts, Some(7_000));
}

#[test]
fn a_gpu_that_stays_out_of_order_is_opened_again() {
    let mut bench = Bench::new(&Node::new([Board::t4(0), Board::t4(1)]));
    bench.tick();
    bench.fake.set(&Node::new([Board::t4(0).returning("*", GPU_IS_LOST), Board::t4(1)]));
    for _ in 0..70 {
        assert_eq!(healths(&bench.tick()), [LOST, WELL], "the other one is read all the time");
    }
    assert_eq!(bench.fake.calls("nvmlShutdown"), 1);
    assert_eq!(bench.fake.calls("nvmlInitWithFlags"), 2);
}

#[test]
fn a_gpu_that_is_taken_out_is_missing_until_it_is_back() {
    let both = Node::new([Board::t4(0), Board::l4(1)]);
    let mut bench = Bench::new(&both);
    bench.tick();
    let reading = bench.after(&Node::new([Board::l4(1)]));
    let seen: Vec<_> = gpus(&reading).iter().map(|gpu| (&*gpu.product, gpu.health)).collect();
    assert_eq!(seen, [("Tesla T4", MISSING), ("NVIDIA L4", WELL)]);
    assert!(matches!(&*reading.errors, [Error::Missing { gpu }] if gpu.ends_with("000")), "{reading:#?}");
    assert_eq!(healths(&bench.after(&Node::new([]))), [MISSING, MISSING]);
    assert_eq!(healths(&bench.after(&both)), [WELL, WELL]);
}

#[test]
fn a_gpu_that_is_forbidden_does_not_hide_the_others() {
    let node =
        Node::new([Board::t4(0).returning("nvmlDeviceGetHandleByIndex_v2", NO_PERMISSION), Board::t4(1)]);
    let reading = Bench::new(&node).tick();
    assert_eq!(only(&reading).minor, Some(1));
    assert_eq!(
        said(&reading),
        "call nvmlDeviceGetHandleByIndex_v2 for the GPU with index 0: \
         the current user does not have permission to perform this operation\n"
    );
}

#[test]
fn a_gpu_that_becomes_forbidden_is_not_measured_and_not_condemned() {
    let mut bench = Bench::new(&Node::new([Board::t4(0)]));
    bench.tick();
    bench.fake.set(&Node::new([Board::t4(0).returning("*", NO_PERMISSION)]));
    for _ in 0..200 {
        let reading = bench.tick();
        assert_eq!(healths(&reading), [WELL]);
        assert_eq!(only(&reading).power_milliwatts, None);
    }
}

#[test]
fn critical_errors_are_told_once() {
    let quiet = Board::t4(0);
    let mut bench = Bench::new(&Node::new([quiet.clone(), Board::t4(1)]));
    assert_eq!(gpus(&bench.tick())[0].xids, []);
    let loud = quiet.failing(13).failing(43);
    let reading = bench.after(&Node::new([loud.clone(), Board::t4(1)]));
    let at = UnixTime::from_millis(bench.millis);
    let seen: Vec<_> = gpus(&reading)[0].xids.iter().map(|xid| (xid.code, xid.at)).collect();
    assert_eq!(seen, [(13, at), (43, at)]);
    assert_eq!(gpus(&reading)[1].xids, []);
    assert_eq!(gpus(&bench.tick())[0].xids, []);

    let reading =
        bench.after(&Node::new([loud.clone().returning("nvmlEventSetWait_v2", UNKNOWN), Board::t4(1)]));
    assert_eq!(healths(&reading), [WELL, WELL]);
    let reading = bench.after(&Node::new([loud.failing(31), Board::t4(1)]));
    assert_eq!(
        gpus(&reading)[0].xids.iter().map(|xid| xid.code).collect::<Vec<_>>(),
        [31],
        "the set was made anew"
    );
    assert_eq!((bench.fake.calls("nvmlEventSetCreate"), bench.fake.calls("nvmlEventSetFree")), (3, 1));
}

#[test]
fn a_gpu_without_events_is_read_all_the_same() {
    let node = Node::new([Board::t4(0).returning("nvmlDeviceRegisterEvents", NOT_SUPPORTED).failing(48)]);
    let mut bench = Bench::new(&node);
    bench.tick();
    let reading = bench.tick();
    assert_eq!((only(&reading).health, &*only(&reading).xids), (WELL, &[][..]));
    assert_eq!(bench.fake.calls("nvmlDeviceRegisterEvents"), 1);
}

// === Hangs ===

#[test]
fn a_gpu_that_hangs_is_left_alone_until_it_is_back() {
    let node = |hung: bool| {
        let board = Board::t4(1);
        Node::new([
            Board::t4(0),
            if hung { board.hanging("nvmlDeviceGetPowerUsage") } else { board },
            Board::t4(2),
        ])
    };
    let mut bench = Bench::impatient(&node(false));
    assert_eq!(healths(&bench.tick()), [WELL, WELL, WELL]);

    bench.fake.set(&node(true));
    let early = bench.tick_within(Duration::from_millis(20));
    assert!(early.gpus.is_none() && said(&early) == "read the driver within 20 ms\n", "{early:#?}");
    let reading = bench.tick();
    let seen: Vec<_> =
        gpus(&reading).iter().map(|gpu| (gpu.minor, gpu.health, gpu.power_milliwatts)).collect();
    let expected =
        [(Some(0), WELL, Some(7_000)), (Some(1), NOT_RESPONDING, None), (Some(2), WELL, Some(7_000))];
    assert_eq!(seen, expected);
    assert!(said(&reading).contains("nvmlDeviceGetPowerUsage for GPU-"), "{}", said(&reading));
    let before = bench.fake.calls("nvmlDeviceGetPowerUsage");
    for _ in 0..61 {
        assert_eq!(healths(&bench.tick()), [WELL, NOT_RESPONDING, WELL]);
    }
    assert_eq!(bench.fake.calls("nvmlDeviceGetPowerUsage") - before, 122, "nobody else walks into the trap");

    bench.fake.set(&node(false));
    bench.wait_for_call("nvmlShutdown");
    let back = bench.millis;
    bench.until(|reading| healths(reading) == [WELL, WELL, WELL]);
    assert!(bench.millis - back < 50_000, "it is tried again before GPUs are looked for anyway");
}

#[test]
fn several_gpus_may_hang_at_once() {
    let board = |n| if n == 1 { Board::t4(n) } else { Board::t4(n).hanging("*") };
    let mut bench = Bench::impatient(&Node::new((0..4).map(Board::t4)));
    bench.tick();
    bench.fake.set(&Node::new((0..4).map(board)));
    let reading = bench.tick();
    assert_eq!(healths(&reading), [NOT_RESPONDING, WELL, NOT_RESPONDING, NOT_RESPONDING]);
    bench.fake.set(&Node::new((0..4).map(Board::t4)));
    bench.until(|reading| healths(reading) == [WELL; 4]);
}

#[test]
fn a_gpu_that_hangs_before_it_is_known_does_not_hide_the_others() {
    let mut bench = Bench::impatient(&Node::new([Board::t4(0).hanging("*"), Board::t4(1)]));
    let reading = bench.tick();
    assert_eq!(only(&reading).minor, Some(1));
    assert!(said(&reading).contains("for the GPU with index 0, which hangs"), "{}", said(&reading));
    bench.fake.set(&Node::new([Board::t4(0), Board::t4(1)]));
    bench.until(|reading| healths(reading) == [WELL, WELL]);
}

#[test]
fn a_gpu_that_hangs_when_it_is_looked_for_again_is_not_missing() {
    let node = Node::new([Board::t4(0), Board::t4(1)]);
    let mut bench = Bench::impatient(&node);
    bench.tick();
    let third = [Board::t4(0), Board::t4(1).hanging("nvmlDeviceGetHandleByIndex_v2"), Board::t4(2)];
    let reading = bench.after(&Node::new(third));
    assert_eq!(healths(&reading), [WELL, NOT_RESPONDING, WELL]);
}

#[test]
fn a_hang_at_the_start_does_not_block_anybody() {
    let node = Node::new([Board::t4(0)]);
    let mut bench = Bench::impatient(&node.clone().hanging("nvmlInitWithFlags"));
    for _ in 0..5 {
        let reading = bench.tick_within(Duration::from_millis(700));
        assert_eq!(reading.gpus, None);
        assert_eq!(reading.errors.len(), 1);
    }
    let reading = bench.tick_within(Duration::from_millis(700));
    assert!(said(&reading).contains("nvmlInitWithFlags for the driver, which hangs"), "{}", said(&reading));
    assert_eq!(bench.fake.calls("nvmlInitWithFlags"), 2, "one thread is given up, not one per tick");
    bench.fake.set(&node);
    bench.until(|reading| reading.gpus.as_ref().is_some_and(|gpus| gpus[0].health == WELL));
}

// === The library ===

#[test]
fn a_node_without_a_driver_says_what_to_do_and_waits_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let library = FakeDriver::path_in(directory.path());
    assert_eq!(find_library(Some(&library)), None);
    let driver =
        Driver::start(Settings { library: Some(library.clone()), stall_after: DEADLINE, processes: false });
    let reading = read(&driver, EPOCH_MILLIS, DEADLINE);
    assert_eq!((&reading.gpus, &reading.driver_version), (&None, &None));
    let text = said(&reading);
    for word in ["install the driver", "nvidia runtime class", "--nvml.library", library.to_str().unwrap()] {
        assert!(text.contains(word), "{word}: {text}");
    }

    FakeDriver::install(&library, &[]);
    assert_eq!(find_library(Some(&library)), Some(library));
    let fake = FakeDriver::adopt(directory);
    fake.set(&Node::new([Board::t4(0)]));
    let mut bench = Bench { fake, driver, millis: EPOCH_MILLIS };
    bench.until(|reading| reading.gpus.as_ref().is_some_and(|gpus| gpus.len() == 1));
}

#[test]
fn a_file_that_is_no_driver_library_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.so");
    std::fs::write(&path, "no library at all").unwrap();
    let driver = Driver::start(Settings { library: Some(path), stall_after: DEADLINE, processes: false });
    let reading = read(&driver, EPOCH_MILLIS, DEADLINE);
    assert!(reading.gpus.is_none() && said(&reading).contains("other.so"), "{}", said(&reading));
}

#[test]
fn an_absent_driver_is_not_pestered() {
    let node = Node::new([Board::t4(0)]).returning("nvmlInitWithFlags", DRIVER_NOT_LOADED);
    let mut bench = Bench::new(&node);
    for _ in 0..20 {
        let reading = bench.tick();
        assert!(reading.gpus.is_none() && said(&reading).contains("not loaded"), "{}", said(&reading));
    }
    assert!(
        bench.fake.calls("nvmlInitWithFlags") <= 3,
        "twenty ticks in a row are no reason to ask twenty times"
    );
}

#[test]
fn a_driver_that_is_replaced_under_us_is_opened_again() {
    let node = Node::new([Board::t4(0)]);
    for code in [1, DRIVER_NOT_LOADED, VERSION_MISMATCH] {
        let mut bench = Bench::new(&node);
        bench.tick();
        let reading = bench.after(&node.clone().returning("*", code));
        assert!(reading.gpus.is_none() && said(&reading).contains("initialise"), "{}", said(&reading));
        bench.fake.set(&Node { driver_version: "590.10".into(), ..node.clone() });
        let reading = bench.until(|reading| reading.gpus.is_some());
        assert_eq!(healths(&reading), [WELL]);
        assert_eq!(reading.driver_version.as_deref(), Some("590.10"));
    }
}

#[test]
fn a_driver_that_was_loaded_again_costs_no_tick() {
    let node = Node::new([Board::t4(0)]);
    let mut bench = Bench::new(&node);
    bench.tick();
    assert_eq!(healths(&bench.after(&Node { loads: 2, ..node })), [WELL]);
    assert_eq!(bench.fake.calls("nvmlInitWithFlags"), 2);
}

#[test]
fn a_node_without_gpus_is_an_answer() {
    let reading = Bench::new(&Node::new([])).tick();
    assert_eq!(gpus(&reading), []);
    assert!(matches!(*reading.errors, [Error::NoGpu]), "{reading:#?}");
    assert!(said(&reading).contains("NVIDIA_VISIBLE_DEVICES=all"), "{}", said(&reading));
}

#[test]
fn the_driver_is_let_go_when_nobody_reads_it() {
    let mut bench = Bench::new(&Node::new([Board::h100_80gb(0)]));
    bench.tick();
    bench.tick();
    let other = Driver::start(Settings { library: None, stall_after: DEADLINE, processes: false });
    drop(std::mem::replace(&mut bench.driver, other));
    bench.wait_for_call("nvmlShutdown");
    let fake = &bench.fake;
    assert_eq!(fake.calls("nvmlGpmSampleAlloc"), fake.calls("nvmlGpmSampleFree"));
    assert_eq!(fake.calls("nvmlEventSetCreate"), fake.calls("nvmlEventSetFree"));
}

// === The description file ===

/// A process of its own, because the file is named by the environment.
#[test]
fn a_node_may_be_described_in_a_file() {
    const NAME: &str = "nvml::a_node_may_be_described_in_a_file";
    if std::env::var_os("FAKE_NVML_NODE").is_some() {
        return a_described_node_is_read();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.json");
    std::fs::write(&path, Node::new([Board::t4(0)]).to_json()).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env("FAKE_NVML_NODE", path)
        .env("FAKE_NVML_CALLS", directory.path().join("calls.json"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn a_described_node_is_read() {
    let path = PathBuf::from(std::env::var_os("FAKE_NVML_NODE").unwrap());
    let mut bench = Bench::new(&Node::default());
    assert_eq!(&*only(&bench.tick()).product, "Tesla T4");
    let new = path.with_extension("new");
    std::fs::write(&new, Node::new([Board::l4(0), Board::l4(1)]).to_json()).unwrap();
    std::fs::rename(new, &path).unwrap();
    bench.until(|reading| gpus(reading).len() == 2);
    let calls = std::fs::read_to_string(std::env::var_os("FAKE_NVML_CALLS").unwrap()).unwrap();
    assert!(calls.contains("\"nvmlDeviceGetCount_v2\":"), "{calls}");
}
