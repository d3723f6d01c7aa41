//! Which pod or GPU is meant.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger_json::{Device, Holding, PodLine, Report};

/// How many names are listed for somebody who did not find one.
const LISTED: usize = 20;

/// How many names are suggested.
const SUGGESTED: usize = 3;

/// What a question is about, by positions in the report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Whether a GPU was asked for, or a MIG device on it.
    pub(super) is_device: bool,
    /// GPUs, each with those of its holdings that are meant.
    pub(super) devices: BTreeMap<usize, Vec<usize>>,
    /// Pods.
    pub(super) pods: Vec<usize>,
}

/// Finds the GPU whose index or UUID `what` is, or a MIG device; or else the pod; or else the GPU or MIG device whose UUID
/// it begins. If it is none of them, says what there is.
pub(super) fn choose(report: &Report, node: &str, what: &str) -> Result<Chosen, String> {
    if let Some(place) = named(report, what) {
        return Ok(of_device(report, &place));
    }
    if let Some(chosen) = of_pod(report, what) {
        return Ok(chosen);
    }
    match begun(report, what)[..] {
        [] => Err(unknown(report, node, what)),
        [place] => Ok(of_device(report, &place)),
        ref several => {
            let uuids: Vec<&str> = several.iter().map(|place| uuid(report, place)).collect();
            Err(format!("{what} can be any of {}: say more of it", listed(&uuids)))
        }
    }
}

// === GPUs ===

/// A GPU, or a MIG device on it.
type Place<'a> = (usize, Option<&'a str>);

fn places(report: &Report) -> impl Iterator<Item = Place<'_>> {
    report.devices.iter().enumerate().flat_map(|(at, device)| {
        let parts = device.mig.iter().flat_map(|partition| &partition.devices);
        let parts = parts.map(move |mig| (at, Some(mig.uuid.as_str())));
        [(at, None)].into_iter().chain(parts)
    })
}

fn named<'a>(report: &'a Report, what: &str) -> Option<Place<'a>> {
    let by_index = report.devices.iter().position(|device| device.index.to_string() == what);
    let by_uuid = || places(report).find(|place| uuid(report, place).eq_ignore_ascii_case(what));
    by_index.map(|at| (at, None)).or_else(by_uuid)
}

/// Those whose UUID begins so, with or without what stands before its first hyphen.
fn begun<'a>(report: &'a Report, what: &str) -> Vec<Place<'a>> {
    let wanted = what.to_ascii_lowercase();
    let begins = |place: &Place<'_>| {
        let uuid = uuid(report, place).to_ascii_lowercase();
        let bare = uuid.split_once('-').map_or(&*uuid, |(_, bare)| bare);
        !wanted.is_empty() && (uuid.starts_with(&wanted) || bare.starts_with(&wanted))
    };
    places(report).filter(begins).collect()
}

fn uuid<'a>(report: &'a Report, (at, mig): &Place<'a>) -> &'a str {
    mig.unwrap_or_else(|| report.devices.get(*at).map_or("", |device| &device.uuid))
}

fn of_device(report: &Report, (at, mig): &Place<'_>) -> Chosen {
    let holdings = report.devices.get(*at).map_or(&[][..], |device| &device.holdings);
    let is_meant = |holding: &Holding| mig.is_none() || holding.mig_uuid.as_deref() == *mig;
    let meant: Vec<usize> =
        holdings.iter().enumerate().filter_map(|(n, holding)| is_meant(holding).then_some(n)).collect();
    let holds = |pod: &PodLine| {
        let mut meant = meant.iter().filter_map(|n| holdings.get(*n));
        pod.live && meant.any(|holding| is_of(holding, pod))
    };
    let pods = report.pods.iter().enumerate().filter_map(|(n, pod)| holds(pod).then_some(n)).collect();
    Chosen { is_device: true, devices: BTreeMap::from([(*at, meant)]), pods }
}

