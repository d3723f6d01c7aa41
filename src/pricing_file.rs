//! `pricing.yaml`: the file in which people write what their GPUs cost.
//!
//! ```yaml
//! gpu_pricing:
//!   nvidia-a100-80gb: { on_demand: 3.5, spot: 1.2, reserved_1y: 2.1 }   # $/hour for one GPU
//!   default:          { on_demand: 1.0 }                                # every model that is in no list
//! model_costs:                                                          # $ per 1,000 tokens
//!   gpt-4: { input_tokens: 0.03, output_tokens: 0.06 }
//! ```
//!
//! Such a file is written by hand, often mounted from a `ConfigMap`, and a wrong price is a wrong bill. So it is read
//! strictly, and whoever wrote it is told every mistake at once, with its place and what was expected there:
//!
//! ```text
//!   text ── tree ──▶ what was written, with positions
//!     │                   │
//!     │                 rules ──▶ every mistake, or none and some warnings
//!     │                             │ none
//!     └────────────── wire ◀────────┘
//!                       └──▶ what is meant: PricingFile ── sheet ──▶ cost::pricing::PriceSheet
//! ```
//!
//! Prices are counted in billionths of a dollar, from the digits as they were written. Anything that two YAML readers
//! might read differently is refused: anchors, merge keys, tags, keys that occur twice, invisible characters.

mod date;
mod rules;
mod wire;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::cost::pricing::{PriceSheet, PriceTable, TokenPrices};
use crate::yaml::{text, tree};

pub use crate::yaml::problem::Problem;

/// The price file that is compiled in.
const BUILT_IN: &str = include_str!("../pricing.yaml");

/// What one price file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PricingFile {
    /// What GPUs cost: `gpu_pricing`.
    pub prices: PriceTable,
    /// What tokens cost: `model_costs`, by model name.
    pub model_costs: BTreeMap<Arc<str>, TokenPrices>,
    /// What is allowed but looks like a mistake, such as a spot price above the on-demand price.
    pub warnings: Vec<Problem>,
}

/// What the text of a price file says, or every mistake in it.
pub fn parse(text: &str) -> Result<PricingFile, Vec<Problem>> {
    parse_beside(text, Some(&BUILT_IN_FILE.prices))
}

/// What the price file at `path` says, or why it cannot be read, or every mistake in it.
pub fn read(path: &Path) -> Result<PricingFile, Vec<Problem>> {
    parse(&text::read(path).map_err(|problem| vec![problem])?)
}

/// The list prices that are compiled in.
#[must_use]
pub fn built_in() -> PricingFile {
    BUILT_IN_FILE.clone()
}

/// All prices that are known when the operator wrote `file`.
#[must_use]
pub fn sheet(file: Option<PricingFile>) -> PriceSheet {
    let file = file.unwrap_or_default();
    let built_in = built_in();
    let mut model_costs = built_in.model_costs;
    model_costs.extend(file.model_costs);
    PriceSheet { file: file.prices, built_in: built_in.prices, model_costs }
}

/// Writes what is wrong with the price file at `path`, one mistake per line, or that nothing is; says whether it is
/// usable. Warnings do not make it unusable.
pub fn check(path: &Path, out: &mut impl Write) -> io::Result<bool> {
    let name = path.display().to_string();
    match read(path) {
        Ok(file) => {
            for warning in &file.warnings {
                writeln!(out, "{}", warning.as_warning_in_file(&name))?;
            }
            let gpu_models = counted(file.prices.models.len(), "GPU model");
            let model_costs = counted(file.model_costs.len(), "model cost");
            writeln!(out, "{name}: ok, {gpu_models}, {model_costs}")?;
            Ok(true)
        }
        Err(problems) => {
            for problem in &problems {
                writeln!(out, "{}", problem.in_file(&name))?;
            }
            Ok(false)
        }
    }
}

/// The built-in list, read once. A test proves that it loads; were it broken all the same, there would be no list
/// prices, and GPUs would be unpriced rather than the daemon dead.
static BUILT_IN_FILE: LazyLock<PricingFile> =
    LazyLock::new(|| parse_beside(BUILT_IN, None).unwrap_or_default());

fn parse_beside(text: &str, list: Option<&PriceTable>) -> Result<PricingFile, Vec<Problem>> {
    let text = text::plain(text).map_err(|problem| vec![problem])?;
    let root = tree::parse(text).map_err(|problem| vec![problem])?.ok_or_else(|| vec![nothing_in_it()])?;
    let warnings = rules::check(&root, list).into_result()?;
    let file = wire::read(text).map_err(|error| vec![disagreement(&error)])?;
    Ok(PricingFile { warnings, ..file })
}

fn nothing_in_it() -> Problem {
    Problem::of_file("expected a map with gpu_pricing or model_costs, found an empty file")
}

fn disagreement(error: &serde_yaml::Error) -> Problem {
    let location = error.location();
    Problem {
        line: location.as_ref().map(serde_yaml::Location::line),
        column: location.as_ref().map(serde_yaml::Location::column),
        key: String::new(),
        message: format!("expected YAML that can be read in one way only: {error}"),
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
