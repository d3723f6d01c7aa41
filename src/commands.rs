//! What is asked on a terminal and answered at once: which price a GPU has and why, and what the catalogue knows.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::args::{ListArgs, Output, PriceArgs};
use crate::cost::gpu_model;
use crate::cost::money::{GpuTime, Rate};
use crate::cost::pricing::{
    Catalogue, Instance, NodeFacts, NodePrices, Percent, PriceModel, PriceRule, PriceSheet, Quote,
};
use crate::observation::{Node, UnixTime};

/// The label of the instance type, the region and the zone.
const LABELS: [&str; 3] =
    ["node.kubernetes.io/instance-type", "topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// The labels that name a node's GPU: GPU feature discovery's and GKE's.
const GPU_LABELS: [&str; 2] = ["nvidia.com/gpu.product", "cloud.google.com/gke-accelerator"];

/// The columns of the catalogue. A GPU's price is on demand; the other prices are of all the GPUs of an instance.
const COLUMNS: [&str; 11] = [
    "GPU",
    "PROVIDER",
    "REGION",
    "INSTANCE TYPE",
    "GPUS",
    "PER GPU",
    "INSTANCE ON DEMAND",
    "INSTANCE SPOT",
    "INSTANCE 1 YEAR",
    "INSTANCE 3 YEARS",
    "AS OF",
];

/// A GPU whose price is asked for.
struct Asked {
    /// Its UUID; `None` for one that was only described.
    uuid: Option<Arc<str>>,
    model: Arc<str>,
}

/// Writes what a GPU of the described node costs, and why.
pub fn price(args: &PriceArgs, sheet: &PriceSheet, now: UnixTime, out: &mut impl Write) -> io::Result<()> {
    let facts = described(args, sheet, now);
    let model = named(args).or_else(|| instance_of(sheet, &facts).map(|it| Arc::clone(&it.gpu_model)));
    let asked = Asked { uuid: None, model: model.unwrap_or_else(|| gpu_model::of_product("")) };
    answer(&sheet.on(&facts, args.price_model), &facts, &[asked], args.output, out)
}

/// What of a described node looks like a slip, in sentences for people.
#[must_use]
pub fn what_looks_odd(args: &PriceArgs, sheet: &PriceSheet, now: UnixTime) -> Vec<String> {
    let facts = described(args, sheet, now);
    let instance = instance_of(sheet, &facts);
    let mut odd = Vec::new();
    match (named(args), instance) {
        (Some(gpu), Some(it)) if gpu != it.gpu_model => odd
            .push(format!("{} has {}, not {gpu}: the answer is about {gpu}", it.instance_type, it.gpu_model)),
        (None, None) => odd.push("which GPU is not known: name it with --gpu".to_owned()),
        _ => {}
    }
    if let Some(it) = instance {
        odd.extend(place_unknown(it, sheet, &facts));
        let whole = it.gpus.is_none() && args.gpu.is_none();
        let quote = sheet.on(&facts, args.price_model).quote(&it.gpu_model, 0);
        if whole && quote.is_some_and(|quote| quote.rule != PriceRule::Catalogue) {
            let it = &it.instance_type;
            odd.push(format!("{it} has a part of a GPU, and this is the price of a whole one"));
        }
    }
    odd
}

/// Why the catalogue has no price of an instance where it is, though it knows it elsewhere.
fn place_unknown(instance: &Instance, sheet: &PriceSheet, facts: &NodeFacts) -> Option<String> {
    let Some(region) = facts.region.as_deref() else {
        return Some("the list price of an instance depends on its region: name it with --region".to_owned());
    };
    let regions: Vec<&str> = sheet
        .catalogue
        .iter()
        .flat_map(|it| it.of_type(&instance.instance_type))
        .map(|it| &*it.region)
        .collect();
    if regions.iter().any(|known| known.eq_ignore_ascii_case(region)) {
        return None;
    }
    let some = regions.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let more = regions.len().saturating_sub(3);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("the catalogue has {} in {some}{more}, not in {region}", instance.instance_type))
}

