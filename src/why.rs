//! Why a holder is charged what it is charged, step by step, in words.
//!
//! The chain from what a container asked for to the last interval's arithmetic. `explain` prints it and the page shows
//! it, so both say the same; it is read from the JSON's form, so it can be of another machine's ledger.

mod decimal;

use self::decimal::Decimal;
use crate::ledger_json::{Device, Holding, LastCharge, NamedDevice, Part, Quote, Share, Totals};

/// Digits after the point of what an interval costs: a billionth of a dollar.
const CHARGE_DIGITS: usize = 9;

/// Digits after the point of a sum of less than a dollar, and of a larger one.
const SUM_DIGITS: (usize, usize) = (6, 4);

/// The steps from what a pod's containers asked for to what it was charged last.
pub(crate) fn steps(device: &Device, holding: &Holding) -> Vec<String> {
    let mut steps = named(&holding.named);
    steps.push(place(device, holding));
    steps.push(share(device, holding));
    steps.push(work(device, holding));
    steps.push(price(device));
    match &holding.last {
        Some(last) => steps.extend(charge(last, &holding.share)),
        None => {
            steps.push("last interval: not charged, because it has just begun or nobody was looking".into());
        }
    }
    steps
}

// === what it was given ===

/// One step for each container and resource.
fn named(devices: &[NamedDevice]) -> Vec<String> {
    if devices.is_empty() {
        let unlisted =
            "no container is listed with it: it is held for a group of pods, or by an init container";
        return vec![unlisted.into()];
    }
    let who = |device: &NamedDevice| (device.container.clone(), device.resource.clone());
    let same = devices.chunk_by(|one, other| who(one) == who(other));
    let step = |devices: &[NamedDevice]| {
        let ids: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
        let (container, resource) = devices.first().map(who).unwrap_or_default();
        format!("container {container} asked for {resource} and got {}", ids.join(", "))
    };
    same.map(step).collect()
}

fn place(device: &Device, holding: &Holding) -> String {
    let Some(uuid) = &holding.mig_uuid else { return format!("→ {}", gpu(device)) };
    let profile = holding.mig_profile.as_deref().unwrap_or("of a profile that the driver no longer shows");
    format!("→ {}, MIG device {profile} ({uuid})", gpu(device))
}

/// A GPU: which, of what model, how it is shared.
pub(crate) fn gpu(device: &Device) -> String {
    let Device { index, uuid, gpu_model, .. } = device;
    format!("GPU {index} ({uuid}), {gpu_model}, {}", sharing(&device.sharing))
}

/// How a GPU is shared.
pub(crate) fn sharing(mode: &str) -> &str {
    match mode {
        "exclusive" => "one holder at a time",
        "mig" => "cut into MIG devices",
        "time-slicing" => "shared by time-slicing",
        "mps" => "shared by MPS",
        "fractional" => "shared in fractions",
        other => other,
    }
}

// === its share ===

fn share(device: &Device, holding: &Holding) -> String {
    let is_whole = is_all(&holding.of_device);
    let reason = match (slices(device, holding), is_whole) {
        (None, _) => holding.basis.words.clone(),
        (Some(slices), true) => slices,
        (Some(slices), false) => {
            let Share { fraction, .. } = &holding.of_device;
            format!("{fraction} of the MIG device ({}), which has {slices}", holding.basis.words)
        }
    };
    let scaled = if device.overcommitted {
        "; more was promised than there is, so every part is scaled down"
    } else {
        ""
    };
    format!("share {} of the GPU: {reason}{scaled}", part(&holding.share))
}

/// Which slices make the part that a MIG device has of its GPU.
fn slices(device: &Device, holding: &Holding) -> Option<String> {
    let partition = device.mig.as_ref()?;
    let uuid = holding.mig_uuid.as_ref()?;
    let Some(mig) = partition.devices.iter().find(|mig| mig.uuid == *uuid) else {
        return Some("slices that the driver no longer shows".into());
    };
    let compute = format!("{} of {} compute slices", mig.compute_slices, partition.compute_slices);
    let memory = format!("{} of {} memory slices", mig.memory_slices, partition.memory_slices);
    Some(match of_gpu(holding) {
        part if is_same(part, (mig.compute_slices, partition.compute_slices)) => compute,
        part if is_same(part, (mig.memory_slices, partition.memory_slices)) => memory,
        _ => format!("{compute} and {memory}"),
    })
}

