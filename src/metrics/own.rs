//! The exporter about itself.

use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{MetricFamily, MetricType};

use super::catalog::{Id, Kind};
use super::families::Families;
use super::unit;
use crate::cost::pricing::Date;
use crate::cost::report::Report;
use crate::observation::UnixTime;
use crate::status::{PricingStatus, Published, SourceStatus};

/// The `process_*` metrics of this process, which are read from `/proc`.
#[derive(Debug)]
pub struct Process {
    // The collector keeps a counter of its own and miscounts when two scrapes read it at once.
    collector: Mutex<ProcessCollector>,
}

/// What `/proc` said about a process at one moment; the default is one of which nothing is known.
#[derive(Clone, Debug, Default)]
pub struct ProcessReading(Vec<MetricFamily>);

// === impl Process ===

impl Process {
    /// The running process.
    #[must_use]
    pub fn current() -> Self {
        Self { collector: Mutex::new(ProcessCollector::for_self()) }
    }

    /// Reads how the process is doing now.
    #[must_use]
    pub fn read(&self) -> ProcessReading {
        ProcessReading(self.collector.lock().unwrap_or_else(PoisonError::into_inner).collect())
    }
}

// === impl ProcessReading ===

impl ProcessReading {
    pub(super) fn add_to(&self, families: &mut Families) {
        for family in &self.0 {
            let is_counter = family.get_field_type() == MetricType::COUNTER;
            for metric in family.get_metric() {
                let (kind, value) = if is_counter {
                    (Kind::Counter, metric.get_counter().get_value())
                } else {
                    (Kind::Reading, metric.get_gauge().get_value())
                };
                families.add_other(family.name(), family.help(), kind, value);
            }
        }
    }
}

// === the exporter ===

/// Adds what the exporter says about itself without a report.
pub(super) fn add_status(families: &mut Families, published: &Published) {
    let status = &*published.status;
    families.about_the_whole(status.started);
    families.add(Id::Simulated, &[], unit::flag(published.is_simulated()));
    families.add(Id::BuildInfo, &[env!("CARGO_PKG_VERSION"), status.mode.as_str()], 1.0);
    families.add(Id::Ticks, &[], unit::count(status.ticks));
    families.add(Id::TickOverruns, &[], unit::count(status.tick_overruns));
    if let Some(state) = &status.state {
        families.add(Id::StateWrites, &[], unit::count(state.writes));
        families.add(Id::StateWriteErrors, &[], unit::count(state.errors));
    }
    add_pricing(families, &status.pricing);
    for source in &status.sources {
        add_source(families, source, status.started);
    }
    families.about_the_whole(status.started);
}

fn add_pricing(families: &mut Families, pricing: &PricingStatus) {
    families.add(Id::PricingReload, &[], unit::flag(pricing.last_reload_successful));
    families.add_some(Id::PricingReloadTime, &[], pricing.last_success.map(unit::timestamp));
    families.add(Id::PricingInfo, &[pricing.in_force.as_str(), &pricing.hash], 1.0);
}

fn add_source(families: &mut Families, status: &SourceStatus, started: Option<UnixTime>) {
    families.about(Id::SourceUp, &[status.source.as_str()], started);
    families.add(Id::SourceUp, &[], unit::flag(status.up));
    families.add_some(Id::SourceLastSuccess, &[], status.last_success.map(unit::timestamp));
    families.add(Id::SourceErrors, &[], unit::count(status.errors));
    families.add_some(Id::SourceDuration, &[], status.duration.map(unit::seconds));
}

/// Adds how well the report is founded.
pub(super) fn add_grounds(families: &mut Families, report: &Report) {
    families.about_the_whole(Some(report.ledger_start));
    let age = report.allocations_read_at.map(|read_at| unit::seconds(report.at.since(read_at)));
    families.add_some(Id::AllocationsAge, &[], age);
    families.add(
        Id::UnmappedDevices,
        &[],
        unit::count(u64::try_from(report.unmapped_devices).unwrap_or(u64::MAX)),
    );
    let folded = u64::try_from(report.folded_payers).unwrap_or(u64::MAX);
    families.add(Id::SeriesDropped, &["finished_pods"], unit::count(report.dropped_pods));
    families.add(Id::SeriesDropped, &["payers"], unit::count(folded));
    families.add(Id::AllocationConflicts, &[], unit::count(report.allocation_conflicts));
    let (sheet, today) = (&report.prices, Date::of(report.wall));
    let days = [("own", sheet.own_as_of(today)), ("built_in", sheet.built_in_as_of(today))];
    for (prices, day) in days {
        let day = day.map(|day| unit::count(day.unix_seconds()));
        families.add_some(Id::PricingAsOf, &[prices], day);
    }
}