/// The GPU that was named, by the flag or else by a label.
fn named(args: &PriceArgs) -> Option<Arc<str>> {
    let labelled = |key: &str| args.labels.iter().find(|(name, _)| name == key).map(|(_, value)| &**value);
    let name = args.gpu.as_deref().or_else(|| GPU_LABELS.into_iter().find_map(labelled));
    name.map(gpu_model::of_product)
}

/// Writes what the GPUs of a real node cost, and why; each is given by its UUID and its product name.
pub fn price_of_node(
    args: &PriceArgs,
    sheet: &PriceSheet,
    (node, now): (&Arc<Node>, UnixTime),
    gpus: &[(Arc<str>, Arc<str>)],
    out: &mut impl Write,
) -> io::Result<()> {
    let facts = NodeFacts::of(node, gpus.len(), now, sheet.catalogue.as_deref());
    let by_uuid: BTreeMap<&Arc<str>, &Arc<str>> =
        gpus.iter().map(|(uuid, product)| (uuid, product)).collect();
    let asked = |(uuid, product): (&Arc<str>, &Arc<str>)| Asked {
        uuid: Some(Arc::clone(uuid)),
        model: gpu_model::of_product(product),
    };
    let asked: Vec<Asked> = by_uuid.into_iter().map(asked).collect();
    answer(&sheet.on(&facts, args.price_model), &facts, &asked, args.output, out)
}

/// Writes rows of the catalogue, sorted by GPU model, provider, region and instance type.
pub fn list(args: &ListArgs, catalogue: &Catalogue, out: &mut impl Write) -> io::Result<()> {
    let model = args.gpu.as_deref().map(gpu_model::of_product);
    let mut rows: Vec<&Arc<Instance>> = catalogue
        .instances()
        .filter(|it| is(model.as_deref(), &it.gpu_model))
        .filter(|it| is(args.provider.as_deref(), &it.provider) && is(args.region.as_deref(), &it.region))
        .collect();
    let key = |it: &Instance| [&it.gpu_model, &it.provider, &it.region, &it.instance_type].map(Arc::clone);
    rows.sort_by_cached_key(|it| key(it));
    match args.output {
        Output::Json => write_json(&rows.into_iter().map(|it| row_as_json(it)).collect(), out),
        Output::Table if rows.is_empty() => Ok(()),
        Output::Table => {
            let mut table = vec![COLUMNS.map(str::to_owned).to_vec()];
            table.extend(rows.into_iter().map(|it| row_as_cells(it)));
            write_table(&table, out)
        }
    }
}

/// Why nothing of the catalogue is listed, in a sentence for people; `None` if something is.
#[must_use]
pub fn why_nothing_is_listed(args: &ListArgs, catalogue: &Catalogue) -> Option<String> {
    let model = args.gpu.as_deref().map(gpu_model::of_product);
    let (model, provider, region) = (model.as_deref(), args.provider.as_deref(), args.region.as_deref());
    let fits = |model, provider, region| {
        let fits = |it: &Arc<Instance>| {
            is(model, &it.gpu_model) && is(provider, &it.provider) && is(region, &it.region)
        };
        catalogue.instances().any(fits)
    };
    let none = |fits: bool, what: &str, wanted: Option<&str>| {
        (!fits).then(|| format!("no instance of the catalogue {what} {}", wanted.unwrap_or_default()))
    };
    if catalogue.instances().next().is_none() {
        return Some("the catalogue is off".to_owned());
    }
    none(fits(model, None, None), "has the GPU", model)
        .or_else(|| none(fits(None, provider, None), "is of the provider", provider))
        .or_else(|| none(fits(None, None, region), "is in the region", region))
        .or_else(|| none(fits(model, provider, region), "fits all that was asked", None))
        .map(|line| line.trim_end().to_owned())
}

/// Whether what was found is what is wanted, if anything is, however its case was written.
fn is(wanted: Option<&str>, found: &str) -> bool {
    wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
}

