//! The exporter about itself.

use std::sync::{Mutex, PoisonError};

use prometheus::TextEncoder;
use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;

use super::catalog::Id;
use super::families::Families;
use super::{Error, unit};
use crate::cost::report::Report;
use crate::status::{Published, SourceStatus};

/// The `process_*` metrics of this process, read from `/proc` at each scrape.
#[derive(Debug)]
pub struct Process {
    // The collector keeps a counter of its own and miscounts when two scrapes read it at once.
    collector: Mutex<ProcessCollector>,
}

impl Process {
    /// The running process.
    #[must_use]
    pub fn current() -> Self {
        Self { collector: Mutex::new(ProcessCollector::for_self()) }
    }

    /// The metrics as text.
    pub fn render(&self) -> Result<String, Error> {
        let families = self.collector.lock().unwrap_or_else(PoisonError::into_inner).collect();
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }
}

/// Adds what the exporter says about itself without a report.
pub(super) fn add_status(families: &mut Families, published: &Published) {
    let status = &*published.status;
    families.add(Id::Simulated, &[], unit::flag(published.is_simulated()));
    families.add(Id::BuildInfo, &[env!("CARGO_PKG_VERSION"), status.mode.as_str()], 1.0);
    for source in &status.sources {
        add_source(families, source);
    }
    families.add(Id::Ticks, &[], unit::count(status.ticks));
    families.add(Id::TickOverruns, &[], unit::count(status.tick_overruns));
    if let Some(state) = &status.state {
        families.add(Id::StateWrites, &[], unit::count(state.writes));
        families.add(Id::StateWriteErrors, &[], unit::count(state.errors));
    }
    families.add(Id::PricingReload, &[], unit::flag(status.pricing.last_reload_successful));
}

fn add_source(families: &mut Families, status: &SourceStatus) {
    let source = &[status.source.as_str()];
    families.add(Id::SourceUp, source, unit::flag(status.up));
    families.add_some(Id::SourceLastSuccess, source, status.last_success.map(unit::timestamp));
    families.add(Id::SourceErrors, source, unit::count(status.errors));
    families.add_some(Id::SourceDuration, source, status.duration.map(unit::seconds));
}

/// Adds how well the report is founded.
pub(super) fn add_grounds(families: &mut Families, report: &Report) {
    let age = report.allocations_read_at.map(|read_at| unit::seconds(report.at.since(read_at)));
    families.add_some(Id::AllocationsAge, &[], age);
    families.add(
        Id::UnmappedDevices,
        &[],
        unit::count(u64::try_from(report.unmapped_devices).unwrap_or(u64::MAX)),
    );
    let folded = u64::try_from(report.folded_payers).unwrap_or(u64::MAX);
    families.add(Id::SeriesDropped, &[], unit::count(folded));
    families.add(Id::AllocationConflicts, &[], unit::count(report.allocation_conflicts));
    let as_of = report.prices.as_of().map(|date| unit::count(date.unix_seconds()));
    families.add_some(Id::PricingAsOf, &[], as_of);
}
