//! The controller above a pod, from what the pod itself says: no call is made to ask its owner for its own owner.
//!
//! The owner reference names the next one up only: a pod of a Deployment belongs to a `ReplicaSet`, one of a `CronJob`
//! to a `Job`. Those who put several layers between themselves and their pods leave their name in a label.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::objects::{Metadata, Owner};
use crate::observation::Workload;

/// Labels whose value is the name of a workload of one kind.
const NAMES: &[(&str, &str)] = &[
    ("jobset.sigs.k8s.io/jobset-name", "JobSet"),
    ("leaderworkerset.sigs.k8s.io/name", "LeaderWorkerSet"),
    ("ray.io/cluster", "RayCluster"),
    ("serving.kserve.io/inferenceservice", "InferenceService"),
    ("workflows.argoproj.io/workflow", "Workflow"),
];

/// The kind and the name of what a Ray cluster was made for, such as a `RayJob`.
const RAY_ORIGIN: (&str, &str) = ("ray.io/originated-from-crd", "ray.io/originated-from-cr-name");

/// The name of a job of Kubeflow's training operator; its kind is its pods' owner's.
const KUBEFLOW_JOB: &str = "training.kubeflow.org/job-name";

/// Who runs a job of Kubeflow. The MPI operator's launcher is a pod of a `Job` of its own.
const KUBEFLOW_OPERATOR: &str = "training.kubeflow.org/operator-name";

/// Labels by which a `ReplicaSet` knows its pods, with the kind that makes such sets and names them after itself and
/// the label's value.
const TEMPLATE_HASHES: &[(&str, &str)] =
    &[("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")];

/// A `CronJob` names its jobs after itself and the minute they were due, counted from 1970. From 2019 to 2046: a number
/// below is a day, such as 20261121, which people write into the names of jobs of their own.
const MINUTES: RangeInclusive<u64> = 26_000_000..=40_000_000;

/// The same in seconds, as up to Kubernetes 1.20.
const SECONDS: RangeInclusive<u64> = 1_560_000_000..=2_400_000_000;

/// The controller above a pod; `None` when nobody takes care of it.
pub(super) fn of(metadata: &Metadata) -> Option<Workload> {
    let owner = metadata.owner_references.iter().find(|owner| owner.controller);
    ray_origin(metadata)
        .or_else(|| named(metadata))
        .or_else(|| kubeflow_job(metadata, owner))
        .or_else(|| owner.map(|owner| above(owner, metadata)))
}

fn ray_origin(metadata: &Metadata) -> Option<Workload> {
    let (kind, name) = RAY_ORIGIN;
    Some(workload(metadata.label(kind)?, metadata.label(name)?))
}

fn named(metadata: &Metadata) -> Option<Workload> {
    NAMES.iter().find_map(|(label, kind)| Some(workload(kind, metadata.label(label)?)))
}

fn kubeflow_job(metadata: &Metadata, owner: Option<&Owner>) -> Option<Workload> {
    let name = metadata.label(KUBEFLOW_JOB)?;
    let is_mpi = metadata.label(KUBEFLOW_OPERATOR) == Some("mpi-operator");
    let kind = if is_mpi { "MPIJob" } else { owner?.kind.as_str() };
    Some(workload(kind, name))
}

/// The owner, or the one above it where the owner's name shows it.
fn above(owner: &Owner, metadata: &Metadata) -> Workload {
    let Owner { kind, name, .. } = owner;
    let higher = match kind.as_str() {
        "ReplicaSet" => template_owner(name, metadata),
        "Job" => cron_job(name).map(|cron_job| workload("CronJob", cron_job)),
        _ => None,
    };
    higher.unwrap_or_else(|| workload(kind, name))
}

fn template_owner(replica_set: &str, metadata: &Metadata) -> Option<Workload> {
    TEMPLATE_HASHES.iter().find_map(|(label, kind)| {
        let name = replica_set.strip_suffix(metadata.label(label)?)?.strip_suffix('-')?;
        Some(workload(kind, name))
    })
}

fn cron_job(job: &str) -> Option<&str> {
    let (name, due) = job.rsplit_once('-')?;
    let due: u64 = due.parse().ok()?;
    ((MINUTES.contains(&due) || SECONDS.contains(&due)) && !name.is_empty()).then_some(name)
}

