//! Which part of one device each pod has, where several name it.

use std::collections::BTreeMap;

use crate::observation::{PodKey, Ppm};

use super::SharingPolicy;
use super::dynamic::Terms;
use super::memory::Memory;
use super::naming::{DeviceKey, Part, Parts};
use crate::cost::report::{Basis, Sharing};
use crate::cost::share::Share;

/// How a device is held.
#[derive(Debug)]
pub(super) struct Holders<'p> {
    /// The pods that have a part of it, each once, sorted; the parts may sum to more than the device.
    pub(super) parts: Vec<(&'p PodKey, Share, Basis)>,
    /// How those who hold it share it.
    pub(super) sharing: Sharing,
    /// Whether pods name what only one of them can have.
    pub(super) contested: bool,
}

// === impl Holders ===

impl<'p> Holders<'p> {
    /// Reads what `pods` name of a device. The newest pod's way of naming it is the present one: pods that were there
    /// before a plugin was switched have another.
    pub(super) fn of(
        key: &DeviceKey,
        pods: &'p BTreeMap<PodKey, Parts>,
        memory: &Memory,
        policy: SharingPolicy,
    ) -> Self {
        let Some(newest) = memory.newest(pods.keys()) else { return Self::none() };
        let parts = &pods[newest];
        if parts.contains(&Part::Whole) {
            return Self::alone(newest, pods.len() > 1);
        }
        match parts.first() {
            Some(Part::Fraction { .. }) => Self::fractions(key, pods, memory),
            Some(Part::Claimed(_)) => Self::claims(pods, memory),
            _ => Self::slots(key, pods, memory, policy),
        }
    }

    fn none() -> Self {
        Self { parts: Vec::new(), sharing: Sharing::Exclusive, contested: false }
    }

    fn alone(pod: &'p PodKey, contested: bool) -> Self {
        let parts = vec![(pod, Share::WHOLE, Basis::Whole)];
        Self { parts, sharing: Sharing::Exclusive, contested }
    }

    /// Of several pods that name one slot the newest has it.
    fn slots(
        key: &DeviceKey,
        pods: &'p BTreeMap<PodKey, Parts>,
        memory: &Memory,
        policy: SharingPolicy,
    ) -> Self {
        let mut contested = false;
        let mut owners: BTreeMap<u32, &PodKey> = BTreeMap::new();
        for (pod, parts) in pods {
            for part in parts.iter() {
                let Part::Replica(replica) = part else {
                    contested = true;
                    continue;
                };
                let owner = owners.entry(*replica).or_insert(pod);
                contested |= *owner != pod;
                *owner = memory.newest([*owner, pod].into_iter()).unwrap_or(pod);
            }
        }
        let mut held: BTreeMap<&PodKey, u32> = BTreeMap::new();
        for pod in owners.into_values() {
            *held.entry(pod).or_insert(0) += 1;
        }
        let all_held = held.values().sum();
        let of = match policy {
            SharingPolicy::Active => all_held,
            SharingPolicy::Slots => memory.slots(key).unwrap_or(all_held).max(all_held),
        };
        let part =
            |(pod, held): (_, u32)| (pod, Share::new(held.into(), of.into()), Basis::Slots { held, of });
        Self { parts: held.into_iter().map(part).collect(), sharing: memory.replicas(), contested }
    }

    /// One basis for all: compute if every holder names some, or else memory.
    fn fractions(key: &DeviceKey, pods: &'p BTreeMap<PodKey, Parts>, memory: &Memory) -> Self {
        let fractions: Vec<(&PodKey, Option<Ppm>, Option<u64>)> =
            pods.iter().filter_map(|(pod, parts)| fraction(parts).map(|(c, m)| (pod, c, m))).collect();
        let by_compute = fractions.iter().all(|(_, compute, _)| compute.is_some());
        let all = memory.bytes(key);
        let part = |(pod, compute, bytes): &(&'p PodKey, Option<Ppm>, Option<u64>)| {
            let by_memory = bytes.zip(all).filter(|_| !by_compute);
            let compute = compute.unwrap_or(Ppm::ALL);
            let (share, basis) = by_memory.map_or_else(
                || (Share::new(compute.get().into(), Ppm::ALL.get().into()), Basis::Compute(compute)),
                |(bytes, of)| (Share::new(bytes, of), Basis::Memory { bytes, of }),
            );
            (*pod, share, basis)
        };
        Self {
            parts: fractions.iter().map(part).collect(),
            sharing: Sharing::Fractional,
            contested: fractions.len() < pods.len(),
        }
    }

