//! What to do instead of serving.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::PriceArgs;
use crate::explain::{Address, Output};

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Check a price file: print every mistake with its line, key and what was expected.
    Check {
        /// The price file.
        file: PathBuf,
    },
    /// Ask a running exporter why a pod or a GPU costs what it costs: every step from the device's id to the last
    /// charge.
    Explain {
        /// A pod, or a GPU or MIG device by the beginning of its UUID, or a GPU by its index; without it, every GPU and
        /// its holders.
        #[arg(value_name = "NAMESPACE/POD or GPU")]
        what: Option<String>,

        /// Where the exporter answers.
        #[arg(long, env = "GPU_COST_URL", default_value = "http://localhost:8080")]
        url: Address,

        /// A ledger that another program fetched from /api/v1/ledger, - for the standard input, instead of asking: where
        /// the exporter wants TLS or a password.
        #[arg(long, value_name = "FILE")]
        ledger: Option<PathBuf>,

        /// How to answer.
        #[arg(long, short, value_name = "FORM", default_value = "text")]
        output: ExplainOutput,
    },
    /// Say what a GPU costs and by which rule: of this node, or of one that is described.
    Price(Box<PriceArgs>),
}

/// How `explain` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainOutput {
    /// Lines for people.
    Text,
    /// The part of the exporter's JSON that it is about.
    Json,
}

// === impl ExplainOutput ===

impl From<ExplainOutput> for Output {
    fn from(output: ExplainOutput) -> Self {
        match output {
            ExplainOutput::Text => Self::Text,
            ExplainOutput::Json => Self::Json,
        }
    }
}
