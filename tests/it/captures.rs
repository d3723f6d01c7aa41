//! Answers that running kubelets gave, as bytes (`.pb`) and as a protobuf library of another language reads them
//! (`.json`): ours must read the same, lose nothing, and find the same holders.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use gpu_cost_exporter::kubelet::messages::{
    AllocatableResourcesResponse, ClaimResource, ContainerDevices, ContainerMemory, ContainerResources,
    DynamicResource, ListPodResourcesResponse, PodResources, TopologyInfo,
};
use gpu_cost_exporter::kubelet::{ResourceNames, advertised_by, allocations_of};
use gpu_cost_exporter::observation::DeviceId;
use prost::Message;
use serde_json::{Map, Value, json};

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_capture_is_read_as_it_was_written() {
    let checked = [
        check_advertised(
            "alloc-mig-mixed",
            &expect![[r"
            GPU-01000100-0000-0000-0000-000000000002
            GPU-01000100-0000-0000-0000-000000000003
            GPU-01000100-0000-0000-0000-000000000004
            GPU-01000100-0000-0000-0000-000000000005
            GPU-01000100-0000-0000-0000-000000000006
            GPU-01000100-0000-0000-0000-000000000007
            MIG-abc00000-0000-5000-8000-000000000000
            MIG-abc00000-0000-5000-8000-000000000001
            MIG-abc00000-0000-5000-8000-000000000002
            MIG-abc00000-0000-5000-8000-000000000003
            MIG-abc00001-0000-5000-8000-000000000000
        "]],
        ),
        check_advertised(
            "alloc-mig-mixed-ts",
            &expect![[r"
            GPU-01000100-0000-0000-0000-000000000002::0
            GPU-01000100-0000-0000-0000-000000000002::1
            GPU-01000100-0000-0000-0000-000000000002::2
            GPU-01000100-0000-0000-0000-000000000002::3
            GPU-01000100-0000-0000-0000-000000000003::0
            GPU-01000100-0000-0000-0000-000000000003::1
            GPU-01000100-0000-0000-0000-000000000003::2
            GPU-01000100-0000-0000-0000-000000000003::3
            GPU-01000100-0000-0000-0000-000000000004::0
            GPU-01000100-0000-0000-0000-000000000004::1
            GPU-01000100-0000-0000-0000-000000000004::2
            GPU-01000100-0000-0000-0000-000000000004::3
            GPU-01000100-0000-0000-0000-000000000005::0
            GPU-01000100-0000-0000-0000-000000000005::1
            GPU-01000100-0000-0000-0000-000000000005::2
            GPU-01000100-0000-0000-0000-000000000005::3
            GPU-01000100-0000-0000-0000-000000000006::0
            GPU-01000100-0000-0000-0000-000000000006::1
            GPU-01000100-0000-0000-0000-000000000006::2
            GPU-01000100-0000-0000-0000-000000000006::3
            GPU-01000100-0000-0000-0000-000000000007::0
            GPU-01000100-0000-0000-0000-000000000007::1
            GPU-01000100-0000-0000-0000-000000000007::2
            GPU-01000100-0000-0000-0000-000000000007::3
            MIG-abc00000-0000-5000-8000-000000000000
            MIG-abc00000-0000-5000-8000-000000000001
            MIG-abc00000-0000-5000-8000-000000000002::0
            MIG-abc00000-0000-5000-8000-000000000002::1
            MIG-abc00000-0000-5000-8000-000000000003::0
            MIG-abc00000-0000-5000-8000-000000000003::1
            MIG-abc00001-0000-5000-8000-000000000000
        "]],
        ),
        check_advertised(
            "alloc-plain",
            &expect![[r"
            GPU-01000100-0000-0000-0000-000000000000
            GPU-01000100-0000-0000-0000-000000000001
            GPU-01000100-0000-0000-0000-000000000002
            GPU-01000100-0000-0000-0000-000000000003
            GPU-01000100-0000-0000-0000-000000000004
            GPU-01000100-0000-0000-0000-000000000005
            GPU-01000100-0000-0000-0000-000000000006
            GPU-01000100-0000-0000-0000-000000000007
        "]],
        ),
        check_advertised(
            "alloc-static-cpu-mem",
            &expect![[r"
            GPU-01000100-0000-0000-0000-000000000000
            GPU-01000100-0000-0000-0000-000000000001
            GPU-01000100-0000-0000-0000-000000000002
            GPU-01000100-0000-0000-0000-000000000003
            GPU-01000100-0000-0000-0000-000000000004
            GPU-01000100-0000-0000-0000-000000000005
            GPU-01000100-0000-0000-0000-000000000006
            GPU-01000100-0000-0000-0000-000000000007
        "]],
        ),
        check_advertised(
            "alloc-ts4",
            &expect![[r"
            GPU-01000100-0000-0000-0000-000000000000::0
            GPU-01000100-0000-0000-0000-000000000000::1
            GPU-01000100-0000-0000-0000-000000000000::2
            GPU-01000100-0000-0000-0000-000000000000::3
            GPU-01000100-0000-0000-0000-000000000001::0
            GPU-01000100-0000-0000-0000-000000000001::1
            GPU-01000100-0000-0000-0000-000000000001::2
            GPU-01000100-0000-0000-0000-000000000001::3
            GPU-01000100-0000-0000-0000-000000000002::0
            GPU-01000100-0000-0000-0000-000000000002::1
            GPU-01000100-0000-0000-0000-000000000002::2
            GPU-01000100-0000-0000-0000-000000000002::3
            GPU-01000100-0000-0000-0000-000000000003::0
            GPU-01000100-0000-0000-0000-000000000003::1
            GPU-01000100-0000-0000-0000-000000000003::2
            GPU-01000100-0000-0000-0000-000000000003::3
            GPU-01000100-0000-0000-0000-000000000004::0
            GPU-01000100-0000-0000-0000-000000000004::1
            GPU-01000100-0000-0000-0000-000000000004::2
            GPU-01000100-0000-0000-0000-000000000004::3
            GPU-01000100-0000-0000-0000-000000000005::0
            GPU-01000100-0000-0000-0000-000000000005::1
            GPU-01000100-0000-0000-0000-000000000005::2
            GPU-01000100-0000-0000-0000-000000000005::3
            GPU-01000100-0000-0000-0000-000000000006::0
            GPU-01000100-0000-0000-0000-000000000006::1
            GPU-01000100-0000-0000-0000-000000000006::2
            GPU-01000100-0000-0000-0000-000000000006::3
            GPU-01000100-0000-0000-0000-000000000007::0
            GPU-01000100-0000-0000-0000-000000000007::1
            GPU-01000100-0000-0000-0000-000000000007::2
            GPU-01000100-0000-0000-0000-000000000007::3
        "]],
        ),
        check_list(
            "k133-list-after-terminated",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-b/initpod/c1: GPU-01000100-0000-0000-0000-000000000000 GPU-01000100-0000-0000-0000-000000000003
            team-b/initpod/sidecar: GPU-01000100-0000-0000-0000-000000000002
            team-c/run1/main: GPU-01000100-0000-0000-0000-000000000007
        "]],
        ),
        check_list(
            "list-api-after-terminated",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-b/api-2gpu/main: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003
            team-b/api-cni/main: GPU-01000100-0000-0000-0000-000000000004
        "]],
        ),
        check_list(
            "list-api-running",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-b/api-2gpu/main: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003
            team-b/api-cni/main: GPU-01000100-0000-0000-0000-000000000004
            team-c/api-fail/main: GPU-01000100-0000-0000-0000-000000000006
        "]],
        ),
        check_list(
            "list-dra",
            &expect![[r"
            team-a/dra-shared-1/main: gpu.nvidia.com/rig-node/gpu-0 of claim team-a/shared-gpu
            team-a/dra-shared-2/main: gpu.nvidia.com/rig-node/gpu-0 of claim team-a/shared-gpu
            team-a/dra-tmpl/main: gpu.nvidia.com/rig-node/gpu-2 of claim team-a/dra-tmpl-g-lgskt
            team-b/dra-ext/main: gpu.nvidia.com/rig-node/gpu-3 of claim team-b/dra-ext-extended-resources-894rb gpu.nvidia.com/rig-node/gpu-4 of claim team-b/dra-ext-extended-resources-894rb
        "]],
        ),
        check_list(
            "list-dra-unprepared-claim",
            &expect![[r"
            team-a/dra-mig/main: claim team-a/dra-mig-g-pjqmn
        "]],
        ),
        check_list(
            "list-mig-mixed",
            &expect![[r"
            team-a/crash/main: GPU-01000100-0000-0000-0000-000000000002::3
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-a/mig-a/main: MIG-abc00000-0000-5000-8000-000000000002
            team-b/full-b/main: GPU-01000100-0000-0000-0000-000000000005
            team-b/mig-b/main: MIG-abc00000-0000-5000-8000-000000000000
        "]],
        ),
        check_list(
            "list-mig-mixed-ts",
            &expect![[r"
            team-a/crash/main: GPU-01000100-0000-0000-0000-000000000002::3
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-a/mig-a/main: MIG-abc00000-0000-5000-8000-000000000002
            team-a/mig-ts/main: MIG-abc00000-0000-5000-8000-000000000003::1
            team-b/full-b/main: GPU-01000100-0000-0000-0000-000000000005
            team-b/mig-b/main: MIG-abc00000-0000-5000-8000-000000000000
        "]],
        ),
        check_list(
            "list-plain",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-b/gpu-b-rig-node/c1: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003
            team-b/gpu-b-rig-node/sidecar: GPU-01000100-0000-0000-0000-000000000000
        "]],
        ),
        check_list(
            "list-plain-during-init",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-b/gpu-b-rig-node/c1: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003
            team-b/gpu-b-rig-node/sidecar: GPU-01000100-0000-0000-0000-000000000000
        "]],
        ),
        check_list(
            "list-static-cpu-mem",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-a/guaranteed/main: GPU-01000100-0000-0000-0000-000000000007
            team-b/api-2gpu/main: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003
            team-b/api-cni/main: GPU-01000100-0000-0000-0000-000000000004
        "]],
        ),
        check_list(
            "list-ts4-mixed",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-a/guaranteed/main: GPU-01000100-0000-0000-0000-000000000007
            team-a/ts-1/main: GPU-01000100-0000-0000-0000-000000000006::3
            team-a/ts-2/main: GPU-01000100-0000-0000-0000-000000000001::1
            team-a/ts-3/main: GPU-01000100-0000-0000-0000-000000000002::0
            team-b/api-2gpu/main: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003
            team-b/api-cni/main: GPU-01000100-0000-0000-0000-000000000004
            team-b/ts-2of/main: GPU-01000100-0000-0000-0000-000000000003::3 GPU-01000100-0000-0000-0000-000000000004::0
        "]],
        ),
        check_list(
            "list-useactivepods-false",
            &expect![[r"
            team-a/gpu-a-rig-node/main: GPU-01000100-0000-0000-0000-000000000001
            team-b/api-2gpu/main: GPU-01000100-0000-0000-0000-000000000002 GPU-01000100-0000-0000-0000-000000000003
            team-b/api-cni/main: GPU-01000100-0000-0000-0000-000000000004
        "]],
        ),
    ];
    assert_eq!(checked.to_vec(), captures(), "every capture is checked");
}

/// Checks an answer to `List`: one line per container that holds GPUs.
fn check_list(name: &'static str, expected: &Expect) -> &'static str {
    let answer: ListPodResourcesResponse = check_bytes(name, list_json);
    let mut text = String::new();
    for allocation in allocations_of(&answer, &ResourceNames::default()) {
        let devices = ids(&allocation.devices).join(" ");
        writeln!(text, "{}/{}: {devices}", allocation.pod, allocation.container).unwrap();
    }
    expected.assert_eq(&text);
    name
}

/// Checks an answer to `GetAllocatableResources`: one line per device.
fn check_advertised(name: &'static str, expected: &Expect) -> &'static str {
    let answer: AllocatableResourcesResponse = check_bytes(name, allocatable_json);
    let mut text = ids(&advertised_by(&answer, &ResourceNames::default())).join("\n");
    text.push('\n');
    expected.assert_eq(&text);
    name
}

/// Reads a capture, which must say what the JSON beside it says and give the same bytes when it is written again.
fn check_bytes<M: Message + Default>(name: &str, to_json: fn(&M) -> Value) -> M {
    let bytes = fs::read(directory().join(format!("{name}.pb"))).unwrap();
    let json = fs::read_to_string(directory().join(format!("{name}.json"))).unwrap();
    let message = M::decode(bytes.as_slice()).unwrap();
    assert_eq!(to_json(&message), serde_json::from_str::<Value>(&json).unwrap(), "{name}");
    assert_eq!(message.encode_to_vec(), bytes, "{name}");
    message
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures/pod-resources")
}

fn captures() -> Vec<String> {
    let files =
        fs::read_dir(directory()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.filter_map(|file| Some(file.strip_suffix(".pb")?.to_owned())).collect();
    names.sort();
    names
}

/// The ids as their plugin spells them.
fn ids(devices: &[DeviceId]) -> Vec<String> {
    devices.iter().map(ToString::to_string).collect()
}

// The JSON form of protobuf: fields by name, what has its default value left out, 64-bit integers as text.

fn list_json(answer: &ListPodResourcesResponse) -> Value {
    object([("pod_resources", list(&answer.pod_resources, pod_json))])
}

fn allocatable_json(answer: &AllocatableResourcesResponse) -> Value {
    object([
        ("devices", list(&answer.devices, devices_json)),
        ("cpu_ids", list(&answer.cpu_ids, |&cpu| number_json(cpu))),
        ("memory", list(&answer.memory, memory_json)),
    ])
}

fn pod_json(pod: &PodResources) -> Value {
    object([
        ("name", text(&pod.name)),
        ("namespace", text(&pod.namespace)),
        ("containers", list(&pod.containers, container_json)),
        ("cpu_ids", list(&pod.cpu_ids, |&cpu| number_json(cpu))),
        ("memory", list(&pod.memory, memory_json)),
    ])
}

fn container_json(container: &ContainerResources) -> Value {
    object([
        ("name", text(&container.name)),
        ("devices", list(&container.devices, devices_json)),
        ("cpu_ids", list(&container.cpu_ids, |&cpu| number_json(cpu))),
        ("memory", list(&container.memory, memory_json)),
        ("dynamic_resources", list(&container.dynamic_resources, claim_json)),
    ])
}

fn devices_json(devices: &ContainerDevices) -> Value {
    object([
        ("resource_name", text(&devices.resource_name)),
        ("device_ids", list(&devices.device_ids, |id| json!(id))),
        ("topology", devices.topology.as_ref().map(topology_json)),
    ])
}

fn memory_json(memory: &ContainerMemory) -> Value {
    object([
        ("memory_type", text(&memory.memory_type)),
        ("size", (memory.size != 0).then(|| json!(memory.size.to_string()))),
        ("topology", memory.topology.as_ref().map(topology_json)),
    ])
}

fn topology_json(topology: &TopologyInfo) -> Value {
    let node = |id: i64| object([("ID", (id != 0).then(|| number_json(id)))]);
    object([("nodes", list(&topology.nodes, |numa| node(numa.id)))])
}

fn claim_json(claim: &DynamicResource) -> Value {
    object([
        ("class_name", text(&claim.class_name)),
        ("claim_name", text(&claim.claim_name)),
        ("claim_namespace", text(&claim.claim_namespace)),
        ("claim_resources", list(&claim.claim_resources, claim_resource_json)),
    ])
}

fn claim_resource_json(resource: &ClaimResource) -> Value {
    object([
        ("cdi_devices", list(&resource.cdi_devices, |device| object([("name", text(&device.name))]))),
        ("driver_name", text(&resource.driver_name)),
        ("pool_name", text(&resource.pool_name)),
        ("device_name", text(&resource.device_name)),
        ("share_id", resource.share_id.as_ref().map(|id| json!(id))),
    ])
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn text(value: &str) -> Option<Value> {
    (!value.is_empty()).then(|| json!(value))
}

fn list<T>(values: &[T], to_json: impl Fn(&T) -> Value) -> Option<Value> {
    (!values.is_empty()).then(|| values.iter().map(to_json).collect())
}

fn number_json(number: i64) -> Value {
    json!(number.to_string())
}
