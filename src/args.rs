//! What the user typed, and what the program needs of it.
//!
//! Flags are written as exporters write them, dotted by subject, and each has an environment variable. A value is
//! checked while it is parsed, so that after [`Args`] nothing needs checking again.

mod command;
mod exposition;
mod log;
mod price;
mod sharing;
mod web;

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, Resettable, TypedValueParser};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::apiserver::LabelSource;
use crate::cost::pricing::PriceModel;
use crate::kubelet::{ResourceName, SOCKET};
use crate::observation::Ppm;

pub use self::command::{Command, ExplainOutput};
pub use self::exposition::{ExpositionArgs, LevelArg};
pub use self::log::LogFormat;
pub use self::price::{ListArgs, Output, PriceArgs, PriceCommand, SheetArgs};
pub use self::sharing::{MigShareArg, SharingPolicyArg};
pub use self::web::{ListenAddress, WebArgs};

/// Where a `ConfigMap` with prices is mounted, as the shipped manifests do.
pub const MOUNTED_PRICES: &str = "/config/pricing.yaml";

/// Where a `ConfigMap` with the labels of pods that have none is mounted, as the shipped manifests do.
pub const MOUNTED_LABELS: &str = "/config/labels.yaml";

/// Live per-pod GPU cost, idle cost and waste of this node, for Prometheus.
///
/// Reads GPUs through NVML, learns from the kubelet which pod holds which device, prices the time, and serves the ledger
/// on /metrics and as a page on /. Every dollar is on exactly one line, and the lines add up to the bill.
///
/// Without a driver or a GPU it stays up, says what to do, and tries again.
#[derive(Clone, Debug, Parser)]
#[command(name = "gpu-cost-exporter", version, max_term_width = 110, args_override_self = true)]
#[command(
    after_help = "Exit codes: 0 stopped on request, 1 could not start or `explain` found no answer, 64 bad flags, a wrong \
                        web configuration, or a price file that `check` finds wrong, 75 in Kubernetes when only a new \
                        container can reach the driver again.\nEvery metric is described in METRICS.md."
)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Who may ask, and how.
    #[command(flatten)]
    pub web: WebArgs,

    /// Your prices; what it does not price has the list price of the node's instance in the catalogue, or else that of
    /// the GPU's model. Read again when it changes and on SIGHUP. [default: /config/pricing.yaml if it is there]
    #[arg(long = "pricing.file", env = "PRICING_CONFIG", value_name = "FILE", help_heading = "Prices")]
    pub pricing_file: Option<PathBuf>,

    /// How the capacity was bought. [default: as the price file and the node's labels say, else `on_demand`]
    #[arg(long = "pricing.model", env = "GPU_COST_PRICING_MODEL", value_name = "MODEL")]
    #[arg(value_parser = price_model(), help_heading = "Prices")]
    pub pricing_model: Option<PriceModel>,

    /// Whether to know the list prices of instances: what your file does not price has the dated on-demand or spot price
    /// of its provider, region and instance type.
    #[arg(long = "pricing.catalogue", env = "GPU_COST_PRICING_CATALOGUE", value_name = "WHETHER")]
    #[arg(default_value = "on", help_heading = "Prices")]
    pub pricing_catalogue: Switch,

    /// Name of this node, the `node` label of every series. [default: the host's name]
    #[arg(long = "node.name", env = "NODE_NAME", value_name = "NAME", help_heading = "Node")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub node_name: Option<String>,

    /// Who holds the GPUs: pods as the kubelet says, or the node itself, or whichever fits this machine.
    #[arg(long = "holders", env = "GPU_COST_HOLDERS", value_name = "WHO")]
    #[arg(default_value = "auto", help_heading = "Node")]
    pub holders: Holders,

    /// Socket of the kubelet's pod-resources API; mount its directory, not the socket.
    #[arg(
        long = "kubelet.socket",
        env = "GPU_COST_KUBELET_SOCKET",
        value_name = "PATH",
        help_heading = "Node"
    )]
    #[arg(default_value = SOCKET)]
    pub kubelet_socket: PathBuf,

    /// How old the kubelet's last answer may become before it is not believed any more.
    #[arg(
        long = "kubelet.max-age",
        env = "GPU_COST_KUBELET_MAX_AGE",
        value_name = "TIME",
        help_heading = "Node"
    )]
    #[arg(default_value = "60s", value_parser = duration)]
    pub kubelet_max_age: Duration,

    /// Another resource name that stands for GPUs; a trailing * matches any ending. May be repeated.
    #[arg(long = "kubelet.resource", env = "GPU_COST_KUBELET_RESOURCES", value_name = "NAME")]
    #[arg(value_delimiter = ',', action = ArgAction::Append, help_heading = "Node")]
    pub kubelet_resources: Vec<ResourceName>,

    /// Whether to ask the API server about this node and its pods, where a service account is mounted or a kubeconfig is
    /// given. Without it pods have no labels, and parts of GPUs by annotation and by claim are not known.
    #[arg(long = "kubernetes.api", env = "GPU_COST_KUBERNETES_API", value_name = "WHEN")]
    #[arg(default_value = "auto", help_heading = "Node")]
    pub kubernetes_api: KubernetesApi,

    /// A kubeconfig by which to reach the API server instead of the service account; meant for development.
    #[arg(long = "kubernetes.kubeconfig", env = "KUBECONFIG", value_name = "FILE", help_heading = "Node")]
    pub kubeconfig: Option<PathBuf>,

    /// Where to look for a cost label instead of its usual places: a pod's label or annotation, such as
    /// environment=app.example.com/env. May be repeated.
    #[arg(long = "labels.source", env = "GPU_COST_LABELS_SOURCES", value_name = "LABEL=KEY")]
    #[arg(value_delimiter = ',', action = ArgAction::Append, help_heading = "Node")]
    pub label_sources: Vec<LabelSource>,

    /// Who pays for pods that do not say so: rules, namespaces, and more places to look. Read again when it changes and
    /// on SIGHUP. [default: /config/labels.yaml if it is there]
    #[arg(long = "labels.file", env = "GPU_COST_LABELS_FILE", value_name = "FILE", help_heading = "Node")]
    pub labels_file: Option<PathBuf>,

    /// The NVIDIA management library. [default: libnvidia-ml.so.1 where drivers are known to put it]
    #[arg(long = "nvml.library", env = "GPU_COST_NVML_LIBRARY", value_name = "PATH", help_heading = "Node")]
    pub nvml_library: Option<PathBuf>,

    /// The host's /proc, by which the processes that work on a shared GPU are known as a pod's; without it their work
    /// is divided in equal parts. [default: /host/proc, else /proc, whichever shows the host's processes]
    #[arg(long = "path.procfs", env = "GPU_COST_PATH_PROCFS", value_name = "DIR", help_heading = "Node")]
    pub procfs: Option<PathBuf>,

    /// How often the sources are read; 1s to 10s is meant, less is for tests.
    #[arg(long = "sample.interval", env = "GPU_COST_SAMPLE_INTERVAL", value_name = "TIME")]
    #[arg(default_value = "1s", value_parser = sample_interval, help_heading = "Ledger")]
    pub sample_interval: Duration,

    /// Utilization at or below which a holder is idle.
    #[arg(long = "ledger.idle-threshold", env = "GPU_COST_LEDGER_IDLE_THRESHOLD", value_name = "PERCENT")]
    #[arg(default_value = "1%", value_parser = percentage, help_heading = "Ledger")]
    pub idle_threshold: Ppm,

    /// Time over which the mean utilization is compared with the threshold.
    #[arg(long = "ledger.idle-window", env = "GPU_COST_LEDGER_IDLE_WINDOW", value_name = "TIME")]
    #[arg(default_value = "60s", value_parser = idle_window, help_heading = "Ledger")]
    pub idle_window: Duration,

    /// The longest time without an observation that is still charged; a longer one is counted and charged to nobody.
    #[arg(long = "ledger.max-gap", env = "GPU_COST_LEDGER_MAX_GAP", value_name = "TIME")]
    #[arg(default_value = "5m", value_parser = duration, help_heading = "Ledger")]
    pub max_gap: Duration,

    /// Directory in which to keep the ledger and the last good prices over a restart. [default: nothing is kept]
    #[arg(long = "state.dir", env = "GPU_COST_STATE_DIR", value_name = "DIR", help_heading = "Ledger")]
    pub state_dir: Option<PathBuf>,

    /// How large the share of a MIG device is. [default: as the price file says, else compute]
    #[arg(long = "ledger.mig-share", env = "GPU_COST_LEDGER_MIG_SHARE", value_name = "BY")]
    #[arg(help_heading = "Ledger")]
    pub mig_share: Option<MigShareArg>,

    /// Who pays for the free slots of a time-sliced device. [default: as the price file says, else slots]
    #[arg(long = "ledger.sharing-policy", env = "GPU_COST_LEDGER_SHARING_POLICY", value_name = "WHO")]
    #[arg(help_heading = "Ledger")]
    pub sharing_policy: Option<SharingPolicyArg>,

    /// How long to serve the last values after a request to stop (SIGTERM), so that they are scraped once more.
    #[arg(long = "shutdown.grace", env = "GPU_COST_SHUTDOWN_GRACE", value_name = "TIME")]
    #[arg(default_value = "35s", value_parser = duration, help_heading = "Web")]
    pub shutdown_grace: Duration,

    /// What a scrape shows.
    #[command(flatten)]
    pub exposition: ExpositionArgs,

    /// Serve a simulated node, clearly marked as such: always, or where no NVIDIA driver library is found.
    #[arg(long, env = "GPU_COST_DEMO", value_name = "WHEN", num_args = 0..=1, require_equals = true)]
    #[arg(default_value = "never", default_missing_value = "always", help_heading = "Source")]
    pub demo: DemoWhen,

    /// Write every observation to a trace.
    #[arg(long, env = "GPU_COST_RECORD", value_name = "FILE", help_heading = "Source")]
    pub record: Option<PathBuf>,

    /// Serve the ledger of a recorded trace.
    #[arg(long, env = "GPU_COST_REPLAY", value_name = "FILE", conflicts_with_all = ["record", "demo"])]
    #[arg(help_heading = "Source")]
    pub replay: Option<PathBuf>,

    /// What to log: a level, or directives such as `info,gpu_cost_exporter::nvml=debug`.
    #[arg(long = "log.level", env = "GPU_COST_LOG_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = "info", value_parser = log::level, help_heading = "Log")]
    pub log_level: EnvFilter,

    /// How to log.
    #[arg(long = "log.format", env = "GPU_COST_LOG_FORMAT", value_name = "FORMAT")]
    #[arg(default_value = "text", help_heading = "Log")]
    pub log_format: LogFormat,
}

