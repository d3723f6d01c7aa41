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
//!     │             format, rules ──▶ every mistake, or none and some warnings
//!     │                   │ none
//!     └── agreement ──────┤
//!                      meaning ──▶ what is meant: PricingFile ── sheet ──▶ cost::pricing::PriceSheet
//! ```
//!
//! Prices are counted in billionths of a dollar, from the digits as they were written. Anything that two YAML readers
//! might read differently is refused: anchors, merge keys, tags, keys that occur twice, invisible characters.

mod agreement;
mod catalogue;
mod conditions;
mod date;
mod electricity;
mod format;
mod grid;
mod last_good;
mod listed;
mod meaning;
mod plausible;
mod rules;
mod schema;
mod shape;
mod slips;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use ring::digest::{SHA256, digest};

use crate::cost::attribution::{MigShare, SharingPolicy};
use crate::cost::money::Rate;
use crate::cost::pricing::{
    Catalogue, Date, Discount, EnergyTerms, Grid, Override, PriceModel, PriceModelRule, PriceSheet,
    PriceTable, TokenPrices,
};
use crate::observation::Span;
use crate::yaml::{text, tree};

use self::listed::Listed;
use self::plausible::Known;

pub use self::last_good::LastGood;
pub use self::schema::json_schema;
pub use crate::yaml::problem::Problem;

/// How many bytes of a hash tell one file from another, for people who compare them.
const HASH_BYTES: usize = 8;

/// The price file that is compiled in.
const BUILT_IN: &str = include_str!("../pricing.yaml");

/// What `check` says of budgets, so that nobody waits for an alert that no node can raise.
const BUDGETS: &str = "for your alert rules: a node does not know what the others spend, so none is exported";

/// What one price file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PricingFile {
    /// What GPUs cost: `gpu_pricing`.
    pub prices: PriceTable,
    /// What tokens cost: `model_costs`, by model name.
    pub model_costs: BTreeMap<Arc<str>, TokenPrices>,
    /// What GPUs of some nodes cost: `overrides`.
    pub overrides: Vec<Override>,
    /// Labels that tell how a node was bought: `price_model_rules`.
    pub price_model_rules: Vec<PriceModelRule>,
    /// How a node was bought whose labels do not say so: `defaults.price_model`.
    pub usual_price_model: Option<PriceModel>,
    /// What was negotiated off list prices: `discounts`.
    pub discounts: Vec<Discount>,
    /// What one unit of a currency is worth, in billionths of a dollar: `exchange_rates`.
    pub exchange_rates: BTreeMap<Arc<str>, u64>,
    /// What GPUs that were bought cost per hour: `owned_hardware`, in the order of the file.
    pub owned_hardware: Vec<Server>,
    /// By what a MIG device's share is measured: `mig_share`.
    pub mig_share: Option<MigShare>,
    /// Who pays for free slots of a shared GPU: `sharing_policy`.
    pub sharing_policy: Option<SharingPolicy>,
    /// What energy costs and emits: `energy`.
    pub energy: Option<EnergyTerms>,
    /// What may be spent: `budgets`. No node knows what the others spend, so this is for those who write alert rules.
    pub budgets: Vec<Budget>,
    /// How many hours a month has where a price is told per month, in billionths: `defaults.hours_per_month`.
    pub hours_per_month: Option<u64>,
    /// What is allowed but looks like a mistake, such as a spot price above the on-demand price.
    pub warnings: Vec<Problem>,
}

/// A kind of server that was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What the file calls it.
    pub name: Arc<str>,
    /// The normalised model of its GPUs.
    pub gpu_model: Arc<str>,
    /// What an hour of one of them costs.
    pub rate: Rate,
}

/// What somebody may spend per month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose it is, by labels such as `namespace`.
    pub matching: Vec<(Arc<str>, Arc<str>)>,
    /// Billionths of a dollar.
    pub monthly: u64,
}

/// What the text of a price file says, or every mistake in it.
///
/// On a day, it also warns of old prices.
pub fn parse(text: &str, today: Option<Date>) -> Result<PricingFile, Vec<Problem>> {
    let catalogue = catalogue();
    parse_beside(text, Some(&Known::new(&BUILT_IN_FILE.prices, (&catalogue, &LISTED), today)))
}

