//! The tables: GPUs, pods, who pays.
//!
//! On a narrow screen each row becomes a card whose cells say their column themselves; the roles keep them a table for
//! who listens to the page.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::words::{self, DASH, Split};
use crate::cost::money::GpuTime;
use crate::cost::pricing::{PriceModel, PriceRule, Quote};
use crate::cost::report::{DeviceLine, HoldingLine, PodLine, Report, Sharing, State, Totals};
use crate::ledger_json::{self, Device, Holding};
use crate::observation::{Gpu, Mig, Ppm};
use crate::why;

/// How many rows people still read; the metrics have them all.
const ROWS_SHOWN: usize = 200;

/// A column: its title and what is in it.
type Column = (&'static str, Content);

/// What is in a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Text,
    Number,
    /// What needs all the width that a card has.
    Wide,
}

/// What a table is about.
struct Table<'a> {
    id: &'a str,
    title: &'a str,
    columns: &'a [Column],
    /// What is said instead of a table without rows.
    without_rows: &'a str,
}

impl Table<'_> {
    fn render<T>(&self, lines: &[T], row: impl Fn(&T) -> Markup) -> Markup {
        let more = lines.len().saturating_sub(ROWS_SHOWN);
        html! {
            section.card {
                h2 #(self.id) { (self.title) }
                @if lines.is_empty() { p.note { (self.without_rows) } } @else {
                    div.scroll {
                        table role="table" aria-labelledby=(self.id) {
                            thead role="rowgroup" { tr role="row" { @for column in self.columns { (title(*column)) } } }
                            tbody role="rowgroup" { @for line in lines.iter().take(ROWS_SHOWN) { (row(line)) } }
                        }
                    }
                }
                @if more > 0 { p.note { "and " (more) " more, all of them in the metrics" } }
            }
        }
    }
}

fn title((column, content): Column) -> Markup {
    html! { th.num[content == Content::Number] role="columnheader" scope="col" { (column) } }
}

fn head(content: &Markup) -> Markup {
    html! { th role="rowheader" scope="row" { (content) } }
}

fn cell((column, kind): Column, content: &Markup) -> Markup {
    html! {
        td.num[kind == Content::Number].wide[kind == Content::Wide] role="cell" data-label=(column) {
            div { (content) }
        }
    }
}

// === GPUs ===

const GPU: Column = ("GPU", Content::Text);
const PRICE: Column = ("Price", Content::Number);
const UTILIZATION: Column = ("Utilization", Content::Number);
const MEMORY: Column = ("Memory", Content::Number);
const POWER: Column = ("Power", Content::Number);
const HOLDERS: Column = ("Held by", Content::Wide);
const COST: Column = ("Cost so far", Content::Number);
const SPLIT: Column = ("Where it went", Content::Wide);

/// The GPUs, in the order of the driver.
pub(super) fn gpus(report: &Report) -> Markup {
    let ledger = ledger_json::devices(report);
    let mut lines: Vec<(&DeviceLine, Device)> = report.devices.iter().zip(ledger).collect();
    lines.sort_by_key(|(line, _)| line.gpu.index);
    let table = Table {
        id: "gpus",
        title: "GPUs",
        columns: &[GPU, PRICE, UTILIZATION, MEMORY, POWER, HOLDERS, COST, SPLIT],
        without_rows: "The driver shows no GPU on this node.",
    };
    table.render(&lines, |(line, device)| gpu_row(line, device))
}

