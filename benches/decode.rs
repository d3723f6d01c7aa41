//! What a very large answer of the kubelet costs.

use divan::Bencher;
use divan::counter::BytesCount;
use gpu_cost_exporter::kubelet::messages::{
    ContainerDevices, ContainerResources, ListPodResourcesResponse, PodResources,
};
use gpu_cost_exporter::kubelet::{ResourceNames, allocations_of};
use prost::Message as _;

/// How many bytes the kubelet sends.
const BYTES: usize = 20_000_000;

/// A pod with a GPU, and the processors and the memory that come with it on a node that pins them.
fn pod(n: usize) -> PodResources {
    let devices = |resource: &str, id: String| ContainerDevices {
        resource_name: resource.to_owned(),
        device_ids: vec![id],
        topology: None,
    };
    let container = ContainerResources {
        name: "main".to_owned(),
        devices: vec![
            devices(
                "nvidia.com/gpu.shared",
                format!("GPU-00000000-0000-0000-0000-{:012x}::{}", n % 8, n / 8),
            ),
            devices("rdma/hca", format!("mlx5_{n}")),
        ],
        cpu_ids: (0..32).collect(),
        ..ContainerResources::default()
    };
    PodResources {
        name: format!("inference-server-7d4b9c6f5-{n:06}"),
        namespace: "serving".to_owned(),
        containers: vec![container],
        ..PodResources::default()
    }
}

/// The answer as it comes over the wire.
fn answer() -> Vec<u8> {
    let one = pod(0).encoded_len() + 4;
    ListPodResourcesResponse { pod_resources: (0..BYTES / one).map(pod).collect() }.encode_to_vec()
}

/// From the bytes to what the core is told.
#[divan::bench(sample_count = 10)]
fn of_20_megabytes(bencher: Bencher<'_, '_>) {
    let (answer, resources) = (answer(), ResourceNames::default());
    bencher.counter(BytesCount::new(answer.len())).bench_local(|| {
        let answer = ListPodResourcesResponse::decode(answer.as_slice());
        answer.map(|answer| allocations_of(&answer, &resources))
    });
}
