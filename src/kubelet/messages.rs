//! The messages of the pod-resources API, package `v1`, as they are on the wire.
//!
//! Written by hand from the field numbers of `k8s.io/kubelet/pkg/apis/podresources/v1/api.proto`, so that nobody
//! needs a protobuf compiler. Every addition to the API so far was compatible: a field that an old kubelet does not
//! send is empty here, a field that a newer one sends is skipped.

/// Asks for every pod of the node.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListPodResourcesRequest {}

/// Every pod of the node, also those without a device, in random order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListPodResourcesResponse {
    /// The pods.
    #[prost(message, repeated, tag = "1")]
    pub pod_resources: Vec<PodResources>,
}

/// Asks for everything that can be allocated.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AllocatableResourcesRequest {}

/// Everything that can be allocated, whether it is or not (Kubernetes 1.21).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AllocatableResourcesResponse {
    /// The healthy devices that the plugins advertise.
    #[prost(message, repeated, tag = "1")]
    pub devices: Vec<ContainerDevices>,
    /// CPUs of the static CPU manager.
    #[prost(int64, repeated, tag = "2")]
    pub cpu_ids: Vec<i64>,
    /// Memory of the static memory manager.
    #[prost(message, repeated, tag = "3")]
    pub memory: Vec<ContainerMemory>,
}

/// What one pod has. The kubelet gives neither its UID nor its labels.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PodResources {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The pod's namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Its containers and restartable init containers; plain init containers are never listed.
    #[prost(message, repeated, tag = "3")]
    pub containers: Vec<ContainerResources>,
    /// CPUs of the pod as a whole (after Kubernetes 1.37).
    #[prost(int64, repeated, tag = "4")]
    pub cpu_ids: Vec<i64>,
    /// Memory of the pod as a whole (after Kubernetes 1.37).
    #[prost(message, repeated, tag = "5")]
    pub memory: Vec<ContainerMemory>,
}

/// What one container has.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerResources {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its devices: one entry per device and NUMA node, so that a device may come twice.
    #[prost(message, repeated, tag = "2")]
    pub devices: Vec<ContainerDevices>,
    /// Its exclusive CPUs; empty unless the CPU manager is static.
    #[prost(int64, repeated, tag = "3")]
    pub cpu_ids: Vec<i64>,
    /// Its pinned memory; empty unless the memory manager is static.
    #[prost(message, repeated, tag = "4")]
    pub memory: Vec<ContainerMemory>,
    /// Its claims (DRA; Kubernetes 1.27).
    #[prost(message, repeated, tag = "5")]
    pub dynamic_resources: Vec<DynamicResource>,
}

/// Memory on NUMA nodes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerMemory {
    /// `memory`, or a page size such as `hugepages-2Mi`.
    #[prost(string, tag = "1")]
    pub memory_type: String,
    /// Bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// Where it is.
    #[prost(message, optional, tag = "3")]
    pub topology: Option<TopologyInfo>,
}

/// Devices of one resource.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ContainerDevices {
    /// The resource, such as `nvidia.com/gpu`.
    #[prost(string, tag = "1")]
    pub resource_name: String,
    /// The ids that the device plugin gave them; usually one.
    #[prost(string, repeated, tag = "2")]
    pub device_ids: Vec<String>,
    /// Where they are; `None` when the plugin did not say.
    #[prost(message, optional, tag = "3")]
    pub topology: Option<TopologyInfo>,
}

/// The NUMA nodes of something.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TopologyInfo {
    /// The nodes.
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<NumaNode>,
}

/// One NUMA node.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct NumaNode {
    /// Its number.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// What one claim gave a container (DRA).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DynamicResource {
    /// The resource class, which Kubernetes 1.31 removed.
    #[prost(string, tag = "1")]
    pub class_name: String,
    /// The claim's name.
    #[prost(string, tag = "2")]
    pub claim_name: String,
    /// The claim's namespace.
    #[prost(string, tag = "3")]
    pub claim_namespace: String,
    /// Its devices; empty until the claim is prepared.
    #[prost(message, repeated, tag = "4")]
    pub claim_resources: Vec<ClaimResource>,
}

/// One device of a claim, named by driver, pool and device; its UUID is in the driver's `ResourceSlice`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ClaimResource {
    /// Names for the container runtime. With several devices in a claim the later ones repeat those of the earlier.
    #[prost(message, repeated, tag = "1")]
    pub cdi_devices: Vec<CdiDevice>,
    /// The DRA driver, such as `gpu.nvidia.com` (Kubernetes 1.31).
    #[prost(string, tag = "2")]
    pub driver_name: String,
    /// The pool of devices, usually the node's name (Kubernetes 1.31).
    #[prost(string, tag = "3")]
    pub pool_name: String,
    /// The device in its pool, such as `gpu-3` (Kubernetes 1.31).
    #[prost(string, tag = "4")]
    pub device_name: String,
    /// Which part of a device with consumable capacity; `None` for a whole device (Kubernetes 1.35).
    #[prost(string, optional, tag = "5")]
    pub share_id: Option<String>,
}

/// A device as the container runtime is told of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CdiDevice {
    /// `vendor/class=device`.
    #[prost(string, tag = "1")]
    pub name: String,
}
