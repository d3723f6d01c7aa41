//! A hand-built day of a node with a bit of everything, for what shows reports.
//!
//! Every posting goes to a GPU, to who pays and, if somebody holds it, to a pod, so that the lines add up as real
//! ones do.

use std::sync::Arc;

use gpu_cost_exporter::cost::money::{Amount, Cost, GpuTime, Rate};
use gpu_cost_exporter::cost::pricing::{
    Date, Electricity, EnergyRates, GridIntensity, NodeFacts, Percent, PriceModel, PriceRule, PriceSheet,
    Prices, Quote, TokenPrices,
};
use gpu_cost_exporter::cost::report::{
    Attribution, Basis, Description, DeviceLine, HoldingLine, LastCharge, NamedDevice, Payer, PodAccount,
    PodDevice, PodLine, Report, Sharing, ShowbackLine, State, Totals, XidLine,
};
use gpu_cost_exporter::observation::{
    Activity, CostLabels, DeviceId, DeviceTarget, Fault, Gpu, Health, Memory, Mig, MigDevice, Node,
    Partition, Ppm, Span, UnixTime, Uptime, UtilizationSource, Workload,
};
use gpu_cost_exporter::status::{
    InForce, Mode, PricingStatus, Published, Source, SourceStatus, StateStatus, Status,
};

/// 2026-07-20 12:00:00 UTC.
pub(crate) const NOON: UnixTime = UnixTime::from_millis(1_784_548_800_000);

/// A pod name that no cluster would allow.
pub(crate) const HOSTILE: &str = "<script>alert(\"1\")</script>\\\n'&\u{1}";

/// When the ledger and every account in it were opened: a day before.
const STARTED: UnixTime = UnixTime::from_millis(NOON.as_millis() - 86_400_000);

/// The evening before.
const SIX_PM: UnixTime = UnixTime::from_millis(NOON.as_millis() - 64_800_000);
const GIB: u64 = 1 << 30;
const HOUR: u128 = 3_600_000_000_000;

const NOBODY: Option<usize> = None;
const CHAT: Option<usize> = Some(0);
const EMBED: Option<usize> = Some(1);
const NOTEBOOK: Option<usize> = Some(2);
const HOSTILE_POD: Option<usize> = Some(3);
const TRAINER: Option<usize> = Some(4);
const LOST: Option<usize> = Some(5);
const FINISHED: Option<usize> = Some(6);
const UNPRICED: Option<usize> = Some(7);

/// A node in the middle of its day, all sources up.
pub(crate) fn published() -> Published {
    Published { report: Some(Arc::new(report())), status: Arc::new(status(Mode::Node)) }
}

/// The exporter about itself, all sources up.
pub(crate) fn status(mode: Mode) -> Status {
    let source = |source, millis| SourceStatus {
        source,
        up: true,
        last_success: Some(NOON),
        errors: 2,
        duration: Some(Span::from_millis(millis)),
        message: None,
    };
    Status {
        mode,
        started: Some(UnixTime::from_millis(STARTED.as_millis() - 1_500)),
        node: "gpu-node-7".into(),
        sources: vec![source(Source::Nvml, 12), source(Source::Kubelet, 3)],
        ticks: 86_400,
        tick_overruns: 1,
        pricing: PricingStatus {
            file: Some("/config/pricing.yaml".into()),
            in_force: InForce::File,
            hash: "5c0ffee5c0ffee55".into(),
            last_success: Some(STARTED),
            last_reload_successful: true,
            problems: vec![],
        },
        state: Some(StateStatus { writes: 86_399, errors: 2 }),
        stopping: false,
    }
}

/// A source that is down.
pub(crate) fn down(source: Source, message: &str) -> SourceStatus {
    SourceStatus {
        source,
        up: false,
        last_success: None,
        errors: 7,
        duration: None,
        message: Some(message.into()),
    }
}