/// The node that the flags describe.
fn described(args: &PriceArgs, sheet: &PriceSheet, now: UnixTime) -> NodeFacts {
    let mut labels: BTreeMap<Arc<str>, Arc<str>> =
        args.labels.iter().map(|(key, value)| (Arc::from(&**key), Arc::from(&**value))).collect();
    for (key, value) in LABELS.into_iter().zip([&args.instance_type, &args.region, &args.zone]) {
        if let Some(value) = value {
            labels.insert(Arc::from(key), Arc::from(&**value));
        }
    }
    let node = Arc::new(Node { name: Arc::default(), labels: labels.into_iter().collect() });
    let gpus = args.gpus.unwrap_or_default().into();
    let facts = NodeFacts::of(&node, gpus, now, sheet.catalogue.as_deref());
    // A node has as many as its type, unless somebody says otherwise.
    let of_type = instance_of(sheet, &facts).and_then(|it| it.gpus).unwrap_or_default();
    let facts = NodeFacts { gpus: args.gpus.map_or(of_type, u32::from), ..facts };
    let provider = args.provider.as_ref().map(|name| Arc::from(name.to_ascii_lowercase()));
    NodeFacts { provider: provider.or(facts.provider), ..facts }
}

fn instance_of<'a>(sheet: &'a PriceSheet, facts: &NodeFacts) -> Option<&'a Arc<Instance>> {
    let instance_type = facts.instance_type.as_deref()?;
    let catalogue = sheet.catalogue.as_ref()?;
    catalogue.of_type(instance_type).next()
}

fn answer(
    prices: &NodePrices<'_>,
    facts: &NodeFacts,
    asked: &[Asked],
    output: Output,
    out: &mut impl Write,
) -> io::Result<()> {
    let quotes: Vec<(&Asked, Option<Quote>)> =
        asked.iter().enumerate().map(|(position, it)| (it, prices.quote(&it.model, position))).collect();
    match output {
        Output::Json => {
            let mut answers =
                quotes.iter().map(|(asked, quote)| quote_as_json(asked, quote.as_ref(), prices, facts));
            let described = quotes.first().is_some_and(|(asked, _)| asked.uuid.is_none());
            // One question has one answer; a node has a list of them.
            let value = if described { answers.next().unwrap_or_default() } else { answers.collect() };
            write_json(&value, out)
        }
        Output::Table => {
            for (asked, quote) in &quotes {
                write_table(&quote_as_cells(asked, quote.as_ref(), prices, facts), out)?;
            }
            if quotes.is_empty() {
                writeln!(out, "no GPU was found here; describe one with --gpu or --instance-type")?;
            }
            Ok(())
        }
    }
}

fn quote_as_json(asked: &Asked, quote: Option<&Quote>, prices: &NodePrices<'_>, facts: &NodeFacts) -> Value {
    let dollars = |rate: Option<Rate>| rate.map(Rate::dollars_per_hour);
    json!({
        "gpu_uuid": asked.uuid.as_deref(),
        "gpu_model": &*asked.model,
        "dollars_per_hour": dollars(quote.map(|quote| quote.effective)),
        "list_dollars_per_hour": dollars(quote.and_then(|quote| quote.list)),
        "dollars_per_month": quote.map(|quote| quote.effective.over(prices.month()).dollars()),
        "price_model": quote.map(|quote| quote.price_model.as_str()),
        "wanted_price_model": prices.wanted(&asked.model).as_str(),
        "fell_back": quote.map(|quote| quote.fell_back),
        "discount_percent": quote.map(|quote| quote.discount.percent()),
        "rule": quote.map_or_else(|| "unpriced".to_owned(), Quote::rule_in_full),
        "as_of": quote.and_then(|quote| quote.as_of).map(|day| day.to_string()),
        "source": quote.and_then(|quote| quote.source.as_deref()),
        "provider": facts.provider.as_deref(),
        "region": facts.region.as_deref(),
        "zone": facts.zone.as_deref(),
        "instance_type": facts.instance_type.as_deref(),
        "capacity_type": prices.capacity_type().map(|it| it.name),
        "capacity_type_label": prices.capacity_type().map(|it| &*it.label),
    })
}

