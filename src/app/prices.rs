//! The prices in force, and what is asked about them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use tracing::{info, warn};

use super::{DRIVER_STALL, Parts, await_description, description, node_name};
use crate::apiserver::LabelPolicy;
use crate::args::{Args, MOUNTED_PRICES, PriceArgs, PriceCommand, Switch};
use crate::clock;
use crate::commands;
use crate::cost::attribution::{MigShare, SharingPolicy};
use crate::cost::pricing::{Catalogue, Date, PriceSheet};
use crate::demo;
use crate::errors;
use crate::nvml;
use crate::observation::Node;
use crate::pricing_file::{self, PricingFile};
use crate::status::{Mode, PricingStatus, Source, SourceStatus};

/// The prices in force, and what else is written in their file.
pub(super) struct Prices {
    /// The operator's prices over the built-in ones, or those alone if the operator's cannot be read.
    pub(super) sheet: Arc<PriceSheet>,
    /// How large the share of a MIG device is; `None` if the file does not say.
    pub(super) mig_share: Option<MigShare>,
    /// Who pays for free slots of a shared device; `None` if the file does not say.
    pub(super) sharing_policy: Option<SharingPolicy>,
    /// How reading the file went.
    pub(super) status: PricingStatus,
}

/// Answers a question about prices.
pub async fn price(args: Args, question: PriceArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let read = given_or_mounted(args.pricing_file.clone()).map(|path| read_or_refuse(&path)).transpose()?;
    let sheet = pricing_file::sheet(read, catalogue(args.pricing_catalogue));
    if let Some(PriceCommand::List(list)) = &question.list {
        return Ok(commands::list(list, &sheet.catalogue.unwrap_or_default(), out)?);
    }
    let question = PriceArgs { price_model: question.price_model.or(args.pricing_model), ..question };
    if !question.is_about_this_node() {
        return Ok(commands::price(&question, &sheet, clock::wall(), out)?);
    }
    let (node, gpus) = this_node(&args).await;
    Ok(commands::price_of_node(&question, &sheet, (&node, clock::wall()), &gpus, out)?)
}

/// What the price file says, or every mistake in it.
fn read_or_refuse(path: &Path) -> anyhow::Result<PricingFile> {
    pricing_file::read(path, None).map_err(|problems| {
        let name = path.display().to_string();
        let lines: Vec<String> = problems.iter().map(|problem| problem.in_file(&name)).collect();
        anyhow!("{}", lines.join("\n"))
    })
}

/// This node as the API server describes it, and the UUIDs and names of its GPUs as the driver shows them.
async fn this_node(args: &Args) -> (Arc<Node>, Vec<(Arc<str>, Arc<str>)>) {
    let node = node_name(args);
    let mut parts = Parts::new();
    // No price depends on who pays.
    let described = description(args, &node, LabelPolicy::default(), &Arc::default(), &mut parts);
    await_description(described.clone()).await;
    let settings =
        nvml::Settings { library: args.nvml_library.clone(), stall_after: DRIVER_STALL, processes: false };
    let reading = nvml::Driver::start(settings).read(clock::wall(), DRIVER_STALL).await;
    for error in &reading.errors {
        warn!("{}", errors::chain(error));
    }
    let gpus = reading.gpus.unwrap_or_default().into_iter().map(|gpu| (gpu.uuid, gpu.product));
    let nameless = || Arc::new(Node { name: node, labels: Vec::new() });
    (described.map_or_else(nameless, |latest| Arc::clone(&latest.borrow().node)), gpus.collect())
}

/// The price file that was named, or else the one that is mounted.
fn given_or_mounted(file: Option<PathBuf>) -> Option<PathBuf> {
    file.or_else(|| Some(PathBuf::from(MOUNTED_PRICES)).filter(|path| path.exists()))
}

fn catalogue(wanted: Switch) -> Option<Arc<Catalogue>> {
    (wanted == Switch::On).then(pricing_file::catalogue)
}

/// All prices that are in force. A simulated node has energy at a price that is as made up as the node, unless the
/// operator wrote one; no real node ever has.
fn sheet(file: Option<PricingFile>, catalogue: Option<Arc<Catalogue>>, mode: Mode) -> PriceSheet {
    let sheet = pricing_file::sheet(file, catalogue);
    let made_up = || pricing_file::parse(demo::PRICING, None).ok()?.energy;
    let energy = if mode == Mode::Demo { sheet.energy.or_else(made_up) } else { sheet.energy };
    PriceSheet { energy, ..sheet }
}

// === impl Prices ===

impl Prices {
    /// Reads the price file, if there is one, and tells what is wrong with it.
    pub(super) fn read(file: Option<PathBuf>, wanted: Switch, mode: Mode) -> Self {
        let catalogue = catalogue(wanted);
        let Some(path) = given_or_mounted(file) else {
            return Self {
                sheet: Arc::new(sheet(None, catalogue, mode)),
                mig_share: None,
                sharing_policy: None,
                status: PricingStatus { file: None, last_reload_successful: true, problems: Vec::new() },
            };
        };
        let name: Arc<str> = path.display().to_string().into();
        let (read, problems) = match read_and_tell(&path, &name) {
            Ok(read) => (Some(read), Vec::new()),
            Err(problems) => (None, problems),
        };
        Self {
            mig_share: read.as_ref().and_then(|read| read.mig_share),
            sharing_policy: read.as_ref().and_then(|read| read.sharing_policy),
            status: PricingStatus { file: Some(name), last_reload_successful: read.is_some(), problems },
            sheet: Arc::new(sheet(read, catalogue, mode)),
        }
    }

    /// The price file as a source, just read. What is wrong with it is told in the price sheet's own status.
    pub(super) fn source(&self) -> SourceStatus {
        let up = self.status.last_reload_successful;
        SourceStatus {
            source: Source::Pricing,
            up,
            last_success: up.then(clock::wall),
            errors: u64::try_from(self.status.problems.len()).unwrap_or(u64::MAX),
            duration: None,
            message: None,
        }
    }
}

/// What the price file says, or every mistake in it; either is told in the log.
fn read_and_tell(path: &Path, name: &Arc<str>) -> Result<PricingFile, Vec<Arc<str>>> {
    let read = pricing_file::read(path, Some(Date::of(clock::wall()))).map_err(|problems| {
        problems.iter().map(|problem| problem.in_file(name).into()).collect::<Vec<Arc<str>>>()
    });
    match &read {
        Ok(read) => {
            for warning in &read.warnings {
                warn!("{}", warning.as_warning_in_file(name));
            }
            info!(file = %name, "prices are read");
        }
        Err(problems) => {
            for problem in problems {
                warn!("{problem}");
            }
            warn!(file = %name, "the built-in prices are in force: correct the file and restart");
        }
    }
    read
}
