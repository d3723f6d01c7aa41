//! Every metric, in one table.
//!
//! A metric that is not in this table cannot be exported, METRICS.md is generated from it, and dashboards and alert
//! rules can be checked against it. Names, types and labels are a promise to users: rows are added, never renamed.
//!
//! Two kinds of gauge are told apart because people sum them: an *amount* (dollars per hour, GPUs, bytes) adds up
//! over its labels, a *reading* (a ratio, a price, a timestamp) does not.

use std::fmt::Write;

/// The label that a series has only where it says something. An empty label is none for Prometheus, but one that keeps
/// away a label of the same name of whom it scrapes; so a series that had none before must not come by an empty one.
pub(super) const OPTIONAL_LABEL: &str = "container";

/// The labels that say who pays for what, as showback and pod information carry them.
macro_rules! business_labels {
    ($($before:literal),* ; $($after:literal),*) => {
        &[$($before,)* "team", "project", "model", "environment", "cost_center", "department", "task_type", $($after),*]
    };
}

/// Declares the table and an identifier for each of its rows, so that a metric which is not in it does not compile.
macro_rules! catalog {
    ($($group:ident { $($id:ident: $kind:ident $name:literal $labels:expr, $help:literal;)* })*) => {
        /// One row of the catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Id { $($(#[doc = concat!("`", $name, "`")] $id,)*)* }

        /// Every metric, in the order in which a scrape shows them.
        pub const CATALOG: &[Metric] = &[$($(
            Metric { group: Group::$group, kind: Kind::$kind, name: $name, labels: $labels, help: $help },
        )*)*];

        #[cfg(test)]
        const IDS: &[Id] = &[$($(Id::$id,)*)*];
    };
}

/// What is promised about one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What the metric is about.
    pub group: Group,
    /// How its values behave.
    pub kind: Kind,
    /// The full name.
    pub name: &'static str,
    /// The labels beyond `node`.
    pub labels: &'static [&'static str],
    /// What it says, with unit and range, and when it is absent.
    pub help: &'static str,
}

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A physical GPU; the money lines add up to the node's bill.
    Device,
    /// A pod that holds or held a GPU.
    Pod,
    /// Who pays; the money lines add up to the node's bill.
    Showback,
    /// The node and its ledger.
    Node,
    /// The exporter about itself.
    Exporter,
}

/// How the values of a metric behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A counter: it only grows, and adds up over its labels.
    Counter,
    /// A gauge that adds up over its labels, such as bytes.
    Amount,
    /// A gauge that does not add up over its labels, such as a ratio.
    Reading,
    /// A gauge that is always 1; what it says is in its labels.
    Info,
}

