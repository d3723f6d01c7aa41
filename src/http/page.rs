//! What people see: one page without outside assets, from the same report as a scrape.
//!
//! The order is that of the questions: what does this node cost now, how much of that did work, where did the rest go,
//! on which GPU, in which pod, and who pays. The page replaces its own `main` every few seconds; without a script it
//! reloads itself. Numbers that are not known are a dash, never a zero.

mod tables;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::words::Split;
use crate::cost::money::{Cost, Grams, Rate};
use crate::cost::report::{Report, State};
use crate::ledger_json;
use crate::observation::{Span, UnixTime};
use crate::status::{InForce, Mode, PricingStatus, Published, Source, SourceStatus};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// How many mistakes of a price file are shown; the log and `check` have them all.
const PROBLEMS_SHOWN: usize = 10;

/// The page of what was last published, as HTML.
pub(super) fn render(published: &Published, telemetry_path: &str) -> String {
    let status = &*published.status;
    let node = if status.node.is_empty() { "this node" } else { &status.node };
    let title = match &published.report {
        Some(report) => format!("{}/h · {node}", words::dollars(rate_now(report).dollars_per_hour())),
        None => format!("{node} · GPU cost"),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                main {
                    (header(published, node))
                    (banners(published))
                    @match &published.report {
                        Some(report) => (body(report)),
                        None => (nothing_yet()),
                    }
                    (footer(published, telemetry_path))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn header(published: &Published, node: &str) -> Markup {
    html! {
        header {
            div {
                p.eyebrow { "GPU cost of the node" }
                h1 { (node) }
            }
            @if let Some(report) = &published.report {
                p #live title="When the node was last looked at" {
                    span.dot aria-hidden="true" {}
                    "as of " time #as-of { (words::clock_time(report.wall)) }
                }
            }
        }
    }
}

fn body(report: &Report) -> Markup {
    html! {
        (headline(report))
        (where_it_goes(report))
        (tables::gpus(report))
        (tables::pods(report))
        (tables::payers(report))
    }
}

fn nothing_yet() -> Markup {
    html! {
        section.card.empty {
            h2 { "Nothing is counted yet" }
            p { "The first numbers appear with the first look at the GPUs. If something is in the way, it is said above; "
                "what can be done about it is said there too. This page looks again by itself." }
        }
    }
}

// === banners: what the reader must know before believing a number ===

fn banners(published: &Published) -> Markup {
    let status = &*published.status;
    html! {
        @if published.is_simulated() { (simulated_banner()) }
        @if status.mode == Mode::Replay { (replay_banner()) }
        @let now = published.report.as_ref().map(|report| report.wall);
        @for source in status.sources.iter().filter(|source| !source.up) { (source_banner(source, now)) }
        @for source in &status.sources { (silence_banner(source)) }
        (pricing_banner(&status.pricing))
        @if let Some(report) = &published.report {
            (unpriced_banner(report))
            (imbalance_banner(report))
        }
    }
}

fn banner(kind: &str, headline: &str, rest: &Markup) -> Markup {
    html! { div class={ "banner " (kind) } role="note" { strong { (headline) } " " (rest) } }
}

fn simulated_banner() -> Markup {
    banner(
        "made-up",
        "Simulated node: these numbers are made up.",
        &html! { "There is no such GPU and nobody is charged." },
    )
}

fn replay_banner() -> Markup {
    let rest = html! { "these numbers are of a node as it was, not as it is." };
    banner("made-up", "Replay of a recording:", &rest)
}

fn source_banner(source: &SourceStatus, now: Option<UnixTime>) -> Markup {
    let (name, meanwhile) = match source.source {
        Source::Nvml => ("The NVIDIA driver", "GPUs keep costing money; what they do cannot be seen."),
        Source::Kubelet => ("The kubelet", "Which pod holds which GPU is not known for sure."),
        Source::ApiServer => ("The API server", "Pods keep the labels that they had; new pods have none."),
        Source::StateFile => {
            let message = source.message.as_deref().unwrap_or("Nothing was read from it yet.");
            let rest = html! {
                (message) " " span.meanwhile { "What is charged in the meantime would be lost with this program." }
            };
            return banner("down", "The ledger is not kept on disk.", &rest);
        }
        Source::Labels => {
            let message = source.message.as_deref().unwrap_or_default();
            let rest = html! {
                @match source.last_success {
                    Some(at) => { "The labels that were read at " (at.to_string()) " stay in force. " },
                    None => "Pods pay by their own labels alone. ",
                }
                (message)
            };
            return banner("down", "The file of labels cannot be used.", &rest);
        }
        Source::WebConfig => {
            let message = source.message.as_deref().unwrap_or_default();
            let rest = html! { "What was read before stays in force. " (message) };
            return banner("down", "The web configuration has mistakes.", &rest);
        }
        // It has a banner of its own, which tells every mistake.
        Source::Pricing => return html! {},
    };
    let message = source.message.as_deref().unwrap_or("It has not answered yet.");
    let age = source.last_success.zip(now).map(|(then, now)| words::age(then, now));
    let rest = html! {
        (message) " "
        span.meanwhile {
            @if let Some(age) = age { "It last answered " (age) " ago. " }
            (meanwhile)
        }
    };
    banner("down", &format!("{name} does not answer."), &rest)
}

/// What a source that answers does not tell. The driver's silence about a GPU is told with the GPU.
fn silence_banner(source: &SourceStatus) -> Markup {
    match &source.message {
        Some(message) if source.up && source.source == Source::ApiServer => {
            let rest = html! { (message) " " span.meanwhile { "Pods and the node are known." } };
            banner("down", "The API server does not tell which devices claims have.", &rest)
        }
        _ => html! {},
    }
}

fn pricing_banner(pricing: &PricingStatus) -> Markup {
    if pricing.problems.is_empty() && pricing.last_reload_successful {
        return html! {};
    }
    let file = pricing.file.as_deref().unwrap_or("The price file");
    let more = pricing.problems.len().saturating_sub(PROBLEMS_SHOWN);
    let list = html! {
        (pricing.meanwhile())
        ul {
            @for problem in pricing.problems.iter().take(PROBLEMS_SHOWN) { li { (problem) } }
            @if more > 0 { li { "and " (more) " more" } }
        }
    };
    banner("down", &format!("{file} cannot be used."), &list)
}

fn unpriced_banner(report: &Report) -> Markup {
    let unpriced = report.devices.iter().filter(|line| line.quote.is_none());
    let mut models: Vec<&str> = unpriced.map(|line| &*line.gpu_model).collect();
    if models.is_empty() {
        return html! {};
    }
    let (headline, counted) = match models.len() {
        1 => (
            "One GPU has no price.".to_owned(),
            "It is in none of the dollars here, only its time is counted.",
        ),
        n => (
            format!("{n} GPUs have no price."),
            "They are in none of the dollars here, only their time is counted.",
        ),
    };
    models.sort_unstable();
    models.dedup();
    let rest = html! {
        (counted) " To change that, add "
        @for (n, model) in models.iter().enumerate() { @if n > 0 { ", " } code { (model) } }
        " to the price file."
    };
    banner("unpriced", &headline, &rest)
}

fn imbalance_banner(report: &Report) -> Markup {
    if report.imbalance == Cost::ZERO {
        return html! {};
    }
    let rest = html! { "They differ by " (words::cost(report.imbalance)) ". That is a bug of this exporter: please report it." };
    banner("down", "The lines do not add up to the bill.", &rest)
}

// === the numbers ===

/// What the node costs per hour now, as far as prices are known.
fn rate_now(report: &Report) -> Rate {
    report.devices.iter().filter_map(|line| line.quote.as_ref()).map(|quote| quote.effective).sum()
}

/// The whole bill by state, with that of GPUs that are no longer there.
fn split_of_bill(report: &Report) -> Split {
    let former = report.former_devices.iter().map(|line| &line.totals);
    report.devices.iter().map(|line| &line.totals).chain(former).map(Split::of_cost).sum()
}

fn headline(report: &Report) -> Markup {
    let rate = rate_now(report);
    let split = split_of_bill(report);
    let since = Span::from_millis(report.wall.as_millis().saturating_sub(report.ledger_start.as_millis()));
    let has_price = report.devices.iter().any(|line| line.quote.is_some());
    html! {
        section.headline aria-label="Headline" {
            div.tile.now {
                h2 { "Costs now" }
                p.big #rate-now {
                    @if has_price { (words::dollars(rate.dollars_per_hour())) } @else { "–" }
                    span.per { " per hour" }
                }
                p.note { (projection(report, rate)) }
            }
            div.tile {
                h2 { "Cost so far" }
                p.big #total { (words::dollars_of(split.total())) }
                p.note { "in " (words::duration(since)) ", since " (words::moment(report.ledger_start)) }
            }
            div.tile {
                h2 { "Used" }
                p.big #used { (words::percent(split.get(State::Used), split.total())) }
                p.note { (words::dollars_of(split.get(State::Used))) " did work" }
            }
            div.tile.waste {
                h2 { "Waste" }
                p.big #wasted { (words::dollars_of(split.node_waste())) }
                p.note {
                    @if split.total() > 0 { (words::percent(split.node_waste(), split.total())) ": " }
                    "idle, underused, unallocated, stranded, unavailable"
                }
            }
        }
    }
}

/// What the rate comes to. A GPU costs the same whether it works or not, so this holds as long as the node stays.
fn projection(report: &Report, rate: Rate) -> Markup {
    let unpriced = report.devices.iter().filter(|line| line.quote.is_none()).count();
    let gpus = report.devices.len();
    let day = words::about_dollars(rate.dollars_per_hour() * 24.0);
    let month = words::about_dollars(rate.dollars_per_hour() * 24.0 * 30.0);
    html! {
        (gpus) @if gpus == 1 { " GPU" } @else { " GPUs" }
        @if unpriced > 0 { ", " (unpriced) " without a price" }
        @if unpriced < gpus { br; (day) " a day, " (month) " in 30 days while the node is up" }
    }
}

fn where_it_goes(report: &Report) -> Markup {
    let split = split_of_bill(report);
    html! {
        section.card {
            h2 { "Where the money goes" }
            @if split.total() == 0 { p.note { "Nothing has been charged yet." } } @else {
                (words::bar(&split, words::dollars_of))
                ul.legend { @for state in State::ALL { (legend(state, &split)) } }
            }
            (electricity(report))
        }
    }
}

/// What the GPUs' energy cost and emitted, where the operator wrote what a kWh does.
fn electricity(report: &Report) -> Markup {
    let spent = || report.devices.iter().map(|line| line.electricity);
    let cost: Option<Cost> = spent().filter_map(|it| it.cost).reduce(|sum, cost| sum + cost);
    let co2e: Option<Grams> = spent().filter_map(|it| it.co2e).reduce(|sum, co2e| sum + co2e);
    html! {
        @if cost.is_some() || co2e.is_some() {
            p.note #electricity title="By the GPUs' energy, with what node and data centre draw beside it" {
                "Beside this and on no bill, their electricity: "
                @if let Some(cost) = cost { (words::cost(cost)) }
                @if cost.is_some() && co2e.is_some() { " and " }
                @if let Some(co2e) = co2e { (words::emission(co2e)) " of CO₂e" }
            }
        }
    }
}

