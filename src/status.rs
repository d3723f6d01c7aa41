//! What the exporter says about itself, beside the report.
//!
//! The sampler publishes one [`Published`] per tick; a scrape, the page and the readiness probe read it and change
//! nothing.

use std::sync::Arc;

use crate::cost::report::Report;
use crate::observation::{Span, UnixTime, UtilizationSource};

/// What readers are given: the last report and the exporter's own state at that moment.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The ledger after the last good observation; `None` until there is one.
    pub report: Option<Arc<Report>>,
    /// The exporter about itself.
    pub status: Arc<Status>,
}

/// The exporter about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Where the observations come from.
    pub mode: Mode,
    /// When the exporter was started, and its own counters with it; `None` where that does not matter.
    pub started: Option<UnixTime>,
    /// The node's name, the `node` label of every series.
    pub node: Arc<str>,
    /// The state of each source.
    pub sources: Vec<SourceStatus>,
    /// How many observations were made.
    pub ticks: u64,
    /// How many ticks took longer than the interval.
    pub tick_overruns: u64,
    /// The price sheet in force.
    pub pricing: PricingStatus,
    /// How the ledger is kept; `None` where it is not.
    pub state: Option<StateStatus>,
    /// Whether the program is about to end and observes no more.
    pub stopping: bool,
}

/// How often the ledger was written to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateStatus {
    /// States that were written.
    pub writes: u64,
    /// States that could not be written, or not in time.
    pub errors: u64,
}

/// Where the observations come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A real node.
    #[default]
    Node,
    /// A simulated node.
    Demo,
    /// A recorded trace.
    Replay,
}

/// Something that the exporter reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The NVIDIA driver.
    Nvml,
    /// The kubelet's pod-resources API.
    Kubelet,
    /// The API server's pods and node.
    ApiServer,
    /// The price file.
    Pricing,
    /// The file with the labels of pods that have none.
    Labels,
    /// The directory in which the ledger is kept.
    StateFile,
    /// The file that says who may ask, and over what.
    WebConfig,
}

/// How one source is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceStatus {
    /// The source.
    pub source: Source,
    /// Whether its last answer was good.
    pub up: bool,
    /// When it last gave a good answer; `None` if it never did.
    pub last_success: Option<UnixTime>,
    /// How many of its answers were errors.
    pub errors: u64,
    /// How long its last answer took; `None` if it never answered.
    pub duration: Option<Span>,
    /// What is wrong and what to do, for people; `None` while nothing is. A source that is up may not tell all.
    pub message: Option<Arc<str>>,
}

/// The state of the price sheet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PricingStatus {
    /// Where the operator's prices are; `None` as long as there is no such file.
    pub file: Option<Arc<str>>,
    /// Which prices are in force.
    pub in_force: InForce,
    /// The first 16 digits of the SHA-256 of the file in force, or of the built-in list alone where there is none.
    pub hash: Arc<str>,
    /// When the operator's file could last be read; `None` if it never could.
    pub last_success: Option<UnixTime>,
    /// Whether the operator's file could be read the last time it was tried; true when there is none.
    pub last_reload_successful: bool,
    /// Every mistake in the file, each with its line, key and what was expected.
    pub problems: Vec<Arc<str>>,
}

/// Which prices are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InForce {
    /// The built-in ones alone.
    #[default]
    BuiltIn,
    /// The operator's as they stand in his file.
    File,
    /// The operator's as they last could be read.
    LastGood,
}

// === impl Published ===

impl Published {
    /// Whether the numbers are of a node that does not exist: the demo, or a recording of it.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        let devices = self.report.iter().flat_map(|report| &report.devices);
        let mut sources = devices.map(|line| line.gpu.utilization_source);
        self.status.mode == Mode::Demo || sources.any(|source| source == UtilizationSource::Simulated)
    }
}

// === impl Mode ===

impl Mode {
    /// The mode as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Demo => "demo",
            Self::Replay => "replay",
        }
    }
}

// === impl Source ===

impl Source {
    /// Whether money is known without it: it adds to what is known, or keeps it.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::ApiServer | Self::StateFile) || self.is_file()
    }

    /// Whether it is a file, which is read before the first tick.
    #[must_use]
    pub const fn is_file(self) -> bool {
        matches!(self, Self::Pricing | Self::Labels | Self::WebConfig)
    }

    /// The source as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nvml => "nvml",
            Self::Kubelet => "kubelet",
            Self::ApiServer => "apiserver",
            Self::Pricing => "pricing",
            Self::Labels => "labels",
            Self::StateFile => "state_file",
            Self::WebConfig => "web_config",
        }
    }
}

// === impl PricingStatus ===

impl PricingStatus {
    /// Which prices are in force instead of those in a file that cannot be used, for people.
    #[must_use]
    pub fn meanwhile(&self) -> String {
        match (self.in_force, self.last_success) {
            (InForce::BuiltIn, _) | (_, None) => "The built-in prices are in force.".to_owned(),
            (_, Some(at)) => format!("The prices that were read at {at} stay in force."),
        }
    }
}

// === impl InForce ===

impl InForce {
    /// Which they are as a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::File => "file",
            Self::LastGood => "last_good",
        }
    }
}
