//! Asks a running exporter how it comes to a number, and says it step by step.
//!
//! The exporter serves its whole ledger as JSON; what is asked for is looked up here, so that a daemon on a node knows
//! nothing of questions. Without TLS: it is meant for the node itself, for `kubectl exec` and for `kubectl port-forward`.
//!
//! The modules in reading order: `address` (whom to ask), `ask` (the question over HTTP), `choose` (which pod or GPU is
//! meant), `print` (the answer for people).

mod address;
mod ask;
mod choose;
mod print;

use std::error;

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
        "the exporter at {address} is version {exporter} and writes version {found} of its ledger, this program \
         ({}) reads version {VERSION}: use the program of its release", env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// Where it was asked.
        address: Address,
        /// The version of its form.
        found: u64,
        /// Its own version.
        exporter: String,
    },
    /// It says what it is, but not in the form of this version.
    #[error("cannot read the ledger of {address}")]
    Unreadable {
        /// Where it was asked.
        address: Address,
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

/// Asks the exporter at `address` about a pod (`namespace/pod`) or a GPU (its UUID or the beginning of it), or, with no
/// `what`, about all its GPUs.
pub async fn answer(what: Option<&str>, address: &Address, output: Output) -> Result<String, Error> {
    let told = checked(ask::ask(address).await?, address)?;
    let ledger = read(&told, address)?;
    let Some(report) = &ledger.report else { return Err(Error::NothingYet(print::nothing_yet(&ledger))) };
    let chosen = what.map(|what| choose::choose(report, &ledger.node, what)).transpose();
    let chosen = chosen.map_err(Error::Unknown)?;
    match output {
        Output::Text => Ok(print::answer(&ledger, report, chosen.as_ref())),
        Output::Json => {
            let part = chosen.map_or_else(|| told.clone(), |chosen| chosen.part_of(told.clone()));
            let text = serde_json::to_string_pretty(&part);
            text.map(|text| text + "\n")
                .map_err(|source| Error::Unreadable { address: address.clone(), source: source.into() })
        }
    }
}

/// The answer, if it is a ledger of a version that we read.
fn checked(told: Value, address: &Address) -> Result<Value, Error> {
    let exporter = told.pointer("/exporter/version").and_then(Value::as_str);
    let version = told.get("version").and_then(Value::as_u64);
    let Some((exporter, found)) = exporter.zip(version) else {
        let what = "answers with JSON of another form".into();
        return Err(Error::Stranger { address: address.clone(), what });
    };
    if found == u64::from(VERSION) {
        return Ok(told);
    }
    Err(Error::OtherVersion { address: address.clone(), found, exporter: exporter.to_owned() })
}

/// The ledger with nothing in its names that a terminal would obey.
fn read(told: &Value, address: &Address) -> Result<Ledger, Error> {
    let mut told = told.clone();
    disarm(&mut told);
    let unreadable =
        |source: serde_json::Error| Error::Unreadable { address: address.clone(), source: source.into() };
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
