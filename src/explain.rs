//! Asks a running exporter how it comes to a number, and says it step by step.
//!
//! The exporter serves its whole ledger as JSON; what is asked for is looked up here, so that a daemon on a node knows
//! nothing of questions. Without TLS and passwords: it is meant for the node itself, for `kubectl exec` and for `kubectl
//! port-forward`. Where an exporter wants them, another program fetches the ledger, and it is read from a file.
//!
//! The modules in reading order: `address` (whom to ask), `ask` (the question over HTTP), `saved` (the ledger that somebody
//! else fetched), `choose` (which pod or GPU is
//! meant), `print` (the answer for people).

mod address;
mod ask;
mod choose;
mod print;
mod saved;

use std::error;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize as _;
use serde_json::Value;

pub use self::address::Address;

use crate::ledger_json::{Ledger, VERSION};

/// How to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Lines for people.
    Text,
    /// The part of the exporter's JSON that it is about, as it came.
    Json,
}

/// Where a ledger comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A running exporter.
    Exporter(Address),
    /// A file; `-` is the standard input.
    File(PathBuf),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or the way there is closed.
    #[error("nothing answers at {address}: is an exporter running there? --url names another place")]
    Unreachable {
        /// Where it was asked.
        address: Address,
        /// Why it could not be.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{address} does not answer within {} s", ask::PATIENCE.as_secs())]
    Late {
        /// Where it was asked.
        address: Address,
    },
    /// Another program answers there.
    #[error("what answers at {address} is not this exporter, or an older one: it {what}")]
    Stranger {
        /// Where it was asked.
        address: Address,
        /// What it did.
        what: String,
    },
    /// It wants TLS or a password.
    #[error(
        "the exporter at {address} wants {wanted}, of which `explain` has none; let curl fetch its ledger: \
         {} | gpu-cost-exporter explain --ledger=-", address::curl(address.authority())
    )]
    Closed {
        /// Where it was asked.
        address: Address,
        /// What it wants.
        wanted: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read a ledger from {}", saved::name(file))]
    NoFile {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is something else in the file.
    #[error(
        "what is in {} is not the ledger of this exporter, or of an older one: it {what}",
        saved::name(file)
    )]
    NoLedger {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It is busy.
    #[error("{address} is busy, try again: {said}")]
    Busy {
        /// Where it was asked.
        address: Address,
        /// What it said.
        said: String,
    },
    /// It speaks another version.
    #[error(
        "the exporter at {origin} is version {exporter} and writes version {found} of its ledger, this program \
         ({}) reads version {VERSION}: use the program of its release", env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// Where the ledger comes from.
        origin: Origin,
        /// The version of its form.
        found: u64,
        /// Its own version.
        exporter: String,
    },
    /// It says what it is, but not in the form of this version.
    #[error("cannot read the ledger of {origin}")]
    Unreadable {
        /// Where it comes from.
        origin: Origin,
        /// What is wrong with it.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// It has nothing to tell yet.
    #[error("{0}")]
    NothingYet(String),
    /// It does not know what it was asked for.
    #[error("{0}")]
    Unknown(String),
}

/// Asks the exporter or the file at `origin` about a pod (`namespace/pod`) or a GPU (its UUID or the beginning of it), or, with no
/// `what`, about all its GPUs.
pub async fn answer(what: Option<&str>, origin: &Origin, output: Output) -> Result<String, Error> {
    let told = match origin {
        Origin::Exporter(address) => ask::ask(address).await?,
        Origin::File(file) => saved::read(file)?,
    };
    let told = checked(told, origin)?;
    let ledger = read(&told, origin)?;
    let Some(report) = &ledger.report else { return Err(Error::NothingYet(print::nothing_yet(&ledger))) };
    let chosen = what.map(|what| choose::choose(report, &ledger.node, what)).transpose();
    let chosen = chosen.map_err(Error::Unknown)?;
    match output {
        Output::Text => Ok(print::answer(&ledger, report, chosen.as_ref())),
        Output::Json => {
            let part = chosen.map_or_else(|| told.clone(), |chosen| chosen.part_of(told.clone()));
            let text = serde_json::to_string_pretty(&part);
            text.map(|text| text + "\n")
                .map_err(|source| Error::Unreadable { origin: origin.clone(), source: source.into() })
        }
    }
}

/// The answer, if it is a ledger of a version that we read.
fn checked(told: Value, origin: &Origin) -> Result<Value, Error> {
    let exporter = told.pointer("/exporter/version").and_then(Value::as_str);
    let version = told.get("version").and_then(Value::as_u64);
    let Some((exporter, found)) = exporter.zip(version) else {
        return Err(match origin.clone() {
            Origin::Exporter(address) => {
                Error::Stranger { address, what: "answers with JSON of another form".into() }
            }
            Origin::File(file) => Error::NoLedger { file, what: "is JSON of another form".into() },
        });
    };
    if found == u64::from(VERSION) {
        return Ok(told);
    }
    Err(Error::OtherVersion { origin: origin.clone(), found, exporter: exporter.to_owned() })
}

/// The ledger with nothing in its names that a terminal would obey.
fn read(told: &Value, origin: &Origin) -> Result<Ledger, Error> {
    let mut told = told.clone();
    disarm(&mut told);
    let unreadable =
        |source: serde_json::Error| Error::Unreadable { origin: origin.clone(), source: source.into() };
    Ledger::deserialize(told).map_err(unreadable)
}

fn disarm(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(char::is_control) => {
            *text = text.replace(char::is_control, "\u{fffd}");
        }
        Value::Array(values) => values.iter_mut().for_each(disarm),
        Value::Object(values) => values.values_mut().for_each(disarm),
        _ => {}
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exporter(address) => address.fmt(f),
            Self::File(file) => f.write_str(&saved::name(file)),
        }
    }
}