fn quote_as_cells(
    asked: &Asked,
    quote: Option<&Quote>,
    prices: &NodePrices<'_>,
    facts: &NodeFacts,
) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let uuid = asked.uuid.as_deref().map(|uuid| format!(" ({uuid})")).unwrap_or_default();
    let mut table = vec![row("GPU", format!("{}{uuid}", asked.model))];
    let told = [&facts.provider, &facts.region, &facts.zone, &facts.instance_type];
    let node: Vec<&str> = told.into_iter().flatten().map(|fact| &**fact).collect();
    table.push(row(
        "node",
        if node.is_empty() { "nothing is known of it".to_owned() } else { node.join(", ") },
    ));
    let wanted = prices.wanted(&asked.model).as_str();
    let by = prices.capacity_type().filter(|it| it.price_model.as_str() == wanted);
    let by = by.map(|it| format!(" (its label {} says {})", it.label, it.name));
    table.push(row("bought", format!("{wanted}{}", by.unwrap_or_default())));
    let Some(quote) = quote else {
        table.push(row("price", "none is known: the GPU is unpriced".to_owned()));
        return table;
    };
    let instead = if quote.fell_back { format!(", since {wanted} has no price") } else { String::new() };
    let discount = if quote.discount == Percent::ZERO { "" } else { ", less a discount" };
    let price = quote.effective;
    table.push(row("price", format!("{price} $/h, {}{instead}{discount}", quote.price_model.as_str())));
    let month = prices.month();
    let hours = GpuTime::from_nanos(u128::from(month.as_nanos()) / 3_600);
    table.push(row("per month", format!("{} $ in {hours} h", quote.effective.over(month))));
    table.push(row("list price", quote.list.map_or_else(|| "-".to_owned(), |list| format!("{list} $/h"))));
    table.push(row("rule", quote.rule_in_full()));
    table.push(row("source", quote.source.as_deref().unwrap_or("-").to_owned()));
    table.push(row("as of", quote.as_of.map_or_else(|| "-".to_owned(), |day| day.to_string())));
    table
}

fn row_as_json(row: &Instance) -> Value {
    let price = |model| row.prices.under(model).map(Rate::dollars_per_hour);
    let per_gpu = row.prices.on_demand.map(|whole| row.per_gpu(whole).dollars_per_hour());
    json!({
        "gpu_model": &*row.gpu_model,
        "provider": &*row.provider,
        "region": &*row.region,
        "instance_type": &*row.instance_type,
        "gpus": row.gpus,
        "on_demand_dollars_per_hour": price(PriceModel::OnDemand),
        "on_demand_dollars_per_gpu_hour": per_gpu,
        "spot_dollars_per_hour": price(PriceModel::Spot),
        "reserved_1y_dollars_per_hour": price(PriceModel::Reserved1y),
        "reserved_3y_dollars_per_hour": price(PriceModel::Reserved3y),
        "as_of": row.prices.oldest().map(|day| day.to_string()),
    })
}

fn row_as_cells(row: &Instance) -> Vec<String> {
    let price = |model| row.prices.under(model).map_or_else(|| "-".to_owned(), |rate| rate.to_string());
    let models = [PriceModel::OnDemand, PriceModel::Spot, PriceModel::Reserved1y, PriceModel::Reserved3y];
    let names = [&row.gpu_model, &row.provider, &row.region, &row.instance_type].map(ToString::to_string);
    let per_gpu = row.prices.on_demand.map_or_else(|| "-".to_owned(), |it| row.per_gpu(it).to_string());
    let gpus = row.gpus.map_or_else(|| "part".to_owned(), |gpus| gpus.to_string());
    let day = row.prices.oldest().map_or_else(|| "-".to_owned(), |day| day.to_string());
    names.into_iter().chain([gpus, per_gpu]).chain(models.map(price)).chain([day]).collect()
}

fn write_json(value: &Value, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Writes rows whose columns stand below each other.
fn write_table(rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
