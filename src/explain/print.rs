//! The answer for people.

use std::fmt::Write as _;

use super::choose::{self, Chosen};
use crate::ledger_json::{Device, Holding, Ledger, PodLine, Report, SourceState};
use crate::why;

/// The answer to a question, or all GPUs with their holders.
pub(super) fn answer(ledger: &Ledger, report: &Report, chosen: Option<&Chosen>) -> String {
    let mut lines = head(ledger, report);
    match chosen {
        None => lines.extend(overview(report)),
        Some(chosen) => {
            if chosen.is_device {
                let devices = chosen.devices.keys().filter_map(|at| report.devices.get(*at));
                lines.extend(devices.flat_map(gpu));
            }
            let pods = chosen.pods.iter().filter_map(|at| report.pods.get(*at));
            lines.extend(pods.flat_map(|it| pod(report, chosen, it)));
        }
    }
    lines.join("\n") + "\n"
}

/// Why there is nothing to explain.
pub(super) fn nothing_yet(ledger: &Ledger) -> String {
    let mut text = format!("the exporter of node {} has counted nothing yet", ledger.node);
    for line in troubles(ledger) {
        let _ = write!(text, "\n{line}");
    }
    text
}

// === what the reader must know before believing a number ===

fn head(ledger: &Ledger, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if ledger.exporter.simulated {
        lines.push("SIMULATED NODE: every number is made up".into());
    } else if ledger.exporter.mode == "replay" {
        lines.push("REPLAY: the numbers are those of a recorded trace".into());
    }
    let (at, since) = (moment(&report.at), moment(&report.since));
    lines.push(format!("node {} at {at}, counting since {since}", ledger.node));
    lines.push(grounds(ledger, report));
    lines.extend(troubles(ledger));
    lines
}

/// How well it is known who holds what.
fn grounds(ledger: &Ledger, report: &Report) -> String {
    let told = &report.allocations;
    let has_kubelet =
        ledger.exporter.mode != "node" || ledger.sources.iter().any(|it| it.source == "kubelet");
    let mut text = match &told.age_seconds {
        _ if !has_kubelet => "without a kubelet: the node itself holds its GPUs".into(),
        Some(age) => format!("holders as the kubelet said {} s ago", tenths(age)),
        None => "the kubelet has not said yet who holds what".into(),
    };
    if told.unmapped_devices > 0 {
        let _ = write!(text, "; devices it names that are no GPU of this node: {}", told.unmapped_devices);
    }
    if told.conflicts > 0 {
        let _ = write!(text, "; two pods named one device so far: {} times", told.conflicts);
    }
    text
}

/// What the sources do not tell, and why. One that is up may not tell all.
fn troubles(ledger: &Ledger) -> Vec<String> {
    let trouble = |source: &SourceState| {
        let name = &source.source;
        match (&source.message, &*ledger.pricing.problems) {
            (Some(message), _) => Some(format!("{name}: {message}")),
            (None, _) if source.up => None,
            (None, [first, rest @ ..]) if name == "pricing" => {
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                Some(format!("{name}: {first}{more}"))
            }
            (None, _) => Some(format!("{name}: no answer yet")),
        }
    };
    ledger.sources.iter().filter_map(trouble).collect()
}

/// A decimal number with one digit after the point at most.
fn tenths(number: &str) -> &str {
    number.find('.').and_then(|point| number.get(..point + 2)).unwrap_or(number)
}

/// A moment to the second.
fn moment(time: &str) -> String {
    let second = time.split('.').next().unwrap_or(time);
    format!("{} UTC", second.trim_end_matches('Z').replace('T', " "))
}

// === all GPUs ===

fn overview(report: &Report) -> Vec<String> {
    let mut devices: Vec<&Device> = report.devices.iter().collect();
    devices.sort_by_key(|device| device.index);
    let mut lines: Vec<String> = devices.into_iter().flat_map(overview_of).collect();
    if report.devices.is_empty() {
        lines.push("The driver shows no GPU on this node.".into());
    }
    lines.push(String::new());
    lines.push("Why is it so? gpu-cost-exporter explain <namespace/pod, or a GPU's index or UUID>".into());
    lines
}