/// The report of the day.
pub(crate) fn report() -> Report {
    let mut report = Report {
        at: Uptime::from_nanos(90_000_000_000_000),
        wall: NOON,
        ledger_start: STARTED,
        node: Arc::new(Node {
            name: "gpu-node-7".into(),
            labels: vec![
                ("node.kubernetes.io/instance-type".into(), "p5.48xlarge".into()),
                ("topology.kubernetes.io/region".into(), "us-east-1".into()),
            ],
        }),
        devices: devices(),
        former_devices: vec![],
        pods: pods(),
        showback: vec![],
        imbalance: Cost::ZERO,
        gpus_seen: 4,
        driver_version: Some("580.82.07".into()),
        allocations_read_at: Some(Uptime::from_nanos(89_997_500_000_000)),
        unmapped_devices: 1,
        allocation_conflicts: 3,
        facts: NodeFacts {
            provider: Some("aws".into()),
            region: Some("us-east-1".into()),
            instance_type: Some("p5.48xlarge".into()),
            ..NodeFacts::default()
        },
        folded_payers: 0,
        dropped_pods: 0,
        price_model: PriceModel::OnDemand,
        capacity_type: None,
        prices: Arc::new(prices()),
        energy: Some(energy()),
    };
    for (gpu, holder, state, (part, whole), hours) in POSTINGS {
        post(&mut report, *gpu, *holder, *state, part * hours * HOUR / whole);
    }
    report.showback.sort_by(|one, other| one.payer.cmp(&other.payer));
    report
}

type Posting = (usize, Option<usize>, State, (u128, u128), u128);

/// GPU, holder, state, part of the GPU, hours. Each GPU has 24.
const POSTINGS: &[Posting] = &[
    // Four replicas: one works, one sleeps, two are free.
    (0, CHAT, State::Used, (1, 4), 24),
    (0, EMBED, State::Idle, (1, 4), 24),
    (0, NOBODY, State::Unallocated, (2, 4), 24),
    // MIG: 4g half used, 3g not measurable for an hour, then torn down.
    (1, NOTEBOOK, State::Used, (2, 7), 24),
    (1, NOTEBOOK, State::Underused, (2, 7), 24),
    (1, HOSTILE_POD, State::Unmeasured, (1, 7), 24),
    (1, NOBODY, State::Unallocated, (1, 7), 24),
    (1, NOBODY, State::Stranded, (1, 7), 24),
    // Exclusive: a day of training after a finished job.
    (2, FINISHED, State::Used, (1, 1), 2),
    (2, FINISHED, State::Idle, (1, 1), 1),
    (2, TRAINER, State::Used, (3, 4), 20),
    (2, TRAINER, State::Underused, (1, 4), 20),
    (2, NOBODY, State::Unattributed, (1, 1), 1),
    // Fell off the bus while somebody held it.
    (3, LOST, State::Used, (1, 1), 6),
    (3, LOST, State::Unavailable, (1, 1), 12),
    (3, NOBODY, State::Unavailable, (1, 1), 6),
    // No price.
    (4, UNPRICED, State::Used, (1, 1), 20),
    (4, NOBODY, State::Unallocated, (1, 1), 4),
];

fn post(report: &mut Report, gpu: usize, holder: Option<usize>, state: State, nanos: u128) {
    let device = &mut report.devices[gpu];
    let cost = device
        .quote
        .as_ref()
        .map(|quote| Cost::from_units(u128::from(quote.effective.nanos_per_hour()) * nanos));
    let time = GpuTime::from_nanos(nanos);
    device.totals.post(state, Amount { cost, time });
    let mut payer = Payer {
        namespace: "".into(),
        labels: CostLabels::default(),
        gpu_model: Arc::clone(&device.gpu_model),
        price_model: device.quote.as_ref().map(|quote| quote.price_model),
    };
    if let Some(holder) = holder {
        let pod = &mut report.pods[holder];
        Arc::make_mut(&mut pod.account).totals.post(state, Amount { cost, time });
        payer.namespace = Arc::clone(&pod.namespace);
        payer.labels = pod.account.description.labels.clone();
    }
    let line = report.showback.iter_mut().find(|line| line.payer == payer);
    if let Some(line) = line {
        line.totals.post(state, Amount { cost, time });
    } else {
        let mut totals = Totals::default();
        totals.post(state, Amount { cost, time });
        report.showback.push(ShowbackLine { payer, since: STARTED, totals });
    }
}

fn prices() -> PriceSheet {
    let h100 =
        Prices { on_demand: Some(rate(800)), as_of: Date::from_calendar(2026, 7, 1), ..Prices::default() };
    let mut sheet = PriceSheet::default();
    sheet.built_in.models.insert("nvidia-h100-80gb".into(), h100);
    sheet.exchange_rates.insert("EUR".into(), 1_080_000_000);
    sheet.model_costs.insert(
        "llama-2-70b".into(),
        TokenPrices { input_nanos: 800_000, output_nanos: 1_600_000, ..TokenPrices::default() },
    );
    sheet
}

/// 0.085 $ and 415.8 g per kWh, a PUE of 1.15 on a host factor of 1.6.
fn energy() -> EnergyRates {
    EnergyRates {
        dollars_per_kwh: Some(85_000_000),
        intensity: Some(GridIntensity {
            grams_per_kwh: 415_800_000_000,
            origin: "built_in:aws/us-east-1@2021".into(),
        }),
        pue: 1_150_000_000,
        host_factor: 1_600_000_000,
    }
}

