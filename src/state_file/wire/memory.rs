//! What attribution remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::text::{Text, WireKey};
use crate::cost::attribution::{Held, Identity, Listing, Memory};
use crate::cost::report::Sharing;
use crate::observation::{Allocations, PodKey, Uptime};
use crate::trace::{List, WireAllocation, WirePodKey};

/// What attribution remembers, but for what the kubelet last answered, which is in the observation, and for what follows
/// from it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireMemory<'a> {
    held: List<'a, WireHeld>,
    gone: List<'a, (WirePodKey, u64)>,
    answers: u64,
    first_answering_since: Option<u64>,
    advertised: List<'a, (WireKey, u32)>,
    named: List<'a, (WireKey, u32)>,
    offered: List<'a, WireKey>,
    withdrawn: List<'a, WireKey>,
    bytes: List<'a, (WireKey, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireHeld {
    pod: WirePodKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<WireIdentity>,
    since: u64,
    listed_in: u64,
    listed_at: u64,
    devices: Vec<WireAllocation>,
    believed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireIdentity {
    uid: Text,
    is_static: bool,
}

// === impl WireMemory ===

impl<'a> WireMemory<'a> {
    pub(super) fn of(memory: &'a Memory) -> Self {
        // Who came when follows from who is held since when, and how replicas are shared from the node's labels.
        let Memory { listing, advertised, named, offered, withdrawn, bytes, came: _, replicas: _ } = memory;
        // The answer stands with the observation, whose age says whether it is fresh.
        let Listing { held, gone, answer: _, answers, first_answering_since, fresh: _ } = listing;
        Self {
            held: List::of(held, WireHeld::of),
            gone: List::of(gone, |(pod, at)| (pod.into(), at.as_nanos())),
            answers: *answers,
            first_answering_since: first_answering_since.map(Uptime::as_nanos),
            advertised: List::of(advertised, |(key, slots)| (WireKey::of(key), *slots)),
            named: List::of(named, |(key, slots)| (WireKey::of(key), *slots)),
            offered: List::of(offered, WireKey::of),
            withdrawn: List::of(withdrawn, WireKey::of),
            bytes: List::of(bytes, |(key, bytes)| (WireKey::of(key), *bytes)),
        }
    }

    /// What was remembered, with what the kubelet last answered.
    pub(super) fn memory(self, answer: Option<Arc<Allocations>>) -> Memory {
        let since = |nanos| Uptime::from_nanos(nanos);
        let listing = Listing {
            held: self.held.into_iter().map(WireHeld::held).collect(),
            gone: self.gone.into_iter().map(|(pod, at)| (pod.into(), since(at))).collect(),
            answer,
            answers: self.answers,
            first_answering_since: self.first_answering_since.map(since),
            fresh: false,
        };
        Memory {
            listing,
            advertised: self.advertised.into_iter().map(|(key, slots)| (key.key(), slots)).collect(),
            named: self.named.into_iter().map(|(key, slots)| (key.key(), slots)).collect(),
            offered: self.offered.into_iter().map(WireKey::key).collect::<BTreeSet<_>>(),
            withdrawn: self.withdrawn.into_iter().map(WireKey::key).collect(),
            bytes: self.bytes.into_iter().map(|(key, bytes)| (key.key(), bytes)).collect(),
            came: BTreeMap::new(),
            replicas: Sharing::default(),
        }
    }
}

// === impl WireHeld ===

impl WireHeld {
    fn of((pod, held): (&PodKey, &Held)) -> Self {
        let Held { identity, since, listed_in, listed_at, devices, believed } = held;
        let who =
            |Identity { uid, is_static }: &Identity| WireIdentity { uid: uid.into(), is_static: *is_static };
        Self {
            pod: pod.into(),
            identity: identity.as_ref().map(who),
            since: since.as_nanos(),
            listed_in: *listed_in,
            listed_at: listed_at.as_nanos(),
            devices: devices.iter().map(Into::into).collect(),
            believed: *believed,
        }
    }

    fn held(self) -> (PodKey, Held) {
        let who = |WireIdentity { uid, is_static }| Identity { uid: uid.into(), is_static };
        let held = Held {
            identity: self.identity.map(who),
            since: Uptime::from_nanos(self.since),
            listed_in: self.listed_in,
            listed_at: Uptime::from_nanos(self.listed_at),
            devices: self.devices.into_iter().map(Into::into).collect(),
            believed: self.believed,
        };
        (self.pod.into(), held)
    }
}
