//! Which claims the pods of this node name.
//!
//! A pod names a claim in one of three places: in its spec, where somebody else made the claim; in its status, where one
//! was made for it from a template; and in another part of its status, where it asked for devices by their count and
//! the cluster serves that by a claim. With the names each claim can be asked for by itself: to list or watch all
//! claims of the cluster, from every node, would cost the API server far more.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::objects::Object;
use crate::observation::{ClaimKey, PodKey};

/// The claims that are named, each with those who do.
pub(super) type Named = BTreeMap<ClaimKey, Namers>;

/// The pods that name a claim: the UID of each, with the version in which it was last told.
pub(super) type Namers = BTreeMap<Arc<str>, Arc<str>>;

/// Keeps account of which pod names which claims.
#[derive(Debug, Default)]
pub(super) struct ClaimNames {
    pods: BTreeMap<PodKey, NamingPod>,
    publish: watch::Sender<Named>,
}

#[derive(Debug)]
struct NamingPod {
    uid: Arc<str>,
    version: Arc<str>,
    claims: Vec<ClaimKey>,
}

// === impl ClaimNames ===

impl ClaimNames {
    /// The claims that are named, now and from now on.
    pub(super) fn named(&self) -> watch::Receiver<Named> {
        self.publish.subscribe()
    }

    /// Takes these pods for all that there are.
    pub(super) fn set(&mut self, pods: &[Object]) {
        self.pods = pods.iter().filter_map(|pod| Some((pod.key(), NamingPod::of(pod)?))).collect();
        self.tell();
    }

    pub(super) fn change(&mut self, pod: &Object) {
        match NamingPod::of(pod) {
            Some(naming) => drop(self.pods.insert(pod.key(), naming)),
            None => drop(self.pods.remove(&pod.key())),
        }
        self.tell();
    }

    /// Removes a pod, but not another one that has its name by now.
    pub(super) fn remove(&mut self, pod: &Object) {
        let key = pod.key();
        if self.pods.get(&key).is_some_and(|naming| *naming.uid == *pod.metadata.uid) {
            self.pods.remove(&key);
            self.tell();
        }
    }

    fn tell(&self) {
        let mut named = Named::new();
        for NamingPod { uid, version, claims } in self.pods.values() {
            for claim in claims {
                named.entry(claim.clone()).or_default().insert(Arc::clone(uid), Arc::clone(version));
            }
        }
        self.publish.send_if_modified(|before| {
            let is_new = *before != named;
            *before = named;
            is_new
        });
    }
}

// === impl NamingPod ===

impl NamingPod {
    /// `None` for a pod that names no claim, or that has ended and so gives back what its claims have.
    fn of(pod: &Object) -> Option<Self> {
        let status = &pod.status;
        let names = pod.spec.claims.iter().flatten().chain(status.claims.iter().flatten());
        let names = names.chain(&status.extended_claim);
        let names = names.filter_map(|reference| reference.resource_claim_name.as_deref());
        let namespace: Arc<str> = pod.metadata.namespace.as_str().into();
        let key = |name: &str| ClaimKey { namespace: Arc::clone(&namespace), name: name.into() };
        let claims: Vec<ClaimKey> = names.filter(|name| !name.is_empty()).map(key).collect();
        (!claims.is_empty() && !status.has_ended()).then(|| Self {
            uid: pod.metadata.uid.as_str().into(),
            version: pod.metadata.resource_version.as_str().into(),
            claims,
        })
    }
}