/// The part of the GPU that a holder's device is; `None` where the numbers are too large to say.
fn of_gpu(holding: &Holding) -> Option<(u128, u128)> {
    let (share, part) = (&holding.share, &holding.of_device);
    let numerator = u128::from(share.numerator).checked_mul(part.denominator.into())?;
    Some((numerator, u128::from(share.denominator).checked_mul(part.numerator.into())?))
}

fn is_same(part: Option<(u128, u128)>, (held, of): (u32, u32)) -> bool {
    let same = |(numerator, denominator): (u128, u128)| {
        Some(numerator.checked_mul(of.into())? == denominator.checked_mul(held.into())?)
    };
    part.and_then(same).unwrap_or(false)
}

/// A fraction of a GPU.
pub(crate) fn part(fraction: &Share) -> &str {
    if is_all(fraction) { "all" } else { &fraction.fraction }
}

fn is_all(fraction: &Share) -> bool {
    fraction.numerator == fraction.denominator
}

// === what it did ===

fn work(device: &Device, holding: &Holding) -> String {
    if let Some(fault) = &device.fault {
        return format!(
            "the GPU cannot be used ({}): its time is unavailable, whoever holds it",
            words(fault)
        );
    }
    let (what, utilization) = match &holding.mig_uuid {
        None => ("GPU", device.utilization),
        Some(uuid) => {
            let mut devices = device.mig.iter().flat_map(|partition| &partition.devices);
            ("MIG device", devices.find(|mig| mig.uuid == *uuid).and_then(|mig| mig.utilization))
        }
    };
    let work = holding.last.as_ref().and_then(|last| last.work.as_ref());
    let Some(utilization) = utilization else {
        return format!("utilization of the {what} not measured: its time is unmeasured, which is not idle");
    };
    let whole = format!("utilization {} of the {what} ({})", percent(utilization), source(device));
    match work {
        None => whole,
        Some(_) if holding.last.as_ref().is_some_and(|last| is_all(&last.of_device)) => {
            format!("{whole}, all of it its own")
        }
        Some(work) => {
            let (own, of_share) = (percent(work.device_ratio), percent(work.share_ratio));
            format!("{whole}, its own {own} {} = {of_share} of its share", attribution(device))
        }
    }
}

/// By what the utilization of a GPU was measured.
pub(crate) fn source(device: &Device) -> String {
    match device.utilization_source.as_str() {
        "none" => "not measured".into(),
        "nvml_samples" => "NVML samples".into(),
        "gpm" => "GPM".into(),
        "nvml_rate" => "NVML's last reading".into(),
        other => words(other),
    }
}

fn attribution(device: &Device) -> String {
    match device.attribution_method.as_str() {
        "processes" => "by its processes".into(),
        "equal_parts" => "in proportion to its share, because processes cannot be told apart".into(),
        other => format!("by {}", words(other)),
    }
}

/// A part of a whole in percent, with a digit more where it is small.
pub(crate) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent > 0.0 && percent < 10.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A name of the JSON as words.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

// === what it cost ===

/// The price of a GPU and how it was found.
pub(crate) fn price(device: &Device) -> String {
    let model = &device.gpu_model;
    let Some(price) = &device.price else {
        return format!(
            "no price: nobody said what a {model} costs, so its time is counted and its dollars do not exist"
        );
    };
    let rate = money(&price.dollars_per_hour);
    let as_of = price.as_of.as_ref().map(|day| format!(", as of {day}")).unwrap_or_default();
    let fell_back = if price.fell_back { ", because there is no other" } else { "" };
    let list = price.list_dollars_per_hour.as_ref().filter(|list| **list != price.dollars_per_hour);
    let list = list.map(|list| format!("; on demand {} $/h", money(list))).unwrap_or_default();
    format!("price {rate} $/h: {}, {}{fell_back}{as_of}{list}", rule(price, model), price.price_model)
}