catalog! {
    Device {
        DeviceDollars: Counter "gpu_cost_device_dollars_total" &["gpu_uuid", "state"],
            "US dollars that the GPU has cost since the ledger began, by what they were spent on. The sum over state is the GPU's bill. Absent while the GPU has never had a price.";
        DeviceSeconds: Counter "gpu_cost_device_seconds_total" &["gpu_uuid", "state"],
            "GPU-seconds since the ledger began, by what they were spent on. The sum over state is the observed time.";
        DevicePrice: Reading "gpu_cost_device_price_dollars_per_hour" &["gpu_uuid", "basis"],
            "Price of the GPU now in US dollars per hour: basis=effective is what is charged, basis=list the on-demand price for comparison. Absent where no such price is known.";
        DeviceUnpriced: Amount "gpu_cost_device_unpriced" &["gpu_uuid", "gpu_model"],
            "1 if no price is known for the GPU, so that its seconds are counted and its dollars are not; 0 otherwise.";
        DeviceUtilization: Reading "gpu_cost_device_utilization_ratio" &["gpu_uuid"],
            "Part of the time in which at least one kernel ran, 0 to 1, mean since the last tick. Absent where the driver cannot say.";
        DeviceSmActive: Reading "gpu_cost_device_sm_active_ratio" &["gpu_uuid"],
            "Part of the streaming multiprocessors that were busy, 0 to 1, mean since the last tick. Absent before Hopper.";
        DeviceTensorActive: Reading "gpu_cost_device_tensor_active_ratio" &["gpu_uuid"],
            "Part of the tensor cores' peak that was used, 0 to 1, mean since the last tick. Absent before Hopper.";
        DeviceDramActive: Reading "gpu_cost_device_dram_active_ratio" &["gpu_uuid"],
            "Part of the memory bandwidth that was used, 0 to 1, mean since the last tick. Absent before Hopper.";
        DeviceMemoryUsed: Amount "gpu_cost_device_memory_used_bytes" &["gpu_uuid"],
            "Framebuffer in use in bytes. Absent while it cannot be read.";
        DeviceMemoryTotal: Amount "gpu_cost_device_memory_total_bytes" &["gpu_uuid"],
            "Framebuffer of the GPU in bytes. Absent while it cannot be read.";
        DevicePower: Amount "gpu_cost_device_power_watts" &["gpu_uuid"],
            "Power that the board draws in watts. Absent while it cannot be read.";
        DevicePowerLimit: Amount "gpu_cost_device_power_limit_watts" &["gpu_uuid"],
            "Enforced power limit of the board in watts. Absent while it cannot be read.";
        DeviceEnergy: Counter "gpu_cost_device_energy_joules_total" &["gpu_uuid"],
            "Energy that the board used in joules since the ledger began, over driver reloads. Absent if it was never measured.";
        DeviceEnergyDollars: Counter "gpu_cost_device_energy_dollars_total" &["gpu_uuid"],
            "US dollars of the electricity behind the GPU's energy since there is a price per kWh: joules / 3,600,000 x price x host factor x PUE. Never part of the bill. Absent without such a price, or if energy was never measured.";
        DeviceCo2e: Counter "gpu_cost_device_co2e_grams_total" &["gpu_uuid"],
            "Grams of CO2e of the electricity behind the GPU's energy since the grid's intensity is known: joules / 3,600,000 x intensity x host factor x PUE. Never part of the bill. Absent without an intensity, or if energy was never measured.";
        DeviceBand: Counter "gpu_cost_device_band_seconds_total" &["gpu_uuid", "band"],
            "Held GPU-seconds since the ledger began by utilization: band=low is below 30 %, medium is 30 to 70 %, high is above 70 %.";
        DeviceForeignUtilization: Reading "gpu_cost_device_foreign_utilization_ratio" &["gpu_uuid"],
            "Part of the time used by processes of nobody who holds the GPU, 0 to 1. Absent where processes cannot be read.";
        DeviceXidErrors: Counter "gpu_cost_device_xid_errors_total" &["gpu_uuid", "xid"],
            "Critical errors (XID) that the driver reported since the ledger began. Absent until the first of its number.";
        DeviceLastXid: Reading "gpu_cost_device_last_xid_timestamp_seconds" &["gpu_uuid", "xid"],
            "When the driver last reported the critical error (XID), in seconds since the epoch. Absent until the first of its number.";
        DeviceInfo: Info "gpu_cost_device_info" &[
                "gpu_uuid", "gpu", "gpu_model", "product", "minor", "pci_bus_id", "sharing", "price_rule", "price_model",
                "utilization_source", "attribution_method", "driver_version",
            ],
            "What the GPU is, how it is shared, priced and measured; always 1. price_rule is file, built_in or file_default, or override: or catalogue: with the name of the override or the row of the catalogue and its day; price_model is on_demand where the one that was wanted has no price. A label is empty where nobody said.";
        MigInfo: Info "gpu_cost_mig_info" &["gpu_uuid", "mig_uuid", "mig_profile", "gpu_instance"],
            "A MIG device that exists now; always 1.";
        MigMemoryUsed: Amount "gpu_cost_mig_memory_used_bytes" &["gpu_uuid", "mig_uuid", "mig_profile", "gpu_instance"],
            "Framebuffer in use in the MIG device's GPU instance in bytes. Absent while it cannot be read.";
        MigUtilization: Reading "gpu_cost_mig_utilization_ratio" &["gpu_uuid", "mig_uuid", "mig_profile", "gpu_instance"],
            "Part of the time in which the MIG device worked, 0 to 1, mean since the last tick. Absent where the hardware cannot say (A100, A30).";
    }
    Showback {
        ShowbackDollars: Counter "gpu_cost_showback_dollars_total"
            business_labels!("namespace"; "gpu_model", "price_model", "state"),
            "US dollars since the ledger began by who pays. Long-lived and bounded; the sum over everything is the node's bill. What nobody holds has an empty namespace. Absent for what has no price.";
        ShowbackSeconds: Counter "gpu_cost_showback_gpu_seconds_total"
            business_labels!("namespace"; "gpu_model", "price_model", "state"),
            "GPU-seconds since the ledger began by who pays. What nobody holds has an empty namespace; an empty price_model means that no price is known.";
    }
    Pod {
        PodDollars: Counter "gpu_cost_pod_dollars_total" &["namespace", "pod", "pod_uid", "container", "state"],
            "US dollars that the pod's GPUs have cost since it was first seen, by what they were spent on. The sum over state and container is what the pod cost. Stays for a while after the pod has ended. Absent while none of its GPUs has had a price. The label container is there where --metrics.level=container tells containers apart, and not on what is no container's.";
        PodSeconds: Counter "gpu_cost_pod_gpu_seconds_total" &["namespace", "pod", "pod_uid", "container", "state"],
            "GPU-seconds that the pod held since it was first seen, by what they were spent on; a seventh of a GPU for seven seconds is one. The label container is there where --metrics.level=container tells containers apart, and not on what is no container's.";
        PodBurst: Counter "gpu_cost_pod_burst_dollars_total" &["namespace", "pod", "pod_uid"],
            "US dollars of work beyond the pod's share of a shared GPU. Not part of any bill. Absent while none of its GPUs has had a price.";
        PodRate: Amount "gpu_cost_pod_dollars_per_hour" &["namespace", "pod", "pod_uid"],
            "US dollars per hour that the pod costs now, without GPUs that have no price; 0 once it holds none. Absent while all of its GPUs are without a price.";
        PodGpus: Amount "gpu_cost_pod_gpus" &["namespace", "pod", "pod_uid"],
            "GPUs that the pod holds now, in whole GPUs (0.25 for one of four replicas); 0 once it holds none.";
        PodUnpricedGpus: Amount "gpu_cost_pod_unpriced_gpus" &["namespace", "pod", "pod_uid"],
            "Devices that the pod holds now and for which no price is known.";
        PodUtilization: Reading "gpu_cost_pod_utilization_ratio" &["namespace", "pod", "pod_uid", "gpu_uuid", "mig_uuid"],
            "The pod's own work on the device as a part of its share of it, 0 to 1, since the last tick. Absent while it is not measured; mig_uuid is empty on a whole GPU.";
        PodMemoryUsed: Amount "gpu_cost_pod_memory_used_bytes" &["namespace", "pod", "pod_uid", "gpu_uuid", "mig_uuid"],
            "Framebuffer in use on the device in bytes, where the pod is alone on it. Absent otherwise; mig_uuid is empty on a whole GPU.";
        PodEnergy: Counter "gpu_cost_pod_energy_joules_total" &["namespace", "pod", "pod_uid"],
            "The pod's part of its GPUs' energy in joules since it was first seen. Absent if none was measured.";
        PodEnergyDollars: Counter "gpu_cost_pod_energy_dollars_total" &["namespace", "pod", "pod_uid"],
            "US dollars of the electricity behind the pod's part of its GPUs' energy, idle power too. Never part of the bill. Absent without a price per kWh, or if no energy was measured.";
        PodCo2e: Counter "gpu_cost_pod_co2e_grams_total" &["namespace", "pod", "pod_uid"],
            "Grams of CO2e of the electricity behind the pod's part of its GPUs' energy, idle power too. Never part of the bill. Absent without an intensity of the grid, or if no energy was measured.";
        PodLastActive: Reading "gpu_cost_pod_last_active_timestamp_seconds" &["namespace", "pod", "pod_uid"],
            "When the pod last did work on a GPU, in seconds since the epoch. Absent if it never did.";
        PodInfo: Info "gpu_cost_pod_info"
            business_labels!("namespace", "pod", "pod_uid", "workload_kind", "workload"; "gpu_model"),
            "Whose pod it is and what runs it; always 1. A label is empty where nobody said.";
    }
    Node {
        NodeInfo: Info "gpu_cost_node_info" &["provider", "instance_type", "region_name", "zone_name", "capacity_type", "price_model"],
            "What the node is, from its labels, and the price model that its GPUs are priced by; always 1. capacity_type is how the node was bought as a label says, reserved meaning a capacity reservation, which is no discount. A label is empty where nobody said.";
        NodeGpus: Reading "gpu_cost_node_gpus" &["kind"],
            "GPUs of the node: kind=expected is those seen since boot, kind=seen those that the driver shows now.";
        EnergyPrice: Reading "gpu_cost_energy_price_dollars_per_kilowatt_hour" &[],
            "US dollars per kWh now, as the price file says for the time of the day. Never part of the bill. Absent if it says nothing.";
        GridIntensity: Reading "gpu_cost_grid_intensity_grams_per_kilowatt_hour" &["source"],
            "Grams of CO2e per kWh, on the average of the grid. source is file, or the row of the built-in table for the node's region with its year. Absent without an energy section in the price file, or where nobody knows it.";
        Pue: Reading "gpu_cost_power_usage_effectiveness_ratio" &[],
            "Power of the data centre per power of its computers (PUE), 1 or more, as the price file says. Absent without an energy section in it.";
        HostFactor: Reading "gpu_cost_host_power_ratio" &[],
            "Power of the node per power of its GPUs (host_factor), 1 or more, as the price file says. Absent without an energy section in it.";
        LedgerImbalance: Amount "gpu_cost_ledger_imbalance_dollars" &[],
            "US dollars by which the lines differ from the bill, which is added up on its own. Must be 0.";
        LedgerStart: Reading "gpu_cost_ledger_start_timestamp_seconds" &[],
            "When the ledger began to count, in seconds since the epoch.";
        LedgerUnobserved: Counter "gpu_cost_ledger_unobserved_seconds_total" &["gpu_uuid", "reason"],
            "GPU-seconds in which nobody was looking, charged to nobody. reason=gap is a pause longer than the exporter may bridge, reason=reboot the time between two boots of the node, by the wall clock.";
        LedgerRecovered: Counter "gpu_cost_ledger_recovered_seconds_total" &["gpu_uuid", "reason"],
            "GPU-seconds of pauses short enough to be charged, as unmeasured, to who was there before and after. reason=gap.";
        ModelPrice: Reading "gpu_cost_model_price_dollars_per_1k_tokens" &["model", "direction"],
            "List price in US dollars of 1,000 tokens that the model reads (direction=input) or writes (direction=output), from the price file's model_costs.";
        ExchangeRate: Reading "gpu_cost_exchange_rate" &["currency"],
            "US dollars that one unit of the currency is worth, as the price file says; every amount here is in US dollars. Absent if the file names no rate.";
    }
    Exporter {
        Simulated: Reading "gpu_cost_exporter_simulated" &[],
            "1 if the node does not exist and every number is made up (the demo, or a recording of it), 0 otherwise.";
        BuildInfo: Info "gpu_cost_exporter_build_info" &["version", "mode"],
            "Version of the exporter and where its observations come from (node, demo, replay); always 1.";
        SourceUp: Reading "gpu_cost_exporter_source_up" &["source"],
            "1 if the source's last answer was good, 0 otherwise.";
        SourceLastSuccess: Reading "gpu_cost_exporter_source_last_success_timestamp_seconds" &["source"],
            "When the source last gave a good answer, in seconds since the epoch; for the API server, whose watches tell every change, the last tick at which they stood. Absent if it never did.";
        SourceErrors: Counter "gpu_cost_exporter_source_errors_total" &["source"],
            "Answers of the source that were errors, since the exporter started.";
        SourceDuration: Reading "gpu_cost_exporter_source_duration_seconds" &["source"],
            "How long the source's last answer took in seconds. Absent if it never answered.";
        AllocationsAge: Reading "gpu_cost_exporter_allocations_age_seconds" &[],
            "Age in seconds, at the last tick, of the kubelet's answer that says which pod holds which device. Absent if it never answered.";
        UnmappedDevices: Amount "gpu_cost_exporter_unmapped_devices" &[],
            "Allocated devices that could not be mapped to a GPU of this node at the last tick.";
        AllocationConflicts: Counter "gpu_cost_exporter_allocation_conflicts_total" &[],
            "How often two pods were found to name one exclusive device.";
        SeriesDropped: Counter "gpu_cost_exporter_series_dropped_total" &["reason"],
            "What has no series because there are too many: reason=payers is payers without a line of their own in showback, whose money is on a line with the labels __other__; reason=finished_pods is pods that ended and left early, whose money stays with who paid.";
        Ticks: Counter "gpu_cost_exporter_ticks_total" &[],
            "Observations that were made since the exporter started.";
        TickOverruns: Counter "gpu_cost_exporter_tick_overruns_total" &[],
            "Ticks that took longer than the sampling interval, since the exporter started.";
        StateWrites: Counter "gpu_cost_exporter_state_writes_total" &[],
            "States of the ledger that were written to disk since the exporter started, one per tick. Absent where the ledger is not kept on disk (--state.dir).";
        StateWriteErrors: Counter "gpu_cost_exporter_state_write_errors_total" &[],
            "States of the ledger that could not be written to disk, or not in time, since the exporter started. Absent where the ledger is not kept on disk.";
        PricingReload: Reading "gpu_cost_exporter_pricing_last_reload_successful" &[],
            "1 if the price file could be read the last time it was tried, or there is none; 0 otherwise, while the prices that were last read stay in force, or else the built-in ones.";
        PricingReloadTime: Reading "gpu_cost_exporter_pricing_last_reload_success_timestamp_seconds" &[],
            "When the price file could last be read, in seconds since the epoch, over restarts where state is kept. Absent if it never could.";
        PricingInfo: Info "gpu_cost_exporter_pricing_info" &["source", "hash"],
            "Which prices are in force; always 1. source=file is the price file as it stands, last_good as it last could be read, built_in the built-in prices alone; hash has the first 16 digits of that file's SHA-256, as sha256sum shows them.";
        PricingAsOf: Reading "gpu_cost_exporter_pricing_as_of_timestamp_seconds" &["prices"],
            "The day of the oldest price, in seconds since the epoch: prices=own is of those that the operator wrote, built_in of the built-in list. Absent where none is dated.";
    }
}