/// Who holds the GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Holders {
    /// Pods if there is a kubelet's directory or a service account, else the node.
    Auto,
    /// Pods, as the kubelet says.
    Kubelet,
    /// The node itself, as one holder in the namespace `_host`.
    Node,
}

/// Whether to ask the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KubernetesApi {
    /// If there is a service account or a kubeconfig.
    Auto,
    /// Not at all: pods have no labels.
    Off,
}

/// When to serve a simulated node. Never by itself: its dollars must not get into anybody's bill by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoWhen {
    /// Not at all.
    Never,
    /// Where no NVIDIA driver library is found.
    Auto,
    /// Whatever is found.
    Always,
}

/// Whether something is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// With it.
    On,
    /// Without it.
    Off,
}

/// Reads a price model as it is written in a price file, too.
fn price_model() -> impl TypedValueParser<Value = PriceModel> {
    let names = PriceModel::ALL.map(PriceModel::as_str);
    PossibleValuesParser::new(names).map(|name| PriceModel::from_name(&name).unwrap_or_default())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a time with its unit, such as 30s or 5m".to_owned())
}

/// Every tick of the window is kept for every holder.
fn idle_window(text: &str) -> Result<Duration, String> {
    let window = duration(text)?;
    if window <= Duration::from_secs(3_600) { Ok(window) } else { Err("expected a time up to 1h".to_owned()) }
}

