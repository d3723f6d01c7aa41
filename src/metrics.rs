//! From the last report to the text of a scrape.
//!
//! Prometheus asks an exporter for all its series at once and takes a series that is missing for one that has ended.
//! So nothing is kept between scrapes: each builds the families of [`catalog`] anew from one immutable [`Published`],
//! and what is gone from the report is gone from the text. Three rules hold everywhere:
//!
//! - what was not measured has no series, because 0 is a reading;
//! - all states of a line are there from its first sample, because Prometheus cannot see the growth of a counter
//!   before its second sample;
//! - what has no price has seconds and no dollars.
//!
//! The modules in reading order: [`catalog`] (every metric), [`label`] (values that cannot hurt), and, private,
//! `unit` (integers to floats), `subjects` (what series are about), `families` (series of one scrape), `format` with
//! `text` and `protobuf` (how they are written), `own` (the exporter about itself).

pub mod catalog;
pub mod label;

pub(crate) mod unit;
mod families;
mod format;
mod own;
mod protobuf;
mod subjects;
mod text;

pub use self::format::Format;
pub use self::own::{Process, ProcessReading};

use self::catalog::Id;
use self::families::Families;
use crate::cost::money::{Cost, GpuTime, Grams, Rate};
use crate::cost::pricing::{Electricity, EnergyRates, Quote};
use crate::cost::report::{
    ContainerLine, Description, DeviceLine, FormerDevice, PodLine, Report, ShowbackLine, State, Totals,
    XidLine,
};
use crate::observation::{CostLabels, Mig, MigDevice, Span, UnixTime};
use crate::status::Published;

/// The states in the order of their label values, in which every reader wants the series.
const STATES: [State; State::ALL.len()] = [
    State::Idle,
    State::Stranded,
    State::Unallocated,
    State::Unattributed,
    State::Unavailable,
    State::Underused,
    State::Unmeasured,
    State::Used,
];

/// What a scrape shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Down to what.
    pub level: Level,
    /// How old a pod's account must be before its counters are shown; until then they are 0. For those who ask
    /// Prometheus for `increase()`, which takes the first value that it sees of a counter for nothing.
    pub zero_hold: Span,
}

/// Down to what a scrape shows the money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Devices and who pays: a bounded number of series, whatever comes and goes.
    Showback,
    /// Every pod besides.
    #[default]
    Pod,
    /// Every pod by its containers, as far as the meter told them apart. What it told apart before stays apart whatever
    /// the level is now, or else a counter would fall where another one rises.
    Container,
}

/// One scrape in one format; a function of what it is given and nothing else.
#[must_use]
pub fn render(
    published: &Published,
    process: &ProcessReading,
    settings: &Settings,
    format: Format,
) -> Vec<u8> {
    let mut families = Families::new(&published.status.node);
    if let Some(report) = &published.report {
        add_report(&mut families, report, settings);
    }
    own::add_status(&mut families, published);
    process.add_to(&mut families);
    format.encode(families)
}

fn add_report(families: &mut Families, report: &Report, settings: &Settings) {
    for line in &report.devices {
        add_device(families, line, report);
    }
    for line in &report.former_devices {
        add_former_device(families, line);
    }
    for line in &report.showback {
        add_showback(families, line);
    }
    if settings.level != Level::Showback {
        for line in &report.pods {
            add_pod(families, line, settings.zero_hold);
        }
    }
    add_node(families, report);
    own::add_grounds(families, report);
}

// === device ===