fn rule(price: &Quote, model: &str) -> String {
    let (rule, origin) = price.rule.split_once(':').unwrap_or((&price.rule, ""));
    match rule {
        "override" => format!("your override {origin}"),
        "catalogue" => format!("list price of {}", origin.split('@').next().unwrap_or(origin)),
        "file" => format!("your price of {model}"),
        "built_in" => format!("built-in list price of {model}"),
        "file_default" => format!("your default, as {model} is not in your file"),
        _ => format!("{} of {model}", words(&price.rule)),
    }
}

fn charge(last: &LastCharge, share: &Share) -> Vec<String> {
    let elapsed = &last.elapsed_seconds;
    let then = if last.share == *share { "" } else { " (its share then)" };
    let share = format!("{}{then}", last.share.fraction);
    let Some((rate, dollars)) = last.dollars_per_hour.as_ref().zip(last.dollars.as_ref()) else {
        let (all, parts) = split(&last.states, |part| Some(&part.gpu_seconds), CHARGE_DIGITS);
        return vec![format!("last interval: {elapsed} s × {share} = {all} GPU-seconds, {parts}")];
    };
    let (_, parts) = split(&last.states, |part| part.dollars.as_ref(), CHARGE_DIGITS);
    let all = Decimal::parse(dollars);
    let equals = if all.is_none_or(|all| all.is_exact(CHARGE_DIGITS)) { "=" } else { "≈" };
    let all = all.map_or_else(|| dollars.clone(), |all| all.text(CHARGE_DIGITS));
    vec![
        format!("last interval: {} $/h × {elapsed} s × {share} {equals} {all} $", money(rate)),
        format!("of that {parts}{}", burst(&last.burst_dollars, CHARGE_DIGITS)),
    ]
}

/// Work beyond a share, if there was any.
fn burst(dollars: &str, digits: usize) -> String {
    let burst = Decimal::parse(dollars).filter(|burst| *burst != Decimal::ZERO);
    burst.map(|it| format!(", and {} $ of burst, which is on no bill", it.text(digits))).unwrap_or_default()
}

/// A sum and what it consists of, with the burst beside it.
pub(crate) fn totals(totals: &Totals, burst_dollars: &str) -> String {
    let Some(dollars) = &totals.dollars else {
        let (all, parts) = split(&totals.states, |part| Some(&part.gpu_seconds), 3);
        return format!("{all} GPU-seconds without a price = {parts}");
    };
    let digits = if dollars.starts_with("0.") { SUM_DIGITS.0 } else { SUM_DIGITS.1 };
    let (all, parts) = split(&totals.states, |part| part.dollars.as_ref(), digits);
    format!("{all} $ = {parts}{}", burst(burst_dollars, digits))
}

/// A sum and its parts, such as `12.34` and `used 10.00 + idle 2.34`. What is shown adds up as what is meant does,
/// because each part is shown as the difference of two rounded sums.
fn split<'a>(
    parts: &'a [Part],
    amount: impl Fn(&'a Part) -> Option<&'a String>,
    digits: usize,
) -> (String, String) {
    let mut sum = Decimal::ZERO;
    let mut shown = Vec::new();
    for part in parts {
        let Some(amount) = amount(part).and_then(|text| Decimal::parse(text)) else { continue };
        if amount != Decimal::ZERO {
            let next = sum.plus(amount);
            let difference = next.rounded(digits).minus(sum.rounded(digits));
            shown.push(format!("{} {}", part.state, difference.text(digits)));
            sum = next;
        }
    }
    (sum.text(digits), if shown.is_empty() { "nothing yet".into() } else { shown.join(" + ") })
}

