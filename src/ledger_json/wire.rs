//! The form of the JSON, version 1.
//!
//! Both ends use it: the daemon writes it, `explain` reads it, perhaps of another release. So names that a later release
//! may add to (states, rules, sources) are text here, and a field that is not known is skipped.

use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ledger {
    pub(crate) version: u32,
    pub(crate) exporter: Exporter,
    pub(crate) node: String,
    pub(crate) sources: Vec<SourceState>,
    pub(crate) pricing: Pricing,
    /// `None` until there is a good observation.
    pub(crate) report: Option<Report>,
}

/// The program that answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Exporter {
    pub(crate) version: String,
    /// `node`, `demo` or `replay`.
    pub(crate) mode: String,
    /// Whether the numbers are of a node that does not exist.
    pub(crate) simulated: bool,
}

/// How one source is doing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct SourceState {
    pub(crate) source: String,
    pub(crate) up: bool,
    pub(crate) last_success: Option<String>,
    pub(crate) errors: u64,
    pub(crate) message: Option<String>,
}

/// The price sheet in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pricing {
    pub(crate) file: Option<String>,
    /// `file`, `last_good` or `built_in`; `None` if an older exporter does not say.
    pub(crate) in_force: Option<String>,
    pub(crate) hash: Option<String>,
    /// `None` if the file could never be read.
    pub(crate) last_success: Option<String>,
    pub(crate) last_reload_successful: bool,
    pub(crate) problems: Vec<String>,
}

/// The ledger after one observation.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    pub(crate) at: String,
    pub(crate) since: String,
    pub(crate) driver_version: Option<String>,
    pub(crate) price_model: String,
    pub(crate) gpus_seen: usize,
    pub(crate) imbalance_dollars: String,
    pub(crate) allocations: Allocations,
    pub(crate) folded_payers: usize,
    /// `None` without an energy section in the price file.
    pub(crate) energy: Option<Energy>,
    pub(crate) devices: Vec<Device>,
    /// GPUs that were charged before and are no longer there.
    #[serde(default)]
    pub(crate) former_devices: Vec<FormerDevice>,
    pub(crate) pods: Vec<PodLine>,
    pub(crate) showback: Vec<Showback>,
}

/// How well it is known who holds what.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Allocations {
    /// `None` if the kubelet never answered.
    pub(crate) age_seconds: Option<String>,
    pub(crate) unmapped_devices: usize,
    pub(crate) conflicts: u64,
}

/// What energy costs and emits now.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Energy {
    /// `None` if nobody wrote it.
    pub(crate) dollars_per_kwh: Option<String>,
    /// `None` if nobody knows it.
    pub(crate) co2e_grams_per_kwh: Option<String>,
    /// `file` or the row of the built-in table.
    pub(crate) intensity_source: Option<String>,
    pub(crate) pue: String,
    pub(crate) host_factor: String,
}

/// Energy, what it cost and what it emitted. Not part of the bill.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Electricity {
    pub(crate) joules: String,
    /// `None` if there was never a price per kWh.
    pub(crate) dollars: Option<String>,
    /// `None` if there was never an intensity.
    pub(crate) co2e_grams: Option<String>,
}

/// One GPU.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Device {
    pub(crate) uuid: String,
    pub(crate) index: u32,
    pub(crate) minor: Option<u32>,
    pub(crate) pci_bus_id: Option<String>,
    pub(crate) gpu_model: String,
    pub(crate) product: String,
    /// `None` while it is healthy.
    pub(crate) fault: Option<String>,
    pub(crate) sharing: String,
    pub(crate) overcommitted: bool,
    pub(crate) attribution_method: String,
    pub(crate) utilization_source: String,
    pub(crate) utilization: Option<f64>,
    pub(crate) foreign_utilization: Option<f64>,
    /// `None` on a GPU that is not partitioned.
    pub(crate) mig: Option<Partition>,
    /// `None` if it is unpriced.
    pub(crate) price: Option<Quote>,
    pub(crate) totals: Totals,
    pub(crate) electricity: Option<Electricity>,
    pub(crate) unobserved_seconds: String,
    pub(crate) recovered_seconds: String,
    pub(crate) xids: Vec<CriticalError>,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) unheld: Vec<Unheld>,
}

/// A GPU that is no longer there, by what was counted of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct FormerDevice {
    pub(crate) uuid: String,
    pub(crate) totals: Totals,
    pub(crate) electricity: Option<Electricity>,
    pub(crate) unobserved_seconds: String,
    pub(crate) recovered_seconds: String,
    pub(crate) xids: Vec<CriticalError>,
}

/// How a GPU is cut into MIG devices.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Partition {
    pub(crate) compute_slices: u32,
    pub(crate) memory_slices: u32,
    pub(crate) devices: Vec<MigDevice>,
}

