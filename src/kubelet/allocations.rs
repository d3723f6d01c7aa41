//! From the kubelet's answers to allocations.
//!
//! An answer is a list of entries in random order, where a container without devices is listed too and a device with
//! two NUMA nodes comes twice. Out of it comes, sorted, every container that has a GPU, with each device once: two
//! answers that say the same are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::observation::{Allocation, ClaimKey, DeviceId, DeviceTarget, DynamicDevice, PodKey};

use super::device_id;
use super::messages::{
    AllocatableResourcesResponse, ClaimResource, ContainerDevices, DynamicResource, ListPodResourcesResponse,
};
use super::resource_names::ResourceNames;

/// The driver of NVIDIA's for dynamic resource allocation whose devices are GPUs. Its sibling
/// `compute-domain.nvidia.com` gives out none.
const GPU_DRIVER: &str = "gpu.nvidia.com";

/// The containers that hold at least one GPU device, by plugin or by claim, sorted, one entry per resource.
///
/// A claim that the kubelet has not prepared is a holding too: of what, only the API server knows.
#[must_use]
pub fn allocations_of(answer: &ListPodResourcesResponse, resources: &ResourceNames) -> Vec<Allocation> {
    let mut holders: BTreeMap<(PodKey, Arc<str>, Arc<str>), BTreeSet<DeviceId>> = BTreeMap::new();
    for pod in &answer.pod_resources {
        let key = PodKey::new(pod.namespace.as_str(), pod.name.as_str());
        for container in &pod.containers {
            let plugged = gpu_devices(&container.devices, resources);
            let claimed = container.dynamic_resources.iter().flat_map(claimed_devices);
            for (resource, id) in plugged.chain(claimed) {
                let holder = (key.clone(), container.name.as_str().into(), resource.into());
                holders.entry(holder).or_default().insert(id);
            }
        }
    }
    let allocation = |((pod, container, resource), devices): (_, BTreeSet<DeviceId>)| Allocation {
        pod,
        container,
        resource,
        devices: devices.into_iter().collect(),
    };
    holders.into_iter().map(allocation).collect()
}

/// The GPU devices that can be allocated, sorted, each once.
#[must_use]
pub fn advertised_by(answer: &AllocatableResourcesResponse, resources: &ResourceNames) -> Vec<DeviceId> {
    let ids: BTreeSet<DeviceId> = gpu_devices(&answer.devices, resources).map(|(_, id)| id).collect();
    ids.into_iter().collect()
}

/// The GPU devices of plugins, each with its resource.
fn gpu_devices<'a>(
    entries: &'a [ContainerDevices],
    resources: &ResourceNames,
) -> impl Iterator<Item = (&'a str, DeviceId)> {
    let gpus = entries.iter().filter(|entry| resources.contains(&entry.resource_name));
    gpus.flat_map(|entry| {
        entry.device_ids.iter().map(|id| (entry.resource_name.as_str(), device_id::parse(id)))
    })
}