fn add_device(families: &mut Families, line: &DeviceLine, report: &Report) {
    let gpu = &*line.gpu;
    families.about(Id::DeviceInfo, &[&gpu.uuid], Some(line.since));
    add_device_money(families, line);
    let activity = gpu.activity;
    families.add_some(Id::DeviceUtilization, &[], activity.utilization.map(unit::ratio));
    families.add_some(Id::DeviceSmActive, &[], activity.sm_active.map(unit::ratio));
    families.add_some(Id::DeviceTensorActive, &[], activity.tensor_active.map(unit::ratio));
    families.add_some(Id::DeviceDramActive, &[], activity.dram_active.map(unit::ratio));
    families.add_some(Id::DeviceMemoryUsed, &[], gpu.memory.map(|memory| unit::count(memory.used)));
    families.add_some(Id::DeviceMemoryTotal, &[], gpu.memory.map(|memory| unit::count(memory.total)));
    families.add_some(Id::DevicePower, &[], gpu.power_milliwatts.map(unit::from_milli));
    families.add_some(Id::DevicePowerLimit, &[], gpu.power_limit_milliwatts.map(unit::from_milli));
    add_energy(families, line.energy_millijoules, line.electricity);
    families.add_some(Id::DeviceForeignUtilization, &[], line.foreign_utilization.map(unit::ratio));
    add_events(families, line.bands, &line.xids);
    add_gaps(families, line.unobserved, line.rebooting, line.recovered);
    add_device_info(families, line, report);
    if let Mig::Enabled(partition) = &gpu.mig {
        for device in &partition.devices {
            add_mig(families, &gpu.uuid, device);
        }
    }
}

/// What was counted of a GPU that is no longer there. It has no price and is not expected to be seen.
fn add_former_device(families: &mut Families, line: &FormerDevice) {
    families.about(Id::DeviceInfo, &[&line.uuid], Some(line.since));
    add_spent(families, &line.totals, false);
    add_energy(families, line.energy_millijoules, line.electricity);
    add_events(families, line.bands, &line.xids);
    add_gaps(families, line.unobserved, line.rebooting, line.recovered);
}

/// What a GPU has cost and how long, in every state.
fn add_spent(families: &mut Families, totals: &Totals, has_price: bool) {
    for state in STATES {
        families.add_some(Id::DeviceDollars, &[state.as_str()], dollars(totals, state, has_price));
        families.add(Id::DeviceSeconds, &[state.as_str()], totals.time(state).seconds());
    }
}

fn add_energy(families: &mut Families, millijoules: Option<u128>, electricity: Electricity) {
    families.add_some(Id::DeviceEnergy, &[], millijoules.map(unit::from_milli));
    families.add_some(Id::DeviceEnergyDollars, &[], electricity.cost.map(Cost::dollars));
    families.add_some(Id::DeviceCo2e, &[], electricity.co2e.map(Grams::grams));
}

fn add_events(families: &mut Families, bands: [GpuTime; 3], xids: &[XidLine]) {
    for (band, time) in ["low", "medium", "high"].into_iter().zip(bands) {
        families.add(Id::DeviceBand, &[band], time.seconds());
    }
    for xid in xids {
        let code = &xid.code.to_string();
        families.add(Id::DeviceXidErrors, &[code], unit::count(xid.count));
        families.add(Id::DeviceLastXid, &[code], unit::timestamp(xid.last));
    }
}

fn add_gaps(families: &mut Families, gaps: GpuTime, reboots: GpuTime, recovered: GpuTime) {
    families.add(Id::LedgerUnobserved, &["gap"], gaps.seconds());
    families.add(Id::LedgerUnobserved, &["reboot"], reboots.seconds());
    families.add(Id::LedgerRecovered, &["gap"], recovered.seconds());
}

fn add_device_money(families: &mut Families, line: &DeviceLine) {
    add_spent(families, &line.totals, line.quote.is_some());
    let effective = line.quote.as_ref().map(|quote| quote.effective.dollars_per_hour());
    let list = line.quote.as_ref().and_then(|quote| quote.list).map(Rate::dollars_per_hour);
    families.add_some(Id::DevicePrice, &["effective"], effective);
    families.add_some(Id::DevicePrice, &["list"], list);
    families.add(Id::DeviceUnpriced, &[&line.gpu_model], unit::flag(line.quote.is_none()));
}

fn add_device_info(families: &mut Families, line: &DeviceLine, report: &Report) {
    let (gpu, quote) = (&*line.gpu, line.quote.as_ref());
    let labels: [&str; 11] = [
        &gpu.index.to_string(),
        &line.gpu_model,
        &gpu.product,
        &gpu.minor.map(|minor| minor.to_string()).unwrap_or_default(),
        gpu.pci_bus_id.as_deref().unwrap_or_default(),
        line.sharing.as_str(),
        &quote.map(Quote::rule_in_full).unwrap_or_default(),
        quote.map_or("", |quote| quote.price_model.as_str()),
        gpu.utilization_source.as_str(),
        line.attribution.as_str(),
        report.driver_version.as_deref().unwrap_or_default(),
    ];
    families.add(Id::DeviceInfo, &labels, 1.0);
}