/// One MIG device.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct MigDevice {
    pub(crate) uuid: String,
    pub(crate) profile: String,
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
    pub(crate) compute_slices: u32,
    pub(crate) memory_slices: u32,
    pub(crate) utilization: Option<f64>,
}

/// What a GPU costs, and how that was found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Quote {
    pub(crate) dollars_per_hour: String,
    pub(crate) list_dollars_per_hour: Option<String>,
    pub(crate) rule: String,
    pub(crate) price_model: String,
    /// Whether the wanted price model had no price.
    pub(crate) fell_back: bool,
    pub(crate) as_of: Option<String>,
}

/// A critical error.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CriticalError {
    pub(crate) xid: u64,
    pub(crate) count: u64,
    pub(crate) last: String,
}

/// What nobody holds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Unheld {
    pub(crate) state: String,
    pub(crate) share: Share,
}

/// What one pod has of one device.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Holding {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) pod_uid: String,
    pub(crate) mig_uuid: Option<String>,
    pub(crate) mig_profile: Option<String>,
    pub(crate) share: Share,
    pub(crate) of_device: Share,
    pub(crate) basis: Basis,
    pub(crate) named: Vec<NamedDevice>,
    pub(crate) last: Option<LastCharge>,
}

/// An exact fraction in lowest terms.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    /// `numerator/denominator`.
    pub(crate) fraction: String,
    pub(crate) numerator: u64,
    pub(crate) denominator: u64,
}

/// By what a part of a device is measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Basis {
    /// `whole`, `slots`, `compute` (millionths), `memory` (bytes) or `claim` (pods).
    pub(crate) kind: String,
    pub(crate) held: u64,
    pub(crate) of: u64,
    /// The same for people.
    pub(crate) words: String,
}

/// A device as the kubelet named it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NamedDevice {
    pub(crate) container: String,
    pub(crate) resource: String,
    pub(crate) id: String,
}

/// What a holder was charged for the last interval.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LastCharge {
    pub(crate) elapsed_seconds: String,
    pub(crate) dollars_per_hour: Option<String>,
    /// What it had then.
    pub(crate) share: Share,
    pub(crate) of_device: Share,
    /// `None` if it was not measured.
    pub(crate) work: Option<Work>,
    pub(crate) dollars: Option<String>,
    pub(crate) gpu_seconds: String,
    pub(crate) states: Vec<Part>,
    /// Not part of the bill.
    pub(crate) burst_dollars: String,
}

/// What a holder did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Work {
    /// As an exact part of its own share; more than one is burst.
    pub(crate) of_share: String,
    /// The same as a number.
    pub(crate) share_ratio: f64,
    /// As a part of its device.
    pub(crate) device_ratio: f64,
}

/// Money and time since a line began.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Totals {
    /// `None` as long as nothing here ever had a price.
    pub(crate) dollars: Option<String>,
    pub(crate) gpu_seconds: String,
    pub(crate) states: Vec<Part>,
}

/// What is in one state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Part {
    pub(crate) state: String,
    pub(crate) dollars: Option<String>,
    pub(crate) gpu_seconds: String,
}

/// One pod.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct PodLine {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) pod_uid: String,
    /// Whether it holds a device now.
    pub(crate) live: bool,
    pub(crate) labels: Labels,
    pub(crate) workload: Option<Workload>,
    pub(crate) gpu_model: String,
    pub(crate) dollars_per_hour: String,
    pub(crate) gpus: f64,
    pub(crate) unpriced_gpus: u32,
    pub(crate) last_active: Option<String>,
    pub(crate) totals: Totals,
    pub(crate) burst_dollars: String,
    pub(crate) electricity: Option<Electricity>,
    pub(crate) devices: Vec<PodDevice>,
}

/// Whose money it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Labels {
    pub(crate) team: String,
    pub(crate) project: String,
    pub(crate) model: String,
    pub(crate) environment: String,
    pub(crate) cost_center: String,
    pub(crate) department: String,
    pub(crate) task_type: String,
}

/// The controller above a pod.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Workload {
    pub(crate) kind: String,
    pub(crate) name: String,
}

/// What a pod does on one of its devices.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct PodDevice {
    pub(crate) gpu_uuid: String,
    pub(crate) mig_uuid: Option<String>,
    /// Its work as a part of its share, at most all of it.
    pub(crate) utilization: Option<f64>,
    pub(crate) memory_used_bytes: Option<u64>,
}

/// One payer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Showback {
    /// Empty for what nobody holds.
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    pub(crate) gpu_model: String,
    pub(crate) price_model: Option<String>,
    pub(crate) totals: Totals,
}
