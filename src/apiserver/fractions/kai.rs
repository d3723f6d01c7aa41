//! The KAI scheduler and Run:ai, from which it came.
//!
//! A pod asks for a part of a GPU by annotation, and of how many GPUs; the kubelet knows nothing of it. A *reservation*
//! pod in a namespace of the scheduler's own holds the GPU for all who share it, and a label with the name of their
//! group is on them all: `runai-gpu-group: G`, or `runai-gpu-group/G: G` where a pod has parts of several GPUs.
//! (KAI-Scheduler: `pkg/common/constants`, `pkg/common/resources/gpu_sharing.go`,
//! `pkg/binder/binding/resourcereservation`.)

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::objects::Metadata;
use super::{MIB, Part, Parts};
use crate::observation::{FractionOf, Ppm};

/// The part of each GPU, such as `0.5`.
const FRACTION: &str = "gpu-fraction";
/// Mebibytes of each GPU, instead of a part.
const MEMORY: &str = "gpu-memory";
/// The group that shares a GPU.
const GROUP: &str = "runai-gpu-group";
/// What follows [`GROUP`] in the keys of a pod with several groups.
const SEPARATOR: char = '/';

/// Where reservations live, unless their scheduler was told otherwise. Nobody else may make pods there, so nobody can
/// make a group pay for what is his own.
const RESERVATIONS: &[&str] = &["kai-resource-reservation", "runai-reservation"];
/// How the name of a reservation begins.
const RESERVATION: &str = "gpu-reservation";

/// What the pod has of the GPU of each of its groups.
pub(super) fn read(metadata: &Metadata) -> Parts {
    let compute = metadata.annotation(FRACTION).and_then(fraction);
    let mebibytes = metadata.annotation(MEMORY).and_then(|text| text.parse::<u64>().ok());
    let memory = mebibytes.filter(|mebibytes| *mebibytes > 0).map(|mebibytes| mebibytes.saturating_mul(MIB));
    let part = Part { compute, memory };
    if part == Part::WHOLE || reserved_for(metadata).is_some() {
        return Parts::new();
    }
    groups(metadata).into_iter().map(|group| (FractionOf::Group(group.into()), part)).collect()
}

/// The group for which the pod holds its GPU.
pub(super) fn reserved_for(metadata: &Metadata) -> Option<Arc<str>> {
    let is_reservation =
        RESERVATIONS.contains(&metadata.namespace.as_str()) && metadata.name.starts_with(RESERVATION);
    metadata.label(GROUP).filter(|_| is_reservation).map(Arc::from)
}

fn groups(metadata: &Metadata) -> BTreeSet<&str> {
    let several = metadata
        .labels
        .iter()
        .filter(|(key, _)| key.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with(SEPARATOR)));
    let several = several.map(|(_, group)| group.as_str()).filter(|group| !group.is_empty());
    metadata.label(GROUP).into_iter().chain(several).collect()
}

/// A decimal number above zero and up to one. Millionths are exact enough: what is cut off stays unallocated.
fn fraction(text: &str) -> Option<Ppm> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(decimals) || whole.len() + decimals.len() == 0 {
        return None;
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let millionths: u32 = format!("{decimals:0<6}").get(..6)?.parse().ok()?;
    let all = whole.checked_mul(Ppm::ALL.get())?.checked_add(millionths)?;
    (1..=Ppm::ALL.get()).contains(&all).then(|| Ppm::new(all))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::read;
    use super::*;

    #[track_caller]
    fn check(annotations: &Value, labels: &Value, expected: &str) {
        let found = read(&json!({ "metadata": { "annotations": annotations, "labels": labels } }));
        assert_eq!(found, expected, "{annotations} {labels}");
    }

    #[test]
    fn a_part_of_the_gpu_of_a_group_is_read() {
        let one = json!({ "runai-gpu-group": "g1" });
        check(&json!({ "gpu-fraction": "0.5" }), &one, "@g1 500000ppm");
        check(&json!({ "gpu-memory": "2000" }), &one, "@g1 2000MiB");
        // Not bound yet.
        check(&json!({ "gpu-fraction": "0.5" }), &json!({}), "");
        // Of the group, but nobody says with which part.
        check(&json!({}), &one, "");
        let two = json!({ "runai-gpu-group/g2": "g2", "runai-gpu-group/g1": "g1", "runai-gpu-groups": "x" });
        let halves = json!({ "gpu-fraction": "0.25", "gpu-fraction-num-devices": "2" });
        check(&halves, &two, "@g1 250000ppm, @g2 250000ppm");
        check(&halves, &json!({ "runai-gpu-group": "g1", "runai-gpu-group/g1": "g1" }), "@g1 250000ppm");
        check(&halves, &json!({ "runai-gpu-group": "", "runai-gpu-group/g1": "" }), "");
    }

    #[test]
    fn a_fraction_is_a_decimal_number_up_to_one() {
        for (text, expected) in [
            ("0.5", Some(500_000)),
            (".5", Some(500_000)),
            ("0.3333333333", Some(333_333)),
            ("1", Some(1_000_000)),
            ("1.0", Some(1_000_000)),
            ("0", None),
            ("0.0000001", None),
            ("1.000001", None),
            ("2", None),
            ("", None),
            (".", None),
            ("-0.5", None),
            ("50%", None),
            ("5e-1", None),
            ("0.5 ", None),
            ("99999999999999", None),
            ("0.٥", None),
        ] {
            assert_eq!(fraction(text).map(Ppm::get), expected, "{text:?}");
        }
        for garbage in ["0", "-1", "1Gi", "x"] {
            check(&json!({ "gpu-memory": garbage }), &json!({ "runai-gpu-group": "g1" }), "");
        }
    }

    #[test]
    fn a_reservation_holds_the_gpu_of_its_group() {
        let reserved = |namespace: &str, name: &str, group: &str| {
            let labels = json!({ "app": "x", "runai-gpu-group": group });
            let metadata = json!({ "namespace": namespace, "name": name, "labels": labels });
            reserved_for(&serde_json::from_value(metadata).unwrap()).map(|group| group.to_string())
        };
        let reservation = "gpu-reservation-node-1-x7k2p";
        assert_eq!(reserved("kai-resource-reservation", reservation, "g1"), Some("g1".to_owned()));
        assert_eq!(reserved("runai-reservation", reservation, "g1"), Some("g1".to_owned()));
        assert_eq!(reserved("runai-reservation", reservation, ""), None);
        assert_eq!(reserved("runai-reservation", "scaling-pod", "g1"), None);
        assert_eq!(reserved("ml", reservation, "g1"), None);
    }
}