pub(crate) fn rate(cents: u64) -> Rate {
    Rate::from_nanos_per_hour(cents * 10_000_000)
}

fn quote(effective: u64, list: u64, price_model: PriceModel, rule: PriceRule) -> Quote {
    let list = Some(rate(list));
    Quote {
        effective: rate(effective),
        list,
        price_model,
        fell_back: false,
        rule,
        as_of: None,
        origin: None,
        source: None,
        discount: Percent::ZERO,
    }
}

fn devices() -> Vec<DeviceLine> {
    let on_demand = Some(quote(800, 800, PriceModel::OnDemand, PriceRule::BuiltIn));
    vec![
        DeviceLine {
            sharing: Sharing::TimeSlicing,
            attribution: Attribution::Processes,
            quote: on_demand.clone(),
            holdings: vec![
                charged(slot("chat-7f9c4-x2x8z", 0), Some(800), Some((37, 25)), State::Underused),
                charged(slot("embed-66b7d-l0p9k", 2), Some(800), Some((0, 1)), State::Idle),
            ],
            unheld: vec![(State::Unallocated, (1, 2))],
            foreign_utilization: Some(Ppm::from_percent(1)),
            ..device(0, Some(38))
        },
        DeviceLine { quote: on_demand.clone(), ..mig_device() },
        DeviceLine {
            quote: Some(quote(320, 800, PriceModel::Spot, PriceRule::File)),
            holdings: vec![charged(
                holding("research", "llama-finetune-0", None, (1, 1)),
                Some(320),
                Some((3, 4)),
                State::Underused,
            )],
            xids: vec![XidLine {
                code: 31,
                count: 2,
                last: UnixTime::from_millis(NOON.as_millis() - 60_500),
            }],
            ..device(2, Some(75))
        },
        DeviceLine { quote: on_demand, ..lost_device() },
        DeviceLine {
            gpu_model: "nvidia-b300".into(),
            holdings: vec![charged(
                holding("research", "b300-benchmark", None, (1, 1)),
                None,
                Some((1, 1)),
                State::Underused,
            )],
            ..device(4, Some(100))
        },
    ]
}

fn mig_device() -> DeviceLine {
    let base = device(1, None);
    let slice = |profile: &str, gpu_instance, slices, utilization| MigDevice {
        uuid: format!("MIG-{profile}-{gpu_instance}").into(),
        profile: profile.into(),
        gpu_instance,
        compute_instance: 0,
        gpu_instance_slices: slices,
        compute_slices: slices,
        memory_slices: slices,
        memory: Some(Memory { used: 3 * GIB, total: 10 * GIB * u64::from(slices) }),
        activity: Activity { utilization, ..Activity::default() },
    };
    let partition = Partition {
        compute_slices: 7,
        memory_slices: 8,
        devices: vec![
            slice("4g.40gb", 1, 4, Some(Ppm::from_percent(50))),
            slice("1g.10gb", 5, 1, None),
            slice("1g.10gb", 6, 1, Some(Ppm::ZERO)),
        ],
    };
    DeviceLine {
        gpu: Arc::new(Gpu { mig: Mig::Enabled(partition), ..Gpu::clone(&base.gpu) }),
        sharing: Sharing::Mig,
        holdings: vec![
            charged(
                holding("research", "notebook-ada", Some("MIG-4g.40gb-1"), (4, 7)),
                Some(800),
                Some((1, 2)),
                State::Underused,
            ),
            charged(
                holding("research", HOSTILE, Some("MIG-1g.10gb-5"), (1, 7)),
                Some(800),
                None,
                State::Unmeasured,
            ),
        ],
        unheld: vec![(State::Unallocated, (1, 7)), (State::Stranded, (1, 7))],
        recovered: GpuTime::from_nanos(90_000_000_000),
        unobserved: GpuTime::from_nanos(HOUR),
        ..base
    }
}

fn lost_device() -> DeviceLine {
    let base = device(3, None);
    let gpu = Gpu {
        health: Health::Unavailable(Fault::Lost),
        memory: None,
        power_milliwatts: None,
        power_limit_milliwatts: None,
        utilization_source: UtilizationSource::None,
        minor: None,
        pci_bus_id: None,
        ..Gpu::clone(&base.gpu)
    };
    DeviceLine {
        gpu: Arc::new(gpu),
        fault: Some(Fault::Lost),
        energy_millijoules: None,
        electricity: Electricity::default(),
        xids: vec![XidLine {
            code: 79,
            count: 1,
            last: UnixTime::from_millis(NOON.as_millis() - 64_800_000),
        }],
        ..base
    }
}