    /// Pods that use one claim have equal parts of what it has. A device that is not given out in parts has one claim;
    /// of several the newest pod's is the present one.
    fn claims(pods: &'p BTreeMap<PodKey, Parts>, memory: &Memory) -> Self {
        let whole = pods.iter().filter(|(_, parts)| whole_claim(parts).is_some());
        let newest = memory.newest(whole.map(|(pod, _)| pod));
        let Some(terms) = newest.and_then(|pod| whole_claim(&pods[pod])) else { return Self::consumed(pods) };
        let part = Part::Claimed(terms.clone());
        let users: Vec<&PodKey> =
            pods.iter().filter(|(_, parts)| parts.contains(&part)).map(|(pod, _)| pod).collect();
        let contested = users.len() < pods.len();
        match users[..] {
            [only] => Self::alone(only, contested),
            _ => Self::users(&users, contested),
        }
    }

    /// Claims on parts of a device: each has what it consumes of the memory, or where nobody says how much that is, as
    /// much as each other such claim. Pods that use one claim have equal parts of that.
    fn consumed(pods: &'p BTreeMap<PodKey, Parts>) -> Self {
        let mut users: BTreeMap<&Terms, u64> = BTreeMap::new();
        for terms in pods.values().flat_map(claims) {
            *users.entry(terms).or_insert(0) += 1;
        }
        let all = u64::try_from(users.len()).unwrap_or(u64::MAX);
        let share = |terms: &Terms| {
            let (part, of) = terms.consumed.unwrap_or((1, all));
            Share::new(1, users[terms]).of(Share::new(part, of))
        };
        let part = |(pod, parts): (&'p PodKey, &Parts)| {
            let whole = claims(parts).fold(Share::NONE, |sum, terms| sum.plus(share(terms)));
            let bytes = claims(parts).try_fold((0u64, 0), |(sum, _), terms| {
                let (bytes, of) = terms.consumed?;
                Some((sum.saturating_add(bytes / users[terms]), of))
            });
            let basis = bytes
                .map_or(Basis::Claim { pods: count(pods.len()) }, |(bytes, of)| Basis::Memory { bytes, of });
            (pod, whole, basis)
        };
        let parts: Vec<_> =
            pods.iter().filter(|(_, parts)| claims(parts).next().is_some()).map(part).collect();
        let contested = parts.len() < pods.len();
        Self { parts, sharing: Sharing::Fractional, contested }
    }

    fn users(users: &[&'p PodKey], contested: bool) -> Self {
        let pods = count(users.len());
        let part = |pod: &&'p PodKey| (*pod, Share::new(1, pods.into()), Basis::Claim { pods });
        Self { parts: users.iter().map(part).collect(), sharing: Sharing::Fractional, contested }
    }

    /// Whether the parts sum to more than there is.
    pub(super) fn are_too_many(&self) -> bool {
        let mut left = Share::WHOLE;
        self.parts.iter().any(|(_, share, _)| {
            let fits = share.minus(left).is_none();
            left = left.minus(*share);
            !fits
        })
    }
}

/// All that a pod's annotations give it of a device.
fn fraction(parts: &Parts) -> Option<(Option<Ppm>, Option<u64>)> {
    let fractions = parts.iter().filter_map(|part| match part {
        Part::Fraction { compute, memory } => Some((*compute, *memory)),
        _ => None,
    });
    fractions.reduce(|one, other| {
        let compute = one.0.zip(other.0).map(|(a, b)| Ppm::new(a.get().saturating_add(b.get())));
        (compute, one.1.zip(other.1).map(|(a, b)| a.saturating_add(b)))
    })
}

/// The terms of the claims among the parts.
pub(super) fn claims(parts: &Parts) -> impl Iterator<Item = &Terms> {
    parts.iter().filter_map(|part| if let Part::Claimed(terms) = part { Some(terms) } else { None })
}

/// The terms of a claim that has the device as a whole.
fn whole_claim(parts: &Parts) -> Option<&Terms> {
    claims(parts).find(|terms| terms.consumed.is_none() && terms.share_id.is_none())
}

fn count(pods: usize) -> u32 {
    u32::try_from(pods).unwrap_or(u32::MAX)
}