fn legend(state: State, split: &Split) -> Markup {
    let units = split.get(state);
    html! {
        li.nothing[units == 0] data-state=(state.as_str()) {
            span class={ "swatch " (state.as_str()) } aria-hidden="true" {}
            span.name { (words::state_name(state)) }
            span.money { (words::dollars_of(units)) }
            span.part { (words::percent(units, split.total())) }
            span.meaning { (words::state_meaning(state)) }
        }
    }
}

fn footer(published: &Published, telemetry_path: &str) -> Markup {
    // Relative, so that the links also work behind a proxy that puts the page under a path of its own.
    let metrics = telemetry_path.trim_start_matches('/');
    html! {
        footer {
            p.equation {
                "price × time = " strong { "used + underused + idle + unmeasured + unavailable" } " of each holder + "
                strong { "unallocated + stranded + unattributed + unavailable" } " of what nobody holds"
            }
            p { "Every dollar a GPU costs is on exactly one line at every instant, and the lines add up to the bill. "
                "Waste of a pod is idle + underused." }
            p { "gpu-cost-exporter " (env!("CARGO_PKG_VERSION"))
                @if let Some(driver) = published.report.as_ref().and_then(|report| report.driver_version.as_ref()) {
                    " · NVIDIA driver " (driver)
                }
                " · " a href=(format!("./{metrics}")) { (telemetry_path) }
                " · " a href=(format!(".{}", ledger_json::PATH)) { (ledger_json::PATH) }
                " · " a href="./-/ready" { "/-/ready" } " · " a href="./-/healthy" { "/-/healthy" } }
            p #prices { (prices_in_force(&published.status.pricing)) }
        }
    }
}

/// Which prices are in force, so that people on two nodes can see whether they are the same.
fn prices_in_force(pricing: &PricingStatus) -> Markup {
    let file = pricing.file.as_deref().unwrap_or("your file");
    html! {
        @match (pricing.in_force, pricing.last_success) {
            (InForce::BuiltIn, _) | (_, None) => "Prices: the built-in ones alone",
            (InForce::File, Some(at)) => { "Prices: " (file) ", read " (words::moment(at)) },
            (InForce::LastGood, Some(at)) => { "Prices: " (file) " as it was " (words::moment(at)) },
        }
        @if !pricing.hash.is_empty() { " · SHA-256 " code { (pricing.hash) "…" } }
    }
}