/// METRICS.md, generated from the table.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(PREAMBLE);
    for group in [Group::Device, Group::Showback, Group::Pod, Group::Node, Group::Exporter] {
        group.describe(&mut text);
    }
    text.push_str(PROCESS);
    text
}

const PREAMBLE: &str = "\
# Metrics

This file is generated from `src/metrics/catalog.rs`: change it there, then run
`UPDATE_EXPECT=1 cargo test --test it metrics`.

Every dollar a GPU costs is in exactly one `state` at every instant, and the states add up to the bill:

    used + underused + idle + unmeasured + unallocated + stranded + unattributed + unavailable = rate x time

A holder's waste is `idle` + `underused`. Dollars are US dollars, time is seconds (GPU-hours are GPU-seconds / 3600),
ratios are 0 to 1. Every series carries the label `node`, except those of the exporter about itself. What was not
measured is absent, never 0. A label value that nobody told is empty; one of more than 128 bytes is cut and ends in a
hash of the whole, so that two of them stay two; control characters become U+FFFD.

Values are those of the last tick: the exporter samples at its own pace, because cost is an integral over time, and a
scrape changes nothing. Counters, amounts and infos may be counted or summed over their labels; readings may not.
";

const PROCESS: &str = "
The exporter's process is described by the usual `process_cpu_seconds_total`, `process_open_fds`, `process_max_fds`,
`process_virtual_memory_bytes`, `process_resident_memory_bytes`, `process_start_time_seconds` and `process_threads`.
";

