//! What is logged and how, as it is typed.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON lines for machines.
    Json,
}

/// The filter's own reader takes a word that is no level for the name of a module, and so logs nothing for a typing
/// error.
pub(super) fn level(text: &str) -> Result<EnvFilter, String> {
    let is_known = |part: &str| part.contains('=') || part.parse::<LevelFilter>().is_ok();
    let expected = "expected error, warn, info, debug or trace, or directives such as info,hyper=warn";
    // The client logs every attempt that fails; that a source fails is told once, by us.
    let quiet = if text.contains("kube_client") { "" } else { ",kube_client=off" };
    let parse = || EnvFilter::builder().parse(format!("{text}{quiet}"));
    let filter = text.split(',').all(is_known).then(parse);
    filter.and_then(Result::ok).ok_or_else(|| expected.to_owned())
}