/// What the price file at `path` says, or why it cannot be read, or every mistake in it.
pub fn read(path: &Path, today: Option<Date>) -> Result<PricingFile, Vec<Problem>> {
    parse(&text::read(path).map_err(|problem| vec![problem])?, today)
}

/// The first 16 digits that `sha256sum` shows of a file with this text, by which two files are told apart.
#[must_use]
pub fn hash(text: &str) -> Arc<str> {
    let hash = digest(&SHA256, text.as_bytes());
    let mut digits = String::new();
    for byte in hash.as_ref().iter().take(HASH_BYTES) {
        // A string takes whatever is written to it.
        let _ = write!(digits, "{byte:02x}");
    }
    digits.into()
}

/// The hash of the price file that is compiled in.
#[must_use]
pub fn built_in_hash() -> Arc<str> {
    hash(BUILT_IN)
}

/// The list prices that are compiled in.
#[must_use]
pub fn built_in() -> PricingFile {
    BUILT_IN_FILE.clone()
}

/// The list prices of instances that are compiled in.
#[must_use]
pub fn catalogue() -> Arc<Catalogue> {
    catalogue::built_in()
}

/// What a kWh emits in the regions that are compiled in.
#[must_use]
pub fn grid() -> Arc<Grid> {
    grid::built_in()
}

/// All prices that are known when the operator wrote `file`. Without a catalogue, instances have no list prices.
#[must_use]
pub fn sheet(file: Option<PricingFile>, catalogue: Option<Arc<Catalogue>>) -> PriceSheet {
    let file = file.unwrap_or_default();
    let built_in = built_in();
    let mut model_costs = built_in.model_costs;
    model_costs.extend(file.model_costs);
    PriceSheet {
        overrides: file.overrides,
        file: file.prices,
        catalogue,
        built_in: built_in.prices,
        price_model_rules: file.price_model_rules,
        usual_price_model: file.usual_price_model,
        discounts: file.discounts,
        model_costs,
        exchange_rates: file.exchange_rates,
        energy: file.energy,
        // A billionth of an hour is 3,600 ns.
        month: file.hours_per_month.map(|hours| Span::from_nanos(hours.saturating_mul(3_600))),
    }
}

/// Writes what is wrong with the price file at `path`, one mistake per line, or that nothing is; says whether it is
/// usable. Warnings do not make it unusable.
pub fn check(path: &Path, today: Date, out: &mut impl Write) -> io::Result<bool> {
    let name = path.display().to_string();
    match read(path, Some(today)) {
        Ok(file) => {
            for warning in &file.warnings {
                writeln!(out, "{}", warning.as_warning_in_file(&name))?;
            }
            let gpu_models = counted(file.prices.models.len(), "GPU model");
            let model_costs = counted(file.model_costs.len(), "model cost");
            writeln!(out, "{name}: ok, {gpu_models}, {model_costs}")?;
            for Server { name: server, gpu_model, rate } in &file.owned_hardware {
                writeln!(out, "{name}: {server}: {rate} $/h for one {gpu_model}")?;
            }
            if !file.budgets.is_empty() {
                writeln!(out, "{name}: {} {BUDGETS}", counted(file.budgets.len(), "budget"))?;
            }
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

/// What prices are held against. To make it takes longer than to read a file.
static LISTED: LazyLock<Listed> = LazyLock::new(|| Listed::of(&catalogue()));

fn parse_beside(text: &str, known: Option<&Known<'_>>) -> Result<PricingFile, Vec<Problem>> {
    let text = text::plain(text).map_err(|problem| vec![problem])?;
    let root = tree::parse(text).map_err(|problem| vec![problem])?.ok_or_else(|| vec![nothing_in_it()])?;
    let warnings = rules::check(&root, known).into_result()?;
    agreement::check(text, &root).map_err(|error| vec![disagreement(&error)])?;
    Ok(PricingFile { warnings, ..meaning::of(&root) })
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