fn gpu_row(line: &DeviceLine, device: &Device) -> Markup {
    let gpu = &*line.gpu;
    let memory =
        gpu.memory.map(|memory| (words::gib(memory.used), format!("of {} GiB", words::gib(memory.total))));
    let limit = gpu.power_limit_milliwatts.map(|limit| format!("of {} W", words::watts(limit)));
    let power = gpu.power_milliwatts.map(|power| (words::watts(power), limit.unwrap_or_else(|| "W".into())));
    html! {
        tr.fault[line.fault.is_some()] role="row" {
            (head(&gpu_name(line)))
            (cell(PRICE, &quote(line.quote.as_ref())))
            (cell(UTILIZATION, &meter(gpu.activity.utilization, device)))
            (cell(MEMORY, &of_total(memory)))
            (cell(POWER, &of_total(power)))
            (cell(HOLDERS, &holders(line, device)))
            (cell(COST, &total(&line.totals)))
            (cell(SPLIT, &split_bar(&line.totals)))
        }
    }
}

fn gpu_name(line: &DeviceLine) -> Markup {
    html! {
        span.model title=(line.gpu.uuid) { span.index { (line.gpu.index) } (line.gpu_model) }
        span.sub title=(line.gpu.product) { (sharing(line)) }
        @if let Some(fault) = line.fault { span.alarm { (words::fault(fault)) } }
        @for xid in &line.xids {
            span.xid title="Critical error of the driver" { "XID " (xid.code) " × " (xid.count) }
        }
    }
}

fn sharing(line: &DeviceLine) -> &'static str {
    match line.sharing {
        Sharing::Exclusive => "one holder at a time",
        Sharing::Mig => "cut into MIG devices",
        Sharing::TimeSlicing => "time-sliced",
        Sharing::Mps => "shared by MPS",
        Sharing::Fractional if line.overcommitted => "shared in fractions, more promised than there is",
        Sharing::Fractional => "shared in fractions",
    }
}

fn quote(quote: Option<&Quote>) -> Markup {
    let Some(quote) = quote else { return html! { span.alarm { "no price" } } };
    let rule = match quote.rule {
        PriceRule::Override => "your price for such nodes",
        PriceRule::File => "your price",
        PriceRule::Catalogue => "list price of the instance",
        PriceRule::BuiltIn => "list price",
        PriceRule::FileDefault => "your default",
    };
    let model = match quote.price_model {
        PriceModel::OnDemand => "on demand",
        PriceModel::Spot => "spot",
        PriceModel::Reserved1y => "reserved 1 year",
        PriceModel::Reserved3y => "reserved 3 years",
        PriceModel::SavingsPlan => "savings plan",
        PriceModel::CapacityBlock => "capacity block",
        PriceModel::FlexStart => "flex start",
        PriceModel::Owned => "owned",
    };
    html! {
        (words::price(quote.effective))
        span.sub title=(quote.rule_in_full()) { (model) ", " (rule) @if quote.fell_back { " (no other is known)" } }
    }
}

fn meter(utilization: Option<Ppm>, device: &Device) -> Markup {
    let Some(utilization) = utilization else {
        return html! { span title="The driver cannot say" { (DASH) } };
    };
    let percent = words::ppm(utilization);
    let width = format!("width:{}%", utilization.get() / 10_000);
    html! { span title=(why::source(device)) { (percent) } span.meter aria-hidden="true" { span style=(width) {} } }
}

fn of_total(value: Option<(String, String)>) -> Markup {
    html! { @if let Some((value, total)) = value { (value) span.sub { (total) } } @else { (DASH) } }
}

/// Who holds which part and why, and of the rest in which way it is not held.
fn holders(line: &DeviceLine, device: &Device) -> Markup {
    let holdings = || line.holdings.iter().zip(&device.holdings);
    html! {
        @if line.holdings.is_empty() && line.unheld.is_empty() { (DASH) } @else {
            ul.holders {
                @for (holding, why) in holdings() {
                    li {
                        (fraction(holding.share))
                        span {
                            (holding.namespace) "/" wbr; (holding.pod) (profile(&line.gpu, holding))
                            (reasons(device, why))
                        }
                    }
                }
                @for (state, part) in &line.unheld {
                    li.nobody { (fraction(*part)) span { (state.as_str()) } }
                }
            }
        }
    }
}

