//! What may be asked about prices.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::{Switch, price_model};
use crate::cost::pricing::PriceModel;

/// A question about a price.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PriceArgs {
    /// Another question.
    #[command(subcommand)]
    pub list: Option<PriceCommand>,

    /// The GPU, by any of its names. [default: those of this node, or as the label or the instance type says]
    #[arg(long, value_name = "NAME")]
    pub gpu: Option<String>,

    /// How many GPUs the node has. [default: as many as its instance type has]
    #[arg(long, value_name = "COUNT")]
    pub gpus: Option<u16>,

    /// Who rents the node out, such as aws. [default: as its labels and its instance type say]
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,

    /// The region of the node.
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,

    /// The zone of the node.
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,

    /// The instance type of the node.
    #[arg(long = "instance-type", value_name = "NAME")]
    pub instance_type: Option<String>,

    /// A label of the node. May be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label, action = ArgAction::Append)]
    pub labels: Vec<(String, String)>,

    /// How the node was bought, whatever its labels say.
    #[arg(long = "price-model", value_name = "MODEL", value_parser = price_model())]
    pub price_model: Option<PriceModel>,

    /// Which prices are asked.
    #[command(flatten)]
    pub sheet: SheetArgs,

    /// How to answer.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub output: Output,
}

/// Another question about prices.
#[derive(Clone, Debug, Subcommand)]
pub enum PriceCommand {
    /// List the catalogue: what whole instances with all their GPUs cost per hour, and one of these GPUs on demand.
    List(ListArgs),
}

/// Which rows of the catalogue.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Only this GPU, by any of its names.
    #[arg(long, value_name = "NAME")]
    pub gpu: Option<String>,

    /// Only this provider.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,

    /// Only this region.
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,

    /// Which prices are asked.
    #[command(flatten)]
    pub sheet: SheetArgs,

    /// How to answer.
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub output: Output,
}

/// Which prices are asked, where that was not said before the command.
#[derive(Clone, Debug, Args)]
pub struct SheetArgs {
    /// Your prices. [default: as without the command]
    #[arg(long = "pricing.file", value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Whether to know the list prices of instances. [default: on]
    #[arg(long = "pricing.catalogue", value_name = "WHETHER")]
    pub catalogue: Option<Switch>,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    Table,
    /// JSON for machines: one answer about a GPU that was described, a list of them about this node's.
    Json,
}

// === impl PriceArgs ===

impl PriceArgs {
    /// Which prices are asked.
    #[must_use]
    pub fn sheet(&self) -> &SheetArgs {
        match &self.list {
            Some(PriceCommand::List(list)) => &list.sheet,
            None => &self.sheet,
        }
    }

    /// Whether the node that is meant is this one, since nothing was said of another.
    #[must_use]
    pub fn is_about_this_node(&self) -> bool {
        let Self {
            list,
            gpu,
            gpus,
            provider,
            region,
            zone,
            instance_type,
            labels,
            price_model: _,
            sheet: _,
            output: _,
        } = self;
        let named = [gpu, provider, region, zone, instance_type].into_iter().any(Option::is_some);
        list.is_none() && !named && gpus.is_none() && labels.is_empty()
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected a label such as karpenter.sh/capacity-type=spot".to_owned()),
    }
}