// === impl Id ===

impl Id {
    /// The row.
    #[must_use]
    pub fn metric(self) -> &'static Metric {
        &CATALOG[self as usize]
    }
}

// === impl Group ===

impl Group {
    /// Whether the group's series carry the label `node`.
    #[must_use]
    pub const fn has_node(self) -> bool {
        !matches!(self, Self::Exporter)
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Device => "Device: a physical GPU; its dollars add up to the node's bill",
            Self::Pod => "Pod: cost, idle cost and waste of who holds a GPU",
            Self::Showback => "Showback: who pays; its dollars add up to the node's bill",
            Self::Node => "Node and ledger",
            Self::Exporter => "The exporter about itself",
        }
    }

    fn describe(self, text: &mut String) {
        text.push_str("\n## ");
        text.push_str(self.title());
        text.push_str("\n\n| name | type | labels | what it says |\n|---|---|---|---|\n");
        for metric in CATALOG.iter().filter(|metric| metric.group == self) {
            metric.describe(text);
        }
    }
}

// === impl Kind ===

impl Kind {
    /// The kind in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Amount => "gauge, amount",
            Self::Reading => "gauge, reading",
            Self::Info => "gauge, info",
        }
    }
}

// === impl Metric ===

impl Metric {
    fn describe(&self, text: &mut String) {
        let labels: Vec<String> = self.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            self.name,
            self.kind.as_str(),
            labels.join(", "),
            self.help.replace('|', "\\|")
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_identifier_finds_its_own_row() {
        let rows: BTreeSet<_> = IDS.iter().map(|id| id.metric().name).collect();
        assert_eq!(rows.len(), CATALOG.len(), "two metrics have one name");
        assert_eq!(IDS.len(), CATALOG.len());
    }

    #[test]
    fn names_keep_the_rules() {
        for metric in CATALOG {
            let name = metric.name;
            assert!(name.starts_with("gpu_cost_"), "{name}");
            assert_eq!(name.starts_with("gpu_cost_exporter_"), metric.group == Group::Exporter, "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), metric.kind == Kind::Info, "{name}");
            assert!(!metric.labels.contains(&"node"), "{name} has the label node twice");
            let distinct: BTreeSet<_> = metric.labels.iter().collect();
            assert_eq!(distinct.len(), metric.labels.len(), "{name} has a label twice");
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}: {}", metric.help);
        }
    }
}