/// The steps from what a container asked for to its last charge; its name lets the script keep it open.
fn reasons(device: &Device, holding: &Holding) -> Markup {
    let Holding { namespace, pod, mig_uuid, .. } = holding;
    let name = [&device.uuid, mig_uuid.as_deref().unwrap_or_default(), namespace, pod].join("/");
    html! {
        details.why data-why=(name) {
            summary { "why?" }
            ul { @for step in why::steps(device, holding) { li { (step) } } }
        }
    }
}

fn fraction((part, whole): (u64, u64)) -> Markup {
    html! { span.share { @if part == whole { "all" } @else { (part) "/" (whole) } } }
}

/// The profile of the MIG device that is held.
fn profile(gpu: &Gpu, holding: &HoldingLine) -> Markup {
    let Mig::Enabled(partition) = &gpu.mig else { return html! {} };
    let device = partition.devices.iter().find(|device| Some(&device.uuid) == holding.mig_device.as_ref());
    html! { @if let Some(device) = device { " " span.profile { (device.profile) } } }
}

// === pods ===

const POD: Column = ("Pod", Content::Text);
const TEAM: Column = ("Team", Content::Text);
const GPUS: Column = ("GPUs now", Content::Number);
const RATE: Column = ("Costs now", Content::Number);
const IDLE: Column = ("Idle", Content::Number);
const WASTE: Column = ("Waste", Content::Number);

/// The pods, the most expensive first.
pub(super) fn pods(report: &Report) -> Markup {
    let mut lines: Vec<&PodLine> = report.pods.iter().collect();
    // Those without a price have no cost to be sorted by; their time says how much there is to find out.
    let spent = |line: &PodLine| (line.account.totals.total_cost(), line.account.totals.total_time());
    lines.sort_by_key(|line| std::cmp::Reverse(spent(line)));
    let mut unheld = report.devices.iter().flat_map(|line| &line.unheld);
    let is_unattributed = unheld.any(|(state, _)| *state == State::Unattributed);
    let table = Table {
        id: "pods",
        title: "Pods",
        columns: &[POD, TEAM, GPUS, RATE, COST, IDLE, WASTE, SPLIT],
        without_rows: if is_unattributed {
            "Nobody can be named: the kubelet does not say, or not readably, which pod holds a GPU."
        } else {
            "No pod holds a GPU."
        },
    };
    table.render(&lines, |line| pod_row(line))
}

fn pod_row(line: &PodLine) -> Markup {
    let unpriced = line.rate.nanos_per_hour() == 0 && line.unpriced_gpus > 0;
    let totals = &line.account.totals;
    let money = Split::of_cost(totals);
    html! {
        tr.ended[!line.live] role="row" {
            (head(&pod_name(line)))
            (cell(TEAM, &or_dash(&line.account.description.labels.team)))
            (cell(GPUS, &html! { @if line.live { (words::gpus(line.gpus_nanos)) } @else { (DASH) } }))
            (cell(RATE, &html! {
                @if unpriced { span.alarm { "no price" } }
                @else if line.live { (words::dollars(line.rate.dollars_per_hour())) "/h" }
                @else { (DASH) }
            }))
            (cell(COST, &total(totals)))
            (cell(IDLE, &idle(totals)))
            (cell(WASTE, &waste(money.held_waste(), &money)))
            (cell(SPLIT, &split_bar(totals)))
        }
    }
}

fn pod_name(line: &PodLine) -> Markup {
    html! {
        span.namespace { (line.namespace) "/" } wbr; (line.pod)
        span.sub {
            @if line.live { "live" } @else { "ended" }
            @if let Some(workload) = &line.account.description.workload { " · " (workload.kind) " " (workload.name) }
        }
    }
}

// === who pays ===

const PAYER: Column = ("Namespace", Content::Text);
const TIME: Column = ("GPU time", Content::Number);
const PART: Column = ("Of the bill", Content::Number);

