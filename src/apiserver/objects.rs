//! Pods and nodes with the few fields that we use; the others are dropped while they are read.
//!
//! Every field may be missing: an object that we cannot make sense of must not cost us the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::requests::Spec;
use super::{Reading, fractions, workload};
use crate::observation::{Pod, PodKey, UnixTime};

/// The answer to a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObjectList<O> {
    pub(super) metadata: Metadata,
    /// `null` where there is none.
    pub(super) items: Option<Vec<O>>,
}

/// A pod or a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

/// What every object has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) creation_timestamp: Option<Time>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) owner_references: Vec<Owner>,
}

/// Who made the object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    /// Whether it is the one that takes care of the object.
    pub(super) controller: bool,
}

/// How a pod is doing; a node has no phase any more.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) phase: String,
    pub(super) conditions: Option<Vec<Condition>>,
    /// The claims that were made for it from templates.
    #[serde(rename = "resourceClaimStatuses")]
    pub(super) claims: Option<Vec<ClaimReference>>,
    /// The claim that was made for it because it asks for devices by their count, as of a plugin.
    #[serde(rename = "extendedResourceClaimStatus")]
    pub(super) extended_claim: Option<ClaimReference>,
}

/// Where a pod names a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClaimReference {
    /// `None` where no claim was needed, or it is named elsewhere.
    pub(super) resource_claim_name: Option<String>,
}

/// One thing that is so or is not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// `True`, `False` or `Unknown`.
    pub(super) status: String,
}

/// On a static pod's mirror, the UID that the kubelet has for the pod itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The longest UID that is kept, in bytes. Real ones have 32 or 36.
const UID_BYTES_MAX: usize = 64;

// === impl Object ===

impl Object {
    /// The pod. Of one that has ended nothing is kept but who it was: it pays no more.
    pub(super) fn pod(&self, reading: &Reading) -> Pod {
        let static_uid = self.metadata.annotation(MIRROR).filter(|uid| uid.len() <= UID_BYTES_MAX);
        let pod = Pod {
            key: self.key(),
            uid: self.metadata.uid.as_str().into(),
            static_uid: static_uid.map(Arc::from),
            created: self.metadata.created(),
            ended: self.status.has_ended(),
            ..Pod::default()
        };
        if pod.ended {
            return pod;
        }
        let workload = workload::of(&self.metadata);
        Pod {
            labels: reading.payers.of(&self.metadata, workload.as_ref()),
            workload,
            // A static pod may run without the device that it asks for.
            unlisted_gpus: match pod.static_uid {
                Some(_) => 0,
                None => self.spec.unlisted_gpus(&reading.gpus),
            },
            fractions: fractions::of(self),
            reserves: fractions::reserved_for(self),
            ..pod
        }
    }

    /// The kubelet's name for the pod.
    pub(super) fn key(&self) -> PodKey {
        PodKey::new(self.metadata.namespace.as_str(), self.metadata.name.as_str())
    }

    /// The labels, sorted by key.
    pub(super) fn labels(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let labels = self.metadata.labels.iter();
        labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
    }
}

// === impl Status ===

impl Status {
    /// Whether all containers have ended for good. A pod that is being deleted runs until it says so.
    pub(super) fn has_ended(&self) -> bool {
        ["Succeeded", "Failed"].contains(&self.phase.as_str())
    }

    /// Whether all plain init containers have ended well.
    pub(super) fn is_initialized(&self) -> bool {
        let mut conditions = self.conditions.iter().flatten();
        conditions.any(|condition| condition.kind == "Initialized" && condition.status == "True")
    }
}

// === impl Metadata ===

impl Metadata {
    /// The value of a label, if there is one and it says something.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of an annotation, if there is one and it says something.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn created(&self) -> UnixTime {
        let millis = self.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
        UnixTime::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}
