//! The whole published state as JSON, for programs and for `explain`.
//!
//! What is counted is a string, because a reader's floats would lose it: dollars and seconds are decimal numbers, shares
//! are fractions. What is measured is a number from 0 to 1. What is not known is `null`, and a state with nothing in it
//! is zero. Names are those of the metrics. `docs/api.md` describes every field.
//!
//! The modules in reading order: `wire` (the form), `money`, `energy`, `devices` and `lines` (from a report to
//! that form).

mod devices;
mod energy;
mod lines;
mod money;
mod wire;

use std::collections::BTreeMap;

use self::wire::{Allocations, Exporter, Pricing};
pub(crate) use self::wire::{
    Device, Holding, LastCharge, Ledger, NamedDevice, Part, PodLine, Quote, Report, Share, SourceState,
    Totals,
};
use crate::cost::report;
use crate::metrics::unit;
use crate::status::{PricingStatus, Published, SourceStatus};

/// Where the ledger is served.
pub(crate) const PATH: &str = "/api/v1/ledger";

/// The version of the form. It grows when a field goes or comes to mean something else, not when one is added.
pub(crate) const VERSION: u32 = 1;

/// What was last published, as JSON.
pub(crate) fn render(published: &Published) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Ledger::of(published))
}

// === impl Ledger ===

impl Ledger {
    /// What was last published, in the form of the JSON.
    pub(crate) fn of(published: &Published) -> Self {
        let status = &*published.status;
        Self {
            version: VERSION,
            exporter: Exporter {
                version: env!("CARGO_PKG_VERSION").into(),
                mode: status.mode.as_str().into(),
                simulated: published.is_simulated(),
            },
            node: status.node.as_ref().into(),
            sources: status.sources.iter().map(source).collect(),
            pricing: pricing(&status.pricing),
            report: published.report.as_deref().map(report),
        }
    }
}

/// The GPUs of a report, in its order.
pub(crate) fn devices(report: &report::Report) -> Vec<Device> {
    let live = report.pods.iter().filter(|pod| pod.live);
    let uids: BTreeMap<_, _> = live.map(|pod| ((&*pod.namespace, &*pod.pod), &*pod.uid)).collect();
    report.devices.iter().map(|line| devices::device(line, &uids)).collect()
}

fn source(status: &SourceStatus) -> SourceState {
    SourceState {
        source: status.source.as_str().into(),
        up: status.up,
        last_success: status.last_success.map(|at| at.to_string()),
        errors: status.errors,
        message: status.message.as_deref().map(Into::into),
    }
}

fn pricing(status: &PricingStatus) -> Pricing {
    Pricing {
        file: status.file.as_deref().map(Into::into),
        in_force: Some(status.in_force.as_str().into()),
        hash: Some(status.hash.as_ref().into()),
        last_success: status.last_success.map(|at| at.to_string()),
        last_reload_successful: status.last_reload_successful,
        problems: status.problems.iter().map(|problem| problem.as_ref().into()).collect(),
    }
}

fn report(report: &report::Report) -> Report {
    let age = report.allocations_read_at.map(|read_at| report.at.since(read_at));
    Report {
        at: report.wall.to_string(),
        since: report.ledger_start.to_string(),
        driver_version: report.driver_version.as_deref().map(Into::into),
        price_model: report.price_model.as_str().into(),
        gpus_seen: report.gpus_seen,
        imbalance_dollars: report.imbalance.to_string(),
        allocations: Allocations {
            age_seconds: age.map(money::seconds),
            unmapped_devices: report.unmapped_devices,
            conflicts: report.allocation_conflicts,
        },
        folded_payers: report.folded_payers,
        energy: report.energy.as_ref().map(energy::rates),
        devices: devices(report),
        former_devices: report.former_devices.iter().map(devices::former).collect(),
        pods: report.pods.iter().map(lines::pod).collect(),
        showback: report.showback.iter().map(lines::showback).collect(),
    }
}