fn workload(kind: &str, name: &str) -> Workload {
    let (kind, name): (Arc<str>, Arc<str>) = (kind.into(), name.into());
    Workload { kind, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a pod with this controller, written `Kind/name`, and these labels.
    #[track_caller]
    fn check(owner: &str, labels: &str, expected: &str) {
        let owner_references = owner.split_once('/').map(|(kind, name)| Owner {
            kind: kind.to_owned(),
            name: name.to_owned(),
            controller: true,
        });
        let labels = labels.split_whitespace().filter_map(|label| label.split_once('='));
        let metadata = Metadata {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            owner_references: owner_references.into_iter().collect(),
            ..Metadata::default()
        };
        let found = of(&metadata).map(|Workload { kind, name }| format!("{kind}/{name}"));
        assert_eq!(found.unwrap_or_default(), expected, "{owner} {labels:?}", labels = metadata.labels);
    }

    #[test]
    fn kubernetes_own_controllers_are_found_by_their_names() {
        check("", "", "");
        check("ReplicaSet/chat-7d4b9c6f5", "pod-template-hash=7d4b9c6f5", "Deployment/chat");
        check("ReplicaSet/a-b-c-7d4b9c6f5", "pod-template-hash=7d4b9c6f5", "Deployment/a-b-c");
        check("ReplicaSet/chat-7d4b9c6f5", "", "ReplicaSet/chat-7d4b9c6f5");
        check("ReplicaSet/chat", "pod-template-hash=7d4b9c6f5", "ReplicaSet/chat");
        check("ReplicaSet/canary-5d9", "rollouts-pod-template-hash=5d9", "Rollout/canary");
        check("StatefulSet/db", "", "StatefulSet/db");
        check("DaemonSet/agent", "", "DaemonSet/agent");
        check("Job/train", "", "Job/train");
        check("Job/train-2024", "", "Job/train-2024");
        check("Job/nightly-29384400", "", "CronJob/nightly");
        check("Job/nightly-1700000000", "", "CronJob/nightly");
        check("Job/train-20261121", "", "Job/train-20261121");
        check("Job/train-202611211200", "", "Job/train-202611211200");
        check("Job/nightly-2938440x", "", "Job/nightly-2938440x");
        check("Job/-29384400", "", "Job/-29384400");
        check("ReplicationController/old", "", "ReplicationController/old");
        // A mirror pod, which shows a static pod of the node.
        check("Node/node-1", "", "Node/node-1");
    }

    #[test]
    fn others_leave_their_name_in_a_label() {
        check("Job/llm-workers-0", "jobset.sigs.k8s.io/jobset-name=llm", "JobSet/llm");
        check("StatefulSet/vllm-0", "leaderworkerset.sigs.k8s.io/name=vllm", "LeaderWorkerSet/vllm");
        check("RayCluster/ray", "ray.io/cluster=ray", "RayCluster/ray");
        check(
            "RayCluster/tune-x7k2p",
            "ray.io/cluster=tune-x7k2p ray.io/originated-from-crd=RayJob ray.io/originated-from-cr-name=tune",
            "RayJob/tune",
        );
        check("PyTorchJob/bert", "training.kubeflow.org/job-name=bert", "PyTorchJob/bert");
        check("TFJob/mnist", "training.kubeflow.org/job-name=mnist", "TFJob/mnist");
        let mpi = "training.kubeflow.org/job-name=hpl training.kubeflow.org/operator-name=mpi-operator";
        check("Job/hpl-launcher", mpi, "MPIJob/hpl");
        check("MPIJob/hpl", mpi, "MPIJob/hpl");
        check("", "training.kubeflow.org/job-name=lost", "");
        check(
            "ReplicaSet/llama-predictor-6f5",
            "pod-template-hash=6f5 serving.kserve.io/inferenceservice=llama",
            "InferenceService/llama",
        );
        check("Workflow/etl-abc", "workflows.argoproj.io/workflow=etl-abc", "Workflow/etl-abc");
        check("DaemonSet/agent", "ray.io/cluster=", "DaemonSet/agent");
    }

    #[test]
    fn an_owner_that_does_not_take_care_of_the_pod_is_not_above_it() {
        let owner = Owner { kind: "Workflow".to_owned(), name: "x".to_owned(), controller: false };
        assert_eq!(of(&Metadata { owner_references: vec![owner], ..Metadata::default() }), None);
    }
}