fn sample_interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    let range = Duration::from_millis(10)..=Duration::from_secs(10);
    if range.contains(&interval) {
        Ok(interval)
    } else {
        Err("expected a time between 10ms and 10s".to_owned())
    }
}

fn percentage(text: &str) -> Result<Ppm, String> {
    let expected = || "expected a percentage from 0% to 100%, such as 1% or 0.5%".to_owned();
    let (whole, fraction) = {
        let digits = text.strip_suffix('%').ok_or_else(expected)?;
        digits.split_once('.').unwrap_or((digits, ""))
    };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 4 || !is_number(whole) || !is_number(fraction) {
        return Err(expected());
    }
    let percent: u32 = whole.parse().map_err(|_| expected())?;
    let parts: u32 = format!("{fraction:0<4}").parse().map_err(|_| expected())?;
    match percent.checked_mul(10_000).and_then(|ppm| ppm.checked_add(parts)) {
        Some(ppm) if ppm <= Ppm::ALL.get() => Ok(Ppm::new(ppm)),
        _ => Err(expected()),
    }
}

// === impl Args ===

impl Args {
    /// Reads what was typed and what the environment says. A variable without a value counts as not set: charts write
    /// one for each value that nobody gave.
    pub fn read() -> Result<Self, clap::Error> {
        let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
        let command = Self::command().mut_args(|arg| {
            let is_unset = arg.get_env().is_some_and(is_empty);
            if is_unset { arg.env(Resettable::Reset) } else { arg }
        });
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_well_formed_and_each_has_a_variable() {
        Args::command().debug_assert();
        for argument in
            Args::command().get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str()))
        {
            assert!(argument.get_env().is_some(), "{} has no environment variable", argument.get_id());
        }
    }

    #[test]
    fn values_are_checked_while_they_are_parsed() {
        let ppm = |text| percentage(text).map(Ppm::get).ok();
        assert_eq!(ppm("1%"), Some(10_000));
        assert_eq!(ppm("0.5%"), Some(5_000));
        assert_eq!(ppm("100%"), Some(1_000_000));
        for wrong in ["", "%", "1", "-1%", "101%", "1.%x", "0.00001%", "99999999999%"] {
            assert_eq!(ppm(wrong), None, "{wrong}");
        }
        assert!(
            sample_interval("11s").is_err()
                && sample_interval("0s").is_err()
                && sample_interval("1").is_err()
        );
    }
}