/// The GPU devices of a claim, each with its driver. Their CDI names are no help: they pile up from device to device.
fn claimed_devices(resource: &DynamicResource) -> Vec<(&str, DeviceId)> {
    let claim = ClaimKey {
        namespace: resource.claim_namespace.as_str().into(),
        name: resource.claim_name.as_str().into(),
    };
    let whole = |target| DeviceId { target, replica: None };
    if resource.claim_resources.is_empty() {
        return vec![("", whole(DeviceTarget::Claim(claim)))];
    }
    let gpus = resource.claim_resources.iter().filter(|device| device.driver_name == GPU_DRIVER);
    let claimed = |device: &ClaimResource| DeviceTarget::Claimed {
        claim: claim.clone(),
        device: DynamicDevice {
            driver: device.driver_name.as_str().into(),
            pool: device.pool_name.as_str().into(),
            device: device.device_name.as_str().into(),
        },
        share_id: device.share_id.as_deref().filter(|id| !id.is_empty()).map(Into::into),
    };
    gpus.map(|device| (GPU_DRIVER, whole(claimed(device)))).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::super::messages::{ContainerResources, PodResources, TopologyInfo};
    use super::*;

    fn devices(resource: &str, ids: &[&str]) -> ContainerDevices {
        ContainerDevices {
            resource_name: resource.to_owned(),
            device_ids: ids.iter().map(|&id| id.to_owned()).collect(),
            topology: None,
        }
    }

    fn container(name: &str, devices: Vec<ContainerDevices>) -> ContainerResources {
        ContainerResources { name: name.to_owned(), devices, ..Default::default() }
    }

    fn pod(namespace: &str, name: &str, containers: Vec<ContainerResources>) -> PodResources {
        PodResources {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            containers,
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(pods: Vec<PodResources>, expected: &Expect) {
        let answer = ListPodResourcesResponse { pod_resources: pods };
        let mut text = String::new();
        for allocation in allocations_of(&answer, &ResourceNames::default()) {
            write!(text, "{}/{}:", allocation.pod, allocation.container).unwrap();
            for device in allocation.devices {
                write!(text, " {device}").unwrap();
            }
            text.push('\n');
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn only_containers_with_gpus_are_left() {
        check(
            vec![
                pod("a", "no-containers", vec![]),
                pod("a", "no-devices", vec![container("main", vec![])]),
                pod("a", "no-ids", vec![container("main", vec![devices("nvidia.com/gpu", &[])])]),
                pod(
                    "a",
                    "nic",
                    vec![container("main", vec![devices("nvidia.com/hostdev", &["0000:3b:00.0"])])],
                ),
                pod("a", "gke", vec![container("main", vec![devices("nvidia.com/gpu", &["nvidia1"])])]),
                pod("", "", vec![container("", vec![devices("nvidia.com/gpu", &["?"])])]),
            ],
            &expect![[r"
                //: ?
                a/gke/main: nvidia1
            "]],
        );
    }

    #[test]
    fn a_device_of_two_numa_nodes_counts_once() {
        let numa = |node| ContainerDevices {
            topology: Some(TopologyInfo { nodes: vec![super::super::messages::NumaNode { id: node }] }),
            ..devices("nvidia.com/gpu", &["nvidia1", "nvidia0"])
        };
        check(
            vec![pod("a", "p", vec![container("main", vec![numa(0), numa(1)])])],
            &expect![[r"
                a/p/main: nvidia0 nvidia1
            "]],
        );
    }

    #[test]
    fn a_container_that_is_listed_twice_is_merged() {
        let main = |id| container("main", vec![devices("nvidia.com/gpu", &[id])]);
        check(
            vec![
                pod("b", "p", vec![main("nvidia3")]),
                pod("a", "p", vec![main("nvidia2"), main("nvidia1"), container("side", vec![])]),
                pod("a", "p", vec![main("nvidia0"), main("nvidia1")]),
            ],
            &expect![[r"
                a/p/main: nvidia0 nvidia1 nvidia2
                b/p/main: nvidia3
            "]],
        );
    }

    #[test]
    fn what_is_advertised_is_sorted_and_each_once() {
        let answer = AllocatableResourcesResponse {
            devices: vec![
                devices("nvidia.com/gpu", &["nvidia1/vgpu1"]),
                devices("nvidia.com/gpu", &["nvidia1/vgpu0", "nvidia1/vgpu1"]),
                devices("example.com/nic", &["nvidia7"]),
            ],
            ..Default::default()
        };
        let ids = advertised_by(&answer, &ResourceNames::default());
        assert_eq!(ids, ["nvidia1/vgpu0", "nvidia1/vgpu1"].map(device_id::parse));
    }

    fn any_entry() -> impl Strategy<Value = ContainerDevices> {
        let resource =
            prop::sample::select(vec!["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "example.com/nic"]);
        let id = prop_oneof!["nvidia[0-3]", "nvidia[0-3]/vgpu[0-3]", "x{0,2}"];
        (resource, prop::collection::vec(id, 0..3)).prop_map(|(resource, ids)| ContainerDevices {
            resource_name: resource.to_owned(),
            device_ids: ids,
            topology: None,
        })
    }

    fn any_pods() -> impl Strategy<Value = Vec<PodResources>> {
        let container = ("[cd]", prop::collection::vec(any_entry(), 0..4));
        let containers = prop::collection::vec(container.prop_map(|(n, d)| self::container(&n, d)), 0..3);
        prop::collection::vec(("[ab]", "[pq]", containers).prop_map(|(ns, n, c)| pod(&ns, &n, c)), 0..6)
    }

    /// The same pods, with the pods, the containers and the entries in another order.
    fn shuffled(pods: Vec<PodResources>) -> impl Strategy<Value = Vec<PodResources>> {
        let pods: Vec<_> = pods.into_iter().map(shuffled_pod).collect();
        pods.prop_flat_map(|pods| Just(pods).prop_shuffle())
    }

    fn shuffled_pod(pod: PodResources) -> impl Strategy<Value = PodResources> {
        let containers: Vec<_> = pod
            .containers
            .into_iter()
            .map(|container| {
                let name = container.name;
                let entries = Just(container.devices).prop_shuffle();
                entries.prop_map(move |entries| self::container(&name, entries))
            })
            .collect();
        let (namespace, name) = (pod.namespace, pod.name);
        containers
            .prop_flat_map(|containers| Just(containers).prop_shuffle())
            .prop_map(move |containers| self::pod(&namespace, &name, containers))
    }

    proptest! {
        #[test]
        fn the_order_of_an_answer_changes_nothing(
            (pods, other) in any_pods().prop_flat_map(|pods| (Just(pods.clone()), shuffled(pods)))
        ) {
            let allocations = |pods| {
                allocations_of(&ListPodResourcesResponse { pod_resources: pods }, &ResourceNames::default())
            };
            let allocations = (allocations(pods), allocations(other));
            prop_assert_eq!(&allocations.0, &allocations.1);
            prop_assert!(allocations.0.is_sorted() && allocations.0.iter().all(|it| it.devices.is_sorted()));
        }
    }
}
