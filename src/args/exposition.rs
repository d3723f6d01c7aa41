//! What a scrape shows, as it is typed.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;
use crate::metrics::Level;

/// What a scrape shows, as it is typed.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub struct ExpositionArgs {
    /// Down to what the money is shown: who pays, every pod besides, or the containers of each pod.
    #[arg(long = "metrics.level", env = "GPU_COST_METRICS_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = "pod")]
    pub level: LevelArg,

    /// How long a new pod's counters stay 0 before they are shown: two scrape intervals for those who ask Prometheus
    /// for `increase()`, which takes the first value of a counter for nothing; 0s for the exact rules.
    #[arg(long = "metrics.zero-hold", env = "GPU_COST_METRICS_ZERO_HOLD", value_name = "TIME")]
    #[arg(default_value = "0s", value_parser = duration)]
    pub zero_hold: Duration,
}

/// Down to what the money is shown, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelArg {
    /// Devices and who pays.
    Showback,
    /// Every pod besides.
    Pod,
    /// The containers of each pod, as far as the kubelet names them; what a pod had before stays without one.
    Container,
}

// === impl LevelArg ===

impl From<LevelArg> for Level {
    fn from(arg: LevelArg) -> Self {
        match arg {
            LevelArg::Showback => Self::Showback,
            LevelArg::Pod => Self::Pod,
            LevelArg::Container => Self::Container,
        }
    }
}