fn overview_of(device: &Device) -> Vec<String> {
    let price = match &device.price {
        Some(price) => format!("{} $/h", why::money(&price.dollars_per_hour)),
        None => "no price".into(),
    };
    let fault =
        device.fault.as_ref().map(|fault| format!(", {}", fault.replace('_', " "))).unwrap_or_default();
    let mut lines = vec![String::new(), format!("{}, {price}{fault}", why::gpu(device))];
    for holding in &device.holdings {
        let profile =
            holding.mig_profile.as_ref().map(|profile| format!(" on {profile}")).unwrap_or_default();
        lines.push(format!(
            "  {:>5}  {}/{}{profile}",
            why::part(&holding.share),
            holding.namespace,
            holding.pod
        ));
    }
    let unheld = device.unheld.iter();
    lines.extend(unheld.map(|it| format!("  {:>5}  {}", why::part(&it.share), it.state)));
    lines
}

// === one GPU, one pod ===

fn gpu(device: &Device) -> Vec<String> {
    let mut lines = vec![String::new(), format!("{}: {}", why::gpu(device), device.product)];
    let foreign = device.foreign_utilization.filter(|ratio| *ratio > 0.0);
    let foreign =
        foreign.map(|ratio| format!(", {} by nobody who holds it", why::percent(ratio))).unwrap_or_default();
    let source = why::source(device);
    let utilization = device.utilization.map(|ratio| format!("{} ({source}){foreign}", why::percent(ratio)));
    lines.push(format!("  {}", why::price(device)));
    lines
        .push(format!("  utilization {}", utilization.as_deref().unwrap_or("of the whole GPU not measured")));
    if let Some(fault) = &device.fault {
        lines.push(format!("  it cannot be used: {}", fault.replace('_', " ")));
    }
    lines.extend(device.unheld.iter().map(|it| format!("  {} {}", why::part(&it.share), it.state)));
    if device.unobserved_seconds != "0" {
        lines.push(format!("  {} s in which nobody looked are charged to nobody", device.unobserved_seconds));
    }
    lines.push(format!("  since the ledger began: {}", why::totals(&device.totals, "0")));
    lines
}

fn pod(report: &Report, chosen: &Chosen, pod: &PodLine) -> Vec<String> {
    let uid = if pod.pod_uid.is_empty() { "uid not told".into() } else { format!("uid {}", pod.pod_uid) };
    let workload = pod.workload.as_ref().map(|it| format!(", {} {}", it.kind, it.name)).unwrap_or_default();
    let mut lines = vec![String::new(), format!("{}/{} ({uid}{workload})", pod.namespace, pod.pod)];
    let mut chains: Vec<(&Device, &Holding)> = held_by(report, chosen, pod).collect();
    chains.sort_by_key(|(device, _)| device.index);
    for (n, (device, holding)) in chains.into_iter().enumerate() {
        lines.extend((n > 0).then(String::new));
        lines.extend(why::steps(device, holding).into_iter().map(|step| format!("  {step}")));
    }
    if !pod.live {
        lines.push("  holds nothing any more".into());
    }
    lines.push(format!("  since it was first seen: {}", why::totals(&pod.totals, &pod.burst_dollars)));
    lines
}

/// What a pod holds of what was asked for.
fn held_by<'a>(
    report: &'a Report,
    chosen: &'a Chosen,
    pod: &'a PodLine,
) -> impl Iterator<Item = (&'a Device, &'a Holding)> {
    let devices = chosen.devices.iter().filter_map(|(at, held)| Some((report.devices.get(*at)?, held)));
    let holdings = devices.flat_map(|(device, held)| {
        held.iter().filter_map(move |n| device.holdings.get(*n)).map(move |holding| (device, holding))
    });
    holdings.filter(move |(_, holding)| pod.live && choose::is_of(holding, pod))
}
