//! The formats in which a scrape may be asked for. All three carry the same samples.
//!
//! Only protobuf says when each counter was 0: in the text of `OpenMetrics` that would be a series of its own beside
//! every counter, which a Prometheus that does not know better stores as one.

use super::families::Families;
use super::{protobuf, text};

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Prometheus' text, version 0.0.4: what everybody reads.
    Text,
    /// `OpenMetrics` text, version 1.0.0.
    OpenMetrics,
    /// Messages of `io.prometheus.client.MetricFamily`, each after its length, with the time at which each counter was 0.
    Protobuf,
}

// === impl Format ===

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Text, Self::OpenMetrics, Self::Protobuf];

    /// The content type of what is written.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// Writes what was collected.
    pub(super) fn encode(self, families: Families) -> Vec<u8> {
        let scrape = families.finish();
        match self {
            Self::Text => text::encode(&scrape, text::Dialect::Prometheus),
            Self::OpenMetrics => text::encode(&scrape, text::Dialect::OpenMetrics),
            Self::Protobuf => protobuf::encode(&scrape),
        }
    }
}