/// What one namespace's team has cost.
#[derive(Default)]
struct Payer {
    money: Split,
    time: GpuTime,
    unpriced_time: GpuTime,
}

/// Who pays, the largest bill first.
pub(super) fn payers(report: &Report) -> Markup {
    let mut payers: BTreeMap<(&str, &str), Payer> = BTreeMap::new();
    for line in &report.showback {
        let payer = payers.entry((&line.payer.namespace, &line.payer.labels.team)).or_default();
        payer.money = [payer.money, Split::of_cost(&line.totals)].into_iter().sum();
        payer.time += line.totals.total_time();
        if !is_priced(&line.totals) {
            payer.unpriced_time += line.totals.total_time();
        }
    }
    let mut payers: Vec<_> = payers.into_iter().collect();
    payers.sort_by_key(|(_, payer)| std::cmp::Reverse((payer.money.total(), payer.time)));
    let bill = payers.iter().map(|(_, payer)| payer.money).sum::<Split>().total();
    let table = Table {
        id: "payers",
        title: "Who pays",
        columns: &[PAYER, TEAM, TIME, COST, PART, IDLE, WASTE, SPLIT],
        without_rows: "Nothing has been charged yet.",
    };
    table.render(&payers, |(who, payer)| payer_row(*who, payer, bill))
}

fn payer_row((namespace, team): (&str, &str), payer: &Payer, bill: u128) -> Markup {
    let money = &payer.money;
    let is_held = !namespace.is_empty();
    let wasted = if is_held { money.held_waste() } else { money.node_waste() };
    let if_priced = |content: Markup| {
        if payer.unpriced_time < payer.time {
            content
        } else {
            html! { (DASH) }
        }
    };
    html! {
        tr role="row" {
            (head(&html! { @if is_held { (namespace) } @else { span.nobody { "no known holder" } } }))
            (cell(TEAM, &or_dash(team)))
            (cell(TIME, &html! {
                (words::gpu_hours(payer.time))
                @if payer.unpriced_time > GpuTime::ZERO {
                    span.sub { (words::gpu_hours(payer.unpriced_time)) " without a price" }
                }
            }))
            (cell(COST, &if_priced(html! { strong { (words::dollars_of(money.total())) } })))
            (cell(PART, &if_priced(html! { (words::percent(money.total(), bill)) })))
            (cell(IDLE, &if_priced(html! { (words::dollars_of(money.get(State::Idle))) })))
            (cell(WASTE, &waste(wasted, money)))
            (cell(SPLIT, &if_priced(words::bar(money, words::dollars_of))))
        }
    }
}

// === cells that several tables have ===

fn or_dash(text: &str) -> Markup {
    html! { @if text.is_empty() { (DASH) } @else { (text) } }
}

fn is_priced(totals: &Totals) -> bool {
    totals.cost(State::Used).is_some()
}

fn total(totals: &Totals) -> Markup {
    html! {
        @if is_priced(totals) { strong { (words::cost(totals.total_cost())) } }
        @else { (words::gpu_hours(totals.total_time())) span.sub { "no price" } }
    }
}

fn idle(totals: &Totals) -> Markup {
    html! { @if let Some(idle) = totals.cost(State::Idle) { (words::cost(idle)) } @else { (DASH) } }
}

/// The part that was wasted, marked where it is half or more; what was not measured is not called unwasted.
fn waste(wasted: u128, money: &Split) -> Markup {
    let whole = money.total();
    html! {
        @if whole == money.get(State::Unmeasured) { (DASH) }
        @else { span.much[wasted >= whole - wasted.min(whole)] { (words::percent(wasted, whole)) } }
    }
}

/// By money, or by time where there is no price.
fn split_bar(totals: &Totals) -> Markup {
    if is_priced(totals) {
        words::bar(&Split::of_cost(totals), words::dollars_of)
    } else {
        words::bar(&Split::of_time(totals), |nanos| words::gpu_hours(GpuTime::from_nanos(nanos)))
    }
}
