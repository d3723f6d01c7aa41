//! Resource slices: the devices that a driver has on a node.
//!
//! A driver publishes its devices in *pools*, and a pool in one or more slices. Whenever it publishes a pool anew it
//! counts up the pool's generation; slices of an older one are leftovers. `v1alpha3` and `v1beta1` have what describes
//! a device in a field `basic`, later versions in the device itself; a capacity was a quantity and is an object around
//! one. All of these are read, whichever version they come in.
//!
//! A slice is for one node, or for all that a selector matches: devices that are reached over a network. GPUs of a node
//! are of the first kind, so we ask by the node's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::group::{GROUP, Version};
use super::objects::Metadata;
use super::quantity;
use super::watching::Watched;
use crate::observation::{DynamicDevice, PublishedDevice};

/// The driver of NVIDIA's whose devices are GPUs. Its sibling `compute-domain.nvidia.com` gives out none.
pub(super) const DRIVER: &str = "gpu.nvidia.com";

/// A `ResourceSlice`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slice {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    driver: String,
    pool: Pool,
    devices: Option<Vec<Device>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Pool {
    name: String,
    generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Device {
    name: String,
    attributes: BTreeMap<String, Attribute>,
    capacity: BTreeMap<String, Capacity>,
    /// Where older versions have the two.
    basic: Option<Basic>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Basic {
    attributes: BTreeMap<String, Attribute>,
    capacity: BTreeMap<String, Capacity>,
}

/// The value of an attribute, which has one of several types.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Attribute {
    string: Option<String>,
    int: Option<i64>,
}

/// How much of something a device has.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Capacity {
    /// As `v1alpha3` writes it.
    Plain(String),
    Of {
        value: String,
    },
}

/// The slices that the driver has for this node, in one version of the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlicesOfNode(pub(super) Version);

/// A published device, with what claims may consume of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) device: PublishedDevice,
    /// In how many shares the driver gives it out, where it counts them instead of memory.
    pub(super) shares: Option<u64>,
}

/// The slices of this node.
#[derive(Debug, Default)]
pub(super) struct Slices(BTreeMap<String, Part>);

/// What a slice has of a pool.
#[derive(Debug)]
struct Part {
    pool: (Arc<str>, Arc<str>),
    generation: i64,
    devices: Vec<Published>,
}

// === impl Slices ===

impl Slices {
    /// Forgets what was, and takes these.
    pub(super) fn set(&mut self, slices: &[Slice]) {
        self.0.clear();
        for slice in slices {
            self.change(slice);
        }
    }

    pub(super) fn change(&mut self, slice: &Slice) {
        let name = slice.metadata.name.clone();
        if slice.spec.driver == DRIVER {
            self.0.insert(name, slice.part());
        } else {
            self.0.remove(&name);
        }
    }

    pub(super) fn remove(&mut self, slice: &Slice) {
        self.0.remove(&slice.metadata.name);
    }

    /// The devices of each pool's newest generation.
    pub(super) fn devices(&self) -> BTreeMap<DynamicDevice, Published> {
        let mut newest: BTreeMap<_, i64> = BTreeMap::new();
        for part in self.0.values() {
            let generation = newest.entry(&part.pool).or_insert(part.generation);
            *generation = part.generation.max(*generation);
        }
        let parts = self.0.values().filter(|part| newest.get(&part.pool) == Some(&part.generation));
        let devices = parts.flat_map(|part| &part.devices);
        devices.map(|published| (published.device.name.clone(), published.clone())).collect()
    }
}

// === impl SlicesOfNode ===

impl Watched for SlicesOfNode {
    type Object = Slice;

    fn path(self) -> String {
        format!("/apis/{GROUP}/{}/resourceslices", self.0)
    }

    fn selector(self, node: &str) -> String {
        format!("spec.driver={DRIVER},spec.nodeName={node}")
    }

    fn listing(self) -> &'static str {
        "list the resource slices of this node"
    }

    fn watching(self) -> &'static str {
        "watch the resource slices of this node"
    }

    fn metadata(slice: &Slice) -> &Metadata {
        &slice.metadata
    }
}

// === impl Slice ===

impl Slice {
    fn part(&self) -> Part {
        let Spec { driver, pool, devices } = &self.spec;
        let pool_key: (Arc<str>, Arc<str>) = (driver.as_str().into(), pool.name.as_str().into());
        let publish = |device: &Device| {
            let (driver, pool) = pool_key.clone();
            device.published(DynamicDevice { driver, pool, device: device.name.as_str().into() })
        };
        let devices = devices.iter().flatten().map(publish).collect();
        Part { pool: pool_key, generation: pool.generation, devices }
    }
}

// === impl Device ===

impl Device {
    fn published(&self, name: DynamicDevice) -> Published {
        let uuid = self.text("uuid");
        // Without a UUID the name is the next best: a MIG device that is made on demand has none before it is made.
        let by_name = if uuid.is_none() { name.read_name() } else { None };
        let (minor, profile) = by_name.map_or((None, None), |read| (Some(read.minor), read.profile));
        let device = PublishedDevice {
            uuid,
            parent: self.text("parentUUID"),
            minor: self.number("minor").or(minor),
            profile: self.text("profile").or(profile),
            memory: self.amount("memory"),
            name,
        };
        Published { device, shares: self.amount("shares") }
    }

    fn text(&self, name: &str) -> Option<Arc<str>> {
        let value = self.attribute(name)?.string.as_deref();
        value.filter(|value| !value.is_empty()).map(Into::into)
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.attribute(name)?.int?.try_into().ok()
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        of_driver(self.basic.as_ref().map_or(&self.attributes, |basic| &basic.attributes), name)
    }

    fn amount(&self, name: &str) -> Option<u64> {
        let capacity = self.basic.as_ref().map_or(&self.capacity, |basic| &basic.capacity);
        match of_driver(capacity, name)? {
            Capacity::Plain(value) | Capacity::Of { value } => quantity::whole(value),
        }
    }
}

/// What the driver means by a name, which may stand there with the driver's own domain before it.
pub(super) fn of_driver<'a, T>(values: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    values.get(name).or_else(|| values.get(&format!("{DRIVER}/{name}")))
}