fn add_mig(families: &mut Families, gpu_uuid: &str, device: &MigDevice) {
    let labels = &[gpu_uuid, &device.uuid, &device.profile, &device.gpu_instance.to_string()];
    families.about(Id::MigInfo, labels, None);
    families.add(Id::MigInfo, &[], 1.0);
    families.add_some(Id::MigMemoryUsed, &[], device.memory.map(|memory| unit::count(memory.used)));
    families.add_some(Id::MigUtilization, &[], device.activity.utilization.map(unit::ratio));
}

// === showback ===

fn add_showback(families: &mut Families, line: &ShowbackLine) {
    let payer = &line.payer;
    let price_model = payer.price_model.map_or("", |price_model| price_model.as_str());
    let [team, project, model, environment, cost_center, department, task_type] = business(&payer.labels);
    let labels: [&str; 10] = [
        &payer.namespace,
        team,
        project,
        model,
        environment,
        cost_center,
        department,
        task_type,
        &payer.gpu_model,
        price_model,
    ];
    families.about(Id::ShowbackDollars, &labels, Some(line.since));
    let usual: &[State] = if payer.namespace.is_empty() { &State::UNHELD } else { &State::HELD };
    for state in states(usual, &line.totals) {
        let dollars = dollars(&line.totals, state, payer.price_model.is_some());
        families.add_some(Id::ShowbackDollars, &[state.as_str()], dollars);
        families.add(Id::ShowbackSeconds, &[state.as_str()], line.totals.time(state).seconds());
    }
}

// === pod ===

fn add_pod(families: &mut Families, line: &PodLine, zero_hold: Span) {
    let account = &*line.account;
    about_pod(families, line, account.since);
    let has_price = line.live && line.unpriced_gpus == 0 || line.rate.nanos_per_hour() > 0;
    let shown = |counted: f64| if account.age < zero_hold { 0.0 } else { counted };
    add_pod_money(families, line, zero_hold, has_price);
    let burst = (has_price || account.totals.cost(State::Used).is_some()).then(|| account.burst.dollars());
    families.add_some(Id::PodBurst, &[], burst.map(shown));
    let is_unpriced = line.rate.nanos_per_hour() == 0 && line.unpriced_gpus > 0;
    families.add_some(Id::PodRate, &[], (!is_unpriced).then(|| line.rate.dollars_per_hour()));
    families.add(Id::PodGpus, &[], unit::from_nano(line.gpus_nanos));
    families.add(Id::PodUnpricedGpus, &[], unit::count(line.unpriced_gpus));
    families.add_some(Id::PodEnergy, &[], account.energy_millijoules.map(unit::from_milli).map(shown));
    families.add_some(Id::PodEnergyDollars, &[], account.electricity.cost.map(Cost::dollars).map(shown));
    families.add_some(Id::PodCo2e, &[], account.electricity.co2e.map(Grams::grams).map(shown));
    families.add_some(Id::PodLastActive, &[], account.last_active.map(unit::timestamp));
    for device in &line.devices {
        let labels = &[&*device.gpu_uuid, &*device.mig_uuid];
        families.add_some(Id::PodUtilization, labels, device.utilization.map(unit::ratio));
        families.add_some(Id::PodMemoryUsed, labels, device.memory_used_bytes.map(unit::count));
    }
    add_pod_info(families, line);
}

/// What is added from now on is about a pod, or what has been counted of it since some moment.
fn about_pod(families: &mut Families, line: &PodLine, since: UnixTime) {
    families.about(Id::PodInfo, &[&line.namespace, &line.pod, &line.uid], Some(since));
}

/// What a pod has cost and how long: by container where containers are told apart.
fn add_pod_money(families: &mut Families, line: &PodLine, zero_hold: Span, has_price: bool) {
    let account = &*line.account;
    let containers = line.containers();
    if containers.is_empty() {
        return add_states(families, "", &account.totals, has_price, account.age >= zero_hold);
    }
    for ContainerLine { name, since, age, totals } in containers {
        about_pod(families, line, since);
        add_states(families, &name, &totals, false, age >= zero_hold);
    }
    about_pod(families, line, account.since);
}

