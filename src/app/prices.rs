//! What is asked about prices.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use tokio::sync::watch;
use tracing::warn;

use super::{DRIVER_STALL, Parts, await_description, description, node_name};
use crate::apiserver::Reading;
use crate::args::{Args, MOUNTED_PRICES, PriceArgs, PriceCommand, Switch};
use crate::clock;
use crate::commands;
use crate::cost::pricing::Catalogue;
use crate::errors;
use crate::nvml;
use crate::observation::Node;
use crate::pricing_file::{self, PricingFile};

/// Answers a question about prices.
pub async fn price(args: Args, question: PriceArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let asked = question.sheet();
    let file = given_or_mounted(asked.file.clone().or(args.pricing_file.clone()));
    let read = file.map(|path| read_or_refuse(&path)).transpose()?;
    let sheet = pricing_file::sheet(read, catalogue(asked.catalogue.unwrap_or(args.pricing_catalogue)));
    if let Some(PriceCommand::List(list)) = &question.list {
        let catalogue = sheet.catalogue.unwrap_or_default();
        tell(commands::why_nothing_is_listed(list, &catalogue));
        return Ok(commands::list(list, &catalogue, out)?);
    }
    let question = PriceArgs { price_model: question.price_model.or(args.pricing_model), ..question };
    if !question.is_about_this_node() {
        let now = clock::wall();
        tell(commands::what_looks_odd(&question, &sheet, now));
        return Ok(commands::price(&question, &sheet, now, out)?);
    }
    let (node, gpus) = this_node(&args).await;
    Ok(commands::price_of_node(&question, &sheet, (&node, clock::wall()), &gpus, out)?)
}

/// Tells people something that is no part of the answer.
fn tell(lines: impl IntoIterator<Item = String>) {
    for line in lines {
        // There is nobody left to tell when the terminal is gone.
        let _ = writeln!(io::stderr(), "{line}");
    }
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
    let reading = watch::Sender::new(Reading::default()).subscribe();
    let described = description(args, &node, reading, &Arc::default(), &mut parts);
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

pub(super) fn catalogue(wanted: Switch) -> Option<Arc<Catalogue>> {
    (wanted == Switch::On).then(pricing_file::catalogue)
}