/// One healthy exclusive H100 without a price and without holders.
fn device(index: u32, utilization: Option<u32>) -> DeviceLine {
    let utilization = utilization.map(Ppm::from_percent);
    let gpu = Gpu {
        uuid: format!("GPU-{index}0000000-aaaa-bbbb-cccc-000000000000").into(),
        index,
        minor: Some(index),
        pci_bus_id: Some(format!("00000000:{index:02}:00.0").into()),
        product: "NVIDIA H100 80GB HBM3".into(),
        health: Health::Healthy,
        mig: Mig::Disabled,
        memory: Some(Memory { used: 61 * GIB, total: 80 * GIB }),
        power_milliwatts: Some(431_250),
        power_limit_milliwatts: Some(700_000),
        energy_millijoules: Some(99),
        activity: Activity {
            utilization,
            sm_active: utilization.map(|_| Ppm::from_percent(31)),
            tensor_active: utilization.map(|_| Ppm::from_percent(12)),
            dram_active: utilization.map(|_| Ppm::from_percent(22)),
        },
        utilization_source: UtilizationSource::Gpm,
        processes: None,
        xids: vec![],
    };
    DeviceLine {
        gpu: Arc::new(gpu),
        gpu_model: "nvidia-h100-80gb".into(),
        quote: None,
        since: STARTED,
        totals: Totals::default(),
        sharing: Sharing::Exclusive,
        attribution: Attribution::Device,
        overcommitted: false,
        fault: None,
        holdings: vec![],
        unheld: vec![],
        foreign_utilization: None,
        energy_millijoules: Some(37_260_000_500),
        electricity: energy().over(37_260_000_500),
        bands: [10, 20, 30].map(|minutes| GpuTime::from_nanos(minutes * 60_000_000_000)),
        xids: vec![],
        unobserved: GpuTime::ZERO,
        rebooting: GpuTime::ZERO,
        recovered: GpuTime::ZERO,
    }
}

fn holding(namespace: &str, pod: &str, mig_device: Option<&str>, share: (u64, u64)) -> HoldingLine {
    let target = match mig_device {
        Some(uuid) => DeviceTarget::MigDevice(uuid.into()),
        None => DeviceTarget::Minor(2),
    };
    HoldingLine {
        namespace: namespace.into(),
        pod: pod.into(),
        mig_device: mig_device.map(Into::into),
        share,
        of_device: (1, 1),
        basis: Basis::Whole,
        named: [named("nvidia.com/gpu", DeviceId { target, replica: None })].into(),
        last: None,
    }
}

/// One of the four slots of the first GPU.
fn slot(pod: &str, replica: u32) -> HoldingLine {
    let target = DeviceTarget::Gpu("GPU-00000000-aaaa-bbbb-cccc-000000000000".into());
    HoldingLine {
        of_device: (1, 4),
        basis: Basis::Slots { held: 1, of: 4 },
        named: [named("nvidia.com/gpu.shared", DeviceId { target, replica: Some(replica) })].into(),
        ..holding("inference", pod, None, (1, 4))
    }
}

fn named(resource: &str, id: DeviceId) -> NamedDevice {
    NamedDevice { container: "main".into(), resource: resource.into(), id }
}

/// What it was charged for a little more than a second, at so many cents an hour; what it did not use is in `rest`.
fn charged(
    line: HoldingLine,
    cents_per_hour: Option<u64>,
    work: Option<(u128, u128)>,
    rest: State,
) -> HoldingLine {
    let elapsed = Span::from_nanos(1_000_213_847);
    let rate = cents_per_hour.map(rate);
    let whole = Amount { cost: rate.map(|rate| rate.over(elapsed)), time: elapsed.into() };
    let (share, _) = whole.cut((line.share.0.into(), line.share.1.into()));
    let (used, left) = share.cut(work.map_or((0, 1), |(part, whole)| (part.min(whole), whole)));
    let parts = [(State::Used, used), (rest, left)].into_iter().filter(|(_, amount)| !amount.is_nothing());
    let beyond = work.map_or((0, 1), |(part, whole)| (part.saturating_sub(whole), whole));
    let burst = share.cost.unwrap_or_default().units() * beyond.0 / beyond.1;
    let last = LastCharge {
        elapsed,
        rate,
        share: line.share,
        of_device: line.of_device,
        work,
        parts: parts.collect(),
        burst: Cost::from_units(burst),
    };
    HoldingLine { last: Some(Arc::new(last)), ..line }
}