/// A decimal number of dollars with two digits after the point at least.
pub(crate) fn money(text: &str) -> String {
    let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    match digits {
        0 => format!("{text}.00"),
        1 => format!("{text}0"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The steps of the first holder of a healthy GPU, with the fields of `device`, `holding` and `last` in place.
    fn check(device: &Value, holding: &Value, last: &Value, expected: &[&str]) {
        let share =
            |n: u64, d: u64| json!({ "fraction": format!("{n}/{d}"), "numerator": n, "denominator": d });
        let mut charge = json!({
            "elapsed_seconds": "1", "dollars_per_hour": "3.6", "share": share(1, 1), "of_device": share(1, 1),
            "work": null, "dollars": "0.001", "gpu_seconds": "1", "burst_dollars": "0",
            "states": [{ "state": "used", "dollars": "0.001", "gpu_seconds": "1" }],
        });
        merge(&mut charge, last);
        let mut held = json!({
            "namespace": "ml", "pod": "job", "pod_uid": "", "mig_uuid": null, "mig_profile": null,
            "share": share(1, 1), "of_device": share(1, 1), "named": [], "last": charge,
            "basis": { "kind": "whole", "held": 1, "of": 1, "words": "it has the device alone" },
        });
        merge(&mut held, holding);
        let mut gpu = json!({
            "uuid": "GPU-a", "index": 3, "minor": 3, "pci_bus_id": null, "gpu_model": "nvidia-x", "product": "X",
            "fault": null, "sharing": "exclusive", "overcommitted": false, "attribution_method": "device",
            "utilization_source": "nvml_samples", "utilization": 0.31, "foreign_utilization": null, "mig": null,
            "price": null, "totals": { "dollars": null, "gpu_seconds": "0", "states": [] }, "xids": [],
            "unobserved_seconds": "0", "recovered_seconds": "0", "unheld": [], "holdings": [],
        });
        merge(&mut gpu, device);
        let (gpu, held) = (serde_json::from_value(gpu).unwrap(), serde_json::from_value(held).unwrap());
        let steps = steps(&gpu, &held);
        for part in expected {
            assert!(steps.iter().any(|step| step.contains(part)), "{part:?} is in none of {steps:#?}");
        }
    }

    fn merge(into: &mut Value, from: &Value) {
        for (name, value) in from.as_object().into_iter().flatten() {
            into[name] = value.clone();
        }
    }

    fn share(fraction: &str) -> Value {
        let (n, d) = fraction.split_once('/').unwrap();
        let number = |text: &str| text.parse::<u64>().unwrap();
        json!({ "fraction": fraction, "numerator": number(n), "denominator": number(d) })
    }

    fn basis(words: &str) -> Value {
        json!({ "kind": "", "held": 1, "of": 2, "words": words })
    }

    #[test]
    fn what_a_pod_was_given_is_said_by_container() {
        let named = |container: &str, id: &str| json!({ "container": container, "resource": "r", "id": id });
        let named = json!([named("a", "1"), named("a", "2"), named("b", "3")]);
        let expected = ["container a asked for r and got 1, 2", "container b asked for r and got 3"];
        check(&json!({}), &json!({ "named": named }), &json!({}), &expected);
        check(
            &json!({}),
            &json!({}),
            &json!({}),
            &["no container is listed with it", "→ GPU 3 (GPU-a), nvidia-x"],
        );
    }

    #[test]
    fn a_share_says_what_it_is_a_part_of() {
        let partition = json!({ "compute_slices": 7, "memory_slices": 8, "devices": [{
            "uuid": "MIG-a", "profile": "4g.40gb", "gpu_instance": 1, "compute_instance": 0,
            "compute_slices": 4, "memory_slices": 4, "utilization": null,
        }] });
        let cases = [
            ("4/7", "1/1", "share 4/7 of the GPU: 4 of 7 compute slices"),
            ("1/2", "1/1", "share 1/2 of the GPU: 4 of 8 memory slices"),
            ("15/28", "1/1", "share 15/28 of the GPU: 4 of 7 compute slices and 4 of 8 memory slices"),
            (
                "1/7",
                "1/4",
                "share 1/7 of the GPU: 1/4 of the MIG device (1 of 4 slots), which has 4 of 7 compute",
            ),
            (
                "18446744073709551615/18446744073709551615",
                "1/18446744073709551615",
                "share all of the GPU: 1/18446744073709551615 of the MIG device",
            ),
        ];
        for (of_gpu, of_device, expected) in cases {
            let held = json!({ "mig_uuid": "MIG-a", "share": share(of_gpu), "of_device": share(of_device),
                "basis": basis("1 of 4 slots") });
            check(&json!({ "sharing": "mig", "mig": partition }), &held, &json!({}), &[expected]);
        }
        let gone = json!({ "mig_uuid": "MIG-b", "share": share("3/7") });
        let expected =
            ["MIG device of a profile that the driver no longer shows (MIG-b)", "slices that the driver"];
        check(&json!({ "mig": partition }), &gone, &json!({}), &expected);
        let held = json!({ "share": share("3/8"), "of_device": share("3/8"), "basis": basis("60 % of the compute") });
        let device = json!({ "sharing": "fractional", "overcommitted": true });
        let expected = "share 3/8 of the GPU: 60 % of the compute; more was promised than there is";
        check(&device, &held, &json!({}), &[expected, "shared in fractions"]);
    }

    #[test]
    fn work_says_how_it_is_known() {
        let half = json!({ "share": share("1/2"), "of_device": share("1/2") });
        let work = json!({ "of_share": "13/25", "share_ratio": 0.52, "device_ratio": 0.26 });
        let last = json!({ "work": work, "share": share("1/2"), "of_device": share("1/2") });
        let cases = [
            (
                "processes",
                "31 % of the GPU (NVML samples), its own 26 % by its processes = 52 % of its share",
            ),
            (
                "equal_parts",
                "its own 26 % in proportion to its share, because processes cannot be told apart = 52 % of its share",
            ),
            ("telepathy", "its own 26 % by telepathy"),
        ];
        for (method, expected) in cases {
            check(&json!({ "attribution_method": method }), &half, &last, &[expected]);
        }
        let work = json!({ "work": { "of_share": "31/100", "share_ratio": 0.31, "device_ratio": 0.31 } });
        check(&json!({}), &json!({}), &work, &["31 % of the GPU (NVML samples), all of it its own"]);
        check(
            &json!({ "utilization": null }),
            &json!({}),
            &json!({}),
            &["not measured: its time is unmeasured"],
        );
        check(
            &json!({ "fault": "reset_required" }),
            &json!({}),
            &json!({}),
            &["cannot be used (reset required)"],
        );
    }

    #[test]
    fn a_price_says_its_rule() {
        let price = |rule: &str, fell_back: bool| {
            json!({ "price": { "dollars_per_hour": "3.6", "list_dollars_per_hour": "8", "rule": rule,
                "price_model": "spot", "fell_back": fell_back, "as_of": "2026-07-20" } })
        };
        let cases = [
            (
                price("file", false),
                "price 3.60 $/h: your price of nvidia-x, spot, as of 2026-07-20; on demand 8.00 $/h",
            ),
            (
                price("built_in", true),
                "built-in list price of nvidia-x, spot, because there is no other, as of",
            ),
            (price("file_default", false), "your default, as nvidia-x is not in your file, spot"),
            (price("override:night-shift", false), "price 3.60 $/h: your override night-shift, spot"),
            (
                price("catalogue:aws/us-east-1/p5.48xlarge@2026-07-20", false),
                "list price of aws/us-east-1/p5.48xlarge, spot, as of 2026-07-20",
            ),
            (price("moon_phase", false), "moon phase of nvidia-x, spot"),
            (json!({}), "no price: nobody said what a nvidia-x costs"),
        ];
        for (device, expected) in cases {
            check(&device, &json!({}), &json!({}), &[expected]);
        }
    }

    #[test]
    fn the_last_charge_can_be_done_again_by_hand() {
        check(&json!({}), &json!({}), &json!({}), &["last interval: 3.60 $/h × 1 s × 1/1 = 0.001 $"]);
        let part =
            |state: &str, dollars: &str| json!({ "state": state, "dollars": dollars, "gpu_seconds": "0.5" });
        let thirds = json!({
            "dollars": "0.0000000013333333333333", "share": share("1/3"),
            "states": [part("used", "0.0000000006666666666667"), part("idle", "0.0000000006666666666666")],
            "burst_dollars": "0.0000000200000000000000",
        });
        let expected = [
            "× 1/3 (its share then) ≈ 0.000000001 $",
            "of that used 0.000000001 + idle 0.00, and 0.00000002 $ of burst, which is on no bill",
        ];
        check(&json!({}), &json!({}), &thirds, &expected);
        let unpriced = json!({ "dollars_per_hour": null, "dollars": null });
        check(&json!({}), &json!({}), &unpriced, &["1 s × 1/1 = 1.00 GPU-seconds, used 1.00"]);
        check(&json!({}), &json!({ "last": null }), &json!({}), &["last interval: not charged"]);
    }
}