/// Money and time in every state of what somebody holds, nothing of either until it `is_shown`.
fn add_states(families: &mut Families, container: &str, totals: &Totals, has_price: bool, is_shown: bool) {
    let shown = |counted: f64| if is_shown { counted } else { 0.0 };
    for state in states(&State::HELD, totals) {
        let labels = &[container, state.as_str()];
        families.add_some(Id::PodDollars, labels, dollars(totals, state, has_price).map(shown));
        families.add(Id::PodSeconds, labels, shown(totals.time(state).seconds()));
    }
}

fn add_pod_info(families: &mut Families, line: &PodLine) {
    let Description { labels, workload, .. } = &*line.account.description;
    let (kind, name) = workload.as_ref().map_or(("", ""), |workload| (&workload.kind, &workload.name));
    let [team, project, model, environment, cost_center, department, task_type] = business(labels);
    let labels: [&str; 10] =
        [kind, name, team, project, model, environment, cost_center, department, task_type, &line.gpu_model];
    families.add(Id::PodInfo, &labels, 1.0);
}

// === node ===

fn add_node(families: &mut Families, report: &Report) {
    let facts = &report.facts;
    families.about_the_whole(Some(report.ledger_start));
    let [provider, instance_type, region, zone] =
        [&facts.provider, &facts.instance_type, &facts.region, &facts.zone]
            .map(|fact| fact.as_deref().unwrap_or_default());
    let capacity_type = report.capacity_type.as_ref().map_or("", |it| it.name);
    let labels = [provider, instance_type, region, zone, capacity_type, report.price_model.as_str()];
    families.add(Id::NodeInfo, &labels, 1.0);
    let gpus = |count: usize| unit::count(u64::try_from(count).unwrap_or(u64::MAX));
    families.add(Id::NodeGpus, &["expected"], gpus(report.devices.len()));
    families.add(Id::NodeGpus, &["seen"], gpus(report.gpus_seen));
    if let Some(energy) = &report.energy {
        add_energy_rates(families, energy);
    }
    families.add(Id::LedgerImbalance, &[], report.imbalance.dollars());
    families.add(Id::LedgerStart, &[], unit::timestamp(report.ledger_start));
    for (currency, dollars) in &report.prices.exchange_rates {
        families.add(Id::ExchangeRate, &[currency], unit::from_nano(*dollars));
    }
    for (model, prices) in &report.prices.model_costs {
        families.add(Id::ModelPrice, &[model, "input"], unit::from_nano(prices.input_nanos));
        families.add(Id::ModelPrice, &[model, "output"], unit::from_nano(prices.output_nanos));
    }
}

fn add_energy_rates(families: &mut Families, rates: &EnergyRates) {
    families.add_some(Id::EnergyPrice, &[], rates.dollars_per_kwh.map(unit::from_nano));
    if let Some(intensity) = &rates.intensity {
        families.add(Id::GridIntensity, &[&intensity.origin], unit::from_nano(intensity.grams_per_kwh));
    }
    families.add(Id::Pue, &[], unit::from_nano(rates.pue));
    families.add(Id::HostFactor, &[], unit::from_nano(rates.host_factor));
}

// === what all lines share ===

/// The business labels, in the catalogue's order.
fn business(labels: &CostLabels) -> [&str; 7] {
    let CostLabels { team, project, model, environment, cost_center, department, task_type } = labels;
    [team, project, model, environment, cost_center, department, task_type]
}

/// The states that a line shows: those it always has, and any other that holds something all the same.
fn states(usual: &[State], totals: &Totals) -> impl Iterator<Item = State> {
    STATES.into_iter().filter(|state| usual.contains(state) || holds_something(totals, *state))
}

fn holds_something(totals: &Totals, state: State) -> bool {
    totals.time(state).nanos() > 0 || totals.cost(state).is_some_and(|cost| cost > Cost::ZERO)
}

/// The dollars in one state, from the moment on at which there is a price, even before anything was charged.
fn dollars(totals: &Totals, state: State, has_price: bool) -> Option<f64> {
    totals.cost(state).or(has_price.then_some(Cost::ZERO)).map(Cost::dollars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_states_are_sorted_by_their_label_values() {
        assert!(STATES.is_sorted_by_key(|state| state.as_str()));
        assert!(State::ALL.iter().all(|state| STATES.contains(state)));
    }
}