/// Whether a holding is the pod's.
pub(super) fn is_of(holding: &Holding, pod: &PodLine) -> bool {
    (&holding.namespace, &holding.pod, &holding.pod_uid) == (&pod.namespace, &pod.pod, &pod.pod_uid)
}

// === pods ===

fn of_pod(report: &Report, what: &str) -> Option<Chosen> {
    let (namespace, name) =
        what.split_once('/').map_or((None, what), |(namespace, name)| (Some(namespace), name));
    let is_meant =
        |pod: &PodLine| pod.pod == name && namespace.is_none_or(|namespace| pod.namespace == namespace);
    let pods: Vec<usize> =
        report.pods.iter().enumerate().filter_map(|(n, pod)| is_meant(pod).then_some(n)).collect();
    let of_pods = |device: &Device| -> Vec<usize> {
        let is_held = |holding: &Holding| {
            pods.iter().filter_map(|n| report.pods.get(*n)).any(|pod| pod.live && is_of(holding, pod))
        };
        device.holdings.iter().enumerate().filter_map(|(n, it)| is_held(it).then_some(n)).collect()
    };
    let devices =
        report.devices.iter().map(of_pods).enumerate().filter(|(_, held)| !held.is_empty()).collect();
    (!pods.is_empty()).then_some(Chosen { is_device: false, devices, pods })
}

fn unknown(report: &Report, node: &str, what: &str) -> String {
    let names: BTreeSet<String> =
        report.pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.pod)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let uuids: Vec<&str> = report.devices.iter().map(|device| device.uuid.as_str()).collect();
    let near = near(what, names.iter().chain(&uuids).copied());
    let hint = if near.is_empty() {
        format!("pods: {}; GPUs: {}", listed(&names), listed(&uuids))
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    format!(
        "node {node} knows no pod and no GPU {what}: it knows the pods that hold a GPU of its own, or did so a quarter \
         of an hour ago\n{hint}"
    )
}

/// The names that `what` is a part of, or else those that are the fewest slips away.
fn near<'a>(what: &str, names: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let part = what.rsplit('/').next().unwrap_or(what).to_ascii_lowercase();
    let contains = |name: &&str| part.len() > 2 && name.to_ascii_lowercase().contains(&part);
    let containing: Vec<&str> = names.clone().filter(contains).take(SUGGESTED).collect();
    if !containing.is_empty() {
        return containing;
    }
    let slips = |name: &str| strsim::osa_distance(what, name);
    let mut near: Vec<&str> = names.filter(|name| slips(name) <= 1 + what.chars().count() / 4).collect();
    near.sort_by_key(|name| slips(name));
    near.truncate(SUGGESTED);
    near
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    match (names.is_empty(), more) {
        (true, _) => "none".into(),
        (_, 0) => shown,
        _ => format!("{shown} and {more} more"),
    }
}

// === impl Chosen ===

impl Chosen {
    /// The part of the exporter's JSON that this is, as it came; what is not about single GPUs or pods stays, but for
    /// who pays.
    pub(super) fn part_of(&self, mut told: Value) -> Value {
        let Some(report) = told.get_mut("report").and_then(Value::as_object_mut) else { return told };
        report.remove("showback");
        if let Some(pods) = report.get_mut("pods") {
            keep(pods, &self.pods);
        }
        if let Some(devices) = report.get_mut("devices") {
            for (at, holdings) in &self.devices {
                if let Some(all) = devices.get_mut(at).and_then(|device| device.get_mut("holdings")) {
                    keep(all, holdings);
                }
            }
            keep(devices, &self.devices.keys().copied().collect::<Vec<_>>());
        }
        told
    }
}

/// Keeps what is at these positions, which are sorted.
fn keep(list: &mut Value, positions: &[usize]) {
    if let Value::Array(list) = list {
        let mut at = 0..;
        list.retain(|_| at.next().is_some_and(|at| positions.binary_search(&at).is_ok()));
    }
}