fn pods() -> Vec<PodLine> {
    let gpu = |index: u32, utilization: Option<u32>, memory: Option<u64>| PodDevice {
        gpu_uuid: format!("GPU-{index}0000000-aaaa-bbbb-cccc-000000000000").into(),
        mig_uuid: "".into(),
        utilization: utilization.map(Ppm::from_percent),
        memory_used_bytes: memory,
    };
    let chat = PodAccount {
        burst: Cost::from_cents(960),
        energy_millijoules: Some(9_000_000_250),
        electricity: energy().over(9_000_000_250),
        ..by("Deployment", "chat", active(team("chat", "production", "inference"), NOON))
    };
    let quoted = CostLabels { team: "a \"quoted\" team\\\n".into(), ..CostLabels::default() };
    let llama = active(team("nlp", "research", "training"), NOON);
    vec![
        PodLine {
            rate: rate(200),
            gpus_nanos: 250_000_000,
            devices: vec![gpu(0, Some(100), None)],
            ..pod("inference", "chat-7f9c4-x2x8z", "uid-chat", chat)
        },
        PodLine {
            rate: rate(200),
            gpus_nanos: 250_000_000,
            devices: vec![gpu(0, Some(0), None)],
            ..pod(
                "inference",
                "embed-66b7d-l0p9k",
                "uid-embed",
                of(team("search", "production", "inference")),
            )
        },
        PodLine {
            rate: Rate::from_nanos_per_hour(4_571_428_571),
            gpus_nanos: 571_428_571,
            devices: vec![PodDevice { mig_uuid: "MIG-4g.40gb-1".into(), ..gpu(1, Some(50), Some(3 * GIB)) }],
            ..pod("research", "notebook-ada", "uid-ada", active(team("nlp", "research", "notebook"), NOON))
        },
        PodLine {
            rate: Rate::from_nanos_per_hour(1_142_857_142),
            gpus_nanos: 142_857_142,
            devices: vec![PodDevice { mig_uuid: "MIG-1g.10gb-5".into(), ..gpu(1, None, None) }],
            ..pod("research", HOSTILE, "", of(quoted))
        },
        PodLine {
            rate: rate(320),
            gpus_nanos: 1_000_000_000,
            devices: vec![gpu(2, Some(75), Some(61 * GIB))],
            ..pod("research", "llama-finetune-0", "uid-llama", by("Job", "llama-finetune", llama))
        },
        PodLine {
            rate: rate(0),
            live: false,
            ..pod(
                "research",
                "resnet-0",
                "uid-resnet",
                active(team("vision", "research", "training"), SIX_PM),
            )
        },
        PodLine { live: false, ..pod("research", "short-job", "uid-short", of(CostLabels::default())) },
        PodLine {
            gpu_model: "nvidia-b300".into(),
            gpus_nanos: 1_000_000_000,
            unpriced_gpus: 1,
            devices: vec![gpu(4, Some(100), Some(61 * GIB))],
            ..pod("research", "b300-benchmark", "uid-b300", active(CostLabels::default(), NOON))
        },
    ]
}

fn team(team: &str, environment: &str, task_type: &str) -> CostLabels {
    CostLabels {
        team: team.into(),
        environment: environment.into(),
        task_type: task_type.into(),
        cost_center: "cc-4711".into(),
        ..CostLabels::default()
    }
}

/// A day's account that nothing is posted to yet, of whoever has these labels.
fn of(labels: CostLabels) -> PodAccount {
    PodAccount {
        since: STARTED,
        age: Span::from_secs(86_400),
        description: Arc::new(Description { labels, ..Description::default() }),
        ..PodAccount::default()
    }
}

/// The same of a pod that did work.
fn active(labels: CostLabels, last: UnixTime) -> PodAccount {
    PodAccount { last_active: Some(last), ..of(labels) }
}

/// The same of a pod that something made.
fn by(kind: &str, name: &str, mut account: PodAccount) -> PodAccount {
    let workload = Workload { kind: kind.into(), name: name.into() };
    Arc::make_mut(&mut account.description).workload = Some(workload);
    account
}

fn pod(namespace: &str, name: &str, uid: &str, account: PodAccount) -> PodLine {
    PodLine {
        namespace: namespace.into(),
        pod: name.into(),
        uid: uid.into(),
        account: Arc::new(account),
        gpu_model: "nvidia-h100-80gb".into(),
        rate: Rate::default(),
        gpus_nanos: 0,
        unpriced_gpus: 0,
        devices: vec![],
        live: true,
    }
}
