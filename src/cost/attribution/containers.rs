//! Which container of a pod has which part of what the pod has of a device.
//!
//! The kubelet lists devices by container, and that is all that is known: whose container a process is in is not followed.
//! So what a pod is charged for a device is divided as the device is, whatever was done with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{DeviceId, DeviceTarget, PodKey};

use super::naming::{Part, Parts};
use super::parts::claims;
use crate::cost::account::Containers;
use crate::cost::report::NamedDevice;
use crate::cost::share::{Division, Share};

/// Divides what `pod` has of a device among the containers for which it is listed; `None` where it is listed for none.
///
/// Each device or slot that is `named` is a part as large as any other; parts by claims on a device's memory are as large
/// as what they consume of it. What several containers name is theirs in equal parts.
pub(super) fn divide(
    named: &[NamedDevice],
    pod: &PodKey,
    pods: &BTreeMap<PodKey, Parts>,
) -> Option<Arc<Containers>> {
    let mut users: BTreeMap<&DeviceId, BTreeSet<&Arc<str>>> = BTreeMap::new();
    for NamedDevice { container, id, .. } in named {
        users.entry(id).or_default().insert(container);
    }
    let consumed: Option<Vec<u64>> = users.keys().map(|id| consumed(id, pod, pods)).collect();
    let weights = consumed.unwrap_or_else(|| vec![1; users.len()]);
    let all = weights.iter().fold(0u64, |sum, weight| sum.saturating_add(*weight));
    let mut parts: BTreeMap<&Arc<str>, Share> = BTreeMap::new();
    for (containers, weight) in users.values().zip(weights) {
        let count = u64::try_from(containers.len()).unwrap_or(u64::MAX);
        let part = Share::new(1, count).of(Share::new(weight, all));
        for container in containers {
            let sum = parts.entry(container).or_insert(Share::NONE);
            *sum = sum.plus(part);
        }
    }
    // Only where shares had to be rounded is there a rest.
    let rest = Arc::clone(parts.keys().next()?);
    let parts = parts.into_iter().map(|(container, part)| (Arc::clone(container), part));
    Some(Arc::new(Division::new(parts.collect(), rest)))
}

/// Bytes of the device that the pod has by the claim that an id is of; `None` if it is of none, or has the device as a whole.
fn consumed(id: &DeviceId, pod: &PodKey, pods: &BTreeMap<PodKey, Parts>) -> Option<u64> {
    let (claim, share_id) = match &id.target {
        DeviceTarget::Claimed { claim, share_id, .. } => (claim, share_id.as_ref()),
        DeviceTarget::Claim(claim) => (claim, None),
        _ => return None,
    };
    let of_it = claims(pods.get(pod)?)
        .filter(|terms| terms.claim == *claim && (share_id.is_none() || terms.share_id.as_ref() == share_id));
    of_it.map(|terms| Some((terms.consumed?.0, terms))).try_fold(0u64, |sum, part| {
        let (bytes, terms) = part?;
        let part = Part::Claimed(terms.clone());
        let users = pods.values().filter(|parts| parts.contains(&part)).count();
        Some(sum.saturating_add(bytes / u64::try_from(users).unwrap_or(u64::MAX).max(1)))
    })
}
